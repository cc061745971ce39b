//! Nodes out of the DNS: all addresses of a name, or its SRV records.
//!
//! A name that is looked up by the system's own functions gives addresses without their lifetime, and no SRV
//! records: so name servers are asked directly, those of `/etc/resolv.conf` with its search list, or those that are
//! configured. Whatever is not a whole answer is a failure: where one of A and AAAA could not be had, nobody knows
//! whether its nodes are gone.

use super::{Place, Told};
use crate::config::sources::Find;
use crate::limits::NODES_MAX;
use domain::base::iana::Rcode;
use domain::base::name::Name;
use domain::base::{Message, ParsedName, Rtype};
use domain::rdata::{A, Aaaa, Srv};
use domain::resolv::StubResolver;
use domain::resolv::stub::conf::{ResolvConf, ServerConf, Transport};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What a name server has said to one question.
enum Said {
    /// Records, perhaps none of the kind that was asked for.
    Records(Message<bytes::Bytes>),
    /// There is no such name.
    NoName,
}

/// All addresses of `host`, with this port each.
///
/// # Errors
/// A sentence for people.
pub(super) async fn addresses(host: &str, port: u16, find: &Find) -> Result<Told, String> {
    let asked = Asked::new(find);
    let mut last = format!("there is no {host}");
    for name in asked.names(host)? {
        let (a, aaaa) = tokio::join!(asked.question(&name, Rtype::A), asked.question(&name, Rtype::AAAA));
        match (a, aaaa) {
            (Ok(Said::NoName), Ok(_)) | (Ok(_), Ok(Said::NoName)) => continue,
            (Ok(Said::Records(a)), Ok(Said::Records(aaaa))) => {
                let mut told = Told::default();
                read_addresses(&a, &aaaa, port, &mut told)?;
                if !told.places.is_empty() {
                    return Ok(told);
                }
                last = format!("{name} has no address");
            }
            (Err(why), _) | (_, Err(why)) => last = why,
        }
    }
    Err(last)
}

/// The hosts and ports that the SRV records of `service` name. Their priorities and weights are not looked at: which
/// node is read from follows from its lag and load.
///
/// Name servers of our own may know hosts that the system does not (Consul's, say): those are looked up there, too.
///
/// # Errors
/// A sentence for people.
pub(super) async fn services(service: &str, find: &Find) -> Result<Told, String> {
    let asked = Asked::new(find);
    let mut last = format!("there is no {service}");
    for name in asked.names(service)? {
        match asked.question(&name, Rtype::SRV).await {
            Ok(Said::NoName) => {}
            Ok(Said::Records(message)) => {
                let (hosts, expires) = read_services(&message)?;
                if !hosts.is_empty() {
                    return asked.places(&hosts, expires, find).await;
                }
                last = format!("{name} has no SRV record");
            }
            Err(why) => last = why,
        }
    }
    Err(last)
}

/// Whom to ask, and under which names.
struct Asked {
    resolver: StubResolver,
    conf: ResolvConf,
    /// The names of the system's search list are tried as well.
    searches: bool,
}

impl Asked {
    fn new(find: &Find) -> Self {
        let mut conf = ResolvConf::default();
        let searches = find.resolvers.is_empty();
        if !searches {
            let server = |address: &SocketAddr| ServerConf::new(*address, Transport::UdpTcp);
            conf.servers = find.resolvers.iter().map(server).collect();
        }
        // The first server may be dead: the next one has its turn within our own time.
        conf.options.timeout = find.timeout;
        conf.finalize();
        // A resolver of its own for each look: what has become of an earlier one's sockets does not matter.
        Self { resolver: StubResolver::from_conf(conf.clone()), conf, searches }
    }

    /// The names that `text` may stand for, as resolv.conf(5) has it.
    fn names(&self, text: &str) -> Result<Vec<Name<Vec<u8>>>, String> {
        let wrong = |_| format!("{text} is not a name in the DNS");
        let whole = Name::<Vec<u8>>::from_chars(text.chars()).map_err(wrong)?;
        if text.ends_with('.') || !self.searches {
            return Ok(vec![whole]);
        }
        let bare = text.matches('.').count() < self.conf.options.ndots;
        let suffixes = self.conf.options.search.as_slice().iter().filter(|suffix| !suffix.is_root());
        // One that would be too long is none.
        let longer = |suffix: String| Name::<Vec<u8>>::from_chars(format!("{text}.{suffix}").chars()).ok();
        let mut names: Vec<_> = suffixes.filter_map(|suffix| longer(suffix.to_string())).collect();
        names.insert(if bare { names.len() } else { 0 }, whole);
        Ok(names)
    }

    /// Where these hosts are.
    async fn places(
        &self,
        hosts: &[(String, u16)],
        mut expires: Option<Duration>,
        find: &Find,
    ) -> Result<Told, String> {
        let mut places = vec![];
        for (host, port) in hosts {
            if self.searches {
                places.push(Place::new(format!("{host}:{port}")));
                continue;
            }
            // Boxed: what looks up hosts and what looks up services know each other.
            let told = Box::pin(addresses(host, *port, find)).await?;
            told.expires.iter().for_each(|ttl| shorten(&mut expires, *ttl));
            places.extend(told.places);
        }
        Ok(Told { places, expires })
    }

    async fn question(&self, name: &Name<Vec<u8>>, rtype: Rtype) -> Result<Said, String> {
        let answer = self.resolver.query((name, rtype)).await;
        let answer = answer.map_err(|error| format!("{name} {rtype}: {error}"))?;
        match answer.header().rcode() {
            _ if answer.is_truncated() => Err(format!("{name} {rtype}: the answer is cut off")),
            Rcode::NOERROR => Ok(Said::Records(answer.into_message())),
            Rcode::NXDOMAIN => Ok(Said::NoName),
            rcode => Err(format!("{name} {rtype}: the name server says {rcode}")),
        }
    }
}

/// The shortest lifetime of what has been read so far.
fn shorten(expires: &mut Option<Duration>, ttl: Duration) {
    *expires = Some(expires.map_or(ttl, |before| before.min(ttl)));
}

/// An address that a server can have.
fn is_host(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !address.is_unspecified() && !address.is_multicast() && !is_broadcast
}

fn read_addresses(
    a: &Message<bytes::Bytes>,
    aaaa: &Message<bytes::Bytes>,
    port: u16,
    told: &mut Told,
) -> Result<(), String> {
    let garbled = |_| "the name server's answer cannot be read".to_owned();
    let mut add = |address: IpAddr, ttl: Duration| {
        shorten(&mut told.expires, ttl);
        if is_host(address) {
            told.places.push(Place::new(SocketAddr::new(address, port).to_string()));
        }
    };
    for record in a.answer().map_err(garbled)?.limit_to_in::<A>() {
        let record = record.map_err(garbled)?;
        add(IpAddr::V4(record.data().addr()), record.ttl().into_duration());
    }
    for record in aaaa.answer().map_err(garbled)?.limit_to_in::<Aaaa>() {
        let record = record.map_err(garbled)?;
        add(IpAddr::V6(record.data().addr()), record.ttl().into_duration());
    }
    Ok(())
}

/// Hosts with their ports, and how long that holds.
type Services = (Vec<(String, u16)>, Option<Duration>);

fn read_services(message: &Message<bytes::Bytes>) -> Result<Services, String> {
    let garbled = |_| "the name server's answer cannot be read".to_owned();
    let (mut hosts, mut expires) = (vec![], None);
    for record in message.answer().map_err(garbled)?.limit_to_in::<Srv<ParsedName<_>>>() {
        let record = record.map_err(garbled)?;
        let service = record.data();
        shorten(&mut expires, record.ttl().into_duration());
        // The root says that there is no such service (RFC 2782).
        if !service.target().is_root() && service.port() > 0 {
            let host = service.target().to_string();
            hosts.push((host.trim_end_matches('.').to_owned(), service.port()));
        }
    }
    if hosts.len() > NODES_MAX {
        return Err(format!("{} SRV records, of which {NODES_MAX} at most are looked at", hosts.len()));
    }
    Ok((hosts, expires))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::base::MessageBuilder;

    fn find(resolvers: &[&str]) -> Find {
        Find {
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            resolvers: resolvers.iter().map(|address| address.parse().unwrap()).collect(),
            standbys: crate::config::Standbys::Off,
            patroni: Default::default(),
        }
    }

    fn name(text: &str) -> Name<Vec<u8>> {
        Name::from_chars(text.chars()).unwrap()
    }

    #[test]
    fn names_are_completed_as_the_system_does() {
        let mut asked = Asked::new(&find(&["127.0.0.1:53"]));
        let shown = |asked: &Asked, text: &str| {
            asked.names(text).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(shown(&asked, "pg.default"), ["pg.default"], "servers of one's own: as it is written");
        let text = "search default.svc.cluster.local cluster.local\noptions ndots:5\n";
        asked.conf = ResolvConf::new();
        asked.conf.parse(&mut text.as_bytes()).unwrap();
        asked.searches = true;
        assert_eq!(
            shown(&asked, "pg.default"),
            ["pg.default.default.svc.cluster.local", "pg.default.cluster.local", "pg.default"]
        );
        assert_eq!(shown(&asked, "pg.default."), ["pg.default"]);
        asked.conf.options.ndots = 1;
        assert_eq!(shown(&asked, "pg.default")[0], "pg.default");
    }

    #[test]
    fn records_that_name_no_host_are_left_out() {
        let mut answer = MessageBuilder::new_bytes().answer();
        for address in ["10.0.0.2", "0.0.0.0", "255.255.255.255", "224.0.0.1"] {
            answer.push((name("pg"), 30, A::new(address.parse().unwrap()))).unwrap();
        }
        let mut six = MessageBuilder::new_bytes().answer();
        six.push((name("pg"), 20, Aaaa::new("2001:db8::1".parse().unwrap()))).unwrap();
        let mut told = Told::default();
        read_addresses(&answer.into_message(), &six.into_message(), 5433, &mut told).unwrap();
        let addresses: Vec<_> = told.places.iter().map(|place| place.address.as_str()).collect();
        assert_eq!(addresses, ["10.0.0.2:5433", "[2001:db8::1]:5433"]);
        assert_eq!(told.expires, Some(Duration::from_secs(20)));
        let mut services = MessageBuilder::new_bytes().answer();
        for (port, host) in [(5432, "a.pg"), (0, "b.pg"), (6000, ".")] {
            services.push((name("pg"), 60, Srv::new(1, 1, port, name(host)))).unwrap();
        }
        let (hosts, expires) = read_services(&services.into_message()).unwrap();
        assert_eq!((hosts, expires), (vec![("a.pg".to_owned(), 5432)], Some(Duration::from_secs(60))));
    }

    #[tokio::test]
    async fn a_server_that_sends_garbage_or_nothing_has_failed() {
        let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap().to_string();
        let garbage = tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, from) = server.recv_from(&mut buffer).await.unwrap();
                // The question comes back with what is not an answer behind it.
                let mut reply = buffer[..length].to_vec();
                reply[2] |= 0x80;
                reply[7] = 9;
                reply.extend([0xff; 7]);
                server.send_to(&reply, from).await.unwrap();
            }
        });
        let find = find(&[&address]);
        let told = tokio::time::timeout(Duration::from_secs(5), addresses("pg.test", 5432, &find)).await;
        assert!(told.expect("in time").is_err());
        garbage.abort();
        let told = tokio::time::timeout(Duration::from_secs(5), services("pg.test", &find)).await;
        assert!(told.expect("in time").is_err());
    }
}
