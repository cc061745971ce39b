//! `pgweir route`: where statements would go, and why, without running them.

use super::ConfigArgs;
use crate::cluster::catalog;
use crate::cluster::connect::Link;
use crate::cluster::found::look_once;
use crate::config::Config;
use router_rules::catalog::{Catalog, Unknown};
use router_rules::rehearse::{Rehearsal, Step, worst};
use router_rules::{Classifier, Policy};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{self, BufRead, BufWriter, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Arguments of `pgweir route`.
#[derive(Debug, clap::Args)]
pub struct RouteArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The database whose catalog decides
    #[arg(long, short, value_name = "NAME", default_value = "postgres")]
    database: String,
    /// The user who would ask [default: the cluster's own]
    #[arg(long, short, value_name = "NAME")]
    user: Option<String>,
    /// JSON Lines on stdin and stdout: {"id","sql","session"?,"user"?,"ctx"?} to {"id","target","reason"}
    #[arg(long)]
    json: bool,
    /// Ask no cluster: know the built-ins, and what a line's "ctx" names
    #[arg(long)]
    offline: bool,
    /// The statements, one after the other on one session [default: stdin]
    #[arg(value_name = "SQL")]
    sql: Vec<String>,
}

/// How long connecting to a node may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How many bytes the classifier may remember.
const CACHE_BYTES: usize = 64 << 20;

/// What decides where statements go.
struct Judge {
    classifier: Classifier,
    policy: Arc<Policy>,
    /// `None` when offline: each line brings its own.
    catalog: Option<Arc<Catalog>>,
    database: String,
    user: String,
}

/// Prints where the statements would go. Exit code 1 if that cannot be told.
pub fn run(args: &RouteArgs) -> ExitCode {
    match judge(args)
        .and_then(|judge| if args.json { judge.answer_lines() } else { judge.answer_text(&args.sql) })
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn judge(args: &RouteArgs) -> Result<Judge, String> {
    let path = &args.config.config;
    // Offline, a configuration is welcome for its rules, but not needed.
    let config = match (args.offline, path.exists()) {
        (true, false) => None,
        _ => Some(
            Config::load(path)
                .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?
                .0,
        ),
    };
    let user = args.user.clone().or(config.as_ref().map(|c| c.cluster.user.clone()));
    let catalog = match &config {
        Some(config) if !args.offline => Some(Arc::new(read_catalog(config, &args.database)?)),
        _ => None,
    };
    Ok(Judge {
        classifier: Classifier::new(CACHE_BYTES),
        policy: config.map(|c| c.policy).unwrap_or_default(),
        catalog,
        database: args.database.clone(),
        user: user.unwrap_or_else(|| "postgres".to_owned()),
    })
}

/// The catalog of `database` as the primary has it.
fn read_catalog(config: &Config, database: &str) -> Result<Catalog, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let link = connect_to_primary(config, database).await?;
        catalog::load(&link.client, 1).await
    })
}

/// A connection to `database` on the node that takes writes.
pub(super) async fn connect_to_primary(config: &Config, database: &str) -> Result<Link, String> {
    let (nodes, sources) = look_once(&config.cluster).await;
    let failed = |(source, told): (String, Result<usize, String>)| Some(format!("{source}: {}", told.err()?));
    let mut reasons: Vec<_> = sources.into_iter().filter_map(failed).collect();
    for node in &nodes {
        let link = match Link::open(&config.cluster, &node.address, database, CONNECT_LIMIT).await {
            Ok(link) => link,
            Err(reason) => {
                reasons.push(format!("{}: {reason}", node.address));
                continue;
            }
        };
        match link.client.query_one("SELECT pg_catalog.pg_is_in_recovery()", &[]).await {
            Ok(row) if !row.get::<_, bool>(0) => return Ok(link),
            Ok(_) => reasons.push(format!("{}: a replica", node.address)),
            Err(error) => {
                reasons.push(format!("{}: {}", node.address, crate::cluster::connect::explain(&error)))
            }
        }
    }
    Err(format!("no primary found: {}", reasons.join("; ")))
}

impl Judge {
    /// One line per statement: target, reason, and what the reason means.
    fn answer_text(&self, sql: &[String]) -> Result<(), String> {
        let mut texts = sql.to_vec();
        if texts.is_empty() {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(|e| format!("stdin: {e}"))?;
            texts.push(text);
        }
        let catalog = self.catalog.clone().unwrap_or_else(|| Arc::new(Catalog::offline(Unknown::Primary)));
        let mut session =
            Rehearsal::new(&self.classifier, &self.policy, Some(catalog), &self.user, &self.database);
        for text in &texts {
            let step = session.step(text);
            println!("{:8} {:20} {}", step.target.as_str(), step.reason.as_str(), step.reason.explain());
        }
        Ok(())
    }

    /// JSON Lines from stdin to stdout, in order.
    fn answer_lines(&self) -> Result<(), String> {
        let mut out = BufWriter::new(io::stdout().lock());
        for (n, line) in io::stdin().lock().lines().enumerate() {
            let line = line.map_err(|e| format!("stdin: {e}"))?;
            if line.trim().is_empty() {
                continue;
            }
            let line: Line = serde_json::from_str(&line).map_err(|e| format!("line {}: {e}", n + 1))?;
            let answer = serde_json::to_string(&self.answer(&line, n as u64)).map_err(|e| e.to_string())?;
            match writeln!(out, "{answer}") {
                Ok(()) => {}
                // Whoever reads has seen enough.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(e) => return Err(format!("stdout: {e}")),
            }
        }
        out.flush().or_else(|e| {
            if e.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(format!("stdout: {e}")) }
        })
    }

    fn answer<'l>(&self, line: &'l Line, n: u64) -> Answer<'l> {
        let catalog = self.catalog.clone().unwrap_or_else(|| Arc::new(sketch(line, n)));
        let user = line.user.as_deref().unwrap_or(&self.user);
        let mut session = Rehearsal::new(&self.classifier, &self.policy, Some(catalog), user, &self.database);
        for setting in line.session.list() {
            session.step(setting);
        }
        let steps: Vec<Step> = line.sql.list().iter().map(|sql| session.step(sql)).collect();
        let place = |s: &Step| Place { target: s.target.as_str(), reason: s.reason.as_str() };
        match worst(&steps) {
            None => Answer::None { id: &line.id, error: "no sql" },
            Some(step) => Answer::Placed {
                id: &line.id,
                place: place(step),
                steps: matches!(line.sql, Texts::Many(_)).then(|| steps.iter().map(place).collect()),
            },
        }
    }
}

/// A line that is asked: what does not matter to the answer is passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    id: Value,
    sql: Texts,
    session: Texts,
    user: Option<String>,
    ctx: Option<Context>,
    setup: Option<String>,
}

/// What there is, in the short form of [`Catalog::from_short_form`].
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Context {
    funcs: Texts,
    rels: Texts,
}

/// One text, a list of them, or none.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
    #[default]
    None,
    /// Something else: no text.
    Other(IgnoredAny),
}

impl Texts {
    fn list(&self) -> &[String] {
        match self {
            Texts::One(text) => std::slice::from_ref(text),
            Texts::Many(list) => list,
            Texts::None | Texts::Other(_) => &[],
        }
    }
}

/// A line that is answered.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Answer<'l> {
    Placed {
        id: &'l Value,
        #[serde(flatten)]
        place: Place,
        /// Of a list, each.
        #[serde(skip_serializing_if = "Option::is_none")]
        steps: Option<Vec<Place>>,
    },
    None {
        id: &'l Value,
        error: &'static str,
    },
}

/// Where, and why.
#[derive(Debug, Serialize)]
struct Place {
    target: &'static str,
    reason: &'static str,
}

/// The catalog that a line tells of: its "ctx", or an application's tables ("setup": "orm:…").
fn sketch(line: &Line, n: u64) -> Catalog {
    let application = line.setup.as_deref().is_some_and(|setup| setup.starts_with("orm:"));
    let unknown = if application { Unknown::OrdinaryTables } else { Unknown::Sketch };
    let nothing = Context::default();
    let context = line.ctx.as_ref().unwrap_or(&nothing);
    let (funcs, rels) = (context.funcs.list(), context.rels.list());
    let mut catalog =
        Catalog::from_short_form(funcs.iter().map(String::as_str), rels.iter().map(String::as_str), unknown);
    // A single statement's line names everything that it mentions; a sequence may make its own.
    if !application && matches!(line.sql, Texts::One(_)) {
        catalog = catalog.complete();
    }
    // Lines that tell nothing of a catalog share one, and what is remembered of it.
    catalog.generation = match (application, line.ctx.is_none()) {
        (false, true) => 1,
        (true, true) => 2,
        _ => n + 3,
    };
    catalog
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// As a program sees it.
    fn answered(line: Value, n: u64) -> Value {
        let line: Line = serde_json::from_value(line).unwrap();
        serde_json::to_value(offline().answer(&line, n)).unwrap()
    }

    fn offline() -> Judge {
        Judge {
            classifier: Classifier::new(1 << 20),
            policy: Arc::default(),
            catalog: None,
            database: "app".into(),
            user: "app".into(),
        }
    }

    #[test]
    fn a_line_is_answered_with_its_id_target_and_reason() {
        let line = json!({ "id": 7, "sql": "SELECT * FROM books", "ctx": { "rels": ["public.books:r:p"] } });
        assert_eq!(answered(line, 0), json!({ "id": 7, "target": "replica", "reason": "read_only" }));
        let line = json!({ "id": 8, "sql": "SELECT * FROM books" });
        assert_eq!(answered(line, 1)["reason"], "unknown_relation");
    }

    #[test]
    fn a_list_is_one_session_and_goes_where_its_worst_step_goes() {
        let line = json!({ "id": "a", "setup": "orm:x", "sql": ["BEGIN", "SELECT * FROM t", "COMMIT"] });
        let answer = answered(line, 0);
        assert_eq!(answer["target"], "primary");
        assert_eq!(answer["steps"].as_array().map(Vec::len), Some(3));
        let line =
            json!({ "id": "b", "setup": "orm:x", "sql": ["BEGIN READ ONLY", "SELECT * FROM t", "COMMIT"] });
        assert_eq!(answered(line, 0)["target"], "replica");
    }

    #[test]
    fn settings_in_force_are_heeded() {
        let line = json!({ "id": 1, "sql": "SELECT f(1)", "session": ["SET search_path = app"],
            "ctx": { "funcs": ["app.f(integer):v:plpgsql:f"] } });
        assert_eq!(answered(line, 0)["reason"], "writing_function");
    }
}
