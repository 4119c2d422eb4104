//! The window while others keep a queue standing: that of CUBIC (RFC 9438), so that neither starves the other.
//!
//! A queue that stays when our own share of it is gone is someone else's. To keep it short then would be to give all of
//! the path away; to hold our rate would be to take it all. CUBIC's window is what such rivals grant each other.

use crate::time::Time;

/// RFC 9438 section 4.1: packets a second cubed.
const C: f64 = 0.4;
/// RFC 9438 section 4.6.
const BETA: f64 = 0.7;
/// Bytes of CUBIC's packets.
const SEGMENT: f64 = 1448.0;
/// Windows below this are no flow.
const WINDOW_MIN: f64 = 4.0;

/// A loss is answered once in so many rounds.
const CUT_ROUNDS: u32 = 3;
/// Losses in close succession take so much of the window at most: a rival that does not heed them would take the rest.
const YIELD: f64 = 0.5;
/// Close succession: rounds.
const CLOSE_ROUNDS: u32 = 24;
/// The window, in packets of TCP.
#[derive(Copy, Clone, Debug)]
pub(super) struct Rival {
    window: f64,
    w_max: f64,
    w_est: f64,
    prior: f64,
    /// Start of the present epoch, and its K in seconds.
    epoch: (Time, f64),
    /// Rounds since the last cut.
    since_cut: u32,
    /// The window before the first of several cuts in close succession, and rounds since then.
    first: f64,
    since_first: u32,
}

impl Rival {
    pub(super) fn new(bytes: f64, now: Time) -> Self {
        let window = (bytes / SEGMENT).max(WINDOW_MIN);
        Self {
            window,
            w_max: window,
            w_est: window,
            prior: window,
            epoch: (now, 0.0),
            since_cut: 0,
            first: window,
            since_first: 0,
        }
    }

    pub(super) fn bytes(&self) -> f64 {
        self.window * SEGMENT
    }

    /// So many bytes were acknowledged, round trips taking `srtt` nanoseconds.
    pub(super) fn on_acked(&mut self, now: Time, bytes: f64, srtt: u64) {
        let (start, k) = self.epoch;
        let curve = |t: f64| C * (t - k).powi(3) + self.w_max;
        let t = now.nanos_since(start) as f64 / 1e9;
        let acked = bytes / SEGMENT;
        let alpha = if self.w_est >= self.prior { 1.0 } else { 3.0 * (1.0 - BETA) / (1.0 + BETA) };
        self.w_est += alpha * acked / self.window;
        if curve(t) < self.w_est {
            self.window = self.window.max(self.w_est);
            return;
        }
        let target = curve(t + srtt as f64 / 1e9).clamp(self.window, 1.5 * self.window);
        self.window += (target - self.window) / self.window * acked;
    }

    /// A round is over; `event` if chance does not explain what was lost of it.
    pub(super) fn on_round(&mut self, now: Time, event: bool) {
        self.since_cut = self.since_cut.saturating_add(1);
        self.since_first = self.since_first.saturating_add(1);
        if event && self.since_cut >= CUT_ROUNDS {
            self.on_loss(now);
        }
    }

    /// Loss of our making.
    pub(super) fn on_loss(&mut self, now: Time) {
        if self.since_first > CLOSE_ROUNDS {
            self.first = self.window;
            self.since_first = 0;
        }
        self.since_cut = 0;
        self.prior = self.window;
        self.w_max = if self.window < self.w_max { self.window * (1.0 + BETA) / 2.0 } else { self.window };
        self.window = (self.window * BETA).max(YIELD * self.first).min(self.window).max(WINDOW_MIN);
        self.w_est = self.window;
        self.epoch = (now, ((self.w_max - self.window).max(0.0) / C).cbrt());
    }

    /// Nearly nothing gets through: half, whatever was cut just before.
    pub(super) fn on_collapse(&mut self, now: Time) {
        self.first = self.window;
        self.since_first = 0;
        self.on_loss(now);
        self.window = self.window.min(self.first / 2.0).max(WINDOW_MIN);
        self.w_est = self.window;
    }

    /// Time stood still for so many nanoseconds.
    pub(super) fn pause(&mut self, nanos: u64) {
        self.epoch.0 = self.epoch.0.after_nanos(nanos);
    }
}
