//! The sending half of a session, in parts that know nothing of each other.

pub(crate) mod control;
pub(crate) mod loss;
pub(crate) mod mtu;
pub(crate) mod pacer;
pub(crate) mod plan;
pub(crate) mod rtt;
pub(crate) mod sent_ring;
pub(crate) mod stream;
pub(crate) mod streams;
pub(crate) mod tail;
pub(crate) mod train_health;
pub(crate) mod trains;
