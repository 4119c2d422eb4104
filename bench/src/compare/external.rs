//! The tools that people use today, where they are installed: cp as the limit of writing a fresh file, the rsync
//! daemon, scp and rsync through ssh with its fastest cipher, uftp, and iperf3 for one TCP stream.
//!
//! A file row's time is the wall time of the whole command, into a fresh destination; servers are started before it and
//! don't count. Each copy is compared by size and digest, iperf3 by the number of bytes only: it keeps none.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::netns::{Arena, Side};
use super::process::{Finished, Running, Void};
use super::row::{End, Figure, Lab};
use super::ssh::Sshd;

/// Free to use inside our own namespace; on loopback a server that cannot have it makes its row void.
const RSYNC_PORT: u16 = 48_873;
const UFTP_PORT: u16 = 48_044;
const IPERF_PORT: u16 = 48_201;
/// What uftp puts before each block, beside UDP's own header.
const UFTP_HEADERS: u16 = 32;
const STARTUP: Duration = Duration::from_secs(5);

pub(crate) fn cp(lab: &Lab) -> Result<Vec<Figure>, Void> {
    let destination = lab.fresh_destination("cp")?;
    // At side A as all commands are, for the same cost of getting there.
    let mut command = lab.arena.command(Side::A, find("cp")?);
    command.args(["--reflink=never", "--sparse=never"]).arg(&lab.source.path).arg(&destination);
    let finished = Running::start("cp", &mut command)?.finish(lab.limit)?;
    verified(lab, &finished, None, &destination)
}

pub(crate) fn rsync(lab: &Lab) -> Result<Vec<Figure>, Void> {
    let program = find("rsync")?;
    let destination = lab.fresh_destination("rsync")?;
    let config = lab.scratch("rsyncd.conf");
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let root = if uid.is_root() { format!("uid = {uid}\ngid = {gid}\n") } else { String::new() };
    let inbox = destination.parent().unwrap_or(&destination).display();
    fs::write(
        &config,
        format!("use chroot = no\n{root}[inbox]\npath = {inbox}\nread only = no\ntransfer logging = no\n"),
    )?;
    let address = lab.arena.address(Side::B);
    let mut server = lab.arena.command(Side::B, &program);
    server.args(["--daemon", "--no-detach", "--log-file=/dev/null"]);
    server.args(["--port", &RSYNC_PORT.to_string(), "--address", &address.to_string()]);
    server.arg("--config").arg(&config);
    let mut server = Running::start("rsyncd", &mut server)?;
    server.await_listening(RSYNC_PORT, STARTUP)?;
    let mut client = lab.arena.command(Side::A, &program);
    client.args(["--whole-file", "--inplace", "--no-compress"]).arg(&lab.source.path);
    client.arg(format!("rsync://{address}:{RSYNC_PORT}/inbox/{}", file_name(&destination)));
    let finished = Running::start("rsync", &mut client)?.finish(lab.limit)?;
    verified(lab, &finished, Some(server), &destination)
}

pub(crate) fn scp(lab: &Lab) -> Result<Vec<Figure>, Void> {
    let program = find("scp")?;
    let destination = lab.fresh_destination("scp")?;
    let sshd = Sshd::start(lab)?;
    let mut client = lab.arena.command(Side::A, &program);
    client.arg("-q").args(sshd.options()).arg(&lab.source.path);
    client.arg(format!("{}:{}", sshd.destination, destination.display()));
    let finished = Running::start("scp", &mut client)?.finish(lab.limit)?;
    verified(lab, &finished, Some(sshd.server), &destination)
}

pub(crate) fn rsync_ssh(lab: &Lab) -> Result<Vec<Figure>, Void> {
    let (program, ssh) = (find("rsync")?, find("ssh")?);
    let destination = lab.fresh_destination("rsync-ssh")?;
    let sshd = Sshd::start(lab)?;
    let shell = [vec![ssh.display().to_string()], sshd.options()].concat().join(" ");
    let mut client = lab.arena.command(Side::A, &program);
    client.args(["--whole-file", "--inplace", "--no-compress", "--rsh", &shell]).arg(&lab.source.path);
    client.arg(format!("{}:{}", sshd.destination, destination.display()));
    let finished = Running::start("rsync", &mut client)?.finish(lab.limit)?;
    verified(lab, &finished, Some(sshd.server), &destination)
}

/// As fast as it can, without congestion control, and by unicast, which is not what it is made for.
pub(crate) fn uftp(lab: &Lab) -> Result<Vec<Figure>, Void> {
    let (client, server) = (find("uftp")?, find("uftpd")?);
    let destination = lab.fresh_destination("uftp")?;
    let inbox = destination.parent().unwrap_or(&destination);
    let (address, port) = (lab.arena.address(Side::B).to_string(), UFTP_PORT.to_string());
    let mut daemon = lab.arena.command(Side::B, &server);
    daemon.args(["-d", "-t", "-p", &port, "-B", "8388608", "-L", "/dev/null"]).arg("-D").arg(inbox);
    if let Arena::Veth { .. } = lab.arena {
        daemon.args(["-I", &address]);
    }
    let daemon = Running::start("uftpd", &mut daemon)?;
    // Its port is a UDP port, which it has when its log begins.
    std::thread::sleep(Duration::from_millis(300));
    let mut command = lab.arena.command(Side::A, &client);
    let block = (lab.arena.datagram() - UFTP_HEADERS).to_string();
    command.args(["-R", "-1", "-C", "none", "-B", "8388608", "-p", &port, "-b", &block, "-M", &address]);
    command.args(["-D", &file_name(&destination)]).arg(&lab.source.path);
    let finished = Running::start("uftp", &mut command)?.finish(lab.limit)?;
    verified(lab, &finished, Some(daemon), &destination)
}

/// One stream for as many bytes as the other rows move.
pub(crate) fn iperf3(lab: &Lab) -> Result<Vec<Figure>, Void> {
    let program = find("iperf3")?;
    let address = lab.arena.address(Side::B).to_string();
    let port = IPERF_PORT.to_string();
    let mut server = lab.arena.command(Side::B, &program);
    server.args(["--server", "--one-off", "--bind", &address, "--port", &port]);
    let mut server = Running::start("iperf3 -s", &mut server)?;
    server.await_listening(IPERF_PORT, STARTUP)?;
    let mut client = lab.arena.command(Side::A, &program);
    client.args(["--client", &address, "--port", &port, "--json", "--bytes", &lab.source.size.to_string()]);
    let finished = Running::start("iperf3 -c", &mut client)?.finish(lab.limit)?;
    let text: Value =
        serde_json::from_str(&finished.stdout).map_err(|e| Void(format!("iperf3 wrote: {e}")))?;
    let end = &text["end"];
    let counted = |sum: &str| Some((end[sum]["bytes"].as_u64()?, end[sum]["seconds"].as_f64()?));
    let (Some((sent, _)), Some((bytes, seconds))) = (counted("sum_sent"), counted("sum_received")) else {
        return Err(Void("iperf3's report has no sums".into()));
    };
    // The server stops counting when the client says that it is done, with a socket buffer still unread.
    if sent < lab.source.size || bytes < lab.source.size / 10 * 9 {
        return Err(Void(format!("of {} bytes {sent} were sent and {bytes} counted", lab.source.size)));
    }
    Ok(vec![Figure { sender: End::of(finished.usage), ..Figure::new("own count", bytes, seconds) }])
}

fn verified(
    lab: &Lab,
    finished: &Finished,
    server: Option<Running>,
    destination: &Path,
) -> Result<Vec<Figure>, Void> {
    if let Some(difference) = lab.source.difference(destination) {
        return Err(Void(difference));
    }
    fs::remove_file(destination)?;
    Ok(vec![Figure {
        sender: End::of(finished.usage),
        receiver: server.map(Running::end).transpose()?.map_or_else(End::default, End::of),
        ..Figure::new("command", lab.source.size, finished.wall.as_secs_f64())
    }])
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The absolute path of a program, which sshd insists on; `sbin` is searched too.
pub(super) fn find(program: &str) -> Result<PathBuf, Void> {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(OsString::from(":/usr/local/sbin:/usr/sbin:/sbin"));
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|p| p.is_file())
        .ok_or_else(|| Void(format!("{program} is not installed")))
}
