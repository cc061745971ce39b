//! `pgweir import`: a pgbouncer.ini, said in pgweir's words.
//!
//! What is demanded of clients and servers is demanded here, too; what has no counterpart is named; what `check`
//! would refuse is not written.

mod access;
mod hba;
mod ini;
mod listed;

use crate::config::Config;
use ini::Ini;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The authorities that the system trusts.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Arguments of `pgweir import`.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// The pgbouncer.ini
    file: PathBuf,
}

/// Reads a file that the ini names.
type Files<'f> = dyn Fn(&Path) -> Result<String, String> + 'f;

/// Prints it as TOML; fails where there is nothing to say.
pub fn run(args: &ImportArgs) -> ExitCode {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
    let directory = args.file.parent().unwrap_or(Path::new("")).to_owned();
    // As PgBouncer from its working directory, else beside the ini.
    let beside = |path: &Path| read(path).or_else(|error| read(&directory.join(path)).map_err(|_| error));
    let named = |message| format!("{}: {message}", args.file.display());
    match read(&args.file).and_then(|text| import(&text, &beside).map_err(named)) {
        Ok(toml) => {
            print!("{toml}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// What has been made of the ini so far.
#[derive(Debug, Default)]
struct Made {
    toml: toml::Table,
    notes: Vec<String>,
}

impl Made {
    /// Something that the file does not say.
    fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Sets a key, unless `check` would refuse the value by itself.
    fn set(&mut self, from: &str, key: &str, value: impl Into<toml::Value>) {
        let mut alone = toml::Table::new();
        put(&mut alone, "cluster.nodes", vec!["127.0.0.1:5432".to_owned()]);
        put(&mut alone, key, value);
        let text = toml::to_string(&alone).unwrap_or_default();
        match Config::parse(&text, "") {
            Err(mistakes) if !names_a_file(key) => {
                let why: Vec<_> = mistakes.iter().map(|mistake| mistake.message.as_str()).collect();
                self.note(format!("{from}: {}", why.join("; ")));
            }
            _ => merge(&mut self.toml, alone, key),
        }
    }
}

/// Whether it is there is another question, and so is what it goes with.
fn names_a_file(key: &str) -> bool {
    key.contains(".tls.") && !key.ends_with(".mode")
}

/// Moves one key from a table of its own.
fn merge(toml: &mut toml::Table, mut alone: toml::Table, key: &str) {
    let mut parts: Vec<&str> = key.split('.').collect();
    let Some(last) = parts.pop() else { return };
    let mut table = Some(&mut alone);
    for part in parts {
        table = table.and_then(|table| table.get_mut(part)).and_then(|value| value.as_table_mut());
    }
    if let Some(value) = table.and_then(|table| table.remove(last)) {
        put(toml, key, value);
    }
}

/// How a setting of PgBouncer's is said here.
#[derive(Clone, Copy)]
enum How {
    /// This key, the value as a whole number.
    Count(&'static str),
    /// This key, seconds as a duration; 0 is off.
    Seconds(&'static str),
    /// This key, seconds as a duration; 0 waits for ever, which becomes this.
    SecondsOr(&'static str, &'static str),
    /// This key, the value as text.
    Text(&'static str),
    /// This key, a list at commas.
    List(&'static str),
    /// Looked at elsewhere in this file.
    Elsewhere,
    /// Not carried over, because …
    Dropped(&'static str),
}

use How::{Count, Dropped, Elsewhere, List, Seconds, SecondsOr, Text};

/// <https://www.pgbouncer.org/config.html>
const SETTINGS: &[(&str, How)] = &[
    ("listen_addr", Elsewhere),
    ("listen_port", Elsewhere),
    ("unix_socket_dir", List("listen.unix_directories")),
    ("pool_mode", Elsewhere),
    ("auth_file", Elsewhere),
    ("auth_type", Elsewhere),
    ("max_client_conn", Count("limits.clients_max")),
    ("max_user_client_connections", Count("limits.user_clients_max")),
    ("max_db_client_connections", Count("limits.database_clients_max")),
    ("default_pool_size", Count("pool.server_connections_max")),
    ("min_pool_size", Count("pool.server_connections_min")),
    ("max_db_connections", Count("pool.node_connections_max")),
    ("reserve_pool_size", Count("pool.server_connections_reserve")),
    ("reserve_pool_timeout", SecondsOr("pool.reserve_after", "1h")),
    ("max_prepared_statements", Count("pool.server_statements_max")),
    ("server_idle_timeout", Seconds("pool.server_idle")),
    ("server_lifetime", Seconds("pool.server_lifetime")),
    ("server_connect_timeout", SecondsOr("pool.server_connect", "1h")),
    ("query_wait_timeout", SecondsOr("pool.lease_wait", "1day")),
    ("query_wait_notify", Seconds("pool.lease_wait_notice")),
    ("client_login_timeout", SecondsOr("limits.login", "1h")),
    ("client_idle_timeout", Seconds("limits.client_idle")),
    ("idle_transaction_timeout", Seconds("limits.transaction_idle")),
    ("query_timeout", Seconds("limits.query")),
    ("transaction_timeout", Seconds("limits.transaction")),
    ("auth_user", Text("cluster.user")),
    ("auth_query", Text("cluster.auth_query")),
    ("auth_dbname", Text("cluster.database")),
    ("admin_users", List("console.admin_users")),
    ("stats_users", List("console.stats_users")),
    ("auth_hba_file", Elsewhere),
    ("client_tls_sslmode", Elsewhere),
    ("client_tls_cert_file", Text("listen.tls.certificate")),
    ("client_tls_key_file", Text("listen.tls.key")),
    ("client_tls_ca_file", Text("listen.tls.client_ca")),
    ("server_tls_sslmode", Elsewhere),
    ("server_tls_ca_file", Text("cluster.tls.ca")),
    ("server_tls_cert_file", Text("cluster.tls.certificate")),
    ("server_tls_key_file", Text("cluster.tls.key")),
    ("ignore_startup_parameters", Dropped("start-up parameters follow the client")),
    ("track_extra_parameters", Dropped("every setting follows the client")),
    ("server_reset_query", Dropped("the state of a session never stays on a server")),
    ("server_reset_query_always", Dropped("the state of a session never stays on a server")),
    ("server_check_query", Dropped("nodes are probed on connections of their own")),
    ("server_check_delay", Dropped("nodes are probed on connections of their own")),
    ("server_round_robin", Dropped("the connection used last is used first")),
    ("so_reuseport", Elsewhere),
    ("logfile", Dropped("logs go to standard error")),
    ("syslog", Dropped("logs go to standard error")),
    ("pidfile", Dropped("systemd or the container knows the process")),
    ("user", Dropped("start it as the user it is to run as")),
];

/// The same as TOML. `read` reads the files that it names.
fn import(text: &str, read: &Files<'_>) -> Result<String, String> {
    let ini = Ini::parse(text, read)?;
    let mut made = Made { toml: toml::Table::new(), notes: ini.missing.clone() };
    for name in ini.names() {
        match name {
            "pgbouncer" | "databases" | "users" => {}
            "peers" => made
                .note("[peers]: processes of one machine find each other; on several, see docs/deploying.md"),
            other => made.note(format!("[{other}]: a section that PgBouncer does not have either")),
        }
    }
    for (name, value) in ini.section("pgbouncer") {
        match SETTINGS.iter().find(|(n, _)| n == &name.as_str()) {
            Some((_, how)) => carry(&mut made, name, value, *how),
            None => made.note(format!("{name} = {value}: no counterpart")),
        }
    }
    listen(&ini, &mut made);
    modes(&ini, &mut made);
    nodes(&ini, &mut made)?;
    access::tls(&ini, &mut made);
    let listed = listed::Listed::of(&ini, &mut made, read);
    access::rules(&ini, &mut made, &listed, read);
    access::users(&ini, &mut made, &listed);
    let mut out =
        String::from("# Made from a pgbouncer.ini by `pgweir import`. Look it over, then: pgweir check\n");
    for note in &made.notes {
        let _ = writeln!(out, "# Not carried over: {}", note.replace('\n', " "));
    }
    out.push('\n');
    out.push_str(&toml::to_string_pretty(&made.toml).map_err(|e| e.to_string())?);
    Ok(out)
}

fn carry(made: &mut Made, name: &str, value: &str, how: How) {
    let seconds = |value: &str| value.parse::<f64>().ok().filter(|s| (0.0..1e9).contains(s));
    let duration = |s: f64| {
        let rounded = std::time::Duration::from_millis((s * 1000.0).round() as u64);
        crate::config::value::put_duration(rounded)
    };
    let from = format!("{name} = {value}");
    match how {
        Elsewhere => {}
        Dropped(why) => made.note(format!("{from}: {why}")),
        Text(key) => made.set(name, key, value),
        List(key) => {
            let words = value.split(',').map(str::trim).filter(|w| !w.is_empty());
            made.set(&from, key, words.map(str::to_owned).collect::<Vec<_>>());
        }
        Count(key) => match value.parse::<i64>() {
            Ok(count) if count >= 0 => made.set(&from, key, count),
            _ => made.note(format!("{from}: not a number")),
        },
        Seconds(key) | SecondsOr(key, _) => match (seconds(value), how) {
            (None, _) => made.note(format!("{from}: not a number of seconds")),
            (Some(0.0), SecondsOr(_, instead)) => made.set(&from, key, instead),
            (Some(0.0), _) => made.set(&from, key, "off"),
            (Some(s), _) => made.set(&from, key, duration(s)),
        },
    }
}

/// Sets `section.key` or `section.sub.key`.
fn put(toml: &mut toml::Table, path: &str, value: impl Into<toml::Value>) {
    let mut table = toml;
    let mut parts: Vec<&str> = path.split('.').collect();
    let Some(last) = parts.pop() else { return };
    for part in parts {
        let next = table.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        match next.as_table_mut() {
            Some(next) => table = next,
            None => return,
        }
    }
    table.insert(last.to_owned(), value.into());
}

fn listen(ini: &Ini, made: &mut Made) {
    let port = ini.get("pgbouncer", "listen_port").unwrap_or("6432");
    let port = match port.parse::<u16>() {
        Ok(port) if port > 0 => port,
        _ => {
            made.note(format!("listen_port = {port}: not a port of TCP"));
            6432
        }
    };
    let mut addresses: Vec<String> = vec![];
    for host in ini.get("pgbouncer", "listen_addr").unwrap_or_default().split(',').map(str::trim) {
        match host {
            "" => {}
            "*" => addresses.extend([format!("0.0.0.0:{port}"), format!("[::]:{port}")]),
            "localhost" => addresses.push(format!("127.0.0.1:{port}")),
            host => match host.parse::<IpAddr>() {
                Ok(address) => addresses.push(std::net::SocketAddr::new(address, port).to_string()),
                Err(_) => made.note(format!("listen_addr = {host}: write its IP address")),
            },
        }
    }
    if addresses.is_empty() {
        addresses.push(format!("127.0.0.1:{port}"));
    }
    addresses.dedup();
    put(&mut made.toml, "listen.address", addresses);
    if ini.get("pgbouncer", "so_reuseport").is_some_and(|on| on != "0") {
        put(&mut made.toml, "listen.share_address", true);
    }
}

fn modes(ini: &Ini, made: &mut Made) {
    match ini.get("pgbouncer", "pool_mode") {
        Some("session") | None => put(&mut made.toml, "pool.mode", "session"),
        Some("transaction") => put(&mut made.toml, "pool.mode", "transaction"),
        Some(other) => {
            made.note(format!("pool_mode = {other}: transaction is the nearest"));
            put(&mut made.toml, "pool.mode", "transaction");
        }
    }
    if let Some(mode) = ini.get("pgbouncer", "server_tls_sslmode") {
        let mode = if mode == "allow" { "prefer" } else { mode };
        made.set(&format!("server_tls_sslmode = {mode}"), "cluster.tls.mode", mode);
        if mode.starts_with("verify") && ini.get("pgbouncer", "server_tls_ca_file").is_none() {
            made.set("server_tls_ca_file, which is not set", "cluster.tls.ca", SYSTEM_AUTHORITIES);
            made.note(
                "server_tls_ca_file is not set: the authorities that the system trusts are meant there",
            );
        }
    }
    if ini.get("pgbouncer", "max_db_connections").is_some_and(|max| max != "0") {
        made.note(
            "max_db_connections is of one database there: pool.node_connections_max is of all of one node",
        );
    }
}

/// The servers of all databases are the nodes.
fn nodes(ini: &Ini, made: &mut Made) -> Result<(), String> {
    let mut nodes: Vec<String> = vec![];
    for (name, value) in ini.section("databases") {
        let mut port = "5432".to_owned();
        let mut hosts = String::new();
        for (key, value) in ini::connection_string(value) {
            match key.as_str() {
                "host" => hosts = value,
                "port" => port = value,
                "dbname" if value == *name => {}
                "dbname" => made.note(format!(
                    "database {name} is {value} on the server: names are passed through; connect to {value}"
                )),
                _ => made
                    .note(format!("{key} of database {name}: settings per database are rules or roles here")),
            }
        }
        let hosts = if hosts.is_empty() { "/var/run/postgresql" } else { &hosts };
        for host in hosts.split(',').map(str::trim) {
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            let node = format!("{host}:{port}");
            let alone = format!("cluster.nodes = [{}]", toml::Value::from(node.as_str()));
            if Config::parse(&alone, "").is_err() {
                made.note(format!("host {host}, port {port} of database {name}: no address of a node"));
            } else if !nodes.contains(&node) {
                nodes.push(node);
            }
        }
    }
    match nodes.len() {
        0 => return Err("[databases] names no server: there is nothing to import".into()),
        1 => made.note("the replicas, which a pgbouncer.ini does not know: add them to `nodes`"),
        _ => made.note("the nodes below are all servers that are named: they must belong to one cluster"),
    }
    put(&mut made.toml, "cluster.nodes", nodes);
    Ok(())
}

#[cfg(test)]
mod tests;
