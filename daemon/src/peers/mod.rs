//! The peers that commands change: `peers.toml` in the state directory.
//!
//! ```text
//! udpxd.toml ──────────────► configured ─┐
//!                                        ├─► merged: what is in force
//! peers.toml ◄──► text ◄───► added ──────┘
//!             file   edit
//! ```
//!
//! The file has the same `[[peer]]` tables as `udpxd.toml`, and whoever may write it may edit it: the daemon reads it anew
//! on a reload and before each change of its own, refuses one with a mistake rather than write over it, and leaves the
//! lines of peers that it does not change as they are, comments included. What `udpxd.toml` says counts, and no command
//! changes it.

mod book;
mod file;
mod invitations;
mod text;

pub(crate) use book::PeerBook;
pub(crate) use file::path_in;
pub(crate) use invitations::{Invitation, Invitations, check_reading as check_invitations};
pub(crate) use text::check_editing;
