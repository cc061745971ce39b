//! The pgweirs on other machines: a cancel request that reached the wrong one is passed on to them.
//!
//! A client cancels over a connection of its own, which a balancer may lead to any of them. Each that has not given
//! out the key tells it to the others that are configured (`[fleet]`), [sealed](super::sealed), by datagrams: there
//! is no connection to keep, and nobody answers, so that who sent the request learns nothing of it. A datagram may
//! be lost, so that each is sent some times and heard once. What comes by one is looked for on that machine and not
//! passed on again.

use super::sealed::{Recent, Seal};
use super::{KEY_BYTES_MAX, key};
use crate::config::Fleet;
use crate::limits::{FORWARD_LOOKUP_MAX, FORWARDING_MAX, FORWARDS_MAX};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Room for any datagram of ours: what is sealed, and a byte more, so that what is too long is seen to be.
const DATAGRAM_BYTES_MAX: usize = KEY_BYTES_MAX + 64;
/// When it is sent again, after the first time.
const AGAIN: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(250)];

/// What is under way, and what has come.
#[derive(Debug)]
pub struct Machines {
    sending: Arc<Semaphore>,
    recent: Mutex<Recent>,
}

impl Default for Machines {
    fn default() -> Self {
        Self { sending: Arc::new(Semaphore::new(FORWARDING_MAX)), recent: Mutex::default() }
    }
}

/// Opens the address at which others are heard. A process that takes over opens it beside the one that leaves.
///
/// # Errors
/// The socket's.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, None)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Machines {
    /// Tells the others of a key that nobody has here. Waits for the first of some times that it is sent.
    pub async fn tell(&self, fleet: &Fleet, process: i32, secret: &[u8]) {
        let Some(common) = fleet.secret.as_ref().filter(|_| !fleet.peers.is_empty()) else { return };
        let Ok(permit) = self.sending.clone().try_acquire_owned() else {
            crate::limited!(
                warn,
                "too many cancel requests to be passed on to other machines: one is dropped"
            );
            return;
        };
        let cancel = [&process.to_be_bytes(), secret].concat();
        let sealed = Seal::new(&common.0).and_then(|seal| seal.close(rand::random(), now(), &cancel));
        // A key that is longer than any is not sealed either.
        let (Ok(datagram), true) = (sealed, key(&cancel).is_some()) else { return };
        let addresses = addresses(&fleet.peers).await;
        send(&datagram, &addresses).await;
        tokio::spawn(async move {
            for pause in AGAIN {
                tokio::time::sleep(pause).await;
                send(&datagram, &addresses).await;
            }
            drop(permit);
        });
    }

    /// The process id and the secret in a datagram, where it is from one of the others, and new.
    fn read(&self, datagram: &[u8], fleet: &Fleet) -> Option<(i32, Vec<u8>)> {
        let seal = Seal::new(&fleet.secret.as_ref()?.0).ok()?;
        let (number, opened) = seal.open(datagram, now())?;
        if !self.recent.lock().is_new(number, now()) {
            return None;
        }
        key(&opened).map(|(process, secret)| (process, secret.to_vec()))
    }

    /// Hears of keys from the others, for ever; `cancel` is called with the process id and the secret of each.
    pub async fn listen(&self, socket: UdpSocket, fleet: impl Fn() -> Fleet, cancel: impl Fn(i32, &[u8])) {
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        loop {
            match socket.recv_from(&mut buffer).await {
                Ok((length, from)) => match self.read(&buffer[..length], &fleet()) {
                    Some((process, secret)) => cancel(process, &secret),
                    None => tracing::debug!(%from, "a datagram that is not a new one of the fleet"),
                },
                Err(error) => {
                    crate::limited!(warn, %error, "other machines of the fleet cannot be heard");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

/// All addresses that these peers have now, as far as that is known in time.
async fn addresses(peers: &[String]) -> Vec<SocketAddr> {
    let mut asking = JoinSet::new();
    for peer in peers {
        let peer = peer.clone();
        asking.spawn(async move {
            let found = tokio::time::timeout(FORWARD_LOOKUP_MAX, tokio::net::lookup_host(&peer)).await;
            match found {
                Ok(Ok(found)) => found.take(FORWARDS_MAX).collect::<Vec<_>>(),
                _ => {
                    crate::limited!(warn, peer, "a peer of the fleet cannot be looked up (fleet.peers)");
                    vec![]
                }
            }
        });
    }
    let mut all = HashSet::new();
    while let Some(found) = asking.join_next().await {
        all.extend(found.unwrap_or_default());
    }
    all.into_iter().take(FORWARDS_MAX).collect()
}

/// Sends it to each, once.
async fn send(datagram: &[u8], addresses: &[SocketAddr]) {
    for address in addresses {
        let any = match address {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let sent = async { UdpSocket::bind(any).await?.send_to(datagram, address).await };
        if let Err(error) = sent.await {
            crate::limited!(warn, %address, %error, "a cancel request could not be sent to a peer of the fleet");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn fleet(secret: &str, peers: &[String]) -> Fleet {
        Fleet { listen: None, peers: peers.to_vec(), secret: Some(Secret(secret.into())) }
    }

    async fn told(socket: &UdpSocket) -> Vec<Vec<u8>> {
        let mut datagrams = vec![];
        let mut buffer = [0; 1024];
        while let Ok(Ok(length)) =
            tokio::time::timeout(Duration::from_millis(600), socket.recv(&mut buffer)).await
        {
            datagrams.push(buffer[..length].to_vec());
        }
        datagrams
    }

    #[tokio::test]
    async fn a_key_is_sent_some_times_and_heard_once() {
        let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let fleet = fleet("a common secret", &[socket.local_addr().unwrap().to_string()]);
        Machines::default().tell(&fleet, 7, b"secret").await;
        let datagrams = told(&socket).await;
        assert_eq!(datagrams.len(), 3);
        let hearer = Machines::default();
        let heard: Vec<_> = datagrams.iter().filter_map(|datagram| hearer.read(datagram, &fleet)).collect();
        assert_eq!(heard, [(7, b"secret".to_vec())]);
        let other = Fleet { secret: Some(Secret("another secret".into())), ..fleet.clone() };
        assert_eq!(Machines::default().read(&datagrams[0], &other), None);
        let none = Fleet { secret: None, ..fleet };
        assert_eq!(Machines::default().read(&datagrams[0], &none), None);
        Machines::default().tell(&none, 7, b"secret").await;
        Machines::default().tell(&other, 7, &[0; 300]).await;
        assert_eq!(told(&socket).await.len(), 0, "without a secret, and what is no key");
    }

    #[tokio::test]
    async fn so_many_are_under_way_at_once_and_no_more() {
        let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let fleet = fleet("a common secret", &[socket.local_addr().unwrap().to_string()]);
        let machines = Machines::default();
        for _ in 0..FORWARDING_MAX + 10 {
            machines.tell(&fleet, 7, b"secret").await;
        }
        assert!(told(&socket).await.len() <= FORWARDING_MAX * 3);
        tokio::time::sleep(AGAIN.iter().sum()).await;
        machines.tell(&fleet, 7, b"secret").await;
        assert!(!told(&socket).await.is_empty(), "there is room again");
    }
}
