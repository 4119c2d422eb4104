//! A row of the comparison: its name, what it shows, and how one round of it is taken.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::netns::Arena;
use super::process::Void;
use super::source::SourceFile;
use super::stats::bits_per_second;
use super::{external, pump_raw, pump_sealed, tcp, udpx};

/// One thing that a row measured in one round. The first figure of a row stands for the row in ratios.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// What distinguishes it from the row's others.
    pub(crate) label: &'static str,
    pub(crate) bps: f64,
    /// User and system time of both ends per 10^9 payload bytes, where the row knows it by itself.
    pub(crate) cpu_s_per_gb: Option<f64>,
    /// Datagrams per system call, sending and receiving.
    pub(crate) batches: Option<(f64, f64)>,
}

impl Figure {
    /// A rate of `bytes` of payload in `seconds`.
    pub(crate) fn new(label: &'static str, bytes: u64, seconds: f64) -> Figure {
        Figure { label, bps: bits_per_second(bytes, seconds), cpu_s_per_gb: None, batches: None }
    }
}

/// What every row is given.
pub(crate) struct Lab {
    pub(crate) arena: Arena,
    pub(crate) source: SourceFile,
    /// How long a command may take before the row is void.
    pub(crate) limit: Duration,
    dir: PathBuf,
}

impl Lab {
    /// `dir` is an empty directory of ours in memory.
    ///
    /// # Errors
    /// If the directory for destinations cannot be made.
    pub(crate) fn new(arena: Arena, source: SourceFile, limit: Duration, dir: &Path) -> io::Result<Lab> {
        fs::create_dir(dir.join("destination"))?;
        Ok(Lab { arena, source, limit, dir: dir.to_owned() })
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
];

/// The rows that others are compared with: heading and row name.
pub(crate) const REFERENCES: &[(&str, &str)] = &[
    ("/raw", "raw-pump"),
    ("/iovec", "iovec-pump"),
    ("/sealed", "sealed-pump"),
    ("/tcp", "tcp"),
    ("/cp", "cp"),
];
