//! The list of nodes: addresses, and sources that tell more of them.

use super::Node;
use super::reader::{Reader, Section};
use super::sources::{POSTGRES_PORT, Source, kind_of};
use super::value::without_password;
use crate::limits::NODES_MAX;

pub(super) fn nodes(section: &Section<'_, '_>, reader: &Reader<'_>) -> (Vec<Node>, Vec<Source>) {
    let Some(written) = section.written("nodes") else {
        section.mistake("[cluster] needs `nodes`: a list such as [\"127.0.0.1:5432\", \"127.0.0.1:5433\"]");
        return Default::default();
    };
    let Some(list) = written.get_ref().as_array() else {
        section
            .mistake_in("nodes", "`nodes`: expected a list such as [\"127.0.0.1:5432\", \"127.0.0.1:5433\"]");
        return Default::default();
    };
    if list.is_empty() || list.len() > NODES_MAX {
        section
            .mistake_in("nodes", format!("`nodes`: expected 1 to {NODES_MAX} nodes, found {}", list.len()));
    }
    let (mut nodes, mut sources): (Vec<Node>, Vec<Source>) = Default::default();
    for item in list.iter() {
        let (text, at, table) = match item.get_ref() {
            toml::de::DeValue::String(text) => (Some(text.to_string()), item.span(), None),
            toml::de::DeValue::Table(_) => {
                let table = section.section_of("nodes", item);
                let text = table.read_required::<String>("address");
                (text, table.span_of("address"), Some(table))
            }
            _ => {
                reader.mistake(
                    item.span(),
                    "`nodes`: expected \"host:port\" or { address = \"host:port\", … }",
                );
                continue;
            }
        };
        let Some(text) = text else { continue };
        if nodes.iter().chain(sources.iter().map(|s| &s.like)).any(|node| node.address == text) {
            reader.mistake(at, format!("node \"{}\" is there twice", without_password(&text).escape_debug()));
            continue;
        }
        let like = |address: String| Node {
            address,
            weight: table.as_ref().map_or(100, |t| t.read("weight")),
            zone: table.as_ref().and_then(|t| t.read_optional("zone")),
            groups: table.as_ref().map(|t| t.read("groups")).unwrap_or_default(),
            source: None,
        };
        let read = match kind_of(&text) {
            Some(kind) => {
                kind.map(|kind| sources.push(Source { name: text.clone(), kind, like: like(text.clone()) }))
            }
            None => node_address(&text).map(|address| match nodes.iter().any(|n| n.address == address) {
                true => reader.mistake(at.clone(), format!("node \"{address}\" is there twice")),
                false => nodes.push(like(address)),
            }),
        };
        if let Some((host, port)) = looks_like_port(&text) {
            let what =
                format!("\"{text}\" is taken for a host; if {port} is its port, write \"[{host}]:{port}\"");
            reader.warning(at.clone(), what);
        }
        if let Err(message) = read {
            reader.mistake(at, format!("node \"{}\": {message}", without_password(&text).escape_debug()));
        }
    }
    let mut all = nodes.iter().chain(sources.iter().map(|s| &s.like)).peekable();
    if all.peek().is_some() && all.all(|n| !n.groups.is_empty()) {
        section
            .warning_in("nodes", "every node is in a group, so that reads of no group have only the primary");
    }
    (nodes, sources)
}

/// An IPv6 address without brackets whose end could be meant as a port.
fn looks_like_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    let is_port = port.len() == 4 && port.bytes().all(|digit| digit.is_ascii_digit());
    let is_v6 = |text: &str| text.parse::<std::net::Ipv6Addr>().is_ok();
    (is_port && is_v6(text) && is_v6(host)).then_some((host, port))
}

/// `host:port`, `[v6]:port` or `/directory:port`, the port filled in.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn node_address(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control() || c == ',') {
        return Err("expected one \"host:port\"".into());
    }
    if text.contains("://") || text.contains('@') {
        let sources = "\"dns://name:port\", \"srv://name\" or \"patroni+http://host:port\"";
        return Err(format!("expected \"host:port\", {sources}, not a connection string"));
    }
    let bare_v6 = text.parse::<std::net::Ipv6Addr>().is_ok();
    let (host, port) = match text.rsplit_once(':') {
        _ if bare_v6 => (format!("[{text}]"), None),
        Some((host, _)) if text.starts_with('[') && !host.ends_with(']') => (text.to_owned(), None),
        Some((host, port)) => (host.to_owned(), Some(port)),
        None => (text.to_owned(), None),
    };
    let port = match port {
        None => POSTGRES_PORT,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => return Err(format!("`{port}` is not a port (1 to 65535)")),
        },
    };
    let v6 = host.strip_prefix('[').map(|h| h.strip_suffix(']').unwrap_or(""));
    match v6 {
        Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_err() => {
            return Err(format!("`{host}` is not an IPv6 address"));
        }
        None if host.contains(':') => return Err("an IPv6 address needs brackets: \"[::1]:5432\"".into()),
        None if host.is_empty() => return Err("the host is missing".into()),
        _ => {}
    }
    Ok(format!("{host}:{port}"))
}
