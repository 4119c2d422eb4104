//! What a daemon tells of a job, in the words of the [`Watcher`].

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use udpx_control::schema::{Event, FileReport, JobReport, JobState, Phase, Progress};
use udpxd::report::FileSummary;

use super::report;
use crate::failure::Failure;
use crate::progress::Status;
use crate::watcher::Watcher;
use crate::{ask, events, units};

/// Tells an event; whatever is no matter of a watcher is left out.
pub(crate) fn tell(watcher: &mut Watcher, event: &Event) {
    match event {
        Event::Queued { name, path, .. } => watcher.on_queued(name.as_bytes(), path.as_path()),
        Event::Connected { address, rtt_us, .. } => watcher.on_connected(address, *rtt_us),
        Event::Progress(progress) => tell_progress(watcher, progress),
        Event::Retry { text, .. } => watcher.on_retry(text),
        Event::File(report) => tell_file(watcher, report),
        Event::Job(report) => tell_job(watcher, report),
        _ => {}
    }
}

fn tell_progress(watcher: &mut Watcher, progress: &Progress) {
    let quiet = Duration::from_micros(progress.quiet_us);
    if quiet >= QUIET {
        watcher.on_quiet(quiet);
    } else if progress.phase != Phase::Connecting {
        watcher.on_progress(Status {
            bytes: progress.bytes,
            total: progress.total.unwrap_or(0),
            rate: progress.rate_bps as f64 / 8.0,
            rtt: Duration::from_micros(progress.rtt_us),
            loss: progress.loss,
            syncing: progress.phase == Phase::Syncing,
        });
    }
}

fn tell_file(watcher: &mut Watcher, report: &FileReport) {
    match &report.error {
        None => watcher.on_file(report.name.as_bytes(), &summary(report)),
        Some(error) => watcher.on_failed_file(report.name.as_bytes(), ask::reported(error)),
    }
}

fn tell_job(watcher: &mut Watcher, report: &JobReport) {
    watcher.json("job", || events::job(report));
    match &report.state {
        // Running is what progress shows, and the end is told by whoever waits for it.
        JobState::Running | JobState::Done | JobState::Failed | JobState::Cancelled | JobState::Unknown => {}
        // Mostly for a moment only: nothing that a log should have a line about.
        JobState::Queued => watcher.on_passing_state(&format!("job {} is queued", report.job)),
        JobState::Paused => {
            let job = report.job;
            watcher.on_state(&format!("job {job} is paused; go on with: udpxctl resume {job}"));
        }
        JobState::Waiting { why, next_try_unix_ms } => {
            let next = next_try_unix_ms.map(|at| format!("; next try {}", until(at))).unwrap_or_default();
            watcher.on_state(&format!("job {}: {}{next}", report.job, report::without_stop(why)));
        }
    }
}

/// A file that has arrived, as engines of this process report them.
pub(crate) fn summary(report: &FileReport) -> FileSummary {
    FileSummary {
        file: 0,
        path: report.path.clone().map(PathBuf::from).unwrap_or_default(),
        bytes: report.bytes,
        digest: digest(&report.digest),
        skipped: report.skipped,
        seconds: report.seconds,
        reread_bytes: report.reread_bytes,
        rows: Vec::new(),
    }
}

/// Zeros for what is no digest.
fn digest(hex: &str) -> [u8; 32] {
    let mut digest = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return digest;
    }
    for (at, byte) in digest.iter_mut().enumerate() {
        match u8::from_str_radix(&hex[2 * at..2 * at + 2], 16) {
            Ok(value) => *byte = value,
            Err(_) => return [0; 32],
        }
    }
    digest
}

/// `in 5 s`, of a time since 1970.
pub(crate) fn until(unix_ms: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    match Duration::from_millis(unix_ms).saturating_sub(now) {
        Duration::ZERO => "now".into(),
        left => format!("in {}", units::whole_seconds(left.max(Duration::from_secs(1)))),
    }
}

/// Why a job failed, as a failure of the command that waits for it.
pub(crate) fn failure(report: &JobReport) -> Failure {
    match &report.error {
        Some(error) => ask::reported(error),
        None => Failure::new(udpxd::Code::Other, format!("job {} failed", report.job)),
    }
}

/// As surface and CONTROL.md say: quieter than this is told.
const QUIET: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_hex_or_unknown() {
        assert_eq!(digest(&"0f".repeat(32)), [0x0f; 32]);
        for bad in ["", "0f", &"xy".repeat(32), &"\u{e4}".repeat(32)] {
            assert_eq!(digest(bad), [0; 32], "{bad}");
        }
    }

    #[test]
    fn a_time_that_has_passed_is_now() {
        assert_eq!(until(0), "now");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        assert_eq!(until(now + 60_500), "in 1 min 0 s");
    }
}
