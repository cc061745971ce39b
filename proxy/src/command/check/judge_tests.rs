//! What is said of clusters, sound and not.

use super::*;

const WANTED: Wanted<'_> = Wanted { role: "pgweir", database: "postgres", pool_max: 20 };

fn answer(is_replica: bool, started: i64) -> Answer {
    Answer {
        is_replica,
        version: 150_008,
        started,
        system: Some(77),
        synchronous_commit: "on".into(),
        connections_max: 97,
        our_address: Some("10.0.0.9".into()),
        rights: Rights { monitor: true, lookup: Some(Lookup::Works("pgweir.user_lookup")), closed: vec![] },
        ..Answer::default()
    }
}

fn refused(sqlstate: &str, message: &str) -> NoEntry {
    NoEntry::Refused { sqlstate: sqlstate.into(), message: message.into() }
}

/// A primary `a` and a replica `b`, changed.
fn said_of(change: impl FnOnce(&mut Answer, &mut Answer)) -> Vec<Finding> {
    let (mut a, mut b) = (answer(false, 1), answer(true, 2));
    change(&mut a, &mut b);
    judge(&[("a:5432".into(), Ok(a)), ("b:5432".into(), Ok(b))], &WANTED)
}

/// The only thing that is wrong: its text and remedy.
fn only(findings: &[Finding], weight: Weight) -> String {
    let wrong: Vec<_> = findings.iter().filter(|f| f.weight != Weight::Good).collect();
    assert_eq!(wrong.len(), 1, "{findings:#?}");
    assert_eq!(wrong[0].weight, weight);
    format!("{} | {}", wrong[0].text, wrong[0].remedy.as_deref().unwrap_or(""))
}

#[test]
fn a_sound_cluster_has_each_right_named_and_its_primary() {
    let findings = said_of(|_, _| {});
    assert!(findings.iter().all(|f| f.weight == Weight::Good), "{findings:#?}");
    let all: Vec<_> = findings.iter().map(ToString::to_string).collect();
    let all = all.join("\n");
    for words in [
        "a:5432 is the primary",
        "PostgreSQL 15.8",
        "pg_monitor",
        "pgweir.user_lookup",
        "right to connect",
        "system identifier 77",
        "synchronous_commit is on",
    ] {
        assert!(all.contains(words), "no {words:?} in\n{all}");
    }
}

#[test]
fn each_missing_right_comes_with_its_grant() {
    let said = only(&said_of(|a, _| a.rights.monitor = false), Weight::Mistake);
    assert!(said.contains("GRANT pg_monitor TO pgweir;"), "{said}");
    let said = only(&said_of(|a, _| a.rights.lookup = Some(Lookup::NotAllowed)), Weight::Mistake);
    assert!(said.contains("pgweir reference --form role"), "{said}");
    let said = only(&said_of(|a, _| a.rights.closed = vec!["Shop".into()]), Weight::Warning);
    assert!(said.contains("GRANT CONNECT ON DATABASE \"Shop\" TO pgweir;"), "{said}");
    let said = only(&said_of(|_, b| b.system = None), Weight::Mistake);
    assert!(said.contains("b:5432") && said.contains("GRANT EXECUTE"), "{said}");
    assert!(said_of(|a, _| a.rights.lookup = None).iter().all(|f| f.weight == Weight::Good));
}

#[test]
fn a_node_that_keeps_us_out_says_how_to_get_in() {
    let said = |no_entry| only(&[kept_out("b:5432", &no_entry, &WANTED)], Weight::Mistake);
    let wrong = said(refused("28P01", "password authentication failed for user \"pgweir\""));
    assert!(wrong.contains("\\password pgweir") && !wrong.contains("answer"), "{wrong}");
    let hba = said(refused("28000", "no pg_hba.conf entry for host \"10.0.0.9\", user \"pgweir\""));
    assert!(hba.contains("host all all 10.0.0.9/32 scram-sha-256"), "{hba}");
    assert!(said(NoEntry::PasswordMissing).contains("cluster.password is not set"));
    assert!(said(NoEntry::Unreached("Connection refused".into())).contains("nothing answers"));
    for (why, remedy) in [
        ("server does not support TLS", "ssl = on"),
        ("the server asks for SCRAM, which cluster.require_auth does not allow", "pg_hba.conf say"),
        ("invalid peer certificate: UnknownIssuer", "`tls.ca`"),
        ("what it says is not the protocol of PostgreSQL", "Another program"),
    ] {
        let strange = said(NoEntry::Strange(why.into()));
        assert!(strange.contains(remedy) && !strange.contains("nothing answers"), "{strange}");
    }
    assert!(said(refused("3D000", "database \"x\" does not exist")).contains("`database`"));
}

#[test]
fn one_primary_of_one_cluster_is_wanted() {
    assert!(only(&said_of(|a, _| a.is_replica = true), Weight::Mistake).contains("none of the nodes"));
    assert!(
        only(&said_of(|_, b| b.is_replica = false), Weight::Mistake)
            .contains("a:5432 and b:5432 take writes")
    );
    assert!(only(&said_of(|_, b| b.system = Some(78)), Weight::Mistake).contains("2 clusters"));
    assert!(only(&said_of(|_, b| b.started = 1), Weight::Mistake).contains("the same server"));
    assert!(only(&said_of(|_, b| b.version = 160_001), Weight::Mistake).contains("major versions"));
    assert!(only(&said_of(|_, b| b.leads_elsewhere = true), Weight::Mistake).contains("several servers"));
}

#[test]
fn settings_that_undo_splitting_are_named() {
    let said = only(&said_of(|a, _| a.synchronous_commit = "off".into()), Weight::Warning);
    assert!(said.contains("ALTER SYSTEM SET synchronous_commit = on"), "{said}");
    let said = only(&said_of(|a, _| a.asynchronous = vec!["role app".into()]), Weight::Warning);
    assert!(said.contains("ALTER ROLE app RESET synchronous_commit"), "{said}");
    assert!(only(&said_of(|_, b| b.apply_delay_ms = 80), Weight::Warning).contains("80 ms"));
    assert!(
        only(&said_of(|_, b| b.connections_max = 7), Weight::Warning).contains("node_connections_max = 7")
    );
    let words = "no pg_hba.conf entry".to_owned();
    assert!(only(&said_of(|_, b| b.not_admitted = Some(words)), Weight::Warning).contains("10.0.0.9/32"));
}

#[test]
fn when_nobody_lets_us_in_that_is_said() {
    let findings = judge(&[("a:1".into(), Err(NoEntry::Unreached("refused".into())))], &WANTED);
    assert_eq!(findings.len(), 2);
    assert!(findings[1].text.contains("no node let pgweir in"));
}

#[test]
fn names_are_quoted_where_sql_wants_it() {
    assert_eq!(quoted("app_1"), "app_1");
    assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    assert_eq!(quoted("1st"), "\"1st\"");
}
