//! One errand on an engine of its own, from beginning to end.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use udpx_proto::Code;

use super::{Call, Event};
use crate::calls::{Cx, Errand};
use crate::config::lanes_of;
use crate::engine::access::Peers;
use crate::engine::bounds::Bounds;
use crate::engine::paths::Paths;
use crate::engine::{EngineConfig, EngineHandle};
use crate::report::JobError;
use crate::storage::digest::Hashing;

/// Memory for what comes in.
#[derive(Copy, Clone, Debug)]
pub(super) struct Room {
    /// Staging memory, bytes.
    staging: u64,
    /// Receive buffer of the socket, bytes.
    receive_buffer: usize,
}

impl Room {
    /// Nothing is received but what a confused peer may send.
    pub(super) const LITTLE: Self = Self { staging: 16 << 20, receive_buffer: 4 << 20 };
    /// Files are received: as much as a daemon has by default.
    pub(super) const FILES: Self =
        Self { staging: crate::config::STAGING, receive_buffer: crate::config::RECEIVE_BUFFER };
}

/// Drives an errand until it is over.
///
/// # Errors
/// There is no engine for it; what became of it itself is its own to tell.
pub(super) fn drive<E: Errand>(
    call: Call,
    room: Room,
    mut errand: E,
    events: &mut dyn FnMut(Event),
) -> Result<E, JobError> {
    let engine = EngineHandle::start(EngineConfig {
        bounds: Bounds::NONE,
        rekey: udpx_proto::RekeyLimits::default(),
        identity: call.identity,
        listen: Vec::new(),
        peers: Peers::default(),
        staging: room.staging,
        receive_buffer: room.receive_buffer,
        loading: call.loading,
        hashing: Hashing::suited(),
        gso: call.way.gso,
        mtu_max: call.way.mtu_max,
        lanes: lanes_of(call.way.lanes),
        paths: Paths::default(),
        bell: None,
        #[cfg(test)]
        inject: None,
    });
    let engine = engine.map_err(|error| JobError::told(Code::Io, &error.to_string()))?;
    let mut stopped = false;
    while !errand.is_over() {
        let now = Instant::now();
        let mut cx = Cx { engine: &engine, now, events };
        if !stopped && call.cancel.load(Ordering::Relaxed) {
            stopped = true;
            errand.stop(Code::Interrupted, &mut cx);
        }
        if now >= errand.deadline() {
            errand.due(&mut cx);
        }
        let left = errand.deadline().saturating_duration_since(Instant::now()).clamp(TICK, TURN);
        match engine.next(left) {
            Ok(Some(report)) if errand.link().owns(&report) => {
                errand.on_report(report, &mut Cx { engine: &engine, now: Instant::now(), events });
            }
            Ok(_) => {}
            Err(_) => {
                let text = "the engine has stopped by itself";
                return Err(JobError::with_remedy(Code::Bug, text));
            }
        }
    }
    Ok(errand)
}

/// The shortest wait.
const TICK: Duration = Duration::from_micros(50);
/// How often cancellation is looked for.
const TURN: Duration = Duration::from_millis(50);
