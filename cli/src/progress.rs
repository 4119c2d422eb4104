//! The progress of a push or a pull, for people: one line for each, redrawn on a terminal; elsewhere a line every five
//! seconds and at each change of state.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{escape, units};

/// How far a push has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    /// Bytes that the peer has written.
    pub(crate) bytes: u64,
    /// Bytes in all.
    pub(crate) total: u64,
    /// Bytes a second, over the last two seconds.
    pub(crate) rate: f64,
    pub(crate) rtt: Duration,
    /// Share of the packets, 0 to 1.
    pub(crate) loss: f64,
    /// Everything was sent; the peer makes it durable.
    pub(crate) syncing: bool,
}

impl Status {
    /// Time left at the present rate.
    pub(crate) fn eta(&self) -> Option<Duration> {
        let left = self.total.saturating_sub(self.bytes) as f64;
        (self.rate > 0.0 && !self.syncing)
            .then(|| Duration::try_from_secs_f64(left / self.rate).ok())
            .flatten()
    }

    /// `file.iso  43 %  1.7 GiB of 4.0 GiB  812 MB/s  rtt 41 ms  loss 1.2 %  eta 2 s`
    fn line(&self, name: &str) -> String {
        // 100 is for a file that is durable under its name, and its line is the summary.
        let percent = (self.bytes.min(self.total) as f64 / self.total.max(1) as f64 * 100.0).min(99.0) as u64;
        let end = match self.eta() {
            _ if self.syncing => "syncing".to_owned(),
            Some(eta) => format!("eta {}", units::whole_seconds(eta.max(Duration::from_secs(1)))),
            None => "eta -".to_owned(),
        };
        // Of a pipe nobody knows how much will come.
        let come = match (self.bytes, self.total) {
            (1.., 0) => units::size(self.bytes),
            (bytes, total) => {
                format!("{percent} %  {} of {}", units::size(bytes.min(total)), units::size(total))
            }
        };
        format!(
            "{name}  {come}  {}  rtt {}  loss {:.1} %  {end}",
            units::rate(self.rate),
            units::time(self.rtt),
            self.loss * 100.0,
        )
    }
}

/// The place of all lines that are redrawn: a terminal, if standard error is one. Clones are the same place.
#[derive(Clone)]
pub(crate) struct Board(Option<MultiProgress>);

impl Board {
    pub(crate) fn new() -> Self {
        let target = || ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND);
        Self(std::io::stderr().is_terminal().then(|| MultiProgress::with_draw_target(target())))
    }

    /// Takes all lines away while something else is written.
    pub(crate) fn pause(&self, write: impl FnOnce()) {
        match &self.0 {
            Some(lines) => lines.suspend(write),
            None => write(),
        }
    }

    fn bar(&self) -> Option<ProgressBar> {
        // The template is ours and right; the default style would show the message too.
        let style =
            ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_style(style);
        self.0.as_ref().map(|lines| lines.add(bar))
    }
}

/// One line.
pub(crate) struct Display {
    name: String,
    board: Board,
    bar: Option<ProgressBar>,
    /// Of a log: when its last line was due. What takes no longer than that needs no line.
    last_line: Instant,
}

impl Display {
    /// For something called `name` (shown escaped).
    pub(crate) fn new(name: &[u8], board: &Board) -> Self {
        Self { name: escape::bytes(name), board: board.clone(), bar: board.bar(), last_line: Instant::now() }
    }

    pub(crate) fn show(&mut self, status: &Status) {
        let line = status.line(&self.name);
        self.put(line, false);
    }

    /// The state has changed: a terminal would show it anyway, a log gets its line now.
    pub(crate) fn show_change(&mut self, status: &Status) {
        let line = status.line(&self.name);
        self.put(line, true);
    }

    /// Something else than numbers, in the same place; `changed` as in [`show_change`](Self::show_change).
    pub(crate) fn show_text(&mut self, text: &str, changed: bool) {
        self.put(escape::text(text), changed);
    }

    /// A line that stays.
    pub(crate) fn note(&self, line: &str) {
        let line = escape::text(line);
        self.pause(|| write_line(&line));
    }

    /// Takes the line away while something else is written.
    pub(crate) fn pause(&self, write: impl FnOnce()) {
        self.board.pause(write);
    }

    /// Removes the line: what comes next says how it ended.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn put(&mut self, line: String, at_once: bool) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(line);
                bar.tick();
            }
            None => {
                if at_once || self.last_line.elapsed() >= LINE_EVERY {
                    self.last_line = Instant::now();
                    write_line(&line);
                }
            }
        }
    }
}

fn write_line(line: &str) {
    // Nobody to tell if it fails.
    let _ = writeln!(std::io::stderr(), "{line}");
}

const REDRAWS_PER_SECOND: u8 = 10;
const LINE_EVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status {
            bytes: 1_850_000_000,
            total: 4 << 30,
            rate: 812_000_000.0,
            rtt: Duration::from_millis(41),
            loss: 0.012,
            syncing: false,
        }
    }

    #[test]
    fn the_line_is_as_documented() {
        let line = status().line("file.iso");
        assert_eq!(line, "file.iso  43 %  1.7 GiB of 4.0 GiB  812 MB/s  rtt 41 ms  loss 1.2 %  eta 3 s");
    }

    #[test]
    fn a_file_that_is_not_durable_is_never_at_100() {
        let status = Status { bytes: 5 << 30, syncing: true, ..status() };
        let line = status.line("f");
        assert!(line.contains(" 99 %  4.0 GiB of 4.0 GiB ") && line.ends_with("  syncing"), "{line}");
        let pipe = Status { total: 0, ..status }.line("f");
        assert!(pipe.starts_with("f  5.0 GiB  "), "{pipe}");
        let empty = Status::default().line("f");
        assert!(empty.contains("  0 %  0 B of 0 B  0 B/s ") && empty.ends_with("eta -"), "{empty}");
    }
}
