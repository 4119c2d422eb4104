//! What is known of the daemon: the sum of what the conductor was told, as the reports of the control socket.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use udpx_control::schema::{
    Counter, DaemonReport, InboxEntry, JobCounts, LimitReport, PeerReport, RootReport, Row, SessionReport,
    SocketReport,
};

use super::caps::Capped;
use super::roots::problem;
use crate::config::{Config, INBOX, Peer, PeerSource, Rights};
use crate::daemon::DaemonEvent;
use crate::identity;
use crate::report::{self, FileSummary, SessionCounters, SessionTally, Tally};
use udpx_proto::SessionStats;

use super::reports;

/// What the configuration says, as far as it is asked for.
#[derive(Debug)]
pub(super) struct Settings {
    peers: Vec<PeerReport>,
    /// The default one first.
    roots: Vec<Place>,
}

/// A root as it is set.
#[derive(Debug)]
struct Place {
    name: String,
    path: PathBuf,
    /// A peer may write there, so the daemon has to.
    is_written: bool,
}

impl Settings {
    pub(super) fn of(config: &Config) -> Self {
        let mut roots = vec![Place { name: INBOX.into(), path: config.inbox.clone(), is_written: true }];
        let own = |peer: &Peer| {
            let path = peer.inbox.clone()?;
            Some(Place { name: root_of(peer), path, is_written: peer.rights.write })
        };
        roots.extend(config.peers.iter().filter_map(own));
        roots.extend(config.roots.iter().map(|(name, root)| {
            let may_write = |peer: &Peer| peer.roots.get(name).is_some_and(|rights| rights.write);
            let is_written = config.peers.iter().any(may_write);
            Place { name: name.clone(), path: root.path.clone(), is_written }
        }));
        Self { peers: config.peers.iter().map(|peer| peer_report(config, peer)).collect(), roots }
    }
}

fn peer_report(config: &Config, peer: &Peer) -> PeerReport {
    let own = (root_of(peer), peer.rights);
    let others = peer.roots.iter().map(|(name, &rights)| (name.clone(), rights));
    let roots: Vec<(String, Rights)> = [own].into_iter().chain(others).collect();
    let granted = |right: fn(&Rights) -> bool| {
        roots.iter().filter(|(_, rights)| right(rights)).map(|(name, _)| name.clone()).collect()
    };
    PeerReport {
        peer: peer.name.clone(),
        key: identity::key_text(&peer.key),
        addresses: Vec::new(),
        address: peer.address.as_ref().map(ToString::to_string),
        configured: peer.source == PeerSource::Configuration,
        sessions: 0,
        read: granted(|rights| rights.read),
        list: granted(|rights| rights.list),
        write: granted(|rights| rights.write),
        plain: peer.plain,
        limit_bps: peer.rate_bps,
        quota_bytes: config.quota_of(peer),
        used_bytes: None,
        unfinished: 0,
        unfinished_bytes: 0,
        heard_unix_ms: None,
    }
}

/// Where a peer's rights hold: its directory beneath the inbox, or one of its own.
fn root_of(peer: &Peer) -> String {
    if peer.inbox.is_some() { format!("{INBOX}/{}", peer.name) } else { INBOX.into() }
}

/// All that is known.
#[derive(Debug)]
pub(super) struct Board {
    key: String,
    started: Instant,
    settings: Settings,
    sessions: BTreeMap<u64, Live>,
    /// Of the sessions that have ended.
    past: SessionCounters,
    sockets: report::SocketReport,
    counts: Counts,
    /// Oldest first.
    inbox: VecDeque<InboxEntry>,
    /// Bytes of its paths.
    inbox_bytes: usize,
    /// When peers were last heard of.
    heard: HashMap<String, u64>,
}

/// A session that is open.
#[derive(Debug)]
struct Live {
    peer: String,
    /// Where it is now: it may move.
    from: SocketAddr,
    since: Instant,
    /// We opened it, for this job if it is one's.
    outgoing: bool,
    job: Option<u64>,
    tally: Option<SessionTally>,
    tallied: Instant,
    rate_bps: u64,
    /// Packets received at the last change of that number.
    heard_packets: u64,
}

impl Live {
    fn new(peer: String, from: SocketAddr, now: Instant) -> Self {
        Self {
            peer,
            from,
            since: now,
            outgoing: false,
            job: None,
            tally: None,
            tallied: now,
            rate_bps: 0,
            heard_packets: 0,
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    sessions: u64,
    unknown_keys: u64,
    received: u64,
    received_bytes: u64,
    not_received: u64,
    sent: u64,
    sent_bytes: u64,
    not_sent: u64,
}

impl Board {
    pub(super) fn new(key: String, settings: Settings) -> Self {
        Self {
            key,
            started: Instant::now(),
            settings,
            sessions: BTreeMap::new(),
            past: SessionCounters::default(),
            sockets: report::SocketReport::default(),
            counts: Counts::default(),
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            heard: HashMap::new(),
        }
    }

    /// A changed configuration is in force.
    pub(super) fn set(&mut self, settings: Settings) {
        self.heard.retain(|name, _| settings.peers.iter().any(|peer| peer.peer == *name));
        self.settings = settings;
    }

    /// Takes note of an event; returns a file that has arrived by it.
    pub(super) fn note(&mut self, event: DaemonEvent) -> Option<InboxEntry> {
        match event {
            DaemonEvent::Connected { session, peer, from } => {
                let now = Instant::now();
                self.counts.sessions += 1;
                self.heard.insert(peer.clone(), unix_ms());
                self.sessions.insert(session, Live::new(peer, from, now));
            }
            DaemonEvent::Disconnected { session, counters, .. } => {
                self.sessions.remove(&session);
                self.past += &counters;
            }
            DaemonEvent::Tally(tally) => self.tally(*tally),
            DaemonEvent::Refused { .. } => self.counts.unknown_keys += 1,
            DaemonEvent::Received { peer, user, file } => {
                self.counts.received += 1;
                self.counts.received_bytes += file.bytes;
                self.heard.insert(peer.clone(), unix_ms());
                // What was there and was left has not arrived.
                return (!file.skipped).then(|| self.keep(arrived(peer, user, &file)));
            }
            DaemonEvent::Failed { .. } => self.counts.not_received += 1,
            DaemonEvent::Sent { bytes, .. } => {
                self.counts.sent += 1;
                self.counts.sent_bytes += bytes;
            }
            DaemonEvent::NotSent { .. } => self.counts.not_sent += 1,
        }
        None
    }

    /// A session that we opened is there: for a job and to whom, if it is one's.
    pub(super) fn note_called(&mut self, session: u64, address: SocketAddr, job: Option<(u64, String)>) {
        self.counts.sessions += 1;
        let (job, peer) = match job {
            Some((job, peer)) => (Some(job), peer),
            None => (None, address.ip().to_string()),
        };
        self.heard.entry(peer.clone()).and_modify(|heard| *heard = unix_ms());
        let live = Live { outgoing: true, job, ..Live::new(peer, address, Instant::now()) };
        self.sessions.insert(session, live);
    }

    /// A session that we opened has ended.
    pub(super) fn note_ended(&mut self, session: u64, stats: &SessionStats) {
        self.sessions.remove(&session);
        self.past += &SessionCounters::of(stats);
    }

    fn tally(&mut self, tally: Tally) {
        let now = Instant::now();
        self.sockets = tally.sockets;
        for new in tally.sessions {
            let Some(live) = self.sessions.get_mut(&new.session) else { continue };
            let bytes =
                |tally: &SessionTally| tally.counters.sent.wire_bytes + tally.counters.received.wire_bytes;
            let moved = bytes(&new) - live.tally.as_ref().map_or(0, bytes).min(bytes(&new));
            let seconds = now.duration_since(live.tallied).as_secs_f64();
            live.rate_bps = if seconds > 0.0 { (moved as f64 * 8.0 / seconds) as u64 } else { 0 };
            live.tallied = now;
            live.from = new.address;
            let packets = new.counters.received.packets;
            if packets != std::mem::replace(&mut live.heard_packets, packets) {
                self.heard.insert(live.peer.clone(), unix_ms());
            }
            live.tally = Some(new);
        }
    }

    fn keep(&mut self, entry: InboxEntry) -> InboxEntry {
        self.inbox_bytes += weight(&entry);
        self.inbox.push_back(entry.clone());
        while self.inbox.len() > INBOX_MAX || self.inbox_bytes > INBOX_BYTES_MAX {
            let Some(oldest) = self.inbox.pop_front() else { break };
            self.inbox_bytes -= weight(&oldest);
        }
        entry
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Whether a peer of that name is configured.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.settings.peers.iter().any(|peer| peer.peer == name)
    }

    /// The files that have arrived, of one peer or of all, oldest first.
    pub(super) fn inbox<'a>(&'a self, peer: Option<&'a str>) -> impl Iterator<Item = &'a InboxEntry> {
        self.inbox.iter().filter(move |entry| peer.is_none_or(|peer| entry.peer == peer))
    }

    pub(super) fn peers(&self) -> Vec<PeerReport> {
        let tally = |live: &'_ Live| live.tally.clone();
        let report = |peer: &PeerReport| {
            let open = self.sessions.values().filter(|live| live.peer == peer.peer);
            PeerReport {
                addresses: open.clone().map(|live| live.from.to_string()).collect(),
                sessions: open.clone().count() as u32,
                unfinished: open.clone().filter_map(tally).map(|tally| tally.unfinished).sum(),
                unfinished_bytes: open.filter_map(tally).map(|tally| tally.unfinished_bytes).sum(),
                heard_unix_ms: self.heard.get(&peer.peer).copied(),
                ..peer.clone()
            }
        };
        self.settings.peers.iter().map(report).collect()
    }

    pub(super) fn roots(&self) -> Vec<RootReport> {
        let report = |place: &Place| RootReport {
            root: place.name.clone(),
            path: place.path.clone().into(),
            default: place.name == INBOX,
            free_bytes: free_bytes(&place.path),
            problem: problem(&place.path, place.is_written),
        };
        self.settings.roots.iter().map(report).collect()
    }

    pub(super) fn sessions(&self) -> Vec<SessionReport> {
        let report = |live: &Live| {
            let tally = live.tally.as_ref();
            SessionReport {
                peer: live.peer.clone(),
                address: live.from.to_string(),
                outgoing: live.outgoing,
                age_us: micros(live.since.elapsed()),
                jobs: live.job.into_iter().collect(),
                streams: tally.map_or(0, |tally| tally.streams),
                rate_bps: live.rate_bps,
                rtt_us: tally.map_or(0, |tally| tally.rtt_us),
                loss: tally.map_or(0.0, |tally| tally.loss),
                datagram_bytes: tally.map_or(0, |tally| tally.datagram.into()),
                plain: tally.is_some_and(|tally| tally.plain),
            }
        };
        self.sessions.values().map(report).collect()
    }

    /// The sessions that peers opened, for what they may move together.
    pub(super) fn capped(&self) -> impl Iterator<Item = Capped> {
        let incoming = self.sessions.iter().filter(|(_, live)| !live.outgoing);
        incoming.map(|(&session, _)| Capped { session, own: None })
    }

    pub(super) fn stats(&self, jobs: JobCounts, connections: u32, limit: LimitReport) -> DaemonReport {
        let mut sum = self.past.clone();
        self.sessions
            .values()
            .filter_map(|live| live.tally.as_ref())
            .for_each(|tally| sum += &tally.counters);
        let uptime = self.started.elapsed();
        let row = |of: report::Row| Row { seconds: uptime.as_secs_f64(), stream: None, ..reports::row(&of) };
        let counts = &self.counts;
        let named = [
            ("files_received", counts.received),
            ("files_received_bytes", counts.received_bytes),
            ("files_not_received", counts.not_received),
            ("files_sent", counts.sent),
            ("files_sent_bytes", counts.sent_bytes),
            ("files_not_sent", counts.not_sent),
            ("sessions_opened", counts.sessions),
            ("keys_refused", counts.unknown_keys),
        ];
        let named = named.map(|(name, value)| Counter { name: name.into(), value });
        let drops = sum.drops.iter();
        let drops = drops
            .map(|(reason, &value)| Counter { name: format!("drop_{}", reason.replace('-', "_")), value });
        DaemonReport {
            uptime_us: micros(uptime),
            jobs,
            sessions: self.sessions.len() as u32,
            connections,
            limit,
            sent: row(sum.sent),
            received: row(sum.received),
            sockets: SocketReport {
                send_calls: self.sockets.send_calls,
                sent_trains: self.sockets.sent_trains,
                sent_datagrams: self.sockets.sent_datagrams,
                dropped_datagrams: self.sockets.dropped_datagrams,
                receive_calls: self.sockets.receive_calls,
                received_buffers: self.sockets.received_buffers,
                received_datagrams: self.sockets.received_datagrams,
            },
            counters: named.into_iter().chain(drops).collect(),
        }
    }
}

fn arrived(peer: String, user: String, file: &FileSummary) -> InboxEntry {
    InboxEntry {
        peer,
        user,
        path: file.path.clone().into(),
        bytes: file.bytes,
        digest: file.digest_hex(),
        arrived_unix_ms: unix_ms(),
        rows: (1..)
            .zip(&file.rows)
            .map(|(number, row)| Row { stream: Some(number), ..reports::row(row) })
            .collect(),
    }
}

/// Bytes that an entry takes beside what all of them take.
fn weight(entry: &InboxEntry) -> usize {
    entry.path.as_bytes().len() + entry.user.len() + size_of_val(entry.rows.as_slice())
}

/// Bytes free for the daemon; 0 where nobody can say.
fn free_bytes(path: &Path) -> u64 {
    let found = nix::sys::statvfs::statvfs(path);
    found.map_or(0, |found| found.blocks_available().saturating_mul(found.fragment_size()))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Files that are remembered.
const INBOX_MAX: usize = 1000;
/// Bytes of their paths and rows: as JSON they grow eightfold at worst, and one answer must not be taken for a client that
/// never reads.
const INBOX_BYTES_MAX: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Board {
        Board::new("udpxk1".into(), Settings::of(&Config::default()))
    }

    fn received(path: &str) -> DaemonEvent {
        let file = FileSummary {
            file: 0,
            path: path.into(),
            bytes: 2,
            digest: [0; 32],
            skipped: false,
            seconds: 0.0,
            reread_bytes: 0,
            rows: Vec::new(),
        };
        DaemonEvent::Received { peer: "alice".into(), user: String::new(), file }
    }

    #[test]
    fn the_inbox_is_bounded_by_files_and_by_their_names() {
        let mut board = board();
        for number in 0..INBOX_MAX + 5 {
            assert!(board.note(received(&format!("/{number}"))).is_some());
        }
        assert_eq!(board.inbox(None).count(), INBOX_MAX);
        assert_eq!(board.inbox(None).next().unwrap().path.to_lossy(), "/5");
        assert_eq!((board.inbox(Some("alice")).count(), board.inbox(Some("bob")).count()), (INBOX_MAX, 0));
        for _ in 0..INBOX_MAX {
            board.note(received(&"\u{1}".repeat(4000)));
        }
        let sum: usize = board.inbox(None).map(|entry| entry.path.as_bytes().len()).sum();
        assert!(sum == board.inbox_bytes && sum <= INBOX_BYTES_MAX, "{sum}");
        let count = |name| {
            board
                .stats(JobCounts::default(), 0, LimitReport::default())
                .counters
                .into_iter()
                .find(|counter| counter.name == name)
                .unwrap()
                .value
        };
        assert_eq!((count("files_received"), count("files_received_bytes")), (2005, 4010));
    }

    #[test]
    fn an_ended_session_counts_once() {
        let mut board = board();
        let from = "127.0.0.1:7".parse().unwrap();
        let counters = |packets| SessionCounters {
            received: report::Row { packets, wire_bytes: packets * 1000, ..report::Row::default() },
            drops: BTreeMap::from([("bad-tag", packets)]),
            ..SessionCounters::default()
        };
        let tally = |packets| {
            let (peer, counters) = ("alice".into(), counters(packets));
            let session = SessionTally {
                session: 3,
                peer,
                address: "127.0.0.2:8".parse().unwrap(),
                counters,
                rtt_us: 5,
                loss: 0.0,
                datagram: 9,
                streams: 1,
                plain: true,
                unfinished: 0,
                unfinished_bytes: 0,
            };
            DaemonEvent::Tally(Box::new(Tally { sessions: vec![session], ..Tally::default() }))
        };
        board.note(DaemonEvent::Connected { session: 3, peer: "alice".into(), from });
        board.note(tally(10));
        assert_eq!(
            (
                board.stats(JobCounts::default(), 0, LimitReport::default()).received.packets,
                board.stats(JobCounts::default(), 0, LimitReport::default()).sessions
            ),
            (10, 1)
        );
        assert_eq!((board.sessions()[0].rtt_us, board.sessions()[0].plain), (5, true));
        assert_eq!(board.sessions()[0].address, "127.0.0.2:8", "it has moved");
        let (code, text, socket) = (crate::Code::Done, String::new(), report::SocketReport::default());
        let (peer, counters) = ("alice".into(), Box::new(counters(12)));
        board.note(DaemonEvent::Disconnected { session: 3, peer, from, code, text, socket, counters });
        // What was on its way when it ended.
        board.note(tally(11));
        assert_eq!(
            (
                board.stats(JobCounts::default(), 0, LimitReport::default()).received.packets,
                board.stats(JobCounts::default(), 0, LimitReport::default()).sessions
            ),
            (12, 0)
        );
        let drop = board.stats(JobCounts::default(), 0, LimitReport::default()).counters.pop().unwrap();
        assert_eq!((drop.name.as_str(), drop.value), ("drop_bad_tag", 12));
    }
}
