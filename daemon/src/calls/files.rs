//! The files of a run: which wait, which are under way, and sums over them that need no walk through thousands.

use std::time::Instant;

use super::run::Item;
use crate::report::JobError;
use crate::transfer::put::PutOrigin;

/// All files of a run.
pub(super) struct Files {
    list: Vec<File>,
    /// None before it waits.
    first_waiting: usize,
    /// Files that are neither done nor failed.
    open: usize,
    under_way: usize,
    /// Sizes of those under way.
    bytes_under_way: u64,
    /// Of files that are done, by their size, and of those under way as far as they are written.
    written: u64,
    /// Sizes of all files.
    total: u64,
    /// Files whose size is not known before their end.
    growing: usize,
    /// Files under way that are written, and are made durable now.
    syncing: usize,
}

/// One file.
pub(crate) struct File {
    pub(super) item: Item,
    pub(super) began: Instant,
    /// Bytes; 0 while they are not known.
    size: u64,
    state: State,
    written: u64,
    /// All of it is written.
    whole: bool,
    /// Its size is known only at its end, and `size` is what came so far.
    growing: bool,
}

enum State {
    Waiting,
    UnderWay,
    Done,
    Failed(JobError),
}

impl Files {
    pub(super) fn new(list: Vec<File>) -> Self {
        Self {
            first_waiting: 0,
            open: list.iter().filter(|file| matches!(file.state, State::Waiting)).count(),
            under_way: 0,
            bytes_under_way: 0,
            written: 0,
            total: list.iter().map(|file| file.size).sum(),
            growing: 0,
            syncing: 0,
            list,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Some are neither done nor failed.
    pub(super) fn any_open(&self) -> bool {
        self.open > 0
    }

    /// Bytes that the receiver has written, of those that are to be there; of 0 while that is not known.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.written, if self.growing > 0 { 0 } else { self.total })
    }

    /// Everything is written, and is made durable now.
    pub(super) fn only_syncing(&self) -> bool {
        self.syncing > 0 && self.syncing == self.open
    }

    /// The next one to begin with, if there is room for it: many small ones, or one large one.
    pub(super) fn next(&mut self) -> Option<usize> {
        while !matches!(self.list.get(self.first_waiting)?.state, State::Waiting) {
            self.first_waiting += 1;
        }
        let file = self.list.get(self.first_waiting)?;
        let full = self.under_way >= FILES_MAX
            || (self.under_way > 0 && self.bytes_under_way.saturating_add(file.size) > BYTES_MAX);
        (!full).then_some(self.first_waiting)
    }

    /// What a file asks of a session.
    pub(super) fn item(&self, index: usize) -> Option<&Item> {
        self.list.get(index).map(|file| &file.item)
    }

    /// A file was opened by whoever may.
    pub(super) fn lend(&mut self, index: usize, opened: PutOrigin) {
        if let Some(File { item: Item::Lent { origin, .. }, .. }) = self.list.get_mut(index) {
            *origin = Some(opened);
        }
    }

    pub(super) fn begin(&mut self, index: usize, now: Instant) {
        let Some(file) = self.list.get_mut(index) else { return };
        file.state = State::UnderWay;
        file.began = now;
        self.under_way += 1;
        self.bytes_under_way += file.size;
    }

    /// The file, if it is under way.
    pub(super) fn under_way(&self, index: usize) -> Option<&File> {
        self.list.get(index).filter(|file| matches!(file.state, State::UnderWay))
    }

    /// The size of a file that is under way is known for sure, or known not to be.
    pub(super) fn on_accepted(&mut self, index: usize, size: Option<u64>) {
        if self.under_way(index).is_some() {
            let file = &mut self.list[index];
            let was = std::mem::replace(&mut file.growing, size.is_none());
            self.growing = self.growing + usize::from(size.is_none()) - usize::from(was);
            self.set_size(index, size.unwrap_or(0));
        }
    }

    fn set_size(&mut self, index: usize, size: u64) {
        let before = std::mem::replace(&mut self.list[index].size, size);
        self.bytes_under_way = self.bytes_under_way - before + size;
        self.total = self.total - before + size;
    }

    /// So much of a file is written. Returns whether it became whole by it.
    pub(super) fn on_written(&mut self, index: usize, written: u64, size: Option<u64>) -> bool {
        if self.under_way(index).is_none_or(|file| file.growing) {
            match size {
                Some(_) => self.on_accepted(index, size),
                None if self.under_way(index).is_some() => self.set_size(index, written),
                None => {}
            }
        }
        let whole = size == Some(written);
        let under_way = |file: &&mut File| matches!(file.state, State::UnderWay);
        let Some(file) = self.list.get_mut(index).filter(under_way) else { return false };
        let was = std::mem::replace(&mut file.whole, whole);
        // It may have grown since its size was looked at, which the sender finds out by itself.
        let before = std::mem::replace(&mut file.written, written.min(file.size));
        self.written = self.written - before + file.written;
        self.syncing = self.syncing + usize::from(whole) - usize::from(was);
        whole && !was
    }

    /// A file is there, with so many bytes.
    pub(super) fn on_done_with(&mut self, index: usize, bytes: u64) {
        if self.under_way(index).is_some_and(|file| file.growing) {
            self.on_accepted(index, Some(bytes));
        }
        self.on_done(index);
    }

    pub(super) fn on_done(&mut self, index: usize) {
        if let Some(file) = self.leave(index) {
            file.state = State::Done;
            self.written += self.list[index].size;
            self.open -= 1;
        }
    }

    pub(super) fn on_failed(&mut self, index: usize, error: JobError) {
        if let Some(file) = self.leave(index) {
            file.state = State::Failed(error);
            self.open -= 1;
        }
    }

    /// The session that carried them is lost: those under way wait again.
    pub(super) fn begin_anew(&mut self) {
        (0..self.list.len()).for_each(|index| self.put_back(index));
    }

    /// A file that is under way waits again.
    pub(super) fn put_back(&mut self, index: usize) {
        if let Some(file) = self.leave(index) {
            file.state = State::Waiting;
            self.first_waiting = self.first_waiting.min(index);
        }
    }

    /// Why files failed, in their order.
    pub(super) fn errors(&self) -> impl Iterator<Item = &JobError> {
        self.list.iter().filter_map(|file| match &file.state {
            State::Failed(error) => Some(error),
            State::Waiting | State::UnderWay | State::Done => None,
        })
    }

    /// Takes a file that is under way out of the sums.
    fn leave(&mut self, index: usize) -> Option<&mut File> {
        let file = self.list.get_mut(index).filter(|file| matches!(file.state, State::UnderWay))?;
        self.under_way -= 1;
        // Whether it is done with or begins anew: it is opened again when it is needed.
        if let Item::Lent { origin, .. } = &mut file.item {
            *origin = None;
        }
        self.bytes_under_way -= file.size;
        self.syncing -= usize::from(std::mem::take(&mut file.whole));
        self.growing -= usize::from(std::mem::take(&mut file.growing));
        self.written -= std::mem::take(&mut file.written);
        Some(file)
    }
}

impl File {
    /// A file of `size` bytes, 0 if that is not known yet.
    pub(crate) fn new(item: Item, size: u64) -> Self {
        Self {
            item,
            began: Instant::now(),
            size,
            state: State::Waiting,
            written: 0,
            whole: false,
            growing: false,
        }
    }

    /// A file that failed before it began.
    pub(crate) fn failed(item: Item, error: JobError) -> Self {
        Self { state: State::Failed(error), ..Self::new(item, 0) }
    }
}

/// Files under way at once.
const FILES_MAX: usize = 32;
/// Bytes of files under way at once, if they are several.
const BYTES_MAX: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use udpx_proto::Code;

    use super::*;
    use crate::storage::source::Source;
    use crate::transfer::put::{Cause, PutSpec};

    fn files(sizes: &[u64]) -> Files {
        let source = Arc::new(Source::generated(0, 0).unwrap());
        let spec = PutSpec { origin: PutOrigin::Open(source), streams: None, cause: Cause::Asked };
        Files::new(sizes.iter().map(|&size| File::new(Item::Put(spec.clone()), size)).collect())
    }

    fn begin_all(files: &mut Files) -> usize {
        let mut begun = 0;
        while let Some(index) = files.next() {
            files.begin(index, Instant::now());
            begun += 1;
        }
        begun
    }

    #[test]
    fn many_small_ones_or_one_large_one_are_under_way() {
        assert_eq!(begin_all(&mut files(&[10; 100])), FILES_MAX);
        assert_eq!(begin_all(&mut files(&[BYTES_MAX * 2, 1])), 1);
        assert_eq!(begin_all(&mut files(&[BYTES_MAX / 2, BYTES_MAX / 2, 1])), 2);
        let mut some = files(&[10; 33]);
        begin_all(&mut some);
        some.on_done(7);
        assert_eq!(some.next(), Some(32));
    }

    #[test]
    fn the_sums_follow_whatever_becomes_of_the_files() {
        let mut files = files(&[10, 20, 30]);
        assert_eq!((begin_all(&mut files), files.progress()), (3, (0, 60)));
        assert!(
            !files.on_written(0, 5, Some(10))
                && files.on_written(0, 10, Some(10))
                && !files.on_written(0, 10, Some(10))
        );
        assert!(!files.on_written(1, 19, Some(20)) && !files.only_syncing());
        assert_eq!(files.progress(), (29, 60));
        files.on_done(0);
        files.on_failed(2, JobError::with_remedy(Code::NoSpace, "full"));
        assert_eq!((files.progress(), files.errors().count()), ((29, 60), 1));
        assert!(files.on_written(1, 20, Some(20)) && files.only_syncing());
        files.begin_anew();
        assert!(files.any_open() && !files.only_syncing());
        assert_eq!(files.progress(), (10, 60));
        assert_eq!(files.next(), Some(1));
        files.begin(1, Instant::now());
        files.on_done(1);
        assert!(!files.any_open() && files.under_way(1).is_none());
        assert_eq!(files.progress(), (30, 60));
    }

    #[test]
    fn a_size_may_be_known_late() {
        let mut files = files(&[0, 0]);
        begin_all(&mut files);
        files.on_accepted(0, Some(50));
        assert!(files.on_written(0, 50, Some(50)));
        assert_eq!(files.progress(), (50, 50));
        files.on_done(0);
        files.begin_anew();
        assert_eq!(files.progress(), (50, 50));
    }
}
