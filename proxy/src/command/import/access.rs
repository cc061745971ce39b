//! Who gets in, and how: `auth_type`, the HBA file, TLS with clients, users.
//!
//! Nobody may get in whom PgBouncer kept out. What cannot be said in rules is shut, and named.

use super::ini::{self, Ini};
use super::{Files, Made, hba, put};
use std::path::Path;
use toml::{Table, Value};

/// The rules by `auth_type`, after what TLS and addresses demand.
pub(super) fn rules(ini: &Ini, made: &mut Made, read: &Files<'_>) {
    let mut rules: Vec<Table> = vec![];
    if let Some(why) = closed_to_tcp(ini) {
        made.note(why);
        rules.push(rule(&[("connection", "host"), ("method", "reject")]));
    }
    match ini.get("pgbouncer", "auth_type") {
        None | Some("md5") => {}
        Some("scram-sha-256") => rules.push(rule(&[("method", "scram-sha-256")])),
        Some("plain") => rules.push(rule(&[("method", "password")])),
        Some("trust") => rules.push(rule(&[("method", "trust")])),
        Some("cert") => rules.push(rule(&[("connection", "hostssl"), ("method", "certificate")])),
        Some("hba") => rules.extend(by_hba(ini, made, read)),
        Some(other) => made.note(format!(
            "auth_type = {other}: no counterpart; users log in by the passwords below or in the cluster"
        )),
    }
    if rules.iter().all(|rule| rule["method"].as_str() == Some("reject")) && !rules.is_empty() {
        // What no rule rejects still asks for a password.
        if ini.get("pgbouncer", "auth_type") != Some("hba") {
            rules.push(rule(&[("method", "scram-sha-256")]));
        }
    }
    if !rules.is_empty() {
        put(&mut made.toml, "auth.rule", rules.into_iter().map(Value::Table).collect::<Vec<_>>());
    }
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
    let Some(mode) = ini.get("pgbouncer", "client_tls_sslmode") else { return };
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
pub(super) fn users(ini: &Ini, made: &mut Made, read: &Files<'_>) {
    let mut users: Vec<Table> = vec![];
    if let Some(path) = ini.get("pgbouncer", "auth_file") {
        match read(Path::new(path)) {
            Err(message) => made.note(format!("auth_file: {message}")),
            Ok(text) => users.extend(text.lines().filter_map(ini::userlist_line).map(user)),
        }
    }
    own_password(ini, made, &users);
    for (name, value) in ini.section("users") {
        let place = match users.iter().position(|u| u["name"].as_str() == Some(name)) {
            Some(place) => place,
            None => {
                users.push(Table::from_iter([("name".to_owned(), name.as_str().into())]));
                users.len() - 1
            }
        };
        settings_of(name, value, &mut users[place], made);
    }
    if !users.is_empty() {
        made.toml.insert("user".into(), Value::Array(users.into_iter().map(Value::Table).collect()));
    }
}

fn user((name, password): (String, String)) -> Table {
    let mut user = Table::from_iter([("name".to_owned(), Value::from(name))]);
    if !password.is_empty() {
        user.insert("password".into(), password.into());
    }
    user
}

/// `auth_user` logs in to the cluster by what the auth_file says of it.
fn own_password(ini: &Ini, made: &mut Made, users: &[Table]) {
    let Some(name) = ini.get("pgbouncer", "auth_user") else { return };
    let own = users.iter().find(|user| user["name"].as_str() == Some(name));
    match own.and_then(|user| user.get("password")).and_then(Value::as_str) {
        Some(stored) if stored.starts_with("SCRAM-SHA-256$") || stored.starts_with("md5") => {
            made.note(format!(
                "the password of auth_user {name}: the auth_file has but a digest of it; set cluster.password"
            ))
        }
        Some(password) => put(&mut made.toml, "cluster.password", password),
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
