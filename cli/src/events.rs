//! What happened, as the fields of a JSON event. `docs/events.schema.json` describes them.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use udpx_control::schema::JobReport;
use udpxd::embedded::PingSummary;
use udpxd::report::{FileSummary, Row, Summary};
use udpxd::storage::listing::Entry;

use crate::failure::Failure;
use crate::jsonl::{self, Fields, put_name};
use crate::progress::Status;

/// `connected`.
pub(crate) fn connected(address: &str, rtt_us: u64) -> Fields {
    object(json!({ "address": address, "rtt_us": rtt_us }))
}

/// `queued`: the receiver takes the file, and this is where it will be.
pub(crate) fn accepted(name: &[u8], path: &Path) -> Fields {
    let mut fields = Fields::new();
    put_name(&mut fields, "name", name);
    put_name(&mut fields, "path", path.as_os_str().as_bytes());
    fields
}

/// `retry`.
pub(crate) fn retry(text: &str) -> Fields {
    object(json!({ "text": text }))
}

/// `progress`.
pub(crate) fn progress(status: &Status) -> Fields {
    let mut fields = object(json!({
        "bytes": status.bytes,
        "total": status.total,
        "rate_bps": whole(status.rate * 8.0),
        "rtt_us": micros(status.rtt),
        "loss": status.loss,
        "phase": if status.syncing { "syncing" } else { "sending" },
    }));
    if let Some(eta) = status.eta() {
        fields.insert("eta_us".into(), micros(eta).into());
    }
    fields
}

/// `file`: one that arrived.
pub(crate) fn file(name: &[u8], file: &FileSummary) -> Fields {
    let mut fields = object(json!({
        "ok": true,
        "bytes": file.bytes,
        "skipped": file.skipped,
        "seconds": file.seconds,
        "duration_us": seconds_to_micros(file.seconds),
        "reread_bytes": file.reread_bytes,
    }));
    if file.digest != UNKNOWN_DIGEST {
        fields.insert("digest".into(), file.digest_hex().into());
    }
    put_name(&mut fields, "name", name);
    put_name(&mut fields, "path", file.path.as_os_str().as_bytes());
    fields
}

/// `file`: one that did not.
pub(crate) fn failed_file(name: &[u8], failure: &Failure) -> Fields {
    let mut fields = error(failure);
    fields.insert("ok".into(), false.into());
    put_name(&mut fields, "name", name);
    fields
}

/// `job`: a job as it stands.
pub(crate) fn job(report: &JobReport) -> Fields {
    serde_json::to_value(report).map(object).unwrap_or_default()
}

/// `entry`: one of a directory.
pub(crate) fn entry(entry: &Entry, kind: &str) -> Fields {
    let modified = jsonl::timestamp(entry.modified);
    let mut fields = object(json!({ "kind": kind, "bytes": entry.size, "modified": modified }));
    put_name(&mut fields, "name", entry.name.as_bytes());
    fields
}

/// `echo`: one that came back.
pub(crate) fn echo(number: u32, bytes: usize, rtt_us: u64) -> Fields {
    object(json!({ "number": number, "bytes": bytes, "rtt_us": rtt_us }))
}

/// `summary` of echoes.
pub(crate) fn echoes(summary: &PingSummary) -> Fields {
    let (least, mean, most) = summary.rtt_us().unwrap_or_default();
    object(json!({
        "ok": true,
        "sent": summary.sent,
        "received": summary.received,
        "loss": summary.loss(),
        "rtt_min_us": least,
        "rtt_mean_us": mean,
        "rtt_max_us": most,
    }))
}

/// `error`.
pub(crate) fn error(failure: &Failure) -> Fields {
    object(json!({
        "code": failure.code.number(),
        "kind": failure.code.kind(),
        "text": failure.text,
        "remedy": failure.remedy,
        "exit": failure.code.exit(),
    }))
}

/// `summary`: the totals, then a row for each stream and one for control packets, which sum to them.
pub(crate) fn summary(summary: &Summary) -> Fields {
    let mut fields = row(&summary.total);
    fields.extend(object(json!({
        "ok": true,
        "files": summary.files.len(),
        "bytes": summary.bytes,
        "goodput_bps": whole(summary.goodput() * 8.0),
        "rtt_min_us": summary.rtt_min_us,
        "rtt_mean_us": summary.rtt_mean_us,
        "lost": summary.lost,
        "datagram_bytes": summary.datagram,
        "sessions": summary.sessions,
        "streams": summary.streams.iter().map(|stream| Value::Object(row(stream))).collect::<Vec<_>>(),
        "control": row(&summary.control),
    })));
    if let [only] = summary.files.as_slice() {
        if only.digest != UNKNOWN_DIGEST {
            fields.insert("digest".into(), only.digest_hex().into());
        }
        put_name(&mut fields, "path", only.path.as_os_str().as_bytes());
    }
    fields
}

fn row(row: &Row) -> Fields {
    let mut fields = object(json!({
        "packets": row.packets,
        "frames": row.frames,
        "wire_bytes": row.wire_bytes,
        "payload_bytes": row.payload_bytes,
        "seconds": row.seconds,
        "duration_us": seconds_to_micros(row.seconds),
        "wire_bps": whole(row.wire_rate() * 8.0),
        "payload_bps": whole(row.payload_rate() * 8.0),
        "packets_per_second": whole(row.packet_rate()),
        "retransmitted": row.retransmitted,
        "retransmitted_bytes": row.retransmitted_bytes,
        "duplicates": row.duplicates,
    }));
    if let Some(stream) = row.stream {
        fields.insert("stream".into(), stream.into());
    }
    fields
}

/// Of a file that was there already, and was not read.
const UNKNOWN_DIGEST: [u8; 32] = [0; 32];

/// The fields of a literal object.
pub(crate) fn object(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    }
}

/// A rate as an integer; floats saturate.
fn whole(number: f64) -> u64 {
    number.round() as u64
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn seconds_to_micros(seconds: f64) -> u64 {
    whole(seconds * 1e6)
}
