//! By which names the HTTP address may be called.
//!
//! A page from elsewhere can make a browser ask this address under the page's own name, if that name is made
//! to lead here after the page has been loaded, and then read the answer. It cannot do so under a name that
//! nobody outside can own.
//!
//! <https://developer.mozilla.org/en-US/docs/Glossary/Host> · RFC 6761, RFC 6762, RFC 8375

/// Ends of names that the public DNS never has.
const PRIVATE_ENDS: [&str; 7] =
    [".localhost", ".local", ".internal", ".home.arpa", ".test", ".svc", ".localdomain"];

/// The machine's own name.
pub fn of_machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// Whether `host`, as a request has it (a port may follow), is a name of ours: by its nature, or one of these.
pub fn is_ours<'n>(host: &str, mut known: impl Iterator<Item = &'n str>) -> bool {
    let name = without_port(host).trim_end_matches('.').to_ascii_lowercase();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
    bare.parse::<std::net::IpAddr>().is_ok()
        || !name.contains('.')
        || PRIVATE_ENDS.iter().any(|end| name.ends_with(end))
        || known.any(|known| known.eq_ignore_ascii_case(&name))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !in_brackets(name, host) => name,
        _ => host,
    }
}

/// The colon belongs to an address in brackets.
fn in_brackets(name: &str, host: &str) -> bool {
    host.starts_with('[') && !name.ends_with(']')
}

#[cfg(test)]
mod tests {
    fn is_ours(host: &str) -> bool {
        super::is_ours(host, ["pgweir.example.org", "box.example.org"].into_iter())
    }

    #[test]
    fn names_that_anybody_can_own_are_not_ours() {
        for host in
            ["evil.example.com", "evil.example.com:9127", "127.0.0.1.nip.io", "localhost.evil.org", "a.com."]
        {
            assert!(!is_ours(host), "{host}");
        }
    }

    #[test]
    fn addresses_private_names_and_those_that_were_named_are() {
        for host in [
            "127.0.0.1:9127",
            "10.1.2.3",
            "[::1]:9127",
            "[fd00::1]",
            "localhost:9127",
            "pgweir",
            "pgweir.monitoring.svc:9127",
            "pgweir.local",
            "PGWEIR.example.ORG:9127",
            "box.example.org.",
        ] {
            assert!(is_ours(host), "{host}");
        }
    }
}
