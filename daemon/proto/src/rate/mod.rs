//! How fast a session may send: a policy, and a cap on what comes of it. Both change while data flows.

mod adaptive;
mod filter;

use crate::time::Time;

pub use adaptive::Adaptive;

/// Wire bits a second that a cap or a fixed rate comes down to at most: pausing is another thing.
pub const RATE_BPS_MIN: f64 = 8_000.0;

/// What the acknowledgements of one SACK say, for the rate control.
#[derive(Copy, Clone, Debug)]
pub struct Sample {
    /// When it was processed.
    pub now: Time,
    /// Wire bytes a second that were delivered, if a train could be measured.
    pub delivery_bps: Option<f64>,
    /// The measured train was held back by the application, not by the rate.
    pub app_limited: bool,
    /// Latest RTT in nanoseconds, if the SACK gave one.
    pub rtt: Option<u64>,
    /// Packets that the SACK acknowledged.
    pub acked: u32,
    /// The rate control's phase in which the newest acknowledged packet was sent.
    pub phase: u32,
    /// Bytes in flight after the SACK.
    pub in_flight: u64,
    /// Packets that the receiver dropped for want of its own buffers since the last sample.
    pub overruns: u32,
    /// Congestion marks since the last sample.
    pub marks: u32,
}

/// The policy of a session's rate.
#[derive(Copy, Clone, PartialEq, Debug)]
pub enum RatePolicy {
    /// Finds the path's rate; shares it (design: `fair`).
    Adaptive,
    /// Finds what others leave of the path's rate, and gives way to them.
    Low,
    /// Exactly so many wire bits a second, whatever is lost.
    Fixed {
        /// Bits a second, UDP payload.
        bps: f64,
    },
}

/// What is worth to be remembered of a path from one session to the next.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct RateHint {
    /// Wire bits a second that the path delivered.
    pub bps: f64,
    /// Its least RTT, nanoseconds.
    pub rtt_ns: u64,
}

impl RateHint {
    /// Whether a path with this round trip may be the one that is remembered.
    fn is_of(self, rtt: u64) -> bool {
        self.bps.is_finite() && self.bps > RATE_BPS_MIN && rtt >= self.rtt_ns / 2 && rtt / 2 <= self.rtt_ns
    }
}

/// The rate control of a session.
#[derive(Debug)]
pub struct RateControl {
    policy: Controller,
    /// Bits a second that are never passed, whatever the policy finds.
    cap_bps: f64,
    datagram: u16,
    /// Latest RTT, nanoseconds.
    rtt: u64,
}

#[derive(Debug)]
enum Controller {
    Adaptive(Box<Adaptive>),
    Fixed(f64),
}

impl RateControl {
    /// By `policy`, for datagrams of `datagram` bytes and a first guess of the RTT in nanoseconds; `hint` is what an
    /// earlier session found.
    #[must_use]
    pub fn new(policy: RatePolicy, datagram: u16, rtt: u64, hint: Option<RateHint>, now: Time) -> Self {
        let policy = match policy {
            RatePolicy::Fixed { bps } => Controller::Fixed(bps.max(RATE_BPS_MIN)),
            RatePolicy::Adaptive | RatePolicy::Low => {
                Controller::Adaptive(Box::new(Adaptive::new(policy, datagram, rtt, hint, now)))
            }
        };
        Self { policy, cap_bps: f64::INFINITY, datagram, rtt }
    }

    /// Another policy from now on. One that searches goes on from the rate in force.
    pub fn set_policy(&mut self, policy: RatePolicy, now: Time) {
        match (&mut self.policy, policy) {
            (Controller::Adaptive(a), RatePolicy::Adaptive | RatePolicy::Low) => a.set_policy(policy),
            (Controller::Fixed(old), RatePolicy::Fixed { bps }) => *old = bps.max(RATE_BPS_MIN),
            (_, RatePolicy::Fixed { bps }) => self.policy = Controller::Fixed(bps.max(RATE_BPS_MIN)),
            (Controller::Fixed(_), RatePolicy::Adaptive | RatePolicy::Low) => {
                let mut adaptive = Adaptive::new(policy, self.datagram, self.rtt, None, now);
                adaptive.set_cap(self.cap_bps, now);
                self.policy = Controller::Adaptive(Box::new(adaptive));
            }
        }
    }

    /// At most so many wire bits a second from now on; `None` takes the cap away.
    pub fn set_cap(&mut self, bps: Option<f64>, now: Time) {
        self.cap_bps = bps.map_or(f64::INFINITY, |bps| bps.max(RATE_BPS_MIN));
        if let Controller::Adaptive(a) = &mut self.policy {
            a.set_cap(self.cap_bps, now);
        }
    }

    /// Wire bits a second to pace at.
    #[must_use]
    pub fn pacing_bps(&self) -> f64 {
        let bps = match &self.policy {
            Controller::Adaptive(a) => a.pacing_bps(),
            Controller::Fixed(bps) => *bps,
        };
        bps.min(self.cap_bps)
    }

    /// Bytes that may be in flight.
    #[must_use]
    pub fn window(&self) -> u64 {
        match &self.policy {
            Controller::Adaptive(a) => a.window(),
            // Twice the round trip and what a SACK may be late.
            Controller::Fixed(_) => {
                (self.pacing_bps() / 8.0 * (2.0 * self.rtt as f64 / 1e9 + 0.05)) as u64 + (1 << 20)
            }
        }
    }

    /// The phase to stamp on trains.
    #[must_use]
    pub fn phase(&self) -> u32 {
        match &self.policy {
            Controller::Adaptive(a) => a.phase(),
            Controller::Fixed(_) => 0,
        }
    }

    /// News from the path.
    pub fn on_sample(&mut self, sample: &Sample) {
        self.rtt = sample.rtt.unwrap_or(self.rtt);
        if let Controller::Adaptive(a) = &mut self.policy {
            a.on_sample(sample);
        }
    }

    /// A packet sent in `phase` was acknowledged (MTU probes excluded).
    pub fn on_packet_acked(&mut self, phase: u32) {
        if let Controller::Adaptive(a) = &mut self.policy {
            a.on_packet_acked(phase);
        }
    }

    /// A packet sent in `phase` was declared lost (MTU probes excluded): this one of this lane.
    pub fn on_packet_lost(&mut self, phase: u32, lane: usize, number: u64) {
        if let Controller::Adaptive(a) = &mut self.policy {
            a.on_packet_lost(phase, lane, number);
        }
    }

    /// Nothing was heard for `count` probe time-outs.
    pub fn on_silence(&mut self, count: u32, now: Time) {
        if let Controller::Adaptive(a) = &mut self.policy {
            a.on_silence(count, now);
        }
    }

    /// Trains are of another length now, because losses clustered in them.
    pub fn on_trains_changed(&mut self) {
        if let Controller::Adaptive(a) = &mut self.policy {
            a.on_trains_changed();
        }
    }

    /// Sending begins with nothing in flight.
    pub fn on_restart(&mut self, now: Time) {
        if let Controller::Adaptive(a) = &mut self.policy {
            a.on_restart(now);
        }
    }

    /// The path is another one: a rate that searches begins to search.
    pub fn forget_path(&mut self, datagram: u16, rtt: u64, now: Time) {
        (self.datagram, self.rtt) = (datagram, rtt);
        if let Controller::Adaptive(a) = &mut self.policy {
            **a = Adaptive::new(a.policy(), datagram, rtt, None, now);
            a.set_cap(self.cap_bps, now);
        }
    }

    /// What to remember of the path.
    #[must_use]
    pub fn hint(&self) -> Option<RateHint> {
        match &self.policy {
            Controller::Adaptive(a) => a.hint(),
            Controller::Fixed(_) => None,
        }
    }

    /// Datagrams have another size now.
    pub fn set_datagram(&mut self, datagram: u16) {
        self.datagram = datagram;
        if let Controller::Adaptive(a) = &mut self.policy {
            a.set_datagram(datagram);
        }
    }

    /// The path's share of loss, as far as it is known (0..0.4).
    #[must_use]
    pub fn path_loss(&self) -> f64 {
        match &self.policy {
            Controller::Adaptive(a) => a.path_loss(),
            Controller::Fixed(_) => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_outlives_the_path_that_it_was_set_on() {
        const MS: u64 = 1_000_000;
        let begin = Time::from_nanos(1_000 * MS);
        let mut control = RateControl::new(RatePolicy::Adaptive, 1472, 50 * MS, None, begin);
        control.set_cap(Some(10e6), begin);
        control.forget_path(1472, 50 * MS, begin);
        let deliver = |control: &mut RateControl, number: u64| {
            control.on_sample(&Sample {
                now: begin.after_nanos(number * 50 * MS),
                delivery_bps: Some(9.8e6),
                app_limited: false,
                rtt: Some(50 * MS),
                acked: 40,
                phase: control.phase(),
                in_flight: 0,
                overruns: 0,
                marks: 0,
            });
        };
        (1..40).for_each(|number| deliver(&mut control, number));
        assert_eq!(control.hint(), None, "what the cap held down is remembered of the path");
        control.set_cap(None, begin.after_nanos(40 * 50 * MS));
        (41..80).for_each(|number| deliver(&mut control, number));
        assert!(control.hint().is_some(), "nothing holds it down any more");
    }
}
