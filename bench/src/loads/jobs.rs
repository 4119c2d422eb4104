//! Many jobs at once, and whether those that run together get the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use udpx_control::client::Client;
use udpx_control::schema::{Event, JobReport, JobState, Jobs};

use super::daemons::{Daemon, Daemons, push, told};
use super::{LoadsArgs, Row, quantile};
use crate::compare::Void;

/// Of each of the many.
const SMALL: usize = 1 << 20;
/// Of each of those that are compared.
const LARGE: usize = 96 << 20;
/// For all of them together.
const LIMIT: Duration = Duration::from_secs(600);
/// What the control socket may take for an answer.
const ANSWER_MAX_MS: f64 = 100.0;
/// Of a daemon at any load, MiB.
const MEMORY_MAX_MIB: u64 = 256;
/// What one of the jobs that run together may lie from their mean.
const UNFAIR_MAX: f64 = 0.10;

/// All jobs are asked for at once; `sessions` of them run at a time.
pub(super) fn many(args: &LoadsArgs, dir: &Path) -> Result<Vec<Row>, Void> {
    let (jobs, sessions) = (args.jobs, args.sessions);
    let daemons = start(dir, jobs, sessions)?;
    let files = sources(dir, jobs, SMALL)?;
    let over = AtomicBool::new(false);
    let (outcome, answers) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask_on(&daemons.alice, &over));
        let outcome = carry(&daemons.alice, &files);
        over.store(true, Ordering::Release);
        (outcome, asking.join().unwrap_or_default())
    });
    let (ended, took) = outcome?;
    let done = ended.values().filter(|job| job.state == JobState::Done).count();
    let arrived = fs::read_dir(daemons.bob.inbox_of("alice"))?.count();
    let waits: Vec<f64> = ended
        .values()
        .filter_map(|job| Some(job.ended_unix_ms?.saturating_sub(job.started_unix_ms?) as f64))
        .collect();
    let [alice, bob] = daemons.end()?;
    let mib = |bytes: u64| bytes >> 20;
    let longest = quantile(&answers, 1.0);
    let bytes = u64::from(jobs) * SMALL as u64;
    Ok(vec![
        Row::judged(
            format!("{jobs} jobs of 1 MiB at once, {sessions} sessions at a time"),
            "all done",
            format!(
                "{done} done, {} not, {arrived} files there, {:.1} s, {:.2} Gbit/s",
                jobs as usize - done,
                took.as_secs_f64(),
                bytes as f64 * 8.0 / took.as_secs_f64() / 1e9
            ),
            done == jobs as usize && arrived == jobs as usize,
        ),
        Row::told(
            "from its start to its end, a job",
            format!("median {:.0} ms, slowest {:.0} ms", quantile(&waits, 0.5), quantile(&waits, 1.0)),
        ),
        Row::judged(
            "the control socket meanwhile",
            format!("<= {ANSWER_MAX_MS:.0} ms"),
            format!(
                "{} lists: median {:.1} ms, 99 % {:.1} ms, slowest {longest:.1} ms",
                answers.len(),
                quantile(&answers, 0.5),
                quantile(&answers, 0.99)
            ),
            longest <= ANSWER_MAX_MS,
        ),
        Row::judged(
            "memory of the daemons",
            format!("<= {MEMORY_MAX_MIB} MiB"),
            format!("sender {} MiB, receiver {} MiB", mib(alice.peak_bytes), mib(bob.peak_bytes)),
            mib(alice.peak_bytes.max(bob.peak_bytes)) <= MEMORY_MAX_MIB,
        ),
    ])
}

/// As many jobs as there may be sessions, all of one size: how far each is when half of everything has gone.
pub(super) fn fair(args: &LoadsArgs, dir: &Path) -> Result<Vec<Row>, Void> {
    let jobs = args.sessions;
    let daemons = start(dir, jobs, jobs)?;
    let files = sources(dir, 1, LARGE)?;
    let mut client = daemons.alice.client()?;
    let mut names = Vec::new();
    for number in 0..jobs {
        // One source under many names: a file in memory for each would be more than there is.
        let name = dir.join(format!("fair-{number}"));
        fs::hard_link(&files[0], &name)?;
        names.push(name);
    }
    names.iter().try_for_each(|name| push(&mut client, std::slice::from_ref(name)).map(|_| ()))?;
    // From the moment when all of them are under way until a good part of what was left then has gone.
    let all = u64::from(jobs) * LARGE as u64;
    let first =
        wait_for(&mut client, |now| now.len() == jobs as usize && now.values().all(|job| job.bytes > 0))?;
    let moved = |now: &BTreeMap<u64, JobReport>| now.values().map(|job| job.bytes).sum::<u64>();
    let enough = moved(&first) + (all - moved(&first)) * 2 / 5;
    let last = wait_for(&mut client, |now| moved(now) >= enough)?;
    let since = |(number, job): (&u64, &JobReport)| Some((job.bytes - first.get(number)?.bytes) as f64);
    let bytes: Vec<f64> = last.iter().filter_map(since).collect();
    let early = last.values().filter(|job| job.state != JobState::Running).count();
    let mean = bytes.iter().sum::<f64>() / bytes.len().max(1) as f64;
    let far = bytes.iter().map(|bytes| (bytes / mean - 1.0).abs()).fold(0.0, f64::max);
    let tenth = quantile(&bytes.iter().map(|bytes| (bytes / mean - 1.0).abs()).collect::<Vec<_>>(), 0.9);
    // Jain: 1 if all are equal, 1/n if one has everything.
    let jain = bytes.iter().sum::<f64>().powi(2)
        / (bytes.len().max(1) as f64 * bytes.iter().map(|b| b * b).sum::<f64>());
    daemons.end()?;
    Ok(vec![Row::judged(
        format!("{jobs} equal jobs: what each moves while all are under way"),
        format!("each within {:.0} % of the mean", UNFAIR_MAX * 100.0),
        format!(
            "nine of ten within {:.0} %, the farthest {:.0} % off; Jain's index {jain:.3}; {early} over too early to tell",
            tenth * 100.0,
            far * 100.0
        ),
        far <= UNFAIR_MAX && early == 0,
    )])
}

fn start(dir: &Path, jobs: u32, sessions: u32) -> Result<Daemons, Void> {
    let limits = format!(
        "[limits]\njobs_per_user = {}\nrunning = {sessions}\nrunning_per_user = {sessions}\n",
        jobs.max(1) + 1
    );
    Daemons::start(dir, &limits)
}

/// Files of `len` bytes, no two of them the same.
fn sources(dir: &Path, count: u32, len: usize) -> Result<Vec<PathBuf>, Void> {
    let mut bytes = vec![0x5a; len];
    (0..count)
        .map(|number| {
            let path = dir.join(format!("source-{number}"));
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            fs::write(&path, &bytes)?;
            Ok(path)
        })
        .collect()
}

/// The jobs as they are when `enough` says so.
fn wait_for(
    client: &mut Client,
    enough: impl Fn(&BTreeMap<u64, JobReport>) -> bool,
) -> Result<BTreeMap<u64, JobReport>, Void> {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        let now = list(client, true)?;
        if enough(&now) {
            return Ok(now);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(Void(format!("the jobs did not come so far in {} s", LIMIT.as_secs())))
}

/// Asks for all of them and waits until all have ended.
fn carry(daemon: &Daemon, files: &[PathBuf]) -> Result<(BTreeMap<u64, JobReport>, Duration), Void> {
    let mut client = daemon.client()?;
    let begin = Instant::now();
    for file in files {
        push(&mut client, std::slice::from_ref(file))?;
    }
    while begin.elapsed() < LIMIT {
        if list(&mut client, false)?.is_empty() {
            let took = begin.elapsed();
            return Ok((list(&mut client, true)?, took));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(Void(format!("{} jobs are not over after {} s", list(&mut client, false)?.len(), LIMIT.as_secs())))
}

fn list(client: &mut Client, ended: bool) -> Result<BTreeMap<u64, JobReport>, Void> {
    let mut jobs = BTreeMap::new();
    let responses = client.request(Jobs { ended, everyone: false }, &[]).map_err(told)?;
    responses
        .finish(|event| {
            if let Event::Job(job) = event {
                jobs.insert(job.job, *job);
            }
        })
        .map_err(told)?;
    Ok(jobs)
}

/// Asks for a job's report over and over; milliseconds of each answer.
fn ask_on(daemon: &Daemon, over: &AtomicBool) -> Vec<f64> {
    let mut answers = Vec::new();
    let Ok(mut client) = daemon.client() else { return answers };
    while !over.load(Ordering::Acquire) {
        let begin = Instant::now();
        if client.call(udpx_control::schema::Version {}).is_err() {
            // A socket that does not answer is as slow as can be.
            answers.push(f64::INFINITY);
            return answers;
        }
        answers.push(begin.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_millis(10));
    }
    answers
}
