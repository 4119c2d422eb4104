//! The bytes of a demo: made so that no cache, compression or lucky guess can pass for them, and compared one by one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use udpxd::Code;

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::{escape, units};

/// Writes `size` pseudo-random bytes, other ones at each run.
pub(super) fn generate(path: &Path, size: u64, interrupt: &Interrupt) -> Result<(), Failure> {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
    let mut state = seed | 1;
    let mut file =
        OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| failed(path, &error))?;
    let mut piece = vec![0; PIECE];
    let mut left = size;
    while left > 0 {
        interrupt.check()?;
        fill(&mut piece, &mut state);
        let part = PIECE.min(usize::try_from(left).unwrap_or(PIECE));
        file.write_all(&piece[..part]).map_err(|error| failed(path, &error))?;
        left -= part as u64;
    }
    Ok(())
}

/// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016).
fn fill(piece: &mut [u8], state: &mut u64) {
    for word in piece.chunks_exact_mut(8) {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        word.copy_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
}

/// Reads both files and fails at the first byte that differs.
pub(super) fn compare(sent: &Path, received: &Path, interrupt: &Interrupt) -> Result<(), Failure> {
    let open = |path| File::open(path).map_err(|error| failed(path, &error));
    let (mut ours, mut theirs) = (open(sent)?, open(received)?);
    let (mut here, mut there) = (vec![0; PIECE], vec![0; PIECE]);
    let mut offset = 0;
    loop {
        interrupt.check()?;
        let read = read_full(&mut ours, &mut here).map_err(|error| failed(sent, &error))?;
        let back = read_full(&mut theirs, &mut there).map_err(|error| failed(received, &error))?;
        if here[..read] != there[..back] {
            let at = offset
                + here.iter().zip(&there).take(read.min(back)).take_while(|(a, b)| a == b).count() as u64;
            let text = format!("the received file differs from the one sent at byte {}", units::count(at));
            return Err(Failure::new(Code::Corrupt, text));
        }
        if read == 0 {
            return Ok(());
        }
        offset += read as u64;
    }
}

/// Fills the buffer unless the file ends.
fn read_full(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    let code = if error.kind() == io::ErrorKind::StorageFull { Code::NoSpace } else { Code::Io };
    Failure::new(code, format!("{}: {error}", escape::path(path)))
}

const PIECE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_wrong_byte_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        let never = Interrupt::default();
        for size in [0, 1, PIECE as u64, 2 * PIECE as u64 + 77] {
            let _ = std::fs::remove_file(&a);
            generate(&a, size, &never).unwrap();
            let mut bytes = std::fs::read(&a).unwrap();
            assert_eq!(bytes.len() as u64, size);
            std::fs::write(&b, &bytes).unwrap();
            compare(&a, &b, &never).unwrap();
            bytes.push(0);
            std::fs::write(&b, &bytes).unwrap();
            assert_eq!(compare(&a, &b, &never).unwrap_err().code, Code::Corrupt);
            if size > 1 {
                bytes.pop();
                bytes[size as usize - 1] ^= 1;
                std::fs::write(&b, &bytes).unwrap();
                let failure = compare(&a, &b, &never).unwrap_err();
                assert!(
                    failure.text.ends_with(&format!("at byte {}", units::count(size - 1))),
                    "{}",
                    failure.text
                );
            }
        }
    }

    #[test]
    fn an_interrupt_ends_both() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let asked = Interrupt::default();
        asked.flag().store(true, std::sync::atomic::Ordering::Release);
        assert_eq!(generate(&path, 1 << 30, &asked).unwrap_err().code, Code::Interrupted);
        assert_eq!(compare(&path, &path, &asked).unwrap_err().code, Code::Interrupted);
    }
}
