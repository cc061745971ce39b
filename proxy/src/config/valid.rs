//! From what is written to what is valid: each section becomes its struct, each mistake is noted.

use super::nodes::nodes;
use super::own_directory;
use super::reader::{Reader, Section};
use super::sources::{Find, Patroni, Standbys};
use super::value::Off;
use super::{
    Auth, AuthMethod, AuthRule, CertificateCheck, Cluster, Config, ConnectionKind, Console, Fleet, Http,
    HttpTls, Limits, Listen, ListenTls, Log, LostListeners, LostWrites, Pool, PoolMode, Promises, Proof,
    Routing, Runtime, Secret, ServerAuth, ServerTls, SslMode, Traces, User, WhenLate,
};
use crate::limits::FORWARDS_MAX;
use router_rules::hint::Consistency;
use router_rules::rules::{Act, Network, Rule, Rules, When, WhenUnknown};
use router_rules::{Policy, Target};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The file in pgweir's own directory that holds the certificate it makes for itself, with its key.
const MADE_CERTIFICATE: &str = "tls.pem";

/// Where relative paths start, and what the environment says.
pub(super) struct Surroundings<'s> {
    pub directory: &'s Path,
    pub environment: &'s dyn Fn(&str) -> Option<String>,
    /// Every user of the machine may read the configuration file.
    pub is_exposed: bool,
}

/// The whole configuration. It is only worth something while the reader is clean.
pub(super) fn config(top: &Section<'_, '_>, reader: &Reader<'_>, around: &Surroundings<'_>) -> Config {
    let cluster = cluster(&top.section("cluster"), reader, around);
    let policy = policy(top, &cluster, reader);
    warn_of_sections_together(top, &cluster);
    let routing = top.section("routing");
    let runtime = top.section("runtime");
    let own = match runtime.read_optional::<PathBuf>("directory") {
        Some(directory) => around.directory.join(directory),
        None => own_directory::usual(around.environment),
    };
    Config {
        listen: listen(&top.section("listen"), &own, around),
        http: http(&top.section("http"), around),
        fleet: fleet(&top.section("fleet"), around),
        pool: pool(&top.section("pool")),
        runtime: Runtime {
            threads: runtime.read_optional("threads").unwrap_or_else(cores),
            watch_config: runtime.read("watch_config"),
            directory: own.clone(),
        },
        policy: Arc::new(policy),
        routing: Routing {
            freshness_wait: routing.read("freshness_wait"),
            when_late: match routing.read::<String>("when_late").as_str() {
                "primary" => WhenLate::Primary,
                "balance" => WhenLate::Balance,
                _ => WhenLate::Wait,
            },
            split: routing.read("split"),
            cache_bytes_max: routing.read("cache_bytes_max"),
        },
        limits: limits(&top.section("limits")),
        users: users(top, around),
        auth: auth(&top.section("auth")),
        console: console(&top.section("console")),
        traces: traces(&top.section("traces"), around),
        log: log(&top.section("log")),
        entries: vec![],
        cluster,
    }
}

/// What each section allows, and all of them together do not.
fn warn_of_sections_together(top: &Section<'_, '_>, cluster: &Cluster) {
    let (listen, http, auth) = (top.section("listen"), top.section("http"), top.section("auth"));
    let ports: Vec<SocketAddr> = listen.read_optional("address").unwrap_or_default();
    if let Some(Off(Some(address))) = http.read_optional::<Off<SocketAddr>>("address")
        && ports.iter().any(|listen| meet(listen, &address))
    {
        http.mistake_in(
            "address",
            format!("`address`: {address} is in [listen] as well; HTTP needs a port of its own"),
        );
    }
    let has_tls = listen.section("tls").written("certificate").is_some();
    for rule in auth.sections("rule") {
        if !has_tls && rule.read_optional::<String>("method").as_deref() == Some("password") {
            rule.warning_in(
                "method",
                "`password` is asked for over TLS or a Unix socket only: without [listen.tls] nobody gets in by TCP",
            );
        }
    }
    let alone = cluster.nodes.iter().filter(|node| node.groups.is_empty()).count();
    if alone == 1 && cluster.nodes.len() > 1 && cluster.sources.is_empty() {
        top.section("cluster").warning_in(
            "nodes",
            "only one node is in no group: while it is the primary, reads of no group stay there",
        );
    }
}

/// Two addresses that cannot both be opened.
fn meet(a: &SocketAddr, b: &SocketAddr) -> bool {
    a.port() == b.port()
        && a.port() != 0
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

fn listen(section: &Section<'_, '_>, own: &Path, around: &Surroundings<'_>) -> Listen {
    let addresses: Vec<SocketAddr> = section.read("address");
    let directories: Vec<PathBuf> = section.read("unix_directories");
    if addresses.is_empty() {
        section.mistake_in("address", "`address`: at least one address is needed");
    }
    if let Some(twice) = duplicate(&addresses) {
        section.mistake_in("address", format!("`address`: {twice} is there twice"));
    }
    Listen {
        addresses,
        unix_directories: directories.into_iter().map(|d| around.directory.join(d)).collect(),
        share_address: section.read("share_address"),
        proxy_protocol: section.read("proxy_protocol"),
        proxy_protocol_from: section.read("proxy_protocol_from"),
        tls: listen_tls(&section.section("tls"), own, around),
    }
}

fn listen_tls(tls: &Section<'_, '_>, own: &Path, around: &Surroundings<'_>) -> Option<ListenTls> {
    let (required, is_off) = (tls.read("required"), tls.read::<String>("mode") == "off");
    let requires_certificate = tls.read::<String>("client_certificate") == "require";
    if tls.written("client_ca").is_none() {
        let needs_ca = "client certificates cannot be verified without `client_ca`";
        if requires_certificate {
            tls.mistake_in("client_certificate", format!("`client_certificate`: {needs_ca}"));
        }
        if tls.written("client_crl").is_some() {
            tls.mistake_in("client_crl", format!("`client_crl`: {needs_ca}"));
        }
    }
    if is_off && (required || requires_certificate) {
        tls.mistake_in("mode", "`mode`: TLS cannot be required of clients while it is off");
    }
    let is_made = tls.written("certificate").is_none() && tls.written("key").is_none();
    let (certificate, key) = match is_made {
        true => (own.join(MADE_CERTIFICATE), own.join(MADE_CERTIFICATE)),
        false => certificate_and_key(tls, around)?,
    };
    let read = ListenTls {
        required,
        certificate,
        key,
        is_made,
        client_ca: pem(tls, "client_ca", around),
        client_crl: tls.read_optional::<PathBuf>("client_crl").map(|path| around.directory.join(path)),
        requires_certificate,
    };
    (!is_off).then_some(read)
}

fn http(section: &Section<'_, '_>, around: &Surroundings<'_>) -> Http {
    let address = section.read::<Off<SocketAddr>>("address").0;
    let token = secret(section, "token", "PGWEIR_HTTP_TOKEN", around);
    if address.is_some_and(|a| !a.ip().is_loopback()) && token.is_none() {
        section.warning_in("address", "the status page and the metrics can be read by everybody who reaches this address; set `token`, or listen on loopback");
    }
    let tls = certificate_and_key(&section.section("tls"), around);
    let hosts = section.read("hosts");
    Http { address, token, hosts, tls: tls.map(|(certificate, key)| HttpTls { certificate, key }) }
}

/// What nodes may ask for. Passwords in clear leave only where it is said so, and not without a word.
fn server_auth(section: &Section<'_, '_>, mode: SslMode) -> ServerAuth {
    let words: Vec<String> = section.read("require_auth");
    let proof = |word: &String| match word.as_str() {
        "password" => Proof::Password,
        "md5" => Proof::Md5,
        "none" => Proof::None,
        _ => Proof::ScramSha256,
    };
    let auth = ServerAuth(words.iter().map(proof).collect());
    if auth.0.is_empty() {
        section.mistake_in("require_auth", "`require_auth`: no node could let pgweir in");
    }
    if auth.allows(Proof::Password) && !matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull) {
        let why =
            "nothing proves who a node is with this `tls.mode`: passwords may leave in clear, to anybody";
        section.warning_in("require_auth", format!("{why}; set `tls.mode = \"verify-full\"`"));
    }
    auth
}

fn cluster(section: &Section<'_, '_>, reader: &Reader<'_>, around: &Surroundings<'_>) -> Cluster {
    let tls = section.section("tls");
    let mode = match tls.read::<String>("mode").as_str() {
        "disable" => SslMode::Disable,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => SslMode::Prefer,
    };
    let ca = pem(&tls, "ca", around);
    if matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull) && tls.written("ca").is_none() {
        tls.mistake_in("mode", "`mode`: the servers' certificates cannot be verified without `ca`");
    }
    let pair = certificate_and_key_if_any(&tls, around);
    let (nodes, sources) = nodes(section, reader);
    let cluster = Cluster {
        nodes,
        sources,
        find: find(section, around),
        user: section.read("user"),
        password: secret(section, "password", "PGWEIR_CLUSTER_PASSWORD", around),
        database: section.read("database"),
        auth_query: section.read_optional("auth_query"),
        tls: ServerTls {
            mode,
            ca,
            certificate: pair.as_ref().map(|p| p.0.clone()),
            key: pair.map(|p| p.1),
            auth: server_auth(section, mode),
        },
        zone: section.read_optional("zone"),
        probe_interval: section.read("probe_interval"),
        probe_interval_fast: section.read("probe_interval_fast"),
        probe_timeout: section.read("probe_timeout"),
        primary_wait: section.read("primary_wait"),
        fleet: match section.read::<String>("fleet").as_str() {
            "alone" => Promises::Alone,
            _ => Promises::Exact,
        },
        lost_writes: match section.read::<String>("lost_writes").as_str() {
            "end" => LostWrites::End,
            _ => LostWrites::Warn,
        },
        lost_listeners: match section.read::<String>("lost_listeners").as_str() {
            "end" => LostListeners::End,
            _ => LostListeners::ListenAgain,
        },
        commit_outcome: section.read("commit_outcome"),
    };
    if cluster.auth_query.as_ref().is_some_and(|q| !q.contains("$1")) {
        section.mistake_in("auth_query", "`auth_query`: it needs the parameter $1, the user's name");
    }
    if cluster.probe_interval_fast > cluster.probe_interval {
        section.mistake_in(
            "probe_interval_fast",
            "`probe_interval_fast` must not be longer than `probe_interval`",
        );
    }
    if let Some(zone) = &cluster.zone
        && cluster.kinds_of_nodes().all(|n| n.zone.as_ref() != Some(zone))
    {
        section.warning_in("zone", format!("no node is in zone \"{zone}\": it has no effect"));
    }
    cluster
}

/// How nodes are looked for that are not written down.
fn find(cluster: &Section<'_, '_>, around: &Surroundings<'_>) -> Find {
    let (find, patroni) = (cluster.section("find"), cluster.section("patroni"));
    let pair = certificate_and_key_if_any(&patroni, around);
    let read = Patroni {
        ca: pem(&patroni, "ca", around),
        certificate: pair.as_ref().map(|p| p.0.clone()),
        key: pair.map(|p| p.1),
        user: patroni.read_optional("user"),
        password: secret(&patroni, "password", "", around),
        token: secret(&patroni, "token", "", around),
    };
    if read.password.is_some() && read.user.is_none() {
        patroni.mistake_in("password", "`password` needs its `user`");
    }
    if read.token.is_some() && read.user.is_some() {
        patroni.mistake_in("token", "`token` and `user`: only one of them");
    }
    Find {
        interval: find.read("interval"),
        timeout: find.read("timeout"),
        resolvers: find.read_optional("resolver").unwrap_or_default(),
        standbys: match find.read::<String>("standbys").as_str() {
            "off" => Standbys::Off,
            "take" => Standbys::Take,
            _ => Standbys::Offer,
        },
        patroni: read,
    }
}

/// Long enough to be never, short enough to be added to a clock.
pub(super) const NEVER: Duration = Duration::from_secs(30 * 365 * 86_400);

/// Shorter ones can be guessed by who sees a datagram.
const FLEET_SECRET_BYTES_MIN: usize = 16;

fn fleet(section: &Section<'_, '_>, around: &Surroundings<'_>) -> Fleet {
    let fleet = Fleet {
        listen: section.read::<Off<SocketAddr>>("listen").0,
        peers: section.read("peers"),
        secret: secret(section, "secret", "", around),
    };
    for peer in &fleet.peers {
        let is_address = peer.rsplit_once(':').is_some_and(|(host, port)| {
            let port = port.parse::<u16>().is_ok_and(|port| port > 0);
            port && super::node_address(peer).is_ok() && !host.starts_with('/')
        });
        if !is_address {
            section.mistake_in("peers", format!("`peers`: \"{}\" is not host:port", peer.escape_debug()));
        }
    }
    if fleet.peers.len() > FORWARDS_MAX {
        section.mistake_in("peers", format!("`peers`: {FORWARDS_MAX} at most"));
    }
    match &fleet.secret {
        None if fleet.listen.is_some() || !fleet.peers.is_empty() => {
            section.mistake("[fleet] needs a `secret` that all its pgweirs have in common");
        }
        Some(secret) if secret.0.len() < FLEET_SECRET_BYTES_MIN => {
            section.mistake_in("secret", format!("`secret`: {FLEET_SECRET_BYTES_MIN} characters at least"));
        }
        _ => {}
    }
    fleet
}

fn pool(section: &Section<'_, '_>) -> Pool {
    let pool = Pool {
        server_connections_max: section.read("server_connections_max"),
        server_connections_reserve: section.read("server_connections_reserve"),
        reserve_after: section.read("reserve_after"),
        server_connections_min: section.read("server_connections_min"),
        warm_at: section.read("warm_at"),
        node_connections_max: section.read("node_connections_max"),
        node_connections_shared: section.read("node_connections_shared"),
        mode: pool_mode(&section.read::<String>("mode")),
        lease_wait: section.read("lease_wait"),
        // A notice that comes later than the end of the wait never comes.
        lease_wait_notice: section.read::<Off<_>>("lease_wait_notice").0.unwrap_or(NEVER),
        server_idle: section.read::<Off<_>>("server_idle").0.unwrap_or(NEVER),
        server_lifetime: section.read::<Off<_>>("server_lifetime").0.unwrap_or(NEVER),
        server_connect: section.read("server_connect"),
        server_statements_max: section.read("server_statements_max"),
    };
    if pool.server_connections_min > pool.server_connections_max {
        section.mistake_in(
            "server_connections_min",
            "`server_connections_min` must not be larger than `server_connections_max`",
        );
    }
    if pool.node_connections_max > 0 && pool.node_connections_max < pool.server_connections_max {
        section.warning_in(
            "node_connections_max",
            "smaller than `server_connections_max`: no pool can grow as large as that",
        );
    }
    if pool.node_connections_shared && pool.node_connections_max == 0 {
        section.warning_in("node_connections_shared", "without effect: set `node_connections_max`, which is shared");
    }
    pool
}

fn pool_mode(word: &str) -> PoolMode {
    if word == "session" { PoolMode::Session } else { PoolMode::Transaction }
}

fn limits(section: &Section<'_, '_>) -> Limits {
    let count = |name: &str| Some(section.read::<usize>(name)).filter(|n| *n > 0);
    let time = |name: &str| section.read::<Off<Duration>>(name).0;
    Limits {
        clients_max: section.read("clients_max"),
        logins_max: section.read("logins_max"),
        user_clients_max: count("user_clients_max"),
        database_clients_max: count("database_clients_max"),
        login: section.read("login"),
        client_idle: time("client_idle"),
        transaction_idle: time("transaction_idle"),
        query: time("query"),
        transaction: time("transaction"),
        drain: section.read("drain"),
    }
}

fn users(top: &Section<'_, '_>, around: &Surroundings<'_>) -> Vec<User> {
    let mut users: Vec<User> = vec![];
    for section in top.sections("user") {
        let Some(name) = section.read_required::<String>("name") else { continue };
        if users.iter().any(|u| u.name == name) {
            section.mistake_in("name", format!("user \"{}\" is there twice", name.escape_debug()));
        }
        users.push(User {
            password: secret(&section, "password", "", around),
            mode: section.read_optional::<String>("mode").map(|m| pool_mode(&m)),
            server_connections_max: section.read_optional("server_connections_max"),
            name,
        });
    }
    users
}

fn auth(section: &Section<'_, '_>) -> Auth {
    let rule = |rule: &Section<'_, '_>| {
        let method = match rule.read_required::<String>("method")?.as_str() {
            "md5" => AuthMethod::Md5,
            "password" => AuthMethod::Password,
            "certificate" => AuthMethod::Certificate,
            "trust" => AuthMethod::Trust,
            "reject" => AuthMethod::Reject,
            _ => AuthMethod::ScramSha256,
        };
        let address = rule.read_optional::<String>("address").and_then(|text| {
            text.parse::<Network>().map_err(|m| rule.mistake_in("address", format!("`address`: {m}"))).ok()
        });
        if method == AuthMethod::Trust && address.is_none_or(|a| !a.address.is_loopback()) {
            rule.warning_in("method", "`trust` lets everybody in who reaches the port, as any user");
        }
        let connection = match rule.read::<String>("connection").as_str() {
            "local" => ConnectionKind::Local,
            "host" => ConnectionKind::Host,
            "hostssl" => ConnectionKind::HostSsl,
            "hostnossl" => ConnectionKind::HostNoSsl,
            _ => ConnectionKind::Any,
        };
        Some(AuthRule {
            connection,
            databases: rule.read("database"),
            users: rule.read("user"),
            address: address.map(|n| (n.address, n.prefix)),
            method,
            client_certificate: rule.read_optional::<String>("client_certificate").map(|check| {
                match check.as_str() {
                    "verify-full" => CertificateCheck::Full,
                    _ => CertificateCheck::Ca,
                }
            }),
        })
    };
    let sections = section.sections("rule");
    let rules: Vec<AuthRule> = sections.iter().filter_map(rule).collect();
    let for_all = |r: &AuthRule| r.databases.is_empty() && r.users.is_empty() && r.address.is_none();
    if sections.len() == rules.len()
        && let Some(last) = rules.iter().position(for_all)
        && let Some(next) = sections.get(last + 1)
    {
        next.warning_in("method", "never reached: the rule before it is for everybody, everywhere");
    }
    Auth { rules }
}

fn console(section: &Section<'_, '_>) -> Console {
    Console { admin_users: section.read("admin_users"), stats_users: section.read("stats_users") }
}

fn traces(section: &Section<'_, '_>, around: &Surroundings<'_>) -> Option<Traces> {
    let ratio = section.read("ratio");
    let ca = pem(section, "ca", around);
    let url = section.read_optional::<String>("endpoint")?;
    match endpoint(&url) {
        Ok(url) => Some(Traces { url, ca, ratio }),
        Err(message) => {
            section.mistake_in("endpoint", format!("`endpoint`: {message}"));
            None
        }
    }
}

/// The URL with what OTLP has for defaults where port or path are left out.
fn endpoint(url: &str) -> Result<String, String> {
    let scheme = ["http://", "https://"].into_iter().find(|scheme| url.starts_with(scheme));
    let Some(scheme) = scheme else {
        return Err("expected a URL such as \"http://127.0.0.1:4318/v1/traces\"".into());
    };
    let rest = &url[scheme.len()..];
    let strange = |c: char| c.is_whitespace() || c.is_control() || !c.is_ascii();
    if rest.contains(strange) || rest.contains(['@', '?', '#']) {
        return Err("expected host, port and path only".into());
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    let authority = if has_port { authority.to_owned() } else { format!("{authority}:4318") };
    let wrong = || format!("`{authority}` is not host:port");
    let (host, port) = authority.rsplit_once(':').ok_or_else(wrong)?;
    if host.is_empty() || !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(wrong());
    }
    let path = if matches!(path, "" | "/") { "/v1/traces" } else { path };
    Ok(format!("{scheme}{authority}{path}"))
}

fn log(section: &Section<'_, '_>) -> Log {
    let log = Log {
        json: section.read::<String>("format") == "json",
        filter: section.read("filter"),
        slow_statement: section.read::<Off<_>>("slow_statement").0,
        slow_lease: section.read::<Off<_>>("slow_lease").0,
    };
    if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(&log.filter) {
        section.mistake_in("filter", format!("`filter`: {error}"));
    }
    log
}

fn policy(top: &Section<'_, '_>, cluster: &Cluster, reader: &Reader<'_>) -> Policy {
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
            user: section.read_optional("user"),
            database: section.read_optional("database"),
            application_name: section.read_optional("application_name"),
            client_address: section.read_optional("client_address"),
            schema: section.read_optional("schema"),
            table: section.read_optional("table"),
            function: section.read_optional("function"),
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

/// The value of `name`, or the content of the file `<name>_file`, or the environment variable.
fn secret(
    section: &Section<'_, '_>,
    name: &str,
    variable: &str,
    around: &Surroundings<'_>,
) -> Option<Secret> {
    let file_key = format!("{name}_file");
    if section.written(name).is_some() && section.written(&file_key).is_some() {
        section.mistake_in(&file_key, format!("`{name}` and `{file_key}`: only one of them"));
    }
    if let Some(value) = section.read_optional::<String>(name) {
        if around.is_exposed {
            let what = "a secret in a file that every user of this machine may read: chmod o-r, or use";
            section.warning_in(name, format!("{what} `{file_key}`"));
        }
        return Some(Secret(value));
    }
    if let Some(path) = section.read_optional::<PathBuf>(&file_key) {
        let path = around.directory.join(path);
        warn_if_exposed(section, &file_key, &path);
        return match super::files::read_secret(&path) {
            Ok(value) => Some(Secret(value)),
            Err(message) => {
                section.mistake_in(&file_key, format!("`{file_key}`: {}: {message}", path.display()));
                None
            }
        };
    }
    (around.environment)(variable).filter(|value| !value.is_empty()).map(Secret)
}

/// Both, where the section is there; each one missing is a mistake.
fn certificate_and_key(section: &Section<'_, '_>, around: &Surroundings<'_>) -> Option<(PathBuf, PathBuf)> {
    if section.is_there() && section.written("certificate").is_none() && section.written("key").is_none() {
        section.mistake("`certificate` and `key` are missing");
    }
    certificate_and_key_if_any(section, around)
}

fn certificate_and_key_if_any(
    section: &Section<'_, '_>,
    around: &Surroundings<'_>,
) -> Option<(PathBuf, PathBuf)> {
    match (section.written("certificate").is_some(), section.written("key").is_some()) {
        (true, false) => section.mistake_in("certificate", "`certificate` needs its `key`"),
        (false, true) => section.mistake_in("key", "`key` needs its `certificate`"),
        _ => {}
    }
    Some((pem(section, "certificate", around)?, pem(section, "key", around)?))
}

/// A path to a PEM file that holds what it should.
fn pem(section: &Section<'_, '_>, name: &str, around: &Surroundings<'_>) -> Option<PathBuf> {
    let path = around.directory.join(section.read_optional::<PathBuf>(name)?);
    if let Err(message) = super::files::check_pem(&path, name == "key") {
        section.mistake_in(name, format!("`{name}`: {}: {message}", path.display()));
    }
    if name == "key" {
        warn_if_exposed(section, name, &path);
    }
    Some(path)
}

/// A file with a secret is its owner's, or its group's.
fn warn_if_exposed(section: &Section<'_, '_>, name: &str, path: &Path) {
    if super::files::is_exposed(path) {
        let what = "every user of this machine may read it: chmod o-r";
        section.warning_in(name, format!("`{name}`: {}: {what}", path.display()));
    }
}

fn duplicate<T: PartialEq>(values: &[T]) -> Option<&T> {
    values.iter().enumerate().find(|(i, v)| values[..*i].contains(v)).map(|(_, v)| v)
}
