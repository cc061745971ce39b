//! What each section allows, and all of them together do not.

use crate::config::Cluster;
use crate::config::reader::Section;
use crate::config::value::Off;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

pub(super) fn look(top: &Section<'_, '_>, cluster: &Cluster) {
    let listen = top.section("listen");
    addresses(&listen, &top.section("http"));
    own_address(&listen, &top.section("cluster"), cluster);
    auth_rules(&top.section("auth"), &listen.section("tls"));
    let alone = cluster.nodes.iter().filter(|node| node.groups.is_empty()).count();
    if alone == 1 && cluster.nodes.len() > 1 && cluster.sources.is_empty() {
        top.section("cluster").warning_in(
            "nodes",
            "only one node is in no group: while it is the primary, reads of no group stay there",
        );
    }
}

fn addresses(listen: &Section<'_, '_>, http: &Section<'_, '_>) {
    let ports: Vec<SocketAddr> = listen.read("address");
    let Some(address) = http.read::<Off<SocketAddr>>("address").0 else { return };
    if !ports.iter().any(|listen| meet(listen, &address)) {
        return;
    }
    match http.written("address") {
        Some(_) => http.mistake_in(
            "address",
            format!("`address`: {address} is in [listen] as well; HTTP needs a port of its own"),
        ),
        None => listen.mistake_in(
            "address",
            format!(
                "`address`: HTTP has {address} unless told otherwise; give [http] another `address`, or \"off\""
            ),
        ),
    }
}

/// A pgweir that is its own node would ask itself for ever.
fn own_address(listen: &Section<'_, '_>, section: &Section<'_, '_>, cluster: &Cluster) {
    let ports: Vec<SocketAddr> = listen.read("address");
    let directories: Vec<PathBuf> = listen.read("unix_directories");
    for node in &cluster.nodes {
        let Some((host, port)) = node.address.rsplit_once(':') else { continue };
        let Ok(port) = port.parse::<u16>() else { continue };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let address =
            if host == "localhost" { Some([127, 0, 0, 1].into()) } else { bare.parse::<IpAddr>().ok() };
        let by_tcp = address.is_some_and(|address| ports.iter().any(|own| leads_to(own, address, port)));
        let by_socket = ports.first().is_some_and(|own| own.port() == port)
            && directories.iter().any(|directory| directory.as_os_str() == host);
        if by_tcp || by_socket {
            section.mistake_in(
                "nodes",
                format!(
                    "node \"{}\" is pgweir itself, by `address` in [listen]: name the servers",
                    node.address
                ),
            );
        }
    }
}

/// Another machine may have the same port: only what certainly is this one counts.
fn leads_to(own: &SocketAddr, address: IpAddr, port: u16) -> bool {
    let is_here = own.ip() == address || (own.ip().is_unspecified() && address.is_loopback());
    own.port() == port && is_here
}

fn auth_rules(auth: &Section<'_, '_>, tls: &Section<'_, '_>) {
    let is_off = tls.read::<String>("mode") == "off";
    let has_ca = tls.written("client_ca").is_some();
    for rule in auth.sections("rule") {
        let method = rule.read_optional::<String>("method");
        if is_off && method.as_deref() == Some("password") {
            rule.warning_in(
                "method",
                "`password` is asked for over TLS or a Unix socket only: while that is off nobody gets in by TCP",
            );
        }
        let wants = match rule.written("client_certificate") {
            Some(_) => Some("client_certificate"),
            None => (method.as_deref() == Some("certificate")).then_some("method"),
        };
        if let Some(key) = wants.filter(|_| !has_ca) {
            rule.warning_in(
                key,
                "without `client_ca` in [listen.tls] no certificate can be verified: nobody gets in by this rule",
            );
        }
    }
}

/// Two addresses that cannot both be opened.
fn meet(a: &SocketAddr, b: &SocketAddr) -> bool {
    a.port() == b.port()
        && a.port() != 0
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}
