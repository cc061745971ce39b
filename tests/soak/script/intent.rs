//! Acts with intent: each works on something that a pooler would like to share and must not.

use super::{Until, Writer};
use crate::raw;
use rand::Rng;

/// What a client may ask for when it logs in.
const STARTS: [(&str, &str); 7] = [
    ("TimeZone", "Asia/Tokyo"),
    ("DateStyle", "German"),
    ("client_encoding", "LATIN1"),
    ("application_name", "started like this"),
    ("options", "-c work_mem=7MB -c soak.started=yes"),
    ("IntervalStyle", "iso_8601"),
    ("search_path", "soak_other, public"),
];

/// Texts whose meaning is fixed by their Parse, each in another way.
const MEANINGS: [&str; 10] = [
    "SELECT extract(epoch FROM timestamptz '2024-01-01 00:00')",
    "SELECT date '01-02-2024', interval '1 day 2 hours'",
    "SELECT E'a\\'b', '{1,null}'::text[]",
    "SELECT which FROM soak_twofold",
    "SELECT length('\u{e4}'), ascii('\u{e4}')",
    "SELECT null = null, money '1234.5'",
    "SELECT soak_says(1)",
    "SELECT current_user, session_user",
    "SELECT xmlserialize(CONTENT xmlparse(CONTENT 'a') AS text)",
    "SELECT timestamptz '2024-07-01 12:00 EST'",
];

/// Settings that a Parse's meaning hangs on, with values.
const OF_MEANINGS: [(&str, [&str; 2]); 8] = [
    ("TimeZone", ["'Asia/Tokyo'", "'America/Lima'"]),
    ("DateStyle", ["'SQL, DMY'", "'ISO, MDY'"]),
    ("IntervalStyle", ["'sql_standard'", "'iso_8601'"]),
    ("standard_conforming_strings", ["off", "on"]),
    ("transform_null_equals", ["on", "off"]),
    ("array_nulls", ["off", "on"]),
    ("search_path", ["soak_other, public", "public, soak_other"]),
    ("client_encoding", ["LATIN1", "UTF8"]),
];

/// What takes settings back.
const RESETS: [&str; 5] =
    ["RESET ALL", "DISCARD ALL", "RESET timezone", "SET datestyle TO DEFAULT", "RESET work_mem"];

/// Statements whose trigger, default, rule, function or view touches the session.
const TOUCHES: [&str; 5] = [
    "INSERT INTO soak_triggered VALUES (1)",
    "INSERT INTO soak_defaults DEFAULT VALUES",
    "SELECT soak_touches('called')",
    "SELECT * FROM soak_touching",
    "DO $$ BEGIN PERFORM set_config('soak.touched', 'done', false); END $$",
];

/// What keeps what it has read under some session's settings: calls of functions, and statements whose trigger or
/// block is kept by its process.
const KEEPERS: [&str; 6] = [
    "SELECT soak_kept()",
    "SELECT soak_kept(), soak_kept_which(), current_user",
    "INSERT INTO soak_stamped VALUES (1) RETURNING at, said",
    "SELECT * FROM soak_keeping",
    "DO $$ BEGIN PERFORM set_config('soak.touched', soak_kept(), false); END $$; SELECT current_setting('soak.touched')",
    "WITH made AS (INSERT INTO soak_stamped VALUES (2) RETURNING at) SELECT at, soak_kept() FROM made",
];

/// Texts whose rows hang on who asks.
const OF_ROLES: [&str; 4] = [
    "SELECT t FROM soak_owned ORDER BY t",
    "SELECT count(*), current_user FROM soak_owned",
    "UPDATE soak_owned SET t = t RETURNING t, current_user",
    "SELECT soak_sees(), soak_sees_as_owner()",
];

/// What all of these need; made once.
pub(crate) const SCHEMA: &str = "
    CREATE SCHEMA IF NOT EXISTS soak_other;
    CREATE TABLE IF NOT EXISTS soak_twofold AS SELECT 'public' AS which;
    CREATE TABLE IF NOT EXISTS soak_other.soak_twofold AS SELECT 'other' AS which;
    CREATE OR REPLACE FUNCTION soak_says(int) RETURNS text LANGUAGE sql STABLE AS $$ SELECT 'public' $$;
    CREATE OR REPLACE FUNCTION soak_other.soak_says(int) RETURNS text LANGUAGE sql STABLE AS $$ SELECT 'other' $$;
    CREATE OR REPLACE FUNCTION soak_touches(what text) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN PERFORM set_config('soak.touched', what, false); RETURN what; END $$;
    CREATE OR REPLACE FUNCTION soak_trigger() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM set_config('soak.touched', 'triggered', false); RETURN NULL; END $$;
    CREATE TABLE IF NOT EXISTS soak_triggered (n int);
    CREATE OR REPLACE TRIGGER touches BEFORE INSERT ON soak_triggered FOR EACH ROW EXECUTE FUNCTION soak_trigger();
    CREATE TABLE IF NOT EXISTS soak_defaults (t text DEFAULT soak_touches('by default'), CHECK (soak_touches('checked') IS NOT NULL));
    CREATE OR REPLACE VIEW soak_touching AS SELECT soak_touches('viewed');
    CREATE OR REPLACE FUNCTION soak_kept() RETURNS text LANGUAGE plpgsql STABLE AS
        $$ DECLARE moment timestamptz := '2024-01-01 00:00'; day date := '01-02-2024'; span interval := '1 day 2 hours'; BEGIN
            RETURN concat_ws('|', extract(epoch FROM moment), extract(month FROM day), span,
                extract(epoch FROM timestamptz '2024-06-01 00:00'), extract(day FROM date '03-04-2024'), money '1234.5',
                '{1,null}'::text[], NULL = NULL); END $$;
    CREATE OR REPLACE FUNCTION soak_kept_which() RETURNS text LANGUAGE plpgsql STABLE AS
        $$ BEGIN RETURN (SELECT which FROM soak_twofold) || soak_says(1); END $$;
    CREATE OR REPLACE VIEW soak_keeping AS SELECT soak_kept() AS kept;
    CREATE TABLE IF NOT EXISTS soak_stamped (n int, at float8, said text);
    CREATE OR REPLACE FUNCTION soak_stamp() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.at := extract(epoch FROM timestamptz '2024-01-01 00:00'); NEW.said := date '01-02-2024';
            RETURN NEW; END $$;
    CREATE OR REPLACE TRIGGER stamps BEFORE INSERT ON soak_stamped FOR EACH ROW EXECUTE FUNCTION soak_stamp();
    CREATE TABLE IF NOT EXISTS soak_owned AS SELECT o::name AS owner, o || ' row' AS t FROM unnest('{app,helper}'::text[]) o;
    ALTER TABLE soak_owned ENABLE ROW LEVEL SECURITY;
    ALTER TABLE soak_owned FORCE ROW LEVEL SECURITY;
    DROP POLICY IF EXISTS own ON soak_owned;
    CREATE POLICY own ON soak_owned USING (owner = current_user);
    GRANT SELECT, UPDATE ON soak_owned TO helper;
    CREATE OR REPLACE FUNCTION soak_sees() RETURNS text LANGUAGE plpgsql STABLE AS
        $$ BEGIN RETURN (SELECT string_agg(t, ',') FROM soak_owned) || current_user; END $$;
    CREATE OR REPLACE FUNCTION soak_sees_as_owner() RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER AS
        $$ BEGIN RETURN (SELECT string_agg(t, ',') FROM soak_owned) || current_user; END $$";

impl Writer {
    /// What the client starts with.
    pub(super) fn starts(&mut self) -> Vec<(&'static str, &'static str)> {
        let count = if self.chance(40) { self.dice.random_range(1..4) } else { 0 };
        let mut starts: Vec<_> = (0..count).map(|_| self.one_of(&STARTS)).collect();
        starts.sort_unstable();
        starts.dedup();
        starts
    }

    pub(super) fn intent(&mut self) {
        match self.dice.random_range(0..12) {
            0 | 1 => self.meaning(),
            8 | 9 => self.keeps(),
            10 => self.asks_as_another(),
            2 => self.placeholders(),
            3 => self.own_tables(),
            4 => self.touches(),
            5 => self.breaks_in_a_batch(),
            6 => self.names_in_a_batch(),
            7 => self.reads_in_a_block(),
            _ => {
                let reset = self.one_of(&RESETS);
                self.simple(reset);
                self.look_at_settings();
            }
        }
    }

    fn look_at_settings(&mut self) {
        self.simple(
            "SELECT current_setting('timezone'), current_setting('datestyle'), current_setting('work_mem'), \
             current_setting('client_encoding'), current_setting('intervalstyle'), current_setting('search_path')",
        );
    }

    fn run(&mut self, name: &str) {
        self.extended(&[raw::bind("", name, &[]), raw::describe(b'P', ""), raw::execute("", 0)]);
    }

    /// Prepared under some settings, executed under others.
    fn meaning(&mut self) {
        let name = format!("m{}", self.dice.random_range(0..3));
        let (text, (setting, values)) = (self.one_of(&MEANINGS), self.one_of(&OF_MEANINGS));
        let value = self.one_of(&values);
        let scope = self.dice.random_range(0..3);
        if scope > 0 {
            self.in_transaction = true;
            self.simple("BEGIN");
        }
        let (local, end) = if scope == 2 { ("LOCAL ", "COMMIT") } else { ("", "ROLLBACK") };
        self.simple(&format!("SET {local}{setting} = {value}"));
        self.extended(&[raw::close(b'S', &name), raw::parse(&name, text)]);
        self.run(&name);
        if scope > 0 {
            self.in_transaction = false;
            self.simple(end);
        }
        self.run(&name);
        if self.chance(50) {
            // On the primary, where others have made servers read their statements anew.
            self.in_transaction = true;
            self.simple("BEGIN");
            self.run(&name);
            self.in_transaction = false;
            self.simple("COMMIT");
        }
        if self.chance(50) {
            self.simple(text);
            self.simple(&format!("RESET {setting}"));
            self.run(&name);
        }
    }

    /// Run under settings of its own, by a function that other sessions run under theirs. What the session itself
    /// has kept of earlier settings it throws away: that is its own.
    fn keeps(&mut self) {
        let (setting, values) = self.one_of(&OF_MEANINGS);
        let value = self.one_of(&values);
        let keeper = self.one_of(&KEEPERS);
        let scope = self.dice.random_range(0..3);
        if scope > 0 {
            self.in_transaction = true;
            self.simple("BEGIN");
        }
        let local = if scope == 2 { "LOCAL " } else { "" };
        self.simple(&format!("SET {local}{setting} = {value}"));
        self.simple("DISCARD PLANS");
        self.simple(keeper);
        if scope > 0 {
            self.in_transaction = false;
            let end = self.one_of(&["COMMIT", "ROLLBACK"]);
            self.simple(end);
        }
        self.simple("DISCARD PLANS");
        self.simple(keeper);
        if self.chance(60) {
            self.simple(&format!("RESET {setting}"));
            self.simple("DISCARD PLANS");
            self.simple(keeper);
        }
    }

    /// Prepared as one role, executed as another.
    fn asks_as_another(&mut self) {
        let name = format!("r{}", self.dice.random_range(0..2));
        let text = self.one_of(&OF_ROLES);
        let (first, then) = if self.chance(50) { ("helper", "NONE") } else { ("NONE", "helper") };
        let local = if self.chance(30) { "LOCAL " } else { "" };
        if !local.is_empty() {
            self.in_transaction = true;
            self.simple("BEGIN");
        }
        self.simple(&format!("SET {local}ROLE {first}"));
        self.extended(&[raw::close(b'S', &name), raw::parse(&name, text)]);
        self.run(&name);
        if std::mem::take(&mut self.in_transaction) {
            self.simple("COMMIT");
        }
        self.simple(&format!("SET ROLE {then}"));
        self.run(&name);
        self.simple(text);
        self.simple("RESET ROLE");
        self.run(&name);
    }

    fn placeholders(&mut self) {
        let name = self.one_of(&["soak.one", "soak.two", "soak.three"]);
        let look = format!("SELECT current_setting('{name}', true), current_setting('{name}', true) IS NULL");
        let (name, client) = (name.to_owned(), self.client.to_string());
        match self.dice.random_range(0..5) {
            0 => self.simple(&format!("SET {name} = '{client}'")),
            1 => self.simple(&format!("SELECT set_config('{name}', '{client}', false)")),
            2 => self.extended(&[
                raw::parse("", &format!("SELECT set_config('{name}', $1, false)")),
                raw::bind("", "", &[Some(&client)]),
                raw::execute("", 0),
            ]),
            3 => {
                self.in_transaction = true;
                self.simple("BEGIN");
                self.extended(&[
                    raw::parse("", &format!("SELECT set_config('{name}', $1, true)")),
                    raw::bind("", "", &[Some(&client)]),
                    raw::execute("", 0),
                ]);
                self.simple(&look);
                self.in_transaction = false;
                self.simple("COMMIT");
            }
            _ => {}
        }
        self.simple(&look);
    }

    /// What one has made oneself is there before anybody else knows of it.
    fn own_tables(&mut self) {
        let schema = format!("soak_{}", self.client);
        self.extended(&[raw::close(b'S', "t"), raw::parse("t", MEANINGS[3])]);
        self.in_transaction = true;
        self.simple("BEGIN");
        self.simple(&format!("CREATE SCHEMA {schema}"));
        self.simple(&format!("CREATE TABLE {schema}.soak_twofold AS SELECT '{schema}' AS which"));
        self.simple(&format!("SET LOCAL search_path = {schema}, public"));
        self.extended(&[raw::close(b'S', "u"), raw::parse("u", MEANINGS[3])]);
        self.run("u");
        self.run("t");
        self.in_transaction = false;
        self.simple("ROLLBACK");
        self.run("u");
        self.run("t");
    }

    fn touches(&mut self) {
        let touch = self.one_of(&TOUCHES);
        self.in_transaction = self.chance(30);
        if self.in_transaction {
            self.simple("BEGIN");
        }
        self.simple(touch);
        self.simple("SELECT current_setting('soak.touched', true)");
        if std::mem::take(&mut self.in_transaction) {
            let end = self.one_of(&["COMMIT", "ROLLBACK"]);
            self.simple(end);
        }
        self.simple("SELECT current_setting('soak.touched', true)");
    }

    /// An error is told before the Sync.
    fn breaks_in_a_batch(&mut self) {
        let wrong = self.one_of(&["selekt", "SELECT 1/0", "INSERT INTO soak_rows VALUES (NULL, 1)"]);
        self.in_transaction = true;
        let run = [raw::parse("", wrong), raw::bind("", "", &[]), raw::execute("", 0)].concat();
        self.step(run, Until::Tag(b'E'));
        self.in_transaction = false;
        self.extended(&[raw::parse("", "SELECT 1")]);
        self.simple("SELECT 'after'");
    }

    /// What takes names away counts from where it stands.
    fn names_in_a_batch(&mut self) {
        let text = "SELECT 'by two names'";
        let all =
            self.one_of(&["deallocate all", "discard all", "deallocate n1", "prepare n2 as select 'sql'"]);
        self.extended(&[raw::close(b'S', "n1"), raw::close(b'S', "n2"), raw::parse("n1", text)]);
        let run = |name| [raw::bind("", name, &[]), raw::execute("", 0)].concat();
        self.extended(&[raw::parse("", all), run(""), raw::parse("n2", text), run("n2")]);
        self.run("n2");
        self.run("n1");
        self.simple("DEALLOCATE ALL");
    }

    /// A READ ONLY block shows one node, one clock and its own cursors.
    fn reads_in_a_block(&mut self) {
        let client = self.client;
        self.in_transaction = true;
        self.simple("BEGIN READ ONLY");
        self.simple(&format!("SELECT count(*) FROM soak_rows WHERE client = {client}"));
        match self.dice.random_range(0..3) {
            0 => {
                self.simple("DECLARE c CURSOR FOR SELECT generate_series(1, 4)");
                self.simple("FETCH 2 FROM c");
                self.simple("SHOW work_mem");
                self.simple("FETCH 2 FROM c");
            }
            1 => {
                self.simple("SET LOCAL work_mem = '11MB'");
                self.simple("SHOW work_mem");
                self.simple("SAVEPOINT s");
                self.simple("SELECT 1/0");
                self.simple("ROLLBACK TO s");
                self.simple("SHOW work_mem");
            }
            _ => {
                self.simple("INSERT INTO soak_rows VALUES (-7, 1, 'never')");
                self.simple("SELECT 1");
            }
        }
        self.in_transaction = false;
        self.simple("COMMIT");
    }
}
