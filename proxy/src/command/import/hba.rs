//! The lines of a pg_hba.conf, as access rules.
//!
//! Nobody may get in by the rules who did not by the lines. A line that rules cannot say becomes one that
//! rejects at least all that the line was about, and is named.
//!
//! <https://www.postgresql.org/docs/current/auth-pg-hba-conf.html>

use router_rules::rules::Network;
use std::net::IpAddr;
use toml::Table;

/// The rules, and what could not be said.
pub(super) fn rules(text: &str) -> (Vec<Table>, Vec<String>) {
    let mut rules = vec![];
    let mut notes = vec![];
    for (number, line) in text.lines().enumerate() {
        let words = words(line);
        if words.is_empty() {
            continue;
        }
        let (rule, unsaid) = rule(&words);
        for what in &unsaid {
            notes.push(format!("line {} of the HBA file: {what}; the rule made of it rejects", number + 1));
        }
        rules.push(rule);
    }
    (rules, notes)
}

/// Fields, without their quotes; a list at commas is one field.
fn words(line: &str) -> Vec<Vec<Word>> {
    let mut fields: Vec<Vec<Word>> = vec![];
    let mut chars = line.chars().peekable();
    let mut joined = false;
    while let Some(&c) = chars.peek() {
        match c {
            '#' => break,
            c if c.is_whitespace() => {
                chars.next();
            }
            ',' => {
                joined = true;
                chars.next();
            }
            _ => {
                let word = word(&mut chars);
                match fields.last_mut() {
                    Some(field) if joined => field.push(word),
                    _ => fields.push(vec![word]),
                }
                joined = false;
            }
        }
    }
    fields
}

/// A name, which in quotes is nothing but a name.
#[derive(Debug, Clone, PartialEq)]
struct Word {
    text: String,
    is_quoted: bool,
}

fn word(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Word {
    let mut word = Word { text: String::new(), is_quoted: false };
    let mut inside = false;
    while let Some(&c) = chars.peek() {
        if !inside && (c.is_whitespace() || c == ',' || c == '#') {
            break;
        }
        chars.next();
        if c == '"' {
            inside = !inside;
            word.is_quoted = true;
        } else {
            word.text.push(c);
        }
    }
    word
}

fn rule(fields: &[Vec<Word>]) -> (Table, Vec<String>) {
    let mut rule = Table::new();
    let mut unsaid = vec![];
    let mut fields = fields.iter();
    let kind = single(fields.next());
    match kind {
        "host" | "hostssl" | "hostnossl" | "local" => {
            rule.insert("connection".into(), kind.into());
        }
        other => unsaid.push(format!("`{other}` is no connection type of pgweir's rules")),
    }
    for (key, special) in [("database", "/+@"), ("user", "/+@")] {
        match names(fields.next(), special) {
            Ok(None) => {}
            Ok(Some(names)) => {
                rule.insert(key.into(), names.into());
            }
            Err(what) => unsaid.push(format!("{key} {what}")),
        }
    }
    let mut rest: Vec<&str> = fields.map(|field| single(Some(field))).collect();
    if kind != "local" && !rest.is_empty() {
        match address(&mut rest) {
            Ok(None) => {}
            Ok(Some(address)) => {
                rule.insert("address".into(), address.into());
            }
            Err(what) => unsaid.push(what),
        }
    }
    let (method, options) = rest.split_first().map_or(("", &[][..]), |(method, options)| (*method, options));
    let method = match method {
        "trust" | "reject" | "md5" | "password" | "scram-sha-256" => method,
        "cert" => "certificate",
        other => {
            unsaid.push(format!("method `{other}`"));
            "reject"
        }
    };
    for option in options {
        match option.split_once('=') {
            Some(("clientcert", check @ ("verify-ca" | "verify-full"))) => {
                rule.insert("client_certificate".into(), check.into());
            }
            Some(("clientcert", "1")) => {
                rule.insert("client_certificate".into(), "verify-ca".into());
            }
            _ => unsaid.push(format!("option `{option}`")),
        }
    }
    let method = if unsaid.is_empty() { method } else { "reject" };
    if method == "reject" {
        rule.remove("client_certificate");
    }
    rule.insert("method".into(), method.into());
    (rule, unsaid)
}

fn single(field: Option<&Vec<Word>>) -> &str {
    field.and_then(|field| field.first()).map_or("", |word| &word.text)
}

/// `None`: all of them.
fn names(field: Option<&Vec<Word>>, special: &str) -> Result<Option<Vec<String>>, String> {
    const KEYWORDS: [&str; 4] = ["sameuser", "samerole", "samegroup", "replication"];
    let Some(field) = field else { return Err("is missing".into()) };
    let mut names = vec![];
    for Word { text, is_quoted } in field {
        if !is_quoted && text == "all" {
            return Ok(None);
        }
        if !is_quoted && (KEYWORDS.contains(&text.as_str()) || text.starts_with(|c| special.contains(c))) {
            return Err(format!("`{text}`"));
        }
        names.push(text.clone());
    }
    Ok(Some(names))
}

/// Takes the address off the front, with its mask; `None`: all.
fn address(rest: &mut Vec<&str>) -> Result<Option<String>, String> {
    let text = rest.remove(0);
    if text == "all" {
        return Ok(None);
    }
    if text.contains('/') {
        return text
            .parse::<Network>()
            .map(|_| Some(text.to_owned()))
            .map_err(|_| format!("address `{text}`"));
    }
    let Ok(address) = text.parse::<IpAddr>() else { return Err(format!("address `{text}`")) };
    let mask = rest.first().and_then(|mask| mask.parse::<IpAddr>().ok());
    let bits = match (address, mask) {
        (_, None) => return Err(format!("address `{text}` without a mask")),
        (IpAddr::V4(_), Some(IpAddr::V4(mask))) => prefix(mask.to_bits().into(), 32),
        (IpAddr::V6(_), Some(IpAddr::V6(mask))) => prefix(mask.to_bits(), 128),
        _ => None,
    };
    rest.remove(0);
    bits.map(|bits| Some(format!("{address}/{bits}"))).ok_or_else(|| format!("the mask of address `{text}`"))
}

/// How many leading ones a mask has, if nothing else is set.
fn prefix(mask: u128, width: u32) -> Option<u32> {
    let aligned = mask << (128 - width);
    let ones = aligned.leading_ones();
    (aligned.checked_shl(ones).unwrap_or(0) == 0).then_some(ones)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> (String, usize) {
        let (rules, notes) = rules(line);
        let text = rules.iter().map(|rule| toml::to_string(rule).unwrap().replace('\n', " ")).collect();
        (text, notes.len())
    }

    #[test]
    fn lines_become_rules() {
        for (line, rule) in [
            ("local all all trust", "connection = \"local\" method = \"trust\" "),
            (
                "host shop,\"my db\" app 10.0.0.0/8 scram-sha-256 # why",
                "address = \"10.0.0.0/8\" connection = \"host\" database = [\"shop\", \"my db\"] method = \"scram-sha-256\" user = [\"app\"] ",
            ),
            (
                "hostssl all all 10.1.0.0 255.255.0.0 cert",
                "address = \"10.1.0.0/16\" connection = \"hostssl\" method = \"certificate\" ",
            ),
            (
                "hostssl all all all md5 clientcert=verify-full",
                "client_certificate = \"verify-full\" connection = \"hostssl\" method = \"md5\" ",
            ),
            (
                "host \"all\" all ::1/128 reject",
                "address = \"::1/128\" connection = \"host\" database = [\"all\"] method = \"reject\" ",
            ),
        ] {
            assert_eq!(one(line), (rule.to_owned(), 0), "{line}");
        }
        assert_eq!(one("  # nothing\n\n"), (String::new(), 0));
    }

    #[test]
    fn what_a_rule_cannot_say_rejects_and_is_named() {
        for line in [
            "host all +admins 10.0.0.0/8 trust",
            "host sameuser all 10.0.0.0/8 trust",
            "host all all db.example.org trust",
            "host all all samenet trust",
            "local all all peer",
            "host all all 0.0.0.0/0 ldap ldapserver=x",
            "hostssl all all all cert map=m",
            "hostgssenc all all 0.0.0.0/0 trust",
            "host all all 10.0.0.1 255.0.255.0 trust",
            "host all",
        ] {
            let (rule, notes) = one(line);
            assert!(rule.contains("method = \"reject\"") && notes > 0, "{line}: {rule}");
        }
    }
}
