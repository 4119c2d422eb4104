//! What is said about the samples of one figure: the median, which one slow round cannot move, and the
//! range, which says how far to trust it.

/// Median, smallest and largest of the samples of one figure, in the samples' own unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// The spread of `samples`, or `None` if there are none.
///
/// The median of an even number of samples is the mean of the two in the middle.
pub(crate) fn spread(samples: &[f64]) -> Option<Spread> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median =
        if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
    Some(Spread { median, min, max })
}

/// Payload bits per second of `bytes` moved in `seconds`; 0 for a time that is not positive, so that a
/// broken clock never reads as a record.
pub(crate) fn bits_per_second(bytes: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { bytes as f64 * 8.0 / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_one_slow_round() {
        let spread = spread(&[10.0, 1.0, 11.0]).unwrap();
        assert_eq!(spread, Spread { median: 10.0, min: 1.0, max: 11.0 });
    }

    #[test]
    fn an_even_count_takes_the_mean_of_the_middle_two() {
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
    }

    #[test]
    fn no_samples_have_no_spread() {
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn a_time_of_zero_is_no_rate() {
        assert_eq!(bits_per_second(1000, 0.0), 0.0);
        assert_eq!(bits_per_second(1000, 2.0), 4000.0);
    }
}
