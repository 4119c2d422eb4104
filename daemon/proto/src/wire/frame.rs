//! The frames of a MIXED packet: {kind, flags, length} and a body, all encrypted (PROTOCOL.md 5).
//!
//! Every frame tells its length, so an unknown kind is skipped. Zero bytes that are too few for a frame
//! header, or a PADDING frame, fill the rest of a packet.

use bytemuck::{Pod, Zeroable, bytes_of};

use super::le::{U16, U32, U64};
use super::sack::{Sack, SackBody};
use crate::limits::OFFSET_MAX;
use crate::{DropReason, LaneId, RequestId, StreamId};

/// What begins every frame.
#[derive(Copy, Clone, Pod, Zeroable, Debug)]
#[repr(C)]
pub struct FrameHeader {
    kind: u8,
    flags: u8,
    length: U16,
}

/// Frame kinds.
mod kind {
    pub(super) const PADDING: u8 = 0;
    pub(super) const PING: u8 = 1;
    pub(super) const PONG: u8 = 2;
    pub(super) const STREAM: u8 = 3;
    pub(super) const STREAM_OPEN: u8 = 4;
    pub(super) const STREAM_END: u8 = 5;
    pub(super) const STREAM_RESET: u8 = 6;
    pub(super) const SACK: u8 = 7;
    pub(super) const CREDIT: u8 = 8;
    pub(super) const LOWEST: u8 = 9;
    pub(super) const PATH_CHALLENGE: u8 = 10;
    pub(super) const PATH_RESPONSE: u8 = 11;
    pub(super) const CLOSE: u8 = 12;
}

#[derive(Copy, Clone, Pod, Zeroable)]
#[repr(C)]
struct StreamBody {
    stream: U32,
    reserved: U32,
    offset: U64,
}

#[derive(Copy, Clone, Pod, Zeroable)]
#[repr(C)]
struct OpenBody {
    stream: U32,
    weight: U16,
    reserved: U16,
    request: U64,
    start: U64,
    end: U64,
}

#[derive(Copy, Clone, Pod, Zeroable)]
#[repr(C)]
struct EndBody {
    stream: U32,
    reserved: U32,
    end: U64,
}

#[derive(Copy, Clone, Pod, Zeroable)]
#[repr(C)]
struct ResetBody {
    stream: U32,
    code: U32,
    sent: U64,
}

#[derive(Copy, Clone, Pod, Zeroable)]
#[repr(C)]
struct CreditBody {
    session: U64,
    control: U64,
}

#[derive(Copy, Clone, Pod, Zeroable)]
#[repr(C)]
struct LowestBody {
    lane: U32,
    srtt_us: U32,
    number: U64,
}

#[derive(Copy, Clone, Pod, Zeroable)]
#[repr(C)]
struct CloseBody {
    code: U32,
}

const _: () = assert!(size_of::<FrameHeader>() == 4 && align_of::<FrameHeader>() == 1);
const _: () = assert!(size_of::<StreamBody>() == 16 && align_of::<StreamBody>() == 1);
const _: () = assert!(size_of::<OpenBody>() == 32 && align_of::<OpenBody>() == 1);
const _: () = assert!(size_of::<EndBody>() == 16 && align_of::<EndBody>() == 1);
const _: () = assert!(size_of::<ResetBody>() == 16 && align_of::<ResetBody>() == 1);
const _: () = assert!(size_of::<CreditBody>() == 16 && align_of::<CreditBody>() == 1);
const _: () = assert!(size_of::<LowestBody>() == 16 && align_of::<LowestBody>() == 1);
const _: () = assert!(size_of::<CloseBody>() == 4 && align_of::<CloseBody>() == 1);

/// Bytes that a STREAM frame adds to its data.
pub const STREAM_OVERHEAD: usize = size_of::<FrameHeader>() + size_of::<StreamBody>();
/// Bytes of a STREAM_OPEN frame.
pub const OPEN_SIZE: usize = size_of::<FrameHeader>() + size_of::<OpenBody>();
/// Bytes of a CREDIT frame.
pub const CREDIT_SIZE: usize = size_of::<FrameHeader>() + size_of::<CreditBody>();
/// Bytes of a frame header.
pub const FRAME_HEADER: usize = size_of::<FrameHeader>();
/// "The end is not known yet" in STREAM_OPEN.
pub const END_UNKNOWN: u64 = u64::MAX;

/// The opening of a stream: which part of which request's file it carries.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Open {
    /// The stream.
    pub stream: StreamId,
    /// Its share of the rate, relative to the other streams of the session; at least 1.
    pub weight: u16,
    /// The request of the transfer service it belongs to.
    pub request: RequestId,
    /// First byte in the file.
    pub start: u64,
    /// One past the last byte, if known already.
    pub end: Option<u64>,
}

/// One parsed frame.
#[derive(Debug)]
pub enum Frame<'a> {
    /// Nothing.
    Padding,
    /// "Send this back": an echo request, a keep-alive or a probe.
    Ping(&'a [u8]),
    /// The echo, byte for byte.
    Pong(&'a [u8]),
    /// Stream data.
    Stream {
        /// The stream.
        stream: StreamId,
        /// Offset of the first byte, in the file.
        offset: u64,
        /// The bytes.
        data: &'a [u8],
    },
    /// A new stream.
    Open(Open),
    /// The end of a stream that was opened without one.
    End {
        /// The stream.
        stream: StreamId,
        /// One past its last byte.
        end: u64,
    },
    /// The sender gives a stream up.
    Reset {
        /// The stream.
        stream: StreamId,
        /// Why: a [`crate::Code`] number.
        code: u32,
        /// Unique bytes of it that were ever sent: they used up credit, though some may never arrive.
        sent: u64,
    },
    /// What arrived on a lane.
    Sack(Sack<'a>),
    /// Absolute, monotone limits of what may be sent.
    Credit {
        /// Unique stream bytes of the session.
        session: u64,
        /// Bytes of stream 0.
        control: u64,
    },
    /// The lowest packet number of a lane about which its sender still wants to know, and its RTT.
    Lowest {
        /// The lane by the name that this frame's receiver gave it.
        lane: LaneId,
        /// The sender's smoothed RTT in microseconds.
        srtt_us: u32,
        /// The lowest number of interest.
        number: u64,
    },
    /// "Answer this on the same path."
    PathChallenge(u64),
    /// The answer.
    PathResponse(u64),
    /// The session ends.
    Close {
        /// A [`crate::Code`] number.
        code: u32,
        /// Text of the peer, to be escaped before it is shown.
        text: &'a [u8],
    },
    /// A kind that this version does not know.
    Unknown,
}

/// The frames of a decrypted MIXED packet.
#[derive(Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Over the plaintext of a MIXED packet.
    #[must_use]
    pub const fn new(plaintext: &'a [u8]) -> Self {
        Self { rest: plaintext }
    }

    /// The next frame, `None` at the end.
    ///
    /// # Errors
    /// [`DropReason::Malformed`] where the bytes are no frame; what came before stands.
    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator of results would hide that an error ends it"
    )]
    pub fn next(&mut self) -> Result<Option<Frame<'a>>, DropReason> {
        let Some((header, rest)) = super::split_off::<FrameHeader>(self.rest) else {
            return Ok(None);
        };
        let length = usize::from(header.length.get());
        let (body, rest) = rest.split_at_checked(length).ok_or(DropReason::Malformed)?;
        self.rest = rest;
        if header.flags != 0 {
            return Err(DropReason::Malformed);
        }
        parse(header.kind, body).map(Some).ok_or(DropReason::Malformed)
    }
}

fn parse(kind: u8, body: &[u8]) -> Option<Frame<'_>> {
    Some(match kind {
        kind::PADDING => Frame::Padding,
        kind::PING => Frame::Ping(body),
        kind::PONG => Frame::Pong(body),
        kind::STREAM => {
            let (head, data) = super::split_off::<StreamBody>(body)?;
            let offset = offset(head.offset)?;
            if offset > OFFSET_MAX - data.len() as u64 {
                return None;
            }
            Frame::Stream { stream: StreamId(head.stream.get()), offset, data }
        }
        kind::STREAM_OPEN => {
            let open: &OpenBody = exact(body)?;
            let start = offset(open.start)?;
            let end = match open.end.get() {
                END_UNKNOWN => None,
                _ => Some(offset(open.end)?),
            };
            if end.is_some_and(|end| end < start) || open.weight.get() == 0 {
                return None;
            }
            Frame::Open(Open {
                stream: StreamId(open.stream.get()),
                weight: open.weight.get(),
                request: RequestId(open.request.get()),
                start,
                end,
            })
        }
        kind::STREAM_END => {
            let end: &EndBody = exact(body)?;
            Frame::End { stream: StreamId(end.stream.get()), end: offset(end.end)? }
        }
        kind::STREAM_RESET => {
            let reset: &ResetBody = exact(body)?;
            Frame::Reset {
                stream: StreamId(reset.stream.get()),
                code: reset.code.get(),
                sent: offset(reset.sent)?,
            }
        }
        kind::SACK => Frame::Sack(Sack::parse(body)?),
        kind::CREDIT => {
            let credit: &CreditBody = exact(body)?;
            Frame::Credit { session: credit.session.get(), control: credit.control.get() }
        }
        kind::LOWEST => {
            let lowest: &LowestBody = exact(body)?;
            Frame::Lowest {
                lane: LaneId(lowest.lane.get()),
                srtt_us: lowest.srtt_us.get(),
                number: lowest.number.get(),
            }
        }
        kind::PATH_CHALLENGE => Frame::PathChallenge(exact::<U64>(body)?.get()),
        kind::PATH_RESPONSE => Frame::PathResponse(exact::<U64>(body)?.get()),
        kind::CLOSE => {
            let (close, text) = super::split_off::<CloseBody>(body)?;
            Frame::Close { code: close.code.get(), text }
        }
        _ => Frame::Unknown,
    })
}

/// An offset in a file, which no kernel lets grow beyond the limit.
fn offset(field: U64) -> Option<u64> {
    let offset = field.get();
    (offset <= OFFSET_MAX).then_some(offset)
}

fn exact<T: bytemuck::AnyBitPattern>(body: &[u8]) -> Option<&T> {
    bytemuck::try_from_bytes(body).ok()
}

/// Writes frames into a packet's plaintext.
#[derive(Debug)]
pub struct FrameWriter<'a> {
    out: &'a mut Vec<u8>,
    end: usize,
}

impl<'a> FrameWriter<'a> {
    /// Appends to `out`, which may grow to `limit` bytes.
    pub const fn new(out: &'a mut Vec<u8>, limit: usize) -> Self {
        Self { out, end: limit }
    }

    /// Bytes that still fit.
    #[must_use]
    pub fn room(&self) -> usize {
        self.end - self.out.len()
    }

    /// Nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Appends a frame of `kind` whose body is `parts`; false (and nothing written) if it does not fit.
    fn put(&mut self, kind: u8, parts: &[&[u8]]) -> bool {
        let length: usize = parts.iter().map(|p| p.len()).sum();
        let Ok(length16) = u16::try_from(length) else { return false };
        if FRAME_HEADER + length > self.room() {
            return false;
        }
        let header = FrameHeader { kind, flags: 0, length: U16::new(length16) };
        self.out.extend_from_slice(bytes_of(&header));
        for part in parts {
            self.out.extend_from_slice(part);
        }
        true
    }

    /// PING.
    pub fn ping(&mut self, body: &[u8]) -> bool {
        self.put(kind::PING, &[body])
    }

    /// PONG.
    pub fn pong(&mut self, body: &[u8]) -> bool {
        self.put(kind::PONG, &[body])
    }

    /// STREAM with its data at hand.
    pub fn stream(&mut self, stream: StreamId, offset: u64, first: &[u8], second: &[u8]) -> bool {
        let body = StreamBody { stream: U32::new(stream.0), reserved: U32::new(0), offset: U64::new(offset) };
        self.put(kind::STREAM, &[bytes_of(&body), first, second])
    }

    /// STREAM whose `len` data bytes are filled in later: the index of their first byte in the packet's
    /// plaintext, `None` if it does not fit.
    pub fn stream_hole(&mut self, stream: StreamId, offset: u64, len: usize) -> Option<usize> {
        let body = StreamBody { stream: U32::new(stream.0), reserved: U32::new(0), offset: U64::new(offset) };
        let length = size_of::<StreamBody>() + len;
        if FRAME_HEADER + length > self.room() {
            return None;
        }
        let header =
            FrameHeader { kind: kind::STREAM, flags: 0, length: U16::new(u16::try_from(length).ok()?) };
        self.out.extend_from_slice(bytes_of(&header));
        self.out.extend_from_slice(bytes_of(&body));
        let at = self.out.len();
        self.out.resize(at + len, 0);
        Some(at)
    }

    /// STREAM_OPEN.
    pub fn open(&mut self, open: &Open) -> bool {
        let body = OpenBody {
            stream: U32::new(open.stream.0),
            weight: U16::new(open.weight),
            reserved: U16::new(0),
            request: U64::new(open.request.0),
            start: U64::new(open.start),
            end: U64::new(open.end.unwrap_or(END_UNKNOWN)),
        };
        self.put(kind::STREAM_OPEN, &[bytes_of(&body)])
    }

    /// STREAM_END.
    pub fn end(&mut self, stream: StreamId, end: u64) -> bool {
        let body = EndBody { stream: U32::new(stream.0), reserved: U32::new(0), end: U64::new(end) };
        self.put(kind::STREAM_END, &[bytes_of(&body)])
    }

    /// STREAM_RESET.
    pub fn reset(&mut self, stream: StreamId, code: u32, sent: u64) -> bool {
        let body = ResetBody { stream: U32::new(stream.0), code: U32::new(code), sent: U64::new(sent) };
        self.put(kind::STREAM_RESET, &[bytes_of(&body)])
    }

    /// SACK: its fixed part and its map.
    pub fn sack(&mut self, body: &SackBody, map: &[u8]) -> bool {
        self.put(kind::SACK, &[bytes_of(body), map])
    }

    /// CREDIT.
    pub fn credit(&mut self, session: u64, control: u64) -> bool {
        let body = CreditBody { session: U64::new(session), control: U64::new(control) };
        self.put(kind::CREDIT, &[bytes_of(&body)])
    }

    /// LOWEST.
    pub fn lowest(&mut self, lane: LaneId, srtt_us: u32, number: u64) -> bool {
        let body =
            LowestBody { lane: U32::new(lane.0), srtt_us: U32::new(srtt_us), number: U64::new(number) };
        self.put(kind::LOWEST, &[bytes_of(&body)])
    }

    /// PATH_CHALLENGE.
    pub fn path_challenge(&mut self, token: u64) -> bool {
        self.put(kind::PATH_CHALLENGE, &[bytes_of(&U64::new(token))])
    }

    /// PATH_RESPONSE.
    pub fn path_response(&mut self, token: u64) -> bool {
        self.put(kind::PATH_RESPONSE, &[bytes_of(&U64::new(token))])
    }

    /// CLOSE; a text that does not fit is cut.
    pub fn close(&mut self, code: u32, text: &[u8]) -> bool {
        let body = CloseBody { code: U32::new(code) };
        let fits = self.room().saturating_sub(FRAME_HEADER + size_of::<CloseBody>());
        let text = &text[..text.len().min(fits).min(crate::limits::CLOSE_TEXT_MAX)];
        self.put(kind::CLOSE, &[bytes_of(&body), text])
    }

    /// Zeros to the limit, for a probe of exactly this size.
    pub fn pad(&mut self) {
        let room = self.room();
        if room >= FRAME_HEADER {
            let length = u16::try_from(room - FRAME_HEADER).unwrap_or(u16::MAX);
            let header = FrameHeader { kind: kind::PADDING, flags: 0, length: U16::new(length) };
            self.out.extend_from_slice(bytes_of(&header));
        }
        self.out.resize(self.end, 0);
    }
}
