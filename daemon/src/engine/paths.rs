//! What is remembered of the paths to peers: the rate that each delivered and its round trip, so that the next session
//! need not search for what the last one knew.
//!
//! A hint is no promise: `udpx_proto` tries half of it for one round trip, and only if the handshake took about as long as
//! is remembered; what then arrives decides. So a wrong entry costs little, and the file is treated as what it is, a
//! cache: it is written without a sync, and one that cannot be read is as good as none.
//!
//! The table is shared by an engine, which looks at it when a session begins and ends, and by whoever saves it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use udpx_proto::RateHint;
use udpx_proto::handshake::PublicKey;

use crate::identity;

/// Paths that are remembered; the one not seen for longest makes room.
const PATHS_MAX: usize = 256;
/// A path that nobody has used for so long may be any other.
const EXPIRY: Duration = Duration::from_secs(24 * 3600);
/// Bytes of the file that are read: far more than [`PATHS_MAX`] paths need.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// More than any path delivers, bits a second, and takes, microseconds: such a line is nonsense.
const SENSE_MAX: (u64, u64) = (10_000_000_000_000, 60_000_000);

/// A path: whose key is at the other end, and where.
type Key = (String, IpAddr);

/// The table. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paths(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    known: BTreeMap<Key, Known>,
    /// Something was learnt since it was saved.
    changed: bool,
    /// Where it is saved, if anywhere.
    file: Option<PathBuf>,
}

/// What is known of a path.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Known {
    hint: RateHint,
    /// Seconds since 1970 when it was learnt.
    at: u64,
}

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    peer: String,
    address: IpAddr,
    /// Wire bits a second.
    rate_bps: u64,
    rtt_us: u64,
    /// Seconds since 1970.
    at: u64,
}

impl Paths {
    /// The table of a daemon with that state directory, as its last run left it.
    pub(crate) fn open(state: &Path) -> Self {
        let file = state.join("paths.json");
        let mut known = BTreeMap::new();
        match read(&file) {
            Ok(lines) => {
                let sense = |line: &Line| line.rate_bps <= SENSE_MAX.0 && line.rtt_us <= SENSE_MAX.1;
                for line in lines.into_iter().filter(sense).take(PATHS_MAX) {
                    let hint =
                        RateHint { bps: line.rate_bps as f64, rtt_ns: line.rtt_us.saturating_mul(1000) };
                    known.insert((line.peer, line.address), Known { hint, at: line.at });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(?file, %error, "what was remembered of paths cannot be read; their rates are searched anew");
            }
        }
        Self(Arc::new(Mutex::new(Table { known, changed: false, file: Some(file) })))
    }

    /// What is known of the path to a peer.
    pub(crate) fn hint(&self, peer: &PublicKey, address: IpAddr) -> Option<RateHint> {
        self.hint_at(peer, address, now())
    }

    /// A session with a peer has found this.
    pub(crate) fn remember(&self, peer: &PublicKey, address: IpAddr, hint: RateHint) {
        self.remember_at(peer, address, hint, now());
    }

    /// Writes the file if something was learnt since the last time.
    ///
    /// # Errors
    /// What the system says; the old file is still there, and what was to be written is not written before something new
    /// is learnt.
    pub(crate) fn save(&self) -> io::Result<()> {
        let (file, lines) = {
            let mut table = self.table();
            if !std::mem::take(&mut table.changed) {
                return Ok(());
            }
            let Some(file) = table.file.clone() else { return Ok(()) };
            (file, table.lines())
        };
        let text = serde_json::to_string_pretty(&lines)?;
        let new = file.with_extension("json.new");
        fs::write(&new, text + "\n").and_then(|()| fs::rename(&new, &file)).inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })
    }

    fn hint_at(&self, peer: &PublicKey, address: IpAddr, now: u64) -> Option<RateHint> {
        let known = *self.table().known.get(&key(peer, address))?;
        // A clock that was set back makes nothing older than it is.
        (now.abs_diff(known.at) < EXPIRY.as_secs()).then_some(known.hint)
    }

    fn remember_at(&self, peer: &PublicKey, address: IpAddr, hint: RateHint, now: u64) {
        let mut table = self.table();
        table.known.retain(|_, known| now.abs_diff(known.at) < EXPIRY.as_secs());
        table.known.insert(key(peer, address), Known { hint, at: now });
        table.changed = true;
        while table.known.len() > PATHS_MAX {
            let oldest = table.known.iter().min_by_key(|(_, known)| known.at).map(|(key, _)| key.clone());
            oldest.and_then(|key| table.known.remove(&key));
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn lines(&self) -> Vec<Line> {
        let line = |((peer, address), known): (&Key, &Known)| Line {
            peer: peer.clone(),
            address: *address,
            rate_bps: known.hint.bps as u64,
            rtt_us: known.hint.rtt_ns / 1000,
            at: known.at,
        };
        self.known.iter().map(line).collect()
    }
}

fn key(peer: &PublicKey, address: IpAddr) -> Key {
    (identity::key_text(peer), address)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn read(file: &Path) -> io::Result<Vec<Line>> {
    let mut text = String::new();
    fs::File::open(file)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINT: RateHint = RateHint { bps: 1e9, rtt_ns: 50_000_000 };
    const NOW: u64 = 1_800_000_000;

    fn peer(n: u8) -> PublicKey {
        PublicKey([n; 32])
    }

    fn host(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn a_path_is_a_peer_at_an_address() {
        let paths = Paths::default();
        paths.remember_at(&peer(1), host(1), HINT, NOW);
        assert_eq!(paths.hint_at(&peer(1), host(1), NOW + 3600), Some(HINT));
        assert_eq!(paths.hint_at(&peer(1), host(2), NOW), None);
        assert_eq!(paths.hint_at(&peer(2), host(1), NOW), None);
    }

    #[test]
    fn what_is_a_day_old_is_forgotten_and_a_clock_set_back_revives_nothing() {
        let paths = Paths::default();
        paths.remember_at(&peer(1), host(1), HINT, NOW);
        let day = EXPIRY.as_secs();
        assert_eq!(paths.hint_at(&peer(1), host(1), NOW + day - 1), Some(HINT));
        assert_eq!(paths.hint_at(&peer(1), host(1), NOW + day), None);
        assert_eq!(paths.hint_at(&peer(1), host(1), NOW - day), None);
        paths.remember_at(&peer(2), host(1), HINT, NOW + day);
        assert_eq!(paths.table().known.len(), 1);
    }

    #[test]
    fn the_oldest_of_too_many_makes_room() {
        let paths = Paths::default();
        for n in 0..=PATHS_MAX as u64 {
            paths.remember_at(&peer((n % 200) as u8), host((n / 200) as u8), HINT, NOW + n);
        }
        let last = NOW + PATHS_MAX as u64;
        assert_eq!(paths.table().known.len(), PATHS_MAX);
        assert_eq!(paths.hint_at(&peer(0), host(0), last), None);
        assert_eq!(paths.hint_at(&peer(1), host(0), last), Some(HINT));
    }

    #[test]
    fn another_run_knows_what_was_saved() {
        let state = tempfile::tempdir().unwrap();
        let paths = Paths::open(state.path());
        paths.save().unwrap();
        assert!(!state.path().join("paths.json").exists(), "nothing was learnt");
        paths.remember_at(&peer(1), host(1), HINT, NOW);
        paths.save().unwrap();
        let again = Paths::open(state.path());
        assert_eq!(again.hint_at(&peer(1), host(1), NOW), Some(HINT));
    }

    #[test]
    fn a_file_that_makes_no_sense_is_as_good_as_none() {
        let state = tempfile::tempdir().unwrap();
        let file = state.path().join("paths.json");
        for text in ["", "{}", "[{\"peer\":1}]", "[{\"peer\":\"\",\"address\":\"x\",\"rate_bps\":-1}]"] {
            fs::write(&file, text).unwrap();
            assert!(Paths::open(state.path()).table().known.is_empty(), "{text}");
        }
        let fast = r#"[{"peer":"","address":"192.0.2.1","rate_bps":18446744073709551615,"rtt_us":1,"at":1}]"#;
        fs::write(&file, fast).unwrap();
        assert!(Paths::open(state.path()).table().known.is_empty());
        fs::write(&file, vec![b'['; 2 * FILE_BYTES_MAX as usize]).unwrap();
        assert!(Paths::open(state.path()).table().known.is_empty());
    }

    #[test]
    fn a_place_that_cannot_be_written_is_told() {
        let paths = Paths::open(Path::new("/nowhere/at/all"));
        paths.remember_at(&peer(1), host(1), HINT, NOW);
        assert_eq!(paths.save().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
