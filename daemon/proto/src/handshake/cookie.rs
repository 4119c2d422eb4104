//! Stateless proof that a HELLO's source address is real.
//!
//! The cookie is a MAC of the address under a secret that lives for two minutes, so the acceptor keeps
//! nothing for it. It travels masked with a key stream bound to the HELLO that caused it (its MAC, which
//! no two HELLOs share), so only who sent or saw that HELLO can use it.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use super::mac::{MacKey, same};
use crate::{Random, Time};

/// Bytes of a cookie.
pub(super) const COOKIE_LEN: usize = 16;

/// No cookie.
pub(super) const NO_COOKIE: [u8; COOKIE_LEN] = [0; COOKIE_LEN];

/// Life of a secret; cookies made with the one before it are still good.
const SECRET_LIFE: Duration = Duration::from_secs(120);

/// The secrets that cookies are made and checked with.
pub(super) struct CookieJar {
    current: MacKey,
    previous: Option<MacKey>,
    since: Time,
}

impl CookieJar {
    pub(super) fn new(now: Time, rng: &mut dyn Random) -> Self {
        Self { current: secret(rng), previous: None, since: now }
    }

    /// Makes a new secret if the current one is old. Called before the others.
    pub(super) fn rotate(&mut self, now: Time, rng: &mut dyn Random) {
        if now < self.since + SECRET_LIFE {
            return;
        }
        let still_good = now < self.since + SECRET_LIFE * 2;
        let old = core::mem::replace(&mut self.current, secret(rng));
        self.previous = still_good.then_some(old);
        self.since = now;
    }

    /// The cookie of an address.
    pub(super) fn bake(&self, address: SocketAddr) -> [u8; COOKIE_LEN] {
        self.current.mac(&address_bytes(address))
    }

    /// Whether `cookie` was made for this address not long ago.
    pub(super) fn check(&self, address: SocketAddr, cookie: &[u8; COOKIE_LEN]) -> bool {
        let bytes = address_bytes(address);
        [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .any(|secret| same(&secret.mac(&bytes), cookie))
    }
}

/// Masks a cookie, or takes the mask off: `echo` is the MAC of the HELLO that it answers.
pub(super) fn mask(key: &MacKey, echo: &[u8; 16], cookie: &[u8; COOKIE_LEN]) -> [u8; COOKIE_LEN] {
    let stream = key.mac(echo);
    core::array::from_fn(|i| cookie[i] ^ stream[i])
}

fn secret(rng: &mut dyn Random) -> MacKey {
    let mut bytes = [0; 32];
    rng.fill(&mut bytes);
    MacKey::random(bytes)
}

/// Address and port; an IPv4 address reads the same through a socket of either family.
fn address_bytes(address: SocketAddr) -> [u8; 18] {
    let ip = match address.ip().to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&address.port().to_le_bytes());
    bytes
}
