//! The result: what was collected over all rounds, as an aligned table for people and as JSON for the next reader.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::process::Void;
use super::row::{End, Figure, REFERENCES, Row};
use super::stats::{Spread, spread};

/// All samples of one row.
pub(crate) struct Collected {
    pub(crate) row: &'static Row,
    figures: Vec<Samples>,
    void: Option<Void>,
}

struct Samples {
    label: &'static str,
    bps: Vec<f64>,
    /// The rest, by name.
    costs: BTreeMap<&'static str, Vec<f64>>,
}

impl Collected {
    pub(crate) fn new(row: &'static Row) -> Collected {
        Collected { row, figures: vec![], void: None }
    }

    pub(crate) fn is_void(&self) -> bool {
        self.void.is_some()
    }

    /// Adds a round. One void round makes the row void: a transfer that fails now and then is no figure.
    pub(crate) fn add(&mut self, round: Result<Vec<Figure>, Void>) {
        let figures = match round {
            Ok(figures) => figures,
            Err(void) => {
                self.void = Some(void);
                return;
            }
        };
        for figure in figures {
            let at = self.figures.iter().position(|s| s.label == figure.label).unwrap_or_else(|| {
                self.figures.push(Samples::new(figure.label));
                self.figures.len() - 1
            });
            self.figures[at].add(&figure);
        }
    }

    /// The median of the figure that stands for the row.
    fn median(&self) -> Option<f64> {
        if self.is_void() {
            return None;
        }
        Some(spread(&self.figures.first()?.bps)?.median)
    }
}

impl Samples {
    fn new(label: &'static str) -> Samples {
        Samples { label, bps: vec![], costs: BTreeMap::new() }
    }

    fn add(&mut self, figure: &Figure) {
        self.bps.push(figure.bps());
        let gigabytes = figure.bytes as f64 / 1e9;
        let mut cost = |name, value: Option<f64>| {
            if let Some(value) = value {
                self.costs.entry(name).or_default().push(value);
            }
        };
        let mut end = |of: &End, [cpu, batch, memory, wakeups]: [&'static str; 4]| {
            cost(cpu, of.cpu_seconds.map(|seconds| seconds / gigabytes));
            cost(batch, of.datagrams_per_call);
            cost(memory, of.peak_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20)));
            cost(wakeups, of.wakeups.map(|count| count as f64 / figure.seconds.max(1e-9)));
        };
        end(&figure.sender, [CPU_SENDER, PER_SEND, MEMORY_SENDER, WAKEUPS_SENDER]);
        end(&figure.receiver, [CPU_RECEIVER, PER_RECEIVE, MEMORY_RECEIVER, WAKEUPS_RECEIVER]);
        cost(RESENT, figure.resent_share);
        cost(DROPS, figure.socket_drops.map(|count| count as f64));
    }
}

/// CPU seconds of the sender per 10^9 payload bytes.
pub(crate) const CPU_SENDER: &str = "cpu_sender_s_per_gb";
/// The receiver's.
pub(crate) const CPU_RECEIVER: &str = "cpu_receiver_s_per_gb";
/// Datagrams of a sending system call.
pub(crate) const PER_SEND: &str = "datagrams_per_send";
/// Datagrams of a receiving system call.
pub(crate) const PER_RECEIVE: &str = "datagrams_per_receive";
/// Share of what was sent that was sent again.
pub(crate) const RESENT: &str = "resent_share";
/// Datagrams that found a receive buffer full.
pub(crate) const DROPS: &str = "socket_drops";
/// Anonymous and shared memory of the sender at its most, MiB.
pub(crate) const MEMORY_SENDER: &str = "memory_sender_mib";
/// The receiver's.
pub(crate) const MEMORY_RECEIVER: &str = "memory_receiver_mib";
/// Times that the sender slept and was woken, a second.
pub(crate) const WAKEUPS_SENDER: &str = "wakeups_sender_per_s";
/// The receiver's.
pub(crate) const WAKEUPS_RECEIVER: &str = "wakeups_receiver_per_s";

/// Column of the table, name in the JSON, factor and decimals.
const COSTS: [(&str, &str, f64, usize); 10] = [
    ("cpu-a", CPU_SENDER, 1.0, 2),
    ("cpu-b", CPU_RECEIVER, 1.0, 2),
    ("d/send", PER_SEND, 1.0, 0),
    ("d/recv", PER_RECEIVE, 1.0, 0),
    ("resent%", RESENT, 100.0, 3),
    ("drops", DROPS, 1.0, 0),
    ("mem-a", MEMORY_SENDER, 1.0, 0),
    ("mem-b", MEMORY_RECEIVER, 1.0, 0),
    ("wake-a", WAKEUPS_SENDER, 1.0, 0),
    ("wake-b", WAKEUPS_RECEIVER, 1.0, 0),
];

/// What the columns mean, for those who read the table.
pub(crate) const LEGEND: &str = "\
Gbit/s of payload: median, smallest and largest round; /x = ratio of medians to row x; a = sending end, b = receiving end;
cpu = CPU seconds per GB; d/send, d/recv = datagrams a system call; resent% = share of what was sent that was sent again;
drops = datagrams that found a receive buffer full (veth only); mem = anonymous and shared memory at its most, MiB,
mapped windows of files in memory included; wake = times a second that a process slept and was woken
";

/// What the run was.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Circumstances {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) rounds: u32,
    pub(crate) load_at_start: String,
    pub(crate) load_at_end: String,
    /// How tools that are not ours were set up.
    pub(crate) notes: Vec<String>,
}

/// Several paths, one after the other: what a results file has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) schema: u32,
    pub(crate) machine: Machine,
    /// Of the sources, `-dirty` at its end if they had changed since.
    pub(crate) commit: String,
    /// UTC, `YYYY-MM-DD`.
    pub(crate) date: String,
    pub(crate) paths: Vec<Comparison>,
}

/// The present form of a results file.
pub(crate) const SCHEMA: u32 = 2;

/// The result of one path.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Comparison {
    #[serde(flatten)]
    pub(crate) circumstances: Circumstances,
    pub(crate) rows: Vec<Line>,
}

/// One figure of one row, or one void row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) row: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) void: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) figure: Option<String>,
    pub(crate) samples_bps: Vec<f64>,
    #[serde(flatten)]
    pub(crate) rate: Option<Rate>,
    /// Ratio of this median to the reference row's, by its name.
    pub(crate) ratios: BTreeMap<String, f64>,
    /// Medians of what it cost.
    pub(crate) costs: BTreeMap<String, f64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Rate {
    pub(crate) median_bps: f64,
    pub(crate) min_bps: f64,
    pub(crate) max_bps: f64,
}

impl Comparison {
    pub(crate) fn new(circumstances: Circumstances, collected: &[Collected]) -> Comparison {
        let references: Vec<(&str, f64)> = REFERENCES
            .iter()
            .filter_map(|(_, name)| {
                let reference = collected.iter().find(|c| c.row.name == *name)?;
                Some((*name, reference.median()?))
            })
            .collect();
        let rows = collected.iter().flat_map(|c| lines_of(c, &references)).collect();
        Comparison { circumstances, rows }
    }

    /// A figure of a row: the named one, or the one that stands for it.
    pub(crate) fn line(&self, row: &str, figure: Option<&str>) -> Option<&Line> {
        let fits = |line: &&Line| figure.is_none() || line.figure.as_deref() == figure;
        self.rows.iter().filter(|line| line.row == row && line.rate.is_some()).find(fits)
    }

    /// The table, each line ended.
    pub(crate) fn text(&self) -> String {
        let c = &self.circumstances;
        let mut text = String::new();
        let mut cells = vec![headings()];
        cells.extend(self.rows.iter().map(Line::cells));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}; {} bytes a transfer, {} interleaved rounds", c.path, c.size, c.rounds);
        let _ =
            writeln!(text, "load average {} at the start, {} at the end\n", c.load_at_start, c.load_at_end);
        text.push_str(&align(&cells));
        for note in &c.notes {
            let _ = writeln!(text, "{note}");
        }
        text
    }
}

fn lines_of(collected: &Collected, references: &[(&str, f64)]) -> Vec<Line> {
    let void = |reason: String| Line {
        row: collected.row.name.into(),
        void: Some(reason),
        figure: None,
        samples_bps: vec![],
        rate: None,
        ratios: BTreeMap::new(),
        costs: BTreeMap::new(),
    };
    if let Some(reason) = &collected.void {
        return vec![void(reason.to_string())];
    }
    if collected.figures.is_empty() {
        return vec![void("no round of it was taken".into())];
    }
    let median = |(name, samples): (&&str, &Vec<f64>)| Some(((*name).to_owned(), spread(samples)?.median));
    let line = |samples: &Samples| {
        let rate = spread(&samples.bps);
        let ratios = |s: &Spread| {
            references.iter().map(|(to, reference)| ((*to).to_owned(), s.median / reference)).collect()
        };
        Line {
            row: collected.row.name.into(),
            void: None,
            figure: Some(samples.label.into()),
            samples_bps: samples.bps.clone(),
            ratios: rate.as_ref().map_or_else(BTreeMap::new, ratios),
            rate: rate.map(|s| Rate { median_bps: s.median, min_bps: s.min, max_bps: s.max }),
            costs: samples.costs.iter().filter_map(median).collect(),
        }
    };
    collected.figures.iter().map(line).collect()
}

fn headings() -> Vec<String> {
    let fixed = ["row", "figure", "median", "min", "max"];
    let references = REFERENCES.iter().map(|(heading, _)| *heading);
    let costs = COSTS.iter().map(|(heading, ..)| *heading);
    fixed.into_iter().chain(references).chain(costs).map(str::to_owned).collect()
}

impl Line {
    /// As many cells as there are headings; two for a void row, whose reason runs across the rest.
    fn cells(&self) -> Vec<String> {
        if let Some(reason) = &self.void {
            return vec![self.row.clone(), format!("void: {reason}")];
        }
        let number =
            |value: Option<f64>, digits| value.map_or_else(|| "-".into(), |v| format!("{v:.digits$}"));
        let gbit = |value: fn(&Rate) -> f64| number(self.rate.as_ref().map(|r| value(r) / 1e9), 2);
        let mut cells = vec![self.row.clone(), self.figure.clone().unwrap_or_default()];
        cells.extend([gbit(|r| r.median_bps), gbit(|r| r.min_bps), gbit(|r| r.max_bps)]);
        cells.extend(REFERENCES.iter().map(|(_, name)| number(self.ratios.get(*name).copied(), 2)));
        cells.extend(COSTS.iter().map(|(_, name, factor, digits)| {
            number(self.costs.get(*name).map(|value| value * factor), *digits)
        }));
        cells
    }
}

/// The first two columns to the left, numbers to the right; a line with fewer cells is not padded and widens no column.
fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let full = |line: &&Vec<String>| line.len() == columns;
    let width =
        |column: usize| lines.iter().filter(full).map(|l| l[column].chars().count()).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..columns).map(width).collect();
    if let Some(first) = widths.first_mut() {
        *first = lines.iter().map(|l| l.first().map_or(0, |c| c.chars().count())).max().unwrap_or(0);
    }
    let mut text = String::new();
    for line in lines {
        let cell = |(column, cell): (usize, &String)| {
            let width = if line.len() == columns || column == 0 { widths[column] } else { 0 };
            if column < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        };
        let cells: Vec<String> = line.iter().enumerate().map(cell).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::row::ROWS;
    use super::*;

    fn row(name: &str) -> Collected {
        Collected::new(ROWS.iter().find(|r| r.name == name).unwrap())
    }

    fn figure(label: &'static str, bps: f64) -> Figure {
        Figure::new(label, 1_000_000_000, 8e9 / bps)
    }

    fn circumstances() -> Circumstances {
        Circumstances {
            path: "loopback".into(),
            size: 1,
            rounds: 2,
            load_at_start: String::new(),
            load_at_end: String::new(),
            notes: vec![],
        }
    }

    #[test]
    fn every_reference_is_a_row() {
        assert!(REFERENCES.iter().all(|(_, name)| ROWS.iter().any(|r| r.name == *name)));
    }

    #[test]
    fn ratios_are_of_medians_to_the_first_figure_of_the_reference() {
        let (mut pump, mut udpx) = (row("sealed-pump"), row("udpx-sealed"));
        for bps in [10e9, 20e9, 30e9] {
            pump.add(Ok(vec![figure("digest", bps), figure("no digest", bps * 2.0)]));
            udpx.add(Ok(vec![figure("digest", bps / 2.0)]));
        }
        let comparison = Comparison::new(circumstances(), &[pump, udpx]);
        let ratios: Vec<f64> =
            comparison.rows.iter().map(|l| (l.ratios["sealed-pump"] * 1e6).round() / 1e6).collect();
        assert_eq!(ratios, [1.0, 2.0, 0.5]);
    }

    #[test]
    fn costs_are_told_per_gigabyte_and_per_second_of_their_end() {
        let mut udpx = row("udpx-sealed");
        let end = |cpu_seconds| End {
            cpu_seconds: Some(cpu_seconds),
            wakeups: Some(500),
            peak_bytes: Some(3 << 20),
            datagrams_per_call: None,
        };
        let half = Figure::new("digest", 500_000_000, 0.25);
        udpx.add(Ok(vec![Figure { sender: end(0.1), receiver: end(0.2), ..half }]));
        let comparison = Comparison::new(circumstances(), &[udpx]);
        let costs = &comparison.line("udpx-sealed", Some("digest")).unwrap().costs;
        assert_eq!((costs[CPU_SENDER], costs[CPU_RECEIVER]), (0.2, 0.4));
        assert_eq!((costs[WAKEUPS_SENDER], costs[MEMORY_RECEIVER]), (2000.0, 3.0));
        assert!(!costs.contains_key(DROPS) && !costs.contains_key(PER_SEND));
    }

    #[test]
    fn one_void_round_makes_the_row_void_and_no_reference() {
        let (mut pump, mut udpx) = (row("sealed-pump"), row("udpx-sealed"));
        pump.add(Ok(vec![figure("digest", 1e9)]));
        pump.add(Err(Void("a gap".into())));
        udpx.add(Ok(vec![figure("digest", 1e9)]));
        let comparison = Comparison::new(circumstances(), &[pump, udpx]);
        assert!(comparison.line("sealed-pump", None).is_none());
        let text = comparison.text();
        assert!(text.contains("void: a gap"), "{text}");
        let line = text.lines().find(|l| l.starts_with("udpx-sealed")).unwrap();
        assert!(line.split_whitespace().filter(|c| *c == "-").count() >= REFERENCES.len(), "{line}");
    }

    #[test]
    fn a_result_can_be_read_back() {
        let mut udpx = row("udpx-sealed");
        udpx.add(Ok(vec![figure("digest", 1e9)]));
        let comparison = Comparison::new(circumstances(), &[udpx, row("cp")]);
        let json = serde_json::to_string(&comparison).unwrap();
        let again: Comparison = serde_json::from_str(&json).unwrap();
        assert_eq!(again.text(), comparison.text());
    }

    #[test]
    fn a_void_reason_widens_no_column() {
        let long = "x".repeat(200);
        let text = align(&[
            vec!["a".into(), "b".into(), "c".into()],
            vec!["aaaa".into(), long],
            vec!["a".into(), "b".into(), "cc".into()],
        ]);
        assert_eq!(text.lines().next().unwrap(), "a     b   c");
    }
}
