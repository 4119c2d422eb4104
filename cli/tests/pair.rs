//! `udpxctl pair`: two machines become peers over ssh, a false one and a real one.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use support::Ran;
use support::two::{Two, until};

/// A program that stands for ssh: it notes its arguments and runs the command as machine b.
fn false_ssh(two: &Two, body: &str) -> PathBuf {
    let path = two.b.state.with_file_name("ssh");
    let socket = two.b.socket();
    let text = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" > {}\nhost=$1; shift\nexport UDPX_SOCKET={}\n{body}\n",
        arguments(two).display(),
        socket.display()
    );
    fs::write(&path, text).unwrap();
    fs::write(arguments(two), "").unwrap();
    fs::set_permissions(arguments(two), fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn arguments(two: &Two) -> PathBuf {
    two.b.state.with_file_name("ssh-arguments")
}

/// `udpxctl pair` on a, as whoever runs the tests: where that is root, it is one who may everything on both. All that is
/// run is found beside it.
fn pair(two: &Two, words: &str) -> Ran {
    let programs = two.a.programs();
    let found = format!("{}:{}:/usr/bin:/bin", two.b.state.parent().unwrap().display(), programs.display());
    let mut command = Command::new(programs.join("udpxctl"));
    command.env("PATH", found).env("UDPX_SOCKET", two.a.socket()).current_dir(&two.a.state);
    Ran::of(&command.arg("pair").args(words.split_whitespace()).output().unwrap())
}

const RUN: &str = "exec sh -c \"$*\"";

#[test]
fn one_command_makes_two_peers() {
    let two = Two::strangers();
    false_ssh(&two, RUN);
    two.a.file("sent", 100_000);
    two.b.file("answer", 10);
    let paired = pair(&two, "root@b --name bob --as alice --read --write --mutual");
    assert!(paired.code == 0 && paired.stdout.contains("udpxctl push FILE bob"), "{paired:?}");
    let said = fs::read_to_string(arguments(&two)).unwrap();
    assert!(said.starts_with("root@b\nsh -c '") && said.contains("--read --write"), "{said}");
    assert_eq!(two.a.ran("push sent bob").code, 0);
    assert_eq!(two.a.ran("pull bob:sent back").code, 0);
    assert_eq!(two.b.ran("push answer alice").code, 0, "it is mutual");
    assert_eq!(two.a.ran("ls bob").code, 77, "list was not said");
    // The secret was on no command line.
    assert!(!said.contains("udpx1"), "{said}");
}

#[test]
fn what_goes_wrong_there_is_told_with_what_to_do() {
    let two = Two::strangers();
    let by_hand = "on b: sudo udpxctl invite; and here: sudo udpxctl join ticket";
    for (body, code, told) in [
        ("echo 'Connection refused' >&2; exit 255", 68, "ssh did not reach b"),
        ("exit 127", 78, "there is no udpxctl on b"),
        ("echo Welcome to b", 76, "what b printed is no ticket"),
        ("echo sudo udpxctl join udpx1x y", 76, "is no ticket"),
        ("exit 77", 77, "b gave no ticket"),
        ("yes | head -c 1000000; exit 0", 76, "is no ticket"),
        ("kill -9 $$", 130, "interrupted"),
    ] {
        false_ssh(&two, body);
        let ran = pair(&two, "b");
        assert!(ran.code == code && ran.stderr.contains(told), "{body}: {ran:?}");
        assert!(code == 130 || ran.stderr.to_lowercase().contains(by_hand), "{ran:?}");
    }
    false_ssh(&two, "exit 69");
    let ran = pair(&two, "b");
    assert!(ran.code == 69 && ran.stderr.contains("On b: sudo systemctl start udpxd"), "{ran:?}");
    // Nothing of it is an option of ssh, or more than one word.
    fs::write(arguments(&two), "").unwrap();
    for host in ["-oProxyCommand=x", ""] {
        let ran = Ran::of(&two.a.administrator("pair --").arg(host).output().unwrap());
        assert!(ran.code == 2 && ran.stderr.contains("Give a host"), "{ran:?}");
    }
    assert_eq!(fs::read_to_string(arguments(&two)).unwrap(), "");
    let ran = pair(&two, "--ssh /nonexistent/ssh b");
    assert!(ran.code == 78 && ran.stderr.contains("--ssh COMMAND"), "{ran:?}");
    // Whoever may not join here asks nobody there. The mistake of a word that is passed on is told as it is there.
    false_ssh(&two, RUN);
    if two.a.uids.is_some() {
        let ran = Ran::of(&two.a.udpxctl("pair b").output().unwrap());
        assert_eq!(ran.code, 77, "{ran:?}");
    }
    let ran = pair(&two, "b --root films");
    assert!(ran.code == 77 && ran.stderr.contains("No root is called \"films\""), "{ran:?}");
}

/// A real sshd on loopback, for root, with keys of its own; it ends with the handle.
struct Sshd {
    child: Child,
    port: u16,
}

impl Sshd {
    fn start(place: &Path) -> Option<Sshd> {
        let sshd = ["/usr/sbin/sshd", "/usr/bin/sshd"].into_iter().find(|path| Path::new(path).exists())?;
        // It separates privileges there.
        fs::create_dir_all("/run/sshd").ok()?;
        for name in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            let made =
                keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(place.join(name)).status().ok()?;
            assert!(made.success());
        }
        fs::copy(place.join("user.pub"), place.join("authorized")).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nPidFile none\n",
            place.display()
        );
        fs::write(place.join("sshd_config"), config).unwrap();
        let mut command = Command::new(sshd);
        command.args(["-D", "-e", "-f"]).arg(place.join("sshd_config"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        until("sshd listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(Sshd { child, port })
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_works_over_a_real_sshd() {
    let two = Two::strangers();
    let place = tempfile::tempdir().unwrap();
    if two.a.uids.is_none() {
        println!("SKIPPED pair over a real sshd: needs root");
        return;
    }
    let Some(sshd) = Sshd::start(place.path()) else {
        println!("SKIPPED pair over a real sshd: no sshd here (Debian: openssh-server)");
        return;
    };
    two.a.file("sent", 1000);
    let ssh = format!(
        "ssh -p {} -i {1}/user -o UserKnownHostsFile={1}/known -o StrictHostKeyChecking=accept-new -o BatchMode=yes",
        sshd.port,
        place.path().display()
    );
    let there = format!(
        "env UDPX_SOCKET={} {}",
        two.b.socket().display(),
        two.b.programs().join("udpxctl").display()
    );
    // As root, who may read the user's key and is an administrator of a.
    let mut command = Command::new(two.a.programs().join("udpxctl"));
    command.env("UDPX_SOCKET", two.a.socket()).env("HOME", place.path());
    command.args([
        "pair",
        "root@127.0.0.1",
        "--name",
        "bob",
        "--as",
        "alice",
        "--ssh",
        &ssh,
        "--udpxctl",
        &there,
    ]);
    let paired = Ran::of(&command.output().unwrap());
    assert_eq!(paired.code, 0, "{paired:?}");
    assert_eq!(two.a.ran("push sent bob").code, 0);
    assert!(two.b.state.join("inbox/alice/sent").exists());
}
