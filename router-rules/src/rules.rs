//! The operator's rules: first match wins.
//!
//! A rule is a `When` and an `Act`. Every key of the `When` that is there must hold; within one key any
//! of its patterns suffices. Names of users, databases, applications, relations and functions are
//! patterns in which `*` stands for any run of characters. What a rule asks for is a wish: whether a
//! statement may run on a replica at all stays the decision's business.

use crate::classify::Classified;
use crate::decide::SessionView;
use crate::hint::Consistency;
use crate::reason::Target;
use crate::statement::Kind;
use crate::transactions::Transactions;
use regex::bytes::Regex;
use std::net::IpAddr;
use std::time::Duration;

/// An ordered list of rules, validated and ready to match.
#[derive(Debug, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// In the order in which they are tried.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// The first rule that matches, if any.
    pub fn first_match(&self, classified: &Classified, session: &SessionView<'_>) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.when.matches(classified, session, rule.act.holds_for_unknown()))
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }

    /// True when nothing is ruled.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Pairs `(later, earlier)` of places in the list: the later rule never matches, because the earlier
    /// one matches whatever it would.
    pub fn shadowed(&self) -> Vec<(usize, usize)> {
        let covers = |earlier: &Rule, later: &Rule| {
            earlier.when.covers(&later.when)
                // What might work on anything is refused by the later one, and none of the earlier one's.
                && (!later.when.names_objects() || !later.act.holds_for_unknown() || earlier.act.holds_for_unknown())
        };
        let first_cover = |later: usize| (0..later).find(|&e| covers(&self.0[e], &self.0[later]));
        (0..self.0.len()).filter_map(|later| Some((later, first_cover(later)?))).collect()
    }
}

/// One rule.
#[derive(Debug, Default)]
pub struct Rule {
    /// What it is called in logs, traces and `pgweir route`: the configured name, or `rule 3`.
    pub name: String,
    /// Which statements it is for.
    pub when: When,
    /// What is done with them.
    pub act: Act,
}

/// Which statements a rule is for; `None` means: any.
#[derive(Debug, Default)]
pub struct When {
    /// The user that logged in.
    pub user: Option<Vec<Pattern>>,
    /// The database.
    pub database: Option<Vec<Pattern>>,
    /// `application_name`.
    pub application_name: Option<Vec<Pattern>>,
    /// Where the client comes from. A client on a Unix socket has no address and never matches.
    pub client_address: Option<Vec<Network>>,
    /// The schema of any relation that is named or reached.
    pub schema: Option<Vec<Pattern>>,
    /// Any relation that is named or reached: `orders`, or `public.orders`.
    pub table: Option<Vec<Pattern>>,
    /// Any function that is called: `lower`, or `pg_catalog.lower`.
    pub function: Option<Vec<Pattern>>,
    /// The kind of any of the statements: the words of [`crate::statement::Kind`].
    pub kind: Option<Vec<String>>,
    /// The text as the client sent it.
    pub sql: Option<Regex>,
}

impl When {
    /// With `unknown`, a statement that may work on anything works on what the rule names.
    fn matches(&self, classified: &Classified, session: &SessionView<'_>, unknown: bool) -> bool {
        let any = |patterns: &Option<Vec<Pattern>>, text: &str| {
            patterns.as_ref().is_none_or(|p| p.iter().any(|p| p.matches(text)))
        };
        any(&self.user, session.user)
            && any(&self.database, session.database)
            && any(&self.application_name, session.application_name)
            && self.client_address.as_ref().is_none_or(|networks| {
                session.client_address.is_some_and(|a| networks.iter().any(|n| n.contains(a)))
            })
            && self.matches_statement(classified, unknown)
            && self.sql.as_ref().is_none_or(|regex| regex.is_match(session.sql))
    }

    fn matches_statement(&self, classified: &Classified, unknown: bool) -> bool {
        let statements = &classified.statements;
        let unknown = unknown && statements.iter().any(|s| s.unknown);
        let of_unknown_kind = unknown && statements.iter().any(|s| s.unknown && s.kind == Kind::Other);
        self.kind.as_ref().is_none_or(|kinds| {
            of_unknown_kind || statements.iter().any(|s| kinds.iter().any(|k| k == s.kind.as_str()))
        }) && self.schema.as_ref().is_none_or(|patterns| {
            unknown || {
                let relations = || statements.iter().flat_map(|s| s.relations.iter());
                patterns.iter().any(|p| relations().any(|r| split(r).0.is_some_and(|s| p.matches(s))))
            }
        }) && self.table.as_ref().is_none_or(|patterns| {
            let relations = || statements.iter().flat_map(|s| s.relations.iter());
            unknown || patterns.iter().any(|p| relations().any(|r| p.matches_name(r)))
        }) && self.function.as_ref().is_none_or(|patterns| {
            let functions = || statements.iter().flat_map(|s| s.functions.iter());
            unknown || patterns.iter().any(|p| functions().any(|f| p.matches_name(f)))
        })
    }

    /// True when whatever matches `later` certainly matches this one.
    /// It is for statements that work on certain objects.
    fn names_objects(&self) -> bool {
        self.schema.is_some() || self.table.is_some() || self.function.is_some()
    }

    fn covers(&self, later: &When) -> bool {
        fn each<T: PartialEq>(mine: &Option<Vec<T>>, theirs: &Option<Vec<T>>) -> bool {
            match (mine, theirs) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(mine), Some(theirs)) => theirs.iter().all(|t| mine.contains(t)),
            }
        }
        /// Names that every session has: a pattern that matches the text of another matches all that it would.
        fn of_session(mine: &Option<Vec<Pattern>>, theirs: &Option<Vec<Pattern>>) -> bool {
            let covered = |text: &str| mine.iter().flatten().any(|pattern| pattern.matches(text));
            match (mine, theirs) {
                (None, _) => true,
                (Some(_), None) => covered("*"),
                (Some(_), Some(theirs)) => theirs.iter().all(|pattern| covered(pattern.as_str())),
            }
        }
        /// Names that a statement may lack: any name at all is what a lone `*` asks for.
        fn of_statement(mine: &Option<Vec<Pattern>>, theirs: &Option<Vec<Pattern>>) -> bool {
            let any = mine.iter().flatten().any(|pattern| pattern.as_str() == "*");
            each(mine, theirs) || (any && theirs.is_some())
        }
        of_session(&self.user, &later.user)
            && of_session(&self.database, &later.database)
            && of_session(&self.application_name, &later.application_name)
            && each(&self.client_address, &later.client_address)
            && of_statement(&self.schema, &later.schema)
            && of_statement(&self.table, &later.table)
            && of_statement(&self.function, &later.function)
            && each(&self.kind, &later.kind)
            && match (&self.sql, &later.sql) {
                (None, _) => true,
                (Some(mine), Some(theirs)) => mine.as_str() == theirs.as_str(),
                (Some(_), None) => false,
            }
    }
}

/// What is done with a statement that matches; `None`: as if there were no rule.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Act {
    /// Where it should run.
    pub target: Option<Target>,
    /// On a node of this group, if it runs on a replica.
    pub group: Option<String>,
    /// How fresh it must be.
    pub consistency: Option<Consistency>,
    /// How old at most.
    pub max_lag: Option<Duration>,
    /// How far behind at most, in bytes of WAL.
    pub max_lag_bytes: Option<u64>,
    /// Where a transaction with such a statement runs.
    pub transactions: Option<Transactions>,
    /// Not at all: the message for the client.
    pub refuse: Option<String>,
    /// Whether what is not known to work on what the rule names is refused, too.
    pub when_unknown: WhenUnknown,
    /// A line in the log, without the statement's text.
    pub log: bool,
}

impl Act {
    fn holds_for_unknown(&self) -> bool {
        self.refuse.is_some() && self.when_unknown == WhenUnknown::Refuse
    }
}

/// What a rule that refuses does with a statement of which nobody knows what it works on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenUnknown {
    /// It is refused.
    #[default]
    Refuse,
    /// It runs, and the server's own rights decide.
    Allow,
}

/// A name with `*` for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// As written.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The whole of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        glob(self.0.as_bytes(), text.as_bytes())
    }

    /// A relation or function: a pattern with a dot must match the qualified name, one without its last part.
    fn matches_name(&self, qualified: &str) -> bool {
        if self.0.contains('.') { self.matches(qualified) } else { self.matches(split(qualified).1) }
    }
}

/// Schema and name.
fn split(qualified: &str) -> (Option<&str>, &str) {
    match qualified.split_once('.') {
        Some((schema, name)) => (Some(schema), name),
        None => (None, qualified),
    }
}

/// `*` is any run of bytes. Linear but for one step back per star: the last star takes one byte more.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => match retry {
                Some((after_star, taken)) => {
                    retry = Some((after_star, taken + 1));
                    (p, t) = (after_star, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

/// Addresses that share a prefix: `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Any of its addresses.
    pub address: IpAddr,
    /// How many leading bits count.
    pub prefix: u8,
}

impl Network {
    /// True when `address` (also an IPv4 address in IPv6 clothes) is one of these.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix.min(32));
                let bits = |a: std::net::Ipv4Addr| a.to_bits().checked_shr(shift).unwrap_or(0);
                bits(network) == bits(address)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix.min(128));
                let bits = |a: std::net::Ipv6Addr| a.to_bits().checked_shr(shift).unwrap_or(0);
                bits(network) == bits(address)
            }
            _ => false,
        }
    }
}

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let bad = || format!("`{text}` is not an IP address with an optional prefix length (10.0.0.0/8)");
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse::<u8>().ok().filter(|p| *p <= bits).ok_or_else(bad)?,
            None => bits,
        };
        Ok(Self { address, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;
    use crate::statement::{Footprint, Kind, Statement};

    fn select(relations: &[&str], functions: &[&str]) -> Classified {
        Classified {
            statements: vec![Statement {
                kind: Kind::Select,
                verdict: Ok(Reason::ReadOnly),
                reads: Footprint::none(),
                writes: Footprint::none(),
                transaction: None,
                effects: vec![],
                relations: relations.iter().map(|r| (*r).into()).collect(),
                functions: functions.iter().map(|f| (*f).into()).collect(),
                tells_begin: false,
                unknown: false,
                draws: false,
                replaces: false,
                alters: Default::default(),
            }],
            verdict: Ok(Reason::ReadOnly),
            reads: Footprint::none(),
            writes: Footprint::none(),
            hint: None,
            shape: 0,
            plain: true,
            single_query: true,
            steps: 0,
        }
    }

    fn session() -> SessionView<'static> {
        SessionView {
            user: "app",
            database: "shop",
            application_name: "web-7",
            client_address: Some("10.1.2.3".parse().unwrap()),
            route: None,
            consistency: None,
            max_lag: None,
            transactions: None,
            read_only_transaction: false,
            serializable: false,
            sql: b"SELECT * FROM orders /* report */",
        }
    }

    fn patterns(words: &[&str]) -> Option<Vec<Pattern>> {
        Some(words.iter().map(|w| Pattern::new(*w)).collect())
    }

    fn rule(name: &str, when: When) -> Rule {
        Rule { name: name.into(), when, act: Act::default() }
    }

    #[test]
    fn the_first_rule_that_matches_wins() {
        let rules = Rules::new(vec![
            rule("other user", When { user: patterns(&["admin"]), ..When::default() }),
            rule("web", When { application_name: patterns(&["web-*"]), ..When::default() }),
            rule("all", When::default()),
        ]);
        assert_eq!(rules.first_match(&select(&[], &[]), &session()).unwrap().name, "web");
    }

    #[test]
    fn every_key_of_a_rule_must_hold() {
        let when = |database: &str, table: &str| When {
            database: patterns(&[database]),
            table: patterns(&[table]),
            ..When::default()
        };
        let statement = select(&["public.orders"], &[]);
        assert!(when("shop", "orders").matches(&statement, &session(), false));
        assert!(when("shop", "public.ord*").matches(&statement, &session(), false));
        assert!(!when("shop", "audit.orders").matches(&statement, &session(), false));
        assert!(!when("other", "orders").matches(&statement, &session(), false));
    }

    #[test]
    fn schema_function_kind_address_and_text_are_looked_at() {
        let statement = select(&["audit.log"], &["pg_catalog.lower"]);
        let matches = |when: When| when.matches(&statement, &session(), false);
        assert!(matches(When { schema: patterns(&["audit"]), ..When::default() }));
        assert!(!matches(When { schema: patterns(&["public"]), ..When::default() }));
        assert!(matches(When { function: patterns(&["lower"]), ..When::default() }));
        assert!(!matches(When { function: patterns(&["upper"]), ..When::default() }));
        assert!(matches(When { kind: Some(vec!["select".into()]), ..When::default() }));
        assert!(!matches(When { kind: Some(vec!["insert".into()]), ..When::default() }));
        assert!(matches(When {
            client_address: Some(vec!["10.0.0.0/8".parse().unwrap()]),
            ..When::default()
        }));
        assert!(!matches(When { client_address: Some(vec!["::1".parse().unwrap()]), ..When::default() }));
        assert!(matches(When { sql: Some(Regex::new("(?i)REPORT").unwrap()), ..When::default() }));
        assert!(!matches(When { sql: Some(Regex::new("^WITH").unwrap()), ..When::default() }));
    }

    #[test]
    fn a_rule_behind_a_wider_one_is_found_to_be_dead() {
        let rules = Rules::new(vec![
            rule("a", When { user: patterns(&["app", "web"]), ..When::default() }),
            rule("b", When { user: patterns(&["web"]), database: patterns(&["shop"]), ..When::default() }),
            rule("c", When { user: patterns(&["batch"]), ..When::default() }),
        ]);
        assert_eq!(rules.shadowed(), [(1, 0)]);
    }

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, text, matches) in [
            ("", "", true),
            ("*", "", true),
            ("a*c", "abcbc", true),
            ("a*c", "abcb", false),
            ("*a*a*", "banana", true),
            ("*x*", "banana", false),
            ("abc", "abcd", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), matches, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_network_contains_its_addresses_only() {
        let network = |text: &str| text.parse::<Network>().unwrap();
        assert!(network("10.1.0.0/16").contains("10.1.255.1".parse().unwrap()));
        assert!(network("10.1.0.0/16").contains("::ffff:10.1.255.1".parse().unwrap()));
        assert!(!network("10.1.0.0/16").contains("10.2.0.1".parse().unwrap()));
        assert!(network("0.0.0.0/0").contains("1.2.3.4".parse().unwrap()));
        assert!(!network("0.0.0.0/0").contains("::2".parse().unwrap()));
        assert!(network("fd00::/8").contains("fd12::1".parse().unwrap()));
        assert!("10.0.0.0/33".parse::<Network>().is_err());
        assert!("ten".parse::<Network>().is_err());
    }
}
