//! Questions of an engine of this process, which are waited for.

use std::ffi::c_char;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use udpx_control::schema::{Pong, Reply};
use udpxd::conductor::reports;
use udpxd::embedded::{self, Call, Event, PING_BYTES_MAX, PING_BYTES_MIN};
use udpxd::report::JobError;

use crate::boundary::{self, call, wrong};
use crate::engine::{Engine, receive, udpx_engine};
use crate::options::{Options, udpx_options};
use crate::place::Place;
use crate::status::udpx_status;

/// Asks by a call that ends with its engine.
fn ask(
    engine: &Arc<Engine>,
    place: &Place,
    options: &Options,
    question: impl FnOnce(Call) -> Result<Value, JobError>,
) -> Result<Value, JobError> {
    let mut call = place.call(engine.identity.clone(), options)?;
    call.cancel = engine.admit_question()?;
    question(call)
}

/// Lists the directory `place`, "HOST" or "HOST:PATH", as JSON, as `udpx_client_list` does. Of the options those count that
/// say how the host is reached. Waits for the answer. Free the text by `udpx_string_free`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`; `UDPX_STATUS_UNREACHABLE`; what the host says; `UDPX_STATUS_INTERRUPTED`: the engine was freed.
///
/// # Safety
/// Texts are NULL or terminated, `options` is NULL or has `options->size` bytes, `json` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_engine_list(
    engine: *mut udpx_engine,
    place: *const c_char,
    options: *const udpx_options,
    json: *mut *mut c_char,
) -> udpx_status {
    call(|| {
        // SAFETY: the caller's promise, here and below.
        let (engine, place, options) = unsafe { receive(engine, place, options, json) }?;
        let answer = ask(&engine, &place, &options, |call| {
            let listing = embedded::list(call, &place.root, &place.path, &mut |_| {})?;
            let reply = Reply::Listed { count: listing.entries.len() as u64, cut: listing.is_cut };
            let items: Vec<_> = listing.entries.into_iter().map(reports::entry).collect();
            Ok(with_items(&reply, json!(items)))
        })?;
        // SAFETY: as above.
        unsafe { boundary::store_text(json, "json", &answer.to_string()) }
    })
}

/// Asks `host` for `count` echoes of `bytes` bytes each, `interval_ms` milliseconds apart, and tells what came back as JSON, as
/// `udpx_client_ping` does. Of the options those count that say how the host is reached. Waits for them. Free the text by
/// `udpx_string_free`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`; `UDPX_STATUS_UNREACHABLE`; `UDPX_STATUS_INTERRUPTED`: the engine was freed.
///
/// # Safety
/// As `udpx_engine_list`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_engine_ping(
    engine: *mut udpx_engine,
    host: *const c_char,
    count: u32,
    interval_ms: u32,
    bytes: u32,
    options: *const udpx_options,
    json: *mut *mut c_char,
) -> udpx_status {
    call(|| {
        // SAFETY: the caller's promise, here and below.
        let (engine, place, options) = unsafe { receive(engine, host, options, json) }?;
        let size = bytes as usize;
        if !(1..=PINGS_MAX).contains(&count) || !(PING_BYTES_MIN..=PING_BYTES_MAX).contains(&size) {
            let text = format!("{count} echoes of {bytes} bytes cannot be asked for");
            let remedy = format!("Ask for 1 to {PINGS_MAX} of {PING_BYTES_MIN} to {PING_BYTES_MAX} bytes.");
            return Err(wrong(text, &remedy));
        }
        let interval = Duration::from_millis(interval_ms.max(1).into());
        let answer = ask(&engine, &place, &options, |call| {
            let mut echoes = Vec::new();
            let mut note = |event: Event| {
                if let Event::Echo { number, bytes, rtt_us } = event {
                    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                    echoes.push(Pong { sequence: number + 1, bytes, rtt_us: Some(rtt_us) });
                }
            };
            let ping = embedded::Ping { count, size, interval, patience: PATIENCE };
            let done = embedded::ping(call, ping, &mut note)?;
            let missing =
                done.missing.iter().map(|&number| Pong { sequence: number + 1, bytes: 0, rtt_us: None });
            echoes.extend(missing);
            let items: Vec<_> = echoes.into_iter().map(udpx_control::schema::Event::Pong).collect();
            Ok(with_items(&Reply::Ping(reports::ping(&done)), json!(items)))
        })?;
        // SAFETY: as above.
        unsafe { boundary::store_text(json, "json", &answer.to_string()) }
    })
}

/// As answers of a daemon are told.
fn with_items(reply: &Reply, items: Value) -> Value {
    let mut answer = json!(reply);
    answer["items"] = items;
    answer
}

/// Echoes of one question.
const PINGS_MAX: u32 = 1_000_000;
/// How long the last echoes are waited for.
const PATIENCE: Duration = Duration::from_secs(2);
