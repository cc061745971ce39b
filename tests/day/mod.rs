//! An operator's day in a hurry: mixed load while configurations change and nodes come and go.
//!
//! Clients read, write, prepare, run transactions and come back on new connections; each counts what it
//! asks for, and checks that it reads what it wrote. Meanwhile somebody reloads, drains, removes and adds
//! nodes. At the end the sums must agree: what clients counted, what pgweir counted, what the tables say.

mod client;
mod operator;

use crate::cluster::{Cluster, WEIR, WEIR_PASSWORD};
use crate::error::HarnessError;
use crate::sql::Login;
use crate::usage::Usage;
use crate::weir::Weir;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use client::Tally;
pub use operator::Deeds;

/// How long, and how many.
#[derive(Clone, Copy, Debug)]
pub struct Day {
    /// From the first statement to the last.
    pub duration: Duration,
    /// Connections at once.
    pub clients: u32,
    /// Pause between two of the operator's deeds.
    pub pause: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// What the clients did and saw.
    pub clients: Tally,
    /// What the operator did.
    pub deeds: Deeds,
    /// Statements as pgweir counted them.
    pub counted: u64,
    /// Of them on replicas.
    pub on_replicas: u64,
    /// Increments that the tables show.
    pub increments: u64,
    /// Resident memory of pgweir over time, bytes; the first fifth, in which caches fill, left out.
    pub memory: Vec<u64>,
}

/// What pgweir may gain between the second fifth and the last: the allocator's own moods.
pub const GROWTH_BYTES_MAX: u64 = 8 << 20;

impl Outcome {
    /// What is not as it should be.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = self.clients.errors.clone();
        complaints.extend(self.deeds.errors.clone());
        let mut unless = |right: bool, complaint: String| {
            if !right {
                complaints.push(complaint);
            }
        };
        let Tally { statements, increments, .. } = self.clients;
        unless(statements > 0 && self.on_replicas > 0, "nothing was read from replicas".into());
        unless(
            self.counted == statements,
            format!("pgweir counted {} statements, its clients {statements}", self.counted),
        );
        unless(
            self.increments == increments,
            format!("{increments} increments were acknowledged, {} are there", self.increments),
        );
        let (before, after) = self.growth();
        unless(
            after <= before + GROWTH_BYTES_MAX,
            format!("memory grew from {} to {} kB", before >> 10, after >> 10),
        );
        complaints
    }

    /// The most memory in the second and in the last fifth of the time.
    fn growth(&self) -> (u64, u64) {
        let quarter = (self.memory.len() / 4).max(1);
        let most = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
        let last = self.memory.len().saturating_sub(quarter);
        (most(&self.memory[..quarter.min(self.memory.len())]), most(&self.memory[last..]))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = self.growth();
        let Tally { statements, increments, logins, errors } = &self.clients;
        writeln!(
            f,
            "clients   {statements} statements, {increments} increments, {logins} log-ins, {} errors",
            errors.len()
        )?;
        writeln!(f, "pgweir    {} statements, of them {} on replicas", self.counted, self.on_replicas)?;
        writeln!(f, "tables    {} increments", self.increments)?;
        writeln!(f, "operator  {}", self.deeds)?;
        writeln!(f, "memory    {} kB early, {} kB late", before >> 10, after >> 10)
    }
}

impl Day {
    /// Runs it on a cluster of one's own with two replicas.
    ///
    /// # Errors
    /// When cluster or pgweir cannot be started.
    pub fn run(&self) -> Result<Outcome, HarnessError> {
        let cluster = Cluster::builder().start()?;
        cluster.node(0).superuser().database("app").sql(client::SCHEMA)?;
        cluster.wait_caught_up()?;
        let weir = Weir::builder(&cluster)
            .set("routing.freshness_wait", "1s")
            .set("pool.lease_wait", "60s")
            .set("runtime.watch_config", false)
            .start()?;
        let before = Counts::of(&weir)?;
        let over = AtomicBool::new(false);
        let (clients, deeds, memory) = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..self.clients)
                .map(|number| {
                    let (weir, over) = (&weir, &over);
                    scope.spawn(move || client::run(number, &weir.app(), over))
                })
                .collect();
            let deeds = scope.spawn(|| operator::run(&cluster, &weir, self.pause, &over));
            let memory = self.watch(&weir);
            over.store(true, Ordering::Relaxed);
            let mut tally = Tally::default();
            for client in clients {
                tally.add(client.join().unwrap_or_else(|_| Tally::failed("a client panicked")));
            }
            (tally, deeds.join().unwrap_or_else(|_| Deeds::failed("the operator panicked")), memory)
        });
        let after = Counts::of(&weir)?;
        let increments = cluster.value(0, "app", "SELECT sum(n) FROM day_row")?;
        Ok(Outcome {
            clients,
            deeds,
            counted: after.all - before.all,
            on_replicas: after.on_replicas - before.on_replicas,
            increments: increments.parse().unwrap_or(0),
            memory,
        })
    }

    /// Looks at pgweir's memory until time is up.
    fn watch(&self, weir: &Weir) -> Vec<u64> {
        let began = Instant::now();
        let mut memory = vec![];
        while began.elapsed() < self.duration {
            std::thread::sleep(
                (self.duration / 100).clamp(Duration::from_millis(50), Duration::from_secs(5)),
            );
            if began.elapsed() > self.duration / 5 {
                memory.push(Usage::of_tree(weir.pid()).resident_bytes);
            }
        }
        memory
    }
}

/// Statements as pgweir counts them.
struct Counts {
    all: u64,
    on_replicas: u64,
}

impl Counts {
    fn of(weir: &Weir) -> Result<Self, HarnessError> {
        let metrics = weir.metrics()?;
        let sum = |labels: &[(&str, &str)]| metrics.sum("pgweir_statements_total", labels) as u64;
        Ok(Self {
            all: sum(&[("database", "app")]),
            on_replicas: sum(&[("database", "app"), ("target", "replica")]),
        })
    }
}

fn console(weir: &Weir) -> Login {
    Login::local(weir.port(), WEIR, WEIR_PASSWORD, "pgweir")
}
