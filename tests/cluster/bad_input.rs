//! What operators get wrong: each mistake is answered with one clear message and changes nothing.

use crate::support::{Outcome, SCHEMA, mark, stage};
use pgweir_tests::cluster::{WEIR, WEIR_PASSWORD, wait_until};
use pgweir_tests::raw::RawClient;
use pgweir_tests::sql::Login;
use pgweir_tests::{Cluster, HarnessError, Weir};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const READ: &str = "SELECT count(*) FROM product";

/// Puts something at the path where the configuration is looked for.
type Damage = fn(&Path, &str) -> std::io::Result<()>;

/// What may befall the file, and what is said then.
const DAMAGES: &[(&str, Damage, &str)] = &[
    ("gone", |path, _| std::fs::remove_file(path), "no such file"),
    (
        "a directory",
        |path, _| std::fs::remove_file(path).and_then(|()| std::fs::create_dir(path)),
        "is a directory",
    ),
    (
        "a pipe that nobody writes to",
        |path, _| std::fs::remove_file(path).and_then(|()| pipe(path)),
        "is a pipe",
    ),
    ("empty", |path, _| std::fs::write(path, ""), "needs `nodes`"),
    ("not UTF-8", |path, _| std::fs::write(path, b"# \xff\xfe\n"), "not UTF-8"),
    ("half-written", |path, good| std::fs::write(path, &good[..good.len() / 2 - 3]), "pgweir.toml:"),
    ("100 MB", |path, _| std::fs::write(path, vec![b'#'; 100 << 20]), "longer than 4MiB"),
    (
        "two rules of one name",
        |path, good| {
            let rule = "\n[[rule]]\nname = \"r\"\nuser = \"x\"\nlog = true\n";
            std::fs::write(path, format!("{good}{rule}{rule}"))
        },
        "two rules are called",
    ),
];

fn pipe(path: &Path) -> std::io::Result<()> {
    Command::new("mkfifo").arg(path).status().map(drop)
}

#[test]
fn a_configuration_file_in_any_bad_state_is_refused_and_the_old_one_stays() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).set("runtime.watch_config", false).start()?;
    let (path, good) = (weir.config_file(), weir.config_text());
    let refused = || weir.metrics().map(|m| m.sum("pgweir_config_reloads_total", &[("result", "refused")]));
    for (what, damage, says) in DAMAGES {
        let (before, logged) = (refused()?, weir.log().len());
        damage(&path, &good).map_err(|e| HarnessError::failed(format!("{what}: {e}")))?;
        weir.signal("HUP");
        wait_until(&format!("a file that is {what} is refused"), || refused().is_ok_and(|now| now > before))?;
        let log = weir.log()[logged..].to_owned();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
        assert!(lines.len() == 1 && lines[0].contains(says), "{what}: {says:?} is not in\n{log}");
        assert_eq!(weir.app().value(READ)?, "100", "{what}");
        // Neither a directory nor a pipe can be written over.
        let kind = std::fs::metadata(&path).map(|m| m.file_type());
        match kind {
            Ok(kind) if kind.is_dir() => std::fs::remove_dir(&path),
            Ok(kind) if kind.is_fifo() => std::fs::remove_file(&path),
            _ => Ok(()),
        }
        .map_err(|e| HarnessError::failed(e.to_string()))?;
        weir.overwrite_config(&good, "unchanged")?;
    }
    Ok(())
}

fn errors_of_nodes(weir: &Weir) -> Result<Vec<(String, String)>, HarnessError> {
    let rows = Login::local(weir.port(), WEIR, WEIR_PASSWORD, "pgweir").sql("SHOW NODES")?;
    let cell = |row: &[Option<String>], at: usize| row[at].clone().unwrap_or_default();
    Ok(rows.iter().map(|row| (cell(row, 0), row.last().cloned().flatten().unwrap_or_default())).collect())
}

/// Reads and writes work, and SHOW NODES says this of that node.
fn works_without(weir: &Weir, node: &str, says: &str) -> Outcome {
    wait_until(&format!("SHOW NODES says {says:?} of {node}"), || {
        errors_of_nodes(weir)
            .is_ok_and(|all| all.iter().any(|(name, error)| name == node && error.contains(says)))
    })?;
    for _ in 0..10 {
        assert_eq!(weir.app().value(READ)?, "100");
        weir.app().sql("UPDATE counter SET n = n WHERE id = 86")?;
    }
    let told = weir.log().lines().filter(|line| line.contains(says)).count();
    assert!((1..10).contains(&told), "{told} lines in the log:\n{}", weir.log());
    Ok(())
}

#[test]
fn a_node_whose_name_does_not_resolve_is_down_and_the_others_serve() -> Outcome {
    let stage = stage();
    let mut nodes = vec!["no-such-host.invalid:5432".to_owned()];
    nodes.extend(stage.cluster.addresses());
    let weir = Weir::builder_for(&nodes).start()?;
    works_without(&weir, &nodes[0], "lookup address")
}

#[test]
fn two_names_of_one_node_are_one_node() -> Outcome {
    let stage = stage();
    let mut nodes = stage.cluster.addresses();
    nodes.push(nodes[0].replace("127.0.0.1", "localhost"));
    let weir = Weir::builder_for(&nodes).start()?;
    wait_until("the second name is refused", || {
        weir.log().contains("it is the same server as") && weir.log().contains("by another name")
    })?;
    for _ in 0..10 {
        assert_eq!(weir.app().value(READ)?, "100");
        weir.app().sql("UPDATE counter SET n = n WHERE id = 87")?;
    }
    assert_eq!(weir.metrics()?.sum("pgweir_node_is_primary", &[]), 1.0);
    Ok(())
}

#[test]
fn a_node_of_another_cluster_is_refused_loudly_wherever_it_is_listed() -> Outcome {
    let stage = stage();
    let other = Cluster::builder().replicas(0).log_statements().start()?;
    other.node(0).superuser().database("app").sql(SCHEMA)?;
    other.node(0).superuser().database("app").sql("DELETE FROM product")?;
    for first in [true, false] {
        let mut nodes = stage.cluster.addresses();
        nodes.insert(if first { 0 } else { 3 }, other.address(0));
        let weir = Weir::builder_for(&nodes).start()?;
        works_without(&weir, &other.address(0), "belongs to another cluster")
            .map_err(|error| HarnessError::failed(format!("{error}\n{}", weir.log())))?;
    }
    Ok(())
}

/// What is learnt before it is known which cluster it is must not be believed of another.
#[test]
fn whoever_answers_first_only_the_clusters_own_nodes_are_asked() -> Outcome {
    let cluster = Cluster::builder().log_statements().doors().start()?;
    cluster.node(0).superuser().database("app").sql(SCHEMA)?;
    let other = Cluster::builder().replicas(0).log_statements().doors().start()?;
    other.node(0).superuser().database("app").sql(SCHEMA)?;
    other.node(0).superuser().database("app").sql("DELETE FROM product")?;
    cluster.wait_caught_up()?;
    let mut nodes = cluster.addresses();
    nodes.insert(0, other.address(0));
    // When each of the three answers, and the stranger, which is listed first.
    for order in [[3, 2, 0, 1], [2, 0, 3, 1], [0, 2, 3, 1]] {
        let late = |rank: u64| Duration::from_millis(15 * rank);
        (0..3).for_each(|i| cluster.slow(i, late(order[i])));
        other.slow(0, late(order[3]));
        let weir = Weir::builder_for(&nodes).start()?;
        // The first log-in is in the midst of it.
        works_without(&weir, &nodes[0], "belongs to another cluster")?;
        let mark = mark();
        let read = format!("/* {mark} */ {READ}");
        wait_until("both replicas serve", || {
            let nodes = cluster.nodes_that_ran(&mark);
            weir.app().value(&read).is_ok_and(|n| n == "100") && nodes.contains(&1) && nodes.contains(&2)
        })?;
    }
    Ok(())
}

#[test]
fn a_node_whose_clock_is_hours_off_serves_as_any_other() -> Outcome {
    let cluster = Cluster::builder().log_statements().start()?;
    cluster.node(0).superuser().database("app").sql(SCHEMA)?;
    cluster.wait_caught_up()?;
    let clock = |node| -> Result<f64, HarnessError> {
        let now = cluster.value(node, "postgres", "SELECT extract(epoch FROM clock_timestamp())")?;
        Ok(now.parse().unwrap_or(0.0))
    };
    for (replica, by, hours) in [(1, "+5h", 5.0), (2, "-5h", -5.0)] {
        cluster.shift_clock(replica, by)?;
        let off = (clock(replica)? - clock(0)?) / 3600.0 - hours;
        assert!(off.abs() < 0.1, "the clock of node{replica} is not {by} off");
    }
    cluster.wait_caught_up()?;
    let weir = Weir::builder(&cluster).set("routing.max_lag", "2s").start()?;
    let mut client = RawClient::login(&weir.app())?;
    for level in ["proxy", "global", "eventual"] {
        client.run(&format!("SET pgweir.consistency = '{level}'"))?;
        let mark = mark();
        let read = format!("/* {mark} */ SELECT n FROM counter WHERE id = 88");
        wait_until(&format!("both replicas serve at {level}"), || {
            let written = client.value("UPDATE counter SET n = n + 1 WHERE id = 88 RETURNING n");
            let seen = client.value(&read);
            assert!(level == "eventual" || written.is_ok() && written.ok() == seen.ok());
            let nodes = cluster.nodes_that_ran(&mark);
            nodes.contains(&1) && nodes.contains(&2)
        })?;
    }
    for replica in [1, 2] {
        let node = [("node", &*cluster.address(replica))];
        let lag = weir.metrics()?.sum("pgweir_replica_lag_seconds", &node);
        assert!((0.0..60.0).contains(&lag), "node{replica} is said to be {lag} s behind");
    }
    assert!(!weir.log().contains("is over max_lag"), "{}", weir.log());
    Ok(())
}
