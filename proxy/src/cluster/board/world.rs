//! A small world of servers that write, follow, fail, are promoted and come back, and of probers that tell the
//! board of it with delay. It is held to what pgweir promises, whatever happens in whatever order.
//!
//! All of it hangs on one number: `PGWEIR_SEED=4711 cargo test --lib board::world` plays that history again.

mod promises;
mod server;

use super::{Board, Identity, Sighting};
use crate::cluster::loss::Loss;
use crate::cluster::probe::told::Whole;
use crate::cluster::verdict::Role;
use crate::cluster::view::Settings;
use crate::config::Config;
use crate::node::Node;
use crate::node::lsn::WalLayout;
use crate::node::moment::Moment;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use server::{Part, Server, lsn};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Histories that are played.
const SEEDS: u64 = 400;
/// Events of each.
const EVENTS: usize = 600;
const NODES: usize = 4;

/// What a prober is at.
#[derive(Clone, Copy, Debug)]
enum At {
    Away,
    /// Connected to the server with this start.
    Idle(i64),
    Asked {
        of: i64,
        start: Moment,
        writes: u64,
    },
    Answered(i64, Sighting, Part),
}

/// A write that a client was told of.
#[derive(Clone, Copy, Debug)]
struct Acknowledged {
    when: Moment,
    branch: u64,
    end: u64,
}

struct World {
    dice: StdRng,
    /// pgweir is there.
    is_watched: bool,
    now: Moment,
    servers: Vec<Server>,
    probers: Vec<(At, Option<Whole>)>,
    branches: u64,
    starts: i64,
    acknowledged: Vec<Acknowledged>,
    board: Board,
    nodes: Vec<Arc<Node>>,
    /// The part that each was last seen to write, or to replay.
    seen: Vec<Part>,
    /// Each was heard, or could not be.
    heard: [bool; NODES],
    /// The branch that was published as the primary's, by timeline.
    published: HashMap<u32, u64>,
    /// The primary in force and the reign of it that sessions hold servers of.
    in_force: Option<(usize, u64)>,
    newest: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let config = Config::for_tests(&["a:1", "b:1", "c:1", "d:1"]);
        let settings = Arc::new(Settings::of(&config));
        let mut board = Board::new(settings.clone());
        let now = Moment(1 << 60);
        let nodes = board.configure(settings, super::By::Operator, false, now);
        let first = Part { branch: 0, timeline: 1, begin: 0 };
        let server = |i: usize| Server {
            started: i as i64 + 1,
            is_alive: true,
            is_frozen: false,
            is_cut: false,
            role: if i == 0 { Role::Primary } else { Role::Replica },
            log: vec![first],
            end: 10,
            follows: 0,
            known: 1,
        };
        Self {
            dice: StdRng::seed_from_u64(seed),
            is_watched: false,
            now,
            servers: (0..NODES).map(server).collect(),
            probers: vec![(At::Away, None); NODES],
            branches: 0,
            starts: 100,
            acknowledged: vec![],
            board,
            nodes,
            seen: vec![first; NODES],
            heard: [false; NODES],
            published: HashMap::new(),
            in_force: None,
            newest: 0,
        }
    }

    fn chance(&mut self, of_hundred: u32) -> bool {
        self.dice.random_range(0..100) < of_hundred
    }

    fn step(&mut self) {
        self.now = self.now.plus(Duration::from_micros(self.dice.random_range(1..20_000)));
        let i = self.dice.random_range(0..NODES);
        match self.dice.random_range(0..100) {
            0..=54 if self.is_watched => self.probe(i),
            55..=69 => self.write(),
            70..=84 => self.replicate(i),
            85..=86 => self.promote(i),
            87..=88 => self.rejoin(i),
            89..=90 => self.servers[i].is_alive = false,
            91..=93 => self.start(i),
            94 => self.servers[i].is_frozen ^= true,
            95 => self.servers[i].is_cut ^= true,
            96..=97 => self.servers[i].follows = self.dice.random_range(0..NODES),
            // Somebody writes past pgweir.
            _ if self.servers[i].works() && self.servers[i].role == Role::Primary => self.servers[i].end += 1,
            _ => {}
        }
        self.check();
    }

    /// A client's write goes where the published primary is.
    fn write(&mut self) {
        let Some(i) = self.board.verdict().primary else { return };
        let server = &mut self.servers[i];
        if server.is_reachable() && server.role == Role::Primary {
            server.end += 1;
            let (branch, end) = (server.last().branch, server.end);
            self.acknowledged.push(Acknowledged { when: self.now, branch, end });
        }
    }

    fn replicate(&mut self, i: usize) {
        let from = self.servers[self.servers[i].follows].clone();
        let server = &mut self.servers[i];
        if server.role == Role::Replica && server.works() && from.works() && server.may_follow(&from) {
            let end = self.dice.random_range(server.end..=from.end);
            server.copy(&from, end);
        }
    }

    fn promote(&mut self, i: usize) {
        let server = &mut self.servers[i];
        if server.role == Role::Replica && server.works() {
            self.branches += 1;
            let timeline = server.known.max(server.last().timeline) + 1;
            server.log.push(Part { branch: self.branches, timeline, begin: server.end });
            (server.role, server.known) = (Role::Primary, timeline);
        }
    }

    /// Made anew of a primary: its log is the other's, less what has not come yet.
    fn rejoin(&mut self, i: usize) {
        let of = self.dice.random_range(0..NODES);
        let from = self.servers[of].clone();
        if of == i || from.role != Role::Primary || !from.works() || self.servers[i].works() {
            return;
        }
        let end = self.dice.random_range(from.last().begin..=from.end);
        self.servers[i].copy(&from, end);
        (self.servers[i].role, self.servers[i].follows) = (Role::Replica, of);
        self.start(i);
    }

    fn start(&mut self, i: usize) {
        if !self.servers[i].is_alive || self.servers[i].role == Role::Replica {
            self.starts += 1;
            let server = &mut self.servers[i];
            (server.started, server.is_alive, server.is_frozen) = (self.starts, true, false);
        }
    }

    /// The prober of a node comes one step further.
    fn probe(&mut self, i: usize) {
        let (server, node) = (self.servers[i].clone(), self.nodes[i].clone());
        let (at, whole) = self.probers[i];
        let lost = match at {
            At::Away => {
                if server.is_reachable() {
                    let identity =
                        Identity { system: 7, started: Some(server.started), layout: WalLayout::default() };
                    let connected = self.board.connected(&node, identity, self.now);
                    assert_eq!(connected, Ok(()));
                    self.probers[i] = (At::Idle(server.started), None);
                    return;
                }
                self.chance(50).then(|| Loss::Silent("not there".into()))
            }
            // It is waited for, for a while.
            _ if server.is_cut || server.is_frozen => self.chance(20).then(|| Loss::Late("no answer".into())),
            At::Idle(of) | At::Asked { of, .. } | At::Answered(of, ..)
                if !server.is_alive || server.started != of =>
            {
                Some(Loss::Silent("gone".into()))
            }
            At::Idle(of) => {
                let writes = self.acknowledged.len() as u64;
                self.probers[i].0 = At::Asked { of, start: self.now, writes };
                return;
            }
            At::Asked { of, start, writes } => {
                let (sighting, whole) = self.answer(i, start, writes, whole);
                self.probers[i] = (At::Answered(of, sighting, server.last()), whole);
                return;
            }
            At::Answered(of, sighting, part) => {
                (self.seen[i], self.heard[i]) = (part, true);
                let sighted = self.board.sighted(&node, sighting, self.now);
                assert_eq!(sighted, Ok(()));
                self.probers[i].0 = At::Idle(of);
                return;
            }
        };
        if let Some(loss) = lost {
            self.board.lost(&node, loss, self.now);
            self.heard[i] = true;
            self.probers[i] = (At::Away, None);
        }
    }

    /// What the server tells, as of now.
    fn answer(
        &self,
        i: usize,
        start: Moment,
        writes: u64,
        whole: Option<Whole>,
    ) -> (Sighting, Option<Whole>) {
        let server = &self.servers[i];
        let end = Some(lsn(server.end));
        let is_primary = server.role == Role::Primary;
        let mut seen = Sighting {
            start,
            role: server.role,
            timeline: None,
            known: None,
            lsn: end,
            flushed: end.filter(|_| is_primary),
            fork: None,
            upstream: None,
            writes,
            writes_by_answer: self.acknowledged.len() as u64,
        };
        let has_primary = self.board.verdict().primary.is_some();
        if Whole::lets_out(whole, has_primary, start) && whole.is_some_and(|w| w.role == server.role) {
            return (seen, whole);
        }
        let from = &self.servers[server.follows];
        let receives = from.works() && server.may_follow(from) && from.role == Role::Primary;
        match server.role {
            Role::Primary => {
                (seen.timeline, seen.fork) = (Some(server.last().timeline), Some(lsn(server.last().begin)));
            }
            // Its receiver knows the timeline that it follows before anything of it has come.
            _ if receives && server.log.len() == from.log.len() => {
                seen.timeline = Some(server.last().timeline)
            }
            _ => (seen.timeline, seen.known) = (Some(server.last().timeline), Some(server.known)),
        }
        (seen, Some(Whole { role: server.role, at: start }))
    }
}

#[test]
fn whatever_happens_there_is_one_primary_of_a_history_and_no_replica_is_taken_to_be_fresher_than_it_is() {
    let seeds = match std::env::var("PGWEIR_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => {
            let first = rand::random::<u64>() >> 16;
            first..first + SEEDS
        }
    };
    let (mut primaries, mut served) = (0, 0);
    for seed in seeds {
        let played = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            // Before pgweir comes, nothing may have happened, or much.
            (0..world.dice.random_range(0..200)).for_each(|_| world.step());
            world.is_watched = true;
            (0..EVENTS).for_each(|_| world.step());
            let counts = (world.published.len(), world.acknowledged.len());
            let winner = world.settle();
            world.goes_well(winner);
            counts
        });
        let Ok((timelines, writes)) = played else { panic!("PGWEIR_SEED={seed} plays this again") };
        primaries += timelines;
        served += writes;
    }
    // It was a world in which something happened.
    assert!(primaries > 2 && served > 10, "{primaries} primaries, {served} writes");
}
