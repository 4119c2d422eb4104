//! The other processes of a demo: this program again, with a hidden subcommand.
//!
//! A child says in its first line, a JSON object, where it listens. It ends when its standard input closes: by
//! [`Child::finish`], or with this process. It is in a process group of its own, so that a Ctrl-C on the terminal
//! reaches this process only and everything ends in order.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use udpxd::{Code, Credential};

use crate::failure::Failure;
use crate::peers::{self, Target};

/// A running child; killed when dropped.
pub(super) struct Child {
    process: std::process::Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Its public key, if it has one.
    pub(super) key: String,
}

/// Starts this program with these arguments and waits until it listens.
pub(super) fn start(arguments: &[OsString]) -> Result<Child, Failure> {
    let program = std::env::current_exe().map_err(|error| broken(&error.to_string()))?;
    let mut process = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| broken(&error.to_string()))?;
    let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
    let mut child = Child {
        process,
        stdin,
        stdout: BufReader::new(stdout.ok_or_else(|| broken("it has no standard output"))?),
        address: SocketAddr::from(([0, 0, 0, 0], 0)),
        key: String::new(),
    };
    let mut line = String::new();
    child.stdout.read_line(&mut line).map_err(|error| broken(&error.to_string()))?;
    let hello: Value = serde_json::from_str(&line).map_err(|_| broken("it ended before it listened"))?;
    let address = hello["listening"].as_str().and_then(|text| text.parse().ok());
    child.address = address.ok_or_else(|| broken("it does not say where it listens"))?;
    child.key = hello["key"].as_str().unwrap_or_default().to_owned();
    Ok(child)
}

impl Child {
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The child as a place to push to.
    pub(super) fn target(&self) -> Result<Target, Failure> {
        let key = peers::key(&self.key).map_err(|_| broken("it does not say its key"))?;
        Ok(Target {
            name: "the receiver".into(),
            addresses: vec![self.address],
            key,
            credential: Credential::None,
        })
    }

    /// Lets it end, and returns what else it printed.
    pub(super) fn finish(mut self) -> Result<String, Failure> {
        self.stdin = None;
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).map_err(|error| broken(&error.to_string()))?;
        let status = self.process.wait().map_err(|error| broken(&error.to_string()))?;
        if status.success() { Ok(rest) } else { Err(broken(&status.to_string())) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only if it was already waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn broken(why: &str) -> Failure {
    Failure::new(Code::Other, format!("a process of the demo failed: {why}"))
}

/// In a child: says where it listens.
pub(crate) fn hello(listening: SocketAddr, key: Option<&str>) -> Result<(), Failure> {
    let mut hello = json!({ "listening": listening.to_string() });
    if let Some(key) = key {
        hello["key"] = key.into();
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{hello}")
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(Code::Io, format!("standard output: {error}")))
}

/// In a child: calls `then` once standard input is closed, that is when the parent wants the end or has ended.
pub(super) fn on_parent_gone(then: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let wait = move || {
        let mut input = std::io::stdin().lock();
        let mut buffer = [0; 64];
        // An error of reading is as good an end as any.
        while input.read(&mut buffer).is_ok_and(|count| count > 0) {}
        then();
    };
    let thread = std::thread::Builder::new().name("parent".into()).spawn(wait);
    thread.map(drop).map_err(|error| Failure::new(Code::Other, format!("no thread: {error}")))
}

/// In a child: a flag that is set once the parent is gone.
pub(super) fn parent_gone() -> Result<Arc<AtomicBool>, Failure> {
    let gone = Arc::new(AtomicBool::new(false));
    let flag = gone.clone();
    on_parent_gone(move || flag.store(true, Ordering::Release))?;
    Ok(gone)
}
