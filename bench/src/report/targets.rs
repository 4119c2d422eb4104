//! What we want to reach, and whether a result does: ratios of medians within one run.
//!
//! On a busy machine the scheduler gives a row with four threads more than a row with one, whatever either of them needs. So
//! rates are judged only where the load average was no higher than the number of CPUs; CPU time, memory and wake-ups always.

use super::document::cpu;
use crate::compare::{
    Comparison, Line, MEMORY_RECEIVER, MEMORY_SENDER, Results, WAKEUPS_RECEIVER, WAKEUPS_SENDER,
};

/// A target and how it stands.
pub(super) struct Target {
    pub(super) about: &'static str,
    pub(super) wanted: String,
    pub(super) measured: String,
    pub(super) verdict: String,
}

/// The paths of a grid, in its order.
const VETH: usize = 0;
const NO_OFFLOAD: usize = 1;
const JUMBO: usize = 2;

pub(super) fn all(results: &Results) -> Vec<Target> {
    let at = |path: usize| results.paths.get(path);
    let cpus = results.machine.cpus;
    let to = |about, path, figure: (&str, &str), reference, least| {
        let ratio = at(path).and_then(|path| Some(bps(path, figure)? / bps(path, reference)?));
        at_least(about, least, ratio).unless_busy(at(path), cpus)
    };
    let sealed = ("udpx-sealed", "digest");
    let plain = ("udpx-plain", "digest");
    let file = ("udpx-file", "command");
    let jumbo = || Some(bps(at(JUMBO)?, sealed)? / bps(at(VETH)?, sealed)?);
    let paced = |figure| {
        let path = at(VETH)?;
        Some(cpu(path.line("udpx-paced", Some(figure))?)? / cpu(path.line("paced-pump", None)?)?)
    };
    // A sender of a file has its source mapped, which in memory counts as shared: it is no memory of the process.
    let memory = || {
        let ours = at(VETH)?.rows.iter().filter(|line| line.row.starts_with("udpx"));
        let sender = |line: &Line| line.costs.get(MEMORY_SENDER).filter(|_| !has_file(line)).copied();
        let costs = ours.flat_map(|line| [sender(line), line.costs.get(MEMORY_RECEIVER).copied()]);
        costs.flatten().reduce(f64::max)
    };
    let wakeups = || {
        let line = at(VETH)?.line("udpx-paced", Some("memory"))?;
        Some(line.costs.get(WAKEUPS_SENDER)?.max(*line.costs.get(WAKEUPS_RECEIVER)?))
    };
    vec![
        to("sealed, memory to memory / sealed pump", VETH, sealed, ("sealed-pump", "digest"), 0.9),
        to("sealed, memory to memory / one TCP stream", VETH, sealed, ("tcp", "no digest"), 1.0),
        to("sealed, memory to memory / quinn", VETH, sealed, ("quinn", "1 connection"), 2.5),
        to("plain, memory to memory / one TCP stream", VETH, plain, ("tcp", "no digest"), 2.0),
        to("plain, memory to memory / iovec pump", VETH, plain, ("iovec-pump", "digest"), 0.6),
        at_least("sealed, MTU 9000 / MTU 1500", 1.5, jumbo())
            .unless_busy(at(VETH), cpus)
            .unless_busy(at(JUMBO), cpus),
        to("file to file / cp, floor", VETH, file, ("cp", "command"), 0.6),
        to("file to file / cp, goal", VETH, file, ("cp", "command"), 0.75),
        to("file to file / rsync daemon", VETH, file, ("rsync", "command"), 1.8),
        to("file to file / scp", VETH, file, ("scp", "command"), 4.0),
        to("no offload: sealed / sealed pump", NO_OFFLOAD, sealed, ("sealed-pump", "digest"), 0.95),
        to("no offload: plain / one TCP stream", NO_OFFLOAD, plain, ("tcp", "no digest"), 1.0),
        to("4 sessions together / one", VETH, ("udpx-sealed", "4 sessions"), sealed, 0.95),
        at_most("CPU at 1 Gbit/s / paced pump, memory to memory", 1.4, "", paced("memory")),
        at_most("CPU at 1 Gbit/s / paced pump, file to file", 2.2, "", paced("file")),
        at_most("wake-ups a second at 1 Gbit/s, of one end", 3000.0, "", wakeups()),
        at_most("anonymous and shared memory of one end", 256.0, " MiB", memory()),
    ]
}

impl Target {
    /// The same without a verdict, if others had the machine while this path was measured.
    fn unless_busy(self, path: Option<&Comparison>, cpus: usize) -> Target {
        let load = |path: &Comparison| {
            path.circumstances.load_at_start.split_whitespace().next()?.parse::<f64>().ok()
        };
        match path.and_then(load) {
            Some(load) if load > cpus as f64 && !self.verdict.is_empty() => {
                Target { verdict: format!("not judged: load {load:.0}"), ..self }
            }
            _ => self,
        }
    }
}

fn has_file(line: &Line) -> bool {
    line.row == "udpx-file" || line.figure.as_deref() == Some("file")
}

fn bps(path: &Comparison, (row, figure): (&str, &str)) -> Option<f64> {
    Some(path.line(row, Some(figure))?.rate?.median_bps)
}

fn at_least(about: &'static str, least: f64, measured: Option<f64>) -> Target {
    let wanted = format!(">= {least:.2}");
    let (measured, verdict) = told(measured, 2, "", |value| value >= least);
    Target { about, wanted, measured, verdict }
}

fn at_most(about: &'static str, most: f64, unit: &str, measured: Option<f64>) -> Target {
    let digits = if most < 100.0 { 2 } else { 0 };
    let wanted = format!("<= {most:.digits$}{unit}");
    let (measured, verdict) = told(measured, digits, unit, |value| value <= most);
    Target { about, wanted, measured, verdict }
}

fn told(measured: Option<f64>, digits: usize, unit: &str, good: impl Fn(f64) -> bool) -> (String, String) {
    match measured {
        None => ("not measured".into(), String::new()),
        Some(value) => {
            (format!("{value:.digits$}{unit}"), if good(value) { "met".into() } else { "**missed**".into() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_met_missed_or_not_measured() {
        let verdicts = [Some(0.9), Some(0.89), None].map(|value| at_least("", 0.9, value).verdict);
        assert_eq!(verdicts, ["met", "**missed**", ""]);
        assert_eq!(at_most("", 256.0, " MiB", Some(255.6)).measured, "256 MiB");
        assert_eq!(at_most("", 1.4, "", Some(1.41)).verdict, "**missed**");
    }

    #[test]
    fn rates_of_a_busy_machine_are_not_judged() {
        let path = |load: &str| {
            let circumstances = serde_json::json!({
                "path": "p", "size": 1, "rounds": 1, "load_at_start": load, "load_at_end": "", "notes": [], "rows": [],
            });
            serde_json::from_value::<Comparison>(circumstances).unwrap()
        };
        let verdict = |load: &str| at_least("", 0.9, Some(1.0)).unless_busy(Some(&path(load)), 2).verdict;
        assert_eq!((verdict("1.9 5 5"), verdict("12.38 1 1")), ("met".into(), "not judged: load 12".into()));
        assert_eq!(at_least("", 0.9, None).unless_busy(Some(&path("9")), 2).verdict, "");
    }
}
