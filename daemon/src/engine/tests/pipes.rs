//! A file into a pipe, with hardly any memory for what comes too early.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use super::*;
use crate::engine::report::GetSpec;
use crate::relay::{Impairments, Relay, RelayConfig};
use crate::storage::pipe::{Inlet, Outlet, PipeVault};

#[test]
fn three_blocks_of_memory_and_a_bad_path_do_not_lock_up() {
    let mut relay = None;
    let pair = Pair::connect_over(
        || FaultPlan::new().injector(),
        false,
        3 << 20,
        |target| {
            let bad = Impairments {
                loss: 0.1,
                reorder: 0.1,
                delay: Duration::from_millis(4),
                ..Impairments::default()
            };
            let listen = "127.0.0.1:0".parse().unwrap();
            let config = RelayConfig { listen, target, up: bad.clone(), down: bad, seed: 11 };
            let bound = Relay::bind(config).unwrap();
            let address = bound.local_addr();
            let stopper = bound.stopper();
            relay = Some((stopper, std::thread::spawn(move || drop(bound.run()))));
            address
        },
    );
    let bytes: Vec<u8> = (0..(20 << 20) + 77_u32).map(|i| (i ^ i >> 9) as u8).collect();
    fs::write(pair.directory.path().join("source"), &bytes).unwrap();
    let (mut reader, writer) = io::pipe().unwrap();
    let reading = std::thread::spawn(move || {
        let (mut all, mut piece) = (Vec::new(), vec![0; 64 << 10]);
        while let Ok(read @ 1..) = reader.read(&mut piece) {
            all.extend_from_slice(&piece[..read]);
            std::thread::sleep(Duration::from_micros(500));
        }
        all
    });
    let outlet = Outlet::new(Arc::new(File::from(OwnedFd::from(writer))), Path::new("a pipe")).unwrap();
    let place = Place { vault: Arc::new(PipeVault::new(Arc::new(outlet))), root: PathBuf::new() };
    let spec = GetSpec {
        file: 0,
        root: String::new(),
        path: b"source".to_vec(),
        // Whatever was wished: it is told to send one.
        streams: Some(4),
        place,
        destination: b"a pipe".to_vec(),
        mode_mask: 0o777,
        if_exists: IfExists::Replace,
    };
    pair.sender.send(Command::Do { session: pair.session, task: Task::Get(Box::new(spec)) });
    let end = Instant::now() + Duration::from_secs(90);
    loop {
        assert!(Instant::now() < end, "it has locked up");
        match pair.sender.next(Duration::from_secs(1)).unwrap() {
            Some(Report::File { news: News::Done { bytes: came, .. }, .. }) => {
                assert_eq!(came, bytes.len() as u64);
                break;
            }
            Some(Report::File { news: News::Failed(failure), .. }) => panic!("{failure:?}"),
            Some(Report::Ended { failure, .. }) => panic!("{failure:?}"),
            _ => {}
        }
    }
    drop(pair);
    assert!(reading.join().unwrap() == bytes);
    if let Some((stopper, thread)) = relay {
        stopper.stop().unwrap();
        thread.join().unwrap();
    }
}

/// A pipe that is sent, and its other end.
fn piped(pair: &Pair, name: &str) -> io::PipeWriter {
    let (reader, writer) = io::pipe().unwrap();
    let inlet = Inlet::new(Arc::new(File::from(OwnedFd::from(reader))), Path::new(name)).unwrap();
    let offer = Offer {
        file: usize::from(name == "dripping"),
        name: name.as_bytes().to_vec(),
        root: String::new(),
        path: Vec::new(),
        if_exists: IfExists::Replace,
        user: String::new(),
    };
    let origin = PutOrigin::Pipe(Arc::new(inlet));
    let spec = PutSpec { origin, streams: None, cause: Cause::Offered(offer) };
    pair.sender.send(Command::Do { session: pair.session, task: Task::Put(Box::new(spec)) });
    writer
}

#[test]
fn a_file_of_which_nothing_more_comes_is_given_up_and_one_that_drips_is_not() {
    let pair = Pair::connect(|| FaultPlan::new().injector(), false);
    let stalled = Duration::from_secs(4);
    pair.receiver.send(Command::Bound(Bounds { stalled, ..Bounds::NONE }));
    let (mut silent, mut dripping) = (piped(&pair, "silent"), piped(&pair, "dripping"));
    // A pipe is sent by the block, and begun with its second one.
    let block = vec![7; 1 << 20];
    silent.write_all(&block.repeat(3)).unwrap();
    dripping.write_all(&block.repeat(3)).unwrap();
    let begin = Instant::now();
    let mut refused = None;
    while refused.is_none() || begin.elapsed() < 2 * stalled {
        assert!(begin.elapsed() < Duration::from_secs(90), "it was not given up");
        dripping.write_all(&block).unwrap();
        let drop_at = Instant::now() + Duration::from_millis(400);
        while Instant::now() < drop_at {
            let Some(report) = pair.sender.next(Duration::from_millis(100)).unwrap() else { continue };
            match report {
                Report::File { file: 0, news: News::Failed(failure), .. } => {
                    assert!(begin.elapsed() >= stalled);
                    refused = Some(failure);
                }
                Report::File { news: News::Failed(failure), .. } | Report::Ended { failure, .. } => {
                    panic!("{failure:?}")
                }
                _ => {}
            }
        }
    }
    let refused = refused.expect("the loop ends with it");
    assert!(
        refused.code == Code::TryAgain && refused.text.contains("Nothing more of this file"),
        "{refused:?}"
    );
    // Its part is gone, and that of the other is not.
    let parts = || {
        let entries = fs::read_dir(pair.directory.path()).unwrap();
        entries
            .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "part"))
            .count()
    };
    assert_eq!(parts(), 1);
    drop((silent, dripping));
    let end = Instant::now() + Duration::from_secs(20);
    let arrived = pair.directory.path().join("dripping");
    while !arrived.exists() {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(fs::read(arrived).unwrap().starts_with(&block.repeat(4)));
}
