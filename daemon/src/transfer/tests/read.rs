//! Files that are read instead of being mapped.

use super::*;
use crate::storage::pipe::{Sink, SinkRef, SlabPool};

impl Ends {
    /// The file at hand, read.
    fn read(len: usize, streams: u16) -> Self {
        let ends = Self::new(0, 1, false);
        let source = ends._directory.path().join("source");
        fs::write(&source, bytes(len)).unwrap();
        let (place, origin) = (ends.place.clone(), PutOrigin::At(Origin::Path(source)));
        Self::between_loading(bytes(len), origin, streams, place, ends._directory, Loading::Read)
    }

    fn pool(&mut self) -> SlabPool {
        self.workers.queue().slabs().clone()
    }
}

#[test]
fn files_of_every_shape_arrive_and_few_blocks_are_in_memory() {
    for (len, streams) in
        [(0, 1), (1, 4), (MIB, 1), (5 * MIB + 1, 3), (20 * MIB, 1), (150 * MIB + 3, 1), (90 * MIB + 3, 3)]
    {
        let mut ends = Ends::read(len, streams);
        let (pool, mut most) = (ends.pool(), 0);
        let begin = Instant::now();
        while ends.outcome.is_none() || !ends.put.is_over() {
            assert!(begin.elapsed() < Duration::from_secs(60), "{:?} {:?}", ends.put, ends.take);
            ends.turn();
            most = most.max(pool.bytes());
        }
        assert!(matches!(&ends.outcome, Some(Outcome::Done { bytes, .. }) if *bytes == len as u64));
        assert!(ends.arrived() == ends.bytes, "{len} bytes in {streams} streams");
        assert!(most <= 64 << 20 && (most > 0 || len == 0), "{most} bytes in memory");
        drop(ends);
        assert_eq!(pool.bytes(), 0, "nothing is left behind");
    }
}

#[test]
fn where_memory_is_short_a_file_goes_on_block_by_block() {
    let mut ends = Ends::read(9 * MIB + 5, 3);
    let pool = ends.pool();
    let taken: Vec<Slab> = std::iter::from_fn(|| pool.take(MIB, false)).collect();
    assert_eq!(taken.len(), 256);
    ends.run();
    assert!(ends.arrived() == ends.bytes);
}

#[test]
fn damaged_blocks_are_read_and_sent_again() {
    let mut ends = Ends::read(6 * MIB + 5, 2);
    ends.damage.extend([(1, 1), (4, 2), (6, 3)]);
    ends.run();
    assert!(ends.arrived() == ends.bytes, "{:?}", ends.outcome);
    assert_eq!(ends.wire.streams.len(), 2 + 6);
}

#[test]
fn a_file_that_is_changed_meanwhile_fails_and_raises_no_signal() {
    // The second one is changed where it was sent already.
    for (change, at) in [(Some(3 * MIB as u64), 80 * MIB), (None, 80 * MIB)] {
        let mut ends = Ends::read(at, 1);
        let source = File::options().write(true).open(ends._directory.path().join("source")).unwrap();
        let begin = Instant::now();
        while ends.wire.given_up == 0 {
            assert!(begin.elapsed() < Duration::from_secs(20));
            ends.turn();
        }
        match change {
            Some(len) => source.set_len(len).unwrap(),
            None => (&source).write_all(b"other").unwrap(),
        }
        ends.run();
        match ends.news.last() {
            Some(News::Failed(failure)) => assert_eq!(failure.code, Code::SourceChanged, "{failure:?}"),
            other => panic!("{other:?}"),
        }
        if let Some(take) = ends.take.take() {
            take.end(ends.workers.queue());
        }
        ends.workers.pump();
        assert!(is_empty(&ends.place.root));
    }
}

/// Counts what it gets, and takes as much as it is told to.
struct Tray {
    got: std::sync::Mutex<Vec<u8>>,
    most: usize,
    again: bool,
}

impl Sink for Tray {
    fn begin(&self, path: &Path, size: Option<u64>) -> bool {
        self.got.lock().unwrap().clear();
        path == Path::new("name") && size.is_some()
    }

    fn begins_again(&self) -> bool {
        self.again
    }

    fn take(&self, bytes: &[u8]) -> bool {
        let mut got = self.got.lock().unwrap();
        if got.len() + bytes.len() > self.most {
            return false;
        }
        got.extend_from_slice(bytes);
        true
    }
}

fn into_a_tray(len: usize, most: usize, again: bool) -> (Ends, Arc<Tray>) {
    let ends = Ends::read(len, 3);
    let tray = Arc::new(Tray { got: std::sync::Mutex::default(), most, again });
    let outlet = Arc::new(Outlet::sink(SinkRef(tray.clone()), Path::new("a tray")));
    let place = Place { vault: Arc::new(PipeVault::new(outlet)), root: std::path::PathBuf::new() };
    (Ends { place, ..ends }, tray)
}

#[test]
fn a_sink_gets_every_byte_in_order() {
    for len in [0, 1, 3 * MIB + 5, 20 * MIB + 1] {
        let (mut ends, tray) = into_a_tray(len, usize::MAX, false);
        ends.run();
        assert!(matches!(&ends.outcome, Some(Outcome::Done { .. })), "{:?}", ends.outcome);
        assert!(*tray.got.lock().unwrap() == ends.bytes, "{len} bytes");
    }
}

#[test]
fn a_sink_may_decline_and_whether_it_begins_again_is_its_own_to_say() {
    for again in [false, true] {
        let (mut ends, tray) = into_a_tray(3 * MIB, MIB, again);
        ends.run();
        match &ends.outcome {
            Some(Outcome::Failed { failure, .. }) => assert_eq!(failure.code, Code::Refused, "{failure:?}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(tray.got.lock().unwrap().len(), MIB);
        if let Some(take) = ends.take.take() {
            take.end(ends.workers.queue());
        }
        let path = crate::storage::path::RelPath::parse("name").unwrap();
        let spec = crate::storage::vault::PartSpec { size: Some(5), if_exists: Default::default(), nonce: 0 };
        ends.workers.pump();
        let part = ends.place.vault.create_part(&path, spec);
        assert_eq!(part.is_ok(), again, "{part:?}");
    }
}
