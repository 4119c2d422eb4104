//! A place at another machine as people write it: `HOST[:PATH]`, taken apart.
//!
//! An IPv6 address stands in brackets. Behind the colon stands a path beneath the default root, or `/ROOT/path` beneath
//! another. Paths are bytes. What HOST may be (a ticket, a peer's name), and how an error is put, is for who asks.

use std::net::Ipv6Addr;

/// What is wrong with a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The bracket of an address is not closed, or more than a path is behind it.
    OpenBracket,
    /// An IPv6 address stands without brackets.
    BareIpv6,
    /// There is no host, or it is no name.
    NoHost,
    /// A slash behind the colon names no root.
    NoRoot,
}

/// Host, without brackets, and what is behind its colon.
///
/// # Errors
/// [`Fault::OpenBracket`].
pub fn split(text: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    if let Some(inner) = text.strip_prefix(b"[") {
        let end = inner.iter().position(|&byte| byte == b']').ok_or(Fault::OpenBracket)?;
        let rest = &inner[end + 1..];
        return match rest.split_first() {
            None => Ok((&inner[..end], rest)),
            Some((b':', behind)) => Ok((&inner[..end], behind)),
            Some(_) => Err(Fault::OpenBracket),
        };
    }
    match text.iter().position(|&byte| byte == b':') {
        Some(colon) => Ok((&text[..colon], &text[colon + 1..])),
        None => Ok((text, b"")),
    }
}

/// Checks a host that is no ticket; `text` is the whole place.
///
/// # Errors
/// [`Fault::BareIpv6`], [`Fault::NoHost`].
pub fn check_host(text: &[u8], host: &str) -> Result<(), Fault> {
    if std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok()) {
        return Err(Fault::BareIpv6);
    }
    if host.is_empty() || host.contains(char::is_whitespace) || host.contains('/') {
        return Err(Fault::NoHost);
    }
    Ok(())
}

/// Root and path of what is behind the colon; an empty root means the default.
///
/// # Errors
/// [`Fault::NoRoot`].
pub fn rooted(behind: &[u8]) -> Result<(&str, &[u8]), Fault> {
    let Some(rooted) = behind.strip_prefix(b"/") else { return Ok(("", behind)) };
    let end = rooted.iter().position(|&byte| byte == b'/').unwrap_or(rooted.len());
    let (root, path) = rooted.split_at(end);
    let root = std::str::from_utf8(root).ok().filter(|root| !root.is_empty()).ok_or(Fault::NoRoot)?;
    Ok((root, path.strip_prefix(b"/").unwrap_or(path)))
}
