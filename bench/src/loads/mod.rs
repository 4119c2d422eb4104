//! `loads`: what happens when there is much of something. Real daemons over loopback, driven through the control socket.
//!
//! Each load prints rows of a Markdown table, which is `docs/results/loads.md`: what was done, what was wanted, what came out. A
//! load that cannot be taken says why, and the others go on.

mod daemons;
mod growth;
mod jobs;
mod latency;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::compare::{self, Void};

/// Many jobs, small files, echoes under load, growth with size.
#[derive(Args, Clone, Debug)]
pub(crate) struct LoadsArgs {
    /// Only these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Load>,
    /// Jobs in all.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=5000))]
    jobs: u32,
    /// Of those, on the wire at once: each has a session of its own.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    sessions: u32,
    /// Largest transfer of `growth`, GiB.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1024))]
    largest: u64,
    /// Memory-backed directory for sources and destinations.
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Load {
    /// Many jobs at once: all end, none starves, memory stays, the control socket answers.
    Jobs,
    /// Jobs of one size that run together get the same.
    Fair,
    /// A file of 10 kB: in a session that has to be made, and in one that is there.
    Small,
    /// Echoes while a transfer takes all that there is.
    Ping,
    /// Time by size, by streams and by files.
    Growth,
}

/// A line of the table.
pub(crate) struct Row {
    what: String,
    wanted: String,
    measured: String,
    /// Whether it is as wanted, where something is wanted.
    good: Option<bool>,
}

impl Row {
    fn told(what: impl Into<String>, measured: impl Into<String>) -> Row {
        Row { what: what.into(), wanted: String::new(), measured: measured.into(), good: None }
    }

    fn judged(
        what: impl Into<String>,
        wanted: impl Into<String>,
        measured: impl Into<String>,
        good: bool,
    ) -> Row {
        Row { what: what.into(), wanted: wanted.into(), measured: measured.into(), good: Some(good) }
    }
}

/// Takes the loads and prints the table.
///
/// # Errors
/// If the directory cannot be used or the run was interrupted.
pub(crate) fn run(args: &LoadsArgs) -> Result<(), Void> {
    compare::end_children_on_interrupt()?;
    println!("{}\n", compare::circumstances());
    println!("| load | wanted | measured | |\n|---|---|---|---|");
    for load in Load::value_variants() {
        if !args.only.is_empty() && !args.only.contains(load) {
            continue;
        }
        let dir = tempfile::Builder::new().prefix("udpx-loads-").tempdir_in(&args.dir)?;
        let taken = match load {
            Load::Jobs => jobs::many(args, dir.path()),
            Load::Fair => jobs::fair(args, dir.path()),
            Load::Small => latency::small(dir.path()),
            Load::Ping => latency::ping(dir.path()),
            Load::Growth => growth::all(args, dir.path()),
        };
        let rows = match taken {
            Ok(rows) => rows,
            Err(_) if compare::interrupted() => return Err(Void("interrupted".into())),
            Err(Void(reason)) => vec![Row::judged(format!("{load:?}"), "", format!("none: {reason}"), false)],
        };
        for Row { what, wanted, measured, good } in rows {
            let verdict = good.map_or("", |good| if good { "met" } else { "**missed**" });
            println!("| {what} | {wanted} | {measured} | {verdict} |");
        }
    }
    println!("\nload average at the end: {}", compare::load_average());
    Ok(())
}

/// The value below which this share of the samples lies, of samples in any order; 0 of none.
fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.saturating_sub(1).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_sample() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(
            (quantile(&samples, 0.5), quantile(&samples, 0.99), quantile(&samples, 1.0)),
            (50.0, 99.0, 100.0)
        );
        assert_eq!((quantile(&[7.0], 0.0), quantile(&[], 0.5)), (7.0, 0.0));
    }

    /// A tenth of each load, with bounds that a machine under load keeps: what matters is that all of it ends.
    #[test]
    fn a_small_load_is_carried() {
        if compare::beside_us("udpxd").is_err() || compare::beside_us("udpxctl").is_err() {
            return println!(
                "SKIPPED a_small_load_is_carried: udpxd and udpxctl are not built beside this test"
            );
        }
        let args = LoadsArgs { only: vec![], jobs: 60, sessions: 8, largest: 1, dir: std::env::temp_dir() };
        let dir = tempfile::tempdir().unwrap();
        let rows = jobs::many(&args, dir.path()).unwrap_or_else(|Void(reason)| panic!("{reason}"));
        let measured = rows.iter().find(|row| row.what.contains("jobs")).map(|row| row.measured.as_str());
        assert!(measured.is_some_and(|text| text.starts_with("60 done, 0 not")), "{measured:?}");
    }
}
