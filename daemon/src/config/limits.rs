//! `[limits]`: how much of everything there may be at once.

use super::Mistake;
use super::table::Value;

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $default:literal, $least:literal to $most:literal;)*) => {
        /// How much of everything there may be at once. Whoever runs into one of them is told its name.
        #[derive(Copy, Clone, PartialEq, Eq, Debug)]
        pub struct Limits { $($(#[$doc])* pub $name: u32,)* }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Limits {
            /// Name, default, least and most of each.
            pub const ALL: &'static [(&'static str, u32, u32, u32)] =
                &[$((stringify!($name), $default, $least, $most),)*];

            pub(super) fn parse(value: &Value<'_>) -> Result<Self, Mistake> {
                let mut fields = value.fields("limits")?;
                let mut limits = Self::default();
                $(if let Some(value) = fields.take(stringify!($name)) {
                    limits.$name = value.number($least..=$most)?;
                })*
                fields.finish()?;
                Ok(limits)
            }

            /// Each with its name.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u32)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

limits! {
    /// Jobs that have not ended: each takes a few kilobytes of memory and of the job table.
    jobs: 10_000, 1 to 100_000;
    /// The same, of one user.
    jobs_per_user: 1_000, 1 to 100_000;
    /// Jobs that are on the wire; the others are queued.
    running: 256, 1 to 4_096;
    /// The same, of one user: nobody's jobs keep those of others from running.
    running_per_user: 64, 1 to 4_096;
    /// Sessions, those that peers open and those that jobs need.
    sessions: 1_024, 1 to 65_536;
    /// Files that one peer may have half finished here at once, over all its sessions: each is a descriptor. As many as a
    /// daemon with as many jobs as it runs by default has under way.
    unfinished_per_peer: 8_192, 1 to 65_536;
    /// Hours after which a peer's file of which nothing more comes is given up and removed: a pipe may have nothing to say
    /// for a day.
    stalled_hours: 72, 1 to 8_760;
    /// Streams that a job may ask for, for one file.
    streams: 64, 1 to 4_096;
    /// Days that a job is remembered after its end.
    history_days: 30, 0 to 3_650;
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::super::tests::mistake;
    use super::*;

    #[test]
    fn limits_have_ranges_and_names() {
        let config = Config::parse("[limits]\njobs = 5\nhistory_days = 0\n").unwrap();
        assert_eq!(config.limits, Limits { jobs: 5, history_days: 0, ..Limits::default() });
        let refused = |line: &str, told: &str| {
            let text = mistake(&format!("[limits]\n{line}\n"));
            assert!(text.starts_with(&format!("2: {told}")), "{text}");
        };
        refused("jobs = 0", "'jobs' must lie between 1 and 100000");
        refused("running = \"many\"", "'running' is a number");
        refused("jobs_per_usr = 1", "unknown key 'jobs_per_usr'; did you mean 'jobs_per_user'?");
        assert!(mistake("limits = 1").starts_with("1: write [limits] before its keys"));
        let ranges = Limits::ALL.iter().all(|&(_, default, least, most)| (least..=most).contains(&default));
        assert!(ranges && Limits::ALL.len() == Limits::default().named().len());
    }
}
