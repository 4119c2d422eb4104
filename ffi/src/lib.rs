//! libudpx: file transfer over UDP for C programs, with a daemon or without.
//!
//! ```text
//! C ──► extern "C" functions ──► boundary: NULL, sizes, strings, panics ──► handles: a number becomes an object
//!                                                                             │
//!             udpx_engine ──► udpxd::embedded, udpxd::hosting  ◄── Engine ────┤
//!             udpx_client ──► udpx-control: the daemon's socket ◄── Client ───┤
//!             udpx_transfer, udpx_listener: what is under way, each on threads of its own
//! ```
//!
//! `include/udpx.h` is made from this crate by cbindgen, doc comments and all, so what stands at a public function is
//! written for C programmers. `docs/C_API.md` is the guide. The rules are those of every function: a status comes back,
//! results are stored through pointers and only on success, the receiver is the first argument, a handle is never
//! dereferenced (see [`handles`]), and nothing unwinds into C.
#![allow(unsafe_code, reason = "C passes pointers, and takes functions without a mangled name")]
#![allow(non_camel_case_types, reason = "types of C have the names that they have there")]

mod ask;
mod boundary;
mod client;
mod data;
mod engine;
mod event;
mod follow;
mod handles;
mod listener;
mod memory;
mod offer;
mod options;
mod place;
mod pull;
mod source;
mod status;
mod transfer;

pub use ask::*;
pub use client::*;
pub use data::*;
pub use engine::*;
pub use event::*;
pub use listener::*;
pub use offer::*;
pub use options::*;
pub use pull::*;
pub use status::*;
pub use transfer::*;
