//! What a transaction sets for itself is in the plans and texts that a server keeps, and nobody else meets it there.

use crate::meaning::{Step, pools, prepare, run};
use crate::support::Outcome;
use crate::twin::{extended, simple};
use pgweir_tests::raw::{self, RawClient};

/// Nor what a transaction sets for itself: plans made under that stay in the process, too.
#[test]
fn what_a_function_means_in_a_transaction_is_nobody_elses() -> Outcome {
    let pools = pools();
    let mut ddl = pools.stage.direct()?;
    ddl.run(
        "CREATE FUNCTION hour_of() RETURNS text LANGUAGE plpgsql STABLE AS \
            $$ BEGIN RETURN extract(hour FROM timestamptz '2024-01-01 00:00' AT TIME ZONE 'UTC'); END $$",
    )?;
    // A lie that row security is often told, to have it worked out once per statement.
    ddl.run(
        "CREATE FUNCTION tenant() RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT current_setting('app.tenant', true)$$",
    )?;
    ddl.run(
        "CREATE FUNCTION tenant_within() RETURNS text LANGUAGE plpgsql STABLE AS $$BEGIN RETURN tenant(); END$$",
    )?;
    ddl.run("CREATE VIEW me AS SELECT current_setting('app.tenant', true) AS t")?;
    ddl.run("CREATE FUNCTION tenant_by_view() RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT t FROM me$$")?;
    pools.stage.cluster.wait_caught_up()?;
    let mut steps = vec![];
    for (client, zone, tenant) in [(0, "UTC", "a"), (1, "Asia/Tokyo", "b"), (0, "UTC", "a")] {
        let set = format!("SET LOCAL TimeZone = '{zone}'; SET LOCAL app.tenant = '{tenant}'");
        let name = format!("st{}", steps.len());
        steps.push((client, simple("BEGIN")));
        steps.push((client, simple(&set)));
        steps.push((client, simple("SELECT hour_of(), tenant_within()")));
        steps.push((client, prepare(&name, "SELECT tenant(), tenant_within(), tenant_by_view()")));
        steps.push((client, run(&name)));
        steps.push((client, simple("COMMIT")));
        steps.push((client, simple(&format!("BEGIN; {set}; SELECT hour_of(), tenant_within(); COMMIT"))));
    }
    for (client, tenant) in [(2, "c"), (3, "d"), (2, "c"), (3, "d")] {
        let name = format!("st{}", steps.len());
        steps.push((client, simple(&format!("SET app.tenant = '{tenant}'"))));
        steps.push((client, prepare(&name, "SELECT tenant(), tenant_within(), tenant_by_view()")));
        steps.push((client, run(&name)));
    }
    let outcome = pools.compare(&[&[], &[], &[], &[]], &steps);
    ddl.run("DROP FUNCTION hour_of, tenant_within, tenant, tenant_by_view; DROP VIEW me")?;
    outcome
}

/// A value that only the server knows gives a text its meaning all the same.
#[test]
fn what_is_set_to_a_computed_value_is_nobody_elses() -> Outcome {
    let pools = pools();
    let mut ddl = pools.stage.direct()?;
    for weir in pools.weirs {
        // By way of each, so that each knows of them at once.
        RawClient::login(&weir.app())?.run(
            "CREATE OR REPLACE FUNCTION zone(z text) RETURNS void LANGUAGE plpgsql AS \
                $$BEGIN PERFORM set_config('TimeZone', z, true); END$$; \
             CREATE OR REPLACE FUNCTION tokyo() RETURNS void LANGUAGE plpgsql AS \
                $$BEGIN SET LOCAL TimeZone = 'Asia/Tokyo'; END$$",
        )?;
    }
    pools.stage.cluster.wait_caught_up()?;
    let text = "SELECT extract(epoch FROM timestamptz '2024-01-01 00:00')";
    let by_parameter = || {
        extended(&[
            raw::parse("", "SELECT set_config('TimeZone', $1, true)"),
            raw::bind("", "", &[Some("Asia/Tokyo")]),
            raw::execute("", 0),
        ])
    };
    let mut steps: Vec<Step> = vec![];
    for (number, set) in [
        by_parameter(),
        simple("SELECT zone('Asia/Tokyo')"),
        simple("SELECT tokyo()"),
        simple("SELECT set_config('Time' || 'Zone', 'Asia/Tokyo', true)"),
        simple("DO $$BEGIN SET LOCAL TimeZone = 'Asia/Tokyo'; END$$"),
    ]
    .into_iter()
    .enumerate()
    {
        let text = format!("{text} + {number}");
        let other = format!("{text} - 1");
        let (name, other_name) = (format!("st{number}"), format!("other{number}"));
        steps.push((0, simple("BEGIN")));
        steps.push((0, set));
        steps.push((0, prepare(&name, &text)));
        steps.push((0, run(&name)));
        steps.push((0, simple("COMMIT")));
        // On the primary, too.
        steps.push((1, simple("BEGIN")));
        for (name, text) in [(&name, &text), (&other_name, &other)] {
            steps.push((1, prepare(name, text)));
            steps.push((1, run(name)));
        }
        steps.push((1, simple("COMMIT")));
        steps.push((0, simple("BEGIN")));
        steps.push((0, prepare(&other_name, &other)));
        steps.push((0, run(&other_name)));
        steps.push((0, simple("COMMIT")));
    }
    let outcome = pools.compare(&[&[], &[]], &steps);
    ddl.run("DROP FUNCTION zone, tokyo")?;
    outcome
}
