//! What is said of a cluster that was tried: each fault with what to type to mend it. Pure.

use crate::cluster::connect::NoEntry;
use crate::config::Config;
use std::fmt;

/// The oldest and the newest version of PostgreSQL that pgweir is tested with.
const VERSIONS: std::ops::RangeInclusive<u32> = 12..=18;

/// What makes the role, wherever pgweir is installed.
const MAKE_ROLE: &str = "pgweir reference --form role | psql -h PRIMARY -U postgres -d postgres";

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// As it should be.
    Good,
    /// It works, and probably not as meant.
    Warning,
    /// It does not work.
    Mistake,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub weight: Weight,
    /// What was found.
    pub text: String,
    /// What to type.
    pub remedy: Option<String>,
}

impl Finding {
    fn good(text: impl Into<String>) -> Self {
        Self { weight: Weight::Good, text: text.into(), remedy: None }
    }

    fn warning(text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { weight: Weight::Warning, text: text.into(), remedy: Some(remedy.into()) }
    }

    fn mistake(text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { weight: Weight::Mistake, text: text.into(), remedy: Some(remedy.into()) }
    }
}

/// What a place says at which nodes are found.
pub fn of_source(source: &str, told: &Result<usize, String>) -> Finding {
    match told {
        Ok(nodes) => Finding::good(format!("{source}: tells {nodes} nodes")),
        Err(why) => Finding::mistake(
            format!("{source}: {why}"),
            "see cluster.nodes, cluster.find and cluster.patroni; while it fails, none of its nodes is known",
        ),
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.weight {
            Weight::Good => "good",
            Weight::Warning => "warning",
            Weight::Mistake => "mistake",
        };
        write!(f, "{word:8} {}", self.text)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n{:8} {remedy}", ""),
            None => Ok(()),
        }
    }
}

/// One node as it answered.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// It is in recovery.
    pub is_replica: bool,
    /// `150008`.
    pub version: u32,
    /// When its postmaster started: with the system identifier this tells servers apart.
    pub started: i64,
    /// `None`: the role may not ask.
    pub system: Option<i64>,
    /// `on`, `off`, `remote_apply`, … as the role sees it.
    pub synchronous_commit: String,
    /// Roles and databases for which another value was set: `role app`, `database shop`.
    pub asynchronous: Vec<String>,
    /// What it lets in at once, without what is kept for superusers.
    pub connections_max: u64,
    /// A replica that replays late on purpose: by so many milliseconds.
    pub apply_delay_ms: i64,
    /// Another connection to the same address met another server.
    pub leads_elsewhere: bool,
    /// How the node sees us.
    pub our_address: Option<String>,
    /// `pg_hba.conf` has no line for users and databases in general; its words.
    pub not_admitted: Option<String>,
    /// What the role may do, asked on the primary only.
    pub rights: Rights,
}

/// What the role may do.
#[derive(Debug, Clone, Default)]
pub struct Rights {
    /// Monitoring views.
    pub monitor: bool,
    /// Verifiers; `None`: nobody needs them, every user is configured.
    pub lookup: Option<Lookup>,
    /// Databases that it may not connect to.
    pub closed: Vec<String>,
}

/// How users' verifiers can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// By `pgweir.user_lookup`, `pg_authid` or `cluster.auth_query`: it was done once.
    Works(&'static str),
    /// Not at all.
    NotAllowed,
    /// The query failed, with these words.
    Fails(String),
}

/// What is asked of the answers.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// The cluster's own role.
    pub role: &'a str,
    /// The database that it connects to.
    pub database: &'a str,
    /// Server connections of one pool.
    pub pool_max: u64,
}

impl<'a> Wanted<'a> {
    /// By a configuration.
    pub fn of(config: &'a Config) -> Self {
        let pool_max = match config.pool.node_connections_max {
            0 => config.pool.server_connections_max,
            bound => bound.min(config.pool.server_connections_max),
        };
        Self { role: &config.cluster.user, database: &config.cluster.database, pool_max: pool_max as u64 }
    }
}

/// All that there is to say, nodes first, in the order of the configuration.
pub fn judge(nodes: &[(String, Result<Answer, NoEntry>)], wanted: &Wanted<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        nodes.iter().flat_map(|(name, outcome)| node(name, outcome, wanted)).collect();
    let answers: Vec<(&str, &Answer)> =
        nodes.iter().filter_map(|(name, outcome)| Some((name.as_str(), outcome.as_ref().ok()?))).collect();
    let primaries: Vec<_> = answers.iter().filter(|(_, a)| !a.is_replica).collect();
    match primaries[..] {
        [(name, primary)] => {
            findings.push(Finding::good(format!("{name} is the primary")));
            findings.extend(of_primary(name, primary, wanted));
        }
        [] if answers.is_empty() => findings.push(Finding::mistake(
            "no node let pgweir in: nothing more could be looked at",
            "mend what is said above, and run this again",
        )),
        [] => findings.push(Finding::mistake(
            "none of the nodes is a primary: writes would wait, then fail with 57P03",
            "add the primary's address to `nodes` in [cluster]",
        )),
        _ => {
            let names: Vec<_> = primaries.iter().map(|(name, _)| *name).collect();
            findings.push(Finding::mistake(
                format!("{} take writes: only one of them can be the primary", names.join(" and ")),
                "leave in `nodes` only the primary and its streaming replicas; stop a former primary",
            ));
        }
    }
    findings.extend(together(&answers));
    findings
}

/// What one node is told of.
fn node(name: &str, outcome: &Result<Answer, NoEntry>, wanted: &Wanted<'_>) -> Vec<Finding> {
    let answer = match outcome {
        Ok(answer) => answer,
        Err(no_entry) => return vec![kept_out(name, no_entry, wanted)],
    };
    let kind = if answer.is_replica { "a replica" } else { "takes writes" };
    let mut findings = vec![Finding::good(format!(
        "{name}: log-in as \"{}\", PostgreSQL {}, {kind}",
        wanted.role,
        version(answer.version)
    ))];
    let major = answer.version / 10_000;
    if !VERSIONS.contains(&major) {
        let text =
            format!("{name}: pgweir is tested with PostgreSQL {} to {}", VERSIONS.start(), VERSIONS.end());
        findings.push(Finding::warning(text, "upgrade this node"));
    }
    if answer.system.is_none() {
        findings.push(Finding::mistake(
            format!("{name}: the role may not run pg_control_system(), which tells clusters apart"),
            format!(
                "psql -d {}: GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO {}",
                wanted.database,
                quoted(wanted.role)
            ),
        ));
    }
    if answer.leads_elsewhere {
        findings.push(Finding::mistake(
            format!("{name} leads to several servers: what is learnt of one would be believed of another"),
            "name each server by an address of its own in `nodes`, not a load balancer or a name with several addresses",
        ));
    }
    if let Some(words) = &answer.not_admitted {
        findings.push(Finding::warning(
            format!("{name}: pg_hba.conf does not admit every user to every database from here: {words}"),
            admit(answer.our_address.as_deref()),
        ));
    }
    if answer.apply_delay_ms > 0 {
        findings.push(Finding::warning(
            format!(
                "{name}: recovery_min_apply_delay is {} ms: reads that want fresh data will not use it",
                answer.apply_delay_ms
            ),
            format!("give the node a group of its own: {{ address = \"{name}\", groups = [\"delayed\"] }}"),
        ));
    }
    if answer.connections_max < wanted.pool_max {
        findings.push(Finding::warning(
            format!(
                "{name}: max_connections leaves {} connections, one pool may open {}",
                answer.connections_max, wanted.pool_max
            ),
            format!(
                "set pool.node_connections_max = {} in pgweir.toml, or raise max_connections",
                answer.connections_max
            ),
        ));
    }
    findings
}

/// Why we are not in, and how to get in.
fn kept_out(name: &str, no_entry: &NoEntry, wanted: &Wanted<'_>) -> Finding {
    let role = wanted.role;
    let psql = |sql: &str| format!("psql -h PRIMARY -U postgres -d postgres -c \"{sql}\"");
    let (text, remedy) = match no_entry {
        NoEntry::PasswordMissing => (
            "it asks for a password, and cluster.password is not set".to_owned(),
            format!(
                "set `password` in [cluster] (or `password_file`, or PGWEIR_CLUSTER_PASSWORD) to the password of \"{role}\"; to give it one: {}",
                psql(&format!("\\password {role}"))
            ),
        ),
        NoEntry::Unreached(why) => (
            format!("nothing answers: {why}"),
            "is Postgres running there, does listen_addresses hold that address, does a firewall let it through?"
                .to_owned(),
        ),
        NoEntry::Strange(why) => (format!("it answers, and pgweir does not log in: {why}"), on_strange(why)),
        NoEntry::Refused { message, .. } if message.contains("pg_hba.conf") => {
            (no_entry.to_string(), admit(address_in(message)))
        }
        NoEntry::Refused { sqlstate, .. } if sqlstate == "28P01" => (
            no_entry.to_string(),
            format!(
                "the password in pgweir.toml is not the role's, or the role does not exist; to make it: {MAKE_ROLE}; to give it a password: {}",
                psql(&format!("\\password {role}"))
            ),
        ),
        NoEntry::Refused { sqlstate, .. } if sqlstate == "28000" => (
            no_entry.to_string(),
            format!("{MAKE_ROLE}, or: pgweir init --primary HOST:PORT"),
        ),
        NoEntry::Refused { sqlstate, .. } if sqlstate == "3D000" => (
            no_entry.to_string(),
            "set `database` in [cluster] to one that exists".to_owned(),
        ),
        NoEntry::Refused { sqlstate, .. } if sqlstate == "42501" => (
            no_entry.to_string(),
            psql(&format!("GRANT CONNECT ON DATABASE {} TO {}", wanted.database, quoted(role))),
        ),
        NoEntry::Refused { sqlstate, .. } if sqlstate == "53300" => {
            (no_entry.to_string(), "raise max_connections on that node, or close what is idle".to_owned())
        }
        NoEntry::Refused { .. } => (no_entry.to_string(), "that node's own log says more".to_owned()),
    };
    Finding::mistake(format!("{name}: {text}"), remedy)
}

/// What to do where something answers that pgweir may not log in to.
fn on_strange(why: &str) -> String {
    let remedy = if why.contains("require_auth") {
        "let that node's pg_hba.conf say scram-sha-256, or add what it asks for to `require_auth` in [cluster]"
    } else if why.contains("does not support TLS") {
        "set ssl = on on that node, or, where nobody can listen on the way to it, `tls.mode = \"prefer\"` in [cluster]"
    } else if why.contains("certificate") {
        "`tls.ca` in [cluster] must hold the authority that signed that node's certificate, and `nodes` the name that it is made out to"
    } else {
        "is this the port of Postgres? Another program may listen there"
    };
    remedy.to_owned()
}

/// What only the primary is asked.
pub fn of_primary(name: &str, primary: &Answer, wanted: &Wanted<'_>) -> Vec<Finding> {
    let mut findings = vec![];
    let role = quoted(wanted.role);
    let rights = &primary.rights;
    if rights.monitor {
        findings.push(Finding::good("right to monitor: member of pg_monitor"));
    } else {
        findings.push(Finding::mistake(
            format!("right to monitor: \"{}\" is not a member of pg_monitor", wanted.role),
            format!("GRANT pg_monitor TO {role};"),
        ));
    }
    findings.push(match &rights.lookup {
        None => Finding::good("right to look users up: not needed, every [[user]] has a password here"),
        Some(Lookup::Works(how)) => Finding::good(format!("right to look users up: by {how}")),
        Some(Lookup::NotAllowed) => Finding::mistake(
            "right to look users up: neither pgweir.user_lookup(text) nor pg_authid may be read, so that no user can log in",
            format!("{MAKE_ROLE}; or list the users in [[user]]"),
        ),
        Some(Lookup::Fails(words)) => Finding::mistake(
            format!("right to look users up: {words}"),
            "mend `auth_query` in [cluster]; it is asked with one parameter, the user's name",
        ),
    });
    if rights.closed.is_empty() {
        findings.push(Finding::good("right to connect: every database"));
    }
    for database in &rights.closed {
        findings.push(Finding::warning(
            format!(
                "right to connect: not to the database \"{database}\", whose reads would stay on the primary"
            ),
            format!("GRANT CONNECT ON DATABASE {} TO {role};", quoted(database)),
        ));
    }
    findings.extend(synchronous_commit(name, primary));
    findings
}

/// Whether acknowledged commits are in the log at once, and so soon on replicas.
fn synchronous_commit(name: &str, primary: &Answer) -> Vec<Finding> {
    if primary.synchronous_commit == "off" {
        return vec![Finding::warning(
            format!(
                "{name}: synchronous_commit is off: commits reach replicas up to three times wal_writer_delay later, and reads that wait for them run on the primary"
            ),
            "ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf();  or raise routing.freshness_wait",
        )];
    }
    let others = primary.asynchronous.iter().map(|whose| {
        Finding::warning(
            format!("{name}: synchronous_commit is off for {whose}: reads that wait for its commits mostly run on the primary"),
            format!("ALTER {} RESET synchronous_commit;", whose.replacen("role", "ROLE", 1).replacen("database", "DATABASE", 1)),
        )
    });
    let mut findings: Vec<_> = others.collect();
    if findings.is_empty() {
        findings.push(Finding::good(format!("synchronous_commit is {}", primary.synchronous_commit)));
    }
    findings
}

/// What follows from all answers together.
fn together(answers: &[(&str, &Answer)]) -> Vec<Finding> {
    let mut findings = vec![];
    let mut systems: Vec<(i64, Vec<&str>)> = vec![];
    for (name, answer) in answers {
        let Some(system) = answer.system else { continue };
        match systems.iter_mut().find(|(known, _)| *known == system) {
            Some((_, names)) => names.push(name),
            None => systems.push((system, vec![name])),
        }
    }
    match &systems[..] {
        [] => {}
        [(system, _)] => {
            findings.push(Finding::good(format!("one cluster: system identifier {}", *system as u64)))
        }
        several => {
            let said: Vec<_> = several
                .iter()
                .map(|(system, names)| format!("{} ({})", *system as u64, names.join(", ")))
                .collect();
            findings.push(Finding::mistake(
                format!(
                    "the nodes are of {} clusters, by system identifier: {}",
                    several.len(),
                    said.join("; ")
                ),
                "leave in `nodes` those of one cluster: one pgweir serves one cluster",
            ));
        }
    }
    for (i, (name, answer)) in answers.iter().enumerate() {
        let twin = |(_, other): &&(&str, &Answer)| {
            other.started == answer.started && other.system == answer.system && !other.leads_elsewhere
        };
        if let Some((other, _)) = answers[..i].iter().find(twin).filter(|_| !answer.leads_elsewhere) {
            findings.push(Finding::mistake(
                format!("{name} and {other} are the same server"),
                "leave one of the two addresses in `nodes`",
            ));
        }
    }
    let mut majors: Vec<u32> = answers.iter().map(|(_, answer)| answer.version / 10_000).collect();
    majors.sort_unstable();
    majors.dedup();
    if majors.len() > 1 {
        let text =
            format!("the nodes run {} major versions of PostgreSQL: streaming replicas cannot", majors.len());
        findings.push(Finding::mistake(text, "leave in `nodes` those of one cluster"));
    }
    findings
}

/// The line that lets us in, and where it goes.
fn admit(our_address: Option<&str>) -> String {
    let line = match our_address {
        Some(address) if address.contains(':') => format!("host all all {address}/128 scram-sha-256"),
        Some(address) => format!("host all all {address}/32 scram-sha-256"),
        None => "local all all scram-sha-256".to_owned(),
    };
    format!("add to that node's pg_hba.conf:  {line}   then: SELECT pg_reload_conf();")
}

/// The address that Postgres names in `no pg_hba.conf entry for host "10.0.0.9", …`.
fn address_in(message: &str) -> Option<&str> {
    let quoted = message.split('"').nth(1)?;
    quoted.parse::<std::net::IpAddr>().ok().map(|_| quoted)
}

fn version(number: u32) -> String {
    format!("{}.{}", number / 10_000, number % 10_000)
}

/// As an identifier in SQL.
pub fn quoted(name: &str) -> String {
    let plain = !name.is_empty()
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
