//! A trace tells every packet that the counters count, and turning it on changes nothing else.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{MIB, bottleneck, finish, is_bulk, lose, over};
use udpx_proto::testing::Pair;
use udpx_proto::testing::net::Side;
use udpx_proto::{DropReason, SessionStats, TraceEvent, TraceSink, Traced};

#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<TraceEvent>>>);

impl TraceSink for Log {
    fn on_event(&mut self, event: &TraceEvent) {
        self.0.lock().expect("no test panics with it").push(*event);
    }
}

impl Log {
    fn count(&self, what: impl Fn(&Traced) -> bool) -> u64 {
        self.0.lock().expect("no test panics with it").iter().filter(|event| what(&event.what)).count() as u64
    }
}

/// Moves a file over a path that loses and doubles packets; returns what each end has counted.
fn transfer(logs: Option<(&Log, &Log)>) -> (SessionStats, SessionStats) {
    let mut link = bottleneck(100_000_000, 20, 2.0);
    link.duplicate = 0.02;
    let mut pair = Pair::new(&over(link, 7));
    lose(&mut pair, Side::A, (0.05, 7), is_bulk);
    if let Some((a, b)) = logs {
        pair.a.session.set_trace(Some(Box::new(a.clone())));
        pair.b.session.set_trace(Some(Box::new(b.clone())));
    }
    pair.send_file(Side::A, 1, (0, 8 * MIB), 1);
    finish(&mut pair, 1, Duration::from_secs(60), "traced");
    (pair.a.session.stats(), pair.b.session.stats())
}

#[test]
fn the_lines_are_as_many_as_the_counters_say() {
    let (a_log, b_log) = (Log::default(), Log::default());
    let silent = transfer(None);
    let (a, b) = transfer(Some((&a_log, &b_log)));
    assert_eq!(format!("{silent:?}"), format!("{:?}", (&a, &b)), "watching has changed something");
    for (log, stats) in [(&a_log, &a), (&b_log, &b)] {
        assert_eq!(log.count(|what| *what == Traced::Send), stats.sent_packets);
        assert_eq!(log.count(|what| *what == Traced::Recv), stats.received_packets);
        assert_eq!(log.count(|what| *what == Traced::Lost), stats.lost_packets);
        assert_eq!(log.count(|what| *what == Traced::Dup), stats.drops.get(DropReason::Duplicate));
        for (reason, count) in stats.drops.iter().filter(|(reason, _)| *reason != DropReason::Duplicate) {
            assert_eq!(log.count(|what| *what == Traced::Drop(reason)), count, "{reason:?}");
        }
    }
    assert!(a.lost_packets > 50 && b.drops.get(DropReason::Duplicate) > 50, "{a:?} {b:?}");
    // Of what was lost is told which bytes they were.
    let events = a_log.0.lock().expect("no test panics with it");
    let lost = events.iter().find(|event| event.what == Traced::Lost).expect("packets were lost");
    let sent = events.iter().find(|event| event.what == Traced::Send && event.number == lost.number);
    let sent = sent.expect("it was sent before");
    assert_eq!((sent.data, sent.len, sent.kind), (lost.data, lost.len, lost.kind));
    assert!(sent.data.is_some() && sent.time < lost.time);
}
