//! What freshness costs.
use crate::bench_error::BenchError;
/// o
#[derive(Debug, clap::Args)]
pub struct Options {}
/// r
pub fn run(_o: &Options) -> Result<(), BenchError> {
    Ok(())
}
