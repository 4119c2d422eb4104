//! The result: what was collected over all rounds, as an aligned table for people and as JSON for the next run.

use std::fmt::Write;

use serde::Serialize;

use super::machine::Machine;
use super::process::Void;
use super::row::{Figure, REFERENCES, Row};
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
    cpu_s_per_gb: Vec<f64>,
    sent_per_call: Vec<f64>,
    received_per_call: Vec<f64>,
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
            let samples = &mut self.figures[at];
            samples.bps.push(figure.bps);
            samples.cpu_s_per_gb.extend(figure.cpu_s_per_gb);
            samples.sent_per_call.extend(figure.batches.map(|b| b.0));
            samples.received_per_call.extend(figure.batches.map(|b| b.1));
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
        Samples { label, bps: vec![], cpu_s_per_gb: vec![], sent_per_call: vec![], received_per_call: vec![] }
    }
}

/// What the run was.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Circumstances {
    pub(crate) machine: Machine,
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) rounds: u32,
    pub(crate) load_at_start: String,
    pub(crate) load_at_end: String,
}

/// The whole result.
#[derive(Serialize)]
pub(crate) struct Comparison {
    schema: u32,
    #[serde(flatten)]
    circumstances: Circumstances,
    rows: Vec<Line>,
}

/// One figure of one row, or one void row.
#[derive(Serialize)]
struct Line {
    row: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    void: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    figure: Option<&'static str>,
    samples_bps: Vec<f64>,
    #[serde(flatten)]
    rate: Option<Rate>,
    /// Ratio of this median to the reference row's, by its name.
    ratios: Vec<Ratio>,
    cpu_s_per_gb: Option<f64>,
    datagrams_per_send: Option<f64>,
    datagrams_per_receive: Option<f64>,
}

#[derive(Serialize)]
struct Rate {
    median_bps: f64,
    min_bps: f64,
    max_bps: f64,
}

#[derive(Serialize)]
struct Ratio {
    to: &'static str,
    ratio: f64,
}

impl Comparison {
    pub(crate) fn new(circumstances: Circumstances, collected: &[Collected]) -> Comparison {
        let references: Vec<Ratio> = REFERENCES
            .iter()
            .filter_map(|(_, name)| {
                let reference = collected.iter().find(|c| c.row.name == *name)?;
                Some(Ratio { to: name, ratio: reference.median()? })
            })
            .collect();
        let rows = collected.iter().flat_map(|c| lines_of(c, &references)).collect();
        Comparison { schema: 1, circumstances, rows }
    }

    /// The table, each line ended.
    pub(crate) fn text(&self) -> String {
        let c = &self.circumstances;
        let mut text = String::new();
        let mut cells = vec![headings()];
        cells.extend(self.rows.iter().map(Line::cells));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "kernel {}, {} CPUs, {}", c.machine.kernel, c.machine.cpus, c.machine.cpu);
        let _ = writeln!(text, "{}; {} bytes a transfer, {} interleaved rounds", c.path, c.size, c.rounds);
        let _ =
            writeln!(text, "load average {} at the start, {} at the end\n", c.load_at_start, c.load_at_end);
        text.push_str(&align(&cells));
        text.push_str(
            "\nGbit/s of payload: median, smallest and largest round; /x = ratio of medians to row x; \
             cpu = CPU seconds of both ends per GB;\nd/send, d/recv = datagrams a system call\n",
        );
        text
    }
}

fn lines_of(collected: &Collected, references: &[Ratio]) -> Vec<Line> {
    let void = |reason: String| Line {
        row: collected.row.name,
        void: Some(reason),
        figure: None,
        samples_bps: vec![],
        rate: None,
        ratios: vec![],
        cpu_s_per_gb: None,
        datagrams_per_send: None,
        datagrams_per_receive: None,
    };
    if let Some(reason) = &collected.void {
        return vec![void(reason.to_string())];
    }
    if collected.figures.is_empty() {
        return vec![void("no round of it was taken".into())];
    }
    let median = |samples: &[f64]| spread(samples).map(|s| s.median);
    let line = |samples: &Samples| {
        let rate = spread(&samples.bps);
        let ratios = |s: &Spread| {
            let over = |r: &Ratio| Ratio { to: r.to, ratio: s.median / r.ratio };
            references.iter().map(over).collect()
        };
        Line {
            row: collected.row.name,
            void: None,
            figure: Some(samples.label),
            samples_bps: samples.bps.clone(),
            ratios: rate.as_ref().map_or_else(Vec::new, ratios),
            rate: rate.map(|s| Rate { median_bps: s.median, min_bps: s.min, max_bps: s.max }),
            cpu_s_per_gb: median(&samples.cpu_s_per_gb),
            datagrams_per_send: median(&samples.sent_per_call),
            datagrams_per_receive: median(&samples.received_per_call),
        }
    };
    collected.figures.iter().map(line).collect()
}

fn headings() -> Vec<String> {
    let fixed = ["row", "figure", "median", "min", "max"];
    let references = REFERENCES.iter().map(|(heading, _)| *heading);
    fixed.into_iter().chain(references).chain(["cpu", "d/send", "d/recv"]).map(str::to_owned).collect()
}

impl Line {
    /// As many cells as there are headings; two for a void row, whose reason runs across the rest.
    fn cells(&self) -> Vec<String> {
        if let Some(reason) = &self.void {
            return vec![self.row.to_owned(), format!("void: {reason}")];
        }
        let number =
            |value: Option<f64>, digits| value.map_or_else(|| "-".into(), |v| format!("{v:.digits$}"));
        let gbit = |value: fn(&Rate) -> f64| number(self.rate.as_ref().map(|r| value(r) / 1e9), 2);
        let mut cells = vec![self.row.to_owned(), self.figure.unwrap_or_default().to_owned()];
        cells.extend([gbit(|r| r.median_bps), gbit(|r| r.min_bps), gbit(|r| r.max_bps)]);
        for (_, name) in REFERENCES {
            cells.push(number(self.ratios.iter().find(|r| r.to == *name).map(|r| r.ratio), 2));
        }
        cells.push(number(self.cpu_s_per_gb, 2));
        cells.extend([number(self.datagrams_per_send, 0), number(self.datagrams_per_receive, 0)]);
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

    fn circumstances() -> Circumstances {
        Circumstances {
            machine: Machine { kernel: "6".into(), cpu: "c".into(), cpus: 2 },
            path: "loopback".into(),
            size: 1,
            rounds: 2,
            load_at_start: String::new(),
            load_at_end: String::new(),
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
            pump.add(Ok(vec![
                Figure { label: "digest", bps, cpu_s_per_gb: None, batches: None },
                Figure { label: "no digest", bps: bps * 2.0, cpu_s_per_gb: None, batches: None },
            ]));
            udpx.add(Ok(vec![Figure { label: "digest", bps: bps / 2.0, cpu_s_per_gb: None, batches: None }]));
        }
        let comparison = Comparison::new(circumstances(), &[pump, udpx]);
        let ratios: Vec<f64> = comparison.rows.iter().map(|l| l.ratios[0].ratio).collect();
        assert_eq!(ratios, [1.0, 2.0, 0.5]);
        assert_eq!(comparison.rows[2].ratios[0].to, "sealed-pump");
    }

    #[test]
    fn one_void_round_makes_the_row_void_and_no_reference() {
        let (mut pump, mut udpx) = (row("sealed-pump"), row("udpx-sealed"));
        let figure = Figure { label: "digest", bps: 1e9, cpu_s_per_gb: None, batches: None };
        pump.add(Ok(vec![figure.clone()]));
        pump.add(Err(Void("a gap".into())));
        udpx.add(Ok(vec![figure]));
        let text = Comparison::new(circumstances(), &[pump, udpx]).text();
        assert!(text.contains("void: a gap"), "{text}");
        let line = text.lines().find(|l| l.starts_with("udpx-sealed")).unwrap();
        assert!(line.split_whitespace().filter(|c| *c == "-").count() >= REFERENCES.len(), "{line}");
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
