//! Who lends what: the daemon's end of the vaults (`docs/CONTROL.md`, section 8), without the socket.
//!
//! A connection lends itself to jobs by an offer: the push or pull that began them, or a vault-offer. What an engine, or
//! the conductor itself, needs done with the user's rights becomes a numbered demand to the connection that offered last;
//! at most [`DEMANDS_MAX`] are unanswered there, and the others wait. Where it goes, the one before it is asked again. Each is answered exactly once, whatever becomes
//! of the connection.
//!
//! Whoever drives it tells what happened ([`on_offer`](Lending::on_offer), [`on_call`](Lending::on_call),
//! [`ask`](Lending::ask), [`on_reply`](Lending::on_reply), [`on_job_ended`](Lending::on_job_ended),
//! [`on_gone`](Lending::on_gone)), then sends what [`poll_demand`](Lending::poll_demand) has, hears what
//! [`poll_told`](Lending::poll_told) has, and at [`deadline`](Lending::deadline) closes the connections that
//! [`hung`](Lending::hung) names.

#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mio::Token;
use udpx_control::limits::{DEMAND_TIME_MAX, DEMANDS_MAX, SYNC_TIME_MAX};
use udpx_control::schema::{Demand, ErrorReport, Operation, Outcome, VaultReply, code};
use udpx_proto::Code;

use crate::storage::lender::{LentAnswer, LentCall};
use words::{demanded, done, fits, sentence};

/// Demands of one connection that wait until others are answered.
pub(crate) const WAITING_MAX: usize = 1024;

/// The offers, and the demands under way. `T` names what the conductor itself has asked for.
#[derive(Debug)]
pub(crate) struct Lending<T> {
    lenders: HashMap<Token, Lender<T>>,
    /// Who lends itself to a job, and on which of its requests; the last is asked.
    jobs: HashMap<u64, Vec<(Token, u64)>>,
    to_send: VecDeque<ToSend>,
    told: VecDeque<(T, Told)>,
}

/// A demand, and the request as whose event it goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ToSend {
    /// The connection.
    pub(crate) connection: Token,
    /// The request.
    pub(crate) request: u64,
    /// The demand.
    pub(crate) demand: Demand,
}

/// What the conductor is told of what it asked for: an outcome that fits, and the file that came with it.
pub(crate) type Told = Result<(Outcome, Option<OwnedFd>), ErrorReport>;

/// One connection.
#[derive(Debug)]
struct Lender<T> {
    last_demand: u64,
    /// By number.
    unanswered: BTreeMap<u64, Errand<T>>,
    waiting: VecDeque<Errand<T>>,
    /// The jobs of each of its requests.
    offers: HashMap<u64, HashSet<u64>>,
}

impl<T> Default for Lender<T> {
    fn default() -> Self {
        Self { last_demand: 0, unanswered: BTreeMap::new(), waiting: VecDeque::new(), offers: HashMap::new() }
    }
}

impl<T> Lender<T> {
    /// Offers without a job to which no answer is owed either.
    fn forget_old_offers(&mut self) {
        let Self { unanswered, offers, .. } = self;
        let owes = |request| unanswered.values().any(|errand| errand.request == request);
        offers.retain(|request, jobs| !jobs.is_empty() || owes(*request));
    }
}

/// A demand, and who waits for its answer.
#[derive(Debug)]
struct Errand<T> {
    request: u64,
    job: u64,
    operation: Operation,
    whom: Whom<T>,
    /// When whoever has not answered hangs; set when it is sent.
    deadline: Option<Instant>,
}

#[derive(Debug)]
enum Whom<T> {
    Engine(Box<LentAnswer>),
    Conductor(T),
}

impl<T> Default for Lending<T> {
    fn default() -> Self {
        Self {
            lenders: HashMap::new(),
            jobs: HashMap::new(),
            to_send: VecDeque::new(),
            told: VecDeque::new(),
        }
    }
}

impl<T> Lending<T> {
    /// A connection of user `uid` lends itself to jobs, each with its owner's user id, on a request of its own. What
    /// waits for an earlier lender of these jobs goes to this one.
    ///
    /// # Errors
    /// One of the jobs is another user's: then none is lent to. Root has no more right to it: files would become root's.
    pub(crate) fn on_offer(
        &mut self,
        connection: Token,
        request: u64,
        uid: u32,
        jobs: &[(u64, u32)],
        now: Instant,
    ) -> Result<(), ErrorReport> {
        if let Some((job, owner)) = jobs.iter().find(|(_, owner)| *owner != uid) {
            let text = format!("Job {job} is of user {owner}, and this process of user {uid}.");
            return Err(ErrorReport::new(code::REFUSED, text, "Lend a process of the job's owner."));
        }
        let lender = self.lenders.entry(connection).or_default();
        lender.forget_old_offers();
        lender.offers.entry(request).or_default().extend(jobs.iter().map(|(job, _)| *job));
        for &(job, _) in jobs {
            let before = self.lender_of(job);
            let lenders = self.jobs.entry(job).or_default();
            lenders.retain(|(lender, _)| *lender != connection);
            lenders.push((connection, request));
            for errand in before.map(|(before, _)| self.take_waiting(before, job)).unwrap_or_default() {
                self.put(errand, now);
            }
        }
        Ok(())
    }

    /// Who lends itself to a job: its connection and request.
    #[must_use]
    pub(crate) fn lender_of(&self, job: u64) -> Option<(Token, u64)> {
        self.jobs.get(&job)?.last().copied()
    }

    /// An engine needs something done.
    pub(crate) fn on_call(&mut self, call: LentCall, now: Instant) {
        let LentCall { job, operation, answer } = call;
        self.want(job, demanded(operation), Whom::Engine(Box::new(answer)), now);
    }

    /// The conductor needs something done; what came of it is told with `ticket`.
    pub(crate) fn ask(&mut self, job: u64, operation: Operation, ticket: T, now: Instant) {
        self.want(job, operation, Whom::Conductor(ticket), now);
    }

    /// An answer came, with the file that it says to come with it.
    ///
    /// # Errors
    /// It answers nothing that this connection was asked on that request, or not in a way that fits.
    pub(crate) fn on_reply(
        &mut self,
        connection: Token,
        reply: VaultReply,
        descriptor: Option<OwnedFd>,
        now: Instant,
    ) -> Result<(), ErrorReport> {
        let VaultReply { offer, demand, outcome } = reply;
        let wrong =
            |text| ErrorReport::new(code::PROTOCOL, text, "Answer each demand once, on its own offer.");
        let lender = self.lenders.get_mut(&connection).filter(|lender| lender.offers.contains_key(&offer));
        let Some(lender) = lender else {
            return Err(wrong(format!("This connection lends nothing on request {offer}.")));
        };
        match lender.unanswered.get(&demand) {
            None => return Err(wrong(format!("No demand {demand} waits for an answer."))),
            Some(errand) if errand.request != offer => {
                let text = format!("Demand {demand} was made on request {}, not {offer}.", errand.request);
                return Err(wrong(text));
            }
            Some(_) => {}
        }
        let Some(errand) = lender.unanswered.remove(&demand) else { return Ok(()) };
        let fits = fits(&errand.operation, &outcome, descriptor.is_some());
        let refused = (!fits).then(|| {
            wrong(format!("Demand {demand} was to {}, and the answer does not fit.", errand.operation.name()))
        });
        self.next(connection, now);
        match refused {
            Some(error) => {
                self.fail(errand, &error);
                Err(error)
            }
            None => {
                self.finish(errand, outcome, descriptor);
                Ok(())
            }
        }
    }

    /// A job needs nobody any more. Returns the requests whose last job it was: as offers they are done. What was
    /// demanded for it may still be answered.
    pub(crate) fn on_job_ended(&mut self, job: u64) -> Vec<(Token, u64)> {
        let mut done = Vec::new();
        for (connection, _) in self.jobs.remove(&job).unwrap_or_default() {
            let error = ErrorReport::new(code::TRY_AGAIN, format!("Job {job} has ended."), "");
            for errand in self.take_waiting(connection, job) {
                self.fail(errand, &error);
            }
            let Some(lender) = self.lenders.get_mut(&connection) else { continue };
            for (request, jobs) in &mut lender.offers {
                if jobs.remove(&job) && jobs.is_empty() {
                    done.push((connection, *request));
                }
            }
        }
        done
    }

    /// A connection is closed: what it was asked for has failed, and what waited goes to whoever offered before it.
    /// Returns the jobs that nobody lends itself to now.
    pub(crate) fn on_gone(&mut self, connection: Token, now: Instant) -> Vec<u64> {
        let Some(lender) = self.lenders.remove(&connection) else { return Vec::new() };
        self.to_send.retain(|to_send| to_send.connection != connection);
        let mut alone = Vec::new();
        self.jobs.retain(|job, lenders| {
            let before = lenders.len();
            lenders.retain(|(lender, _)| *lender != connection);
            if lenders.is_empty() && before > 0 {
                alone.push(*job);
            }
            !lenders.is_empty()
        });
        for errand in lender.unanswered.into_values() {
            let error = gone(&errand);
            self.fail(errand, &error);
        }
        for errand in lender.waiting {
            self.put(errand, now);
        }
        alone.sort_unstable();
        alone
    }

    /// The next demand to be sent.
    pub(crate) fn poll_demand(&mut self) -> Option<ToSend> {
        self.to_send.pop_front()
    }

    /// What became of something that the conductor asked for.
    pub(crate) fn poll_told(&mut self) -> Option<(T, Told)> {
        self.told.pop_front()
    }

    /// When somebody hangs at the earliest.
    #[must_use]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.unanswered().filter_map(|(_, errand)| errand.deadline).min()
    }

    /// A connection that has left a demand without an answer for too long, and what it is to be told. Close it, and say
    /// so with [`on_gone`](Self::on_gone).
    #[must_use]
    pub(crate) fn hung(&self, now: Instant) -> Option<(Token, ErrorReport)> {
        let late = |errand: &Errand<T>| errand.deadline.is_some_and(|deadline| now >= deadline);
        let (connection, errand) = self.unanswered().find(|(_, errand)| late(errand))?;
        let (name, seconds) = (errand.operation.name(), patience(&errand.operation).as_secs());
        let text = format!("A demand to {name} {:?} had no answer for {seconds} s.", shown(errand));
        Some((connection, ErrorReport::new(code::TRY_AGAIN, text, "Run the command again.")))
    }

    fn unanswered(&self) -> impl Iterator<Item = (Token, &Errand<T>)> {
        self.lenders
            .iter()
            .flat_map(|(connection, lender)| lender.unanswered.values().map(|errand| (*connection, errand)))
    }

    fn want(&mut self, job: u64, operation: Operation, whom: Whom<T>, now: Instant) {
        let request = self.lender_of(job).map_or(0, |(_, request)| request);
        self.put(Errand { request, job, operation, whom, deadline: None }, now);
    }

    /// Puts an errand into the queue of whoever lends itself to its job.
    fn put(&mut self, mut errand: Errand<T>, now: Instant) {
        let found = self.lender_of(errand.job);
        let lender = found.and_then(|(connection, _)| self.lenders.get_mut(&connection));
        let (Some((connection, request)), Some(lender)) = (found, lender) else {
            let error = gone(&errand);
            return self.fail(errand, &error);
        };
        if lender.waiting.len() >= WAITING_MAX {
            let text = format!("{:?} has to wait for too many others.", shown(&errand));
            return self.fail(errand, &ErrorReport::new(code::TRY_AGAIN, text, "Try again later."));
        }
        errand.request = request;
        lender.waiting.push_back(errand);
        self.next(connection, now);
    }

    /// Demands of a connection as many as it may be asked for.
    fn next(&mut self, connection: Token, now: Instant) {
        let Some(lender) = self.lenders.get_mut(&connection) else { return };
        while lender.unanswered.len() < DEMANDS_MAX {
            let Some(mut errand) = lender.waiting.pop_front() else { break };
            lender.last_demand += 1;
            let (demand, job, operation) = (lender.last_demand, errand.job, errand.operation.clone());
            errand.deadline = Some(now + patience(&operation));
            let demand = Demand { demand, job, operation };
            self.to_send.push_back(ToSend { connection, request: errand.request, demand });
            lender.unanswered.insert(lender.last_demand, errand);
        }
    }

    /// What had not been demanded yet for a job.
    fn take_waiting(&mut self, connection: Token, job: u64) -> VecDeque<Errand<T>> {
        let Some(lender) = self.lenders.get_mut(&connection) else { return VecDeque::new() };
        let (mine, others) = lender.waiting.drain(..).partition(|errand| errand.job == job);
        lender.waiting = others;
        mine
    }

    fn finish(&mut self, errand: Errand<T>, outcome: Outcome, descriptor: Option<OwnedFd>) {
        match errand.whom {
            Whom::Engine(answer) => answer.complete(done(outcome, descriptor)),
            Whom::Conductor(ticket) => self.told.push_back((
                ticket,
                match outcome {
                    Outcome::Failed { error, .. } => Err(error),
                    outcome => Ok((outcome, descriptor)),
                },
            )),
        }
    }

    fn fail(&mut self, errand: Errand<T>, error: &ErrorReport) {
        match errand.whom {
            Whom::Engine(answer) => answer.fail(Code::from_number(error.code), sentence(error)),
            Whom::Conductor(ticket) => self.told.push_back((ticket, Err(error.clone()))),
        }
    }
}

/// How long an operation may take.
fn patience(operation: &Operation) -> Duration {
    match operation {
        // A slow disk may have much to write.
        Operation::Commit { .. } | Operation::Sync { .. } => SYNC_TIME_MAX,
        _ => DEMAND_TIME_MAX,
    }
}

fn shown<T>(errand: &Errand<T>) -> PathBuf {
    errand.operation.path().cloned().map(PathBuf::from).unwrap_or_default()
}

fn gone<T>(errand: &Errand<T>) -> ErrorReport {
    let text = format!("{:?} is out of reach: no process lends it.", shown(errand));
    ErrorReport::new(code::TRY_AGAIN, text, format!("Lend one: udpxctl resume {}.", errand.job))
}
