//! Which engine does the work of a command: that of a daemon where one answers, else one in this process.
//!
//! Only where nobody serves the socket (ENOENT, ECONNREFUSED) does this process take a daemon's place, and then it says
//! so, since it works under another key. A daemon that may not be used or does not answer is an error.

use std::io::Write;
use std::path::{Path, PathBuf};

use udpx_control::client::{Client, ClientError, SocketChoice};
use udpxd::{Code, identity};

use crate::args::{Output, Reach, Through};
use crate::failure::Failure;
use crate::host::Host;
use crate::{ask, escape, run};

/// What does the work.
pub(crate) enum Engine {
    /// A daemon.
    Daemon(Box<Client>),
    /// This process.
    Here,
}

/// Finds the engine, and says so if it is this process for want of a daemon. With a ticket it is always this process: a
/// ticket is a secret of its holder, and a daemon's table of jobs would keep and show it.
///
/// # Errors
/// A daemon that refuses or hangs, or none where `needs` one (what needs it, as the subject of a sentence).
pub(crate) fn choose(
    through: &Through,
    reach: &Reach,
    hosts: &[&Host],
    needs: Option<&str>,
    output: Output,
) -> Result<Engine, Failure> {
    if hosts.iter().any(|host| matches!(host, Host::Ticket(_))) {
        return match needs {
            None => Ok(Engine::Here),
            Some(what) => Err(Failure::with_remedy(
                Code::Usage,
                format!("{what} needs a daemon, and a ticket is used without one"),
                format!("Leave out {what}."),
            )),
        };
    }
    if through.no_daemon || reach.identity.is_some() {
        return match needs {
            None => Ok(Engine::Here),
            Some(what) => Err(Failure::with_remedy(
                Code::Usage,
                format!("{what} needs a daemon"),
                "Leave out --no-daemon and --identity.",
            )),
        };
    }
    match (Client::connect(&SocketChoice::from_env(through.ask.socket.clone())), needs) {
        (Ok(client), _) => Ok(Engine::Daemon(Box::new(client))),
        (Err(error @ ClientError::NoDaemon { .. }), Some(what)) => {
            let Failure { code, text, remedy } = ask::failed(&error);
            Err(Failure { code, text: format!("{what} needs a daemon. {text}"), remedy })
        }
        (Err(ClientError::NoDaemon { paths, .. }), None) => {
            if !output.quiet && !output.json {
                say_so(&paths, reach)?;
            }
            Ok(Engine::Here)
        }
        (Err(error), _) => Err(ask::failed(&error)),
    }
}

fn say_so(paths: &[PathBuf], reach: &Reach) -> Result<(), Failure> {
    let key = identity::key_text(&run::load_identity(reach.identity.clone())?.public());
    let paths: Vec<String> = paths.iter().map(|path| escape::path(path)).collect();
    // Nobody to tell if it fails.
    let _ = writeln!(
        std::io::stderr(),
        "udpxctl: no daemon at {}; running in this process as key {key}",
        paths.join(" or ")
    );
    Ok(())
}

/// Another connection to a daemon that has answered before.
///
/// # Errors
/// As [`ask::failed`].
pub(crate) fn again(socket: &Path) -> Result<Client, Failure> {
    Client::connect(&SocketChoice::path(socket)).map_err(|error| ask::failed(&error))
}
