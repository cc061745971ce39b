//! The catalog snapshot, read from the primary.
//!
//! One message with all queries, in one REPEATABLE READ transaction: a consistent picture for one
//! round trip. Every name is schema-qualified, and the `search_path` is fixed, so that Postgres
//! spells every name in view definitions and types with its schema.

mod queries;

use super::connect::explain;
use crate::limits::CATALOG_ROWS_MAX;
use queries::{FINGERPRINT, Spelling, script};
use router_rules::Catalog;
use router_rules::catalog::{Cast, Function, Operator, Relation, Rows, Type, UNREAD};
use std::collections::HashMap;
use tokio_postgres::{Client, Error, SimpleQueryMessage, SimpleQueryRow};

/// Separates the elements of a list within one column.
const SEPARATOR: char = '\x1f';

/// Reads the catalog of the database that `client` is connected to.
///
/// # Errors
/// A sentence for people: the server's, or that there is more of something than pgweir keeps.
pub async fn load(client: &Client, generation: u64) -> Result<Catalog, String> {
    let encoding = client.simple_query(ENCODING).await.map_err(|e| explain(&e))?;
    let spelling = match first_column(&encoding) {
        Some("SQL_ASCII") => Spelling::Hex,
        _ => Spelling::Text,
    };
    let read = client.simple_query(&script(spelling)).await;
    let answers = match read {
        Ok(answers) => answers,
        Err(error) => {
            // What failed left its transaction open.
            let _ = client.simple_query("ROLLBACK").await;
            return Err(explain(&error));
        }
    };
    let mut rows = Rows::default();
    let mut of_kind: HashMap<String, usize> = HashMap::new();
    for message in &answers {
        if let SimpleQueryMessage::Row(row) = message {
            let columns = Columns { row, spelling };
            let kind = columns.text(0);
            take(&kind, &columns, &mut rows);
            let count = of_kind.entry(kind).or_default();
            *count += 1;
            if *count > CATALOG_ROWS_MAX {
                return Err(format!(
                    "it has more than {CATALOG_ROWS_MAX} objects of a kind ({})",
                    columns.text(0)
                ));
            }
        }
    }
    Ok(Catalog::build(rows, generation))
}

const ENCODING: &str = "SELECT pg_catalog.getdatabaseencoding()";

fn first_column(answers: &[SimpleQueryMessage]) -> Option<&str> {
    answers.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    })
}

/// A number that changes when the catalog does.
///
/// Counts and sums of row versions (`xmin`) of the catalogs that a snapshot is made from, without
/// temporary objects, which come and go.
///
/// # Errors
/// The connection's.
pub async fn fingerprint(client: &Client) -> Result<u64, Error> {
    let answers = client.simple_query(FINGERPRINT).await?;
    Ok(first_column(&answers).and_then(|text| text.parse::<i64>().ok()).unwrap_or_default() as u64)
}

/// One row of an answer; what is NULL or missing reads as empty.
struct Columns<'a> {
    row: &'a SimpleQueryRow,
    spelling: Spelling,
}

impl Columns<'_> {
    fn optional(&self, at: usize) -> Option<String> {
        let text = self.row.try_get(at).ok().flatten()?;
        Some(match self.spelling {
            Spelling::Text => text.to_owned(),
            Spelling::Hex => of_any_bytes(text),
        })
    }

    fn text(&self, at: usize) -> String {
        self.optional(at).unwrap_or_default()
    }

    fn oid(&self, at: usize) -> u32 {
        self.text(at).parse().unwrap_or(0)
    }

    fn letter(&self, at: usize) -> char {
        self.text(at).chars().next().unwrap_or(' ')
    }

    fn truth(&self, at: usize) -> bool {
        self.text(at) == "t"
    }

    fn list(&self, at: usize) -> Vec<String> {
        match self.optional(at) {
            Some(text) if !text.is_empty() => text.split(SEPARATOR).map(str::to_owned).collect(),
            _ => vec![],
        }
    }

    /// The texts, or in their stead the one that proves nothing where they were too long to be sent.
    fn unless_cut(&self, mark: usize, texts: Vec<String>) -> Vec<String> {
        if self.truth(mark) { vec![UNREAD.to_owned()] } else { texts }
    }

    fn oids(&self, at: usize) -> Vec<u32> {
        self.list(at).iter().filter_map(|text| text.parse().ok()).filter(|oid| *oid != 0).collect()
    }
}

/// The text behind hexadecimal digits. Bytes that are no UTF-8 become characters that stand for nothing else,
/// so that two names that differ go on differing.
fn of_any_bytes(digits: &str) -> String {
    let digit = |digit: u8| (digit as char).to_digit(16).unwrap_or(0) as u8;
    let bytes: Vec<u8> = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, d| byte << 4 | digit(*d)))
        .collect();
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        let private = |byte: &u8| char::from_u32(FIRST_PRIVATE + u32::from(*byte));
        text.extend(chunk.invalid().iter().filter_map(private));
    }
    text
}

/// The first character of a plane that is for private use.
const FIRST_PRIVATE: u32 = 0xF_0000;

fn take(kind: &str, row: &Columns<'_>, rows: &mut Rows) {
    match kind {
        "function" => rows.functions.push(function(row)),
        "relation" => rows.relations.push(relation(row)),
        "operator" => rows.operators.push(Operator {
            schema: row.text(1),
            name: row.text(2),
            left: row.optional(3),
            right: row.optional(4),
            function: row.oid(5),
            partners: row.oids(6),
        }),
        "cast" => rows.casts.push(Cast {
            source: row.text(1),
            target: row.text(2),
            function: row.oid(3),
            usage: row.letter(4),
        }),
        "type" => rows.types.push(Type {
            schema: row.text(1),
            name: row.text(2),
            kind: row.letter(3),
            checks: row.unless_cut(6, row.list(4)),
            parts: row.list(5),
            functions: vec![],
        }),
        "event trigger" => rows.event_triggers.push(row.oid(1)),
        "support" => rows.supports.push(row.oid(1)),
        "builtin" => rows.builtins.push((row.oid(1), row.text(2))),
        _ => {}
    }
}

fn function(row: &Columns<'_>) -> Function {
    let settings = row.list(13);
    let path = settings.iter().find_map(|s| s.strip_prefix("search_path="));
    let body = row.optional(11);
    Function {
        oid: row.oid(1),
        schema: row.text(2),
        name: row.text(3),
        args: row.list(4),
        defaults: row.text(5).parse().unwrap_or(0),
        variadic: row.truth(6),
        returns: row.text(7),
        volatility: row.letter(8),
        language: row.text(9),
        kind: row.letter(10),
        body: body
            .and_then(|text| if text.starts_with("CREATE ") { standard_body(&text) } else { Some(text) }),
        default_exprs: row.optional(12).or(row.truth(18).then(|| UNREAD.to_owned())),
        search_path: path.map(router_rules::quote::split_names),
        sets: settings.iter().filter_map(|s| s.split_once('=')).map(|(name, _)| name.to_owned()).collect(),
        definer: row.optional(16),
        extension: row.optional(14),
        state: row.text(17),
        parts: row.oids(15),
    }
}

/// The part of `CREATE FUNCTION … BEGIN ATOMIC …` or `… RETURN …` that runs.
fn standard_body(definition: &str) -> Option<String> {
    let at = definition.find("\nBEGIN ATOMIC").or_else(|| definition.find("\nRETURN "))?;
    Some(definition[at + 1..].to_owned())
}

/// What a trigger evaluates to see whether it is to run, of its definition as Postgres spells it.
fn condition(definition: &str) -> String {
    let condition = definition.rsplit_once(" EXECUTE ").map_or(definition, |(before, _)| before);
    condition.split_once(" WHEN ").map_or(condition, |(_, condition)| condition).to_owned()
}

fn relation(row: &Columns<'_>) -> Relation {
    let column =
        |text: String| text.split_once('\x1e').map(|(name, kind)| (name.to_owned(), kind.to_owned()));
    Relation {
        oid: row.oid(1),
        schema: row.text(2),
        name: row.text(3),
        kind: row.letter(4),
        persistence: row.letter(5),
        definition: row.optional(6),
        children: row.oids(7),
        policies: row.unless_cut(16, row.list(8)),
        columns: row.list(9).into_iter().filter_map(column).collect(),
        expressions: row.unless_cut(
            16,
            row.list(10).into_iter().chain(row.list(14).iter().map(|text| condition(text))).collect(),
        ),
        triggers: row.oids(11),
        cascades: row.oids(12),
        referrers: row.oids(17),
        rules: row.truth(15),
        actions: row.list(13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_stay_apart() {
        assert_eq!(of_any_bytes("61c3a9"), "aé");
        assert_ne!(of_any_bytes("61e9"), of_any_bytes("61e8"));
        assert!(of_any_bytes("ff61").ends_with('a'));
    }

    #[test]
    fn of_a_trigger_its_condition_is_evaluated() {
        let definition = "CREATE TRIGGER g BEFORE UPDATE ON public.t FOR EACH ROW WHEN (public.f(new.a)) EXECUTE FUNCTION public.h()";
        assert_eq!(condition(definition), "(public.f(new.a))");
    }

    #[test]
    fn the_body_of_a_standard_function_is_what_runs() {
        let text = "CREATE OR REPLACE FUNCTION public.f(i bigint)\n RETURNS numeric\n LANGUAGE sql\n STABLE\nRETURN (SELECT 1)\n";
        assert_eq!(standard_body(text).as_deref(), Some("RETURN (SELECT 1)\n"));
        let text = "CREATE OR REPLACE FUNCTION public.f()\n RETURNS int\n LANGUAGE sql\nBEGIN ATOMIC\n SELECT 1;\nEND\n";
        assert!(standard_body(text).is_some_and(|body| body.starts_with("BEGIN ATOMIC")));
        assert_eq!(standard_body("CREATE OR REPLACE FUNCTION f()"), None);
    }
}
