//! `[roots]`: places with a name, beside the inbox.
//!
//! A root is a directory that peers may be granted rights in. It lies outside of every other place of the daemon: two
//! roots of which one holds the other would give rights that nobody granted, and one that holds the daemon's own
//! directory would give away its key. What is written here can be changed here only; `udpxctl root add` adds roots that
//! the daemon keeps itself.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::table::Value;
use super::{Config, Mistake};

/// A place with a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Root {
    /// The directory, as an absolute path.
    pub path: PathBuf,
    /// Where this is said.
    pub source: RootSource,
}

/// Where a root comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RootSource {
    /// The configuration.
    File,
    /// `udpxctl root add`.
    Command,
}

impl Config {
    pub(super) fn parse_roots(&mut self, value: &Value<'_>) -> Result<(), Mistake> {
        for (name, path) in value.entries("write [roots] before lines such as: disk = \"/srv/disk\"")? {
            if name == INBOX {
                return Err(path.mistake("the inbox is set by: inbox = \"/a/directory\""));
            }
            if !is_root_name(&name) {
                return Err(path.mistake(&format!("{name:?} is no name of a root: {ROOT_NAME_RULE}")));
            }
            let root = path.absolute_path()?;
            if let Some((place, what)) = self.overlapping(&root) {
                let what =
                    format!("{} overlaps {what} {}: {OVERLAP_REMEDY}", root.display(), place.display());
                return Err(path.mistake(&what));
            }
            self.roots.insert(name, Root { path: root, source: RootSource::File });
        }
        Ok(())
    }

    /// This configuration with the roots that were added by command. What the configuration says itself counts: one
    /// of the same name, or in the way of a place of it, is left out.
    #[must_use]
    pub fn with_roots(&self, added: &BTreeMap<String, PathBuf>) -> Self {
        let mut config = self.clone();
        for (name, path) in added {
            if config.roots.contains_key(name) {
                tracing::warn!(
                    root = name,
                    "a root that was added by command is not used: udpxd.toml has one of that name"
                );
            } else if let Some((place, what)) = config.overlapping(path) {
                tracing::warn!(
                    root = name,
                    ?path,
                    ?place,
                    "a root that was added by command is not used: it overlaps {what}"
                );
            } else {
                config.roots.insert(name.clone(), Root { path: path.clone(), source: RootSource::Command });
            }
        }
        config
    }

    /// A place of the daemon that `path` is in, or that is in `path`; and what it is, in words.
    fn overlapping(&self, path: &Path) -> Option<(PathBuf, String)> {
        self.overlapping_as(path, plain)
    }

    /// The same of places as `resolved` makes them.
    pub(crate) fn overlapping_as(
        &self,
        path: &Path,
        resolved: impl Fn(&Path) -> PathBuf,
    ) -> Option<(PathBuf, String)> {
        let inboxes = self.peers.iter().filter_map(|peer| {
            let inbox = peer.inbox.clone()?;
            Some((inbox, format!("the inbox of peer {:?}", peer.name)))
        });
        let roots = self.roots.iter().map(|(name, root)| (root.path.clone(), format!("the root {name:?}")));
        let own = [
            (self.inbox.clone(), "the inbox".to_owned()),
            (self.state_directory(), "the directory of udpxd itself,".to_owned()),
            (self.identity.clone(), "the key".to_owned()),
        ];
        let path = resolved(path);
        let overlaps = |place: &Path| place.starts_with(&path) || path.starts_with(place);
        roots.chain(inboxes).chain(own).find(|(place, _)| overlaps(&resolved(place)))
    }
}

/// Without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            component => plain.push(component),
        }
    }
    plain
}

/// Whether a root can have this name: it is a bare key of TOML and a component of `HOST:/NAME/path`.
pub(crate) fn is_root_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    name != INBOX && (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(good)
}

/// The default root.
pub(crate) const INBOX: &str = "inbox";
/// Bytes of the name of a root or a peer.
pub(crate) const NAME_MAX: usize = 64;
pub(crate) const ROOT_NAME_RULE: &str = "one has 1 to 64 letters, digits, '-' or '_', and is not \"inbox\"";
pub(crate) const OVERLAP_REMEDY: &str = "choose a directory that neither holds the other nor lies in it";

#[cfg(test)]
mod tests {
    use super::super::tests::{KEY, mistake};
    use super::*;

    #[test]
    fn roots_have_names_and_places_of_their_own() {
        let config = Config::parse("[roots]\ndisk = \"/srv/disk\"\nb_2 = \"/srv/disk2\"\n").unwrap();
        assert_eq!(config.roots["disk"], Root { path: "/srv/disk".into(), source: RootSource::File });
        let refused = |lines: &str, told: &str| {
            let text = mistake(&format!("[roots]\n{lines}"));
            assert!(text.starts_with(&format!("2: {told}")), "{text}");
        };
        refused("a = \"srv\"", "'a' is an absolute path");
        refused("inbox = \"/srv\"", "the inbox is set by");
        refused("\"a/b\" = \"/srv\"", "\"a/b\" is no name of a root");
        refused(
            "a = \"/var/lib/udpx/inbox/x\"",
            "/var/lib/udpx/inbox/x overlaps the inbox /var/lib/udpx/inbox",
        );
        refused(
            "a = \"/var/lib/udpx/x\"",
            "/var/lib/udpx/x overlaps the directory of udpxd itself, /var/lib/udpx",
        );
        refused("a = \"/\"", "/ overlaps");
        assert!(
            mistake("[roots]\na = \"/srv\"\nb = \"/x/../srv/b\"").contains("overlaps the root \"a\" /srv")
        );
        assert!(mistake("roots = 1").starts_with("1: write [roots] before"));
        let peer = format!("[roots]\na=\"/srv\"\n[[peer]]\nname=\"a\"\nkey=\"{KEY}\"\ninbox=\"/srv/x\"\n");
        assert!(mistake(&peer).starts_with("2: /srv overlaps the inbox of peer \"a\" /srv/x"));
    }

    #[test]
    fn what_was_added_by_command_comes_second() {
        let config = Config::parse("[roots]\ndisk = \"/srv/disk\"\n").unwrap();
        let added =
            [("disk", "/x"), ("more", "/y")].map(|(name, path)| (name.to_owned(), PathBuf::from(path)));
        let config = config.with_roots(&added.into());
        assert_eq!(config.roots["disk"].path, Path::new("/srv/disk"));
        assert_eq!(config.roots["more"], Root { path: "/y".into(), source: RootSource::Command });
    }

    #[test]
    fn the_daemon_s_own_directory_is_that_of_its_key() {
        let state = |text: &str| Config::parse(text).unwrap().state_directory();
        assert_eq!(state(""), Path::new("/var/lib/udpx"));
        assert_eq!(state("identity = \"/a/key\""), Path::new("/a"));
        assert_eq!(state("identity = \"/a/key\"\nstate = \"/b\""), Path::new("/b"));
        assert_eq!(state("identity = \"key\""), Path::new("/var/lib/udpx"));
    }
}
