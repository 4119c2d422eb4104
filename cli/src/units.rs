//! Numbers for people: sizes in powers of 1024, rates in powers of 1000, as is usual for each.

use std::time::Duration;

/// `1.7 GiB`; bytes below 1 KiB are exact.
pub(crate) fn size(bytes: u64) -> String {
    scaled(bytes as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
}

/// `812 MB/s`.
pub(crate) fn rate(bytes_per_second: f64) -> String {
    scaled(bytes_per_second, 1000.0, &["B/s", "kB/s", "MB/s", "GB/s", "TB/s"])
}

/// `9.31 Gbit/s`, with two places: the figure that runs are compared by.
pub(crate) fn bit_rate(bits_per_second: f64) -> String {
    let (value, unit) = step(bits_per_second, 1000.0, &["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"]);
    format!("{value:.2} {unit}")
}

/// `41 ms`, `0.21 ms`, `2.3 s`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (value, unit) = if seconds < 1.0 { (seconds * 1000.0, "ms") } else { (seconds, "s") };
    if value < 1.0 {
        format!("{value:.2} {unit}")
    } else if value < 9.95 {
        format!("{value:.1} {unit}")
    } else if unit == "ms" || value < 59.5 {
        format!("{value:.0} {unit}")
    } else {
        whole_seconds(time)
    }
}

/// `2 s`, `1 min 15 s`, `2 h 1 min`.
pub(crate) fn whole_seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// `12,345,678`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn scaled(value: f64, base: f64, units: &[&str]) -> String {
    let (value, unit) = step(value, base, units);
    // Whole bytes have no fraction; anything else has two or three significant digits.
    if units.first() == Some(&unit) {
        format!("{value:.0} {unit}")
    } else {
        format!("{} {unit}", short(value))
    }
}

fn step<'u>(mut value: f64, base: f64, units: &[&'u str]) -> (f64, &'u str) {
    let mut unit = 0;
    // 999.5 would be shown as 1000.
    while value >= base - 0.5 && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    (value, units.get(unit).copied().unwrap_or(""))
}

/// Two places below 1, one below 100, none above.
fn short(value: f64) -> String {
    if value < 0.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1 << 32), "4.0 GiB");
        assert_eq!(size(u64::MAX), "16384 PiB");
        assert_eq!(rate(812_345_678.0), "812 MB/s");
        assert_eq!(rate(999_700.0), "1.0 MB/s");
        assert_eq!(bit_rate(9_312_000_000.0), "9.31 Gbit/s");
        assert_eq!(time(Duration::from_micros(212)), "0.21 ms");
        assert_eq!(time(Duration::from_millis(2)), "2.0 ms");
        assert_eq!(time(Duration::from_millis(41)), "41 ms");
        assert_eq!(time(Duration::from_millis(2300)), "2.3 s");
        assert_eq!(whole_seconds(Duration::from_millis(1600)), "2 s");
        assert_eq!(time(Duration::from_secs(75)), "1 min 15 s");
        assert_eq!(time(Duration::from_secs(7260)), "2 h 1 min");
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(123), "123");
    }
}
