//! Fourteen cells of the committed table, taken again: what they say must still be so.

#![cfg(test)]

use super::report::{self, Table};
use super::rows;

/// The committed table.
const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/results/wan.md");
/// How far a figure may be from the committed one.
const CLOSE: f64 = 0.03;
/// Short rows of every kind in which one session is alone: those of several flows are chaotic, and the least change of
/// anything changes them.
const CELLS: [&str; 14] = [
    "grid 10M 20 ms 1%",
    "grid 10M 200 ms 0%",
    "grid 100M 1 ms 0%",
    "grid 100M 20 ms 5%",
    "grid 100M 100 ms 1%",
    "grid 100M 200 ms 10%",
    "grid 100M 600 ms 20%",
    "grid 1G 20 ms 5%",
    "burst 1% x3",
    "queue 1",
    "policer 20M 50 ms",
    "policer 500M 50 ms",
    "rough half of the SACKs lost",
    "rough 100:1, 5 %",
];

#[test]
fn the_committed_cells_still_hold() {
    let document = std::fs::read_to_string(RESULTS).expect("docs/results/wan.md is there");
    let committed = report::section(&document, report::TARGETS).and_then(Table::parse);
    let committed = committed.expect("it has a table of targets");
    let rows = rows::all();
    let mut wrong = Vec::new();
    for name in CELLS {
        let row = rows.iter().find(|row| row.name == name).expect("the cell is a row");
        let line = committed.lines.iter().find(|line| line.name == name).expect("the cell is committed");
        let now = (row.run)(committed.seed);
        // A loss of a few thousandths is the same as another: what is compared is what got through.
        let loss = name.starts_with("queue") || name.starts_with("policer");
        let is = if loss { 1.0 - now.figure } else { now.figure };
        let was = if loss { 1.0 - line.figure } else { line.figure };
        if (is / was - 1.0).abs() > CLOSE || now.met != line.met {
            wrong.push(format!("{name}: {} (met: {}); committed: {}", now.text, now.met, line.text));
        }
    }
    assert!(
        wrong.is_empty(),
        "the table changed; if for the better: udpx-bench wan --seed {} --out docs/results/wan.md\n{}",
        committed.seed,
        wrong.join("\n")
    );
}
