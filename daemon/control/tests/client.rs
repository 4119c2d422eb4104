//! The client against a daemon of a few lines.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use support::Daemon;
use udpx_control::client::{Client, ClientError, SocketChoice, Update};
use udpx_control::descriptor::{DescriptorError, classify};
use udpx_control::frame;
use udpx_control::schema::{
    Command, Demand, ErrorReport, Event, How, Jobs, Local, Operation, Outcome, Push, Reply, Response,
    TransferOptions, VaultOffer, Version, Watch, code,
};
use udpx_control::server::{Connection, Incoming};

fn connect(daemon: &Daemon) -> Client {
    Client::connect(&SocketChoice::path(&daemon.path)).unwrap()
}

fn retry(id: u64, job: u64) -> Response {
    Response::event(id, Event::Retry { job, text: String::new() })
}

fn send(connection: &mut Connection, response: Response) {
    connection.send(response, Vec::new()).unwrap();
}

#[test]
fn events_come_before_the_result() {
    let daemon = Daemon::start(|connection, Incoming { request, .. }| {
        send(connection, Response::ok(request.id, Reply::Accepted { job: 7 }));
        for job in 1..=1000 {
            send(connection, retry(request.id, job));
        }
        send(connection, Response::done(request.id, Reply::Listed { count: 1000, cut: false }));
    });
    let mut client = connect(&daemon);
    for _ in 0..3 {
        let mut responses = client.request(Watch::default(), &[]).unwrap();
        assert!(matches!(responses.next(), Some(Ok(Update::Accepted(Reply::Accepted { job: 7 })))));
        let mut jobs = Vec::new();
        let reply = responses.finish(|event| match event {
            Event::Retry { job, .. } => jobs.push(job),
            other => panic!("{other:?}"),
        });
        assert_eq!(reply.unwrap(), Reply::Listed { count: 1000, cut: false });
        assert_eq!(jobs, (1..=1000).collect::<Vec<_>>());
    }
    drop(client);
    assert_eq!(daemon.stop(), ["The client has closed the connection."]);
}

#[test]
fn what_was_left_unread_does_not_disturb_the_next_request() {
    let daemon = Daemon::start(|connection, Incoming { request, .. }| {
        for job in 1..=10 {
            send(connection, retry(request.id, job));
        }
        match request.command {
            Command::Watch(_) => send(
                connection,
                Response::error(request.id, ErrorReport::new(code::OTHER, "never mind", "nothing")),
            ),
            _ => send(connection, Response::done(request.id, Reply::Listed { count: 10, cut: false })),
        }
    });
    let mut client = connect(&daemon);
    let mut first = client.request(Watch::default(), &[]).unwrap();
    assert!(matches!(first.next(), Some(Ok(Update::Event(_)))));
    assert_eq!(client.call(Jobs::default()).unwrap(), Reply::Listed { count: 10, cut: false });
    let error = client.request(Watch::default(), &[]).unwrap().finish(|_| {}).unwrap_err();
    assert!(matches!(&error, ClientError::Refused(report) if report.text == "never mind"));
    assert_eq!(error.report().remedy, "nothing");
}

#[test]
fn waiting_has_an_end() {
    let daemon = Daemon::start(|_, _| {});
    let mut client = connect(&daemon);
    client.set_patience(Some(Duration::from_millis(50)));
    let start = Instant::now();
    let mut responses = client.request(Version {}, &[]).unwrap();
    assert!(responses.wait(Duration::from_millis(20)).unwrap().is_none());
    assert!(matches!(responses.next(), Some(Err(ClientError::TimedOut { .. }))));
    assert!(responses.next().is_none());
    assert!((Duration::from_millis(70)..Duration::from_secs(5)).contains(&start.elapsed()));
}

#[test]
fn a_daemon_that_goes_away_is_an_error() {
    let daemon = Daemon::start(|_, _| {});
    let mut client = connect(&daemon);
    let path = daemon.path.clone();
    daemon.stop();
    let error = client.call(Version {}).unwrap_err();
    assert!(matches!(error, ClientError::Gone { .. }), "{error}");
    let error = Client::connect(&SocketChoice::path(path)).unwrap_err();
    assert!(matches!(error, ClientError::NoDaemon { stale: false, .. }), "{error}");
}

#[test]
fn a_connection_too_many_is_told_why() {
    let daemon = Daemon::start(|_, _| {});
    let clients: Vec<_> = (0..64).map(|_| connect(&daemon)).collect();
    let mut late = connect(&daemon);
    // It may have been closed before the request was sent, or after.
    for _ in 0..2 {
        let error = late.call(Version {}).unwrap_err();
        match error {
            ClientError::Refused(report) => assert!(report.text.contains("64 connections"), "{report}"),
            ClientError::Gone { .. } => {}
            other => panic!("{other}"),
        }
    }
    drop(clients);
}

#[test]
fn where_there_is_no_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let error = |path: &Path| {
        let error = Client::connect(&SocketChoice::path(path)).unwrap_err();
        let report = error.report();
        assert!(report.text.contains(path.to_str().unwrap()) && !report.remedy.is_empty(), "{report}");
        (error, report)
    };
    let missing = dir.path().join("missing");
    let (kind, report) = error(&missing);
    assert!(matches!(kind, ClientError::NoDaemon { stale: false, .. }) && report.code == 69);
    assert!(matches!(error(&missing.join("below")).0, ClientError::NoDaemon { .. }));
    let stale = dir.path().join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    let (kind, report) = error(&stale);
    assert!(matches!(kind, ClientError::NoDaemon { stale: true, .. }) && report.code == 69);
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    for path in [&file, dir.path(), &file.join("below")] {
        let (kind, report) = error(path);
        assert!(matches!(kind, ClientError::NotASocket { .. }), "{kind}");
        assert_eq!(report.code, 2);
    }
    let datagram = dir.path().join("datagram");
    let _datagram = std::os::unix::net::UnixDatagram::bind(&datagram).unwrap();
    assert!(matches!(error(&datagram).0, ClientError::NotASocket { .. }));
    let long = dir.path().join("x".repeat(200));
    assert!(matches!(error(&long).0, ClientError::Io { .. }));
}

#[test]
fn the_users_daemon_comes_before_the_systems() {
    let daemon = Daemon::start(|_, _| {});
    let runtime = tempfile::tempdir().unwrap();
    let choice = SocketChoice::from_values(None, None, Some(runtime.path().into()));
    if let Err(ClientError::NoDaemon { paths, .. }) = Client::connect(&choice) {
        assert_eq!(paths, choice.candidates());
    }
    std::fs::create_dir(runtime.path().join("udpx")).unwrap();
    let path = runtime.path().join("udpx/udpxd.sock");
    std::fs::hard_link(&daemon.path, &path).unwrap();
    assert_eq!(Client::connect(&choice).unwrap().path(), path);
    assert_eq!(Client::connect(&choice).unwrap().daemon().unwrap().pid, std::process::id() as i32);
}

#[test]
fn a_user_outside_of_the_group_is_told_which_one_to_join() {
    use std::os::unix::process::CommandExt;
    if let Some(path) = std::env::var_os("UDPX_TEST_CONNECT") {
        let error = Client::connect(&SocketChoice::path(path)).unwrap_err();
        println!("{}", error.report().remedy);
        std::process::exit(i32::try_from(error.report().code).unwrap());
    }
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let group = nix::unistd::Group::from_name("daemon").unwrap().unwrap().name;
    let _listener =
        udpx_control::server::Listener::bind(&path, 0o660, Some(&group), Default::default()).unwrap();
    // The test program itself may lie where nobody else can run it.
    let program = dir.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let output = std::process::Command::new(&program)
        .args(["--exact", "a_user_outside_of_the_group_is_told_which_one_to_join", "--nocapture"])
        .env("UDPX_TEST_CONNECT", &path)
        .uid(65534)
        .gid(65534)
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    assert!(said.contains("usermod -aG daemon"), "{said}");
}

#[test]
fn a_daemon_from_the_future_and_one_that_babbles() {
    for (json, text) in [
        (&br#"{"schema":2,"id":"?","kind":7}"#[..], "schema 2"),
        (br#"{"schema":1,"id":1,"kind":"perhaps","body":{}}"#, "not understood"),
        (b"hello", "not understood"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let mut client = Client::connect(&SocketChoice::path(&path)).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&frame::encode(json).unwrap()).unwrap();
        let error = client.call(Version {}).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(error.report().code, 76);
    }
}

#[test]
fn a_file_is_passed_and_another_comes_back() {
    let daemon = Daemon::start(|connection, Incoming { request, mut descriptors }| {
        let mut file = File::from(descriptors.remove(0));
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let mut answer = tempfile::tempfile().unwrap();
        answer.write_all(text.to_uppercase().as_bytes()).unwrap();
        answer.rewind().unwrap();
        connection.send(Response::done(request.id, Reply::Nothing), vec![answer.into()]).unwrap();
    });
    let mut client = connect(&daemon);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"passed").unwrap();
    let push = Push {
        sources: vec![Local { path: "/f".into(), how: How::Fd, bytes: None }],
        destinations: Vec::new(),
        options: TransferOptions::default(),
    };
    let wrong = client.request(push.clone(), &[]).unwrap_err();
    assert!(matches!(wrong, ClientError::Descriptors { expected: 1, given: 0 }));
    for _ in 0..3 {
        file.rewind().unwrap();
        let mut responses = client.request(push.clone(), &[file.as_fd()]).unwrap();
        let Some(Ok(Update::Done(Reply::Nothing, descriptors))) = responses.next() else { panic!() };
        let mut text = String::new();
        let [answer] = <[_; 1]>::try_from(descriptors).unwrap();
        File::from(answer).read_to_string(&mut text).unwrap();
        assert_eq!(text, "PASSED");
    }
}

#[test]
fn a_vault_opens_what_the_daemon_asks_for() {
    const DEMANDS: u64 = 64;
    let mut offer = 0;
    let mut answered = 0;
    let daemon = Daemon::start(move |connection, Incoming { request, descriptors }| match request.command {
        Command::VaultOffer(VaultOffer { jobs }) => {
            offer = request.id;
            for demand in 1..=DEMANDS {
                let path = format!("/file{demand}").as_str().into();
                let demand = Demand { demand, job: jobs[0], operation: Operation::Open { path } };
                send(connection, Response::event(request.id, Event::Demand(demand)));
            }
        }
        Command::VaultReply(reply) => {
            assert_eq!(reply.offer, offer);
            match reply.outcome {
                Outcome::Opened => {
                    let mut text = String::new();
                    let [file] = <[_; 1]>::try_from(descriptors).unwrap();
                    File::from(file).read_to_string(&mut text).unwrap();
                    assert_eq!(text, format!("/file{}", reply.demand));
                }
                Outcome::Failed { .. } => assert!(reply.demand % 10 == 0 && descriptors.is_empty()),
                other => panic!("{other:?}"),
            }
            answered += 1;
            if answered == DEMANDS {
                send(connection, Response::done(offer, Reply::Listed { count: answered, cut: false }));
            }
        }
        other => panic!("{other:?}"),
    });
    let mut client = connect(&daemon);
    let mut responses = client.request(VaultOffer { jobs: vec![12] }, &[]).unwrap();
    let reply = loop {
        match responses.next().unwrap().unwrap() {
            Update::Event(Event::Demand(demand)) => {
                let Operation::Open { path } = &demand.operation else { panic!("{demand:?}") };
                if demand.demand % 10 == 0 {
                    let error = ErrorReport::new(code::IO, "no", "");
                    responses.answer(&demand, Outcome::failed(error), None).unwrap();
                    continue;
                }
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(path.as_bytes()).unwrap();
                file.rewind().unwrap();
                responses.answer(&demand, Outcome::Opened, Some(file.as_fd())).unwrap();
            }
            Update::Done(reply, _) => break reply,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(reply, Reply::Listed { count: DEMANDS, cut: false });
    drop(client);
    assert_eq!(daemon.stop().len(), 1);
}

#[test]
fn a_wrong_answer_to_a_demand_is_an_error_of_the_offer() {
    let daemon = Daemon::start(|connection, Incoming { request, .. }| {
        if let Command::VaultReply(_) = request.command {
            let error = ErrorReport::new(code::USAGE, "there is no demand 99", "");
            send(connection, Response::error(request.id, error));
        }
    });
    let mut client = connect(&daemon);
    let mut responses = client.request(VaultOffer { jobs: vec![12] }, &[]).unwrap();
    let demand = Demand { demand: 99, job: 12, operation: Operation::Unknown };
    responses.answer(&demand, Outcome::Done, None).unwrap();
    assert!(
        matches!(responses.next(), Some(Err(ClientError::Refused(report))) if report.text.contains("99"))
    );
    assert!(responses.next().is_none());
}

#[test]
fn what_a_descriptor_is_can_be_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, b"12345").unwrap();
    let open =
        |read, write, append| File::options().read(read).write(write).append(append).open(&path).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let file = classify(open(true, false, false)).unwrap();
    assert!(file.check_source().is_ok() && file.check_input().is_ok() && file.bytes == 5);
    assert!(matches!(file.check_part(), Err(DescriptorError::NotWritable)));
    let both = classify(open(true, true, false)).unwrap();
    assert!(both.check_source().is_ok() && both.check_part().is_ok() && both.check_output().is_ok());
    let write_only = classify(open(false, true, false)).unwrap();
    assert!(matches!(write_only.check_source(), Err(DescriptorError::NotReadable)));
    assert!(matches!(write_only.check_part(), Err(DescriptorError::NotReadable)));
    assert!(matches!(write_only.check_input(), Err(DescriptorError::NotReadable)));
    assert!(write_only.check_output().is_ok());
    let appending = classify(open(true, false, true)).unwrap();
    assert!(
        matches!(appending.check_part(), Err(DescriptorError::Appends)) && appending.check_source().is_ok()
    );
    let directory = classify(File::open(dir.path()).unwrap()).unwrap();
    assert!(matches!(directory.check_source(), Err(DescriptorError::Directory)));
    assert!(matches!(directory.check_input(), Err(DescriptorError::Directory)));
    let pipe = classify(&reader).unwrap();
    assert!(matches!(pipe.check_source(), Err(DescriptorError::NotAFile("a pipe"))));
    assert!(pipe.check_input().is_ok() && matches!(pipe.check_output(), Err(DescriptorError::NotWritable)));
    assert!(classify(&writer).unwrap().check_output().is_ok());
    let null = classify(File::open("/dev/null").unwrap()).unwrap();
    assert!(matches!(null.check_source(), Err(DescriptorError::NotAFile("a terminal or device"))));
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(matches!(classify(&socket).unwrap().check_part(), Err(DescriptorError::NotAFile("a socket"))));
    let flags = nix::fcntl::OFlag::O_PATH;
    let named = nix::fcntl::open(&path, flags, nix::sys::stat::Mode::empty()).unwrap();
    assert!(matches!(classify(named).unwrap().check_source(), Err(DescriptorError::NotReadable)));
    for error in [DescriptorError::Directory, DescriptorError::NotReadable, DescriptorError::Appends] {
        assert!(error.to_string().matches(". ").count() == 1, "what, and what to do: {error}");
    }
}
