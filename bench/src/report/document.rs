//! The tables, as Markdown.

use std::fmt::Write;

use super::targets;
use crate::compare::{
    CPU_RECEIVER, CPU_SENDER, Comparison, DROPS, LEGEND, Line, MEMORY_RECEIVER, MEMORY_SENDER, PER_RECEIVE,
    PER_SEND, RESENT, Results, WAKEUPS_RECEIVER, WAKEUPS_SENDER,
};

/// Everything: circumstances, targets, chart, a table for each path.
pub(super) fn full(results: &Results) -> String {
    let machine = &results.machine;
    let mut text = format!(
        "{}, {} CPUs, Linux {}, commit {}, {}.\n\n",
        machine.cpu, machine.cpus, machine.kernel, results.commit, results.date
    );
    text.push_str("## Targets\n\n| target | wanted | measured | |\n|---|---|---|---|\n");
    for target in targets::all(results) {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            target.about, target.wanted, target.measured, target.verdict
        );
    }
    text.push_str("\n![Gbit/s by path](throughput.svg)\n");
    for path in &results.paths {
        table(&mut text, path);
    }
    text.push_str("\n```text\n");
    text.push_str(LEGEND);
    text.push_str("```\n");
    text
}

fn table(text: &mut String, path: &Comparison) {
    let c = &path.circumstances;
    let mib = c.size >> 20;
    let _ = write!(
        text,
        "\n## {}\n\n{mib} MiB a transfer, {} interleaved rounds, load average {} at the start, {} at the end.\n\n",
        c.path, c.rounds, c.load_at_start, c.load_at_end
    );
    text.push_str(
        "| row | Gbit/s (min, max) | /sealed pump | /tcp | /cp | CPU s/GB a, b | d/call a, b | resent % | drops | MiB a, b | wakes/s a, b |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for line in &path.rows {
        if let Some(reason) = &line.void {
            let _ = writeln!(text, "| {} | none: {reason} | | | | | | | | | |", line.row);
            continue;
        }
        let Some(rate) = &line.rate else { continue };
        let ratio = |to: &str| number(line.ratios.get(to).copied(), 2);
        let cost = |name: &str, digits| number(line.costs.get(name).copied(), digits);
        let pair = |a: &str, b: &str, digits| format!("{}, {}", cost(a, digits), cost(b, digits));
        let _ = writeln!(
            text,
            "| {}, {} | **{:.2}** ({:.2}, {:.2}) | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            line.row,
            line.figure.as_deref().unwrap_or_default(),
            rate.median_bps / 1e9,
            rate.min_bps / 1e9,
            rate.max_bps / 1e9,
            ratio("sealed-pump"),
            ratio("tcp"),
            ratio("cp"),
            pair(CPU_SENDER, CPU_RECEIVER, 2),
            pair(PER_SEND, PER_RECEIVE, 0),
            number(line.costs.get(RESENT).map(|share| share * 100.0), 3),
            cost(DROPS, 0),
            pair(MEMORY_SENDER, MEMORY_RECEIVER, 0),
            pair(WAKEUPS_SENDER, WAKEUPS_RECEIVER, 0),
        );
    }
    for note in &c.notes {
        let _ = writeln!(text, "\n{note}.");
    }
}

/// The README's table: one path, the rows that a reader looks for.
pub(super) fn readme(results: &Results) -> String {
    const ROWS: [(&str, Option<&str>, &str); 9] = [
        ("udpx-sealed", Some("digest"), "udpx, memory to memory, sealed, digest on both ends"),
        ("udpx-plain", Some("digest"), "udpx, memory to memory, plain (both ends must allow it)"),
        ("tcp", None, "TCP, one stream, sendfile, not encrypted"),
        ("quinn", None, "QUIC by quinn, memory to memory"),
        ("udpx-file", Some("command"), "udpx, file to file, sealed, verified, durable"),
        ("cp", None, "cp, file to file"),
        ("rsync", None, "rsync daemon, not encrypted, not verified"),
        ("scp", None, "scp with aes128-gcm"),
        ("rsync-ssh", None, "rsync through ssh with aes128-gcm"),
    ];
    let Some(path) = results.paths.first() else { return String::new() };
    let c = &path.circumstances;
    let mut text = format!(
        "{}; medians of {} interleaved rounds of {} MiB; {} cores for both ends together; load average {} at the start; commit {}, {}.\n\n",
        capitalised(&c.path),
        c.rounds,
        c.size >> 20,
        results.machine.cpus,
        c.load_at_start.split_whitespace().next().unwrap_or("unknown"),
        results.commit,
        results.date
    );
    text.push_str("| | Gbit/s | x TCP | x cp | CPU s a GB, both ends |\n|---|---|---|---|---|\n");
    for (row, figure, about) in ROWS {
        let Some(line) = path.line(row, figure) else { continue };
        let Some(rate) = &line.rate else { continue };
        let gbit = rate.median_bps / 1e9;
        let shown = if row.starts_with("udpx") { format!("**{gbit:.1}**") } else { format!("{gbit:.1}") };
        let ratio = |to: &str| number(line.ratios.get(to).copied(), 2);
        let _ = writeln!(
            text,
            "| {about} | {shown} | {} | {} | {} |",
            ratio("tcp"),
            ratio("cp"),
            number(cpu(line), 2)
        );
    }
    if let Some(ratio) =
        path.line("udpx-sealed", Some("digest")).and_then(|line| line.ratios.get("sealed-pump"))
    {
        let _ = write!(
            text,
            "\nSealed, udpx reaches {ratio:.2} x what a bare loop does that only seals, sends, opens and hashes."
        );
    }
    text
}

/// CPU seconds per GB of both ends, as far as they are known.
pub(super) fn cpu(line: &Line) -> Option<f64> {
    let sender = line.costs.get(CPU_SENDER)?;
    Some(sender + line.costs.get(CPU_RECEIVER).copied().unwrap_or(0.0))
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"))
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
