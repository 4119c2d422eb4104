//! The receiving half of a session, in parts that know nothing of each other.

pub(crate) mod control;
pub(crate) mod credit;
pub(crate) mod numbers;
pub(crate) mod streams;
