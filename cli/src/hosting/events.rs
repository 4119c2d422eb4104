//! What happens at a host, as the fields of JSON events.

use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde_json::json;
use udpxd::report::FileSummary;
use udpxd::ticket::Ticket;

use crate::events::{self, object};
use crate::failure::Failure;
use crate::jsonl::{self, Fields, put_name};

/// `ticket`: the one event with a secret, since that is what it is for.
pub(super) fn ticket(ticket: &Ticket) -> Fields {
    let addresses: Vec<String> = ticket.addresses.iter().map(ToString::to_string).collect();
    let mut fields = object(json!({ "ticket": ticket.text().as_str(), "addresses": addresses }));
    if let Some(since) = ticket.expires.and_then(|expires| expires.duration_since(UNIX_EPOCH).ok()) {
        fields.insert("expires".into(), jsonl::unix_time(since).into());
    }
    fields
}

/// `joined`.
pub(super) fn joined(from: SocketAddr) -> Fields {
    object(json!({ "address": from.to_string() }))
}

/// `left`, and `refused`: somebody's end, and why.
pub(super) fn left(from: SocketAddr, text: &str) -> Fields {
    object(json!({ "address": from.to_string(), "text": text }))
}

/// `file`: one that came. Its name is the last part of its path: what it was called at its sender stays there.
pub(super) fn came(file: &FileSummary) -> Fields {
    let mut fields = events::file(name(&file.path), file);
    fields.insert("direction".into(), "in".into());
    fields
}

/// `file`: one that went.
pub(super) fn went(path: &Path, bytes: u64) -> Fields {
    let mut fields = object(json!({ "ok": true, "bytes": bytes, "direction": "out" }));
    put_name(&mut fields, "name", name(path));
    put_name(&mut fields, "path", path.as_os_str().as_bytes());
    fields
}

/// `file`: one that failed.
pub(super) fn failed(path: &Path, direction: &str, failure: &Failure) -> Fields {
    let mut fields = events::failed_file(name(path), failure);
    fields.insert("direction".into(), direction.into());
    put_name(&mut fields, "path", path.as_os_str().as_bytes());
    fields
}

/// `summary` of one file that came.
pub(super) fn received(file: &FileSummary) -> Fields {
    let bits = if file.seconds > 0.0 { (file.bytes as f64 * 8.0 / file.seconds).round() as u64 } else { 0 };
    let mut fields = object(json!({
        "ok": true,
        "files": 1,
        "bytes": file.bytes,
        "digest": file.digest_hex(),
        "seconds": file.seconds,
        "duration_us": (file.seconds * 1e6).round() as u64,
        "goodput_bps": bits,
    }));
    put_name(&mut fields, "path", file.path.as_os_str().as_bytes());
    fields
}

fn name(path: &Path) -> &[u8] {
    path.file_name().unwrap_or_default().as_bytes()
}
