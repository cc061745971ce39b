//! Every metric, each a kept handle.
//!
//! The hot path never looks a label up and never takes a lock: a session keeps its
//! [`DatabaseMetrics`]. What is a state rather than an event (clients, servers, pins) is counted when
//! somebody scrapes, from [`Gauges`]. Labels are bounded: targets, reasons, causes and states are our
//! words, nodes are configured, and databases beyond [`DATABASES_MAX`] share the label `other`.

use crate::observe::cluster::ClusterMetrics;
use parking_lot::{Mutex, RwLock};
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    histogram_opts, opts,
};
use router_rules::{Reason, RerouteCause, Target};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

/// Databases with a label of their own: names come from clients, though only existing ones get this far.
pub const DATABASES_MAX: usize = 100;

/// What a statement takes, from a key look-up to a report.
const STATEMENT_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0,
];
/// What pgweir adds: microseconds, while all is well.
const PROXY_BUCKETS: &[f64] =
    &[0.000005, 0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1];
/// A wait for a server: none, or a moment, or as long as `pool.lease_wait`.
const LEASE_BUCKETS: &[f64] =
    &[0.00001, 0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Counters of one database, looked up once per session.
pub struct DatabaseMetrics {
    name: String,
    statements_total: IntCounterVec,
    /// One per target and reason, made when it first happens: most never do.
    statements: Vec<OnceLock<IntCounter>>,
    transactions_total: IntCounter,
    reads_before_write_total: IntCounter,
    received_bytes_total: IntCounter,
    sent_bytes_total: IntCounter,
    statement_micros: AtomicU64,
    transaction_micros: AtomicU64,
    wait_micros: AtomicU64,
}

impl DatabaseMetrics {
    /// So many more statements ran on `target` because of `reason`.
    pub fn statements(&self, target: Target, reason: Reason, count: u64) {
        let counter = &self.statements[target as usize * Reason::ALL.len() + reason as usize];
        let make =
            || self.statements_total.with_label_values(&[&self.name, target.as_str(), reason.as_str()]);
        counter.get_or_init(make).inc_by(count);
    }

    /// The servers worked for so long on a statement.
    pub fn statement_took(&self, time: Duration) {
        self.statement_micros.fetch_add(micros(time), Ordering::Relaxed);
    }

    /// So many more reads ran on the primary in a transaction that had only read so far.
    pub fn reads_before_write(&self, count: u64) {
        self.reads_before_write_total.inc_by(count);
    }

    /// One more transaction (explicit or not) ended; it took so long.
    pub fn transaction(&self, time: Duration) {
        self.transactions_total.inc();
        self.transaction_micros.fetch_add(micros(time), Ordering::Relaxed);
    }

    /// A client waited so long for a server.
    pub fn waited(&self, time: Duration) {
        self.wait_micros.fetch_add(micros(time), Ordering::Relaxed);
    }

    /// So many bytes came from clients.
    pub fn received(&self, bytes: u64) {
        self.received_bytes_total.inc_by(bytes);
    }

    /// So many bytes went to clients.
    pub fn sent(&self, bytes: u64) {
        self.sent_bytes_total.inc_by(bytes);
    }

    /// All of it, for SHOW STATS.
    pub fn totals(&self) -> Totals {
        let counts = |target: Target| {
            let first = target as usize * Reason::ALL.len();
            let each = self.statements[first..first + Reason::ALL.len()].iter().enumerate();
            let count = |c: &OnceLock<IntCounter>| c.get().map_or(0, |c| c.get());
            each.map(move |(i, c)| (target, Reason::ALL[i], count(c))).filter(|(_, _, n)| *n > 0)
        };
        let by_reason: Vec<_> = Target::ALL.iter().copied().flat_map(counts).collect();
        Totals {
            database: self.name.clone(),
            statements: by_reason.iter().map(|(_, _, n)| n).sum(),
            by_reason,
            transactions: self.transactions_total.get(),
            received_bytes: self.received_bytes_total.get(),
            sent_bytes: self.sent_bytes_total.get(),
            statement_micros: self.statement_micros.load(Ordering::Relaxed),
            transaction_micros: self.transaction_micros.load(Ordering::Relaxed),
            wait_micros: self.wait_micros.load(Ordering::Relaxed),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The counters of one database at one moment.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Its name, or `other`.
    pub database: String,
    /// Statements.
    pub statements: u64,
    /// Those that happened, by where and why.
    pub by_reason: Vec<(Target, Reason, u64)>,
    /// Transactions.
    pub transactions: u64,
    /// From clients.
    pub received_bytes: u64,
    /// To clients.
    pub sent_bytes: u64,
    /// Time of servers on statements, in microseconds.
    pub statement_micros: u64,
    /// Time in transactions, in microseconds.
    pub transaction_micros: u64,
    /// Time of clients waiting for servers, in microseconds.
    pub wait_micros: u64,
}

/// What happened per second over the last stats period; the times are per statement or transaction.
#[derive(Debug, Clone, Default)]
pub struct Averages {
    /// Its name, or `other`.
    pub database: String,
    /// Transactions per second.
    pub transactions: u64,
    /// Statements per second.
    pub statements: u64,
    /// Bytes from clients per second.
    pub received_bytes: u64,
    /// Bytes to clients per second.
    pub sent_bytes: u64,
    /// Microseconds per transaction.
    pub transaction_micros: u64,
    /// Microseconds per statement.
    pub statement_micros: u64,
    /// Microseconds of waiting for servers per second.
    pub wait_micros: u64,
}

impl Averages {
    fn between(before: &Totals, after: &Totals, time: Duration) -> Self {
        let each = |of: fn(&Totals) -> u64| of(after).saturating_sub(of(before));
        let rate = |of: fn(&Totals) -> u64| (each(of) as f64 / time.as_secs_f64().max(0.001)).round() as u64;
        Self {
            database: after.database.clone(),
            transactions: rate(|t| t.transactions),
            statements: rate(|t| t.statements),
            received_bytes: rate(|t| t.received_bytes),
            sent_bytes: rate(|t| t.sent_bytes),
            transaction_micros: each(|t| t.transaction_micros) / each(|t| t.transactions).max(1),
            statement_micros: each(|t| t.statement_micros) / each(|t| t.statements).max(1),
            wait_micros: rate(|t| t.wait_micros),
        }
    }
}

/// How long a stats period is: PgBouncer's default.
const STATS_PERIOD: Duration = Duration::from_secs(60);

/// The totals at the end of the last two periods.
#[derive(Debug)]
struct Period {
    ended: Instant,
    totals: Vec<Totals>,
    averages: Vec<Averages>,
}

/// What is counted when somebody scrapes: label values and numbers.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    /// Clients by state.
    pub clients: Vec<(&'static str, i64)>,
    /// Server connections by node and state.
    pub servers: Vec<(String, &'static str, i64)>,
    /// Sessions pinned to a server, by reason.
    pub pinned: Vec<(&'static str, i64)>,
    /// What is configured to be the most, by key; 0: no bound.
    pub limits: Vec<(&'static str, i64)>,
}

/// All metrics of one pgweir.
pub struct Metrics {
    /// What `/metrics` prints.
    pub registry: Registry,
    statements_total: IntCounterVec,
    transactions_total: IntCounterVec,
    reads_before_write_total: IntCounterVec,
    received_bytes_total: IntCounterVec,
    sent_bytes_total: IntCounterVec,
    databases: RwLock<HashMap<String, Arc<DatabaseMetrics>>>,
    statement_seconds: Vec<Histogram>,
    /// Time that a statement spent in pgweir itself.
    pub proxy_seconds: Histogram,
    /// Time a client waited for a server; 0 where one was idle.
    pub lease_wait_seconds: Histogram,
    /// Statements run again on the primary after a replica's refusal, by cause.
    pub reroutes_total: IntCounterVec,
    /// COMMITs whose answer was lost and whose outcome was asked, by what that is.
    pub commit_outcomes_total: IntCounterVec,
    /// Connections refused or ended by a limit, by the limit's name.
    pub refused_total: IntCounterVec,
    /// Nodes, lag and freshness.
    pub cluster: ClusterMetrics,
    config_reloads_total: IntCounterVec,
    last_reload_successful: IntGauge,
    last_reload_success_seconds: Gauge,
    limit: IntGaugeVec,
    clients: IntGaugeVec,
    server_connections: IntGaugeVec,
    pinned_sessions: IntGaugeVec,
    scrape: Mutex<()>,
    period: Mutex<Period>,
    /// When this pgweir started.
    pub started: SystemTime,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When a name is registered twice: a mistake in this file.
    pub fn new() -> prometheus::Result<Self> {
        let made = Register(Registry::new_custom(Some("pgweir".into()), None)?);
        let statement_seconds = HistogramVec::new(
            histogram_opts!("statement_seconds", "Time from a statement's arrival to the end of its answer")
                .buckets(STATEMENT_BUCKETS.to_vec()),
            &["target"],
        )?;
        made.0.register(Box::new(statement_seconds.clone()))?;
        let by_database = &["database"];
        let metrics = Self {
            statements_total: made.counters(
                "statements_total",
                "Statements by where they ran and why",
                &["database", "target", "reason"],
            )?,
            transactions_total: made.counters(
                "transactions_total",
                "Transactions, explicit or not",
                by_database,
            )?,
            reads_before_write_total: made.counters(
                "reads_before_write_total",
                "Reads on the primary in a transaction that had only read so far",
                by_database,
            )?,
            received_bytes_total: made.counters("received_bytes_total", "Bytes from clients", by_database)?,
            sent_bytes_total: made.counters("sent_bytes_total", "Bytes to clients", by_database)?,
            databases: RwLock::default(),
            statement_seconds: Target::ALL
                .iter()
                .map(|t| statement_seconds.with_label_values(&[t.as_str()]))
                .collect(),
            proxy_seconds: made.histogram(
                "proxy_seconds",
                "Time that a statement spent in pgweir itself",
                PROXY_BUCKETS,
            )?,
            lease_wait_seconds: made.histogram(
                "lease_wait_seconds",
                "Time a client waited for a server connection",
                LEASE_BUCKETS,
            )?,
            reroutes_total: made.counters(
                "reroutes_total",
                "Statements run again on the primary, by cause",
                &["cause"],
            )?,
            commit_outcomes_total: made.counters(
                "commit_outcomes_total",
                "COMMITs whose answer was lost, by the outcome that the next primary told",
                &["outcome"],
            )?,
            refused_total: made.counters(
                "refused_total",
                "Clients refused or ended by a limit",
                &["limit"],
            )?,
            cluster: ClusterMetrics::register(&made.0)?,
            config_reloads_total: made.counters(
                "config_reloads_total",
                "Reloads of the configuration, by result",
                &["result"],
            )?,
            last_reload_successful: made.gauge(
                "config_last_reload_successful",
                "1 unless the last reload of the configuration was refused",
            )?,
            last_reload_success_seconds: made.number(
                "config_last_reload_success_timestamp_seconds",
                "When the configuration in force was last read, in seconds since 1970",
            )?,
            limit: made.gauges("limit", "What is configured to be the most; 0: no bound", &["limit"])?,
            clients: made.gauges("clients", "Clients by what they do", &["state"])?,
            server_connections: made.gauges(
                "server_connections",
                "Server connections by node and state",
                &["node", "state"],
            )?,
            pinned_sessions: made.gauges(
                "pinned_sessions",
                "Sessions that keep their server, by why",
                &["reason"],
            )?,
            scrape: Mutex::new(()),
            period: Mutex::new(Period { ended: Instant::now(), totals: vec![], averages: vec![] }),
            started: SystemTime::now(),
            registry: made.0.clone(),
        };
        made.constants()?;
        metrics.last_reload_successful.set(1);
        metrics.last_reload_success_seconds.set(seconds_since_1970(metrics.started));
        // A rate needs a beginning: what may be counted is there from the start.
        for result in ["applied", "unchanged", "refused"] {
            metrics.config_reloads_total.with_label_values(&[result]);
        }
        for limit in ["clients_max", "user_clients_max", "database_clients_max", "lease_wait"] {
            metrics.refused_total.with_label_values(&[limit]);
        }
        for outcome in ["committed", "aborted", "unknown"] {
            metrics.commit_outcomes_total.with_label_values(&[outcome]);
        }
        for cause in RerouteCause::ALL {
            metrics.reroutes_total.with_label_values(&[cause.as_str()]);
        }
        Ok(metrics)
    }

    /// The handles of one database.
    pub fn database(&self, name: &str) -> Arc<DatabaseMetrics> {
        if let Some(known) = self.databases.read().get(name) {
            return known.clone();
        }
        let mut databases = self.databases.write();
        let name = if databases.len() < DATABASES_MAX { name } else { "other" };
        let make = || {
            Arc::new(DatabaseMetrics {
                name: name.to_owned(),
                statements_total: self.statements_total.clone(),
                statements: (0..Target::ALL.len() * Reason::ALL.len()).map(|_| OnceLock::new()).collect(),
                transactions_total: self.transactions_total.with_label_values(&[name]),
                reads_before_write_total: self.reads_before_write_total.with_label_values(&[name]),
                received_bytes_total: self.received_bytes_total.with_label_values(&[name]),
                sent_bytes_total: self.sent_bytes_total.with_label_values(&[name]),
                statement_micros: AtomicU64::new(0),
                transaction_micros: AtomicU64::new(0),
                wait_micros: AtomicU64::new(0),
            })
        };
        databases.entry(name.to_owned()).or_insert_with(make).clone()
    }

    /// Time from a statement's arrival to the end of its answer, by where it ran.
    pub fn statement_seconds(&self, target: Target) -> &Histogram {
        &self.statement_seconds[target as usize]
    }

    /// A reload was `applied`, `unchanged` or `refused`.
    pub fn reloaded(&self, result: &'static str) {
        self.config_reloads_total.with_label_values(&[result]).inc();
        let is_good = result != "refused";
        self.last_reload_successful.set(i64::from(is_good));
        if is_good {
            self.last_reload_success_seconds.set(seconds_since_1970(SystemTime::now()));
        }
    }

    /// A client was refused or ended by the limit of this name.
    pub fn refused(&self, limit: &'static str) {
        self.refused_total.with_label_values(&[limit]).inc();
    }

    /// The counters of every database, by name.
    pub fn totals(&self) -> Vec<Totals> {
        let mut totals: Vec<_> = self.databases.read().values().map(|d| d.totals()).collect();
        totals.sort_by(|a, b| a.database.cmp(&b.database));
        totals
    }

    /// Ends a stats period when it is time; called every now and then.
    pub fn tick(&self, now: Instant) {
        let mut period = self.period.lock();
        if now.duration_since(period.ended) >= STATS_PERIOD {
            let totals = self.totals();
            period.averages = averages(&period.totals, &totals, now.duration_since(period.ended));
            (period.ended, period.totals) = (now, totals);
        }
    }

    /// Averages over the last whole period; in the first one over the time so far.
    pub fn averages(&self, now: Instant) -> Vec<Averages> {
        let period = self.period.lock();
        if period.totals.is_empty() {
            return averages(&[], &self.totals(), now.duration_since(period.ended));
        }
        period.averages.clone()
    }

    /// Everything, with these states.
    pub fn gather(&self, now: &Gauges) -> Vec<MetricFamily> {
        // Two scrapes at once must not see each other's half-set gauges.
        let _scrape = self.scrape.lock();
        self.clients.reset();
        self.server_connections.reset();
        self.pinned_sessions.reset();
        for (state, count) in &now.clients {
            self.clients.with_label_values(&[state]).add(*count);
        }
        for (node, state, count) in &now.servers {
            self.server_connections.with_label_values(&[node.as_str(), state]).add(*count);
        }
        for (reason, count) in &now.pinned {
            self.pinned_sessions.with_label_values(&[reason]).add(*count);
        }
        for (key, most) in &now.limits {
            self.limit.with_label_values(&[key]).set(*most);
        }
        self.registry.gather()
    }
}

fn averages(before: &[Totals], after: &[Totals], time: Duration) -> Vec<Averages> {
    let zero = Totals::default();
    let then = |name: &str| before.iter().find(|t| t.database == name).unwrap_or(&zero);
    after.iter().map(|now| Averages::between(then(&now.database), now, time)).collect()
}

/// Makes and registers.
struct Register(Registry);

impl Register {
    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        let made = IntCounterVec::new(opts!(name, help), labels)?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        let made = IntGaugeVec::new(opts!(name, help), labels)?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        let made = Histogram::with_opts(histogram_opts!(name, help).buckets(buckets.to_vec()))?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        let made = IntGauge::new(name, help)?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn number(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        let made = Gauge::new(name, help)?;
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    /// What never changes while pgweir runs.
    fn constants(&self) -> prometheus::Result<()> {
        let build = self.gauges("build_info", "1; its version as a label", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(())
    }
}

fn seconds_since_1970(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::TextEncoder;

    fn text(metrics: &Metrics, now: &Gauges) -> String {
        TextEncoder::new().encode_to_string(&metrics.gather(now)).unwrap()
    }

    #[test]
    fn a_statement_is_counted_under_its_target_and_reason() {
        let metrics = Metrics::new().unwrap();
        let shop = metrics.database("shop");
        shop.statements(Target::Replica, Reason::ReadOnly, 1);
        shop.statements(Target::Replica, Reason::ReadOnly, 1);
        shop.statements(Target::Primary, Reason::Write, 1);
        let text = text(&metrics, &Gauges::default());
        let line = |target: &str, reason: &str, n: u32| {
            format!(
                "pgweir_statements_total{{database=\"shop\",reason=\"{reason}\",target=\"{target}\"}} {n}\n"
            )
        };
        assert!(text.contains(&line("replica", "read_only", 2)), "{text}");
        assert!(text.contains(&line("primary", "write", 1)));
        assert_eq!(text.matches("pgweir_statements_total{").count(), 2, "what never happened has no line");
        let totals = &metrics.totals()[0];
        assert_eq!((totals.statements, totals.by_reason.len()), (3, 2));
    }

    #[test]
    fn a_thousand_databases_do_not_make_a_thousand_labels() {
        let metrics = Metrics::new().unwrap();
        for i in 0..1000 {
            metrics.database(&format!("db{i}")).statements(Target::Primary, Reason::Write, 1);
        }
        assert_eq!(metrics.totals().len(), DATABASES_MAX + 1);
        let other = metrics.database("yet another").totals();
        assert_eq!((other.database.as_str(), other.statements), ("other", 900));
    }

    #[test]
    fn states_are_what_they_are_at_the_scrape() {
        let metrics = Metrics::new().unwrap();
        let gauges = |nodes: &[&str]| Gauges {
            clients: vec![("idle", 3), ("active", 1)],
            servers: nodes.iter().map(|n| ((*n).to_owned(), "idle", 2)).collect(),
            pinned: vec![("listen", 1)],
            limits: vec![("limits.clients_max", 7)],
        };
        assert!(
            text(&metrics, &gauges(&["a:1", "b:2"]))
                .contains("server_connections{node=\"b:2\",state=\"idle\"} 2")
        );
        let after = text(&metrics, &gauges(&["a:1"]));
        assert!(!after.contains("b:2"), "a node that is gone leaves no line");
        assert!(after.contains("pgweir_clients{state=\"idle\"} 3\n"));
        assert!(after.contains("pgweir_pinned_sessions{reason=\"listen\"} 1\n"));
        assert!(after.contains("pgweir_limit{limit=\"limits.clients_max\"} 7\n"));
    }

    #[test]
    fn a_refused_reload_shows_and_leaves_the_time_of_the_last_good_one() {
        let metrics = Metrics::new().unwrap();
        let good = metrics.last_reload_success_seconds.get();
        metrics.reloaded("refused");
        assert_eq!(
            (metrics.last_reload_successful.get(), metrics.last_reload_success_seconds.get()),
            (0, good)
        );
        metrics.reloaded("unchanged");
        assert_eq!(metrics.last_reload_successful.get(), 1);
        assert!(metrics.last_reload_success_seconds.get() > good);
    }

    #[test]
    fn averages_are_of_the_last_whole_period() {
        let metrics = Metrics::new().unwrap();
        let shop = metrics.database("shop");
        let start = Instant::now();
        let run = |n: u32| (0..n).for_each(|_| shop.statements(Target::Replica, Reason::ReadOnly, 1));
        run(120);
        assert_eq!(metrics.averages(start + Duration::from_secs(10))[0].statements, 12);
        metrics.tick(start + Duration::from_secs(60));
        run(600);
        metrics.tick(start + Duration::from_secs(90));
        assert_eq!(metrics.averages(start + Duration::from_secs(90))[0].statements, 2);
        metrics.tick(start + Duration::from_secs(120));
        assert_eq!(metrics.averages(start + Duration::from_secs(150))[0].statements, 10);
    }

    #[test]
    fn every_metric_is_in_the_documentation() {
        let metrics = Metrics::new().unwrap();
        metrics.database("shop").statements(Target::Primary, Reason::Write, 1);
        metrics.cluster.node("a:1");
        metrics.cluster.node_statement_seconds("a:1");
        let page = include_str!("../../../docs/metrics.md");
        for family in metrics.gather(&Gauges::default()) {
            assert!(page.contains(&format!("`{}`", family.name())), "{}", family.name());
        }
    }

    #[test]
    fn what_is_always_there_is_there_before_anything_happened() {
        let text = text(&Metrics::new().unwrap(), &Gauges::default());
        for part in [
            "pgweir_build_info{version=\"",
            "pgweir_config_reloads_total{result=\"refused\"} 0",
            "pgweir_lease_wait_seconds_bucket{le=\"0.001\"} 0",
            "pgweir_statement_seconds_count{target=\"replica\"} 0",
            "pgweir_proxy_seconds_sum 0",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
