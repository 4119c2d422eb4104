//! `udpxd`: see [`udpxd::daemon::command`].

use std::process::ExitCode;

fn main() -> ExitCode {
    udpxd::daemon::command::main()
}
