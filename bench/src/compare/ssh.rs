//! An sshd for the rows that go through ssh: one user, one key, no password, nobody's habits.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::User;

use super::external::find;
use super::netns::Side;
use super::process::{Running, Void};
use super::row::Lab;

/// Free to use inside our own namespace; on loopback a server that cannot have it makes its row void.
const PORT: u16 = 48_022;
const STARTUP: Duration = Duration::from_secs(5);
/// The fastest that it has.
const CIPHER: &str = "aes128-gcm@openssh.com";

/// A running server.
pub(crate) struct Sshd {
    pub(crate) server: Running,
    user_key: PathBuf,
    /// `user@address`.
    pub(crate) destination: String,
}

impl Sshd {
    pub(crate) fn start(lab: &Lab) -> Result<Sshd, Void> {
        let (sshd, keygen) = (find("sshd")?, find("ssh-keygen")?);
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
        fs::write(&config, configuration(&format!("{address}:{PORT}"), &host_key, &authorized))?;
        if nix::unistd::geteuid().is_root() {
            // The directory of sshd's privilege separation, which its start script would make.
            fs::create_dir_all("/run/sshd")?;
        }
        let mut server = lab.arena.command(Side::B, &sshd);
        server.args(["-D", "-e", "-f"]).arg(&config);
        let mut server = Running::start("sshd", &mut server)?;
        server.await_listening(PORT, STARTUP)?;
        let user = User::from_uid(nix::unistd::geteuid())?
            .ok_or_else(|| Void("our user has no name to log in with".into()))?;
        Ok(Sshd { server, user_key, destination: format!("{}@{address}", user.name) })
    }

    /// What ssh and scp are told before they are told what to do.
    pub(crate) fn options(&self) -> Vec<String> {
        let mut options: Vec<String> = ["-F", "none", "-c", CIPHER, "-i"].map(str::to_owned).to_vec();
        options.push(self.user_key.display().to_string());
        for option in [
            &format!("Port={PORT}"),
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "BatchMode=yes",
            "Compression=no",
            "LogLevel=ERROR",
        ] {
            options.extend(["-o".to_owned(), option.to_owned()]);
        }
        options
    }
}

fn configuration(listen: &str, host_key: &Path, authorized: &Path) -> String {
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
