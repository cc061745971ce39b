//! The tables, made of a picture of two nodes and three clients.

use super::*;
use crate::observe::metrics::Totals;
use crate::rows::{Event, Held, NodeStatus, PoolRow, ServerRow, Sibling, SourceStatus};
use router_rules::{PinReason, Reason, Target};

fn picture() -> Picture {
    let at = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let node = |name: &str, role| NodeStatus {
        name: name.into(),
        role,
        up: true,
        serving: true,
        since: Duration::from_secs(60),
        lag_bytes: 100,
        lag: Duration::from_millis(3),
        lagging: false,
        stranded: false,
        several: false,
        differs: false,
        lsn: "0/5000060".into(),
        timeline: 1,
        outstanding: 2,
        drained: false,
        groups: vec!["analytics".into()],
        zone: None,
        weight: 100,
        source: None,
        error: None,
    };
    let client = |process, state, server: Option<(i32, &str)>| ClientRow {
        process,
        user: "app".into(),
        database: "shop".into(),
        application_name: "web".into(),
        address: Some("[2001:db8::9]:50000".parse().unwrap()),
        state,
        connected: at,
        requested: None,
        waiting: Duration::from_micros(1_500_000),
        ends: false,
        statements: 7,
        pin: server.map(|_| PinReason::Listen),
        server: server.map(|(process, node)| (process, node.to_owned())),
        tls: false,
    };
    let pool = |node: &str, active, waiting| PoolRow {
        node: node.into(),
        database: "shop".into(),
        user: "app".into(),
        active,
        waiting,
        idle: 1,
        opening: 0,
        longest_wait: Duration::from_micros(2_000_001),
        limit: 20,
        mode: PoolMode::Transaction,
    };
    let server = |node: &str, process| ServerRow {
        node: node.into(),
        database: "shop".into(),
        user: "app".into(),
        state: Held::Active,
        process,
        opened: at,
        used: Some(at),
        tls: true,
        stale: false,
        statements: 3,
    };
    Picture {
        nodes: vec![node("10.0.0.1:5432", "primary"), node("10.0.0.2:5432", "replica")],
        clients: vec![
            client(0, Doing::LoggingIn, None),
            client(1, Doing::Active, Some((900, "10.0.0.1:5432"))),
            client(2, Doing::Waiting, None),
            client(3, Doing::Idle, None),
        ],
        servers: vec![server("10.0.0.1:5432", 900), server("10.0.0.2:5432", 900)],
        pools: vec![pool("10.0.0.1:5432", 1, 1), pool("10.0.0.2:5432", 2, 0)],
        totals: vec![Totals {
            database: "shop".into(),
            statements: 12,
            by_reason: vec![(Target::Primary, Reason::Write, 2), (Target::Replica, Reason::ReadOnly, 10)],
            transactions: 11,
            ..Totals::default()
        }],
        sources: vec![SourceStatus {
            name: "dns://pg".into(),
            state: "answers",
            nodes: vec!["10.0.0.2:5432".into()],
            error: None,
        }],
        siblings: vec![Sibling { number: 7, since: Some(1), ..Sibling::default() }],
        events: vec![Event { at, kind: "node_up", node: "a".into(), text: "t".into() }],
        ..Picture::default()
    }
}

fn table(what: Show) -> Table {
    let (config, _) = Config::parse(
        "cluster.nodes = [\"10.0.0.1\"]\ncluster.password = \"hush\"\n[[rule]]\nlog = true",
        "f",
    )
    .unwrap();
    let averages = [Averages { database: "shop".into(), statements: 4, ..Averages::default() }];
    show(what, &Seen { picture: &picture(), config: &config, averages: &averages, cache: (1, 2, 3) })
}

fn cell(table: &Table, row: usize, column: &str) -> Cell {
    let at = table.columns.iter().position(|(name, _)| *name == column).unwrap();
    table.rows[row][at].clone()
}

#[test]
fn every_table_has_as_many_cells_as_columns_and_cells_of_their_kind() {
    for what in Show::ALL {
        let table = table(*what);
        assert!(!table.rows.is_empty(), "{}", what.as_str());
        for row in &table.rows {
            assert_eq!(row.len(), table.columns.len(), "{}", what.as_str());
            for ((name, kind), cell) in table.columns.iter().zip(row) {
                let fits = match cell {
                    Cell::Null => true,
                    Cell::Text(_) => *kind == Text,
                    Cell::Number(_) => *kind == Number,
                };
                assert!(fits, "{}: {name} is {cell:?}", what.as_str());
            }
        }
    }
}

#[test]
fn columns_are_those_of_pgbouncer_in_its_order() {
    let names = |what| table(what).columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ");
    assert_eq!(
        names(Show::Pools),
        "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active \
         sv_active_cancel sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode"
    );
    assert_eq!(
        names(Show::Stats),
        "database total_xact_count total_query_count total_received total_sent total_xact_time \
         total_query_time total_wait_time avg_xact_count avg_query_count avg_recv avg_sent avg_xact_time \
         avg_query_time avg_wait_time total_requests"
    );
    assert_eq!(
        names(Show::Databases),
        "name host port database force_user pool_size min_pool_size reserve_pool pool_mode max_connections \
         current_connections paused disabled"
    );
    assert!(names(Show::Clients).starts_with(
        "type user database state addr port local_addr local_port connect_time request_time wait wait_us \
         close_needed ptr link remote_pid tls application_name"
    ));
    assert_eq!(names(Show::Lists), "list items");
    assert_eq!(names(Show::Config), "key value default changeable");
}

#[test]
fn pools_are_summed_over_the_nodes() {
    let pools = table(Show::Pools);
    assert_eq!(pools.rows.len(), 1);
    for (column, value) in [
        ("cl_active", 2),
        ("cl_waiting", 1),
        ("sv_active", 3),
        ("sv_idle", 2),
        ("maxwait", 2),
        ("maxwait_us", 1),
    ] {
        assert_eq!(cell(&pools, 0, column), Cell::Number(value), "{column}");
    }
}

#[test]
fn a_server_is_linked_to_its_client_on_the_right_node() {
    let servers = table(Show::Servers);
    assert_eq!(cell(&servers, 0, "link"), Cell::from("c1"));
    assert_eq!(cell(&servers, 1, "link"), Cell::from(""), "the same process id on another node");
    let clients = table(Show::Clients);
    assert_eq!(clients.rows.len(), 3, "who has not logged in is no client yet");
    assert_eq!(cell(&clients, 0, "link"), Cell::from("s900"));
    assert_eq!(cell(&clients, 0, "addr"), Cell::from("2001:db8::9"));
    assert_eq!(cell(&clients, 0, "port"), Cell::Number(50_000));
    assert_eq!(cell(&clients, 0, "request_time"), Cell::Null, "nothing was asked yet");
    assert_eq!(cell(&clients, 0, "connect_time"), Cell::from("2027-01-15 08:00:00 UTC"));
}

#[test]
fn no_secret_is_shown() {
    let text = format!("{:?}", table(Show::Config));
    assert!(!text.contains("hush"));
    assert!(text.contains("cluster.password"));
}
