//! Which daemon to talk to.

use std::ffi::OsString;
use std::path::PathBuf;

/// The socket of the system's daemon.
const SYSTEM: &str = "/run/udpx/udpxd.sock";
/// A user's own, beneath `$XDG_RUNTIME_DIR`.
const OF_USER: &str = "udpx/udpxd.sock";

/// Where a daemon may be found: a path that was given, else `$UDPX_SOCKET`, else the user's own, else the system's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SocketChoice {
    candidates: Vec<PathBuf>,
}

impl SocketChoice {
    /// One socket and no other.
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self { candidates: vec![path.into()] }
    }

    /// As this process's environment says, unless a path is given (`--socket`).
    #[must_use]
    pub fn from_env(given: Option<PathBuf>) -> Self {
        Self::from_values(given, std::env::var_os("UDPX_SOCKET"), std::env::var_os("XDG_RUNTIME_DIR"))
    }

    /// As from an environment with these values.
    #[must_use]
    pub fn from_values(
        given: Option<PathBuf>,
        udpx_socket: Option<OsString>,
        xdg_runtime_dir: Option<OsString>,
    ) -> Self {
        let set = |value: Option<OsString>| value.filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = given.or_else(|| set(udpx_socket)) {
            return Self::path(path);
        }
        // The XDG specification: a relative path is to be ignored.
        let runtime = set(xdg_runtime_dir).filter(|path| path.is_absolute());
        let candidates = runtime.map(|path| path.join(OF_USER)).into_iter().chain([SYSTEM.into()]).collect();
        Self { candidates }
    }

    /// The sockets in the order in which they are tried: the next one only where no daemon serves one.
    #[must_use]
    pub fn candidates(&self) -> &[PathBuf] {
        &self.candidates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_manual() {
        let choice = |given: Option<&str>, socket: &str, runtime: &str| {
            let choice = SocketChoice::from_values(
                given.map(PathBuf::from),
                Some(OsString::from(socket)),
                Some(OsString::from(runtime)),
            );
            choice.candidates.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(choice(Some("/a"), "/b", "/run/user/1"), ["/a"]);
        assert_eq!(choice(None, "/b", "/run/user/1"), ["/b"]);
        assert_eq!(choice(None, "", "/run/user/1"), ["/run/user/1/udpx/udpxd.sock", SYSTEM]);
        assert_eq!(choice(None, "", ""), [SYSTEM]);
        assert_eq!(choice(None, "", "relative"), [SYSTEM]);
        assert_eq!(SocketChoice::from_values(None, None, None).candidates(), [PathBuf::from(SYSTEM)]);
    }
}
