//! Readers and writers: what they reply, what happens when queues are full and when they are dropped.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod storage_support;

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use storage_support::{FINISH, bell, names, noise, spec, wait_for};
use udpxd::storage::blocks::{Block, BlockPool};
use udpxd::storage::digest::{Cv, DigestTree, Subtrees};
use udpxd::storage::part::{IfExists, Part};
use udpxd::storage::path::RelPath;
use udpxd::storage::readers::{Origin, ReadJob, ReadOutcome, ReadRequest, Readers};
use udpxd::storage::source::{Change, Loading, Source, SourceError};
use udpxd::storage::vault::{NullVault, RootVault, Vault, VaultError};
use udpxd::storage::writers::{ClerkJob, WriteJob, WriteReply, Writers, Written};
use udpxd::storage::{BLOCK, Bell, Refused};

fn rel(name: &str) -> RelPath {
    RelPath::parse(name).unwrap()
}

fn read(readers: &Readers, job: ReadJob) -> ReadOutcome {
    readers.try_send(ReadRequest { tag: 7, job }).unwrap();
    let reply = wait_for(|| readers.try_recv());
    assert_eq!(reply.tag, 7);
    reply.outcome
}

fn opened(readers: &Readers, origin: Origin) -> Result<Arc<Source>, SourceError> {
    match read(readers, ReadJob::Open(origin)) {
        ReadOutcome::Opened(result) => result,
        other => panic!("{other:?}"),
    }
}

/// The staged block of `bytes[range]` of a file.
fn block_of(mut block: Block, bytes: &[u8], index: u64, runs: &[(u32, u32)]) -> Block {
    let base = (index * BLOCK) as usize;
    for &(start, end) in runs {
        let (from, to) = (start as usize, end as usize);
        block.bytes_mut()[from..to].copy_from_slice(&bytes[base + from..base + to]);
        assert!(block.mark(start, end));
    }
    block
}

fn written(writers: &Writers) -> Written {
    match wait_for(|| writers.try_recv()) {
        WriteReply::Written(written) => written,
        other => panic!("{other:?}"),
    }
}

fn created(writers: &Writers, vault: Arc<dyn Vault>, name: &str, size: u64) -> Result<Arc<Part>, VaultError> {
    let job = ClerkJob::Create { tag: 1, vault, path: rel(name), spec: spec(size, IfExists::Replace) };
    writers.try_clerk(job).unwrap();
    match wait_for(|| writers.try_recv()) {
        WriteReply::Created { tag: 1, result } => result,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_goes_through_both_pools_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let vault: Arc<dyn Vault> = Arc::new(RootVault::open(dir.path()).unwrap());
    for size in [0, 1, BLOCK, 5 * BLOCK + 12_345] {
        let bytes = noise(size as usize);
        std::fs::write(dir.path().join("from"), &bytes).unwrap();
        let (bell, rings) = bell();
        let readers = Readers::spawn(2, &bell, Loading::Mapped).unwrap();
        let writers = Writers::spawn(2, 1, &bell).unwrap();
        let mut pool = BlockPool::new(3 * BLOCK);

        let source = opened(&readers, Origin::Vault(vault.clone(), rel("from"))).unwrap();
        let subtrees = source.subtrees();
        let part = created(&writers, vault.clone(), "to/file", size).unwrap();
        let (mut sent, mut got) = (DigestTree::new(subtrees), DigestTree::new(subtrees));
        for block in (0..subtrees.count()).rev() {
            let job = ReadJob::Prepare { source: source.clone(), block, hash: true };
            readers.try_send(ReadRequest { tag: block, job }).unwrap();
        }
        while got.missing_count() > 0 {
            // Staging is smaller than the file: nothing is fetched unless there is a block for it.
            if pool.available() > 0
                && let Some(reply) = readers.try_recv()
            {
                let ReadOutcome::Prepared { block, result } = reply.outcome else { panic!() };
                sent.set(block, result.unwrap().unwrap());
                let range = subtrees.range(block);
                let len = (range.end - range.start) as u32;
                let staged = block_of(pool.take().unwrap(), &bytes, block, &[(0, len)]);
                let job = WriteJob {
                    tag: 2,
                    part: part.clone(),
                    block_index: block,
                    block: staged,
                    completes: Some(subtrees),
                };
                writers.try_write(job).unwrap();
            }
            if let Some(WriteReply::Written(written)) = writers.try_recv() {
                assert_eq!((written.tag, written.reread_bytes), (2, 0));
                got.set(written.block_index, written.result.unwrap().unwrap());
                pool.give(written.block);
            }
        }
        assert_eq!(pool.in_use(), 0);
        assert_eq!((sent.root(), got.root()), (got.root(), Some(*blake3::hash(&bytes).as_bytes())));
        assert!(matches!(
            read(&readers, ReadJob::Verify { source: source.clone() }),
            ReadOutcome::Verified(Ok(()))
        ));
        writers
            .try_clerk(ClerkJob::Commit { tag: 3, vault: vault.clone(), part: part.clone(), finish: FINISH })
            .unwrap();
        let WriteReply::Committed { tag: 3, result } = wait_for(|| writers.try_recv()) else { panic!() };
        assert_eq!(std::fs::read(result.unwrap()).unwrap(), bytes);
        assert_eq!(part.reread_bytes(), 0);
        let replies = 3 + 2 * subtrees.count() + 1;
        drop((readers, writers));
        assert_eq!(rings.load(Ordering::SeqCst), replies, "a ring for each reply");
    }
}

#[test]
fn a_block_flushed_in_pieces_is_hashed_from_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let vault: Arc<dyn Vault> = Arc::new(RootVault::open(dir.path()).unwrap());
    let size = 2 * BLOCK + 5000;
    let bytes = noise(size as usize);
    let subtrees = Subtrees::of(size).unwrap();
    let (bell, _) = bell();
    let writers = Writers::spawn(3, 1, &bell).unwrap();
    let part = created(&writers, vault, "f", size).unwrap();
    let send = |runs: &[(u32, u32)], index, completes| {
        let block = block_of(Block::allocate().unwrap(), &bytes, index, runs);
        writers
            .try_write(WriteJob { tag: 9, part: part.clone(), block_index: index, block, completes })
            .unwrap();
    };
    let end = BLOCK as u32;
    send(&[(0, 1000), (5000, 6000)], 1, None);
    send(&[(1000, 5000)], 1, None);
    send(&[(6000, end)], 1, Some(subtrees));
    let replies: Vec<Written> = (0..3).map(|_| written(&writers)).collect();
    assert_eq!(replies.iter().map(|r| r.bytes).collect::<Vec<_>>(), [2000, 4000, end - 6000]);
    let last = &replies[2];
    let range = subtrees.range(1);
    let expected = subtrees.cv(1, &bytes[range.start as usize..range.end as usize]);
    assert_eq!(*last.result.as_ref().unwrap(), expected);
    assert_eq!((last.reread_bytes, part.reread_bytes()), (6000, 6000), "only the gaps are read");

    // The last, short block, with its gap at the end.
    send(&[(4000, 5000)], 2, None);
    send(&[(0, 4000)], 2, Some(subtrees));
    let replies: Vec<Written> = (0..2).map(|_| written(&writers)).collect();
    let range = subtrees.range(2);
    let expected = subtrees.cv(2, &bytes[range.start as usize..range.end as usize]);
    assert_eq!(*replies[1].result.as_ref().unwrap(), expected);
    assert_eq!(replies[1].reread_bytes, 1000);
    assert!(replies[1].block.runs().is_empty(), "the block comes back empty");
}

#[test]
fn the_null_part_hashes_what_it_throws_away() {
    let subtrees = Subtrees::of(2 * BLOCK).unwrap();
    let bytes = noise(2 * BLOCK as usize);
    let (bell, _) = bell();
    let writers = Writers::spawn(1, 1, &bell).unwrap();
    let part = created(&writers, Arc::new(NullVault), "f", 2 * BLOCK).unwrap();
    let mut expected = HashMap::from([(0, subtrees.cv(0, &bytes[..BLOCK as usize])), (1, None)]);
    for (index, runs) in [(0, (0, BLOCK as u32)), (1, (5, 10))] {
        let block = block_of(Block::allocate().unwrap(), &bytes, index, &[runs]);
        let job =
            WriteJob { tag: 0, part: part.clone(), block_index: index, block, completes: Some(subtrees) };
        writers.try_write(job).unwrap();
        let written = written(&writers);
        assert_eq!(Some(written.result.unwrap()), expected.remove(&written.block_index));
    }
}

#[test]
fn errors_come_back_with_the_block() {
    let dir = tempfile::tempdir().unwrap();
    let vault: Arc<dyn Vault> = Arc::new(RootVault::open(dir.path()).unwrap());
    let (bell, _) = bell();
    let writers = Writers::spawn(1, 1, &bell).unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    assert!(matches!(created(&writers, vault.clone(), "sub", 5), Err(VaultError::IsDirectory(_))));
    let part = created(&writers, vault, "f", 5).unwrap();
    let block = block_of(Block::allocate().unwrap(), &[1; 6], 0, &[(0, 6)]);
    writers
        .try_write(WriteJob { tag: 4, part: part.clone(), block_index: 0, block, completes: None })
        .unwrap();
    let written = written(&writers);
    assert!(matches!(written.result, Err(VaultError::OutOfRange { .. })));
    assert_eq!((written.tag, written.bytes), (4, 6), "the credit comes back all the same");

    assert_eq!(names(dir.path()).len(), 2);
    writers.try_clerk(ClerkJob::Discard { tag: 5, part }).unwrap();
    assert!(matches!(wait_for(|| writers.try_recv()), WriteReply::Discarded { tag: 5 }));
    assert_eq!(names(dir.path()), [r#""sub""#]);
}

#[test]
fn a_source_that_changes_is_reported_by_the_reader() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let (bell, _) = bell();
    let readers = Readers::spawn(1, &bell, Loading::Mapped).unwrap();
    assert!(matches!(opened(&readers, Origin::Path(path.clone())), Err(SourceError::NotFound(_))));
    let changed = |result: Result<Option<Cv>, SourceError>, expected| match result {
        Err(SourceError::Changed { change, .. }) => assert_eq!(change, expected),
        other => panic!("{other:?}"),
    };
    let prepared = |source: &Arc<Source>, block| match read(
        &readers,
        ReadJob::Prepare { source: source.clone(), block, hash: true },
    ) {
        ReadOutcome::Prepared { result, .. } => result,
        other => panic!("{other:?}"),
    };

    std::fs::write(&path, noise(3 * BLOCK as usize)).unwrap();
    let source = opened(&readers, Origin::Path(path.clone())).unwrap();
    assert!(prepared(&source, 2).is_ok());
    OpenOptions::new().write(true).open(&path).unwrap().set_len(BLOCK + 1).unwrap();
    changed(prepared(&source, 2), Change::Truncated);
    changed(prepared(&source, 1), Change::Truncated);

    std::fs::write(&path, noise(3 * BLOCK as usize)).unwrap();
    let source = opened(&readers, Origin::Path(path.clone())).unwrap();
    let ReadOutcome::Rehashed { block: 1, result } =
        read(&readers, ReadJob::Rehash { source: source.clone(), block: 1 })
    else {
        panic!()
    };
    assert_eq!(Some(result.unwrap()), prepared(&source, 1).unwrap());
    std::fs::write(&path, vec![0; 3 * BLOCK as usize]).unwrap();
    let ReadOutcome::Rehashed { result, .. } =
        read(&readers, ReadJob::Rehash { source: source.clone(), block: 1 })
    else {
        panic!()
    };
    changed(result.map(Some), Change::Rewritten);
    let ReadOutcome::Verified(result) = read(&readers, ReadJob::Verify { source }) else { panic!() };
    assert!(result.is_err());
}

#[test]
fn a_full_queue_gives_the_request_back() {
    let (gate, wait) = crossbeam_channel::bounded::<()>(0);
    // A bell that doesn't return holds the only thread, like a stuck disk would.
    let bell: Bell = Arc::new(move || {
        let _ = wait.recv();
    });
    let source = Arc::new(Source::generated(BLOCK, 1).unwrap());
    let readers = Readers::spawn(1, &bell, Loading::Mapped).unwrap();
    let writers = Writers::spawn(1, 1, &bell).unwrap();
    let mut sent = 0_u64;
    let refused = loop {
        let job = ReadJob::Prepare { source: source.clone(), block: 0, hash: false };
        match readers.try_send(ReadRequest { tag: sent, job }) {
            Ok(()) => sent += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(&refused, Refused::Full(request) if request.tag == sent));
    assert_eq!(readers.refused_count(), 1);
    let part = Arc::new(Part::null(None));
    let refused = loop {
        if let Err(refused) = writers.try_clerk(ClerkJob::Discard { tag: 0, part: part.clone() }) {
            break refused;
        }
    };
    assert!(matches!(refused.into_inner(), ClerkJob::Discard { .. }));
    assert_eq!(writers.refused_count(), 1);
    // Dropped with work queued: the threads end and are joined.
    drop(gate);
    drop((readers, writers));
    assert_eq!(Arc::strong_count(&part), 1, "queued jobs are dropped or done, none is leaked");
}

#[test]
fn a_pool_dropped_with_unread_replies_ends() {
    let (bell, _) = bell();
    let readers = Readers::spawn(3, &bell, Loading::Mapped).unwrap();
    let source = Arc::new(Source::generated(BLOCK, 1).unwrap());
    let mut sent = 0;
    while sent < 1000 {
        let job = ReadJob::Prepare { source: source.clone(), block: 0, hash: false };
        // Nobody fetches replies: first they fill their queue, then the requests fill theirs.
        match readers.try_send(ReadRequest { tag: 0, job }) {
            Ok(()) => sent += 1,
            Err(_) if sent > 500 => break,
            Err(_) => std::thread::yield_now(),
        }
    }
    drop(readers);
    assert_eq!(Arc::strong_count(&source), 1);
}
