//! The commands that ask a daemon: `udpxctl` and a daemon are processes of their own here, as everywhere.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Home, Ran};
use udpxd::identity;

/// Where a child of this program finds its configuration.
const DAEMON: &str = "UDPX_TEST_DAEMON";

/// No test, but the daemon of the others, when they start this program anew: `udpxd` itself is another package's, and
/// might not be built.
#[test]
fn daemon_process() {
    if let Some(config) = std::env::var_os(DAEMON) {
        let ended = udpxd::daemon::command::serve(config.as_ref());
        assert!(ended == ExitCode::SUCCESS);
    }
}

struct Daemon {
    home: Home,
    child: Child,
    port: String,
    key: String,
}

impl Daemon {
    /// One that takes files of its own home's key, under the name of alice.
    fn start() -> Self {
        let home = Home::new();
        let config = format!(
            "listen = [\"127.0.0.1:0\"]\nidentity = {:?}\ninbox = {:?}\ncontrol = {:?}\n[[peer]]\nname = \"alice\"\n\
             key = \"{}\"\nread = true\n",
            home.path().join("identity"),
            home.path().join("inbox"),
            home.path().join("d.sock"),
            home.key(),
        );
        std::fs::write(home.path().join("udpxd.toml"), config).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["daemon_process", "--exact", "--nocapture"])
            .env("NO_COLOR", "1")
            .env_remove("RUST_LOG");
        command.env(DAEMON, home.path().join("udpxd.toml")).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (mut line, mut port) = (String::new(), None);
        while !line.contains("control socket") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended before it served");
            let found = line.split_whitespace().find_map(|word| word.strip_prefix("address=127.0.0.1:"));
            port = found.map(str::to_owned).or(port);
        }
        // Somebody has to read the rest, or it would block.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let key = identity::load(&home.path().join("identity")).unwrap().public();
        Self { home, child, port: port.unwrap(), key: identity::key_text(&key) }
    }

    fn socket(&self) -> PathBuf {
        self.home.path().join("d.sock")
    }

    /// A command with `--socket`.
    fn command(&self, line: &str) -> Command {
        let mut command = self.home.command(line.split_whitespace());
        command.arg("--socket").arg(self.socket());
        command
    }

    fn ask(&self, line: &str) -> Ran {
        Ran::of(&self.command(line).output().unwrap())
    }

    fn push(&self, name: &str) {
        std::fs::write(self.home.path().join(name), "0123456789").unwrap();
        let ran =
            self.home.line(&format!("-q push {name} 127.0.0.1 --port {} --peer-key {}", self.port, self.key));
        assert_eq!(ran.code, 0, "{ran:?}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn people_read_what_the_daemon_knows() {
    let daemon = Daemon::start();
    let ran = daemon.ask("inbox");
    assert!(ran.code == 0 && ran.stdout.contains("nothing has arrived"), "{ran:?}");
    daemon.push("a.txt");
    let ran = daemon.ask("inbox");
    assert!(ran.stdout.contains("alice  10 B  ") && ran.stdout.contains("/inbox/alice/a.txt"), "{ran:?}");
    let ran = daemon.ask("peers");
    assert!(ran.code == 0 && ran.stdout.contains("write,read") && ran.stdout.contains("alice"), "{ran:?}");
    assert!(ran.stdout.contains(&daemon.home.key()) && ran.stdout.contains(" s ago"), "{ran:?}");
    let ran = daemon.ask("stats");
    assert!(ran.code == 0 && ran.stdout.starts_with("up "), "{ran:?}");
    let line = ran.stdout.lines().find(|line| line.starts_with("files_received ")).unwrap();
    assert_eq!(line.split_whitespace().last(), Some("1"), "{ran:?}");
    let ran = daemon.ask("version");
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!("udpxctl {version}\nudpxd {version} (control schema 1, wire version 1, Linux ");
    assert!(ran.code == 0 && ran.stdout.starts_with(&expected), "{ran:?}");
    let ran = daemon.ask("inbox --stats");
    let rows: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    let row = |name: &str| rows.iter().find(|cells| cells.first() == Some(&name)).unwrap()[1..5].to_vec();
    assert!(row("1") == row("total") && row("1")[3] == "10", "{ran:?}");
    let ran = daemon.ask("inbox --peer mallory");
    assert!(ran.code == 2 && ran.stderr.contains("No peer is called \"mallory\""), "{ran:?}");
    // The variable leads there as well.
    let ran = Ran::of(&daemon.home.command(["stats"]).env("UDPX_SOCKET", daemon.socket()).output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn programs_read_it_as_json() {
    let daemon = Daemon::start();
    daemon.push("a.txt");
    let events = daemon.ask("--json inbox").events();
    assert_eq!((&events[0]["event"], &events[0]["bytes"]), (&"inbox".into(), &10.into()));
    let rows = events[0]["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["payload_bytes"].as_u64().unwrap()).sum::<u64>(), 10);
    assert_eq!(events[1]["files"], 1);
    let events = daemon.ask("--json peers").events();
    assert_eq!((&events[0]["peer"], &events[0]["read"][0]), (&"alice".into(), &"inbox".into()));
    assert_eq!(events[1]["peers"], 1);
    let event = daemon.ask("--json stats").last_event();
    assert!(event["daemon"]["uptime_us"].as_u64() > Some(0), "{event}");
    assert_eq!(event["daemon"]["counters"][0]["name"], "files_received");
    assert_eq!(daemon.ask("--json version").last_event()["daemon_version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_follower_sees_a_file_arrive_until_it_is_interrupted() {
    let daemon = Daemon::start();
    let mut follower = daemon.command("inbox --follow --json").spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    daemon.push("a.txt");
    assert!(lines.next().unwrap().unwrap().contains("/inbox/alice/a.txt"));
    daemon.push("b.txt");
    assert!(lines.next().unwrap().unwrap().contains("/inbox/alice/b.txt"));
    kill(Pid::from_raw(follower.id() as i32), Signal::SIGINT).unwrap();
    assert!(lines.next().unwrap().unwrap().contains("\"exit\":130"));
    assert_eq!(follower.wait().unwrap().code(), Some(130));
}

#[test]
fn a_follower_hears_that_the_daemon_ends() {
    let mut daemon = Daemon::start();
    let mut follower = daemon.command("inbox -f").spawn().unwrap();
    daemon.push("a.txt");
    let mut output = BufReader::new(follower.stdout.take().unwrap());
    output.read_line(&mut String::new()).unwrap();
    let begin = Instant::now();
    kill(Pid::from_raw(daemon.child.id() as i32), Signal::SIGTERM).unwrap();
    assert!(daemon.child.wait().unwrap().success());
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    let mut errors = String::new();
    std::io::Read::read_to_string(follower.stderr.as_mut().unwrap(), &mut errors).unwrap();
    assert_eq!(follower.wait().unwrap().code(), Some(75));
    assert!(errors.contains("The daemon is being stopped."), "{errors}");
    assert!(!daemon.socket().exists());
}

#[test]
fn without_a_daemon_the_path_and_the_remedy_are_said() {
    let home = Home::new();
    std::fs::write(home.path().join("file"), "x").unwrap();
    for command in ["stats", "peers", "inbox", "inbox --follow"] {
        let ran = home.line(command);
        assert_eq!((ran.code, ran.stdout.as_str()), (69, ""), "{ran:?}");
        assert!(ran.stderr.contains("no.sock") && ran.stderr.contains("systemctl start udpxd"), "{ran:?}");
    }
    let ran = home.line("--json stats");
    assert_eq!((ran.code, &ran.last_event()["kind"]), (69, &"no-daemon".into()), "{ran:?}");
    assert_eq!(home.line("stats --socket file").code, 2);
    let ran = home.line("version");
    assert_eq!((ran.code, ran.stdout.lines().count(), ran.stderr.as_str()), (0, 1, ""), "{ran:?}");
    assert_eq!(home.line("version --socket missing").code, 69);
}

/// A user without rights, on every Linux.
const NOBODY: u32 = 65_534;

#[test]
fn who_may_not_is_told_which_group_to_join() {
    if !nix::unistd::geteuid().is_root() {
        let required = std::env::var("UDPX_REQUIRE").unwrap_or_default();
        assert!(!required.contains("root"), "this test needs root, and UDPX_REQUIRE asks for it");
        eprintln!("SKIPPED who_may_not_is_told_which_group_to_join: needs root");
        return;
    }
    let daemon = Daemon::start();
    let open = |path: PathBuf, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(daemon.home.path().into(), 0o755);
    // The build directory may be somebody's own.
    let program = daemon.home.path().join("udpxctl");
    std::fs::copy(env!("CARGO_BIN_EXE_udpxctl"), &program).unwrap();
    open(program.clone(), 0o755);
    let ask = |word: &str| {
        let mut command = Command::new(&program);
        command.args([word, "--socket"]).arg(daemon.socket()).env_clear().uid(NOBODY).gid(NOBODY);
        loop {
            match command.output() {
                // A child of another test was forked while the copy was being written, and has not begun to run yet.
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                output => return Ran::of(&output.unwrap()),
            }
        }
    };
    let ran = ask("stats");
    assert_eq!(ran.code, 77, "{ran:?}");
    assert!(ran.stderr.contains("may not use") && ran.stderr.contains("usermod -aG udpx $USER"), "{ran:?}");
    // As if nobody were a member of the socket's group, but no admin.
    open(daemon.socket(), 0o666);
    for command in ["stats", "peers", "inbox"] {
        let ran = ask(command);
        assert_eq!((ran.code, ran.stdout.as_str()), (77, ""), "{ran:?}");
        assert!(ran.stderr.contains("members of the group udpx-admin"), "{ran:?}");
        assert!(ran.stderr.contains("usermod -aG udpx-admin $USER"), "{ran:?}");
    }
    let ran = ask("version");
    assert!(ran.code == 0 && ran.stdout.contains("udpxd "), "{ran:?}");
}
