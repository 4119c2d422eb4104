//! Why a datagram was not accepted: every one that is dropped has exactly one of these names.

/// Defines an enum of named reasons with their labels, in the order of their counters.
macro_rules! drop_reasons {
    ($(#[$meta:meta])* $reasons:ident { $($name:ident = $label:literal, $doc:literal;)* }) => {
        $(#[$meta])*
        #[derive(Copy, Clone, PartialEq, Eq, Debug, Hash)]
        #[non_exhaustive]
        pub enum $reasons { $(#[doc = $doc] $name,)* }

        impl $reasons {
            /// All reasons, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name under which the counter is shown.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

pub(crate) use drop_reasons;

drop_reasons! {
    /// The named reason for which a datagram was dropped.
    DropReason {
        TooShort = "too-short", "Shorter than its headers and tag.";
        UnknownVersion = "unknown-version", "Another protocol version.";
        UnknownKind = "unknown-kind", "A packet kind that is not defined.";
        ReservedBits = "reserved-bits", "Reserved header bits are set.";
        UnknownLane = "unknown-lane", "No session has this lane.";
        Duplicate = "duplicate", "This packet number was received before.";
        TooOld = "too-old", "Below the window of packet numbers.";
        BadTag = "bad-tag", "The tag does not verify: forged or damaged.";
        PlainRefused = "plain-refused", "An unencrypted packet where the configuration forbids it.";
        BadLength = "bad-length", "A length field contradicts the datagram.";
        Malformed = "malformed", "Authentic, but its frames do not parse.";
        UnknownStream = "unknown-stream", "Data of a stream that is not open, beyond what is held for such.";
        BeyondStream = "beyond-stream", "Data outside the stream's range.";
        BeyondSpread = "beyond-spread", "Data too far above the stream's lowest hole.";
        TooManyHoles = "too-many-holes", "More holes than an honest sender makes.";
        BeyondCredit = "beyond-credit", "Data beyond the granted credit.";
        NoStaging = "no-staging", "No staging memory: a local overrun.";
        Closed = "closed", "The session has ended.";
    }
}

/// A counter for each [`DropReason`].
#[derive(Clone, Debug)]
pub struct DropCounters([u64; DropReason::COUNT]);

impl Default for DropCounters {
    fn default() -> Self {
        Self([0; DropReason::COUNT])
    }
}

impl DropCounters {
    /// One more.
    pub fn add(&mut self, reason: DropReason) {
        self.0[reason as usize] += 1;
    }

    /// How often.
    #[must_use]
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// The reasons that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&r| (r, self.get(r))).filter(|&(_, n)| n > 0)
    }
}
