//! What is fuzzed: a function for each kind of bytes that come from outside. Each takes any bytes, and fails by a panic.
//!
//! Beside "nothing panics" they hold what can be said of a parser without knowing the answer: what was read and is
//! written again is the same, and what was counted is within its bounds.

#![allow(missing_docs, unreachable_pub, reason = "it is part of a test as well, where nothing is public")]

mod control;
mod files;
mod handshake;
mod messages;
mod session;
mod tickets;
mod wire;

pub use control::control;
pub use files::{config, invitations, peers, words};
pub use handshake::handshake;
pub use messages::messages;
pub use session::session;
pub use tickets::ticket;
pub use wire::{frames, packets, sack};

/// A target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them. Each has a program in `fuzz_targets`, inputs in `corpus`, and lines in `entries.txt`.
pub const TARGETS: [Target; 12] = [
    ("packets", packets),
    ("frames", frames),
    ("sack", sack),
    ("handshake", handshake),
    ("session", session),
    ("messages", messages),
    ("ticket", ticket),
    ("config", config),
    ("peers", peers),
    ("invitations", invitations),
    ("words", words),
    ("control", control),
];
