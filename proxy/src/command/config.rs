//! `pgweir config`: the configuration in force, every key with its value, secrets left out.

use super::ConfigArgs;
use crate::config::Config;
use std::process::ExitCode;
use toml::{Table, Value};

/// Arguments of `pgweir config`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Every key, also those that have their defaults [default: only what was set]
    #[arg(long)]
    effective: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Prints it. Exit code 1 if it has mistakes.
pub fn run(args: &ShowArgs) -> ExitCode {
    let config = match Config::load(&args.config.config) {
        Ok((config, _)) => config,
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
            return ExitCode::FAILURE;
        }
    };
    let table = table(&config, args.effective);
    let text = if args.json {
        serde_json::to_string_pretty(&table).map_err(|e| e.to_string())
    } else {
        toml::to_string_pretty(&table).map_err(|e| e.to_string())
    };
    match text {
        Ok(text) => {
            println!("{}", text.trim_end());
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// The keys with their values, as a file would have them.
fn table(config: &Config, with_defaults: bool) -> Table {
    let mut table = Table::new();
    for entry in &config.entries {
        // Half a section: its other keys are of no use without a certificate.
        if entry.key.starts_with("listen.tls.") && config.listen.tls.is_none() {
            continue;
        }
        let is_default = entry.value.as_deref() == entry.default;
        let Some(text) = entry.value.as_deref().filter(|_| with_defaults || !is_default) else { continue };
        let Some(value) = format!("v = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("v")) else {
            continue;
        };
        match entry.key.split_once(' ') {
            // `rule "reports"`: one of a list.
            Some((list, _)) => {
                if let Value::Array(list) = table.entry(list).or_insert_with(|| Value::Array(vec![])) {
                    list.push(value);
                }
            }
            None => put(&mut table, &entry.key, value),
        }
    }
    table
}

fn put(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(table.insert(path.to_owned(), value)),
        Some((section, rest)) => {
            if let Value::Table(inner) = table.entry(section).or_insert_with(|| Value::Table(Table::new())) {
                put(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "cluster.nodes = [\"a\"]\ncluster.password = \"secret\"\npool.mode = \"session\"\n\
                        [[rule]]\nname = \"r\"\nlog = true\n[[user]]\nname = \"u\"\npassword = \"secret\"";

    #[test]
    fn what_is_printed_is_a_configuration_of_the_same_keys_without_secrets() {
        let (config, _) = Config::parse(TEXT, "f").unwrap();
        let text = toml::to_string_pretty(&table(&config, true)).unwrap();
        assert!(!text.contains("secret"), "{text}");
        let (again, _) = Config::parse(&text, "printed").unwrap();
        assert_eq!(again.pool, config.pool);
        assert_eq!(again.users[0].name, "u");
        assert!(text.contains("lease_wait = \"10s\""), "{text}");
    }

    #[test]
    fn without_defaults_only_what_was_set_is_printed() {
        let (config, _) = Config::parse(TEXT, "f").unwrap();
        let text = toml::to_string_pretty(&table(&config, false)).unwrap();
        assert!(text.contains("mode = \"session\"") && !text.contains("lease_wait"), "{text}");
        assert!(serde_json::to_string(&table(&config, true)).unwrap().contains("\"session\""));
    }
}
