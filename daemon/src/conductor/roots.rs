//! Roots that are added and removed by command.
//!
//! The book has both kinds: those of the configuration, which are changed there, and those that were added, which the
//! ledger keeps. It decides and says why not; whoever owns it has the ledger write the [`RootChange`] and the engine admit
//! [`RootBook::in_force`]. What a place must be is asked of the disk, which may take its time: an administrator's
//! command, not a peer's.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, User, access, geteuid};
use udpx_control::schema::{ErrorReport, Roots};
use udpx_proto::Code;

use super::sandbox::{Sandbox, for_shell, is_in_home};
use crate::config::{Config, INBOX, OVERLAP_REMEDY, ROOT_NAME_RULE, is_root_name};

/// What a command has changed, for the ledger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum RootChange {
    /// This root is to be kept.
    Set(String, PathBuf),
    /// This one is to be forgotten.
    Removed(String),
}

/// The roots of the configuration, and those that were added.
#[derive(Clone, Debug)]
pub(crate) struct RootBook {
    configured: Config,
    added: BTreeMap<String, PathBuf>,
}

impl RootBook {
    /// The roots of `configured`, and those that the ledger kept.
    pub(crate) fn new(configured: Config, added: BTreeMap<String, PathBuf>) -> Self {
        Self { configured, added }
    }

    /// The configuration was read anew.
    pub(crate) fn set_configured(&mut self, configured: Config) {
        self.configured = configured;
    }

    /// The configuration with all roots: what the engine is to admit, and what is told of them.
    pub(crate) fn in_force(&self) -> Config {
        self.configured.with_roots(&self.added)
    }

    /// Does what an administrator's command says, in a copy: it is to take the place of this book once the engine has
    /// admitted what it has [`in_force`](Self::in_force). `None` of a command that changes nothing.
    ///
    /// # Errors
    /// What the client is to be told; nothing has changed.
    pub(crate) fn changed(&self, command: &Roots) -> Result<Option<(Self, RootChange)>, ErrorReport> {
        let mut book = self.clone();
        let change = match command {
            Roots::List => return Ok(None),
            Roots::Add { root, path } => RootChange::Set(root.clone(), book.add(root, path.as_path())?),
            Roots::Remove { root } => {
                book.remove(root)?;
                RootChange::Removed(root.clone())
            }
        };
        Ok(Some((book, change)))
    }

    /// Adds a root, and returns its directory without links: that is what is to be kept. The same root may be added
    /// again.
    ///
    /// # Errors
    /// Why it cannot be one, and what to do about it.
    fn add(&mut self, name: &str, path: &Path) -> Result<PathBuf, ErrorReport> {
        if !is_root_name(name) {
            let text = format!("{name:?} is no name of a root: {ROOT_NAME_RULE}.");
            return Err(report(Code::Usage, text, "Choose another name."));
        }
        if let Some(root) = self.configured.roots.get(name) {
            let text = format!("The root {name:?} is set in udpxd.toml: {}.", root.path.display());
            return Err(report(
                Code::Usage,
                text,
                "Change it there, under [roots], then: sudo systemctl reload udpxd",
            ));
        }
        if !path.is_absolute() {
            let text = format!("{} is no absolute path.", path.display());
            return Err(report(Code::Usage, text, "Give one that begins with '/'."));
        }
        let real = examine(path, true)?;
        if let Some(old) = self.added.get(name).filter(|old| **old != real) {
            let text = format!("The root {name:?} is {} already.", old.display());
            let remedy =
                format!("Choose another name, or remove that one first: sudo udpxctl root remove {name}");
            return Err(report(Code::Usage, text, remedy));
        }
        if !self.added.contains_key(name) {
            self.check_new(&real)?;
            self.added.insert(name.into(), real.clone());
        }
        Ok(real)
    }

    fn check_new(&self, real: &Path) -> Result<(), ErrorReport> {
        if self.added.len() >= ROOTS_ADDED_MAX {
            let text = format!("There are {ROOTS_ADDED_MAX} roots that were added, as many as there may be.");
            return Err(report(Code::TryAgain, text, "Remove one that is not used: udpxctl root list"));
        }
        let resolved = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.into());
        if let Some((place, what)) = self.in_force().overlapping_as(real, resolved) {
            let text = format!("{} overlaps {what} {}.", real.display(), place.display());
            return Err(report(Code::Usage, text, capitalised(OVERLAP_REMEDY)));
        }
        Ok(())
    }

    /// Removes a root that was added. What is in it stays.
    ///
    /// # Errors
    /// It is not one of those.
    fn remove(&mut self, name: &str) -> Result<(), ErrorReport> {
        if self.added.remove(name).is_some() {
            return Ok(());
        }
        let (text, remedy) = match self.configured.roots.get(name) {
            _ if name == INBOX => (
                "The inbox is no root that can be removed.".to_owned(),
                "Take the rights on it away from a peer in udpxd.toml: write = false".to_owned(),
            ),
            Some(_) => (
                format!("The root {name:?} is set in udpxd.toml, and no command removes it."),
                "Remove its line there, under [roots], then: sudo systemctl reload udpxd".to_owned(),
            ),
            None => (format!("No root is called {name:?}."), "udpxctl root list shows them.".to_owned()),
        };
        Err(report(Code::Usage, text, remedy))
    }
}

/// What keeps a place from working as a root, for the list of them; empty if nothing does.
pub(super) fn problem(path: &Path, to_write: bool) -> String {
    examine(path, to_write).map_or_else(|report| report.to_string(), |_| String::new())
}

/// Whether the daemon can use a directory as a root now; returns its path without links.
fn examine(path: &Path, to_write: bool) -> Result<PathBuf, ErrorReport> {
    let real = path.canonicalize().map_err(|error| unreachable(path, &error))?;
    if !real.is_dir() {
        let text = format!("{} is not a directory.", path.display());
        return Err(report(Code::NoSource, text, "Choose a directory."));
    }
    let wanted = AccessFlags::R_OK | AccessFlags::X_OK;
    access(&real, wanted).map_err(|errno| forbidden(&real, errno, "read"))?;
    if to_write {
        access(&real, AccessFlags::W_OK).map_err(|errno| forbidden(&real, errno, "write in"))?;
    }
    Ok(real)
}

/// The path leads nowhere.
fn unreachable(path: &Path, error: &io::Error) -> ErrorReport {
    match (Sandbox::around(path), error.kind()) {
        // What is there to be seen of a hidden home is that it is empty, or closed.
        (Some(Sandbox::Hidden), _) if is_in_home(path) => {
            let hidden = Sandbox::Hidden;
            report(Code::Refused, hidden.text(path), hidden.remedy(path))
        }
        (_, io::ErrorKind::PermissionDenied) => {
            let text = format!("{} may not even look at {}.", me(), path.display());
            report(Code::Refused, text, "Let it pass through each directory above: chmod o+x on those.")
        }
        (_, io::ErrorKind::NotFound) => {
            let place = for_shell(path);
            let text = format!("{} does not exist.", path.display());
            let remedy = format!("Create it: sudo install -d -o {} -m 2770 {place}", me());
            report(Code::NoSource, text, remedy)
        }
        _ => report(
            Code::Io,
            format!("{} cannot be looked at: {error}.", path.display()),
            "See the system's log.",
        ),
    }
}

/// The directory is there, but not for us.
fn forbidden(real: &Path, errno: Errno, what: &str) -> ErrorReport {
    match (Sandbox::around(real), errno) {
        (Some(sandbox), Errno::EROFS | Errno::EACCES)
            if sandbox == Sandbox::Hidden || errno == Errno::EROFS =>
        {
            report(Code::Refused, sandbox.text(real), sandbox.remedy(real))
        }
        (_, Errno::EROFS) => {
            let text = format!("{} lies on a file system that is mounted read-only.", real.display());
            report(
                Code::Refused,
                text,
                "Mount it for writing; for reading alone, set it in udpxd.toml, under [roots].",
            )
        }
        (_, Errno::EACCES) => {
            let (me, place) = (me(), for_shell(real));
            let text = format!("{me} may not {what} {}.", real.display());
            let remedy = format!(
                "Give it the directory's group: sudo chgrp {me} {place} && sudo chmod g+rwxs {place}"
            );
            report(Code::Refused, text, remedy)
        }
        _ => {
            report(Code::Io, format!("{} cannot be used: {errno}.", real.display()), "See the system's log.")
        }
    }
}

/// The user that the daemon is.
fn me() -> String {
    let uid = geteuid();
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

fn report(code: Code, text: impl Into<String>, remedy: impl Into<String>) -> ErrorReport {
    ErrorReport::new((code.number(), code.kind()), text, remedy)
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

/// Roots that may be added: each is an open directory of the engine.
const ROOTS_ADDED_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use tempfile::TempDir;

    use super::*;
    use crate::config::{Root, RootSource};
    use crate::jobs::ledger::Ledger;
    use crate::jobs::record::History;
    use crate::unprivileged::is_this_user;

    struct Lab {
        directory: TempDir,
        book: RootBook,
    }

    impl Lab {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let real = directory.path().canonicalize().unwrap();
            for name in ["state/inbox", "fixed/inner", "a/inner", "b"] {
                fs::create_dir_all(real.join(name)).unwrap();
            }
            let fixed = Root { path: real.join("fixed"), source: RootSource::File };
            let configured = Config {
                identity: real.join("state/identity"),
                inbox: real.join("state/inbox"),
                roots: [("fixed".to_owned(), fixed)].into(),
                ..Config::default()
            };
            Self { directory, book: RootBook::new(configured, BTreeMap::new()) }
        }

        fn place(&self, name: &str) -> PathBuf {
            self.directory.path().canonicalize().unwrap().join(name)
        }

        fn add(&mut self, name: &str, place: &str) -> Result<PathBuf, ErrorReport> {
            let path = self.place(place);
            self.book.add(name, &path)
        }

        fn refused(&mut self, name: &str, place: &str) -> String {
            let before = self.book.added.clone();
            let error = self.add(name, place).unwrap_err();
            assert_eq!(self.book.added, before);
            assert!(!error.remedy.is_empty(), "{error}");
            error.text
        }
    }

    #[test]
    fn a_root_is_added_once_and_removed_once() {
        let mut lab = Lab::new();
        let place = lab.add("a", "a").unwrap();
        assert_eq!(place, lab.place("a"));
        assert_eq!(lab.add("a", "a").unwrap(), place, "it may be said twice");
        assert!(lab.refused("a", "b").contains("\"a\" is ") && lab.add("b", "b").is_ok());
        let in_force = lab.book.in_force();
        assert_eq!(in_force.roots["a"].source, RootSource::Command);
        assert_eq!(in_force.roots.keys().collect::<Vec<_>>(), ["a", "b", "fixed"]);
        lab.book.remove("a").unwrap();
        assert!(!lab.book.in_force().roots.contains_key("a"));
        let gone = lab.book.remove("a").unwrap_err();
        assert_eq!((gone.code, gone.text.as_str()), (2, "No root is called \"a\"."));
    }

    #[test]
    fn a_command_changes_a_copy() {
        let lab = Lab::new();
        let (root, path) = ("a".to_owned(), lab.place("a"));
        assert!(lab.book.changed(&Roots::List).unwrap().is_none());
        let add = Roots::Add { root: root.clone(), path: path.clone().into() };
        let (book, change) = lab.book.changed(&add).unwrap().unwrap();
        assert_eq!(change, RootChange::Set(root.clone(), path));
        assert!(book.added.contains_key("a") && lab.book.added.is_empty());
        let (book, change) = book.changed(&Roots::Remove { root: root.clone() }).unwrap().unwrap();
        assert!(book.added.is_empty() && change == RootChange::Removed(root.clone()));
        assert!(lab.book.changed(&Roots::Remove { root }).is_err());
    }

    #[test]
    fn a_root_survives_a_restart_by_the_ledger() {
        let lab = Lab::new();
        let state = lab.book.configured.state_directory();
        let open = || Ledger::open(&state, History::default(), Arc::new(|| {})).unwrap();
        let add = Roots::Add { root: "a".into(), path: lab.place("b/../a").into() };
        let (_, change) = lab.book.changed(&add).unwrap().unwrap();
        let (mut ledger, kept) = open();
        assert!(kept.roots.is_empty());
        let RootChange::Set(name, path) = change else { panic!("{change:?}") };
        ledger.set_root(&name, &path);
        drop(ledger);
        let book = RootBook::new(lab.book.configured.clone(), open().1.roots);
        assert_eq!(book.in_force().roots["a"], Root { path: lab.place("a"), source: RootSource::Command });
    }

    #[test]
    fn what_the_configuration_says_is_changed_there() {
        let mut lab = Lab::new();
        assert!(lab.refused("fixed", "a").contains("is set in udpxd.toml"));
        let error = lab.book.remove("fixed").unwrap_err();
        assert!(error.text.contains("set in udpxd.toml") && error.remedy.contains("[roots]"), "{error}");
        assert!(lab.book.remove("inbox").is_err());
    }

    #[test]
    fn names_and_places_are_checked() {
        let mut lab = Lab::new();
        for name in ["", "inbox", "a/b", "a.b", "ä", &"a".repeat(65)] {
            assert!(lab.refused(name, "a").contains("is no name of a root"), "{name:?}");
        }
        let relative = lab.book.add("a", Path::new("srv")).unwrap_err();
        assert!(relative.text.contains("no absolute path"), "{relative}");
        let missing = lab.add("a", "missing").unwrap_err();
        assert!(missing.code == 66 && missing.remedy.contains("sudo install -d"), "{missing}");
        fs::write(lab.place("file"), "").unwrap();
        assert!(lab.refused("a", "file").contains("is not a directory"));
        assert!(lab.refused("a", "file/x").contains("cannot be looked at"));
    }

    #[test]
    fn no_root_holds_another_place_or_lies_in_one_by_no_name() {
        let mut lab = Lab::new();
        for (place, what) in [
            ("fixed", "the root \"fixed\""),
            ("fixed/inner", "the root \"fixed\""),
            ("state", "the inbox"),
            ("state/inbox", "the inbox"),
            (".", "the root \"fixed\""),
        ] {
            let text = lab.refused("x", place);
            assert!(text.contains(&format!("overlaps {what}")), "{text}");
        }
        fs::create_dir(lab.place("state/other")).unwrap();
        assert!(lab.refused("x", "state/other").contains("the directory of udpxd itself"));
        lab.add("a", "a").unwrap();
        std::os::unix::fs::symlink("a/inner", lab.place("link")).unwrap();
        assert!(lab.refused("x", "link").contains("overlaps the root \"a\""), "links are looked through");
        assert!(lab.refused("x", "b/../a/inner").contains("overlaps the root \"a\""));
    }

    #[test]
    fn one_that_came_into_the_way_of_the_configuration_is_not_in_force() {
        let mut lab = Lab::new();
        lab.add("a", "a").unwrap();
        let mut changed = lab.book.configured.clone();
        changed.roots.insert("new".into(), Root { path: lab.place("a/inner"), source: RootSource::File });
        lab.book.set_configured(changed);
        assert!(!lab.book.in_force().roots.contains_key("a"));
        lab.book.remove("a").unwrap();
    }

    #[test]
    fn a_place_that_others_own_is_told_with_what_to_do() {
        if !is_this_user("conductor::roots::tests::a_place_that_others_own_is_told_with_what_to_do") {
            return;
        }
        let mut lab = Lab::new();
        fs::set_permissions(lab.place("a"), fs::Permissions::from_mode(0o500)).unwrap();
        let error = lab.add("a", "a").unwrap_err();
        assert!(
            error.code == 77 && error.text.contains("may not write in") && error.remedy.contains("chgrp")
        );
        assert_eq!(problem(&lab.place("a"), false), "");
        fs::set_permissions(lab.place("a"), fs::Permissions::from_mode(0o300)).unwrap();
        assert!(problem(&lab.place("a"), false).contains("may not read"));
        fs::set_permissions(lab.place("a"), fs::Permissions::from_mode(0o000)).unwrap();
        assert!(lab.refused("a", "a/inner").contains("may not even look at"));
        // Or it could not be removed.
        fs::set_permissions(lab.place("a"), fs::Permissions::from_mode(0o700)).unwrap();
    }
}
