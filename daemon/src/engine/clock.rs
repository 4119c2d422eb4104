//! The engine's time: read once a batch, and a timer that is finer than epoll's milliseconds.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use udpx_proto::Time;

/// Monotonic time since the engine was made.
#[derive(Debug)]
pub(crate) struct Clock {
    epoch: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { epoch: Instant::now() }
    }

    pub(crate) fn now(&self) -> Time {
        Time::from_nanos(u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// A timerfd: it wakes the poll at a nanosecond, where epoll's own time-out rounds up to a millisecond.
pub(crate) struct Timer {
    fd: TimerFd,
    /// When it is set to fire; [`Time::FAR`] if it is not.
    armed: Time,
}

impl Timer {
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let fd = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        registry.register(&mut SourceFd(&fd.as_fd().as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { fd, armed: Time::FAR })
    }

    /// Makes it fire at `deadline`, or soon after. It is left alone if it fires a little earlier anyway: a wake-up
    /// too many costs less than a system call each time a deadline moves.
    pub(crate) fn arm(&mut self, now: Time, deadline: Time) -> io::Result<()> {
        if deadline == Time::FAR {
            return Ok(());
        }
        let early_enough = self.armed <= deadline;
        if early_enough && deadline.nanos_since(self.armed) < SLACK_NS && self.armed > now {
            return Ok(());
        }
        let wait = deadline.saturating_since(now).max(LEAST);
        let expiration = Expiration::OneShot(TimeSpec::from_duration(wait));
        self.fd.set(expiration, TimerSetTimeFlags::empty())?;
        self.armed = deadline;
        Ok(())
    }

    /// It fired. Nothing is read: setting it again clears what is pending, and mio's edge has passed.
    pub(crate) fn fired(&mut self) {
        self.armed = Time::FAR;
    }
}

/// How much earlier than wanted it may fire.
const SLACK_NS: u64 = 20_000;
/// Zero would disarm it.
const LEAST: std::time::Duration = std::time::Duration::from_nanos(1);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll};

    use super::*;

    #[test]
    fn it_fires_again_and_again_within_a_millisecond() {
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(8);
        let clock = Clock::new();
        let mut timer = Timer::new(poll.registry(), Token(7)).unwrap();
        let mut late = Vec::new();
        for _ in 0..20 {
            let now = clock.now();
            let due = now.after_nanos(200_000);
            timer.arm(now, due).unwrap();
            poll.poll(&mut events, Some(Duration::from_secs(5))).unwrap();
            assert!(events.iter().any(|event| event.token() == Token(7)));
            timer.fired();
            assert!(clock.now() >= due);
            late.push(clock.now().nanos_since(due));
        }
        late.sort_unstable();
        // The median: this machine may be busy.
        assert!(late[10] < 5_000_000, "{late:?}");
    }
}
