//! Whether the threads that move data still do.
//!
//! Each has a [`Beat`] that costs it one store. The engine ticks at least once a second, busy or not. A writer waits
//! for work as long as it likes, but a write that it has begun must end. Clerks have none: an fsync of gigabytes on a
//! slow disk may lawfully take minutes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The sign of life of one thread.
#[derive(Debug)]
pub struct Beat {
    name: String,
    count: AtomicU64,
    busy: AtomicBool,
}

impl Beat {
    /// Of a thread that always advances.
    #[must_use]
    pub fn steady(name: &str) -> Arc<Self> {
        Arc::new(Self { name: name.into(), count: AtomicU64::new(0), busy: AtomicBool::new(true) })
    }

    /// Of a thread that may wait for work.
    #[must_use]
    pub fn working(name: &str) -> Arc<Self> {
        Arc::new(Self { name: name.into(), count: AtomicU64::new(0), busy: AtomicBool::new(false) })
    }

    /// The thread advances, or begins a piece of work.
    pub fn advance(&self) {
        // Only its own thread writes, so this need not be one operation.
        self.count.store(self.count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Does a piece of work that has to end.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        self.advance();
        self.busy.store(true, Ordering::Release);
        let done = work();
        self.busy.store(false, Ordering::Release);
        done
    }
}

/// Looks from time to time whether threads advance.
#[derive(Debug)]
pub struct Watch {
    beats: Vec<(Arc<Beat>, Option<u64>)>,
}

impl Watch {
    /// Watches the threads of `beats`.
    #[must_use]
    pub fn new(beats: Vec<Arc<Beat>>) -> Self {
        Self { beats: beats.into_iter().map(|beat| (beat, None)).collect() }
    }

    /// Watches one more thread.
    pub fn add(&mut self, beat: Arc<Beat>) {
        self.beats.push((beat, None));
    }

    /// The name of a thread that is where it was at the last look.
    pub fn stuck(&mut self) -> Option<String> {
        let mut stuck = None;
        for (beat, last) in &mut self.beats {
            let busy = beat.busy.load(Ordering::Acquire);
            let count = Some(beat.count.load(Ordering::Relaxed));
            // What waited at the last look and is busy now has counted on.
            if std::mem::replace(last, count) == count && busy {
                stuck = Some(beat.name.clone());
            }
        }
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_thread_must_advance_and_a_working_one_must_end() {
        let (engine, writer) = (Beat::steady("engine"), Beat::working("writer"));
        let mut watch = Watch::new(vec![engine.clone(), writer.clone()]);
        assert_eq!(watch.stuck(), None, "nothing is known at the first look");
        assert_eq!(watch.stuck().as_deref(), Some("engine"));
        engine.advance();
        assert_eq!(watch.stuck(), None, "the writer just waits");
        engine.advance();
        writer.during(|| {
            assert_eq!(watch.stuck(), None, "it has begun");
            engine.advance();
            assert_eq!(watch.stuck().as_deref(), Some("writer"));
        });
        engine.advance();
        assert_eq!(watch.stuck(), None);
    }
}
