//! TLS on both sides: who is who is proved, by certificates and by SCRAM bound to them.

use crate::support::{self, Outcome};
use pgweir_tests::cluster::wait_until;
use pgweir_tests::process::run;
use pgweir_tests::sql::Login;
use pgweir_tests::weir::set;
use pgweir_tests::{Cluster, HarnessError, Weir};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use toml::{Table, Value};

/// A certificate authority and the files that it fills.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new([]).expect("parameters");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let pem = parameters.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(parameters, key), pem }
    }

    /// Writes `<name>.crt` and `<name>.key`, owned by whoever owns the directory.
    fn issue(&self, directory: &Path, name: &str, common: &str, hosts: &[&str]) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut parameters = CertificateParams::new(hosts).expect("parameters");
        parameters.distinguished_name.push(DnType::CommonName, common);
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate").pem();
        let file = |kind: &str, text: &str| write_owned(directory, &format!("{name}.{kind}"), text);
        (file("crt", &certificate), file("key", &key.serialize_pem()))
    }

    fn write(&self, directory: &Path, name: &str) -> PathBuf {
        write_owned(directory, name, &self.pem)
    }
}

fn write_owned(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    let owner = std::fs::metadata(directory).expect("the directory is there");
    std::fs::write(&path, text).expect("the file can be written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    chown(&path, Some(owner.uid()), Some(owner.gid())).expect("chown");
    path
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Nodes with certificates of their own, which a pgweir checks in full; the pgweir has one, too.
struct Stage {
    cluster: Cluster,
    weir: Weir,
    authority: Authority,
    directory: PathBuf,
}

fn stage() -> Result<Stage, HarnessError> {
    let authority = Authority::new("authority");
    let cluster = Cluster::builder().replicas(1).start()?;
    for node in cluster.nodes() {
        authority.issue(node.data(), "server", "node", &["localhost"]);
        let root = node.superuser();
        root.sql("ALTER SYSTEM SET ssl = on")?;
        root.sql("SELECT pg_reload_conf()")?;
        wait_until("the node speaks TLS", || root.value("SHOW ssl").is_ok_and(|ssl| ssl == "on"))?;
    }
    let directory = cluster.directory().to_owned();
    let ca = authority.write(&directory, "ca.crt");
    let (certificate, key) = authority.issue(&directory, "pgweir", "pgweir", &["localhost"]);
    let nodes: Vec<_> = cluster.nodes().iter().map(|node| format!("localhost:{}", node.port())).collect();
    let app = cluster.app(0);
    let rule = |user: &[&str], method: &str| {
        let user: Vec<Value> = user.iter().map(|user| Value::from(*user)).collect();
        Table::from_iter([("user".to_owned(), Value::Array(user)), ("method".into(), method.into())])
    };
    let weir = Weir::builder_for(&nodes)
        .set("cluster.tls.mode", "verify-full")
        .set("cluster.tls.ca", text(&ca))
        .set("listen.tls.required", true)
        .set("listen.tls.certificate", text(&certificate))
        .set("listen.tls.key", text(&key))
        .set("listen.tls.client_ca", text(&ca))
        .user(&app.user, &app.password)
        .user("by_certificate", "secret")
        .set(
            "auth.rule",
            Value::from(vec![rule(&["by_certificate"], "certificate"), rule(&[], "scram-sha-256")]),
        )
        .start()?;
    cluster.node(0).superuser().sql("CREATE ROLE by_certificate LOGIN PASSWORD 'secret'")?;
    cluster.wait_caught_up()?;
    Ok(Stage { cluster, weir, authority, directory })
}

impl Stage {
    /// What libpq says: the answer, or why it could not get in.
    fn psql(&self, user: &str, options: &str) -> Result<String, String> {
        let app = self.weir.app();
        let login = Login { host: "localhost".into(), ..app.user(user, &app.password) };
        let sql = "SELECT current_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let mut psql = Command::new(self.cluster.binaries().program("psql"));
        psql.args(["-X", "-A", "-t", "-w", "-c", sql, options]);
        psql.envs(login.environment()).current_dir(&self.directory);
        run(psql).map(|out| out.trim().to_owned()).map_err(|error| error.to_string())
    }
}

#[test]
fn libpq_and_pgweir_and_the_nodes_prove_themselves_to_each_other() -> Outcome {
    let stage = stage()?;
    let ca = format!("sslrootcert={}", text(&stage.directory.join("ca.crt")));
    // The password is bound to pgweir's certificate here, and to the node's behind it.
    let bound = format!("{ca} sslmode=verify-full channel_binding=require");
    assert_eq!(stage.psql("app", &bound), Ok("app|t".into()));
    let plain = stage.psql("app", "sslmode=disable").unwrap_err();
    assert!(plain.contains("pgweir accepts connections over TLS only"), "{plain}");

    let (certificate, key) = stage.authority.issue(&stage.directory, "client", "by_certificate", &[]);
    let shown = format!("{ca} sslmode=verify-full sslcert={} sslkey={}", text(&certificate), text(&key));
    assert_eq!(stage.psql("by_certificate", &shown), Ok("by_certificate|t".into()));
    let nothing = stage.psql("by_certificate", &bound.replace("require", "prefer")).unwrap_err();
    assert!(nothing.contains("connection requires a valid client certificate"), "{nothing}");
    Ok(())
}

#[test]
fn a_new_certificate_is_shown_after_sighup() -> Outcome {
    let stage = stage()?;
    let other = Authority::new("other");
    let other_ca = other.write(&stage.directory, "other.crt");
    let trusting_other = format!("sslrootcert={} sslmode=verify-full", text(&other_ca));
    assert!(stage.psql("app", &trusting_other).is_err());
    other.issue(&stage.directory, "pgweir", "pgweir", &["localhost"]);
    stage.weir.reconfigure(|config| set(config, "limits.login", Value::from("59s")))?;
    assert_eq!(stage.psql("app", &trusting_other), Ok("app|t".into()));
    Ok(())
}

#[test]
fn a_node_that_cannot_prove_itself_is_not_used() -> Outcome {
    let stage = stage()?;
    let stranger = Authority::new("stranger").write(&stage.directory, "stranger.crt");
    let nodes = [format!("localhost:{}", stage.cluster.node(0).port())];
    for (mode, ca, is_used) in [
        ("verify-full", stranger.clone(), false),
        ("verify-ca", stranger, false),
        ("verify-ca", stage.directory.join("ca.crt"), true),
    ] {
        let weir = Weir::builder_for(&nodes)
            .set("cluster.tls.mode", mode)
            .set("cluster.tls.ca", text(&ca))
            .without_waiting()
            .start()?;
        let outcome = weir.app().value("SELECT 1");
        assert_eq!(outcome.is_ok(), is_used, "{mode} with {}: {outcome:?}", ca.display());
    }
    Ok(())
}

/// What psql says of its own connection to pgweir, with these options of libpq's.
fn conninfo(cluster: &Cluster, weir: &Weir, options: &str) -> Result<String, String> {
    let login = Login { host: "localhost".into(), ..weir.app() };
    let mut psql = Command::new(cluster.binaries().program("psql"));
    psql.args(["-X", "-w", "-c", "\\conninfo", options]).envs(login.environment());
    run(psql).map_err(|error| error.to_string())
}

#[test]
fn clients_get_tls_where_nothing_is_configured_and_what_is_shown_stays_the_same() -> Outcome {
    let stage = support::stage();
    let directory = pgweir_tests::scratch::directory()?.join("own");
    let start = || Weir::builder(&stage.cluster).set("runtime.directory", text(&directory)).start();
    let weir = start()?;
    for mode in ["require", "prefer", "require channel_binding=require"] {
        let told = conninfo(&stage.cluster, &weir, &format!("sslmode={mode}"));
        assert!(told.as_ref().is_ok_and(|told| told.contains("SSL connection")), "{mode}: {told:?}");
    }
    let told = conninfo(&stage.cluster, &weir, "sslmode=disable");
    assert!(told.as_ref().is_ok_and(|told| !told.contains("SSL connection")), "{told:?}");
    let file = directory.join("tls.pem");
    let first = std::fs::read_to_string(&file).expect("it is kept");
    assert_eq!(std::fs::metadata(&file).expect("it is there").mode() & 0o777, 0o600);
    assert_eq!(weir.log().matches("a self-signed one was made").count(), 1, "{}", weir.log());
    // It is good for those who have been given it, and for nobody else.
    let trusting = format!("sslmode=verify-full sslrootcert={}", text(&file));
    assert!(conninfo(&stage.cluster, &weir, &trusting).is_ok());
    drop(weir);
    let weir = start()?;
    assert!(conninfo(&stage.cluster, &weir, &trusting).is_ok(), "another one after a restart");
    assert_eq!(std::fs::read_to_string(&file).expect("it is kept"), first);
    assert_eq!(weir.log().matches("a self-signed one was made").count(), 0, "{}", weir.log());

    weir.reconfigure(|config| set(config, "listen.tls", Value::from("off")))?;
    let told = conninfo(&stage.cluster, &weir, "sslmode=require").unwrap_err();
    assert!(told.contains("server does not support SSL"), "{told}");
    assert!(conninfo(&stage.cluster, &weir, "sslmode=prefer").is_ok());
    Ok(())
}

#[test]
fn where_no_certificate_can_be_kept_clients_go_on_without_tls_unless_it_is_required() -> Outcome {
    let stage = support::stage();
    let directory = pgweir_tests::scratch::directory()?;
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let weir = Weir::builder(&stage.cluster).set("runtime.directory", text(&directory)).start()?;
    assert!(conninfo(&stage.cluster, &weir, "sslmode=prefer").is_ok());
    assert!(weir.log().contains("clients get no TLS"), "{}", weir.log());
    let required = format!("{}\n[listen.tls]\nrequired = true\n", weir.config_text());
    weir.overwrite_config(&required, "refused")
}
