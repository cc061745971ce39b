//! Every load once, before one pgweir that then ends of its own accord: what a build learns from that is made to
//! be fast where pgweir is busy (`make dist`).

use crate::bench_error::BenchError;
use crate::pgbench;
use crate::side_by_side;
use crate::workload::WORKLOADS;
use pgweir_tests::Weir;
use std::path::PathBuf;
use std::time::Duration;

/// How long pgweir may take to end.
const FAREWELL: Duration = Duration::from_secs(60);
/// Size of pgbench's tables.
const SCALE: u32 = 1;

/// What the run is told.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The pgweir binary.
    #[arg(long)]
    pub pgweir: PathBuf,
    /// Length of each load, seconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Clients at once.
    #[arg(long, default_value_t = 16)]
    pub clients: usize,
}

/// Runs the loads.
pub fn run(options: &Options) -> Result<(), BenchError> {
    let cluster = side_by_side::cluster(0)?;
    side_by_side::fill(&cluster, SCALE)?;
    let weir = Weir::builder(&cluster).program(&options.pgweir.canonicalize()?).start()?;
    for load in WORKLOADS {
        let directory = pgweir_tests::scratch::directory()?;
        let run = pgbench::Run {
            program: &cluster.binaries().program("pgbench"),
            login: &weir.app(),
            arguments: &load.arguments(&directory)?,
            clients: options.clients,
            seconds: options.seconds,
            scale: SCALE,
            directory: &directory,
        };
        let transactions = run.finish(run.start()?)?;
        println!("{}: {} transactions", load.name, transactions.len());
    }
    weir.signal("TERM");
    match weir.wait(FAREWELL) {
        Some(status) if status.success() => Ok(()),
        status => Err(BenchError(format!("pgweir did not end well: {status:?}"))),
    }
}
