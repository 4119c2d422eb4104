//! The control socket: how programs of this machine talk to `udpxd`.
//!
//! A Unix stream socket carries frames of length-prefixed JSON: requests with an id one way, and the other way, for
//! each id, any number of events and one result. Descriptors of files travel beside the frames. `docs/CONTROL.md` is
//! the specification; its examples are parsed by a test of this crate.
//!
//! ```text
//! Client -> Request  -> frame -> fd::send    ~~~    fd::receive -> Inbound -> Request::parse -> Connection -> the daemon
//!        <- Response <- frame <- fd::receive ~~~    fd::send    <- Outbound <- Response      <-            <-
//! ```
//!
//! The crate knows no protocol and no engine: reports are plain structures that the daemon fills in and programs print.
//! Control traffic is rare, so everything here is kept boring: JSON, allocations, one system call a frame.
//!
//! # The server's contract
//!
//! Nothing blocks and nothing runs by itself. On any readiness of a [`server::Connection`]: call
//! [`flush`](server::Connection::flush), then [`poll_request`](server::Connection::poll_request) until it is
//! [`Idle`](server::Polled::Idle); drop the connection on any error. At [`deadline`](server::Connection::deadline) call
//! [`check_deadline`](server::Connection::check_deadline). This fits edge-triggered and level-triggered polling alike.

mod base64;
pub mod client;
pub mod descriptor;
mod fd;
pub mod frame;
mod inbound;
pub mod limits;
mod name;
pub mod schema;
pub mod server;

pub use inbound::InboundError;
pub use name::Name;
