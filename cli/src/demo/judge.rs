//! Was the path as bad as asked, and did the transfer have to work for it?

use udpxd::Code;
use udpxd::relay::Report;

use crate::args::PathArgs;
use crate::failure::Failure;
use crate::units::count;

/// Fails if chance was kinder or harder than it may be, or if loss was asked for and nothing was sent again.
pub(super) fn judge(asked: &PathArgs, report: &Report, retransmitted: u64) -> Result<(), Failure> {
    let packets = report.up.received + report.down.received;
    let lost = report.up.lost + report.down.lost;
    if !is_plausible(asked.loss, packets, lost) {
        let text = format!(
            "the relay lost {} of {} packets, which is not the loss of {} % that was asked",
            count(lost),
            count(packets),
            asked.loss * 100.0
        );
        return Err(Failure::new(Code::Other, text));
    }
    if asked.loss > 0.0 && retransmitted == 0 {
        let text = format!("nothing was sent again though {} packets were lost", count(lost));
        let remedy = "With very few packets that can be chance: run it with a larger --size.";
        return Err(Failure::with_remedy(Code::Other, text, remedy));
    }
    Ok(())
}

/// Whether `lost` of `packets` is within 20 % of the probability, or within four standard deviations if those are more.
fn is_plausible(probability: f64, packets: u64, lost: u64) -> bool {
    if packets == 0 {
        return probability == 0.0;
    }
    let share = lost as f64 / packets as f64;
    let deviation = (probability * (1.0 - probability) / packets as f64).sqrt();
    (share - probability).abs() <= (0.2 * probability).max(4.0 * deviation)
}

/// What the relay counted, in words.
pub(super) fn describe(report: &Report) -> String {
    let mut all = report.up;
    all.add(&report.down);
    let share = 100.0 * all.lost as f64 / all.received.max(1) as f64;
    let mut text = format!("{} packets, {} lost ({share:.2} %)", count(all.received), count(all.lost));
    for (name, number) in [
        ("damaged", all.corrupted),
        ("doubled", all.duplicated),
        ("held back", all.reordered),
        ("dropped by its queue", all.overflowed),
        ("dropped by the kernel", all.overrun),
    ] {
        if number > 0 {
            text.push_str(&format!(", {} {name}", count(number)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(packets: u64, lost: u64) -> Report {
        let mut report = Report::default();
        (report.up.received, report.up.lost) = (packets, lost);
        report
    }

    #[test]
    fn twenty_percent_or_four_deviations() {
        assert!(is_plausible(0.01, 1_000_000, 11_999) && !is_plausible(0.01, 1_000_000, 12_001));
        assert!(is_plausible(0.01, 1_000_000, 8_001) && !is_plausible(0.01, 1_000_000, 7_999));
        // Four deviations of a hundred packets are four packets.
        assert!(is_plausible(0.01, 100, 4) && is_plausible(0.01, 100, 0) && !is_plausible(0.01, 100, 6));
        assert!(is_plausible(0.0, 1000, 0) && !is_plausible(0.0, 1000, 1));
        assert!(is_plausible(0.0, 0, 0) && !is_plausible(0.5, 0, 0));
    }

    #[test]
    fn loss_must_have_cost_something() {
        let asked = PathArgs { loss: 0.01, ..PathArgs::default() };
        assert!(judge(&asked, &report(10_000, 100), 90).is_ok());
        assert!(
            judge(&asked, &report(10_000, 100), 0).is_err_and(|failure| failure.text.contains("sent again"))
        );
        assert!(
            judge(&asked, &report(10_000, 300), 90)
                .is_err_and(|failure| failure.text.contains("not the loss"))
        );
        assert!(judge(&PathArgs::default(), &report(10_000, 0), 0).is_ok());
    }
}
