//! Every key of the configuration file, in one table.
//!
//! The reader takes forms and defaults from it, `check` finds the nearest known key in it, and the
//! reference page, the commented default file and the JSON schema are printed from it. A new key is one
//! row here and one field of the configuration.

/// One key.
#[derive(Debug)]
pub struct Key {
    /// `section.key`; `[]` marks a table that may be repeated: `rule[].user`.
    pub path: &'static str,
    /// What may be written.
    pub form: Form,
    /// TOML text of the default; `None`: not set.
    pub default: Option<&'static str>,
    /// When a change takes effect.
    pub live: Live,
    /// What it does, and why its default is what it is.
    pub why: &'static str,
}

/// When a change of a key takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Live {
    /// At the next reload.
    Reload,
    /// When pgweir is started again; a reload says so.
    Restart,
}

impl Live {
    /// The word in the reference.
    pub const fn as_str(self) -> &'static str {
        match self {
            Live::Reload => "live",
            Live::Restart => "restart",
        }
    }
}

/// What may be written as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Any text.
    Text,
    /// A text that is never shown again.
    Secret,
    /// A path, relative to the configuration file's directory.
    Path,
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds.
    Count(u64, u64),
    /// `"5s"`, `"200ms"`, `"1h 30min"`; from the first to the second bound, in milliseconds.
    Duration(u64, u64),
    /// As `Duration`, or `"off"`.
    OptionalDuration(u64, u64),
    /// `"16MiB"`, `"64kB"`; from the first to the second bound, in bytes.
    Size(u64, u64),
    /// As `Size`, or `"off"`.
    OptionalSize(u64, u64),
    /// `"127.0.0.1:6432"`, or `"off"`.
    OptionalAddress,
    /// One address or a list of them.
    Addresses,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of words out of these.
    Words(&'static [&'static str]),
    /// One text or a list of them.
    Texts,
    /// One path or a list of them.
    Paths,
    /// One name or a list of names, with `*` for any run of characters.
    Patterns,
    /// One address or network (`"10.0.0.0/8"`), or a list of them.
    Networks,
    /// One time of the week (`"mon-fri 08:55"`), or a list of them.
    Times,
    /// A regular expression.
    Regex,
    /// Addresses of nodes, or tables `{ address, weight, zone, groups }`.
    Nodes,
    /// A number from 0 to 1.
    Share,
}

impl Form {
    /// What the reference says under "type".
    pub fn describe(self) -> String {
        let plain = match self {
            Form::Text | Form::Secret => "text",
            Form::Path => "path",
            Form::Bool => "true or false",
            Form::Duration(..) => "duration",
            Form::OptionalDuration(..) => "duration or \"off\"",
            Form::Size(..) => "size",
            Form::OptionalSize(..) => "size or \"off\"",
            Form::OptionalAddress => "address:port or \"off\"",
            Form::Addresses => "address:port or a list",
            Form::Texts => "text or a list",
            Form::Paths => "path or a list",
            Form::Patterns => "name pattern or a list",
            Form::Networks => "network or a list",
            Form::Times => "time of the week or a list",
            Form::Regex => "regular expression",
            Form::Nodes => "list of addresses or tables",
            Form::Share => "number, 0 to 1",
            Form::Count(min, u64::MAX) => return format!("whole number from {min}"),
            Form::Count(min, max) => return format!("whole number, {min} to {max}"),
            Form::Word(words) => {
                return words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", ");
            }
            Form::Words(words) => return format!("one or a list of {}", words.join(", ")),
        };
        plain.to_owned()
    }
}

/// A section and what it is about.
#[derive(Debug)]
pub struct Section {
    /// `listen.tls`, `rule[]`.
    pub path: &'static str,
    /// One or two sentences.
    pub about: &'static str,
}

/// The key at `path`.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The names of the keys and sub-sections right below `section` (`""`: the top).
pub fn names_in(section: &str) -> Vec<&'static str> {
    let paths = KEYS.iter().map(|k| k.path).chain(SECTIONS.iter().map(|s| s.path));
    let below = paths.filter_map(|path| match section {
        "" => Some(path),
        _ => path.strip_prefix(section)?.strip_prefix('.'),
    });
    let mut names: Vec<_> = below.filter_map(|rest| rest.split(['.', '[']).next()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Milliseconds.
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const MODES: &[&str] = &["transaction", "session"];
const CONSISTENCIES: &[&str] = &["eventual", "session", "proxy", "global"];
const TRANSACTIONS: &[&str] = &["primary", "until_first_write"];
const METHODS: &[&str] = &["scram-sha-256", "md5", "password", "certificate", "trust", "reject"];
const CLIENT_CERTIFICATE: &[&str] = &["request", "require"];
const CERTIFICATE_CHECKS: &[&str] = &["verify-ca", "verify-full"];
const CONNECTIONS: &[&str] = &["any", "local", "host", "hostssl", "hostnossl"];
/// Settings of a server's own configuration that shape what a read shows.
pub const SHAPING: &[&str] = &[
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "array_nulls",
    "backslash_quote",
    "bytea_output",
    "default_text_search_config",
    "default_transaction_isolation",
    "extra_float_digits",
    "gin_fuzzy_search_limit",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "quote_all_identifiers",
    "row_security",
    "search_path",
    "standard_conforming_strings",
    "timezone_abbreviations",
    "transform_null_equals",
    "xmlbinary",
    "xmloption",
];
const PROOFS: &[&str] = &["scram-sha-256", "md5", "password", "none"];
const SSL_MODES: &[&str] = &["disable", "prefer", "require", "verify-ca", "verify-full"];
const KINDS: &[&str] = &[
    "select",
    "insert",
    "update",
    "delete",
    "merge",
    "copy",
    "explain",
    "ddl",
    "maintenance",
    "transaction",
    "set",
    "show",
    "prepare",
    "cursor",
    "notify",
    "call",
    "empty",
    "other",
];

/// The sections, in the order of the reference.
pub const SECTIONS: &[Section] = &[
    Section { path: "listen", about: "Where clients connect." },
    Section {
        path: "listen.tls",
        about: "TLS with clients. Without a certificate pgweir makes one for itself; `listen.tls = \"auto\"` and `listen.tls = \"off\"` are short for a section with that `mode` alone.",
    },
    Section {
        path: "http",
        about: "The address of `/metrics`, `/healthz`, `/readyz` and the status page at `/`.",
    },
    Section { path: "http.tls", about: "TLS on the HTTP address." },
    Section {
        path: "cluster",
        about: "The Postgres cluster: one primary and its replicas. Roles are discovered, never configured.",
    },
    Section {
        path: "cluster.nodes[]",
        about: "A node written as a table, where more than its address is to be said.",
    },
    Section {
        path: "cluster.find",
        about: "How nodes are looked for that `cluster.nodes` names by a place: the DNS, or Patroni.",
    },
    Section { path: "cluster.patroni", about: "How Patroni's API is spoken to." },
    Section { path: "cluster.tls", about: "TLS with the nodes." },
    Section {
        path: "fleet",
        about: "The pgweirs of other machines: a cancel request that a balancer has led to the wrong one is passed on.",
    },
    Section { path: "pool", about: "Server connections: one pool per node, database and user." },
    Section { path: "runtime", about: "Threads, files, and the file this is read from." },
    Section {
        path: "routing",
        about: "Where reads go, and how fresh they are. Rules and hints may say otherwise for some.",
    },
    Section { path: "limits", about: "Clients, and how long things may take." },
    Section { path: "auth", about: "How clients authenticate." },
    Section {
        path: "auth.rule[]",
        about: "Access rules, the first match wins. Without any, everybody authenticates by SCRAM (or md5 where the stored secret is md5).",
    },
    Section {
        path: "console",
        about: "Who may connect to the database `pgweir` (or `pgbouncer`) and what they may ask there.",
    },
    Section {
        path: "traces",
        about: "OpenTelemetry traces: a span per statement with node, reason and waits. Never SQL, never values.",
    },
    Section { path: "log", about: "One line per event on standard error. Never SQL values, never secrets." },
    Section {
        path: "user[]",
        about: "Users whose passwords are written here. Without any, users log in as they do on Postgres.",
    },
    Section {
        path: "rule[]",
        about: "Routing rules, tried in order; the first match wins. All keys of the match must hold: `user`, `database`, `application_name`, `client_address`, `schema`, `table`, `function`, `kind`, `sql`. The others say what is done. Names are cut to 63 bytes, as Postgres cuts those of clients.",
    },
];

/// One row, short enough to be read as a table.
const fn key(
    path: &'static str,
    form: Form,
    default: Option<&'static str>,
    live: Live,
    why: &'static str,
) -> Key {
    Key { path, form, default, live, why }
}

use Form::{
    Addresses, Bool, Count, Duration, Networks, Nodes, OptionalAddress, OptionalDuration, OptionalSize, Path,
    Paths, Patterns, Regex, Secret, Share, Size, Text, Texts, Times, Word, Words,
};
use Live::{Reload, Restart};

/// The table.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("listen.address", Addresses, Some("\"127.0.0.1:6432\""), Reload,
        "TCP addresses for clients. Listens on loopback by default; `\"0.0.0.0:6432\"` is all of IPv4, `\"[::]:6432\"` all of IPv6."),
    key("listen.unix_directories", Paths, Some("[]"), Reload,
        "Directories in which to make a `.s.PGSQL.<port>` socket, for the port of the first address."),
    key("listen.share_address", Bool, Some("false"), Reload,
        "Open a TCP address (the HTTP one, too) although another process listens there and shares it: the kernel then spreads clients over both. Off, since two pgweirs on one address are a mistake more often than a wish; `pgweir run --replace` does without."),
    key("listen.proxy_protocol", Bool, Some("false"), Reload,
        "Expect a PROXY protocol v2 header from a load balancer on TCP connections, so that rules, logs and the console see the client's own address. Connections without it are refused."),
    key("listen.proxy_protocol_from", Networks, Some("[]"), Reload,
        "Addresses of the load balancers that are believed, for `proxy_protocol`. Others are clients like any, known by the address that they come from. Empty: whoever connects is believed, so that nobody but load balancers may reach the port."),
    key("listen.tls.mode", Word(&["auto", "off"]), Some("\"auto\""), Reload,
        "`auto`: a client that asks for TLS gets it, with the certificate given here, or else with a self-signed one, which is made at the first start and kept in `runtime.directory`: enough for `sslmode=require`, and nothing that `verify-ca` or `verify-full` would accept. `off`: it is told that there is no TLS."),
    key("listen.tls.certificate", Path, None, Reload,
        "PEM file with the certificate chain shown to clients. Read again at every reload."),
    key("listen.tls.key", Path, None, Reload,
        "PEM file with its private key."),
    key("listen.tls.client_ca", Path, None, Reload,
        "PEM file with the CAs that sign client certificates, for the method `certificate`."),
    key("listen.tls.client_crl", Path, None, Reload,
        "PEM file with lists of revoked client certificates, one at least from every CA that signed one that is shown: as with Postgres, a certificate whose CA has no list here is refused. Read again when it is replaced."),
    key("listen.tls.client_certificate", Word(CLIENT_CERTIFICATE), Some("\"request\""), Reload,
        "`request`: a client may show a certificate, and rules say who needs one. `require`: no TCP client gets in without one that a CA of `client_ca` signed, beside its password; TLS is then required, too."),
    key("listen.tls.required", Bool, Some("false"), Reload,
        "Refuse TCP clients that do not ask for TLS."),

    key("http.address", OptionalAddress, Some("\"127.0.0.1:16432\""), Reload,
        "Where HTTP is answered. On loopback by default; `\"off\"`: nowhere."),
    key("http.token", Secret, None, Reload,
        "Bearer token asked for by `/metrics` and by the status page's data; `/healthz` and `/readyz` never ask. In `http.token_file` or the environment variable PGWEIR_HTTP_TOKEN it stays out of this file."),
    key("http.token_file", Path, None, Reload,
        "File with the token; a line end is cut off."),
    key("http.hosts", Texts, Some("[]"), Reload,
        "Names by which browsers and scrapers call this address, while there is no token. IP addresses, `localhost`, names without a dot, this machine's own and those that no public server can have (`.local`, `.internal`, `.svc`) are known already; requests by any other name are refused, so that no page from elsewhere can read this one through a name of its own."),
    key("http.tls.certificate", Path, None, Reload,
        "PEM file with the certificate chain."),
    key("http.tls.key", Path, None, Reload,
        "PEM file with its private key."),

    key("cluster.nodes", Nodes, None, Reload,
        "Every node of the cluster, primary and replicas in any order: `\"host:port\"`, `\"[::1]:5432\"`, or a socket directory `\"/run/postgresql:5432\"`. The address is the node's name in metrics, logs and console. The port may be left out: 5432. Beside addresses, places where nodes are found: `\"dns://pg-headless.default.svc:5432\"` is all addresses of a name, `\"srv://_postgresql._tcp.pg.example\"` the hosts and ports of its SRV records, `\"patroni+http://10.0.0.1:8008,10.0.0.2:8008\"` (or `patroni+https`) the members that Patroni's API tells, at whichever of these endpoints answers. What is found joins and leaves as by a reload; a place that fails, or tells nothing, changes nothing. In an environment variable, a list of endpoints needs TOML's form: `[\"patroni+http://a,b\"]`."),
    key("cluster.nodes[].address", Text, None, Reload,
        "As in the short form."),
    key("cluster.nodes[].weight", Count(0, 1_000_000), Some("100"), Reload,
        "Share of the reads relative to the other replicas. 0: none, unless no other replica is fit."),
    key("cluster.nodes[].zone", Text, None, Reload,
        "Availability zone, compared with `cluster.zone`."),
    key("cluster.nodes[].groups", Texts, Some("[]"), Reload,
        "Named groups (\"analytics\") that rules and hints may send reads to. A node in a group serves only reads sent to that group."),
    key("cluster.user", Text, Some("\"pgweir\""), Reload,
        "The role with which pgweir probes the nodes, reads catalogs and looks up verifiers. It needs no superuser: see `deploy/config/pgweir-role.sql`."),
    key("cluster.password", Secret, None, Reload,
        "Its password. Rather in `cluster.password_file` or the environment variable PGWEIR_CLUSTER_PASSWORD, which counts when neither key is there."),
    key("cluster.password_file", Path, None, Reload,
        "File with the password; a line end is cut off."),
    key("cluster.database", Text, Some("\"postgres\""), Reload,
        "The database that pgweir itself connects to for probing and for looking up verifiers. One that is always there."),
    key("cluster.auth_query", Text, None, Reload,
        "SQL with one parameter `$1`, the user's name, that returns name and stored secret. Unset: `pgweir.user_lookup($1)` if it exists, else `pg_authid`."),
    key("cluster.zone", Text, None, Reload,
        "Our own availability zone: replicas in it are preferred while one is fit, because crossing zones costs time and money."),
    key("cluster.probe_interval", Duration(10, MINUTE), Some("\"1s\""), Reload,
        "Pause between two probes of a node while nothing happens. A node that dies is noticed by its connections first; this bounds how long a change of roles on an idle cluster goes unseen."),
    key("cluster.probe_interval_fast", Duration(1, MINUTE), Some("\"2ms\""), Reload,
        "Pause between two probes while a read waits for freshness or a write is recent: what a read waits for is noticed this much later on average. A probe costs the node about as much as one small SELECT."),
    key("cluster.probe_timeout", Duration(10, MINUTE), Some("\"2s\""), Reload,
        "A probe that takes longer has failed. Long enough for one lost packet to be sent again."),
    key("cluster.primary_wait", Duration(0, HOUR), Some("\"45s\""), Reload,
        "How long a write waits for a primary (while a failover is under way) before it gets 57P03. When the primary's host dies, Patroni promotes another after its `ttl`, 30 s by default, and some seconds more; a planned switchover is over in two. Clients that give up earlier are not helped by waiting longer."),
    key("cluster.fleet", Word(&["exact", "alone"]), Some("\"exact\""), Reload,
        "What the level `proxy` promises while several pgweirs front this cluster. `exact`: every commit that any of them has acknowledged; they see each other on the primary, by advisory locks in `pg_locks`, and a read then needs a sample of the primary that began after it arrived. `alone`: every commit that this process has acknowledged, as if there were no others; reads wait less, and a client that writes through one pgweir and reads through another may miss its write."),
    key("cluster.lost_writes", Word(&["warn", "end"]), Some("\"warn\""), Reload,
        "A replica that is promoted may lack writes that were acknowledged. Sessions that wrote or read just before get a WARNING once (`warn`), or end with 57P01 (`end`), for applications that keep what they have read."),
    key("cluster.lost_listeners", Word(&["listen_again", "end"]), Some("\"listen_again\""), Reload,
        "A session that listens has its registrations on one server. When that is lost, it listens to the same channels on the next primary, and gets a WARNING, since notifications may have been missed (`listen_again`); or it ends with 57P01 (`end`), for clients that look for what they have missed when they connect anew."),
    key("cluster.commit_outcome", Bool, Some("false"), Reload,
        "When the answer to a COMMIT is lost with its server, the next primary is asked what became of it, and the client gets its COMMIT, or 40001, or, where that cannot be proved, 08007 as without this. It costs each transaction that writes a question, which travels with its first write, and an empty logical message in the log (prefix `pgweir`). `SET pgweir.commit_outcome` overrules it for a session. See [When nodes fail](failover.md). PostgreSQL 13 or later."),
    key("cluster.settings_may_differ", Texts, Some("[]"), Reload,
        "A replica whose own configuration gives another `TimeZone`, `search_path` or other setting that shapes results than the primary's serves no reads, since they would show something else there. Settings that are named here may differ. See [Replicas that are configured otherwise](limits.md#replicas-that-are-configured-otherwise)."),
    key("cluster.require_auth", Words(PROOFS), Some("[\"scram-sha-256\", \"md5\", \"none\"]"), Reload,
        "What a node may ask for at a log-in, as libpq's `require_auth`; `none` is that it asks for nothing (`trust`, `cert`, `peer`). The password in clear is not among them by default: whoever stands in for a node could ask for it. Add `password` for nodes whose pg_hba.conf says `password`, `ldap`, `pam` or `radius`, and verify them with `tls.mode = \"verify-full\"`."),
    key("cluster.find.interval", Duration(100, HOUR), Some("\"5s\""), Reload,
        "Pause between two looks at Patroni, and after a look at any place that has failed. DNS records are looked up again when they expire, no sooner than after a second."),
    key("cluster.find.timeout", Duration(10, MINUTE), Some("\"5s\""), Reload,
        "A look that takes longer has failed: its nodes stay as they are."),
    key("cluster.find.resolver", Addresses, None, Reload,
        "Name servers to ask, such as `\"10.96.0.10:53\"`; names are then taken as they are written. Unset: those of `/etc/resolv.conf`, with its search list."),
    key("cluster.find.standbys", Word(&["off", "offer", "take"]), Some("\"offer\""), Reload,
        "What becomes of standbys in the primary's `pg_stat_replication` that are not among the nodes. `offer`: the log, `SHOW EVENTS` and `SHOW SOURCES` tell of them. `take`: they are nodes, at the address that they connect from and the primary's own port. `off`: they are not looked for. Only members of `pg_monitor` see the addresses; standbys of standbys are not seen."),
    key("cluster.patroni.ca", Path, None, Reload,
        "PEM file with the CAs that sign the certificate of Patroni's API. Unset: the authorities that the system trusts."),
    key("cluster.patroni.certificate", Path, None, Reload,
        "PEM file with a client certificate, for an API with `verify_client: required`."),
    key("cluster.patroni.key", Path, None, Reload,
        "PEM file with its private key."),
    key("cluster.patroni.user", Text, None, Reload,
        "User name for basic authentication, where something in front of the API asks for it. Patroni itself does not for what pgweir reads."),
    key("cluster.patroni.password", Secret, None, Reload,
        "Its password."),
    key("cluster.patroni.password_file", Path, None, Reload,
        "File with the password; a line end is cut off."),
    key("cluster.patroni.token", Secret, None, Reload,
        "Bearer token, instead of user and password."),
    key("cluster.patroni.token_file", Path, None, Reload,
        "File with the token; a line end is cut off."),
    key("cluster.tls.mode", Word(SSL_MODES), Some("\"prefer\""), Reload,
        "As libpq's `sslmode`, with libpq's default: TLS where the server offers it. `verify-full` is the only one that proves who the server is."),
    key("cluster.tls.ca", Path, None, Reload,
        "PEM file with the CAs that sign the nodes' certificates, for `verify-ca` and `verify-full`."),
    key("cluster.tls.certificate", Path, None, Reload,
        "PEM file with a client certificate for nodes that ask for one."),
    key("cluster.tls.key", Path, None, Reload,
        "PEM file with its private key."),

    key("fleet.listen", OptionalAddress, Some("\"off\""), Restart,
        "UDP address at which the pgweirs of other machines are heard, `\"0.0.0.0:6433\"` say: a cancel request that reached one of them is for a session here. Only datagrams that are sealed with `fleet.secret` count."),
    key("fleet.peers", Texts, Some("[]"), Reload,
        "Where the others hear, as `host:port`. A name means all its addresses, looked up each time: a headless Service is all pods. One's own address may be among them."),
    key("fleet.secret", Secret, None, Reload,
        "What all pgweirs of the fleet have in common, 16 characters at least: what they tell each other is encrypted and authenticated with it. Rather in `fleet.secret_file`."),
    key("fleet.secret_file", Path, None, Reload,
        "File with the secret; a line end is cut off."),

    key("pool.server_connections_max", Count(1, 10_000), Some("20"), Reload,
        "Server connections per node, database and user. A few per CPU core of the node give the most throughput; the rest of the clients wait for a moment."),
    key("pool.server_connections_reserve", Count(0, 10_000), Some("0"), Reload,
        "More than `server_connections_max`, for clients that have waited for `reserve_after`; closed as soon as nobody waits. It takes peaks without keeping the connections for the rest of the day."),
    key("pool.reserve_after", Duration(1, HOUR), Some("\"1s\""), Reload,
        "How long a client waits before it may open a connection of the reserve: longer than a wait that ends by itself, shorter than people notice."),
    key("pool.server_connections_min", Count(0, 10_000), Some("0"), Reload,
        "Kept open per node, database and user once the pool has been used."),
    key("pool.warm_at", Times, Some("[]"), Reload,
        "When every pool that was used within the last week is filled up to its limit, as by the console's WARM: shortly before an expected peak, `[\"mon-fri 08:55\", \"20:10\"]`, in UTC. What nobody uses is closed after `pool.server_idle`."),
    key("pool.node_connections_max", Count(0, 100_000), Some("0"), Reload,
        "All server connections to one node together; 0: no bound of ours. Set it below the node's `max_connections` where many databases or users share it: what is idle for one of them is closed for another. pgweir's own and replication connections are apart."),
    key("pool.node_connections_shared", Bool, Some("false"), Reload,
        "`node_connections_max` bounds the whole fleet: each pgweir opens that number divided by the pgweirs of the cluster that the primary shows, itself among them, one connection at least. When one more comes, the others close what is beyond their share as it comes back."),
    key("pool.mode", Word(MODES), Some("\"transaction\""), Reload,
        "`transaction`: a server is lent for one transaction. `session`: one server for one client as long as it stays."),
    key("pool.lease_wait", Duration(1, DAY), Some("\"10s\""), Reload,
        "How long a client waits for a server before it gets 53300. Shorter than the time-out of most applications, so that they read why."),
    key("pool.lease_wait_notice", OptionalDuration(1, DAY), Some("\"5s\""), Reload,
        "After this long a waiting client gets a NOTICE."),
    key("pool.server_idle", OptionalDuration(SECOND, 30 * DAY), Some("\"10min\""), Reload,
        "A server connection that nobody used for so long is closed."),
    key("pool.server_lifetime", OptionalDuration(SECOND, 365 * DAY), Some("\"1h\""), Reload,
        "A server connection is closed at this age, give or take a tenth, between transactions: Postgres processes grow with the catalogs they have seen."),
    key("pool.server_connect", Duration(10, HOUR), Some("\"10s\""), Reload,
        "How long connecting and logging in to a node may take."),
    key("pool.server_statements_max", Count(0, 1_000_000), Some("500"), Reload,
        "Prepared statements kept per server connection; the least recently used goes first. Each costs the server its plan, a few kB to some 100 kB."),

    key("runtime.threads", Count(1, 1024), None, Restart,
        "Threads for clients, one event loop each: no more of them are used than the load needs. Unset: one per core."),
    key("runtime.watch_config", Bool, Some("true"), Reload,
        "Reload when this file changes on disk, by writing, renaming or a symbolic link that points elsewhere (as Kubernetes does). SIGHUP and the console's RELOAD always work."),

    key("runtime.directory", Path, None, Restart,
        "Where the pgweir processes of one user on this machine meet, to pass on a cancel request that has reached the wrong one (while a new version takes over, say), and where the certificate lies that pgweir makes for itself (`listen.tls.mode`). Unset: the directory that systemd made (`RuntimeDirectory=`), else the user's in XDG_RUNTIME_DIR, else `pgweir-<user id>` in the directory for temporary files. Only their user may enter it."),

    key("routing.split", Bool, Some("true"), Reload,
        "`false`: everything goes to the primary, at once; the switch to throw while in doubt."),
    key("routing.consistency", Word(CONSISTENCIES), Some("\"proxy\""), Reload,
        "What a read on a replica is sure to see. `eventual`: a state at most `max_lag` old. `session`: and all that its session wrote or read. `proxy`: and every commit that any pgweir of this cluster acknowledged to anybody (see `cluster.fleet`). `global`: and every commit that the primary acknowledged to anybody."),
    key("routing.transactions", Word(TRANSACTIONS), Some("\"primary\""), Reload,
        "Where transactions run that were not declared READ ONLY. `primary`: on the primary from start to end. `until_first_write`: a READ COMMITTED transaction reads from a replica and moves to the primary, unseen, with its first statement that is not a plain read. `SET pgweir.transactions` overrules it for a session."),
    key("routing.max_lag", OptionalDuration(1, DAY), Some("\"10s\""), Reload,
        "A replica further behind in time serves no reads. It bounds what `eventual` may mean, and what the other levels show of writes that did not pass through here. Ten seconds is far more than a healthy replica needs and less than people notice as wrong."),
    key("routing.max_lag_bytes", OptionalSize(1, 1 << 50), Some("\"128MiB\""), Reload,
        "The same in bytes of WAL, eight segments by default: some seconds of a bulk load. It does not depend on clocks or on when the last transaction was."),
    key("routing.freshness_wait", Duration(0, HOUR), Some("\"100ms\""), Reload,
        "How long a read waits for a replica to catch up before the primary answers it. Replication within a data centre takes one to ten milliseconds; longer than this the primary is the faster answer."),
    key("routing.when_late", Word(&["wait", "primary", "balance"]), Some("\"wait\""), Reload,
        "What a read does that no replica can serve yet. `wait`: it waits for one, for `freshness_wait` at most; the primary is spared. `primary`: it goes to the primary at once. `balance`: it goes to the primary while that has no more to do than the replicas have on average, unless a replica is about to be fresh; else it waits. What would wait in vain goes to the primary in any case."),
    key("routing.cache_bytes_max", Size(64 * 1024, 64 * GIB), Some("\"64MiB\""), Restart,
        "Memory for remembered classifications: some ten thousand shapes of SQL."),

    key("limits.clients_max", Count(1, 1_000_000), Some("10000"), Reload,
        "Clients at once; the next one gets 53300. An idle client costs a few kB and one file descriptor; the limit on open files is raised to fit at start if the system allows."),
    key("limits.logins_max", Count(1, 1_000_000), Some("1000"), Reload,
        "Connections at once that have not logged in yet, beside `clients_max`. When there are as many, the next one takes the place of the oldest: silent connections keep nobody out, neither clients nor consoles."),
    key("limits.user_clients_max", Count(0, 1_000_000), Some("0"), Reload,
        "Clients at once of one user; 0: no bound but `clients_max`."),
    key("limits.database_clients_max", Count(0, 1_000_000), Some("0"), Reload,
        "Clients at once of one database; 0: no bound but `clients_max`."),
    key("limits.login", Duration(100, HOUR), Some("\"15s\""), Reload,
        "From accept to the end of authentication, so that silent connections do not pile up."),
    key("limits.client_idle", OptionalDuration(SECOND, 365 * DAY), Some("\"off\""), Reload,
        "A client silent for so long outside a transaction is ended with 57P05. Off: applications keep idle pools of their own, and an idle client costs little."),
    key("limits.transaction_idle", OptionalDuration(1, 365 * DAY), Some("\"off\""), Reload,
        "A client silent for so long inside a transaction is ended with 25P03. Off, as on Postgres; worth setting, because an open transaction holds a server, locks and the vacuum horizon."),
    key("limits.query", OptionalDuration(1, 365 * DAY), Some("\"off\""), Reload,
        "A statement that takes longer is cancelled with 57014. Postgres's own `statement_timeout` can be set per role."),
    key("limits.transaction", OptionalDuration(1, 365 * DAY), Some("\"off\""), Reload,
        "A transaction that takes longer is ended with 25P04."),
    key("limits.drain", Duration(0, DAY), Some("\"30s\""), Reload,
        "How long SIGTERM waits for transactions to end; what Kubernetes waits by default before it kills."),

    key("auth.rule[].database", Texts, Some("[]"), Reload, "Databases; empty: all."),
    key("auth.rule[].user", Texts, Some("[]"), Reload, "Users; empty: all."),
    key("auth.rule[].connection", Word(CONNECTIONS), Some("\"any\""), Reload,
        "`any`, or as in pg_hba.conf: `local` (a Unix socket), `host` (TCP), `hostssl` (TCP with TLS), `hostnossl` (TCP without)."),
    key("auth.rule[].address", Text, None, Reload,
        "Client address or network; unset: all, Unix sockets included."),
    key("auth.rule[].client_certificate", Word(CERTIFICATE_CHECKS), None, Reload,
        "What must be shown beside the method, as `clientcert` of pg_hba.conf: `verify-ca` is a certificate that a CA of `listen.tls.client_ca` signed, `verify-full` one whose CN is the user. Unset: nothing."),
    key("auth.rule[].method", Word(METHODS), None, Reload,
        "`scram-sha-256`, `md5` (for stored md5 secrets), `password` (in clear text; over TLS or a Unix socket only), `certificate` (its CN is the user), `trust` (nothing is asked), `reject`."),

    key("console.admin_users", Texts, Some("[]"), Reload,
        "May use every console command. Empty: the role in `cluster.user`."),
    key("console.stats_users", Texts, Some("[]"), Reload,
        "May only SHOW and ROUTE."),

    key("log.format", Word(&["text", "json"]), Some("\"text\""), Restart,
        "`text` for people, `json` for collectors."),
    key("log.filter", Text, Some("\"info\""), Reload,
        "Levels, with exceptions per module: `\"info,pgweir::pool=debug\"`. The environment variable PGWEIR_LOG comes first."),
    key("log.slow_statement", OptionalDuration(1, DAY), Some("\"off\""), Reload,
        "A statement that takes longer is logged with the hash of its shape, never its text."),
    key("log.slow_lease", OptionalDuration(1, DAY), Some("\"1s\""), Reload,
        "A wait for a server that takes longer is logged with the hash of the statement's shape."),

    key("traces.endpoint", Text, None, Reload,
        "URL of an OpenTelemetry collector that takes traces by OTLP over HTTP: `\"http://127.0.0.1:4318/v1/traces\"`. `https://` for one that is elsewhere. Unset: no traces, at no cost."),
    key("traces.ca", Path, None, Reload,
        "PEM file with the CAs that sign the collector's certificate. Unset: the authorities that the system trusts. Read when the section changes."),
    key("traces.ratio", Share, Some("0.01"), Reload,
        "Share of the statements that get a span, 0 to 1: one in a hundred shows where time goes and costs next to nothing. A statement whose text carries a sampled `traceparent` in a comment (as sqlcommenter writes it) gets one in any case, as a part of that trace."),

    key("user[].name", Text, None, Reload, "The user's name, also towards the servers."),
    key("user[].password", Secret, None, Reload,
        "Its password or SCRAM secret. pgweir derives the verifier and the keys for the servers once, when this is read."),
    key("user[].password_file", Path, None, Reload, "File with the password; a line end is cut off."),
    key("user[].mode", Word(MODES), None, Reload, "Instead of `pool.mode`."),
    key("user[].server_connections_max", Count(1, 10_000), None, Reload,
        "Instead of `pool.server_connections_max`."),

    key("rule[].name", Text, None, Reload, "What logs, traces and `pgweir route` call it. Unset: `rule 1`, `rule 2`, …"),
    key("rule[].user", Patterns, None, Reload, "Match: the user that logged in."),
    key("rule[].database", Patterns, None, Reload, "Match: the database."),
    key("rule[].application_name", Patterns, None, Reload, "Match: the client's application_name."),
    key("rule[].client_address", Networks, None, Reload,
        "Match: where the client comes from. Clients on a Unix socket never match."),
    key("rule[].schema", Patterns, None, Reload, "Match: the schema of any relation named or reached."),
    key("rule[].table", Patterns, None, Reload,
        "Match: any relation named or reached, as `orders` or `public.orders`."),
    key("rule[].function", Patterns, None, Reload,
        "Match: any function called, as `lower` or `pg_catalog.lower`."),
    key("rule[].kind", Words(KINDS), None, Reload, "Match: the kind of any of the statements."),
    key("rule[].sql", Regex, None, Reload,
        "Match: the text as the client sent it (of a prepared statement: as prepared). Linear in its length, but paid by every statement that gets as far as this rule."),
    key("rule[].target", Word(&["primary", "replica"]), None, Reload,
        "Act: where it runs. `replica` never moves a statement that writes."),
    key("rule[].group", Text, None, Reload, "Act: on a replica of this group."),
    key("rule[].consistency", Word(CONSISTENCIES), None, Reload, "Act: instead of `routing.consistency`."),
    key("rule[].transactions", Word(TRANSACTIONS), None, Reload, "Act: instead of `routing.transactions`."),
    key("rule[].max_lag", Duration(0, DAY), None, Reload, "Act: instead of `routing.max_lag`."),
    key("rule[].max_lag_bytes", Size(0, 1 << 50), None, Reload, "Act: instead of `routing.max_lag_bytes`."),
    key("rule[].refuse", Text, None, Reload, "Act: refuse it with SQLSTATE 42501 and this message."),
    key("rule[].when_unknown", Word(&["refuse", "allow"]), None, Reload,
        "With `refuse`: what becomes of statements of which nobody knows which relations or functions they work on (dynamic SQL, functions in other languages, names that the catalog does not hold, texts too long or too complex to be looked into). `refuse`, which is what holds when this is not given, takes them to work on what the rule names; `allow` leaves them to the rights that Postgres grants."),
    key("rule[].log", Bool, Some("false"), Reload, "Act: log a line for each, without its text."),
];

/// The largest file that is read: a thousand times a long one.
pub const CONFIG_BYTES_MAX: u64 = 4 * MIB;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_key_is_there_once_and_in_a_known_section() {
        let paths: HashSet<_> = KEYS.iter().map(|k| k.path).collect();
        assert_eq!(paths.len(), KEYS.len());
        for key in KEYS {
            let section = key.path.rsplit_once('.').map(|(section, _)| section).unwrap();
            assert!(SECTIONS.iter().any(|s| s.path == section), "{}", key.path);
        }
    }

    #[test]
    fn the_names_of_a_section_are_its_keys_and_its_sub_sections() {
        assert_eq!(names_in("auth"), ["rule"]);
        assert_eq!(names_in("http"), ["address", "hosts", "tls", "token", "token_file"]);
        assert!(names_in("").contains(&"rule"));
        assert_eq!(names_in("cluster.nodes[]"), ["address", "groups", "weight", "zone"]);
    }
}
