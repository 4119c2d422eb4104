//! Two machines on one: two real `udpxd run`, a and b, who know each other, and a user with a home of her own on each.
//!
//! As root everything runs as it is installed: each daemon as a user of its own, and the users as others, whose homes
//! nobody else may enter. Otherwise all are whoever runs the tests.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use tempfile::TempDir;

use super::Ran;
use super::daemon::udpxd;

/// Both machines; everything ends with the handle.
pub(crate) struct Two {
    place: TempDir,
    pub(crate) a: Machine,
    pub(crate) b: Machine,
}

/// A machine: its daemon, and the home of its user.
pub(crate) struct Machine {
    name: &'static str,
    /// Of its daemon and of its user, where root sets them up.
    pub(crate) uids: Option<(u32, u32)>,
    pub(crate) state: PathBuf,
    programs: PathBuf,
    pub(crate) home: PathBuf,
    daemon: Option<Child>,
    pub(crate) port: u16,
    /// What its daemons have said.
    log: Arc<Mutex<Vec<u8>>>,
    /// They say all that they can.
    pub(crate) traced: bool,
    /// What its programs are started with besides.
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl Two {
    pub(crate) fn start() -> Two {
        let (mut two, port) = Two::set_up();
        let (of_a, of_b) = (two.a.key(), two.b.key());
        two.b.configure(port, &format!("[[peer]]\nname = \"a\"\nkey = {of_a:?}\nread = true\nlist = true\n"));
        two.a.configure(
            free_port(),
            &format!("[[peer]]\nname = \"b\"\nkey = {of_b:?}\naddress = \"127.0.0.1:{port}\"\n"),
        );
        two.a.start();
        two.b.start();
        two
    }

    /// Neither daemon knows anybody.
    pub(crate) fn strangers() -> Two {
        let (mut two, port) = Two::set_up();
        two.b.configure(port, "");
        two.a.configure(free_port(), "");
        two.a.start();
        two.b.start();
        two
    }

    /// B knows a as `alice`, and a knows b as `bob`, by what commands could have written.
    pub(crate) fn acquainted() -> Two {
        let two = Two::strangers();
        let of_a = format!("# the laptop\n[[peer]]\nname = \"alice\"\nkey = {:?}\n", two.a.key());
        fs::write(two.b.state.join("state/peers.toml"), of_a).unwrap();
        let of_b = format!(
            "[[peer]]\nname = \"bob\"\nkey = {:?}\nwrite = false\naddress = \"127.0.0.1:{}\"\n",
            two.b.key(),
            two.b.port
        );
        fs::write(two.a.state.join("state/peers.toml"), of_b).unwrap();
        for machine in [&two.a, &two.b] {
            machine.reload();
            until("the file is read", || machine.administered("peers").stdout.contains("udpxk1"));
        }
        two
    }

    /// The machines, without daemons, and a port for that of b.
    fn set_up() -> (Two, u16) {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let programs = place.path().join("bin");
        fs::create_dir(&programs).unwrap();
        // Where others may not go the other users cannot run them from.
        for (program, name) in [(udpxd(), "udpxd"), (env!("CARGO_BIN_EXE_udpxctl").into(), "udpxctl")] {
            let here = programs.join(name);
            // A copy takes its time where a disk is busy, and is needed on another file system only.
            fs::hard_link(&program, &here).or_else(|_| fs::copy(&program, &here).map(drop)).unwrap();
        }
        let a = Machine::new("a", place.path(), &programs, (64_001, 64_011));
        let b = Machine::new("b", place.path(), &programs, (64_002, 64_012));
        (Two { place, a, b }, free_port())
    }

    /// Where b puts what a sends.
    pub(crate) fn inbox(&self) -> PathBuf {
        self.b.state.join("inbox/a")
    }

    /// The names there, parts included.
    pub(crate) fn arrived(&self) -> Vec<String> {
        names(&self.inbox())
    }
}

/// The names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

impl Machine {
    fn new(name: &'static str, place: &Path, programs: &Path, uids: (u32, u32)) -> Machine {
        let uids = Uid::effective().is_root().then_some(uids);
        let (state, home) = (place.join(name), place.join(format!("home-{name}")));
        for (directory, mode, uid) in
            [(&state, 0o755, uids.map(|(daemon, _)| daemon)), (&home, 0o700, uids.map(|(_, user)| user))]
        {
            fs::create_dir(directory).unwrap();
            fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
            chown(directory, uid, uid).unwrap();
        }
        Machine {
            name,
            uids,
            state,
            programs: programs.into(),
            home,
            daemon: None,
            port: 0,
            log: Arc::default(),
            traced: false,
            environment: Vec::new(),
        }
    }

    fn command(&self, program: &str, uid: Option<u32>, home: &Path) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.env_clear().env("HOME", home).env("NO_COLOR", "1").env("UDPX_SOCKET", self.socket());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(home).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        command
    }

    /// The key of its daemon.
    pub(crate) fn key(&self) -> String {
        let mut command = self.command("udpxctl", self.uids.map(|(daemon, _)| daemon), &self.state);
        let ran = Ran::of(&run(command.args(["key", "--identity"]).arg(self.state.join("identity"))));
        ran.stdout.trim().to_owned()
    }

    fn configure(&mut self, port: u16, peers: &str) {
        self.port = port;
        let at = |name: &str| self.state.join(name);
        let text = format!(
            "listen = [\"127.0.0.1:{port}\"]\nidentity = {:?}\nstate = {:?}\ninbox = {:?}\ncontrol = {:?}\n{peers}",
            at("identity"),
            at("state"),
            at("inbox"),
            self.socket(),
        );
        fs::write(at("udpxd.toml"), text).unwrap();
    }

    /// Puts lines before those of its configuration.
    pub(crate) fn configure_also(&self, lines: &str) {
        let path = self.state.join("udpxd.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{lines}\n{text}")).unwrap();
    }

    /// What its daemons have said so far.
    pub(crate) fn told(&self) -> Vec<u8> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.state.join("d.sock")
    }

    /// Starts its daemon, and lets its user to the socket, as the group would.
    pub(crate) fn start(&mut self) {
        let mut command = self.command("udpxd", self.uids.map(|(daemon, _)| daemon), &self.state);
        command.args(["run", "--config"]).arg(self.state.join("udpxd.toml")).stdout(Stdio::null());
        if self.traced {
            command.env("RUST_LOG", "trace");
        }
        let mut child = spawn(&mut command);
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (mut line, mut all) = (String::new(), String::new());
        while !line.contains("control socket") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "{} ended: {all}", self.name);
            all.push_str(&line);
        }
        // Somebody has to read the rest, or it would wait for that.
        let kept = self.log.clone();
        kept.lock().unwrap().extend(all.as_bytes());
        std::thread::spawn(move || {
            let mut line = Vec::new();
            while log.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                kept.lock().unwrap().append(&mut line);
            }
        });
        if self.uids.is_some() {
            fs::set_permissions(self.socket(), fs::Permissions::from_mode(0o666)).unwrap();
        }
        self.daemon = Some(child);
    }

    /// Ends its daemon by a signal.
    pub(crate) fn end(&mut self, signal: Signal) {
        if let Some(mut child) = self.daemon.take() {
            kill(Pid::from_raw(child.id() as i32), signal).unwrap();
            child.wait().unwrap();
        }
    }

    /// `udpxctl` as its user does it.
    pub(crate) fn udpxctl(&self, line: &str) -> Command {
        let mut command = self.command("udpxctl", self.uids.map(|(_, user)| user), &self.home);
        command.args(line.split_whitespace());
        command
    }

    /// The same, to its end.
    pub(crate) fn ran(&self, line: &str) -> Ran {
        Ran::of(&run(&mut self.udpxctl(line)))
    }

    /// `udpxctl` to its end as an administrator does it: the daemon's own user is one.
    pub(crate) fn administered(&self, line: &str) -> Ran {
        Ran::of(&run(&mut self.administrator(line)))
    }

    /// The same, before it begins.
    pub(crate) fn administrator(&self, line: &str) -> Command {
        let mut command = self.command("udpxctl", self.uids.map(|(daemon, _)| daemon), &self.state);
        command.args(line.split_whitespace());
        command
    }

    /// Where its programs are.
    pub(crate) fn programs(&self) -> &Path {
        &self.programs
    }

    /// Has its daemon read its files anew.
    pub(crate) fn reload(&self) {
        let pid = self.daemon.as_ref().unwrap().id() as i32;
        kill(Pid::from_raw(pid), Signal::SIGHUP).unwrap();
    }

    /// The same, begun.
    pub(crate) fn begun(&self, line: &str) -> Child {
        spawn(&mut self.udpxctl(line))
    }

    /// Makes a file of its user's that nobody else may read.
    pub(crate) fn file(&self, name: &str, len: usize) -> PathBuf {
        let path = self.home.join(name);
        let bytes: Vec<u8> = (0..len).map(|at| (at * 31 + at / 255) as u8).collect();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let uid = self.uids.map(|(_, user)| user);
        chown(&path, uid, uid).unwrap();
        path
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.end(Signal::SIGKILL);
    }
}

fn run(command: &mut Command) -> std::process::Output {
    spawn(command).wait_with_output().unwrap()
}

/// Starts a program that has just been written.
fn spawn(command: &mut Command) -> Child {
    loop {
        match command.spawn() {
            // A child of another test was forked while the copy was being written, and has not begun to run yet.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            spawned => return spawned.unwrap(),
        }
    }
}

fn free_port() -> u16 {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Tries until it is so: for longer than a session is kept whose peer was killed, a minute.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(90), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
