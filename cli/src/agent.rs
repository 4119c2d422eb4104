//! `udpxctl agent`: a process that outlives its terminal and lends itself to jobs of the daemon.
//!
//! ```text
//!  push --detach ── spawn ──► agent: what may be opened, on standard input
//!                ◄── a line: "ready", or why not ──
//!                                agent ◄── demands ── udpxd, until its jobs have ended
//! ```
//!
//! The daemon can open no file of a user (`docs/CONTROL.md`, section 8); where the command that began a job does not
//! stay, this does in its place. It leads a session of its own, so no terminal takes it along, and where the daemon is
//! restarted it offers itself again.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use signal_hook::consts::SIGHUP;
use udpx_control::client::{Client, ClientError, SocketChoice};
use udpx_control::schema::{ErrorReport, VaultOffer};
use udpxd::Code;

use crate::args::AgentArgs;
use crate::ask;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::lend::{End, Lender, Step, drive};

/// What an agent may open and write.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Lent {
    /// Files, for reading; absolute paths.
    pub(crate) sources: Vec<PathBuf>,
    /// Files and directories, for writing; absolute paths.
    pub(crate) destinations: Vec<PathBuf>,
}

/// Starts an agent for jobs of the daemon at `socket`, and returns once the daemon has taken its offer.
///
/// # Errors
/// It could not be started, or what it or the daemon says.
pub(crate) fn spawn(socket: &Path, jobs: &[u64], lent: &Lent) -> Result<(), Failure> {
    // By this name it is found even after an upgrade has replaced it.
    spawn_program(Path::new("/proc/self/exe"), socket, jobs, lent)
}

fn spawn_program(program: &Path, socket: &Path, jobs: &[u64], lent: &Lent) -> Result<(), Failure> {
    let failed = |error| Failure::new(Code::Other, format!("no agent could be started: {error}"));
    let mut command = Command::new(program);
    command.arg0("udpxctl").arg("agent").arg("--socket").arg(socket);
    command.args(jobs.iter().map(u64::to_string)).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // Where it has ended already, its last words say more.
        let _ = stdin.write_all(&lent.encode());
    }
    let said = child.stdout.take().map(first_line).unwrap_or_default();
    if said == READY {
        return Ok(());
    }
    // It may hang, and must not offer itself after we have said that it does not.
    let _ = child.kill();
    let _ = child.wait();
    Err(match serde_json::from_slice::<ErrorReport>(&said) {
        Ok(ErrorReport { code, text, remedy, .. }) => Failure { code: Code::from_number(code), text, remedy },
        Err(_) => Failure::new(Code::TryAgain, "the agent that was started did not become ready"),
    })
}

/// What it says first, without the line's end; nothing if it does not say it in time.
fn first_line(mut stdout: ChildStdout) -> Vec<u8> {
    let (mut said, end) = (Vec::new(), Instant::now() + READY_TIME_MAX);
    loop {
        let left = PollTimeout::try_from(end.saturating_duration_since(Instant::now()));
        let mut polled = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
        let ready = nix::poll::poll(&mut polled, left.unwrap_or(PollTimeout::ZERO)).is_ok_and(|n| n > 0);
        let mut byte = [0; 512];
        match if ready { stdout.read(&mut byte) } else { Ok(0) } {
            Ok(count) if count > 0 && said.len() < FIRST_LINE_BYTES_MAX => {
                said.extend_from_slice(&byte[..count]);
            }
            _ => return Vec::new(),
        }
        if let Some(line_end) = said.iter().position(|&byte| byte == b'\n') {
            said.truncate(line_end);
            return said;
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: AgentArgs) -> Result<(), Failure> {
    let mut spawner = Spawner { waits: true };
    serve(args, &mut spawner).inspect_err(|failure| spawner.tell_failure(failure))
}

fn serve(args: AgentArgs, spawner: &mut Spawner) -> Result<(), Failure> {
    // Fails for the leader of a process group only: then a shell has started it, and its terminal may end it.
    let _ = nix::unistd::setsid();
    // A directory that it stands in could not be unmounted.
    let _ = std::env::set_current_dir("/");
    let interrupt = Interrupt::watch()?;
    // What matters is that the process is not ended.
    signal_hook::flag::register(SIGHUP, Arc::default())
        .map_err(|error| Failure::new(Code::Other, format!("signals cannot be handled: {error}")))?;
    let mut list = Vec::new();
    let lent = match std::io::stdin().lock().take(LENT_BYTES_MAX).read_to_end(&mut list) {
        Ok(_) => Lent::decode(&list),
        Err(_) => None,
    };
    let mut lent = lent.ok_or_else(|| {
        let text = "standard input is no list of what may be opened";
        Failure::with_remedy(Code::Usage, text, "Use --detach with push or resume, which start an agent.")
    })?;
    let choice = SocketChoice::from_env(args.socket.socket);
    let mut last_good = Instant::now();
    loop {
        let lender = Lender::new(&lent.sources, &lent.destinations)?;
        let mut taken = false;
        match offer(&choice, &args.jobs, &lender, || {
            taken = true;
            spawner.tell_ready();
            interrupt.check()
        }) {
            Ok(()) => return Ok(()),
            Err(Ended::Interrupted(failure)) => return Err(failure),
            Err(Ended::Client(error)) => {
                if taken {
                    last_good = Instant::now();
                }
                // Until its offer was taken once, whoever started it decides.
                if spawner.waits || !is_lost(&error) || last_good.elapsed() > RESTART_TIME_MAX {
                    return Err(ask::failed(&error));
                }
            }
        }
        // The parts of a daemon that is gone go with it.
        drop(lender);
        interrupt.check()?;
        std::thread::sleep(TRY_EVERY);
        // What was removed meanwhile is the business of its job, not of the others.
        lent.sources.retain(|source| source.exists());
    }
}

/// Why an offer has ended before its jobs.
enum Ended {
    Interrupted(Failure),
    Client(ClientError),
}

impl From<ClientError> for Ended {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// Lends itself until the jobs have ended. `taken` is called once the daemon has taken the offer, and now and then
/// from there on; an error of it is the end.
fn offer(
    choice: &SocketChoice,
    jobs: &[u64],
    lender: &Lender,
    mut taken: impl FnMut() -> Result<(), Failure>,
) -> Result<(), Ended> {
    let mut client = Client::connect(choice)?;
    let mut is_taken = false;
    let end = drive(&mut client, VaultOffer { jobs: jobs.to_vec() }, &[], Some(lender), |step| {
        is_taken |= matches!(step, Step::Accepted(_));
        match if is_taken { taken() } else { Ok(()) } {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => ControlFlow::Break(failure),
        }
    })?;
    match end {
        End::Done(_) => Ok(()),
        End::Left(failure) => Err(Ended::Interrupted(failure)),
    }
}

/// The daemon is not there, but may come back.
fn is_lost(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::NoDaemon { .. }
            | ClientError::Gone { .. }
            | ClientError::TimedOut { .. }
            | ClientError::Io { .. }
    )
}

/// Whoever has started the agent and reads one line of it.
struct Spawner {
    waits: bool,
}

impl Spawner {
    fn tell_ready(&mut self) {
        self.tell(READY);
    }

    fn tell_failure(&mut self, failure: &Failure) {
        let Failure { code, text, remedy } = failure;
        let report = ErrorReport::new((code.number(), code.kind()), text.as_str(), remedy.as_str());
        self.tell(&serde_json::to_vec(&report).unwrap_or_default());
    }

    fn tell(&mut self, line: &[u8]) {
        if std::mem::replace(&mut self.waits, false) {
            let mut stdout = std::io::stdout().lock();
            // Where nobody listens any more the jobs need it all the same.
            let _ = stdout.write_all(&[line, b"\n"].concat()).and_then(|()| stdout.flush());
        }
    }
}

impl Lent {
    /// For standard input: each path behind an `s` or `d` and before a NUL, which no path can have in it.
    fn encode(&self) -> Vec<u8> {
        let mut list = Vec::new();
        for (kind, paths) in [(b's', &self.sources), (b'd', &self.destinations)] {
            for path in paths {
                list.push(kind);
                list.extend_from_slice(path.as_os_str().as_bytes());
                list.push(0);
            }
        }
        list.extend_from_slice(LIST_END);
        list
    }

    /// `None` if it is not whole.
    fn decode(list: &[u8]) -> Option<Self> {
        let mut lent = Self::default();
        for entry in list.strip_suffix(LIST_END)?.split_inclusive(|&byte| byte == 0) {
            let (kind, path) = entry.strip_suffix(b"\0")?.split_first()?;
            let path = PathBuf::from(OsStr::from_bytes(path));
            match kind {
                b's' => lent.sources.push(path),
                b'd' => lent.destinations.push(path),
                _ => return None,
            }
        }
        Some(lent)
    }
}

/// Behind the paths, so that a list which was cut off is not taken for a shorter one.
const LIST_END: &[u8] = b"end";
/// What an agent says when the daemon has taken its offer.
const READY: &[u8] = b"ready";
/// How long that may take.
const READY_TIME_MAX: Duration = Duration::from_secs(20);
/// Bytes of what it says instead.
const FIRST_LINE_BYTES_MAX: usize = 64 << 10;
/// Bytes of the list on its standard input.
const LENT_BYTES_MAX: u64 = 64 << 20;
/// How long a daemon may be away, and how often it is looked for.
const RESTART_TIME_MAX: Duration = Duration::from_secs(600);
const TRY_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_list_survives_whatever_is_in_the_names() {
        let lent = Lent {
            sources: vec!["/a\nb".into(), PathBuf::from(OsStr::from_bytes(b"/\xff"))],
            destinations: vec!["/d/".into(), "/".into()],
        };
        assert_eq!(Lent::decode(&lent.encode()), Some(lent.clone()));
        assert_eq!(Lent::decode(&Lent::default().encode()), Some(Lent::default()));
        let whole = lent.encode();
        for cut in 0..whole.len() {
            assert_eq!(Lent::decode(&whole[..cut]), None, "{cut}");
        }
        assert_eq!(Lent::decode(b"x/etc\0end"), None);
    }

    fn spawned(script: &str) -> Result<(), Failure> {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("agent");
        std::fs::write(&program, format!("#!/bin/sh\ncat > /dev/null\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        loop {
            match spawn_program(&program, Path::new("/s"), &[7, 8], &Lent::default()) {
                // Another test has forked while the script was being written.
                Err(failure) if failure.text.contains("busy") => continue,
                spawned => return spawned,
            }
        }
    }

    #[test]
    fn whoever_starts_an_agent_hears_whether_it_works() {
        assert_eq!(spawned(r#"test "$*" = "agent --socket /s 7 8" && echo ready"#), Ok(()));
        let report = r#"{"code":77,"kind":"refused","text":"no","remedy":"do"}"#;
        let failure = spawned(&format!("echo '{report}'")).unwrap_err();
        assert_eq!(failure, Failure::with_remedy(Code::Refused, "no", "do"));
        for script in ["exit 1", "echo nonsense", "yes | tr -d '\\n' | head -c 1000000"] {
            assert_eq!(spawned(script).unwrap_err().code, Code::TryAgain, "{script}");
        }
        let none = spawn_program(Path::new("/no such program"), Path::new("/s"), &[1], &Lent::default());
        assert_eq!(none.unwrap_err().code, Code::Other);
    }
}
