//! What a listener is there for, as C says it.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use udpxd::config::Rights;
use udpxd::hosting::addresses::Address;
use udpxd::hosting::{HostConfig, HostPeer, Offer, SinkRef};
use udpxd::identity;
use udpxd::report::JobError;

use crate::boundary::{self, Sized, call, wrong};
use crate::data::{Seat, Spooled, Taker, udpx_data_fn, udpx_start_fn};
use crate::engine::Engine;
use crate::status::udpx_status;

/// `flags`: others may put files into the directory.
pub const UDPX_LISTEN_WRITE: u32 = 1;
/// `flags`: others may get files from the directory.
pub const UDPX_LISTEN_READ: u32 = 2;
/// `flags`: others may list the directory.
pub const UDPX_LISTEN_LIST: u32 = 4;
/// `flags`: the ticket is for one machine, and is spent when that has moved something and gone.
pub const UDPX_LISTEN_ONCE: u32 = 8;
/// `flags` of a `udpx_peer`: its bulk data may come unencrypted, if it wants that too.
pub const UDPX_LISTEN_PLAIN: u32 = 16;
const LISTEN_FLAGS_ALL: u32 = UDPX_LISTEN_WRITE | UDPX_LISTEN_READ | UDPX_LISTEN_LIST | UDPX_LISTEN_ONCE;

/// Somebody who is let in by a listener.
#[repr(C)]
#[derive(Copy, Clone, Debug)]
pub struct udpx_peer {
    /// Bytes of the structure: `sizeof(udpx_peer)`.
    pub size: usize,
    /// What events call it.
    pub name: *const c_char,
    /// Its public key, "udpxk1...": `udpx_engine_key` there, or `udpxctl key`.
    pub key: *const c_char,
    /// With `directory`: `UDPX_LISTEN_WRITE`, `UDPX_LISTEN_READ`, `UDPX_LISTEN_LIST`, at least one; and `UDPX_LISTEN_PLAIN`.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, begins with its size; integers and pointers, which the caller vouches for.
unsafe impl Sized for udpx_peer {
    const NAME: &str = "udpx_peer";
}

/// What to be there for. Fill it by `udpx_listen_options_init`. Exactly one of `directory`, `file` and `on_data` is set.
#[repr(C)]
#[derive(Copy, Clone, Debug)]
pub struct udpx_listen_options {
    /// Bytes of the structure: `sizeof(udpx_listen_options)`.
    pub size: usize,
    /// A directory that exists, used as `flags` say; or NULL.
    pub directory: *const c_char,
    /// One file is taken and gets this path, whatever it is called there; or NULL.
    pub file: *const c_char,
    /// One file is taken and its bytes are handed to this as they come, straight from memory; or NULL. That the whole is
    /// what was sent is told by `UDPX_EVENT_CAME`; with `spool` it is known before.
    pub on_data: udpx_data_fn,
    /// The first argument of `on_data` and `on_start`.
    pub userdata: *mut c_void,
    /// A directory in which what comes is kept until it is whole and verified, and handed to `on_data` only then; or NULL.
    pub spool: *const c_char,
    /// The address at which others find this machine; NULL means its own addresses.
    pub address: *const c_char,
    /// For how long the ticket can be used, seconds; 0 means as long as the listener lives.
    pub lifetime_s: u32,
    /// With `directory`: `UDPX_LISTEN_WRITE` and the others, at least one right; otherwise 0.
    pub flags: u32,
    /// The UDP port; 0 means any that is free.
    pub port: u16,
    /// 0.
    pub reserved: [u16; 3],
    /// Those who are let in, `peers_count` of them; NULL means whoever has the ticket. With `directory`, where each has the
    /// rights of its own `flags` (those of the options are 0 then), or with `on_data` and `on_start`: they may send one file
    /// after the other. Read during the call only.
    pub peers: *const udpx_peer,
    /// How many.
    pub peers_count: usize,
    /// Told of each file that begins, before its first byte; may be NULL. Only with `on_data`. Without it one file can
    /// come, and only once.
    pub on_start: udpx_start_fn,
}

// SAFETY: `repr(C)`, begins with its size; integers, pointers and a nullable function pointer, which the caller vouches for.
unsafe impl Sized for udpx_listen_options {
    const NAME: &str = "udpx_listen_options";
    const LEAST: usize = std::mem::offset_of!(Self, peers);
}

/// Fills in the defaults. `size` is `sizeof(udpx_listen_options)`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`: NULL, or a size that this library does not know.
///
/// # Safety
/// `options` is NULL or points to `size` bytes that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_listen_options_init(
    options: *mut udpx_listen_options,
    size: usize,
) -> udpx_status {
    call(|| {
        let defaults = udpx_listen_options {
            size,
            directory: std::ptr::null(),
            file: std::ptr::null(),
            on_data: None,
            userdata: std::ptr::null_mut(),
            spool: std::ptr::null(),
            address: std::ptr::null(),
            lifetime_s: 0,
            flags: 0,
            port: 0,
            reserved: [0; 3],
            peers: std::ptr::null(),
            peers_count: 0,
            on_start: None,
        };
        // SAFETY: the caller's promise.
        unsafe { boundary::init_sized(options, size, defaults) }
    })
}

/// The options, looked at.
pub(crate) struct Offered {
    pub(crate) config: HostConfig,
    /// What becomes of a file that is kept before it is handed to C.
    pub(crate) spooled: Option<Spooled>,
}

/// Reads what C passed.
///
/// # Safety
/// The texts of the options are NULL or terminated, and their peers are as many as they say.
pub(crate) unsafe fn read(
    options: &udpx_listen_options,
    engine: &Engine,
    seat: &Seat,
) -> Result<Offered, JobError> {
    // SAFETY: the caller's promise, here and below.
    let peers = unsafe { peers(options) }?;
    // SAFETY: as above.
    let (offer, spooled) = unsafe { offer(options, !peers.is_empty(), seat) }?;
    let mut config = HostConfig::new(offer, engine.identity.clone());
    (config.peers, config.loading, config.umask) = (peers, engine.loading, udpxd::lend::umask());
    config.port = options.port;
    config.lifetime = (options.lifetime_s > 0).then(|| Duration::from_secs(options.lifetime_s.into()));
    if !options.address.is_null() {
        // SAFETY: as above.
        let text = unsafe { boundary::text(options.address, "address") }?;
        let no_address =
            || wrong(format!("{text:?} is no address"), "Write 192.0.2.7, 2001:db8::1 or 192.0.2.7:4000.");
        config.addresses = vec![Address::parse(text).ok_or_else(no_address)?];
    }
    Ok(Offered { config, spooled })
}

/// What is offered, with what becomes of it where it goes to a callback.
unsafe fn offer(
    options: &udpx_listen_options,
    has_peers: bool,
    seat: &Seat,
) -> Result<(Offer, Option<Spooled>), JobError> {
    let udpx_listen_options { directory, file, on_data, on_start, userdata, spool, flags, .. } = *options;
    if flags & !LISTEN_FLAGS_ALL != 0 || options.reserved != [0; 3] {
        return Err(wrong(
            format!("flags is {flags:#x}"),
            "Begin with udpx_listen_options_init, and use the flags of udpx.h.",
        ));
    }
    if (!spool.is_null() || on_start.is_some()) && on_data.is_none() {
        return Err(wrong("spool and on_start are for on_data", "Leave them NULL."));
    }
    if has_peers {
        // SAFETY: the caller's promise.
        return unsafe { offer_to_peers(options, seat) };
    }
    match (directory.is_null(), file.is_null(), on_data) {
        (false, true, None) if !rights(flags).any() => {
            Err(wrong("flags give no right to the directory", "Set UDPX_LISTEN_WRITE, for example."))
        }
        (false, true, None) => {
            // SAFETY: the caller's promise, here and below.
            let path = unsafe { boundary::path(directory, "directory") }?.to_owned();
            let once = flags & UDPX_LISTEN_ONCE != 0;
            Ok((Offer::Directory { path, rights: rights(flags), once }, None))
        }
        (true, false, None) if flags == 0 => {
            // SAFETY: as above.
            let path = unsafe { boundary::path(file, "file") }?.to_owned();
            Ok((Offer::File { path }, None))
        }
        (true, true, Some(take)) if flags == 0 => {
            let taker = Taker::new(take, on_start, userdata, seat);
            if spool.is_null() {
                return Ok((Offer::Sink(SinkRef(std::sync::Arc::new(taker))), None));
            }
            // SAFETY: as above.
            let spooled = Spooled::new(taker, unsafe { boundary::path(spool, "spool") }?)?;
            Ok((Offer::File { path: spooled.file() }, Some(spooled)))
        }
        _ => Err(wrong(
            "it is not clear what to listen for",
            "Set exactly one of directory (with flags), file and on_data (without).",
        )),
    }
}

/// The same where those are known who may use it.
unsafe fn offer_to_peers(
    options: &udpx_listen_options,
    seat: &Seat,
) -> Result<(Offer, Option<Spooled>), JobError> {
    let udpx_listen_options { directory, on_data, on_start, userdata, spool, .. } = *options;
    if options.flags != 0 || options.lifetime_s != 0 || !options.file.is_null() || !spool.is_null() {
        let text = "flags, lifetime_s, file and spool are for tickets";
        return Err(wrong(text, "Leave them 0 and NULL: each peer has flags of its own."));
    }
    match (directory.is_null(), on_data, on_start) {
        (false, None, None) => {
            // SAFETY: the caller's promise.
            let path = unsafe { boundary::path(directory, "directory") }?.to_owned();
            Ok((Offer::Directory { path, rights: Rights::NONE, once: false }, None))
        }
        (true, Some(take), Some(start)) => {
            let taker = Taker::new(take, Some(start), userdata, seat);
            Ok((Offer::Sink(SinkRef(std::sync::Arc::new(taker))), None))
        }
        _ => Err(wrong(
            "it is not clear what peers may do",
            "Set either directory, or on_data together with on_start.",
        )),
    }
}

unsafe fn peers(options: &udpx_listen_options) -> Result<Vec<HostPeer>, JobError> {
    if options.peers.is_null() != (options.peers_count == 0) || options.peers_count > PEERS_MAX {
        let text = format!("peers_count is {}", options.peers_count);
        return Err(wrong(text, "Pass as many peers as it says, 4096 at most."));
    }
    let mut peers: Vec<HostPeer> = Vec::new();
    let mut at = options.peers.cast::<u8>();
    for _ in 0..options.peers_count {
        // SAFETY: the caller's promise: an array of structures, each of which says its size.
        let peer = unsafe { boundary::load_sized(at.cast::<udpx_peer>()) }?;
        at = at.wrapping_add(peer.size);
        // SAFETY: as above.
        let (name, key) = unsafe { (boundary::text(peer.name, "name")?, boundary::text(peer.key, "key")?) };
        let key = identity::parse_key(key)
            .ok_or_else(|| wrong("the key of a peer is none", "Give udpxk1 and 64 lower-case hex digits."))?;
        if name.is_empty() || peers.iter().any(|other| other.name == name || other.key == key) {
            return Err(wrong(
                format!("{name:?} is no name of its own"),
                "Give each peer another name and key.",
            ));
        }
        let into_callback = options.on_data.is_some();
        let known = UDPX_LISTEN_PLAIN | if into_callback { 0 } else { LISTEN_RIGHTS };
        let rights = if into_callback { rights(UDPX_LISTEN_WRITE) } else { rights(peer.flags) };
        if peer.flags & !known != 0 || peer.reserved != 0 || !rights.any() {
            let text = format!("flags of the peer {name:?} is {:#x}", peer.flags);
            return Err(wrong(text, "Give it rights in the directory, and none with on_data."));
        }
        let plain = peer.flags & UDPX_LISTEN_PLAIN != 0;
        peers.push(HostPeer { name: name.to_owned(), key, rights, plain });
    }
    Ok(peers)
}

fn rights(flags: u32) -> Rights {
    Rights {
        write: flags & UDPX_LISTEN_WRITE != 0,
        read: flags & UDPX_LISTEN_READ != 0,
        list: flags & UDPX_LISTEN_LIST != 0,
    }
}

/// Rights in a directory.
const LISTEN_RIGHTS: u32 = UDPX_LISTEN_WRITE | UDPX_LISTEN_READ | UDPX_LISTEN_LIST;
/// Peers of one listener.
const PEERS_MAX: usize = 4096;
