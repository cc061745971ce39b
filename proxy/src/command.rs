//! The program's subcommands.

pub mod audit;
pub mod check;
pub mod config;
pub mod health;
mod http;
pub mod import;
pub mod init;
mod loads;
pub mod reference;
pub mod route;
pub mod run;

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// A PostgreSQL proxy that sends writes to the primary and fresh reads to the replicas.
#[derive(Debug, Parser)]
#[command(
    name = "pgweir",
    version,
    max_term_width = 100,
    after_help = "\
A first start:
  pgweir init --primary 10.0.0.1:5432        # a role for pgweir, and pgweir.toml
  pgweir check --connect --config pgweir.toml && pgweir run --config pgweir.toml
  psql 'host=127.0.0.1 port=6432 dbname=app user=app'"
)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve
    #[command(
        after_help = "Example:\n  pgweir run --config pgweir.toml\n\nSIGHUP reloads; SIGTERM and SIGINT drain and leave, a second one leaves at once."
    )]
    Run(run::RunArgs),
    /// Make a role for pgweir on a cluster, and a minimal configuration; asks before it changes anything
    #[command(
        after_help = "Example:\n  pgweir init --primary 10.0.0.1:5432 --replica 10.0.0.2:5432\n\nPGPASSWORD is the administrator's password; PGWEIR_CLUSTER_PASSWORD, if set, becomes the role's.\nExit code 1 if nothing was made."
    )]
    Init(init::InitArgs),
    /// Look for mistakes in a configuration (and, with --connect, in the cluster): all at once
    #[command(
        after_help = "Example:\n  pgweir check --config pgweir.toml\n  pgweir check --connect --config pgweir.toml\n\nExit code 1 if there is a mistake; warnings alone leave it at 0."
    )]
    Check(check::CheckArgs),
    /// Print the configuration in force: file, environment and defaults together, without secrets
    #[command(
        after_help = "Example:\n  pgweir config --effective --config pgweir.toml\n\nEvery key has an environment variable: pool.mode is PGWEIR_POOL_MODE."
    )]
    Config(config::ShowArgs),
    /// Say where statements would go, and why
    #[command(
        after_help = "Example:\n  pgweir route --config pgweir.toml --database app 'SELECT * FROM books'\n  pgweir route --offline --json < statements.jsonl"
    )]
    Route(route::RouteArgs),
    /// Ask a running pgweir how it is, for health checks in containers
    #[command(
        after_help = "Example:\n  pgweir health --url http://127.0.0.1:16432/healthz\n\nExit code 0 if it is well."
    )]
    Health(health::HealthArgs),
    /// Say how much of today's load could leave the primary, from pg_stat_statements
    #[command(after_help = "Example:\n  pgweir audit --config pgweir.toml --database app\n\nIt only reads.")]
    Audit(audit::AuditArgs),
    /// Print a pgbouncer.ini as a pgweir.toml
    #[command(
        after_help = "Example:\n  pgweir import /etc/pgbouncer/pgbouncer.ini > pgweir.toml\n\nWhat has no counterpart is named in comments."
    )]
    Import(import::ImportArgs),
    /// Print what may stand in a configuration (a page, a commented file, a JSON schema), or the role's SQL
    #[command(
        after_help = "Example:\n  pgweir reference --form schema > pgweir.schema.json\n  pgweir reference --form role | psql -h 10.0.0.1 -U postgres -d postgres"
    )]
    Reference(reference::ReferenceArgs),
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file
    #[arg(
        long,
        short,
        value_name = "FILE",
        default_value = "/etc/pgweir/pgweir.toml",
        env = "PGWEIR_CONFIG"
    )]
    pub config: PathBuf,
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Route(args) => route::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Reference(args) => reference::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent_and_every_command_has_an_example() {
        let mut command = CommandLine::command();
        command.build();
        command.clone().debug_assert();
        for sub in command.get_subcommands().filter(|s| s.get_name() != "help") {
            let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{}", sub.get_name());
        }
    }
}
