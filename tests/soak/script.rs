//! Random session work: what one connection does in its life.

pub(crate) mod intent;

use crate::raw;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Which of the two connections plays it: what both must not share differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The twin.
    Direct,
    /// Through pgweir.
    Through,
}

/// Something to send, and what ends its answer.
#[derive(Clone, Debug)]
pub struct Step {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// When it is answered.
    pub until: Until,
    /// How much of the longest pause follows.
    pub pause: f64,
}

/// What ends an answer.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// As many ReadyForQuery as this.
    Ready(usize),
    /// A frame with this tag.
    Tag(u8),
    /// It would take long: it is cancelled.
    Cancelled,
}

/// How a life ends.
#[derive(Clone, Debug)]
pub enum End {
    /// Terminate.
    Farewell,
    /// Without a word, behind these bytes.
    Abrupt(Vec<u8>),
}

/// A life.
#[derive(Clone, Debug)]
pub struct Script {
    /// Start-up parameters.
    pub start: Vec<(&'static str, &'static str)>,
    /// What it does.
    pub steps: Vec<Step>,
    /// How it ends.
    pub end: End,
}

/// Texts that all clients prepare, so that servers share them.
const TEXTS: [&str; 8] = [
    "SELECT $1::int + 1",
    "SELECT v FROM soak_rows WHERE client = $1 ORDER BY k",
    "SELECT count(*) FROM soak_rows WHERE client = $1",
    "UPDATE soak_rows SET v = v WHERE client = $1 RETURNING client",
    "SELECT current_setting('work_mem'), $1::int",
    "SELECT 1 / ($1::int - $1::int)",
    "INSERT INTO soak_rows VALUES ($1, 100, 'prepared') ON CONFLICT (client, k) DO NOTHING",
    "SELECT n FROM nowhere WHERE n = $1",
];

/// Settings and values to give them.
const SETTINGS: [(&str, [&str; 3]); 7] = [
    ("work_mem", ["'5MB'", "'6MB'", "'7MB'"]),
    ("TimeZone", ["'UTC'", "'Asia/Tokyo'", "'America/Lima'"]),
    ("DateStyle", ["'ISO, DMY'", "'German'", "'SQL, MDY'"]),
    ("statement_timeout", ["0", "'50s'", "'60s'"]),
    ("extra_float_digits", ["0", "1", "3"]),
    ("application_name", ["'one'", "'two'", "'a ''third'''"]),
    ("search_path", ["public", "pg_catalog, public", "'$user', public"]),
];

/// What random messages are about: all by few names, in any order, most of it a mistake.
const CHATTER: [&str; 19] = [
    "SELECT 1",
    "SELECT generate_series(1, 5)",
    "SELECT count(*) FROM soak_rows WHERE client = -1",
    "UPDATE soak_rows SET v = v WHERE client = -1",
    "BEGIN",
    "BEGIN",
    "START TRANSACTION READ ONLY",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "SELECT 1/0",
    "SELEC",
    "",
    "SET work_mem = '7MB'",
    "SET LOCAL work_mem = '8MB'",
    "SHOW work_mem",
    "DECLARE c CURSOR FOR SELECT generate_series(1, 3)",
    "FETCH 2 FROM c",
];

/// What changes the names of statements: as a Query only, since behind one in the same batch pgweir does not
/// know yet what has come of it.
/// (No EXECUTE: of transaction control that was prepared by the protocol, it ends Postgres 15 by SIGSEGV.)
const NAMING: [&str; 3] = ["PREPARE a AS SELECT 'by SQL'", "DEALLOCATE a", "DEALLOCATE ALL"];

/// What a session may have left behind, or found.
const LOOKS: [&str; 8] = [
    "SELECT name, setting FROM pg_settings WHERE context = 'user' AND name <> 'application_name' AND name NOT LIKE 'plpgsql.%' ORDER BY name",
    "SELECT current_user, session_user, current_schemas(false), current_setting('application_name')",
    "SELECT name, statement, from_sql FROM pg_prepared_statements ORDER BY name",
    "SELECT name, is_holdable FROM pg_cursors WHERE name <> '' ORDER BY name",
    "SELECT * FROM pg_listening_channels()",
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    "SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND relkind = 'r'",
    "SHOW transaction_isolation",
];

impl Script {
    /// The script with this seed.
    ///
    /// `only_chatter`: messages in random order and nothing else.
    pub fn of(client: u32, side: Side, seed: u64, only_chatter: bool) -> Script {
        let mut writer =
            Writer { client, side, dice: StdRng::seed_from_u64(seed), steps: vec![], in_transaction: false };
        let start = if only_chatter { vec![] } else { writer.starts() };
        writer.simple(&format!(
            "WITH gone AS (DELETE FROM soak_rows WHERE client = {client}) SELECT 'cleared'"
        ));
        let acts = writer.dice.random_range(3..12);
        for _ in 0..acts {
            if only_chatter { writer.chatter() } else { writer.act() }
        }
        let end = writer.end();
        Script { start, steps: writer.steps, end }
    }
}

struct Writer {
    client: u32,
    side: Side,
    dice: StdRng,
    steps: Vec<Step>,
    in_transaction: bool,
}

impl Writer {
    fn step(&mut self, bytes: Vec<u8>, until: Until) {
        // Whoever keeps a server goes on at once: many clients could not share few servers otherwise.
        let pause = if self.in_transaction { 0.0 } else { self.dice.random_range(0.0..1.0) };
        self.steps.push(Step { bytes, until, pause });
    }

    fn simple(&mut self, sql: &str) {
        self.step(raw::query(sql), Until::Ready(1));
    }

    fn extended(&mut self, messages: &[Vec<u8>]) {
        self.step([messages.concat(), raw::sync()].concat(), Until::Ready(1));
    }

    fn chance(&mut self, of_hundred: u32) -> bool {
        self.dice.random_range(0..100) < of_hundred
    }

    fn act(&mut self) {
        match self.dice.random_range(0..29) {
            19.. => self.intent(),
            0..=2 => self.rows(),
            3 | 4 => self.settings(),
            5 => self.settings_in_a_transaction(),
            6 => self.temporary_table(),
            7 => self.listen(),
            8 => self.advisory_lock(),
            9..=11 => self.prepared(),
            12 => self.sql_prepared(),
            13 => self.cursors(),
            14 => self.copy(),
            15 => self.pipeline(),
            16 => self.portal_in_parts(),
            17 => self.role_or_cancel(),
            _ => {
                let look = LOOKS[self.dice.random_range(0..LOOKS.len())];
                self.simple(look);
            }
        }
    }

    fn rows(&mut self) {
        let (client, k) = (self.client, self.dice.random_range(0..5));
        let transaction = self.chance(40);
        if transaction {
            self.in_transaction = true;
            self.simple("BEGIN");
        }
        self.simple(&format!(
            "INSERT INTO soak_rows VALUES ({client}, {k}, 'v{k}') ON CONFLICT (client, k) DO UPDATE SET v = soak_rows.v || '+'"
        ));
        self.simple(&format!("SELECT k, v FROM soak_rows WHERE client = {client} ORDER BY k"));
        if transaction {
            if self.chance(20) {
                self.simple("SELECT 1/0");
                self.simple("SELECT 1");
            }
            let end = if self.chance(60) { "COMMIT" } else { "ROLLBACK" };
            self.in_transaction = false;
            self.simple(end);
            self.simple(&format!("SELECT k, v FROM soak_rows WHERE client = {client} ORDER BY k"));
        }
    }

    fn setting(&mut self) -> (&'static str, &'static str) {
        let (name, values) = SETTINGS[self.dice.random_range(0..SETTINGS.len())];
        (name, values[self.dice.random_range(0..3)])
    }

    fn settings(&mut self) {
        let (name, value) = self.setting();
        match self.dice.random_range(0..5) {
            0 => self.simple(&format!("RESET {name}")),
            1 => self.simple("RESET ALL"),
            2 if name != "search_path" => {
                self.simple(&format!("SELECT set_config('{name}', {value}::text, false)"))
            }
            _ => self.simple(&format!("SET {name} = {value}")),
        }
        self.simple(&format!("SHOW {name}"));
        self.simple("SELECT timestamptz '2020-01-01 00:00+00', 1.1::float8, current_setting('work_mem')");
    }

    fn settings_in_a_transaction(&mut self) {
        let ((one, value), (two, other)) = (self.setting(), self.setting());
        self.in_transaction = true;
        self.simple("BEGIN");
        let local = if self.chance(50) { "LOCAL " } else { "" };
        self.simple(&format!("SET {local}{one} = {value}"));
        self.simple("SAVEPOINT a");
        self.simple(&format!("SET {two} = {other}"));
        if self.chance(50) {
            self.simple("ROLLBACK TO a");
        }
        self.simple(&format!("SHOW {two}"));
        let end = if self.chance(50) { "COMMIT" } else { "ROLLBACK" };
        self.in_transaction = false;
        self.simple(end);
        self.simple(&format!("SHOW {one}"));
        self.simple(&format!("SHOW {two}"));
    }

    fn temporary_table(&mut self) {
        self.in_transaction = true;
        self.simple("CREATE TEMP TABLE mine (n int)");
        self.simple("INSERT INTO mine SELECT generate_series(1, 5)");
        self.simple("SELECT sum(n) FROM mine");
        if self.chance(90) {
            self.simple("DROP TABLE mine");
        }
        self.in_transaction = false;
        self.simple("SELECT sum(n) FROM mine");
        self.simple("DISCARD TEMP");
    }

    fn listen(&mut self) {
        let channel = format!("soak_{}", self.client);
        self.in_transaction = true;
        self.simple(&format!("LISTEN {channel}"));
        self.simple(&format!("NOTIFY {channel}, 'to myself'"));
        self.simple("SELECT 1");
        self.in_transaction = false;
        self.simple("UNLISTEN *");
        self.simple(&format!("NOTIFY {channel}, 'to nobody'"));
    }

    fn advisory_lock(&mut self) {
        let key = 2 * self.client + u32::from(self.side == Side::Through);
        self.in_transaction = true;
        self.simple(&format!("SELECT pg_try_advisory_lock({key})"));
        self.simple("SELECT 1");
        self.in_transaction = false;
        self.simple(&format!("SELECT pg_advisory_unlock({key})"));
        self.simple(LOOKS[5]);
    }

    fn prepared(&mut self) {
        let name = format!("s{}", self.dice.random_range(0..4));
        let text = TEXTS[self.dice.random_range(0..TEXTS.len())];
        let value = self.client.to_string();
        match self.dice.random_range(0..6) {
            0 => self.extended(&[raw::parse(&name, text)]),
            1 => self.extended(&[raw::parse(&name, text), raw::describe(b'S', &name)]),
            2 => self.extended(&[raw::close(b'S', &name)]),
            3 => self.extended(&[
                raw::parse("", text),
                raw::bind("", "", &[Some(&value)]),
                raw::describe(b'P', ""),
                raw::execute("", 0),
            ]),
            _ => {}
        }
        self.extended(&[raw::bind("", &name, &[Some(&value)]), raw::execute("", 0)]);
    }

    fn sql_prepared(&mut self) {
        self.in_transaction = true;
        self.simple("PREPARE by_sql (int) AS SELECT $1 * 2");
        self.simple("EXECUTE by_sql (21)");
        self.in_transaction = false;
        let end = if self.chance(80) { "DEALLOCATE by_sql" } else { "DEALLOCATE ALL" };
        self.simple(end);
        self.simple("EXECUTE by_sql (21)");
    }

    fn cursors(&mut self) {
        let hold = self.chance(30);
        self.in_transaction = true;
        self.simple("BEGIN");
        let with = if hold { " WITH HOLD" } else { "" };
        self.simple(&format!("DECLARE c CURSOR{with} FOR SELECT generate_series(1, 10)"));
        self.simple("FETCH 3 FROM c");
        self.simple("COMMIT");
        self.simple("FETCH 3 FROM c");
        self.in_transaction = false;
        self.simple("CLOSE c");
    }

    fn copy(&mut self) {
        let client = self.client;
        self.simple(&format!(
            "COPY (SELECT k, v FROM soak_rows WHERE client = {client} ORDER BY k) TO STDOUT"
        ));
        let row = raw::frame(
            b'd',
            format!("{client}\t{}\tcopied\n", 200 + self.dice.random_range(0..3)).as_bytes(),
        );
        let (copy, done) = ("COPY soak_rows FROM STDIN", raw::frame(b'c', b""));
        let fail = raw::frame(b'f', b"changed its mind\0");
        match self.dice.random_range(0..4) {
            0 => {
                self.in_transaction = true;
                self.step(raw::query(copy), Until::Tag(b'G'));
                self.in_transaction = false;
                self.step([row, done].concat(), Until::Ready(1));
            }
            1 => self.step([raw::query(copy), row, done].concat(), Until::Ready(1)),
            2 => self.step([raw::query(copy), row, fail].concat(), Until::Ready(1)),
            _ => self.extended(&[
                raw::parse("", copy),
                raw::bind("", "", &[]),
                raw::execute("", 0),
                [row, done].concat(),
            ]),
        }
    }

    fn pipeline(&mut self) {
        let value = self.client.to_string();
        let run = |text: &str| {
            [raw::parse("", text), raw::bind("", "", &[Some(&value)]), raw::execute("", 0)].concat()
        };
        let mut bytes = vec![];
        let syncs = self.dice.random_range(1..5);
        for _ in 0..syncs {
            for _ in 0..self.dice.random_range(1..6) {
                let text = TEXTS[self.dice.random_range(0..TEXTS.len())];
                bytes.extend(run(text));
            }
            bytes.extend(raw::sync());
        }
        self.step(bytes, Until::Ready(syncs));
    }

    fn portal_in_parts(&mut self) {
        let rows = "SELECT generate_series(1, 7)";
        self.in_transaction = true;
        self.step(
            [raw::parse("", rows), raw::bind("p", "", &[]), raw::execute("p", 3), raw::flush()].concat(),
            Until::Tag(b's'),
        );
        self.step([raw::execute("p", 3), raw::flush()].concat(), Until::Tag(b's'));
        self.in_transaction = false;
        self.extended(&[raw::execute("p", 0)]);
    }

    /// Messages in an order that no driver would send them in. Not one of the acts: now and then one of them
    /// ends Postgres 15 itself, by SIGSEGV, and everybody's work with it.
    fn chatter(&mut self) {
        self.in_transaction = true;
        for _ in 0..self.dice.random_range(1..6) {
            let (mut bytes, mut syncs) = (vec![], 0);
            for _ in 0..self.dice.random_range(1..4) {
                syncs += 1;
                if self.chance(8) {
                    bytes.extend(raw::query(self.one_of(&NAMING)));
                    continue;
                }
                if self.chance(25) {
                    bytes.extend(raw::query(self.one_of(&CHATTER)));
                    continue;
                }
                let mut bound = false;
                for _ in 0..self.dice.random_range(0..9) {
                    bytes.extend(self.message(&mut bound));
                }
                bytes.extend(raw::sync());
            }
            self.step(bytes, Until::Ready(syncs));
        }
        self.in_transaction = false;
        self.simple("ROLLBACK");
    }

    /// `bound`: whether the batch has bound a portal. Without one nothing is executed (a portal of the batch
    /// before, of transaction control, ends Postgres 15), and behind one nothing is flushed (it may be on a
    /// replica, which a write behind it leaves).
    fn message(&mut self, bound: &mut bool) -> Vec<u8> {
        let (name, portal) = (self.one_of(&["", "", "a", "b"]), self.one_of(&["", "", "p"]));
        match self.dice.random_range(0..20) {
            0..=4 => raw::parse(name, self.one_of(&CHATTER)),
            5..=8 => {
                *bound = true;
                raw::bind(portal, name, &[])
            }
            9..=12 if *bound => raw::execute(portal, self.one_of(&[0, 0, 1, 2])),
            13 => raw::describe(b'S', name),
            14 if *bound => raw::describe(b'P', portal),
            15 => raw::close(b'S', name),
            16 => raw::close(b'P', portal),
            17 if !*bound => raw::flush(),
            // Whole, as drivers do it.
            _ => {
                *bound = true;
                let text = self.one_of(&CHATTER);
                [raw::parse(name, text), raw::bind(portal, name, &[]), raw::execute(portal, 0)].concat()
            }
        }
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.dice.random_range(0..of.len())]
    }

    fn role_or_cancel(&mut self) {
        if self.chance(50) {
            self.simple("SET ROLE helper");
            self.simple(LOOKS[1]);
            self.simple("RESET ROLE");
        } else {
            self.step(raw::query("SELECT pg_sleep(30)"), Until::Cancelled);
        }
        self.simple(LOOKS[1]);
    }

    fn end(&mut self) -> End {
        match self.dice.random_range(0..8) {
            0 => End::Abrupt(vec![]),
            1 => End::Abrupt(raw::query("BEGIN; CREATE TEMP TABLE left_open (n int)")),
            2 => End::Abrupt(raw::query("SET work_mem = '9MB'")),
            3 => End::Abrupt(raw::query("SELECT pg_sleep(1)")),
            4 => End::Abrupt([raw::query("COPY soak_rows FROM STDIN"), raw::frame(b'd', b"-1\t")].concat()),
            5 => End::Abrupt([raw::parse("half", TEXTS[0]), raw::bind("", "half", &[Some("1")])].concat()),
            _ => End::Farewell,
        }
    }
}
