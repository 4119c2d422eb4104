//! The decoder under whatever cuts and bytes.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use proptest::prelude::*;
use udpx_control::frame::{Decoder, FrameError, encode};
use udpx_control::limits::FRAME_BYTES_MAX;

/// What a decoder makes of bytes that come in pieces of these sizes, again and again.
fn decode(bytes: &[u8], pieces: &[usize]) -> (Vec<Vec<u8>>, Result<bool, FrameError>) {
    let (mut decoder, mut frames, mut rest) = (Decoder::default(), Vec::new(), bytes);
    let mut pieces = pieces.iter().copied().filter(|piece| *piece > 0).cycle();
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(pieces.next().unwrap_or(1).min(rest.len()));
        decoder.push(piece);
        rest = behind;
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame.json().to_vec()),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    (frames, Ok(decoder.is_partial()))
}

proptest! {
    #[test]
    fn cuts_make_no_difference(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..20),
        pieces in prop::collection::vec(1usize..100, 1..10),
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| encode(frame).unwrap()).collect();
        prop_assert_eq!(decode(&bytes, &pieces), (frames, Ok(false)));
    }

    #[test]
    fn the_end_of_a_stream_within_a_frame_is_seen(
        frame in prop::collection::vec(any::<u8>(), 1..300),
        cut: prop::sample::Index,
        pieces in prop::collection::vec(1usize..100, 1..10),
    ) {
        let bytes = encode(&frame).unwrap();
        let cut = cut.index(bytes.len());
        prop_assert_eq!(decode(&bytes[..cut], &pieces), (vec![], Ok(cut > 0)));
    }

    #[test]
    fn any_bytes_are_frames_or_an_error(bytes: Vec<u8>, pieces in prop::collection::vec(1usize..20, 1..10)) {
        let (frames, end) = decode(&bytes, &pieces);
        prop_assert!(frames.iter().all(|frame| (1..=FRAME_BYTES_MAX).contains(&frame.len())));
        prop_assert_eq!(decode(&bytes, &[usize::MAX]), (frames, end));
    }

    #[test]
    fn a_length_beyond_the_cap_ends_it_after_four_bytes(
        len in u32::try_from(FRAME_BYTES_MAX).unwrap() + 1..,
        good in prop::collection::vec(any::<u8>(), 1..50),
        rest: Vec<u8>,
    ) {
        let mut bytes = encode(&good).unwrap();
        bytes.extend(len.to_le_bytes());
        let error = Err(FrameError::TooLarge { bytes: len.into() });
        prop_assert_eq!(decode(&bytes, &[1]), (vec![good.clone()], error));
        bytes.extend(rest);
        prop_assert_eq!(decode(&bytes, &[7]), (vec![good], error));
    }
}

#[test]
fn an_empty_frame_is_an_error_that_stays() {
    assert_eq!(encode(b""), Err(FrameError::Empty));
    let mut decoder = Decoder::default();
    decoder.push(&[0, 0, 0, 0, 1, 0, 0, 0, b'1']);
    assert_eq!(decoder.next_frame(), Err(FrameError::Empty));
    decoder.push(&[1, 0, 0, 0, b'1']);
    assert_eq!(decoder.next_frame(), Err(FrameError::Empty));
    assert!(!decoder.is_partial());
}
