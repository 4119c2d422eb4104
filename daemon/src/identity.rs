//! Who this machine is: an X25519 key in a file that only its owner can read.
//!
//! The file holds one line, the secret key in hex. It is made at the first start and never overwritten. Public keys
//! are shown as `udpxk1` and 64 hex digits; the secret is shown nowhere, and its copies here are erased.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use udpx_proto::Random;
use udpx_proto::handshake::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// What stands before the hex digits of a public key.
pub const KEY_PREFIX: &str = "udpxk1";

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file cannot be read or made.
    #[error(
        "The identity file {path:?} could not be {action}: {error}; check its directory and permissions."
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried: a past participle.
        action: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// Others may read it.
    #[error("The identity file {0:?} can be read by others; if nobody has, run: chmod 600 {0:?}")]
    Exposed(PathBuf),
    /// It does not hold a key.
    #[error(
        "The identity file {0:?} does not hold a key; restore it from a backup, or remove it for a new identity."
    )]
    Garbled(PathBuf),
}

/// Loads the key in `path`, which is made (0600, with the directories above it) if there is none.
///
/// # Errors
/// [`IdentityError`].
pub fn load_or_create(path: &Path) -> Result<StaticSecret, IdentityError> {
    match load(path) {
        Err(IdentityError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => create(path),
        loaded => loaded,
    }
}

/// Loads the key in `path`.
///
/// # Errors
/// [`IdentityError`]; `NotFound` inside of it if there is no such file.
pub fn load(path: &Path) -> Result<StaticSecret, IdentityError> {
    let failed = |error| IdentityError::Io { path: path.into(), action: "read", error };
    let mut file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
        return Err(IdentityError::Exposed(path.into()));
    }
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize));
    Read::by_ref(&mut file).take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    let bytes = parse_hex(text.trim_end()).ok_or_else(|| IdentityError::Garbled(path.into()))?;
    Ok(StaticSecret::from_bytes(*bytes))
}

/// A key that is kept nowhere.
///
/// # Errors
/// Those of opening `/dev/urandom`.
pub fn ephemeral() -> io::Result<StaticSecret> {
    Ok(StaticSecret::generate(&mut OsRandom::open()?))
}

fn create(path: &Path) -> Result<StaticSecret, IdentityError> {
    let failed = |error| IdentityError::Io { path: path.into(), action: "made", error };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(directory) = directory {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    let secret = ephemeral().map_err(failed)?;
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize));
    push_hex(&mut text, secret.as_bytes());
    text.push('\n');
    // Whole and durable before it has its name: nobody ever reads a half of it, whenever we are killed.
    let temporary = temporary_name(path).map_err(failed)?;
    let written = write_new(&temporary, text.as_bytes()).and_then(|()| fs::hard_link(&temporary, path));
    // It has served in any case; if it stays then it is a private file that nobody reads.
    let _ = fs::remove_file(&temporary);
    match written {
        // Another process of the same user was faster: its key is ours too.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return load(path),
        written => written.map_err(failed)?,
    }
    let directory = File::open(directory.unwrap_or(Path::new("."))).map_err(failed)?;
    directory.sync_all().map_err(failed)?;
    Ok(secret)
}

/// Beside `path`, and like no other.
fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:016x}.new", OsRandom::open()?.number()));
    Ok(path.with_file_name(name))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A public key as people see it: `udpxk1` and 64 hex digits.
#[must_use]
pub fn key_text(key: &PublicKey) -> String {
    let mut text = String::from(KEY_PREFIX);
    push_hex(&mut text, &key.0);
    text
}

/// Reads what [`key_text`] wrote.
#[must_use]
pub fn parse_key(text: &str) -> Option<PublicKey> {
    parse_hex(text.trim().strip_prefix(KEY_PREFIX)?).map(|bytes| PublicKey(*bytes))
}

/// A digest or key in lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    push_hex(&mut text, bytes);
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
}

fn parse_hex(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = Zeroizing::new([0; 32]);
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16).filter(|_| !pair[at].is_ascii_uppercase());
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(bytes)
}

/// The kernel's random numbers, for keys, handshakes and temporary names.
#[derive(Debug)]
pub struct OsRandom(File);

impl OsRandom {
    /// Opens the source once; reading it later does not depend on the file system any more.
    ///
    /// # Errors
    /// Those of opening `/dev/urandom`.
    pub fn open() -> io::Result<Self> {
        File::open("/dev/urandom").map(Self)
    }

    /// 64 random bits.
    pub fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

impl Random for OsRandom {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.read_exact(out).expect("random(4): reads of an open /dev/urandom of this size do not fail");
    }
}

/// Bytes of the longest file that can hold a key; more is not read.
const FILE_BYTES_MAX: u64 = 256;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_survives_its_text_and_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/identity");
        let made = load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let loaded = load_or_create(&path).unwrap();
        assert_eq!(made.public(), loaded.public());
        let text = key_text(&made.public());
        assert_eq!(text.len(), 70);
        assert_eq!(parse_key(&text), Some(made.public()));
        assert_eq!(parse_key(&text.to_uppercase()), None);
        assert_eq!(parse_key(&text[..69]), None);
        assert!(!format!("{made:?}").contains(&hex(made.as_bytes())));
    }

    #[test]
    fn several_at_once_make_one_key_and_leave_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity");
        let keys: Vec<PublicKey> = std::thread::scope(|scope| {
            let make = || load_or_create(&path).unwrap().public();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn exposed_and_garbled_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity");
        fs::write(&path, "not a key\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(load_or_create(&path), Err(IdentityError::Exposed(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(load_or_create(&path), Err(IdentityError::Garbled(_))));
    }
}
