//! Three Postgres servers under a real Patroni with a real etcd, and HAProxy as Patroni's documentation sets it up.

use pgweir_tests::binaries::Binaries;
use pgweir_tests::cluster::{make_users, wait_until_within};
use pgweir_tests::error::Doing;
use pgweir_tests::identity::Identity;
use pgweir_tests::node::{REPLICATOR, REPLICATOR_PASSWORD, SUPERUSER, SUPERUSER_PASSWORD};
use pgweir_tests::ports::free_port;
use pgweir_tests::process::{Process, signal};
use pgweir_tests::sql::Login;
use pgweir_tests::{HarnessError, http, scratch, usage};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

/// How many servers there are.
pub const NODES: usize = 3;
/// How long the cluster may take to be whole again. A copy of a server made afresh is the longest.
const WHOLE_TIME_MAX: Duration = Duration::from_secs(180);

/// The cluster and what keeps it.
pub struct Site {
    nodes: Vec<Node>,
    /// HAProxy's port, which leads to the primary.
    pub haproxy: u16,
    directory: PathBuf,
    identity: Identity,
    _haproxy: Process,
    _etcd: Process,
}

/// A server with its Patroni.
struct Node {
    name: String,
    port: u16,
    api: u16,
    data: PathBuf,
    config: PathBuf,
    log: PathBuf,
    patroni: Mutex<Option<Process>>,
}

/// A member of the cluster as Patroni tells it.
#[derive(Debug)]
struct Member {
    name: String,
    role: String,
    is_running: bool,
    timeline: u64,
}

impl Site {
    /// Makes and starts all of it; takes half a minute.
    pub fn start() -> Result<Self, HarnessError> {
        let (identity, directory) = (Identity::find()?, scratch::directory()?);
        identity.own(&directory)?;
        let (etcd, etcd_port) = etcd(&identity, &directory)?;
        let binaries = Binaries::find()?;
        let nodes = (0..NODES).map(|number| Node::new(&directory, number)).collect::<Vec<_>>();
        for node in &nodes {
            let text = node.configuration(&binaries, &directory, etcd_port);
            std::fs::write(&node.config, text).doing(|| format!("writing {}", node.config.display()))?;
            identity.own(&node.config)?;
        }
        let port = free_port();
        let haproxy = haproxy(&directory, port, &nodes)?;
        let site = Site { nodes, haproxy: port, directory, identity, _haproxy: haproxy, _etcd: etcd };
        // One after the other: the first is to be the primary, and the others copy it.
        for node in 0..NODES {
            site.run(node)?;
            site.wait(|members| members.iter().filter(|member| member.is_running).count() > node)?;
        }
        make_users(&site.superuser(site.leader()?))?;
        site.wait_whole()?;
        Ok(site)
    }

    /// Starts the Patroni of a node.
    pub fn run(&self, number: usize) -> Result<(), HarnessError> {
        let node = &self.nodes[number];
        let mut command = Command::new("patroni");
        self.identity.apply(&mut command);
        command.arg(&node.config).env("LC_ALL", "C.UTF-8");
        *node.patroni.lock().expect("no panic") = Some(Process::spawn(command, &node.log, "KILL")?);
        Ok(())
    }

    /// Where pgweir is told to look for nodes.
    pub fn source(&self) -> String {
        let all: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.api)).collect();
        format!("patroni+http://{}", all.join(","))
    }

    /// A superuser's log-in straight to a node.
    pub fn superuser(&self, number: usize) -> Login {
        Login::local(self.nodes[number].port, SUPERUSER, SUPERUSER_PASSWORD, "postgres")
    }

    /// The number of the node that is the primary.
    pub fn leader(&self) -> Result<usize, HarnessError> {
        self.member(|member| member.role == "leader")
    }

    /// The number of a node that is none.
    pub fn replica(&self) -> Result<usize, HarnessError> {
        self.member(|member| member.role == "replica")
    }

    fn member(&self, is_it: impl Fn(&Member) -> bool) -> Result<usize, HarnessError> {
        let found = self.members().into_iter().find(is_it).map(|member| member.name);
        let number = self.nodes.iter().position(|node| Some(&node.name) == found.as_ref());
        number.ok_or_else(|| HarnessError::failed("Patroni tells of no such member"))
    }

    /// Asks a node's Patroni for something.
    pub fn ask(&self, number: usize, path: &str, body: &str) -> Result<(), HarnessError> {
        let address = format!("127.0.0.1:{}", self.nodes[number].api);
        let answer = http::request(&address, "POST", path, &[("Content-Type", "application/json")], body)?;
        if (200..300).contains(&answer.status) {
            return Ok(());
        }
        Err(HarnessError::failed(format!("POST {path}: {} {}", answer.status, answer.body)))
    }

    /// The name that Patroni knows a node by.
    pub fn name(&self, number: usize) -> &str {
        &self.nodes[number].name
    }

    /// Sends a signal to all of a node's Postgres processes, and to its Patroni if that is wanted.
    pub fn signal(&self, number: usize, name: &str, with_patroni: bool) {
        let node = &self.nodes[number];
        if let Some(patroni) = node.patroni.lock().expect("no panic").as_mut()
            && with_patroni
        {
            // First, since it would start Postgres again. The postmaster need not be its child.
            for pid in usage::descendants(patroni.id()) {
                signal(pid, name);
            }
            patroni.signal(name);
        }
        if let Some(postmaster) = node.postmaster() {
            for pid in usage::descendants(postmaster) {
                signal(pid, name);
            }
            signal(postmaster, name);
        }
    }

    /// Sends a signal to a node's postmaster alone.
    pub fn signal_postmaster(&self, number: usize, name: &str) {
        if let Some(postmaster) = self.nodes[number].postmaster() {
            signal(postmaster, name);
        }
    }

    /// Waits until there is a primary that both others follow, one of them synchronously, on one timeline.
    pub fn wait_whole(&self) -> Result<(), HarnessError> {
        self.wait(|members| {
            let count = |role: &str| members.iter().filter(|member| member.role == role).count();
            let timeline = members.first().map(|member| member.timeline);
            members.len() == NODES
                && members.iter().all(|member| member.is_running && Some(member.timeline) == timeline)
                && [count("leader"), count("sync_standby"), count("replica")] == [1, 1, 1]
        })
    }

    fn wait(&self, is_so: impl Fn(&[Member]) -> bool) -> Result<(), HarnessError> {
        let waited = wait_until_within(WHOLE_TIME_MAX, "Patroni's cluster is whole", || {
            std::thread::sleep(Duration::from_millis(200));
            is_so(&self.members())
        });
        waited
            .map_err(|error| HarnessError::failed(format!("{error}: {:?}\n{}", self.members(), self.logs())))
    }

    /// What whichever Patroni answers first says; nothing where none does.
    fn members(&self) -> Vec<Member> {
        let answers = self.nodes.iter().filter(|node| node.is_answering());
        let mut documents = answers.filter_map(|node| {
            let answer = http::get(&format!("127.0.0.1:{}", node.api), "/cluster").ok()?;
            serde_json::from_str::<Value>(&answer.body).ok()
        });
        let document = documents.next().unwrap_or_default();
        let text = |member: &Value, key: &str| member[key].as_str().unwrap_or_default().to_owned();
        let member = |member: &Value| Member {
            name: text(member, "name"),
            role: text(member, "role"),
            is_running: matches!(member["state"].as_str(), Some("running" | "streaming")),
            timeline: member["timeline"].as_u64().unwrap_or_default(),
        };
        document["members"].as_array().into_iter().flatten().map(member).collect()
    }

    fn logs(&self) -> String {
        let end = |node: &Node| {
            let log = std::fs::read_to_string(&node.log).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            format!("{}:\n{}\n", node.name, lines[lines.len().saturating_sub(60)..].join("\n"))
        };
        self.nodes.iter().map(end).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for number in 0..NODES {
            self.signal(number, "CONT", true);
            self.signal(number, "KILL", true);
            *self.nodes[number].patroni.lock().expect("no panic") = None;
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Node {
    fn new(directory: &Path, number: usize) -> Self {
        let name = format!("pg{number}");
        Node {
            port: free_port(),
            api: free_port(),
            data: directory.join(&name),
            config: directory.join(format!("{name}.yml")),
            log: directory.join(format!("{name}.log")),
            name,
            patroni: Mutex::default(),
        }
    }

    fn postmaster(&self) -> Option<u32> {
        let file = std::fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        file.lines().next()?.trim().parse().ok()
    }

    /// A process that was stopped keeps its socket, and would be waited for.
    fn is_answering(&self) -> bool {
        let mut patroni = self.patroni.lock().expect("no panic");
        let Some(process) = patroni.as_mut() else { return false };
        if process.ended().is_some() {
            return false;
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap_or_default();
        !status.lines().any(|line| line.starts_with("State:\tT"))
    }

    /// `ttl`, `loop_wait` and `retry_timeout` are shorter than Patroni's defaults (30, 10, 10 s), in the
    /// proportions that it demands. In synchronous mode nothing acknowledged is lost with a primary: what is lost in
    /// a trial was lost by whoever stood between.
    fn configuration(&self, binaries: &Binaries, directory: &Path, etcd: u16) -> String {
        let Node { name, port, api, data, .. } = self;
        let programs = binaries.program("postgres");
        let programs = programs.parent().unwrap_or(Path::new("/usr/bin")).display();
        let (data, directory) = (data.display(), directory.display());
        format!(
            "\
scope: trial
name: {name}
restapi: {{listen: '127.0.0.1:{api}', connect_address: '127.0.0.1:{api}'}}
etcd3: {{host: '127.0.0.1:{etcd}'}}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 5
    retry_timeout: 5
    synchronous_mode: true
    postgresql:
      use_pg_rewind: true
      use_slots: true
      parameters: {{max_connections: 200, max_wal_senders: 10, wal_log_hints: 'on'}}
  initdb: [{{encoding: UTF8}}, {{locale: C.UTF-8}}, no-sync]
postgresql:
  listen: '127.0.0.1:{port}'
  connect_address: '127.0.0.1:{port}'
  data_dir: '{data}'
  bin_dir: '{programs}'
  pgpass: '{directory}/{name}.pass'
  pg_hba: ['host replication all 127.0.0.1/32 scram-sha-256', 'host all all 127.0.0.1/32 scram-sha-256']
  authentication:
    superuser: {{username: {SUPERUSER}, password: {SUPERUSER_PASSWORD}}}
    replication: {{username: {REPLICATOR}, password: {REPLICATOR_PASSWORD}}}
  parameters: {{unix_socket_directories: '{directory}', fsync: 'off', password_encryption: scram-sha-256}}
"
        )
    }
}

fn etcd(identity: &Identity, directory: &Path) -> Result<(Process, u16), HarnessError> {
    let (client, peer) = (free_port(), free_port());
    let data = directory.join("etcd");
    std::fs::create_dir(&data).doing(|| format!("making {}", data.display()))?;
    identity.own(&data)?;
    let (client_url, peer_url) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    let mut command = Command::new("etcd");
    identity.apply(&mut command);
    command.args(["--name", "one", "--unsafe-no-fsync", "--data-dir"]).arg(&data);
    command.args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url]);
    command.args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url]);
    command.args(["--initial-cluster", &format!("one={peer_url}")]);
    let process = Process::spawn(command, &directory.join("etcd.log"), "KILL")?;
    let address = format!("127.0.0.1:{client}");
    wait_until_within(Duration::from_secs(30), "etcd is healthy", || {
        http::get(&address, "/health").is_ok_and(|answer| answer.status == 200)
    })?;
    Ok((process, client))
}

/// <https://patroni.readthedocs.io/en/latest/rest_api.html#health-check-endpoints>
fn haproxy(directory: &Path, port: u16, nodes: &[Node]) -> Result<Process, HarnessError> {
    let servers: String = nodes
        .iter()
        .map(|Node { name, port, api, .. }| format!("  server {name} 127.0.0.1:{port} check port {api}\n"))
        .collect();
    let text = format!(
        "\
defaults
  mode tcp
  retries 2
  timeout connect 4s
  timeout check 5s
  timeout client 30m
  timeout server 30m
listen primary
  bind 127.0.0.1:{port}
  option httpchk OPTIONS /primary
  http-check expect status 200
  default-server inter 3s fall 3 rise 2 on-marked-down shutdown-sessions
{servers}"
    );
    let file = directory.join("haproxy.cfg");
    std::fs::write(&file, text).doing(|| format!("writing {}", file.display()))?;
    // For users who have no /usr/sbin on their path.
    let places = [Path::new("/usr/sbin/haproxy"), Path::new("haproxy")];
    let program = places.into_iter().find(|place| place.is_file()).unwrap_or(places[1]);
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(&file);
    Process::spawn(command, &directory.join("haproxy.log"), "TERM")
}
