//! The other pgweir processes of this machine: a cancel request that reached the wrong one is passed on.
//!
//! While a new version takes over, two processes listen on one port (`SO_REUSEPORT`), and the kernel
//! gives a CancelRequest, which comes on a connection of its own, to either. So each process that does
//! not know a key tells it to the others: every one has a datagram socket in a directory that only their
//! user may enter. Nobody answers: who sent a cancel learns no more than from Postgres, where a wrong
//! key is met with silence, too. A key that comes from a peer is not passed on again. Those on other machines are
//! told in another way ([`machines`]).
//!
//! <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS>

pub mod machines;
mod sealed;

use crate::config::{Config, own_directory};
use std::io;
use std::path::{Path, PathBuf};
use tokio::net::UnixDatagram;

/// Others that are told of one key: more processes than that on one machine are not heard of.
const PEERS_MAX: usize = 64;
/// Sockets that are looked at, those of the dead among them.
const SOCKETS_MAX: usize = 10_000;
/// How the sockets' names end.
const SUFFIX: &str = ".cancel";
/// A process id and what Postgres allows for a secret.
const KEY_BYTES_MAX: usize = 4 + 256;
/// A secret is no shorter.
const KEY_BYTES_MIN: usize = 4 + 4;

/// Where the processes meet; `None`: they cannot, and each is on its own.
#[derive(Debug, Default)]
pub struct Peers(Option<Meeting>);

#[derive(Debug)]
struct Meeting {
    directory: PathBuf,
    own: PathBuf,
}

impl Drop for Meeting {
    fn drop(&mut self) {
        // Who finds it dead removes it.
        let _ = std::fs::remove_file(&self.own);
    }
}

impl Peers {
    /// Takes a place among the others, and a socket to be told on. Without a place pgweir works all the
    /// same; the log says so.
    pub fn meet(config: &Config) -> (Self, Option<UnixDatagram>) {
        let directory = config.runtime.directory.clone();
        match take_place(&directory) {
            Ok((own, socket)) => (Self(Some(Meeting { directory, own })), Some(socket)),
            Err(error) => {
                tracing::info!(directory = %directory.display(), %error, "cancel requests are not shared with other processes of this machine (runtime.directory)");
                (Self(None), None)
            }
        }
    }

    /// Tells the others of a key that nobody has here. Never waits.
    pub fn tell(&self, process: i32, secret: &[u8]) {
        let Some(meeting) = &self.0 else { return };
        let told = meeting.others().and_then(|others| {
            let socket = std::os::unix::net::UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            let key = [&process.to_be_bytes(), secret].concat();
            // Any number may have died and left their sockets: they are no peers.
            let heard = others.iter().filter(|other| tell_one(&socket, &key, other));
            heard.take(PEERS_MAX).for_each(drop);
            Ok(())
        });
        if let Err(error) = told {
            crate::limited!(warn, %error, "a cancel request could not be passed on to other processes");
        }
    }
}

impl Meeting {
    fn others(&self) -> io::Result<Vec<PathBuf>> {
        let is_other = |path: &PathBuf| *path != self.own && path.to_string_lossy().ends_with(SUFFIX);
        let paths = std::fs::read_dir(&self.directory)?.filter_map(|entry| Some(entry.ok()?.path()));
        Ok(paths.filter(is_other).take(SOCKETS_MAX).collect())
    }
}

/// False when nobody was there to hear it.
fn tell_one(socket: &std::os::unix::net::UnixDatagram, key: &[u8], other: &Path) -> bool {
    match socket.send_to(key, other) {
        Ok(_) => return true,
        // It died and left its socket.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            let _ = std::fs::remove_file(other);
        }
        // It left just now, or is told more than it can take.
        Err(error) => tracing::debug!(other = %other.display(), %error, "a peer was not told"),
    }
    false
}

/// Hears of keys from the others, for ever; `cancel` is called with the process id and the secret of each.
pub async fn listen(socket: UnixDatagram, cancel: impl Fn(i32, &[u8])) {
    // One byte more, so that what is too long is seen to be.
    let mut buffer = [0; KEY_BYTES_MAX + 1];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(length) => {
                if let Some((process, secret)) = key(&buffer[..length]) {
                    cancel(process, secret);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "peers cannot be heard");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }
}

fn key(datagram: &[u8]) -> Option<(i32, &[u8])> {
    if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&datagram.len()) {
        return None;
    }
    let (process, secret) = datagram.split_first_chunk::<4>()?;
    Some((i32::from_be_bytes(*process), secret))
}

fn take_place(directory: &Path) -> io::Result<(PathBuf, UnixDatagram)> {
    own_directory::enter(directory)?;
    let own = directory.join(format!("{:016x}{SUFFIX}", rand::random::<u64>()));
    let socket = UnixDatagram::bind(&own)?;
    Ok((own, socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn config(directory: &Path) -> Config {
        let mut config = Config::for_tests(&["127.0.0.1:1"]);
        config.runtime.directory = directory.to_owned();
        config
    }

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("pgweir-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        directory
    }

    async fn heard(socket: &UnixDatagram) -> Option<Vec<u8>> {
        let mut buffer = [0; 300];
        let received = tokio::time::timeout(Duration::from_millis(200), socket.recv(&mut buffer)).await;
        received.ok().map(|length| buffer[..length.unwrap()].to_vec())
    }

    #[tokio::test]
    async fn all_others_are_told_and_who_died_is_forgotten() {
        let directory = scratch("peers");
        let config = config(&directory);
        let (one, own) = Peers::meet(&config);
        let (_two, second) = Peers::meet(&config);
        let (mut three, third) = Peers::meet(&config);
        // More than are told: they do not stand in anybody's way.
        let dead: Vec<_> = (0..4 * PEERS_MAX).map(|n| directory.join(format!("dead{n}{SUFFIX}"))).collect();
        dead.iter().for_each(|dead| drop(std::os::unix::net::UnixDatagram::bind(dead).unwrap()));
        one.tell(7, b"secret");
        for socket in [second.unwrap(), third.unwrap()] {
            assert_eq!(heard(&socket).await.as_deref(), Some(&b"\0\0\0\x07secret"[..]));
        }
        assert_eq!(heard(&own.unwrap()).await, None, "one's own words are not news");
        assert!(dead.iter().all(|dead| !dead.exists()), "a dead one's socket stays");
        let place = three.0.take().unwrap().own.clone();
        assert!(!place.exists(), "who leaves takes its socket along");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[tokio::test]
    async fn a_directory_that_others_may_enter_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let directory = scratch("open-peers");
        std::fs::create_dir(&directory).unwrap();
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o711)).unwrap();
        assert!(Peers::meet(&config(&directory)).1.is_none());
        let link = scratch("linked-peers");
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o700)).unwrap();
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&directory, &link).unwrap();
        assert!(Peers::meet(&config(&link)).1.is_none());
        assert!(Peers::meet(&config(&directory)).1.is_some());
        std::fs::remove_file(&link).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_is_no_key_is_no_key() {
        assert_eq!(key(b"\0\0\0\x01abcd"), Some((1, &b"abcd"[..])));
        assert_eq!(key(&[1; KEY_BYTES_MAX]).map(|(_, secret)| secret.len()), Some(256));
        for length in [0, 1, 4, 7, KEY_BYTES_MAX + 1] {
            assert_eq!(key(&vec![1; length]), None);
        }
    }
}
