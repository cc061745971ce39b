//! A configuration as a list of keys and values: for SHOW CONFIG, and to say what a reload changed.

use super::keys::{Form, KEYS, Key, Live, find};
use super::{Config, Secret};
use router_rules::cut_name;
use std::hash::{DefaultHasher, Hash, Hasher};
use toml::de::{DeTable, DeValue};

/// One key, or one whole table of a repeated section.
#[derive(Debug, Clone)]
pub struct Entry {
    /// `pool.lease_wait`, `rule "reports"`, `user "app"`.
    pub key: String,
    /// As TOML; secrets are `"…"`; `None`: not set.
    pub value: Option<String>,
    /// As TOML, if it has one.
    pub default: Option<&'static str>,
    /// When a change takes effect.
    pub live: Live,
    /// Of the value with its secrets.
    fingerprint: u64,
}

impl Entry {
    /// True when the other one says the same, secrets included.
    pub fn same(&self, other: &Entry) -> bool {
        self.fingerprint == other.fingerprint
    }
}

/// Everything that is written or has a default, in the order of the reference.
pub(super) fn of(table: &DeTable<'_>, config: &Config) -> Vec<Entry> {
    let mut entries: Vec<Entry> =
        KEYS.iter().filter(|key| !key.path.contains("[]")).map(|key| plain(key, table, config)).collect();
    for section in ["user", "rule"] {
        let tables =
            table.get(section).and_then(|t| t.get_ref().as_array()).into_iter().flat_map(|a| a.iter());
        for (i, one) in tables.enumerate() {
            let name = one.get_ref().get("name").and_then(|n| n.get_ref().as_str());
            let name = name.map_or_else(|| format!("{section} {}", i + 1), str::to_owned);
            // The place of a rule among the others is part of what it does.
            let place = if section == "rule" { i } else { 0 };
            let secret = config.users.iter().find(|u| section == "user" && u.name == cut_name(&name));
            let secret = secret.and_then(|u| u.password.as_ref()).map(|p| p.0.clone());
            entries.push(entry(
                format!("{section} \"{name}\""),
                &format!("{section}[]"),
                Some(one.get_ref()),
                None,
                Live::Reload,
                &(place, secret),
            ));
        }
    }
    let rules = get(table, "auth.rule");
    entries.extend(
        rules.map(|rules| entry("auth.rule".into(), "auth.rule", Some(rules), None, Live::Reload, &())),
    );
    entries
}

fn plain(key: &'static Key, table: &DeTable<'_>, config: &Config) -> Entry {
    let written = get(table, key.path);
    let secret = secret_of(key, config);
    entry(key.path.to_owned(), key.path, written, key.default, key.live, &secret.map(|s| s.0.as_str()))
}

/// What a key's secret is, wherever it was read from.
fn secret_of<'c>(key: &Key, config: &'c Config) -> Option<&'c Secret> {
    match key.path {
        "cluster.password" => config.cluster.password.as_ref(),
        "cluster.patroni.password" => config.cluster.find.patroni.password.as_ref(),
        "cluster.patroni.token" => config.cluster.find.patroni.token.as_ref(),
        "http.token" => config.http.token.as_ref(),
        "fleet.secret" => config.fleet.secret.as_ref(),
        _ => None,
    }
}

fn entry(
    key: String,
    path: &str,
    written: Option<&DeValue<'_>>,
    default: Option<&'static str>,
    live: Live,
    beside: &impl Hash,
) -> Entry {
    let value = match written {
        Some(value) => Some(put(value, Some(path))),
        None => default.map(str::to_owned),
    };
    let mut hasher = DefaultHasher::new();
    // What is written like the default is the default.
    written.map(|value| put(value, None)).or(default.map(str::to_owned)).hash(&mut hasher);
    beside.hash(&mut hasher);
    Entry { key, value, default, live, fingerprint: hasher.finish() }
}

fn get<'v>(table: &'v DeTable<'_>, path: &str) -> Option<&'v DeValue<'v>> {
    let mut parts = path.split('.');
    let mut value = table.get(parts.next()?)?.get_ref();
    for part in parts {
        value = value.get(part)?.get_ref();
    }
    Some(value)
}

/// As TOML, on one line; as what is to be shown of it where the path of its key is known.
fn put(value: &DeValue<'_>, path: Option<&str>) -> String {
    match value {
        _ if path.and_then(find).is_some_and(|key| key.form == Form::Secret) => "\"…\"".to_owned(),
        DeValue::String(text) => toml::Value::String(text.to_string()).to_string(),
        DeValue::Integer(n) => n.as_str().to_owned(),
        DeValue::Float(n) => n.as_str().to_owned(),
        DeValue::Boolean(b) => b.to_string(),
        DeValue::Datetime(d) => d.to_string(),
        DeValue::Array(list) => {
            let path = path.map(|path| format!("{path}[]"));
            let items: Vec<_> = list.iter().map(|item| put(item.get_ref(), path.as_deref())).collect();
            format!("[{}]", items.join(", "))
        }
        DeValue::Table(table) => {
            let pair = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
                let key: &std::borrow::Cow<'_, str> = key.get_ref();
                let path = path.map(|path| format!("{path}.{key}"));
                format!("{key} = {}", put(value.get_ref(), path.as_deref()))
            };
            format!("{{ {} }}", table.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
    }
}
