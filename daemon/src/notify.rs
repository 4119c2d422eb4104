//! What the service manager is told: ready, reloading, stopping, alive (sd_notify(3)).
//!
//! The manager names a datagram socket in `$NOTIFY_SOCKET`; each message is a few `NAME=value` lines. Without that
//! variable nothing is told. The watchdog is fed at half of `$WATCHDOG_USEC`, and only if every [`Beat`] of the
//! daemon has advanced since the last time: a daemon whose engine hangs is restarted though its main thread lives.
//!
//! [`Beat`]: crate::liveness::Beat

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// The line to the service manager.
#[derive(Debug)]
pub struct Notifier {
    line: Option<(UnixDatagram, SocketAddr)>,
    /// How often the watchdog wants to be fed.
    every: Option<Duration>,
    fed: Instant,
}

impl Notifier {
    /// As the environment says. A socket that cannot be used is logged and then done without: a service whose manager
    /// waits for word will be ended by it.
    #[must_use]
    pub fn from_environment() -> Self {
        let own = |pid: String| pid.parse() == Ok(std::process::id());
        let watched = std::env::var("WATCHDOG_PID").map_or(true, own);
        let limit = std::env::var("WATCHDOG_USEC").ok().filter(|_| watched);
        let limit = limit.and_then(|text| text.parse().ok()).map(Duration::from_micros);
        let line = std::env::var_os("NOTIFY_SOCKET").and_then(|name| match open(&name) {
            Ok(line) => Some(line),
            Err(error) => {
                tracing::warn!(?name, %error, "the service manager cannot be told anything");
                None
            }
        });
        Self::new(line, limit)
    }

    fn new(line: Option<(UnixDatagram, SocketAddr)>, limit: Option<Duration>) -> Self {
        let every = limit.filter(|limit| line.is_some() && !limit.is_zero()).map(|limit| limit / 2);
        Self { line, every, fed: Instant::now() }
    }

    /// The sockets are bound: others may be started that need us.
    pub fn ready(&self, status: &str) {
        // A line break would begin another message.
        self.tell(&format!("READY=1\nSTATUS={}", status.replace('\n', " ")));
    }

    /// The configuration is being read again; [`ready`](Self::ready) ends that.
    pub fn reloading(&self) {
        // Managers of version 253 and later match the answer to their request by this time.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        self.tell(&format!(
            "RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=Reading the configuration.",
            now.as_micros()
        ));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=Closing sessions.");
    }

    /// Feeds the watchdog if it is time and `stuck` finds nothing; otherwise its answer is logged.
    pub fn feed(&mut self, stuck: impl FnOnce() -> Option<String>) {
        if self.every.is_none_or(|every| self.fed.elapsed() < every) {
            return;
        }
        self.fed = Instant::now();
        match stuck() {
            None => self.tell("WATCHDOG=1"),
            Some(thread) => tracing::error!(thread, "a thread hangs; the watchdog is not fed"),
        }
    }

    fn tell(&self, message: &str) {
        if let Some((socket, to)) = &self.line
            && let Err(error) = socket.send_to_addr(message.as_bytes(), to)
        {
            tracing::warn!(%error, "the service manager could not be told something");
        }
    }
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let to = match name.as_bytes() {
        [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not stop us.
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    Ok((socket, to))
}

const SEND_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 256];
        socket.set_nonblocking(true).unwrap();
        let len = socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..len].to_vec()).unwrap())
    }

    #[test]
    fn a_manager_hears_by_path_and_by_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("udpx-test-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&by_name).unwrap();
        for (socket, address) in [(by_path, path.into_os_string()), (by_name, format!("@{name}").into())] {
            let notifier = Notifier::new(Some(open(&address).unwrap()), None);
            notifier.ready("2\npeers");
            assert_eq!(heard(&socket).unwrap(), "READY=1\nSTATUS=2 peers");
            notifier.reloading();
            let said = heard(&socket).unwrap();
            let time = said.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
            assert!(said.starts_with("RELOADING=1\n") && time.parse::<u64>().unwrap() > 0, "{said}");
            notifier.stopping();
            assert!(heard(&socket).unwrap().starts_with("STOPPING=1\n"));
        }
        assert!(open(OsStr::new("vsock:2:1")).is_err());
    }

    #[test]
    fn the_watchdog_is_fed_at_half_its_time_and_only_while_all_live() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let line = open(path.as_os_str()).unwrap();
        let mut notifier = Notifier::new(Some(line), Some(Duration::from_millis(40)));
        notifier.feed(|| None);
        assert_eq!(heard(&socket), None, "too early");
        std::thread::sleep(Duration::from_millis(25));
        notifier.feed(|| Some("engine".into()));
        assert_eq!(heard(&socket), None, "it hangs");
        std::thread::sleep(Duration::from_millis(25));
        notifier.feed(|| None);
        assert_eq!(heard(&socket).as_deref(), Some("WATCHDOG=1"));
        Notifier::new(None, None).ready("nobody listens");
    }
}
