//! The users that the auth_file lists.
//!
//! <https://www.pgbouncer.org/config.html#authentication-file-format>

use super::ini::{self, Ini};
use super::{Files, Made};
use crate::command::loads;
use crate::config::Config;
use router_rules::cut_name;
use std::path::Path;
use toml::{Table, Value};

/// Who is listed, and what PgBouncer makes of it.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Names and passwords, each name once.
    pub users: Vec<(String, String)>,
    /// Those who get in nowhere.
    pub refused: Vec<String>,
    /// How much of the file is known.
    pub file: File,
    /// PgBouncer asks the cluster for those who are not listed.
    pub looks_up: bool,
}

/// What became of the auth_file.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum File {
    /// None is named.
    #[default]
    None,
    /// It cannot be read.
    Unreadable,
    /// It is read.
    Read,
}

impl Listed {
    /// Reads the file that the ini names, and tells what is left out of it.
    pub fn of(ini: &Ini, made: &mut Made, read: &Files<'_>) -> Self {
        let of_database = |(_, value): &(String, String)| {
            ini::connection_string(value).iter().any(|(key, value)| key == "auth_user" && !value.is_empty())
        };
        let mut listed = Self {
            looks_up: ini.get("pgbouncer", "auth_user").is_some_and(|user| !user.is_empty())
                || ini.section("databases").any(of_database),
            ..Self::default()
        };
        let Some(path) = ini.get("pgbouncer", "auth_file").filter(|path| !path.is_empty()) else {
            if !listed.looks_up {
                made.note("neither auth_file nor auth_user is set: PgBouncer would know no user; here users log in as they do on Postgres");
            }
            return listed;
        };
        match read(Path::new(path)) {
            Err(message) => {
                made.note(format!("auth_file: {message}: nobody gets in"));
                listed.file = File::Unreadable;
            }
            Ok(text) => {
                listed.file = File::Read;
                listed.add(&text, made);
                listed.leave_out(ini, made);
            }
        }
        listed
    }

    /// The lines. Of a name that is there twice the last line counts, as there.
    fn add(&mut self, text: &str, made: &mut Made) {
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.trim_start().starts_with(';') {
                continue;
            }
            let Some((name, password)) = ini::userlist_line(line) else {
                made.note(format!("line {} of the auth_file: expected \"name\" \"password\"", number + 1));
                continue;
            };
            let same = |(known, _): &(String, String)| cut_name(known) == cut_name(&name);
            if let Some(place) = self.users.iter().position(same) {
                made.note(format!("user {name}: listed twice in the auth_file; the last line counts"));
                self.users.remove(place);
            }
            self.users.push((name, password));
        }
    }

    /// Whom PgBouncer refuses, and whom `check` would.
    fn leave_out(&mut self, ini: &Ini, made: &mut Made) {
        // Where no password is asked for, an empty one is none that is wrong.
        let asks = !matches!(ini.get("pgbouncer", "auth_type"), Some("trust" | "cert"));
        for (name, password) in std::mem::take(&mut self.users) {
            let wrong = match password.is_empty() {
                true if asks => Some("its password is empty, which PgBouncer refuses".to_owned()),
                _ => refused_by_check(&name, &password),
            };
            match wrong {
                None => self.users.push((name, password)),
                Some(why) => {
                    made.note(format!(
                        "user {name} of the auth_file: {why}: a rule rejects who comes by that name"
                    ));
                    self.refused.push(name);
                }
            }
        }
        self.refused.retain(|name| !name.is_empty());
        for (name, _) in ini.section("users") {
            let is_known = self.users.iter().any(|(known, _)| known == name) || self.refused.contains(name);
            if !is_known && !self.looks_up {
                made.note(format!(
                    "user {name}: the auth_file does not list it: a rule rejects who comes by that name"
                ));
                self.refused.push(name.clone());
            }
        }
    }

    /// Nobody is known by whom PgBouncer would let in.
    pub fn lets_nobody_in(&self) -> bool {
        match self.file {
            File::Unreadable => true,
            File::Read => self.users.is_empty() && !self.looks_up,
            File::None => false,
        }
    }

    /// What is stored of somebody is md5, or may be.
    pub fn has_md5(&self) -> bool {
        self.looks_up || self.users.iter().any(|(_, password)| password.starts_with("md5"))
    }

    /// A `[[user]]` each.
    pub fn tables(&self) -> Vec<Table> {
        self.users.iter().map(|(name, password)| table(name, password)).collect()
    }
}

fn table(name: &str, password: &str) -> Table {
    let mut user = Table::from_iter([("name".to_owned(), as_it_is(name))]);
    if !password.is_empty() {
        user.insert("password".into(), as_it_is(password));
    }
    user
}

/// A text in which `${` stands for itself.
pub(super) fn as_it_is(text: &str) -> Value {
    text.replace("${", "$${").into()
}

fn refused_by_check(name: &str, password: &str) -> Option<String> {
    let mut alone = Table::new();
    super::put(&mut alone, "cluster.nodes", vec!["127.0.0.1:5432".to_owned()]);
    alone.insert("user".into(), Value::Array(vec![table(name, password).into()]));
    match Config::parse(&toml::to_string(&alone).unwrap_or_default(), "") {
        Ok((config, _)) if loads::unusable(&config).is_empty() => None,
        Ok(_) => Some("its stored password is torn, or takes seconds at each log-in".into()),
        Err(mistakes) => Some(mistakes.first().map_or_else(String::new, |mistake| mistake.message.clone())),
    }
}
