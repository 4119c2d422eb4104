//! A row of the comparison: its name, what it shows, and how one round of it is taken.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::netns::Arena;
use super::process::Void;
use super::source::SourceFile;
use super::stats::bits_per_second;
use super::usage::Usage;
use super::{external, pump_raw, pump_sealed, quinn, tcp, udpx};

/// The rate of the paced rows, payload bits a second.
pub(crate) const PACED_BPS: f64 = 1e9;
/// How long they last.
const PACED_SECONDS: f64 = 2.0;

/// What one end of a transfer cost, as far as the row knows it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct End {
    /// User and system time.
    pub(crate) cpu_seconds: Option<f64>,
    /// Times it slept and was woken.
    pub(crate) wakeups: Option<u64>,
    /// Anonymous and shared memory at its most, bytes.
    pub(crate) peak_bytes: Option<u64>,
    /// Datagrams that one system call carried, on average.
    pub(crate) datagrams_per_call: Option<f64>,
}

impl End {
    /// Of a process whose whole life belongs to the transfer.
    pub(crate) fn of(usage: Usage) -> End {
        End {
            cpu_seconds: Some(usage.cpu_seconds),
            wakeups: Some(usage.wakeups),
            peak_bytes: Some(usage.peak_bytes),
            datagrams_per_call: None,
        }
    }
}

/// One thing that a row measured in one round. The first figure of a row stands for the row in ratios.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// What distinguishes it from the row's others.
    pub(crate) label: &'static str,
    /// Payload.
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) sender: End,
    pub(crate) receiver: End,
    /// Share of what was sent that was sent again.
    pub(crate) resent_share: Option<f64>,
    /// Datagrams that found a receive buffer full, on both ends.
    pub(crate) socket_drops: Option<u64>,
}

impl Figure {
    /// `bytes` of payload in `seconds`; the costs are to be added.
    pub(crate) fn new(label: &'static str, bytes: u64, seconds: f64) -> Figure {
        Figure {
            label,
            bytes,
            seconds,
            sender: End::default(),
            receiver: End::default(),
            resent_share: None,
            socket_drops: None,
        }
    }

    /// Payload bits a second.
    pub(crate) fn bps(&self) -> f64 {
        bits_per_second(self.bytes, self.seconds)
    }
}

/// What every row is given.
pub(crate) struct Lab {
    pub(crate) arena: Arena,
    pub(crate) source: SourceFile,
    /// How long a command may take before the row is void.
    pub(crate) limit: Duration,
    /// So many lanes a session `udpx-sealed` is measured with, beside what it takes by itself.
    pub(crate) lanes: Vec<u8>,
    dir: PathBuf,
    /// How tools that are not ours were set up.
    notes: RefCell<BTreeSet<String>>,
}

impl Lab {
    /// `dir` is an empty directory of ours in memory.
    ///
    /// # Errors
    /// If the directory for destinations cannot be made.
    pub(crate) fn new(arena: Arena, source: SourceFile, limit: Duration, dir: &Path) -> io::Result<Lab> {
        fs::create_dir_all(dir.join("destination"))?;
        let (lanes, notes) = (Vec::new(), RefCell::default());
        Ok(Lab { arena, source, limit, lanes, dir: dir.to_owned(), notes })
    }

    /// A path, in the file system of the source, at which there is no file.
    ///
    /// # Errors
    /// If what a former round left there cannot be removed.
    pub(crate) fn fresh_destination(&self, row: &str) -> io::Result<PathBuf> {
        let path = self.dir.join("destination").join(row);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(path),
        }
    }

    /// What a paced transfer moves: two seconds' worth, and no more than the others.
    pub(crate) fn paced_size(&self) -> u64 {
        self.source.size.min((PACED_BPS / 8.0 * PACED_SECONDS) as u64)
    }

    /// Something that the result is to say about its setup, once.
    pub(crate) fn note(&self, text: &str) {
        self.notes.borrow_mut().insert(text.to_owned());
    }

    /// What was noted.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes.borrow().iter().cloned().collect()
    }

    /// A path for a key or a configuration.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// How a row is taken.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// One line for the legend.
    pub(crate) about: &'static str,
    /// One round, or why there is no figure.
    pub(crate) measure: fn(&Lab) -> Result<Vec<Figure>, Void>,
}

/// All rows, in the order in which a round takes them.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "raw-pump",
        about: "UDP without header or cipher, several GSO trains a sendmmsg",
        measure: pump_raw::raw,
    },
    Row {
        name: "iovec-pump",
        about: "the same, header and payload gathered by iovec",
        measure: pump_raw::iovec,
    },
    Row {
        name: "sealed-pump",
        about: "AES-256-GCM a datagram, out of place on both ends; no protocol",
        measure: pump_sealed::sealed,
    },
    Row { name: "udpx-sealed", about: "udpx, generated source to null sink, sealed", measure: udpx::sealed },
    Row { name: "udpx-plain", about: "the same, plain", measure: udpx::plain },
    Row {
        name: "tcp",
        about: "one stream, sendfile to read, not encrypted; digest not timed",
        measure: tcp::one_stream,
    },
    Row { name: "ktls", about: "the same through the kernel's TLS, AES-256-GCM", measure: tcp::ktls },
    Row {
        name: "quinn",
        about: "QUIC by the quinn crate, AES-256-GCM, counted but not hashed; bench/quinn",
        measure: quinn::quinn,
    },
    Row {
        name: "iperf3",
        about: "one TCP stream, not encrypted; by its own count of bytes, no digest",
        measure: external::iperf3,
    },
    Row { name: "udpx-file", about: "udpx, file to fresh file, sealed and verified", measure: udpx::file },
    Row { name: "cp", about: "cp --reflink=never --sparse=never, fresh destination", measure: external::cp },
    Row {
        name: "rsync",
        about: "rsync daemon, whole file, in place, fresh destination, not encrypted",
        measure: external::rsync,
    },
    Row { name: "scp", about: "scp with aes128-gcm, fresh destination", measure: external::scp },
    Row {
        name: "rsync-ssh",
        about: "rsync through ssh with aes128-gcm, whole file, in place, fresh destination",
        measure: external::rsync_ssh,
    },
    Row { name: "uftp", about: "uftp, unicast, as fast as it may, not encrypted", measure: external::uftp },
    Row {
        name: "paced-pump",
        about: "the sealed pump with digest at 1 Gbit/s: what that much costs",
        measure: pump_sealed::paced,
    },
    Row {
        name: "udpx-paced",
        about: "udpx at 1 Gbit/s, memory to memory and file to file",
        measure: udpx::paced,
    },
];

/// The rows that others are compared with: heading and row name.
pub(crate) const REFERENCES: &[(&str, &str)] = &[
    ("/raw", "raw-pump"),
    ("/iovec", "iovec-pump"),
    ("/sealed", "sealed-pump"),
    ("/tcp", "tcp"),
    ("/cp", "cp"),
];
