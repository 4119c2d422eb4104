//! The bytes that are moved: a random file in a memory-backed directory for the rows that need a file, and a
//! generated stream of the same kind for those that go from memory to memory; and their digest.
//!
//! A digest here is BLAKE3 fed in blocks of 1 MiB, which is what udpx's own tree costs, and gives the standard BLAKE3 of
//! the whole, so that every row of one kind can be checked against one value.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The unit in which bytes are hashed: a power of two, for which BLAKE3 is at its fastest.
pub(crate) const BLOCK: usize = 1 << 20;

/// A file of random bytes and its digest.
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    pub(crate) digest: String,
}

impl SourceFile {
    /// Writes `size` random bytes (the same for each run) to `path`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn create(path: PathBuf, size: u64) -> io::Result<SourceFile> {
        let mut file = File::create(&path)?;
        let mut random = blake3::Hasher::new_derive_key("udpx-bench 2026 source file").finalize_xof();
        let mut hasher = blake3::Hasher::new();
        let mut block = vec![0; BLOCK];
        let mut left = size;
        while left > 0 {
            let part = &mut block[..usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK)];
            random.fill(part);
            hasher.update(part);
            file.write_all(part)?;
            left -= part.len() as u64;
        }
        Ok(SourceFile { path, size, digest: hasher.finalize().to_hex().to_string() })
    }

    /// A file of the first `size` bytes at `path`, unless that is this one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn first(&self, size: u64, path: PathBuf) -> io::Result<Option<SourceFile>> {
        if size == self.size {
            return Ok(None);
        }
        SourceFile::create(path, size).map(Some)
    }

    /// Why the file at `path` is not a copy of this one, if it is not.
    pub(crate) fn difference(&self, path: &Path) -> Option<String> {
        match digest_of(path) {
            Err(error) => Some(format!("the destination cannot be read: {error}")),
            Ok((size, _)) if size != self.size => {
                Some(format!("{size} bytes arrived instead of {}", self.size))
            }
            Ok((_, digest)) if digest != self.digest => Some("the digest is not the source's".into()),
            Ok(_) => None,
        }
    }
}

/// Size in bytes and digest of a file, by reading it.
fn digest_of(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; BLOCK];
    let mut size = 0;
    loop {
        match file.read(&mut block)? {
            0 => return Ok((size, hasher.finalize().to_hex().to_string())),
            n => {
                hasher.update(&block[..n]);
                size += n as u64;
            }
        }
    }
}

/// A stream of any length out of a random megabytes-sized ring, each block stamped with its index as the
/// stream comes past it, so that no two blocks are the same and one taken for another shows in the digest.
pub(crate) struct Generated {
    ring: Vec<u8>,
    /// Offset in the stream up to which blocks are stamped: a multiple of [`BLOCK`].
    stamped: u64,
}

/// Larger than the cache that a core has to itself, and what udpx's generated source has: neither's is the warmer.
const RING: usize = 8 * BLOCK;

impl Generated {
    pub(crate) fn new() -> Generated {
        let mut ring = vec![0; RING];
        blake3::Hasher::new_derive_key("udpx-bench 2026 generated source").finalize_xof().fill(&mut ring);
        Generated { ring, stamped: 0 }
    }

    /// Makes the stream readable up to `end`. Bytes more than [`RING`] before it are gone, but for those in
    /// blocks that `end` has not reached.
    pub(crate) fn advance(&mut self, end: u64) {
        while self.stamped < end {
            let place = Generated::place(self.stamped);
            self.ring[place..place + 8].copy_from_slice(&self.stamped.to_le_bytes());
            self.stamped += BLOCK as u64;
        }
    }

    /// At most `len` bytes of the stream at `offset`, all before the end that [`Self::advance`] was given; fewer where the
    /// ring wraps.
    pub(crate) fn at(&self, offset: u64, len: usize) -> &[u8] {
        let start = Generated::place(offset);
        &self.ring[start..RING.min(start + len)]
    }

    fn place(offset: u64) -> usize {
        // Less than RING, which is a usize.
        (offset % RING as u64) as usize
    }
}

/// The digest of bytes that pass in order, or nothing where the figure is taken without it.
pub(crate) struct Digest(Option<Box<blake3::Hasher>>);

impl Digest {
    pub(crate) fn new(wanted: bool) -> Digest {
        Digest(wanted.then(|| Box::new(blake3::Hasher::new())))
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.0 {
            hasher.update(bytes);
        }
    }

    pub(crate) fn finish(self) -> Option<String> {
        self.0.map(|hasher| hasher.finalize().to_hex().to_string())
    }
}

/// Hashes what is sent, a block at a time as the cursor enters it, so that the cipher or the kernel finds it in the cache.
pub(crate) struct SentDigest {
    digest: Digest,
    hashed: u64,
    size: u64,
}

impl SentDigest {
    pub(crate) fn new(wanted: bool, size: u64) -> SentDigest {
        SentDigest { digest: Digest::new(wanted), hashed: 0, size }
    }

    /// Everything before `end` is about to be sent.
    pub(crate) fn advance(&mut self, source: &mut Generated, end: u64) {
        source.advance(end);
        while self.digest.is_wanted() && self.hashed < end {
            let len = (self.size - self.hashed).min(BLOCK as u64);
            // At most BLOCK, and blocks do not wrap.
            self.digest.update(source.at(self.hashed, len as usize));
            self.hashed += len;
        }
    }

    pub(crate) fn finish(self) -> Option<String> {
        self.digest.finish()
    }
}

/// Collects what arrives in order into blocks of [`BLOCK`] bytes and hashes each when it is full.
pub(crate) struct Staging {
    block: Vec<u8>,
    filled: usize,
    digest: Digest,
}

impl Staging {
    /// `piece_max`: the longest piece that will be staged.
    pub(crate) fn new(wanted: bool, piece_max: usize) -> Staging {
        Staging { block: vec![0; BLOCK + piece_max], filled: 0, digest: Digest::new(wanted) }
    }

    /// Where the next `len` bytes go.
    pub(crate) fn next(&mut self, len: usize) -> &mut [u8] {
        &mut self.block[self.filled..self.filled + len]
    }

    /// Those `len` bytes are there now.
    pub(crate) fn commit(&mut self, len: usize) {
        self.filled += len;
        if self.filled >= BLOCK {
            self.digest.update(&self.block[..BLOCK]);
            // The tail of a piece that crossed the end of the block begins the next one.
            self.block.copy_within(BLOCK..self.filled, 0);
            self.filled -= BLOCK;
        }
    }

    pub(crate) fn finish(mut self) -> Option<String> {
        self.digest.update(&self.block[..self.filled]);
        self.digest.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_blocks_of_the_generated_stream_are_the_same() {
        let mut source = Generated::new();
        source.advance(1);
        let first = source.at(0, BLOCK).to_vec();
        source.advance(RING as u64 + 1);
        let again = source.at(RING as u64, BLOCK).to_vec();
        assert_ne!(first, again);
        assert_eq!(first[8..], again[8..]);
    }

    #[test]
    fn the_stream_does_not_depend_on_how_it_is_cut() {
        let (mut whole, mut cut) = (Generated::new(), Generated::new());
        let mut digests = [blake3::Hasher::new(), blake3::Hasher::new()];
        for block in 0..30 {
            whole.advance((block + 1) * BLOCK as u64);
            digests[0].update(whole.at(block * BLOCK as u64, BLOCK));
        }
        let (mut offset, end) = (0, 30 * BLOCK as u64);
        while offset < end {
            let len = 64_768.min(end - offset);
            cut.advance(offset + len);
            let part = cut.at(offset, len as usize);
            digests[1].update(part);
            offset += part.len() as u64;
        }
        assert_eq!(digests[0].finalize(), digests[1].finalize());
    }

    #[test]
    fn a_copy_is_told_from_anything_else() {
        let dir = tempfile::tempdir().unwrap();
        let source = SourceFile::create(dir.path().join("source"), 3 * BLOCK as u64 + 7).unwrap();
        let copy = dir.path().join("copy");
        std::fs::copy(&source.path, &copy).unwrap();
        assert_eq!(source.difference(&copy), None);
        let mut bytes = std::fs::read(&copy).unwrap();
        bytes[BLOCK] ^= 1;
        std::fs::write(&copy, &bytes).unwrap();
        assert_eq!(source.difference(&copy).unwrap(), "the digest is not the source's");
        std::fs::write(&copy, &bytes[1..]).unwrap();
        assert!(source.difference(&copy).unwrap().contains("bytes arrived instead of"));
    }

    #[test]
    fn both_ends_digests_agree_whatever_the_pieces() {
        let size = 3 * BLOCK as u64 + 5;
        let (mut source, mut sent) = (Generated::new(), SentDigest::new(true, size));
        let mut staging = Staging::new(true, 1424);
        let mut offset = 0;
        while offset < size {
            let len = (size - offset).min(1424);
            sent.advance(&mut source, offset + len);
            let len = len as usize;
            staging.next(len).copy_from_slice(source.at(offset, len));
            staging.commit(len);
            offset += len as u64;
        }
        let digest = sent.finish();
        assert!(digest.is_some());
        assert_eq!(digest, staging.finish());
    }
}
