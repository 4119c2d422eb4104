//! Small things: a file of 10 kB, and an echo while a transfer takes all that there is.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use udpx_control::schema::{Event, Ping};

use super::daemons::{Daemons, job, push, push_to_the_end, told};
use super::{Row, quantile};
use crate::compare::Void;

const SMALL: usize = 10_000;
/// Times that a small push is repeated.
const REPEATS: u32 = 30;
/// Files of the job that shows what one more costs.
const MORE: u32 = 41;
/// Of the transfer that fills everything.
const LARGE: u64 = 4 << 30;
const ECHOES: u32 = 200;

/// A job has a session of its own, so each push makes one; what a file costs in a session that is there shows in a job of many.
pub(super) fn small(dir: &Path) -> Result<Vec<Row>, Void> {
    let daemons = Daemons::start(dir, "")?;
    let mut client = daemons.alice.client()?;
    let (mut one, mut many) = (Vec::new(), Vec::new());
    for repeat in 0..REPEATS {
        let files = files(dir, repeat, MORE)?;
        let begin = Instant::now();
        push_to_the_end(&mut client, &files[..1])?;
        one.push(begin.elapsed().as_secs_f64() * 1e3);
        let begin = Instant::now();
        push_to_the_end(&mut client, &files[1..])?;
        many.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    daemons.end()?;
    let (one, all) = (quantile(&one, 0.5), many);
    let more = (quantile(&all, 0.5) - one) / f64::from(MORE - 2);
    Ok(vec![
        Row::told(
            "a push of 10 kB, session and durable file included",
            format!("median {one:.1} ms of {REPEATS}"),
        ),
        Row::told(
            "one more file of 10 kB in a session that is there",
            format!("{more:.2} ms, of {} files", MORE - 1),
        ),
    ])
}

fn files(dir: &Path, repeat: u32, count: u32) -> Result<Vec<PathBuf>, Void> {
    (0..count)
        .map(|number| {
            let path = dir.join(format!("small-{repeat}-{number}"));
            fs::write(&path, [number as u8; SMALL])?;
            Ok(path)
        })
        .collect()
}

/// Echoes on a machine at rest, and while a file is pushed as fast as it goes.
pub(super) fn ping(dir: &Path) -> Result<Vec<Row>, Void> {
    let daemons = Daemons::start(dir, "")?;
    let large = dir.join("large");
    // Holes read as zeros, and take no memory here; they take it at the other end.
    fs::File::create(&large)?.set_len(LARGE)?;
    let at_rest = echoes(&daemons)?;
    let mut client = daemons.alice.client()?;
    let number = push(&mut client, std::slice::from_ref(&large))?;
    let under_load = echoes(&daemons)?;
    let report = job(&mut client, number)?;
    daemons.end()?;
    let told = |samples: &[f64]| {
        format!(
            "{} of {ECHOES}: median {:.2} ms, 99 % {:.2} ms",
            samples.len(),
            quantile(samples, 0.5),
            quantile(samples, 0.99)
        )
    };
    Ok(vec![
        Row::told("echoes, nothing else to do", told(&at_rest)),
        Row::judged(
            format!(
                "echoes while a transfer takes what there is ({} of {LARGE} bytes by their end)",
                report.bytes
            ),
            "all come back",
            told(&under_load),
            under_load.len() == ECHOES as usize,
        ),
    ])
}

/// Round trips, ms.
fn echoes(daemons: &Daemons) -> Result<Vec<f64>, Void> {
    let mut client = daemons.alice.client()?;
    let ping =
        Ping { host: "bob".into(), port: None, key: None, count: ECHOES, interval_us: 10_000, bytes: 64 };
    let mut trips = Vec::new();
    let responses = client.request(ping, &[]).map_err(told)?;
    responses
        .finish(|event| {
            if let Event::Pong(pong) = event
                && let Some(rtt) = pong.rtt_us
            {
                trips.push(rtt as f64 / 1e3);
            }
        })
        .map_err(told)?;
    Ok(trips)
}
