//! Long, lossy paths in virtual time: every line of the table of targets, and paths that nobody tuned for.

mod held_out;
mod path;
mod rows;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use crate::compare::Void;

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
    /// Also write what was printed to this file, as Markdown
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &WanArgs) -> Result<(), Void> {
    let text = match args.held_out {
        Some(seed) => held_out(seed, args.paths),
        None => table(args),
    };
    match &args.out {
        Some(file) => std::fs::write(file, text).map_err(|error| {
            Void(format!("{} cannot be written: {error}. Give another --out.", file.display()))
        }),
        None => Ok(()),
    }
}

fn table(args: &WanArgs) -> String {
    let mut text = format!("| row | met | seed {} |\n|---|---|---|\n", args.seed);
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|only| name.contains(only));
    for row in rows::all().iter().filter(|row| wanted(&row.name)) {
        let begin = Instant::now();
        let outcome = (row.run)(args.seed);
        let met = if outcome.met { "met" } else { "MISS" };
        println!("{met:<5} {:<34} {} [{:.1} s]", row.name, outcome.text, begin.elapsed().as_secs_f64());
        let _ = writeln!(text, "| {} | {met} | {} |", row.name, outcome.text);
    }
    text
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
