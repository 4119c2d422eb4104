//! Offers, demands and answers by hand.

use std::fs::File;

use udpx_control::schema::code;

use super::words::sentence;
use super::*;

const ALICE: u32 = 1000;
const A: Token = Token(7);
const B: Token = Token(8);

fn offered(connection: Token, request: u64, jobs: &[u64]) -> (Lending<u32>, Instant) {
    let (mut lending, now) = (Lending::default(), Instant::now());
    offer(&mut lending, connection, request, jobs, now);
    (lending, now)
}

fn offer(lending: &mut Lending<u32>, connection: Token, request: u64, jobs: &[u64], now: Instant) {
    let jobs: Vec<_> = jobs.iter().map(|job| (*job, ALICE)).collect();
    lending.on_offer(connection, request, ALICE, &jobs, now).unwrap();
}

fn stat() -> Operation {
    Operation::Stat { path: "/home/alice/f".into() }
}

fn found() -> Outcome {
    Outcome::Found { kind: None, bytes: 0 }
}

fn reply(offer: u64, demand: u64, outcome: Outcome) -> VaultReply {
    VaultReply { offer, demand, outcome }
}

fn sent(lending: &mut Lending<u32>) -> Vec<(Token, u64, u64, u64)> {
    let next = || lending.poll_demand();
    std::iter::from_fn(next).map(|s| (s.connection, s.request, s.demand.demand, s.demand.job)).collect()
}

fn told(lending: &mut Lending<u32>) -> Vec<(u32, Result<Outcome, u32>)> {
    let next = || lending.poll_told();
    std::iter::from_fn(next)
        .map(|(ticket, told)| (ticket, told.map(|(outcome, _)| outcome).map_err(|error| error.code)))
        .collect()
}

#[test]
fn a_demand_goes_to_its_lender_and_its_answer_back() {
    let (mut lending, now) = offered(A, 2, &[12, 13]);
    offer(&mut lending, B, 1, &[14], now);
    for (job, ticket) in [(13, 1), (14, 2), (12, 3)] {
        lending.ask(job, stat(), ticket, now);
    }
    assert_eq!(sent(&mut lending), [(A, 2, 1, 13), (B, 1, 1, 14), (A, 2, 2, 12)]);
    lending.on_reply(A, reply(2, 2, found()), None, now).unwrap();
    let error = ErrorReport::new(code::IO, "No.", "See.");
    lending.on_reply(A, reply(2, 1, Outcome::failed(error)), None, now).unwrap();
    assert_eq!(told(&mut lending), [(3, Ok(found())), (1, Err(74))]);
    lending.ask(99, stat(), 4, now);
    assert_eq!(told(&mut lending), [(4, Err(75))], "nobody lends");
}

#[test]
fn sixty_four_at_once_and_the_others_wait() {
    let (mut lending, now) = offered(A, 1, &[1]);
    let all = (DEMANDS_MAX + WAITING_MAX) as u32;
    (0..all + 1).for_each(|ticket| lending.ask(1, stat(), ticket, now));
    assert_eq!(sent(&mut lending).len(), DEMANDS_MAX);
    assert_eq!(told(&mut lending), [(all, Err(75))], "one too many");
    for demand in 1..=u64::from(all) {
        lending.on_reply(A, reply(1, demand, found()), None, now).unwrap();
    }
    assert_eq!((sent(&mut lending).len(), told(&mut lending).len()), (WAITING_MAX, all as usize));
}

#[test]
fn an_answer_to_nothing_is_refused_by_name() {
    let (mut lending, now) = offered(A, 2, &[1]);
    offer(&mut lending, A, 3, &[2], now);
    lending.ask(1, stat(), 1, now);
    let mut refused = |connection, reply, what: &str| {
        let error = lending.on_reply(connection, reply, None, now).unwrap_err();
        assert!(error.text.contains(what) && error.code == 76, "{error}");
    };
    refused(A, reply(2, 9, found()), "No demand 9");
    refused(A, reply(4, 1, found()), "nothing on request 4");
    refused(A, reply(3, 1, found()), "was made on request 2, not 3");
    refused(B, reply(2, 1, found()), "nothing on request 2");
    assert_eq!(told(&mut lending), []);
    let error = lending.on_reply(A, reply(2, 1, Outcome::Done), None, now).unwrap_err();
    assert!(error.text.contains("to stat"), "{error}");
    assert_eq!(told(&mut lending), [(1, Err(76))], "whoever asked is told all the same");
    assert!(lending.on_reply(A, reply(2, 1, found()), None, now).is_err(), "once only");
}

#[test]
fn a_job_of_another_user_is_not_lent_to() {
    let (mut lending, now) = offered(A, 1, &[1]);
    for uid in [0, 1001] {
        let error = lending.on_offer(B, 1, uid, &[(1, ALICE)], now).unwrap_err();
        assert!(error.code == 77 && error.text.contains("of user 1000"), "{error}");
    }
    assert_eq!(lending.lender_of(1), Some((A, 1)));
}

#[test]
fn the_last_to_offer_is_asked_and_the_one_before_it_again() {
    let (mut lending, now) = offered(A, 1, &[1, 2]);
    let first = DEMANDS_MAX as u32;
    (0..first + 2).for_each(|ticket| lending.ask(1, stat(), ticket, now));
    sent(&mut lending);
    offer(&mut lending, B, 5, &[1], now);
    assert_eq!(sent(&mut lending), [(B, 5, 1, 1), (B, 5, 2, 1)], "what waited has gone over");
    lending.on_reply(A, reply(1, 1, found()), None, now).unwrap();
    assert!(lending.on_gone(B, now).is_empty());
    assert_eq!(told(&mut lending), [(0, Ok(found())), (first, Err(75)), (first + 1, Err(75))]);
    lending.ask(1, stat(), 999, now);
    assert_eq!(sent(&mut lending), [(A, 1, DEMANDS_MAX as u64 + 1, 1)]);
    assert_eq!(lending.on_gone(A, now), [1, 2]);
    assert_eq!((told(&mut lending).len(), sent(&mut lending).len()), (DEMANDS_MAX, 0));
    assert_eq!((lending.deadline(), lending.on_gone(A, now)), (None, vec![]));
}

#[test]
fn an_offer_is_done_with_its_last_job() {
    let (mut lending, now) = offered(A, 1, &[1, 2]);
    offer(&mut lending, B, 3, &[2], now);
    lending.ask(1, stat(), 1, now);
    assert_eq!(lending.on_job_ended(1), []);
    let mut done = lending.on_job_ended(2);
    done.sort_unstable();
    assert_eq!(done, [(A, 1), (B, 3)]);
    lending.on_reply(A, reply(1, 1, found()), None, now).unwrap();
    offer(&mut lending, A, 2, &[3], now);
    assert!(lending.on_reply(A, reply(1, 1, found()), None, now).unwrap_err().text.contains("request 1"));
}

#[test]
fn whoever_does_not_answer_hangs() {
    let (mut lending, now) = offered(A, 1, &[1]);
    assert_eq!(lending.deadline(), None);
    lending.ask(1, Operation::Sync { path: "/home/alice".into() }, 1, now);
    assert_eq!(lending.deadline(), Some(now + SYNC_TIME_MAX));
    lending.ask(1, stat(), 2, now);
    assert_eq!(lending.deadline(), Some(now + DEMAND_TIME_MAX));
    assert!(lending.hung(now).is_none());
    let (connection, error) = lending.hung(now + DEMAND_TIME_MAX).unwrap();
    assert_eq!((connection, error.code), (A, 75));
    assert_eq!(error.text, "A demand to stat \"/home/alice/f\" had no answer for 60 s.");
}

#[test]
fn a_file_comes_where_one_is_expected_only() {
    let (mut lending, now) = offered(A, 1, &[1]);
    let open = Operation::Open { path: "/f".into() };
    let file = || Some(OwnedFd::from(File::open("/dev/null").unwrap()));
    for (ticket, operation, outcome, file, good) in [
        (1, open.clone(), Outcome::Opened, file(), true),
        (2, open.clone(), Outcome::Opened, None, false),
        (3, open, Outcome::Done, None, false),
        (4, stat(), found(), file(), false),
    ] {
        lending.ask(1, operation, ticket, now);
        let replied = lending.on_reply(A, reply(1, ticket.into(), outcome), file, now);
        assert_eq!(replied.is_ok(), good, "{ticket}");
        let (of, told) = lending.poll_told().unwrap();
        assert_eq!((of, told.is_ok_and(|(_, file)| file.is_some())), (ticket, good));
    }
}

#[test]
fn an_error_is_one_sentence_for_the_engine() {
    let error = |text: &str, remedy: &str| sentence(&ErrorReport::new(code::IO, text, remedy));
    assert_eq!(error("\"/f\" is there.", "Remove it."), "\"/f\" is there; remove it.");
    assert_eq!(error("It failed.", ""), "It failed.");
}
