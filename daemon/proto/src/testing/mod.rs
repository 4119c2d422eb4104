//! For tests and benches: a simulated network, and two sessions driven over it in virtual time.

pub mod net;
