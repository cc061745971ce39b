//! The catalog snapshot, read from the primary.
//!
//! One message with all queries, in one REPEATABLE READ transaction: a consistent picture for one
//! round trip. Every name is schema-qualified, and the `search_path` is fixed, so that Postgres
//! spells every name in view definitions and types with its schema.

use router_rules::Catalog;
use router_rules::catalog::{Cast, Function, Operator, Relation, Rows, Type};
use tokio_postgres::{Client, Error, SimpleQueryMessage, SimpleQueryRow};

/// Separates the elements of a list within one column.
const SEPARATOR: char = '\x1f';

/// Reads the catalog of the database that `client` is connected to.
///
/// # Errors
/// The connection's.
pub async fn load(client: &Client, generation: u64) -> Result<Catalog, Error> {
    let script =
        [BEGIN, FUNCTIONS, RELATIONS, OPERATORS, CASTS, TYPES, SUPPORTS, BUILTINS, COMMIT].join(";\n");
    let answers = client.simple_query(&script).await?;
    let mut rows = Rows::default();
    for message in &answers {
        if let SimpleQueryMessage::Row(row) = message {
            take(&Columns(row), &mut rows);
        }
    }
    Ok(Catalog::build(rows, generation))
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
    let value = answers.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).and_then(|text| text.parse::<i64>().ok()),
        _ => None,
    });
    Ok(value.unwrap_or_default() as u64)
}

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = pg_catalog; SET LOCAL statement_timeout = 0";
const COMMIT: &str = "COMMIT";

/// Functions, procedures and aggregates that are not part of Postgres.
const FUNCTIONS: &str = r"
SELECT 'function', p.oid, n.nspname, p.proname,
  (SELECT pg_catalog.string_agg(pg_catalog.format_type(a.type, NULL), pg_catalog.chr(31) ORDER BY a.place)
     FROM pg_catalog.unnest(p.proargtypes::pg_catalog.oid[]) WITH ORDINALITY AS a(type, place)),
  p.pronargdefaults, p.provariadic <> 0, pg_catalog.format_type(p.prorettype, NULL), p.provolatile, l.lanname, p.prokind,
  CASE WHEN p.prokind = 'a' THEN NULL
       WHEN l.lanname = 'sql' AND p.prosrc = '' THEN pg_catalog.pg_get_functiondef(p.oid)
       WHEN l.lanname IN ('sql', 'plpgsql', 'internal') THEN p.prosrc END,
  pg_catalog.pg_get_expr(p.proargdefaults, 0),
  pg_catalog.array_to_string(p.proconfig, pg_catalog.chr(31)),
  (SELECT e.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
    WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e'
      AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass LIMIT 1),
  pg_catalog.concat_ws(pg_catalog.chr(31), a.aggtransfn::pg_catalog.oid, a.aggfinalfn::pg_catalog.oid,
    a.aggcombinefn::pg_catalog.oid, a.aggserialfn::pg_catalog.oid, a.aggdeserialfn::pg_catalog.oid,
    a.aggmtransfn::pg_catalog.oid, a.aggminvtransfn::pg_catalog.oid, a.aggmfinalfn::pg_catalog.oid),
  CASE WHEN p.prosecdef THEN pg_catalog.pg_get_userbyid(p.proowner) END,
  pg_catalog.format_type(a.aggtranstype, NULL)
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
LEFT JOIN pg_catalog.pg_aggregate a ON a.aggfnoid = p.oid
WHERE p.oid >= 16384 AND n.nspname !~ '^pg_temp_'";

/// Tables, views, sequences and the like.
const RELATIONS: &str = r"
SELECT 'relation', c.oid, n.nspname, c.relname, c.relkind, c.relpersistence,
  CASE WHEN c.relkind = 'v' THEN pg_catalog.pg_get_viewdef(c.oid) END,
  (SELECT pg_catalog.string_agg(i.inhrelid::pg_catalog.text, pg_catalog.chr(31))
     FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid),
  CASE WHEN c.relrowsecurity THEN
    (SELECT pg_catalog.string_agg(pg_catalog.pg_get_expr(p.polqual, p.polrelid), pg_catalog.chr(31))
       FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid AND p.polcmd IN ('r', '*')) END,
  (SELECT pg_catalog.string_agg(a.attname || pg_catalog.chr(30) || pg_catalog.format_type(a.atttypid, NULL),
                                pg_catalog.chr(31) ORDER BY a.attnum)
     FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  pg_catalog.concat_ws(pg_catalog.chr(31),
    (SELECT pg_catalog.string_agg(pg_catalog.pg_get_expr(d.adbin, d.adrelid), pg_catalog.chr(31))
       FROM pg_catalog.pg_attrdef d WHERE d.adrelid = c.oid),
    (SELECT pg_catalog.string_agg(pg_catalog.pg_get_constraintdef(k.oid), pg_catalog.chr(31))
       FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c'),
    (SELECT pg_catalog.string_agg(pg_catalog.pg_get_expr(x.indexprs, x.indrelid), pg_catalog.chr(31))
       FROM pg_catalog.pg_index x WHERE x.indrelid = c.oid AND x.indexprs IS NOT NULL)),
  (SELECT pg_catalog.string_agg(t.tgfoid::pg_catalog.oid::pg_catalog.text, pg_catalog.chr(31))
     FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
  (SELECT pg_catalog.string_agg(k.conrelid::pg_catalog.text, pg_catalog.chr(31))
     FROM pg_catalog.pg_constraint k WHERE k.confrelid = c.oid AND k.contype = 'f'
      AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))),
  EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type <> '1')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname !~ '^pg_(toast_)?temp_'";

/// Operators that are not part of Postgres.
const OPERATORS: &str = r"
SELECT 'operator', n.nspname, o.oprname,
  CASE WHEN o.oprleft <> 0 THEN pg_catalog.format_type(o.oprleft, NULL) END,
  CASE WHEN o.oprright <> 0 THEN pg_catalog.format_type(o.oprright, NULL) END,
  o.oprcode::pg_catalog.oid,
  (SELECT pg_catalog.string_agg(x.oprcode::pg_catalog.oid::pg_catalog.text, pg_catalog.chr(31))
     FROM pg_catalog.pg_operator x WHERE x.oid IN (o.oprcom, o.oprnegate))
FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
WHERE o.oid >= 16384 AND n.nspname !~ '^pg_temp_'";

/// Casts that are not part of Postgres.
const CASTS: &str = r"
SELECT 'cast', pg_catalog.format_type(c.castsource, NULL), pg_catalog.format_type(c.casttarget, NULL), c.castfunc, c.castcontext
FROM pg_catalog.pg_cast c WHERE c.oid >= 16384";

/// Types that are neither part of Postgres nor the row type or array type of something else.
const TYPES: &str = r"
SELECT 'type', n.nspname, t.typname, t.typtype,
  (SELECT pg_catalog.string_agg(pg_catalog.pg_get_constraintdef(k.oid), pg_catalog.chr(31))
     FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c'),
  CASE t.typtype
    WHEN 'd' THEN pg_catalog.format_type(t.typbasetype, NULL)
    WHEN 'c' THEN (SELECT pg_catalog.string_agg(pg_catalog.format_type(a.atttypid, NULL), pg_catalog.chr(31))
      FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)
    WHEN 'r' THEN (SELECT pg_catalog.format_type(r.rngsubtype, NULL) FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid)
  END
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
WHERE t.oid >= 16384 AND n.nspname !~ '^pg_(toast_)?temp_' AND n.nspname NOT IN ('pg_toast', 'information_schema')
  AND (t.typrelid = 0 OR c.relkind = 'c') AND NOT (t.typelem <> 0 AND t.typlen = -1)";

/// Functions of operator classes that are not part of Postgres.
const SUPPORTS: &str = r"
SELECT DISTINCT 'support', s.amproc::pg_catalog.oid FROM pg_catalog.pg_amproc s WHERE s.oid >= 16384";

/// Names of Postgres's own functions behind the operators, casts and aggregates above.
const BUILTINS: &str = r"
SELECT DISTINCT 'builtin', p.oid, p.proname FROM pg_catalog.pg_proc p WHERE p.oid < 16384 AND p.oid IN (
  SELECT o.oprcode::pg_catalog.oid FROM pg_catalog.pg_operator o WHERE o.oid >= 16384
    OR o.oid IN (SELECT x.y FROM pg_catalog.pg_operator u, LATERAL (VALUES (u.oprcom), (u.oprnegate)) x(y) WHERE u.oid >= 16384)
  UNION ALL SELECT s.amproc::pg_catalog.oid FROM pg_catalog.pg_amproc s WHERE s.oid >= 16384
  UNION ALL SELECT c.castfunc FROM pg_catalog.pg_cast c WHERE c.oid >= 16384
  UNION ALL SELECT x.f FROM pg_catalog.pg_aggregate a, LATERAL (VALUES (a.aggtransfn::pg_catalog.oid),
    (a.aggfinalfn::pg_catalog.oid), (a.aggcombinefn::pg_catalog.oid), (a.aggserialfn::pg_catalog.oid),
    (a.aggdeserialfn::pg_catalog.oid), (a.aggmtransfn::pg_catalog.oid), (a.aggminvtransfn::pg_catalog.oid),
    (a.aggmfinalfn::pg_catalog.oid)) x(f) WHERE a.aggfnoid::pg_catalog.oid >= 16384)";

const FINGERPRINT: &str = r"
SELECT pg_catalog.hashtextextended(pg_catalog.concat_ws(' ',
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(c.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_class c WHERE c.oid >= 16384 AND c.relpersistence <> 't' AND c.relkind <> 't'),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(p.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_proc p WHERE p.oid >= 16384),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(o.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_operator o WHERE o.oid >= 16384),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(c.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_cast c WHERE c.oid >= 16384),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(s.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_amproc s WHERE s.oid >= 16384),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(t.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_type t WHERE t.oid >= 16384 AND t.typtype IN ('d', 'b', 'e', 'r', 'm') AND t.typelem = 0),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(k.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_constraint k WHERE k.oid >= 16384),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(r.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_rewrite r WHERE r.oid >= 16384),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(p.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_policy p),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(t.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(i.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_inherits i),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(n.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_namespace n WHERE n.nspname !~ '^pg_(toast_)?temp_'),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(a.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_attrdef a)
), 0)";

/// One row of an answer; what is NULL or missing reads as empty.
struct Columns<'a>(&'a SimpleQueryRow);

impl Columns<'_> {
    fn optional(&self, at: usize) -> Option<String> {
        self.0.try_get(at).ok().flatten().map(str::to_owned)
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

    fn oids(&self, at: usize) -> Vec<u32> {
        self.list(at).iter().filter_map(|text| text.parse().ok()).filter(|oid| *oid != 0).collect()
    }
}

fn take(row: &Columns<'_>, rows: &mut Rows) {
    match row.text(0).as_str() {
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
            checks: row.list(4),
            parts: row.list(5),
            functions: vec![],
        }),
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
        default_exprs: row.optional(12),
        search_path: path.map(router_rules::rehearse::split_list),
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
        policies: row.list(8),
        columns: row.list(9).into_iter().filter_map(column).collect(),
        expressions: row.list(10),
        triggers: row.oids(11),
        cascades: row.oids(12),
        rules: row.truth(13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_of_a_standard_function_is_what_runs() {
        let text = "CREATE OR REPLACE FUNCTION public.f(i bigint)\n RETURNS numeric\n LANGUAGE sql\n STABLE\nRETURN (SELECT 1)\n";
        assert_eq!(standard_body(text).as_deref(), Some("RETURN (SELECT 1)\n"));
        let text = "CREATE OR REPLACE FUNCTION public.f()\n RETURNS int\n LANGUAGE sql\nBEGIN ATOMIC\n SELECT 1;\nEND\n";
        assert!(standard_body(text).is_some_and(|body| body.starts_with("BEGIN ATOMIC")));
        assert_eq!(standard_body("CREATE OR REPLACE FUNCTION f()"), None);
    }
}
