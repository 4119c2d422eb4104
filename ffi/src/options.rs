//! How transfers go, and what is told of them: structures that C fills in, or gets.

use std::ffi::{c_char, c_void};

use udpx_control::schema::{self, Policy, TransferOptions};
use udpxd::report::JobError;
use udpxd::{IfExists, RatePolicy, config};

use crate::boundary::{self, Sized, call, wrong};
use crate::status::udpx_status;

/// A time-out that never comes.
pub const UDPX_FOREVER: u32 = u32::MAX;

/// `if_exists`: replace the file in one step.
pub const UDPX_REPLACE: u32 = 0;
/// `if_exists`: leave it, and call that done.
pub const UDPX_SKIP: u32 = 1;
/// `if_exists`: fail.
pub const UDPX_FAIL: u32 = 2;
/// `if_exists`: choose another name.
pub const UDPX_RENAME: u32 = 3;

/// `policy`: its share of the path.
pub const UDPX_FAIR: u32 = 0;
/// `policy`: only what others leave.
pub const UDPX_LOW: u32 = 1;
/// `policy`: `rate_bps`, whatever is lost.
pub const UDPX_FIXED: u32 = 2;

/// `flags`: do not encrypt bulk data; the peer must allow it too.
pub const UDPX_PLAIN: u32 = 1;
/// `flags`: hand packets to the kernel one by one.
pub const UDPX_NO_GSO: u32 = 2;
/// `flags`, with a daemon only: the transfer is over as soon as the daemon has accepted it as a job, which goes on.
pub const UDPX_DETACH: u32 = 4;
/// `flags`, with a daemon only: a daemon that goes away, to be restarted, is waited for, and the transfer goes on with its job
/// (`UDPX_STATE_WAITING`) until it is cancelled. Without it the transfer ends within a second with `UDPX_STATUS_TRY_AGAIN`.
pub const UDPX_RECONNECT: u32 = 8;
/// IPv6 needs it.
const MTU_MIN: u16 = 1280;
const FLAGS_ALL: u32 = UDPX_PLAIN | UDPX_NO_GSO | UDPX_DETACH | UDPX_RECONNECT;

/// `state`: it has not begun to move bytes: the peer is looked for, or the daemon has no room for it yet.
pub const UDPX_STATE_STARTING: u32 = 0;
/// `state`: bytes move.
pub const UDPX_STATE_RUNNING: u32 = 1;
/// `state`: all bytes are there, and are made durable.
pub const UDPX_STATE_SYNCING: u32 = 2;
/// `state`: the daemon waits for something before it tries again.
pub const UDPX_STATE_WAITING: u32 = 3;
/// `state`: until it is resumed.
pub const UDPX_STATE_PAUSED: u32 = 4;
/// `state`: over, and all is well.
pub const UDPX_STATE_DONE: u32 = 5;
/// `state`: over, and something failed: `udpx_transfer_result` says what.
pub const UDPX_STATE_FAILED: u32 = 6;

/// How far a transfer is. Set `size` to `sizeof(udpx_progress)` where the library is to fill it in.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct udpx_progress {
    /// Bytes of the structure.
    pub size: usize,
    /// One of `UDPX_STATE_...`.
    pub state: u32,
    /// 0.
    pub reserved: u32,
    /// Bytes that are staged to disk, or durable, at the receiver; never queued ones.
    pub bytes: u64,
    /// Bytes in all; 0 while they are not known.
    pub total: u64,
    /// File bits a second over the last two seconds; 0 while it is not known.
    pub rate_bps: u64,
    /// Smoothed round trip, microseconds.
    pub rtt_us: u64,
    /// For how long nothing was heard of the peer, microseconds; 0 while it answers.
    pub quiet_us: u64,
    /// Share of the packets lost, 0 to 1.
    pub loss: f64,
}

// SAFETY: `repr(C)`, begins with its size; integers and a float, of which any bytes are a value.
unsafe impl Sized for udpx_progress {
    const NAME: &str = "udpx_progress";
}

/// Called when a transfer has come on, and once more when it is over.
///
/// It is called on a thread of the library, never on two at once for one transfer. It may take its time: the transfer
/// goes on meanwhile and the states that come after each other are told as the last one. `progress` is good until it
/// returns. It may call the library, except for freeing its own transfer or engine and waiting for them, which is refused.
pub type udpx_progress_fn =
    Option<unsafe extern "C" fn(userdata: *mut c_void, progress: *const udpx_progress)>;

/// How a transfer goes. Fill it by `udpx_options_init` and change what should be otherwise; NULL instead of a pointer to it
/// means all defaults.
#[repr(C)]
#[derive(Copy, Clone, Debug)]
pub struct udpx_options {
    /// Bytes of the structure: `sizeof(udpx_options)`.
    pub size: usize,
    /// What to do where the destination exists: `UDPX_REPLACE` (default), `UDPX_SKIP`, `UDPX_FAIL`, `UDPX_RENAME`.
    pub if_exists: u32,
    /// How the path is shared: `UDPX_FAIR` (default), `UDPX_LOW`, `UDPX_FIXED`.
    pub policy: u32,
    /// Bits a second on the wire, with `UDPX_FIXED`; otherwise 0.
    pub rate_bps: u64,
    /// `UDPX_PLAIN`, `UDPX_NO_GSO`, `UDPX_DETACH`, `UDPX_RECONNECT`.
    pub flags: u32,
    /// How long the peer may not answer, at first and later, milliseconds; 0 means 10 s at first and 60 s later. An
    /// engine's transfers give up then. A daemon's jobs wait and try again: there it must be 0.
    pub timeout_ms: u32,
    /// UDP port of the host; 0 means 48379.
    pub port: u16,
    /// Largest IP packet, bytes, at least 1280; 0 means that the path is probed.
    pub mtu: u16,
    /// Streams of each file; 0 means by its size.
    pub streams: u16,
    /// 0.
    pub reserved: u16,
    /// Public key of the host, "udpxk1..."; NULL where a ticket or the daemon knows it. Read during the call only.
    pub peer_key: *const c_char,
    /// Hears of the progress; may be NULL.
    pub on_progress: udpx_progress_fn,
    /// The first argument of `on_progress`.
    pub userdata: *mut c_void,
}

// SAFETY: `repr(C)`, begins with its size; integers, pointers and a nullable function pointer, which the caller vouches for.
unsafe impl Sized for udpx_options {
    const NAME: &str = "udpx_options";
}

impl Default for udpx_options {
    fn default() -> Self {
        Self {
            size: size_of::<Self>(),
            if_exists: UDPX_REPLACE,
            policy: UDPX_FAIR,
            rate_bps: 0,
            flags: 0,
            timeout_ms: 0,
            port: 0,
            mtu: 0,
            streams: 0,
            reserved: 0,
            peer_key: std::ptr::null(),
            on_progress: None,
            userdata: std::ptr::null_mut(),
        }
    }
}

/// Fills in the defaults. `size` is `sizeof(udpx_options)`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`: NULL, or a size that this library does not know.
///
/// # Safety
/// `options` is NULL or points to `size` bytes that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_options_init(options: *mut udpx_options, size: usize) -> udpx_status {
    call(|| {
        // SAFETY: the caller's promise.
        unsafe { boundary::init_sized(options, size, udpx_options::default()) }
    })
}

/// The options, looked at.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    raw: udpx_options,
    /// The peer's key as text.
    pub(crate) peer_key: Option<String>,
}

// SAFETY: the raw pointers in it are the userdata, which is only handed to its callback, and the key, which is not used.
unsafe impl Send for Options {}

impl Options {
    /// Reads what C passed; NULL means the defaults.
    ///
    /// # Safety
    /// As [`boundary::load_sized`]; `peer_key` is NULL or terminated.
    pub(crate) unsafe fn load(from: *const udpx_options) -> Result<Self, JobError> {
        let raw = match from.is_null() {
            true => udpx_options::default(),
            // SAFETY: the caller's promise.
            false => unsafe { boundary::load_sized(from) }?,
        };
        let known = "Use one of the constants of udpx.h.";
        if raw.if_exists > UDPX_RENAME {
            return Err(wrong(format!("if_exists is {}", raw.if_exists), known));
        }
        if raw.policy > UDPX_FIXED {
            return Err(wrong(format!("policy is {}", raw.policy), known));
        }
        if (raw.policy == UDPX_FIXED) != (raw.rate_bps > 0) {
            let text = "policy UDPX_FIXED needs a rate_bps, and no other policy has one";
            return Err(wrong(text, "Set both, or neither."));
        }
        if raw.flags & !FLAGS_ALL != 0 || raw.reserved != 0 {
            let text = format!("flags is {:#x} and reserved is {}", raw.flags, raw.reserved);
            return Err(wrong(text, "Begin with udpx_options_init, and use the flags of udpx.h."));
        }
        if (1..MTU_MIN).contains(&raw.mtu) {
            return Err(wrong(
                format!("mtu is {}", raw.mtu),
                "Give 1280 or more, or 0 to have the path probed.",
            ));
        }
        let peer_key = match raw.peer_key.is_null() {
            true => None,
            // SAFETY: the caller's promise.
            false => Some(unsafe { boundary::text(raw.peer_key, "peer_key") }?.to_owned()),
        };
        Ok(Self { raw, peer_key })
    }

    /// Flags are set.
    pub(crate) fn has(&self, flags: u32) -> bool {
        self.raw.flags & flags == flags
    }

    /// Who hears of the progress.
    pub(crate) fn listener(&self) -> Option<Listener> {
        self.raw.on_progress.map(|call| Listener { call, userdata: self.raw.userdata })
    }

    pub(crate) fn port(&self) -> u16 {
        if self.raw.port == 0 { config::PORT } else { self.raw.port }
    }

    pub(crate) fn timeout_ms(&self) -> u32 {
        self.raw.timeout_ms
    }

    pub(crate) fn mtu(&self) -> Option<u16> {
        (self.raw.mtu > 0).then_some(self.raw.mtu)
    }

    pub(crate) fn streams(&self) -> Option<u16> {
        (self.raw.streams > 0).then_some(self.raw.streams)
    }

    /// For an engine of this process.
    pub(crate) fn if_exists(&self) -> IfExists {
        match self.raw.if_exists {
            UDPX_SKIP => IfExists::Skip,
            UDPX_FAIL => IfExists::Fail,
            UDPX_RENAME => IfExists::Rename,
            _ => IfExists::Replace,
        }
    }

    /// For an engine of this process.
    pub(crate) fn policy(&self) -> RatePolicy {
        match self.raw.policy {
            UDPX_LOW => RatePolicy::Low,
            UDPX_FIXED => RatePolicy::Fixed { bps: self.raw.rate_bps as f64 },
            _ => RatePolicy::Adaptive,
        }
    }

    /// For a daemon.
    pub(crate) fn for_daemon(&self) -> Result<TransferOptions, JobError> {
        if self.raw.timeout_ms != 0 {
            let text = "a daemon's jobs have no timeout_ms: they wait for their peer";
            return Err(wrong(text, "Leave it 0, and cancel the transfer when you have waited long enough."));
        }
        Ok(TransferOptions {
            if_exists: match self.raw.if_exists {
                UDPX_SKIP => schema::IfExists::Skip,
                UDPX_FAIL => schema::IfExists::Fail,
                UDPX_RENAME => schema::IfExists::Rename,
                _ => schema::IfExists::Replace,
            },
            detach: self.has(UDPX_DETACH),
            policy: match self.raw.policy {
                UDPX_LOW => Policy::Low,
                UDPX_FIXED => Policy::Fixed { rate_bps: self.raw.rate_bps },
                _ => Policy::Fair,
            },
            streams: self.streams(),
            plain: self.has(UDPX_PLAIN),
            no_gso: self.has(UDPX_NO_GSO),
            mtu: self.mtu(),
            ..TransferOptions::default()
        })
    }
}

/// A callback with its userdata.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Listener {
    call: unsafe extern "C" fn(*mut c_void, *const udpx_progress),
    userdata: *mut c_void,
}

// SAFETY: the userdata is handed to the callback and not touched; that both may be used on another thread is what the
// documentation of `udpx_progress_fn` asks of them.
unsafe impl Send for Listener {}

impl Listener {
    pub(crate) fn tell(&self, progress: &udpx_progress) {
        let progress = udpx_progress { size: size_of::<udpx_progress>(), ..*progress };
        // SAFETY: whoever passed it vouches for it until its transfer is freed, which waits for this call.
        unsafe { (self.call)(self.userdata, &raw const progress) }
    }
}
