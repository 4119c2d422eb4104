//! Values as people write them on a command line.

use std::time::Duration;

use udpxd::config::{parse_rate, parse_size};
use udpxd::embedded::{PING_BYTES_MAX, PING_BYTES_MIN};

/// `1%` or `0.1 %`, as a share of one.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match number {
        Some(number) if (0.0..=100.0).contains(&number) => Ok(number / 100.0),
        _ => Err("write a share as 1% or 0.1%, between 0% and 100%".into()),
    }
}

/// `20ms`, `1.5s`, `500us`, `2min`, `3h`, `1d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = text.split_at(digits);
    let seconds = match unit.trim() {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => f64::NAN,
    };
    let seconds = number.parse::<f64>().map(|number| number * seconds);
    seconds
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| *duration <= DURATION_MAX)
        .ok_or_else(|| "write a time with its unit: 500us, 20ms, 1.5s, 2min, 3h or 1d".into())
}

/// `1gbit`, `250 Mbit/s`, `1.5g`: bits a second, at least one.
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.strip_suffix("bit").unwrap_or(&lower);
    match parse_rate(number) {
        Some(rate) if rate > 0 => Ok(rate),
        _ => Err("write a rate in bits a second: 100mbit, 2.5gbit or 800000".into()),
    }
}

/// A rate, or `none` for no limit.
pub(crate) fn rate_or_none(text: &str) -> Result<Option<u64>, String> {
    match text {
        "none" => Ok(None),
        _ => rate(text).map(Some).map_err(|help| format!("{help}, or none")),
    }
}

/// A size, or `none`.
pub(crate) fn size_or_none(text: &str) -> Result<Option<u64>, String> {
    match text {
        "none" => Ok(None),
        _ => parse_size(text).map(Some).ok_or_else(|| "write a size: 500MB, 20GiB or none".into()),
    }
}

/// How a transfer shares the path.
pub(crate) use udpx_control::schema::Policy;

/// `fair`, `low`, `fixed=100mbit`.
pub(crate) fn policy(text: &str) -> Result<Policy, String> {
    match (text, text.strip_prefix("fixed=")) {
        ("fair", _) => Ok(Policy::Fair),
        ("low", _) => Ok(Policy::Low),
        (_, Some(number)) => Ok(Policy::Fixed { rate_bps: rate(number)? }),
        _ => Err("write fair, low or fixed=RATE, such as fixed=100mbit".into()),
    }
}

/// `1GiB`, `256MiB`, `10 MB`: bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| "write a size in bytes, or with a unit: 256MiB, 1GiB or 10MB".into())
}

/// Bytes of an echo.
pub(crate) fn echo_size(text: &str) -> Result<usize, String> {
    let size = text.parse().ok().filter(|size| (PING_BYTES_MIN..=PING_BYTES_MAX).contains(size));
    size.ok_or_else(|| format!("write a number of bytes between {PING_BYTES_MIN} and {PING_BYTES_MAX}"))
}

/// Longer than any command runs; keeps sums of instants from overflowing.
const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_values() {
        assert_eq!(percent("1%"), Ok(0.01));
        assert_eq!(percent("0.1 %"), Ok(0.001));
        assert_eq!(duration("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2 min"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(duration("1d"), Ok(Duration::from_secs(86_400)));
        assert_eq!((rate_or_none("none"), rate_or_none("1k")), (Ok(None), Ok(Some(1000))));
        assert_eq!((policy("fair"), policy("low")), (Ok(Policy::Fair), Ok(Policy::Low)));
        assert_eq!(policy("fixed=1gbit"), Ok(Policy::Fixed { rate_bps: 1_000_000_000 }));
        assert_eq!(rate("1gbit"), Ok(1_000_000_000));
        assert_eq!(rate("2.5 Gbit/s"), Ok(2_500_000_000));
        assert_eq!(rate("100M"), Ok(100_000_000));
        assert_eq!(size("256MiB"), Ok(256 << 20));
    }

    #[test]
    fn bad_values_are_refused_with_an_example() {
        for text in ["", "1", "x%", "101%", "-1%", "nan%"] {
            assert!(percent(text).is_err_and(|help| help.contains("1%")), "{text}");
        }
        for text in ["", "20", "ms", "-1s", "1 parsec", "9999999min", "1..2s"] {
            assert!(duration(text).is_err_and(|help| help.contains("20ms")), "{text}");
        }
        for text in ["", "0", "fast", "1 gbyte"] {
            assert!(rate(text).is_err_and(|help| help.contains("100mbit")), "{text}");
        }
        assert!(size("big").is_err());
        for text in ["", "fixed", "fixed=", "fixed=0", "fast"] {
            assert!(policy(text).is_err_and(|help| help.contains("100mbit")), "{text}");
        }
        assert!(rate_or_none("0").is_err_and(|help| help.contains("or none")));
    }
}
