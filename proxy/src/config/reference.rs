//! The table of keys, printed: as a page, as a commented file, as a JSON schema.

use super::keys::{Form, KEYS, Key, SECTIONS, Section};
use serde_json::{Map, Value, json};
use std::fmt::Write;

fn keys_of(section: &Section) -> impl Iterator<Item = &'static Key> {
    let path = section.path;
    KEYS.iter().filter(move |key| key.path.rsplit_once('.').is_some_and(|(s, _)| s == path))
}

fn name_of(key: &Key) -> &'static str {
    key.path.rsplit_once('.').map_or(key.path, |(_, name)| name)
}

/// How the section's head is written in TOML.
fn head(section: &Section) -> String {
    match section.path.strip_suffix("[]") {
        Some(path) => format!("[[{path}]]"),
        None => format!("[{}]", section.path),
    }
}

/// The reference page.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Configuration\n\n\
         One TOML file. Only `cluster.nodes` must be there. Unknown keys are refused; `pgweir check` names every \
         mistake at once. Durations carry their unit (`\"5s\"`, `\"200ms\"`, `\"1h 30min\"`), sizes too \
         (`\"64kB\"`, `\"16MiB\"`, both binary). Relative paths start at the file's directory.\n\n\
         Every key outside of lists has an environment variable, which comes before the file: `PGWEIR_` and the \
         key's path in capitals, listed [below](#environment-variables). In the file `${VARIABLE}` in a value stands for \
         the variable's text, `${VARIABLE:-otherwise}` has a default, `$${` is itself. `pgweir config --effective` \
         prints what comes of it.\n\n\
         *live*: a reload (SIGHUP, the console's `RELOAD`, or a change of the file) puts it in force, without losing \
         a connection. *restart*: a reload says that it has no effect until pgweir is started again.\n\n\
         This page, `deploy/config/pgweir.toml` and `deploy/config/pgweir.schema.json` are printed by \
         `pgweir reference`.\n",
    );
    for section in SECTIONS {
        let title =
            if section.path == "cluster.nodes[]" { "cluster.nodes as tables".into() } else { head(section) };
        let _ = write!(
            out,
            "\n## `{title}`\n\n{}\n\n| key | type | default | | |\n|---|---|---|---|---|\n",
            section.about
        );
        for key in keys_of(section) {
            let default = key.default.map_or("–".into(), |d| format!("`{d}`"));
            let form = key.form.describe().replace('|', "\\|");
            let _ = writeln!(
                out,
                "| `{}` | {form} | {default} | {} | {} |",
                name_of(key),
                key.live.as_str(),
                key.why
            );
        }
    }
    out.push_str(
        "\n## Environment variables\n\nA variable that is set comes before the file; those of the two secrets count only \
         where the file has neither the key nor its `…_file`. Lists are written with commas or as in TOML. `PGWEIR_LOG` \
         comes before `log.filter` and its variable; `PGWEIR_CONFIG` names the file.\n\n| variable | key |\n|---|---|\n",
    );
    for key in KEYS {
        if let Some(variable) = super::environment::variable_of(key) {
            let _ = writeln!(out, "| `{variable}` | `{}` |", key.path);
        }
    }
    out
}

/// The file with every key, its default and its comment; what has no default is commented out.
pub fn toml() -> String {
    let mut out = String::from(
        "# Every key of pgweir's configuration with its default. Only `nodes` in [cluster] must be there.\n\
         # Keys without a default are commented out. \"(restart)\" marks those that a reload cannot change.\n\
         #:schema ./pgweir.schema.json\n",
    );
    for section in SECTIONS {
        let repeated = section.path.ends_with("[]");
        // A section whose keys all lack defaults would be half a section.
        let comment = if repeated || section.path.ends_with(".tls") && section.path != "cluster.tls" {
            "# "
        } else {
            ""
        };
        if section.path == "cluster.nodes[]" {
            continue;
        }
        let _ = write!(out, "\n{}\n{comment}{}\n", wrapped(section.about), head(section));
        for key in keys_of(section) {
            let restart = if key.live == super::keys::Live::Restart { " (restart)" } else { "" };
            let _ = writeln!(out, "{}", wrapped(&format!("{}{restart}", key.why)));
            let _ = match (key.path, key.default) {
                ("cluster.nodes", _) => writeln!(out, "{} = [\"127.0.0.1:5432\"]", name_of(key)),
                (_, Some(default)) => writeln!(out, "{comment}{} = {default}", name_of(key)),
                (_, None) => writeln!(out, "# {} = {}", name_of(key), example(key.form)),
            };
        }
    }
    out
}

/// A comment in lines of at most 100 characters.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in text.split_whitespace() {
        if lines.last().is_some_and(|line| line.chars().count() + 1 + word.chars().count() > 100) {
            lines.push("#".into());
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines.join("\n")
}

fn example(form: Form) -> &'static str {
    match form {
        Form::Path => "\"/etc/pgweir/file\"",
        Form::Bool => "true",
        Form::Share => "0.5",
        Form::Count(..) => "1",
        Form::Duration(..) | Form::OptionalDuration(..) => "\"5s\"",
        Form::Size(..) | Form::OptionalSize(..) => "\"16MiB\"",
        Form::OptionalAddress | Form::Addresses => "\"127.0.0.1:6432\"",
        Form::Word(words) => ["\"transaction\"", "\"scram-sha-256\"", "\"primary\"", "\"proxy\""]
            .into_iter()
            .find(|w| words.contains(&w.trim_matches('"')))
            .unwrap_or("\"\""),
        Form::Words(_) => "[\"select\"]",
        Form::Networks => "[\"10.0.0.0/8\"]",
        Form::Times => "[\"mon-fri 08:55\"]",
        Form::Regex => "'(?i)^select'",
        Form::Text | Form::Secret | Form::Texts | Form::Paths | Form::Patterns | Form::Nodes => "\"…\"",
    }
}

/// The JSON schema (draft 7, which editors' TOML extensions understand).
pub fn schema() -> String {
    let mut root = object("pgweir's configuration");
    for section in SECTIONS {
        let mut properties = Map::new();
        let mut required = vec![];
        for key in keys_of(section) {
            properties.insert(name_of(key).into(), property(key));
            if matches!(
                key.path,
                "cluster.nodes" | "user[].name" | "auth.rule[].method" | "cluster.nodes[].address"
            ) {
                required.push(json!(name_of(key)));
            }
        }
        let mut value = object(section.about);
        value["properties"] = Value::Object(properties);
        if !required.is_empty() {
            value["required"] = Value::Array(required);
        }
        place(&mut root, section.path, value);
    }
    // Its mode alone is written as a word.
    let tls = &mut root["properties"]["listen"]["properties"]["tls"];
    tls["type"] = json!(["object", "string"]);
    tls["pattern"] = json!("^(auto|off)$");
    root["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    root["required"] = json!(["cluster"]);
    let mut text = serde_json::to_string_pretty(&root).unwrap_or_default();
    text.push('\n');
    text
}

fn object(about: &str) -> Value {
    json!({ "description": about, "type": "object", "additionalProperties": false, "properties": {} })
}

/// Puts a section's schema where its path leads.
fn place(root: &mut Value, path: &str, value: Value) {
    if path == "cluster.nodes[]" {
        root["properties"]["cluster"]["properties"]["nodes"]["items"]["anyOf"][1] = value;
        return;
    }
    let (parent, name) = path.rsplit_once('.').map_or((None, path), |(parent, name)| (Some(parent), name));
    let parent = match parent {
        None => root,
        Some(parent) => &mut root["properties"][parent],
    };
    if parent.is_null() {
        *parent = object("");
    }
    parent["properties"][name.trim_end_matches("[]")] = match name.strip_suffix("[]") {
        Some(_) => json!({ "type": "array", "items": value }),
        None => value,
    };
}

fn property(key: &Key) -> Value {
    let mut value = shape(key.form);
    value["description"] = json!(format!("{} ({})", key.why, key.live.as_str()));
    if let Some(default) = key.default
        && let Ok(default) = format!("v = {default}").parse::<toml::Table>()
        && let Ok(default) = serde_json::to_value(&default["v"])
    {
        value["default"] = default;
    }
    value
}

fn shape(form: Form) -> Value {
    let one_or_list = |one: Value| json!({ "anyOf": [one.clone(), { "type": "array", "items": one }] });
    let duration = r"^\s*(\d+\s*[a-zA-Zµ]+\s*)+$";
    let size = r"^\d+\s*(B|kB|KB|KiB|MB|MiB|GB|GiB|TB|TiB)$";
    match form {
        Form::Bool => json!({ "type": "boolean" }),
        Form::Share => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        Form::Count(min, u64::MAX) => json!({ "type": "integer", "minimum": min }),
        Form::Count(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Form::Duration(..) => json!({ "type": "string", "pattern": duration }),
        Form::OptionalDuration(..) => {
            json!({ "anyOf": [{ "const": "off" }, { "type": "string", "pattern": duration }] })
        }
        Form::Size(..) => json!({ "type": "string", "pattern": size }),
        Form::OptionalSize(..) => {
            json!({ "anyOf": [{ "const": "off" }, { "type": "string", "pattern": size }] })
        }
        Form::Word(words) => json!({ "enum": words }),
        Form::Words(words) => one_or_list(json!({ "enum": words })),
        Form::Texts | Form::Paths | Form::Patterns | Form::Networks | Form::Times | Form::Addresses => {
            one_or_list(json!({ "type": "string" }))
        }
        Form::Nodes => {
            json!({ "type": "array", "minItems": 1, "items": { "anyOf": [{ "type": "string" }, {}] } })
        }
        Form::Text | Form::Secret | Form::Path | Form::OptionalAddress | Form::Regex => {
            json!({ "type": "string" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    /// Compares with the file in the repository; `PGWEIR_UPDATE=1` writes it.
    fn matches_file(path: &str, text: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
        if std::env::var_os("PGWEIR_UPDATE").is_some() {
            std::fs::write(&path, text).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == text, "{} is out of date: PGWEIR_UPDATE=1 cargo test reference", path.display());
    }

    #[test]
    fn the_reference_page_and_the_commented_file_and_the_schema_are_up_to_date() {
        matches_file("docs/config.md", &markdown());
        matches_file("deploy/config/pgweir.toml", &toml());
        matches_file("deploy/config/pgweir.schema.json", &schema());
    }

    #[test]
    fn the_commented_file_is_the_default_configuration() {
        let (all, warnings) = Config::parse(&toml(), "pgweir.toml").unwrap();
        let (none, _) = Config::parse("cluster.nodes = [\"127.0.0.1:5432\"]", "pgweir.toml").unwrap();
        assert_eq!(format!("{all:?}"), format!("{none:?}"));
        assert_eq!(crate::config::reload::changes(&none, &all), []);
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn the_commented_file_names_every_key() {
        let text = toml();
        for key in KEYS.iter().filter(|k| !k.path.starts_with("cluster.nodes[]")) {
            assert!(text.contains(&format!("{} = ", name_of(key))), "{}", key.path);
        }
    }

    #[test]
    fn the_schema_reaches_every_section_and_key() {
        let schema: Value = serde_json::from_str(&schema()).unwrap();
        let at = |pointer: &str| schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer}"));
        at("/properties/listen/properties/tls/properties/certificate");
        at("/properties/rule/items/properties/sql");
        at("/properties/auth/properties/rule/items/properties/method/enum");
        at("/properties/cluster/properties/nodes/items/anyOf/1/properties/weight");
        assert_eq!(at("/properties/pool/properties/server_connections_max/default"), 20);
    }
}
