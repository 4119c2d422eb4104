//! udpx itself, as a user runs it: two processes of `udpxctl` from the directory of this program.
//!
//! The command lines stand in this file only. A receiver (`bench-receive`) prints one JSON line with `listening` and `key`, which
//! the sender (`bench-push`) is given; both end with a `summary` event, whose `bytes` and `digest` are verified here.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::netns::Side;
use super::process::{Running, Void};
use super::row::{Figure, Lab};

const STARTUP: Duration = Duration::from_secs(10);
/// How long the receiver may still run when the sender has its answer.
const FAREWELL: Duration = Duration::from_secs(5);

pub(crate) fn sealed(lab: &Lab) -> Result<Vec<Figure>, Void> {
    memory_to_memory(lab, false)
}

pub(crate) fn plain(lab: &Lab) -> Result<Vec<Figure>, Void> {
    memory_to_memory(lab, true)
}

/// The source file into a fresh file of the same memory-backed file system. First figure: the wall time of the
/// whole command, handshake, digest and syncs included, as for cp, rsync and scp; second: the sender's own seconds.
pub(crate) fn file(lab: &Lab) -> Result<Vec<Figure>, Void> {
    let destination = lab.fresh_destination("udpx-file")?;
    let inbox = destination.parent().unwrap_or(&destination);
    let ends =
        push(lab, &Job { source: Source::File(&lab.source.path), sink: Sink::File(inbox), plain: false })?;
    if let Some(difference) = lab.source.difference(&destination) {
        return Err(Void(difference));
    }
    if ends.sender.digest != lab.source.digest {
        return Err(Void("the digest that udpxctl reports is not the source's".into()));
    }
    std::fs::remove_file(&destination)?;
    let size = lab.source.size;
    Ok(vec![
        Figure::new("command", size, ends.wall.as_secs_f64()),
        Figure::new("summary", size, ends.sender.seconds),
    ])
}

fn memory_to_memory(lab: &Lab, plain: bool) -> Result<Vec<Figure>, Void> {
    let size = lab.source.size;
    let ends = push(lab, &Job { source: Source::Generated(size), sink: Sink::Null, plain })?;
    Ok(vec![Figure::new("digest", size, ends.sender.seconds)])
}

enum Source<'a> {
    Generated(u64),
    File(&'a Path),
}

enum Sink<'a> {
    Null,
    /// A directory; the file in it is called after the row.
    File(&'a Path),
}

struct Job<'a> {
    source: Source<'a>,
    sink: Sink<'a>,
    plain: bool,
}

struct Ends {
    sender: Summary,
    wall: Duration,
}

/// What the last JSON line of either end says.
struct Summary {
    bytes: u64,
    digest: String,
    seconds: f64,
}

fn push(lab: &Lab, job: &Job<'_>) -> Result<Ends, Void> {
    let udpxctl = beside_us("udpxctl")?;
    let mut receiver = Running::start("udpxctl bench-receive", &mut receiver_command(lab, job, &udpxctl))?;
    let line = receiver.line(STARTUP)?;
    let hello: Value =
        serde_json::from_str(&line).map_err(|_| Void(format!("udpxctl bench-receive said: {line}")))?;
    let text = |field: &str| {
        hello[field].as_str().ok_or_else(|| Void(format!("udpxctl bench-receive did not say its `{field}`")))
    };
    let mut sender = sender_command(lab, job, &udpxctl, text("listening")?, text("key")?);
    let sender = Running::start("udpxctl bench-push", &mut sender)?.finish(lab.limit)?;
    let receiver = receiver.finish(FAREWELL)?;
    let (wall, sent, received) = (sender.wall, summary(&sender.stdout)?, summary(&receiver.stdout)?);
    if sent.bytes != lab.source.size || received.bytes != lab.source.size {
        return Err(Void(format!(
            "{} of {} bytes sent, {} received",
            sent.bytes, lab.source.size, received.bytes
        )));
    }
    if sent.digest.is_empty() || sent.digest != received.digest {
        return Err(Void("the digests of the two ends differ".into()));
    }
    Ok(Ends { sender: sent, wall })
}

fn receiver_command(lab: &Lab, job: &Job<'_>, udpxctl: &Path) -> Command {
    let mut command = lab.arena.command(Side::B, udpxctl);
    command.arg("bench-receive").args(["--listen", &format!("{}:0", lab.arena.address(Side::B))]);
    match job.sink {
        Sink::Null => command.arg("--null"),
        Sink::File(directory) => command.arg("--into").arg(directory),
    };
    common_options(lab, job, &mut command);
    command
}

fn sender_command(lab: &Lab, job: &Job<'_>, udpxctl: &Path, listening: &str, key: &str) -> Command {
    let mut command = lab.arena.command(Side::A, udpxctl);
    command.arg("bench-push").args(["--to", listening, "--peer", key, "--as", "udpx-file"]);
    match job.source {
        Source::Generated(size) => command.args(["--generate", &size.to_string()]),
        Source::File(path) => command.arg("--file").arg(path),
    };
    common_options(lab, job, &mut command);
    command
}

fn common_options(lab: &Lab, job: &Job<'_>, command: &mut Command) {
    command.args(["--json", "--mtu", &lab.arena.mtu().to_string()]);
    if job.plain {
        command.arg("--plain");
    }
}

/// The summary event among the JSON lines of `stdout`.
fn summary(stdout: &str) -> Result<Summary, Void> {
    let event = stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|event| event["event"] == "summary")
        .ok_or_else(|| Void("udpxctl printed no summary event".into()))?;
    let (Some(bytes), Some(digest), Some(seconds)) =
        (event["bytes"].as_u64(), event["digest"].as_str(), event["seconds"].as_f64())
    else {
        return Err(Void("udpxctl's summary lacks bytes, digest or seconds".into()));
    };
    Ok(Summary { bytes, digest: digest.to_owned(), seconds })
}

fn beside_us(program: &str) -> Result<PathBuf, Void> {
    let path = std::env::current_exe()?.with_file_name(program);
    if path.is_file() {
        return Ok(path);
    }
    Err(Void(format!("{program} is not built: cargo build --release --bin {program}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_found_among_other_events() {
        let out = "{\"event\":\"connected\"}\nnot json\n\
                   {\"event\":\"summary\",\"bytes\":7,\"digest\":\"ab\",\"seconds\":0.5}\n";
        let summary = summary(out).unwrap();
        assert_eq!((summary.bytes, summary.digest.as_str(), summary.seconds), (7, "ab", 0.5));
    }

    #[test]
    fn a_summary_without_digest_is_void() {
        assert!(summary("{\"event\":\"summary\",\"bytes\":7,\"seconds\":0.5}\n").is_err());
        assert!(summary("").is_err());
    }
}
