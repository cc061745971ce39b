//! Tables with a row per connection: CLIENTS, SERVERS, PINS.

use super::{Seen, host_and_port, logged_in, seconds_and_micros, time};
use crate::console::table::Kind::{Number, Text};
use crate::console::table::{Cell, Kind, Table};
use crate::rows::ClientRow;

/// The columns that SHOW CLIENTS and SHOW SERVERS of PgBouncer share.
const CONNECTION: &[(&str, Kind)] = &[
    ("type", Text),
    ("user", Text),
    ("database", Text),
    ("state", Text),
    ("addr", Text),
    ("port", Number),
    ("local_addr", Text),
    ("local_port", Number),
    ("connect_time", Text),
    ("request_time", Text),
    ("wait", Number),
    ("wait_us", Number),
    ("close_needed", Number),
    ("ptr", Text),
    ("link", Text),
    ("remote_pid", Number),
    ("tls", Text),
    ("application_name", Text),
];

pub(super) fn clients(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(CONNECTION);
    table.columns.extend([("id", Number), ("statements", Number), ("pin", Text), ("node", Text)]);
    for c in logged_in(seen) {
        let host = c.address.map_or("unix".into(), |address| address.ip().to_canonical().to_string());
        let (wait, wait_us) = seconds_and_micros(c.waiting);
        table.rows.push(row![
            "C",
            c.user.as_str(),
            c.database.as_str(),
            c.state.as_str(),
            host,
            c.address.map(|address| u32::from(address.port())),
            Cell::Null,
            Cell::Null,
            time(c.connected),
            c.requested.map(time),
            wait,
            wait_us,
            c.ends,
            format!("c{}", c.process),
            c.server.as_ref().map_or(String::new(), |(process, _)| format!("s{process}")),
            Cell::Null,
            if c.tls { "TLS" } else { "" },
            c.application_name.as_str(),
            c.process,
            c.statements,
            c.pin.map(|p| p.as_str()),
            c.server.as_ref().map(|(_, node)| node.as_str()),
        ]);
    }
    table
}

pub(super) fn servers(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(CONNECTION);
    table.columns.extend([("node", Text), ("prepared_statements", Number)]);
    for s in &seen.picture.servers {
        let (host, port) = host_and_port(&s.node);
        let has =
            |c: &&ClientRow| c.server.as_ref().is_some_and(|(p, node)| *p == s.process && *node == s.node);
        let client = logged_in(seen).find(has);
        table.rows.push(row![
            "S",
            s.user.as_str(),
            s.database.as_str(),
            s.state.as_str(),
            host,
            Cell::Number(port),
            Cell::Null,
            Cell::Null,
            time(s.opened),
            s.used.map(time),
            Cell::Null,
            Cell::Null,
            s.stale,
            format!("s{}", s.process),
            client.map_or(String::new(), |c| format!("c{}", c.process)),
            s.process,
            if s.tls { "TLS" } else { "" },
            client.map_or("", |c| c.application_name.as_str()),
            s.node.as_str(),
            s.statements,
        ]);
    }
    table
}

pub(super) fn pins(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[
        ("id", Number),
        ("database", Text),
        ("user", Text),
        ("application_name", Text),
        ("reason", Text),
        ("node", Text),
        ("explanation", Text),
    ]);
    for client in logged_in(seen) {
        if let Some(pin) = client.pin {
            table.rows.push(row![
                client.process,
                client.database.as_str(),
                client.user.as_str(),
                client.application_name.as_str(),
                pin.as_str(),
                client.server.as_ref().map(|(_, node)| node.as_str()),
                pin.explain(),
            ]);
        }
    }
    table
}
