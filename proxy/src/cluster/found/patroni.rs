//! Nodes out of Patroni's REST API: the members of its cluster.
//!
//! Any member tells them all. Who leads is not asked: Postgres itself says who is primary, on which timeline. What a
//! member's tags ask of load balancers (`noloadbalance`) counts here, too.
//!
//! <https://patroni.readthedocs.io/en/latest/rest_api.html#cluster-status-endpoints>

use super::{Place, Told};
use crate::config::sources::{Find, Patroni};
use crate::limits::FOUND_BYTES_MAX;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;

/// What `GET /cluster` answers, as far as it is read.
#[derive(Debug, Deserialize)]
struct Cluster {
    members: Vec<Member>,
}

/// One member of it. One that has never been up has no host yet.
#[derive(Debug, Deserialize)]
struct Member {
    host: Option<String>,
    port: Option<u16>,
    #[serde(default)]
    tags: Tags,
}

/// What is configured for a member.
#[derive(Debug, Default, Deserialize)]
struct Tags {
    /// A switch, in any of the ways in which YAML and people write one.
    #[serde(default)]
    noloadbalance: serde_json::Value,
}

impl Tags {
    fn is_spared(&self) -> bool {
        match &self.noloadbalance {
            serde_json::Value::Bool(switch) => *switch,
            serde_json::Value::String(text) => {
                matches!(text.to_ascii_lowercase().as_str(), "true" | "yes" | "on" | "1")
            }
            serde_json::Value::Number(number) => number.as_u64() == Some(1),
            _ => false,
        }
    }
}

/// The members of the cluster, told by the first endpoint that does.
///
/// # Errors
/// What every endpoint has said instead.
pub(super) async fn members(endpoints: &[String], find: &Find) -> Result<Told, String> {
    let (endpoints, find) = (endpoints.to_vec(), find.clone());
    // Bounded by its own time-outs: it ends soon, though nobody may wait for it any more.
    let asked = tokio::task::spawn_blocking(move || ask_all(&endpoints, &find)).await;
    asked.unwrap_or_else(|_| Err("the question was given up".into()))
}

fn ask_all(endpoints: &[String], find: &Find) -> Result<Told, String> {
    let parts = u32::try_from(endpoints.len()).unwrap_or(u32::MAX).max(1);
    let agent = agent(endpoints, find, find.timeout / parts)?;
    let mut reasons = vec![];
    for endpoint in endpoints {
        match ask(&agent, endpoint, &find.patroni) {
            Ok(told) => return Ok(told),
            Err(why) => reasons.push(format!("{endpoint}: {why}")),
        }
    }
    Err(reasons.join("; "))
}

fn ask(agent: &ureq::Agent, endpoint: &str, patroni: &Patroni) -> Result<Told, String> {
    let mut request = agent.get(format!("{endpoint}/cluster")).header("Accept", "application/json");
    if let Some(token) = &patroni.token {
        request = request.header("Authorization", format!("Bearer {}", token.0));
    } else if let Some(user) = &patroni.user {
        let password = patroni.password.as_ref().map_or("", |password| &password.0);
        request = request.header("Authorization", format!("Basic {}", basic(user, password)));
    }
    let mut answer = request.call().map_err(|error| error.to_string())?;
    if answer.status().as_u16() != 200 {
        return Err(format!("it answers with status {}", answer.status().as_u16()));
    }
    let body = answer.body_mut().with_config().limit(FOUND_BYTES_MAX).read_to_vec();
    read(&body.map_err(|error| error.to_string())?)
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
}

/// The members in an answer.
fn read(body: &[u8]) -> Result<Told, String> {
    let cluster: Cluster = serde_json::from_slice(body)
        .map_err(|error| format!("its answer is not that of Patroni: {error}"))?;
    let mut told = Told::default();
    for member in cluster.members {
        let (Some(host), Some(port)) = (member.host, member.port) else { continue };
        let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
        match crate::config::node_address(&format!("{host}:{port}")) {
            Ok(address) if !address.starts_with('/') => {
                told.places.push(Place { address, is_spared: member.tags.is_spared() });
            }
            _ => return Err(format!("a member has no address: {}", host.escape_debug())),
        }
    }
    Ok(told)
}

fn agent(endpoints: &[String], find: &Find, limit: std::time::Duration) -> Result<ureq::Agent, String> {
    let mut agent = ureq::Agent::config_builder()
        .timeout_global(Some(limit))
        .http_status_as_error(false)
        // Members are told by those that the configuration names, and nobody else.
        .max_redirects(0)
        .proxy(None);
    if endpoints.iter().any(|endpoint| endpoint.starts_with("https:")) {
        let mut tls = ureq::tls::TlsConfig::builder()
            .root_certs(authorities(find.patroni.ca.as_deref())?)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
        if let (Some(certificate), Some(key)) = (&find.patroni.certificate, &find.patroni.key) {
            tls = tls.client_cert(Some(client_certificate(certificate, key)?));
        }
        agent = agent.tls_config(tls.build());
    }
    Ok(agent.build().into())
}

/// Whoever may have signed Patroni's certificate: those in the file, else the system's.
fn authorities(file: Option<&Path>) -> Result<ureq::tls::RootCerts, String> {
    let found: Vec<CertificateDer<'static>> = match file {
        Some(path) => certificates(path)?,
        // One that cannot be read is one that nothing is trusted for.
        None => rustls_native_certs::load_native_certs().certs,
    };
    if found.is_empty() {
        return Err("no certificate authorities are known: name a file in `cluster.patroni.ca`".into());
    }
    let found: Vec<_> = found.iter().map(|der| ureq::tls::Certificate::from_der(der).to_owned()).collect();
    Ok(ureq::tls::RootCerts::new_with_certs(&found))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    found.map_err(|error| format!("{}: {error}", path.display()))
}

fn client_certificate(certificate: &Path, key: &Path) -> Result<ureq::tls::ClientCert, String> {
    let chain = certificates(certificate)?;
    let chain: Vec<_> = chain.iter().map(|der| ureq::tls::Certificate::from_der(der).to_owned()).collect();
    let unread = |error: &dyn std::fmt::Display| format!("{}: {error}", key.display());
    let _ = PrivateKeyDer::from_pem_file(key).map_err(|error| unread(&error))?;
    let pem = std::fs::read(key).map_err(|error| unread(&error))?;
    let key = ureq::tls::PrivateKey::from_pem(&pem).map_err(|error| unread(&error))?;
    Ok(ureq::tls::ClientCert::new_with_certs(&chain, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_as_patroni_tells_them() {
        let told = read(
            br#"{"members": [
                {"name": "pg1", "role": "leader", "state": "running", "api_url": "http://10.0.0.1:8008/patroni",
                 "host": "10.0.0.1", "port": 5432, "timeline": 2},
                {"name": "pg2", "role": "replica", "state": "streaming", "api_url": "http://[fd00::2]:8008/patroni",
                 "host": "fd00::2", "port": 5433, "timeline": 2, "lag": 0, "tags": {"noloadbalance": true}},
                {"name": "pg3", "role": "replica", "state": "creating replica", "lag": "unknown"}],
               "scope": "demo", "pause": true}"#,
        )
        .unwrap();
        let place = |address: &str, is_spared| Place { address: address.into(), is_spared };
        assert_eq!(told.places, [place("10.0.0.1:5432", false), place("[fd00::2]:5433", true)]);
        assert_eq!(told.expires, None);
    }

    #[test]
    fn what_is_not_patronis_answer_is_refused_as_a_whole() {
        for body in [
            "",
            "null",
            "[]",
            "{}",
            "<html></html>",
            r#"{"members": 7}"#,
            r#"{"members": [{"host": "a", "port": 5432}, {"host": "b c", "port": 5432}]}"#,
            r#"{"members": [{"host": "/tmp", "port": 5432}]}"#,
            r#"{"members": [{"host": "a,b", "port": 5432}]}"#,
            r#"{"members": [{"host": "a", "port": 70000}]}"#,
            r#"{"members": [{"host": "a", "port": 0}]}"#,
        ] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
        assert_eq!(read(br#"{"members": []}"#), Ok(Told::default()));
    }
}
