//! What the classifier knows of a database: a snapshot of its catalog.
//!
//! The built-ins of `pg_catalog` are known by list (`builtins`); a snapshot adds what users and
//! extensions made: functions, relations, operators, casts, types. It is plain data plus look-up
//! tables; what it *means* for a statement is worked out in `resolve`.

use crate::ahead;
use crate::analyse::Analysis;
use crate::builtins;
use crate::changed::NamesInDoubt;
use crate::resolve::extensions;
use crate::statement::Footprint;
use foldhash::{HashMap, HashSet};
use std::collections::hash_map::Entry;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

/// Stands for a text that was not read, because it is too long: it has no tokens, so that nothing is proved
/// by it, and whatever leads to it may do anything.
pub const UNREAD: &str = "'";

/// One user-defined function, procedure or aggregate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Function {
    /// `pg_proc.oid`.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Types of the input arguments as `format_type` spells them with an empty `search_path`.
    pub args: Vec<String>,
    /// How many of the last arguments have defaults.
    pub defaults: usize,
    /// The default expressions as SQL, separated by commas.
    pub default_exprs: Option<String>,
    /// The last argument is VARIADIC.
    pub variadic: bool,
    /// The type of the result, spelt like `args`.
    pub returns: String,
    /// `i`, `s` or `v`.
    pub volatility: char,
    /// `sql`, `plpgsql`, `c`, `internal`, ….
    pub language: String,
    /// `f` function, `p` procedure, `a` aggregate, `w` window function.
    pub kind: char,
    /// The body's text: SQL and PL/pgSQL source, or the C symbol; `None` when it is not known.
    pub body: Option<String>,
    /// `search_path` from its SET clause.
    pub search_path: Option<Vec<String>>,
    /// The names of what its SET clauses set beside `search_path`.
    pub sets: Vec<String>,
    /// SECURITY DEFINER: the owner, as whom it runs.
    pub definer: Option<String>,
    /// The extension that it belongs to.
    pub extension: Option<String>,
    /// Of an aggregate: the type of its state, spelt like `args`.
    pub state: String,
    /// Of an aggregate: the functions that it is made of, by OID (built-in ones included).
    pub parts: Vec<u32>,
}

/// One relation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Relation {
    /// `pg_class.oid`.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `pg_class.relkind`: `r` table, `p` partitioned table, `v` view, `m` materialised view,
    /// `S` sequence, `f` foreign table, `i` index, `c` composite type, `t` TOAST table.
    pub kind: char,
    /// `pg_class.relpersistence`: `p` permanent, `u` unlogged, `t` temporary.
    pub persistence: char,
    /// Of a view: its query, every name schema-qualified; `None` when it is not known.
    pub definition: Option<String>,
    /// Partitions and inheritance children (direct ones), by OID.
    pub children: Vec<u32>,
    /// Row-level security policies' expressions that apply to SELECT, when it is enabled.
    pub policies: Vec<String>,
    /// Names and types (spelt like function arguments) of the columns.
    pub columns: Vec<(String, String)>,
    /// Expressions that a write evaluates: defaults, generated columns, CHECK constraints.
    pub expressions: Vec<String>,
    /// Functions of its triggers (not the internal ones), by OID.
    pub triggers: Vec<u32>,
    /// Tables whose rows change when rows here do: foreign keys that cascade, by OID.
    pub cascades: Vec<u32>,
    /// Tables with foreign keys to this one, by OID.
    pub referrers: Vec<u32>,
    /// It has rewrite rules beside a view's own.
    pub rules: bool,
    /// Those rules as SQL; empty where they are not known.
    pub actions: Vec<String>,
}

/// One user-defined operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Operator {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Type of the left operand; `None` for a prefix operator.
    pub left: Option<String>,
    /// Type of the right operand.
    pub right: Option<String>,
    /// The function behind it, by OID (may be a built-in one).
    pub function: u32,
    /// Those behind its commutator and negator, by which the planner may replace it.
    pub partners: Vec<u32>,
}

/// One user-defined cast.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cast {
    /// Source type.
    pub source: String,
    /// Target type.
    pub target: String,
    /// The function behind it, by OID (may be a built-in one); 0 for one that needs none.
    pub function: u32,
    /// `e` explicit only, `a` in assignments, `i` implicitly.
    pub usage: char,
}

/// One user-defined type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Type {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// `pg_type.typtype`: `d` domain, `c` composite, `b` base, `e` enum, `r` range, `m` multirange.
    pub kind: char,
    /// Of a domain: its CHECK constraints as SQL.
    pub checks: Vec<String>,
    /// Types that it is made of: a domain's base, a composite's columns, a range's element.
    pub parts: Vec<String>,
    /// Of a base type: its input and output functions, by OID (built-in ones left out).
    pub functions: Vec<u32>,
}

/// All that was read from a database, before look-up tables are built over it.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Functions, procedures, aggregates outside `pg_catalog` and `information_schema`, and those
    /// that somebody added to `pg_catalog`.
    pub functions: Vec<Function>,
    /// Relations outside `pg_catalog`, `information_schema` and `pg_toast`.
    pub relations: Vec<Relation>,
    /// User-defined operators.
    pub operators: Vec<Operator>,
    /// User-defined casts.
    pub casts: Vec<Cast>,
    /// User-defined types.
    pub types: Vec<Type>,
    /// Functions that changes of the schema run, by OID.
    pub event_triggers: Vec<u32>,
    /// Functions by which user-defined operator classes compare and hash, by OID.
    pub supports: Vec<u32>,
    /// Names of the built-in functions that the rows above refer to by OID.
    pub builtins: Vec<(u32, String)>,
}

/// A snapshot of one database's catalog, read from the primary.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Grows with each snapshot that differs from the one before; part of every cache key.
    pub generation: u64,
    /// What a name that is not in the snapshot means.
    unknown: Unknown,
    /// A function that is neither here nor built in does not exist.
    complete: bool,
    tables: Arc<Tables>,
    doubts: NamesInDoubt,
    /// What running its objects leads to, as far as that was asked for.
    pub(crate) known: crate::reach::Known,
    pub(crate) memo: Mutex<HashMap<(u32, u64), Arc<crate::resolve::Outcome>>>,
}

/// What was read, with its look-up tables: the same for all snapshots that differ by their doubts only.
#[derive(Debug, Default)]
pub struct Tables {
    /// Some function's body has a backslash, which means one thing or another by
    /// `standard_conforming_strings` as it is when the function runs.
    pub(crate) bodies_escape: bool,
    /// Some IMMUTABLE function reads what a session has set, so that plans hold values of that session.
    plans_hold_settings: bool,
    /// There is something that works outside of the transaction that it is called in.
    reaches_elsewhere: bool,
    /// Some view shows settings: an UPDATE of it may be a SET.
    pub(crate) shows_settings: bool,
    pub(crate) rows: Rows,
    functions: HashMap<Box<str>, Vec<u32>>,
    functions_by_oid: HashMap<u32, u32>,
    relations: HashMap<Box<str>, Vec<u32>>,
    relations_by_oid: HashMap<u32, u32>,
    operators: HashMap<Box<str>, Vec<u32>>,
    types: HashMap<Box<str>, Vec<u32>>,
    builtins: HashMap<u32, Box<str>>,
}

impl Deref for Catalog {
    type Target = Tables;

    fn deref(&self) -> &Tables {
        &self.tables
    }
}

/// What a name that is not in the snapshot means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// Something that was made after the snapshot: to the primary.
    #[default]
    Primary,
    /// The same, but the snapshot is a sketch in the short form: it holds no types, no bodies and
    /// no definitions. Types and views are taken for harmless ones, IMMUTABLE functions for what
    /// they say, and its objects are visible whatever the `search_path`.
    Sketch,
    /// Relations are ordinary permanent tables: an application's log without its schema.
    OrdinaryTables,
}

impl Tables {
    fn over(rows: Rows) -> Self {
        let mut tables = Tables::default();
        for (at, f) in rows.functions.iter().enumerate() {
            tables.functions.entry(f.name.as_str().into()).or_default().push(at as u32);
            if f.oid != 0 {
                tables.functions_by_oid.insert(f.oid, at as u32);
            }
        }
        for (at, r) in rows.relations.iter().enumerate() {
            tables.relations.entry(r.name.as_str().into()).or_default().push(at as u32);
            if r.oid != 0 {
                tables.relations_by_oid.insert(r.oid, at as u32);
            }
        }
        for (at, o) in rows.operators.iter().enumerate() {
            tables.operators.entry(o.name.as_str().into()).or_default().push(at as u32);
        }
        for (at, t) in rows.types.iter().enumerate() {
            tables.types.entry(t.name.as_str().into()).or_default().push(at as u32);
        }
        for (oid, name) in &rows.builtins {
            tables.builtins.insert(*oid, name.as_str().into());
        }
        tables.bodies_escape = rows.functions.iter().any(|f| {
            matches!(&*f.language, "sql" | "plpgsql") && f.body.as_ref().is_some_and(|b| b.contains('\\'))
        });
        tables.plans_hold_settings = ahead::may_hold_settings(&rows);
        tables.reaches_elsewhere = rows.relations.iter().any(|relation| relation.kind == 'f')
            || rows.functions.iter().any(extensions::may_reach_elsewhere);
        let shows = |definition: &String| definition.contains("pg_settings");
        tables.shows_settings = rows.relations.iter().any(|r| r.definition.as_ref().is_some_and(shows));
        tables.rows = rows;
        tables
    }
}

impl Catalog {
    /// Builds the look-up tables over what was read.
    pub fn build(rows: Rows, generation: u64) -> Self {
        Catalog { generation, tables: Arc::new(Tables::over(rows)), ..Catalog::default() }
    }

    /// The same snapshot as far as it still holds: what any of these names means has changed since it was read.
    pub fn doubting(&self, names: impl IntoIterator<Item = Arc<str>>, generation: u64) -> Self {
        Catalog {
            generation,
            unknown: self.unknown,
            complete: self.complete,
            tables: self.tables.clone(),
            doubts: self.doubts.with(names),
            ..Catalog::default()
        }
    }

    /// The names of which it does not know any more what they mean.
    pub fn doubts(&self) -> &NamesInDoubt {
        &self.doubts
    }

    /// Knows the built-ins only; every other name is unknown, as `unknown` says.
    pub fn offline(unknown: Unknown) -> Self {
        Catalog { unknown, ..Catalog::default() }
    }

    /// Knows the built-ins and what `functions` and `relations` name, in the short form
    /// `schema.name(args):provolatile:language:prokind` and `schema.name:relkind:relpersistence`.
    /// Bodies and view definitions are not known, so neither are they trusted.
    pub fn from_short_form<'a>(
        functions: impl IntoIterator<Item = &'a str>,
        relations: impl IntoIterator<Item = &'a str>,
        unknown: Unknown,
    ) -> Self {
        let rows = Rows {
            functions: functions.into_iter().filter_map(short_function).collect(),
            relations: relations.into_iter().filter_map(short_relation).collect(),
            ..Rows::default()
        };
        Catalog { unknown, ..Catalog::build(rows, 0) }
    }

    /// The same snapshot, where names that it does not hold mean `unknown`.
    pub fn assuming(mut self, unknown: Unknown) -> Self {
        self.unknown = unknown;
        self
    }

    /// The same snapshot, known to hold every function that is asked for: Postgres refuses a call of
    /// any other, whichever node is asked.
    pub fn complete(mut self) -> Self {
        self.complete = true;
        self
    }

    pub(crate) fn lacks_function(&self, name: &str) -> bool {
        self.complete && builtins::is_no_function(name) && self.functions(name).next().is_none()
    }

    /// What a name that is not in the snapshot means.
    pub fn unknown(&self) -> Unknown {
        self.unknown
    }

    /// Some IMMUTABLE function reads what a session has set, so that plans hold values of that session.
    pub fn plans_hold_settings(&self) -> bool {
        self.plans_hold_settings
    }

    /// There is something that works outside of the transaction that it is called in: a foreign table, or a function
    /// in a language that may open connections of its own.
    pub fn reaches_elsewhere(&self) -> bool {
        self.reaches_elsewhere
    }

    /// To write to what is called so may be to SET something.
    pub(crate) fn may_be_settings(&self, name: &str) -> bool {
        name == "pg_settings" || (self.shows_settings && self.relations(name).any(|r| r.kind == 'v'))
    }

    /// True when somebody has made an implicit cast between these types.
    pub(crate) fn casts_implicitly(&self, from: &str, to: &str) -> bool {
        self.rows.casts.iter().any(|cast| cast.usage == 'i' && cast.source == from && cast.target == to)
    }

    /// True when there are types whose values somebody's own code checks or reads.
    pub(crate) fn values_are_checked(&self) -> bool {
        self.rows.types.iter().any(|t| !matches!(t.kind, 'e' | 'c'))
    }

    /// The user-defined operators of that name.
    pub(crate) fn operators(&self, name: &str) -> impl Iterator<Item = &Operator> {
        self.operators.get(name).into_iter().flatten().map(|&at| &self.rows.operators[at as usize])
    }

    pub(crate) fn functions(&self, name: &str) -> impl Iterator<Item = &Function> {
        self.functions.get(name).into_iter().flatten().map(|&at| &self.rows.functions[at as usize])
    }

    pub(crate) fn relations(&self, name: &str) -> impl Iterator<Item = &Relation> {
        self.relations.get(name).into_iter().flatten().map(|&at| &self.rows.relations[at as usize])
    }

    pub(crate) fn types(&self, name: &str) -> impl Iterator<Item = &Type> {
        self.types.get(name).into_iter().flatten().map(|&at| &self.rows.types[at as usize])
    }

    pub(crate) fn places_of_functions(&self, name: &str) -> &[u32] {
        self.functions.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn places_of_relations(&self, name: &str) -> &[u32] {
        self.relations.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn places_of_types(&self, name: &str) -> &[u32] {
        self.types.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn place_of_function(&self, oid: u32) -> Option<u32> {
        self.functions_by_oid.get(&oid).copied()
    }

    pub(crate) fn place_of_relation(&self, oid: u32) -> Option<u32> {
        self.relations_by_oid.get(&oid).copied()
    }

    /// Roughly the bytes that it takes, without what is found out about it later.
    pub fn bytes(&self) -> usize {
        const OBJECT: usize = 400;
        let rows = &self.rows;
        let list = |texts: &[String]| texts.iter().map(|text| text.len() + 24).sum::<usize>();
        let functions = rows.functions.iter().map(|f| {
            list(&f.args)
                + f.body.as_ref().map_or(0, String::len)
                + f.default_exprs.as_ref().map_or(0, String::len)
        });
        let relations = rows.relations.iter().map(|r| {
            r.definition.as_ref().map_or(0, String::len)
                + list(&r.policies)
                + list(&r.expressions)
                + list(&r.actions)
                + r.columns.iter().map(|(name, kind)| name.len() + kind.len() + 48).sum::<usize>()
                + 4 * (r.children.len() + r.triggers.len() + r.cascades.len())
        });
        let types = rows.types.iter().map(|t| list(&t.checks) + list(&t.parts));
        let objects = rows.functions.len()
            + rows.relations.len()
            + rows.operators.len()
            + rows.casts.len()
            + rows.types.len()
            + rows.supports.len()
            + rows.builtins.len();
        functions.chain(relations).chain(types).sum::<usize>() + objects * OBJECT
    }

    pub(crate) fn function_by_oid(&self, oid: u32) -> Option<&Function> {
        self.functions_by_oid.get(&oid).map(|&at| &self.rows.functions[at as usize])
    }

    pub(crate) fn builtin_by_oid(&self, oid: u32) -> Option<&str> {
        self.builtins.get(&oid).map(|name| &**name)
    }

    pub(crate) fn relation_by_oid(&self, oid: u32) -> Option<&Relation> {
        self.relations_by_oid.get(&oid).map(|&at| &self.rows.relations[at as usize])
    }

    /// What a write to `relation` may change: itself, its partitions and children, and what
    /// foreign keys and triggers lead to.
    pub(crate) fn written_with(&self, relation: &Relation, analysis: &Analysis<'_>) -> Footprint {
        let mut oids: HashSet<u32> = HashSet::default();
        let mut todo = vec![relation];
        while let Some(relation) = todo.pop() {
            if relation.oid == 0 || !matches!(relation.kind, 'r' | 'p' | 'v') || relation.rules {
                return Footprint::Everything;
            }
            if !oids.insert(relation.oid) {
                continue;
            }
            if analysis.effort.take(1 + relation.children.len() + relation.cascades.len()).is_err() {
                return Footprint::Everything;
            }
            let mut resolver = analysis.resolver(self).of_writes();
            if !resolver.evaluates_harmlessly(relation) {
                return Footprint::Everything;
            }
            if relation.kind == 'v' {
                // It passes a write on to what it reads, of which it reads the rest.
                match resolver.relations_of_view(relation) {
                    Some(behind) => todo.extend(behind),
                    None => return Footprint::Everything,
                }
            }
            for oid in relation.children.iter().chain(&relation.cascades) {
                match self.relation_by_oid(*oid) {
                    Some(next) => todo.push(next),
                    None => return Footprint::Everything,
                }
            }
        }
        let mut oids: Vec<u32> = oids.into_iter().collect();
        oids.sort_unstable();
        Footprint::Relations(oids.into())
    }

    /// Remembers an outcome of looking into an object; bounded, because DDL may rename for ever.
    pub(crate) fn remember(&self, key: (u32, u64), outcome: Arc<crate::resolve::Outcome>) {
        const MEMO_ENTRIES_MAX: usize = 20_000;
        let Ok(mut memo) = self.memo.lock() else { return };
        if memo.len() >= MEMO_ENTRIES_MAX {
            memo.clear();
        }
        match memo.entry(key) {
            Entry::Occupied(_) => {}
            Entry::Vacant(slot) => {
                slot.insert(outcome);
            }
        }
    }
}

/// `schema.name(args):provolatile:language:prokind`.
fn short_function(text: &str) -> Option<Function> {
    let mut parts = text.rsplitn(4, ':');
    let kind = parts.next()?.chars().next()?;
    let language = parts.next()?.to_string();
    let volatility = parts.next()?.chars().next()?;
    let signature = parts.next()?;
    let (name, args) = signature.split_once('(')?;
    let (schema, name) = name.split_once('.')?;
    Some(Function {
        schema: schema.trim_matches('"').to_string(),
        name: name.trim_matches('"').to_string(),
        args: input_types(args.strip_suffix(')').unwrap_or(args)),
        variadic: args.contains("VARIADIC "),
        // How many have defaults is not known: any.
        defaults: usize::MAX,
        volatility,
        language,
        kind,
        ..Function::default()
    })
}

/// The input types of `IN a integer, OUT b text, VARIADIC c text[]`.
fn input_types(args: &str) -> Vec<String> {
    args.split(", ")
        .filter(|arg| !arg.is_empty() && !arg.starts_with("OUT "))
        .map(|arg| {
            let arg = arg
                .strip_prefix("VARIADIC ")
                .or(arg.strip_prefix("INOUT "))
                .or(arg.strip_prefix("IN "))
                .unwrap_or(arg);
            arg.to_string()
        })
        .collect()
}

/// `schema.name:relkind:relpersistence`.
fn short_relation(text: &str) -> Option<Relation> {
    let mut parts = text.rsplitn(3, ':');
    let persistence = parts.next()?.chars().next()?;
    let kind = parts.next()?.chars().next()?;
    let (schema, name) = parts.next()?.split_once('.')?;
    Some(Relation {
        schema: schema.trim_matches('"').to_string(),
        name: name.trim_matches('"').to_string(),
        kind,
        persistence,
        ..Relation::default()
    })
}
