//! `[cluster]`, `[fleet]` and their parts.

use super::Surroundings;
use super::secrets::{certificate_and_key_if_any, pem, secret};
use crate::config::keys::SHAPING;
use crate::config::nodes::nodes;
use crate::config::reader::{Reader, Section};
use crate::config::sources::{Find, Patroni, Standbys};
use crate::config::value::{Off, unknown_word, without_password};
use crate::config::{
    Cluster, Fleet, LostListeners, LostWrites, Promises, Proof, ServerAuth, ServerTls, SslMode,
};
use crate::limits::FORWARDS_MAX;
use std::net::SocketAddr;

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

pub(super) fn cluster(section: &Section<'_, '_>, reader: &Reader<'_>, around: &Surroundings<'_>) -> Cluster {
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
        settings_may_differ: section.read("settings_may_differ"),
    };
    look_at(&cluster, section);
    cluster
}

/// What its keys say together, and of the cluster.
fn look_at(cluster: &Cluster, section: &Section<'_, '_>) {
    for name in &cluster.settings_may_differ {
        if !SHAPING.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            let message = unknown_word(name, SHAPING);
            section.mistake_in("settings_may_differ", format!("`settings_may_differ`: {message}"));
        }
    }
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

/// Shorter ones can be guessed by who sees a datagram.
const FLEET_SECRET_BYTES_MIN: usize = 16;

pub(super) fn fleet(section: &Section<'_, '_>, around: &Surroundings<'_>) -> Fleet {
    let fleet = Fleet {
        listen: section.read::<Off<SocketAddr>>("listen").0,
        peers: section.read("peers"),
        secret: secret(section, "secret", "", around),
    };
    for peer in &fleet.peers {
        let is_address = peer.rsplit_once(':').is_some_and(|(host, port)| {
            let port = port.parse::<u16>().is_ok_and(|port| port > 0);
            port && crate::config::node_address(peer).is_ok() && !host.starts_with('/')
        });
        if !is_address {
            section.mistake_in(
                "peers",
                format!("`peers`: \"{}\" is not host:port", without_password(peer).escape_debug()),
            );
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
