//! Steady goodput against one thing at a time.

use std::time::Duration;

use udpx_proto::testing::crowd::{Crowd, Kind};

use super::Named;
use super::chart::{BLUE, GREEN, GREY, INK, Line, ORANGE, Panel, Picture, RED, SKY, VIOLET};
use crate::wan::path::{Path, Seen, adaptive, look, rate};

const LOSSES: [f64; 11] = [0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3];
const RTTS_MS: [u64; 10] = [1, 2, 5, 10, 20, 50, 100, 200, 400, 800];
const STREAMS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];

pub(super) fn all() -> Vec<Named> {
    vec![
        ("goodput-loss".into(), Box::new(against_loss)),
        ("goodput-rtt".into(), Box::new(against_rtt)),
        ("streams".into(), Box::new(against_streams)),
    ]
}

/// Two looks at a flow, with its steady part between them.
fn between(path: &Path, kind: Kind, streams: u64, seed: u64) -> (Seen, Seen) {
    let rtt = path.rtt.as_secs_f64();
    let mut flow = path.flow(kind);
    flow.streams = streams;
    let mut crowd = Crowd::new(&path.bottleneck(), &[flow], seed);
    crowd.run_for(Duration::from_secs_f64(5.0 + 15.0 * rtt));
    let early = look(&mut crowd, 0);
    crowd.run_for(Duration::from_secs_f64((20.0 * rtt).max(10.0)));
    (early, look(&mut crowd, 0))
}

/// Megabits a second of its steady part.
fn goodput(path: &Path, kind: Kind, seed: u64) -> f64 {
    let (early, late) = between(path, kind, 1, seed);
    rate(&early, &late) / 1e6
}

fn against_loss(seed: u64) -> Picture {
    let path = |loss, rtt_ms| Path { loss, rtt: Duration::from_millis(rtt_ms), ..Path::default() };
    let line = |name: &str, colour, kind: Kind, rtt_ms| {
        let at = |&loss: &f64| (loss, goodput(&path(loss, rtt_ms), kind.clone(), seed));
        Line::new(name, colour, LOSSES.iter().map(at).collect())
    };
    let ideal = LOSSES.iter().map(|&loss| (loss, path(loss, 100).ideal() / 1e6)).collect();
    Picture {
        title: "Goodput against loss".into(),
        words: "100 Mbit/s, a queue of one BDP; steady part; simulated, as are CUBIC (RFC 9438) and BBR v1"
            .into(),
        x_name: "packets lost by the path",
        x: (0.0, 0.3),
        ticks: (0..=6).map(|i| (f64::from(i) * 0.05, format!("{} %", i * 5))).collect(),
        panels: vec![Panel {
            name: "Mbit/s",
            least_top: 100.0,
            lines: vec![
                Line::dashed("ideal", GREY, ideal),
                line("udpx 20 ms", SKY, adaptive(), 20),
                line("udpx 100 ms", BLUE, adaptive(), 100),
                line("udpx 400 ms", VIOLET, adaptive(), 400),
                line("BBR 100 ms", ORANGE, Kind::Bbr, 100),
                line("CUBIC 20 ms", GREEN, Kind::Cubic, 20),
                line("CUBIC 100 ms", RED, Kind::Cubic, 100),
            ],
            note: String::new(),
        }],
    }
}

fn against_rtt(seed: u64) -> Picture {
    let line = |name: String, colour, kind: Kind, loss: f64| {
        let at = |&rtt: &u64| {
            let path = Path { loss, rtt: Duration::from_millis(rtt), ..Path::default() };
            (octave(rtt), goodput(&path, kind.clone(), seed))
        };
        Line::new(name, colour, RTTS_MS.iter().map(at).collect())
    };
    let ours = [(0.0, INK), (0.01, SKY), (0.05, BLUE), (0.1, VIOLET), (0.2, GREEN)];
    let mut lines: Vec<Line> = ours
        .into_iter()
        .map(|(loss, colour)| line(format!("{} %", loss * 100.0), colour, adaptive(), loss))
        .collect();
    lines.push(line("BBR 1 %".into(), ORANGE, Kind::Bbr, 0.01));
    lines.push(line("CUBIC 1 %".into(), RED, Kind::Cubic, 0.01));
    Picture {
        title: "Goodput against the round trip".into(),
        words: "100 Mbit/s, a queue of one BDP: udpx at several losses, BBR v1 and CUBIC at 1 %; steady part; simulated".into(),
        x_name: "round trip, ms",
        x: (0.0, octave(800)),
        ticks: RTTS_MS.iter().map(|&rtt| (octave(rtt), rtt.to_string())).collect(),
        panels: vec![Panel { name: "Mbit/s", least_top: 100.0, lines, note: String::new() }],
    }
}

fn against_streams(seed: u64) -> Picture {
    let path = Path { bps: 1e9, loss: 0.01, ..Path::default() };
    let seen: Vec<_> = STREAMS.iter().map(|&n| (octave(n), between(&path, adaptive(), n, seed))).collect();
    let data: Vec<_> = seen.iter().map(|(x, (early, late))| (*x, rate(early, late) / 1e6)).collect();
    let packets = |(x, (early, late)): &(f64, (Seen, Seen))| {
        (*x, (late.sent_packets - early.sent_packets) / (late.at - early.at) / 1e3)
    };
    let packets: Vec<_> = seen.iter().map(packets).collect();
    let ideal = path.ideal() / 1e6;
    let ends = [0.0, octave(64)];
    Picture {
        title: "Data and packets against the number of streams".into(),
        words: "1 Gbit/s, 50 ms, 1 % lost, a queue of one BDP; one session; steady part; simulated".into(),
        x_name: "streams at a time",
        x: (ends[0], ends[1]),
        ticks: STREAMS.iter().map(|&n| (octave(n), n.to_string())).collect(),
        panels: vec![
            Panel {
                name: "stream data, Mbit/s",
                least_top: 1000.0,
                lines: vec![
                    Line::dashed("ideal", GREY, ends.map(|x| (x, ideal)).to_vec()),
                    Line::new("udpx", BLUE, data.clone()),
                ],
                note: span(&data),
            },
            Panel {
                name: "packets sent, thousands a second",
                least_top: 90.0,
                lines: vec![
                    Line::dashed(
                        "the link's",
                        GREY,
                        ends.map(|x| (x, path.bps / 8.0 / 1500.0 / 1e3)).to_vec(),
                    ),
                    Line::new("udpx", VIOLET, packets.clone()),
                ],
                note: span(&packets),
            },
        ],
    }
}

/// The least and the greatest value, in words.
fn span(points: &[(f64, f64)]) -> String {
    let least = points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
    let most = points.iter().map(|p| p.1).fold(0.0, f64::max);
    format!("{least:.1} to {most:.1}")
}

/// Where a value stands on a logarithmic axis.
fn octave(value: u64) -> f64 {
    (value as f64).log2()
}
