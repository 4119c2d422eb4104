//! The control socket: frames, requests, and what comes back.

use udpx_control::frame::Decoder;
use udpx_control::schema::{Request, Response};

/// What a program sends: bytes in two pieces, of which the first byte says how long the first is. Each frame is read as
/// either end would.
pub fn control(data: &[u8]) {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let mut decoder = Decoder::default();
    for piece in [first, second] {
        decoder.push(piece);
        while let Ok(Some(frame)) = decoder.next_frame() {
            read(frame.json());
        }
    }
    // Most inputs have no right length in front.
    read(bytes);
}

fn read(json: &[u8]) {
    match Request::parse(json) {
        Ok(request) => {
            let written = serde_json::to_vec(&request).expect("the schema has only strings as keys");
            assert!(Request::parse(&written).is_ok_and(|again| again == request));
        }
        Err(error) => assert!(!serde_json::to_string(&error.response()).expect("as above").is_empty()),
    }
    if let Ok(response) = serde_json::from_slice::<Response>(json) {
        assert!(serde_json::to_vec(&response).is_ok());
    }
}
