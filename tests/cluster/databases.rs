//! Databases that come and go through pgweir.

use crate::support::{Outcome, Stage};
use pgweir_tests::raw::RawClient;

#[test]
fn a_database_can_be_made_and_dropped_though_clients_were_in_it_and_in_its_template() -> Outcome {
    let stage = Stage::own(|weir| weir.user("maker", "made"))?;
    let root = stage.cluster.node(stage.cluster.primary()).superuser();
    root.sql("CREATE ROLE maker LOGIN CREATEDB PASSWORD 'made'")?;
    stage.cluster.wait_caught_up()?;
    let login = stage.weir.app().user("maker", "made");
    let look = |database: &str| -> Outcome {
        let mut client = RawClient::login(&login.database(database))?;
        client.run("SELECT count(*) FROM pg_class")?;
        Ok(())
    };
    look("template1")?;
    let mut maker = RawClient::login(&login.database("postgres"))?;
    maker.run("CREATE DATABASE made_here")?;
    look("made_here")?;
    maker.run("/* app:made */ CREATE DATABASE made_there TEMPLATE made_here")?;
    look("made_here")?;
    for drop in ["/* app:made */ DROP DATABASE made_here", "-- annotated\nDROP DATABASE IF EXISTS made_there"]
    {
        maker.run(drop)?;
    }
    Ok(())
}
