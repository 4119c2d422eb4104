//! The files in `systemd/`: the configuration is valid and complete, what is installed is where it should be, and what
//! the unit runs exists. What a real systemd makes of them is tested by `systemd/test/real-systemd.sh`.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use udpxd::config::{Config, Limits, PORT};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().into()
}

fn shipped(name: &str) -> String {
    std::fs::read_to_string(top().join("systemd").join(name)).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8([output.stdout.as_slice(), &output.stderr].concat()).unwrap()
}

/// What `udpxd check` says of a configuration.
fn check(text: &str) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("udpxd.toml");
    std::fs::write(&path, text).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_udpxd")).args(["check", "--config"]).arg(path).output().unwrap();
    (output.status.success(), said(&output))
}

/// The shipped configuration with all settings in force.
fn uncommented() -> String {
    let setting =
        |line: &'static str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line);
    let text: &'static str = shipped("udpxd.toml").leak();
    text.lines().map(setting).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_shipped_configuration_is_valid_as_it_is_and_with_every_line_in_force() {
    let (valid, said) = check(&shipped("udpxd.toml"));
    assert!(valid && said.contains("listens on 0.0.0.0:48379"), "{said}");
    let (valid, said) = check(&uncommented());
    assert!(valid && said.contains("takes files of alice into /var/lib/udpx/inbox/alice"), "{said}");
}

#[test]
fn the_shipped_configuration_has_every_setting_with_its_default() {
    // The parser's own keys: a new one must be explained there too.
    let code = |file: &str| {
        let text = std::fs::read_to_string(top().join("daemon/src/config").join(file)).unwrap();
        text.split("#[cfg(test)]").next().unwrap().to_owned()
    };
    let parser = code("mod.rs") + &code("peer.rs");
    let text = uncommented();
    let mut keys = 0;
    for call in [".take(\"", ".need(\"", " flag(\""] {
        for found in parser.split(call).skip(1) {
            let key = found.split('"').next().unwrap();
            let told = [
                format!("\n{key} = "),
                format!("\n{key}."),
                format!("\n[{key}]\n"),
                format!("\n[[{key}]]\n"),
            ]
            .iter()
            .any(|line| text.contains(line));
            assert!(told, "{key:?} is not in systemd/udpxd.toml");
            keys += 1;
        }
    }
    assert!(keys >= 22, "the parser's keys were not found");
    for (name, default, least, most) in Limits::ALL {
        assert!(text.contains(&format!("\n{name} = {default}\n")), "{name}");
        assert!(text.contains(&format!("{least} to {most}")), "{name} has no range");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("udpxd.toml");
    std::fs::write(&path, &text).unwrap();
    let config = Config::load(&path).unwrap();
    let of_examples = config.clone();
    let default = Config {
        listen: of_examples.listen,
        peers: of_examples.peers,
        roots: of_examples.roots,
        quotas: of_examples.quotas,
        state: of_examples.state,
        schedule: of_examples.schedule,
        // By default as the machine has cores.
        lanes: of_examples.lanes,
        ..Config::default()
    };
    assert_eq!(config.state_directory(), Config::default().state_directory());
    assert_eq!(format!("{config:?}"), format!("{default:?}"));
    let listen = Config { listen: Vec::new(), ..config.clone() }.listen_addresses();
    assert_eq!(config.listen, listen);
    assert_eq!(config.inbox_of(&config.peers[0]), config.inbox.join("alice"));
}

#[test]
fn configurations_in_the_documents_are_valid() {
    let mut checked = 0;
    for document in ["README.md", "docs/INSTALL.md"] {
        let text = std::fs::read_to_string(top().join(document)).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            // The CLI's peers.toml has addresses.
            if !block.contains("address =") {
                let (valid, said) = check(block);
                assert!(valid, "{document}: {said}");
                checked += 1;
            }
        }
    }
    assert!(checked > 0);
}

#[test]
fn the_port_and_the_buffers_are_the_same_everywhere() {
    assert!(shipped("udpx.ufw").contains(&format!("ports={PORT}/udp\n")));
    assert!(shipped("udpx.firewalld.xml").contains(&format!("protocol=\"udp\" port=\"{PORT}\"")));
    let sysctl = shipped("90-udpx.sysctl.conf");
    assert!(sysctl.contains(&format!("net.ipv4.ip_local_reserved_ports = {PORT}\n")));
    assert!(sysctl.contains(&format!("net.core.rmem_max = {}\n", Config::default().receive_buffer)));
}

/// A tree that was installed with programs that do nothing.
struct Tree {
    directory: TempDir,
    prefix: &'static str,
}

impl Tree {
    fn install(prefix: &'static str) -> Self {
        let tree = Self { directory: tempfile::tempdir().unwrap(), prefix };
        // A name that a careless script would split.
        let built = tree.built();
        std::fs::create_dir(&built).unwrap();
        for program in ["udpxd", "udpxctl"] {
            std::fs::write(built.join(program), "#!/bin/sh\n").unwrap();
            std::fs::set_permissions(built.join(program), PermissionsExt::from_mode(0o755)).unwrap();
        }
        tree.run(&[]);
        tree
    }

    fn built(&self) -> PathBuf {
        self.directory.path().join("the programs")
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("the root")
    }

    fn run(&self, more: &[&str]) {
        let output = Command::new(top().join("systemd/install.sh"))
            .args(["--prefix", self.prefix, "--from"])
            .arg(self.built())
            .arg("--destdir")
            .arg(self.root())
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }

    /// All files with their modes.
    fn files(&self) -> BTreeMap<String, u32> {
        let mut files = BTreeMap::new();
        let mut open = vec![self.root()];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                let metadata = entry.metadata().unwrap();
                match metadata.is_dir() {
                    true => open.push(entry.path()),
                    false => {
                        let path = entry.path();
                        let path = path.strip_prefix(self.root()).unwrap().to_str().unwrap().to_owned();
                        files.insert(path, metadata.permissions().mode() & 0o7777);
                    }
                }
            }
        }
        files
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root().join(path)).unwrap()
    }
}

#[test]
fn install_puts_each_file_where_it_is_looked_for() {
    let tree = Tree::install("/usr");
    let expected = [
        ("etc/udpx/udpxd.toml", 0o644),
        ("etc/ufw/applications.d/udpx", 0o644),
        ("usr/bin/udpxctl", 0o755),
        ("usr/bin/udpxd", 0o755),
        ("usr/lib/firewalld/services/udpx.xml", 0o644),
        ("usr/lib/sysctl.d/90-udpx.conf", 0o644),
        ("usr/lib/systemd/system/udpxd.service", 0o644),
        ("usr/lib/systemd/system/udpxd.service.d/buffers.conf.example", 0o644),
        ("usr/lib/systemd/system/udpxd.service.d/roots.conf.example", 0o644),
        ("usr/lib/sysusers.d/udpx.conf", 0o644),
        ("usr/lib/tmpfiles.d/udpx.conf", 0o644),
    ];
    let (documents, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        tree.files().into_iter().partition(|(path, _)| path.starts_with("usr/share/doc/udpx/"));
    assert_eq!(others, expected.map(|(path, mode)| (path.to_owned(), mode)).into());
    for name in ["INSTALL.md", "LICENSE-APACHE", "LICENSE-MIT", "PROTOCOL.md", "README.md", "udpxd.toml"] {
        assert_eq!(documents.get(&format!("usr/share/doc/udpx/{name}")), Some(&0o644), "{name}");
    }
}

#[test]
fn a_second_install_keeps_the_configuration_and_removing_leaves_it() {
    let tree = Tree::install("/opt/udpx");
    std::fs::write(tree.root().join("etc/udpx/udpxd.toml"), "gso = false\n").unwrap();
    let before = tree.files();
    tree.run(&[]);
    assert_eq!(tree.files(), before);
    assert_eq!(tree.read("etc/udpx/udpxd.toml"), "gso = false\n");
    assert!(before.contains_key("etc/firewalld/services/udpx.xml"), "firewalld looks nowhere below /opt");
    tree.run(&["--uninstall"]);
    assert_eq!(tree.files().into_keys().collect::<Vec<_>>(), ["etc/udpx/udpxd.toml"]);
}

#[test]
fn install_refuses_what_it_does_not_understand() {
    for (arguments, text) in [
        (["--prefix", "/a b"], "letters, digits"),
        (["--prefix", "usr"], "absolute"),
        (["--destdri", "/x"], "unknown argument --destdri"),
        (["--from", "/nowhere"], "build it: cargo build --release"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(top().join("systemd/install.sh"));
        let output = command.arg("--destdir").arg(directory.path()).args(arguments).output().unwrap();
        assert!(!output.status.success() && said(&output).contains(text), "{}", said(&output));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

#[test]
fn what_the_unit_runs_exists() {
    for prefix in ["/usr", "/usr/local"] {
        let tree = Tree::install(prefix);
        let unit = tree.read(&format!("{}/lib/systemd/system/udpxd.service", &prefix[1..]));
        assert!(unit.contains(&format!("Documentation=file://{prefix}/share/doc/udpx/INSTALL.md\n")));
        let mut ours = 0;
        for line in unit.lines().filter(|line| line.starts_with("Exec")) {
            let mut words = line.split_once('=').unwrap().1.split_whitespace();
            let program = words.next().unwrap();
            if program == "/bin/kill" {
                continue;
            }
            assert_eq!(program, format!("{prefix}/bin/udpxd"), "{line}");
            assert!(tree.root().join(&program[1..]).exists(), "{line}");
            // Its own arguments, with the configuration that is installed in that place.
            let (command, option, config) = (words.next(), words.next(), words.next().unwrap());
            assert!(matches!(command, Some("run" | "check")) && option == Some("--config"), "{line}");
            assert!(tree.root().join(&config[1..]).exists(), "{line}");
            let output = Command::new(env!("CARGO_BIN_EXE_udpxd"))
                .args(command)
                .args([option.unwrap(), config, "--help"])
                .output()
                .unwrap();
            assert!(output.status.success(), "{line}: {}", said(&output));
            ours += 1;
        }
        assert_eq!(ours, 2);
    }
}
