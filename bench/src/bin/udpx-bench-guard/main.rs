//! `udpx-bench-guard`: no commit makes the data path longer unnoticed.
//!
//! Time on a shared machine says little about a change of some percent; the number of instructions says it exactly. Each workload of
//! [`workloads`] is run under valgrind's callgrind, and what it executed is compared with `bench/instructions.txt`: more than 5 % above it
//! is a failure, and the functions that grew are named.
//!
//!     cargo run --release -p udpx-bench --bin udpx-bench-guard                  # compare
//!     cargo run --release -p udpx-bench --bin udpx-bench-guard -- --by-function # and show where all of it goes
//!     cargo run --release -p udpx-bench --bin udpx-bench-guard -- --update      # this is the new baseline
//!
//! Counts are those of one compiler and one kind of CPU. Valgrind shows every program the same CPU, one with AVX2 at the most, so
//! that a machine with AVX-512 counts what one without it does; where that or the compiler is not the baseline's, nothing
//! is compared, and that is said.

mod baseline;
mod callgrind;
mod workloads;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use baseline::{Baseline, Toolchain};
use callgrind::{Profile, Trouble};
use workloads::WORKLOADS;

/// Counts the instructions of the data path and compares them with the committed baseline.
#[derive(Parser)]
#[command(name = "udpx-bench-guard")]
struct Cli {
    /// Write what was counted as the new baseline.
    #[arg(long)]
    update: bool,
    /// Show the functions of each workload, with their difference from the baseline.
    #[arg(long)]
    by_function: bool,
    /// Only this workload.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(WORKLOADS.iter().map(|w| w.name)))]
    only: Option<String>,
    /// Run a workload: what valgrind is given.
    #[arg(long, hide = true)]
    run: Option<String>,
}

/// What a workload may grow by.
const GROWTH_MAX: f64 = 0.05;
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(name) = &cli.run {
        WORKLOADS.iter().filter(|workload| workload.name == name).for_each(|workload| (workload.run)());
        return ExitCode::SUCCESS;
    }
    match guard(&cli) {
        Ok(code) => code,
        Err(Trouble::NoValgrind) => {
            println!("SKIPPED instruction_counts: valgrind is not installed");
            ExitCode::SUCCESS
        }
        Err(Trouble::Failed(text)) => {
            eprintln!("udpx-bench-guard: {text}");
            ExitCode::FAILURE
        }
    }
}

fn guard(cli: &Cli) -> Result<ExitCode, Trouble> {
    let here = Toolchain::here()?;
    let baseline = Baseline::read(Path::new(FILE))?;
    if !cli.update && baseline.is_empty() {
        return Err(Trouble::Failed(format!("{FILE} has no counts: make them with --update")));
    }
    if !cli.update && baseline.toolchain != here {
        println!(
            "SKIPPED instruction_counts: the baseline is of {}, and this is {here}; make one with --update before a change",
            baseline.toolchain
        );
        return Ok(ExitCode::SUCCESS);
    }
    let wanted: Vec<&str> = WORKLOADS
        .iter()
        .map(|workload| workload.name)
        .filter(|name| cli.only.as_deref().is_none_or(|only| only == *name))
        .collect();
    let profiles = callgrind::count(&wanted)?;
    if cli.update {
        baseline.updated(here, &profiles).write(Path::new(FILE))?;
        println!("wrote {FILE}");
        return Ok(ExitCode::SUCCESS);
    }
    let mut longer = 0;
    for profile in &profiles {
        longer += u32::from(!compare(cli, &baseline, profile));
    }
    if longer > 0 {
        let percent = GROWTH_MAX * 100.0;
        println!("\n{longer} of {} workloads are more than {percent} % longer", profiles.len());
        return Ok(ExitCode::FAILURE);
    }
    println!("instruction counts: {} passed, 0 failed", profiles.len());
    Ok(ExitCode::SUCCESS)
}

/// Tells how a workload stands; whether that is good enough.
fn compare(cli: &Cli, baseline: &Baseline, profile: &Profile) -> bool {
    let Some(before) = baseline.total(&profile.workload) else {
        println!(
            "{:<12} {:>12} instructions; the baseline has none: --update",
            profile.workload, profile.total
        );
        return false;
    };
    let growth = profile.total as f64 / before as f64 - 1.0;
    let good = growth <= GROWTH_MAX;
    let per_unit = profile.total as f64 / workloads::units(&profile.workload) as f64;
    println!(
        "{:<12} {:>12} instructions, {per_unit:>8.1} a unit, {:+.2} % {}",
        profile.workload,
        profile.total,
        growth * 100.0,
        if good { "" } else { " TOO LONG" }
    );
    if cli.by_function || !good {
        baseline.differences(profile).iter().for_each(|line| println!("    {line}"));
    }
    good
}
