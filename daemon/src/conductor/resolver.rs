//! Looking up hosts: getaddrinfo(3) may take its time, so a thread of its own asks it.

use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use udpx_control::schema::ErrorReport;
use udpx_proto::Code;
use udpx_proto::handshake::PublicKey;

use crate::calls::resolve;
use crate::config::{PORT, Peer};
use crate::identity;
use crate::report::JobError;
use crate::storage::Bell;
use crate::ticket::{STUB_REMEDY, Ticket};

/// Whom a user means.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// As the user says it.
    pub(super) name: String,
    /// Whose addresses are looked up.
    place: String,
    port: u16,
    pub(super) key: PublicKey,
}

impl Host {
    /// Finds a host among the peers, or takes it as a name or an address where its key is given.
    ///
    /// # Errors
    /// Nobody knows its key, or that which was given is none; or it is a ticket, which is a secret of the user's that the
    /// table of jobs would keep and show.
    pub(super) fn find(
        peers: &[Peer],
        name: &str,
        port: Option<u16>,
        key: Option<&str>,
    ) -> Result<Self, ErrorReport> {
        if Ticket::is_meant(name) {
            let remedy = "Give it to udpxctl: it uses tickets in its own process.";
            return Err(report(Code::Usage, "A daemon takes no tickets.", remedy));
        }
        let peer = peers.iter().find(|peer| peer.name == name).or_else(|| {
            // An address finds its peer too.
            let has = |peer: &&Peer| peer.address.as_ref().is_some_and(|address| address.host == name);
            peers.iter().find(has)
        });
        let key = match (key, peer) {
            (Some(key), _) => identity::parse_key(key).ok_or_else(|| {
                let text = format!("{key:?} is no public key.");
                report(Code::Usage, text, "A key is what `udpxctl key` prints on the other machine.")
            })?,
            (None, Some(peer)) => peer.key,
            (None, None) => {
                let text = format!("This daemon knows no peer called {name:?}.");
                if Ticket::is_stub(name) {
                    return Err(report(Code::Config, text, STUB_REMEDY));
                }
                let remedy = format!(
                    "Add [[peer]] with name, key and address to its udpxd.toml, or give the key: --peer-key KEY. On {name}, udpxctl key prints it."
                );
                return Err(report(Code::Config, text, &remedy));
            }
        };
        let address = peer.and_then(|peer| peer.address.as_ref());
        Ok(Self {
            name: name.into(),
            place: address.map_or_else(|| name.to_owned(), |address| address.host.clone()),
            port: port.or(address.and_then(|address| address.port)).unwrap_or(PORT),
            key,
        })
    }
}

fn report(code: Code, text: impl Into<String>, remedy: &str) -> ErrorReport {
    ErrorReport::new((code.number(), code.kind()), text, remedy)
}

/// A host and what was found out, for whoever asked.
pub(super) struct Resolved<T> {
    pub(super) whose: T,
    pub(super) host: Host,
    pub(super) found: Result<Vec<SocketAddr>, JobError>,
}

/// The thread and the ends of its channels.
pub(super) struct Resolver<T> {
    questions: Option<Sender<(T, Host)>>,
    answers: Receiver<Resolved<T>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Resolver<T> {
    /// Starts it; `bell` rings after each answer.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn start(bell: Bell) -> io::Result<Self> {
        let (questions, asked) = bounded::<(T, Host)>(QUESTIONS_MAX);
        let (sender, answers) = bounded(QUESTIONS_MAX);
        let thread = std::thread::Builder::new().name("udpx-resolver".into()).spawn(move || {
            for (whose, host) in asked {
                let found = resolve(&host.place, host.port);
                if sender.send(Resolved { whose, host, found }).is_err() {
                    return;
                }
                bell();
            }
        })?;
        Ok(Self { questions: Some(questions), answers, thread: Some(thread) })
    }

    /// Asks. False if too many are asked already; try again.
    pub(super) fn ask(&self, whose: T, host: Host) -> bool {
        match self.questions.as_ref().map(|questions| questions.try_send((whose, host))) {
            Some(Ok(())) => true,
            Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) | None => false,
        }
    }

    /// The next answer.
    pub(super) fn poll(&self) -> Option<Resolved<T>> {
        self.answers.try_recv().ok()
    }
}

impl<T> Drop for Resolver<T> {
    fn drop(&mut self) {
        drop(self.questions.take());
        // A look-up under way may last for half a minute; nobody waits for it.
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            let _ = thread.join();
        }
    }
}

/// Hosts that are being looked up.
const QUESTIONS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PeerAddress;

    fn bob() -> Peer {
        let address = Some(PeerAddress { host: "192.0.2.7".into(), port: Some(999) });
        Peer { address, ..Peer::new("bob", identity::ephemeral().unwrap().public()) }
    }

    #[test]
    fn a_host_is_a_peer_or_comes_with_its_key() {
        let peers = [bob()];
        let find = |name, port, key| Host::find(&peers, name, port, key);
        let host = find("bob", None, None).unwrap();
        assert_eq!((host.place.as_str(), host.port, host.key), ("192.0.2.7", 999, peers[0].key));
        assert_eq!(find("192.0.2.7", None, None).unwrap().key, peers[0].key);
        assert_eq!(find("bob", Some(5), None).unwrap().port, 5);
        let key = identity::key_text(&peers[0].key);
        let other = find("carol.example", None, Some(&key)).unwrap();
        assert_eq!((other.place.as_str(), other.port), ("carol.example", PORT));
        let unknown = find("carol", None, None).unwrap_err();
        assert!(unknown.code == 78 && unknown.remedy.contains("--peer-key"), "{unknown}");
        assert_eq!(find("bob", None, Some("nonsense")).unwrap_err().code, 2);
        let ticket = include_str!("../ticket/golden.txt").trim();
        let refused = find(ticket, None, Some(&key)).unwrap_err();
        assert!(refused.code == 2 && !refused.to_string().contains(&ticket[..20]), "{refused}");
    }

    #[test]
    fn the_thread_answers_and_rings() {
        let (rung, heard) = bounded(8);
        let bell: Bell = std::sync::Arc::new(move || {
            let _ = rung.send(());
        });
        let resolver = Resolver::start(bell).unwrap();
        assert!(
            resolver.ask(
                7,
                Host { place: "127.0.0.1".into(), ..Host::find(&[bob()], "bob", None, None).unwrap() }
            )
        );
        heard.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
        let answer = resolver.poll().unwrap();
        assert_eq!((answer.whose, answer.found.unwrap()), (7, vec!["127.0.0.1:999".parse().unwrap()]));
        assert!(resolver.poll().is_none());
    }
}
