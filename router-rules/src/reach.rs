//! What running something reaches: what it may leave behind in its session, and which relations and
//! functions it works on.
//!
//! A statement runs more than it says: defaults, checks, triggers, rules, policies, views, operators, casts,
//! domains, event triggers, and the functions behind all of them. Each object of the catalog is a node of a
//! graph, which is walked from what the statement names. Names are taken for whatever they may mean under
//! any `search_path`, so that what was found out holds for every session, once per snapshot. What cannot be
//! read may do anything.

mod executed;
mod left;
mod text;

pub(crate) use left::Left;
use text::{Direct, Finder};
pub(crate) use text::{names_mentioned, of_block, of_statement, of_utility, of_writing};

use crate::builtins;
use crate::catalog::{Catalog, Function, Relation, Unknown};
use crate::effects;
use crate::effort::Effort;
use crate::statement::SessionEffect;
use crate::walk::Text;
use foldhash::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

/// Something of the catalog, by its place among its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Node {
    /// A function is called.
    Function(u32),
    /// A relation is read.
    Read(u32),
    /// A relation is written to: its triggers, rules, defaults, checks and policies run.
    Write(u32),
    /// A value of a type is made.
    Type(u32),
    /// A row of a relation's type is made.
    Row(u32),
    /// The schema is changed: event triggers run.
    Ddl,
    /// Any relation may be worked on, as ANALYZE does without a name.
    Everything,
    /// Rows of some relation are read or changed whose name shows when that is done: what that leaves behind counts, and
    /// no name is listed for it.
    Somewhere,
}

/// What something reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// What it may leave behind in its session.
    pub left: Left,
    /// Settings that it gives values that only the server knows.
    pub sets: Vec<SessionEffect>,
    /// More than is listed here may be worked on.
    pub unknown: bool,
    /// Qualified names of the relations.
    pub relations: Vec<Arc<str>>,
    /// Qualified names of the functions.
    pub functions: Vec<Arc<str>>,
}

impl Reach {
    fn take_over(&mut self, sets: &[SessionEffect]) {
        sets.iter().for_each(|effect| effects::push(&mut self.sets, effect.clone()));
    }

    /// What it leaves behind, as effects of a statement.
    pub fn effects(&self) -> impl Iterator<Item = SessionEffect> {
        self.left.effects().chain(self.sets.iter().cloned())
    }
}

/// What was found out about a catalog's nodes.
#[derive(Debug, Default)]
pub(crate) struct Known {
    direct: Mutex<HashMap<Node, Arc<Direct>>>,
    reached: Mutex<HashMap<Node, Arc<Reach>>>,
}

/// Nodes whose reach is remembered.
const REMEMBERED_MAX: usize = 20_000;

/// What all of `roots` together reach.
pub(crate) fn reach(catalog: &Catalog, roots: &[Node], effort: &Effort) -> Reach {
    match roots {
        [] => Reach::default(),
        [root] => Reach::clone(&reach_of_one(catalog, *root, effort)),
        many => {
            let mut all = Reach::default();
            for root in many {
                let reached = reach_of_one(catalog, *root, effort);
                all.left |= reached.left;
                all.take_over(&reached.sets);
                all.unknown |= reached.unknown;
                all.relations.extend(reached.relations.iter().cloned());
                all.functions.extend(reached.functions.iter().cloned());
            }
            all.relations.sort_unstable();
            all.relations.dedup();
            all.functions.sort_unstable();
            all.functions.dedup();
            all
        }
    }
}

fn reach_of_one(catalog: &Catalog, root: Node, effort: &Effort) -> Arc<Reach> {
    if let Some(known) = catalog.known.reached.lock().ok().and_then(|known| known.get(&root).cloned()) {
        // Whoever takes it over goes through its names.
        let _ = effort.take(1 + known.relations.len() + known.functions.len());
        return known;
    }
    let mut reach = Reach::default();
    let mut seen: HashSet<Node> = HashSet::default();
    let mut todo = vec![root];
    let mut somewhere = false;
    seen.insert(root);
    loop {
        let Some(node) = todo.pop() else {
            if somewhere || !seen.contains(&Node::Somewhere) {
                break;
            }
            somewhere = true;
            todo.extend(of_some_rows(catalog).filter(|next| seen.insert(*next)));
            continue;
        };
        if effort.take(NODE_STEPS).is_err() {
            break;
        }
        if is_in_doubt(catalog, node) {
            effort.meet_doubt();
            break;
        }
        let direct = direct(catalog, node, effort);
        reach.left |= direct.left;
        reach.take_over(&direct.sets);
        reach.unknown |= direct.unknown;
        match node {
            _ if somewhere => {}
            Node::Function(at) => {
                reach.functions.extend(catalog.rows.functions.get(at as usize).map(name_of_function))
            }
            Node::Read(at) | Node::Write(at) => {
                reach.relations.extend(catalog.rows.relations.get(at as usize).map(name_of_relation));
            }
            _ => {}
        }
        todo.extend(direct.edges.iter().copied().filter(|next| seen.insert(*next)));
    }
    if !effort.is_certain() {
        return Arc::new(Reach { left: Left::ANYTHING, unknown: true, ..reach });
    }
    reach.relations.sort_unstable();
    reach.relations.dedup();
    let reach = Arc::new(reach);
    if let Ok(mut known) = catalog.known.reached.lock() {
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(root, reach.clone());
    }
    reach
}

/// What rows of some relation may lead to, with columns of some names and values of some types.
fn of_some_rows(catalog: &Catalog) -> impl Iterator<Item = Node> {
    let rows = &catalog.rows;
    let relations = (0..rows.relations.len() as u32).flat_map(|at| [Node::Read(at), Node::Write(at)]);
    // A function of a row is written as a column of it.
    let of_row = |function: &Function| matches!(function.args.as_slice(), [one] if one.contains('.'));
    let functions = rows.functions.iter().enumerate().filter(move |(_, function)| of_row(function));
    let functions = functions.map(|(at, _)| Node::Function(at as u32));
    relations.chain(functions).chain((0..rows.types.len() as u32).map(Node::Type))
}

/// What it is has changed since the catalog was read.
fn is_in_doubt(catalog: &Catalog, node: Node) -> bool {
    let (doubts, rows) = (catalog.doubts(), &catalog.rows);
    let name = match node {
        _ if doubts.is_empty() => return false,
        Node::Function(at) => rows.functions.get(at as usize).map(|function| &function.name),
        Node::Read(at) | Node::Write(at) | Node::Row(at) => {
            rows.relations.get(at as usize).map(|relation| &relation.name)
        }
        Node::Type(at) => rows.types.get(at as usize).map(|found| &found.name),
        Node::Ddl | Node::Everything | Node::Somewhere => None,
    };
    name.is_some_and(|name| doubts.has(name))
}

/// What it takes to come by a node.
const NODE_STEPS: usize = 4;

fn name_of_function(function: &Function) -> Arc<str> {
    format!("{}.{}", function.schema, function.name).into()
}

pub(super) fn name_of_relation(relation: &Relation) -> Arc<str> {
    format!("{}.{}", relation.schema, relation.name).into()
}

/// What a node does itself, and where it leads.
fn direct(catalog: &Catalog, node: Node, effort: &Effort) -> Arc<Direct> {
    if let Some(known) = catalog.known.direct.lock().ok().and_then(|known| known.get(&node).cloned()) {
        return known;
    }
    let mut finder = Finder::new(catalog, effort);
    match node {
        Node::Function(at) => of_function(&mut finder, &catalog.rows.functions[at as usize]),
        Node::Read(at) => of_read(&mut finder, &catalog.rows.relations[at as usize]),
        Node::Write(at) => of_write(&mut finder, at, &catalog.rows.relations[at as usize]),
        Node::Type(at) => {
            let found = &catalog.rows.types[at as usize];
            found.checks.iter().for_each(|check| finder.text(check, Text::Sql));
            found.parts.iter().for_each(|part| finder.spelt_type(part));
        }
        Node::Row(at) => {
            catalog.rows.relations[at as usize].columns.iter().for_each(|(_, kind)| finder.spelt_type(kind));
        }
        Node::Ddl => catalog.rows.event_triggers.iter().for_each(|oid| finder.function_by_oid(*oid)),
        Node::Everything => {
            finder.found.edges.extend((0..catalog.rows.relations.len() as u32).map(Node::Write))
        }
        Node::Somewhere => {}
    }
    let direct = Arc::new(finder.found);
    if effort.is_certain()
        && let Ok(mut known) = catalog.known.direct.lock()
    {
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(node, direct.clone());
    }
    direct
}

fn of_function(finder: &mut Finder<'_>, function: &Function) {
    if let Some(extension) = &function.extension {
        let name = function.name.as_str();
        if matches!(extension.as_str(), "dblink" | "pg_trgm") {
            finder.found.left |= Left::of_builtin(name);
        }
        // Theirs is code that has been looked at, but some of it runs SQL that it is given.
        let runs_text = extension == "dblink" || name.contains("query") || name.starts_with("crosstab");
        finder.found.unknown |= runs_text || matches!(name, "connectby" | "xpath_table");
        return;
    }
    for spelt in function.args.iter().chain([&function.returns, &function.state]) {
        finder.spelt_type(spelt);
    }
    if let Some(defaults) = &function.default_exprs {
        finder.text(defaults, Text::SqlBody);
    }
    if function.kind == 'a' {
        function.parts.iter().for_each(|oid| finder.function_by_oid(*oid));
        return;
    }
    match (function.language.as_str(), &function.body) {
        ("sql", Some(body)) => finder.text(body, Text::SqlBody),
        ("plpgsql", Some(body)) => finder.text(body, Text::PlpgsqlBody),
        ("internal", Some(symbol))
            if builtins::allows_function(symbol) || symbol.contains("range_constructor") => {}
        _ if finder.catalog.unknown() == Unknown::Sketch => {}
        _ => finder.may_do_anything(),
    }
}

fn of_read(finder: &mut Finder<'_>, relation: &Relation) {
    if relation.kind == 'v' {
        match &relation.definition {
            Some(definition) => finder.text(definition, Text::Sql),
            None if finder.catalog.unknown() == Unknown::Sketch => {}
            None => finder.may_do_anything(),
        }
    }
    relation.policies.iter().for_each(|policy| finder.text(policy, Text::Sql));
    relation.children.iter().for_each(|child| finder.relation_by_oid(*child, Node::Read));
}

fn of_write(finder: &mut Finder<'_>, at: u32, relation: &Relation) {
    finder.found.edges.push(Node::Row(at));
    relation.expressions.iter().for_each(|expression| finder.text(expression, Text::Sql));
    relation.triggers.iter().for_each(|oid| finder.function_by_oid(*oid));
    for action in &relation.actions {
        // `CREATE RULE … DO INSTEAD …`.
        finder.text(action.split_once(" DO ").map_or(action, |(_, action)| action), Text::SqlBody);
    }
    if relation.rules && relation.actions.is_empty() {
        finder.may_do_anything();
    }
    relation
        .children
        .iter()
        .chain(&relation.cascades)
        .for_each(|next| finder.relation_by_oid(*next, Node::Write));
    if relation.kind == 'v' {
        finder.found.edges.push(Node::Read(at));
        // A view that takes writes passes them on.
        if let Some(definition) = &relation.definition {
            finder.written_through(definition);
        }
    }
}

/// True for a built-in that runs SQL that it is given as a text, or reads what a text names.
pub(crate) fn runs_text(name: &str) -> bool {
    matches!(name, "ts_stat" | "ts_rewrite")
        || name.ends_with("_to_xml")
        || name.ends_with("_to_xmlschema")
        || name.ends_with("_xmlschema")
        || (name.ends_with("_xml") && builtins::refusal(name).is_some())
}
