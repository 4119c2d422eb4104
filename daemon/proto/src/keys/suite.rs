//! Cipher suites, and the key of one epoch under one of them.

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::schedule::{KeyMaterial, TrafficSecret};

/// Bytes of a tag.
pub const TAG_LEN: usize = 16;

/// How the packets of a session are sealed; chosen by the responder (PROTOCOL.md, "Handshake").
#[derive(Copy, Clone, PartialEq, Eq, Debug, Hash)]
pub enum Suite {
    /// AES-256-GCM: the choice wherever both CPUs have AES instructions.
    Aes256Gcm,
    /// ChaCha20-Poly1305: fast, and free of timing leaks, without them.
    ChaCha20Poly1305,
    /// No secrecy, and a tag that only catches damage: for simulations of millions of packets.
    #[cfg(feature = "testing")]
    Null,
}

impl Suite {
    /// The number on the wire.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::Aes256Gcm => 1,
            Self::ChaCha20Poly1305 => 2,
            #[cfg(feature = "testing")]
            Self::Null => 255,
        }
    }

    /// The suite with this number on the wire.
    #[must_use]
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Aes256Gcm),
            2 => Some(Self::ChaCha20Poly1305),
            #[cfg(feature = "testing")]
            255 => Some(Self::Null),
            _ => None,
        }
    }

    /// Forged packets that one key may be tried with before the session has to end
    /// (draft-irtf-cfrg-aead-limits, for packets up to 2^16 bytes).
    pub(super) const fn integrity_limit(self) -> u64 {
        match self {
            Self::Aes256Gcm => 1 << 52,
            Self::ChaCha20Poly1305 => 1 << 36,
            #[cfg(feature = "testing")]
            Self::Null => u64::MAX,
        }
    }
}

/// The key object of one epoch of one direction of one lane.
pub(crate) enum PacketKey {
    Aead {
        key: LessSafeKey,
        iv: [u8; 12],
    },
    #[cfg(feature = "testing")]
    Null {
        seed: u64,
    },
}

impl PacketKey {
    pub(super) fn new(secret: &TrafficSecret, suite: Suite) -> Self {
        let material = secret.material(suite);
        let algorithm = match suite {
            Suite::Aes256Gcm => &AES_256_GCM,
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            #[cfg(feature = "testing")]
            Suite::Null => {
                let [a, b, c, d, e, f, g, h, ..] = material.key;
                return Self::Null { seed: u64::from_le_bytes([a, b, c, d, e, f, g, h]) };
            }
        };
        let key = UnboundKey::new(algorithm, &material.key).expect("both algorithms take 32 bytes of key");
        Self::Aead { key: LessSafeKey::new(key), iv: material.iv }
    }

    /// Ciphertext of `plaintext` into `ciphertext`, of the same length, and its tag into `tag`.
    pub(crate) fn seal(
        &self,
        number: u64,
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
        tag: &mut [u8],
    ) {
        match self {
            Self::Aead { key, iv } => {
                let nonce = Nonce::assume_unique_for_key(KeyMaterial::nonce(iv, number));
                key.seal_out_of_place_scatter(nonce, Aad::from(aad), plaintext, ciphertext, &[], tag)
                    .expect("sealing only fails for wrong lengths, which the caller has made right");
            }
            #[cfg(feature = "testing")]
            Self::Null { seed } => {
                ciphertext.copy_from_slice(plaintext);
                tag.copy_from_slice(&null_tag(*seed, number, aad, ciphertext));
            }
        }
    }

    /// Encrypts `text` where it stands and puts the tag into `tag`.
    pub(crate) fn seal_in_place(&self, number: u64, aad: &[u8], text: &mut [u8], tag: &mut [u8]) {
        match self {
            Self::Aead { key, iv } => {
                let nonce = Nonce::assume_unique_for_key(KeyMaterial::nonce(iv, number));
                key.seal_in_place_scatter(nonce, Aad::from(aad), text, &[], tag)
                    .expect("sealing only fails for wrong lengths, which the caller has made right");
            }
            #[cfg(feature = "testing")]
            Self::Null { seed } => tag.copy_from_slice(&null_tag(*seed, number, aad, text)),
        }
    }

    /// Plaintext of `ciphertext` into `out`, of the same length. False, and garbage in `out`, if the tag
    /// does not verify.
    pub(super) fn open(
        &self,
        number: u64,
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8],
        out: &mut [u8],
    ) -> bool {
        match self {
            Self::Aead { key, iv } => {
                let nonce = Nonce::assume_unique_for_key(KeyMaterial::nonce(iv, number));
                key.open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, out).is_ok()
            }
            #[cfg(feature = "testing")]
            Self::Null { seed } => {
                let good = null_tag(*seed, number, aad, ciphertext) == *tag;
                if good {
                    out.copy_from_slice(ciphertext);
                }
                good
            }
        }
    }
}

/// A 64-bit checksum of number, authenticated data and payload, written twice.
#[cfg(feature = "testing")]
fn null_tag(seed: u64, number: u64, aad: &[u8], payload: &[u8]) -> [u8; TAG_LEN] {
    use xxhash_rust::xxh3::xxh3_64_with_seed;
    let head = xxh3_64_with_seed(aad, seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let sum = u128::from(xxh3_64_with_seed(payload, head));
    (sum | sum << 64).to_le_bytes()
}
