//! How one transfer goes over time: its rate, its window and its round trip.

use std::time::Duration;

use super::Named;
use super::chart::{BLUE, GREY, INK, Line, ORANGE, Panel, Picture, SKY, VIOLET};
use crate::wan::path::{Path, Seen, adaptive, rate, watch};
use crate::wan::rows::Pause;

/// Seconds of a picture.
const SPAN: u64 = 20;

pub(super) fn all() -> Vec<Named> {
    let lossy = [0.0, 0.05, 0.1, 0.2, 0.3].map(|loss| -> Named {
        let name = format!("time-{}", loss * 100.0);
        (name, Box::new(move |seed| over_time(loss, seed)))
    });
    let pause: Named = ("pause".into(), Box::new(paused));
    lossy.into_iter().chain([pause]).collect()
}

fn over_time(loss: f64, seed: u64) -> Picture {
    let path = Path { loss, rtt: Duration::from_millis(100), ..Path::default() };
    let mut crowd = path.crowd(adaptive(), seed);
    let seen = watch(&mut crowd, 0, Duration::from_secs(SPAN), path.rtt / 4);
    let last = seen[seen.len() - 1];
    let mean = last.bytes * 8.0 / last.at / 1e6;
    Picture {
        title: format!("A transfer at {} % loss", loss * 100.0),
        words: "100 Mbit/s, 100 ms, a queue of one BDP; simulated".into(),
        x_name: "seconds",
        x: (0.0, SPAN as f64),
        ticks: seconds(SPAN),
        panels: panels(&path, &seen, 4, Some(mean)),
    }
}

fn paused(seed: u64) -> Picture {
    let path = Path { loss: 0.01, rtt: Duration::from_millis(100), ..Path::default() };
    let (pause, seen) = Pause::run(&path, seed);
    let end = seen[seen.len() - 1].at;
    Picture {
        title: "A transfer that pauses for ten seconds".into(),
        words: format!(
            "100 Mbit/s, 100 ms, 1 % lost. Goes on at {:.1} s: {:.2} BDP sent before the first new sample, 90 % of the old rate after {:.1} RTT; simulated",
            pause.again, pause.sent_bdp, pause.back_rtts
        ),
        x_name: "seconds",
        x: (0.0, end),
        ticks: seconds(end as u64),
        panels: panels(&path, &seen, 10, None),
    }
}

/// Rate, window and round trip; rates over `window` looks.
fn panels(path: &Path, seen: &[Seen], window: usize, mean: Option<f64>) -> Vec<Panel> {
    let over = |value: &dyn Fn(&Seen) -> f64| seen.iter().map(|s| (s.at, value(s))).collect::<Vec<_>>();
    let arrived =
        (window..seen.len()).map(|i| (seen[i].at, rate(&seen[i - window], &seen[i]) / 1e6)).collect();
    let end = seen[seen.len() - 1].at;
    let across = |y: f64| vec![(0.0, y), (end, y)];
    let rtt_ms = path.rtt.as_secs_f64() * 1e3;
    let mut rates = vec![
        Line::new("sent", SKY, over(&|s| s.pacing / 1e6)),
        Line::new("arrived", BLUE, arrived),
        Line::dashed("ideal", GREY, across(path.ideal() / 1e6)),
    ];
    rates.extend(mean.map(|mean| Line::dashed("mean", INK, across(mean))));
    let mib = |bytes: f64| bytes / 1048576.0;
    vec![
        Panel {
            name: "rate, Mbit/s",
            least_top: 100.0,
            lines: rates,
            note: mean.map_or(String::new(), |mean| format!("mean {mean:.1} Mbit/s, start-up included")),
        },
        Panel {
            name: "window, MiB",
            least_top: mib(2.0 * path.bdp()),
            lines: vec![
                Line::new("window", VIOLET, over(&|s| mib(s.window))),
                Line::new("in flight", ORANGE, over(&|s| mib(s.in_flight))),
                Line::dashed("BDP", GREY, across(mib(path.bdp()))),
            ],
            note: String::new(),
        },
        Panel {
            name: "round trip, ms",
            least_top: 2.0 * rtt_ms,
            lines: vec![
                Line::new("smoothed", VIOLET, over(&|s| s.srtt * 1e3)),
                Line::dashed("the path's", GREY, across(rtt_ms)),
            ],
            note: String::new(),
        },
    ]
}

/// A mark every two seconds.
fn seconds(end: u64) -> Vec<(f64, String)> {
    (0..=end).step_by(2).map(|s| (s as f64, s.to_string())).collect()
}
