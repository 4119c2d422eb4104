//! Two daemons, alice's and bob's, who know each other, in a directory of their own and on ports that the kernel chooses.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use udpx_control::client::{Client, ClientError, SocketChoice};
use udpx_control::schema::{How, JobReport, Local, Push, Remote, Reply, Show, TransferOptions};

use crate::compare::{Running, Usage, Void, beside_us};

/// A daemon that runs.
pub(super) struct Daemon {
    directory: PathBuf,
    process: Running,
}

pub(super) struct Daemons {
    pub(super) alice: Daemon,
    pub(super) bob: Daemon,
}

const STARTUP: Duration = Duration::from_secs(20);

impl Daemons {
    /// In the empty directory `at`; `limits` is what alice's `[limits]` say.
    pub(super) fn start(at: &Path, limits: &str) -> Result<Daemons, Void> {
        let (alice, bob) = (at.join("alice"), at.join("bob"));
        let keys = [&alice, &bob].map(|directory| new_key(directory));
        let [alice_key, bob_key] = keys;
        let port = free_port()?;
        let address = format!("address = \"127.0.0.1:{port}\"\n");
        let bob = Daemon::start(bob, port, &peer("alice", &alice_key?, ""))?;
        let alice = Daemon::start(alice, 0, &format!("{}\n{limits}", peer("bob", &bob_key?, &address)))?;
        Ok(Daemons { alice, bob })
    }

    /// What both cost: alice's and bob's.
    pub(super) fn end(self) -> Result<[Usage; 2], Void> {
        Ok([self.alice.process.end()?, self.bob.process.end()?])
    }
}

impl Daemon {
    fn start(directory: PathBuf, port: u16, rest: &str) -> Result<Daemon, Void> {
        let at = |name: &str| directory.join(name);
        fs::write(
            at("udpxd.toml"),
            format!(
                "listen = [\"127.0.0.1:{port}\"]\nidentity = {:?}\nstate = {directory:?}\ninbox = {:?}\ncontrol = {:?}\n{rest}",
                at("identity"),
                at("inbox"),
                at("d.sock"),
            ),
        )?;
        let mut command = std::process::Command::new(beside_us("udpxd")?);
        command.args(["run", "--config"]).arg(at("udpxd.toml"));
        // A daemon that logs much would fill a pipe that nobody reads.
        command.env("RUST_LOG", "warn").env("NO_COLOR", "1");
        let process = Running::start("udpxd", &mut command)?;
        let daemon = Daemon { directory, process };
        daemon.client()?;
        Ok(daemon)
    }

    /// A new connection to its control socket.
    pub(super) fn client(&self) -> Result<Client, Void> {
        let begin = Instant::now();
        loop {
            match Client::connect(&SocketChoice::path(self.directory.join("d.sock"))) {
                Err(ClientError::NoDaemon { .. }) if begin.elapsed() < STARTUP => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                client => return client.map_err(told),
            }
        }
    }

    pub(super) fn inbox_of(&self, peer: &str) -> PathBuf {
        self.directory.join("inbox").join(peer)
    }
}

/// Asks for a push of these files to bob, by descriptor, and goes on; the job's number.
pub(super) fn push(client: &mut Client, files: &[PathBuf]) -> Result<u64, Void> {
    let (push, opened) = request(files, true)?;
    let descriptors: Vec<_> = opened.iter().map(AsFd::as_fd).collect();
    for update in client.request(push, &descriptors).map_err(told)? {
        use udpx_control::client::Update;
        match update.map_err(told)? {
            Update::Accepted(Reply::Accepted { job }) | Update::Done(Reply::Accepted { job }, _) => {
                return Ok(job);
            }
            _ => {}
        }
    }
    Err(Void("the daemon did not accept a job".into()))
}

/// The same, and waits for the end of the job.
pub(super) fn push_to_the_end(client: &mut Client, files: &[PathBuf]) -> Result<Box<JobReport>, Void> {
    let (push, opened) = request(files, false)?;
    let descriptors: Vec<_> = opened.iter().map(AsFd::as_fd).collect();
    match client.request(push, &descriptors).map_err(told)?.finish(|_| {}).map_err(told)? {
        Reply::Job { job, .. } => Ok(job),
        other => Err(Void(format!("the daemon answered a push with {other:?}"))),
    }
}

fn request(files: &[PathBuf], detach: bool) -> Result<(Push, Vec<File>), Void> {
    let opened = files.iter().map(File::open).collect::<Result<Vec<_>, _>>()?;
    let local = |path: &PathBuf| Local { path: path.as_path().into(), how: How::Fd, bytes: None };
    let bob = Remote { host: "bob".into(), port: None, root: String::new(), path: "".into(), key: None };
    let options = TransferOptions { detach, ..TransferOptions::default() };
    Ok((Push { sources: files.iter().map(local).collect(), destinations: vec![bob], options }, opened))
}

/// A job as it stands.
pub(super) fn job(client: &mut Client, job: u64) -> Result<Box<JobReport>, Void> {
    match client.call(Show { job, samples: false }).map_err(told)? {
        Reply::Job { job, .. } => Ok(job),
        other => Err(Void(format!("the daemon answered show with {other:?}"))),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn told(error: ClientError) -> Void {
    Void(format!("control socket: {error}"))
}

fn new_key(directory: &Path) -> Result<String, Void> {
    fs::create_dir_all(directory)?;
    let mut command = std::process::Command::new(beside_us("udpxctl")?);
    command.arg("key").arg("--identity").arg(directory.join("identity"));
    let finished = Running::start("udpxctl key", &mut command)?.finish(STARTUP)?;
    Ok(finished.stdout.trim().to_owned())
}

fn peer(name: &str, key: &str, more: &str) -> String {
    format!("[[peer]]\nname = {name:?}\nkey = {key:?}\nread = true\nlist = true\n{more}")
}

/// One that is free now; nobody else on the machine is likely to take it in the next millisecond.
fn free_port() -> Result<u16, Void> {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(socket.local_addr()?.port())
}
