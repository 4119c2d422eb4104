//! A real `udpxd run` in a process of its own, called bob, who knows the key of a home as alice.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use super::{Home, Ran};

/// The daemon and the home of its peer; both end with the handle.
pub(crate) struct Bob {
    pub(crate) home: Home,
    pub(crate) port: u16,
    child: Child,
}

impl Bob {
    /// Starts it as this user.
    pub(crate) fn start() -> Bob {
        Bob::start_as(None)
    }

    /// Starts it as `user`, which only root can.
    pub(crate) fn start_as(user: Option<u32>) -> Bob {
        let home = Home::new();
        let place = home.path().join("bob");
        std::fs::create_dir_all(place.join("inbox/alice")).unwrap();
        let mut program = udpxd();
        if user.is_some() {
            // Where others may not go the other user cannot run it from.
            std::fs::copy(&program, place.join("udpxd")).unwrap();
            program = place.join("udpxd");
            std::os::unix::fs::chown(home.path(), user, None).unwrap();
            for path in [&place, &place.join("inbox"), &place.join("inbox/alice")] {
                std::os::unix::fs::chown(path, user, None).unwrap();
            }
        }
        let config = format!(
            "listen = [\"127.0.0.1:0\"]\ncontrol = \"off\"\nidentity = {:?}\ninbox = {:?}\n[[peer]]\nname = \"alice\"\nkey = {:?}\n",
            place.join("identity"),
            place.join("inbox"),
            home.key(),
        );
        std::fs::write(place.join("udpxd.toml"), config).unwrap();
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(place.join("udpxd.toml")).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        if let Some(user) = user {
            command.uid(user);
        }
        let mut child = loop {
            match command.spawn() {
                // A child of another test was forked while the copy was being written, and has not begun to run yet.
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                spawned => break spawned.unwrap(),
            }
        };
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (mut all, mut line) = (String::new(), String::new());
        while !line.contains("listening") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "udpxd has ended: {all}");
            all.push_str(&line);
        }
        // Somebody has to read the rest, or it would wait for that.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let word = |key: &str| {
            let rest = line.split_once(key).unwrap_or_else(|| panic!("{key} is not in {line}")).1;
            rest.split([' ', '\n']).next().unwrap().trim_matches('"').to_owned()
        };
        let port = word("address=127.0.0.1:").parse().unwrap();
        let peers = format!("[[peer]]\nname = \"bob\"\naddress = \"127.0.0.1\"\nkey = {:?}\n", word("key="));
        std::fs::create_dir_all(home.path().join(".config/udpx")).unwrap();
        std::fs::write(home.path().join(".config/udpx/peers.toml"), peers).unwrap();
        Bob { home, port, child }
    }

    /// Where alice's files arrive.
    pub(crate) fn inbox(&self) -> PathBuf {
        self.home.path().join("bob/inbox/alice")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.home.path().join("bob/udpxd.toml")
    }

    /// The names in it, parts included.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.inbox()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Makes a file of alice's.
    pub(crate) fn file(&self, name: &str, len: usize) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, vec![0x5a; len]).unwrap();
        path
    }

    /// `udpxctl push` with these arguments, to bob's port.
    pub(crate) fn push(&self, line: &str) -> Command {
        let port = self.port.to_string();
        let words = ["push", "--port", &port].into_iter().chain(line.split_whitespace());
        self.home.command(words)
    }

    /// Runs such a push to its end.
    pub(crate) fn pushed(&self, line: &str) -> Ran {
        Ran::of(&self.push(line).output().unwrap())
    }

    /// Kills the daemon without warning.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Bob {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program, built beside `udpxctl` as it is now.
pub(crate) fn udpxd() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let profile = Path::new(env!("CARGO_BIN_EXE_udpxctl")).parent().unwrap();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--package", "udpxd", "--bin", "udpxd", "--target-dir"]);
        command.arg(profile.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            command.arg("--release");
        }
        assert!(command.status().unwrap().success(), "udpxd could not be built");
        profile.join("udpxd")
    };
    BUILT.get_or_init(build).clone()
}
