//! `pgweir-trials`: do the levels of consistency keep their promises while the cluster is in trouble?

mod fault;
mod fleet;
mod primary;

use clap::{Parser, ValueEnum};
use fault::Fault;
use pgweir_tests::checker::verify::{Promise, Verdict, verify};
use pgweir_tests::checker::workload::{Workload, describe, prepare, run};
use pgweir_tests::door::round_robin;
use pgweir_tests::sql::Login;
use pgweir_tests::{Cluster, HarnessError, Weir, runtime};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_postgres::config::LoadBalanceHosts;

/// Runs the checker at every level at once against a throw-away cluster in trouble, one kind of
/// trouble after the other. Exit status: 0 when every promise was kept, 1 when not, 2 when a trial
/// could not be run.
#[derive(Parser, Debug)]
#[command(name = "pgweir-trials")]
struct Arguments {
    /// Kinds of trouble; all without this.
    #[arg(long, value_enum)]
    fault: Vec<Fault>,
    /// Levels to check, at once.
    #[arg(long, default_values_t = ["session".to_owned(), "proxy".into(), "global".into()])]
    level: Vec<String>,
    /// How long each trial takes.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Pgweirs in front of the cluster, each with its share of the clients. The first reaches the nodes by a network
    /// of its own, which some kinds of trouble break.
    #[arg(long, default_value_t = 1)]
    fleet: usize,
    /// Connections at once, per level.
    #[arg(long, default_value_t = 8)]
    clients: u32,
    /// Longest pause between two operations of a client, milliseconds.
    #[arg(long, default_value_t = 40)]
    think: u64,
    /// Write the table here as well.
    #[arg(long)]
    results: Option<PathBuf>,
}

fn main() -> ExitCode {
    match all(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("pgweir-trials: {error}");
            ExitCode::from(2)
        }
    }
}

fn all(arguments: &Arguments) -> Result<bool, HarnessError> {
    let faults =
        if arguments.fault.is_empty() { Fault::value_variants().to_vec() } else { arguments.fault.clone() };
    let mut table = String::from(
        "| trouble | rounds | level | operations | errors | acknowledged writes lost | denied and there | promises broken |\n\
         |---|---:|---|---:|---:|---:|---:|---:|\n",
    );
    print!("{table}");
    let mut kept = true;
    for fault in faults {
        let (rounds, verdicts) = trial(arguments, fault)?;
        for (level, operations, verdict) in verdicts {
            let promises = Promise::of_level(&level).unwrap_or_default();
            let broken: usize = promises.iter().map(|promise| verdict.broken(*promise)).sum();
            kept &= (broken == 0 || level == "eventual") && verdict.revived == 0;
            let row = format!(
                "| {} | {rounds} | {level} | {operations} | {} | {} | {} | {broken} |\n",
                fault.as_str(),
                verdict.errors,
                verdict.lost,
                verdict.revived,
            );
            print!("{row}");
            for violation in verdict.violations.iter().filter(|v| promises.contains(&v.promise)).take(3) {
                eprintln!("{}, {level}: {violation}", fault.as_str());
            }
            let _ = table.write_str(&row);
        }
        if let Some(path) = &arguments.results {
            std::fs::write(path, &table)
                .map_err(|error| HarnessError::Io("writing the table".into(), error))?;
        }
    }
    Ok(kept)
}

/// Rounds of trouble, and per level how many operations there were and what they say.
type Trial = (usize, Vec<(String, usize, Verdict)>);

fn trial(arguments: &Arguments, fault: Fault) -> Result<Trial, HarnessError> {
    let cluster = Cluster::builder().doors().start()?;
    let weirs = start_fleet(arguments, fault, &cluster)?;
    // Each level in a database of its own: what they write does not meet.
    for level in &arguments.level {
        let sql = format!("CREATE DATABASE trial_{level} OWNER {}", cluster.app(cluster.primary()).user);
        cluster.sql(cluster.primary(), "postgres", &sql)?;
    }
    cluster.wait_caught_up()?;
    let workloads: Vec<_> =
        arguments.level.iter().map(|level| workload(arguments, fault, level, &cluster, &weirs)).collect();
    let failed = |error: tokio_postgres::Error| HarnessError::failed(describe(&error));
    for workload in workloads.clone() {
        runtime::block_on(async move { prepare(&workload).await }).map_err(failed)?;
    }
    cluster.wait_caught_up()?;
    if fault.blow().is_some() {
        primary::make_synchronous(&cluster)?;
    }
    let over = AtomicBool::new(false);
    let (rounds, recorded) = std::thread::scope(|scope| {
        let running: Vec<_> = workloads
            .into_iter()
            .map(|workload| scope.spawn(move || runtime::block_on(run(workload))))
            .collect();
        let trouble = scope.spawn(|| {
            let mut rounds = 0;
            while !over.load(Ordering::Relaxed) {
                fault.strike(&cluster, &weirs, rounds)?;
                rounds += 1;
            }
            Ok::<_, HarnessError>(rounds)
        });
        let recorded: Vec<_> =
            running.into_iter().map(|level| level.join().expect("the clients do not panic")).collect();
        over.store(true, Ordering::Relaxed);
        (trouble.join().expect("no panic"), recorded)
    });
    let mut verdicts = Vec::new();
    for (level, recorded) in arguments.level.iter().zip(recorded) {
        let (history, last) = recorded.map_err(failed)?;
        let errors = history.iter().filter_map(|operation| operation.error.as_deref());
        for (error, count) in errors.fold(BTreeMap::new(), |mut counts: BTreeMap<&str, usize>, error| {
            *counts.entry(error).or_default() += 1;
            counts
        }) {
            eprintln!("{}, {level}: {count} × {error}", fault.as_str());
        }
        verdicts.push((level.clone(), history.len(), verify(&history, &last)));
    }
    Ok((rounds?, verdicts))
}

/// The pgweirs: the first through the doors of the nodes, the others past them.
fn start_fleet(arguments: &Arguments, fault: Fault, cluster: &Cluster) -> Result<Vec<Weir>, HarnessError> {
    let past: Vec<_> = cluster.nodes().iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
    let count = if fault.needs_fleet() { arguments.fleet.max(3) } else { arguments.fleet.max(1) };
    let start = |number| {
        let nodes = if number == 0 { addresses(fault, cluster)? } else { past.clone() };
        Weir::builder_for(&nodes)
            .set("cluster.probe_timeout", "500ms")
            .set("cluster.commit_outcome", true)
            .set("cluster.primary_wait", "30s")
            .set("routing.freshness_wait", "1s")
            .start()
    };
    (0..count).map(start).collect()
}

/// The nodes as they are configured.
fn addresses(fault: Fault, cluster: &Cluster) -> Result<Vec<String>, HarnessError> {
    if fault != Fault::Several {
        return Ok(cluster.addresses());
    }
    let ports = [1, 2].map(|node| cluster.node(node).port());
    Ok(vec![cluster.address(0), format!("127.0.0.1:{}", round_robin(ports.to_vec())?)])
}

fn workload(arguments: &Arguments, fault: Fault, level: &str, cluster: &Cluster, weirs: &[Weir]) -> Workload {
    let database = |login: Login| login.database(&format!("trial_{level}")).config();
    // Whichever of them a connection finds, as behind a balancer.
    let mut address = database(weirs[0].app());
    for weir in &weirs[1..] {
        address.host("127.0.0.1").port(weir.port());
    }
    address.load_balance_hosts(LoadBalanceHosts::Random);
    // A writer that passes pgweir by would write to a primary that is none any more.
    let promotes = matches!(fault, Fault::Promotion | Fault::FleetPromotion) || fault.blow().is_some();
    Workload {
        address,
        setup: Some(format!("SET pgweir.consistency = '{level}'")),
        outside: (!promotes).then(|| database(cluster.app(cluster.primary()))),
        clients: arguments.clients,
        outside_clients: 1,
        tables: 3,
        rows: 4,
        writes: 20,
        think: Duration::from_millis(arguments.think),
        duration: Duration::from_secs(arguments.seconds),
        seed: 1,
    }
}
