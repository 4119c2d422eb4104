//! The configuration of `udpxd run`: which addresses to listen on, where files go, whose files are taken.
//!
//! ```toml
//! listen = ["0.0.0.0:48379", "[::]:48379"]   # the default
//! identity = "/var/lib/udpx/identity"
//! inbox = "/var/lib/udpx/inbox"               # a peer's files go to INBOX/NAME
//!
//! [roots]                                     # more places, which peers may be granted something in
//! disk = "/srv/disk"
//!
//! [[peer]]
//! name = "alice"
//! key = "udpxk1..."
//! read = true                                 # it may get files as well; write is granted unless write = false
//! list = true                                 # and see what is there
//! roots.disk = ["read", "list"]               # and that in another place
//! ```
//!
//! Parsing is strict: a key that nobody reads is refused with its line and the nearest name that exists, because a
//! misspelt option that is silently ignored is found when it is too late.

mod control;
mod limits;
mod peer;
mod roots;
mod schedule;
mod table;
mod text;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

pub use control::Control;
pub(crate) use control::OF_USER;
pub use limits::Limits;
pub(crate) use peer::{PEER_NAME_RULE, RATE_LEAST_BPS};
pub use peer::{Peer, PeerAddress, PeerSource, Rights};
pub(crate) use roots::{INBOX, NAME_MAX, OVERLAP_REMEDY, ROOT_NAME_RULE, is_root_name};
pub use roots::{Root, RootSource};
pub use schedule::{Entry, Schedule, Standing};
use table::{Fields, Value};
pub(crate) use text::is_name;
pub(crate) use text::rate_text;
pub use text::{parse_rate, parse_size};
use udpx_proto::limits::LANES_MAX;

/// The UDP port of udpx.
pub const PORT: u16 = 48379;

/// Everything that `udpxd run` needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses to receive on; port 0 lets the kernel choose.
    pub listen: Vec<SocketAddr>,
    /// The file of the secret key.
    pub identity: PathBuf,
    /// A peer's files go below `inbox/NAME`, unless the peer has an `inbox` of its own.
    pub inbox: PathBuf,
    /// Where the daemon keeps what it has to remember; by default in the directory of its key: see
    /// [`Config::state_directory`].
    pub state: Option<PathBuf>,
    /// Places beside the inbox that peers may be granted rights in, by name.
    pub roots: BTreeMap<String, Root>,
    /// Bytes of files that may lie in each root, by name; that of the inbox holds for each peer's directory.
    pub quotas: BTreeMap<String, u64>,
    /// Bytes that are to stay free on the file systems of the inbox and of all roots.
    pub keep_free: u64,
    /// How much of everything there may be at once.
    pub limits: Limits,
    /// The most that all transfers together may move, and when.
    pub schedule: Schedule,
    /// What becomes of received bytes.
    pub sink: Sink,
    /// Where programs of this machine talk to the daemon.
    pub control: Control,
    /// Staging memory of an engine, bytes.
    pub staging: u64,
    /// Receive buffer of each socket, bytes.
    pub receive_buffer: usize,
    /// Segmentation offload: off for drivers that damage trains.
    pub gso: bool,
    /// Largest IP packet to take and to try, bytes.
    pub mtu_max: u16,
    /// Lanes of a session at most, 1 to 8; as many as the cores ask for if `None`.
    pub lanes: Option<u8>,
    /// Who may do something here.
    pub peers: Vec<Peer>,
}

/// What becomes of received bytes.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Sink {
    /// They are stored.
    #[default]
    Files,
    /// They are hashed and forgotten: for measuring everything but the disk.
    Null,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            identity: PathBuf::from("/var/lib/udpx/identity"),
            inbox: PathBuf::from("/var/lib/udpx/inbox"),
            state: None,
            roots: BTreeMap::new(),
            quotas: BTreeMap::new(),
            keep_free: 0,
            limits: Limits::default(),
            schedule: Schedule::default(),
            sink: Sink::Files,
            control: Control::Auto,
            staging: STAGING,
            receive_buffer: RECEIVE_BUFFER,
            gso: true,
            mtu_max: MTU_MAX,
            lanes: None,
            peers: Vec::new(),
        }
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path:?} could not be read: {error}; check the path and its permissions.")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{path}:{line}: {what}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what would be right.
        what: String,
    },
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Unreadable { path: path.into(), error })?;
        Self::read(&text, path)
    }

    /// Checks the text of a file that messages call `path`.
    pub(crate) fn read(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::parse(text).map_err(|mistake| mistake.of(path, text))
    }

    /// The addresses to bind: those given; else every address, but only loopback where there is no peer and nobody can be
    /// invited, for want of a control socket.
    #[must_use]
    pub fn listen_addresses(&self) -> Vec<SocketAddr> {
        if !self.listen.is_empty() {
            return self.listen.clone();
        }
        let (v4, v6) = match self.is_closed() {
            true => (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
            false => (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
        };
        vec![(v4, PORT).into(), (v6, PORT).into()]
    }

    /// Whether nobody may come, and no command can let anybody in.
    fn is_closed(&self) -> bool {
        self.peers.is_empty() && self.control == Control::Off
    }

    /// Bytes of files that may lie in a peer's directory.
    #[must_use]
    pub fn quota_of(&self, peer: &Peer) -> Option<u64> {
        peer.quota.or_else(|| self.quotas.get(INBOX).copied())
    }

    /// The directory of a peer's files.
    #[must_use]
    pub fn inbox_of(&self, peer: &Peer) -> PathBuf {
        peer.inbox.clone().unwrap_or_else(|| self.inbox.join(&peer.name))
    }

    /// Where the daemon keeps what it has to remember.
    #[must_use]
    pub fn state_directory(&self) -> PathBuf {
        let beside = self.identity.parent().filter(|parent| !parent.as_os_str().is_empty());
        let state = self.state.as_deref().or(beside);
        state.map_or_else(|| PathBuf::from("/var/lib/udpx"), Path::to_path_buf)
    }

    fn parse(text: &str) -> Result<Self, Mistake> {
        let mut fields = Fields::parse(text)?;
        let mut config = Self::default();
        let listen = fields.take("listen");
        if let Some(list) = &listen {
            config.listen = list.list()?.iter().map(address).collect::<Result<_, _>>()?;
        }
        if let Some(value) = fields.take("identity") {
            config.identity = value.text()?.into();
        }
        if let Some(value) = fields.take("inbox") {
            config.inbox = value.text()?.into();
        }
        if let Some(value) = fields.take("state") {
            config.state = Some(value.absolute_path()?);
        }
        let (limit, timetable) = (fields.take("limit"), fields.take("timetable"));
        config.schedule = Schedule::parse(limit.as_ref(), timetable.as_ref())?;
        if let Some(value) = fields.take("sink") {
            config.sink = sink(&value)?;
        }
        if let Some(value) = fields.take("control") {
            config.control = Control::parse(value.text()?).ok_or_else(|| {
                value.mistake("'control' is \"auto\", \"off\", or the absolute path of a socket")
            })?;
        }
        if let Some(value) = fields.take("staging") {
            config.staging = value.size(STAGING_MIN..=STAGING_MAX)?;
        }
        if let Some(value) = fields.take("rcvbuf") {
            config.receive_buffer = value.size(4096..=1 << 30)? as usize;
        }
        if let Some(value) = fields.take("gso") {
            config.gso = value.boolean()?;
        }
        if let Some(value) = fields.take("mtu_max") {
            config.mtu_max = value.size(1280..=u64::from(u16::MAX))? as u16;
        }
        if let Some(value) = fields.take("lanes") {
            config.lanes = Some(value.number(1..=LANES_MAX as u32)? as u8);
        }
        if let Some(value) = fields.take("quotas") {
            for (root, quota) in value.entries("write [quotas] before the names of roots")? {
                config.quotas.insert(root, quota.size(0..=u64::MAX)?);
            }
        }
        if let Some(value) = fields.take("keep_free") {
            config.keep_free = value.size(0..=u64::MAX)?;
        }
        if let Some(value) = fields.take("limits") {
            config.limits = Limits::parse(&value)?;
        }
        let roots = fields.take("roots");
        if let Some(list) = fields.take("peer") {
            config.take_peers(&list)?;
        }
        fields.finish()?;
        if let Some(value) = roots {
            // Last, because a root must not lie where anything else does.
            config.parse_roots(&value)?;
        }
        // Nobody could send anything, and the whole net could knock.
        if let Some(list) = listen
            && config.is_closed()
            && config.listen.iter().any(|address| !address.ip().is_loopback())
        {
            return Err(list.mistake("an address other than loopback needs a [[peer]] that may use it, or a control socket by which somebody can be \
                 invited"));
        }
        Ok(config)
    }

    fn check_peer(&self, peer: &Peer, value: &Value<'_>) -> Result<(), Mistake> {
        for other in &self.peers {
            if other.name == peer.name {
                return Err(value.mistake(&format!("there are two peers called {:?}", peer.name)));
            }
            if other.key == peer.key {
                return Err(value.mistake(&format!("{:?} and {:?} have the same key", other.name, peer.name)));
            }
        }
        Ok(())
    }
}

/// What is wrong, and where in the text.
#[derive(Debug)]
struct Mistake {
    /// Byte offset.
    at: usize,
    what: String,
}

impl Mistake {
    /// The same as an error of the file `path`, which holds `text`.
    fn of(self, path: &Path, text: &str) -> ConfigError {
        let line = 1 + text[..self.at.min(text.len())].matches('\n').count();
        ConfigError::Invalid { path: path.into(), line, what: self.what }
    }
}

fn address(value: &Value<'_>) -> Result<SocketAddr, Mistake> {
    let text = value.text()?;
    let address = text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT)));
    address.map_err(|_| {
        value.mistake("this is no address; write \"192.0.2.1:48379\" or \"[2001:db8::1]:48379\"")
    })
}

fn sink(value: &Value<'_>) -> Result<Sink, Mistake> {
    match value.text()? {
        "files" => Ok(Sink::Files),
        "null" => Ok(Sink::Null),
        _ => Err(value.mistake("sink is \"files\" or \"null\"")),
    }
}

/// How many lanes a session may have, where `asked` for so many or for none in particular: one, which two cores are kept busy by. That
/// more pay where there are more cores has not been measured.
pub(crate) fn lanes_of(asked: Option<u8>) -> u8 {
    asked.unwrap_or(1).clamp(1, LANES_MAX as u8)
}

/// Staging memory by default: 100 ms at 10 Gbit/s.
pub(crate) const STAGING: u64 = 128 << 20;
/// Less would not hold the blocks of one striped file.
const STAGING_MIN: u64 = 16 << 20;
const STAGING_MAX: u64 = 64 << 30;
pub(crate) const RECEIVE_BUFFER: usize = 8 << 20;
/// Jumbo frames, and loopback's larger MTU only where it is asked for.
pub(crate) const MTU_MAX: u16 = 9000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity;

    pub(in crate::config) fn mistake(text: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("udpxd.toml");
        std::fs::write(&path, text).unwrap();
        let message = Config::load(&path).unwrap_err().to_string();
        message.strip_prefix(&format!("{}:", path.display())).unwrap().to_owned()
    }

    pub(in crate::config) const KEY: &str =
        "udpxk10101010101010101010101010101010101010101010101010101010101010101";

    #[test]
    fn a_whole_file_is_understood() {
        let text = format!(
            "listen = [\"0.0.0.0\", \"[::1]:7\"]\nidentity = \"/i\"\ninbox = \"/b\"\nsink = \"null\"\nstaging = \"64 MiB\"\n\
             rcvbuf = 1048576\ngso = false\nmtu_max = 1500\nlanes = 4\n[[peer]]\nname = \"alice\"\nkey = \"{KEY}\"\nplain = true\nread = true\n"
        );
        let config = Config::parse(&text).unwrap();
        assert_eq!(config.listen, ["0.0.0.0:48379".parse().unwrap(), "[::1]:7".parse().unwrap()]);
        assert_eq!((config.staging, config.receive_buffer, config.mtu_max), (64 << 20, 1 << 20, 1500));
        assert_eq!(config.lanes, Some(4));
        assert!(!config.gso && config.peers[0].plain && config.sink == Sink::Null);
        assert_eq!(config.peers[0].rights, Rights { write: true, read: true, list: false });
        assert_eq!(config.inbox_of(&config.peers[0]), Path::new("/b/alice"));
    }

    #[test]
    fn mistakes_name_their_line_and_the_remedy() {
        assert_eq!(mistake("\n\nlisten_on = []\n"), "3: unknown key 'listen_on'; did you mean 'listen'?");
        assert!(mistake("gso = 1").starts_with("1: 'gso' is true or false"));
        assert!(mistake("lanes = 9").starts_with("1: 'lanes' must lie between"));
        assert!(mistake("identity = \"x\"\nmtu_max = 12").starts_with("2: 'mtu_max' must lie between"));
        assert!(mistake("\n[[peer]]\nname = \"a\"\nkey = \"k\"").starts_with("4: this is no key"));
        assert!(mistake("\n[[peer]]\nname = \"a/b\"\nkey = \"k\"").starts_with("3: a name has"));
        assert!(mistake("[[peer]]\nname = \"a\"\n").starts_with("1: 'key' is missing"));
        assert!(mistake("control = \"a/b\"").starts_with("1: 'control' is \"auto\", \"off\", or"));
        assert!(mistake("control = \"off\"\nlisten = [\"192.0.2.1\"]").contains("needs a [[peer]]"));
        assert!(mistake("state = \"a\"").starts_with("1: 'state' is an absolute path"));
        let twice = format!("[[peer]]\nname=\"a\"\nkey=\"{KEY}\"\n[[peer]]\nname=\"b\"\nkey=\"{KEY}\"\n");
        assert!(mistake(&twice).contains("same key"));
        assert!(mistake("a = \n").starts_with("1: "));
    }

    #[test]
    fn where_nobody_can_come_only_loopback_is_bound() {
        assert!(Config::default().listen_addresses().iter().all(|address| address.ip().is_unspecified()));
        let mut config = Config::parse("control = \"off\"").unwrap();
        assert!(config.listen_addresses().iter().all(|address| address.ip().is_loopback()));
        let key = identity::parse_key(KEY).unwrap();
        config.peers.push(Peer::new("a", key));
        assert!(config.listen_addresses().iter().all(|address| address.ip().is_unspecified()));
    }
}
