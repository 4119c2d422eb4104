//! Opening names below a directory, never above it.
//!
//! openat2(2) does it in one call. Where it is not known (ENOSYS: a sandbox, an emulator or valgrind before 3.20) the way
//! is walked, each component from the descriptor of the one before and none of them through a link. That is as safe: a name
//! without `..` can lead out of a directory by a link only, and O_NOFOLLOW is decided by the very call that opens. It is
//! stricter for reading, where openat2 follows links that stay below: without it no link is followed.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};

/// How names are followed for reading: links are, as long as they stay below the root.
pub(super) const INSIDE: ResolveFlag = ResolveFlag::RESOLVE_BENEATH.union(ResolveFlag::RESOLVE_NO_MAGICLINKS);
/// How names are followed for writing: no symbolic link anywhere.
pub(super) const NO_LINKS: ResolveFlag = INSIDE.union(ResolveFlag::RESOLVE_NO_SYMLINKS);

/// Opens `path` below `dir`; close-on-exec, never a controlling terminal.
///
/// # Errors
/// What the system says: ELOOP for a link that is not followed, EXDEV for what would lead out.
pub(super) fn open_beneath(
    dir: impl AsFd,
    path: &Path,
    flags: OFlag,
    mode: Mode,
    resolve: ResolveFlag,
) -> io::Result<File> {
    // openat2 wants nothing beside O_PATH that means something only for an open file.
    let always =
        if flags.contains(OFlag::O_PATH) { OFlag::O_CLOEXEC } else { OFlag::O_CLOEXEC | OFlag::O_NOCTTY };
    let flags = flags | always;
    if !UNKNOWN.load(Ordering::Relaxed) {
        let how = OpenHow::new().flags(flags).mode(mode).resolve(resolve);
        match at_once(dir.as_fd(), path, how) {
            Err(Errno::ENOSYS) => UNKNOWN.store(true, Ordering::Relaxed),
            opened => return Ok(opened?.into()),
        }
    }
    Ok(walk(dir.as_fd(), path, flags, mode)?.into())
}

/// By openat2.
fn at_once(dir: BorrowedFd<'_>, path: &Path, how: OpenHow) -> nix::Result<OwnedFd> {
    // openat2(2): EAGAIN when a rename elsewhere made it impossible to prove that the walk stayed inside.
    let mut attempts = 0;
    loop {
        match nix::fcntl::openat2(dir, path, how) {
            Err(Errno::EAGAIN) if attempts < OPEN_ATTEMPTS_MAX => attempts += 1,
            Err(Errno::EINTR) => {}
            opened => return opened,
        }
    }
}

/// Component by component.
fn walk(dir: BorrowedFd<'_>, path: &Path, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
    let names: Vec<&OsStr> = path
        .components()
        .filter(|component| *component != Component::CurDir)
        .map(|component| match component {
            Component::Normal(name) => Ok(name),
            _ => Err(Errno::EXDEV),
        })
        .collect::<Result<_, _>>()?;
    let Some((last, above)) = names.split_last() else {
        return step(dir, OsStr::new("."), flags, mode);
    };
    let mut passed: Option<OwnedFd> = None;
    for name in above {
        let at = passed.as_ref().map_or(dir, AsFd::as_fd);
        passed = Some(step(at, name, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?);
    }
    step(passed.as_ref().map_or(dir, AsFd::as_fd), last, flags, mode)
}

/// One component, through no link.
fn step(dir: BorrowedFd<'_>, name: &OsStr, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
    let opened = loop {
        match openat(dir, name, flags | OFlag::O_NOFOLLOW, mode) {
            Err(Errno::EINTR) => {}
            opened => break opened,
        }
    };
    match opened {
        // open(2): with O_PATH and O_NOFOLLOW it is the link itself that is opened.
        Ok(file) if flags.contains(OFlag::O_PATH) && is_link(fstat(&file)?.st_mode) => Err(Errno::ELOOP),
        // A link is no directory: openat2 says what it is.
        Err(Errno::ENOTDIR)
            if fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|it| is_link(it.st_mode)) =>
        {
            Err(Errno::ELOOP)
        }
        opened => opened,
    }
}

fn is_link(mode: u32) -> bool {
    SFlag::from_bits_truncate(mode) & SFlag::S_IFMT == SFlag::S_IFLNK
}

/// openat2 was called and is not known.
static UNKNOWN: AtomicBool = AtomicBool::new(false);
/// Times that an open is tried again when concurrent renames confuse it.
const OPEN_ATTEMPTS_MAX: u32 = 32;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Both ways to open one name for writing; they have to agree.
    fn both(root: &File, path: &str, flags: OFlag) -> Result<File, Errno> {
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(NO_LINKS);
        let opened = at_once(root.as_fd(), Path::new(path), how);
        let walked = walk(root.as_fd(), Path::new(path), flags | OFlag::O_CLOEXEC, Mode::empty());
        let code = |result: &nix::Result<OwnedFd>| result.as_ref().err().copied();
        assert_eq!(code(&opened), code(&walked), "{path}");
        walked.map(File::from)
    }

    #[test]
    fn a_walk_leads_where_openat2_does_and_nowhere_else() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        std::fs::create_dir_all(at("root/a/b")).unwrap();
        std::fs::write(at("root/a/b/f"), "inside").unwrap();
        std::fs::write(at("secret"), "outside").unwrap();
        symlink("../secret", at("root/out")).unwrap();
        symlink("..", at("root/up")).unwrap();
        symlink("a", at("root/in")).unwrap();
        symlink("f", at("root/a/b/alias")).unwrap();
        symlink("/proc/self/root", at("root/magic")).unwrap();
        let root = File::open(at("root")).unwrap();
        for (path, flags, expected) in [
            ("a/b/f", OFlag::O_RDONLY, None),
            ("./a/b", OFlag::O_RDONLY | OFlag::O_DIRECTORY, None),
            (".", OFlag::O_RDONLY | OFlag::O_DIRECTORY, None),
            ("a/b/f", OFlag::O_PATH, None),
            ("a/none", OFlag::O_RDONLY, Some(Errno::ENOENT)),
            ("none/f", OFlag::O_RDONLY, Some(Errno::ENOENT)),
            ("a/b/f/x", OFlag::O_RDONLY, Some(Errno::ENOTDIR)),
            ("a/b/f", OFlag::O_RDONLY | OFlag::O_DIRECTORY, Some(Errno::ENOTDIR)),
            ("out", OFlag::O_RDONLY, Some(Errno::ELOOP)),
            ("out", OFlag::O_PATH, Some(Errno::ELOOP)),
            ("up/secret", OFlag::O_RDONLY, Some(Errno::ELOOP)),
            ("in/b/f", OFlag::O_RDONLY, Some(Errno::ELOOP)),
            ("in", OFlag::O_RDONLY | OFlag::O_DIRECTORY, Some(Errno::ELOOP)),
            ("a/b/alias", OFlag::O_RDWR, Some(Errno::ELOOP)),
            ("magic/etc", OFlag::O_RDONLY, Some(Errno::ELOOP)),
            ("../secret", OFlag::O_RDONLY, Some(Errno::EXDEV)),
            ("/etc/passwd", OFlag::O_RDONLY, Some(Errno::EXDEV)),
        ] {
            assert_eq!(both(&root, path, flags).err(), expected, "{path}");
        }
    }

    #[test]
    fn a_walk_creates_only_what_is_new() {
        let temp = tempfile::tempdir().unwrap();
        let root = File::open(temp.path()).unwrap();
        symlink("elsewhere", temp.path().join("link")).unwrap();
        let create = |name: &str| {
            let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            walk(root.as_fd(), Path::new(name), flags, Mode::from_bits_truncate(0o600)).map(drop)
        };
        assert_eq!((create("new"), create("new")), (Ok(()), Err(Errno::EEXIST)));
        assert_eq!(create("link"), Err(Errno::EEXIST));
        assert!(!temp.path().join("elsewhere").exists());
    }

    /// A directory is moved and a link put in its place, again and again, while names below it are opened.
    #[test]
    fn nothing_that_is_swapped_meanwhile_leads_out() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        std::fs::create_dir_all(at("root/d")).unwrap();
        std::fs::create_dir(at("other")).unwrap();
        std::fs::write(at("root/d/f"), "inside").unwrap();
        std::fs::write(at("other/f"), "outside").unwrap();
        symlink(at("other"), at("root/link")).unwrap();
        let root = File::open(at("root")).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // renameat2(2), RENAME_EXCHANGE: there is never nothing of that name.
                    let exchange = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
                    nix::fcntl::renameat2(&root, "d", &root, "link", exchange).unwrap();
                }
            });
            let mut opened = 0;
            for _ in 0..20_000 {
                if let Ok(file) =
                    walk(root.as_fd(), Path::new("d/f"), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
                {
                    assert_eq!(io::read_to_string(File::from(file)).unwrap(), "inside");
                    opened += 1;
                }
            }
            stop.store(true, Ordering::Relaxed);
            assert!(opened > 0);
        });
    }
}
