//! Placement by a cluster whose probers never run: the tests tell it what they would have seen.

mod astray;
mod headless;
mod listed;

use super::super::board::{Identity, Sighting};
use super::super::loss::Loss;
use super::super::verdict::Role;
use super::*;
use crate::config::Config;
use crate::node::Node;
use crate::node::lsn::{Lsn, WalLayout};
use crate::observe::Metrics;
use router_rules::Decision;
use router_rules::statement::Footprint;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;
use tokio::runtime::Runtime;

const ORDERS: &[u32] = &[20_001];
const PRODUCTS: &[u32] = &[20_002];

/// A primary and two replicas, as far as anybody tells.
struct Stage {
    cluster: Arc<Cluster>,
    /// Never polled: no prober runs unless a test lets it.
    runtime: Runtime,
    nodes: Vec<Arc<Node>>,
}

impl Stage {
    fn new() -> Self {
        Self::of(&Config::for_tests(&["a:1", "b:1", "c:1"]))
    }

    fn of(config: &Config) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let cluster = {
            let _entered = runtime.enter();
            Cluster::start(config, Arc::new(Metrics::new().unwrap()), tokio::runtime::Handle::current())
        };
        let nodes = cluster.view.load().members.iter().map(|m| m.node.clone()).collect();
        let stage = Self { cluster, runtime, nodes };
        // No other pgweir was here, and none comes as long as a test takes.
        stage.cluster.fleet.rely(stage.cluster.now().plus(Duration::from_secs(3600)), Moment::NEVER);
        (0..3).for_each(|i| stage.connect(i));
        // Nobody is taken for the primary before all have been heard.
        stage.replica_at(1, 1000);
        stage.replica_at(2, 1000);
        stage.primary_at(0, 1000);
        stage
    }

    fn connect(&self, i: usize) {
        let identity = Identity { system: 7, started: None, layout: WalLayout::default() };
        self.cluster.node_connected(&self.nodes[i], identity).unwrap();
    }

    fn sight(&self, i: usize, role: Role, timeline: u32, lsn: u64) {
        let (start, writes) = (self.cluster.now(), self.cluster.writes());
        let lsn = Some(Lsn(lsn));
        let seen = Sighting {
            start,
            role,
            timeline: Some(timeline),
            known: None,
            lsn,
            flushed: lsn,
            fork: None,
            upstream: None,
            writes,
            writes_by_answer: writes,
        };
        self.cluster.node_sighted(&self.nodes[i], seen).unwrap();
    }

    /// It was promoted onto this timeline, which forked off there.
    fn promoted(&self, i: usize, timeline: u32, lsn: u64, fork: u64) {
        let (start, writes) = (self.cluster.now(), self.cluster.writes());
        let seen = Sighting {
            start,
            role: Role::Primary,
            timeline: Some(timeline),
            known: None,
            lsn: Some(Lsn(lsn)),
            flushed: Some(Lsn(lsn)),
            fork: Some(Lsn(fork)),
            upstream: None,
            writes,
            writes_by_answer: writes,
        };
        self.cluster.node_sighted(&self.nodes[i], seen).unwrap();
    }

    fn primary_at(&self, i: usize, lsn: u64) {
        self.sight(i, Role::Primary, 1, lsn);
    }

    fn replica_at(&self, i: usize, lsn: u64) {
        self.sight(i, Role::Replica, 1, lsn);
    }

    fn lose(&self, i: usize) {
        self.cluster.node_lost(&self.nodes[i], Loss::Silent("gone".into()));
    }

    /// The node's number and the reason; `None`: it has to wait.
    fn place(
        &self,
        decision: &Decision,
        reads: &[u32],
        session: &SessionFreshness,
    ) -> Option<(usize, Reason)> {
        let reads = Footprint::Relations(reads.into());
        let wish = Wish { database: "app", decision, reads: &reads, session };
        let placement = self.cluster.try_place(&wish).ok()??;
        let number = self.nodes.iter().position(|n| Arc::ptr_eq(n, &placement.node)).unwrap();
        Some((number, placement.reason))
    }

    /// The nodes that may serve, by fifty tries.
    fn places(&self, decision: &Decision, reads: &[u32], session: &SessionFreshness) -> Vec<usize> {
        let mut found: Vec<_> =
            (0..50).filter_map(|_| self.place(decision, reads, session)).map(|(i, _)| i).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    fn wrote(&self, what: &[u32], session: &mut SessionFreshness) {
        self.cluster.wrote("app", &Footprint::Relations(what.into()), session);
    }
}

fn at(consistency: Consistency) -> Decision {
    Decision {
        target: Target::Replica,
        reason: Reason::ReadOnly,
        consistency,
        max_lag: Some(Duration::from_secs(10)),
        max_lag_bytes: None,
        transactions: Default::default(),
        group: None,
        refuse: None,
        log: None,
    }
}

#[test]
fn reads_spread_over_the_replicas_while_nothing_is_written() {
    let stage = Stage::new();
    let session = SessionFreshness::default();
    for level in [Consistency::Eventual, Consistency::Session, Consistency::Proxy] {
        assert_eq!(stage.places(&at(level), ORDERS, &session), [1, 2]);
    }
}

#[test]
fn a_read_of_what_was_written_waits_until_a_replica_has_it() {
    let stage = Stage::new();
    let (mut writer, reader) = (SessionFreshness::default(), SessionFreshness::default());
    let proxy = at(Consistency::Proxy);
    stage.wrote(ORDERS, &mut writer);
    assert_eq!(stage.place(&proxy, ORDERS, &reader), None);
    assert_eq!(stage.places(&proxy, PRODUCTS, &reader), [1, 2], "another table");
    // A sample of the primary alone proves nothing of the replicas.
    stage.primary_at(0, 2000);
    assert_eq!(stage.place(&proxy, ORDERS, &reader), None);
    stage.replica_at(2, 1999);
    assert_eq!(stage.place(&proxy, ORDERS, &reader), None);
    stage.replica_at(2, 2000);
    assert_eq!(stage.places(&proxy, ORDERS, &reader), [2]);
}

#[test]
fn at_session_only_the_session_that_wrote_waits() {
    let stage = Stage::new();
    let (mut writer, reader) = (SessionFreshness::default(), SessionFreshness::default());
    stage.wrote(ORDERS, &mut writer);
    let session = at(Consistency::Session);
    assert_eq!(stage.place(&session, ORDERS, &writer), None);
    assert_eq!(stage.places(&session, PRODUCTS, &writer), [1, 2]);
    assert_eq!(stage.places(&session, ORDERS, &reader), [1, 2]);
    assert_eq!(stage.places(&at(Consistency::Eventual), ORDERS, &writer), [1, 2]);
}

#[test]
fn a_global_read_always_asks_the_primary_first() {
    let stage = Stage::new();
    assert_eq!(stage.place(&at(Consistency::Global), ORDERS, &SessionFreshness::default()), None);
}

#[test]
fn a_session_does_not_go_back_to_a_replica_that_is_behind_its_last_one() {
    let stage = Stage::new();
    let mut session = SessionFreshness::default();
    let level = at(Consistency::Session);
    stage.primary_at(0, 2000);
    stage.replica_at(1, 2000);
    // Read on b, which is ahead of c.
    while stage.place(&level, ORDERS, &session) != Some((1, Reason::ReadOnly)) {}
    stage.cluster.read_of(&stage.nodes[1], &Footprint::none(), &mut session, Instant::now());
    assert_eq!(stage.places(&level, ORDERS, &session), [1]);
    // b is sampled after the read, c has reached that: no matter what the primary does meanwhile.
    stage.replica_at(1, 2500);
    stage.replica_at(2, 2400);
    assert_eq!(stage.places(&level, ORDERS, &session), [1]);
    stage.replica_at(2, 2500);
    assert_eq!(stage.places(&level, ORDERS, &session), [1, 2]);
}

#[test]
fn a_session_waits_for_its_last_replica_though_another_has_the_write_before() {
    let stage = Stage::new();
    let mut session = SessionFreshness::default();
    let level = at(Consistency::Session);
    stage.wrote(ORDERS, &mut session);
    stage.primary_at(0, 3000);
    while stage.place(&level, PRODUCTS, &session) != Some((1, Reason::ReadOnly)) {}
    stage.cluster.read_of(&stage.nodes[1], &Footprint::none(), &mut session, Instant::now());
    stage.replica_at(2, 3000);

    let _entered = stage.runtime.enter();
    let reads = Footprint::Relations(ORDERS.into());
    let wish = Wish { database: "app", decision: &level, reads: &reads, session: &session };
    let mut placing = std::pin::pin!(stage.cluster.place(&wish));
    let mut poll = || placing.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll().is_pending(), "c has the write, and may show less than b did");
    // Others go on writing: neither replica will have all of that for a while.
    stage.primary_at(0, 4000);
    assert!(poll().is_pending());
    stage.replica_at(1, 3000);
    let Poll::Ready(Some(placement)) = poll() else { panic!("b has it: the read waits no longer") };
    assert_eq!(placement.reason, Reason::ReadOnly);
}

#[test]
fn a_read_does_not_wait_for_what_was_written_after_it_came() {
    let stage = Stage::new();
    let (mut writer, reader) = (SessionFreshness::default(), SessionFreshness::default());
    let proxy = at(Consistency::Proxy);
    stage.wrote(ORDERS, &mut writer);
    stage.primary_at(0, 2000);

    let _entered = stage.runtime.enter();
    let reads = Footprint::Relations(ORDERS.into());
    let wish = Wish { database: "app", decision: &proxy, reads: &reads, session: &reader };
    let mut placing = std::pin::pin!(stage.cluster.place(&wish));
    let mut poll = || placing.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll().is_pending());
    stage.wrote(ORDERS, &mut writer);
    stage.primary_at(0, 3000);
    stage.replica_at(1, 2000);
    assert!(poll().is_ready());
    assert_eq!(stage.place(&proxy, ORDERS, &reader), None, "a read that comes now");
}

#[test]
fn a_replica_that_restarted_has_to_qualify_anew() {
    let stage = Stage::new();
    let mut session = SessionFreshness::default();
    let level = at(Consistency::Session);
    stage.lose(2);
    assert_eq!(stage.place(&level, ORDERS, &session), Some((1, Reason::ReadOnly)));
    stage.cluster.read_of(&stage.nodes[1], &Footprint::none(), &mut session, Instant::now());
    stage.lose(1);
    assert_eq!(stage.place(&level, ORDERS, &session), Some((0, Reason::NoReplica)));
    stage.connect(1);
    // Less than it had shown before it crashed.
    (0..3).for_each(|_| stage.replica_at(1, 900));
    assert!(stage.places(&level, ORDERS, &session).is_empty());
    stage.primary_at(0, 1000);
    stage.replica_at(1, 1000);
    assert_eq!(stage.places(&level, ORDERS, &session), [1]);
}

#[test]
fn what_a_session_saw_on_the_primary_it_sees_on_a_replica() {
    let stage = Stage::new();
    let mut session = SessionFreshness::default();
    stage.cluster.read_of(
        &stage.nodes[0],
        &Footprint::Relations(ORDERS.into()),
        &mut session,
        Instant::now(),
    );
    assert_eq!(stage.place(&at(Consistency::Session), ORDERS, &session), None);
    assert_eq!(stage.places(&at(Consistency::Session), PRODUCTS, &session), [1, 2]);
}

#[test]
fn a_promotion_frees_what_waited_for_the_former_primary_and_counts_what_it_may_have_lost() {
    let stage = Stage::new();
    let mut session = SessionFreshness::default();
    stage.wrote(ORDERS, &mut session);
    stage.primary_at(0, 5000);
    stage.lose(0);
    stage.promoted(1, 2, 1200, 1100);
    assert_eq!(stage.cluster.metrics.cluster.failovers_total.get(), 1);
    assert_eq!(stage.cluster.metrics.cluster.lost_writes_total.get(), 1);
    let proxy = at(Consistency::Proxy);
    assert_eq!(stage.place(&proxy, ORDERS, &session), Some((1, Reason::NoReplica)), "c has not followed");
    stage.sight(2, Role::Replica, 2, 1200);
    assert_eq!(stage.places(&proxy, ORDERS, &session), [2]);
}

#[test]
fn a_write_that_the_promoted_replica_had_is_not_lost() {
    let stage = Stage::new();
    stage.wrote(ORDERS, &mut SessionFreshness::default());
    stage.primary_at(0, 2000);
    stage.replica_at(1, 2000);
    stage.lose(0);
    stage.promoted(1, 2, 2048, 2000);
    assert_eq!(stage.cluster.metrics.cluster.lost_writes_total.get(), 0);
}

#[test]
fn positions_of_another_timeline_prove_nothing() {
    let stage = Stage::new();
    let mut session = SessionFreshness::default();
    // c replays what the former primary wrote and nobody else has.
    stage.replica_at(2, 9000);
    stage.lose(0);
    stage.sight(1, Role::Primary, 2, 1200);
    stage.wrote(ORDERS, &mut session);
    stage.sight(1, Role::Primary, 2, 1300);
    stage.replica_at(2, 9000);
    assert_eq!(stage.place(&at(Consistency::Proxy), ORDERS, &session), Some((1, Reason::NoReplica)));
}

#[test]
fn a_node_of_another_cluster_is_refused() {
    let stage = Stage::new();
    stage.lose(2);
    let identity = Identity { system: 8, started: None, layout: WalLayout::default() };
    let error = stage.cluster.node_connected(&stage.nodes[2], identity).unwrap_err();
    assert!(error.contains("another cluster"), "{error}");
}

#[test]
fn one_server_by_two_names_is_one_node() {
    let stage = Stage::new();
    let identity = Identity { system: 7, started: Some(5), layout: WalLayout::default() };
    stage.lose(1);
    stage.lose(2);
    stage.cluster.node_connected(&stage.nodes[1], identity).unwrap();
    let error = stage.cluster.node_connected(&stage.nodes[2], identity).unwrap_err();
    assert!(error.contains("the same server as b:1"), "{error}");
    stage.lose(1);
    stage.cluster.node_connected(&stage.nodes[2], identity).unwrap();
}

#[test]
fn a_demanded_position_is_waited_for() {
    let stage = Stage::new();
    let mut session = SessionFreshness::default();
    session.set_min_lsn("1/0-5DC").unwrap();
    let eventual = at(Consistency::Eventual);
    assert_eq!(stage.place(&eventual, ORDERS, &session), None);
    stage.replica_at(1, 0x5DC);
    assert_eq!(stage.places(&eventual, ORDERS, &session), [1]);
}

#[test]
fn an_old_sample_of_a_replica_is_no_proof_that_it_is_within_max_lag_bytes() {
    let stage = Stage::new();
    let session = SessionFreshness::default();
    let decision = Decision { max_lag: None, max_lag_bytes: Some(100), ..at(Consistency::Eventual) };
    assert_eq!(stage.places(&decision, ORDERS, &session), [1, 2]);
    stage.primary_at(0, 1_200);
    assert_eq!(stage.place(&decision, ORDERS, &session), None, "where they were before proves nothing");
    stage.replica_at(2, 1_100);
    assert_eq!(stage.places(&decision, ORDERS, &session), [2]);
}

#[test]
fn a_drained_replica_serves_nothing_until_it_is_taken_back() {
    let stage = Stage::new();
    let session = SessionFreshness::default();
    assert!(stage.cluster.drain("b:1"));
    assert!(!stage.cluster.drain("nobody:1"));
    assert_eq!(stage.places(&at(Consistency::Proxy), ORDERS, &session), [2]);
    assert!(stage.cluster.undrain("b:1"));
    assert_eq!(stage.places(&at(Consistency::Proxy), ORDERS, &session), [1, 2]);
}

#[test]
fn a_group_without_replicas_is_read_on_the_primary() {
    let stage = Stage::new();
    let decision = Decision { group: Some("analytics".into()), ..at(Consistency::Eventual) };
    let placed = stage.place(&decision, ORDERS, &SessionFreshness::default());
    assert_eq!(placed, Some((0, Reason::NoReplica)));
}
