//! `--trace FILE`: each packet of a job's sessions as a line of text. `docs/TRACE.md` describes the lines.
//!
//! ```text
//! engine: session ─► Tracer ─► bounded queue ─► a thread ─► file
//! ```
//!
//! The engine never waits for the disk: what the queue has no room for is counted, and the thread writes how many were
//! left out where they are missing. A file that cannot be written any more ends the trace and nothing else.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use udpx_proto::{TraceEvent, TraceSink, Traced};

/// Where the sessions of a job leave their events. Clones feed the same file.
#[derive(Clone, Debug)]
pub struct Tracer {
    sender: Sender<TraceEvent>,
    left_out: Arc<AtomicU64>,
}

/// The thread that writes.
#[derive(Debug)]
pub struct Trace {
    thread: JoinHandle<io::Result<u64>>,
}

impl Trace {
    /// Begins a trace in `file`, which may be a pipe.
    ///
    /// # Errors
    /// There can be no more threads.
    pub fn begin(file: File) -> io::Result<(Tracer, Self)> {
        let (sender, receiver) = bounded(EVENTS_MAX);
        let left_out = Arc::<AtomicU64>::default();
        let tracer = Tracer { sender, left_out: left_out.clone() };
        let run = move || write(file, &receiver, &left_out);
        let thread = std::thread::Builder::new().name("udpx-trace".into()).spawn(run)?;
        Ok((tracer, Self { thread }))
    }

    /// Waits until everything is written that was told before the last [`Tracer`] was dropped; returns the lines.
    ///
    /// # Errors
    /// Why the file ends early.
    pub fn finish(self) -> io::Result<u64> {
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that writes it has panicked")))
    }
}

impl TraceSink for Tracer {
    fn on_event(&mut self, event: &TraceEvent) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(*event) {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write(file: File, events: &Receiver<TraceEvent>, left_out: &AtomicU64) -> io::Result<u64> {
    let mut out = BufWriter::with_capacity(BUFFER, file);
    out.write_all(HEAD.as_bytes())?;
    let (mut lines, mut begin) = (0, None);
    while let Ok(event) = events.recv() {
        let begin = *begin.get_or_insert(event.time);
        line(&mut out, &event, event.time.nanos_since(begin))?;
        lines += 1;
        if events.is_empty() {
            tell_left_out(&mut out, left_out)?;
            // Whoever looks at it while the job runs sees all there is.
            out.flush()?;
        }
    }
    tell_left_out(&mut out, left_out)?;
    out.flush()?;
    Ok(lines)
}

fn tell_left_out(out: &mut impl Write, left_out: &AtomicU64) -> io::Result<()> {
    match left_out.swap(0, Ordering::Relaxed) {
        0 => Ok(()),
        count => {
            writeln!(out, "# {count} events left out: the file could not be written as fast as they came")
        }
    }
}

/// `1.234567 SEND 0 17 bulk 4097 1048576 1408 -`
fn line(out: &mut impl Write, event: &TraceEvent, nanos: u64) -> io::Result<()> {
    let (what, reason) = match event.what {
        Traced::Send => ("SEND", "-"),
        Traced::Recv => ("RECV", "-"),
        Traced::Lost => ("LOST", "-"),
        Traced::Dup => ("DUP", "-"),
        Traced::Drop(reason) => ("DROP", reason.label()),
    };
    write!(out, "{}.{:06} {what} ", nanos / 1_000_000_000, nanos / 1000 % 1_000_000)?;
    field(out, event.lane.map(u64::from))?;
    field(out, event.number)?;
    write!(out, "{} ", event.kind.label())?;
    field(out, event.data.map(|(stream, _)| stream.0.into()))?;
    field(out, event.data.map(|(_, offset)| offset))?;
    writeln!(out, "{} {reason}", event.len)
}

fn field(out: &mut impl Write, value: Option<u64>) -> io::Result<()> {
    match value {
        Some(value) => write!(out, "{value} "),
        None => write!(out, "- "),
    }
}

const HEAD: &str = "# udpx trace 1\n# seconds event lane number kind stream offset length reason\n";
/// Events that wait for the thread: 4 MiB, and a quarter of a second at the rates of one core.
const EVENTS_MAX: usize = 65_536;
const BUFFER: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use udpx_proto::{DropReason, StreamId, Time, TraceKind};

    use super::*;

    fn event(micros: u64, what: Traced) -> TraceEvent {
        TraceEvent {
            time: Time::from_nanos(5_000_000_000 + micros * 1000),
            what,
            lane: Some(0),
            number: Some(17),
            kind: TraceKind::Bulk,
            data: Some((StreamId(4097), 1_048_576)),
            len: 1408,
        }
    }

    #[test]
    fn an_event_is_a_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (mut tracer, trace) = Trace::begin(file.reopen().unwrap()).unwrap();
        tracer.on_event(&event(0, Traced::Send));
        tracer.on_event(&event(1_234_567, Traced::Drop(DropReason::BadTag)));
        let unknown = TraceKind::Unknown;
        tracer.on_event(&TraceEvent {
            lane: None,
            number: None,
            kind: unknown,
            data: None,
            ..event(1, Traced::Dup)
        });
        drop(tracer);
        assert_eq!(trace.finish().unwrap(), 3);
        let text = std::fs::read_to_string(file.path()).unwrap();
        let lines: Vec<&str> = text.strip_prefix(HEAD).unwrap().lines().collect();
        assert_eq!(
            lines,
            [
                "0.000000 SEND 0 17 bulk 4097 1048576 1408 -",
                "1.234567 DROP 0 17 bulk 4097 1048576 1408 bad-tag",
                "0.000001 DUP - - - - - 1408 -",
            ]
        );
    }

    #[test]
    fn a_full_disk_ends_the_trace_and_nothing_waits() {
        let full = File::create("/dev/full").unwrap();
        let (mut tracer, trace) = Trace::begin(full).unwrap();
        for micros in 0..1_000_000 {
            tracer.on_event(&event(micros, Traced::Send));
        }
        drop(tracer);
        assert_eq!(trace.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let (read, pipe) = nix::unistd::pipe().unwrap();
        let (mut tracer, trace) = Trace::begin(pipe.into()).unwrap();
        let told = 4 * EVENTS_MAX as u64;
        (0..told).for_each(|micros| tracer.on_event(&event(micros, Traced::Send)));
        drop(tracer);
        // Nobody has read so far.
        let text = io::read_to_string(File::from(read)).unwrap();
        let lines = trace.finish().unwrap();
        let counts = text.lines().filter_map(|line| line.strip_prefix("# ")?.split_once(" events left out"));
        let left_out: u64 = counts.map(|(count, _)| count.parse::<u64>().unwrap()).sum();
        assert!(left_out > EVENTS_MAX as u64, "{left_out}");
        assert_eq!(lines + left_out, told);
        assert_eq!(text.lines().filter(|line| line.contains(" SEND ")).count() as u64, lines);
    }
}
