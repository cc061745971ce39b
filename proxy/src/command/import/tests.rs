//! Imported files, as `check` reads them.

use super::*;
use crate::config::{AuthMethod, Config, PoolMode};
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
app = pool_mode=session
"#;

fn userlist(_: &Path) -> Result<String, String> {
    Ok("\"app\" \"SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$R2nLo0UwGCYdbRCQr2yRCpxOjg2wK0PWr0tZT+cy4Gc=:R2nLo0UwGCYdbRCQr2yRCpxOjg2wK0PWr0tZT+cy4Gc=\"\n\"we\"\"b\" \"pa ss\"\n; x\n".into())
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
    assert_eq!(names, ["app", "we\"b"]);
    assert_eq!(config.users[1].password.as_ref().unwrap().0, "pa ss");
    assert_eq!(config.users[0].mode, Some(PoolMode::Session));
    assert_eq!(config.auth.rules[0].users, ["batch"], "PgBouncer knows no password of hers");
    for part in
        ["frobnicate = 7: no counterpart", "logfile", "connect to the old one", "pool_size of database old"]
    {
        assert!(
            text.contains(&format!("# Not carried over: {part}")) || text.contains(part),
            "{part}\n{text}"
        );
    }
}

/// The configuration that comes of it, and the text.
fn imported(ini: &str) -> (Config, String) {
    let text = import(ini, &userlist).unwrap();
    let parsed = Config::parse(&text, "f").unwrap_or_else(|m| panic!("{m:#?}\n{text}"));
    (parsed.0, text)
}

const ONE: &str = "[databases]\nshop = host=10.0.0.1\n[pgbouncer]\nlisten_addr = *\n";

#[test]
fn where_nothing_can_be_read_nothing_is_made_up() {
    for ini in ["", "[general]\nhost = \"0.0.0.0\"\n[pools.x]\na = 1\n", "[databases]\n%include nowhere\n"] {
        let refused = import(ini, &|_| Err("no such file".into())).unwrap_err();
        assert!(refused.contains("names no server"), "{refused}");
    }
    assert_eq!(import("[pgbouncer]\nnonsense", &userlist).unwrap_err(), "line 2: expected `name = value`");
}

#[test]
fn files_that_are_included_are_read() {
    let read = |path: &Path| match path.to_str() {
        Some("dbs.ini") => Ok("[databases]\nshop = host=10.0.0.9\n".to_owned()),
        _ => Err("gone".to_owned()),
    };
    let text = import("%include dbs.ini\n%include gone.ini\n[pgbouncer]\nlisten_addr = *\n", &read).unwrap();
    assert!(text.contains("10.0.0.9:5432") && text.contains("%include gone.ini: gone"), "{text}");
    let forever = |_: &Path| Ok("%include again".to_owned());
    assert!(import("%include again", &forever).unwrap_err().contains("too deeply"));
}

#[test]
fn sections_without_a_counterpart_are_named() {
    let (_, text) = imported(&format!("{ONE}[peers]\n1 = host=/tmp/1\n[frobs]\nx = 1\n"));
    assert!(text.contains("[peers]") && text.contains("[frobs]"), "{text}");
}

#[test]
fn what_check_would_refuse_is_named_and_not_written() {
    let (config, text) = imported(&format!(
        "{ONE}default_pool_size = 0\nserver_lifetime = 0.0004\nlisten_port = 99999\nmax_client_conn = -3\n"
    ));
    assert_eq!(config.pool.server_connections_max, Config::for_tests(&["a"]).pool.server_connections_max);
    for name in ["default_pool_size = 0", "server_lifetime = 0.0004", "listen_port = 99999"] {
        assert!(text.contains(&format!("# Not carried over: {name}")), "{name}\n{text}");
    }
}

#[test]
fn demands_on_clients_stay() {
    let tls = "client_tls_cert_file = c\nclient_tls_key_file = k\nclient_tls_ca_file = ca\n";
    for mode in ["verify-ca", "verify-full"] {
        let text = import(&format!("{ONE}{tls}client_tls_sslmode = {mode}\n"), &userlist).unwrap();
        assert!(
            text.contains("client_certificate = \"require\"") && text.contains("required = true"),
            "{text}"
        );
    }
    let (config, _) = imported(&format!("{ONE}client_tls_sslmode = verify-full\n"));
    assert_eq!(config.auth.rules[0].method, crate::config::AuthMethod::Reject, "nothing to verify with");
    let (config, text) = imported("[databases]\nshop = host=10.0.0.1\n[pgbouncer]\nauth_type = md5\n");
    assert_eq!(config.auth.rules[0].method, crate::config::AuthMethod::Reject, "no TCP:\n{text}");
    assert_eq!(config.auth.rules[1].method, crate::config::AuthMethod::ScramSha256);
}

#[test]
fn an_hba_file_becomes_rules_and_one_that_is_missing_lets_nobody_in() {
    let hba = |_: &Path| Ok("host all all 10.0.0.0/8 md5\nlocal all all peer\n".to_owned());
    let ini = format!("{ONE}auth_type = hba\nauth_hba_file = hba\n");
    let text = import(&ini, &hba).unwrap();
    let (config, _) = Config::parse(&text, "f").unwrap_or_else(|m| panic!("{m:#?}\n{text}"));
    assert_eq!(config.auth.rules.len(), 2);
    assert!(text.contains("line 2 of the HBA file: method `peer`"), "{text}");
    let text = import(&ini, &|_| Err("gone".into())).unwrap();
    assert!(text.contains("method = \"reject\"") && text.contains("gone: nobody gets in"), "{text}");
}

#[test]
fn the_role_that_looks_users_up_has_its_password() {
    let read = |_: &Path| Ok("\"looker\" \"pa ss\"\n".to_owned());
    let text = import(&format!("{ONE}auth_user = looker\nauth_file = u\n"), &read).unwrap();
    let (config, _) = Config::parse(&text, "f").unwrap();
    assert_eq!(config.cluster.password.unwrap().0, "pa ss");
    let (config, _) = imported(&format!("{ONE}[users]\nann = pool_size=9 max_user_connections=4\n"));
    assert_eq!(config.users[0].server_connections_max, Some(4));
}

#[test]
fn every_counterpart_is_a_key() {
    for (name, how) in SETTINGS {
        if let Count(key) | Seconds(key) | SecondsOr(key, _) | Text(key) | List(key) = how {
            assert!(crate::config::keys::find(key).is_some(), "{name}");
        }
    }
}

/// What an ini of one database and this auth_file becomes, and the notes.
fn guarded(auth_type: &str, auth_file: Result<&str, &str>) -> (Config, String) {
    let read = |_: &Path| auth_file.map(str::to_owned).map_err(str::to_owned);
    let text = import(&format!("{ONE}auth_file = u\nauth_type = {auth_type}\n"), &read).unwrap();
    let (config, _) = Config::parse(&text, "f").unwrap_or_else(|m| panic!("{m:#?}\n{text}"));
    assert_eq!(crate::command::loads::unusable(&config), Vec::<String>::new(), "{text}");
    (config, text)
}

#[test]
fn databases_that_are_not_listed_stay_shut() {
    for (auth_type, method) in [
        ("md5", AuthMethod::ScramSha256),
        ("scram-sha-256", AuthMethod::ScramSha256),
        ("plain", AuthMethod::Password),
        ("trust", AuthMethod::Trust),
    ] {
        let (config, text) = guarded(auth_type, Ok("\"ann\" \"pw\"\n"));
        let rules = &config.auth.rules;
        assert_eq!((rules.len(), rules[0].method), (1, method), "{text}");
        assert_eq!(rules[0].databases, ["shop", "pgweir", "pgbouncer"], "{text}");
        assert!(text.contains("[databases] has no `*`"), "{text}");
    }
    let (config, _) = guarded("md5", Ok("\"ann\" \"md50123456789abcdef0123456789abcdef\"\n"));
    assert_eq!(config.auth.rules[0].method, AuthMethod::Md5);
    let hba = |_: &Path| Ok("host other all 0.0.0.0/0 md5\nhost shop,other ann 0.0.0.0/0 trust\n".to_owned());
    let text = import(&format!("{ONE}auth_type = hba\nauth_hba_file = h\n"), &hba).unwrap();
    let (config, _) = Config::parse(&text, "f").unwrap();
    assert_eq!(config.auth.rules[0].method, AuthMethod::Reject, "{text}");
    assert_eq!(config.auth.rules[1].method, AuthMethod::Reject, "nobody is listed:\n{text}");
}

#[test]
fn whoever_the_auth_file_keeps_out_stays_out() {
    let file = "\"ann\" \"pw\"\n\"eve\" \"\"\n\"bob\" \"SCRAM-SHA-256$4096:torn\"\n\"tom\" \"torn\nbroken\n\
                \"ann\" \"p${w}\"\n";
    let (config, text) = guarded("scram-sha-256", Ok(file));
    let rule = &config.auth.rules[0];
    assert_eq!(
        (rule.method, &rule.users[..]),
        (AuthMethod::Reject, &["eve".to_owned(), "bob".to_owned()][..])
    );
    let users: Vec<_> = config.users.iter().map(|u| (u.name.as_str(), u.password.as_ref())).collect();
    assert_eq!(users, [("ann", Some(&crate::config::Secret("p${w}".into())))], "{text}");
    for part in [
        "user eve",
        "user bob",
        "line 4 of the auth_file",
        "line 5 of the auth_file",
        "user ann: listed twice",
    ] {
        assert!(text.contains(&format!("# Not carried over: {part}")), "{part}\n{text}");
    }
    let (config, _) = guarded("trust", Ok("\"ann\" \"pw\"\n\"eve\" \"\"\n"));
    assert_eq!((config.auth.rules[0].method, config.auth.rules.len()), (AuthMethod::Trust, 1));
    assert_eq!(config.auth.rules[0].users, ["ann", "eve"], "trust is for those who are listed");
    for file in [Err("gone"), Ok(""), Ok("\"eve\" \"\"\n")] {
        let (config, text) = guarded("md5", file);
        assert!(config.auth.rules.iter().all(|rule| rule.method == AuthMethod::Reject), "{text}");
        assert!(!config.auth.rules.is_empty(), "{text}");
    }
}
