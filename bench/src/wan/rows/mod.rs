//! The rows of the table: what is measured on which path, and what it must reach.

mod alone;
mod changes;
mod sharing;

use std::time::Duration;

pub(super) use changes::Pause;

/// One row.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) run: Box<dyn Fn(u64) -> Outcome>,
}

/// What came of it.
pub(super) struct Outcome {
    pub(super) met: bool,
    /// The one number that the target is about.
    pub(super) figure: f64,
    /// All of them, in words.
    pub(super) text: String,
}

impl Outcome {
    fn at_least(figure: f64, target: f64, text: String) -> Self {
        Self { met: figure >= target, figure, text }
    }

    fn below(figure: f64, target: f64, text: String) -> Self {
        Self { met: figure < target, figure, text }
    }

    /// Met only if this holds as well.
    fn and(self, also: bool) -> Self {
        Self { met: self.met && also, ..self }
    }
}

/// Every row of the table of targets, in its order.
pub(super) fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    alone::add(&mut rows);
    sharing::add(&mut rows);
    changes::add(&mut rows);
    rows
}

fn row(name: impl Into<String>, run: impl Fn(u64) -> Outcome + 'static) -> Row {
    Row { name: name.into(), run: Box::new(run) }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
