//! `udpxctl serve` or `receive` in a process of its own, as a user runs it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Home, Ran};

/// The process, which is killed with the handle if it has not ended.
pub(crate) struct Hosting {
    child: Child,
    pub(crate) ticket: String,
    readers: Vec<JoinHandle<String>>,
}

impl Hosting {
    /// Starts the command in `home`, and waits for its ticket; for loopback, unless the line says otherwise.
    pub(crate) fn start(home: &Home, line: &str) -> Hosting {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        if !words.contains(&"--address") {
            words.extend(["--address", "127.0.0.1"]);
        }
        let mut child = home.command(words).spawn().unwrap();
        let (found, tickets) = channel();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let readers = vec![reader(out, found.clone()), reader(err, found)];
        let ticket = first(&tickets).unwrap_or_else(|| panic!("{line}: no ticket"));
        Hosting { child, ticket, readers }
    }

    /// As Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    }

    /// Waits until it has ended by itself.
    pub(crate) fn end(mut self) -> Ran {
        let until = Instant::now() + Duration::from_secs(20);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut told = self.readers.drain(..).map(|reader| reader.join().unwrap());
        let (stdout, stderr) = (told.next().unwrap(), told.next().unwrap());
        Ran { code: status.code().unwrap_or(-1), stdout, stderr }
    }
}

impl Drop for Hosting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads all, and passes the first ticket on, in a line of its own or of JSON.
fn reader(stream: impl Read + Send + 'static, found: std::sync::mpsc::Sender<String>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let (mut stream, mut all) = (BufReader::new(stream), String::new());
        loop {
            let begin = all.len();
            if stream.read_line(&mut all).unwrap_or(0) == 0 {
                return all;
            }
            let line = all[begin..].trim();
            let ticket = match line.split_once("\"ticket\":\"") {
                Some((_, rest)) => rest.split('"').next(),
                None => Some(line).filter(|line| line.starts_with("udpx1")),
            };
            // Whoever waits has seen one already.
            let _ = ticket.map(|ticket| found.send(ticket.to_owned()));
        }
    })
}

fn first(tickets: &Receiver<String>) -> Option<String> {
    tickets.recv_timeout(Duration::from_secs(10)).ok()
}
