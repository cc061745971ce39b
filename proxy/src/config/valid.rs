//! From what is written to what is valid: each section becomes its struct, each mistake is noted.

mod cluster;
mod log;
mod names;
mod routing;
mod secrets;
mod together;

use names::names;
use secrets::{certificate_and_key, pem, secret};

use super::own_directory;
use super::reader::{Reader, Section};
use super::value::Off;
use super::{
    Auth, AuthMethod, AuthRule, CertificateCheck, Config, ConnectionKind, Console, Http, HttpTls, Limits,
    Listen, ListenTls, Pool, PoolMode, Routing, Runtime, Traces, User, WhenLate,
};
use router_rules::cut_name;
use router_rules::rules::Network;
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
    let cluster = cluster::cluster(&top.section("cluster"), reader, around);
    let policy = routing::policy(top, &cluster, reader);
    together::look(top, &cluster);
    let routing = top.section("routing");
    let runtime = top.section("runtime");
    let own = match runtime.read_optional::<PathBuf>("directory") {
        Some(directory) => around.directory.join(directory),
        None => own_directory::usual(around.environment),
    };
    Config {
        listen: listen(&top.section("listen"), &own, around),
        http: http(&top.section("http"), around),
        fleet: cluster::fleet(&top.section("fleet"), around),
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
        log: log::log(&top.section("log"), around),
        entries: vec![],
        cluster,
    }
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
    let proxies: Vec<Network> = section.read("proxy_protocol_from");
    if !section.read::<bool>("proxy_protocol") && !proxies.is_empty() {
        let text = "`proxy_protocol_from`: it has no effect without `proxy_protocol = true`";
        section.mistake_in("proxy_protocol_from", text);
    }
    Listen {
        addresses,
        unix_directories: directories.into_iter().map(|d| around.directory.join(d)).collect(),
        share_address: section.read("share_address"),
        proxy_protocol: section.read("proxy_protocol"),
        proxy_protocol_from: proxies,
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

/// Long enough to be never, short enough to be added to a clock.
pub(super) const NEVER: Duration = Duration::from_secs(30 * 365 * 86_400);

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
        section.warning_in(
            "node_connections_shared",
            "without effect: set `node_connections_max`, which is shared",
        );
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
        let name = cut_name(&name).to_owned();
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
            rule.warning_in("method", "`trust` asks for no password: whoever meets this rule is let in");
        }
        let connection = match rule.read::<String>("connection").as_str() {
            "local" => ConnectionKind::Local,
            "host" => ConnectionKind::Host,
            "hostssl" => ConnectionKind::HostSsl,
            "hostnossl" => ConnectionKind::HostNoSsl,
            _ => ConnectionKind::Any,
        };
        if address.is_some() && connection == ConnectionKind::Local {
            rule.warning_in("address", "never met: a Unix socket has no address");
        }
        Some(AuthRule {
            connection,
            databases: names(rule, "database"),
            users: names(rule, "user"),
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
    let for_all = |r: &AuthRule| {
        let anywhere = r.address.is_none() && r.connection == ConnectionKind::Any;
        r.databases.is_empty() && r.users.is_empty() && anywhere && r.client_certificate.is_none()
    };
    if sections.len() == rules.len()
        && let Some(last) = rules.iter().position(for_all)
        && let Some(next) = sections.get(last + 1)
    {
        next.warning_in("method", "never reached: the rule before it is for everybody, everywhere");
    }
    Auth { rules }
}

fn console(section: &Section<'_, '_>) -> Console {
    Console { admin_users: names(section, "admin_users"), stats_users: names(section, "stats_users") }
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

fn duplicate<T: PartialEq>(values: &[T]) -> Option<&T> {
    values.iter().enumerate().find(|(i, v)| values[..*i].contains(v)).map(|(_, v)| v)
}
