//! A file into a pipe, with hardly any memory for what comes too early.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::*;
use crate::engine::report::GetSpec;
use crate::relay::{Impairments, Relay, RelayConfig};
use crate::storage::pipe::{Outlet, PipeVault};

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
    let (mut reader, writer) = std::io::pipe().unwrap();
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
