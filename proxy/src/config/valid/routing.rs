//! `[routing]` and the rules.

use super::names::{patterns, qualified};
use crate::config::Cluster;
use crate::config::reader::{Reader, Section};
use crate::config::value::Off;
use router_rules::hint::Consistency;
use router_rules::rules::{Act, Rule, Rules, When, WhenUnknown};
use router_rules::{Policy, Target};
use std::collections::HashMap;

pub(super) fn policy(top: &Section<'_, '_>, cluster: &Cluster, reader: &Reader<'_>) -> Policy {
    let routing = top.section("routing");
    let sections = top.sections("rule");
    let rules: Vec<Rule> = sections.iter().enumerate().map(|(i, s)| rule(s, i, cluster)).collect();
    let mut names: HashMap<&str, usize> = HashMap::new();
    for (i, rule) in rules.iter().enumerate() {
        if let Some(first) = names.insert(&rule.name, i) {
            sections[i].mistake_in("name", format!("two rules are called \"{}\"", rules[first].name));
        }
    }
    let rules = Rules::new(rules);
    if reader.is_clean() {
        for (later, earlier) in rules.shadowed() {
            let name = |i: usize| rules.iter().nth(i).map_or("", |r| r.name.as_str());
            reader.warning(
                sections[later].span.clone(),
                format!(
                    "rule \"{}\" can never match: \"{}\" matches all that it would",
                    name(later),
                    name(earlier)
                ),
            );
        }
    }
    Policy {
        consistency: consistency(&routing.read::<String>("consistency")),
        max_lag: routing.read::<Off<_>>("max_lag").0,
        max_lag_bytes: routing.read::<Off<_>>("max_lag_bytes").0,
        transactions: routing.read::<String>("transactions").parse().unwrap_or_default(),
        rules,
    }
}

fn consistency(word: &str) -> Consistency {
    word.parse().unwrap_or_default()
}

fn rule(section: &Section<'_, '_>, index: usize, cluster: &Cluster) -> Rule {
    let rule = Rule {
        name: section.read_optional("name").unwrap_or_else(|| format!("rule {}", index + 1)),
        when: When {
            user: patterns(section, "user"),
            database: patterns(section, "database"),
            application_name: patterns(section, "application_name"),
            client_address: section.read_optional("client_address"),
            schema: patterns(section, "schema"),
            table: qualified(section, "table"),
            function: qualified(section, "function"),
            kind: section.read_optional("kind"),
            sql: section.read_optional("sql"),
        },
        act: Act {
            target: section.read_optional::<String>("target").map(|word| match word.as_str() {
                "replica" => Target::Replica,
                _ => Target::Primary,
            }),
            group: section.read_optional("group"),
            consistency: section.read_optional::<String>("consistency").map(|word| consistency(&word)),
            max_lag: section.read_optional("max_lag"),
            max_lag_bytes: section.read_optional("max_lag_bytes"),
            transactions: section
                .read_optional::<String>("transactions")
                .map(|word| word.parse().unwrap_or_default()),
            refuse: section.read_optional("refuse"),
            when_unknown: section
                .read_optional::<String>("when_unknown")
                .map(|word| match word.as_str() {
                    "allow" => WhenUnknown::Allow,
                    _ => WhenUnknown::Refuse,
                })
                .unwrap_or_default(),
            log: section.read("log"),
        },
    };
    check_match(section, &rule);
    check_act(section, &rule, cluster);
    rule
}

fn check_match(section: &Section<'_, '_>, rule: &Rule) {
    let when = &rule.when;
    let empty = [
        ("user", when.user.as_ref().is_some_and(Vec::is_empty)),
        ("database", when.database.as_ref().is_some_and(Vec::is_empty)),
        ("application_name", when.application_name.as_ref().is_some_and(Vec::is_empty)),
        ("client_address", when.client_address.as_ref().is_some_and(Vec::is_empty)),
        ("schema", when.schema.as_ref().is_some_and(Vec::is_empty)),
        ("table", when.table.as_ref().is_some_and(Vec::is_empty)),
        ("function", when.function.as_ref().is_some_and(Vec::is_empty)),
        ("kind", when.kind.as_ref().is_some_and(Vec::is_empty)),
    ];
    for (name, _) in empty.iter().filter(|(_, is_empty)| *is_empty) {
        section
            .warning_in(name, format!("rule \"{}\" can never match: the list `{name}` is empty", rule.name));
    }
}

fn check_act(section: &Section<'_, '_>, rule: &Rule, cluster: &Cluster) {
    let act = &rule.act;
    if *act == Act::default() {
        section.mistake(
            "the rule does nothing: give it `target`, `group`, `consistency`, `max_lag`, `transactions`, `refuse` or `log`",
        );
    }
    if act.refuse.is_none() && section.written("when_unknown").is_some() {
        section.mistake_in("when_unknown", "only a rule that refuses has to say so: give it `refuse`");
    }
    if act.refuse.is_some() && (act.target.is_some() || act.group.is_some()) {
        section.mistake_in("refuse", "a rule that refuses cannot send anywhere as well");
    }
    if act.target == Some(Target::Primary) && act.group.is_some() {
        section.mistake_in("group", "a group is of replicas; `target` says primary");
    }
    if let Some(group) = &act.group
        && !cluster.kinds_of_nodes().any(|n| n.groups.contains(group))
    {
        section.mistake_in("group", format!("no node is in group \"{}\"", group.escape_debug()));
    }
    let writes = |kind: &String| {
        matches!(kind.as_str(), "insert" | "update" | "delete" | "merge" | "ddl" | "maintenance" | "notify")
    };
    let only_writes = rule.when.kind.as_ref().is_some_and(|k| !k.is_empty() && k.iter().all(writes));
    if only_writes && (act.target == Some(Target::Replica) || act.group.is_some()) {
        section.warning_in("kind", "writes never go to a replica: the rule has no effect");
    }
}
