//! Stream 0 at its sender: a byte queue that is kept until the peer has acknowledged it.

use std::collections::VecDeque;

use crate::limits::{CONTROL_QUEUE_MAX, CONTROL_WINDOW};

/// The queue of control bytes.
#[derive(Debug)]
pub(crate) struct ControlSend {
    queue: VecDeque<u8>,
    /// Offset of `queue[0]`: everything below is acknowledged.
    base: u64,
    /// Next byte that was never sent.
    cursor: u64,
    /// The peer's limit.
    limit: u64,
    lost: Vec<(u64, u64)>,
    /// Acknowledged ranges above `base`, sorted.
    acked: Vec<(u64, u64)>,
}

impl ControlSend {
    pub(crate) fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            base: 0,
            cursor: 0,
            limit: CONTROL_WINDOW,
            lost: Vec::new(),
            acked: Vec::new(),
        }
    }

    /// Queues a whole message; false if the queue is full.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        if self.queue.len() + bytes.len() > CONTROL_QUEUE_MAX {
            return false;
        }
        self.queue.extend(bytes);
        true
    }

    pub(crate) fn set_limit(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    /// Bytes that the peer does not have yet.
    pub(crate) fn unacked(&self) -> usize {
        self.queue.len()
    }

    /// More waits than the peer has allowed.
    pub(crate) fn is_blocked(&self) -> bool {
        self.cursor >= self.limit && self.cursor < self.base + self.queue.len() as u64
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.lost.is_empty() || self.cursor < self.limit.min(self.base + self.queue.len() as u64)
    }

    /// The next range to send, at most `max` bytes: (offset, length, sent before).
    pub(crate) fn next_range(&mut self, max: usize) -> Option<(u64, usize, bool)> {
        if max == 0 {
            return None;
        }
        while let Some(range) = self.lost.first_mut() {
            if range.1 <= self.base {
                self.lost.remove(0);
                continue;
            }
            range.0 = range.0.max(self.base);
            let len = ((range.1 - range.0) as usize).min(max);
            let offset = range.0;
            range.0 += len as u64;
            if range.0 == range.1 {
                self.lost.remove(0);
            }
            return Some((offset, len, true));
        }
        let end = self.limit.min(self.base + self.queue.len() as u64);
        let len = (end.saturating_sub(self.cursor) as usize).min(max);
        if len == 0 {
            return None;
        }
        let offset = self.cursor;
        self.cursor += len as u64;
        Some((offset, len, false))
    }

    /// The peer is not known to have all bytes below `offset`, so those from there on are kept.
    pub(crate) fn holds(&self, offset: u64) -> bool {
        offset >= self.base
    }

    /// The bytes of a range that [`next_range`](Self::next_range) gave, in at most two pieces.
    pub(crate) fn bytes(&self, offset: u64, len: usize) -> (&[u8], &[u8]) {
        let at = (offset - self.base) as usize;
        let (front, back) = self.queue.as_slices();
        if at >= front.len() {
            let at = at - front.len();
            (&back[at..at + len], &[])
        } else {
            let first = len.min(front.len() - at);
            (&front[at..at + first], &back[..len - first])
        }
    }

    pub(crate) fn on_acked(&mut self, offset: u64, len: u64) {
        let at = self.acked.partition_point(|&(start, _)| start < offset);
        self.acked.insert(at, (offset, offset + len));
        while let Some(&(start, end)) = self.acked.first() {
            if start > self.base {
                break;
            }
            if end > self.base {
                self.queue.drain(..(end - self.base) as usize);
                self.base = end;
            }
            self.acked.remove(0);
        }
    }

    pub(crate) fn on_lost(&mut self, offset: u64, len: u64) {
        let acked = self.acked.iter().any(|&(start, end)| start <= offset && offset + len <= end);
        if offset + len > self.base && !acked {
            self.lost.push((offset, offset + len));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_until_acknowledged_in_any_order() {
        let mut control = ControlSend::new();
        assert!(control.push(b"hello world"));
        assert_eq!(control.next_range(5), Some((0, 5, false)));
        assert_eq!(control.next_range(50), Some((5, 6, false)));
        assert!(!control.has_work());
        control.on_acked(5, 6);
        control.on_lost(0, 5);
        let (offset, len, again) = control.next_range(50).expect("lost");
        assert!(again);
        assert_eq!(control.bytes(offset, len), (&b"hello"[..], &b""[..]));
        control.on_acked(0, 5);
        assert_eq!(control.unacked(), 0);
        assert_eq!(control.next_range(9), None);
    }

    #[test]
    fn the_peers_limit_holds() {
        let mut control = ControlSend::new();
        control.push(&vec![0; CONTROL_WINDOW as usize + 10]);
        assert_eq!(control.next_range(usize::MAX), Some((0, CONTROL_WINDOW as usize, false)));
        assert_eq!(control.next_range(9), None);
        control.set_limit(CONTROL_WINDOW + 4);
        assert_eq!(control.next_range(9), Some((CONTROL_WINDOW, 4, false)));
    }
}
