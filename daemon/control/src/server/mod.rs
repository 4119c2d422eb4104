//! The daemon's end of the control socket, without any event loop: a listener and its connections, none of which block.

mod connection;
mod counts;
mod credentials;
mod listener;
mod outbound;
mod place;

pub use connection::{Connection, ConnectionError, Incoming, Polled};
pub use counts::{Full, Limits};
pub use credentials::PeerCredentials;
pub use listener::{Accepted, Listener};
pub use place::BindError;
