//! A TCP door between pgweir and one node, which can be slowed, blocked and slammed.

use crate::error::HarnessError;
use crate::runtime;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What passes through the door.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weather {
    /// Everything, at once.
    Clear,
    /// Everything, each piece later by this much, in each direction.
    Slow(Duration),
    /// Nothing; connections stay open and new ones are accepted, as behind a lost route.
    Partitioned,
    /// Nothing; open connections are closed, new ones at once, as by a firewall's reset.
    Closed,
}

/// The door of one node: a port that leads to the node's own.
#[derive(Debug)]
pub struct Door {
    port: u16,
    weather: watch::Sender<Weather>,
    bytes: Arc<AtomicU64>,
}

impl Door {
    /// Opens a door to `node_port` on this machine.
    pub fn open(node_port: u16) -> std::io::Result<Door> {
        Self::open_at(SocketAddr::from(([127, 0, 0, 1], 0)), node_port)
    }

    /// Opens a door at this address.
    pub fn open_at(address: SocketAddr, node_port: u16) -> std::io::Result<Door> {
        let (weather, seen) = watch::channel(Weather::Clear);
        let bytes = Arc::new(AtomicU64::new(0));
        let counter = bytes.clone();
        let listener = runtime::block_on(TcpListener::bind(address))?;
        let port = listener.local_addr()?.port();
        runtime::handle().spawn(async move {
            let mut closed = seen.clone();
            loop {
                tokio::select! {
                    accepted = listener.accept() => if let Ok((client, _)) = accepted {
                        tokio::spawn(pass(client, node_port, seen.clone(), counter.clone()));
                    },
                    // The door itself is gone: stop listening.
                    Err(_) = closed.changed() => return,
                }
            }
        });
        Ok(Door { port, weather, bytes })
    }

    /// Where to connect instead of the node.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes what passes, for open connections too.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// How many bytes have passed, both directions together.
    pub fn bytes_passed(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// A port behind which now one server stands and now another.
pub fn round_robin(ports: Vec<u16>) -> Result<u16, HarnessError> {
    let failed = |error| HarnessError::Io("opening a port for several servers".into(), error);
    let listener = runtime::block_on(TcpListener::bind(("127.0.0.1", 0))).map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    let (always, weather) = watch::channel(Weather::Clear);
    runtime::handle().spawn(async move {
        let mut ports = ports.into_iter().cycle();
        while let (Ok((client, _)), Some(port)) = (listener.accept().await, ports.next()) {
            tokio::spawn(pass(client, port, weather.clone(), Arc::default()));
        }
        drop(always);
    });
    Ok(port)
}

async fn pass(client: TcpStream, node_port: u16, weather: watch::Receiver<Weather>, bytes: Arc<AtomicU64>) {
    if *weather.borrow() == Weather::Closed {
        return;
    }
    let Ok(node) = TcpStream::connect(("127.0.0.1", node_port)).await else {
        return;
    };
    let _ = (client.set_nodelay(true), node.set_nodelay(true));
    let (client_read, client_write) = client.into_split();
    let (node_read, node_write) = node.into_split();
    let there = one_way(client_read, node_write, weather.clone(), bytes.clone());
    let back = one_way(node_read, client_write, weather.clone(), bytes);
    tokio::select! {
        _ = async { tokio::join!(there, back) } => {}
        () = until_closed(weather) => {}
    }
}

async fn until_closed(mut weather: watch::Receiver<Weather>) {
    // An error means that the door is gone, which closes everything, too.
    let _ = weather.wait_for(|now| *now == Weather::Closed).await;
}

/// Copies until the end of the stream, which it passes on.
async fn one_way(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    bytes: Arc<AtomicU64>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if weather.wait_for(|now| *now != Weather::Partitioned).await.is_err() {
            return;
        }
        let now = *weather.borrow();
        if let Weather::Slow(delay) = now {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
        bytes.fetch_add(length as u64, Ordering::Relaxed);
    }
    // While partitioned, not even the end of the stream gets through.
    if weather.wait_for(|now| *now != Weather::Partitioned).await.is_ok() {
        let _ = to.shutdown().await;
    }
}
