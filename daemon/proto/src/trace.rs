//! What a session does, packet by packet, for whoever wants to watch: `docs/TRACE.md` has the lines that become of it.
//!
//! A session without a [`TraceSink`] asks once a train and once a received datagram whether there is one, and no more.

use crate::wire::bulk::Bulk;
use crate::wire::header::{Header, Kind};
use crate::{DropReason, Plan, PlanKind, StreamId, Time};

/// One thing that happened to one packet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct TraceEvent {
    /// When: of a batch of packets, the time of the batch.
    pub time: Time,
    /// What.
    pub what: Traced,
    /// Number of the lane in the session; that of an unknown one is not known.
    pub lane: Option<u8>,
    /// The packet's number; not known of what is too short to have one.
    pub number: Option<u64>,
    /// What kind of packet.
    pub kind: TraceKind,
    /// The stream whose data it carries, and the offset of its first byte; for a packet of one frame of data only.
    pub data: Option<(StreamId, u64)>,
    /// Bytes of that data; of another packet, of the whole datagram.
    pub len: u32,
}

/// What happened to a packet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Traced {
    /// It was planned and is on its way to the socket.
    Send,
    /// It came, was authentic and was taken.
    Recv,
    /// A packet that was sent is taken for lost.
    Lost,
    /// A packet came whose number had come before.
    Dup,
    /// A packet came and was not taken.
    Drop(DropReason),
}

/// Kinds of packets, as they are traced.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum TraceKind {
    /// Sealed stream data.
    Bulk,
    /// Stream data in clear.
    BulkPlain,
    /// Frames.
    Mixed,
    /// A probe of the path MTU; at the receiver it is one of [`Mixed`](Self::Mixed).
    Probe,
    /// Nothing of it could be understood.
    Unknown,
}

impl TraceKind {
    /// The word in a line of a trace.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::BulkPlain => "plain",
            Self::Mixed => "mixed",
            Self::Probe => "probe",
            Self::Unknown => "-",
        }
    }
}

/// Takes the events of a session, in their order. It must not block: it is called between packets.
pub trait TraceSink: Send + core::fmt::Debug {
    /// Something happened.
    fn on_event(&mut self, event: &TraceEvent);
}

/// Hands on the packets of a plan, which have been numbered.
pub(crate) fn sent(sink: &mut dyn TraceSink, time: Time, plan: &Plan) {
    let lane = Some(plan.lane);
    let kind = match plan.kind {
        PlanKind::Bulk => TraceKind::Bulk,
        PlanKind::BulkPlain => TraceKind::BulkPlain,
        PlanKind::Mixed => TraceKind::Mixed,
        PlanKind::Probe => TraceKind::Probe,
    };
    for (prefix, chunk) in &plan.bulk {
        let (number, data) = (Some(prefix.header.number()), Some((chunk.stream, chunk.offset)));
        sink.on_event(&TraceEvent { time, what: Traced::Send, lane, number, kind, data, len: chunk.len });
    }
    if let Some(header) = &plan.header {
        let (number, len) = (Some(header.number()), plan.wire_bytes() as u32);
        sink.on_event(&TraceEvent { time, what: Traced::Send, lane, number, kind, data: None, len });
    }
}

/// Hands on a datagram that came, which was taken or not. What it says of itself may be a lie if it was not.
pub(crate) fn received(
    sink: &mut dyn TraceSink,
    time: Time,
    lane: Option<u8>,
    datagram: &[u8],
    result: Result<(), DropReason>,
) {
    let what = match result {
        Ok(()) => Traced::Recv,
        Err(DropReason::Duplicate) => Traced::Dup,
        Err(reason) => Traced::Drop(reason),
    };
    let len = datagram.len() as u32;
    let mut event = TraceEvent { time, what, lane, number: None, kind: TraceKind::Unknown, data: None, len };
    if let Ok((header, kind)) = Header::parse(datagram) {
        event.number = Some(header.number());
        event.kind = match kind {
            Kind::Bulk => TraceKind::Bulk,
            Kind::BulkPlain => TraceKind::BulkPlain,
            Kind::Mixed => TraceKind::Mixed,
            _ => TraceKind::Unknown,
        };
        if let (TraceKind::Bulk | TraceKind::BulkPlain, Ok(bulk)) = (event.kind, Bulk::parse(datagram)) {
            event.data = Some((bulk.stream, bulk.offset));
            event.len = bulk.len as u32;
        }
    }
    sink.on_event(&event);
}
