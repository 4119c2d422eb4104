//! A few paths with real sockets: udpx, TCP CUBIC and TCP BBR through an emulator between two network namespaces.
//!
//! `$UDPX_EMULATOR` names the emulator. It is called as `up --rate R --delay D --loss P ...`, `reset`, `exec a|b -- COMMAND`,
//! `stats --json` and `down`; side a sends, side b has the address 10.99.0.2. What it says of itself decides whether a row
//! counts: packets that it dropped because it was outrun, or passed on much too late, are no property of the path.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::path::SHARE;
use crate::compare::{Running, Void, beside_us, end_children_on_interrupt, load_average};

const EMULATOR: &str = "UDPX_EMULATOR";
const RATE_BPS: f64 = 500e6;
const DELAY_MS: u32 = 50;
const LOSSES: [f64; 3] = [0.0, 0.01, 0.05];
/// Seconds that a transfer takes if it fills the path.
const SECONDS: u64 = 20;
/// Seconds of start-up that are no part of the steady figure: twice what the targets allow.
const START_UP: u64 = 3;
/// Of [`RATE_BPS`] x (1 - loss) x share.
const TARGET: f64 = 0.90;
/// Deliveries that may come more than a millisecond late.
const LATE_MAX: f64 = 0.01;
const SIDE_B: &str = "10.99.0.2";
const LIMIT: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(10);

/// Who sends.
#[derive(Copy, Clone)]
enum Sender {
    Udpx,
    Tcp(&'static str),
}

/// Every path `times` times, as a table.
pub(super) fn run(times: u32) -> Result<String, Void> {
    end_children_on_interrupt()?;
    let program = std::env::var_os(EMULATOR)
        .ok_or_else(|| Void(format!("${EMULATOR} is not set: let it name the emulator.")))?;
    let lab = Lab { program };
    let mut text = format!(
        "{:.0} Mbit/s, {DELAY_MS} ms one way, a queue of one BDP, loss from the sender to the receiver. Steady part, over C x (1-p) x \
         {SHARE:.3}.\n\n| path | sender | met | of the ideal | Mbit/s | emulator | load |\n|---|---|---|---|---|---|---|\n",
        RATE_BPS / 1e6
    );
    for loss in LOSSES {
        for round in 1..=times {
            for sender in [Sender::Udpx, Sender::Tcp("cubic"), Sender::Tcp("bbr")] {
                let taken = lab.take(sender, loss, round);
                let line = line(sender, loss, taken, &load_average());
                println!("{line}");
                let _ = writeln!(text, "{line}");
            }
        }
    }
    Ok(text)
}

fn line(sender: Sender, loss: f64, taken: Result<(f64, Value), Void>, load: &str) -> String {
    let path = format!("real {}%", loss * 100.0);
    let name = match sender {
        Sender::Udpx => "udpx".to_owned(),
        Sender::Tcp(which) => format!("TCP {which}"),
    };
    let (bps, stats) = match taken {
        Ok(taken) => taken,
        Err(Void(why)) => return format!("| {path} | {name} | void | | | {why} | {load} |"),
    };
    let share = bps / (RATE_BPS * (1.0 - loss) * SHARE);
    let (fault, words) = emulator(&stats);
    let met = match (fault, sender) {
        (true, _) => "void",
        (false, Sender::Tcp(_)) => "",
        (false, Sender::Udpx) if share >= TARGET => "met",
        (false, Sender::Udpx) => "MISS",
    };
    format!("| {path} | {name} | {met} | {share:.3} | {:.1} | {words} | {load} |", bps / 1e6)
}

/// Whether the emulator itself spoilt the row, and what it says.
fn emulator(stats: &Value) -> (bool, String) {
    let sides = || stats.as_object().into_iter().flatten().map(|(_, side)| side);
    let sum = |names: &[&str]| -> u64 {
        sides().map(|side| names.iter().filter_map(|name| side[*name].as_u64()).sum::<u64>()).sum()
    };
    let dropped = sum(&["tun_drops", "overrun_drops", "errors"]);
    let late = sum(&["late_10ms", "late_more"]);
    let all = late + sum(&["late_50us", "late_100us", "late_200us", "late_1ms"]);
    let share = late as f64 / all.max(1) as f64;
    let fault = dropped > 0 || share > LATE_MAX || all == 0;
    (fault, format!("dropped {dropped}, late {:.2} %", share * 100.0))
}

/// The emulator.
struct Lab {
    program: OsString,
}

/// Takes it down again.
struct Up<'a>(&'a Lab);

impl Drop for Up<'_> {
    fn drop(&mut self) {
        if let Err(Void(why)) = self.0.ask(&["down"]) {
            eprintln!("udpx-bench: the emulator is left behind: {why}");
        }
    }
}

impl Lab {
    /// Stream bits a second of the steady part, and what the emulator counted.
    fn take(&self, sender: Sender, loss: f64, round: u32) -> Result<(f64, Value), Void> {
        let rate = format!("{}mbit", RATE_BPS / 1e6);
        let (delay, loss) = (format!("{DELAY_MS}ms"), format!("{}%", loss * 100.0));
        let seed = round.to_string();
        self.ask(&[
            "up",
            "--rate",
            &rate,
            "--delay",
            &delay,
            "--loss",
            &loss,
            "--one-way-loss",
            "--overhead",
            "0",
            "--seed",
            &seed,
        ])?;
        let up = Up(self);
        let bps = match sender {
            Sender::Udpx => self.udpx()?,
            Sender::Tcp(which) => self.tcp(which)?,
        };
        let stats = self.ask(&["stats", "--json"])?;
        drop(up);
        let stats = serde_json::from_str(&stats).map_err(|_| Void(format!("the emulator said: {stats}")))?;
        Ok((bps, stats))
    }

    fn ask(&self, args: &[&str]) -> Result<String, Void> {
        let name = format!("the emulator's `{}`", args[0]);
        Ok(Running::start(&name, Command::new(&self.program).args(args))?.finish(SOON)?.stdout)
    }

    fn on(&self, side: &str, program: impl Into<PathBuf>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["exec", side, "--"]).arg(program.into());
        command
    }

    fn udpx(&self) -> Result<f64, Void> {
        let udpxctl = beside_us("udpxctl")?;
        let mut command = self.on("b", &udpxctl);
        command
            .args(["bench-receive", "--null", "--json", "--mtu", "1500", "--listen"])
            .arg(format!("{SIDE_B}:0"));
        let mut receiver = Running::start("udpxctl bench-receive", &mut command)?;
        let line = receiver.line(SOON)?;
        let hello: Value =
            serde_json::from_str(&line).map_err(|_| Void(format!("bench-receive said: {line}")))?;
        let (Some(listening), Some(key)) = (hello["listening"].as_str(), hello["key"].as_str()) else {
            return Err(Void(format!("bench-receive said: {line}")));
        };
        let mut command = self.on("a", &udpxctl);
        command.args([
            "bench-push",
            "--as",
            "real",
            "--json",
            "--mtu",
            "1500",
            "--to",
            listening,
            "--peer",
            key,
        ]);
        command.args(["--generate", &(RATE_BPS as u64 / 8 * SECONDS).to_string()]);
        let sender = Running::start("udpxctl bench-push", &mut command)?.finish(LIMIT)?;
        receiver.finish(SOON)?;
        steady_of_events(&sender.stdout).ok_or_else(|| Void("udpxctl told too little of its progress".into()))
    }

    fn tcp(&self, which: &str) -> Result<f64, Void> {
        let mut command = self.on("b", "iperf3");
        command.args(["--server", "--one-off", "--bind", SIDE_B]);
        let mut server = Running::start("iperf3 --server", &mut command)?;
        server.await_listening(5201, SOON)?;
        let mut command = self.on("a", "iperf3");
        command.args(["--client", SIDE_B, "--congestion", which, "--json", "--omit", &START_UP.to_string()]);
        command.args(["--time", &(SECONDS - START_UP).to_string()]);
        let client = Running::start("iperf3 --client", &mut command)?.finish(LIMIT)?;
        drop(server);
        let report: Value =
            serde_json::from_str(&client.stdout).map_err(|error| Void(format!("iperf3: {error}")))?;
        report["end"]["sum_received"]["bits_per_second"]
            .as_f64()
            .ok_or_else(|| Void("iperf3 did not say what was received".into()))
    }
}

/// Bits a second between the end of start-up and the last event in which data was still being sent.
fn steady_of_events(stdout: &str) -> Option<f64> {
    let events = stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let progress: Vec<(f64, f64)> = events
        .filter(|event| event["event"] == "progress" && event["phase"] == "sending")
        .filter_map(|event| Some((seconds_of(event["time"].as_str()?)?, event["bytes"].as_f64()?)))
        .collect();
    let begin = progress.first()?.0;
    // Midnight may pass.
    let since = |at: f64| (at - begin).rem_euclid(86_400.0);
    let from = progress.iter().find(|(at, _)| since(*at) >= START_UP as f64)?;
    let to = progress.last()?;
    let span = since(to.0) - since(from.0);
    (span >= 1.0).then(|| (to.1 - from.1) * 8.0 / span)
}

/// Seconds of the day of `2026-11-25T12:25:27.964Z`.
fn seconds_of(time: &str) -> Option<f64> {
    let mut parts = time.split_once('T')?.1.trim_end_matches('Z').split(':').map(str::parse::<f64>);
    let mut next = || parts.next()?.ok();
    Some(next()? * 3600.0 + next()? * 60.0 + next()?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_steady_part_is_taken_from_progress() {
        let event = |s: u32, bytes: u64, phase: &str| {
            format!(
                "{{\"event\":\"progress\",\"phase\":\"{phase}\",\"time\":\"2026-11-25T23:59:{s:02}.500Z\",\"bytes\":{bytes}}}\n"
            )
        };
        let slow_start = event(10, 0, "sending") + &event(13, 1000, "sending");
        let rest = event(18, 6000, "sending") + &event(30, 6000, "syncing");
        assert_eq!(steady_of_events(&(slow_start.clone() + &rest)), Some(8000.0));
        assert_eq!(steady_of_events(&slow_start), None);
        let midnight = "{\"event\":\"progress\",\"phase\":\"sending\",\"time\":\"2026-11-26T00:00:03.500Z\",\"bytes\":46000}\n";
        assert_eq!(steady_of_events(&(slow_start + midnight)), Some(45_000.0 * 8.0 / 50.0));
    }

    #[test]
    fn a_row_that_the_emulator_spoilt_is_void() {
        let good = json!({"ab": {"tun_drops": 0, "late_50us": 990, "late_10ms": 5}, "ba": {"late_1ms": 5}});
        assert!(!emulator(&good).0);
        for bad in [
            json!({"ab": {"tun_drops": 1, "late_50us": 1000}}),
            json!({"ab": {"overrun_drops": 1, "late_50us": 1000}}),
            json!({"ab": {"late_50us": 900, "late_more": 100}}),
            json!({}),
        ] {
            assert!(emulator(&bad).0, "{bad}");
            let row = line(Sender::Udpx, 0.0, Ok((480e6, bad)), "1.0");
            assert!(row.contains("| void |"), "{row}");
        }
        let row = line(Sender::Udpx, 0.05, Ok((430e6, good.clone())), "1.0");
        assert!(row.starts_with("| real 5% | udpx | met | 0.954 |"), "{row}");
        assert!(line(Sender::Udpx, 0.0, Ok((400e6, good)), "1.0").contains("| MISS |"));
    }
}
