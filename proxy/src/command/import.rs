//! `pgweir import`: a pgbouncer.ini, said in pgweir's words.

mod ini;

use ini::Ini;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `pgweir import`.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// The pgbouncer.ini
    file: PathBuf,
}

/// Prints it as TOML.
pub fn run(args: &ImportArgs) -> ExitCode {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
    match read(&args.file).and_then(|text| import(&text, &|path| read(path))) {
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
    ("client_tls_sslmode", Elsewhere),
    ("client_tls_cert_file", Text("listen.tls.certificate")),
    ("client_tls_key_file", Text("listen.tls.key")),
    ("client_tls_ca_file", Text("listen.tls.client_ca")),
    ("server_tls_sslmode", Elsewhere),
    ("server_tls_ca_file", Text("cluster.tls.ca")),
    ("server_tls_cert_file", Text("cluster.tls.certificate")),
    ("server_tls_key_file", Text("cluster.tls.key")),
    ("auth_hba_file", Dropped("write its lines as [[auth.rule]]")),
    ("ignore_startup_parameters", Dropped("start-up parameters follow the client")),
    ("track_extra_parameters", Dropped("every setting follows the client")),
    ("server_reset_query", Dropped("the state of a session never stays on a server")),
    ("server_reset_query_always", Dropped("the state of a session never stays on a server")),
    ("server_check_query", Dropped("nodes are probed on connections of their own")),
    ("server_check_delay", Dropped("nodes are probed on connections of their own")),
    ("server_round_robin", Dropped("the connection used last is used first")),
    ("so_reuseport", Dropped("always on")),
    ("logfile", Dropped("logs go to standard error")),
    ("syslog", Dropped("logs go to standard error")),
    ("pidfile", Dropped("systemd or the container knows the process")),
    ("user", Dropped("start it as the user it is to run as")),
];

/// The same as TOML. `read` reads the files that it names.
fn import(text: &str, read: &dyn Fn(&Path) -> Result<String, String>) -> Result<String, String> {
    let ini = Ini::parse(text)?;
    let mut toml = toml::Table::new();
    let mut notes: Vec<String> = vec![];
    for (name, value) in ini.section("pgbouncer") {
        match SETTINGS.iter().find(|(n, _)| n == &name.as_str()) {
            Some((_, how)) => carry(&mut toml, &mut notes, name, value, *how),
            None => notes.push(format!("{name} = {value}: no counterpart")),
        }
    }
    listen(&ini, &mut toml);
    modes(&ini, &mut toml, &mut notes);
    nodes(&ini, &mut toml, &mut notes);
    users(&ini, &mut toml, &mut notes, read);
    // A section with a mode and no certificate is none.
    if let Some(listen) = toml.get_mut("listen").and_then(|l| l.as_table_mut())
        && listen.get("tls").is_some_and(|tls| tls.get("certificate").is_none())
    {
        listen.remove("tls");
    }
    let mut out =
        String::from("# Made from a pgbouncer.ini by `pgweir import`. Look it over, then: pgweir check\n");
    for note in &notes {
        let _ = writeln!(out, "# Not carried over: {}", note.replace('\n', " "));
    }
    out.push('\n');
    out.push_str(&toml::to_string_pretty(&toml).map_err(|e| e.to_string())?);
    Ok(out)
}

fn carry(toml: &mut toml::Table, notes: &mut Vec<String>, name: &str, value: &str, how: How) {
    let seconds = |value: &str| value.parse::<f64>().ok().filter(|s| (0.0..1e9).contains(s));
    let duration = |s: f64| {
        let rounded = std::time::Duration::from_millis((s * 1000.0).round() as u64);
        crate::config::value::put_duration(rounded)
    };
    match how {
        Elsewhere => {}
        Dropped(why) => notes.push(format!("{name} = {value}: {why}")),
        Text(key) => put(toml, key, value),
        List(key) => {
            let words = value.split(',').map(str::trim).filter(|w| !w.is_empty());
            put(toml, key, words.map(str::to_owned).collect::<Vec<_>>());
        }
        Count(key) => match value.parse::<i64>() {
            Ok(count) if count >= 0 => put(toml, key, count),
            _ => notes.push(format!("{name} = {value}: not a number")),
        },
        Seconds(key) | SecondsOr(key, _) => match (seconds(value), how) {
            (None, _) => notes.push(format!("{name} = {value}: not a number of seconds")),
            (Some(0.0), SecondsOr(_, instead)) => put(toml, key, instead),
            (Some(0.0), _) => put(toml, key, "off"),
            (Some(s), _) => put(toml, key, duration(s)),
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

fn listen(ini: &Ini, toml: &mut toml::Table) {
    let port = ini.get("pgbouncer", "listen_port").unwrap_or("6432");
    let addresses: Vec<String> = match ini.get("pgbouncer", "listen_addr") {
        None | Some("") => vec![format!("127.0.0.1:{port}")],
        Some(list) => list
            .split(',')
            .map(str::trim)
            .flat_map(|host| match host {
                "*" => vec![format!("0.0.0.0:{port}"), format!("[::]:{port}")],
                "localhost" => vec![format!("127.0.0.1:{port}")],
                host if host.contains(':') => vec![format!("[{host}]:{port}")],
                host => vec![format!("{host}:{port}")],
            })
            .collect(),
    };
    put(toml, "listen.address", addresses);
}

fn modes(ini: &Ini, toml: &mut toml::Table, notes: &mut Vec<String>) {
    match ini.get("pgbouncer", "pool_mode") {
        Some("session") | None => put(toml, "pool.mode", "session"),
        Some("transaction") => put(toml, "pool.mode", "transaction"),
        Some(other) => {
            notes.push(format!("pool_mode = {other}: transaction is the nearest"));
            put(toml, "pool.mode", "transaction");
        }
    }
    if let Some(mode) = ini.get("pgbouncer", "client_tls_sslmode") {
        put(toml, "listen.tls.required", !matches!(mode, "disable" | "allow" | "prefer"));
    }
    if let Some(mode) = ini.get("pgbouncer", "server_tls_sslmode") {
        put(toml, "cluster.tls.mode", if mode == "allow" { "prefer" } else { mode });
    }
    if let Some(kind @ ("hba" | "pam" | "ldap" | "any" | "trust" | "cert")) =
        ini.get("pgbouncer", "auth_type")
    {
        notes.push(format!("auth_type = {kind}: write it as [[auth.rule]]"));
    }
}

/// The servers of all databases are the nodes.
fn nodes(ini: &Ini, toml: &mut toml::Table, notes: &mut Vec<String>) {
    let mut nodes: Vec<String> = vec![];
    for (name, value) in ini.section("databases") {
        let mut port = "5432".to_owned();
        let mut hosts = String::new();
        for (key, value) in ini::connection_string(value) {
            match key.as_str() {
                "host" => hosts = value,
                "port" => port = value,
                "dbname" if value == *name => {}
                "dbname" => notes.push(format!(
                    "database {name} is {value} on the server: names are passed through; connect to {value}"
                )),
                _ => notes
                    .push(format!("{key} of database {name}: settings per database are rules or roles here")),
            }
        }
        let hosts = if hosts.is_empty() { "/var/run/postgresql" } else { &hosts };
        for host in hosts.split(',').map(str::trim) {
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            let node = format!("{host}:{port}");
            if !nodes.contains(&node) {
                nodes.push(node);
            }
        }
    }
    match nodes.len() {
        0 => {
            notes.push("no database names a server: write your nodes".into());
            nodes.push("127.0.0.1:5432".into());
        }
        1 => notes.push("the replicas, which a pgbouncer.ini does not know: add them to `nodes`".into()),
        _ => notes
            .push("the nodes below are all servers that are named: they must belong to one cluster".into()),
    }
    put(toml, "cluster.nodes", nodes);
}

/// Users of the auth_file and the section [users].
fn users(
    ini: &Ini,
    toml: &mut toml::Table,
    notes: &mut Vec<String>,
    read: &dyn Fn(&Path) -> Result<String, String>,
) {
    let mut users: Vec<toml::Table> = vec![];
    if let Some(path) = ini.get("pgbouncer", "auth_file") {
        match read(Path::new(path)) {
            Err(message) => notes.push(format!("auth_file: {message}")),
            Ok(text) => {
                for (name, password) in text.lines().filter_map(ini::userlist_line) {
                    let mut user = toml::Table::new();
                    user.insert("name".into(), name.into());
                    if !password.is_empty() {
                        user.insert("password".into(), password.into());
                    }
                    users.push(user);
                }
            }
        }
    }
    for (name, value) in ini.section("users") {
        let place = match users.iter().position(|u| u["name"].as_str() == Some(name)) {
            Some(place) => place,
            None => {
                users.push(toml::Table::from_iter([("name".to_owned(), name.as_str().into())]));
                users.len() - 1
            }
        };
        for (key, value) in ini::connection_string(value) {
            match (key.as_str(), value.parse::<i64>()) {
                ("pool_mode", _) if matches!(value.as_str(), "session" | "transaction") => {
                    users[place].insert("mode".into(), value.into());
                }
                ("pool_size" | "max_user_connections", Ok(size)) if size > 0 => {
                    users[place].insert("server_connections_max".into(), size.into());
                }
                _ => notes.push(format!("{key} of user {name}: no counterpart")),
            }
        }
    }
    if !users.is_empty() {
        toml.insert("user".into(), toml::Value::Array(users.into_iter().map(toml::Value::Table).collect()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, PoolMode};
    use std::time::Duration;

    const INI: &str = r#"
;; a comment
[databases]
shop = host=10.0.0.1 port=5433 dbname=shop
old = host=10.0.0.1 port=5433 dbname='the old one' pool_size=5
* = host=10.0.0.2

[pgbouncer]
listen_addr = *
listen_port = 6543
pool_mode = transaction
max_client_conn = 500
default_pool_size = 15
query_wait_timeout = 0
server_idle_timeout = 0
server_lifetime = 1800.5
admin_users = root, ops
auth_type = scram-sha-256
auth_file = /etc/pgbouncer/userlist.txt
logfile = /var/log/x.log
frobnicate = 7
[users]
batch = pool_mode=session pool_size=3
"#;

    fn userlist(_: &Path) -> Result<String, String> {
        Ok("\"app\" \"SCRAM-SHA-256$4096:c2FsdA==$c3Q=:c2s=\"\n\"we\"\"b\" \"pa ss\"\n; x\n".into())
    }

    #[test]
    fn what_has_a_counterpart_is_in_force_and_the_rest_is_named() {
        let text = import(INI, &userlist).unwrap();
        let (config, _) = Config::parse(&text, "f").unwrap_or_else(|m| panic!("{m:#?}\n{text}"));
        assert_eq!(config.listen.addresses, ["0.0.0.0:6543", "[::]:6543"].map(|a| a.parse().unwrap()));
        let nodes: Vec<_> = config.cluster.nodes.iter().map(|n| n.address.as_str()).collect();
        assert_eq!(nodes, ["10.0.0.1:5433", "10.0.0.2:5432"]);
        assert_eq!((config.limits.clients_max, config.pool.server_connections_max), (500, 15));
        assert_eq!(config.pool.mode, PoolMode::Transaction);
        assert_eq!(config.pool.lease_wait, Duration::from_secs(86_400));
        assert_eq!(config.pool.server_idle.as_secs() / 86_400, 30 * 365);
        assert_eq!(config.pool.server_lifetime, Duration::from_millis(1_800_500));
        assert_eq!(config.console.admin_users, ["root", "ops"]);
        let names: Vec<_> = config.users.iter().map(|u| u.name.as_str()).collect();
        assert_eq!(names, ["app", "we\"b", "batch"]);
        assert_eq!(config.users[1].password.as_ref().unwrap().0, "pa ss");
        assert_eq!(config.users[2].mode, Some(PoolMode::Session));
        for part in [
            "frobnicate = 7: no counterpart",
            "logfile",
            "connect to the old one",
            "pool_size of database old",
        ] {
            assert!(
                text.contains(&format!("# Not carried over: {part}")) || text.contains(part),
                "{part}\n{text}"
            );
        }
    }

    #[test]
    fn an_empty_ini_still_gives_a_valid_file() {
        let text = import("", &userlist).unwrap();
        assert!(Config::parse(&text, "f").is_ok(), "{text}");
    }

    #[test]
    fn what_is_no_ini_is_refused_with_its_line() {
        assert_eq!(
            import("[pgbouncer]\nnonsense", &userlist).unwrap_err(),
            "line 2: expected `name = value`"
        );
    }

    #[test]
    fn every_counterpart_is_a_key() {
        for (name, how) in SETTINGS {
            if let Count(key) | Seconds(key) | SecondsOr(key, _) | Text(key) | List(key) = how {
                assert!(crate::config::keys::find(key).is_some(), "{name}");
            }
        }
    }
}
