//! The library as a C programmer has it: installed below a prefix, found by pkg-config, compiled against with all warnings.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A program is there.
pub(crate) fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// An installation that was made by `install.sh`, once for a test binary.
pub(crate) fn prefix() -> &'static Path {
    static PREFIX: OnceLock<TempDir> = OnceLock::new();
    PREFIX
        .get_or_init(|| {
            let place = tempfile::tempdir().unwrap();
            // cargo puts the libraries that this test was built with beside it.
            let built = std::env::current_exe().unwrap().parent().unwrap().to_owned();
            let mut install = Command::new(root().join("ffi/install.sh"));
            let output = install.arg("--prefix").arg(place.path()).arg("--from").arg(built).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            place
        })
        .path()
}

/// What pkg-config says of the installation, and of nothing else.
pub(crate) fn pkg_config(words: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig")).args(words).arg("udpx");
    let output = command.output().expect("pkg-config is needed to test libudpx");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
}

/// How a program is compiled.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    Gcc,
    Clang,
    Cxx,
    /// With AddressSanitizer and UndefinedBehaviorSanitizer.
    Sanitized,
    /// With the static library.
    Static,
}

/// Compiles a C program in an empty directory; `None`, and told so, where there is no such compiler.
pub(crate) fn build(source: &Path, build: Build, place: &Path) -> Option<PathBuf> {
    let compiler = match build {
        Build::Clang => "clang",
        Build::Cxx => "g++",
        Build::Gcc | Build::Sanitized | Build::Static => "gcc",
    };
    if !has(compiler) {
        println!("SKIPPED {} with {build:?}: there is no {compiler}", source.display());
        return None;
    }
    let program = place.join(format!("{}-{build:?}", source.file_stem().unwrap().to_str().unwrap()));
    let mut command = Command::new(compiler);
    match build {
        Build::Cxx => command.args(["-x", "c++", "-std=c++17"]),
        _ => command.args(["-std=c11", "-D_DEFAULT_SOURCE"]),
    };
    if build == Build::Sanitized {
        command.args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
    }
    command.args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-g", "-O1", "-pthread"]);
    command.arg(source).args(["-x", "none"]).arg("-o").arg(&program).args(pkg_config(&["--cflags"]));
    match build {
        Build::Static => {
            // The command of docs/C_API.md.
            command.args(pkg_config(&["--static", "--libs"]).iter().map(|word| match word.as_str() {
                "-ludpx" => "-l:libudpx.a",
                word => word,
            }));
        }
        _ => {
            command.args(pkg_config(&["--libs"]));
            command.arg(format!("-Wl,-rpath,{}", prefix().join("lib").display()));
        }
    }
    let output = command.current_dir(place).output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    Some(program)
}

/// How a program is run.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Under {
    Nothing,
    /// No leak, no error, of memory or descriptors.
    Valgrind,
}

/// A command that runs a program; `None`, and told so, where there is no valgrind.
pub(crate) fn command(program: &Path, under: Under) -> Option<Command> {
    Some(match under {
        Under::Nothing => Command::new(program),
        Under::Valgrind if !has("valgrind") => {
            println!("SKIPPED {} under valgrind: it is not installed", program.display());
            return None;
        }
        Under::Valgrind => {
            let mut command = Command::new("valgrind");
            command.args([
                "--quiet",
                "--error-exitcode=99",
                "--leak-check=full",
                "--errors-for-leak-kinds=definite",
                "--show-leak-kinds=definite",
            ]);
            command.arg("--fair-sched=yes").arg(program);
            command
        }
    })
}

/// What a program came to.
pub(crate) fn told(output: &Output) -> String {
    format!(
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A receiver that has told its ticket.
pub(crate) struct Receiver {
    pub(crate) child: Child,
    pub(crate) ticket: String,
    log: BufReader<ChildStderr>,
}

impl Receiver {
    /// Runs `receive` on the loopback, its standard output into a file.
    pub(crate) fn start(mut command: Command, out: &Path) -> Self {
        command.arg("127.0.0.1").stdout(std::fs::File::create(out).unwrap()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut ticket = String::new();
        // valgrind may have something to say first: of system calls that it does not know.
        while ticket.is_empty() || ticket.starts_with("--") {
            ticket.clear();
            assert!(log.read_line(&mut ticket).unwrap() > 0, "the receiver has ended");
        }
        assert!(ticket.starts_with("udpx1"), "{ticket}");
        Self { child, ticket: ticket.trim().to_owned(), log }
    }

    /// Waits for its end; what it has said.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.log.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

/// Bytes that are not all alike.
pub(crate) fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(31) ^ (at >> 9)) as u8).collect()
}
