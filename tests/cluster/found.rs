//! Nodes that are not written down: the DNS and Patroni tell them, and what they tell joins and leaves.

use crate::support::{Outcome, SCHEMA, mark};
use pgweir_tests::cluster::wait_until_within;
use pgweir_tests::door::Door;
use pgweir_tests::ports::free_port;
use pgweir_tests::process::Process;
use pgweir_tests::raw::RawClient;
use pgweir_tests::{Cluster, HarnessError, Rows, Weir, WeirBuilder, scratch};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use toml::Value;

/// A story's steps wait for a second's expiry or two, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

fn wait(what: &str, holds: impl FnMut() -> bool) -> Outcome {
    wait_until_within(SOON, what, holds)
}

/// A name server: dnsmasq, which knows the names in a file, and those alone.
struct Names {
    process: Process,
    directory: PathBuf,
    port: u16,
}

impl Names {
    fn start(services: &[String], hosts: &[String]) -> Result<Self, HarnessError> {
        let (directory, port) = (scratch::directory()?, free_port());
        write_hosts(&directory, hosts);
        let names = Self { process: serve_names(&directory, port, services)?, directory, port };
        names.wait_started()?;
        Ok(names)
    }

    fn wait_started(&self) -> Outcome {
        wait("the name server answers", || TcpStream::connect(("127.0.0.1", self.port)).is_ok())
    }

    /// From now on it tells these services, after a moment of silence.
    fn serve(&mut self, services: &[String]) -> Outcome {
        self.process.end("KILL");
        self.process = serve_names(&self.directory, self.port, services)?;
        self.wait_started()
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on these are the lines of its hosts file.
    fn know(&self, hosts: &[String]) {
        write_hosts(&self.directory, hosts);
        self.process.signal("HUP");
    }
}

fn write_hosts(directory: &Path, hosts: &[String]) {
    std::fs::write(directory.join("hosts"), hosts.join("\n") + "\n").expect("writable");
}

fn serve_names(directory: &Path, port: u16, services: &[String]) -> Result<Process, HarnessError> {
    let hosts = directory.join("hosts");
    let program = if Path::new("/usr/sbin/dnsmasq").exists() { "/usr/sbin/dnsmasq" } else { "dnsmasq" };
    let mut command = Command::new(program);
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--pid-file=",
    ]);
    command.args([
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        "--local-ttl=1",
        "--local=/test/",
        "--user=root",
    ]);
    command.arg(format!("--port={port}")).arg(format!("--addn-hosts={}", hosts.display()));
    command.args(services.iter().map(|service| format!("--srv-host={service}")));
    Process::spawn(command, &directory.join("dnsmasq.log"), "KILL")
}

fn cluster() -> Result<Cluster, HarnessError> {
    let cluster = Cluster::builder().log_statements().start()?;
    cluster.node(0).superuser().database("app").sql(SCHEMA)?;
    cluster.wait_caught_up()?;
    Ok(cluster)
}

/// A pgweir that is told this place and nothing else.
fn told(place: &str) -> WeirBuilder {
    let weir = Weir::builder_for(&[place.to_owned()]);
    weir.set("cluster.find.interval", "200ms").set("cluster.find.timeout", "1s")
}

fn console(weir: &Weir, sql: &str) -> Result<Rows, HarnessError> {
    weir.app().user("pgweir", "pgweir-secret").database("pgweir").sql(sql)
}

/// The nodes that a pgweir knows, in order.
fn nodes(weir: &Weir) -> Vec<String> {
    let rows = console(weir, "SHOW NODES").unwrap_or_default();
    let mut nodes: Vec<String> = rows.iter().filter_map(|row| row[0].clone()).collect();
    nodes.sort();
    nodes
}

/// The state of its only source, and the error.
fn source(weir: &Weir) -> (String, String) {
    match console(weir, "SHOW SOURCES") {
        // Behind it stand the standbys that the primary knows of.
        Ok(rows) if rows.len() == 2 => {
            let text = |column: usize| rows[0][column].clone().unwrap_or_default();
            (text(1), text(3))
        }
        other => (format!("{other:?}"), String::new()),
    }
}

fn gauge(weir: &Weir, name: &str) -> f64 {
    weir.metrics().map_or(-1.0, |metrics| metrics.sum(name, &[]))
}

/// Some read of a few runs on this node.
fn serves(cluster: &Cluster, weir: &Weir, node: usize) -> bool {
    let mark = mark();
    let sql = format!("/* {mark} */ SELECT count(*) FROM product");
    (0..10).all(|_| weir.app().sql(&sql).is_ok()) && cluster.nodes_that_ran(&mark).contains(&node)
}

/// Clients read and write all the while; none may see an error.
fn under_load(weir: &Weir, story: impl FnOnce() -> Outcome) -> Outcome {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = |number: u32| {
            let over = &over;
            move || -> Outcome {
                let mut client = RawClient::login(&weir.app())?;
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(client.value("SELECT count(*) FROM product")?, "100");
                    client.run(&format!("UPDATE counter SET n = n WHERE id = {number}"))?;
                }
                Ok(())
            }
        };
        let clients: Vec<_> = (1..=3).map(|number| scope.spawn(client(number))).collect();
        let result = story();
        over.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().expect("no panic")?;
        }
        result
    })
}

#[test]
fn all_addresses_of_a_name_are_nodes_that_come_and_go_with_its_records() -> Outcome {
    let cluster = cluster()?;
    let port = free_port();
    let ip = |node: usize| format!("127.0.0.{}", node + 2);
    let address = |node: usize| format!("{}:{port}", ip(node));
    let door = |node: usize| {
        let at: SocketAddr = address(node).parse().expect("an address");
        Door::open_at(at, cluster.node(node).port()).expect("a door")
    };
    let _doors = [door(0), door(1), door(2)];
    let host = |node: usize| format!("{} pg.test", ip(node));
    let names = Names::start(&[], &[host(0), host(1)])?;
    let place = format!("dns://pg.test:{port}");
    let weir = told(&place).set("cluster.find.resolver", names.address()).start()?;
    assert_eq!(nodes(&weir), [address(0), address(1)]);
    let shown = console(&weir, "SHOW NODES")?;
    let told_by = shown[0].iter().rev().nth(1).cloned().flatten();
    assert_eq!(told_by.as_deref(), Some(place.as_str()), "ahead of what is wrong with it");
    under_load(&weir, || {
        wait("a found replica reads", || serves(&cluster, &weir, 1))?;
        names.know(&[host(0), host(1), host(2)]);
        wait("one that joins reads", || serves(&cluster, &weir, 2))?;
        assert!(weir.log().contains(&format!("{} joins: {place} tells it", address(2))));
        names.know(&[host(0), host(2)]);
        wait("one leaves", || nodes(&weir) == [address(0), address(2)])?;
        assert!(!serves(&cluster, &weir, 1));
        // No such name, then silence: nothing changes, and that is said once.
        names.know(&[]);
        wait("the look-up fails", || source(&weir).0 == "fails")?;
        wait("it goes on failing", || gauge(&weir, "pgweir_source_failures_total") >= 3.0)?;
        names.process.signal("STOP");
        wait("the name server is silent", || source(&weir).1.contains("no answer within"))?;
        names.process.signal("CONT");
        assert_eq!(nodes(&weir), [address(0), address(2)]);
        assert_eq!(weir.log().matches("kind=\"source_failed\"").count(), 1, "{}", weir.log());
        assert_eq!((gauge(&weir, "pgweir_source_up"), gauge(&weir, "pgweir_source_nodes")), (0.0, 2.0));
        // A reload meanwhile loses nobody.
        weir.reconfigure(|config| pgweir_tests::weir::set(config, "pool.lease_wait", Value::from("9s")))?;
        assert_eq!(nodes(&weir), [address(0), address(2)]);
        names.know(&[host(0), host(1), host(2)]);
        wait("the name is back", || source(&weir).0 == "answers" && nodes(&weir).len() == 3)?;
        wait("its replica reads again", || serves(&cluster, &weir, 1))
    })
}

#[test]
fn the_hosts_of_srv_records_are_nodes_each_at_its_own_port() -> Outcome {
    let cluster = cluster()?;
    let service =
        |node: usize| format!("_postgresql._tcp.pg.test,n{node}.pg.test,{}", cluster.node(node).port());
    let hosts = "127.0.0.1 n0.pg.test n1.pg.test n2.pg.test";
    let mut names = Names::start(&[service(0), service(1)], &[hosts.to_owned()])?;
    let place = "srv://_postgresql._tcp.pg.test";
    let weir = told(place).set("cluster.find.resolver", names.address()).start()?;
    let address = |node: usize| format!("127.0.0.1:{}", cluster.node(node).port());
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    assert_eq!(nodes(&weir), sorted(vec![address(0), address(1)]));
    wait("the replica reads", || serves(&cluster, &weir, 1))?;
    let file = weir.config_file().to_string_lossy().into_owned();
    let (status, out, error) = weir.command(&["check", "--connect", "--config", &file])?;
    assert_eq!(status.code(), Some(0), "{out}{error}");
    assert!(out.contains(&format!("{place}: tells 2 nodes")) && out.contains("is the primary"), "{out}");
    // Another set of records, by a name server that is started anew.
    names.serve(&[service(0), service(2)])?;
    wait("one leaves and one joins", || nodes(&weir) == sorted(vec![address(0), address(2)]))?;
    wait("the other replica reads", || serves(&cluster, &weir, 2))?;
    drop(names);
    let (status, out, error) = weir.command(&["check", "--connect", "--config", &file])?;
    assert_eq!(status.code(), Some(1), "{out}{error}");
    assert!(out.contains("mistake") && out.contains(place), "{out}");
    Ok(())
}

/// What answers as Patroni's API does, or as a story wants it to.
struct Api {
    port: u16,
    answer: Arc<Mutex<String>>,
    asked: Arc<Mutex<String>>,
}

impl Api {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (answer, asked): (Arc<Mutex<String>>, Arc<Mutex<String>>) = Default::default();
        let (said, heard) = (answer.clone(), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (said, heard) = (said.clone(), heard.clone());
                std::thread::spawn(move || reply(stream, &said, &heard));
            }
        });
        Self { port, answer, asked }
    }

    fn say(&self, status: &str, body: &str) {
        let head =
            "Server: BaseHTTP/0.6 Python/3.11.2\r\nContent-Type: application/json\r\nConnection: close";
        let text = format!("HTTP/1.0 {status}\r\n{head}\r\n\r\n{body}");
        *self.answer.lock().expect("no panic") = text;
    }
}

fn reply(mut stream: TcpStream, said: &Mutex<String>, heard: &Mutex<String>) {
    let mut request = vec![];
    let mut buffer = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(length @ 1..) => request.extend(&buffer[..length]),
            _ => return,
        }
    }
    *heard.lock().expect("no panic") = String::from_utf8_lossy(&request).into_owned();
    let answer = said.lock().expect("no panic").clone();
    if answer.is_empty() {
        std::thread::sleep(Duration::from_secs(5));
    }
    // Who does not wait any more does not mind.
    let _ = stream.write_all(answer.as_bytes());
}

/// What Patroni tells of these nodes.
fn members(cluster: &Cluster, list: &[usize]) -> String {
    let member = |node: &usize| {
        let (role, state) = if *node == 0 { ("leader", "running") } else { ("replica", "streaming") };
        let port = cluster.node(*node).port();
        format!(
            r#"{{"name": "pg{node}", "role": "{role}", "state": "{state}", "api_url": "http://127.0.0.1:8008/patroni", "host": "127.0.0.1", "port": {port}, "timeline": 1, "lag": 0}}"#
        )
    };
    let list: Vec<_> = list.iter().map(member).collect();
    format!(r#"{{"members": [{}], "scope": "demo"}}"#, list.join(", "))
}

#[test]
fn the_members_that_patroni_tells_are_nodes() -> Outcome {
    let cluster = cluster()?;
    let api = Api::start();
    api.say("200 OK", &members(&cluster, &[0, 1]));
    let place = format!("patroni+http://127.0.0.1:1,127.0.0.1:{}", api.port);
    let weir =
        told(&place).set("cluster.patroni.user", "weir").set("cluster.patroni.password", "sesame").start()?;
    let address = |node: usize| format!("127.0.0.1:{}", cluster.node(node).port());
    let of = |list: &[usize]| {
        let mut all: Vec<_> = list.iter().map(|node| address(*node)).collect();
        all.sort();
        all
    };
    assert_eq!(nodes(&weir), of(&[0, 1]));
    let asked = api.asked.lock().expect("no panic").clone();
    assert!(asked.starts_with("GET /cluster HTTP/1.1"), "{asked}");
    assert!(asked.to_lowercase().contains("authorization: basic d2vpcjpzzxnhbwu="), "{asked}");
    under_load(&weir, || {
        api.say("200 OK", &members(&cluster, &[0, 1, 2]));
        wait("one joins", || serves(&cluster, &weir, 2))?;
        api.say("200 OK", &members(&cluster, &[0, 2]));
        wait("one leaves", || nodes(&weir) == of(&[0, 2]))?;
        let whole = members(&cluster, &[0, 1, 2]);
        let long = format!("{}{}", " ".repeat(1 << 20), whole);
        for (status, body, words) in [
            ("503 Service Unavailable", whole.as_str(), "status 503"),
            ("301 Moved Permanently", &whole, "status 301"),
            ("200 OK", &whole[..whole.len() / 2], "not that of Patroni"),
            ("200 OK", &whole.replace("127.0.0.1", "a b"), "no address"),
            ("200 OK", r#"{"members": []}"#, "no node"),
            ("200 OK", &long, "larg"),
        ] {
            api.say(status, body);
            wait(words, || source(&weir).1.contains(words))?;
            assert_eq!(nodes(&weir), of(&[0, 2]), "{words}");
        }
        api.answer.lock().expect("no panic").clear();
        wait("the API is silent", || source(&weir).1.to_lowercase().contains("time"))?;
        assert_eq!(nodes(&weir), of(&[0, 2]));
        api.say("200 OK", &whole);
        wait("it answers again", || nodes(&weir) == of(&[0, 1, 2]))
    })?;
    assert_eq!(weir.log().matches("kind=\"source_failed\"").count(), 1, "{}", weir.log());
    Ok(())
}

#[test]
fn a_standby_that_only_the_primary_knows_is_offered_and_taken_if_wanted() -> Outcome {
    let cluster = Cluster::builder().replicas(1).log_statements().start()?;
    cluster.node(0).superuser().database("app").sql(SCHEMA)?;
    cluster.wait_caught_up()?;
    // The primary is known by another address, at the standby's port: there the standby is taken to listen.
    let port = cluster.node(1).port();
    let primary = SocketAddr::from(([127, 0, 0, 2], port));
    let _door = Door::open_at(primary, cluster.node(0).port()).expect("a door");
    let weir = Weir::builder_for(&[primary.to_string()]).start()?;
    let standby = format!("127.0.0.1:{port}");
    wait("it is offered", || weir.log().contains(&format!("the primary streams to {standby}")))?;
    assert_eq!(nodes(&weir), [primary.to_string()]);
    let events = console(&weir, "SHOW EVENTS")?;
    assert!(events.iter().any(|row| row[1].as_deref() == Some("standby_offered")), "{events:?}");
    weir.reconfigure(|config| pgweir_tests::weir::set(config, "cluster.find.standbys", Value::from("take")))?;
    wait("it reads", || serves(&cluster, &weir, 1))?;
    assert_eq!(nodes(&weir), [standby, primary.to_string()]);
    weir.reconfigure(|config| pgweir_tests::weir::set(config, "cluster.find.standbys", Value::from("off")))?;
    wait("it is no node any more", || nodes(&weir) == [primary.to_string()])
}
