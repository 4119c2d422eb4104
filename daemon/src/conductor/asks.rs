//! Listings and echoes that clients ask for: errands that are no jobs, and end with whoever wants them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use udpx_control::limits::ENTRIES_PER_FRAME_MAX;
use udpx_control::schema::{Entry, ErrorReport, Event, List, Ping, Pong, Reply};
use udpx_proto::Code;
use udpx_proto::handshake::PublicKey;
use udpx_proto::messages::JoinAccepted;

use super::clients::{Address, Out};
use super::reports::{self, error, error_of};
use super::resolver::{Host, Resolved, Resolver};
use super::{Asker, ErrandIds};
use crate::calls::{self, Cx, Echoes, Errand, JoinAsk, ListAsk, PING_BYTES_MAX, PING_BYTES_MIN, Way};
use crate::config::Peer;
use crate::engine::EngineHandle;
use crate::engine::report::Report;
use crate::report::JobError;
use crate::storage::listing::Listing;
use crate::ticket::Gives;

/// The questions under way, by their numbers.
#[derive(Default)]
pub(super) struct Asks(HashMap<u32, Ask>, Vec<Joined>);

struct Ask {
    to: Address,
    question: Question,
    errand: Option<Asking>,
}

enum Question {
    List { root: String, path: Vec<u8> },
    Ping(calls::Ping),
    Join(Wish),
    Prove(Friends),
}

/// What a machine that lets us join is to be here.
pub(super) struct Wish {
    pub(super) key: PublicKey,
    /// As it is to be called; as it calls itself if `None`.
    pub(super) name: Option<String>,
    /// What it may do here in turn.
    pub(super) mutual: Option<Gives>,
}

/// What came of it.
pub(super) struct Joined {
    pub(super) to: Address,
    pub(super) wish: Wish,
    pub(super) outcome: Result<(JoinAccepted, SocketAddr), JobError>,
}

/// What two machines call each other.
struct Friends {
    peer: String,
    joiner: String,
}

enum Asking {
    Join(JoinAsk),
    List(ListAsk),
    Ping(Echoes),
}

impl Asking {
    fn errand(&mut self) -> &mut dyn Errand {
        match self {
            Self::List(list) => list,
            Self::Ping(echoes) => echoes,
            Self::Join(join) => join,
        }
    }
}

impl Asks {
    /// Somebody wants to know what is in a directory of a peer.
    ///
    /// # Errors
    /// Why that cannot be asked.
    pub(super) fn list(
        &mut self,
        from: Address,
        list: &List,
        peers: &[Peer],
        resolver: &Resolver<Asker>,
        ids: &mut ErrandIds,
    ) -> Result<(), ErrorReport> {
        let place = &list.place;
        let host = Host::find(peers, &place.host, place.port, place.key.as_deref())?;
        let path = place.path.as_bytes().to_vec();
        self.begin(from, Question::List { root: place.root.clone(), path }, host, resolver, ids)
    }

    /// Somebody wants echoes of a peer.
    ///
    /// # Errors
    /// Why that cannot be asked.
    pub(super) fn ping(
        &mut self,
        from: Address,
        ping: &Ping,
        peers: &[Peer],
        resolver: &Resolver<Asker>,
        ids: &mut ErrandIds,
    ) -> Result<(), ErrorReport> {
        let size = usize::try_from(ping.bytes).unwrap_or(usize::MAX);
        if ping.count == 0 || ping.count > PINGS_MAX {
            let text = format!("1 to {PINGS_MAX} echoes can be asked for, not {}.", ping.count);
            return Err(error(Code::Usage, text, "Ask for as many."));
        }
        if !(PING_BYTES_MIN..=PING_BYTES_MAX).contains(&size) {
            let text = format!("An echo has {PING_BYTES_MIN} to {PING_BYTES_MAX} bytes, not {size}.");
            return Err(error(Code::Usage, text, "Ask for as many."));
        }
        let host = Host::find(peers, &ping.host, ping.port, ping.key.as_deref())?;
        let interval = Duration::from_micros(ping.interval_us);
        let ping = calls::Ping { count: ping.count, size, interval, patience: PATIENCE };
        self.begin(from, Question::Ping(ping), host, resolver, ids)
    }

    fn begin(
        &mut self,
        from: Address,
        question: Question,
        host: Host,
        resolver: &Resolver<Asker>,
        ids: &mut ErrandIds,
    ) -> Result<(), ErrorReport> {
        let id = ids.next();
        if self.0.len() >= ASKS_MAX || !resolver.ask(Asker::Ask(id), host) {
            return Err(too_many());
        }
        self.0.insert(id, Ask { to: from, question, errand: None });
        Ok(())
    }

    /// Somebody has a ticket, by which `way` leads to its maker; `me` is what we are called, and our port.
    ///
    /// # Errors
    /// Why that cannot be asked.
    #[allow(clippy::too_many_arguments, reason = "what a question needs, and nothing that belongs together")]
    pub(super) fn join(
        &mut self,
        to: Address,
        wish: Wish,
        way: Way,
        me: (&str, u16),
        engine: &EngineHandle,
        out: &mut Out,
        ids: &mut ErrandIds,
        now: Instant,
    ) -> Result<(), ErrorReport> {
        let id = ids.next();
        let join = JoinAsk::new(way, id, me.0, me.1, now).map_err(|failed| error_of(&failed))?;
        self.start(
            id,
            Ask { to, question: Question::Join(wish), errand: Some(Asking::Join(join)) },
            engine,
            out,
            now,
        )
    }

    /// It is a peer: one echo by its key alone shows that it is so.
    ///
    /// # Errors
    /// Why that cannot be asked.
    #[allow(clippy::too_many_arguments, reason = "what a question needs, and nothing that belongs together")]
    pub(super) fn prove(
        &mut self,
        to: Address,
        peer: String,
        joiner: String,
        way: Way,
        engine: &EngineHandle,
        out: &mut Out,
        ids: &mut ErrandIds,
        now: Instant,
    ) -> Result<(), ErrorReport> {
        let id = ids.next();
        let ping = calls::Ping { count: 1, size: PROOF_BYTES, interval: PATIENCE, patience: PATIENCE };
        let echoes = Echoes::new(way, id, ping, now).map_err(|failed| error_of(&failed))?;
        let question = Question::Prove(Friends { peer, joiner });
        self.start(id, Ask { to, question, errand: Some(Asking::Ping(echoes)) }, engine, out, now)
    }

    fn start(
        &mut self,
        id: u32,
        ask: Ask,
        engine: &EngineHandle,
        out: &mut Out,
        now: Instant,
    ) -> Result<(), ErrorReport> {
        if self.0.len() >= ASKS_MAX {
            return Err(too_many());
        }
        self.0.insert(id, ask);
        self.drive(id, engine, out, now, |errand, cx| errand.due(cx));
        Ok(())
    }

    /// What came of a ticket.
    pub(super) fn take_joined(&mut self) -> Option<Joined> {
        self.1.pop()
    }

    /// The addresses of a peer are known, or there are none.
    pub(super) fn on_resolved(
        &mut self,
        id: u32,
        resolved: Resolved<Asker>,
        engine: &EngineHandle,
        out: &mut Out,
        now: Instant,
    ) {
        let Some(ask) = self.0.get_mut(&id) else { return };
        let begun = resolved.found.and_then(|addresses| {
            let usual = Way::new(resolved.host.key, addresses);
            let way = Way { host: resolved.host.name.clone(), ..usual };
            Ok(match &ask.question {
                Question::List { root, path } => Asking::List(ListAsk::new(way, id, root, path, now)?),
                Question::Ping(ping) => Asking::Ping(Echoes::new(way, id, *ping, now)?),
                // Their addresses were known.
                Question::Join(_) | Question::Prove(_) => return Err(JobError::ended(Code::Bug)),
            })
        });
        match begun {
            Ok(errand) => {
                ask.errand = Some(errand);
                self.drive(id, engine, out, now, |errand, cx| errand.due(cx));
            }
            Err(failed) => {
                out.refuse(ask.to, error_of(&failed));
                self.0.remove(&id);
            }
        }
    }

    /// A report of the engine; gives back one that is no question's.
    pub(super) fn on_report(
        &mut self,
        report: Report,
        engine: &EngineHandle,
        out: &mut Out,
        now: Instant,
    ) -> Option<Report> {
        let owns =
            |ask: &mut Ask| ask.errand.as_mut().is_some_and(|asking| asking.errand().link().owns(&report));
        let owner = self.0.iter_mut().find_map(|(&id, ask)| owns(ask).then_some(id));
        let Some(id) = owner else { return Some(report) };
        self.drive(id, engine, out, now, |errand, cx| errand.on_report(report, cx));
        None
    }

    /// Does what is due.
    pub(super) fn due(&mut self, engine: &EngineHandle, out: &mut Out, now: Instant) {
        let is_due =
            |ask: &mut Ask| ask.errand.as_mut().is_some_and(|asking| now >= asking.errand().deadline());
        let due: Vec<u32> = self.0.iter_mut().filter_map(|(&id, ask)| is_due(ask).then_some(id)).collect();
        for id in due {
            self.drive(id, engine, out, now, |errand, cx| errand.due(cx));
        }
    }

    /// When something is due.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        self.0.values_mut().filter_map(|ask| Some(ask.errand.as_mut()?.errand().deadline())).min()
    }

    /// A client has gone, and with it its questions.
    pub(super) fn on_gone(&mut self, client: mio::Token, engine: &EngineHandle, out: &mut Out, now: Instant) {
        let of: Vec<u32> =
            self.0.iter().filter(|(_, ask)| ask.to.client == client).map(|(&id, _)| id).collect();
        for id in of {
            self.drive(id, engine, out, now, |errand, cx| errand.stop(Code::Interrupted, cx));
            // One that has not begun yet.
            if self.0.get(&id).is_some_and(|ask| ask.errand.is_none()) {
                self.0.remove(&id);
            }
        }
    }

    fn drive(
        &mut self,
        id: u32,
        engine: &EngineHandle,
        out: &mut Out,
        now: Instant,
        act: impl FnOnce(&mut dyn Errand, &mut Cx<'_>),
    ) {
        let Some(Ask { to, errand: Some(asking), .. }) = self.0.get_mut(&id) else { return };
        let to = *to;
        let mut events = |event| {
            if let calls::Event::Echo { number, bytes, rtt_us } = event {
                let (sequence, bytes) = (number + 1, bytes as u32);
                out.event(to, Event::Pong(Pong { sequence, bytes, rtt_us: Some(rtt_us) }));
            }
        };
        act(asking.errand(), &mut Cx { engine, now, events: &mut events });
        if !asking.errand().is_over() {
            return;
        }
        if let Some(Ask { errand: Some(asking), question, .. }) = self.0.remove(&id) {
            match (asking, question) {
                (Asking::List(list), _) => end_list(to, list.into_outcome(), out),
                (Asking::Ping(echoes), Question::Prove(friends)) => end_prove(to, friends, echoes, out),
                (Asking::Ping(echoes), _) => end_ping(to, echoes, out),
                (Asking::Join(join), Question::Join(wish)) => {
                    self.1.push(Joined { to, wish, outcome: join.into_outcome() });
                }
                (Asking::Join(_), _) => {}
            }
        }
    }
}

fn too_many() -> ErrorReport {
    let text = format!("{ASKS_MAX} questions to peers are under way, as many as there may be.");
    error(Code::TryAgain, text, "Ask again in a moment.")
}

/// Both know each other; whether they reach each other is another question.
fn end_prove(to: Address, Friends { peer, joiner }: Friends, echoes: Echoes, out: &mut Out) {
    let rtt = echoes.into_outcome().map(|summary| summary.rtt_us());
    match rtt {
        Ok(Some((_, rtt_us, _))) => out.done(to, Reply::Joined { peer, joiner, rtt_us }),
        Ok(None) => {
            let text = format!("{peer} is a peer now, but an echo did not come back.");
            out.refuse(to, error(Code::Unreachable, text, format!("Try again: udpxctl ping {peer}")));
        }
        Err(failed) => out.refuse(to, error_of(&failed)),
    }
}

fn end_list(to: Address, outcome: Result<Listing, JobError>, out: &mut Out) {
    let listing = match outcome {
        Ok(listing) => listing,
        Err(failed) => return out.refuse(to, error_of(&failed)),
    };
    let count = listing.entries.len() as u64;
    let entries: Vec<Entry> = listing.entries.into_iter().map(reports::entry).collect();
    for page in entries.chunks(ENTRIES_PER_FRAME_MAX) {
        out.event(to, Event::Entries { entries: page.to_vec() });
    }
    out.done(to, Reply::Listed { count, cut: listing.is_cut });
}

fn end_ping(to: Address, echoes: Echoes, out: &mut Out) {
    match echoes.into_outcome() {
        Ok(summary) => {
            for &number in &summary.missing {
                out.event(to, Event::Pong(Pong { sequence: number + 1, bytes: 0, rtt_us: None }));
            }
            out.done(to, Reply::Ping(reports::ping(&summary)));
        }
        Err(failed) => out.refuse(to, error_of(&failed)),
    }
}

/// Bytes of the echo that proves two machines to be peers.
const PROOF_BYTES: usize = 56;
/// Questions under way at once.
const ASKS_MAX: usize = 256;
/// Echoes of one request.
const PINGS_MAX: u32 = 1_000_000;
/// How long the last echoes are waited for.
const PATIENCE: Duration = Duration::from_secs(2);
