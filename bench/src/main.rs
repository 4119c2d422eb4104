//! `udpx-bench`: what udpx reaches, beside the ceilings of the machine and the tools of today.
//!
//! `compare` measures whole transfers between processes, and `report` makes documents of the result; `loads` has much of
//! everything at once; `wan` simulates long, lossy paths in virtual time; the criterion benches measure the parts.

mod compare;
mod loads;
mod report;
mod wan;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "udpx-bench",
    version,
    about = "Measures udpx beside the ceilings of the machine and its peers"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Compare(compare::CompareArgs),
    Loads(loads::LoadsArgs),
    Report(report::ReportArgs),
    Wan(wan::WanArgs),
    #[command(hide = true)]
    Endpoint(compare::EndpointArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Compare(args) => compare::run(&args),
        Command::Loads(args) => loads::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Wan(args) => wan::run(&args),
        Command::Endpoint(args) => compare::run_endpoint(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(compare::Void(reason)) => {
            eprintln!("udpx-bench: {reason}");
            if compare::interrupted() { ExitCode::from(EXIT_INTERRUPTED) } else { ExitCode::FAILURE }
        }
    }
}

/// What a shell reports for a program that SIGINT ended.
const EXIT_INTERRUPTED: u8 = 130;
