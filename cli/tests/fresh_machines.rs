//! Two machines on which udpx has just been installed: from nothing to a pushed file by two commands, as
//! `fresh_machines.sh` does it, which can be run by hand as well.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod support;

use std::process::Command;

use support::Ran;
use support::daemon::udpxd;

#[test]
fn two_commands_between_two_machines_that_were_just_installed() {
    if !nix::unistd::Uid::effective().is_root() {
        println!("SKIPPED two fresh machines in namespaces: needs root");
        return;
    }
    for program in ["ip", "nsenter", "unshare", "setpriv"] {
        if Command::new(program).arg("--version").output().is_err() {
            println!("SKIPPED two fresh machines in namespaces: no {program} here");
            return;
        }
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fresh_machines.sh");
    let mut command = Command::new("bash");
    let ran = Ran::of(&command.arg(script).arg(udpxd()).arg(env!("CARGO_BIN_EXE_udpxctl")).output().unwrap());
    assert!(ran.code == 0 && ran.stdout.ends_with("passed\n"), "{}\n{}", ran.stdout, ran.stderr);
}
