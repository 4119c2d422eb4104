//! SACK: what of a lane's packet numbers has arrived, with explicit coverage (PROTOCOL.md 5.4).
//!
//! A SACK speaks of the numbers in [lo, hi) only; absence outside means nothing. `lo` is a multiple of
//! 64, so both ends work a 64-bit word at a time. The map is empty when everything arrived, a list of
//! holes when there are few, and a bitmap of little-endian words otherwise.

use core::ops::Range;

use bytemuck::{Pod, Zeroable, bytes_of};

use super::le::{U16, U32, U64};
use crate::LaneId;

/// The fixed part of a SACK.
#[derive(Copy, Clone, Pod, Zeroable, Debug)]
#[repr(C)]
pub struct SackBody {
    lane: U32,
    delay_us: U32,
    newest: U64,
    lo: U64,
    span: U32,
    /// Packets lost to this end's own lack of buffers, on this lane, ever.
    overruns: U32,
    ect0: U32,
    ect1: U32,
    ce: U32,
    map: U16,
    reserved: U16,
}

const _: () = assert!(size_of::<SackBody>() == 48 && align_of::<SackBody>() == 1);

/// Bytes of a SACK frame without its map.
pub const SACK_FIXED: usize = size_of::<SackBody>() + super::frame::FRAME_HEADER;

/// How the map is written.
const MAP_FULL: u16 = 0;
const MAP_HOLES: u16 = 1;
const MAP_BITS: u16 = 2;

#[derive(Copy, Clone, Pod, Zeroable, Debug)]
#[repr(C)]
struct Hole {
    start: U32,
    len: U32,
}

const HOLE: usize = size_of::<Hole>();
const _: () = assert!(HOLE == 8 && align_of::<Hole>() == 1);

/// What a SACK says beside its map.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct SackInfo {
    /// The lane by the name that the sender of the *data* gave its direction: the id in the packets.
    pub lane: LaneId,
    /// Time from the arrival of `newest` to the sending of this SACK, in microseconds.
    pub delay_us: u32,
    /// The highest number received.
    pub newest: u64,
    /// First number covered, a multiple of 64.
    pub lo: u64,
    /// One past the last number covered.
    pub hi: u64,
    /// Packets that the receiver lost for want of buffers, ever, wrapping.
    pub overruns: u32,
    /// ECT(0), ECT(1) and CE marks seen, ever, wrapping.
    pub ecn: [u32; 3],
}

/// A parsed SACK.
#[derive(Debug)]
pub struct Sack<'a> {
    /// Its fixed part.
    pub info: SackInfo,
    map: Map<'a>,
}

#[derive(Debug)]
enum Map<'a> {
    Full,
    Holes(&'a [Hole]),
    Bits(&'a [U64]),
}

impl<'a> Sack<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let (head, map) = super::split_off::<SackBody>(body)?;
        let (lo, span) = (head.lo.get(), head.span.get());
        let hi = lo.checked_add(u64::from(span))?;
        if !lo.is_multiple_of(64) || span == 0 || span as usize > crate::limits::PACKETS_TRACKED_MAX {
            return None;
        }
        let map = match head.map.get() {
            MAP_FULL if map.is_empty() => Map::Full,
            MAP_HOLES => Map::Holes(parse_holes(map, span)?),
            MAP_BITS if map.len() == (span as usize).div_ceil(64) * 8 => {
                Map::Bits(bytemuck::try_cast_slice(map).ok()?)
            }
            _ => return None,
        };
        Some(Self {
            info: SackInfo {
                lane: LaneId(head.lane.get()),
                delay_us: head.delay_us.get(),
                newest: head.newest.get(),
                lo,
                hi,
                overruns: head.overruns.get(),
                ecn: [head.ect0.get(), head.ect1.get(), head.ce.get()],
            },
            map,
        })
    }

    /// Calls `each(first number of the word, received, covered)` for every 64-bit word of the coverage
    /// that has numbers in `of_interest`.
    pub fn for_each_word(&self, of_interest: Range<u64>, mut each: impl FnMut(u64, u64, u64)) {
        let SackInfo { lo, hi, .. } = self.info;
        let from = lo.max(of_interest.start & !63);
        let mut holes = match self.map {
            Map::Holes(holes) => holes,
            _ => &[],
        };
        for word in (from..hi.min(of_interest.end)).step_by(64) {
            let index = ((word - lo) / 64) as usize;
            let left = hi - word;
            let covered = if left >= 64 { u64::MAX } else { (1 << left) - 1 };
            let received = match self.map {
                Map::Full => u64::MAX,
                Map::Bits(bits) => bits[index].get(),
                Map::Holes(_) => !missing_in_word(&mut holes, word - lo),
            };
            each(word, received & covered, covered);
        }
    }
}

/// Holes in order, apart from each other, inside the coverage.
fn parse_holes(map: &[u8], span: u32) -> Option<&[Hole]> {
    let holes: &[Hole] = bytemuck::try_cast_slice(map).ok()?;
    let mut at = 0u32;
    for hole in holes {
        let start = hole.start.get();
        let end = start.checked_add(hole.len.get())?;
        if start < at || hole.len.get() == 0 || end > span {
            return None;
        }
        at = end;
    }
    Some(holes)
}

/// The bits of the word that begins `base` above `lo` which lie in holes; drops passed holes.
fn missing_in_word(holes: &mut &[Hole], base: u64) -> u64 {
    let mut missing = 0;
    while let Some((hole, rest)) = holes.split_first() {
        let start = u64::from(hole.start.get());
        let end = start + u64::from(hole.len.get());
        if start >= base + 64 {
            break;
        }
        if end > base {
            let from = start.max(base) - base;
            let to = end.min(base + 64) - base;
            let width = to - from;
            missing |= if width == 64 { u64::MAX } else { ((1 << width) - 1) << from };
        }
        if end > base + 64 {
            break;
        }
        *holes = rest;
    }
    missing
}

/// Bytes of a map for which there is room from the start.
const MAP_ROOM: usize = 2048;

/// Builds the map of a SACK in a reused buffer.
#[derive(Debug)]
pub struct SackBuilder {
    map: Vec<u8>,
}

impl Default for SackBuilder {
    /// With room for the map of a packet of usual size, so that it does not grow hole by hole.
    fn default() -> Self {
        Self { map: Vec::with_capacity(MAP_ROOM) }
    }
}

impl SackBuilder {
    /// Words that a bitmap may have in `room` bytes of map.
    #[must_use]
    pub const fn words_in(room: usize) -> usize {
        room / 8
    }

    /// The frame's fixed part and map for `info`, whose received bits are `words` (from `info.lo` on),
    /// in the shorter of the encodings.
    pub fn build(&mut self, info: &SackInfo, words: &[u64]) -> (SackBody, &[u8]) {
        self.map.clear();
        let span = info.hi - info.lo;
        let bitmap_len = (span as usize).div_ceil(64) * 8;
        let kind = if self.write_holes(span, bitmap_len, words) {
            if self.map.is_empty() { MAP_FULL } else { MAP_HOLES }
        } else {
            self.map.clear();
            for &word in words {
                self.map.extend_from_slice(bytes_of(&U64::new(word)));
            }
            MAP_BITS
        };
        let body = SackBody {
            lane: U32::new(info.lane.0),
            delay_us: U32::new(info.delay_us),
            newest: U64::new(info.newest),
            lo: U64::new(info.lo),
            span: U32::new(span as u32),
            overruns: U32::new(info.overruns),
            ect0: U32::new(info.ecn[0]),
            ect1: U32::new(info.ecn[1]),
            ce: U32::new(info.ecn[2]),
            map: U16::new(kind),
            reserved: U16::new(0),
        };
        (body, &self.map)
    }

    /// Writes the holes; false as soon as they need more than `limit` bytes.
    fn write_holes(&mut self, span: u64, limit: usize, words: &[u64]) -> bool {
        let mut open: Option<u64> = None;
        for (index, &word) in words.iter().enumerate() {
            let base = index as u64 * 64;
            let covered = (span - base).min(64);
            let mut bit = 0;
            while bit < covered {
                let shifted = word >> bit;
                let run = if open.is_some() { shifted.trailing_zeros() } else { shifted.trailing_ones() };
                let run = u64::from(run).min(covered - bit);
                bit += run;
                if bit < covered {
                    match open.take() {
                        Some(start) if !self.push_hole(start, base + bit, limit) => return false,
                        Some(_) => {}
                        None => open = Some(base + bit),
                    }
                }
            }
        }
        open.is_none_or(|start| self.push_hole(start, span, limit))
    }

    fn push_hole(&mut self, start: u64, end: u64, limit: usize) -> bool {
        if self.map.len() + HOLE > limit {
            return false;
        }
        let hole = Hole { start: U32::new(start as u32), len: U32::new((end - start) as u32) };
        self.map.extend_from_slice(bytes_of(&hole));
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(lo: u64, span: u64, words: &[u64]) -> (Vec<u64>, u64) {
        let info = SackInfo {
            lane: LaneId(7),
            delay_us: 3,
            newest: lo + span,
            lo,
            hi: lo + span,
            overruns: 1,
            ecn: [1, 2, 3],
        };
        let mut builder = SackBuilder::default();
        let (body, map) = builder.build(&info, words);
        let mut bytes = bytes_of(&body).to_vec();
        bytes.extend_from_slice(map);
        let sack = Sack::parse(&bytes).expect("what was built parses");
        assert_eq!(sack.info, info);
        let mut out = Vec::new();
        let mut covered_bits = 0;
        sack.for_each_word(0..u64::MAX, |_, received, covered| {
            out.push(received);
            covered_bits += u64::from(covered.count_ones());
        });
        (out, covered_bits)
    }

    proptest! {
        #[test]
        fn maps_survive(lo in 0u64..1000, span in 1u64..2000, dense in 0u8..4, seed in any::<u64>()) {
            let count = span.div_ceil(64);
            let mut state = seed | 1;
            let words: Vec<u64> = (0..count).map(|i| {
                let mut word = u64::MAX;
                for _ in 0..dense {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    word &= !(1 << (state >> 58));
                }
                let left = span - i * 64;
                if left < 64 { word & ((1 << left) - 1) } else { word }
            }).collect();
            let (out, covered) = round_trip(lo * 64, span, &words);
            prop_assert_eq!(out, words);
            prop_assert_eq!(covered, span);
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(sack) = Sack::parse(&bytes) {
                sack.for_each_word(0..u64::MAX, |_, _, _| {});
            }
        }
    }

    #[test]
    fn nothing_missing_needs_no_map_and_everything_missing_one_hole() {
        let (out, _) = round_trip(64, 100, &[u64::MAX, (1 << 36) - 1]);
        assert_eq!(out, [u64::MAX, (1 << 36) - 1]);
        assert_eq!(round_trip(0, 128, &[0, 0]).0, [0, 0]);
    }
}
