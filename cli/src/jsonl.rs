//! One JSON object a line: what every event has, and how names and times are written. The lines go to standard output,
//! or to the file of `--json-to`.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use udpxd::Code;

use crate::failure::Failure;
use crate::{escape, say};

/// Fields of an event.
pub(crate) type Fields = Map<String, Value>;

/// Version of what the events mean. A new field is no new version.
const SCHEMA: u64 = 1;

/// The file of `--json-to`.
static FILE: OnceLock<Mutex<File>> = OnceLock::new();

/// Makes the lines go to a file from now on, if one is given.
///
/// # Errors
/// It cannot be made.
pub(crate) fn redirect(to: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = to else { return Ok(()) };
    let file = File::create(path).map_err(|error| {
        let text = format!("{} cannot be written: {error}", escape::path(path));
        Failure::with_remedy(Code::NoSpace, text, "Give --json-to a file in a directory where you may write.")
    })?;
    // A command does this once.
    let _ = FILE.set(Mutex::new(file));
    Ok(())
}

/// The lines go to a file.
pub(crate) fn is_redirected() -> bool {
    FILE.get().is_some()
}

/// Writes one event on the way. Errors are ignored: if they last then the last event meets them too.
pub(crate) fn emit(event: &str, fields: Fields) {
    let _ = emit_last(event, fields);
}

/// Writes the event that says how it ended.
///
/// # Errors
/// Those of [`say`].
pub(crate) fn emit_last(event: &str, fields: Fields) -> Result<(), Failure> {
    let mut line = render(event, fields, SystemTime::now());
    line.push('\n');
    let Some(file) = FILE.get() else { return say(&line) };
    // Whoever has panicked in between has written a whole line or the beginning of one; ours is on its own.
    file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes()).map_err(|error| {
        let text = format!("the file of --json-to cannot be written: {error}");
        Failure::with_remedy(Code::Io, text, "Free space there.")
    })
}

fn render(event: &str, fields: Fields, now: SystemTime) -> String {
    let time = timestamp(now);
    // Written by hand so that these three lead: a map would sort them among the others.
    let head = format!("{{\"schema\":{SCHEMA},\"time\":\"{time}\",\"event\":\"{event}\"");
    let rest = Value::Object(fields).to_string();
    match rest.strip_prefix('{') {
        Some(rest) if rest != "}" => format!("{head},{rest}"),
        _ => format!("{head}}}"),
    }
}

/// Adds a name: as a string, and where it is not UTF-8 also byte for byte as `KEY_b64`.
pub(crate) fn put_name(fields: &mut Fields, key: &str, name: &[u8]) {
    fields.insert(key.into(), String::from_utf8_lossy(name).into());
    if std::str::from_utf8(name).is_err() {
        fields.insert(format!("{key}_b64"), base64(name).into());
    }
}

/// RFC 3339 in UTC of a time since 1970.
pub(crate) fn unix_time(since: Duration) -> String {
    // A time beyond what the system can say is a peer's or a clock's nonsense.
    timestamp(UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH))
}

/// RFC 3339 in UTC, with milliseconds; times before 1970 are shown as its beginning.
pub(crate) fn timestamp(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hours, minutes, seconds) = (second / 3600, second / 60 % 60, second % 60);
    let millis = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
}

/// Year, month and day of a number of days since 1970, counted in years that begin in March, so that the leap day is
/// the last of its year and every 400 years are alike.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468;
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let days = days + DAYS_TO_1970;
    let (cycle, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // March to July, and August to December, have 153 days each.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (400 * cycle + year + carry, month, day)
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, at| bits << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let index = (bits >> (18 - 6 * at)) & 63;
            text.push(if at <= group.len() { char::from(ALPHABET[index as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_right_around_leap_days() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_799, "2000-02-29T23:59:59.000Z"),
            (1_709_210_096, "2024-02-29T12:34:56.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn base64_of_the_rfc() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_name_that_is_not_utf8_is_given_twice() {
        let mut fields = Fields::new();
        put_name(&mut fields, "name", b"a\nb");
        put_name(&mut fields, "path", b"\xff");
        let line = render("file", fields, UNIX_EPOCH);
        assert!(!line.contains('\n') && line.starts_with("{\"schema\":1,\"time\":\"1970-"), "{line}");
        assert!(render("x", Fields::new(), UNIX_EPOCH).ends_with("\"event\":\"x\"}"));
        let back: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&back["name"], &back["path_b64"], &back["schema"]),
            (&"a\nb".into(), &"/w==".into(), &1.into())
        );
        assert!(back.get("name_b64").is_none());
    }
}
