//! Tests of what a user may not do, where root runs them: root may do everything.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::unistd::geteuid;

/// Whether the caller, the test of this path, goes on. If root has called it, it has passed here in a process of
/// another user by then, or has said that it was skipped.
pub(crate) fn is_this_user(test: &str) -> bool {
    if !geteuid().is_root() {
        return true;
    }
    let me = std::env::current_exe().unwrap();
    let mut command = Command::new(me);
    command.args(["--exact", test]).uid(NOBODY).gid(NOBODY).env_remove("HOME").current_dir("/");
    match command.stdout(Stdio::piped()).stderr(Stdio::piped()).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
        }
        Err(error) => println!("SKIPPED {test}: another user cannot run this program ({error})"),
    }
    false
}

const NOBODY: u32 = 65_534;
