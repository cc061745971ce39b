//! Which method a client has to use, by where it comes from and what it wants.
//!
//! <https://www.postgresql.org/docs/current/auth-pg-hba-conf.html>

use crate::config::{Auth, AuthMethod, AuthRule, CertificateCheck, ConnectionKind};
use crate::wire::startup::Startup;
use crate::wire::{Refusal, sqlstate};
use std::net::IpAddr;

/// A client, as far as rules look at it.
#[derive(Debug, Clone, Copy)]
pub struct Peer<'a> {
    /// Its address; `None`: a Unix socket.
    pub address: Option<IpAddr>,
    /// The connection is under TLS.
    pub is_tls: bool,
    /// What it asked for.
    pub startup: &'a Startup,
}

/// What a client has to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demand {
    /// `None`: the stored secret decides.
    pub method: Option<AuthMethod>,
    /// A certificate beside it.
    pub certificate: Option<CertificateCheck>,
}

/// What the first rule that matches demands; nothing in particular where there are no rules.
///
/// # Errors
/// When a rule says no, or rules exist and none matches.
pub fn demand(auth: &Auth, peer: &Peer<'_>) -> Result<Demand, Refusal> {
    if auth.rules.is_empty() {
        return Ok(Demand::default());
    }
    match auth.rules.iter().find(|rule| matches(rule, peer)) {
        Some(rule) if rule.method == AuthMethod::Reject => {
            Err(refusal("a rule of pgweir rejects connection", peer))
        }
        Some(rule) => Ok(Demand { method: Some(rule.method), certificate: rule.client_certificate }),
        None => Err(refusal("no rule of pgweir accepts connection", peer)),
    }
}

fn matches(rule: &AuthRule, peer: &Peer<'_>) -> bool {
    let named = |names: &[String], name: &str| names.is_empty() || names.iter().any(|n| n == name);
    let from = match (rule.address, peer.address) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some((network, bits)), Some(address)) => is_within(address.to_canonical(), network, bits),
    };
    let connected = match rule.connection {
        ConnectionKind::Any => true,
        ConnectionKind::Local => peer.address.is_none(),
        ConnectionKind::Host => peer.address.is_some(),
        ConnectionKind::HostSsl => peer.address.is_some() && peer.is_tls,
        ConnectionKind::HostNoSsl => peer.address.is_some() && !peer.is_tls,
    };
    connected
        && from
        && named(&rule.databases, &peer.startup.database)
        && named(&rule.users, &peer.startup.user)
}

/// Do the first `bits` bits agree?
fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            let differing = a.to_bits() ^ n.to_bits();
            differing.leading_zeros() >= u32::from(bits)
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            let differing = a.to_bits() ^ n.to_bits();
            differing.leading_zeros() >= u32::from(bits)
        }
        _ => false,
    }
}

/// In the form of Postgres's `no pg_hba.conf entry for host "…", user "…", database "…", no encryption`.
fn refusal(what: &str, peer: &Peer<'_>) -> Refusal {
    let host = peer.address.map_or_else(|| "[local]".to_owned(), |a| a.to_canonical().to_string());
    let encryption = if peer.is_tls { "SSL encryption" } else { "no encryption" };
    let Startup { user, database, .. } = peer.startup;
    Refusal::new(
        sqlstate::INVALID_AUTHORIZATION,
        format!("{what} for host \"{host}\", user \"{user}\", database \"{database}\", {encryption}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn startup() -> Startup {
        Startup {
            minor: 0,
            user: "app".into(),
            database: "shop".into(),
            replication: None,
            settings: vec![],
            unknown_options: vec![],
        }
    }

    fn rule(network: Option<(&str, u8)>, database: &str, user: &str, method: AuthMethod) -> AuthRule {
        let list = |name: &str| if name.is_empty() { vec![] } else { vec![name.to_owned()] };
        AuthRule {
            connection: ConnectionKind::Any,
            databases: list(database),
            users: list(user),
            address: network.map(|(a, bits)| (a.parse().unwrap(), bits)),
            method,
            client_certificate: None,
        }
    }

    fn ask(rules: Vec<AuthRule>, address: Option<&str>) -> Result<Option<AuthMethod>, String> {
        let startup = startup();
        let peer = Peer { address: address.map(|a| a.parse().unwrap()), is_tls: false, startup: &startup };
        demand(&Auth { rules }, &peer)
            .map(|demand| demand.method)
            .map_err(|refusal| refusal.message.into_owned())
    }

    #[test]
    fn without_rules_the_stored_secret_decides() {
        assert_eq!(ask(vec![], Some("10.0.0.1")), Ok(None));
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = || {
            vec![
                rule(None, "other", "", AuthMethod::Trust),
                rule(None, "", "other", AuthMethod::Trust),
                rule(Some(("10.1.0.0", 16)), "shop", "app", AuthMethod::Md5),
                rule(Some(("fd00::", 8)), "", "", AuthMethod::Certificate),
                rule(Some(("0.0.0.0", 0)), "", "", AuthMethod::ScramSha256),
            ]
        };
        assert_eq!(ask(rules(), Some("10.1.255.1")), Ok(Some(AuthMethod::Md5)));
        assert_eq!(ask(rules(), Some("::ffff:10.1.255.1")), Ok(Some(AuthMethod::Md5)));
        assert_eq!(ask(rules(), Some("10.2.0.1")), Ok(Some(AuthMethod::ScramSha256)));
        assert_eq!(ask(rules(), Some("fd12::1")), Ok(Some(AuthMethod::Certificate)));
    }

    #[test]
    fn rules_tell_connections_apart() {
        let matching = |connection, address: Option<&str>, is_tls| {
            let startup = startup();
            let rules = vec![AuthRule { connection, ..rule(None, "", "", AuthMethod::Trust) }];
            let peer = Peer { address: address.map(|a| a.parse().unwrap()), is_tls, startup: &startup };
            demand(&Auth { rules }, &peer).is_ok()
        };
        use ConnectionKind::{Any, Host, HostNoSsl, HostSsl, Local};
        let here = [(None, false), (Some("10.0.0.1"), false), (Some("10.0.0.1"), true)];
        for (kind, expected) in [
            (Any, [true, true, true]),
            (Local, [true, false, false]),
            (Host, [false, true, true]),
            (HostSsl, [false, false, true]),
            (HostNoSsl, [false, true, false]),
        ] {
            assert_eq!(here.map(|(address, is_tls)| matching(kind, address, is_tls)), expected, "{kind:?}");
        }
    }

    #[test]
    fn who_matches_no_rule_or_a_rejecting_one_stays_outside() {
        let local = "no rule of pgweir accepts connection for host \"[local]\", user \"app\", \
                     database \"shop\", no encryption";
        let rules = vec![rule(Some(("0.0.0.0", 0)), "", "", AuthMethod::Trust)];
        assert_eq!(ask(rules, None), Err(local.to_owned()));
        let reject = "a rule of pgweir rejects connection for host \"10.0.0.1\", user \"app\", \
                      database \"shop\", no encryption";
        let rules = vec![rule(None, "", "", AuthMethod::Reject), rule(None, "", "", AuthMethod::Trust)];
        assert_eq!(ask(rules, Some("10.0.0.1")), Err(reject.to_owned()));
    }
}
