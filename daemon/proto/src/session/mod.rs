//! A session: the authenticated association of two daemons, as a pure state machine.
//!
//! The state lives here; what changes it is split by cause: [`receive`] takes datagrams, [`acks`] what
//! they acknowledge, [`frames`] plans control datagrams and [`bulk`] trains of stream data, [`seal`]
//! turns plans into ciphertext, [`timers`] keeps deadlines.

mod acks;
mod bulk;
mod config;
mod frames;
mod invariants;
mod moving;
mod receive;
mod records;
mod rekeying;
mod seal;
mod tail;
mod timers;

use std::collections::VecDeque;

pub use config::{
    Arrival, Event, LaneStats, OpenStream, PathSecret, RateHint, RatePolicy, RekeyLimits, SendError,
    SessionConfig, SessionStats, SourceFault, StreamLimit, StreamProgress, StreamStats,
};

use crate::drop_reason::DropCounters;
use crate::handshake::Established;
use crate::ids::{LaneId, StreamId};
use crate::keys::{LaneKeys, Role, SessionSecrets, Suite};
use crate::lane::Lane;
use crate::limits::{LANES_MAX, PACKETS_TRACKED_MAX};
use crate::messages::{LaneOffer, Message};
use crate::path::Path;
use crate::rate::RateControl;
use crate::recv::control::ControlRecv;
use crate::recv::credit::Credit;
use crate::recv::streams::RecvStreams;
use crate::send::control::ControlSend;
use crate::send::mtu::Mtu;
use crate::send::pacer::Pacer;
use crate::send::streams::SendStreams;
use crate::send::tail::LossShare;
use crate::send::train_health::TrainHealth;
use crate::send::trains::Trains;
use crate::time::Time;
use crate::trace::TraceSink;
use crate::wire::sack::SackBuilder;
use rekeying::Rekeying;
pub use seal::Sealer;

/// One session. See the crate's documentation for the contract of its driver.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    /// Keys of lanes to come, by index from the next lane on. They are derived at once, so that the
    /// secrets of the handshake need not be kept.
    spare_keys: VecDeque<LaneKeys>,
    role: Role,
    suite: Suite,
    rekeying: Rekeying,
    state: State,
    /// A packet of the peer has opened.
    confirmed: bool,
    lanes: Vec<Lane>,
    /// The lane that carries what concerns the session: the first that works, for as long as it does.
    home: usize,
    /// Ids that we gave to lanes the peer has not answered for yet.
    offered: Vec<(u8, LaneId)>,
    send: Sender,
    recv: Receiver,
    events: VecDeque<Event>,
    /// Application PINGs, waiting to go out.
    pings: VecDeque<Vec<u8>>,
    pongs: VecDeque<Vec<u8>>,
    last_heard: Time,
    /// Challenges of new addresses so far.
    challenges: u64,
    /// How often data was asked for since some came, and how much had come by then.
    asked: (u32, u64),
    /// Plaintext of a packet being received.
    scratch: Vec<u8>,
    stats: SessionStats,
    /// Hears of every packet; hardly ever there.
    trace: Option<Box<dyn TraceSink>>,
}

/// What concerns sending, but for the lanes.
#[derive(Debug)]
struct Sender {
    streams: SendStreams,
    control: ControlSend,
    records: records::Records,
    rate: RateControl,
    pacer: Pacer,
    trains: Trains,
    losses: LossShare,
    health: TrainHealth,
    /// The record of a datagram of control frames that goes out once more.
    double: Option<u32>,
    /// Credit granted by the peer and spent, unique stream bytes.
    credit: u64,
    credit_used: u64,
    in_flight: u64,
    /// Delivery-rate state: bytes delivered, when, and the sending time of what was delivered last.
    delivered: u64,
    delivered_at: Time,
    first_sent: Time,
    /// `delivered` up to which samples are limited by the application.
    app_limited: u64,
    /// The lane of the next train.
    turn: usize,
}

/// What concerns receiving, but for the lanes.
#[derive(Debug)]
struct Receiver {
    streams: RecvStreams,
    control: ControlRecv,
    credit: Credit,
    /// Bytes held for streams without STREAM_OPEN.
    unopened: u64,
    /// Blocks tracked over all streams.
    blocks: usize,
    sack: SackBuilder,
    words: Vec<u64>,
    /// For the receiving rate: unique bytes at a moment, and the resulting bytes of two round trips.
    measured: (u64, Time),
    in_air: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    Open,
    /// We closed; the peer is told so until `until`.
    Closing {
        code: u32,
        text: String,
        next: Time,
        until: Time,
    },
    /// It is over.
    Ended,
}

impl Session {
    /// A session from a finished handshake. The responder's is *half-open* until
    /// [`Event::Confirmed`]: it must have no visible effect before.
    #[must_use]
    pub fn new(config: SessionConfig, established: Established, now: Time) -> Self {
        let Established { secrets, role, peer, suite, local_lane, remote_lane, peer_params, .. } =
            established;
        let rtt = config.initial_rtt;
        let datagram = crate::limits::DATAGRAM_MIN;
        let rate = RateControl::new(config.policy, datagram, rtt.as_nanos() as u64, config.hint, now);
        let mut session = Self {
            config,
            spare_keys: lane_keys(&config, (&secrets, role, suite), peer_params.lanes_max, now),
            role,
            suite,
            rekeying: Rekeying::new(peer, &secrets, now),
            state: State::Open,
            confirmed: false,
            lanes: Vec::with_capacity(LANES_MAX),
            home: 0,
            offered: Vec::new(),
            send: Sender {
                streams: SendStreams::default(),
                control: ControlSend::new(),
                records: records::Records::default(),
                rate,
                pacer: Pacer::new(now),
                trains: Trains::new(),
                losses: LossShare::default(),
                health: TrainHealth::new(),
                double: None,
                credit: peer_params.staging_credit,
                credit_used: 0,
                in_flight: 0,
                delivered: 0,
                delivered_at: now,
                first_sent: now,
                app_limited: 0,
                turn: 0,
            },
            recv: Receiver {
                streams: RecvStreams::default(),
                control: ControlRecv::new(),
                credit: Credit::new(config.staging_budget, config.staging_budget),
                unopened: 0,
                blocks: 0,
                sack: SackBuilder::default(),
                words: Vec::new(),
                measured: (0, now),
                in_air: 0,
            },
            events: VecDeque::with_capacity(64),
            pings: VecDeque::new(),
            pongs: VecDeque::new(),
            last_heard: now,
            challenges: 0,
            asked: (0, 0),
            scratch: vec![0; usize::from(u16::MAX)],
            stats: SessionStats::default(),
            trace: None,
        };
        session.add_lane((local_lane, remote_lane), now);
        session.lanes[0].usable = true;
        // The initiator shows at once that it holds the keys; the responder is silent until then.
        session.lanes[0].probe_due = role == Role::Initiator;
        session
    }

    fn add_lane(&mut self, ids: (LaneId, LaneId), now: Time) {
        // Every way to a lane checks that keys are left.
        let Some(keys) = self.spare_keys.pop_front() else { return };
        let mtu = Mtu::new(self.config.ip_mtu_max, self.config.ip_headers);
        // A further lane is where the first one is, until it shows something else.
        let path = Path::new(self.lanes.first().map_or(self.config.peer_address, |lane| lane.path.address()));
        #[cfg_attr(not(feature = "testing"), expect(unused_mut, reason = "tests set the first number"))]
        let mut lane = Lane::new(ids, path, keys, mtu, self.config.initial_rtt, now);
        #[cfg(feature = "testing")]
        {
            lane.first = self.config.first_number;
            lane.sent.start_at(lane.first);
        }
        self.lanes.push(lane);
    }

    /// Has every packet from now on told to `sink`, or to nobody.
    pub fn set_trace(&mut self, sink: Option<Box<dyn TraceSink>>) {
        self.trace = sink;
    }

    /// Which end of the handshake this is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The peer has shown that it holds the keys.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// The session is over and can be dropped.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Not closed by either side.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Queues a message on stream 0.
    ///
    /// # Errors
    /// [`SendError`], with nothing queued.
    pub fn send_message(&mut self, message: &Message) -> Result<(), SendError> {
        if !self.is_open() {
            return Err(SendError::Closed);
        }
        let bytes = message.encode().map_err(|_| SendError::TooLarge)?;
        if self.send.control.push(&bytes) { Ok(()) } else { Err(SendError::Full) }
    }

    /// Bytes on stream 0 that the peer does not have yet.
    #[must_use]
    pub fn control_unacked(&self) -> usize {
        self.send.control.unacked()
    }

    /// Opens a stream to the peer.
    ///
    /// # Errors
    /// [`StreamLimit`] when all slots are in use.
    pub fn open_stream(&mut self, open: OpenStream) -> Result<StreamId, StreamLimit> {
        self.send.streams.open(open.request, open.start, open.end, open.weight).ok_or(StreamLimit)
    }

    /// The blocks of a stream that was just opened lie apart in memory: no chunk of it crosses a [`crate::BLOCK`] boundary,
    /// as with a stream of unknown end.
    pub fn keep_blocks_apart(&mut self, stream: StreamId) {
        if let Some(stream) = self.send.streams.get_mut(stream) {
            stream.keep_blocks_apart();
        }
    }

    /// Bytes of the stream below `available` can be read without blocking.
    pub fn extend_stream(&mut self, stream: StreamId, available: u64) {
        if let Some(stream) = self.send.streams.get_mut(stream) {
            stream.extend(available);
        }
    }

    /// The end of a stream that was opened without one.
    pub fn finish_stream(&mut self, stream: StreamId, end: u64) {
        if let Some(stream) = self.send.streams.get_mut(stream) {
            stream.finish(end);
            self.send.streams.signals_due = true;
        }
    }

    /// Gives an outgoing stream up. Its source is not read again.
    pub fn reset_stream(&mut self, stream: StreamId, code: crate::Code) {
        if let Some(stream) = self.send.streams.get_mut(stream) {
            stream.abort(code.number());
            self.send.streams.signals_due = true;
        }
    }

    /// Where an outgoing stream that is alive stands.
    #[must_use]
    pub fn stream_progress(&self, stream: StreamId) -> Option<StreamProgress> {
        self.send.streams.get(stream).map(|s| StreamProgress {
            acked: s.acked_bytes(),
            unacked_from: s.unacked_from(),
            unsent_from: s.unsent_from(),
        })
    }

    /// Counters of an outgoing or incoming stream that is alive.
    #[must_use]
    pub fn stream_stats(&self, stream: StreamId, outgoing: bool) -> Option<StreamStats> {
        if outgoing {
            self.send.streams.get(stream).map(|s| s.stats)
        } else {
            self.recv.streams.get(stream).map(|s| s.stats)
        }
    }

    /// Data of an incoming stream is of no interest any more: what still comes is acknowledged and
    /// thrown away. Bytes committed before still have to be given back by
    /// [`bytes_written`](Self::bytes_written): every byte that the sink was told of by `commit` exactly
    /// once, whatever becomes of it. What comes after this call the session settles itself.
    pub fn stop_receiving(&mut self, stream: StreamId) {
        if let Some(stream) = self.recv.streams.get_mut(stream) {
            stream.stopped = true;
        }
    }

    /// Staging memory of so many committed bytes came back: the write returned.
    pub fn bytes_written(&mut self, bytes: u64) {
        self.recv.credit.on_written(bytes);
    }

    /// The kernel dropped so many datagrams of `lane` for want of socket buffer (SO_RXQ_OVFL).
    pub fn on_overruns(&mut self, lane: usize, packets: u32) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.numbers.on_overrun(packets);
        }
    }

    /// The rate follows another policy from now on.
    pub fn set_policy(&mut self, policy: RatePolicy, now: Time) {
        self.change_rate(now, |rate| rate.set_policy(policy, now));
    }

    /// At most so many wire bits a second (UDP payload, all lanes together) are paced from now on, whatever the policy
    /// finds; `None` takes the cap away. Values below [`crate::rate::RATE_BPS_MIN`] count as that.
    /// Control packets are not paced.
    pub fn set_rate_cap(&mut self, bps: Option<f64>, now: Time) {
        self.change_rate(now, |rate| rate.set_cap(bps, now));
    }

    /// What to remember of the path for the next session with this peer, once it is known.
    #[must_use]
    pub fn rate_hint(&self) -> Option<RateHint> {
        self.send.rate.hint()
    }

    fn change_rate(&mut self, now: Time, change: impl FnOnce(&mut RateControl)) {
        let old = self.send.rate.pacing_bps();
        change(&mut self.send.rate);
        self.send.pacer.on_rate_changed(now, old, self.send.rate.pacing_bps());
    }

    /// When the last authentic packet came.
    #[must_use]
    pub fn last_heard(&self) -> Time {
        self.last_heard
    }

    /// Asks the peer for a sign of life, unless something in flight asks already.
    pub fn probe(&mut self) {
        if self.send.in_flight == 0 {
            self.lanes[self.home].probe_due = true;
        }
    }

    /// Sends a PING whose echo comes back as [`Event::Pong`]. At most [`crate::limits::PING_MAX`] bytes.
    ///
    /// # Errors
    /// [`SendError`] when too many wait, or the body is too large.
    pub fn ping(&mut self, body: &[u8]) -> Result<(), SendError> {
        if body.len() > crate::limits::PING_MAX || body.is_empty() {
            return Err(SendError::TooLarge);
        }
        if self.pings.len() >= PINGS_MAX {
            return Err(SendError::Full);
        }
        self.pings.push_back(body.to_vec());
        Ok(())
    }

    /// Ends the session and tells the peer. Idempotent.
    pub fn close(&mut self, now: Time, code: crate::Code, text: &str) {
        if self.is_open() {
            let until = now.after_nanos(CLOSES * self.lanes[self.home].rtt.pto_without_delay());
            self.state = State::Closing { code: code.number(), text: text.to_owned(), next: now, until };
        }
    }

    /// Offers the peer another lane, on which it shall address us as `local`. Initiator only.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn offer_lane(&mut self, local: LaneId) -> Result<(), SendError> {
        let index = self.lanes.len() + self.offered.len();
        if self.role != Role::Initiator || self.offered.len() >= self.spare_keys.len() {
            return Err(SendError::Full);
        }
        self.send_message(&Message::LaneOffer(LaneOffer { index: index as u8, lane: local.0 }))?;
        self.offered.push((index as u8, local));
        Ok(())
    }

    /// Accepts a lane that the peer offered; it shall address us as `local`. Responder only.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn accept_lane(
        &mut self,
        now: Time,
        index: u8,
        local: LaneId,
        remote: LaneId,
    ) -> Result<(), SendError> {
        if self.role != Role::Responder
            || usize::from(index) != self.lanes.len()
            || self.spare_keys.is_empty()
        {
            return Err(SendError::Full);
        }
        self.send_message(&Message::LaneOffer(LaneOffer { index, lane: local.0 }))?;
        self.add_lane((local, remote), now);
        Ok(())
    }

    /// The lanes, and then those that we have offered: the id by which the peer addresses us on each.
    pub fn local_lanes(&self) -> impl Iterator<Item = LaneId> + '_ {
        let offered = self.offered.iter().map(|&(_, local)| local);
        self.lanes.iter().map(|lane| lane.local).chain(offered)
    }

    /// Lanes that there are, working or not.
    #[must_use]
    pub fn lane_count(&self) -> usize {
        self.lanes.len()
    }

    /// Lanes that both ends allow, at least 1: as many as the handshake has agreed on.
    #[must_use]
    pub fn lanes_allowed(&self) -> usize {
        self.lanes.len() + self.spare_keys.len()
    }

    /// Nothing is planned for `lane` while its socket takes nothing: what can go by another one does.
    pub fn hold_lane(&mut self, lane: usize, held: bool) {
        if let Some(lane) = self.lanes.get_mut(lane)
            && core::mem::replace(&mut lane.held, held) != held
        {
            self.choose_home();
        }
    }

    /// What concerns the session goes by the first lane that works; by another only while that one does not.
    fn choose_home(&mut self) {
        let works = |lane: &Lane| lane.usable && !lane.held;
        let usable = || self.lanes.iter().position(|lane| lane.usable);
        self.home = self.lanes.iter().position(works).or_else(usable).unwrap_or(0);
    }

    /// A datagram of `size` bytes on `lane` was refused by the kernel as too big.
    pub fn on_too_big(&mut self, lane: usize, size: u16) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.mtu.on_too_big(size);
            self.send.rate.set_datagram(lane.mtu.current());
        }
    }

    /// Whether packet `number` was sent, not long ago, with that lane id of the peer's in it: who says something of another
    /// one has not seen our packets.
    #[must_use]
    pub fn has_sent(&self, lane: LaneId, number: u64) -> bool {
        let lately = |lane: &Lane| {
            let next = lane.sent.next();
            (next.saturating_sub(PACKETS_TRACKED_MAX as u64)..next).contains(&number)
        };
        self.lanes.iter().find(|l| l.remote == lane).is_some_and(lately)
    }

    /// Somebody, who may be anyone, says that the path of `lane` takes no datagrams of the size in use: that is checked.
    pub fn doubt_size(&mut self, lane: usize) {
        if let Some(lane) = self.lanes.get_mut(lane).filter(|lane| !lane.mtu.is_in_doubt()) {
            lane.mtu.suspect();
            lane.probe_due |= lane.mtu.is_in_doubt();
        }
    }

    /// Whether bulk data goes authenticated but not encrypted.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.config.plain
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> SessionStats {
        let home = &self.lanes[self.home];
        let rtt = &home.rtt;
        let mut stats = self.stats.clone();
        stats.in_flight = self.send.in_flight;
        stats.unique_bytes_received = self.recv.credit.received();
        if rtt.is_sampled() {
            stats.rtt_smoothed_ns = rtt.smoothed();
            stats.rtt_min_ns = rtt.min();
        }
        stats.pacing_bps = self.send.rate.pacing_bps();
        stats.window = self.send.rate.window();
        stats.path_loss = self.send.rate.path_loss();
        stats.datagram = home.mtu.current();
        for (counted, lane) in stats.lanes.iter_mut().zip(&self.lanes) {
            *counted = lane.stats();
        }
        stats
    }

    /// Counters of dropped datagrams.
    #[must_use]
    pub fn drops(&self) -> &DropCounters {
        &self.stats.drops
    }

    /// The peer broke the protocol: close, and say why.
    fn fail(&mut self, now: Time, why: &'static str) {
        if self.is_open() {
            self.events.push_back(Event::ProtocolError(why));
            self.close(now, crate::Code::Protocol, why);
        }
    }
}

/// The keys of all lanes that both ends allow.
fn lane_keys(
    config: &SessionConfig,
    (secrets, role, suite): (&SessionSecrets, Role, Suite),
    lanes_max: u8,
    now: Time,
) -> VecDeque<LaneKeys> {
    let lanes = u16::from(lanes_max.min(config.lanes_max)).clamp(1, LANES_MAX as u16);
    let keys = (0..lanes).map(|lane| LaneKeys::new(secrets, lane, role, suite, now));
    #[cfg(feature = "testing")]
    if let Some(limits) = config.epoch_limits {
        return keys.map(|keys| keys.with_limits(limits)).collect();
    }
    keys.collect()
}

/// Application PINGs that may wait.
const PINGS_MAX: usize = 64;
/// How often CLOSE is said, as far as a lane's round trips go by meanwhile.
const CLOSES: u64 = 3;
