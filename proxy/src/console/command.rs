//! What may be asked in the console.

use super::Role;
use super::tokens::{self, Token};
use crate::order::Leave;
use crate::wire::{Refusal, sqlstate};

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
        "SET" => Ok(Command::Nothing("SET")),
        "RESET" => Ok(Command::Nothing("RESET")),
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
        ] {
            let refusal = parse(text).unwrap_err();
            assert!(refusal.message.contains(part), "{text}: {refusal}");
        }
        assert_eq!(parse("SHOW POLS").unwrap_err().hint.unwrap(), "Perhaps you mean SHOW POOLS.");
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
