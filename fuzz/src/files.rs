//! Files that people may edit, and words that they write.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Component;

use udpxd::config::{parse_rate, parse_size};
use udpxd::hosting::addresses::Address;
use udpxd::storage::path::RelPath;
use udpxd::{fuzzing, identity, place};

/// `udpxd.toml`.
pub fn config(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        fuzzing::config(text);
    }
}

/// `peers.toml`, and what a command makes of it.
pub fn peers(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        fuzzing::peers(text);
    }
}

/// The file of open invitations.
pub fn invitations(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        fuzzing::invitations(text);
    }
}

/// Names of files, places, addresses, keys, sizes and rates.
pub fn words(data: &[u8]) {
    if let Ok(path) = RelPath::parse(OsStr::from_bytes(data)) {
        let plain = path.as_path().components().all(|part| matches!(part, Component::Normal(_)));
        assert!(plain && !data.contains(&0) && path.as_path().as_os_str().as_bytes() == data);
    }
    if let Ok((host, behind)) = place::split(data) {
        assert!(host.len() + behind.len() <= data.len());
        let _ = place::check_host(data, &String::from_utf8_lossy(host));
        if let Ok((root, path)) = place::rooted(behind) {
            assert!(root.len() + path.len() <= behind.len());
        }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = (parse_size(text), parse_rate(text));
    if let Some(address) = Address::parse(text) {
        assert!(!address.ip.is_unspecified() && address.port != Some(0));
    }
    if let Some(key) = identity::parse_key(text) {
        assert_eq!(identity::key_text(&key), text.trim());
    }
}
