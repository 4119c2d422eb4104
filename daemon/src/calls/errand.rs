//! The contract between something that is wanted of a peer and whoever drives it.

use std::time::Instant;

use udpx_proto::Code;

use super::Event;
use super::link::Link;
use crate::engine::EngineHandle;
use crate::engine::report::Report;

/// What an errand needs while it handles something.
pub(crate) struct Cx<'a> {
    pub(crate) engine: &'a EngineHandle,
    pub(crate) now: Instant,
    /// Hears of what happens.
    pub(crate) events: &'a mut dyn FnMut(Event),
}

/// Something that is wanted of a peer.
///
/// Drive it: hand it each report that its link owns, and call [`due`](Self::due) at the [`deadline`](Self::deadline) at
/// the latest, until it [`is_over`](Self::is_over). Its outcome stands in its type.
pub(crate) trait Errand {
    /// Its way to the peer.
    fn link(&self) -> &Link;
    /// A report that is its own.
    fn on_report(&mut self, report: Report, cx: &mut Cx<'_>);
    /// Does what is due.
    fn due(&mut self, cx: &mut Cx<'_>);
    /// When something is due though nothing happens.
    fn deadline(&self) -> Instant;
    /// Ends it early. It still wants to be driven until it is over: the session's last counters are to come.
    fn stop(&mut self, code: Code, cx: &mut Cx<'_>);
    /// There is nothing left to do.
    fn is_over(&self) -> bool;
}
