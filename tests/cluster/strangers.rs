//! What the catalog does not show yet, or never will, keeps nobody's reads off the replicas for long.

use crate::support::{Outcome, Stage, stage};
use pgweir_tests::raw::RawClient;
use pgweir_tests::{HarnessError, Weir, cluster::wait_until_within};
use std::time::Duration;

/// Longer than the catalog takes to be looked at again.
const LOOKED_AT_AGAIN: Duration = Duration::from_secs(15);

/// A client whose reads go to a replica.
fn reader(weir: &Weir) -> Result<RawClient, HarnessError> {
    let mut client = RawClient::login(&weir.app())?;
    wait_until_within(LOOKED_AT_AGAIN, "a replica reads", || reads_elsewhere(&mut client))?;
    Ok(client)
}

fn reads_elsewhere(client: &mut RawClient) -> bool {
    let read =
        client.run("SELECT count(*) FROM product").and_then(|_| client.value("SHOW pgweir.last_route"));
    read.is_ok_and(|route| route.contains("role=replica"))
}

/// Past pgweir.
fn beside(stage: &Stage, sql: &str) -> Outcome {
    stage.cluster.node(stage.cluster.primary()).superuser().database("app").sql(sql).map(drop)
}

#[test]
fn what_names_nothing_leaves_nothing() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    let mut client = reader(&weir)?;
    for (sql, sqlstate) in [
        ("SELECT * FROM schema_history_of_nobody", "42P01"),
        ("SELECT version_of_nobody()", "42883"),
        ("SELECT 'x'::type_of_nobody", "42704"),
        ("INSERT INTO table_of_nobody VALUES (1)", "42P01"),
        ("BEGIN; SAVEPOINT a; SELECT * FROM schema_history_of_nobody", "42P01"),
    ] {
        assert_eq!(client.refusal(sql)?.0, sqlstate, "{sql}");
        client.run("ROLLBACK")?;
        assert!(reads_elsewhere(&mut client), "{sql}");
    }
    client.run("BEGIN; SAVEPOINT a")?;
    assert_eq!(client.refusal("SELECT * FROM schema_history_of_nobody")?.0, "42P01");
    client.run("ROLLBACK TO a; COMMIT")?;
    wait_until_within(LOOKED_AT_AGAIN, "a replica reads again", || reads_elsewhere(&mut client))
}

#[test]
fn what_was_made_a_moment_ago_keeps_reads_on_the_primary_until_the_catalog_shows_it() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    let mut client = reader(&weir)?;
    beside(
        &stage,
        "CREATE TABLE strangers_made (a int); GRANT SELECT ON strangers_made TO PUBLIC;
         CREATE FUNCTION strangers_name() RETURNS void LANGUAGE plpgsql AS
            $$ BEGIN PERFORM set_config('app.stranger', 'hers', false); END $$;
         CREATE FUNCTION strangers_lock() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_lock(7101)'",
    )?;
    client.run("SELECT count(*) FROM strangers_made")?;
    let mut named = RawClient::login(&weir.app())?;
    named.run("SELECT strangers_name()")?;
    let mut locks = RawClient::login(&weir.app())?;
    locks.run("SELECT strangers_lock()")?;
    wait_until_within(LOOKED_AT_AGAIN, "a replica reads again", || reads_elsewhere(&mut client))?;
    // What they have left is theirs, and stays so.
    std::thread::sleep(Duration::from_secs(1));
    for _ in 0..3 {
        assert_eq!(named.value("SELECT current_setting('app.stranger', true)")?, "hers");
        assert_ne!(client.value("SELECT coalesce(current_setting('app.stranger', true), '')")?, "hers");
        assert_eq!(client.value("SELECT pg_try_advisory_lock(7101)")?, "f");
        assert_eq!(locks.value("SELECT pg_advisory_unlock(7101)")?, "t");
        locks.run("SELECT pg_advisory_lock(7101)")?;
    }
    Ok(())
}

#[test]
fn a_lock_outlives_the_transaction_that_took_it_by_sql_put_together_at_run_time() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    let mut client = reader(&weir)?;
    let mut other = reader(&weir)?;
    client.run(
        "CREATE FUNCTION strangers_run(part text) RETURNS void LANGUAGE plpgsql AS
            $$ BEGIN EXECUTE format('SELECT pg_advisory_lock(%s)', part); END $$",
    )?;
    client.refusal("SELECT strangers_run('7102'), 1 / (random() * 0)::int")?;
    assert_eq!(other.value("SELECT pg_try_advisory_lock(7102)")?, "f");
    assert_eq!(client.value("SELECT pg_advisory_unlock(7102)")?, "t");
    // Without one the transaction has left nothing.
    for undone in [
        "SELECT strangers_run('7103'), 1 / (random() * 0)::int",
        "BEGIN; SELECT strangers_run('7103'); ROLLBACK",
    ] {
        let _ = client.run(undone);
        client.run("SELECT pg_advisory_unlock(7103)")?;
        wait_until_within(LOOKED_AT_AGAIN, "a replica reads again", || reads_elsewhere(&mut client))?;
    }
    Ok(())
}

/// As audit triggers do: what it works on shows when it runs, and what it does not do is known before.
#[test]
fn a_trigger_that_puts_a_names_table_into_its_text_keeps_nobody_on_the_primary() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    let mut client = reader(&weir)?;
    client.run(
        "CREATE TABLE strangers_audited (a int); CREATE TABLE strangers_log (a text);
         CREATE FUNCTION strangers_audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            EXECUTE format('INSERT INTO %I SELECT ($1).%I', TG_ARGV[0], 'a') USING NEW; RETURN NEW; END $$;
         CREATE TRIGGER t AFTER INSERT ON strangers_audited
            FOR EACH ROW EXECUTE FUNCTION strangers_audit('strangers_log')",
    )?;
    wait_until_within(LOOKED_AT_AGAIN, "a replica reads again", || reads_elsewhere(&mut client))?;
    for _ in 0..5 {
        client.run("INSERT INTO strangers_audited VALUES (1)")?;
        assert!(reads_elsewhere(&mut client));
    }
    assert_eq!(client.value("SELECT count(*) FROM strangers_log")?, "5");
    Ok(())
}
