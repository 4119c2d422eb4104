//! `udpxctl ping HOST`

use std::time::Duration;

use udpxd::Code;
use udpxd::embedded::{self, Ping, PingSummary};

use crate::args::{Output, PingArgs, Sending};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::remote::Remote;
use crate::run::Way;
use crate::{escape, events, jsonl, say, units};

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: PingArgs, output: Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let host = Remote::parse(&args.host)?.host;
    let way = Way::to(&host, args.reach, Sending::default())?;
    let ping = Ping {
        count: args.count,
        size: args.size,
        interval: args.interval.max(INTERVAL_MIN),
        patience: PATIENCE,
    };
    let summary = way.ask(output, interrupt.flag(), |call, events| embedded::ping(call, ping, events))?;
    if summary.received == 0 {
        let text = format!("{host} answered, but none of {} echoes came back", summary.sent);
        return Err(Failure::new(Code::Unreachable, text));
    }
    match output.json {
        true => jsonl::emit_last("summary", events::echoes(&summary)),
        false => say(&format!("{}\n", line(&host, &summary))),
    }
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
