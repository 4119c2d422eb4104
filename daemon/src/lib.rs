//! The udpx daemon as a library: engine, storage, identity, configuration.
//!
//! ```text
//!     daemon::run ─┐               ┌─ engine: one thread; sockets, sessions (udpx-proto), trains (udpx-udp)
//!                  ├─ EngineHandle ┤
//!  embedded::push ─┘               └─ storage: reader, writer and clerk threads around files
//! ```
//!
//! [`daemon`] receives what the peers of a [`config::Config`] send; [`embedded`] sends files from the caller's own
//! process. Both drive the same engine, and [`report`] is what they tell. [`lend`] is how a user's process opens and names
//! that user's files for a daemon. [`relay`] is a bad path to try them on;
//! [`liveness`] and [`notify`] keep the service manager informed.

pub mod bug;
mod calls;
pub mod conductor;
pub mod config;
pub mod daemon;
pub mod embedded;
mod engine;
#[doc(hidden)]
pub mod fuzzing;
pub mod hosting;
pub mod identity;
pub mod jobs;
pub mod lend;
pub mod liveness;
pub mod notify;
mod peers;
pub mod place;
pub mod relay;
pub mod report;
pub mod samples;
pub mod storage;
pub mod ticket;
pub mod trace;
mod transfer;
#[cfg(test)]
mod unprivileged;

pub use udpx_proto::handshake::{Credential, PublicKey, StaticSecret};
pub use udpx_proto::messages::IfExists;
pub use udpx_proto::{Code, RatePolicy};
