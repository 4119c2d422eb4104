//! Standard input and output as source and destination, with the processes of a shell around them.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "support/mod.rs"]
mod support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::host::Hosting;
use support::{Home, Ran};
use udpxd::config::{Config, Peer, Rights};
use udpxd::daemon::Daemon;
use udpxd::relay::{Impairments, Relay, RelayConfig, Stop};
use udpxd::{StaticSecret, identity};

const MIB: usize = 1 << 20;

/// A daemon in this process that has files and takes files, and a relay before it that loses some packets.
struct Lab {
    home: Home,
    there: tempfile::TempDir,
    address: SocketAddr,
    key: String,
    daemon: Option<Daemon>,
    config: Config,
    secret: StaticSecret,
    relay: Option<(Stop, std::thread::JoinHandle<()>)>,
}

impl Lab {
    fn new() -> Lab {
        let (home, there) = (Home::new(), tempfile::tempdir().unwrap());
        let key = identity::parse_key(&home.key()).unwrap();
        let config = Config {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            peers: vec![Peer {
                rights: Rights { write: true, read: true, list: true },
                inbox: Some(there.path().to_path_buf()),
                ..Peer::new("me", key)
            }],
            ..Config::default()
        };
        let secret = identity::ephemeral().unwrap();
        let daemon = Daemon::start_as(&config, secret.clone(), "udpxd.toml").unwrap();
        let (address, key) = (daemon.listening()[0], identity::key_text(&daemon.key()));
        Lab { home, there, address, key, daemon: Some(daemon), config, secret, relay: None }
    }

    /// With that much loss in both directions, and 20 ms more of round trip.
    fn lossy(loss: f64) -> Lab {
        let mut lab = Lab::new();
        let bad = Impairments { loss, delay: Duration::from_millis(10), ..Impairments::default() };
        let (listen, target) = ("127.0.0.1:0".parse().unwrap(), lab.address);
        let relay = Relay::bind(RelayConfig { listen, target, up: bad.clone(), down: bad, seed: 7 }).unwrap();
        lab.address = relay.local_addr();
        let stop = relay.stopper();
        lab.relay = Some((stop, std::thread::spawn(move || drop(relay.run()))));
        lab
    }

    fn command(&self, line: &str) -> Command {
        let port = self.address.port().to_string();
        let words = line.split_whitespace().map(str::to_owned);
        self.home.command(words.chain(["--port".into(), port, "--peer-key".into(), self.key.clone()]))
    }

    /// Pushes bytes through a pipe.
    fn push(&self, bytes: &[u8], line: &str) -> Ran {
        let mut child = self.command(line).stdin(Stdio::piped()).spawn().unwrap();
        feed(&mut child, bytes.to_vec());
        Ran::of(&child.wait_with_output().unwrap())
    }

    /// The daemon is started anew, on the same port and with the same key.
    fn restart(&mut self) {
        let Lab { daemon, config, secret, .. } = self;
        daemon.take();
        config.listen = vec![self.address];
        *daemon = Some(Daemon::start_as(config, secret.clone(), "udpxd.toml").unwrap());
    }

    fn there(&self, name: &str) -> PathBuf {
        self.there.path().join(name)
    }

    fn is_clean(&self) {
        let left: Vec<_> = fs::read_dir(self.there.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name.to_string_lossy().ends_with(".part"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.relay.take() {
            stop.stop().unwrap();
            thread.join().unwrap();
        }
    }
}

fn feed(child: &mut Child, bytes: Vec<u8>) {
    let mut stdin = child.stdin.take().unwrap();
    // Whoever does not read to the end says so by its exit code.
    std::thread::spawn(move || drop(stdin.write_all(&bytes)));
}

fn random(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes
}

/// Whatever a length is to the blocks, of which one is no pipe at all to the receiver.
const LENGTHS: [usize; 8] = [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB - 7, 40 * MIB + 5];

#[test]
fn what_a_pipe_says_arrives_and_comes_back() {
    let lab = Lab::new();
    for len in LENGTHS {
        let bytes = random(len);
        let ran = lab.push(&bytes, "push - 127.0.0.1:out");
        assert_eq!(ran.code, 0, "{len}: {ran:?}");
        assert!(fs::read(lab.there("out")).unwrap() == bytes, "{len}");
        assert!(ran.stdout.contains("blake3") && ran.stdout.contains("control"), "{ran:?}");
        let output = lab.command("pull 127.0.0.1:out -").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{len}: {:?}", Ran::of(&output).stderr);
        assert!(output.stdout == bytes, "{len}: {} bytes came", output.stdout.len());
        assert!(String::from_utf8_lossy(&output.stderr).contains("blake3"), "the table is beside the data");
    }
    lab.is_clean();
    let inbox = lab.there.path().metadata().unwrap();
    let out = lab.there("out").metadata().unwrap();
    let age = out.modified().unwrap().elapsed().unwrap_or_default();
    assert!(age < Duration::from_secs(60), "it has the time of its last write, as {inbox:?} has");
}

#[test]
fn a_shell_pipes_two_hundred_megabytes_there_and_back() {
    let lab = Lab::new();
    let bytes = random(200 * MIB);
    fs::write(lab.home.path().join("f"), &bytes).unwrap();
    let (program, port, key) = (env!("CARGO_BIN_EXE_udpxctl"), lab.address.port(), &lab.key);
    let script = format!(
        "set -o pipefail; cat f | {program} push -q --port {port} --peer-key {key} - 127.0.0.1:g && \
         {program} pull -q --port {port} --peer-key {key} 127.0.0.1:g - | cmp - f"
    );
    let output =
        lab.home.command(["version"]).get_envs().fold(Command::new("bash"), |mut bash, (name, value)| {
            bash.env(name, value.unwrap_or_default());
            bash
        });
    let mut bash = output;
    bash.args(["-c", &script]).current_dir(lab.home.path()).env("PATH", std::env::var_os("PATH").unwrap());
    let output = bash.output().unwrap();
    assert!(output.status.success(), "{:?}", Ran::of(&output));
    assert!(fs::read(lab.there("g")).unwrap() == bytes);
}

#[test]
fn loss_takes_nothing_out_of_a_pipe_and_puts_nothing_in() {
    let lab = Lab::lossy(0.05);
    let bytes = random(24 * MIB + 11);
    let ran = lab.push(&bytes, "push - 127.0.0.1:out");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(fs::read(lab.there("out")).unwrap() == bytes);
    let output = lab.command("pull -q 127.0.0.1:out -").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{:?}", Ran::of(&output).stderr);
    assert!(output.stdout == bytes, "{} bytes came", output.stdout.len());
}

#[test]
fn a_slow_reader_slows_the_sender_and_loses_nothing() {
    let lab = Lab::new();
    // More than the memory for it has room for.
    let bytes = random(150 * MIB);
    fs::write(lab.there("f"), &bytes).unwrap();
    let mut child = lab.command("pull -q 127.0.0.1:f -").spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut came = vec![0; 3 * MIB];
    stdout.read_exact(&mut came).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert!(child.try_wait().unwrap().is_none(), "it waits for its reader");
    stdout.read_to_end(&mut came).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{:?}", Ran::of(&output).stderr);
    assert!(came == bytes, "{} bytes came", came.len());
}

#[test]
fn a_reader_that_goes_away_is_an_error_that_says_so() {
    let lab = Lab::new();
    fs::write(lab.there("f"), random(80 * MIB)).unwrap();
    let mut child = lab.command("pull -q 127.0.0.1:f -").spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1000]).unwrap();
    drop(stdout);
    let begin = Instant::now();
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 74, "{ran:?}");
    assert!(ran.stderr.contains("the reader of \"standard output\" has gone"), "{ran:?}");
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert_eq!(lab.home.line("version").code, 0);
}

#[test]
fn whoever_interrupts_a_silent_pipe_need_not_wait() {
    let lab = Lab::new();
    for (line, stuck) in [("push - 127.0.0.1:out", false), ("pull 127.0.0.1:f -", true)] {
        fs::write(lab.there("f"), random(8 * MIB)).unwrap();
        let mut child = lab.command(line).stdin(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        if !stuck {
            // Enough for it to begin, and then nothing.
            stdin.as_ref().unwrap().write_all(&random(2 * MIB)).unwrap();
        }
        std::thread::sleep(Duration::from_millis(1500));
        assert!(child.try_wait().unwrap().is_none(), "{line}: it waits");
        let pid = nix::unistd::Pid::from_raw(child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        let begin = Instant::now();
        let ran = Ran::of(&child.wait_with_output().unwrap());
        assert_eq!(ran.code, 130, "{line}: {ran:?}");
        assert!(begin.elapsed() < Duration::from_secs(5), "{line}");
        drop((stdin, stdout));
    }
    let begin = Instant::now();
    while lab.there("out").exists() || fs::read_dir(lab.there.path()).unwrap().count() > 1 {
        assert!(begin.elapsed() < Duration::from_secs(10), "an unfinished file stays");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_descriptor_is_taken_for_what_it_is() {
    let lab = Lab::new();
    let bytes = random(3 * MIB + 1);
    let path = lab.home.path().join("f");
    fs::write(&path, &bytes).unwrap();
    // A file, at its beginning and within.
    let mut file = File::open(&path).unwrap();
    let ran = Ran::of(&lab.command("push - 127.0.0.1:a").stdin(file.try_clone().unwrap()).output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    file.read_exact(&mut [0; 100]).unwrap();
    let ran = Ran::of(&lab.command("push - 127.0.0.1:b").stdin(file).output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(fs::read(lab.there("a")).unwrap() == bytes && fs::read(lab.there("b")).unwrap() == bytes[100..]);
    // One of those that have no size and yet something to say.
    let ran = Ran::of(
        &lab.command("push - 127.0.0.1:c").stdin(File::open("/proc/version").unwrap()).output().unwrap(),
    );
    assert_eq!(
        (ran.code, fs::read(lab.there("c")).unwrap()),
        (0, fs::read("/proc/version").unwrap()),
        "{ran:?}"
    );
    // Into a file, behind what it has.
    let mut out = File::create(lab.home.path().join("out")).unwrap();
    out.write_all(b"head").unwrap();
    let ran = Ran::of(&lab.command("pull 127.0.0.1:b -").stdout(out).output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(fs::read(lab.home.path().join("out")).unwrap() == [b"head", &bytes[100..]].concat());
    // What can be neither.
    let directory = File::open(lab.home.path()).unwrap();
    let ran = Ran::of(&lab.command("push - 127.0.0.1:d").stdin(directory).output().unwrap());
    assert!(ran.code == 66 && ran.stderr.contains("directory"), "{ran:?}");
    let unreadable = File::create(lab.home.path().join("w")).unwrap();
    let ran = Ran::of(&lab.command("push - 127.0.0.1:d").stdin(unreadable).output().unwrap());
    assert!(ran.code == 66 && ran.stderr.contains("not open for reading"), "{ran:?}");
    let unwritable = File::open(&path).unwrap();
    let ran = Ran::of(&lab.command("pull 127.0.0.1:b -").stdout(unwritable).output().unwrap());
    assert!(ran.code == 73 && ran.stderr.contains("not open for writing"), "{ran:?}");
    assert!(!lab.there("d").exists());
}

#[test]
fn standard_streams_go_alone_and_by_name() {
    let lab = Lab::new();
    fs::write(lab.home.path().join("f"), "f").unwrap();
    fs::write(lab.there("f"), "f").unwrap();
    fs::create_dir(lab.there("directory")).unwrap();
    for (line, code, text) in [
        ("push - f 127.0.0.1:x", 2, "pushed alone"),
        ("push - 127.0.0.1:x --to 127.0.0.1:y", 2, "one destination"),
        ("push - 127.0.0.1", 2, "push - 127.0.0.1:NAME"),
        ("push - 127.0.0.1:directory/", 2, "has no name"),
        ("push - 127.0.0.1:directory", 73, "is a directory"),
        ("push - 127.0.0.1:x --detach", 2, "Leave out --detach"),
        ("push - 127.0.0.1:x --if-exists fail", 0, ""),
        ("push - 127.0.0.1:x --if-exists fail", 73, "exists already"),
        ("push - 127.0.0.1:x --if-exists skip", 0, ""),
        ("pull 127.0.0.1:f 127.0.0.1:x -", 2, "takes one file"),
        ("pull 127.0.0.1:f - --json", 2, "--json-to FILE"),
        ("pull 127.0.0.1:none -", 66, "does not exist"),
    ] {
        let ran = lab.push(b"something", line);
        assert_eq!(ran.code, code, "{line}: {ran:?}");
        let all = format!("{}{}", ran.stdout, ran.stderr);
        assert!(all.contains(text), "{line}: {ran:?}");
    }
    assert_eq!(fs::read(lab.there("x")).unwrap(), b"something");
    let ran = lab.push(b"", "pull 127.0.0.1:f - --json-to events");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "f"), "{ran:?}");
    let events = fs::read_to_string(lab.home.path().join("events")).unwrap();
    assert!(events.lines().last().unwrap().contains("\"event\":\"summary\""), "{events}");
}

#[test]
fn a_pipe_of_which_nothing_is_lost_survives_its_session() {
    let mut lab = Lab::new();
    let mut child = lab.command("push - 127.0.0.1:out --timeout 30s").stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = random(20 * MIB + 3);
    stdin.write_all(&bytes[..12 * MIB]).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    lab.restart();
    std::thread::sleep(Duration::from_millis(500));
    stdin.write_all(&bytes[12 * MIB..]).unwrap();
    drop(stdin);
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(fs::read(lab.there("out")).unwrap() == bytes);
}

#[test]
fn a_pipe_of_which_something_is_gone_is_not_sent_with_a_hole() {
    let mut lab = Lab::new();
    let mut child = lab.command("push - 127.0.0.1:out --timeout 30s").stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // More than is kept.
    stdin.write_all(&random(100 * MIB)).unwrap();
    std::thread::sleep(Duration::from_millis(1000));
    lab.restart();
    let begin = Instant::now();
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 75, "{ran:?}");
    assert!(ran.stderr.contains("a pipe can be read only once"), "{ran:?}");
    assert!(begin.elapsed() < Duration::from_secs(20) && !lab.there("out").exists());
    drop(stdin);
}

#[test]
fn a_disk_that_fills_up_ends_a_pipe_cleanly() {
    let lab = Lab::new();
    let mount = |program: &str, words: &[&str]| {
        let ran = Command::new(program).args(words).arg(lab.there.path()).stderr(Stdio::null()).status();
        ran.is_ok_and(|status| status.success())
    };
    if !mount("mount", &["-t", "tmpfs", "-o", "size=8m", "udpx-test"]) {
        println!(
            "SKIPPED a_disk_that_fills_up_ends_a_pipe_cleanly: needs root, to mount a file system of 8 MiB"
        );
        return;
    }
    // The daemon has opened the directory below it.
    let mut lab = lab;
    lab.restart();
    let ran = lab.push(&random(60 * MIB), "push - 127.0.0.1:out");
    let left: Vec<_> = fs::read_dir(lab.there.path()).unwrap().collect();
    let small = lab.push(&random(2 * MIB), "push - 127.0.0.1:out");
    drop(lab.daemon.take());
    let unmounted = Command::new("umount").arg("-l").arg(lab.there.path()).status().unwrap();
    assert!(unmounted.success());
    assert_eq!(ran.code, 73, "{ran:?}");
    assert!(ran.stderr.contains("ree some space"), "{ran:?}");
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(small.code, 0, "there is room again: {small:?}");
}

#[test]
fn from_pipe_to_pipe_by_a_ticket() {
    let (there, here) = (Home::new(), Home::new());
    let text: String = (0..11_000_000_u32).map(|line| format!("{line:x}\n")).collect();
    fs::write(here.path().join("f"), &text).unwrap();
    // Several streams, if nobody said that they must not be.
    assert!(text.len() > 65 * MIB);
    for line in ["push -", "push f --streams 4"] {
        let host = Hosting::start(&there, "receive");
        let mut child = here
            .command(line.split_whitespace().chain([host.ticket.as_str()]))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        feed(&mut child, text.clone().into_bytes());
        let pushed = Ran::of(&child.wait_with_output().unwrap());
        assert_eq!(pushed.code, 0, "{line}: {pushed:?}");
        assert!(pushed.stdout.contains("standard output"), "{line}: {pushed:?}");
        let ran = host.end();
        assert_eq!(ran.code, 0, "{line}: {}", ran.stderr);
        assert!(ran.stdout == text, "{line}: {} bytes came", ran.stdout.len());
        assert!(
            ran.stderr.contains("| udpxctl push - udpx1") && ran.stderr.contains("blake3"),
            "{}",
            ran.stderr
        );
    }
    let ran = there.line("receive --json");
    assert!(ran.code == 2 && ran.stdout.contains("-o FILE"), "{ran:?}");
}
