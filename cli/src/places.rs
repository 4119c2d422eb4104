//! Where a user's own files are: `$XDG_CONFIG_HOME/udpx` and `$XDG_STATE_HOME/udpx`.

use std::ffi::OsString;
use std::path::PathBuf;

use udpxd::Code;

use crate::failure::Failure;

/// The file of the secret key.
pub(crate) fn identity() -> Result<PathBuf, Failure> {
    Ok(directory("XDG_STATE_HOME", ".local/state")?.join("identity.key"))
}

/// The file of the peers' names, addresses and keys.
pub(crate) fn peers() -> Result<PathBuf, Failure> {
    Ok(directory("XDG_CONFIG_HOME", ".config")?.join("peers.toml"))
}

fn directory(variable: &'static str, below_home: &str) -> Result<PathBuf, Failure> {
    place(std::env::var_os(variable), std::env::var_os("HOME"), below_home).ok_or_else(|| {
        Failure::with_remedy(
            Code::Config,
            format!("neither {variable} nor HOME names a directory"),
            format!("Set {variable} to an absolute path."),
        )
    })
}

/// The XDG base directory specification: a relative path is to be ignored.
fn place(variable: Option<OsString>, home: Option<OsString>, below_home: &str) -> Option<PathBuf> {
    let absolute = |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
    Some(absolute(variable).or_else(|| absolute(home).map(|home| home.join(below_home)))?.join("udpx"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_if_it_is_absolute() {
        let place = |variable: Option<&str>, home: Option<&str>| {
            place(variable.map(Into::into), home.map(Into::into), ".config")
        };
        assert_eq!(place(Some("/x"), Some("/h")), Some("/x/udpx".into()));
        assert_eq!(place(Some("x"), Some("/h")), Some("/h/.config/udpx".into()));
        assert_eq!(place(None, Some("/h")), Some("/h/.config/udpx".into()));
        assert_eq!(place(Some(""), None), None);
    }
}
