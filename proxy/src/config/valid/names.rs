//! Names that clients give, cut as they are cut.
//!
//! <https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>

use crate::config::reader::Section;
use router_rules::cut_name;
use router_rules::rules::Pattern;

/// Names without wildcards.
pub(super) fn names(section: &Section<'_, '_>, key: &str) -> Vec<String> {
    section.read::<Vec<String>>(key).iter().map(|name| cut_name(name).to_owned()).collect()
}

/// Names of one part: users, databases, schemas.
pub(super) fn patterns(section: &Section<'_, '_>, key: &str) -> Option<Vec<Pattern>> {
    read(section, key, cut)
}

/// Names with or without their schema.
pub(super) fn qualified(section: &Section<'_, '_>, key: &str) -> Option<Vec<Pattern>> {
    read(section, key, |text| match text.split_once('.') {
        Some((schema, name)) => Ok(format!("{}.{}", cut(schema)?, cut(name)?)),
        None => cut(text),
    })
}

fn read(
    section: &Section<'_, '_>,
    key: &str,
    cut: impl Fn(&str) -> Result<String, String>,
) -> Option<Vec<Pattern>> {
    let written: Vec<Pattern> = section.read_optional(key)?;
    let cut: Result<Vec<Pattern>, String> =
        written.iter().map(|pattern| cut(pattern.as_str()).map(Pattern::new)).collect();
    cut.map_err(|message| section.mistake_in(key, format!("`{key}`: {message}"))).ok()
}

/// As Postgres cuts a name; a pattern for which every name is too short could never match.
fn cut(text: &str) -> Result<String, String> {
    if !text.contains('*') {
        return Ok(cut_name(text).to_owned());
    }
    let least = text.replace('*', "");
    match cut_name(&least) == least {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "\"{}…\" can never match: Postgres cuts names to 63 bytes, and this asks for more; cut it before the `*`",
            text.chars().take(20).collect::<String>().escape_debug()
        )),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn parsed(text: &str) -> Result<Config, String> {
        let parsed = Config::parse(&format!("cluster.nodes = [\"a\"]\n{text}"), "f");
        parsed.map(|(config, _)| config).map_err(|mistakes| mistakes[0].to_string())
    }

    #[test]
    fn names_are_cut_as_those_of_clients_are() {
        let (long, cut) = ("é".repeat(40), "é".repeat(31));
        let text = format!(
            "[[rule]]\nuser = \"{long}\"\ndatabase = [\"{long}\"]\nschema = \"{long}\"\napplication_name = \"{long}\"\n\
             table = [\"{long}.{long}\", \"{long}\"]\nfunction = \"{long}\"\nrefuse = \"no\"\n\
             [[auth.rule]]\nuser = \"{long}\"\ndatabase = \"{long}\"\nmethod = \"reject\"\n\
             [[user]]\nname = \"{long}\"\n[console]\nadmin_users = \"{long}\"\nstats_users = \"{long}\""
        );
        let config = parsed(&text).unwrap();
        let when = &config.policy.rules.iter().next().unwrap().when;
        for list in [&when.user, &when.database, &when.schema, &when.application_name, &when.function] {
            assert_eq!(list.as_ref().unwrap()[0].as_str(), cut);
        }
        let tables: Vec<_> = when.table.iter().flatten().map(|p| p.as_str().to_owned()).collect();
        assert_eq!(tables, [format!("{cut}.{cut}"), cut.clone()]);
        let rule = &config.auth.rules[0];
        assert_eq!((&rule.users[0], &rule.databases[0], &config.users[0].name), (&cut, &cut, &cut));
        assert_eq!((&config.console.admin_users[0], &config.console.stats_users[0]), (&cut, &cut));
    }

    #[test]
    fn a_pattern_that_is_longer_than_any_name_is_a_mistake() {
        let rule = |key: &str, text: &str| parsed(&format!("[[rule]]\n{key} = \"{text}\"\nlog = true"));
        let (fits, long) = ("a".repeat(63), "a".repeat(64));
        for key in ["user", "table", "schema"] {
            assert!(rule(key, &format!("*{fits}*")).is_ok());
            let message = rule(key, &format!("{long}*")).unwrap_err();
            assert!(message.contains("can never match: Postgres cuts names to 63 bytes"), "{message}");
        }
        assert!(rule("table", &format!("{fits}*.{fits}*")).is_ok());
    }
}
