//! The questions by which a catalog is read.
//!
//! Every name is qualified, and none waits for a lock longer than the transaction allows. What somebody may
//! have made huge is measured before it is sent: texts that are too long, one by one or all together, come
//! as NULL with a mark, and of rows there are no more than [`CATALOG_ROWS_MAX`] of a kind, and one more to tell.

use crate::limits::{CATALOG_ROWS_MAX, CATALOG_TEXT_BYTES_MAX, CATALOG_TEXTS_BYTES_MAX};

/// How the columns of an answer are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// As text, which the server turns into UTF-8.
    Text,
    /// As the hexadecimal digits of its bytes: a database whose encoding is SQL_ASCII holds any.
    Hex,
}

/// All questions of a snapshot, and how many columns each answer has.
const ALL: [(&str, usize); 8] = [
    (FUNCTIONS, 19),
    (RELATIONS, 18),
    (OPERATORS, 7),
    (CASTS, 5),
    (TYPES, 7),
    (SUPPORTS, 2),
    (EVENT_TRIGGERS, 2),
    (BUILTINS, 3),
];

/// The script that reads a snapshot.
pub(super) fn script(spelling: Spelling) -> String {
    let mut script = BEGIN.to_owned();
    for (question, columns) in ALL {
        let question = question
            .replace(":text_max:", &CATALOG_TEXT_BYTES_MAX.to_string())
            .replace(":texts_max:", &CATALOG_TEXTS_BYTES_MAX.to_string())
            .replace(":rows_max:", &CATALOG_ROWS_MAX.to_string());
        script.push_str(";\n");
        match spelling {
            Spelling::Text => script.push_str(&question),
            Spelling::Hex => script.push_str(&in_hex(&question, columns)),
        }
    }
    script.push_str(";\nCOMMIT");
    script
}

fn in_hex(question: &str, columns: usize) -> String {
    let list = |write: fn(usize) -> String| (0..columns).map(write).collect::<Vec<_>>().join(", ");
    let names = list(|n| format!("c{n}"));
    let hex = list(|n| {
        format!("pg_catalog.encode(pg_catalog.convert_to(a.c{n}::pg_catalog.text, 'SQL_ASCII'), 'hex')")
    });
    format!("SELECT {hex} FROM ({question}) AS a({names})")
}

/// Begins the one transaction in which a catalog is read. What is deparsed (views, defaults) waits for
/// whoever is altering what it names, but not for long.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = pg_catalog; \
     SET LOCAL statement_timeout = '25s'; SET LOCAL lock_timeout = '500ms'";

/// Functions, procedures and aggregates that are not part of Postgres.
const FUNCTIONS: &str = r"
SELECT 'function', p.oid, n.nspname, p.proname,
  (SELECT pg_catalog.string_agg(pg_catalog.format_type(a.type, NULL), pg_catalog.chr(31) ORDER BY a.place)
     FROM pg_catalog.unnest(p.proargtypes::pg_catalog.oid[]) WITH ORDINALITY AS a(type, place)),
  p.pronargdefaults, p.provariadic <> 0, pg_catalog.format_type(p.prorettype, NULL), p.provolatile, p.lanname, p.prokind,
  CASE WHEN p.bytes <= :text_max: AND p.bytes_so_far <= :texts_max: THEN p.body END,
  CASE WHEN p.bytes <= :text_max: AND p.bytes_so_far <= :texts_max: THEN p.defaults END,
  pg_catalog.array_to_string(p.proconfig, pg_catalog.chr(31)),
  (SELECT e.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
    WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e'
      AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass LIMIT 1),
  pg_catalog.concat_ws(pg_catalog.chr(31), a.aggtransfn::pg_catalog.oid, a.aggfinalfn::pg_catalog.oid,
    a.aggcombinefn::pg_catalog.oid, a.aggserialfn::pg_catalog.oid, a.aggdeserialfn::pg_catalog.oid,
    a.aggmtransfn::pg_catalog.oid, a.aggminvtransfn::pg_catalog.oid, a.aggmfinalfn::pg_catalog.oid),
  CASE WHEN p.prosecdef THEN pg_catalog.pg_get_userbyid(p.proowner) END,
  pg_catalog.format_type(a.aggtranstype, NULL),
  p.bytes > :text_max: OR p.bytes_so_far > :texts_max:
FROM (SELECT m.*, pg_catalog.sum(least(m.bytes, :text_max:)) OVER (ORDER BY m.oid) AS bytes_so_far
  FROM (SELECT f.*, l.lanname, s.body, s.defaults,
      coalesce(pg_catalog.octet_length(s.body), 0) + coalesce(pg_catalog.octet_length(s.defaults), 0) AS bytes
    FROM pg_catalog.pg_proc f
    JOIN pg_catalog.pg_language l ON l.oid = f.prolang
    CROSS JOIN LATERAL (SELECT CASE WHEN f.prokind = 'a' THEN NULL
        WHEN l.lanname = 'sql' AND f.prosrc = '' THEN pg_catalog.pg_get_functiondef(f.oid)
        WHEN l.lanname IN ('sql', 'plpgsql', 'internal') THEN f.prosrc END AS body,
      pg_catalog.pg_get_expr(f.proargdefaults, 0) AS defaults) s
    WHERE f.oid >= 16384) m) p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
LEFT JOIN pg_catalog.pg_aggregate a ON a.aggfnoid = p.oid
WHERE n.nspname !~ '^pg_temp_' LIMIT :rows_max: + 1";

/// Tables, views, sequences and the like.
const RELATIONS: &str = r"
SELECT 'relation', r.oid, r.nspname, r.relname, r.relkind, r.relpersistence,
  CASE WHEN NOT r.cut THEN r.definition END, r.children, CASE WHEN NOT r.cut THEN r.policies END,
  CASE WHEN NOT r.cut THEN r.columns END, CASE WHEN NOT r.cut THEN r.expressions END, r.triggers, r.cascades,
  CASE WHEN NOT r.cut THEN r.rules END, CASE WHEN NOT r.cut THEN r.conditions END, r.has_rules, r.cut, r.referrers
FROM (SELECT m.*, m.bytes > :text_max:
    OR pg_catalog.sum(least(m.bytes, :text_max:)) OVER (ORDER BY m.oid) > :texts_max: AS cut
  FROM (SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, t.*,
      coalesce(pg_catalog.octet_length(t.definition), 0) + coalesce(pg_catalog.octet_length(t.policies), 0)
      + coalesce(pg_catalog.octet_length(t.columns), 0) + coalesce(pg_catalog.octet_length(t.expressions), 0)
      + coalesce(pg_catalog.octet_length(t.rules), 0) + coalesce(pg_catalog.octet_length(t.conditions), 0) AS bytes
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (SELECT
      CASE WHEN c.relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(c.oid) END AS definition,
      (SELECT pg_catalog.string_agg(i.inhrelid::pg_catalog.text, pg_catalog.chr(31))
         FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid) AS children,
      CASE WHEN c.relrowsecurity THEN
        (SELECT pg_catalog.string_agg(pg_catalog.pg_get_expr(p.polqual, p.polrelid), pg_catalog.chr(31))
           FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid AND p.polcmd IN ('r', '*')) END AS policies,
      (SELECT pg_catalog.string_agg(a.attname || pg_catalog.chr(30) || pg_catalog.format_type(a.atttypid, NULL),
                                    pg_catalog.chr(31) ORDER BY a.attnum)
         FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
      pg_catalog.concat_ws(pg_catalog.chr(31),
        (SELECT pg_catalog.string_agg(pg_catalog.pg_get_expr(d.adbin, d.adrelid), pg_catalog.chr(31))
           FROM pg_catalog.pg_attrdef d WHERE d.adrelid = c.oid),
        (SELECT pg_catalog.string_agg(pg_catalog.pg_get_constraintdef(k.oid), pg_catalog.chr(31))
           FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c'),
        (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(pg_catalog.chr(31), pg_catalog.pg_get_expr(x.indexprs, x.indrelid),
                                                           pg_catalog.pg_get_expr(x.indpred, x.indrelid)), pg_catalog.chr(31))
           FROM pg_catalog.pg_index x WHERE x.indrelid = c.oid AND (x.indexprs IS NOT NULL OR x.indpred IS NOT NULL)),
        (SELECT pg_catalog.pg_get_expr(q.partexprs, q.partrelid) FROM pg_catalog.pg_partitioned_table q WHERE q.partrelid = c.oid),
        CASE WHEN c.relrowsecurity THEN
          (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(pg_catalog.chr(31), pg_catalog.pg_get_expr(p.polqual, p.polrelid),
                                                             pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)), pg_catalog.chr(31))
             FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid) END) AS expressions,
      (SELECT pg_catalog.string_agg(g.tgfoid::pg_catalog.oid::pg_catalog.text, pg_catalog.chr(31))
         FROM pg_catalog.pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal) AS triggers,
      (SELECT pg_catalog.string_agg(pg_catalog.pg_get_triggerdef(g.oid), pg_catalog.chr(31))
         FROM pg_catalog.pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgqual IS NOT NULL) AS conditions,
      (SELECT pg_catalog.string_agg(k.conrelid::pg_catalog.text, pg_catalog.chr(31))
         FROM pg_catalog.pg_constraint k WHERE k.confrelid = c.oid AND k.contype = 'f'
          AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))) AS cascades,
      (SELECT pg_catalog.string_agg(DISTINCT k.conrelid::pg_catalog.text, pg_catalog.chr(31))
         FROM pg_catalog.pg_constraint k WHERE k.confrelid = c.oid AND k.contype = 'f') AS referrers,
      (SELECT pg_catalog.string_agg(pg_catalog.pg_get_ruledef(w.oid), pg_catalog.chr(31))
         FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid AND w.ev_type <> '1') AS rules,
      EXISTS (SELECT FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid AND w.ev_type <> '1') AS has_rules) t
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
      AND n.nspname !~ '^pg_(toast_)?temp_') m) r
LIMIT :rows_max: + 1";

/// Operators that are not part of Postgres.
const OPERATORS: &str = r"
SELECT 'operator', n.nspname, o.oprname,
  CASE WHEN o.oprleft <> 0 THEN pg_catalog.format_type(o.oprleft, NULL) END,
  CASE WHEN o.oprright <> 0 THEN pg_catalog.format_type(o.oprright, NULL) END,
  o.oprcode::pg_catalog.oid,
  (SELECT pg_catalog.string_agg(x.oprcode::pg_catalog.oid::pg_catalog.text, pg_catalog.chr(31))
     FROM pg_catalog.pg_operator x WHERE x.oid IN (o.oprcom, o.oprnegate))
FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
WHERE o.oid >= 16384 AND n.nspname !~ '^pg_temp_' LIMIT :rows_max: + 1";

/// Casts that are not part of Postgres.
const CASTS: &str = r"
SELECT 'cast', pg_catalog.format_type(c.castsource, NULL), pg_catalog.format_type(c.casttarget, NULL), c.castfunc, c.castcontext
FROM pg_catalog.pg_cast c WHERE c.oid >= 16384 LIMIT :rows_max: + 1";

/// Types that are neither part of Postgres nor the row type or array type of something else.
const TYPES: &str = r"
SELECT 'type', n.nspname, t.typname, t.typtype,
  CASE WHEN pg_catalog.octet_length(h.checks) <= :text_max: THEN h.checks END,
  CASE t.typtype
    WHEN 'd' THEN pg_catalog.format_type(t.typbasetype, NULL)
    WHEN 'c' THEN (SELECT pg_catalog.string_agg(pg_catalog.format_type(a.atttypid, NULL), pg_catalog.chr(31))
      FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)
    WHEN 'r' THEN (SELECT pg_catalog.format_type(r.rngsubtype, NULL) FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid)
  END,
  pg_catalog.octet_length(h.checks) > :text_max:
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
CROSS JOIN LATERAL (SELECT pg_catalog.string_agg(pg_catalog.pg_get_constraintdef(k.oid), pg_catalog.chr(31)) AS checks
  FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c') h
WHERE t.oid >= 16384 AND n.nspname !~ '^pg_(toast_)?temp_' AND n.nspname NOT IN ('pg_toast', 'information_schema')
  AND (t.typrelid = 0 OR c.relkind = 'c') AND NOT (t.typelem <> 0 AND t.typlen = -1) LIMIT :rows_max: + 1";

/// Functions of operator classes that are not part of Postgres.
const SUPPORTS: &str = r"
SELECT DISTINCT 'support', s.amproc::pg_catalog.oid FROM pg_catalog.pg_amproc s WHERE s.oid >= 16384 LIMIT :rows_max: + 1";

/// Functions that DDL runs.
const EVENT_TRIGGERS: &str = "SELECT 'event trigger', e.evtfoid FROM pg_catalog.pg_event_trigger e WHERE e.evtenabled <> 'D' LIMIT :rows_max: + 1";

/// Names of Postgres's own functions behind the operators, casts and aggregates above.
const BUILTINS: &str = r"
SELECT DISTINCT 'builtin', p.oid, p.proname FROM pg_catalog.pg_proc p WHERE p.oid < 16384 AND p.oid IN (
  SELECT o.oprcode::pg_catalog.oid FROM pg_catalog.pg_operator o WHERE o.oid >= 16384
    OR o.oid IN (SELECT x.y FROM pg_catalog.pg_operator u, LATERAL (VALUES (u.oprcom), (u.oprnegate)) x(y) WHERE u.oid >= 16384)
  UNION ALL SELECT s.amproc::pg_catalog.oid FROM pg_catalog.pg_amproc s WHERE s.oid >= 16384
  UNION ALL SELECT e.evtfoid FROM pg_catalog.pg_event_trigger e
  UNION ALL SELECT g.tgfoid FROM pg_catalog.pg_trigger g WHERE NOT g.tgisinternal
  UNION ALL SELECT c.castfunc FROM pg_catalog.pg_cast c WHERE c.oid >= 16384
  UNION ALL SELECT x.f FROM pg_catalog.pg_aggregate a, LATERAL (VALUES (a.aggtransfn::pg_catalog.oid),
    (a.aggfinalfn::pg_catalog.oid), (a.aggcombinefn::pg_catalog.oid), (a.aggserialfn::pg_catalog.oid),
    (a.aggdeserialfn::pg_catalog.oid), (a.aggmtransfn::pg_catalog.oid), (a.aggminvtransfn::pg_catalog.oid),
    (a.aggmfinalfn::pg_catalog.oid)) x(f) WHERE a.aggfnoid::pg_catalog.oid >= 16384)";

/// Without what is temporary: it comes and goes, and nobody else sees it.
pub(super) const FINGERPRINT: &str = r"
WITH temporary AS MATERIALIZED (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname ~ '^pg_(toast_)?temp_'),
  passing AS MATERIALIZED (SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relpersistence = 't')
SELECT pg_catalog.hashtextextended(pg_catalog.concat_ws(' ',
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(c.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_class c WHERE c.oid >= 16384 AND c.relpersistence <> 't' AND c.relkind <> 't'),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(p.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_proc p WHERE p.oid >= 16384 AND p.pronamespace NOT IN (SELECT n.oid FROM temporary n)),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(o.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_operator o WHERE o.oid >= 16384),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(c.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_cast c WHERE c.oid >= 16384),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(s.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_amproc s WHERE s.oid >= 16384),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(t.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_type t WHERE t.oid >= 16384 AND t.typtype IN ('d', 'b', 'e', 'r', 'm') AND t.typelem = 0
       AND t.typnamespace NOT IN (SELECT n.oid FROM temporary n)),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(k.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_constraint k WHERE k.oid >= 16384 AND k.connamespace NOT IN (SELECT n.oid FROM temporary n)),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(r.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_rewrite r WHERE r.oid >= 16384 AND r.ev_class NOT IN (SELECT c.oid FROM passing c)),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(p.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_policy p),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(t.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal AND t.tgrelid NOT IN (SELECT c.oid FROM passing c)),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(e.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_event_trigger e),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(i.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_inherits i WHERE i.inhrelid NOT IN (SELECT c.oid FROM passing c)),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(n.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_namespace n WHERE n.nspname !~ '^pg_(toast_)?temp_'),
  (SELECT pg_catalog.concat(pg_catalog.count(*), ':', pg_catalog.sum(a.xmin::pg_catalog.text::pg_catalog.int8))
     FROM pg_catalog.pg_attrdef a WHERE a.adrelid NOT IN (SELECT c.oid FROM passing c))
), 0)";
