//! What must hold in the world, whatever happens.

use super::server::{Part, Server};
use super::{At, NODES, World};
use crate::cluster::verdict::Role;
use std::time::Duration;

impl World {
    /// What must hold at any moment.
    pub(super) fn check(&mut self) {
        let verdict = *self.board.verdict();
        assert!(verdict.timeline >= self.newest, "the cluster's timeline went back");
        self.newest = verdict.timeline;
        let in_force = verdict.primary;
        if let Some((former, reign)) = self.in_force
            && in_force.is_some_and(|now| now != former)
        {
            assert_ne!(self.nodes[former].reign(), reign, "sessions still write to {former}");
        }
        if let Some(i) = in_force {
            assert_eq!(self.heard, [true; NODES], "somebody who was not asked may know better");
            let kept = self.in_force.filter(|(former, _)| *former == i);
            self.in_force = kept.or(Some((i, self.nodes[i].reign())));
            let Part { branch, timeline, .. } = self.seen[i];
            let known = *self.published.entry(timeline).or_insert(branch);
            assert_eq!(known, branch, "timeline {timeline} has had two primaries");
        }
        for i in (0..NODES).filter(|i| verdict.replicas >> i & 1 == 1) {
            self.check_replica(i);
        }
    }

    /// What was acknowledged before the moment through which it is fresh is there, unless its history has lost it.
    fn check_replica(&self, i: usize) {
        let server = &self.servers[i];
        let timeline = self.board.verdict().timeline;
        assert!(self.seen[i].timeline >= timeline, "{i} serves a history that is over");
        let (At::Idle(of) | At::Asked { of, .. } | At::Answered(of, ..)) = self.probers[i].0 else { return };
        if of != server.started {
            // Nothing can be read there any more.
            return;
        }
        let through = self.nodes[i].progress.fresh_through.get();
        for write in self.acknowledged.iter().rev().filter(|write| write.when < through) {
            let has = server.end_of(write.branch).is_some_and(|end| end >= write.end);
            let forked = match server.log.iter().position(|part| part.branch == write.branch) {
                Some(at) => server.log.get(at + 1).is_some_and(|next| next.begin < write.end),
                // It is on another branch, that was begun before that one was written.
                None => server.last().branch != 0 && !self.leads_to(server, write.branch),
            };
            assert!(
                has || forked,
                "{i} is taken to be fresh through {through:?} and lacks {write:?}: {server:?}"
            );
        }
    }

    /// What the server has is a beginning of that branch.
    fn leads_to(&self, server: &Server, branch: u64) -> bool {
        let with = self.servers.iter().find(|other| other.log.iter().any(|part| part.branch == branch));
        with.is_some_and(|other| server.may_follow(other))
    }

    /// Trouble ends: a person makes one of the servers the primary and all others its replicas.
    pub(super) fn settle(&mut self) -> usize {
        let newest = |i: &usize| (self.servers[*i].known, self.servers[*i].end);
        let winner = (0..NODES).max_by_key(newest).unwrap_or_default();
        let known = self.servers.iter().map(|server| server.known).max().unwrap_or_default();
        for server in &mut self.servers {
            self.starts += 1;
            (server.is_alive, server.is_frozen, server.is_cut) = (true, false, false);
            (server.role, server.started) = (Role::Replica, self.starts);
        }
        self.servers[winner].known = known;
        self.promote(winner);
        let from = self.servers[winner].clone();
        for i in (0..NODES).filter(|i| *i != winner) {
            self.servers[i].copy(&from, from.last().begin);
            self.servers[i].follows = winner;
        }
        winner
    }

    /// Then everybody serves, and everything is on everybody.
    pub(super) fn goes_well(&mut self, winner: usize) {
        for _ in 0..40 {
            self.write();
            self.now = self.now.plus(Duration::from_millis(60));
            for i in 0..NODES {
                self.replicate(i);
                (0..3).for_each(|_| self.probe(i));
                self.check();
            }
        }
        for i in (0..NODES).filter(|i| *i != winner) {
            let from = self.servers[winner].clone();
            self.servers[i].copy(&from, from.end);
        }
        self.now = self.now.plus(Duration::from_millis(60));
        let last = self.acknowledged.last().map(|write| write.when);
        for i in (0..2 * NODES).map(|n| (winner + n) % NODES) {
            (0..6).for_each(|_| self.probe(i));
            self.check();
        }
        let verdict = self.board.verdict();
        assert_eq!(verdict.primary, Some(winner), "{verdict:?}");
        let others = (0..NODES).filter(|i| *i != winner);
        for i in others {
            assert!(verdict.replicas >> i & 1 == 1, "{i} does not serve: {:?}", self.board.entries[i].facts);
            let through = self.nodes[i].progress.fresh_through.get();
            assert!(last.is_none_or(|last| through > last), "{i} is late: {through:?}, {last:?}");
        }
    }
}
