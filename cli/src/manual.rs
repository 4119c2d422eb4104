//! `udpxctl manual DIR`: manual pages and completions, made from the same definitions as `--help`; `install.sh` calls it.

use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use udpxd::Code;

use crate::args::{Cli, ManualArgs};
use crate::escape;
use crate::failure::Failure;

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: &ManualArgs) -> Result<(), Failure> {
    write(&args.directory).map_err(|error| {
        let text = format!("{}: {error}", escape::path(&args.directory));
        Failure::with_remedy(Code::NoSpace, text, "Give an existing directory that can be written.")
    })
}

fn write(directory: &Path) -> io::Result<()> {
    pages(&Cli::command(), "1", directory)?;
    pages(&udpxd::daemon::command::command_line(), "8", directory)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "udpxctl", directory)?;
    }
    Ok(())
}

/// A page of the program and one of each of its commands.
fn pages(program: &clap::Command, section: &str, directory: &Path) -> io::Result<()> {
    let mut program = program.clone();
    // From here on its commands have their whole names, and know the global options.
    program.build();
    let page = |command: &clap::Command| {
        let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
        let mut bytes = Vec::new();
        clap_mangen::Man::new(command.clone()).section(section).render(&mut bytes)?;
        std::fs::write(directory.join(format!("{name}.{section}")), bytes)
    };
    let shown = |command: &&clap::Command| !command.is_hide_set() && command.get_name() != "help";
    program.get_subcommands().filter(shown).try_for_each(page)?;
    page(&program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_options() {
        let directory = std::env::temp_dir().join(format!("udpx-manual-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        write(&directory).unwrap();
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let page = directory.join(format!("udpxctl-{}.1", command.get_name()));
            let text = std::fs::read_to_string(&page).unwrap();
            assert!(text.contains("SYNOPSIS") && text.contains("DESCRIPTION"), "{page:?}");
        }
        let push = std::fs::read_to_string(directory.join("udpxctl-push.1")).unwrap();
        assert!(push.contains("detach") && push.contains("json"), "{push}");
        let daemon = std::fs::read_to_string(directory.join("udpxd.8")).unwrap();
        assert!(daemon.contains("config"), "{daemon}");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
