//! `udpx-bench`: what udpx reaches, beside the ceilings of the machine and the tools of today.
//!
//! `compare` measures whole transfers between processes; `wan` simulates long, lossy paths in virtual time; the criterion benches measure the parts.

mod compare;
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
    Wan(wan::WanArgs),
    #[command(hide = true)]
    Endpoint(compare::EndpointArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Compare(args) => compare::run(&args),
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
