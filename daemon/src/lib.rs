//! udpx.
pub mod storage;
