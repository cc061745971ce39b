//! What Postgres's own parser finds in a text that a replica must not be given.

use pg_query::ParserOptions;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::LazyLock;

/// The built-in functions that may run on a replica; the classifier's own list, for what is judged
/// here is whether a call was overlooked.
static ALLOWED: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let list = include_str!("../../../router-rules/src/builtins/functions.txt");
    list.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace).collect()
});

/// What Postgres makes of a text.
#[derive(Debug)]
pub enum Judgement {
    /// Postgres refuses it, here as there.
    Refused,
    /// Every statement in it is a read.
    Read,
    /// This must not be given to a replica.
    Write(String),
}

/// Judges a text as Postgres would read it.
pub fn judge(sql: &str, conforming: bool) -> Judgement {
    let options =
        if conforming { ParserOptions::DEFAULT } else { ParserOptions::DISABLE_STANDARD_CONFORMING_STRINGS };
    let Ok(parsed) = pg_query::parse(sql, options) else { return Judgement::Refused };
    for statement in &parsed.protobuf.stmts {
        let Some(node) = &statement.stmt else { continue };
        let tree = serde_json::to_value(node).expect("a tree is plain data");
        if let Err(offence) = statement_is_read(&tree) {
            return Judgement::Write(offence);
        }
    }
    Judgement::Read
}

/// The name and content of a node.
fn node(value: &Value) -> (&str, &Value) {
    let inner = if value["node"].is_object() { &value["node"] } else { value };
    inner.as_object().and_then(|o| o.iter().next()).map_or(("", &Value::Null), |(k, v)| (k.as_str(), v))
}

fn statement_is_read(value: &Value) -> Result<(), String> {
    let (kind, body) = node(value);
    match kind {
        "SelectStmt" => search(value, true),
        "ExplainStmt" => {
            let analyze = last_analyze(&body["options"]);
            let (explained, _) = node(&body["query"]);
            // A hot standby plans what it would not run.
            let planned =
                ["SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "CreateTableAsStmt"];
            match explained {
                _ if !analyze && planned.contains(&explained) => Ok(()),
                "SelectStmt" => search(&body["query"], true),
                other => Err(format!("EXPLAIN of {other}, ANALYZE {analyze}")),
            }
        }
        "CopyStmt" => {
            if body["is_from"] == true || body["is_program"] == true || body["filename"] != "" {
                return Err("COPY that is not to the client".into());
            }
            search(value, true)
        }
        // WITH HOLD is bit 0x20.
        "DeclareCursorStmt" if body["options"].as_i64().is_some_and(|o| o & 0x20 == 0) => {
            search(&body["query"], true)
        }
        other => Err(format!("a {other}")),
    }
}

/// The last of EXPLAIN's ANALYZE options.
fn last_analyze(options: &Value) -> bool {
    let mut analyze = false;
    for option in options.as_array().into_iter().flatten() {
        let (_, option) = node(option);
        if option["defname"] == "analyze" {
            let (kind, argument) = node(&option["arg"]);
            let text = match kind {
                "String" => argument["sval"].as_str().unwrap_or("").to_ascii_lowercase(),
                "Integer" => argument["ival"].to_string(),
                _ => String::new(),
            };
            analyze = !matches!(text.as_str(), "false" | "off" | "0");
        }
    }
    analyze
}

/// Searches a whole tree.
fn search(value: &Value, runs: bool) -> Result<(), String> {
    match value {
        Value::Array(list) => list.iter().try_for_each(|v| search(v, runs)),
        Value::Object(fields) => {
            for (name, inner) in fields {
                offence(name, inner)?;
                search(inner, runs)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The parts of a list of String nodes.
fn parts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|v| node(v).1["sval"].as_str().unwrap_or("*")).collect()
}

/// A relation that the catalog of traps holds as harmful.
fn is_trapped_relation(range: &Value) -> bool {
    let schema = range["schemaname"].as_str().unwrap_or("");
    let name = range["relname"].as_str().unwrap_or("");
    matches!(schema, "" | "public")
        && matches!(name, "evil_table" | "evil_sequence" | "evil_foreign" | "evil_view")
}

fn offence(field: &str, value: &Value) -> Result<(), String> {
    match field {
        "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt" => Err(field.to_owned()),
        "into_clause" if !value.is_null() => Err("INTO".into()),
        "locking_clause" if value.as_array().is_some_and(|l| !l.is_empty()) => Err("a locking clause".into()),
        "funcname" | "method" => called(&parts(value)),
        "RangeVar" | "relation" if is_trapped_relation(value) => {
            Err(format!("relation {}", value["relname"]))
        }
        "type_name" | "TypeName"
            if matches!(parts(&value["names"]).as_slice(), ["evil_domain"] | ["public", "evil_domain"]) =>
        {
            Err("type evil_domain".into())
        }
        "ColumnRef" => {
            let fields = parts(&value["fields"]);
            match fields.as_slice() {
                [_, .., "evil_row"] => Err("a function of a row".into()),
                _ => Ok(()),
            }
        }
        "AIndirection" if parts(&value["indirection"]).contains(&"evil_row") => {
            Err("a function of an expression's row".into())
        }
        "AExpr" if parts(&value["name"]).last() == Some(&"@@@@") => {
            // Operands whose type the text shows may tell it from the trap.
            let shows = |side: &Value| matches!(node(side).0, "AConst" | "TypeCast" | "AExpr");
            if shows(&value["lexpr"]) || shows(&value["rexpr"]) {
                Ok(())
            } else {
                Err("operator @@@@".into())
            }
        }
        _ => Ok(()),
    }
}

fn called(name: &[&str]) -> Result<(), String> {
    let (schema, function) = match name {
        [function] => (None, *function),
        [.., schema, function] => (Some(*schema), *function),
        [] => return Ok(()),
    };
    let harmless = match schema {
        None => function == "good" || ALLOWED.contains(function),
        Some("pg_catalog") => ALLOWED.contains(function),
        Some("public") => function == "good" || function == "lower",
        Some("information_schema") => function.starts_with("_pg_"),
        Some(_) => false,
    };
    // Casts in the clothes of a call, names of methods and what is harmless with these arguments only.
    let special = matches!(function, "current_setting" | "ts_rewrite" | "bernoulli" | "system")
        || (!function.contains("evil") && function.len() < 16 && is_type(function));
    if harmless || special { Ok(()) } else { Err(format!("call of {name:?}")) }
}

/// Names of types that may be called like functions.
fn is_type(name: &str) -> bool {
    [
        "int",
        "float",
        "text",
        "date",
        "json",
        "xml",
        "bool",
        "name",
        "time",
        "oid",
        "uuid",
        "num",
        "bit",
        "var",
        "char",
        "bpchar",
        "box",
        "point",
        "path",
        "line",
        "lseg",
        "circle",
        "polygon",
        "reg",
        "money",
        "mac",
        "inet",
        "cidr",
        "bytea",
        "tid",
        "xid",
        "cid",
        "ts",
        "interval",
        "pg_lsn",
        "aclitem",
        "refcursor",
        "mood",
        "record",
        "any",
        "void",
        "unknown",
        "cstring",
        "gtsvector",
        "decimal",
        "dec",
        "real",
        "double",
        "precision",
        "smallint",
        "bigint",
        "daterange",
        "national",
        "nchar",
        "setof",
        "trigger",
        "internal",
        "jsonpath",
        "t",
        "u",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
}
