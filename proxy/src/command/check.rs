//! `pgweir check`: every mistake in a configuration, and what machine and cluster say to the rest.

pub(crate) mod connect;
pub(crate) mod judge;
mod places;

use super::ConfigArgs;
use crate::config::Config;
use judge::Weight;
use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Arguments of `pgweir check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The configuration file, as with --config
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Do not look up the nodes' names
    #[arg(long)]
    offline: bool,
    /// Try every node as `run` would: log-in, each right of the role, who is primary, and what is set
    #[arg(long, conflicts_with = "offline")]
    connect: bool,
}

/// How long all nodes together may take to be looked up.
const RESOLVE_WAIT: Duration = Duration::from_secs(5);

/// Prints mistakes and warnings; fails if there is a mistake.
pub fn run(args: &CheckArgs) -> ExitCode {
    let path = args.file.as_ref().unwrap_or(&args.config.config);
    match Config::load(path) {
        Err(mistakes) => {
            for mistake in &mistakes {
                eprintln!("{mistake}");
            }
            let s = if mistakes.len() == 1 { "" } else { "s" };
            eprintln!("{}: {} mistake{s}", path.display(), mistakes.len());
            ExitCode::FAILURE
        }
        Ok((config, warnings)) => {
            for warning in &warnings {
                eprintln!("{warning}");
            }
            // Another machine than the one that it is for may check it.
            for elsewhere in places::unusable(&config) {
                eprintln!("{}: warning: here pgweir could not start: {elsewhere}", path.display());
            }
            let unusable = super::loads::unusable(&config);
            for mistake in &unusable {
                eprintln!("{}: {mistake}", path.display());
            }
            if !unusable.is_empty() {
                return ExitCode::FAILURE;
            }
            let nodes: Vec<_> = config.cluster.nodes.iter().map(|n| n.address.clone()).collect();
            if !args.offline {
                for warning in look_up(&nodes) {
                    eprintln!("{}: warning: {warning}", path.display());
                }
            }
            let rules = config.policy.rules.iter().count();
            let sources = match config.cluster.sources.len() {
                0 => String::new(),
                n => format!(" and {n} places where others are found"),
            };
            println!("{}: good: {} nodes{sources}, {rules} rules", path.display(), nodes.len());
            if config.listen.tls.as_ref().is_some_and(|tls| tls.is_made) {
                println!(
                    "clients that ask for TLS are shown a self-signed certificate: none is configured (listen.tls)"
                );
            }
            if args.connect { connect(&config) } else { ExitCode::SUCCESS }
        }
    }
}

/// Prints what the cluster says; fails if something would not work.
fn connect(config: &Config) -> ExitCode {
    let findings = match connect::try_cluster(config) {
        Ok(findings) => findings,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
    };
    for finding in &findings {
        println!("{finding}");
    }
    let mistakes = findings.iter().filter(|f| f.weight == Weight::Mistake).count();
    if mistakes == 0 {
        return ExitCode::SUCCESS;
    }
    eprintln!("{mistakes} mistake{} in the cluster", if mistakes == 1 { "" } else { "s" });
    ExitCode::FAILURE
}

/// What is odd about where the nodes' names lead.
fn look_up(nodes: &[String]) -> Vec<String> {
    let (found, answers) = mpsc::channel();
    for node in nodes.iter().filter(|n| !n.starts_with('/')).cloned() {
        let found = found.clone();
        // A look-up cannot be given up: the thread ends with the program.
        std::thread::spawn(move || {
            let addresses = node.to_socket_addrs().map(Vec::from_iter);
            let _ = found.send((node, addresses));
        });
    }
    drop(found);
    let deadline = Instant::now() + RESOLVE_WAIT;
    let mut places: HashMap<SocketAddr, String> = HashMap::new();
    let mut warnings = vec![];
    let mut answered = vec![];
    while let Ok((node, addresses)) = answers.recv_timeout(deadline.saturating_duration_since(Instant::now()))
    {
        match addresses {
            Err(_) => warnings.push(format!("node \"{node}\" does not resolve")),
            Ok(addresses) => {
                for address in addresses {
                    match places.insert(address, node.clone()) {
                        Some(other) if other != node => {
                            warnings.push(format!(
                                "\"{other}\" and \"{node}\" are both {address}: one node must be there once"
                            ));
                        }
                        _ => {}
                    }
                }
            }
        }
        answered.push(node);
    }
    let silent = nodes.iter().filter(|n| !n.starts_with('/') && !answered.contains(n));
    warnings.extend(
        silent.map(|n| format!("node \"{n}\" could not be looked up within {} s", RESOLVE_WAIT.as_secs())),
    );
    warnings.sort();
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_names_of_one_node_are_noticed() {
        let warnings = look_up(&["127.0.0.1:5432".into(), "localhost:5432".into(), "/tmp:5432".into()]);
        assert!(warnings.iter().any(|w| w.contains("are both 127.0.0.1:5432")), "{warnings:?}");
    }

    #[test]
    fn a_name_that_does_not_resolve_is_noticed() {
        let warnings = look_up(&["no-such-host.invalid:5432".into()]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
    }
}
