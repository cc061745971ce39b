//! The environment's part in a configuration: a variable for every key, and `${VARIABLE}` in values.

use super::keys::{Form, KEYS, Key, SECTIONS, find};
use super::reader::{Place, Warning, nearest};
use std::borrow::Cow;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What all names begin with.
const PREFIX: &str = "PGWEIR_";

/// Keys with a variable of their own rank: it counts when the file says nothing, so that a secret that
/// is left in the environment does not hide the one in the file.
const SECRETS: &[&str] = &["cluster.password", "http.token"];

/// The variable of a key: `pool.lease_wait` is PGWEIR_POOL_LEASE_WAIT. `None`: lists of tables have none.
pub fn variable_of(key: &Key) -> Option<String> {
    let is_plain = !key.path.contains("[]");
    is_plain.then(|| format!("{PREFIX}{}", key.path.replace('.', "_").to_uppercase()))
}

/// One variable that is set, and the key that it is for.
pub(super) struct Variable {
    pub name: String,
    key: &'static Key,
    text: String,
}

/// The variables that are set.
pub(super) fn overlay(environment: &dyn Fn(&str) -> Option<String>) -> Vec<Variable> {
    let plain = KEYS.iter().filter(|key| !SECRETS.contains(&key.path));
    plain
        .filter_map(|key| {
            let name = variable_of(key)?;
            let text = environment(&name).filter(|text| !text.is_empty())?;
            Some(Variable { name, key, text })
        })
        .collect()
}

impl Variable {
    /// Puts its value where the key is, in place of what is written there.
    pub fn put<'t>(&'t self, table: &mut DeTable<'t>, span: Range<usize>) -> Result<(), String> {
        let value = value(&self.text, self.key.form, &span)?;
        let mut at = table;
        let mut parts: Vec<&str> = self.key.path.split('.').collect();
        let last = parts.pop().unwrap_or_default();
        for part in parts {
            let section = at
                .entry(Spanned::new(span.clone(), Cow::Borrowed(part)))
                .or_insert_with(|| Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
            let DeValue::Table(section) = section.get_mut() else {
                return Err(format!("`{part}` is a section, and something else in the file"));
            };
            at = section;
        }
        at.insert(Spanned::new(span.clone(), Cow::Borrowed(last)), Spanned::new(span, value));
        Ok(())
    }
}

/// What a text means as the value of a key: numbers and switches as in TOML, lists also with commas.
fn value<'t>(text: &'t str, form: Form, span: &Range<usize>) -> Result<DeValue<'t>, String> {
    let string = |text: &'t str| DeValue::String(Cow::Borrowed(text.trim()));
    let literal = |text: &'t str| match DeValue::parse(text.trim()) {
        Ok(value) => Ok(moved(value.into_inner(), span)),
        Err(_) => Err(format!("expected {}, found \"{text}\"", form.describe())),
    };
    let is_list = matches!(
        form,
        Form::Addresses
            | Form::Texts
            | Form::Paths
            | Form::Patterns
            | Form::Networks
            | Form::Times
            | Form::Words(_)
            | Form::Nodes
    );
    match form {
        Form::Bool | Form::Count(..) | Form::Share => literal(text),
        _ if is_list && text.trim_start().starts_with('[') => literal(text),
        _ if is_list => {
            let items = text.split(',').filter(|item| !item.trim().is_empty());
            Ok(DeValue::Array(items.map(|item| Spanned::new(span.clone(), string(item))).collect()))
        }
        _ => Ok(DeValue::String(Cow::Borrowed(text))),
    }
}

/// The same value, all of whose parts are at this place.
fn moved<'t>(value: DeValue<'t>, span: &Range<usize>) -> DeValue<'t> {
    let place = |part: Spanned<DeValue<'t>>| Spanned::new(span.clone(), moved(part.into_inner(), span));
    match value {
        DeValue::Array(list) => DeValue::Array(list.into_iter().map(place).collect()),
        DeValue::Table(table) => DeValue::Table(
            table
                .into_iter()
                .map(|(key, part)| (Spanned::new(span.clone(), key.into_inner()), place(part)))
                .collect(),
        ),
        plain => plain,
    }
}

/// A text with variables in it, and what it says with them.
pub(super) struct Filled {
    span: Range<usize>,
    path: String,
    text: Result<String, String>,
}

/// Every text of the file that holds `${NAME}` or `${NAME:-otherwise}`, filled.
pub(super) fn filled(table: &DeTable<'_>, environment: &dyn Fn(&str) -> Option<String>) -> Vec<Filled> {
    let mut found = vec![];
    look_into(table, "", &mut |value, path| {
        if let DeValue::String(text) = value.get_ref()
            && text.contains("${")
        {
            let text = fill(text, environment);
            found.push(Filled { span: value.span(), path: path.to_owned(), text });
        }
    });
    found
}

fn look_into(table: &DeTable<'_>, path: &str, each: &mut dyn FnMut(&Spanned<DeValue<'_>>, &str)) {
    for (key, value) in table {
        let name = key.get_ref();
        look_at(value, &if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }, each);
    }
}

fn look_at(value: &Spanned<DeValue<'_>>, path: &str, each: &mut dyn FnMut(&Spanned<DeValue<'_>>, &str)) {
    match value.get_ref() {
        DeValue::Table(table) => look_into(table, path, each),
        DeValue::Array(list) => list.iter().for_each(|item| look_at(item, &format!("{path}[]"), each)),
        _ => each(value, path),
    }
}

/// `$${` stands for `${`.
fn fill(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}') else {
            return Err("`${` without its `}`; write $${ for itself".into());
        };
        let inside = &rest[at + 2..at + end];
        let (name, otherwise) = match inside.split_once(":-") {
            Some((name, otherwise)) => (name, Some(otherwise)),
            None => (inside, None),
        };
        if name.trim().is_empty() {
            return Err("`${}` names no variable; write $${ for `${` itself".into());
        }
        match (environment(name).filter(|value| !value.is_empty()), otherwise) {
            (Some(value), _) => out.push_str(&value),
            (None, Some(otherwise)) => out.push_str(otherwise),
            (None, None) => return Err(format!("the environment variable {name} is not set")),
        }
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Puts the filled texts where the others are; a number or a switch where the key wants one.
pub(super) fn put_filled<'t>(table: &mut DeTable<'t>, filled: &'t [Filled]) {
    for (_, value) in table.iter_mut() {
        put_into(value, filled);
    }
}

fn put_into<'t>(value: &mut Spanned<DeValue<'t>>, filled: &'t [Filled]) {
    let span = value.span();
    match value.get_mut() {
        DeValue::Table(table) => put_filled(table, filled),
        DeValue::Array(list) => list.iter_mut().for_each(|item| put_into(item, filled)),
        DeValue::String(_) => {
            let Some(Filled { path, text: Ok(text), .. }) = filled.iter().find(|f| f.span == span) else {
                return;
            };
            let form = find(path).map(|key| key.form);
            let literal = matches!(form, Some(Form::Bool | Form::Count(..) | Form::Share))
                .then(|| DeValue::parse(text.trim()).ok())
                .flatten();
            *value.get_mut() = match literal {
                Some(literal) => moved(literal.into_inner(), &span),
                None => DeValue::String(Cow::Borrowed(text)),
            };
        }
        _ => {}
    }
}

impl Filled {
    /// What could not be filled, and where.
    pub fn mistake(&self) -> Option<(Range<usize>, String)> {
        self.text.as_ref().err().map(|message| (self.span.clone(), message.clone()))
    }
}

/// Variables that look like one of a key, and are none.
pub(super) fn unknown(
    variables: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
) -> Vec<Warning> {
    let known: Vec<String> = KEYS.iter().filter_map(variable_of).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    // Others have variables that begin like ours: Kubernetes for a Service of that name, say.
    let sections: Vec<String> =
        SECTIONS.iter().map(|s| format!("{PREFIX}{}_", s.path.replace('.', "_").to_uppercase())).collect();
    let names = variables.filter_map(|(name, _)| name.into_string().ok());
    let strange =
        names.filter(|name| !known.contains(&name.as_str()) && sections.iter().any(|s| name.starts_with(s)));
    strange
        .filter_map(|name| {
            let near = nearest(&name, &known)?;
            let message = format!("no key has this environment variable; did you mean {near}?");
            Some(Warning { place: Place { file: name, line: 0, column: 0 }, message })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::files::parse;
    use super::super::valid::Surroundings;
    use super::super::{Config, Mistake};
    use super::*;
    use std::path::Path;

    fn parsed(text: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let environment = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let around = Surroundings { directory: Path::new("."), environment: &environment, is_exposed: false };
        let said = |mistakes: Vec<Mistake>| mistakes.iter().map(Mistake::to_string).collect();
        parse(text, "f", &around).map(|(config, _)| config).map_err(said)
    }

    #[test]
    fn every_plain_key_has_a_variable_that_is_read() {
        for key in KEYS.iter().filter(|key| !key.path.contains("[]")) {
            let name = variable_of(key).unwrap();
            assert!(name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'), "{name}");
        }
        let config = parsed(
            "cluster.nodes = [\"a\"]\n[pool]\nserver_connections_max = 20",
            &[
                ("PGWEIR_POOL_SERVER_CONNECTIONS_MAX", "7"),
                ("PGWEIR_POOL_MODE", "session"),
                ("PGWEIR_LISTEN_ADDRESS", "0.0.0.0:6432, [::]:6432"),
                ("PGWEIR_ROUTING_SPLIT", "false"),
                ("PGWEIR_CLUSTER_TLS_MODE", "require"),
                ("PGWEIR_TRACES_RATIO", "0.5"),
                ("PGWEIR_CLUSTER_NODES", "db1:5432,db2"),
            ],
        );
        let config = config.unwrap();
        assert_eq!(config.pool.server_connections_max, 7, "the environment comes first");
        assert_eq!(config.listen.addresses.len(), 2);
        assert!(!config.routing.split);
        let nodes: Vec<_> = config.cluster.nodes.iter().map(|n| n.address.as_str()).collect();
        assert_eq!(nodes, ["db1:5432", "db2:5432"]);
        let entry = config.entries.iter().find(|e| e.key == "pool.mode").unwrap();
        assert_eq!(entry.value.as_deref(), Some("\"session\""), "SHOW CONFIG says what is in force");
    }

    #[test]
    fn a_mistake_in_a_variable_names_the_variable() {
        let mistakes = parsed("cluster.nodes = [\"a\"]", &[("PGWEIR_POOL_LEASE_WAIT", "5")]).unwrap_err();
        assert!(
            mistakes[0].starts_with("PGWEIR_POOL_LEASE_WAIT: `lease_wait`: expected a duration"),
            "{mistakes:?}"
        );
        let mistakes = parsed("cluster.nodes = [\"a\"]", &[("PGWEIR_LOG", "loud")]).unwrap_err();
        assert!(mistakes[0].contains("PGWEIR_LOG: \"loud\" is no level"), "{mistakes:?}");
        let mistakes =
            parsed("cluster.nodes = [\"a\"]", &[("PGWEIR_POOL_SERVER_CONNECTIONS_MAX", "many")]).unwrap_err();
        assert!(mistakes[0].starts_with("PGWEIR_POOL_SERVER_CONNECTIONS_MAX: "), "{mistakes:?}");
    }

    #[test]
    fn variables_stand_in_values_of_every_form() {
        let text = "[cluster]\nnodes = [\"${DB}:5432\", { address = \"${REPLICA:-r1}\" }]\npassword = \"a$${b\"\n\
                    [pool]\nserver_connections_max = \"${MAX}\"\n[routing]\nsplit = \"${SPLIT:-false}\"\n\
                    [[user]]\nname = \"u\"\npassword = \"${SECRET}\"";
        let config = parsed(text, &[("DB", "db1"), ("MAX", "9"), ("SECRET", "s")]).unwrap();
        let nodes: Vec<_> = config.cluster.nodes.iter().map(|n| n.address.as_str()).collect();
        assert_eq!(nodes, ["db1:5432", "r1:5432"]);
        assert_eq!(config.cluster.password.unwrap().0, "a${b");
        assert_eq!((config.pool.server_connections_max, config.routing.split), (9, false));
        assert_eq!(config.users[0].password.as_ref().unwrap().0, "s");
        let mistakes = parsed("[cluster]\nnodes = [\"${NOWHERE}\"]", &[]).unwrap_err();
        assert_eq!(mistakes, ["f:2:10: the environment variable NOWHERE is not set"]);
        for text in ["${}", "a${:-b}"] {
            let mistakes = parsed(&format!("[cluster]\nnodes = [\"{text}\"]"), &[]).unwrap_err();
            assert!(mistakes[0].contains("names no variable"), "{mistakes:?}");
        }
        let mistakes = parsed("[cluster]\nnodes = [\"${NO\"]", &[]).unwrap_err();
        assert!(mistakes[0].contains("without its"), "{mistakes:?}");
    }

    #[test]
    fn a_variable_that_is_none_is_noticed() {
        let variables = |names: &[&str]| {
            let pairs: Vec<_> = names.iter().map(|name| ((*name).into(), "x".into())).collect();
            unknown(pairs.into_iter()).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let said = variables(&["PGWEIR_POOL_MODES", "PGWEIR_SERVICE_HOST", "PGWEIR_LOG", "HOME"]);
        assert_eq!(
            said,
            [
                "PGWEIR_POOL_MODES: warning: no key has this environment variable; did you mean PGWEIR_POOL_MODE?"
            ]
        );
    }
}
