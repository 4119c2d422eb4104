//! A panic is a bug of ours: the process ends with a code and a sentence of its own, not with Rust's 101.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a program's work. `None` if it panicked: where and why the panic hook has printed by then, and what was to be
/// cleaned up is, because the stack was unwound.
pub fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    // Nobody looks at what the panic may have left half done: the process ends.
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// What happened, for the line above [`Code::Bug`](udpx_proto::Code::Bug)'s remedy.
pub const TEXT: &str = "this is a bug of udpx: it has panicked, as the lines above say";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_the_work_and_cleans_up() {
        struct Flag<'a>(&'a std::cell::Cell<bool>);
        impl Drop for Flag<'_> {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let cleaned = std::cell::Cell::new(false);
        assert_eq!(caught(|| 7), Some(7));
        let done: Option<()> = caught(|| {
            let _flag = Flag(&cleaned);
            panic!("as a test of panics has to");
        });
        assert!(done.is_none() && cleaned.get());
    }
}
