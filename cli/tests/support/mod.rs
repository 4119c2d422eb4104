//! Running `udpxctl` as a user does, and looking at what it printed.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod daemon;
pub(crate) mod fake_daemon;
pub(crate) mod host;
pub(crate) mod schema;
pub(crate) mod two;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A home of its own for each test, so that no key or peer of whoever runs it plays a part.
pub(crate) struct Home {
    pub(crate) directory: TempDir,
}

/// What a finished command left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    pub(crate) fn new() -> Home {
        Home { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_udpxctl"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path())
            .env("TMPDIR", self.path())
            // No daemon of this machine is asked.
            .env("UDPX_SOCKET", self.path().join("no.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(&self.command(arguments).output().unwrap())
    }

    /// A line of arguments without spaces in them.
    pub(crate) fn line(&self, arguments: &str) -> Ran {
        self.run(arguments.split_whitespace())
    }

    /// The public key of this home.
    pub(crate) fn key(&self) -> String {
        self.line("key").stdout.trim().to_owned()
    }

    /// What is in it that a demo would have left.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        std::fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.starts_with("udpx-demo"))
            .collect()
    }
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The JSON lines of standard output, each checked against the committed schema.
    pub(crate) fn events(&self) -> Vec<Value> {
        let events: Vec<Value> = self
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect();
        let schema = schema::Schema::load();
        for event in &events {
            schema.check(event).unwrap_or_else(|what| panic!("{what}: {event}"));
        }
        let last: Vec<bool> =
            events.iter().map(|event| event["event"] == "summary" || event["event"] == "error").collect();
        assert_eq!(last.iter().filter(|&&last| last).count(), 1, "{self:?}");
        assert_eq!(last.last(), Some(&true), "{self:?}");
        events
    }

    /// The last event.
    pub(crate) fn last_event(&self) -> Value {
        self.events().pop().unwrap()
    }
}

/// A receiving process; it ends with the handle.
pub(crate) struct Receiver {
    child: Child,
    _stdout: BufReader<ChildStdout>,
    pub(crate) port: u16,
    pub(crate) key: String,
}

impl Receiver {
    /// Takes files of `sender` (a key) into `inbox`.
    pub(crate) fn start(home: &Home, inbox: &Path, sender: &str) -> Receiver {
        let mut command = home.command(["demo-receiver", "--peer-key", sender, "--inbox"]);
        let mut child = command.arg(inbox).stdin(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let hello: Value = serde_json::from_str(&line).unwrap();
        let address: std::net::SocketAddr = hello["listening"].as_str().unwrap().parse().unwrap();
        let key = hello["key"].as_str().unwrap().to_owned();
        Receiver { child, _stdout: stdout, port: address.port(), key }
    }

    /// The options by which a push finds it at 127.0.0.1.
    pub(crate) fn options(&self) -> [String; 4] {
        ["--port".into(), self.port.to_string(), "--peer-key".into(), self.key.clone()]
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ctrl-C.
pub(crate) fn interrupt(child: &Child) {
    signal(child, nix::sys::signal::Signal::SIGINT);
}

pub(crate) fn signal(child: &Child, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), signal).unwrap();
}
