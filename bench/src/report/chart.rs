//! The bar chart: a group of bars for each path, one bar a row.

use std::fmt::Write;

use crate::compare::{Comparison, Results};

/// Rows that are shown: name, figure, label, colour.
const BARS: [(&str, &str, &str, &str); 9] = [
    ("udpx-sealed", "digest", "udpx, sealed", "#0b6e4f"),
    ("udpx-plain", "digest", "udpx, plain", "#4caf7d"),
    ("sealed-pump", "digest", "sealed pump (the ceiling)", "#9e9e9e"),
    ("tcp", "no digest", "TCP, not encrypted", "#4a6fa5"),
    ("quinn", "1 connection", "quinn", "#8e6bbf"),
    ("udpx-file", "command", "udpx, file to file", "#0b6e4f"),
    ("cp", "command", "cp", "#9e9e9e"),
    ("rsync", "command", "rsync daemon, not encrypted", "#4a6fa5"),
    ("scp", "command", "scp", "#8e6bbf"),
];

const WIDTH: f64 = 760.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 60.0;
const BAR: f64 = 15.0;
const GAP: f64 = 4.0;
const TITLE: f64 = 34.0;

pub(super) fn svg(results: &Results) -> String {
    let most = results.paths.iter().flat_map(bars).map(|bar| bar.gbit).fold(1.0, f64::max);
    let mut body = String::new();
    let mut y = 26.0;
    for path in &results.paths {
        y += TITLE;
        // Writing to a String cannot fail.
        let _ = writeln!(
            body,
            r#"<text x="8" y="{:.0}" font-weight="bold">{}</text>"#,
            y - 10.0,
            path.circumstances.path
        );
        for bar in bars(path) {
            let width = (WIDTH - LEFT - RIGHT) * bar.gbit / most;
            let text = y + BAR - 3.5;
            let _ = writeln!(
                body,
                r#"<text x="{:.0}" y="{text:.1}" text-anchor="end">{}</text><rect x="{LEFT:.0}" y="{y:.1}" width="{width:.1}" height="{BAR:.0}" fill="{}"/><text x="{:.1}" y="{text:.1}">{:.1}</text>"#,
                LEFT - 6.0,
                bar.label,
                bar.colour,
                LEFT + width + 5.0,
                bar.gbit
            );
            y += BAR + GAP;
        }
    }
    let height = y + 10.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"8\" y=\"20\" font-size=\"14\">Gbit/s of payload, medians; {} CPUs for both ends; commit {}, {}</text>\n{body}</svg>\n",
        results.machine.cpus, results.commit, results.date
    )
}

struct Bar {
    label: &'static str,
    colour: &'static str,
    gbit: f64,
}

/// Those of a path that were measured.
fn bars(path: &Comparison) -> Vec<Bar> {
    let bar = |(row, figure, label, colour): (&str, &str, &'static str, &'static str)| {
        let rate = path.line(row, Some(figure))?.rate?;
        Some(Bar { label, colour, gbit: rate.median_bps / 1e9 })
    };
    BARS.into_iter().filter_map(bar).collect()
}
