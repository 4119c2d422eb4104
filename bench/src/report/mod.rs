//! `report`: the documents that show what `compare --grid` measured, made from its JSON and from nothing else.
//!
//! `docs/results/throughput.json` gives the generated part of `throughput.md`, the chart `throughput.svg` and, where it has the marks, the table of the README.
//! What stands between the marks in those files is replaced; the rest is written by hand. A test fails when a document does not
//! say what the JSON says.

mod chart;
mod document;
mod targets;

use std::fs;
use std::path::PathBuf;

use clap::Args;

use crate::compare::{Results, Void};

/// Makes the documents of a result, or says which of them differ from it.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReportArgs {
    /// Write nothing; fail if a document is not what the result makes it.
    #[arg(long)]
    check: bool,
}

const BEGIN: &str = "<!-- generated from docs/results/throughput.json by `udpx-bench report` -->";
const END: &str = "<!-- end of the generated part -->";

/// Writes or checks all documents.
///
/// # Errors
/// If the result is missing or unreadable, a document has no marks, or one differs and `check` is set.
pub(crate) fn run(args: &ReportArgs) -> Result<(), Void> {
    let mut stale = Vec::new();
    for document in documents()? {
        let now = fs::read_to_string(&document.path).unwrap_or_default();
        if now == document.text {
            continue;
        }
        if !args.check {
            fs::write(&document.path, &document.text)?;
            println!("wrote {}", document.path.display());
        }
        stale.push(document.path.display().to_string());
    }
    if args.check && !stale.is_empty() {
        let stale = stale.join(", ");
        return Err(Void(format!(
            "not what docs/results/throughput.json says: {stale}; run udpx-bench report"
        )));
    }
    Ok(())
}

struct Document {
    path: PathBuf,
    text: String,
}

fn documents() -> Result<Vec<Document>, Void> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let file = |name: &str| root.join(name);
    let json = fs::read_to_string(file("docs/results/throughput.json"))?;
    let results: Results = serde_json::from_str(&json).map_err(|e| Void(format!("throughput.json: {e}")))?;
    let within = |name: &str, part: &str| -> Result<Document, Void> {
        let path = file(name);
        let text = replaced(&fs::read_to_string(&path)?, part)
            .ok_or_else(|| Void(format!("{name} has no generated part: {BEGIN} ... {END}")))?;
        Ok(Document { path, text })
    };
    let mut documents = vec![
        within("docs/results/throughput.md", &document::full(&results))?,
        Document { path: file("docs/results/throughput.svg"), text: chart::svg(&results) },
    ];
    // The README has its table only from a run on a machine at rest; without marks it has figures of its own.
    if fs::read_to_string(file("README.md"))?.contains(BEGIN) {
        documents.push(within("README.md", &document::readme(&results))?);
    }
    Ok(documents)
}

/// `text` with another generated part.
fn replaced(text: &str, part: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", part.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_say_what_the_result_says() {
        if let Err(Void(text)) = run(&ReportArgs { check: true }) {
            panic!("{text}");
        }
    }

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let text = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let new = replaced(&text, "new\n").unwrap();
        assert_eq!(new, format!("before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"));
        assert_eq!(replaced(&new, "new").as_deref(), Some(new.as_str()));
        assert_eq!(replaced("no marks", "new"), None);
    }
}
