//! What may be asked in the console.

use super::Role;
use super::tokens::{self, Token};
use crate::order::Leave;
use crate::wire::{Refusal, sqlstate};
use std::fmt;

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// SHOW something.
    Show(Show),
    /// Where would this go?
    Route {
        /// The statement.
        sql: String,
        /// In which database; `None`: the only one that is known.
        database: Option<String>,
        /// As which user.
        user: Option<String>,
    },
    /// Lend no server (of one database) until RESUME; answered when all are back.
    Pause(Option<String>),
    /// Lend again.
    Resume(Option<String>),
    /// Read the configuration again.
    Reload,
    /// Replace server connections (of one database) as they come back.
    Reconnect(Option<String>),
    /// End all clients of a database.
    Kill(String),
    /// End one client, by its process id.
    KillClient(i32),
    /// Send no more reads to a node.
    Drain(String),
    /// Send reads to it again.
    Undrain(String),
    /// Open the servers of all pools (of one database) that may be idle.
    Warm(Option<String>),
    /// Leave.
    Shutdown(Leave),
    /// Drivers say such things of their own accord (SET, BEGIN…): nothing happens, this is the tag.
    Nothing(&'static str),
}

impl fmt::Display for Command {
    /// As it would be typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |f: &mut fmt::Formatter<'_>, word: &str, name: &Option<String>| match name {
            Some(name) => write!(f, "{word} {}", shown(name)),
            None => f.write_str(word),
        };
        match self {
            Command::Show(show) => write!(f, "SHOW {}", show.as_str()),
            Command::Route { database, .. } => named(f, "ROUTE … ON", database),
            Command::Pause(database) => named(f, "PAUSE", database),
            Command::Resume(database) => named(f, "RESUME", database),
            Command::Reload => f.write_str("RELOAD"),
            Command::Reconnect(database) => named(f, "RECONNECT", database),
            Command::Kill(database) => write!(f, "KILL {}", shown(database)),
            Command::KillClient(process) => write!(f, "KILL_CLIENT {process}"),
            Command::Drain(node) => write!(f, "DRAIN {}", shown(node)),
            Command::Undrain(node) => write!(f, "UNDRAIN {}", shown(node)),
            Command::Warm(database) => named(f, "WARM", database),
            Command::Shutdown(how) => write!(f, "SHUTDOWN, {}", how.as_str()),
            Command::Nothing(tag) => f.write_str(tag),
        }
    }
}

impl Command {
    /// Who may give it.
    pub fn needs(&self) -> Role {
        match self {
            Command::Show(_) | Command::Route { .. } | Command::Nothing(_) => Role::Stats,
            _ => Role::Admin,
        }
    }
}

/// Declares what SHOW shows: variant = word: sentence.
macro_rules! shows {
    ($($variant:ident = $word:literal : $sentence:literal,)*) => {
        /// What SHOW shows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Show { $(#[doc = $sentence] $variant,)* }

        impl Show {
            /// All, in the order of SHOW HELP.
            pub const ALL: &'static [Show] = &[$(Show::$variant,)*];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Show::$variant => $word,)* }
            }

            /// One sentence.
            pub const fn explain(self) -> &'static str {
                match self { $(Show::$variant => $sentence,)* }
            }
        }
    };
}

shows! {
    Nodes = "NODES": "The nodes with role, lag and load.",
    Pools = "POOLS": "The pools, summed over the nodes as PgBouncer has them.",
    NodePools = "NODE_POOLS": "The pools of each node.",
    Clients = "CLIENTS": "The clients.",
    Servers = "SERVERS": "The server connections.",
    Stats = "STATS": "Totals and averages of each database.",
    StatsTotals = "STATS_TOTALS": "Totals of each database.",
    StatsAverages = "STATS_AVERAGES": "Averages per second of each database over the last stats period.",
    Totals = "TOTALS": "Totals of everything.",
    Databases = "DATABASES": "The databases that are in use.",
    Users = "USERS": "The users that are configured or in use.",
    Config = "CONFIG": "Every key with its value and default.",
    Sources = "SOURCES": "Where nodes are found, and which.",
    Siblings = "SIBLINGS": "The other pgweirs of this cluster, as the primary shows them.",
    Lists = "LISTS": "How many there are of what.",
    State = "STATE": "What pgweir as a whole is doing.",
    Version = "VERSION": "The version.",
    Routes = "ROUTES": "Statements by where they ran and why.",
    Pins = "PINS": "Clients that keep their server, and why.",
    Cache = "CACHE": "The cache of classifications.",
    Rules = "RULES": "The routing rules in order.",
    Events = "EVENTS": "What happened lately.",
    Help = "HELP": "This list.",
}

/// Everything but SHOW: as it is written, and what it does.
pub const COMMANDS: &[(&str, &str)] = &[
    ("ROUTE 'sql' [ON database] [AS user]", "Where the statement would go, and why; nothing is run."),
    ("PAUSE [database]", "Lends no server until RESUME; answered when all are back."),
    ("RESUME [database]", "Lends servers again."),
    ("RELOAD", "Reads the configuration again and says what changed."),
    ("RECONNECT [database]", "Replaces server connections as they come back."),
    ("KILL database", "Ends all clients of a database."),
    ("KILL_CLIENT id", "Ends one client, by its id in SHOW CLIENTS."),
    ("DRAIN node", "Sends no more reads to a node; what runs there may end."),
    ("UNDRAIN node", "Sends reads to it again."),
    ("WARM [database]", "Opens server connections before they are needed."),
    (
        "SHUTDOWN [WAIT_FOR_SERVERS | WAIT_FOR_CLIENTS | IMMEDIATE]",
        "Leaves: after transactions, after clients, now.",
    ),
];

/// Reads a text: its commands in order.
///
/// # Errors
/// 42601, naming what is not understood.
pub fn parse(text: &str) -> Result<Vec<Command>, Refusal> {
    tokens::statements(text)?.iter().map(|tokens| command(tokens)).collect()
}

fn command(tokens: &[Token]) -> Result<Command, Refusal> {
    let [first, rest @ ..] = tokens else { return Err(unknown("")) };
    let word = match first {
        Token::Word(word) => word.to_ascii_uppercase(),
        Token::Quoted(text) => return Err(unknown(text)),
    };
    let optional = |make: fn(Option<String>) -> Command| match rest {
        [] => Ok(make(None)),
        [one] => Ok(make(Some(one.text().to_owned()))),
        _ => Err(too_many(&word, rest)),
    };
    let required = |what: &str, make: &dyn Fn(String) -> Command| match rest {
        [one] => Ok(make(one.text().to_owned())),
        [] => Err(Refusal::new(sqlstate::SYNTAX_ERROR, format!("{word} needs a {what}"))),
        _ => Err(too_many(&word, rest)),
    };
    match word.as_str() {
        "SHOW" => show(rest),
        "HELP" => Ok(Command::Show(Show::Help)),
        "ROUTE" => route(rest),
        "PAUSE" => optional(Command::Pause),
        "RESUME" => optional(Command::Resume),
        "RECONNECT" => optional(Command::Reconnect),
        "WARM" => optional(Command::Warm),
        "RELOAD" if rest.is_empty() => Ok(Command::Reload),
        "RELOAD" => Err(too_many(&word, rest)),
        "KILL" => required("database", &Command::Kill),
        "KILL_CLIENT" => match rest {
            [id] => id.text().parse().map(Command::KillClient).map_err(|_| {
                Refusal::new(sqlstate::INVALID_PARAMETER_VALUE, "KILL_CLIENT needs an id out of SHOW CLIENTS")
            }),
            _ => Err(Refusal::new(sqlstate::SYNTAX_ERROR, "KILL_CLIENT needs one id out of SHOW CLIENTS")),
        },
        "DRAIN" => required("node", &Command::Drain),
        "UNDRAIN" => required("node", &Command::Undrain),
        "SHUTDOWN" => shutdown(rest),
        "SET" => set(rest, Command::Nothing("SET")),
        "RESET" => set(rest, Command::Nothing("RESET")),
        "DISCARD" => Ok(Command::Nothing("DISCARD ALL")),
        "DEALLOCATE" => Ok(Command::Nothing("DEALLOCATE ALL")),
        "BEGIN" | "START" => Ok(Command::Nothing("BEGIN")),
        "COMMIT" | "END" => Ok(Command::Nothing("COMMIT")),
        "ROLLBACK" | "ABORT" => Ok(Command::Nothing("ROLLBACK")),
        _ => Err(unknown(&word)),
    }
}

fn show(rest: &[Token]) -> Result<Command, Refusal> {
    let [what] = rest else {
        return match rest {
            [] => Ok(Command::Show(Show::Help)),
            _ => Err(too_many("SHOW", rest)),
        };
    };
    let found = Show::ALL.iter().find(|s| what.is(s.as_str()));
    found.copied().map(Command::Show).ok_or_else(|| {
        let words: Vec<_> = Show::ALL.iter().map(|s| s.as_str()).collect();
        let near = crate::config::reader::nearest(&what.text().to_ascii_uppercase(), &words);
        let refusal = Refusal::new(
            sqlstate::SYNTAX_ERROR,
            format!("there is no SHOW {}", shown(what.text()).to_ascii_uppercase()),
        );
        match near {
            Some(near) => refusal.with_hint(format!("Perhaps you mean SHOW {near}.")),
            None => refusal.with_hint("SHOW HELP lists what there is."),
        }
    })
}

fn route(rest: &[Token]) -> Result<Command, Refusal> {
    let [Token::Quoted(sql), options @ ..] = rest else {
        return Err(Refusal::new(sqlstate::SYNTAX_ERROR, "ROUTE needs a statement in quotes")
            .with_hint("ROUTE 'SELECT * FROM orders' ON shop AS app"));
    };
    let (mut database, mut user) = (None, None);
    for pair in options.chunks(2) {
        match pair {
            [on, value] if on.is("ON") => database = Some(value.text().to_owned()),
            [as_, value] if as_.is("AS") => user = Some(value.text().to_owned()),
            _ => return Err(too_many("ROUTE", options)),
        }
    }
    Ok(Command::Route { sql: sql.clone(), database, user })
}

/// Settings that a driver may make of its own accord in any session, and that mean nothing here.
const SESSION_SETTINGS: &[&str] = &[
    "all",
    "application_name",
    "bytea_output",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "lock_timeout",
    "names",
    "search_path",
    "standard_conforming_strings",
    "statement_timeout",
    "time",
    "timezone",
    "transaction",
];

/// `SET` of a driver is passed over; who wants to change pgweir by it must hear that it does not.
fn set(rest: &[Token], nothing: Command) -> Result<Command, Refusal> {
    let scope = rest.first().is_some_and(|t| t.is("SESSION") || t.is("LOCAL"));
    // SET SESSION CHARACTERISTICS AS TRANSACTION …
    let name = rest.get(usize::from(scope)).filter(|t| !t.is("CHARACTERISTICS"));
    let Some(name) = name.map(|token| token.text()) else { return Ok(nothing) };
    // The reader of words may have left `name=value` in one piece.
    let name = name.split('=').next().unwrap_or_default().to_ascii_lowercase();
    if SESSION_SETTINGS.contains(&name.as_str()) {
        return Ok(nothing);
    }
    let refusal =
        Refusal::new(sqlstate::INVALID_PARAMETER_VALUE, format!("\"{}\" cannot be set here", shown(&name)));
    let sections = crate::config::keys::KEYS.iter().filter(|key| !key.path.contains("[]"));
    let key = sections
        .map(|key| key.path)
        .find(|path| *path == name || path.rsplit_once('.').is_some_and(|(_, last)| last == name));
    Err(match key {
        Some(key) => refusal.with_hint(format!("Change {key} in the configuration file, then RELOAD.")),
        None => refusal.with_hint("Settings are made in the configuration file; SHOW CONFIG lists them."),
    })
}

fn shutdown(rest: &[Token]) -> Result<Command, Refusal> {
    let leave = match rest {
        [] => Leave::AfterTransactions,
        [how] if how.is("WAIT_FOR_SERVERS") => Leave::AfterTransactions,
        [how] if how.is("WAIT_FOR_CLIENTS") => Leave::AfterClients,
        [how] if how.is("IMMEDIATE") => Leave::AtOnce,
        _ => return Err(too_many("SHUTDOWN", rest)),
    };
    Ok(Command::Shutdown(leave))
}

fn unknown(word: &str) -> Refusal {
    Refusal::new(sqlstate::SYNTAX_ERROR, format!("there is no command {}", shown(word)))
        .with_hint("This is the console of pgweir. SHOW HELP lists its commands.")
}

fn too_many(command: &str, rest: &[Token]) -> Refusal {
    let last = rest.last().map_or("", Token::text);
    Refusal::new(sqlstate::SYNTAX_ERROR, format!("{command} does not understand \"{}\"", shown(last)))
        .with_hint("SHOW HELP lists the commands.")
}

/// Enough of a word to be recognised by.
fn shown(word: &str) -> String {
    word.chars().take(40).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Command {
        let commands = parse(text).unwrap();
        assert_eq!(commands.len(), 1, "{text}");
        commands[0].clone()
    }

    #[test]
    fn commands_are_read_whatever_their_case_with_quotes_and_comments() {
        assert_eq!(one("show pools;"), Command::Show(Show::Pools));
        assert_eq!(one("/* x */ Show \t STATS -- y"), Command::Show(Show::Stats));
        assert_eq!(one("PAUSE"), Command::Pause(None));
        assert_eq!(one("pause \"My DB\""), Command::Pause(Some("My DB".into())));
        assert_eq!(one("DRAIN 10.0.0.1:5433"), Command::Drain("10.0.0.1:5433".into()));
        assert_eq!(one("drain '[::1]:5433'"), Command::Drain("[::1]:5433".into()));
        assert_eq!(one("KILL_CLIENT 42"), Command::KillClient(42));
        assert_eq!(one("SHUTDOWN wait_for_clients"), Command::Shutdown(Leave::AfterClients));
        assert_eq!(
            one("route 'select ''x''' on shop as app"),
            Command::Route {
                sql: "select 'x'".into(),
                database: Some("shop".into()),
                user: Some("app".into())
            }
        );
        assert_eq!(one("SET application_name = 'x'"), Command::Nothing("SET"));
        assert_eq!(one("set session characteristics as transaction read only"), Command::Nothing("SET"));
        assert_eq!(one("RESET ALL"), Command::Nothing("RESET"));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_advice() {
        for (text, part) in [
            ("SHOW POLS", "there is no SHOW POLS"),
            ("SELECT 1", "there is no command SELECT"),
            ("'SHOW'", "there is no command"),
            ("KILL", "KILL needs a database"),
            ("KILL a b", "KILL does not understand \"b\""),
            ("DRAIN", "DRAIN needs a node"),
            ("RELOAD now", "RELOAD does not understand \"now\""),
            ("ROUTE select 1", "needs a statement in quotes"),
            ("SHUTDOWN maybe", "does not understand \"maybe\""),
            ("KILL_CLIENT x", "needs an id"),
            ("SET pool_mode = 'session'", "\"pool_mode\" cannot be set here"),
            ("SET pool_mode='session'", "\"pool_mode\" cannot be set here"),
            ("SET lease_wait = '1s'", "\"lease_wait\" cannot be set here"),
        ] {
            let refusal = parse(text).unwrap_err();
            assert!(refusal.message.contains(part), "{text}: {refusal}");
        }
        assert_eq!(parse("SHOW POLS").unwrap_err().hint.unwrap(), "Perhaps you mean SHOW POOLS.");
        let hint = parse("SET lease_wait = '1s'").unwrap_err().hint.unwrap();
        assert_eq!(hint, "Change pool.lease_wait in the configuration file, then RELOAD.");
    }

    #[test]
    fn a_command_is_logged_as_it_would_be_typed() {
        assert_eq!(one("pause shop").to_string(), "PAUSE shop");
        assert_eq!(one("reload").to_string(), "RELOAD");
        assert_eq!(one("SHUTDOWN immediate").to_string(), "SHUTDOWN, at once");
    }

    #[test]
    fn every_command_is_in_the_documentation() {
        let page = include_str!("../../../docs/console.md").replace("\\|", "|");
        for show in Show::ALL {
            assert!(page.contains(&format!("`SHOW {}`", show.as_str())), "{}", show.as_str());
        }
        for (command, _) in COMMANDS {
            let word = command.split(' ').next().unwrap();
            assert!(page.contains(&format!("`{word}")), "{command}");
        }
    }

    #[test]
    fn looking_is_for_everybody_and_doing_is_for_admins() {
        for text in ["SHOW CLIENTS", "ROUTE 'x'", "BEGIN"] {
            assert_eq!(one(text).needs(), Role::Stats, "{text}");
        }
        for text in [
            "PAUSE",
            "RESUME",
            "RELOAD",
            "RECONNECT",
            "KILL d",
            "KILL_CLIENT 1",
            "DRAIN a",
            "UNDRAIN a",
            "WARM",
            "SHUTDOWN",
        ] {
            assert_eq!(one(text).needs(), Role::Admin, "{text}");
        }
    }
}
