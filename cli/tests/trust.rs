//! Two machines, and who may do what: peers that commands change, over real daemons.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod support;

use std::fs;

use nix::sys::signal::Signal;
use support::two::{Two, until};

/// Two daemons of which b knows a by its peers.toml, and a knows b in the same way.
fn acquainted() -> Two {
    let two = Two::strangers();
    let of_a = format!("# the laptop\n[[peer]]\nname = \"alice\"\nkey = {:?}\n", two.a.key());
    fs::write(two.b.state.join("state/peers.toml"), of_a).unwrap();
    let of_b = format!(
        "[[peer]]\nname = \"bob\"\nkey = {:?}\nwrite = false\naddress = \"127.0.0.1:{}\"\n",
        two.b.key(),
        two.b.port
    );
    fs::write(two.a.state.join("state/peers.toml"), of_b).unwrap();
    for machine in [&two.a, &two.b] {
        machine.reload();
        until("the file is read", || machine.administered("peers").stdout.contains("udpxk1"));
    }
    two
}

#[test]
fn commands_change_what_a_peer_may_and_the_change_stays() {
    let mut two = acquainted();
    two.a.file("sent", 1000);
    assert_eq!(two.a.ran("push sent bob").code, 0);
    // What is refused names the command, and the command is the remedy.
    let refused = two.a.ran("pull bob:sent back");
    let remedy = "On bob: sudo udpxctl peer grant alice --root inbox --read";
    assert!(refused.code == 77 && refused.stderr.contains(remedy), "{refused:?}");
    let granted = two.b.administered("peer grant alice --root inbox --read");
    assert!(granted.code == 0 && granted.stdout == "alice: write,read\n", "{granted:?}");
    assert_eq!(two.a.ran("pull bob:sent back").code, 0);
    let revoked = two.b.administered("peer revoke alice --write --json");
    assert!(revoked.code == 0 && revoked.last_event()["ok"] == true, "{revoked:?}");
    let refused = two.a.ran("push sent bob");
    assert!(refused.code == 77 && refused.stderr.contains("--root inbox --write"), "{refused:?}");
    // Over a restart, and with what people wrote.
    two.b.end(Signal::SIGKILL);
    two.b.start();
    assert_eq!(two.a.ran("push sent bob").code, 77);
    assert_eq!(two.a.ran("pull bob:sent again").code, 0);
    let file = fs::read_to_string(two.b.state.join("state/peers.toml")).unwrap();
    assert!(file.starts_with("# the laptop\n[[peer]]\n"), "{file}");
    // A root by its name.
    let place = two.b.state.with_file_name("films");
    fs::create_dir(&place).unwrap();
    std::os::unix::fs::chown(&place, two.b.uids.map(|uids| uids.0), None).unwrap();
    assert_eq!(two.b.administered("peer grant alice --root films --write").code, 2);
    assert_eq!(two.b.administered(&format!("root add films {}", place.display())).code, 0);
    assert_eq!(two.b.administered("peer grant alice --root films --write").code, 0);
    assert_eq!(two.a.ran("push sent bob:/films/in").code, 0);
    assert!(place.join("in").exists());
}

#[test]
fn a_peer_is_renamed_and_forgotten() {
    let two = acquainted();
    two.a.file("sent", 1000);
    assert_eq!(two.a.ran("push sent bob").code, 0);
    let ran = two.b.administered("peer rename alice alicia");
    assert!(ran.code == 0 && ran.stdout == "alice is called alicia now\n", "{ran:?}");
    assert!(two.b.state.join("inbox/alicia/sent").exists() && !two.b.state.join("inbox/alice").exists());
    assert_eq!(two.a.ran("push sent bob:second").code, 0);
    assert!(two.b.state.join("inbox/alicia/second").exists());
    let shown = two.b.administered("peer show alicia");
    assert!(shown.code == 0 && shown.stdout.contains("peers.toml") && shown.stdout.contains(&two.a.key()));
    assert_eq!(two.b.administered("peer remove alicia").code, 0);
    assert!(two.b.state.join("inbox/alicia/second").exists());
    let ran = two.a.ran("push sent bob");
    assert_eq!(ran.code, 77, "{ran:?}");
    for command in [&two.a.key()[..], "On bob: sudo udpxctl invite", "sudo udpxctl join TICKET"] {
        assert!(ran.stderr.contains(command), "{command}: {ran:?}");
    }
    assert_eq!(two.b.administered("peer show alicia").code, 2);
}

#[test]
fn peers_are_for_administrators_and_of_one_file() {
    let two = Two::start();
    let ran = two.b.administered("peer grant a --list");
    assert!(ran.code == 2 && ran.stderr.contains("set in udpxd.toml"), "{ran:?}");
    let file = two.b.state.join("state/peers.toml");
    fs::write(&file, "[[peer]]\nname = \"c\"\nkye = 1\n").unwrap();
    two.b.reload();
    let ran = two.b.administered("peer remove a");
    assert!(ran.code == 78 && ran.stderr.contains("peers.toml:"), "{ran:?}");
    assert!(fs::read_to_string(&file).unwrap().contains("kye"));
    // A reload with a mistake changes nothing.
    two.a.file("sent", 10);
    assert_eq!(two.a.ran("push sent b").code, 0);
    if two.b.uids.is_none() {
        println!("SKIPPED users who are no administrators: needs root");
        return;
    }
    for line in ["peer show a", "peer grant a --read", "peer remove a"] {
        let ran = two.b.ran(line);
        assert!(ran.code == 77 && ran.stderr.contains("udpx-admin"), "{ran:?}");
    }
}
