//! `udpxctl ping HOST`

use std::time::Duration;

use udpx_control::client::Client;
use udpx_control::schema::{self, Event, Pong, Reply};
use udpxd::embedded::{self, Ping, PingSummary};
use udpxd::{Code, identity};

use crate::args::{Output, PingArgs, Reach, Sending};
use crate::engine::{self, Engine};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::remote::Remote;
use crate::run::Way;
use crate::watcher::Watcher;
use crate::{ask, escape, events, jsonl, say, units};

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: &PingArgs, output: Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let to = Remote::parse(&args.host)?.host;
    let host = to.to_string();
    let ping = Ping {
        count: args.count,
        size: args.size,
        interval: args.interval.max(INTERVAL_MIN),
        patience: PATIENCE,
    };
    let summary = match engine::choose(&args.through, &args.reach, &[&to], None, output)? {
        Engine::Daemon(mut client) => by_daemon(&mut client, &host, &args.reach, &ping, output, &interrupt)?,
        Engine::Here => {
            let way = Way::to(&to, &args.reach, Sending::default())?;
            way.ask(output, interrupt.flag(), |call, events| embedded::ping(call, ping, events))?
        }
    };
    if summary.received == 0 {
        let text = format!("{host} answered, but none of {} echoes came back", summary.sent);
        return Err(Failure::new(Code::Unreachable, text));
    }
    match output.json {
        true => jsonl::emit_last("summary", events::echoes(&summary)),
        false => say(&format!("{}\n", line(&host, &summary))),
    }
}

fn by_daemon(
    client: &mut Client,
    host: &str,
    reach: &Reach,
    ping: &Ping,
    output: Output,
    interrupt: &Interrupt,
) -> Result<PingSummary, Failure> {
    let request = schema::Ping {
        host: host.to_owned(),
        port: (reach.port != udpxd::config::PORT).then_some(reach.port),
        key: reach.peer_key.as_ref().map(identity::key_text),
        count: ping.count,
        interval_us: u64::try_from(ping.interval.as_micros()).unwrap_or(u64::MAX),
        bytes: u32::try_from(ping.size).unwrap_or(u32::MAX),
    };
    let mut watcher = Watcher::new(output, host, Vec::new());
    let (mut rtts_us, mut missing) = (Vec::new(), Vec::new());
    // From one echo to the next it may take the interval and our patience.
    let timeout = reach.timeout.map(|timeout| timeout.max(ping.interval + ping.patience));
    let reply = ask::wait(client, request, timeout, interrupt, |event| {
        let Event::Pong(Pong { sequence, bytes, rtt_us }) = event else { return };
        let number = sequence.saturating_sub(1);
        match rtt_us {
            Some(rtt_us) => {
                rtts_us.push(rtt_us);
                watcher.on_echo(number, bytes as usize, rtt_us);
            }
            None => missing.push(number),
        }
    });
    watcher.finish();
    let Reply::Ping(report) = reply? else { return Err(ask::unexpected()) };
    Ok(PingSummary { sent: report.sent, received: report.received, rtts_us, missing })
}

fn line(host: &str, summary: &PingSummary) -> String {
    let (least, mean, most) = summary.rtt_us().unwrap_or_default();
    let [least, mean, most] = [least, mean, most].map(|us| units::time(Duration::from_micros(us)));
    format!(
        "{}: {} of {} echoes came back, loss {:.1} %; rtt min {least}, mean {mean}, max {most}",
        escape::text(host),
        summary.received,
        summary.sent,
        summary.loss() * 100.0,
    )
}

/// A flood of echoes is what a push is for.
const INTERVAL_MIN: Duration = Duration::from_millis(1);
/// How long the last echoes are waited for.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_sums_it_up() {
        let summary = PingSummary { sent: 4, received: 3, rtts_us: vec![100, 400, 250], missing: vec![3] };
        assert_eq!(
            line("bob", &summary),
            "bob: 3 of 4 echoes came back, loss 25.0 %; rtt min 0.10 ms, mean 0.25 ms, max 0.40 ms"
        );
    }
}
