//! The file: read whole, and replaced whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError, Peer};
use crate::identity::OsRandom;

/// Where the file is, of a daemon with that state directory.
pub(crate) fn path_in(state: &Path) -> PathBuf {
    state.join("peers.toml")
}

/// Reads the file: its text, and its peers. One that is not there has none.
///
/// # Errors
/// [`ConfigError`]: it cannot be read, is too long, or has a mistake, whose line is told.
pub(super) fn load(path: &Path) -> Result<(String, Vec<Peer>), ConfigError> {
    let unreadable = |error| ConfigError::Unreadable { path: path.into(), error };
    let mut text = String::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => {
            let file = opened.map_err(unreadable)?;
            file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
        }
    }
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(unreadable(io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes"))));
    }
    let peers = Config::peers_in(&text, path)?;
    if peers.len() > PEERS_MAX {
        return Err(unreadable(io::Error::other(format!("it has more than {PEERS_MAX} peers"))));
    }
    Ok((text, peers))
}

/// Replaces a file durably: after a crash there is the old one or the new one, whole. `mode` is that of a new file.
///
/// # Errors
/// What the system says; then the old one is still there.
pub(super) fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:016x}.new", OsRandom::open()?.number()));
    let temporary = path.with_file_name(name);
    let written = write_new(&temporary, text, mode).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // What is left of it is of no use to anybody.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    File::open(directory)?.sync_all()
}

fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Bytes of the file: a limit on what is read, far beyond what [`PEERS_MAX`] peers need.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Peers in the file. Each is looked through at a handshake.
pub(super) const PEERS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = path_in(directory.path());
        assert_eq!(load(&path).unwrap(), (String::new(), Vec::new()));
        for text in ["# one\n", "# two, longer\n"] {
            replace(&path, text, 0o640).unwrap();
            assert_eq!(load(&path).unwrap().0, text);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777 & !0o640, 0);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        // Where it cannot be replaced the old one stays.
        assert!(replace(&directory.path().join("none/peers.toml"), "", 0o640).is_err());
        fs::create_dir(directory.path().join("taken")).unwrap();
        assert!(replace(&directory.path().join("taken"), "", 0o640).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_mistake_is_told_with_the_file_and_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = path_in(directory.path());
        for (text, told) in [
            ("\n[[peer]]\nname = \"a\"\nkye = \"x\"\n", ":2: 'key' is missing"),
            ("[[peers]]\n", ":1: unknown key 'peers'; did you mean 'peer'?"),
            ("listen = []\n", ":1: unknown key 'listen'"),
            ("[[peer]\n", ":1: "),
        ] {
            fs::write(&path, text).unwrap();
            let error = load(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("peers.toml{told}")), "{error}");
        }
        fs::write(&path, "#".repeat(FILE_BYTES_MAX as usize + 1)).unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("more than"));
    }
}
