//! Tables of counters: STATS and its kin, ROUTES, CACHE.

use super::Seen;
use crate::console::table::Kind::{Number, Text};
use crate::console::table::{Cell, Kind, Table};
use crate::observe::metrics::{Averages, Totals};

fn total_cells(t: &Totals) -> Vec<Cell> {
    row![
        t.transactions,
        t.statements,
        t.received_bytes,
        t.sent_bytes,
        t.transaction_micros,
        t.statement_micros,
        t.wait_micros,
    ]
}

fn average_cells(a: &Averages) -> Vec<Cell> {
    row![
        a.transactions,
        a.statements,
        a.received_bytes,
        a.sent_bytes,
        a.transaction_micros,
        a.statement_micros,
        a.wait_micros,
    ]
}

pub(super) fn stats(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[
        ("database", Text),
        ("total_xact_count", Number),
        ("total_query_count", Number),
        ("total_received", Number),
        ("total_sent", Number),
        ("total_xact_time", Number),
        ("total_query_time", Number),
        ("total_wait_time", Number),
        ("avg_xact_count", Number),
        ("avg_query_count", Number),
        ("avg_recv", Number),
        ("avg_sent", Number),
        ("avg_xact_time", Number),
        ("avg_query_time", Number),
        ("avg_wait_time", Number),
        // The name before PgBouncer 1.8, which Debian's exporter still asks for.
        ("total_requests", Number),
    ]);
    for t in &seen.picture.totals {
        let average = seen.averages.iter().find(|a| a.database == t.database).cloned().unwrap_or_default();
        let mut cells = row![t.database.as_str()];
        cells.extend(total_cells(t));
        cells.extend(average_cells(&average));
        cells.extend(row![t.statements]);
        table.rows.push(cells);
    }
    table
}

const SEVEN: &[(&str, Kind)] = &[
    ("database", Text),
    ("xact_count", Number),
    ("query_count", Number),
    ("bytes_received", Number),
    ("bytes_sent", Number),
    ("xact_time", Number),
    ("query_time", Number),
    ("wait_time", Number),
];

pub(super) fn stats_totals(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(SEVEN);
    for t in &seen.picture.totals {
        table.rows.push([row![t.database.as_str()], total_cells(t)].concat());
    }
    table
}

pub(super) fn stats_averages(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(SEVEN);
    for a in seen.averages {
        table.rows.push([row![a.database.as_str()], average_cells(a)].concat());
    }
    table
}

pub(super) fn totals(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[("name", Text), ("value", Number)]);
    let sum = |of: fn(&Totals) -> u64| seen.picture.totals.iter().map(of).fold(0, u64::saturating_add);
    table.rows = vec![
        row!["total_xact_count", sum(|t| t.transactions)],
        row!["total_query_count", sum(|t| t.statements)],
        row!["total_received", sum(|t| t.received_bytes)],
        row!["total_sent", sum(|t| t.sent_bytes)],
        row!["total_xact_time", sum(|t| t.transaction_micros)],
        row!["total_query_time", sum(|t| t.statement_micros)],
        row!["total_wait_time", sum(|t| t.wait_micros)],
    ];
    table
}

pub(super) fn routes(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[
        ("database", Text),
        ("target", Text),
        ("reason", Text),
        ("statements", Number),
        ("explanation", Text),
    ]);
    for totals in &seen.picture.totals {
        let mut rows = totals.by_reason.clone();
        rows.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
        for (target, reason, count) in rows {
            table.rows.push(row![
                totals.database.as_str(),
                target.as_str(),
                reason.as_str(),
                count,
                reason.explain(),
            ]);
        }
    }
    table
}

pub(super) fn cache(seen: &Seen<'_>) -> Table {
    let mut table = Table::new(&[("name", Text), ("value", Number)]);
    let (texts, shapes, bytes) = seen.cache;
    table.rows = vec![
        row!["texts", texts],
        row!["shapes", shapes],
        row!["bytes", bytes],
        row!["bytes_max", seen.config.routing.cache_bytes_max],
    ];
    table
}
