//! `udpxctl show JOB`: all fields of a job, its files, and its table.

use std::path::Path;

use udpx_control::schema::Direction;

use crate::args::{Output, ShowArgs};
use crate::failure::Failure;
use crate::job::end::End;
use crate::job::{report, told};
use crate::plot::{self, Plot};
use crate::{ask, escape, events, jsonl, table};

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: ShowArgs, output: Output) -> Result<(), Failure> {
    let mut client = ask::connect(args.job.ask.socket)?;
    let end = End::ask(&mut client, args.job.job)?;
    if let Some(path) = &args.plot {
        draw(&end, path)?;
    }
    if output.json {
        for file in &end.files {
            let mut fields = match &file.error {
                None => events::file(file.name.as_bytes(), &told::summary(file)),
                Some(error) => events::failed_file(file.name.as_bytes(), &ask::reported(error)),
            };
            fields.insert("job".into(), file.job.into());
            jsonl::emit("file", fields);
        }
        jsonl::emit("job", events::job(&end.report));
    }
    crate::conclude(output, || fields(&end), || text(&end))
}

/// Draws it over time.
fn draw(end: &End, path: &Path) -> Result<(), Failure> {
    let report = &end.report;
    let (receiving, way) = match report.direction {
        Direction::Push => (false, "to"),
        Direction::Pull => (true, "from"),
    };
    let what = String::from_utf8_lossy(&report::label(report)).into_owned();
    let title = format!("{what} {way} {}", report.peer);
    let last = end.samples.last().map_or(0.0, |sample| sample.at_us as f64 / 1e6);
    let seconds = end.summary().map_or(last, |summary| summary.seconds);
    let plot = Plot { title: &title, bytes: report.bytes, seconds, receiving, samples: &end.samples };
    plot::write(path, &plot)
}

fn fields(end: &End) -> jsonl::Fields {
    let mut fields = end.summary().map(|summary| events::summary(&summary)).unwrap_or_default();
    fields.insert("ok".into(), true.into());
    fields.insert("job".into(), end.report.job.into());
    fields
}

fn text(end: &End) -> String {
    let mut text = table::aligned(&report::lines(&end.report), 2);
    if !end.files.is_empty() {
        text.push('\n');
    }
    for file in &end.files {
        let name = escape::bytes(file.name.as_bytes());
        match (&file.error, &file.path) {
            (Some(error), _) => text.push_str(&format!("{name}  failed: {}\n", escape::text(&error.text))),
            (None, Some(path)) => {
                text.push_str(&table::file("", &told::summary(file), &escape::bytes(path.as_bytes())));
            }
            (None, None) => text.push_str(&table::file("", &told::summary(file), &name)),
        }
    }
    if let Some(summary) = end.summary() {
        text.push_str(&format!("\n{}{}\n", table::rows(&summary), table::path(&summary)));
    }
    text
}
