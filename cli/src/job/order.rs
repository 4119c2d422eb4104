//! What a command line asks of a daemon: paths of this machine made absolute, and options.
//!
//! A file keeps the name that the user gave, even if that is a link; only its directory is resolved, so that what the
//! daemon demands later can be compared with what was named.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use udpx_control::Name;
use udpx_control::schema::{How, IfExists, Local, Policy, Remote as Place, TransferOptions};
use udpxd::{Code, identity};

use crate::args::{self, Carrying, JobOptions, Reach};
use crate::escape;
use crate::failure::Failure;
use crate::remote::Remote;

/// A file of this user's that is sent. One that is not there is the daemon's to find out, since the others go all the
/// same.
pub(crate) fn source(path: &Path) -> Result<Local, Failure> {
    let bytes = path.metadata().ok().map(|about| about.len());
    Ok(Local { path: absolute(path)?.into(), how: How::Vault, bytes })
}

/// Where files of a peer go: a file, or a directory, which ends in a slash.
pub(crate) fn destination(path: &Path, is_directory: bool) -> Result<Local, Failure> {
    let mut bytes = absolute(path)?.into_os_string().into_encoded_bytes();
    if is_directory && !bytes.ends_with(b"/") {
        bytes.push(b'/');
    }
    Ok(Local { path: Name::new(bytes), how: How::Vault, bytes: None })
}

/// A place at a peer.
pub(crate) fn place(remote: &Remote, reach: &Reach) -> Place {
    Place {
        host: remote.host.to_string(),
        port: (reach.port != udpxd::config::PORT).then_some(reach.port),
        key: reach.peer_key.as_ref().map(identity::key_text),
        root: remote.root.clone(),
        path: Name::new(remote.path.clone()),
    }
}

/// How a transfer goes; the rate is that of `--rate`. The file of a trace goes as the last descriptor.
pub(crate) fn options(
    job: &JobOptions,
    (carrying, rate): (&Carrying, Option<u64>),
    if_exists: args::IfExists,
    trace: Option<&Path>,
) -> TransferOptions {
    TransferOptions {
        if_exists: match if_exists {
            args::IfExists::Replace => IfExists::Replace,
            args::IfExists::Skip => IfExists::Skip,
            args::IfExists::Fail => IfExists::Fail,
            args::IfExists::Rename => IfExists::Rename,
        },
        detach: job.detach,
        policy: rate.map_or(job.policy, |rate_bps| Policy::Fixed { rate_bps }),
        limit_bps: job.limit,
        deadline_us: job.deadline.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
        streams: carrying.streams,
        plain: carrying.plain,
        no_gso: carrying.no_gso,
        mtu: carrying.mtu,
        trace: trace.is_some(),
    }
}

/// An absolute path without `.`, `..` and links in its directories. What is not there yet is left as it is.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let failed = |path: &Path, error| {
        let text = format!("{}: {error}", escape::path(path));
        Failure::new(Code::NoSource, text)
    };
    let whole = std::path::absolute(path).map_err(|error| failed(path, error))?;
    // A last component that is a way to somewhere else, as `..` is, names a directory.
    let (mut there, mut names) = match (whole.parent(), whole.file_name()) {
        (Some(parent), Some(name)) if !is_directory_by_name(path) => (parent, vec![name]),
        _ => (whole.as_path(), Vec::new()),
    };
    let resolved = loop {
        match there.canonicalize() {
            Ok(resolved) => break resolved,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let (Some(parent), Some(name)) = (there.parent(), there.file_name()) else {
                    return Err(failed(path, error));
                };
                names.push(name);
                there = parent;
            }
            Err(error) => return Err(failed(path, error)),
        }
    };
    Ok(names.into_iter().rev().fold(resolved, |path, name| path.join(name)))
}

/// `.`, `..`, `/` and whatever ends in a slash.
fn is_directory_by_name(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    let last = path.components().next_back();
    bytes.ends_with(b"/") || bytes.ends_with(b"/.") || !matches!(last, Some(Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_resolved_and_names_are_kept() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("real/deep")).unwrap();
        std::fs::write(root.join("real/file"), "x").unwrap();
        std::os::unix::fs::symlink("real", root.join("way")).unwrap();
        std::os::unix::fs::symlink("file", root.join("real/alias")).unwrap();
        for (given, expected) in [
            ("way/file", "real/file"),
            ("way/alias", "real/alias"),
            ("way/./deep/../file", "real/file"),
            ("way/new", "real/new"),
            ("way/new/er/file", "real/new/er/file"),
            ("way/", "real"),
            ("way/deep/..", "real"),
        ] {
            assert_eq!(absolute(&root.join(given)), Ok(root.join(expected)), "{given}");
        }
        assert!(absolute(&root.join("gone/../file")).is_err(), "what is not there has no parent");
    }

    #[test]
    fn a_directory_ends_in_a_slash() {
        let local = destination(Path::new("/"), true).unwrap();
        assert_eq!((local.path.as_bytes(), local.bytes), (b"/".as_slice(), None));
        assert_eq!(destination(Path::new("/tmp"), true).unwrap().path.as_bytes(), b"/tmp/");
        assert_eq!(destination(Path::new("/tmp/x-is-not-there"), false).unwrap().how, How::Vault);
        assert_eq!(source(Path::new("/proc/self/environ-is-not-there")).unwrap().bytes, None);
    }
}
