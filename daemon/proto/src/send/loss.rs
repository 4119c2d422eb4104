//! Loss detection by time after a report (after RACK, RFC 8985).
//!
//! A packet is lost only when a SACK that covers its number reports it missing *and* the reordering time
//! has passed since a packet sent later arrived. The reordering window starts at a quarter of the least
//! RTT and grows while packets that were declared lost arrive after all.

use std::collections::VecDeque;

use crate::send::rtt::Rtt;
use crate::time::Time;

/// Numbers that were reported missing and whose reordering time runs.
#[derive(Debug)]
pub(crate) struct LossDetector {
    suspects: VecDeque<Suspect>,
    /// Sending time of the most recently sent packet that was acknowledged.
    newest_acked_sent: Time,
    /// Reordering window in quarters of the least RTT.
    quarters: u64,
    /// When the window was last found too small.
    calm_since: Time,
}

#[derive(Copy, Clone, Debug)]
struct Suspect {
    number: u64,
    sent: Time,
}

/// Below this nothing is reordered but by the scheduling of our own threads.
const WINDOW_MIN: u64 = 100_000;
/// SACKs are not closer than this: the one that has the late packet may be later by so much.
const ANSWER_GAP: u64 = 1_000_000;
/// A widened window returns to normal after so many smoothed RTTs without a false alarm.
const CALM_RTTS: u64 = 64;

impl LossDetector {
    pub(crate) fn new() -> Self {
        Self {
            suspects: VecDeque::with_capacity(1024),
            newest_acked_sent: Time::ZERO,
            quarters: 1,
            calm_since: Time::ZERO,
        }
    }

    pub(crate) fn on_acked(&mut self, sent: Time) {
        self.newest_acked_sent = self.newest_acked_sent.max(sent);
    }

    /// Sending time of the most recently sent packet that was acknowledged.
    pub(crate) fn newest_acked_sent(&self) -> Time {
        self.newest_acked_sent
    }

    pub(crate) fn on_missing(&mut self, number: u64, sent: Time) {
        self.suspects.push_back(Suspect { number, sent });
    }

    /// A packet that was sent at `sent` and declared lost has arrived: the window was too small. It
    /// becomes as large as this packet was late.
    pub(crate) fn on_spurious(&mut self, now: Time, sent: Time, rtt: &Rtt) {
        let quarter = (rtt.min() / 4).max(1);
        let late = now.nanos_since(sent).saturating_sub(rtt.min());
        let most = (4 * rtt.smoothed() / rtt.min().max(1)).max(4);
        self.quarters = self.quarters.max((late / quarter + 1).min(most));
        self.calm_since = now;
    }

    fn window(&self, rtt: &Rtt) -> u64 {
        let late = rtt.min() / 4 * self.quarters;
        (late + (rtt.smoothed() / 8).min(ANSWER_GAP)).clamp(WINDOW_MIN, rtt.smoothed().max(WINDOW_MIN) * 2)
    }

    /// Moment at which `suspect` is lost, if it is not acknowledged before.
    fn deadline(&self, suspect: Suspect, rtt: &Rtt) -> Time {
        suspect.sent.after_nanos(rtt.smoothed().max(rtt.latest()) + self.window(rtt))
    }

    /// When [`next_lost`](Self::next_lost) may have something.
    pub(crate) fn next_deadline(&self, rtt: &Rtt) -> Option<Time> {
        self.suspects.front().map(|&s| self.deadline(s, rtt))
    }

    /// The next number that is lost at `now`. The caller drops those that were acknowledged meanwhile.
    pub(crate) fn next_lost(&mut self, now: Time, rtt: &Rtt) -> Option<u64> {
        if self.quarters > 1 && now.nanos_since(self.calm_since) > CALM_RTTS * rtt.smoothed() {
            self.quarters = 1;
        }
        let &suspect = self.suspects.front()?;
        // A packet sent a whole window before one that arrived has been overtaken: no need to wait for
        // the time-out of its own RTT.
        let overtaken = self.newest_acked_sent.nanos_since(suspect.sent) > self.window(rtt);
        if !overtaken && now < self.deadline(suspect, rtt) {
            return None;
        }
        self.suspects.pop_front();
        Some(suspect.number)
    }
}
