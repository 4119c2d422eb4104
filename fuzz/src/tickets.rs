//! Tickets: as text, and as bytes whose checksum is right, which chance would never hit.

use udpxd::ticket::{ADDRESSES_MAX, PREFIX, Ticket};

/// A text; or, behind an odd first byte, the bytes of a ticket without their length and checksum.
pub fn ticket(data: &[u8]) {
    let Some((&mode, rest)) = data.split_first() else { return };
    let text = if mode % 2 == 0 { String::from_utf8_lossy(rest).into_owned() } else { signed(rest) };
    let Ok(ticket) = Ticket::parse(&text) else { return };
    assert!((1..=ADDRESSES_MAX).contains(&ticket.addresses.len()));
    assert!(Ticket::parse(&ticket.text()).is_ok_and(|again| again == ticket), "{text}");
    let shown = format!("{ticket:?}");
    assert!(!shown.contains(&ticket.text()[..]), "a ticket shows itself");
}

/// As TICKETS.md 2 has it.
fn signed(bytes: &[u8]) -> String {
    let mut bytes = bytes[..bytes.len().min(250)].to_vec();
    if let Some(length) = bytes.get_mut(1) {
        *length = 0;
    }
    let whole = bytes.len() + 4;
    if let Some(length) = bytes.get_mut(1) {
        *length = whole as u8;
    }
    let sum = blake3::derive_key("udpx v1 ticket checksum", &bytes);
    bytes.extend(&sum[..4]);
    let mut text = PREFIX.to_owned();
    let (mut bits, mut have) = (0u32, 0);
    for byte in bytes {
        (bits, have) = (bits << 8 | u32::from(byte), have + 8);
        while have >= 5 {
            have -= 5;
            text.push(letter(bits >> have));
        }
    }
    if have > 0 {
        text.push(letter(bits << (5 - have)));
    }
    text
}

fn letter(value: u32) -> char {
    char::from(b"abcdefghijklmnopqrstuvwxyz234567"[(value & 31) as usize])
}
