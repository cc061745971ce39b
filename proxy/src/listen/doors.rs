//! The addresses that are open: opened and closed as the configuration says, while pgweir runs.
//!
//! A reload first binds what is new ([`Doors::bind`], which may fail and then has changed nothing), then
//! puts it in force ([`Doors::open`]). Sockets handed in by systemd are used where they fit, and stay
//! open in systemd's hands while one pgweir leaves and the next comes. An address at which somebody else
//! listens is refused, be it another pgweir: clients would get at one or the other by chance. Only who
//! replaces a process, or is told to share (`listen.share_address`), opens it beside.

use super::listener;
use crate::config::{Config, HttpTls};
use crate::loops::EventLoops;
use crate::observe::host;
use crate::observe::http::{self, Site};
use crate::weir::Weir;
use listenfd::ListenFd;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A listener that takes clients; dropped, it stops.
struct Door {
    _closing: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// What the HTTP listener was made from.
#[derive(Debug, Clone, PartialEq)]
struct HttpDoor {
    address: SocketAddr,
    tls: Option<HttpTls>,
}

/// All that is open.
pub struct Doors {
    weir: Arc<Weir>,
    loops: Arc<EventLoops>,
    tcp: HashMap<SocketAddr, Door>,
    unix: HashMap<PathBuf, Door>,
    http: Option<(HttpDoor, JoinHandle<()>)>,
    /// From systemd, not in use yet.
    inherited: Vec<std::net::TcpListener>,
    inherited_unix: Vec<std::os::unix::net::UnixListener>,
    /// Socket files of our own, by device and inode: others, by systemd or by who came after us, stay.
    ours: HashMap<PathBuf, (u64, u64)>,
    /// Take addresses over from a process that is to leave, the first time.
    replace: bool,
}

/// Bound and not open yet.
pub struct Bound {
    tcp: Vec<(SocketAddr, TcpListener)>,
    unix: Vec<(PathBuf, UnixListener)>,
    http: Option<(TcpListener, Option<TlsAcceptor>)>,
}

impl Doors {
    /// Nothing open yet; takes the sockets that systemd has for us. With `replace`, Unix sockets are
    /// taken from a process that still listens on them.
    pub fn new(weir: Arc<Weir>, loops: Arc<EventLoops>, replace: bool) -> Self {
        let mut given = ListenFd::from_env();
        let (mut inherited, mut inherited_unix) = (vec![], vec![]);
        for i in 0..given.len() {
            if let Ok(Some(listener)) = given.take_tcp_listener(i) {
                inherited.push(listener);
            } else if let Ok(Some(listener)) = given.take_unix_listener(i) {
                inherited_unix.push(listener);
            }
        }
        Self {
            weir,
            loops,
            tcp: HashMap::new(),
            unix: HashMap::new(),
            http: None,
            inherited,
            inherited_unix,
            ours: HashMap::new(),
            replace,
        }
    }

    /// Binds what `config` wants and is not open.
    ///
    /// # Errors
    /// Every address that cannot be bound; nothing has changed then.
    pub fn bind(&mut self, config: &Config) -> Result<Bound, Vec<String>> {
        let mut mistakes = vec![];
        let mut bound = Bound { tcp: vec![], unix: vec![], http: None };
        for address in wanted_tcp(config) {
            if self.tcp.contains_key(&address) {
                continue;
            }
            match self.bind_tcp(address, config) {
                Ok(listener) => bound.tcp.push((address, listener)),
                Err(error) => mistakes.push(format!("listen.address: {address}: {error}")),
            }
        }
        for path in wanted_unix(config) {
            if self.unix.contains_key(&path) {
                continue;
            }
            match self.bind_unix(&path) {
                Ok(listener) => bound.unix.push((path, listener)),
                Err(error) => mistakes.push(format!("listen.unix_directories: {}: {error}", path.display())),
            }
        }
        if let Some(wanted) = wanted_http(config)
            && self.http.as_ref().is_none_or(|(open, _)| *open != wanted)
        {
            match self.bind_http(&wanted, config) {
                Ok(http) => bound.http = Some(http),
                Err(error) => mistakes.push(format!("http.address: {}: {error}", wanted.address)),
            }
        }
        if mistakes.is_empty() {
            return Ok(bound);
        }
        bound.unix.iter().for_each(|(path, _)| self.remove(path));
        Err(mistakes)
    }

    /// Opens what was bound, closes what `config` does not want any more.
    pub fn open(&mut self, bound: Bound, config: &Config) {
        self.replace = false;
        for (address, listener) in bound.tcp {
            let local = listener.local_addr().unwrap_or(address);
            tracing::info!(address = %local, "listening");
            let (weir, loops) = (self.weir.clone(), self.loops.clone());
            let door = Door::new(|closing| listener::accept_tcp(listener, weir, loops, closing));
            self.tcp.insert(address, door);
        }
        for (path, listener) in bound.unix {
            tracing::info!(path = %path.display(), "listening");
            let (weir, loops) = (self.weir.clone(), self.loops.clone());
            let door = Door::new(|closing| listener::accept_unix(listener, weir, loops, closing));
            self.unix.insert(path, door);
        }
        let tcp: Vec<_> = wanted_tcp(config).collect();
        self.tcp.retain(|address, _| {
            let stays = tcp.contains(address);
            if !stays {
                tracing::info!(%address, "no longer listening");
            }
            stays
        });
        let unix: Vec<_> = wanted_unix(config).collect();
        for path in self.unix.keys().filter(|path| !unix.contains(path)) {
            self.remove(path);
        }
        self.unix.retain(|path, _| unix.contains(path));
        self.open_http(bound.http, wanted_http(config));
    }

    fn open_http(&mut self, bound: Option<(TcpListener, Option<TlsAcceptor>)>, wanted: Option<HttpDoor>) {
        if (bound.is_some() || wanted.is_none())
            && let Some((_, task)) = self.http.take()
        {
            task.abort();
        }
        let (Some((listener, tls)), Some(wanted)) = (bound, wanted) else { return };
        tracing::info!(address = %listener.local_addr().unwrap_or(wanted.address), "HTTP");
        let (seen, told, hosts) = (self.weir.clone(), self.weir.clone(), self.weir.clone());
        let machine = host::of_machine();
        let site = Site {
            picture: Box::new(move || seen.picture()),
            metrics: self.weir.metrics.clone(),
            token: Box::new(move || told.config.load().http.token.clone()),
            hosts: Box::new(move || {
                let named = &hosts.config.load().http.hosts;
                named.iter().cloned().chain([machine.clone()]).collect()
            }),
        };
        self.http = Some((wanted, tokio::spawn(http::serve(Arc::new(site), listener, tls))));
    }

    /// Takes no more clients. Those who have reached a queue are still taken; HTTP goes on.
    pub async fn close(&mut self) {
        self.unix.keys().for_each(|path| self.remove(path));
        let unix = self.unix.drain().map(|(_, door)| door);
        let doors: Vec<_> = self.tcp.drain().map(|(_, door)| door).chain(unix).collect();
        for Door { _closing, task } in doors {
            drop(_closing);
            // A task that panicked has ended as well.
            let _ = task.await;
        }
    }

    fn bind_tcp(&mut self, address: SocketAddr, config: &Config) -> io::Result<TcpListener> {
        let fits = |l: &std::net::TcpListener| l.local_addr().is_ok_and(|a| a == address);
        match self.inherited.iter().position(fits) {
            Some(at) => {
                let listener = self.inherited.swap_remove(at);
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)
            }
            None => listener::bind_tcp(address, self.shares(address, config)),
        }
    }

    fn bind_http(
        &self,
        wanted: &HttpDoor,
        config: &Config,
    ) -> Result<(TcpListener, Option<TlsAcceptor>), String> {
        let tls = wanted.tls.as_ref().map(http::tls).transpose()?;
        let listener = listener::bind_tcp(wanted.address, self.shares(wanted.address, config));
        Ok((listener.map_err(|e| e.to_string())?, tls))
    }

    /// May somebody listen there already? We ourselves may, at an address that a reload replaces.
    fn shares(&self, address: SocketAddr, config: &Config) -> bool {
        let http = self.http.as_ref().map(|(door, _)| &door.address);
        let is_ours = self.tcp.keys().chain(http).any(|open| overlap(open, &address));
        self.replace || config.listen.share_address || is_ours
    }

    fn bind_unix(&mut self, path: &Path) -> io::Result<UnixListener> {
        let fits = |l: &std::os::unix::net::UnixListener| {
            l.local_addr().is_ok_and(|a| a.as_pathname() == Some(path))
        };
        match self.inherited_unix.iter().position(fits) {
            Some(at) => {
                let listener = self.inherited_unix.swap_remove(at);
                listener.set_nonblocking(true)?;
                UnixListener::from_std(listener)
            }
            None => {
                let listener = listener::bind_unix(path, self.replace)?;
                let file = std::fs::symlink_metadata(path)?;
                self.ours.insert(path.to_path_buf(), (file.dev(), file.ino()));
                Ok(listener)
            }
        }
    }
}

impl Doors {
    /// A socket is a file: it goes when we stop listening.
    fn remove(&self, path: &PathBuf) {
        let file = std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()));
        if file.is_none() || file.as_ref() != self.ours.get(path) {
            return;
        }
        if let Err(error) = std::fs::remove_file(path) {
            tracing::debug!(path = %path.display(), %error, "a socket could not be removed");
        }
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        self.unix.keys().for_each(|path| self.remove(path));
    }
}

impl Door {
    fn new<F: Future<Output = ()> + Send + 'static>(accept: impl FnOnce(Closing) -> F) -> Self {
        let (closing, closed) = oneshot::channel();
        Self { _closing: closing, task: tokio::spawn(accept(Closing(closed))) }
    }
}

/// Resolves when the door is dropped.
struct Closing(oneshot::Receiver<()>);

impl Future for Closing {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        std::pin::Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

fn wanted_tcp(config: &Config) -> impl Iterator<Item = SocketAddr> {
    config.listen.addresses.iter().copied()
}

fn wanted_unix(config: &Config) -> impl Iterator<Item = PathBuf> {
    let port = config.listen.addresses.first().map_or(5432, SocketAddr::port);
    config.listen.unix_directories.iter().map(move |d| d.join(format!(".s.PGSQL.{port}")))
}

fn wanted_http(config: &Config) -> Option<HttpDoor> {
    Some(HttpDoor { address: config.http.address?, tls: config.http.tls.clone() })
}

/// Whether both take clients of one address.
fn overlap(a: &SocketAddr, b: &SocketAddr) -> bool {
    let covers = |a: &SocketAddr, b: &SocketAddr| a.ip() == b.ip() || a.ip().is_unspecified();
    a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && (covers(a, b) || covers(b, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_overlap_where_one_is_all_of_them() {
        let overlap = |a: &str, b: &str| overlap(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(overlap("127.0.0.1:1", "127.0.0.1:1"));
        assert!(overlap("0.0.0.0:1", "127.0.0.1:1") && overlap("127.0.0.1:1", "0.0.0.0:1"));
        assert!(!overlap("127.0.0.1:1", "127.0.0.1:2") && !overlap("127.0.0.1:1", "127.0.0.2:1"));
        // Sockets of IPv6 take none of IPv4 here.
        assert!(!overlap("[::]:1", "127.0.0.1:1"));
    }
}
