//! `compare`: udpx beside the ceilings of the socket API and the tools of today, in one run.
//!
//! Absolute figures drift with whatever else a machine does, ratios within a run much less; so every round takes each
//! row once (A B C, A B C, ...) and what is said at the end are medians and their ratios. Each end of each row is
//! a process of its own. A row whose bytes are not all there, or not the same, is void, as is one whose tool is
//! missing; the others go on. `--grid` does so over each kind of path, and `report` makes documents of the result.

mod counters;
mod endpoint;
mod external;
mod ktls;
mod machine;
mod netns;
mod process;
mod pump;
mod pump_raw;
mod pump_sealed;
mod quinn;
mod row;
mod source;
mod ssh;
mod stats;
mod table;
mod tcp;
mod udpx;
mod usage;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use nix::sys::statvfs::statvfs;

use counters::Snmp;
pub(crate) use endpoint::{EndpointArgs, run as run_endpoint};
use machine::Machine;
pub(crate) use machine::load_average;
use netns::{Arena, Offloads};
pub(crate) use process::{Running, Void, end_children_on_interrupt, interrupted};
use row::{Figure, Lab, ROWS, Row};
use source::SourceFile;
pub(crate) use table::{
    CPU_RECEIVER, CPU_SENDER, Comparison, DROPS, LEGEND, Line, MEMORY_RECEIVER, MEMORY_SENDER, PER_RECEIVE,
    PER_SEND, RESENT, Results, WAKEUPS_RECEIVER, WAKEUPS_SENDER,
};
use table::{Circumstances, Collected, SCHEMA};
pub(crate) use udpx::beside_us;
pub(crate) use usage::Usage;

/// Measures udpx, the pumps and the peers side by side.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompareArgs {
    /// Bytes that each transfer moves, with KiB, MiB or GiB.
    #[arg(long, default_value = "1GiB", value_parser = parse_size)]
    size: u64,
    /// Times that each row is taken.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Only these rows, by name and separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = parse_row)]
    rows: Option<Vec<&'static str>>,
    /// The row udpx-sealed with so many lanes a session as well, separated by commas: 1,2,4.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=8))]
    lanes: Vec<u8>,
    /// Writes the result there as JSON too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Loopback even where namespaces could be made.
    #[arg(long)]
    loopback: bool,
    /// IP MTU of the veth pair and of every UDP datagram.
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u16).range(1280..))]
    mtu: u16,
    /// Segmentation offloads and GRO off on the veth pair, as on a card without them.
    #[arg(long, conflicts_with = "loopback")]
    no_offload: bool,
    /// All paths, one after the other: veth of MTU 1500, the same without offloads, MTU 9000, loopback.
    #[arg(long, conflicts_with_all = ["loopback", "no_offload", "mtu"])]
    grid: bool,
    /// Memory-backed directory for the source and the destinations.
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
}

/// Takes all rounds of one path or of all and prints the tables.
///
/// # Errors
/// If there is no place to measure in or the run was interrupted; rows that cannot run are no error.
pub(crate) fn run(args: &CompareArgs) -> Result<(), Void> {
    end_children_on_interrupt()?;
    let rows: Vec<&'static Row> = match &args.rows {
        None => ROWS.iter().collect(),
        Some(names) => ROWS.iter().filter(|r| names.contains(&r.name)).collect(),
    };
    check_space(args)?;
    let dir = tempfile::Builder::new().prefix("udpx-compare-").tempdir_in(&args.dir)?;
    let mut source = SourceFile::create(dir.path().join("source"), args.size)?;
    let mut results = Results {
        schema: SCHEMA,
        machine: Machine::read(),
        commit: machine::commit(),
        date: machine::date(),
        paths: vec![],
    };
    let machine = &results.machine;
    println!("kernel {}, {} CPUs, {}; commit {}", machine.kernel, machine.cpus, machine.cpu, results.commit);
    for path in paths(args)? {
        let mut lab = Lab::new(path.arena()?, source, limit(args.size), dir.path())?;
        lab.lanes.clone_from(&args.lanes);
        let comparison = compare(args, &lab, &rows)?;
        println!("\n{}", comparison.text());
        source = lab.source;
        results.paths.push(comparison);
        // After each path, so that a run that is cut short leaves what it has.
        if let Some(path) = &args.json {
            let text = serde_json::to_string_pretty(&results).map_err(|e| Void(e.to_string()))?;
            std::fs::write(path, text + "\n")?;
        }
    }
    println!("{LEGEND}");
    for row in rows {
        println!("  {:<12} {}", row.name, row.about);
    }
    Ok(())
}

/// What figures of this moment are taken on, in a line.
pub(crate) fn circumstances() -> String {
    let machine = Machine::read();
    format!(
        "{}, {} CPUs, Linux {}, commit {}, {}; load average {} at the start.",
        machine.cpu,
        machine.cpus,
        machine.kernel,
        machine::commit(),
        machine::date(),
        load_average()
    )
}

fn compare(args: &CompareArgs, lab: &Lab, rows: &[&'static Row]) -> Result<Comparison, Void> {
    let load_at_start = load_average();
    let mut collected: Vec<Collected> = rows.iter().map(|row| Collected::new(row)).collect();
    take_rounds(args, lab, &mut collected)?;
    let circumstances = Circumstances {
        path: lab.arena.describe(),
        size: args.size,
        rounds: args.rounds,
        load_at_start,
        load_at_end: load_average(),
        notes: lab.notes(),
    };
    Ok(Comparison::new(circumstances, &collected))
}

fn take_rounds(args: &CompareArgs, lab: &Lab, collected: &mut [Collected]) -> Result<(), Void> {
    let rounds = args.rounds;
    for round in 1..=rounds {
        for row in collected.iter_mut().filter(|c| !c.is_void()) {
            machine::warm_memory(&args.dir, args.size + WARM_EXTRA)?;
            let before = Snmp::read(&lab.arena);
            let mut taken = (row.row.measure)(lab);
            if interrupted() {
                return Err(Void("interrupted".into()));
            }
            if let (Ok(figures), Some(before), Some(after)) = (&mut taken, before, Snmp::read(&lab.arena)) {
                count(figures, after.since(before));
            }
            let said = match &taken {
                Ok(figures) => {
                    figures.iter().map(|f| format!("{} {:.2}", f.label, f.bps() / 1e9)).collect::<Vec<_>>()
                }
                Err(void) => vec![format!("void: {void}")],
            };
            eprintln!("round {round} of {rounds}  {:<12} {}", row.row.name, said.join(", "));
            row.add(taken);
        }
    }
    Ok(())
}

/// Adds what the kernel counted while a row ran. A row of several figures shares the drops evenly: it had one count.
fn count(figures: &mut [Figure], counted: Snmp) {
    let share = figures.len().max(1) as u64;
    for figure in figures {
        figure.socket_drops = Some(counted.udp_drops.div_ceil(share));
        figure.resent_share = figure.resent_share.or_else(|| counted.tcp_resent_share());
    }
}

/// A path to be made.
enum Path {
    Veth(u16, Offloads),
    Loopback(u16),
}

impl Path {
    fn arena(&self) -> Result<Arena, Void> {
        match *self {
            Path::Veth(mtu, offloads) => Arena::veth(mtu, offloads),
            Path::Loopback(mtu) => Ok(Arena::Loopback { mtu }),
        }
    }
}

fn paths(args: &CompareArgs) -> Result<Vec<Path>, Void> {
    const JUMBO: u16 = 9000;
    if args.loopback {
        return Ok(vec![Path::Loopback(args.mtu)]);
    }
    if netns::may_make_namespaces() {
        return Ok(if args.grid {
            vec![
                Path::Veth(args.mtu, Offloads::Default),
                Path::Veth(args.mtu, Offloads::Off),
                Path::Veth(JUMBO, Offloads::Default),
                Path::Loopback(args.mtu),
            ]
        } else {
            vec![Path::Veth(args.mtu, if args.no_offload { Offloads::Off } else { Offloads::Default })]
        });
    }
    if args.no_offload {
        return Err(Void("--no-offload needs a veth pair, which only root can make".into()));
    }
    println!(
        "note: not root, so everything runs over loopback, which is no network: ratios to TCP mean little"
    );
    Ok(vec![Path::Loopback(args.mtu)])
}

/// The source, one destination and what the TCP receiver keeps, all of it in memory.
fn check_space(args: &CompareArgs) -> Result<(), Void> {
    const COPIES: u64 = 4;
    let place = statvfs(&args.dir).map_err(|e| Void(format!("{}: {}", args.dir.display(), e.desc())))?;
    let free = place.blocks_available() * place.fragment_size();
    if free < COPIES * args.size {
        return Err(Void(format!(
            "{} has {free} bytes free and {} are needed: choose a smaller --size or another --dir",
            args.dir.display(),
            COPIES * args.size
        )));
    }
    Ok(())
}

/// Memory that a row uses beside its destination: socket buffers, staging.
const WARM_EXTRA: u64 = 256 << 20;

/// A command slower than 20 MB/s hangs.
fn limit(size: u64) -> Duration {
    Duration::from_secs(20 + size / 20_000_000)
}

fn parse_row(name: &str) -> Result<&'static str, String> {
    let known = || ROWS.iter().map(|r| r.name).collect::<Vec<_>>().join(", ");
    ROWS.iter().map(|r| r.name).find(|n| *n == name).ok_or_else(|| format!("the rows are {}", known()))
}

fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match &text[digits..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1u64 << 30,
        other => return Err(format!("`{other}` is no unit: use B, KiB, MiB or GiB")),
    };
    let number: u64 = text[..digits].parse().map_err(|_| "give a number, as in 256MiB".to_owned())?;
    number.checked_mul(unit).filter(|size| *size > 0).ok_or_else(|| "give a size above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_and_positive() {
        assert_eq!(parse_size("256MiB"), Ok(256 << 20));
        assert_eq!(parse_size("1GiB"), Ok(1 << 30));
        assert_eq!(parse_size("17"), Ok(17));
        for bad in ["", "0", "MiB", "1GB", "99999999999GiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn row_names_are_unique_and_checked() {
        for row in ROWS {
            assert_eq!(ROWS.iter().filter(|r| r.name == row.name).count(), 1);
            assert_eq!(parse_row(row.name), Ok(row.name));
        }
        assert!(parse_row("warp").unwrap_err().contains("sealed-pump"));
    }
}
