//! Base32 of RFC 4648 in small letters and without padding: letters and digits only, so that a double click selects
//! the whole, and no 0, 1, 8 or 9 that could be taken for a letter.

use zeroize::Zeroizing;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Characters of so many bytes.
pub(super) const fn len(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// Writes `bytes` behind what `text` holds.
pub(super) fn encode(bytes: &[u8], text: &mut String) {
    for group in bytes.chunks(5) {
        let bits = (0..5).fold(0u64, |bits, at| bits << 8 | u64::from(group.get(at).copied().unwrap_or(0)));
        let letters = (0..len(group.len())).map(|at| ALPHABET[(bits >> (35 - 5 * at) & 31) as usize]);
        text.extend(letters.map(char::from));
    }
}

/// Bytes of these letters, each a value below 32; what is left of the last one is given back.
pub(super) fn decode(values: &[u8]) -> (Zeroizing<Vec<u8>>, u8) {
    let mut bytes = Zeroizing::new(Vec::with_capacity(values.len() * 5 / 8));
    let (mut bits, mut count) = (0u32, 0);
    for &value in values {
        bits = bits << 5 | u32::from(value);
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    // Of a length that no whole bytes have (1, 3 or 6 letters too many) this is more than four bits.
    (bytes, if count < 5 { bits as u8 } else { u8::MAX })
}

/// The value of a letter.
pub(super) fn value(letter: char) -> Option<u8> {
    match letter.to_ascii_lowercase() {
        letter @ 'a'..='z' => Some(letter as u8 - b'a'),
        digit @ '2'..='7' => Some(digit as u8 - b'2' + 26),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_rfc() {
        for (plain, coded) in [
            ("", ""),
            ("f", "my"),
            ("fo", "mzxq"),
            ("foo", "mzxw6"),
            ("foob", "mzxw6yq"),
            ("fooba", "mzxw6ytb"),
        ] {
            let mut text = String::new();
            encode(plain.as_bytes(), &mut text);
            assert_eq!((text.as_str(), len(plain.len())), (coded, coded.len()));
            let values: Vec<u8> = coded.chars().map(|letter| value(letter).unwrap()).collect();
            let (bytes, rest) = decode(&values);
            assert_eq!((bytes.as_slice(), rest), (plain.as_bytes(), 0));
        }
        assert!("0189-_=".chars().all(|other| value(other).is_none()));
        assert_eq!((value('A'), value('7'), value('\u{e4}')), (Some(0), Some(31), None));
        assert_ne!(decode(&[0; 1]).1, 0, "no bytes have one letter");
    }
}
