//! Taking a place in the file system: others' places are left alone.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use support::{Daemon, Place, request, write};
use udpx_control::client::{Client, SocketChoice};
use udpx_control::schema::{Reply, Request, Response, Version};
use udpx_control::server::{BindError, Limits, Listener, PeerCredentials};

fn bind(path: &Path) -> Result<Listener, BindError> {
    Listener::bind(path, 0o660, None, Limits::default())
}

#[test]
fn a_second_daemon_is_refused_and_the_first_unharmed() {
    let daemon = Daemon::start(|connection, incoming| {
        connection.send(Response::done(incoming.request.id, Reply::Nothing), Vec::new()).unwrap();
    });
    let before = fs::metadata(&daemon.path).unwrap().ino();
    for _ in 0..3 {
        let error = bind(&daemon.path).unwrap_err();
        assert!(matches!(error, BindError::InUse { pid: Some(pid), .. } if pid == std::process::id() as i32));
        assert!(error.to_string().contains("udpxd.sock"), "{error}");
    }
    assert_eq!(fs::metadata(&daemon.path).unwrap().ino(), before);
    let mut client = Client::connect(&SocketChoice::path(&daemon.path)).unwrap();
    assert_eq!(client.call(Version {}).unwrap(), Reply::Nothing);
}

#[test]
fn a_listener_that_holds_no_lock_is_a_daemon_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let other = UnixListener::bind(&path).unwrap();
    assert!(matches!(bind(&path), Err(BindError::InUse { .. })));
    // With its backlog full it cannot even be connected to.
    nix::sys::socket::listen(&other, nix::sys::socket::Backlog::new(1).unwrap()).unwrap();
    let waiting: Vec<_> = std::iter::from_fn(|| connect_at_once(&path)).take(10).collect();
    assert!(waiting.len() < 10);
    assert!(matches!(bind(&path), Err(BindError::InUse { pid: None, .. })));
    drop((waiting, other));
    bind(&path).unwrap();
}

/// Connects without waiting; `None` where the backlog is full.
fn connect_at_once(path: &Path) -> Option<UnixStream> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    use std::os::fd::AsRawFd;
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_NONBLOCK, None).unwrap();
    connect(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).ok().map(|()| socket.into())
}

#[test]
fn a_stale_socket_is_replaced_and_a_daemon_cleans_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = bind(&path).unwrap();
    assert_eq!(listener.path(), path);
    let metadata = fs::metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o660);
    UnixStream::connect(&path).unwrap();
    drop(listener);
    assert!(!path.exists());
    drop(bind(&path).unwrap());
}

#[test]
fn what_has_taken_the_path_meanwhile_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"mine").unwrap();
    drop(listener);
    assert_eq!(fs::read(&path).unwrap(), b"mine");
}

#[test]
fn what_is_no_socket_is_never_removed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"precious").unwrap();
    let link = dir.path().join("link");
    let real = dir.path().join("real");
    let _other = UnixListener::bind(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    for path in [dir.path(), &file, &link] {
        let error = bind(path).unwrap_err();
        assert!(matches!(error, BindError::NotASocket(_)), "{path:?}: {error}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    assert!(link.is_symlink() && real.exists());
    assert!(!dir.path().with_extension("lock").exists());
}

#[test]
fn errors_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let missing = bind(&dir.path().join("no/such/dir")).unwrap_err().to_string();
    assert!(missing.contains("directory exists"), "{missing}");
    let long = dir.path().join("x".repeat(120));
    assert!(matches!(bind(&long), Err(BindError::PathTooLong(_))));
    let path = dir.path().join("s");
    let no_group = Listener::bind(&path, 0o660, Some("no-such-group-here"), Limits::default()).unwrap_err();
    assert!(no_group.to_string().contains("groupadd"), "{no_group}");
    assert!(!path.exists());
}

#[test]
fn the_group_gets_the_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let group = nix::unistd::Group::from_gid(nix::unistd::getegid()).unwrap().unwrap();
    let _listener = Listener::bind(&path, 0o660, Some(&group.name), Limits::default()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().gid(), group.gid.as_raw());
}

#[test]
fn daemons_that_start_at_once_leave_exactly_one() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let path = dir.path().join(format!("s{round}"));
        drop(UnixListener::bind(&path).unwrap());
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || bind(&path))
            })
            .collect();
        let bound: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(bound.iter().filter(|listener| listener.is_ok()).count(), 1, "{bound:?}");
        UnixStream::connect(&path).unwrap();
    }
}

#[test]
fn who_is_at_the_other_end() {
    let mut place = Place::new(Limits::default());
    let (mut stream, mut connection) = place.connect();
    let peer = connection.peer().clone();
    assert_eq!((peer.uid, peer.pid), (nix::unistd::geteuid().as_raw(), std::process::id() as i32));
    assert!(peer.is_in_group(nix::unistd::getegid().as_raw()) && !peer.is_in_group(u32::MAX - 7));
    for group in nix::unistd::getgroups().unwrap() {
        assert!(peer.is_in_group(group.as_raw()));
    }
    assert_eq!(PeerCredentials::of(stream.as_fd()).unwrap().pid, peer.pid);
    write(&mut stream, &Request::new(1, Version {}).encode().unwrap());
    assert_eq!(request(&mut connection).request.id, 1);
}
