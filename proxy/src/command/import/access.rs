//! Who gets in, and how: `auth_type`, the HBA file, TLS with clients, users.
//!
//! Nobody may get in whom PgBouncer kept out. What cannot be said in rules is shut, and named.

use super::ini::{self, Ini};
use super::listed::{Listed, as_it_is};
use super::{Files, Made, hba, put};
use std::path::Path;
use toml::{Table, Value};

/// The rules by `auth_type`, after what TLS, addresses and the auth_file demand.
pub(super) fn rules(ini: &Ini, made: &mut Made, listed: &Listed, read: &Files<'_>) {
    let mut rules: Vec<Table> = vec![];
    if let Some(why) = closed_to_tcp(ini) {
        made.note(why);
        rules.push(rule(&[("connection", "host"), ("method", "reject")]));
    }
    if !listed.refused.is_empty() {
        let mut refused = rule(&[("method", "reject")]);
        let names = listed.refused.iter().map(|name| as_it_is(name));
        refused.insert("user".into(), Value::Array(names.collect()));
        rules.push(refused);
    }
    let databases = databases(ini);
    let mut lets_in = match ini.get("pgbouncer", "auth_type") {
        _ if listed.lets_nobody_in() => vec![rule(&[("method", "reject")])],
        Some("scram-sha-256") => vec![rule(&[("method", "scram-sha-256")])],
        Some("plain") => vec![rule(&[("method", "password")])],
        Some("trust") => vec![rule(&[("method", "trust")])],
        Some("cert") => vec![rule(&[("connection", "hostssl"), ("method", "certificate")])],
        Some("hba") => by_hba(ini, made, read),
        by_password => {
            if let Some(other) = by_password.filter(|other| *other != "md5") {
                made.note(format!(
                    "auth_type = {other}: no counterpart; users log in by the passwords below or in the cluster"
                ));
            }
            // Without any rule the stored password decides.
            match rules.is_empty() && databases.is_none() {
                true => vec![],
                false => vec![rule(&[("method", if listed.has_md5() { "md5" } else { "scram-sha-256" })])],
            }
        }
    };
    for rule in &mut lets_in {
        if let Some(databases) = &databases {
            confine(rule, "database", databases);
        }
        if !listed.looks_up && matches!(method_of(rule), "trust" | "certificate") {
            let names: Vec<String> = listed.users.iter().map(|(name, _)| name.clone()).collect();
            confine(rule, "user", &names);
        }
    }
    rules.extend(lets_in);
    if let Some(databases) = databases {
        made.note(format!(
            "[databases] has no `*`: rules let nobody into others than {}",
            databases[..databases.len() - CONSOLE.len()].join(", ")
        ));
    }
    if !rules.is_empty() {
        put(&mut made.toml, "auth.rule", rules.into_iter().map(Value::Table).collect::<Vec<_>>());
    }
}

/// The console's databases: its own rights say who gets in there.
const CONSOLE: [&str; 2] = ["pgweir", "pgbouncer"];

/// The databases that clients may name, by their names on the server, with the console; `None`: all.
fn databases(ini: &Ini) -> Option<Vec<String>> {
    let mut names: Vec<String> = vec![];
    for (name, value) in ini.section("databases") {
        if name == "*" {
            return None;
        }
        let on_server = ini::connection_string(value).into_iter().find(|(key, _)| key == "dbname");
        let name = on_server.map_or_else(|| name.clone(), |(_, name)| name);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.extend(CONSOLE.map(str::to_owned));
    Some(names)
}

/// Leaves of a rule what these names allow; where that is nothing, it rejects.
fn confine(rule: &mut Table, key: &str, allowed: &[String]) {
    if method_of(rule) == "reject" {
        return;
    }
    let names: Vec<Value> = match rule.get(key).and_then(Value::as_array) {
        None => allowed.iter().map(|name| as_it_is(name)).collect(),
        Some(named) => {
            let is_allowed = |name: &&Value| allowed.iter().any(|allowed| name.as_str() == Some(allowed));
            named.iter().filter(is_allowed).cloned().collect()
        }
    };
    if names.is_empty() {
        rule.remove("client_certificate");
        rule.insert("method".into(), "reject".into());
    } else {
        rule.insert(key.into(), Value::Array(names));
    }
}

fn method_of(rule: &Table) -> &str {
    rule.get("method").and_then(Value::as_str).unwrap_or_default()
}

fn rule(pairs: &[(&str, &str)]) -> Table {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect()
}

/// PgBouncer would have taken nobody by TCP, and why.
fn closed_to_tcp(ini: &Ini) -> Option<&'static str> {
    let get = |name| ini.get("pgbouncer", name).filter(|value| !value.is_empty());
    if get("listen_addr").is_none() {
        return Some(
            "listen_addr is empty: pgweir cannot do without a TCP address; a rule rejects who comes there",
        );
    }
    let wants_tls = matches!(get("client_tls_sslmode"), Some("require" | "verify-ca" | "verify-full"));
    if wants_tls && (get("client_tls_cert_file").is_none() || get("client_tls_key_file").is_none()) {
        return Some(
            "client_tls_sslmode without client_tls_cert_file and client_tls_key_file: a rule rejects who comes by TCP",
        );
    }
    let wants_certificate = matches!(get("client_tls_sslmode"), Some("verify-ca" | "verify-full"));
    (wants_certificate && get("client_tls_ca_file").is_none()).then_some(
        "client_tls_sslmode = verify-… without client_tls_ca_file: a rule rejects who comes by TCP",
    )
}

fn by_hba(ini: &Ini, made: &mut Made, read: &Files<'_>) -> Vec<Table> {
    let text = match ini.get("pgbouncer", "auth_hba_file") {
        None => Err("auth_type = hba without auth_hba_file: nobody gets in".to_owned()),
        Some(path) => {
            read(Path::new(path)).map_err(|error| format!("auth_hba_file: {error}: nobody gets in"))
        }
    };
    let (mut rules, notes) = match text {
        Ok(text) => hba::rules(&text),
        Err(why) => (vec![], vec![why]),
    };
    notes.into_iter().for_each(|note| made.note(note));
    // No rules at all would mean: everybody, by the stored password.
    if rules.is_empty() {
        rules.push(rule(&[("method", "reject")]));
    }
    rules
}

/// TLS with clients: as much is demanded of them as before.
pub(super) fn tls(ini: &Ini, made: &mut Made) {
    const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
    let Some(mode) = ini.get("pgbouncer", "client_tls_sslmode") else { return };
    if !MODES.contains(&mode) {
        made.note(format!(
            "client_tls_sslmode = {mode}: there is no such mode, and PgBouncer does not start with it"
        ));
    }
    let demands = matches!(mode, "verify-ca" | "verify-full");
    put(&mut made.toml, "listen.tls.required", demands || mode == "require");
    if demands && ini.get("pgbouncer", "client_tls_ca_file").is_some() {
        put(&mut made.toml, "listen.tls.client_certificate", "require");
    }
    let listen = made.toml.get_mut("listen").and_then(Value::as_table_mut);
    if let Some(listen) = listen
        && let Some(tls) = listen.get("tls")
        && (mode == "disable" || tls.get("certificate").is_none() || tls.get("key").is_none())
    {
        listen.remove("tls");
    }
}

/// Users of the auth_file and the section [users].
pub(super) fn users(ini: &Ini, made: &mut Made, listed: &Listed) {
    let mut users = listed.tables();
    own_password(ini, made, listed);
    for (name, value) in ini.section("users") {
        if listed.refused.contains(name) {
            continue;
        }
        let place = match users.iter().position(|u| u["name"].as_str() == Some(name)) {
            Some(place) => place,
            None => {
                users.push(Table::from_iter([("name".to_owned(), as_it_is(name))]));
                users.len() - 1
            }
        };
        settings_of(name, value, &mut users[place], made);
    }
    if !users.is_empty() {
        made.toml.insert("user".into(), Value::Array(users.into_iter().map(Value::Table).collect()));
    }
}

/// `auth_user` logs in to the cluster by what the auth_file says of it.
fn own_password(ini: &Ini, made: &mut Made, listed: &Listed) {
    let Some(name) = ini.get("pgbouncer", "auth_user") else { return };
    let own = listed.users.iter().find(|(known, _)| known == name);
    match own.map(|(_, password)| password.as_str()).filter(|password| !password.is_empty()) {
        Some(stored) if stored.starts_with("SCRAM-SHA-256$") || stored.starts_with("md5") => {
            made.note(format!(
                "the password of auth_user {name}: the auth_file has but a digest of it; set cluster.password"
            ))
        }
        Some(password) => put(&mut made.toml, "cluster.password", as_it_is(password)),
        None => {}
    }
}

fn settings_of(name: &str, value: &str, user: &mut Table, made: &mut Made) {
    for (key, value) in ini::connection_string(value) {
        match (key.as_str(), value.parse::<i64>()) {
            ("pool_mode", _) if matches!(value.as_str(), "session" | "transaction") => {
                user.insert("mode".into(), value.into());
            }
            ("pool_size" | "max_user_connections", Ok(size)) if size > 0 => {
                // The tighter one counts, whichever comes first.
                let known = user.get("server_connections_max").and_then(Value::as_integer);
                let size = known.map_or(size, |known| known.min(size));
                user.insert("server_connections_max".into(), size.into());
            }
            _ => made.note(format!("{key} of user {name}: no counterpart")),
        }
    }
}
