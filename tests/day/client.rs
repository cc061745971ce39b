//! One client of the day: mixed statements on its own row, each counted.

use crate::error::HarnessError;
use crate::raw::RawClient;
use crate::sql::Login;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Rows for so many clients.
pub(super) const SCHEMA: &str = "
    SET ROLE app;
    CREATE TABLE day_row (id int PRIMARY KEY, n bigint NOT NULL);
    INSERT INTO day_row SELECT id, 0 FROM generate_series(0, 9999) AS id;
    RESET ROLE;
";

/// Errors kept, of each client.
const ERRORS_MAX: usize = 5;

/// What clients did and saw.
#[derive(Debug, Default)]
pub struct Tally {
    /// Statements that pgweir should have counted.
    pub statements: u64,
    /// Increments that were acknowledged.
    pub increments: u64,
    /// Connections.
    pub logins: u64,
    /// What went wrong.
    pub errors: Vec<String>,
}

impl Tally {
    pub(super) fn failed(why: &str) -> Self {
        Self { errors: vec![why.to_owned()], ..Self::default() }
    }

    pub(super) fn add(&mut self, other: Tally) {
        self.statements += other.statements;
        self.increments += other.increments;
        self.logins += other.logins;
        self.errors.extend(other.errors);
    }
}

/// Works until it is over.
pub(super) fn run(number: u32, login: &Login, over: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    while !over.load(Ordering::Relaxed) && tally.errors.len() < ERRORS_MAX {
        if let Err(error) = visit(number, login, over, &mut tally) {
            tally.errors.push(format!("client {number}: {error}"));
        }
    }
    tally
}

/// One connection, used for a while.
fn visit(number: u32, login: &Login, over: &AtomicBool, tally: &mut Tally) -> Result<(), HarnessError> {
    let mut client = RawClient::login(login)?;
    tally.logins += 1;
    tally.statements += 1;
    client.prepare("mine", "SELECT n FROM day_row WHERE id = $1")?;
    let id = number.to_string();
    for turn in 0..200_u32 {
        if over.load(Ordering::Relaxed) {
            break;
        }
        match (turn + number) % 5 {
            0 => increment(&mut client, &id, tally)?,
            1 => {
                tally.statements += 1;
                client.value("SELECT count(*) FROM day_row WHERE id < 100")?;
            }
            2 => {
                tally.statements += 1;
                let rows = client.execute("mine", &[Some(&id)])?;
                expect(rows.len() == 1, "a prepared read gave no row")?;
            }
            3 => transaction(&mut client, &id, tally)?,
            _ => {
                let before = read(&mut client, &id, tally)?;
                increment(&mut client, &id, tally)?;
                let after = read(&mut client, &id, tally)?;
                expect(after == before + 1, "a client did not read what it wrote")?;
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn expect(right: bool, otherwise: &str) -> Result<(), HarnessError> {
    if right { Ok(()) } else { Err(HarnessError::failed(otherwise)) }
}

fn read(client: &mut RawClient, id: &str, tally: &mut Tally) -> Result<i64, HarnessError> {
    tally.statements += 1;
    let value = client.value(&format!("SELECT n FROM day_row WHERE id = {id}"))?;
    value.parse().map_err(|_| HarnessError::failed(format!("{value:?} is not a number")))
}

fn increment(client: &mut RawClient, id: &str, tally: &mut Tally) -> Result<(), HarnessError> {
    tally.statements += 1;
    client.run(&format!("UPDATE day_row SET n = n + 1 WHERE id = {id}"))?;
    tally.increments += 1;
    Ok(())
}

/// BEGIN is answered by pgweir itself and sent along with what follows: it is no statement of its own.
fn transaction(client: &mut RawClient, id: &str, tally: &mut Tally) -> Result<(), HarnessError> {
    client.run("BEGIN")?;
    tally.statements += 3;
    client.run(&format!("UPDATE day_row SET n = n + 1 WHERE id = {id}"))?;
    client.run(&format!("SELECT n FROM day_row WHERE id = {id}"))?;
    client.run("COMMIT")?;
    tally.increments += 1;
    Ok(())
}
