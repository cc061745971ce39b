//! Functions that only read, whatever their bodies look like, run on replicas, and give there what they give directly.

use crate::support::{Outcome, stage};
use pgweir_tests::raw::RawClient;
use pgweir_tests::{Weir, cluster::wait_until_within};
use std::time::Duration;

#[test]
fn a_function_with_handlers_names_like_commands_or_itself_in_it_runs_on_a_replica() -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    let mut client = RawClient::login(&weir.app())?;
    client.run(
        "CREATE TABLE bodies_post (id int, comment text, open int);
         INSERT INTO bodies_post VALUES (1, 'first', 7);
         CREATE FUNCTION bodies_comment(i int) RETURNS text STABLE LANGUAGE plpgsql AS
            $$ DECLARE open int; BEGIN SELECT p.open INTO open FROM bodies_post p WHERE id = i;
               RETURN (SELECT comment FROM bodies_post WHERE id = i) || open; END $$;
         CREATE FUNCTION bodies_try(t text) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
            $$ BEGIN RETURN t::int; EXCEPTION WHEN invalid_text_representation THEN RETURN -1; END $$;
         CREATE FUNCTION bodies_depth(i int) RETURNS int STABLE LANGUAGE plpgsql AS
            $$ BEGIN RETURN CASE WHEN i = 0 THEN 0 ELSE 1 + bodies_depth(i - 1) END; END $$",
    )?;
    for (call, value) in [
        ("bodies_comment(1)", "first7"),
        ("bodies_try('12')", "12"),
        ("bodies_try('twelve')", "-1"),
        ("bodies_depth(5)", "5"),
    ] {
        let sql = format!("SELECT {call} FROM bodies_post");
        wait_until_within(Duration::from_secs(15), &format!("a replica runs {call}"), || {
            let read = client.value(&sql).ok().zip(client.value("SHOW pgweir.last_route").ok());
            read.is_some_and(|(read, route)| read == value && route.contains("role=replica"))
        })?;
    }
    Ok(())
}
