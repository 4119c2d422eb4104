//! Numbers as people write them, and the name that they probably meant.

/// A number of bytes: `1048576`, `64k`, `10 MB` (decimal), `1 MiB`, `4G` (binary, as is usual for sizes without a B).
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    };
    scale(number, factor)
}

/// Bits a second: `1000000`, `500k`, `100M`, `1.5 Gbit/s`, `20Gbps`, `10mbit` (all decimal, as is usual for rates).
#[must_use]
pub fn parse_rate(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let unit = unit.to_ascii_lowercase();
    let unit = ["bit/s", "bps", "bit"].iter().find_map(|end| unit.strip_suffix(end)).unwrap_or(&unit);
    let factor: u64 = match unit {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        "t" => 1_000_000_000_000,
        _ => return None,
    };
    scale(number, factor)
}

/// A rate as people read it: `100 Mbit/s`, `1.5 Gbit/s`.
pub(crate) fn rate_text(bps: u64) -> String {
    let units = [(1_000_000_000, "Gbit/s"), (1_000_000, "Mbit/s"), (1_000, "kbit/s")];
    match units.into_iter().find(|&(unit, _)| bps >= unit) {
        Some((unit, name)) => {
            let number = format!("{:.2}", bps as f64 / unit as f64);
            format!("{} {name}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        None => format!("{bps} bit/s"),
    }
}

fn split(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'_')).count();
    (digits > 0).then(|| (&text[..digits], text[digits..].trim_start()))
}

fn scale(number: &str, factor: u64) -> Option<u64> {
    let number = number.replace('_', "");
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let scaled = number.parse::<f64>().ok()? * factor as f64;
    (scaled < u64::MAX as f64).then_some(scaled as u64)
}

/// Whether a peer's name can be the name of its directory, and of itself in a command.
pub(crate) fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=super::NAME_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(good)
}

/// The candidate with the fewest changed, missing or added letters.
pub(super) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> &'a str {
    candidates.iter().min_by_key(|candidate| distance(word, candidate)).copied().unwrap_or("")
}

/// Levenshtein's distance, by bytes; additions count half, so that a longer word finds the one it begins with.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).map(|at| at * 2).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.bytes().enumerate() {
            let replaced = diagonal + if a == b { 0 } else { 2 };
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 2).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_rates() {
        assert_eq!(parse_size("128 MiB"), Some(128 << 20));
        assert_eq!(parse_size("10MB"), Some(10_000_000));
        assert_eq!(parse_size("1.5g"), Some(3 << 29));
        assert_eq!((parse_size("x"), parse_size("1 parsec"), parse_size("99999999999T")), (None, None, None));
        assert_eq!(parse_rate("1.5 Gbit/s"), Some(1_500_000_000));
        assert_eq!((parse_rate("100mbit"), parse_rate("8 kbit")), (Some(100_000_000), Some(8_000)));
        assert_eq!(
            (parse_rate("100M"), parse_rate("7bps"), parse_rate("")),
            (Some(100_000_000), Some(7), None)
        );
    }

    #[test]
    fn rates_are_told_in_their_unit() {
        let told = [999, 8_000, 100_000_000, 1_500_000_000, 12_345_678].map(rate_text);
        assert_eq!(told, ["999 bit/s", "8 kbit/s", "100 Mbit/s", "1.5 Gbit/s", "12.35 Mbit/s"]);
    }

    #[test]
    fn the_nearest_name_is_found() {
        let names = ["listen", "identity", "inbox", "staging", "peer"];
        assert_eq!(nearest("listen_on", &names), "listen");
        assert_eq!(nearest("identiy", &names), "identity");
        assert_eq!(nearest("inboxes", &names), "inbox");
        assert_eq!(nearest("peers", &names), "peer");
    }
}
