//! Where the control socket is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// Where the control socket is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Control {
    /// `/run/udpx/udpxd.sock` where this process may write there, else `$XDG_RUNTIME_DIR/udpx/udpxd.sock`, else none.
    #[default]
    Auto,
    /// There is none.
    Off,
    /// Here.
    Path(PathBuf),
}

impl Control {
    /// As the configuration says it; `None` if that is neither a word for it nor an absolute path.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "off" => Some(Self::Off),
            path => Path::new(path).is_absolute().then(|| Self::Path(path.into())),
        }
    }

    /// The socket of this process, if it shall have one.
    #[must_use]
    pub fn socket(&self) -> Option<PathBuf> {
        match self {
            Self::Off => None,
            Self::Path(path) => Some(path.clone()),
            Self::Auto => automatic(Path::new(SYSTEM), std::env::var_os("XDG_RUNTIME_DIR")),
        }
    }
}

fn automatic(system: &Path, runtime: Option<OsString>) -> Option<PathBuf> {
    if system.is_dir() && access(system, AccessFlags::W_OK).is_ok() {
        return Some(system.join(NAME));
    }
    // The XDG specification: a relative path is to be ignored.
    let runtime = runtime.map(PathBuf::from).filter(|path| path.is_absolute())?;
    Some(runtime.join(OF_USER).join(NAME))
}

/// The service's RuntimeDirectory.
const SYSTEM: &str = "/run/udpx";
/// A user's own, beneath `$XDG_RUNTIME_DIR`.
pub(crate) const OF_USER: &str = "udpx";
const NAME: &str = "udpxd.sock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_s_directory_comes_first_where_there_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let runtime = || Some(OsString::from("/run/user/7"));
        assert_eq!(automatic(directory.path(), runtime()), Some(directory.path().join("udpxd.sock")));
        let missing = directory.path().join("missing");
        assert_eq!(automatic(&missing, runtime()), Some("/run/user/7/udpx/udpxd.sock".into()));
        assert_eq!(automatic(&missing, Some("relative".into())), None);
        assert_eq!(automatic(&missing, None), None);
    }

    #[test]
    fn words_and_absolute_paths_are_understood() {
        assert_eq!(Control::parse("off"), Some(Control::Off));
        assert_eq!(Control::parse("auto"), Some(Control::Auto));
        assert_eq!(Control::parse("/x"), Some(Control::Path("/x".into())));
        assert_eq!((Control::parse("x"), Control::parse("")), (None, None));
    }
}
