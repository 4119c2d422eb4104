//! A job over time, in a bounded number of samples that always cover the whole of it.
//!
//! Whoever follows a job hands in what its sessions have counted so far. Each sample is what came since the one before.
//! When the ring is full, neighbours are merged two by two and from then on a sample covers twice the time: a job of a
//! second and one of a week both end with some hundreds of samples, and nothing of either was thrown away.

use std::time::Duration;

use udpx_control::schema::Sample;

use crate::report::Traffic;

/// The samples of one job.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    spans: Vec<Span>,
    /// No span ends sooner than so long after its begin, microseconds.
    least_us: u64,
    /// What had been counted when the last span ended.
    before: Traffic,
    /// When it ended, microseconds.
    end_us: u64,
}

/// What happened from the end of the span before to the end of this one.
#[derive(Copy, Clone, Debug)]
struct Span {
    begin_us: u64,
    end_us: u64,
    traffic: Traffic,
    /// Round trip times time: a mean is what is left when spans are merged.
    rtt_us_us: u128,
}

impl Samples {
    /// Takes note of what the job has counted at `at`, from its begin, with the smoothed round trip of that moment.
    /// Counters that have gone back are those of a new session, counted from nothing.
    pub fn take(&mut self, at: Duration, rtt_us: u64, traffic: Traffic) {
        let at_us = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        if at_us <= self.end_us {
            return;
        }
        let news = match traffic.checked_sub(&self.before) {
            Some(news) => news,
            None => traffic,
        };
        let span = Span {
            begin_us: self.end_us,
            end_us: at_us,
            traffic: news,
            rtt_us_us: u128::from(rtt_us) * u128::from(at_us - self.end_us),
        };
        (self.before, self.end_us) = (traffic, at_us);
        match self.spans.last_mut() {
            Some(last) if last.end_us - last.begin_us < self.least_us => last.merge(&span),
            _ => self.push(span),
        }
    }

    fn push(&mut self, span: Span) {
        if self.spans.len() == SAMPLES_MAX {
            let merged = self.spans.chunks(2).map(|pair| {
                let mut first = pair[0];
                pair[1..].iter().for_each(|second| first.merge(second));
                first
            });
            self.spans = merged.collect();
            let longest = self.spans.iter().map(|span| span.end_us - span.begin_us).max();
            self.least_us = (self.least_us * 2).max(longest.unwrap_or(0) / 2);
        }
        self.spans.push(span);
    }

    /// The job so far, [`SAMPLES_MAX`] at most, in the order of time.
    #[must_use]
    pub fn list(&self) -> Vec<Sample> {
        self.spans.iter().map(Span::sample).collect()
    }
}

impl Span {
    fn merge(&mut self, next: &Span) {
        self.end_us = next.end_us;
        self.traffic.add(&next.traffic);
        self.rtt_us_us += next.rtt_us_us;
    }

    fn sample(&self) -> Sample {
        // No span is empty.
        let took_us = (self.end_us - self.begin_us).max(1);
        let traffic = &self.traffic;
        Sample {
            at_us: self.end_us,
            rate_bps: (traffic.wire_bytes as f64 * 8e6 / took_us as f64) as u64,
            rtt_us: u64::try_from(self.rtt_us_us / u128::from(took_us)).unwrap_or(u64::MAX),
            loss: (traffic.lost as f64 / traffic.packets.max(1) as f64).min(1.0),
            retransmitted: traffic.retransmitted,
        }
    }
}

/// Samples of a job.
pub const SAMPLES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    /// What a job has counted after so many steps of 10 ms.
    fn counted(steps: u64) -> Traffic {
        Traffic { wire_bytes: steps * 1250, packets: steps * 100, lost: steps, retransmitted: steps * 2 }
    }

    fn after(steps: u64) -> Samples {
        let mut samples = Samples::default();
        for step in 1..=steps {
            samples.take(Duration::from_millis(step * 10), 40_000, counted(step));
        }
        samples
    }

    #[test]
    fn a_sample_is_what_came_since_the_one_before() {
        let list = after(3).list();
        assert_eq!(list.len(), 3);
        let expected =
            Sample { at_us: 30_000, rate_bps: 1_000_000, rtt_us: 40_000, loss: 0.01, retransmitted: 2 };
        assert_eq!(list[2], expected);
    }

    #[test]
    fn the_whole_job_is_covered_however_long_it_is() {
        for steps in [SAMPLES_MAX as u64, SAMPLES_MAX as u64 + 1, 10_000, 1_000_003] {
            let samples = after(steps);
            let list = samples.list();
            assert!(list.len() <= SAMPLES_MAX, "{steps}: {}", list.len());
            assert!(list.len() >= SAMPLES_MAX / 4, "{steps}: {}", list.len());
            assert_eq!(list.last().map(|sample| sample.at_us), Some(steps * 10_000));
            assert_eq!(list.iter().map(|sample| sample.retransmitted).sum::<u64>(), steps * 2);
            assert!(list.windows(2).all(|pair| pair[0].at_us < pair[1].at_us));
            assert!(list.iter().all(|sample| sample.rate_bps.abs_diff(1_000_000) <= 1), "{steps}");
            assert!(list.iter().all(|sample| sample.rtt_us == 40_000 && (sample.loss - 0.01).abs() < 1e-9));
        }
    }

    #[test]
    fn a_peak_stays_where_it_was() {
        let mut samples = Samples::default();
        let mut total = Traffic::default();
        for step in 1..=4000u64 {
            total.wire_bytes += if (2000..2100).contains(&step) { 12_500 } else { 1250 };
            samples.take(Duration::from_millis(step * 10), 1, total);
        }
        let list = samples.list();
        let peak = list.iter().max_by_key(|sample| sample.rate_bps).map(|sample| sample.at_us);
        assert!(peak.is_some_and(|at| (20_000_000..21_200_000).contains(&at)), "{peak:?}");
    }

    #[test]
    fn a_new_session_counts_from_nothing_and_time_never_goes_back() {
        let mut samples = after(10);
        samples.take(Duration::from_millis(110), 5, counted(1));
        samples.take(Duration::from_millis(50), 5, counted(9));
        let list = samples.list();
        assert_eq!((list.len(), list[10].retransmitted, list[10].rtt_us), (11, 2, 5));
    }
}
