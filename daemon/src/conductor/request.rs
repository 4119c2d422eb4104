//! A request goes to whoever can answer it.

use udpx_control::schema::{
    Command, ErrorReport, Limit, LimitTarget, PeerAction, Reply, RootReport, Roots, Watch,
};
use udpx_proto::Code;

use super::Conductor;
use super::answer::{Answer, answer};
use super::clients::{Address, Asked};
use super::jobs::Who;
use super::reports::error;
use super::roots::RootChange;

impl Conductor {
    /// Serves a request; one that goes on is answered later.
    pub(super) fn serve(&mut self, asked: Asked) {
        let Asked { from, peer, incoming } = asked;
        let command = incoming.request.command;
        let result = match self.admins.check(&peer, &command) {
            Ok(()) => self.dispatch(from, &peer, command, incoming.descriptors),
            Err(refused) => Err(refused),
        };
        if let Err(refused) = result {
            self.out.refuse(from, refused);
        }
    }

    fn dispatch(
        &mut self,
        from: Address,
        peer: &udpx_control::server::PeerCredentials,
        command: Command,
        descriptors: Vec<std::os::fd::OwnedFd>,
    ) -> Result<(), ErrorReport> {
        let who = Who { peer, admins: self.admins };
        let now = std::time::Instant::now();
        let (jobs, mut cx) = self.jobs(now);
        let Some(jobs) = jobs else {
            return self.answer(from, &command);
        };
        match command {
            Command::Push(push) => jobs.push(from, peer, &push, descriptors, &mut cx),
            Command::Pull(pull) => jobs.pull(from, peer, &pull, descriptors, &mut cx),
            Command::Jobs(wanted) => {
                let uid = (!wanted.everyone || !who.admins.has(peer)).then_some(peer.uid);
                let list = jobs.list(uid, wanted.ended);
                let count = list.len() as u64;
                for job in list {
                    cx.out.event(from, udpx_control::schema::Event::Job(Box::new(job)));
                }
                cx.out.done(from, Reply::Listed { count, cut: false });
                Ok(())
            }
            Command::Show(show) => jobs.show(from, &show, who, &mut cx),
            Command::Watch(Watch { job: Some(id) }) => jobs.watch(from, id, who, &mut cx),
            Command::Watch(Watch { job: None }) => {
                let uid = (!who.admins.has(peer)).then_some(peer.uid);
                jobs.follow(from, uid, &mut cx);
                Ok(())
            }
            Command::Cancel(of) => jobs.cancel(from, of.job, who, &mut cx),
            Command::Pause(of) => jobs.pause(from, of.job, who, &mut cx),
            Command::Resume(of) => jobs.resume(from, of.job, who, &mut cx),
            Command::Limit(Limit { target: LimitTarget::Peer { peer }, rate_bps }) => {
                self.admins.require(who.peer, "The limit of a peer")?;
                self.change_peer(from, &PeerAction::Rate { peer, rate_bps })
            }
            Command::Limit(limit) => jobs.limit(from, &limit.target, limit.rate_bps, who, &mut cx),
            Command::SetPolicy(policy) => jobs.set_policy(from, &policy, who, &mut cx),
            Command::VaultOffer(offer) => jobs.offer(from, &offer, who, &mut cx),
            Command::VaultReply(reply) => {
                let descriptor = descriptors.into_iter().next();
                cx.lending.on_reply(from.client, reply, descriptor, now)
            }
            Command::List(list) => self.asks.list(from, &list, &self.peers, &self.resolver, &mut self.ids),
            Command::Ping(ping) => self.asks.ping(from, &ping, &self.peers, &self.resolver, &mut self.ids),
            Command::Roots(change @ (Roots::Add { .. } | Roots::Remove { .. })) => {
                self.change_roots(from, &change)
            }
            Command::Invite(wanted) => self.invite(from, &wanted),
            Command::Join(wanted) => self.join(from, &wanted, now),
            Command::PeerAction(action) => self.change_peer(from, &action),
            other => self.answer(from, &other),
        }
    }

    /// What can be answered from what is known.
    fn answer(&mut self, from: Address, command: &Command) -> Result<(), ErrorReport> {
        let counts = self.job_table.as_ref().map(super::jobs::Jobs::counts).unwrap_or_default();
        match answer((&self.board, &self.caps), counts, self.clients.count(), command) {
            Answer::Whole(events, reply) => {
                events.into_iter().for_each(|event| self.out.event(from, event));
                self.out.done(from, reply);
            }
            Answer::Follow(events, peer) => {
                events.into_iter().for_each(|event| self.out.event(from, event));
                self.following.push((from, peer));
            }
            Answer::Refused(refused) => return Err(refused),
        }
        Ok(())
    }

    /// An administrator changes the roots: the engine admits accordingly, and the ledger keeps it.
    fn change_roots(&mut self, from: Address, command: &Roots) -> Result<(), ErrorReport> {
        if let Some((book, change)) = self.roots.changed(command)? {
            let config = book.in_force();
            self.daemon
                .reload(&config)
                .map_err(|failed| error(failed.code(), failed.to_string(), Code::TryAgain.remedy()))?;
            self.board.set(super::board::Settings::of(&config));
            self.roots = book;
            let added = |root: &RootReport| matches!(&change, RootChange::Set(name, _) if *name == root.root);
            let added = self.board.roots().into_iter().find(added);
            if let Some(jobs) = &mut self.job_table {
                jobs.keep_root(from, &change, added);
            }
        }
        Ok(())
    }
}
