//! The file beneath the ledger: a `redb` database with a table each for jobs, outcomes of files and roots.
//!
//! It says of which schema it is; one of a later version is left alone, since what an older daemon would write into it
//! means something else there. Nothing that this module meets on a disk makes it delete or overwrite anything: a file
//! that cannot be used is an error that names it. The file is made whole under another name before it gets its own, so
//! that one which a power cut left half made is never taken for a broken one.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
};
use udpx_control::schema::FileReport;
use udpx_proto::Code;

use super::record::{JobRecord, Outcomes};
use crate::bug;
use crate::identity::OsRandom;

/// Why there is no job table, or something could not be written into it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// Another daemon uses it.
    #[error(
        "The job table {0:?} is in use by another udpxd; stop that one, or give this one a directory of its own: state \
         = \"/another/directory\"."
    )]
    Locked(PathBuf),
    /// A newer version wrote it.
    #[error(
        "The job table {path:?} was written by a newer udpxd (its schema is {found}, this one knows {SCHEMA}); install \
         that version, or move the file away to begin with an empty one."
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u64,
    },
    /// It is no job table, or damaged.
    #[error(
        "The job table {path:?} cannot be used: {what}. Restore it from a backup, or move it away to begin with an \
         empty one; nothing in it was changed."
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The system refused something.
    #[error(
        "The job table {path:?} could not be {action}: {error}; check its directory, its permissions and the free space."
    )]
    Io {
        /// The file or its directory.
        path: PathBuf,
        /// What was tried: a past participle.
        action: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

impl LedgerError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Newer { .. } => Code::Config,
            Self::Io { error, .. } if is_full(error) => Code::NoSpace,
            Self::Io { .. } | Self::Locked(_) | Self::Corrupt { .. } => Code::Io,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

/// Everything that was kept.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// By number.
    pub(crate) jobs: Vec<JobRecord>,
    /// Roots that were added by command.
    pub(crate) roots: BTreeMap<String, PathBuf>,
    /// The cap of everything together that a command set, bits a second.
    pub(crate) limit_bps: Option<u64>,
    /// The highest number that a job ever had.
    pub(super) last_job: u64,
}

/// What one commit changes. Later changes of the same thing take the place of earlier ones.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// `None` removes the job, with the outcomes of its files.
    pub(super) jobs: BTreeMap<u64, Option<Vec<u8>>>,
    pub(super) files: BTreeMap<(u64, u32), Vec<u8>>,
    pub(super) roots: BTreeMap<String, Option<PathBuf>>,
    /// Another cap of everything together, or none any more.
    pub(super) limit_bps: Option<Option<u64>>,
    pub(super) last_job: u64,
}

/// The open file.
pub(super) struct Store {
    path: PathBuf,
    database: Database,
}

impl Store {
    /// Opens the file in `directory`, which is made with it if there is none.
    pub(super) fn open(directory: &Path) -> Result<Self, LedgerError> {
        let path = directory.join(FILE_NAME);
        if !path.exists() {
            make(directory, &path).map_err(|error| match error {
                Making::Io(action, error) => LedgerError::Io { path: path.clone(), action, error },
                Making::Ledger(error) => error,
            })?;
        }
        let store = Self::open_file(&path, false)?;
        store.check_schema()?;
        Ok(store)
    }

    fn open_file(path: &Path, new: bool) -> Result<Self, LedgerError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(new).mode(FILE_MODE).open(path);
        let file = file.map_err(|error| LedgerError::Io { path: path.into(), action: "opened", error })?;
        // Redb would begin a database in it.
        if !new && file.metadata().is_ok_and(|found| found.len() == 0) {
            return Err(LedgerError::Corrupt { path: path.into(), what: "it is empty".into() });
        }
        let failed = |error| of_database(path, "opened", error);
        let database = unpanicked(path, || {
            // Whatever happened to the file, what is read of it later has been verified here.
            let mut builder = Builder::new();
            builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
            builder.create_with_backend(FileBackend::new(file).map_err(failed)?).map_err(failed)
        })?;
        Ok(Self { path: path.into(), database })
    }

    fn check_schema(&self) -> Result<(), LedgerError> {
        let found = unpanicked(&self.path, || {
            let transaction = self.database.begin_read().map_err(|error| self.failed("read", error))?;
            let meta = transaction.open_table(META).map_err(|error| self.failed("read", error))?;
            let schema = meta.get(KEY_SCHEMA).map_err(|error| self.failed("read", error))?;
            Ok(schema.map(|schema| schema.value()))
        })?;
        match found {
            Some(SCHEMA) => Ok(()),
            Some(found) if found > SCHEMA => Err(LedgerError::Newer { path: self.path.clone(), found }),
            _ => Err(self.corrupt("it does not say of which schema it is")),
        }
    }

    /// Reads everything.
    pub(super) fn load(&self) -> Result<Kept, LedgerError> {
        unpanicked(&self.path, || {
            let read = |error| of_storage(&self.path, "read", error);
            let transaction = self.database.begin_read().map_err(|error| self.failed("read", error))?;
            let mut files = BTreeMap::<u64, BTreeMap<u32, FileReport>>::new();
            let table = transaction.open_table(FILES).map_err(|error| self.failed("read", error))?;
            for entry in table.iter().map_err(read)? {
                let (key, value) = entry.map_err(read)?;
                let (job, source) = key.value();
                let file =
                    serde_json::from_slice(value.value()).map_err(|error| self.unreadable(job, &error))?;
                files.entry(job).or_default().insert(source, file);
            }
            let mut kept = Kept::default();
            let table = transaction.open_table(JOBS).map_err(|error| self.failed("read", error))?;
            for entry in table.iter().map_err(read)? {
                let (key, value) = entry.map_err(read)?;
                let id = key.value();
                let record: Result<JobRecord, _> = serde_json::from_slice(value.value());
                let mut record = record.map_err(|error| self.unreadable(id, &error))?;
                record.files = Outcomes::saved(files.remove(&id).unwrap_or_default());
                kept.last_job = kept.last_job.max(id);
                kept.jobs.push(record);
            }
            let table = transaction.open_table(ROOTS).map_err(|error| self.failed("read", error))?;
            for entry in table.iter().map_err(read)? {
                let (name, path) = entry.map_err(read)?;
                kept.roots.insert(name.value().to_owned(), OsStr::from_bytes(path.value()).into());
            }
            let meta = transaction.open_table(META).map_err(|error| self.failed("read", error))?;
            let last_job = meta.get(KEY_LAST_JOB).map_err(read)?;
            kept.last_job = last_job.map_or(0, |last| last.value()).max(kept.last_job);
            kept.limit_bps = meta.get(KEY_LIMIT).map_err(read)?.map(|limit| limit.value());
            Ok(kept)
        })
    }

    /// Makes changes durable: all of them or, after an error, none. After an error the file is to be opened anew.
    pub(super) fn commit(&self, changes: &Changes) -> Result<(), LedgerError> {
        unpanicked(&self.path, || {
            let written = |error| of_storage(&self.path, "written", error);
            let mut transaction =
                self.database.begin_write().map_err(|error| self.failed("written", error))?;
            // Names and texts in here are other people's, and a second sync is cheap: see redb on one-phase commits.
            transaction.set_two_phase_commit(true);
            {
                let failed = |error| self.failed("written", error);
                let mut jobs = transaction.open_table(JOBS).map_err(failed)?;
                let mut files = transaction.open_table(FILES).map_err(failed)?;
                for (&id, record) in &changes.jobs {
                    match record {
                        Some(record) => drop(jobs.insert(id, record.as_slice()).map_err(written)?),
                        None => {
                            jobs.remove(id).map_err(written)?;
                            files.retain_in((id, 0)..=(id, u32::MAX), |_, _| false).map_err(written)?;
                        }
                    }
                }
                for (&key, file) in &changes.files {
                    files.insert(key, file.as_slice()).map_err(written)?;
                }
                let mut roots = transaction.open_table(ROOTS).map_err(failed)?;
                for (name, path) in &changes.roots {
                    match path {
                        Some(path) => {
                            drop(roots.insert(name.as_str(), path.as_os_str().as_bytes()).map_err(written)?);
                        }
                        None => drop(roots.remove(name.as_str()).map_err(written)?),
                    }
                }
                let mut meta = transaction.open_table(META).map_err(failed)?;
                meta.insert(KEY_SCHEMA, SCHEMA).map_err(written)?;
                if changes.last_job > 0 {
                    meta.insert(KEY_LAST_JOB, changes.last_job).map_err(written)?;
                }
                match changes.limit_bps {
                    Some(Some(bps)) => drop(meta.insert(KEY_LIMIT, bps).map_err(written)?),
                    Some(None) => drop(meta.remove(KEY_LIMIT).map_err(written)?),
                    None => {}
                }
            }
            transaction.commit().map_err(|error| self.failed("written", error))
        })
    }

    fn failed(&self, action: &'static str, error: impl Into<redb::Error>) -> LedgerError {
        of_redb(&self.path, action, error.into())
    }

    fn corrupt(&self, what: impl Into<String>) -> LedgerError {
        LedgerError::Corrupt { path: self.path.clone(), what: what.into() }
    }

    fn unreadable(&self, job: u64, error: &serde_json::Error) -> LedgerError {
        self.corrupt(format!("what it says of job {job} is not understood ({error})"))
    }
}

/// What went wrong while the file was made.
enum Making {
    Io(&'static str, io::Error),
    Ledger(LedgerError),
}

/// Makes an empty file, whole and durable before it has its name.
fn make(directory: &Path, path: &Path) -> Result<(), Making> {
    let made = |error| Making::Io("made", error);
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory).map_err(made)?;
    let number = OsRandom::open().map_err(made)?.number();
    let temporary = directory.join(format!("{FILE_NAME}.{number:016x}.new"));
    let filled = Store::open_file(&temporary, true).and_then(|store| {
        let first = Changes::default();
        store.commit(&first)
    });
    let named = filled.map_err(Making::Ledger).and_then(|()| fs::hard_link(&temporary, path).map_err(made));
    // It has served in any case.
    let _ = fs::remove_file(&temporary);
    match named {
        // Another daemon was faster; which of the two may use it is decided by its lock.
        Err(Making::Io(_, error)) if error.kind() == io::ErrorKind::AlreadyExists => {}
        named => named?,
    }
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(made)
}

/// Damage that redb does not expect makes it panic; to us it is damage like any other.
fn unpanicked<T>(path: &Path, work: impl FnOnce() -> Result<T, LedgerError>) -> Result<T, LedgerError> {
    bug::caught(work).unwrap_or_else(|| {
        Err(LedgerError::Corrupt { path: path.into(), what: "its structure is damaged".into() })
    })
}

fn of_database(path: &Path, action: &'static str, error: DatabaseError) -> LedgerError {
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            LedgerError::Locked(path.into())
        }
        error => of_redb(path, action, error.into()),
    }
}

fn of_storage(path: &Path, action: &'static str, error: StorageError) -> LedgerError {
    of_redb(path, action, error.into())
}

fn of_redb(path: &Path, action: &'static str, error: redb::Error) -> LedgerError {
    let path = path.to_path_buf();
    match error {
        // So redb says that a file is none of its own.
        redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            LedgerError::Corrupt { path, what: "it is no job table".into() }
        }
        redb::Error::Io(error) => LedgerError::Io { path, action, error },
        redb::Error::PreviousIo => {
            let error = io::Error::other("an earlier operation on it had failed");
            LedgerError::Io { path, action, error }
        }
        redb::Error::Corrupted(what) => {
            LedgerError::Corrupt { path, what: format!("it is damaged ({what})") }
        }
        error => LedgerError::Corrupt { path, what: error.to_string() },
    }
}

/// Grows when something known changes its meaning; a field that is added is no new schema.
const SCHEMA: u64 = 1;
pub(super) const FILE_NAME: &str = "jobs.redb";
/// Names of files, addresses and texts of users: nobody else's business.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o750;
/// Memory for pages of the file: it is read once and written a little at a time.
const CACHE_BYTES: usize = 4 << 20;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const KEY_SCHEMA: &str = "schema";
const KEY_LAST_JOB: &str = "last_job";
const KEY_LIMIT: &str = "limit_bps";
/// [`JobRecord`] as JSON, by number.
const JOBS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("jobs");
/// [`FileReport`] as JSON, by job and index of the source.
const FILES: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("files");
/// Path, by name.
const ROOTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("roots");

#[cfg(test)]
mod tests {
    use super::super::record::tests::{file, job};
    use super::*;

    fn changes(record: &JobRecord) -> Changes {
        let json = serde_json::to_vec(record).unwrap();
        Changes { jobs: [(record.id, Some(json))].into(), last_job: record.id, ..Changes::default() }
    }

    #[test]
    fn what_is_committed_is_there_again_and_removal_takes_all_of_a_job() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a/b");
        let store = Store::open(&deep).unwrap();
        let mut first = changes(&job(7));
        first.files.insert((7, 1), serde_json::to_vec(&file(7, b"\xff")).unwrap());
        first.files.insert((8, 0), serde_json::to_vec(&file(8, b"b")).unwrap());
        first.roots.insert("disk".into(), Some("/srv/\u{e4}".into()));
        store.commit(&first).unwrap();
        drop(store);
        let kept = Store::open(&deep).unwrap().load().unwrap();
        assert_eq!((kept.jobs.len(), kept.last_job), (1, 7));
        assert_eq!(kept.jobs[0].files.of(1), Some(&file(7, b"\xff")));
        assert_eq!(kept.roots["disk"], Path::new("/srv/\u{e4}"));
        let gone =
            Changes { jobs: [(7, None)].into(), roots: [("disk".into(), None)].into(), ..Changes::default() };
        let store = Store::open(&deep).unwrap();
        store.commit(&gone).unwrap();
        store.commit(&changes(&job(8))).unwrap();
        let kept = store.load().unwrap();
        assert!(kept.roots.is_empty() && kept.jobs[0].id == 8 && kept.jobs[0].files.done() == 1);
        let names: Vec<_> = fs::read_dir(&deep).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [FILE_NAME], "the temporary name is gone");
        use std::os::unix::fs::MetadataExt;
        assert_eq!(fs::metadata(deep.join(FILE_NAME)).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_number_is_not_used_again_after_its_job_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        store.commit(&changes(&job(9))).unwrap();
        store.commit(&Changes { jobs: [(9, None)].into(), ..Changes::default() }).unwrap();
        assert_eq!(store.load().unwrap().last_job, 9);
    }

    #[test]
    fn a_second_daemon_is_told_and_the_first_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let error = Store::open(directory.path()).err().unwrap();
        assert!(matches!(error, LedgerError::Locked(_)) && error.code() == Code::Io, "{error}");
        assert!(error.to_string().contains("another udpxd") && error.to_string().contains(FILE_NAME));
        store.commit(&changes(&job(1))).unwrap();
    }

    #[test]
    fn a_newer_schema_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let transaction = store.database.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert(KEY_SCHEMA, SCHEMA + 1).unwrap();
        transaction.commit().unwrap();
        drop(store);
        for _ in 0..2 {
            let error = Store::open(directory.path()).err().unwrap();
            assert_eq!(error.code(), Code::Config);
            assert!(error.to_string().contains("newer udpxd (its schema is 2, this one knows 1)"), "{error}");
        }
    }

    #[test]
    fn what_is_no_job_table_is_an_error_and_stays_as_it_is() {
        for garbage in [&b""[..], b"x", &[0; 9000], &b"hello world, this is no database at all".repeat(500)] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(FILE_NAME);
            fs::write(&path, garbage).unwrap();
            let error = Store::open(directory.path()).err().unwrap();
            assert!(matches!(error, LedgerError::Corrupt { .. }) && error.code() == Code::Io, "{error:?}");
            assert!(error.to_string().contains("move it away"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), garbage);
        }
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(FILE_NAME)).unwrap();
        let error = Store::open(directory.path()).err().unwrap();
        assert!(matches!(error, LedgerError::Io { .. }), "{error:?}");
    }

    #[test]
    fn a_record_that_is_not_understood_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let broken = Changes { jobs: [(3, Some(b"{}".to_vec()))].into(), ..Changes::default() };
        store.commit(&broken).unwrap();
        let error = store.load().unwrap_err();
        assert!(error.to_string().contains("job 3 is not understood"), "{error}");
    }

    /// Wherever a disk flips bits, there is an error or there are the records: no panic, nothing made up.
    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        for id in 1..40 {
            store.commit(&changes(&job(id))).unwrap();
        }
        let whole = store.load().unwrap().jobs;
        drop(store);
        let path = directory.path().join(FILE_NAME);
        let good = fs::read(&path).unwrap();
        let (mut refused, mut number) = (0, 1_u64);
        for _ in 0..300 {
            let mut bad = good.clone();
            for _ in 0..4 {
                // Knuth's MMIX generator: any spread of places does.
                number =
                    number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (number >> 33) as usize % if number & 1 << 20 == 0 { good.len() } else { 512 };
                bad[at] ^= 1 << (number >> 60 & 7);
            }
            fs::write(&path, &bad).unwrap();
            match Store::open(directory.path()).and_then(|store| store.load()) {
                Ok(kept) => assert!(kept.jobs.iter().all(|job| whole.contains(job))),
                Err(error) => {
                    refused += 1;
                    assert!(!error.to_string().is_empty());
                }
            }
        }
        assert!(refused > 0);
    }
}
