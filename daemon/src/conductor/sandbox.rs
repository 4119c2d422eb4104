//! Whether it is the sandbox of the service's unit that keeps this process from a place, and what to add to the unit.
//!
//! ProtectSystem=strict mounts everything read-only once more above itself, and ProtectHome= puts something empty in
//! the place of the homes. Both can be told from a disk that is read-only, or a directory that is not there, by the
//! table of mounts of this process, proc_pid_mountinfo(5).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What the sandbox does to a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sandbox {
    /// It can be read only.
    ReadOnly,
    /// It cannot be seen.
    Hidden,
}

impl Sandbox {
    /// What keeps this process from `path`, an absolute path without links, if it is the sandbox of a unit.
    pub(super) fn around(path: &Path) -> Option<Self> {
        // A container may mount in the same way, and has no unit that could be changed.
        std::env::var_os("INVOCATION_ID")?;
        Self::in_table(&std::fs::read("/proc/self/mountinfo").ok()?, path)
    }

    fn in_table(table: &[u8], path: &Path) -> Option<Self> {
        let mounts = table.split(|&byte| byte == b'\n').filter_map(Mount::parse);
        // Of two at the same place the later one is seen.
        let mount = mounts
            .filter(|mount| path.starts_with(&mount.at))
            .max_by_key(|mount| mount.at.components().count())?;
        let is_home = HOMES.iter().any(|home| mount.at == Path::new(home));
        if mount.is_inaccessible || is_home && mount.kind == b"tmpfs" {
            return Some(Self::Hidden);
        }
        (mount.is_read_only && !mount.is_read_only_below).then_some(Self::ReadOnly)
    }

    /// What has happened, as a sentence about a path.
    pub(super) fn text(self, path: &Path) -> String {
        match self {
            Self::ReadOnly => format!("The sandbox of udpxd.service makes {} read-only.", path.display()),
            Self::Hidden => format!("The sandbox of udpxd.service hides {}.", path.display()),
        }
    }

    /// The lines that let the daemon in.
    pub(super) fn remedy(self, path: &Path) -> String {
        let settings = match self {
            Self::ReadOnly => format!("ReadWritePaths={}", quoted("", path)),
            // The other homes stay hidden; and what is not there, which cannot be seen from here, is no reason not to
            // start.
            Self::Hidden => format!("ProtectHome=tmpfs\n    BindPaths={}", quoted("-", path)),
        };
        format!(
            "Run: sudo systemctl edit udpxd\nand write into what opens:\n    [Service]\n    {settings}\nthen: sudo \
             systemctl restart udpxd\nand run the same command again."
        )
    }
}

/// A line of the table.
struct Mount {
    at: PathBuf,
    /// For this process.
    is_read_only: bool,
    /// For everybody: the file system itself.
    is_read_only_below: bool,
    is_inaccessible: bool,
    kind: Vec<u8>,
}

impl Mount {
    /// `36 35 98:0 /root /at ro,noatime master:1 - ext4 /dev/sda1 rw`
    fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.split(|&byte| byte == b' ').skip(3);
        let (root, at, options) = (words.next()?, words.next()?, words.next()?);
        let mut behind = words.skip_while(|word| *word != b"-").skip(1);
        let (kind, _, options_below) = (behind.next()?, behind.next()?, behind.next()?);
        let read_only = |options: &[u8]| options.split(|&byte| byte == b',').any(|option| option == b"ro");
        Some(Self {
            at: OsString::from_vec(unescaped(at)).into(),
            is_read_only: read_only(options),
            is_read_only_below: read_only(options_below),
            is_inaccessible: root.windows(INACCESSIBLE.len()).any(|part| part == INACCESSIBLE),
            kind: kind.to_vec(),
        })
    }
}

/// `\040` is a space.
fn unescaped(word: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, behind)) = rest.split_first() {
        let code = (byte == b'\\').then(|| behind.get(..3)).flatten();
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 8).ok());
        (rest, _) = match code {
            Some(code) => (&behind[3..], bytes.push(code)),
            None => (behind, bytes.push(byte)),
        };
    }
    bytes
}

/// A path as a unit file has it: `%` begins a specifier there, and quotes hold what would end a word.
fn quoted(prefix: &str, path: &Path) -> String {
    let text = format!("{prefix}{}", path.display()).replace('%', "%%");
    match is_plain(text.as_bytes()) {
        true => text,
        false => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")),
    }
}

fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@:,%".contains(byte))
}

/// What ProtectHome= is about.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// Where systemd has the nodes that it puts in the place of what shall not be seen.
const INACCESSIBLE: &[u8] = b"/inaccessible/dir";

/// Whether ProtectHome= is about a path.
pub(super) fn is_in_home(path: &Path) -> bool {
    HOMES.iter().any(|home| path.starts_with(home))
}

/// A path as a shell takes it.
pub(super) fn for_shell(path: &Path) -> String {
    match is_plain(path.as_os_str().as_bytes()) {
        true => path.display().to_string(),
        false => format!("'{}'", path.display().to_string().replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As of a unit with ProtectSystem=strict and ProtectHome=yes.
    const STRICT: &str = "\
1 0 254:0 / / ro,relatime shared:1 - ext4 /dev/vda rw
2 1 0:24 /udpx /run/udpx rw,nosuid - tmpfs tmpfs rw,mode=755
3 1 254:0 /var/lib/udpx /var/lib/udpx rw,relatime - ext4 /dev/vda rw
4 1 0:24 /systemd/inaccessible/dir /home ro,nosuid - tmpfs tmpfs rw,mode=755
5 1 8:1 / /mnt/dvd ro,relatime - iso9660 /dev/sr0 ro
6 1 8:2 / /srv/a\\040b ro,relatime - xfs /dev/sdb rw
7 1 8:3 / /srv/disk ro,relatime - xfs /dev/sdc rw
8 7 8:3 / /srv/disk rw,relatime - xfs /dev/sdc rw
";

    fn around(table: &str, path: &str) -> Option<Sandbox> {
        Sandbox::in_table(table.as_bytes(), Path::new(path))
    }

    #[test]
    fn the_sandbox_is_told_from_a_disk_that_is_read_only() {
        assert_eq!(around(STRICT, "/srv/x"), Some(Sandbox::ReadOnly));
        assert_eq!(around(STRICT, "/srv/a b/c"), Some(Sandbox::ReadOnly));
        assert_eq!(around(STRICT, "/home/alice/x"), Some(Sandbox::Hidden));
        assert_eq!(around(STRICT, "/var/lib/udpx/x"), None);
        assert_eq!(around(STRICT, "/mnt/dvd/films"), None, "nobody can write there");
        assert_eq!(around(STRICT, "/srv/disk/x"), None, "ReadWritePaths= is mounted above");
        assert_eq!(around(STRICT, "/srv/disk2"), Some(Sandbox::ReadOnly));
        let hidden = "1 0 254:0 / / rw - ext4 /dev/vda rw\n2 1 0:9 / /home ro - tmpfs tmpfs ro\n";
        assert_eq!(around(hidden, "/home/x"), Some(Sandbox::Hidden));
        for broken in ["", "\n", "1 0", "1 0 254:0 / / ro -", "\\ \\ \\ \\ \\"] {
            assert_eq!(around(broken, "/x"), None);
        }
    }

    #[test]
    fn what_to_add_to_the_unit_is_written_as_a_unit_has_it() {
        let remedy = Sandbox::ReadOnly.remedy(Path::new("/srv/disk"));
        assert!(remedy.contains("systemctl edit udpxd\n"), "{remedy}");
        assert!(remedy.contains("\n    [Service]\n    ReadWritePaths=/srv/disk\n"), "{remedy}");
        let remedy = Sandbox::Hidden.remedy(Path::new("/home/a b/100%"));
        assert!(remedy.contains("    ProtectHome=tmpfs\n    BindPaths=\"-/home/a b/100%%\"\n"), "{remedy}");
        assert_eq!(for_shell(Path::new("/srv/it's")), "'/srv/it'\\''s'");
    }
}
