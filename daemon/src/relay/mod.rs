//! A relay that makes a network worse: real sockets, real time, chosen faults.
//!
//! The simulator of `udpx-proto` proves the protocol in virtual time; this relay shows the finished programs what
//! a bad path is like. It stands between two of them as a process of its own:
//!
//! ```text
//!            port                        pipe up                       port
//!  client ──► listening socket ──► fate, link, two delay queues ──► connected socket ──► target
//!         ◄──                  ◄──         pipe down            ◄──  (one for each client)
//! ```
//!
//! A [`pipe`] is one direction of one client's path. It decides the fate of each datagram by itself (lost, damaged,
//! doubled, held back) and when the survivors leave, and it counts what it did: the counts, not the wish, are
//! what a test compares with. Survivors of one size that leave together leave as one train, so that the relay
//! carries gigabits. [`forward`] is the loop around sockets, pipes and a timer.

mod forward;
mod impairments;
mod pipe;
mod port;
mod report;
mod rng;
#[cfg(test)]
mod tests;

pub use forward::{CLIENTS_MAX, Relay, RelayConfig, Stop};
pub use impairments::Impairments;
pub use report::{Counts, Report};
