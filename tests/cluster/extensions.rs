//! Functions of well-known extensions run on replicas, and nothing of somebody's own is taken for one of them.

use crate::support::{Outcome, Stage, mark, stage};
use pgweir_tests::HarnessError;
use pgweir_tests::cluster::wait_until_within;
use pgweir_tests::raw::RawClient;
use pgweir_tests::sql::Login;
use std::sync::OnceLock;
use std::time::Duration;

/// What PostgreSQL brings with it.
const EXTENSIONS: [&str; 13] = [
    "hstore",
    "citext",
    "pg_trgm",
    "ltree",
    "intarray",
    "unaccent",
    "pgcrypto",
    "\"uuid-ossp\"",
    "tablefunc",
    "cube",
    "isn",
    "fuzzystrmatch",
    "btree_gist",
];

const SCHEMA: &str = "
    SET ROLE app;
    CREATE TABLE sale (region text, month text, amount int);
    INSERT INTO sale VALUES ('north', 'may', 1), ('north', 'june', 2), ('south', 'may', 3);
    CREATE TABLE tagged (id int, tags public.hstore, path public.ltree, name public.citext, many int[]);
    INSERT INTO tagged VALUES (1, 'a=>1', 'top.sub', 'Ann', '{1,2}');
    CREATE TABLE told (n int);
    CREATE FUNCTION tell(n int) RETURNS int LANGUAGE sql AS 'INSERT INTO told VALUES (n) RETURNING n';
    CREATE SCHEMA app;
    CREATE FUNCTION app.crosstab(text, text) RETURNS SETOF record LANGUAGE sql AS
        'INSERT INTO public.told VALUES (7) RETURNING n, n';
    RESET ROLE;
";

/// The stories' own database on the shared stage.
fn crafts(stage: &Stage) -> Result<Login, HarnessError> {
    static MADE: OnceLock<()> = OnceLock::new();
    let login = Login { database: "crafts".into(), ..stage.weir.app() };
    MADE.get_or_init(|| {
        let root = stage.cluster.node(stage.cluster.primary()).superuser();
        root.sql("CREATE DATABASE crafts").expect("a database");
        root.sql("ALTER DATABASE crafts SET log_statement = 'all'").expect("a log");
        let root = root.database("crafts");
        root.sql("GRANT ALL ON DATABASE crafts TO app; GRANT ALL ON SCHEMA public TO app").expect("rights");
        for extension in EXTENSIONS {
            root.sql(&format!("CREATE EXTENSION {extension}")).expect("an extension");
        }
        root.sql(SCHEMA).expect("tables");
        stage.cluster.wait_caught_up().expect("the replicas catch up");
    });
    let mut client = RawClient::login(&login)?;
    wait_until_within(Duration::from_secs(15), "a replica reads", || {
        stage
            .nodes_for_client(&mut client, "SELECT count(*) FROM sale")
            .is_ok_and(|nodes| stage.is_replica(&nodes))
    })?;
    Ok(login)
}

#[test]
fn functions_of_extensions_run_on_replicas() -> Outcome {
    let stage = stage();
    let mut client = RawClient::login(&crafts(&stage)?)?;
    for sql in [
        "SELECT tags -> 'a', tags ? 'b', akeys(tags) FROM tagged",
        "SELECT path @> 'top.sub'::ltree, nlevel(path) FROM tagged",
        "SELECT name = 'ANN' FROM tagged",
        "SELECT similarity('word', 'world'), 'word' % 'world'",
        "SELECT many @> '{1}', sort(many), many @@ '1&2'::query_int FROM tagged",
        "SELECT unaccent('Hôtel')",
        "SELECT digest('x', 'sha256'), gen_salt('bf'), crypt('x', '$1$abc')",
        "SELECT uuid_generate_v4(), uuid_generate_v1()",
        "SELECT count(*) FROM normal_rand(5, 0, 1)",
        "SELECT levenshtein('a', 'b'), soundex('abc')",
        "SELECT cube(1, 2), isbn('978-0-393-04002-9')",
        "SELECT * FROM crosstab('SELECT region, month, amount FROM sale ORDER BY 1, 2') AS t(r text, a int, b int)",
        "SELECT * FROM public.crosstab('SELECT region, month, amount FROM sale ORDER BY 1', \
         $$SELECT DISTINCT month FROM sale ORDER BY 1$$) AS t(r text, a int, b int)",
        "SELECT * FROM crosstab2('SELECT region, month, month FROM sale')",
    ] {
        let nodes = stage.nodes_for_client(&mut client, sql)?;
        assert!(stage.is_replica(&nodes), "{sql} ran on {nodes:?}");
    }
    Ok(())
}

#[test]
fn what_crosstab_is_given_counts_as_if_it_stood_there() -> Outcome {
    let stage = stage();
    let login = crafts(&stage)?;
    let mut client = RawClient::login(&login)?;
    for sql in [
        "SELECT * FROM crosstab('SELECT tell(1)::text, 1, 1') AS t(r text, a int)",
        "SELECT * FROM crosstab('SELECT ' || '''a''::text, 1, 1') AS t(r text, a int)",
        "SELECT * FROM app.crosstab('SELECT 1', 'SELECT 1') AS t(a int, b int)",
    ] {
        let nodes = stage.nodes_for_client(&mut client, sql)?;
        assert!(stage.is_primary(&nodes), "{sql} ran on {nodes:?}");
    }
    // Of the same shape, and of other tables: each sees what was written to its own.
    let mut reader = RawClient::login(&login)?;
    let totals = |table: &str| {
        format!(
            "SELECT b FROM crosstab('SELECT ''all''::text, 1, count(*)::int FROM {table}') AS t(a text, b int)"
        )
    };
    reader.value(&totals("sale"))?;
    for round in 1..=5 {
        client.run("INSERT INTO told VALUES (1)")?;
        let wanted = client.value("SELECT count(*) FROM told")?;
        let mark = mark();
        let told = reader.value(&format!("/* {mark} */ {}", totals("told")))?;
        assert_eq!(told, wanted, "round {round} on {:?}", stage.cluster.nodes_that_ran(&mark));
    }
    Ok(())
}

/// Called on a standby with whatever arguments fit, none is refused as a write.
#[test]
fn no_listed_function_of_an_extension_writes() -> Outcome {
    let stage = stage();
    crafts(&stage)?;
    let refused = "
        DO $do$
        DECLARE f record; call text; refused text[] := '{}'; called int := 0;
        BEGIN
          FOR f IN SELECT p.oid::regprocedure AS name, p.proretset, (SELECT string_agg(
                CASE format_type(t.type, NULL) WHEN 'text' THEN '''a''' WHEN 'integer' THEN '1'
                  WHEN 'double precision' THEN '1.5' WHEN 'bytea' THEN '''a''' WHEN 'ltree' THEN '''a.b'''
                  WHEN 'hstore' THEN '''a=>1''' WHEN 'citext' THEN '''a''' WHEN 'integer[]' THEN '''{1,2}'''
                  WHEN 'cube' THEN '''(1,2)''' WHEN 'boolean' THEN 'true' ELSE 'NULL' END
                || '::' || format_type(t.type, NULL), ', ' ORDER BY t.place)
              FROM unnest(p.proargtypes) WITH ORDINALITY AS t(type, place)) AS arguments, p.proname, n.nspname
            FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
            JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
            JOIN pg_extension e ON e.oid = d.refobjid
            WHERE e.extname NOT IN ('plpgsql', 'tablefunc') AND p.provolatile <> 'v' AND p.prokind = 'f'
              AND p.prorettype NOT IN ('internal'::regtype, 'trigger'::regtype)
              AND NOT 'internal'::regtype = ANY (p.proargtypes) AND NOT 'cstring'::regtype = ANY (p.proargtypes)
          LOOP
            call := format('SELECT count(*) FROM (SELECT %I.%I(%s)) AS called', f.nspname, f.proname, f.arguments);
            BEGIN
              EXECUTE call;
              called := called + 1;
            EXCEPTION
              WHEN read_only_sql_transaction OR object_not_in_prerequisite_state THEN
                refused := refused || f.name::text;
              WHEN OTHERS THEN NULL;
            END;
          END LOOP;
          IF called < 300 OR refused <> '{}' THEN
            RAISE EXCEPTION 'called %, refused %', called, refused;
          END IF;
        END $do$";
    for replica in stage.cluster.replicas() {
        stage.cluster.node(replica).superuser().database("crafts").sql(refused)?;
    }
    Ok(())
}
