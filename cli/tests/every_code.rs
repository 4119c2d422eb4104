//! Each code of the one table, provoked through the command line: the exit code, one line what, one line what to do.
//!
//! A code without a way to provoke it here fails the test, as does one whose remedy is empty. What the codes say in
//! their various cases is `exit_codes.rs`'s to check.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::daemon::{Bob, udpxd};
use support::{Home, Ran};
use udpxd::Code;

/// Makes the code happen; `json` is `--json` or nothing.
type Provocation = fn(json: &str) -> Ran;

/// How each code comes about.
fn provocation(code: Code) -> Option<Provocation> {
    Some(match code {
        Code::Done => |json| Home::new().line(&format!("key {json}")),
        Code::Other => no_descriptor_left,
        Code::Usage => |json| Home::new().line(&format!("push {json} file")),
        Code::Partly => |json| pushed(&format!("{json} f missing bob")),
        Code::Corrupt => a_disk_that_changes_what_it_holds,
        Code::NoSource => |json| pushed(&format!("{json} missing bob")),
        Code::SourceChanged => a_source_that_grows,
        Code::Unreachable => |json| {
            let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let to = silent.local_addr().unwrap();
            let key = Home::new().key();
            Home::new().line(&format!("ping {json} {to} --peer-key {key} --timeout 1s"))
        },
        Code::NoDaemon => |json| Home::new().line(&format!("stats {json}")),
        Code::Bug => |json| Home::new().line(&format!("panic {json}")),
        Code::NoSpace => |json| pushed(&format!("{json} f bob --if-exists fail")),
        Code::Io => a_result_that_cannot_be_written,
        Code::TryAgain => as_many_connections_as_a_user_may_have,
        Code::Protocol => a_daemon_of_a_later_version,
        Code::Refused => |json| pushed(&format!("{json} f bob:../x")),
        Code::Config => |json| pushed(&format!("{json} f carol")),
        Code::Interrupted => ctrl_c,
        _ => return None,
    })
}

#[test]
fn every_code_is_provoked_and_has_a_remedy() {
    for &code in Code::ALL {
        assert!(!code.remedy().is_empty() && !code.text().is_empty(), "{code:?} says nothing");
        assert!(provocation(code).is_some(), "nothing here provokes {code:?}");
    }
    let all = Code::ALL.iter().flat_map(|&code| ["", "--json"].map(|json| (code, json)));
    std::thread::scope(|scope| {
        for (code, json) in all {
            let provoke = provocation(code).unwrap();
            scope.spawn(move || {
                let begun = Instant::now();
                check(code, &provoke(json), json);
                eprintln!("{code:?} {json}: {} ms", begun.elapsed().as_millis());
            });
        }
    });
}

fn check(code: Code, ran: &Ran, json: &str) {
    assert_eq!(ran.code, i32::from(code.exit()), "{code:?}: {ran:?}");
    if code == Code::Done {
        return;
    }
    let unwritable = code == Code::Io;
    if json.is_empty() || unwritable {
        let lines: Vec<&str> = ran.stderr.trim_end().lines().collect();
        // The command line's own mistakes are told by its parser, in another form.
        let [.., text, remedy] = lines.as_slice() else { panic!("{code:?}: {ran:?}") };
        assert!(text.starts_with("udpxctl: ") && remedy.len() > 4, "{code:?}: {ran:?}");
        assert!(remedy.starts_with("  ") && remedy.ends_with(['.', '"', '}', ']']), "{code:?}: {ran:?}");
    } else {
        let event = ran.last_event();
        assert_eq!(event["event"], "error", "{ran:?}");
        assert_eq!(
            (event["code"].as_u64(), event["kind"].as_str()),
            (Some(code.number().into()), Some(code.kind()))
        );
        assert_eq!(event["exit"].as_u64(), Some(code.exit().into()), "{event}");
        assert!(
            !event["text"].as_str().unwrap().is_empty() && !event["remedy"].as_str().unwrap().is_empty(),
            "{event}"
        );
    }
}

/// A push to a bob who has a file `f` already.
fn pushed(line: &str) -> Ran {
    let bob = Bob::start();
    bob.file("f", 1000);
    std::fs::write(bob.inbox().join("f"), "old").unwrap();
    bob.pushed(line)
}

/// The process may open next to nothing, so that the demo cannot start its receiver.
fn no_descriptor_left(json: &str) -> Ran {
    let home = Home::new();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 5; exec \"$0\" demo --size 1 $1", env!("CARGO_BIN_EXE_udpxctl"), json]);
    Ran::of(&shell.env_clear().env("HOME", home.path()).env("TMPDIR", home.path()).output().unwrap())
}

/// A byte of the part is another one on the disk while the rest still comes. The demo reads both files again.
fn a_disk_that_changes_what_it_holds(json: &str) -> Ran {
    let home = Home::new();
    let child = command(&home, &format!("demo --size 16MiB --rate 100mbit {json}")).spawn().unwrap();
    let part = awaited(|| {
        let demo = std::fs::read_dir(home.path()).ok()?.flatten().map(|entry| entry.path());
        let demo = demo.into_iter().find(|path| path.to_string_lossy().contains("udpx-demo-"))?;
        let part = std::fs::read_dir(demo.join("received")).ok()?.flatten().next()?.path();
        let mut first = [0; 4096];
        let file = std::fs::File::open(&part).ok()?;
        (file.read_at(&mut first, 0).ok()? == first.len() && first != [0; 4096]).then_some(part)
    });
    let file = std::fs::File::options().read(true).write(true).open(part).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1000).unwrap();
    file.write_all_at(&[!byte[0]], 1000).unwrap();
    Ran::of(&child.wait_with_output().unwrap())
}

/// A slow push of `f`, once bob has begun to receive it.
fn slow_push(bob: &Bob, json: &str) -> std::process::Child {
    bob.file("f", 8 << 20);
    let child = bob.push(&format!("f bob --rate 20mbit {json}")).spawn().unwrap();
    awaited(|| bob.names().iter().any(|name| name.ends_with(".part")).then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    child
}

fn a_source_that_grows(json: &str) -> Ran {
    let bob = Bob::start();
    let child = slow_push(&bob, json);
    let mut file = std::fs::File::options().append(true).open(bob.home.path().join("f")).unwrap();
    file.write_all(b"more").unwrap();
    Ran::of(&child.wait_with_output().unwrap())
}

fn ctrl_c(json: &str) -> Ran {
    let bob = Bob::start();
    let child = slow_push(&bob, json);
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    Ran::of(&child.wait_with_output().unwrap())
}

fn a_result_that_cannot_be_written(json: &str) -> Ran {
    let home = Home::new();
    let full = std::fs::File::create("/dev/full").unwrap();
    Ran::of(&command(&home, &format!("key {json}")).stdout(full).output().unwrap())
}

/// A `udpxd` with a control socket, and nothing else to do.
struct Idle {
    home: Home,
    child: std::process::Child,
}

impl Idle {
    fn start() -> Idle {
        let home = Home::new();
        let place = |name: &str| home.path().join(name);
        let config = format!(
            "listen = [\"127.0.0.1:0\"]\ncontrol = {:?}\nidentity = {:?}\ninbox = {:?}\n",
            place("d.sock"),
            place("identity"),
            place("inbox"),
        );
        std::fs::create_dir(place("inbox")).unwrap();
        std::fs::write(place("udpxd.toml"), config).unwrap();
        let mut command = Command::new(udpxd());
        command.args(["run", "--config"]).arg(place("udpxd.toml")).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("control socket") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "udpxd has ended");
        }
        // Somebody has to read the rest, or it would wait for that.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Idle { home, child }
    }

    fn socket(&self) -> PathBuf {
        self.home.path().join("d.sock")
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn as_many_connections_as_a_user_may_have(json: &str) -> Ran {
    let daemon = Idle::start();
    let connect = || UnixStream::connect(daemon.socket()).unwrap();
    let all: Vec<UnixStream> = (0..64).map(|_| connect()).collect();
    let ran = asked(&daemon.home, &daemon.socket(), json);
    drop(all);
    ran
}

/// Whoever answers on the socket speaks a schema that is not known yet.
fn a_daemon_of_a_later_version(json: &str) -> Ran {
    let home = Home::new();
    let path = home.path().join("later.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let daemon = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut request = vec![0; u32::from_le_bytes(length) as usize];
        stream.read_exact(&mut request).unwrap();
        let response = br#"{"schema":2,"id":1,"kind":"done","body":{"reply":"stats"}}"#;
        stream.write_all(&(response.len() as u32).to_le_bytes()).unwrap();
        stream.write_all(response).unwrap();
        // The client closes once it has read it.
        let _ = stream.read(&mut length);
    });
    let ran = asked(&home, &path, json);
    daemon.join().unwrap();
    ran
}

fn asked(home: &Home, socket: &Path, json: &str) -> Ran {
    Ran::of(&command(home, &format!("stats {json}")).arg("--socket").arg(socket).output().unwrap())
}

/// A command line without spaces in its words.
fn command(home: &Home, line: &str) -> Command {
    home.command(line.split_whitespace())
}

/// Waits for something that happens soon.
fn awaited<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it never happened");
        std::thread::sleep(Duration::from_millis(5));
    }
}
