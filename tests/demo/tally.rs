//! Who served how many statements: as pgweir says, and as the nodes themselves count.

use crate::topology::PARTS;
use pgweir_tests::cluster::APP;
use pgweir_tests::{Cluster, HarnessError, Metrics, Weir};

/// What the nodes and pgweir have counted so far.
#[derive(Debug)]
pub struct Tally {
    nodes: Vec<NodeTally>,
    metrics: Metrics,
}

#[derive(Debug)]
struct NodeTally {
    address: String,
    reads: u64,
    writes: u64,
    /// Writes that came to a replica, and were refused by it.
    refused: usize,
}

/// The application's own statements, by `pg_stat_statements`.
const COUNT: &str = "
    SELECT coalesce(sum(calls) FILTER (WHERE query ~* '^\\s*(select|with|values|table|fetch|declare)'), 0),
           coalesce(sum(calls) FILTER (WHERE query ~*
               '^\\s*(insert|update|delete|merge|truncate|create|alter|drop|copy \\S+ .*from)'), 0)
      FROM pg_stat_statements
      JOIN pg_roles ON pg_roles.oid = userid";

impl Tally {
    /// Asks everybody.
    pub fn take(cluster: &Cluster, weir: &Weir) -> Result<Tally, HarnessError> {
        let nodes = (0..cluster.nodes().len()).map(|index| node(cluster, index));
        Ok(Tally { nodes: nodes.collect::<Result<_, _>>()?, metrics: weir.metrics()? })
    }

    /// The reads that one node has served so far, whether the others run or not.
    pub fn reads_now(cluster: &Cluster, index: usize) -> Result<u64, HarnessError> {
        Ok(node(cluster, index)?.reads)
    }

    /// The table that `make demo CHECK=1` shows.
    pub fn print(&self) {
        println!(
            "\n  node        zone  address                 reads   writes   (counted by the node itself)"
        );
        for (part, node) in PARTS.iter().zip(&self.nodes) {
            let NodeTally { address, reads, writes, .. } = node;
            println!("  {:<11} {:<5} {address:<20} {reads:>8} {writes:>8}", part.name, part.zone);
        }
        println!("\n  pgweir's own account");
        for target in ["primary", "replica"] {
            println!("  {target:<17} {:>28}", self.by_pgweir(target));
        }
        println!();
    }

    /// The reads that a node has served so far.
    pub fn reads(&self, index: usize) -> u64 {
        self.nodes[index].reads
    }

    fn by_pgweir(&self, target: &str) -> f64 {
        let labels = [("database", APP), ("target", target)];
        self.metrics.sum("pgweir_statements_total", &labels)
    }

    /// What is not as promised.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut complain = |bad: bool, what: String| {
            if bad {
                complaints.push(what);
            }
        };
        complain(self.nodes[0].writes == 0, "the primary has seen no write".into());
        for (part, node) in PARTS.iter().zip(&self.nodes).skip(1) {
            let name = part.name;
            complain(node.reads == 0, format!("{name} has served no read"));
            complain(node.writes > 0, format!("{name} has run {} writes", node.writes));
            complain(node.refused > 0, format!("{name} was sent {} writes", node.refused));
        }
        let by_pgweir = ["primary", "replica"].map(|target| self.by_pgweir(target));
        complain(by_pgweir.contains(&0.0), format!("pgweir counts {by_pgweir:?} statements"));
        complaints
    }
}

fn node(cluster: &Cluster, index: usize) -> Result<NodeTally, HarnessError> {
    let sql = format!("{COUNT} WHERE rolname = '{APP}'");
    let rows = cluster.sql(index, "postgres", &sql)?;
    let count = |column: usize| {
        let value = rows.first().and_then(|row| row.get(column)?.as_deref()?.parse().ok());
        value.ok_or_else(|| HarnessError::failed(format!("node {index} counts {rows:?}")))
    };
    let log = std::fs::read_to_string(cluster.node(index).log()).unwrap_or_default();
    let refused = match index {
        0 => 0,
        _ => log.lines().filter(|line| line.contains("in a read-only transaction")).count(),
    };
    Ok(NodeTally { address: cluster.address(index), reads: count(0)?, writes: count(1)?, refused })
}
