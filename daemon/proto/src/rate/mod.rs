//! How fast a session may send: one enum, two policies.

mod adaptive;
mod filter;

use crate::time::Time;

pub use adaptive::Adaptive;

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
    /// Exactly so many wire bits a second, whatever is lost.
    Fixed {
        /// Bits a second, UDP payload.
        bps: f64,
    },
}

/// The rate control of a session.
#[derive(Debug)]
pub enum RateControl {
    /// See [`Adaptive`].
    Adaptive(Box<Adaptive>),
    /// A constant.
    Fixed(Fixed),
}

/// A constant rate; the window only bounds what a silent path may swallow.
#[derive(Debug)]
pub struct Fixed {
    bps: f64,
    rtt: u64,
}

impl RateControl {
    /// By `policy`, for datagrams of `datagram` bytes and a first guess of the RTT in nanoseconds.
    #[must_use]
    pub fn new(policy: RatePolicy, datagram: u16, rtt: u64, now: Time) -> Self {
        match policy {
            RatePolicy::Adaptive => Self::Adaptive(Box::new(Adaptive::new(datagram, rtt, now))),
            RatePolicy::Fixed { bps } => Self::Fixed(Fixed { bps, rtt }),
        }
    }

    /// Wire bits a second to pace at.
    #[must_use]
    pub fn pacing_bps(&self) -> f64 {
        match self {
            Self::Adaptive(a) => a.pacing_bps(),
            Self::Fixed(f) => f.bps,
        }
    }

    /// Bytes that may be in flight.
    #[must_use]
    pub fn window(&self) -> u64 {
        match self {
            Self::Adaptive(a) => a.window(),
            // Twice the round trip and what a SACK may be late.
            Self::Fixed(f) => (f.bps / 8.0 * (2.0 * f.rtt as f64 / 1e9 + 0.05)) as u64 + (1 << 20),
        }
    }

    /// The phase to stamp on trains.
    #[must_use]
    pub fn phase(&self) -> u32 {
        match self {
            Self::Adaptive(a) => a.phase(),
            Self::Fixed(_) => 0,
        }
    }

    /// News from the path.
    pub fn on_sample(&mut self, sample: &Sample) {
        match self {
            Self::Adaptive(a) => a.on_sample(sample),
            Self::Fixed(f) => f.rtt = sample.rtt.unwrap_or(f.rtt),
        }
    }

    /// Packets sent in `phase` were acknowledged or declared lost (MTU probes excluded).
    pub fn tally(&mut self, phase: u32, acked: u32, lost: u32) {
        if let Self::Adaptive(a) = self {
            a.tally(phase, acked, lost);
        }
    }

    /// Nothing was heard for `count` probe time-outs.
    pub fn on_silence(&mut self, count: u32, now: Time) {
        if let Self::Adaptive(a) = self {
            a.on_silence(count, now);
        }
    }

    /// Datagrams have another size now.
    pub fn set_datagram(&mut self, datagram: u16) {
        if let Self::Adaptive(a) = self {
            a.set_datagram(datagram);
        }
    }

    /// The path's share of loss, as far as it is known (0..0.4).
    #[must_use]
    pub fn path_loss(&self) -> f64 {
        match self {
            Self::Adaptive(a) => a.path_loss(),
            Self::Fixed(_) => 0.0,
        }
    }
}
