//! `pgweir audit`: how much of today's load could leave the primary, and what holds the rest.
//!
//! It reads `pg_stat_statements` on the primary and decides each statement as `pgweir route` would.
//! It only reads. Statements are judged as if each ran alone: `pg_stat_statements` does not tell which of them ran
//! within transactions, and those stay on the primary. How many reads of these came before any write, a pgweir that
//! runs with the same configuration has counted, and is asked.

use super::ConfigArgs;
use super::http;
use super::route::connect_to_primary;
use crate::cluster::catalog;
use crate::cluster::connect::explain;
use crate::config::Config;
use router_rules::rehearse::Rehearsal;
use router_rules::{Catalog, Classifier, Policy, Reason, Target};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;
use std::sync::Arc;

/// Arguments of `pgweir audit`.
#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The database to look at
    #[arg(long, short, value_name = "NAME", default_value = "postgres")]
    database: String,
    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,
    /// How many of the dearest statements that stay on the primary to list
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
}

/// How many bytes of a statement's text a table shows.
const TEXT_SHOWN: usize = 80;

/// How much of a running pgweir's metrics is read.
const METRICS_BYTES_MAX: u64 = 16 << 20;

/// How many bytes the classifier may remember.
const CACHE_BYTES: usize = 16 << 20;

/// The statements of this database with their cost, whatever the extension's version and schema.
const STATEMENTS: &str = r"
SELECT coalesce(pg_catalog.pg_get_userbyid(s.userid), ''), s.query, s.calls,
       coalesce(pg_catalog.to_jsonb(s) ->> 'total_exec_time', pg_catalog.to_jsonb(s) ->> 'total_time', '0')::pg_catalog.float8
FROM {schema}.pg_stat_statements s JOIN pg_catalog.pg_database d ON d.oid = s.dbid
WHERE d.datname = pg_catalog.current_database()
  AND coalesce((pg_catalog.to_jsonb(s) ->> 'toplevel')::pg_catalog.bool, true)";

/// Where the extension's view is.
const SCHEMA: &str = r"
SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension e
JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'";

/// One statement of `pg_stat_statements`.
struct Seen {
    user: String,
    text: String,
    calls: i64,
    /// Milliseconds.
    time: f64,
}

/// Prints the report. Exit code 1 if it cannot be made.
pub fn run(args: &AuditArgs) -> ExitCode {
    match audit(args) {
        Ok(report) if args.json => {
            println!("{}", serde_json::json!(report.document()));
            ExitCode::SUCCESS
        }
        Ok(report) => {
            print!("{}", report.text());
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn audit(args: &AuditArgs) -> Result<Report, String> {
    let (config, _) = Config::load(&args.config.config)
        .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let (catalog, seen) = runtime.block_on(read(&config, &args.database))?;
    let mut report = Report::new(&config.policy, Arc::new(catalog), &args.database, seen, args.top);
    report.before_write = counted(&config, &args.database);
    Ok(report)
}

/// Reads that a running pgweir has kept on the primary because of their transaction, which had only read so far; or why
/// that is not known.
fn counted(config: &Config, database: &str) -> Result<u64, String> {
    let mut address = config.http.address.ok_or("http.address is not set")?;
    if config.http.tls.is_some() {
        return Err("its metrics are behind TLS".into());
    }
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    let token = config.http.token.as_ref().map(|token| token.0.as_str());
    match http::get(&format!("http://{address}/metrics"), token, METRICS_BYTES_MAX) {
        Ok((200, metrics)) => Ok(before_write(&metrics, database)),
        Ok((status, _)) => Err(format!("{address} answers {status}")),
        Err(error) => Err(format!("{address}: {error}")),
    }
}

/// Of the database's line; without one there was nothing to count.
fn before_write(metrics: &str, database: &str) -> u64 {
    let name = database.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let line = format!("pgweir_reads_before_write_total{{database=\"{name}\"}} ");
    metrics.lines().find_map(|known| known.strip_prefix(&line)?.trim().parse().ok()).unwrap_or(0)
}

async fn read(config: &Config, database: &str) -> Result<(Catalog, Vec<Seen>), String> {
    let link = connect_to_primary(config, database).await?;
    let failed = |e: tokio_postgres::Error| explain(&e);
    let catalog = catalog::load(&link.client, 1).await?;
    let schema = link.client.query_opt(SCHEMA, &[]).await.map_err(failed)?.ok_or_else(|| {
        format!("the extension pg_stat_statements is not installed in {database:?}: CREATE EXTENSION pg_stat_statements")
    })?;
    let query = STATEMENTS.replace("{schema}", schema.get(0));
    let rows = link.client.query(&query, &[]).await.map_err(failed)?;
    let seen = rows.iter().map(|row| Seen {
        user: row.get(0),
        text: row.get::<_, Option<String>>(1).unwrap_or_default(),
        calls: row.get(2),
        time: row.get(3),
    });
    Ok((catalog, seen.collect()))
}

/// Calls and milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cost {
    calls: i64,
    time: f64,
}

impl Cost {
    fn add(&mut self, seen: &Seen) {
        self.calls += seen.calls;
        self.time += seen.time;
    }
}

/// What the audit found.
#[derive(Debug)]
struct Report {
    database: String,
    total: Cost,
    /// What could run on replicas.
    replica: Cost,
    /// SET, set_config, BEGIN and their like, which go wherever the statements beside them go.
    session: Cost,
    /// By reason, what stays on the primary.
    primary: BTreeMap<&'static str, (Cost, &'static str)>,
    /// The dearest that stay: reason, cost, text.
    dearest: Vec<(&'static str, Cost, String)>,
    /// Transactions that were begun by a statement.
    begun: i64,
    /// Reads that stayed on the primary with their transaction before it wrote, or why their number is not known.
    before_write: Result<u64, String>,
}

impl Report {
    fn new(policy: &Policy, catalog: Arc<Catalog>, database: &str, mut seen: Vec<Seen>, top: usize) -> Self {
        seen.sort_by(|a, b| b.time.total_cmp(&a.time));
        let classifier = Classifier::new(CACHE_BYTES);
        let mut report = Report {
            database: database.to_owned(),
            total: Cost::default(),
            replica: Cost::default(),
            session: Cost::default(),
            primary: BTreeMap::new(),
            dearest: vec![],
            begun: 0,
            before_write: Err("no pgweir was asked".into()),
        };
        for seen in &seen {
            report.total.add(seen);
            if ["begin", "start"].iter().any(|word| starts_with_word(&seen.text, word)) {
                report.begun += seen.calls;
            }
            let mut session =
                Rehearsal::new(&classifier, policy, Some(catalog.clone()), &seen.user, database);
            let step = session.step(&seen.text);
            // Where values were, pg_stat_statements shows parameters: what set_config sets is not known.
            let sets = step.reason == Reason::Session && starts_with_word(&seen.text, "select");
            if step.neutral || sets {
                report.session.add(seen);
            } else if step.target == Target::Replica {
                report.replica.add(seen);
            } else {
                let reason = step.reason.as_str();
                report.primary.entry(reason).or_insert((Cost::default(), step.reason.explain())).0.add(seen);
                if report.dearest.len() < top {
                    let cost = Cost { calls: seen.calls, time: seen.time };
                    report.dearest.push((reason, cost, shortened(&seen.text)));
                }
            }
        }
        report
    }

    /// Reasons, the dearest first.
    fn by_cost(&self) -> Vec<(&'static str, Cost, &'static str)> {
        let mut reasons: Vec<_> =
            self.primary.iter().map(|(word, (cost, why))| (*word, *cost, *why)).collect();
        reasons.sort_by(|a, b| b.1.time.total_cmp(&a.1.time));
        reasons
    }

    fn share(&self, cost: Cost) -> (f64, f64) {
        let percent = |part: f64, whole: f64| if whole > 0.0 { 100.0 * part / whole } else { 0.0 };
        (percent(cost.calls as f64, self.total.calls as f64), percent(cost.time, self.total.time))
    }

    fn text(&self) -> String {
        let mut out = format!(
            "Database {}: {} calls, {}\n\n{:22} {:>12} {:>7} {:>13} {:>7}\n",
            self.database,
            self.total.calls,
            duration(self.total.time),
            "",
            "calls",
            "",
            "time",
            ""
        );
        let mut line = |word: &str, cost: Cost, why: &str| {
            let (calls, time) = self.share(cost);
            out.push_str(&format!(
                "{word:22} {:>12} {calls:>5.1} % {:>13} {time:>5.1} %  {why}\n",
                cost.calls,
                duration(cost.time)
            ));
        };
        line("to replicas", self.replica, "Could leave the primary.");
        line(
            "beside the others",
            self.session,
            "SET, set_config, BEGIN, COMMIT: go where the statements beside them go.",
        );
        for (word, cost, why) in self.by_cost() {
            line(word, cost, why);
        }
        if !self.dearest.is_empty() {
            out.push_str("\nThe dearest that stay on the primary:\n");
        }
        for (word, cost, text) in &self.dearest {
            out.push_str(&format!("{:>13} {:>12}  {word:22} {text}\n", duration(cost.time), cost.calls));
        }
        out.push_str(&format!(
            "\nJudged as if each statement ran alone. {} transactions were begun: a replica serves the reads of one that is \
             READ ONLY,\nor, under routing.transactions = \"until_first_write\", those before its first write.\n",
            self.begun
        ));
        match &self.before_write {
            Ok(reads) => out.push_str(&format!(
                "Since its start pgweir has run {reads} reads on the primary that until_first_write could send to replicas.\n"
            )),
            Err(why) => out.push_str(&format!(
                "How many reads those are, only a running pgweir can say (pgweir_reads_before_write_total): {why}.\n"
            )),
        }
        out
    }

    fn document(&self) -> Document<'_> {
        let share = |cost: Cost| {
            let (calls_percent, time_percent) = self.share(cost);
            Share { calls: cost.calls, ms: cost.time, calls_percent, time_percent }
        };
        let by_cost = self.by_cost().into_iter();
        Document {
            database: &self.database,
            total: share(self.total),
            replica: share(self.replica),
            session: share(self.session),
            primary: by_cost
                .map(|(reason, cost, explain)| Held { share: share(cost), reason, explain })
                .collect(),
            transactions_begun: self.begun,
            reads_before_write: self.before_write.as_ref().ok().copied(),
            dearest: self
                .dearest
                .iter()
                .map(|(reason, cost, text)| Dear { share: share(*cost), reason, text })
                .collect(),
        }
    }
}

/// The report for programs.
#[derive(Debug, Serialize)]
struct Document<'r> {
    database: &'r str,
    total: Share,
    replica: Share,
    session: Share,
    primary: Vec<Held>,
    transactions_begun: i64,
    /// `null`: no running pgweir has told.
    reads_before_write: Option<u64>,
    dearest: Vec<Dear<'r>>,
}

/// A part of the load.
#[derive(Debug, Serialize)]
struct Share {
    calls: i64,
    ms: f64,
    calls_percent: f64,
    time_percent: f64,
}

/// What a reason holds on the primary.
#[derive(Debug, Serialize)]
struct Held {
    #[serde(flatten)]
    share: Share,
    reason: &'static str,
    explain: &'static str,
}

/// One dear statement.
#[derive(Debug, Serialize)]
struct Dear<'r> {
    #[serde(flatten)]
    share: Share,
    reason: &'static str,
    text: &'r str,
}

/// Milliseconds as a person reads them.
fn duration(ms: f64) -> String {
    if ms < 1e3 { format!("{ms:.1} ms") } else { format!("{:.1} s", ms / 1e3) }
}

/// One line of at most [`TEXT_SHOWN`] bytes.
fn shortened(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > TEXT_SHOWN {
        let mut end = TEXT_SHOWN;
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push('…');
    }
    line
}

fn starts_with_word(text: &str, word: &str) -> bool {
    text.split_whitespace().next().is_some_and(|first| first.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use router_rules::catalog::Unknown;

    fn report() -> Report {
        let catalog = Catalog::from_short_form([], ["public.books:r:p"], Unknown::Primary);
        let seen = |text: &str, calls, time| Seen { user: "app".into(), text: text.into(), calls, time };
        let seen = vec![
            seen("SELECT * FROM books WHERE id = $1", 80, 600.0),
            seen("UPDATE books SET n = $1", 10, 300.0),
            seen("SELECT * FROM books FOR UPDATE", 5, 100.0),
            seen("BEGIN", 3, 0.0),
            seen("SELECT set_config($1, $2, $3)", 2, 0.0),
        ];
        Report::new(&Policy::default(), Arc::new(catalog), "app", seen, 1)
    }

    #[test]
    fn the_load_is_divided_by_where_it_could_run_and_why_not() {
        let report = report();
        assert_eq!(report.replica, Cost { calls: 80, time: 600.0 });
        assert_eq!(report.share(report.replica), (80.0, 60.0));
        assert_eq!(report.session.calls, 5);
        let words: Vec<_> = report.by_cost().iter().map(|(word, ..)| *word).collect();
        assert_eq!(words, ["write", "locks"]);
        assert_eq!(report.dearest.len(), 1);
    }

    #[test]
    fn both_forms_of_the_report_say_the_same() {
        let report = report();
        assert!(report.text().contains("to replicas"));
        assert!(report.text().contains("600.0 ms") && report.text().contains("1.0 s"), "{}", report.text());
        let json = serde_json::to_value(report.document()).unwrap();
        assert_eq!(json["replica"]["time_percent"], 60.0);
        assert_eq!(json["primary"][0]["reason"], "write");
        assert_eq!(json["dearest"][0]["text"], "UPDATE books SET n = $1");
        assert_eq!(json["transactions_begun"], 3);
        assert!(json["reads_before_write"].is_null() && report.text().contains("no pgweir was asked"));
    }

    #[test]
    fn a_running_pgweir_tells_of_one_database() {
        let metrics = "# TYPE pgweir_reads_before_write_total counter\n\
                       pgweir_reads_before_write_total{database=\"a\\\"b\"} 7\n\
                       pgweir_reads_before_write_total{database=\"app\"} 12\n";
        let told = |database| before_write(metrics, database);
        assert_eq!((told("app"), told("a\"b"), told("ap")), (12, 7, 0));
    }
}
