//! `pgweir init`: makes pgweir's role on a cluster and a minimal configuration for it.

mod plan;
mod terminal;

use crate::auth::scram::{self, DEFAULT_ITERATIONS, Keys, SALT_BYTES};
use crate::cluster::connect::{Link, NoEntry, explain};
use crate::config::{self, Config, Secret};
use plan::{Known, Plan};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio_postgres::Client;

/// Arguments of `pgweir init`.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// The primary
    #[arg(long, value_name = "HOST:PORT")]
    primary: String,
    /// A replica; may be repeated [default: those that the primary names, if they answer at its port]
    #[arg(long, value_name = "HOST:PORT")]
    replica: Vec<String>,
    /// An administrator: superuser, or allowed to make roles and grant pg_monitor
    #[arg(long, short = 'U', value_name = "NAME", default_value = "postgres", env = "PGUSER")]
    user: String,
    /// File with the administrator's password [default: PGPASSWORD, else it is asked for]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The configuration file to write; it must not be there yet
    #[arg(long, short, visible_alias = "out", value_name = "FILE", default_value = "pgweir.toml")]
    config: PathBuf,
    /// Do it without asking
    #[arg(long, short)]
    yes: bool,
}

/// How long connecting to a node may take.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// Random bytes in the new role's password.
const PASSWORD_BYTES: usize = 24;

/// The variable that `pgweir run` reads the role's password from, too.
const PASSWORD_VARIABLE: &str = "PGWEIR_CLUSTER_PASSWORD";

const KNOWN: &str = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('server_version'), \
     EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = 'pgweir'), \
     (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = CURRENT_USER), \
     ARRAY(SELECT d.datname::pg_catalog.text FROM pg_catalog.pg_database d WHERE d.datallowconn \
           AND d.datname <> 'template1' \
           AND NOT pg_catalog.has_database_privilege(coalesce((SELECT r.oid FROM pg_catalog.pg_roles r \
               WHERE r.rolname = 'pgweir'), 0), d.oid, 'CONNECT') \
           AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(coalesce(d.datacl, \
               pg_catalog.acldefault('d', d.datdba))) a WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT') \
           ORDER BY 1), \
     ARRAY(SELECT DISTINCT pg_catalog.host(s.client_addr) FROM pg_catalog.pg_stat_replication s \
           WHERE s.client_addr IS NOT NULL ORDER BY 1)";

const TWIN: &str = "SELECT pg_catalog.pg_is_in_recovery(), s.system_identifier, pg_catalog.pg_postmaster_start_time()::pg_catalog.text \
     FROM pg_catalog.pg_control_system() s";

/// Exit code 1 if nothing was made.
pub fn run(args: &InitArgs) -> ExitCode {
    match init(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn init(args: &InitArgs) -> Result<(), String> {
    if args.config.exists() {
        return Err(format!("{} is there already: nothing was changed", args.config.display()));
    }
    let primary = address(&args.primary)?;
    let named = args.replica.iter().map(|text| address(text)).collect::<Result<Vec<_>, _>>()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let (admin, link) = enter(args, &primary).await?;
        let known = look(&link.client, &primary).await?;
        let replicas = if named.is_empty() {
            found(&admin, &link.client, &primary, &known.standbys).await
        } else {
            named
        };
        let plan = Plan { primary, replicas, admin: args.user.clone(), known, config: args.config.clone() };
        print!("{plan}");
        if !args.yes && !terminal::agrees("Go on? [y/N] ") {
            return Err("nothing was changed".into());
        }
        let password = match std::env::var(PASSWORD_VARIABLE) {
            Ok(given) if !given.is_empty() => given,
            _ => plan::password(&scram::random::<PASSWORD_BYTES>()),
        };
        write(&args.config, &plan.toml(&password))?;
        let salt = scram::random::<SALT_BYTES>();
        let verifier = Keys::derive(&password, &salt, DEFAULT_ITERATIONS).verifier().to_string();
        if let Err(error) = link.client.batch_execute(&plan.sql(&verifier)).await {
            let _ = std::fs::remove_file(&args.config);
            return Err(format!("{}; nothing was changed", explain(&error)));
        }
        print!("{}", plan.what_next());
        Ok(())
    })
}

/// `host:port`, the port filled in, as the configuration has it.
fn address(text: &str) -> Result<String, String> {
    let config = config_of(text)?;
    let node = config.cluster.nodes.into_iter().next();
    node.map(|node| node.address).ok_or_else(|| format!("{text}: expected HOST:PORT"))
}

/// The configuration of this node and defaults.
fn config_of(address: &str) -> Result<Config, String> {
    let text = format!("cluster.nodes = [{}]", toml::Value::String(address.to_owned()));
    let parsed = Config::parse(&text, "");
    let first = |mistakes: Vec<config::Mistake>| mistakes.into_iter().next().map(|m| m.message);
    parsed.map(|(config, _)| config).map_err(|mistakes| first(mistakes).unwrap_or_default())
}

/// A connection to the primary as the administrator, and how it came about.
async fn enter(args: &InitArgs, primary: &str) -> Result<(config::Cluster, Link), String> {
    let mut admin = config_of(primary)?.cluster;
    admin.user.clone_from(&args.user);
    admin.password = match &args.password_file {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
            Some(text.trim_end_matches(['\r', '\n']).to_owned())
        }
        None => std::env::var("PGPASSWORD").ok().filter(|password| !password.is_empty()),
    }
    .map(Secret);
    let said = |no_entry: NoEntry| format!("{primary}: {no_entry}");
    match Link::enter(&admin, primary, "postgres", CONNECT_WAIT).await {
        Ok(link) => Ok((admin, link)),
        Err(NoEntry::PasswordMissing) => {
            let asked = terminal::password(&format!("Password of \"{}\" on {primary}: ", args.user));
            let password = asked.ok_or_else(|| {
                format!(
                    "{primary} asks for the password of \"{}\": set PGPASSWORD, or use --password-file",
                    args.user
                )
            })?;
            admin.password = Some(Secret(password));
            let link = Link::enter(&admin, primary, "postgres", CONNECT_WAIT).await.map_err(said)?;
            Ok((admin, link))
        }
        Err(no_entry) => Err(said(no_entry)),
    }
}

async fn look(client: &Client, primary: &str) -> Result<Known, String> {
    let row = client.query_one(KNOWN, &[]).await.map_err(|e| explain(&e))?;
    if row.get(0) {
        return Err(format!("{primary} is a replica: give the address of the primary"));
    }
    Ok(Known {
        version: row.get(1),
        role_exists: row.get(2),
        is_superuser: row.get::<_, Option<bool>>(3).unwrap_or(false),
        closed: row.get(4),
        standbys: row.get(5),
    })
}

/// The standbys that answer at the primary's port and are replicas of it.
async fn found(
    admin: &config::Cluster,
    primary: &Client,
    primary_address: &str,
    standbys: &[String],
) -> Vec<String> {
    let identity = |row: tokio_postgres::Row| (row.get::<_, i64>(1), row.get::<_, String>(2));
    let Ok(own) = primary.query_one(TWIN, &[]).await else { return vec![] };
    let own = identity(own);
    let port = primary_address.rsplit_once(':').map_or("5432", |(_, port)| port);
    let mut replicas = vec![];
    for host in standbys {
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let Ok(link) = Link::enter(admin, &address, "postgres", CONNECT_WAIT).await else { continue };
        let Ok(row) = link.client.query_one(TWIN, &[]).await else { continue };
        let in_recovery = row.get(0);
        let (system, started) = identity(row);
        if in_recovery && system == own.0 && started != own.1 {
            replicas.push(address);
        }
    }
    replicas
}

/// A new file that only its owner may read: it holds a password.
fn write(path: &Path, text: &str) -> Result<(), String> {
    let said = |e: std::io::Error| format!("{}: {e}; nothing was changed", path.display());
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(said)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
        let _ = std::fs::remove_file(path);
        said(error)
    })
}
