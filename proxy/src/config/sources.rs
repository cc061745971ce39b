//! Where nodes are found: names in the DNS, Patroni's API, the primary itself.

use super::value::without_password;
use super::{Node, Secret};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A place that tells nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// As written: its name everywhere.
    pub name: String,
    /// What is asked there.
    pub kind: Kind,
    /// Weight, zone and groups of each of its nodes.
    pub like: Node,
}

impl Source {
    /// What it tells are nodes.
    pub fn is_taken(&self) -> bool {
        self.kind != Kind::Standbys { takes: false }
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// All addresses of a name, each with this port.
    Addresses {
        /// The name.
        host: String,
        /// The port.
        port: u16,
    },
    /// The SRV records of a name: hosts with their ports.
    Services(String),
    /// Patroni's API, at any of these: `http://host:8008`.
    Patroni(Vec<String>),
    /// The standbys that the primary streams to.
    Standbys {
        /// They are nodes; else people are told of them.
        takes: bool,
    },
}

/// How sources are asked (`[cluster.find]` and `[cluster.patroni]`).
#[derive(Debug, Clone, PartialEq)]
pub struct Find {
    /// Pause between two looks at an API, and after one that has failed.
    pub interval: Duration,
    /// A source that takes longer has failed.
    pub timeout: Duration,
    /// Name servers; empty: those of the system.
    pub resolvers: Vec<SocketAddr>,
    /// What becomes of standbys that are not among the nodes.
    pub standbys: Standbys,
    /// How Patroni is spoken to.
    pub patroni: Patroni,
}

/// What becomes of standbys of the primary that are not among the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standbys {
    /// They are not looked for.
    Off,
    /// People are told of them.
    Offer,
    /// They are nodes.
    Take,
}

/// How Patroni is spoken to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Patroni {
    /// PEM of the CAs that sign its certificate; `None`: the system's authorities.
    pub ca: Option<PathBuf>,
    /// Our client certificate.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Who we are, by name and password.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// Who we are, by a bearer token.
    pub token: Option<Secret>,
}

/// Where Patroni listens unless told otherwise.
const PATRONI_PORT: u16 = 8008;
/// Where Postgres does.
pub(super) const POSTGRES_PORT: u16 = 5432;
/// A name in the DNS.
const NAME_BYTES_MAX: usize = 253;
/// One part of it.
const LABEL_BYTES_MAX: usize = 63;

/// What a text asks for that begins like a source; `None`: it is an address, or is meant to be one.
pub(super) fn kind_of(text: &str) -> Option<Result<Kind, String>> {
    let (scheme, rest) = text.split_once("://")?;
    match scheme {
        "dns" => Some(addresses(rest)),
        "srv" => Some(dns_name(rest).map(|name| Kind::Services(name.to_owned()))),
        "patroni+http" | "patroni+https" => Some(patroni(scheme.trim_start_matches("patroni+"), rest)),
        "patroni" => Some(Err("write \"patroni+http://\" or \"patroni+https://\"".into())),
        _ => None,
    }
}

fn addresses(rest: &str) -> Result<Kind, String> {
    let (host, port) = host_and_port(rest, POSTGRES_PORT)?;
    if host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok() {
        return Err("an IP address needs no look-up: write it without \"dns://\"".into());
    }
    Ok(Kind::Addresses { host: dns_name(host)?.to_owned(), port })
}

fn patroni(scheme: &str, rest: &str) -> Result<Kind, String> {
    let rest = rest.trim_end_matches('/');
    let endpoint = |text: &str| {
        let (host, port) = host_and_port(text, PATRONI_PORT)?;
        match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => {}
            Some(_) => return Err(format!("`{host}` is not an IPv6 address")),
            None => {
                dns_name(host)?;
            }
        }
        Ok(format!("{scheme}://{host}:{port}"))
    };
    let endpoints: Vec<String> = rest.split(',').map(endpoint).collect::<Result<_, _>>()?;
    Ok(Kind::Patroni(endpoints))
}

/// `host:port`, or `host` alone; the host of an IPv6 address keeps its brackets.
fn host_and_port(text: &str, default: u16) -> Result<(&str, u16), String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, _)) if host.starts_with('[') && !host.ends_with(']') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let port = match port.map(str::parse::<u16>) {
        None => default,
        Some(Ok(port)) if port > 0 => port,
        Some(_) => return Err(format!("`{}` is not host:port", shown(text))),
    };
    Ok((host, port))
}

/// A name as the DNS has them: letters, digits, `-` and `_`, in parts of at most 63.
fn dns_name(text: &str) -> Result<&str, String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let is_part = |part: &str| (1..=LABEL_BYTES_MAX).contains(&part.len()) && part.chars().all(is_plain);
    match name.len() <= NAME_BYTES_MAX && name.split('.').all(is_part) {
        true => Ok(text),
        false => Err(format!("`{}` is not a name in the DNS", shown(text))),
    }
}

/// Enough of a text to recognise it by.
fn shown(text: &str) -> String {
    without_password(text).chars().take(80).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Kind, String> {
        kind_of(text).expect("a source")
    }

    #[test]
    fn a_name_stands_for_its_addresses_or_its_services() {
        let host = "pg-headless.default.svc";
        assert_eq!(read(&format!("dns://{host}")), Ok(Kind::Addresses { host: host.into(), port: 5432 }));
        assert_eq!(
            read(&format!("dns://{host}:6000")),
            Ok(Kind::Addresses { host: host.into(), port: 6000 })
        );
        assert_eq!(
            read("srv://_postgresql._tcp.pg.example."),
            Ok(Kind::Services("_postgresql._tcp.pg.example.".into()))
        );
        for wrong in [
            "dns://",
            "dns://:5432",
            "dns://a b",
            "dns://a..b",
            "dns://a/b",
            "dns://u@a",
            "dns://a:0",
            "dns://a:x",
            "dns://a:5432,b:5432",
            "dns://10.0.0.1:5432",
            "dns://[::1]:5432",
            "srv://",
            "srv://a:5432",
            "srv://a/b",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let long = "a".repeat(64);
        assert!(read(&format!("dns://{long}")).is_err());
        assert!(read(&format!("dns://{}", "a.".repeat(130))).is_err());
    }

    #[test]
    fn patroni_may_be_asked_at_several_places() {
        let endpoints = |list: &[&str]| Ok(Kind::Patroni(list.iter().map(|e| (*e).to_owned()).collect()));
        assert_eq!(
            read("patroni+http://a:8008,b,[::1]:8009/"),
            endpoints(&["http://a:8008", "http://b:8008", "http://[::1]:8009"])
        );
        assert_eq!(read("patroni+https://10.0.0.1"), endpoints(&["https://10.0.0.1:8008"]));
        for wrong in [
            "patroni://a",
            "patroni+http://",
            "patroni+http://a,,b",
            "patroni+http://a/cluster?x",
            "patroni+http://u:p@a",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(kind_of("postgres://a").is_none() && kind_of("a:5432").is_none());
    }
}
