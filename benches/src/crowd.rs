//! A thousand clients that logged in, asked one thing, and now say nothing.
//!
//! They live in a process of their own, so that their memory and files are not the measurer's.

use crate::bench_error::BenchError;
use crate::contestant::Contestant;
use pgweir_tests::sql::Login;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use tokio_postgres::Client;

/// Log-ins that go on at once.
const STRIDE: usize = 16;

/// How the crowd is told where to go.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[arg(long)]
    port: u16,
    #[arg(long)]
    user: String,
    #[arg(long)]
    password: String,
    #[arg(long)]
    database: String,
    #[arg(long)]
    count: usize,
}

/// Opens the connections, says `ready`, and keeps them until standard input ends.
pub fn run(options: &Options) -> Result<(), BenchError> {
    let login = Login::local(options.port, &options.user, &options.password, &options.database);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let clients = runtime.block_on(gather(&login, options.count))?;
    println!("ready");
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest)?;
    drop(clients);
    Ok(())
}

async fn gather(login: &Login, count: usize) -> Result<Vec<Client>, BenchError> {
    let mut clients = Vec::with_capacity(count);
    while clients.len() < count {
        let stride = STRIDE.min(count - clients.len());
        let tasks: Vec<_> = (0..stride).map(|_| tokio::spawn(arrive(login.clone()))).collect();
        for task in tasks {
            clients.push(task.await.map_err(|error| BenchError(error.to_string()))??);
        }
    }
    Ok(clients)
}

async fn arrive(login: Login) -> Result<Client, BenchError> {
    let client = login.connect().await?;
    client.simple_query("SELECT 1").await?;
    Ok(client)
}

/// Resident memory of a contestant per idle client, KiB; `None` if it has no process.
///
/// The contestant should be fresh: memory that an earlier load has left behind would be used
/// again and not show.
pub fn memory_per_client(contestant: &Contestant, count: usize) -> Result<Option<f64>, BenchError> {
    let Some(before) = contestant.usage() else { return Ok(None) };
    let mut crowd = spawn(contestant.login(), count)?;
    let mut line = String::new();
    if let Some(output) = crowd.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    let after = contestant.usage().unwrap_or_default();
    drop(crowd.stdin.take());
    crowd.wait()?;
    match line.trim() {
        "ready" => {
            Ok(Some((after.resident_bytes as f64 - before.resident_bytes as f64) / 1024.0 / count as f64))
        }
        _ => Err(BenchError(format!("{count} idle clients could not log in"))),
    }
}

fn spawn(login: &Login, count: usize) -> Result<Child, BenchError> {
    Ok(Command::new(std::env::current_exe()?)
        .args(["crowd", "--port", &login.port.to_string(), "--user", &login.user])
        .args(["--password", &login.password, "--database", &login.database])
        .args(["--count", &count.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?)
}
