//! `udpxctl root`: places beside the inbox that the daemon's peers may be given rights in.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use udpx_control::schema::{Event, Reply, RootReport, Roots};
use udpxd::Code;

use crate::args::{AskArgs, Output};
use crate::failure::Failure;
use crate::{ask, escape, events, jsonl, say, table, units};

/// Which of them is meant.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct RootArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a directory, under a name
    #[command(after_help = ADD_HELP)]
    Add {
        /// Its name: letters, digits, '-' and '_'. Peers write HOST:/NAME/path
        name: String,
        /// A directory that exists, and that the daemon may read and write
        path: PathBuf,
        #[command(flatten)]
        socket: AskArgs,
    },
    /// List the roots, and what is wrong with them
    List(AskArgs),
    /// Remove one that was added; the files in it stay
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        socket: AskArgs,
    },
}

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: RootArgs, output: Output) -> Result<(), Failure> {
    match args.action {
        Action::Add { name, path, socket } => add(&name, &path, socket, output),
        Action::List(socket) => list(socket, output),
        Action::Remove { name, socket } => remove(&name, socket, output),
    }
}

fn add(name: &str, path: &Path, socket: AskArgs, output: Output) -> Result<(), Failure> {
    // The daemon has a working directory of its own.
    let path = std::path::absolute(path)
        .map_err(|error| Failure::new(Code::Usage, format!("{}: {error}", path.display())))?;
    let mut shown = path.clone();
    let request = Roots::Add { root: name.into(), path: path.into() };
    change(socket, request, |root| {
        shown = root.path.as_path().into();
        if output.json {
            jsonl::emit("root", ask::fields(&root));
        }
    })?;
    if output.json {
        return jsonl::emit_last("summary", events::object(json!({ "ok": true })));
    }
    if output.quiet {
        return Ok(());
    }
    let (name, place) = (escape::text(name), escape::path(&shown));
    say(&format!(
        "root {name} is {place}\n  A peer may use it once it is granted: sudo udpxctl peer grant PEER --root {name} --read \
         --list\n"
    ))
}

fn remove(name: &str, socket: AskArgs, output: Output) -> Result<(), Failure> {
    change(socket, Roots::Remove { root: name.into() }, |_| {})?;
    if output.json {
        jsonl::emit_last("summary", events::object(json!({ "ok": true })))
    } else if output.quiet {
        Ok(())
    } else {
        say(&format!("root {} is removed; its files stay where they are\n", escape::text(name)))
    }
}

/// Asks for a change; `on_root` hears of the root as it is then.
fn change(socket: AskArgs, request: Roots, mut on_root: impl FnMut(RootReport)) -> Result<(), Failure> {
    let mut client = ask::connect(socket.socket)?;
    let reply = ask::call(&mut client, request, |event| {
        if let Event::Root(root) = event {
            on_root(root);
        }
    })?;
    match reply {
        Reply::Nothing => Ok(()),
        _ => Err(ask::unexpected()),
    }
}

fn list(socket: AskArgs, output: Output) -> Result<(), Failure> {
    let mut client = ask::connect(socket.socket)?;
    let mut roots = Vec::new();
    ask::call(&mut client, Roots::List, |event| {
        if let Event::Root(root) = event {
            roots.push(root);
        }
    })?;
    if output.json {
        roots.iter().for_each(|root| jsonl::emit("root", ask::fields(root)));
        return jsonl::emit_last("summary", events::object(json!({ "ok": true, "roots": roots.len() })));
    }
    let head = ["root", "free", "path"].map(str::to_owned).to_vec();
    let lines: Vec<_> = [head].into_iter().chain(roots.iter().map(cells)).collect();
    let mut text = table::aligned(&lines, 3);
    for root in roots.iter().filter(|root| !root.problem.is_empty()) {
        let lines: Vec<_> = root.problem.lines().map(escape::text).collect();
        text.push_str(&format!("\n{} cannot be used: {}\n", escape::text(&root.root), lines.join("\n  ")));
    }
    say(&text)
}

fn cells(root: &RootReport) -> Vec<String> {
    let name = escape::text(&root.root);
    let name = if root.default { format!("{name} (default)") } else { name };
    vec![name, units::size(root.free_bytes), escape::bytes(root.path.as_bytes())]
}

const ADD_HELP: &str = "Examples:
  sudo install -d -o udpx -g udpx -m 2770 /srv/disk
  sudo udpxctl root add disk /srv/disk
  udpxctl push file.iso HOST:/disk/in/      (from a peer that may write there)";
