//! Runs the `console` blocks of a document as they are written, and compares what is printed with what stands there.
//!
//! ````text
//! ```toml bob:udpxd.toml        a file of bob's, written as it stands
//! ```console                    commands, each after the name of its machine and a dollar sign
//! bob$ udpxd run --config udpxd.toml &
//! ...
//! alice$ udpxctl push f bob
//! bob:f  10 B in 3 ms, 3.3 kB/s
//! ```
//! ````
//!
//! Each machine is a directory of its own with a home in it. A command that ends in `&` goes on; its output is compared
//! as it comes. A line of `...` stands for any lines, and within a line for anything; a number for any number, a digest
//! for any digest, and so on. A key in the output is another each time: from there on the document's is replaced by it,
//! in files and commands too. `/home/NAME` stands for the home of a machine. Nothing else is replaced but the words that the
//! caller gives.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The machines of a document.
pub(crate) struct Console {
    scratch: tempfile::TempDir,
    programs: PathBuf,
    /// What is written in the document, and what stands for it here.
    replaced: Vec<(String, String)>,
    running: Vec<Child>,
}

impl Console {
    /// With the directory of the programs, and what is replaced in commands and files.
    pub(crate) fn new(programs: &Path, replaced: &[(&str, &str)]) -> Self {
        let replaced = replaced.iter().map(|&(from, to)| (from.to_owned(), to.to_owned())).collect();
        let scratch = tempfile::tempdir().unwrap();
        Self { scratch, programs: programs.to_owned(), replaced, running: Vec::new() }
    }

    /// Runs everything in order; returns how many commands there were.
    ///
    /// # Errors
    /// The first command that fails or prints something else, with both texts.
    pub(crate) fn run(&mut self, document: &str) -> Result<usize, String> {
        let mut commands = 0;
        for (info, text) in fences(document) {
            match info.split_once(' ') {
                Some((_, file)) if file.contains(':') => self.write(file, &text)?,
                _ if info == "console" => {
                    for (command, expected) in steps(&text)? {
                        commands += 1;
                        self.step(&command, &expected)?;
                    }
                }
                _ => {}
            }
        }
        Ok(commands)
    }

    fn home(&self, machine: &str) -> PathBuf {
        let home = self.scratch.path().join(machine);
        std::fs::create_dir_all(&home).unwrap();
        home
    }

    fn here(&self, text: &str) -> String {
        let text = text.replace("/home/", &format!("{}/", self.scratch.path().display()));
        self.replaced.iter().fold(text, |text, (from, to)| text.replace(from, to))
    }

    fn write(&self, file: &str, text: &str) -> Result<(), String> {
        let (machine, path) = file.split_once(':').ok_or("no machine")?;
        let path = self.home(machine).join(path);
        std::fs::create_dir_all(path.parent().ok_or("no parent")?).map_err(|error| error.to_string())?;
        std::fs::write(path, self.here(text)).map_err(|error| error.to_string())
    }

    fn step(&mut self, line: &str, expected: &[String]) -> Result<(), String> {
        let (machine, command) = line.split_once("$ ").ok_or_else(|| format!("no machine: {line}"))?;
        let here = self.here(command);
        let (script, goes_on) = match here.trim_end().strip_suffix('&') {
            Some(script) => (script.to_owned(), true),
            None => (here.clone(), false),
        };
        let home = self.home(machine);
        let path = format!("{}:/usr/bin:/bin", self.programs.display());
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec 2>&1; {}{script}", if goes_on { "exec " } else { "" })]);
        shell.current_dir(&home).env_clear().env("HOME", &home).env("PATH", path).env("NO_COLOR", "1");
        // Of a daemon that is started here; none of this machine's is asked.
        shell.env("XDG_RUNTIME_DIR", &home);
        shell.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = shell.spawn().map_err(|error| format!("{line}: {error}"))?;
        let printed = Arc::<Mutex<Vec<u8>>>::default();
        let (mut pipe, into) = (child.stdout.take().unwrap(), printed.clone());
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                into.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        let text = || String::from_utf8_lossy(&printed.lock().unwrap()).into_owned();
        let deadline = Instant::now() + PATIENCE;
        let matched = loop {
            let ended = child.try_wait().unwrap();
            let printed = text();
            let expected: Vec<String> = expected.iter().map(|line| self.here(line)).collect();
            let expected = expected.as_slice();
            let matched = compare(expected, &printed);
            match ended {
                None if goes_on && matched.is_some() => {
                    self.running.push(child);
                    break matched;
                }
                Some(status) if goes_on => return Err(format!("{line}: ended, {status}:\n{printed}")),
                Some(status) => {
                    reader.join().map_err(|_| "the reader has panicked")?;
                    if !status.success() {
                        return Err(format!("{line}: {status}:\n{}", text()));
                    }
                    break compare(expected, &text());
                }
                None if Instant::now() >= deadline => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(format!("{line}: still runs after {PATIENCE:?}:\n{printed}"));
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let keys = matched.ok_or_else(|| {
            format!("{line}: the document has\n{}\nand it printed\n{}", expected.join("\n"), text())
        })?;
        self.replaced.extend(keys);
        Ok(())
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The fenced blocks: what stands behind the opening fence, and the text.
fn fences(document: &str) -> Vec<(String, String)> {
    let (mut blocks, mut open): (Vec<_>, Option<(String, String)>) = (Vec::new(), None);
    for line in document.lines() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(info)) => open = Some((info.trim().to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// Commands, each with the lines that it prints. A line that ends in a backslash goes on in the next one.
fn steps(text: &str) -> Result<Vec<(String, Vec<String>)>, String> {
    let mut steps: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines() {
        let prompt = line.split_once("$ ").map(|(machine, _)| machine);
        let is_command =
            prompt.is_some_and(|name| !name.is_empty() && name.chars().all(char::is_alphanumeric));
        match steps.last_mut() {
            _ if is_command => steps.push((line.to_owned(), Vec::new())),
            Some((command, expected)) if command.ends_with('\\') && expected.is_empty() => {
                command.pop();
                command.push_str(line.trim_start());
            }
            Some((_, expected)) => expected.push(line.to_owned()),
            None => return Err(format!("output before any command: {line}")),
        }
    }
    Ok(steps)
}

/// Compares lines; returns the keys of the document with those that stand for them.
fn compare(expected: &[String], printed: &str) -> Option<Vec<(String, String)>> {
    let lines: Vec<&str> = printed.lines().collect();
    // A document that tells nothing of what is printed wants nothing.
    if expected.is_empty() {
        return lines.is_empty().then(Vec::new);
    }
    compare_lines(expected, &lines)
}

fn compare_lines(expected: &[String], lines: &[&str]) -> Option<Vec<(String, String)>> {
    match expected.split_first() {
        None => lines.is_empty().then(Vec::new),
        Some((dots, rest)) if dots.trim() == "..." => {
            (0..=lines.len()).find_map(|skipped| compare_lines(rest, &lines[skipped..]))
        }
        Some((first, rest)) => {
            let (line, left) = lines.split_first()?;
            let ((wanted, names), (got, found)) = (shape(first), shape(line));
            let parts: Vec<&str> = wanted.split("...").collect();
            if !fits(&parts, &got) {
                return None;
            }
            let mut keys: Vec<_> = names.into_iter().zip(found).collect();
            keys.extend(compare_lines(rest, left)?);
            Some(keys)
        }
    }
}

/// Whether the parts stand in the text in their order, the first at its begin and the last at its end.
fn fits(parts: &[&str], text: &str) -> bool {
    match parts {
        [] => text.is_empty(),
        [only] => *only == text,
        [first, middle @ .., last] => {
            let Some(mut rest) = text.strip_prefix(first) else { return false };
            for part in middle {
                let Some(at) = rest.find(part) else { return false };
                rest = &rest[at + part.len()..];
            }
            rest.ends_with(last)
        }
    }
}

/// A line with everything taken out that differs from run to run, and its keys.
fn shape(line: &str) -> (String, Vec<String>) {
    let (mut words, mut keys): (Vec<String>, _) = (Vec::new(), Vec::new());
    for word in line.split_whitespace() {
        if let Some(at) =
            word.find("udpxk1").filter(|at| word.len() >= at + 70 && word.is_char_boundary(at + 70))
        {
            keys.push(word[at..at + 70].to_owned());
            words.push(format!("{}KEY{}", &word[..at], &word[at + 70..]));
            continue;
        }
        let bare = word.trim_end_matches([',', ';', '.']);
        if words.last().is_some_and(|before| before.ends_with('#')) && UNITS.contains(&bare) {
            words.push(format!("UNIT{}", &word[bare.len()..]));
            continue;
        }
        words.push(without_numbers(word));
    }
    (words.join(" "), keys)
}

fn without_numbers(word: &str) -> String {
    if word.len() >= 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return "HEX".to_owned();
    }
    let mut text = String::new();
    let mut letters = word.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter.is_ascii_digit() {
            let mut more = letters.clone();
            while more.next_if(|next| next.is_ascii_digit() || matches!(next, '.' | ',')).is_some() {
                let behind = more.clone().collect::<String>();
                // A full stop or a comma at the end is the sentence's.
                let digit_follows = behind.starts_with(|next: char| next.is_ascii_digit());
                let taken = letters.clone().next();
                if taken.is_some_and(|next| next.is_ascii_digit()) || digit_follows {
                    letters.next();
                } else {
                    break;
                }
            }
            text.push('#');
        } else {
            text.push(letter);
        }
    }
    text
}

const UNITS: [&str; 17] = [
    "B", "KiB", "MiB", "GiB", "TiB", "B/s", "kB/s", "MB/s", "GB/s", "ms", "s", "min", "bit/s", "kbit/s",
    "Mbit/s", "Gbit/s", "us",
];

/// A command of a document takes no longer.
const PATIENCE: Duration = Duration::from_secs(60);
