//! The processes that a row starts: each registered while it lives, given a deadline, and killed when its
//! handle is dropped.
//!
//! On SIGINT or SIGTERM a thread kills whatever is registered. The main thread, which is always waiting for one of
//! them, then sees it end, unwinds as after any failed row, and on its way out removes the namespaces and
//! the files: there is one way of cleaning up, not two.

use std::fmt;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::usage::{MemoryWatch, Usage, reaped};

/// Children that have not been reaped yet.
static LIVE: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How long a server may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_millis(500);

/// Why a measurement gave no figure: a full sentence fragment for the table (`void: ...`).
#[derive(Debug, Clone)]
pub(crate) struct Void(pub(crate) String);

impl fmt::Display for Void {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Error> for Void {
    fn from(error: io::Error) -> Void {
        Void(error.to_string())
    }
}

impl From<nix::Error> for Void {
    fn from(error: nix::Error) -> Void {
        Void(error.desc().to_owned())
    }
}

/// Starts the thread that turns SIGINT and SIGTERM into the end of all children.
///
/// # Errors
/// If the handlers cannot be installed.
pub(crate) fn end_children_on_interrupt() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for _ in signals.forever() {
            INTERRUPTED.store(true, Ordering::SeqCst);
            for pid in live().iter() {
                // A child that has just ended is what we want too.
                let _ = kill(*pid, Signal::SIGKILL);
            }
        }
    })?;
    Ok(())
}

/// Whether the user asked to stop.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

fn live() -> MutexGuard<'static, Vec<Pid>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child whose output is collected while it is waited for.
pub(crate) struct Running {
    name: String,
    child: Child,
    started: Instant,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    out: Vec<u8>,
    err: Vec<u8>,
    memory: MemoryWatch,
    reaped: bool,
}

/// A child that ended with success.
pub(crate) struct Finished {
    pub(crate) stdout: String,
    /// What it cost, its children included.
    pub(crate) usage: Usage,
    /// From before the fork to the end of its output.
    pub(crate) wall: Duration,
}

impl Running {
    /// Starts `command`; `name` is how messages call it.
    ///
    /// # Errors
    /// If it cannot be started or the user has interrupted the run.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Running, Void> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        // Under the lock, so that an interrupt sees either no child or a registered one.
        let mut live = live();
        if interrupted() {
            return Err(Void("interrupted".into()));
        }
        let mut child = command.spawn().map_err(|e| Void(format!("{name} cannot be started: {e}")))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let pid = pid_of(&child);
        let running = Running {
            name: name.into(),
            child,
            started,
            stdout,
            stderr,
            out: vec![],
            err: vec![],
            memory: MemoryWatch::start(pid),
            reaped: false,
        };
        live.push(pid);
        Ok(running)
    }

    pub(crate) fn pid(&self) -> Pid {
        pid_of(&self.child)
    }

    /// The next line of its standard output, without the line feed.
    ///
    /// # Errors
    /// If it ends or `limit` passes before there is one.
    pub(crate) fn line(&mut self, limit: Duration) -> Result<String, Void> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(end) = self.out.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.out.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.collect(deadline)? {
                let (status, _) = self.reap()?;
                return Err(self.failure(status));
            }
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it fails, or is still running when `limit` has passed; its last line is the reason given.
    pub(crate) fn finish(mut self, limit: Duration) -> Result<Finished, Void> {
        let deadline = Instant::now() + limit;
        while self.collect(deadline)? {}
        let wall = self.started.elapsed();
        let (status, usage) = self.reap()?;
        if !status.success() {
            return Err(self.failure(status));
        }
        Ok(Finished { stdout: String::from_utf8_lossy(&self.out).into_owned(), usage, wall })
    }

    /// Ends a server that has done its work, and says what that cost.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub(crate) fn end(mut self) -> Result<Usage, Void> {
        self.stop();
        Ok(self.reap()?.1)
    }

    /// Waits until it listens on TCP `port`, as its own network namespace sees it.
    ///
    /// # Errors
    /// If it ends or `limit` passes first.
    pub(crate) fn await_listening(&mut self, port: u16, limit: Duration) -> Result<(), Void> {
        let deadline = Instant::now() + limit;
        let tables = ["tcp", "tcp6"].map(|t| format!("/proc/{}/net/{t}", self.pid()));
        loop {
            if tables.iter().any(|t| std::fs::read_to_string(t).is_ok_and(|text| listens(&text, port))) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                self.forget();
                while self.collect(deadline)? {}
                return Err(self.failure(status));
            }
            if Instant::now() >= deadline {
                return Err(Void(format!("{} did not listen on port {port} in time", self.name)));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Takes what it has written by now, or waits for more; false at the end of all its output.
    fn collect(&mut self, deadline: Instant) -> Result<bool, Void> {
        let wait = deadline.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            return Err(Void(format!("{} was still running at its deadline", self.name)));
        }
        let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
        let mut fds = Vec::with_capacity(2);
        fds.extend(self.stdout.iter().map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)));
        fds.extend(self.stderr.iter().map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)));
        if fds.is_empty() {
            return Ok(false);
        }
        match poll(&mut fds, wait) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready =
            fds.iter().map(PollFd::any).map(Option::unwrap_or_default).collect::<Vec<bool>>().into_iter();
        let out_ready = self.stdout.is_some() && ready.next() == Some(true);
        let err_ready = self.stderr.is_some() && ready.next() == Some(true);
        if out_ready {
            take(&mut self.stdout, &mut self.out)?;
        }
        if err_ready {
            take(&mut self.stderr, &mut self.err)?;
        }
        Ok(self.stdout.is_some() || self.stderr.is_some())
    }

    /// Children are reaped here only, one at a time: what all of them have used grows by what this one has.
    fn reap(&mut self) -> Result<(ExitStatus, Usage), Void> {
        // Only look first: the id must not be free for others while the signal thread may still use it.
        while waitid(Id::Pid(self.pid()), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
            == Err(nix::Error::EINTR)
        {}
        self.forget();
        let peak_bytes = self.memory.finish();
        let before = reaped();
        let status = self.child.wait()?;
        let after = reaped();
        let usage = Usage {
            cpu_seconds: after.cpu_seconds - before.cpu_seconds,
            wakeups: after.wakeups - before.wakeups,
            peak_bytes,
        };
        Ok((status, usage))
    }

    /// Asks it to end, and makes it end if it does not.
    fn stop(&mut self) {
        // A server may have children of its own, which it ends when it is asked to.
        let _ = kill(self.pid(), Signal::SIGTERM);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
            if waitid(Id::Pid(self.pid()), look).is_ok_and(|s| s.pid().is_some()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = kill(self.pid(), Signal::SIGKILL);
    }

    fn forget(&mut self) {
        self.reaped = true;
        let pid = self.pid();
        live().retain(|&p| p != pid);
    }

    fn failure(&self, status: ExitStatus) -> Void {
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with exit code {code}"),
            (_, Some(signal)) => format!("was killed by signal {signal}"),
            _ => "ended".to_owned(),
        };
        // With --json an error is an event on standard output.
        match last_line(&self.err).or_else(|| last_line(&self.out)) {
            Some(last) => Void(format!("{} {how}: {last}", self.name)),
            None => Void(format!("{} {how}", self.name)),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        self.stop();
        let _ = self.reap();
    }
}

fn pid_of(child: &Child) -> Pid {
    // Linux process ids are at most 2^22.
    Pid::from_raw(child.id().cast_signed())
}

fn last_line(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// Appends what a readable pipe holds; closes it at its end.
fn take<R: Read>(pipe: &mut Option<R>, into: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    if let Some(open) = pipe {
        match open.read(&mut buffer) {
            Ok(0) => *pipe = None,
            Ok(n) => into.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Whether a table of `/proc/net/tcp` has a socket in state LISTEN (0A) on `port`.
fn listens(table: &str, port: u16) -> bool {
    let suffix = format!(":{port:04X}");
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next(), fields.nth(1));
        local.is_some_and(|l| l.ends_with(&suffix)) && state == Some("0A")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_port_is_found_in_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
                     0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n\
                     1: 0100007F:1F91 0100007F:1F90 01 00000000:00000000\n";
        assert!(listens(table, 8080));
        assert!(!listens(table, 8081));
    }

    #[test]
    fn a_failed_command_is_void_with_its_last_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one >&2; echo two >&2; exit 3"]);
        let running = Running::start("it", &mut command).unwrap();
        let void = running.finish(Duration::from_secs(5)).err().unwrap();
        assert_eq!(void.0, "it ended with exit code 3: two");
    }

    #[test]
    fn a_command_past_its_deadline_is_killed_and_void() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let running = Running::start("sleep", &mut command).unwrap();
        let pid = running.pid();
        assert!(running.finish(Duration::from_millis(20)).is_err());
        assert_eq!(kill(pid, None), Err(nix::Error::ESRCH));
    }

    #[test]
    fn lines_come_one_by_one_and_the_rest_at_the_end() {
        let mut command = Command::new("printf");
        command.arg("a\nb\nc");
        let mut running = Running::start("printf", &mut command).unwrap();
        assert_eq!(running.line(Duration::from_secs(5)).unwrap(), "a");
        assert_eq!(running.finish(Duration::from_secs(5)).unwrap().stdout, "b\nc");
    }
}
