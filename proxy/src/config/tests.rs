//! Configurations, good and bad, and what is said of them.

use super::*;
use crate::config::keys::Form;
use router_rules::Target;
use std::time::Duration;

const MINIMAL: &str = r#"
[listen]
address = "127.0.0.1:6432"

[http]
address = "127.0.0.1:9127"

[cluster]
nodes = ["127.0.0.1:5432", "127.0.0.1:5433", "127.0.0.1:5434"]
user = "pgweir"
password = "secret"

[pool]
server_connections_max = 20

[runtime]
threads = 2

[[user]]
name = "app"
password = "app"
"#;

fn mistakes(text: &str) -> Vec<String> {
    match Config::parse(text, "f") {
        Ok(_) => vec![],
        Err(mistakes) => mistakes.iter().map(Mistake::to_string).collect(),
    }
}

fn warnings(text: &str) -> Vec<String> {
    let (_, warnings) = Config::parse(text, "f").unwrap();
    warnings.iter().map(Warning::to_string).collect()
}

/// The one mistake in a cluster section and `text`.
fn only_mistake(text: &str) -> String {
    let all = mistakes(&format!("cluster.nodes = [\"a\"]\n{text}"));
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

#[test]
fn the_minimal_file_works_as_it_stands() {
    let (config, warnings) = Config::parse(MINIMAL, "f").unwrap();
    assert_eq!(config.listen.addresses, ["127.0.0.1:6432".parse().unwrap()]);
    assert_eq!(config.cluster.nodes.len(), 3);
    assert_eq!(config.cluster.password.unwrap().0, "secret");
    assert_eq!((config.pool.server_connections_max, config.runtime.threads), (20, 2));
    assert_eq!(config.users[0].name, "app");
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn tls_with_clients_needs_nothing_and_is_off_where_it_is_said() {
    let tls = |text: &str| {
        let text = format!("runtime.directory = \"/own\"\ncluster.nodes = [\"a\"]\n{text}");
        Config::parse(&text, "f").unwrap().0.listen.tls
    };
    let made = tls("").unwrap();
    assert!(made.is_made && !made.required);
    assert_eq!((&*made.certificate, &*made.key), (Path::new("/own/tls.pem"), Path::new("/own/tls.pem")));
    assert_eq!(tls("listen.tls = \"auto\""), Some(made));
    assert!(tls("[listen.tls]\nrequired = true").unwrap().required);
    assert_eq!(tls("listen.tls = \"off\""), None);
    assert_eq!(tls("[listen.tls]\nmode = \"off\""), None);
    let all = mistakes("cluster.nodes = [\"a\"]\n[listen]\ntls = \"on\"");
    assert_eq!(all, ["f:3:7: `mode`: expected one of auto, off, found \"on\""]);
    let all = mistakes("cluster.nodes = [\"a\"]\n[listen.tls]\nmode = \"off\"\nrequired = true");
    assert_eq!(all, ["f:3:8: `mode`: TLS cannot be required of clients while it is off"]);
}

#[test]
fn nodes_alone_are_enough_and_everything_else_has_its_default() {
    let (config, _) = Config::parse("cluster.nodes = [\"db1\", \"db2:5433\"]", "f").unwrap();
    let names: Vec<_> = config.cluster.nodes.iter().map(|n| n.address.as_str()).collect();
    assert_eq!(names, ["db1:5432", "db2:5433"]);
    assert_eq!(config.limits.clients_max, 10_000);
    assert_eq!(config.limits.user_clients_max, None);
    assert_eq!(config.limits.query, None);
    assert_eq!(config.policy.max_lag, Some(Duration::from_secs(10)));
    assert_eq!(config.policy.max_lag_bytes, Some(128 << 20));
    assert_eq!(config.http.address, Some("127.0.0.1:16432".parse().unwrap()));
}

#[test]
fn every_mistake_is_reported_at_once_with_its_place() {
    let text = "[listen]\naddres = \"x\"\n\n[pool]\n  lease_wait = 5\nmode = \"statement\"\nmax_lag = \"1s\"\n\n[cluster]\nnodes = [\"a\", \"a:5432\", 7, \"b:0\"]\n";
    assert_eq!(
        mistakes(text),
        [
            "f:2:1: unknown key `addres` in [listen]; did you mean `address`?",
            "f:5:16: `lease_wait`: expected a duration with its unit such as \"5s\", \"200ms\" or \"1h\", found 5",
            "f:6:8: `mode`: expected one of transaction, session, found \"statement\"",
            "f:7:1: unknown key `max_lag` in [pool]; there is one in [routing]",
            "f:10:15: node \"a:5432\" is there twice",
            "f:10:25: `nodes`: expected \"host:port\" or { address = \"host:port\", … }",
            "f:10:28: node \"b:0\": `0` is not a port (1 to 65535)",
        ]
    );
}

#[test]
fn columns_count_characters_and_not_bytes() {
    assert_eq!(
        only_mistake("http.hosts = \"ü\" # ü\npool = { \"möde\" = 1 }"),
        "f:3:10: unknown key `möde` in [pool]; did you mean `mode`?"
    );
}

#[test]
fn a_node_may_be_a_table_and_keeps_its_places() {
    let text = "[cluster]\nnodes = [\n \"a\",\n { address = \"b\", weight = 50, zone = \"z1\", groups = [\"analytics\"] },\n { adress = \"c\" },\n { address = \"d\", weight = -1 }]\n";
    assert_eq!(
        mistakes(text),
        [
            "f:5:2: `address` is missing",
            "f:5:4: unknown key `adress` in [cluster.nodes[]]; did you mean `address`?",
            "f:6:28: `weight`: expected whole number, 0 to 1000000, found -1",
        ]
    );
    let (config, _) =
        Config::parse("cluster.nodes = [\"a\", { address = \"/run/postgresql\", groups = \"g\" }]", "f")
            .unwrap();
    assert_eq!(config.cluster.nodes[1].address, "/run/postgresql:5432");
    assert_eq!(config.cluster.nodes[1].groups, ["g"]);
}

#[test]
fn node_addresses_are_host_and_port_and_nothing_else() {
    for (text, address) in [
        ("db", Some("db:5432")),
        ("10.0.0.1:6000", Some("10.0.0.1:6000")),
        ("::1", Some("[::1]:5432")),
        ("[::1]", Some("[::1]:5432")),
        ("[::1]:6000", Some("[::1]:6000")),
        ("/tmp:5433", Some("/tmp:5433")),
        ("", None),
        (":5432", None),
        ("db:", None),
        ("db:70000", None),
        ("fe80::1:x", None),
        ("[::x]:5432", None),
        ("postgres://db/x", None),
        ("a,b", None),
        ("a b", None),
    ] {
        let parsed = Config::parse(&format!("cluster.nodes = [\"{text}\"]"), "f");
        let found = parsed.ok().map(|(config, _)| config.cluster.nodes[0].address.clone());
        assert_eq!(found.as_deref(), address, "{text}");
    }
}

#[test]
fn rules_are_read_and_their_nonsense_is_found() {
    let text = r#"
[cluster]
nodes = ["a", { address = "b", groups = ["analytics"] }]
[[rule]]
name = "reports"
user = "report*"
client_address = ["10.0.0.0/8"]
sql = '(?i)^\s*select'
target = "replica"
group = "analytics"
max_lag = "1min"
"#;
    let (config, _) = Config::parse(text, "f").unwrap();
    let rule = config.policy.rules.iter().next().unwrap();
    assert_eq!((rule.name.as_str(), rule.act.target), ("reports", Some(Target::Replica)));
    assert_eq!(rule.act.max_lag, Some(Duration::from_secs(60)));
    let bad = "[[rule]]\nuser = \"x\"\n[[rule]]\nsql = \"(\"\ngroup = \"nope\"\n[[rule]]\nname = \"rule 1\"\nkind = \"selct\"\nlog = true\n[cluster]\nnodes = [\"a\"]";
    let found = mistakes(bad);
    for part in [
        "f:1:1: the rule does nothing",
        "f:4:7: `sql`: not a regular expression: unclosed group",
        "f:5:9: no node is in group \"nope\"",
        "f:7:8: two rules are called \"rule 1\"",
        "f:8:8: `kind`: unknown word \"selct\"; did you mean \"select\"?",
    ] {
        assert!(found.iter().any(|m| m.starts_with(part)), "{part} in {found:#?}");
    }
}

#[test]
fn a_rule_that_can_never_match_is_warned_of() {
    let text = "cluster.nodes = [\"a\"]\n[[rule]]\nuser = [\"a\", \"b\"]\nlog = true\n[[rule]]\nuser = \"b\"\ntarget = \"primary\"\n[[rule]]\ntable = []\nlog = true\n[[rule]]\nkind = \"insert\"\ntarget = \"replica\"";
    assert_eq!(
        warnings(text),
        [
            "f:5:1: warning: rule \"rule 2\" can never match: \"rule 1\" matches all that it would",
            "f:9:9: warning: rule \"rule 3\" can never match: the list `table` is empty",
            "f:12:8: warning: writes never go to a replica: the rule has no effect",
        ]
    );
}

#[test]
fn keys_that_contradict_each_other_are_mistakes() {
    assert!(only_mistake("pool.server_connections_min = 30").contains("must not be larger"));
    assert!(only_mistake("cluster.tls.mode = \"verify-full\"").contains("without `ca`"));
    let taken = "[listen]\naddress = \"127.0.0.1:16432\"";
    assert!(only_mistake(taken).contains("HTTP has 127.0.0.1:16432 unless told otherwise"));
    assert!(
        only_mistake(&format!("{taken}\n[http]\naddress = \"127.0.0.1:16432\""))
            .contains("in [listen] as well")
    );
    assert!(
        only_mistake("cluster.settings_may_differ = [\"TimeZon\"]").contains("did you mean \"TimeZone\"?")
    );
    assert!(mistakes("cluster.nodes = [\"a\"]\ncluster.settings_may_differ = \"timezone\"").is_empty());
    assert!(only_mistake("listen.address = []").contains("at least one address"));
    assert!(only_mistake("listen.address = [\"[::]:1\", \"[::]:1\"]").contains("twice"));
    assert!(only_mistake("cluster.auth_query = \"SELECT 1\"").contains("$1"));
    assert!(only_mistake("log.filter = \"info,=\"").contains("filter"));
    assert!(only_mistake("log.filter = \"inof\"").contains("did you mean \"info\"?"));
    assert!(only_mistake("user = 5").contains("write [[user]]"));
    assert!(only_mistake("pool = 5").contains("write [pool]"));
    assert!(only_mistake("[http.tls]").contains("`certificate` and `key` are missing"));
    assert!(only_mistake("[[user]]\nname = \"a\"\n[[user]]\nname = \"a\"").contains("twice"));
    assert!(only_mistake("cluster.user = \"a\\u0000b\"").contains("NUL"));
}

#[test]
fn pgweir_is_not_its_own_node() {
    for (listen, node, is_itself) in [
        ("address = \"127.0.0.1:6432\"", "127.0.0.1:6432", true),
        ("address = \"127.0.0.1:6432\"", "localhost:6432", true),
        ("address = \"0.0.0.0:6432\"", "127.0.0.1:6432", true),
        ("address = \"[::]:6432\"", "[::1]:6432", true),
        ("address = \"0.0.0.0:6432\"", "10.0.0.5:6432", false),
        ("address = \"127.0.0.1:6432\"", "127.0.0.1:5432", false),
        ("unix_directories = \"/tmp\"", "/tmp:6432", true),
        ("unix_directories = \"/tmp\"", "/tmp:5432", false),
    ] {
        let said = mistakes(&format!("cluster.nodes = [\"{node}\"]\n[listen]\n{listen}")).concat();
        assert_eq!(said.contains("is pgweir itself"), is_itself, "{listen}, {node}: {said}");
    }
}

#[test]
fn a_port_behind_an_address_without_brackets_is_warned_of() {
    assert!(warnings("cluster.nodes = [\"::1:5432\"]").concat().contains("write \"[::1]:5432\""));
    for node in ["::1", "[::1]:5432", "[::1:5432]:5432", "2001:db8::a"] {
        assert!(warnings(&format!("cluster.nodes = [\"{node}\"]")).is_empty(), "{node}");
    }
}

#[test]
fn a_rule_that_wants_a_certificate_needs_a_ca() {
    for rule in ["method = \"certificate\"", "method = \"md5\"\nclient_certificate = \"verify-ca\""] {
        let said = warnings(&format!("cluster.nodes = [\"a\"]\n[[auth.rule]]\n{rule}"));
        assert!(said.concat().contains("without `client_ca`"), "{said:?}");
    }
}

#[test]
fn an_empty_or_torn_text_says_what_is_missing() {
    assert!(mistakes("")[0].starts_with("f:1:1: [cluster] needs `nodes`"));
    let torn = mistakes("[cluster]\nnodes = [\"a\"");
    assert!(torn.len() == 1 && torn[0].starts_with("f:2:"), "{torn:?}");
    let twice = mistakes("[cluster]\nnodes = [\"a\"]\n[cluster]\nuser = \"b\"");
    assert!(twice[0].starts_with("f:3:"), "{twice:?}");
}

#[test]
fn a_file_that_is_not_one_gets_one_clear_message() {
    let directory = std::env::temp_dir().join(format!("pgweir-config-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let message = |path: &Path| {
        let mistakes = Config::load(path).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        mistakes[0].to_string().rsplit_once('/').unwrap().1.to_owned()
    };
    assert_eq!(message(&write("latin.toml", b"# ok\n# \xe4")), "latin.toml:2:3: not UTF-8");
    assert!(message(&directory.join("gone.toml")).contains("no such file"));
    std::fs::create_dir_all(directory.join("dir.toml")).unwrap();
    assert_eq!(message(&directory.join("dir.toml")), "dir.toml:1:1: is a directory");
    assert!(message(&write("huge.toml", &vec![b'#'; (4 << 20) + 1])).contains("longer than 4MiB"));
    assert!(message(&write("empty.toml", b"")).contains("needs `nodes`"));
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn secrets_come_from_files_and_the_environment_too() {
    let directory = std::env::temp_dir().join(format!("pgweir-secrets-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("pw"), "from file\n").unwrap();
    let environment = |name: &str| (name == "PGWEIR_CLUSTER_PASSWORD").then(|| "from env".to_owned());
    let around = Surroundings { directory: &directory, environment: &environment, is_exposed: false };
    let password = |text: &str| {
        parse(&format!("[cluster]\nnodes = [\"a\"]\n{text}"), "f", &around)
            .map(|(config, _)| config.cluster.password.unwrap().0)
    };
    assert_eq!(password("").unwrap(), "from env");
    assert_eq!(password("password = \"x\"").unwrap(), "x");
    assert_eq!(password("password_file = \"pw\"").unwrap(), "from file");
    assert!(password("password_file = \"gone\"").unwrap_err()[0].message.contains("no such file"));
    assert!(password("password = \"x\"\npassword_file = \"pw\"").is_err());
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_mistake_shows_no_password() {
    for key in crate::config::keys::KEYS.iter().filter(|key| key.form == Form::Secret) {
        let text = match key.path.split_once("[].") {
            Some((list, name)) => format!("[[{list}]]\nname = \"a\"\n{name} = 31337"),
            None => format!("{} = 31337", key.path),
        };
        let said = mistakes(&text);
        assert!(said.iter().any(|m| m.contains("expected text in quotes")), "{said:?}");
        assert!(!said.concat().contains("31337"), "{said:?}");
    }
    for node in ["postgres://u:s3cret@h", "patroni+http://u:s3cret@h", "u:s3cret@h", "host=h password=s3cret"]
    {
        let said = mistakes(&format!("cluster.nodes = [\"{node}\"]")).concat();
        assert!(said.contains("…") && !said.contains("s3cret"), "{said}");
    }
    let said = mistakes("[fleet]\nsecret = \"long enough to be one\"\npeers = [\"http://u:s3cret@h\"]");
    assert!(!said.concat().contains("s3cret"), "{said:?}");
}

#[test]
fn a_secret_is_never_printed() {
    let (config, _) = Config::parse(MINIMAL, "f").unwrap();
    assert!(!format!("{config:?}").contains("\"secret\""));
}

#[test]
fn places_at_which_nodes_are_found_are_nodes_with_weights_and_groups() {
    let text = "[cluster]\nnodes = [\"a\", { address = \"dns://pg.test\", weight = 7, groups = [\"analytics\"] }, \
                \"patroni+http://p1,p2\"]\nzone = \"z\"\n[[rule]]\ngroup = \"analytics\"\n";
    let (config, _) = Config::parse(text, "f").unwrap();
    assert_eq!(config.cluster.nodes.len(), 1);
    let names: Vec<_> = config.cluster.sources.iter().map(|s| (s.name.as_str(), s.like.weight)).collect();
    assert_eq!(names, [("dns://pg.test", 7), ("patroni+http://p1,p2", 100)]);
    let twice = mistakes("cluster.nodes = [\"dns://a\", \"dns://a\", \"dns://\", \"srv://a:1\"]");
    assert_eq!(twice.len(), 3, "{twice:?}");
    assert!(only_mistake("[cluster.patroni]\npassword = \"x\"").contains("needs its `user`"));
    assert!(only_mistake("[cluster.patroni]\nuser = \"x\"\ntoken = \"y\"").contains("only one"));
}

#[test]
fn a_fleet_has_a_secret_in_common() {
    let secret = "secret = \"long enough to be one\"";
    assert!(only_mistake("fleet.peers = [\"a:1\"]").contains("needs a `secret`"));
    assert!(only_mistake("fleet.listen = \"127.0.0.1:1\"").contains("needs a `secret`"));
    assert!(only_mistake("fleet.secret = \"short\"").contains("16 characters"));
    for peer in ["a", "a:0", ":1", "/tmp:1", "dns://a:1", "a:b"] {
        assert!(
            only_mistake(&format!("[fleet]\n{secret}\npeers = [\"{peer}\"]")).contains("not host:port"),
            "{peer}"
        );
    }
    let (config, _) =
        Config::parse(&format!("cluster.nodes = [\"a\"]\n[fleet]\n{secret}\npeers = \"[::1]:6433\""), "f")
            .unwrap();
    assert_eq!((config.fleet.peers, config.fleet.listen), (vec!["[::1]:6433".to_owned()], None));
}
