//! `pgweir-patroni`: what clients feel when a real Patroni changes the primary, behind pgweir and behind HAProxy.

mod event;
mod load;
mod site;

use clap::{Parser, ValueEnum};
use event::Event;
use load::{Account, CLIENTS, Fate, Kind, client, longest_without_primary};
use pgweir_tests::cluster::{APP, APP_PASSWORD};
use pgweir_tests::sql::Login;
use pgweir_tests::{HarnessError, Weir, runtime};
use site::{NODES, Site};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long clients work before an event and after it.
const CALM: Duration = Duration::from_secs(5);
/// What a plain write at a planned switchover may take longer than the cluster itself.
const WRITES_LATER_MAX: Duration = Duration::from_secs(1);
/// How long a read may be paused.
const READS_PAUSED_MAX: Duration = Duration::from_millis(500);
/// After so long a node that stands still is noticed: `cluster.probe_timeout`.
const NOTICED_AFTER: Duration = Duration::from_secs(2);

/// Starts three Postgres servers under Patroni and etcd, with pgweir and HAProxy in front, and lets things happen
/// while the same clients work behind both. Exit status: 0 when pgweir kept what it promises, 1 when not, 2 when
/// it could not be tried.
#[derive(Parser, Debug)]
#[command(name = "pgweir-patroni")]
struct Arguments {
    /// Events; all without this.
    #[arg(long, value_enum)]
    event: Vec<Event>,
    /// How often each.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Write the table here as well.
    #[arg(long)]
    results: Option<PathBuf>,
}

fn main() -> ExitCode {
    match all(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("pgweir-patroni: {error}");
            ExitCode::from(2)
        }
    }
}

const HEAD: &str = "\
| event | behind | no primary, s | writes paused, s | reads paused, s | read errors | READ ONLY | log-ins | writes | transactions | lost | twice | denied and there | stale |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
";

fn all(arguments: &Arguments) -> Result<bool, HarnessError> {
    let events =
        if arguments.event.is_empty() { Event::value_variants().to_vec() } else { arguments.event.clone() };
    let site = Site::start()?;
    let weir = Weir::builder_for(&[site.source()]).start()?;
    prepare(&site)?;
    let (mut table, mut kept) = (String::from(HEAD), true);
    print!("{table}");
    let mut told = 0;
    for event in events.iter().flat_map(|event| (0..arguments.rounds).map(move |_| *event)) {
        let trial = trial(event, &site, &weir)?;
        for way in &trial.ways {
            let row = trial.row(event, way);
            print!("{row}");
            table.push_str(&row);
            way.tell(event);
        }
        let log = weir.log();
        eprintln!("pgweir's log:\n{}", log[told..].trim_end());
        told = log.len();
        kept &= trial.is_kept(event);
        if let Some(path) = &arguments.results {
            std::fs::write(path, &table)
                .map_err(|error| HarnessError::Io("writing the table".into(), error))?;
        }
    }
    Ok(kept)
}

fn prepare(site: &Site) -> Result<(), HarnessError> {
    let root = site.superuser(site.leader()?);
    root.sql("CREATE TABLE IF NOT EXISTS patroni_probe (n int)")?;
    // No key: a row that comes twice is to be seen.
    root.database(APP).user(APP, APP_PASSWORD).sql(
        "CREATE TABLE patroni_static AS SELECT generate_series(1, 100) AS n; \
         CREATE TABLE patroni_rows (id bigint NOT NULL); CREATE INDEX ON patroni_rows (id)",
    )?;
    site.wait_whole()
}

/// What one event was like.
struct Trial {
    without_primary: Duration,
    ways: Vec<Way>,
}

/// What the clients behind one of the two met.
struct Way {
    name: &'static str,
    accounts: Vec<(Kind, Account)>,
    lost: usize,
    twice: usize,
    revived: usize,
}

fn trial(event: Event, site: &Site, weir: &Weir) -> Result<Trial, HarnessError> {
    let over = Arc::new(AtomicBool::new(false));
    let ways = [("pgweir", weir.port()), ("HAProxy", site.haproxy)];
    let nodes = (0..NODES).map(|number| site.superuser(number)).collect();
    let probing = runtime::handle().spawn(longest_without_primary(nodes, over.clone()));
    let started = ways.map(|(name, port)| {
        let login = Login::local(port, APP, APP_PASSWORD, APP);
        let kinds = CLIENTS.iter().flat_map(|(kind, count)| (0..*count).map(move |_| *kind));
        let start = |kind| {
            // Room for more rows than one client writes.
            let first = i64::from(rand::random::<u32>()) << 20;
            (kind, runtime::handle().spawn(client(kind, login.clone(), first, over.clone())))
        };
        (name, kinds.map(start).collect::<Vec<_>>())
    });
    std::thread::sleep(CALM);
    let happened = event.happen(site);
    std::thread::sleep(CALM);
    over.store(true, Ordering::Relaxed);
    let ended = runtime::block_on(async move {
        let mut ways = vec![];
        for (name, clients) in started {
            let mut accounts = vec![];
            for (kind, client) in clients {
                accounts.push((kind, client.await.expect("no panic")));
            }
            ways.push((name, accounts));
        }
        (ways, probing.await.expect("no panic"))
    });
    happened?;
    let (accounts, without_primary) = ended;
    let there = rows_there(site)?;
    let ways = accounts.into_iter().map(|(name, accounts)| Way::of(name, accounts, &there)).collect();
    Ok(Trial { without_primary, ways })
}

/// How often each row is on the primary.
fn rows_there(site: &Site) -> Result<HashMap<i64, u64>, HarnessError> {
    let root = site.superuser(site.leader()?).database(APP);
    let rows = root.sql("SELECT id, count(*) FROM patroni_rows GROUP BY id")?;
    let number = |cell: &Option<String>| cell.as_deref().and_then(|text| text.parse().ok());
    Ok(rows.iter().filter_map(|row| Some((number(&row[0])?, number(&row[1])? as u64))).collect())
}

impl Way {
    fn of(name: &'static str, accounts: Vec<(Kind, Account)>, there: &HashMap<i64, u64>) -> Self {
        let rows = || accounts.iter().flat_map(|(_, account)| &account.rows);
        let count = |row: &i64| there.get(row).copied().unwrap_or(0);
        let lost = rows().filter(|(row, fate)| *fate == Fate::Acknowledged && count(row) == 0).count();
        let revived = rows().filter(|(row, fate)| *fate == Fate::Denied && count(row) > 0).count();
        let twice = rows().filter(|(row, _)| count(row) > 1).count();
        Way { name, lost, twice, revived, accounts }
    }

    fn of_kinds(&self, kinds: &[Kind]) -> impl Iterator<Item = &Account> {
        self.accounts.iter().filter(move |(kind, _)| kinds.contains(kind)).map(|(_, account)| account)
    }

    fn errors(&self, kinds: &[Kind]) -> usize {
        self.of_kinds(kinds).map(|account| account.errors.len()).sum()
    }

    fn pause(&self, kinds: &[Kind]) -> Duration {
        self.of_kinds(kinds).map(|account| account.pause).max().unwrap_or_default()
    }

    fn stale(&self) -> u64 {
        self.accounts.iter().map(|(_, account)| account.stale).sum()
    }

    /// How long clients of each kind waited, and what they were told.
    fn tell(&self, event: Event) {
        for (kind, _) in CLIENTS {
            let pause = self.pause(&[kind]).as_secs_f64();
            eprintln!("{}, {}, {kind:?}: paused for {pause:.2} s at most", event.as_str(), self.name);
        }
        let mut counts: BTreeMap<(Kind, &str), usize> = BTreeMap::new();
        for (kind, account) in &self.accounts {
            for error in &account.errors {
                *counts.entry((*kind, error)).or_default() += 1;
            }
        }
        for ((kind, error), count) in counts {
            eprintln!("{}, {}, {kind:?}: {count} × {error}", event.as_str(), self.name);
        }
    }
}

impl Trial {
    fn row(&self, event: Event, way: &Way) -> String {
        let (plain, transactions) = ([Kind::Write, Kind::WriteAndRead], [Kind::Transaction]);
        format!(
            "| {} | {} | {:.2} | {:.2} | {:.2} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            event.as_str(),
            way.name,
            self.without_primary.as_secs_f64(),
            way.pause(&[Kind::Write, Kind::WriteAndRead, Kind::Transaction]).as_secs_f64(),
            way.pause(&[Kind::Read, Kind::ReadOnly, Kind::Newcomer]).as_secs_f64(),
            way.errors(&[Kind::Read]),
            way.errors(&[Kind::ReadOnly]),
            way.errors(&[Kind::Newcomer]),
            way.errors(&plain),
            way.errors(&transactions),
            way.lost,
            way.twice,
            way.revived,
            way.stale(),
        )
    }

    /// Reads go on, writes wait no longer than they must, nothing is lost or done twice.
    fn is_kept(&self, event: Event) -> bool {
        let Some(way) = self.ways.first() else { return false };
        let reads = [Kind::Read, Kind::ReadOnly, Kind::Newcomer];
        let plain = [Kind::Write, Kind::WriteAndRead];
        let mut broken = vec![];
        let mut expect = |what: &'static str, is_so: bool| {
            if !is_so {
                broken.push(what);
            }
        };
        expect("a row that was acknowledged is lost", way.lost == 0);
        expect("a row is there twice", way.twice == 0);
        expect("a row that was denied is there", way.revived == 0);
        expect("a client did not see its own row", way.stale() == 0);
        expect("a read failed", way.errors(&reads) == 0);
        let noticed = if event == Event::MachinePaused { NOTICED_AFTER } else { Duration::ZERO };
        expect("a read was paused for too long", way.pause(&reads) <= noticed + READS_PAUSED_MAX);
        let latest = self.without_primary + WRITES_LATER_MAX;
        expect("a write was paused for too long", way.pause(&plain) <= latest);
        if matches!(event, Event::Switchover | Event::Reinit) {
            expect("a plain write failed", way.errors(&plain) == 0);
        }
        for what in &broken {
            eprintln!("{}: {what}", event.as_str());
        }
        broken.is_empty()
    }
}
