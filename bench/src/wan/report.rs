//! The file of results: sections under headings, of which each run writes its own and leaves the others.
//!
//! So a table that takes an hour and a handful of transfers that need root stand in one document, and a few rows can be
//! taken anew. What stands before the first heading, and under headings that no run writes, is written by hand.

use std::fmt::Write as _;
use std::path::Path;

use super::rows::Outcome;
use crate::compare::Void;

/// Heading of the table of targets.
pub(super) const TARGETS: &str = "Targets";
/// Heading of the transfers over real sockets.
pub(super) const REAL: &str = "Real sockets";
/// Heading of the paths that were drawn.
pub(super) const UNSEEN: &str = "Unseen paths";

/// One line of the table of targets.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) met: bool,
    pub(super) figure: f64,
    pub(super) text: String,
}

impl Line {
    pub(super) fn new(name: &str, outcome: &Outcome) -> Self {
        Self { name: name.to_owned(), met: outcome.met, figure: outcome.figure, text: outcome.text.clone() }
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.strip_prefix("| ")?.strip_suffix(" |")?.splitn(4, " | ");
        let (name, met, figure, text) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let met = match met {
            "met" => true,
            "MISS" => false,
            _ => return None,
        };
        Some(Self { name: name.to_owned(), met, figure: figure.parse().ok()?, text: text.to_owned() })
    }
}

/// The table of targets: rows that were taken with one seed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    pub(super) seed: u64,
    pub(super) lines: Vec<Line>,
}

impl Table {
    /// What a section of a file says; `None` if it has no such table.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (_, seed) = text.split_once("| row | met | figure | seed ")?;
        let seed = seed.split(' ').next()?.parse().ok()?;
        Some(Self { seed, lines: text.lines().filter_map(Line::parse).collect() })
    }

    /// Takes rows of an earlier run of the same seed that this one did not take; all in the order of `names`.
    pub(super) fn complete(&mut self, earlier: &Self, names: &[String]) {
        if earlier.seed == self.seed {
            let have = |line: &&Line| self.lines.iter().all(|own| own.name != line.name);
            let others: Vec<Line> = earlier.lines.iter().filter(have).cloned().collect();
            self.lines.extend(others);
        }
        let place = |line: &Line| names.iter().position(|name| *name == line.name);
        self.lines.retain(|line| place(line).is_some());
        self.lines.sort_by_key(place);
    }

    pub(super) fn text(&self) -> String {
        let missed = self.lines.iter().filter(|line| !line.met).count();
        let mut text = format!(
            "{} rows met, {missed} missed.\n\n| row | met | figure | seed {} |\n|---|---|---|---|\n",
            self.lines.len() - missed,
            self.seed
        );
        for Line { name, met, figure, text: words } in &self.lines {
            let met = if *met { "met" } else { "MISS" };
            let _ = writeln!(text, "| {name} | {met} | {figure:.3} | {words} |");
        }
        text
    }
}

/// What stands under a heading of a document.
pub(super) fn section<'a>(document: &'a str, heading: &str) -> Option<&'a str> {
    let (from, to) = bounds(document, heading)?;
    Some(&document[from..to])
}

/// The document with another text under a heading, which comes last if it was not there.
fn replaced(document: &str, heading: &str, text: &str) -> String {
    match bounds(document, heading) {
        Some((from, to)) => {
            let rest = &document[to..];
            let gap = if rest.is_empty() { "" } else { "\n" };
            format!("{}\n{}\n{gap}{rest}", &document[..from], text.trim())
        }
        None => format!("{}\n\n## {heading}\n\n{}\n", document.trim_end(), text.trim()),
    }
}

/// Where what stands under a heading begins and ends.
fn bounds(document: &str, heading: &str) -> Option<(usize, usize)> {
    let line = format!("## {heading}\n");
    let at = if document.starts_with(&line) { 0 } else { document.find(&format!("\n{line}"))? + 1 };
    let from = at + line.len();
    let to = document[from..].find("\n## ").map_or(document.len(), |next| from + next + 1);
    Some((from, to))
}

/// Reads a document; one that is not there is empty.
pub(super) fn read(file: &Path) -> Result<String, Void> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok("# Long, lossy paths\n".to_owned()),
        Err(error) => Err(Void(format!("{} cannot be read: {error}. Give another --out.", file.display()))),
    }
}

/// Writes a text under a heading of the document in a file.
pub(super) fn write(file: &Path, heading: &str, text: &str) -> Result<(), Void> {
    let document = replaced(&read(file)?, heading, text);
    std::fs::write(file, document)
        .map_err(|error| Void(format!("{} cannot be written: {error}. Give another --out.", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, figure: f64) -> Line {
        Line { name: name.into(), met: figure > 0.5, figure, text: format!("it is {figure}") }
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let table = Table { seed: 7, lines: vec![line("a 1%", 0.25), line("b", 0.75)] };
        assert_eq!(Table::parse(&table.text()), Some(table));
        assert_eq!(Table::parse("nothing"), None);
    }

    #[test]
    fn rows_that_were_not_taken_stay_if_the_seed_is_the_same() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let earlier = Table { seed: 7, lines: vec![line("gone", 1.0), line("c", 0.1), line("a", 0.1)] };
        let mut table = Table { seed: 7, lines: vec![line("c", 0.9), line("b", 0.9)] };
        table.complete(&earlier, &names);
        let seen: Vec<_> = table.lines.iter().map(|line| (line.name.as_str(), line.figure)).collect();
        assert_eq!(seen, [("a", 0.1), ("b", 0.9), ("c", 0.9)]);
        let mut other = Table { seed: 8, lines: vec![line("b", 0.9)] };
        other.complete(&earlier, &names);
        assert_eq!(other.lines.len(), 1);
    }

    #[test]
    fn a_run_leaves_the_sections_of_others() {
        let document = "# Title\n\nby hand\n\n## One\n\nold\nolder\n\n## Two\n\nstays\n";
        let new = replaced(document, "One", "new\n");
        assert_eq!(new, "# Title\n\nby hand\n\n## One\n\nnew\n\n## Two\n\nstays\n");
        let new = replaced(&new, "Two", "newer");
        let new = replaced(&new, "Three", "added");
        assert_eq!(section(&new, "Two"), Some("\nnewer\n\n"));
        assert_eq!(section(&new, "Three"), Some("\nadded\n"));
        assert_eq!(section(&new, "Four"), None);
        assert!(new.starts_with("# Title\n\nby hand\n\n## One\n"));
    }
}
