//! Stream 0 at its receiver: bytes are put in order and cut into messages.

use crate::limits::{CONTROL_WINDOW, MESSAGE_MAX, RUNS_MAX};
use crate::messages::{ENVELOPE, Envelope};

/// Reassembly of the control stream within a fixed window.
#[derive(Debug)]
pub(crate) struct ControlRecv {
    /// Bytes from `next - taken` on; holes hold zeros.
    buffer: Vec<u8>,
    /// Bytes at the front of `buffer` whose messages were taken: dropped together.
    taken: usize,
    /// Everything below was taken.
    next: u64,
    /// Ranges that were received, sorted and disjoint, all above `next`.
    runs: Vec<(u64, u64)>,
}

/// The stream holds something that no message can be.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct BadControl;

impl ControlRecv {
    pub(crate) fn new() -> Self {
        Self { buffer: Vec::new(), taken: 0, next: 0, runs: Vec::new() }
    }

    /// The highest offset that the peer may use, exclusive.
    pub(crate) fn limit(&self) -> u64 {
        self.next + CONTROL_WINDOW
    }

    /// Takes bytes in any order; false if they lie beyond the window.
    pub(crate) fn insert(&mut self, offset: u64, data: &[u8]) -> bool {
        let end = offset + data.len() as u64;
        if end > self.limit() || self.runs.len() >= RUNS_MAX {
            return false;
        }
        if end <= self.next || data.is_empty() {
            return true;
        }
        let skip = self.next.saturating_sub(offset) as usize;
        let (offset, data) = (offset + skip as u64, &data[skip..]);
        let at = self.taken + (offset - self.next) as usize;
        if self.buffer.len() < at + data.len() {
            self.buffer.resize(at + data.len(), 0);
        }
        self.buffer[at..at + data.len()].copy_from_slice(data);
        self.add_run(offset, end);
        true
    }

    fn add_run(&mut self, mut start: u64, mut end: u64) {
        let first = self.runs.partition_point(|&(_, e)| e < start);
        let last = self.runs.partition_point(|&(s, _)| s <= end);
        if first < last {
            start = start.min(self.runs[first].0);
            end = end.max(self.runs[last - 1].1);
        }
        self.runs.splice(first..last, [(start, end)]);
    }

    /// The next whole message: its envelope and body.
    ///
    /// # Errors
    /// [`BadControl`] when a length passes the limit; the session cannot go on.
    pub(crate) fn next_message(&mut self) -> Result<Option<(Envelope, Vec<u8>)>, BadControl> {
        let ready = match self.runs.first() {
            Some(&(start, end)) if start == self.next => (end - start) as usize,
            _ => return Ok(self.compact()),
        };
        let Some(head) = self.buffer[self.taken..].get(..ENVELOPE).filter(|_| ready >= ENVELOPE) else {
            return Ok(self.compact());
        };
        let envelope: Envelope = bytemuck::pod_read_unaligned(head);
        let length = envelope.length();
        if length > MESSAGE_MAX {
            return Err(BadControl);
        }
        if ready < ENVELOPE + length {
            return Ok(self.compact());
        }
        let body = self.buffer[self.taken + ENVELOPE..][..length].to_vec();
        self.taken += ENVELOPE + length;
        self.next += (ENVELOPE + length) as u64;
        self.runs[0].0 = self.next;
        if self.runs[0].0 == self.runs[0].1 {
            self.runs.remove(0);
        }
        Ok(Some((envelope, body)))
    }

    /// Drops what was taken, once nothing more is to be had.
    fn compact(&mut self) -> Option<(Envelope, Vec<u8>)> {
        self.buffer.drain(..core::mem::take(&mut self.taken));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_whole_and_in_order_from_any_pieces() {
        let mut bytes = Vec::new();
        for body in [&b"abc"[..], b"", b"0123456789"] {
            bytes.extend_from_slice(bytemuck::bytes_of(&Envelope::new(7, 1, body.len())));
            bytes.extend_from_slice(body);
        }
        let mut control = ControlRecv::new();
        for at in (0..bytes.len()).rev().step_by(2) {
            let start = at.saturating_sub(2);
            assert!(control.insert(start as u64, &bytes[start..=at]));
        }
        control.insert(0, &bytes);
        let mut got = vec![];
        while let Ok(Some((_, body))) = control.next_message() {
            got.push(body);
        }
        assert_eq!(got, [b"abc".to_vec(), vec![], b"0123456789".to_vec()]);
        assert!(control.insert(0, &bytes), "late copies are harmless");
        assert!(!control.insert(control.limit(), b"x"));
    }

    #[test]
    fn an_absurd_length_is_an_error() {
        let mut control = ControlRecv::new();
        control.insert(0, bytemuck::bytes_of(&Envelope::new(7, 1, MESSAGE_MAX + 1)));
        assert_eq!(control.next_message().err(), Some(BadControl));
    }
}
