//! Whether the addresses and directories to listen at are this machine's.

use crate::config::Config;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

/// What the path of a Unix socket has room for, without the NUL at its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A socket is made under a name with the process id behind it, and then renamed.
const FRESH_NAME_END: &str = ".4194304";

/// What `run` could not open, in sentences for people. Whether somebody else listens there is not asked: a
/// pgweir may be running.
pub(super) fn unusable(config: &Config) -> Vec<String> {
    let tcp = config.listen.addresses.iter().map(|address| ("listen.address", address));
    let http = config.http.address.iter().map(|address| ("http.address", address));
    let mut wrong: Vec<String> = tcp
        .chain(http)
        .filter(|(_, address)| is_elsewhere(address))
        .map(|(key, address)| format!("{key}: {} is no address of this machine", address.ip()))
        .collect();
    let port = config.listen.addresses.first().map_or(0, SocketAddr::port);
    let directories = config.listen.unix_directories.iter();
    wrong.extend(directories.filter_map(|directory| {
        Some(format!("listen.unix_directories: {}: {}", directory.display(), no_place(directory, port)?))
    }));
    wrong
}

fn is_elsewhere(address: &SocketAddr) -> bool {
    let bound = TcpListener::bind((address.ip(), 0));
    bound.is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable)
}

/// Why no socket can be made there.
fn no_place(directory: &Path, port: u16) -> Option<String> {
    if !directory.exists() {
        return Some("no such directory".into());
    }
    if !directory.is_dir() {
        return Some("not a directory".into());
    }
    let socket = directory.join(format!(".s.PGSQL.{port}{FRESH_NAME_END}"));
    (socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX).then(|| {
        format!("too long for the path of a socket, which has {SOCKET_PATH_BYTES_MAX} bytes at most")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(listen: &str) -> Vec<String> {
        let text = format!("cluster.nodes = [\"a\"]\nhttp.address = \"off\"\n[listen]\n{listen}");
        unusable(&Config::parse(&text, "f").unwrap().0)
    }

    #[test]
    fn what_is_not_of_this_machine_is_found() {
        assert_eq!(wrong(""), Vec::<String>::new());
        // Kept for documentation: RFC 5737.
        assert_eq!(
            wrong("address = \"192.0.2.7:6432\""),
            ["listen.address: 192.0.2.7 is no address of this machine"]
        );
        let directory = std::env::temp_dir().join(format!("pgweir-places-{}", std::process::id()));
        let deep = directory.join("d".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        let said = |path: &Path| wrong(&format!("unix_directories = {path:?}")).concat();
        assert_eq!(said(&directory), "");
        assert!(said(&deep).contains("too long"), "{}", said(&deep));
        assert!(said(&directory.join("gone")).contains("no such directory"));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
