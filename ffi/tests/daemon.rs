//! Clients of real daemons, in C; and of some that are not what they should be.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]
#![allow(unsafe_code, reason = "functions of C are called")]

mod support;

use std::ffi::CString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use support::{Build, Under, build, command, root, told};
use tempfile::TempDir;
use udpx::{udpx_client, udpx_client_free, udpx_client_new, udpx_status};
use udpxd::identity;

/// The daemon's program, built beside this test as it is now.
fn udpxd() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let profile = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--package", "udpxd", "--bin", "udpxd", "--target-dir"]);
        command.arg(profile.parent().unwrap()).current_dir(root());
        if profile.ends_with("release") {
            command.arg("--release");
        }
        assert!(command.status().unwrap().success());
        profile.join("udpxd")
    })
}

/// Daemons a and b, who know each other; both end with the handle.
struct Two {
    place: TempDir,
    /// Port and peers of a, to run it again.
    again: (u16, String),
    a: Child,
    b: Child,
}

impl Two {
    fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let key = |name: &str| {
            std::fs::create_dir(at(name)).unwrap();
            identity::key_text(&identity::load_or_create(&at(name).join("identity")).unwrap().public())
        };
        let (of_a, of_b, port) = (key("a"), key("b"), free_port());
        let a = format!("[[peer]]\nname = \"a\"\nkey = {of_a:?}\nread = true\nlist = true\n");
        let b = format!("[[peer]]\nname = \"b\"\nkey = {of_b:?}\naddress = \"127.0.0.1:{port}\"\n");
        // What a may read is what it has sent.
        let again = (free_port(), b);
        let (b_runs, a_runs) = (run(&at("b"), port, &a), run(&at("a"), again.0, &again.1));
        Self { a: a_runs, b: b_runs, again, place }
    }

    fn kill_a(&mut self) {
        self.a.kill().unwrap();
        self.a.wait().unwrap();
    }

    fn run_a_again(&mut self) {
        self.a = run(&self.place.path().join("a"), self.again.0, &self.again.1);
    }

    fn socket(&self) -> PathBuf {
        self.place.path().join("a/d.sock")
    }

    fn arrived(&self, name: &str) -> PathBuf {
        self.place.path().join("b/inbox/a").join(name)
    }
}

impl Drop for Two {
    fn drop(&mut self) {
        for child in [&mut self.a, &mut self.b] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_port() -> u16 {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn run(place: &Path, port: u16, peers: &str) -> Child {
    let at = |name: &str| place.join(name);
    let text = format!(
        "listen = [\"127.0.0.1:{port}\"]\nidentity = {:?}\nstate = {:?}\ninbox = {:?}\ncontrol = {:?}\n{peers}",
        at("identity"),
        at("state"),
        at("inbox"),
        at("d.sock"),
    );
    std::fs::write(at("udpxd.toml"), text).unwrap();
    let mut command = Command::new(udpxd());
    command.args(["run", "--config"]).arg(at("udpxd.toml")).env("NO_COLOR", "1");
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let (mut line, mut all) = (String::new(), String::new());
    while !line.contains("control socket") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "udpxd has ended: {all}");
        all.push_str(&line);
    }
    // Somebody has to read the rest, or it would wait for that.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    child
}

/// `tests/c/client.c`, which checks itself.
fn client(how: Build, under: Under) {
    let two = Two::start();
    let place = tempfile::tempdir().unwrap();
    let source = root().join("ffi/tests/c/client.c");
    let Some(program) = build(&source, how, place.path()) else { return };
    let Some(mut command) = command(&program, under) else { return };
    let output = command.arg(place.path()).arg(two.socket()).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    for (name, len) in [("source", 3_000_000), ("sub/by-fd", 3_000_000), ("memory", 5)] {
        assert_eq!(std::fs::metadata(two.arrived(name)).unwrap().len(), len, "{name}");
    }
    assert_eq!(std::fs::read(place.path().join("new/back")).unwrap(), b"hello");
}

#[test]
fn a_client_does_everything() {
    client(Build::Gcc, Under::Nothing);
}

#[test]
fn a_client_under_valgrind() {
    client(Build::Gcc, Under::Valgrind);
}

#[test]
fn a_client_under_sanitizers() {
    client(Build::Sanitized, Under::Nothing);
}

#[test]
fn an_event_loop_pushes_many() {
    let two = Two::start();
    let place = tempfile::tempdir().unwrap();
    let source = root().join("ffi/examples/events.c");
    for (how, under) in
        [(Build::Gcc, Under::Nothing), (Build::Gcc, Under::Valgrind), (Build::Sanitized, Under::Nothing)]
    {
        let Some(program) = build(&source, how, place.path()) else { continue };
        let Some(mut command) = command(&program, under) else { continue };
        command.arg(two.socket()).arg(format!("b:{how:?}{under:?}/")).current_dir(place.path());
        let names: Vec<String> = (0..8).map(|number| format!("file-{number}")).collect();
        for name in &names {
            std::fs::write(place.path().join(name), support::bytes(10_000)).unwrap();
        }
        let output = command.args(&names).arg("missing").output().unwrap();
        assert_eq!(output.status.code(), Some(udpx_status::NoSource as i32), "{}", told(&output));
        let said = String::from_utf8(output.stdout).unwrap();
        for name in &names {
            assert!(said.contains(&format!("{name} 0\n")), "{said}");
            assert!(two.arrived(&format!("{how:?}{under:?}/{name}")).exists());
        }
    }
}

#[test]
fn a_daemon_that_dies_is_told_within_a_second() {
    let mut two = Two::start();
    let place = tempfile::tempdir().unwrap();
    let program = build(&root().join("ffi/tests/c/client.c"), Build::Gcc, place.path()).unwrap();
    let mut command = Command::new(program);
    command.arg(place.path()).arg(two.socket()).arg("killed").stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "under way");
    two.a.kill().unwrap();
    let killed = Instant::now();
    assert_eq!(said.next().unwrap().unwrap(), "told");
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_daemon_that_is_restarted_is_waited_for_by_option() {
    let mut two = Two::start();
    let place = tempfile::tempdir().unwrap();
    let program = build(&root().join("ffi/tests/c/client.c"), Build::Gcc, place.path()).unwrap();
    let mut command = Command::new(program);
    command.arg(place.path()).arg(two.socket()).arg("restarted").stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "under way");
    two.kill_a();
    assert_eq!(said.next().unwrap().unwrap(), "waits");
    two.run_a_again();
    assert!(child.wait().unwrap().success());
    assert_eq!(std::fs::metadata(two.arrived("slow")).unwrap().len(), 3_000_000);
}

/// Connects to what answers every request by this.
fn meet(answer: &'static str) -> udpx_status {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut request = vec![0; u32::from_le_bytes(length) as usize];
        stream.read_exact(&mut request).unwrap();
        let frame = [&(answer.len() as u32).to_le_bytes()[..], answer.as_bytes()].concat();
        stream.write_all(&frame).unwrap();
    });
    let path = CString::new(socket.as_os_str().as_bytes()).unwrap();
    let mut client: *mut udpx_client = std::ptr::null_mut();
    // SAFETY: a terminated path, and a place for the handle.
    let status = unsafe { udpx_client_new(path.as_ptr(), &raw mut client) };
    thread.join().unwrap();
    assert_eq!(udpx_client_free(client), udpx_status::Ok);
    assert_eq!(client.is_null(), status != udpx_status::Ok);
    status
}

#[test]
fn daemons_of_other_versions() {
    assert_eq!(meet(r#"{"schema":99,"id":1,"news":1}"#), udpx_status::Protocol);
    // A later one of the same schema may say more.
    let later = r#"{"schema":1,"id":1,"kind":"done","body":{"reply":"version","version":"9.0.0","schema":1,"protocol":1,"kernel":"9","more":[1]}}"#;
    assert_eq!(meet(later), udpx_status::Ok);
    // One before it knew the command.
    let earlier = r#"{"schema":1,"id":1,"kind":"error","body":{"code":76,"kind":"protocol","text":"This daemon knows no command \"version\".","remedy":"Update udpxd."}}"#;
    assert_eq!(meet(earlier), udpx_status::Protocol);
    assert_eq!(meet("no JSON at all"), udpx_status::Protocol);
}
