//! Frames: a length of four bytes, little-endian, and that many bytes of JSON.
//!
//! The decoder is fed bytes as they come and knows no socket and no clock. How long a frame may take is decided by who
//! drives it, with [`Decoder::is_partial`].

use serde::Serialize;

use crate::limits::FRAME_BYTES_MAX;

/// Bytes of the length before a frame.
pub const PREFIX_BYTES: usize = 4;

/// The JSON of one frame: 1 to [`FRAME_BYTES_MAX`] bytes, not yet parsed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame(Vec<u8>);

impl Frame {
    /// The JSON.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        &self.0
    }
}

/// What cannot be a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The length is more than [`FRAME_BYTES_MAX`].
    #[error(
        "A frame of {bytes} bytes is announced, and {FRAME_BYTES_MAX} are allowed. Ask for less at once."
    )]
    TooLarge {
        /// Bytes of JSON.
        bytes: u64,
    },
    /// The length is 0.
    #[error("A frame without content. Write the length in four bytes, little-endian, and then the JSON.")]
    Empty,
}

/// Puts the length before some JSON.
///
/// # Errors
/// [`FrameError`].
pub fn encode(json: &[u8]) -> Result<Vec<u8>, FrameError> {
    let mut bytes = Vec::with_capacity(PREFIX_BYTES + json.len());
    bytes.extend_from_slice(&prefix(json.len())?);
    bytes.extend_from_slice(json);
    Ok(bytes)
}

/// Writes a message of the schema as a frame.
pub(crate) fn encode_message(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; PREFIX_BYTES];
    serde_json::to_writer(&mut bytes, message)
        .expect("a Vec takes all that is written, and the schema has only strings as keys");
    let prefix = prefix(bytes.len() - PREFIX_BYTES)?;
    bytes[..PREFIX_BYTES].copy_from_slice(&prefix);
    Ok(bytes)
}

fn prefix(len: usize) -> Result<[u8; PREFIX_BYTES], FrameError> {
    match u32::try_from(len) {
        Ok(0) => Err(FrameError::Empty),
        Ok(prefix) if len <= FRAME_BYTES_MAX => Ok(prefix.to_le_bytes()),
        _ => Err(FrameError::TooLarge { bytes: len as u64 }),
    }
}

/// Finds frames in a stream of bytes. Take every frame out after each push: then it holds less than one frame and the
/// bytes of one push.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// First byte of `buffer` that belongs to no frame taken out before.
    start: usize,
    failed: Option<FrameError>,
}

impl Decoder {
    /// Takes bytes in.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next complete frame out; `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`], from then on always: where the next frame begins is no longer known.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let pending = &self.buffer[self.start..];
        let Some((prefix, rest)) = pending.split_first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let len = u32::from_le_bytes(*prefix) as usize;
        match len {
            0 => return Err(self.fail(FrameError::Empty)),
            _ if len > FRAME_BYTES_MAX => return Err(self.fail(FrameError::TooLarge { bytes: len as u64 })),
            _ => {}
        }
        let Some(json) = rest.get(..len) else {
            return Ok(None);
        };
        let frame = Frame(json.to_vec());
        self.start += PREFIX_BYTES + len;
        if self.start == self.buffer.len() {
            self.start = 0;
            self.buffer.clear();
            // One large frame must not cost its memory for as long as the connection lives.
            self.buffer.shrink_to(KEPT_BYTES_MAX);
        }
        Ok(Some(frame))
    }

    /// Whether bytes are here that belong to no frame taken out so far.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.start < self.buffer.len()
    }

    fn fail(&mut self, error: FrameError) -> FrameError {
        self.failed = Some(error);
        self.buffer = Vec::new();
        self.start = 0;
        error
    }
}

/// Memory that an idle decoder keeps.
const KEPT_BYTES_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_cap_allocates_nothing() {
        let mut decoder = Decoder::default();
        decoder.push(&(2u32 << 30).to_le_bytes());
        assert_eq!(decoder.next_frame(), Err(FrameError::TooLarge { bytes: 2 << 30 }));
        assert_eq!(decoder.buffer.capacity(), 0);
        decoder.push(&[0; 100]);
        assert_eq!(decoder.next_frame(), Err(FrameError::TooLarge { bytes: 2 << 30 }));
        assert_eq!(decoder.buffer.capacity(), 0);
    }

    #[test]
    fn the_cap_itself_is_allowed() {
        let text = "x".repeat(FRAME_BYTES_MAX - 2);
        let bytes = encode_message(&text).unwrap();
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        assert_eq!(decoder.next_frame().unwrap().unwrap().json(), &bytes[PREFIX_BYTES..]);
        assert!(!decoder.is_partial());
        assert!(decoder.buffer.capacity() <= KEPT_BYTES_MAX);
        assert_eq!(encode(&bytes[PREFIX_BYTES..]).unwrap(), bytes);
        assert_eq!(
            encode_message(&(text + "x")),
            Err(FrameError::TooLarge { bytes: FRAME_BYTES_MAX as u64 + 1 })
        );
    }

    #[test]
    fn an_announced_megabyte_is_not_allocated_before_it_comes() {
        let mut decoder = Decoder::default();
        decoder.push(&u32::try_from(FRAME_BYTES_MAX).unwrap().to_le_bytes());
        assert_eq!(decoder.next_frame(), Ok(None));
        assert!(decoder.is_partial() && decoder.buffer.capacity() < 100);
    }
}
