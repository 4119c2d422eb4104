//! Long, lossy paths in virtual time: every line of the table of targets, and paths that nobody tuned for; and some of
//! them with real sockets.

mod cells;
mod held_out;
mod path;
mod plots;
mod real;
mod report;
mod rows;
mod steady;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use crate::compare::Void;
use report::{Line, Table};

/// Simulates long, lossy paths and tells what of them is used
#[derive(Args)]
pub(crate) struct WanArgs {
    /// Only rows whose name contains this; may be given several times
    #[arg(long)]
    only: Vec<String>,
    /// Seed of the paths' chance and of the moments when flows begin
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Instead of the table, draw paths from this seed
    #[arg(long, value_name = "SEED")]
    held_out: Option<u64>,
    /// How many paths to draw
    #[arg(long, default_value_t = 100)]
    paths: u64,
    /// Also write what was printed into this file, as Markdown; what other runs wrote there stays
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Instead of the table, draw the pictures into this directory, as SVG
    #[arg(long, value_name = "DIR", conflicts_with_all = ["held_out", "out"])]
    plots: Option<PathBuf>,
    /// Instead of simulating, send over real sockets through the emulator that $UDPX_EMULATOR names, beside iperf3; needs root
    #[arg(long, conflicts_with_all = ["held_out", "plots"])]
    real: bool,
    /// How often each path of --real is taken
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    times: u32,
}

pub(crate) fn run(args: &WanArgs) -> Result<(), Void> {
    if let Some(directory) = &args.plots {
        return plots::draw_all(directory, args.seed, &args.only);
    }
    if let Some(seed) = args.held_out {
        let text = held_out(seed, args.paths);
        return args.out.as_ref().map_or(Ok(()), |file| report::write(file, report::UNSEEN, &text));
    }
    if args.real {
        let text = real::run(args.times)?;
        return args.out.as_ref().map_or(Ok(()), |file| report::write(file, report::REAL, &text));
    }
    let rows = rows::all();
    let mut table = table(args, &rows);
    if let Some(file) = &args.out {
        let names: Vec<String> = rows.into_iter().map(|row| row.name).collect();
        let document = report::read(file)?;
        if let Some(earlier) = report::section(&document, report::TARGETS).and_then(Table::parse) {
            table.complete(&earlier, &names);
        }
        report::write(file, report::TARGETS, &table.text())?;
    }
    Ok(())
}

fn table(args: &WanArgs, rows: &[rows::Row]) -> Table {
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|only| name.contains(only));
    let mut lines = Vec::new();
    for row in rows.iter().filter(|row| wanted(&row.name)) {
        let begin = Instant::now();
        let outcome = (row.run)(args.seed);
        let met = if outcome.met { "met" } else { "MISS" };
        println!("{met:<5} {:<34} {} [{:.1} s]", row.name, outcome.text, begin.elapsed().as_secs_f64());
        lines.push(Line::new(&row.name, &outcome));
    }
    Table { seed: args.seed, lines }
}

fn held_out(seed: u64, count: u64) -> String {
    let drawn = held_out::run(seed, count);
    let at = |share: f64| drawn.get((share * drawn.len() as f64) as usize).map_or(0.0, |d| d.share);
    let mut text = format!(
        "seed {seed}, {} paths: median {:.3} of the ideal (0.92), 5th percentile {:.3} (0.75)\n\nthe worst five:\n\n",
        drawn.len(),
        at(0.5),
        at(0.05)
    );
    for d in drawn.iter().take(5) {
        let p = &d.path;
        let _ = writeln!(
            text,
            "- {:.3}: {:.1} Mbit/s, {:.1} ms, loss {:.1} %, queue {:.2} BDP, wander {:?}, reordering {:?}",
            d.share,
            p.bps / 1e6,
            p.rtt.as_secs_f64() * 1e3,
            p.loss * 100.0,
            p.queue,
            p.wander,
            p.reorder.map(|r| (r.share, r.extra)),
        );
    }
    print!("{text}");
    text
}
