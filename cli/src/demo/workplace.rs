//! The temporary directory of a demo.

use std::path::{Path, PathBuf};

use udpxd::Code;

use crate::escape;
use crate::failure::Failure;

/// A directory that only this user can enter. Removed with everything in it when dropped, unless it is to be kept.
pub(super) struct Workplace {
    path: PathBuf,
    keep: bool,
}

impl Workplace {
    pub(super) fn make(parent: Option<&Path>, keep: bool) -> Result<Self, Failure> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let path = nix::unistd::mkdtemp(&parent.join("udpx-demo-XXXXXX")).map_err(|errno| {
            let text = format!("no directory can be made in {}: {}", escape::path(&parent), errno.desc());
            Failure::with_remedy(Code::NoSpace, text, "Name another place with --dir.")
        })?;
        Ok(Self { path, keep })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A new directory in it.
    pub(super) fn directory(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.path.join(name);
        std::fs::create_dir(&path)
            .map_err(|error| Failure::new(Code::NoSpace, format!("{}: {error}", escape::path(&path))))?;
        Ok(path)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            let text = format!("{} could not be removed: {error}", escape::path(&self.path));
            Failure::with_remedy(Code::Io, text, "Remove it by hand.").show();
        }
    }
}
