//! A process whose table of descriptors is full. Alone in its program: the limit is the whole process's.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::fs::File;
use std::io::{IoSlice, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg, socket,
};
use support::{Place, request, responses, write};
use udpx_control::schema::{Request, Version};
use udpx_control::server::{Accepted, Limits, Polled};

/// Opens files until none can be opened, then closes `free` of them.
fn fill(free: usize) -> Vec<File> {
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    files.truncate(files.len() - free);
    files
}

#[test]
fn clients_are_turned_away_and_passed_descriptors_do_not_leak() {
    setrlimit(Resource::RLIMIT_NOFILE, 128, 128).unwrap();
    let mut place = Place::new(Limits::default());
    let (mut stream, mut connection) = place.connect();
    let address = UnixAddr::new(&place.path).unwrap();
    let sockets: Vec<OwnedFd> = (0..3)
        .map(|_| socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None).unwrap())
        .collect();
    let full = fill(0);
    for socket in sockets {
        connect(socket.as_raw_fd(), &address).unwrap();
        assert!(matches!(place.listener.accept().unwrap(), Some(Accepted::Dropped(_))));
        assert!(responses(&mut socket.into()).1, "closed at once");
        // That has freed a descriptor for the next round.
        std::mem::forget(File::open("/dev/null").unwrap());
    }
    assert!(place.listener.accept().unwrap().is_none());
    drop(full);

    // Room for two of the ten that are passed: they are closed, as are those that never came.
    let (mut reader, writer) = std::io::pipe().unwrap();
    let full = fill(2);
    let bytes = Request::new(1, Version {}).encode().unwrap();
    let numbers = [writer.as_raw_fd(); 10];
    let rights = [ControlMessage::ScmRights(&numbers)];
    sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(&bytes)], &rights, MsgFlags::empty(), None).unwrap();
    drop(writer);
    let error = connection.poll_request(Instant::now()).unwrap_err();
    assert!(error.to_string().contains("no room"), "{error}");
    drop(connection);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    drop(full);

    // And then all is well again.
    stream = UnixStream::connect(&place.path).unwrap();
    let Some(Accepted::Connection(mut connection)) = place.listener.accept().unwrap() else { panic!() };
    write(&mut stream, &bytes);
    assert_eq!(request(&mut connection).request.id, 1);
    assert!(matches!(connection.poll_request(Instant::now()), Ok(Polled::Idle)));
}
