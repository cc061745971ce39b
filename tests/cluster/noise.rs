//! One session's noise is not everybody's: what makes, changes or tidies up some objects keeps nobody's reads
//! of others off the replicas.
//!
//! The replicas show every commit 300 ms late, and no read waits that long: a read that had to see what the
//! noise wrote would go to the primary. Where reads went is told by the servers' own logs.

use crate::support::{Outcome, Stage, mark};
use pgweir_tests::HarnessError;
use pgweir_tests::raw::RawClient;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SCHEMA: &str = "
    CREATE SCHEMA app AUTHORIZATION app;
    SET ROLE app;
    SET search_path = public;
    CREATE TABLE quiet (id int PRIMARY KEY, name text NOT NULL);
    INSERT INTO quiet SELECT n, 'name ' || n FROM generate_series(1, 100) AS n;
    CREATE VIEW quiet_view AS SELECT * FROM quiet WHERE id < 50;
    CREATE DOMAIN short AS text CHECK (length(VALUE) < 50);
    CREATE FUNCTION quiet_name(n int) RETURNS text LANGUAGE sql STABLE AS 'SELECT name FROM quiet WHERE id = n';
    CREATE TABLE loud (id serial PRIMARY KEY, n int NOT NULL DEFAULT 0, body text, at timestamptz DEFAULT now());
    CREATE VIEW loud_view AS SELECT id, n, body FROM loud WHERE n >= 0 WITH CHECK OPTION;
    CREATE VIEW loud_view_above AS SELECT id, body FROM loud_view;
    CREATE MATERIALIZED VIEW loud_sums AS SELECT n, count(*) FROM loud GROUP BY n;
    CREATE TABLE measured (id int, at date) PARTITION BY RANGE (at);
    CREATE TABLE measured_1 PARTITION OF measured FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
    RESET ROLE;
";

/// Reads of what the noise does not touch.
const READS: [&str; 4] = [
    "SELECT name FROM quiet WHERE id = 7",
    "SELECT count(*) FROM quiet_view",
    "SELECT quiet_name(5)",
    "SELECT name::short FROM quiet WHERE id = 9",
];

/// Of these many per cent at least stay on the replicas.
const SHARE_MIN: usize = 90;

/// One stage for these stories, which take turns: each counts what the others would disturb.
static STAGE: Mutex<Option<Stage>> = Mutex::new(None);

fn with_stage(story: impl FnOnce(&Stage) -> Outcome) -> Outcome {
    let mut stage = STAGE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if stage.is_none() {
        let new = Stage::own(|weir| weir.set("routing.freshness_wait", "60ms"))?;
        new.cluster.node(0).superuser().database("app").sql(SCHEMA)?;
        new.cluster.wait_caught_up()?;
        new.wait_for_replica(READS[0])?;
        for replica in new.cluster.replicas() {
            new.cluster.set_apply_delay(replica, Duration::from_millis(300))?;
        }
        *stage = Some(new);
    }
    match stage.as_ref() {
        Some(stage) => story(stage),
        None => Ok(()),
    }
}

/// Runs the noise, a statement every `pause`, over and over, while others read for some seconds: how many per
/// cent of these reads ran on replicas.
fn share_beside(
    stage: &Stage,
    noise: &[&str],
    pause: Duration,
    reads: &[&str],
) -> Result<usize, HarnessError> {
    // What was before this must be everywhere.
    for read in reads {
        stage.wait_for_replica(read)?;
    }
    let ends = AtomicBool::new(false);
    let mark = mark();
    std::thread::scope(|scope| {
        let noisy = scope.spawn(|| -> Outcome {
            let mut client = stage.client()?;
            for round in 0.. {
                for sql in noise {
                    // Ends with a whole round: what it makes it takes away again.
                    if ends.load(Ordering::SeqCst) && *sql == noise[0] {
                        return Ok(());
                    }
                    let sql = sql.replace("{round}", &round.to_string());
                    client.run(&sql)?;
                    std::thread::sleep(pause);
                }
            }
            Ok(())
        });
        let mut reader = stage.client()?;
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            for sql in reads {
                reader.run(&format!("/* {mark} */ {sql}"))?;
                std::thread::sleep(Duration::from_millis(3));
            }
        }
        ends.store(true, Ordering::SeqCst);
        noisy.join().expect("no panic")
    })?;
    let runs = stage.cluster.runs(&mark);
    let all: usize = runs.iter().sum();
    assert!(all > 20, "only {all} reads ran");
    Ok((all - runs[stage.cluster.primary()]) * 100 / all)
}

const OFTEN: Duration = Duration::from_millis(50);

#[test]
fn temporary_objects_concern_their_own_session_only() -> Outcome {
    with_stage(|stage| {
        let noise = [
            "CREATE TEMP TABLE pile (id int PRIMARY KEY, n int DEFAULT 5 CHECK (n > 0), body text)",
            "INSERT INTO pile VALUES (1, 2, 'x'), (2, 3, 'y')",
            "CREATE INDEX ON pile (n)",
            "ANALYZE pile",
            "UPDATE pile SET n = n + 1",
            "CREATE TEMP TABLE heap AS SELECT id, name FROM quiet",
            "INSERT INTO heap SELECT id, body FROM pile",
            "DELETE FROM pile",
            "TRUNCATE heap",
            "CREATE TEMP VIEW glance AS SELECT * FROM heap",
            "SELECT count(*) FROM glance",
            "DROP VIEW glance",
            "DROP TABLE pile, heap",
            "BEGIN; CREATE TEMP TABLE brief (n int) ON COMMIT DROP; INSERT INTO brief VALUES (1); COMMIT",
            "BEGIN",
            "CREATE TEMPORARY TABLE IF NOT EXISTS brief (n serial, m text) ON COMMIT DROP",
            "INSERT INTO brief (m) VALUES ('z')",
            "COMMIT",
            "SELECT 1 AS one INTO TEMP single",
            "INSERT INTO single VALUES (2)",
            "DROP TABLE pg_temp.single",
        ];
        let share = share_beside(stage, &noise, OFTEN, &READS)?;
        assert!(share >= SHARE_MIN, "{share} % on replicas");
        Ok(())
    })
}

#[test]
fn changes_of_the_schema_keep_reads_of_others_where_they_are() -> Outcome {
    with_stage(|stage| {
        let noise = [
            "CREATE TABLE made_{round} (id serial PRIMARY KEY, n int REFERENCES loud, body text)",
            "CREATE INDEX made_index ON made_{round} (n)",
            "ALTER TABLE made_{round} ADD COLUMN more text DEFAULT 'x'",
            "CREATE VIEW made_view AS SELECT id, n FROM made_{round}",
            "ALTER TABLE made_{round} ALTER body TYPE varchar(20)",
            "GRANT SELECT ON made_{round} TO PUBLIC",
            "COMMENT ON TABLE made_{round} IS 'of round {round}'",
            "DROP VIEW made_view",
            "ALTER TABLE made_{round} RENAME TO made",
            "DROP TABLE made",
            "CREATE TABLE measured_2 PARTITION OF measured FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')",
            "DROP TABLE measured_2",
        ];
        let share = share_beside(stage, &noise, OFTEN, &READS)?;
        assert!(share >= SHARE_MIN, "{share} % on replicas");
        Ok(())
    })
}

#[test]
fn tidying_up_raises_what_it_touches() -> Outcome {
    with_stage(|stage| {
        let noise = [
            "INSERT INTO loud_view (n, body) VALUES (1, 'through a view')",
            "UPDATE loud_view_above SET body = 'through two'",
            "REFRESH MATERIALIZED VIEW loud_sums",
            "ANALYZE loud",
            "ANALYZE",
            "VACUUM loud",
            "VACUUM FULL loud",
            "REINDEX TABLE loud",
            "CLUSTER loud USING loud_pkey",
            "TRUNCATE loud RESTART IDENTITY CASCADE",
        ];
        let share = share_beside(stage, &noise, OFTEN, &READS)?;
        assert!(share >= SHARE_MIN, "{share} % on replicas");
        Ok(())
    })
}

/// What the noise does touch is read as it is, by everybody.
#[test]
fn who_reads_what_was_touched_sees_it() -> Outcome {
    with_stage(|stage| {
        let (mut writer, mut reader) = (stage.client()?, stage.client()?);
        let mut sees = |change: &str, read: &str, wanted: &str| -> Outcome {
            // Known as it was before.
            let _ = reader.query(read)?;
            writer.run(change)?;
            let frames = reader.query(read)?;
            let said: Vec<String> = frames
                .iter()
                .flat_map(|frame| match frame.tag {
                    b'D' => frame.columns().into_iter().flatten().collect::<Vec<_>>(),
                    _ => frame.field(b'M').into_iter().collect(),
                })
                .collect();
            assert!(
                said.iter().any(|text| text.contains(wanted)),
                "after {change:?}: {read:?} gives {said:?}"
            );
            Ok(())
        };
        for round in 1..=3 {
            sees("CREATE TABLE fresh AS SELECT 4711 AS a", "SELECT a FROM fresh", "4711")?;
            sees("ALTER TABLE fresh ADD COLUMN b int DEFAULT 815", "SELECT * FROM fresh", "815")?;
            sees("ALTER TABLE fresh ALTER b TYPE int USING b * 1000", "SELECT b FROM fresh", "815000")?;
            sees(
                "CREATE VIEW over_fresh AS SELECT a * 10 AS a FROM fresh",
                "SELECT a FROM over_fresh",
                "47110",
            )?;
            sees(
                "CREATE OR REPLACE VIEW over_fresh AS SELECT a * 100 AS a FROM fresh",
                "SELECT a FROM over_fresh",
                "471100",
            )?;
            sees("TRUNCATE fresh", "SELECT 'n' || count(*) FROM over_fresh", "n0")?;
            sees(
                "CREATE TABLE app.quiet AS SELECT 1 AS id, 'shadows'::text AS name",
                "SELECT name FROM quiet WHERE id = 1",
                "shadows",
            )?;
            sees("ALTER TABLE app.quiet RENAME TO silent", "SELECT name FROM quiet WHERE id = 1", "name 1")?;
            sees("ALTER TABLE app.silent RENAME TO quiet", "SELECT name FROM quiet WHERE id = 1", "shadows")?;
            sees("DROP TABLE app.quiet", "SELECT name FROM quiet WHERE id = 1", "name 1")?;
            sees(
                "CREATE TABLE measured_3 PARTITION OF measured FOR VALUES FROM ('2023-01-01') TO ('2024-01-01')",
                "SELECT 'n' || count(*) FROM measured",
                "n0",
            )?;
            sees(
                "INSERT INTO measured VALUES (1, '2023-05-05')",
                "SELECT 'n' || count(*) FROM measured",
                "n1",
            )?;
            sees("DROP TABLE measured_3", "SELECT 'n' || count(*) FROM measured", "n0")?;
            sees(
                &format!(
                    "CREATE OR REPLACE FUNCTION quiet_name(n int) RETURNS text LANGUAGE sql STABLE AS \
                     'SELECT name || ''/{round}'' FROM quiet WHERE id = n'"
                ),
                "SELECT quiet_name(5)",
                &format!("name 5/{round}"),
            )?;
            sees(
                "INSERT INTO loud_view (n, body) VALUES (1, 'v')",
                "SELECT 'n' || count(*) FROM loud",
                "n1",
            )?;
            sees("REFRESH MATERIALIZED VIEW loud_sums", "SELECT 'c' || count FROM loud_sums", "c1")?;
            sees("TRUNCATE loud", "SELECT 'n' || count(*) FROM loud", "n0")?;
            sees("REFRESH MATERIALIZED VIEW loud_sums", "SELECT 'n' || count(*) FROM loud_sums", "n0")?;
            sees("DROP VIEW over_fresh", "SELECT a FROM over_fresh", "does not exist")?;
            sees("DROP TABLE fresh", "SELECT a FROM fresh", "does not exist")?;
        }
        Ok(())
    })
}

/// A temporary table may run what writes elsewhere, and may hide what others read.
#[test]
fn a_temporary_table_that_leads_elsewhere_is_followed_there() -> Outcome {
    with_stage(|stage| {
        stage.cluster.node(0).superuser().database("app").sql(
            "SET ROLE app; CREATE TABLE IF NOT EXISTS noted (n int);
             CREATE OR REPLACE FUNCTION note_it(n int) RETURNS int LANGUAGE sql AS
                 'INSERT INTO noted VALUES (n) RETURNING n';
             CREATE OR REPLACE FUNCTION note_row() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN PERFORM note_it(7); RETURN NEW; END'; TRUNCATE noted",
        )?;
        stage.cluster.wait_caught_up()?;
        let mut reader = stage.client()?;
        let mut noted = 0;
        let mut check = |what: &str| -> Outcome {
            noted += 1;
            assert_eq!(reader.value("SELECT count(*) FROM noted")?, noted.to_string(), "{what}");
            Ok(())
        };
        for _ in 0..2 {
            let mut writer: RawClient = stage.client()?;
            writer.run("CREATE TEMP TABLE a (n int DEFAULT note_it(1), m int)")?;
            writer.run("INSERT INTO a (m) VALUES (1)")?;
            check("a default")?;
            writer.run("CREATE TEMP TABLE b (n int)")?;
            writer.run("CREATE TRIGGER t BEFORE INSERT ON b FOR EACH ROW EXECUTE FUNCTION note_row()")?;
            writer.run("INSERT INTO b VALUES (1)")?;
            check("a trigger")?;
            writer.run("CREATE TEMP TABLE c (n int)")?;
            writer.run("CREATE RULE r AS ON INSERT TO c DO ALSO INSERT INTO noted VALUES (1)")?;
            writer.run("INSERT INTO c VALUES (1)")?;
            check("a rule")?;
            writer.run("CREATE TEMP TABLE d AS SELECT note_it(3) AS n")?;
            check("a query")?;
            writer.run("CREATE TEMP TABLE e (LIKE a INCLUDING ALL)")?;
            writer.run("INSERT INTO e (m) VALUES (1)")?;
            check("a copied default")?;
            writer.run("CREATE TEMP VIEW f AS SELECT * FROM noted")?;
            writer.run("INSERT INTO f VALUES (1)")?;
            check("a view")?;
            writer.run("CREATE TEMP TABLE noted (n int)")?;
            writer.run("INSERT INTO noted VALUES (1)")?;
            writer.run("DROP TABLE noted")?;
            writer.run("INSERT INTO noted VALUES (1)")?;
            check("what is behind it")?;
            writer.run("BEGIN; CREATE TEMP TABLE noted (n int)")?;
            writer.run("ROLLBACK")?;
            writer.run("INSERT INTO noted VALUES (1)")?;
            check("what was behind it")?;
        }
        Ok(())
    })
}
