//! Brings up what the drivers' comparison needs, and starts it.
//!
//! The comparison itself is `tests/drivers/compare`; it only wants two addresses of one cluster.

use crate::bench_error::BenchError;
use pgweir_tests::cluster::{APP, APP_PASSWORD};
use pgweir_tests::node::{SUPERUSER, SUPERUSER_PASSWORD};
use pgweir_tests::{Cluster, Weir};
use std::path::PathBuf;
use std::process::Command;

/// What the run is told.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The pgweir binary; otherwise the one beside this program.
    #[arg(long)]
    pub pgweir: Option<PathBuf>,
    /// Where drivers are installed.
    #[arg(long, default_value = "target/compare")]
    pub place: PathBuf,
    /// Where the table goes.
    #[arg(long, default_value = "tests/drivers/RESULTS.md")]
    pub results: PathBuf,
    /// Only print the addresses, and wait for the end of standard input.
    #[arg(long)]
    pub hold: bool,
    /// Only these: `smoke`, `suites`, a driver, or `<name> suite`.
    #[arg(long)]
    pub only: Vec<String>,
}

/// Starts a primary, two replicas and pgweir, and compares.
pub fn run(options: &Options) -> Result<(), BenchError> {
    let pgweir = match &options.pgweir {
        Some(path) => path.canonicalize()?,
        None => pgweir_tests::weir::program()?,
    };
    let cluster = Cluster::builder().setting("max_locks_per_transaction", "256").start()?;
    let weir = Weir::builder(&cluster).program(&pgweir).start()?;
    let direct = cluster.address(cluster.primary());
    if options.hold {
        println!("direct {direct}\nthrough {}", weir.address());
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
        return Ok(());
    }
    let absolute = |path: &PathBuf| std::path::absolute(path);
    let mut command = Command::new("python3");
    command
        .current_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/drivers"))
        .args(["-m", "compare", "--direct", &direct, "--through", &weir.address()])
        .arg(format!("--superuser={SUPERUSER}:{SUPERUSER_PASSWORD}"))
        .arg(format!("--app={APP}:{APP_PASSWORD}"))
        .arg("--pg-bin")
        .arg(cluster.binaries().program(""))
        .arg("--place")
        .arg(absolute(&options.place)?)
        .arg("--results")
        .arg(absolute(&options.results)?);
    for only in &options.only {
        command.args(["--only", only]);
    }
    match command.status()?.success() {
        true => Ok(()),
        false => Err(BenchError("not every suite could be run".into())),
    }
}
