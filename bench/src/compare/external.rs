//! The tools that people use today, where they are installed: cp as the limit of writing a fresh file, the rsync
//! daemon, scp with its fastest cipher, and iperf3 for one TCP stream.
//!
//! A file row's time is the wall time of the whole command, into a fresh destination; servers are started before it and
//! don't count. Each copy is compared by size and digest, iperf3 by the number of bytes only: it keeps none.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::User;
use serde_json::Value;

use super::netns::Side;
use super::process::{Finished, Running, Void};
use super::row::{Figure, Lab};

/// Free to use inside our own namespace; on loopback a server that cannot have it makes its row void.
const RSYNC_PORT: u16 = 48_873;
const SSH_PORT: u16 = 48_022;
const IPERF_PORT: u16 = 48_201;
const STARTUP: Duration = Duration::from_secs(5);

pub(crate) fn cp(lab: &Lab) -> Result<Vec<Figure>, Void> {
    let destination = lab.fresh_destination("cp")?;
    // At side A as all commands are, for the same cost of getting there.
    let mut command = lab.arena.command(Side::A, find("cp")?);
    command.args(["--reflink=never", "--sparse=never"]).arg(&lab.source.path).arg(&destination);
    let finished = Running::start("cp", &mut command)?.finish(lab.limit)?;
    verified(lab, &finished, &destination)
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
    verified(lab, &finished, &destination)
}

pub(crate) fn scp(lab: &Lab) -> Result<Vec<Figure>, Void> {
    const CIPHER: &str = "aes128-gcm@openssh.com";
    let (scp, sshd, keygen) = (find("scp")?, find("sshd")?, find("ssh-keygen")?);
    let destination = lab.fresh_destination("scp")?;
    let [host_key, user_key] = ["ssh_host_key", "ssh_user_key"].map(|name| lab.scratch(name));
    for key in [&host_key, &user_key] {
        if !key.exists() {
            let mut command = Command::new(&keygen);
            command.args(["-q", "-t", "ed25519", "-N", "", "-C", "udpx-bench", "-f"]).arg(key);
            Running::start("ssh-keygen", &mut command)?.finish(STARTUP)?;
        }
    }
    let authorized = lab.scratch("ssh_authorized_keys");
    fs::copy(user_key.with_extension("pub"), &authorized)?;
    fs::set_permissions(&authorized, fs::Permissions::from_mode(0o600))?;
    let address = lab.arena.address(Side::B);
    let config = lab.scratch("sshd_config");
    fs::write(&config, sshd_config(&format!("{address}:{SSH_PORT}"), &host_key, &authorized))?;
    if nix::unistd::geteuid().is_root() {
        // The directory of sshd's privilege separation, which its start script would make.
        fs::create_dir_all("/run/sshd")?;
    }
    let mut server = lab.arena.command(Side::B, &sshd);
    server.args(["-D", "-e", "-f"]).arg(&config);
    let mut server = Running::start("sshd", &mut server)?;
    server.await_listening(SSH_PORT, STARTUP)?;
    let user = User::from_uid(nix::unistd::geteuid())?
        .ok_or_else(|| Void("our user has no name to log in with".into()))?;
    let mut client = lab.arena.command(Side::A, &scp);
    client.args(["-q", "-B", "-F", "none", "-c", CIPHER, "-P", &SSH_PORT.to_string(), "-i"]).arg(&user_key);
    for option in [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "Compression=no",
        "LogLevel=ERROR",
    ] {
        client.args(["-o", option]);
    }
    client.arg(&lab.source.path).arg(format!("{}@{address}:{}", user.name, destination.display()));
    let finished = Running::start("scp", &mut client)?.finish(lab.limit)?;
    verified(lab, &finished, &destination)
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
    Ok(vec![Figure::new("own count", bytes, seconds)])
}

/// An sshd for one user, one key and no password, readable by nobody's habits but this file.
fn sshd_config(listen: &str, host_key: &Path, authorized: &Path) -> String {
    format!(
        "ListenAddress {listen}\n\
         HostKey {}\n\
         AuthorizedKeysFile {}\n\
         PidFile none\n\
         StrictModes no\n\
         UsePAM no\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\n\
         Subsystem sftp internal-sftp\n",
        host_key.display(),
        authorized.display()
    )
}

fn verified(lab: &Lab, finished: &Finished, destination: &Path) -> Result<Vec<Figure>, Void> {
    if let Some(difference) = lab.source.difference(destination) {
        return Err(Void(difference));
    }
    fs::remove_file(destination)?;
    Ok(vec![Figure::new("command", lab.source.size, finished.wall.as_secs_f64())])
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The absolute path of a program, which sshd insists on; `sbin` is searched too.
fn find(program: &str) -> Result<PathBuf, Void> {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(OsString::from(":/usr/local/sbin:/usr/sbin:/sbin"));
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|p| p.is_file())
        .ok_or_else(|| Void(format!("{program} is not installed")))
}
