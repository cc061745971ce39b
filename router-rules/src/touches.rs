//! What DDL and maintenance touch: the names that may mean something else from now on, and the relations whose
//! readers have to wait for it.
//!
//! Each kind of statement is told by its first words, and what it can touch follows from the names in it. What
//! evaluates expressions touches what these write. A kind that is not listed here touches anything.
//!
//! What is new has no number yet, and what it hides or lays bare is another relation of the same name: whoever
//! reads the catalog anew compares it with what was there before, and has readers of what differs wait.

pub(crate) mod names;

use crate::analyse::{Analysis, tokens_of_modification};
use crate::builtins;
use crate::catalog::{Catalog, Relation};
use crate::changed::Alters;
use crate::facts::Facts;
use crate::query;
use crate::resolve::CATALOG_OID;
use crate::statement::Footprint;
use crate::tokens::Tokens;
use crate::walk::{self, Text};
use foldhash::HashSet;
use names::{
    name_behind, names_from, objects, query_of, related, renamed_to, routines_from, target_of, words,
};
use std::sync::Arc;

/// What a statement touches.
#[derive(Debug)]
pub(crate) struct Touches {
    pub alters: Alters,
    pub writes: Footprint,
}

/// Relations that one statement may touch; more, and it touches anything.
const RELATIONS_MAX: usize = 256;

impl<'a> Analysis<'a> {
    /// What a statement of these tokens touches, if that is certain. `first` is its first word.
    pub fn touches(&self, first: &str, tokens: Tokens<'a>, catalog: &'a Catalog) -> Option<Touches> {
        let runs_triggers = matches!(first, "create" | "alter" | "drop" | "grant" | "revoke" | "comment");
        if runs_triggers && !catalog.rows.event_triggers.is_empty() {
            return None;
        }
        match first {
            "create" => self.creates(tokens, catalog),
            "alter" => self.alters(tokens, catalog),
            "drop" => self.drops(tokens, catalog),
            "grant" | "revoke" => self.grants(tokens, catalog),
            "comment" => Some(of_catalog(Alters::Nothing)),
            "truncate" => self.truncates(tokens, catalog),
            "refresh" => self.refreshes(tokens, catalog),
            "vacuum" | "analyze" | "analyse" | "reindex" | "cluster" => self.tidies(first, tokens, catalog),
            _ => None,
        }
    }

    fn creates(&self, tokens: Tokens<'a>, catalog: &'a Catalog) -> Option<Touches> {
        let mut at = if tokens.is(1, "or") { 3 } else { 1 };
        while tokens.is_any(at, &["unlogged", "recursive", "materialized", "unique", "constraint", "foreign"])
        {
            if tokens.is(at, "foreign") {
                return None;
            }
            at += 1;
        }
        let what = tokens.identifier(at)?;
        let target = name_behind(tokens, at + 1);
        match &*what {
            "table" => {
                // A sequence of its own may hide what is called like it.
                let serial = |at| tokens.is_any(at, &SERIAL);
                let is_hidden = |r: &Relation| r.kind != 'S' && r.name.contains("_seq");
                if (0..tokens.len()).any(serial) && catalog.rows.relations.iter().any(is_hidden) {
                    return None;
                }
                let evaluated = self.evaluated_by_create(tokens)?;
                let mut names: Vec<Arc<str>> = vec![target?];
                names.extend(related(tokens));
                let head = tokens.slice(0, query_of(tokens).unwrap_or(tokens.len()));
                let mentioned = self.mentioned(head, catalog)?;
                names.extend(mentioned.iter().map(|relation| Arc::from(&*relation.name)));
                self.of_relations(names, &mentioned, catalog).map(|touches| touches.and(evaluated))
            }
            "view" if tokens.is(at - 1, "materialized") => {
                let evaluated = self.evaluated_by_create(tokens)?;
                self.of_relations(vec![target?], &[], catalog).map(|touches| touches.and(evaluated))
            }
            "view" | "sequence" => self.of_relations(vec![target?], &[], catalog),
            "index" => self.of_mentioned(target_of(tokens), tokens, catalog, true),
            "trigger" | "rule" | "policy" => self.of_mentioned(target_of(tokens), tokens, catalog, false),
            "function" | "procedure" | "aggregate" => self.of_functions(&[target?], catalog),
            // Nothing is in it yet.
            "schema" => {
                let at = if tokens.is(at + 1, "if") { at + 4 } else { at + 1 };
                let is_all = tokens.identifier(at).is_some() && tokens.len() == at + 1;
                (is_all && !tokens.is(at, "authorization")).then(|| of_catalog(Alters::Storage))
            }
            _ => None,
        }
    }

    fn alters(&self, tokens: Tokens<'a>, catalog: &'a Catalog) -> Option<Touches> {
        let mut at = 1;
        if tokens.is(at, "materialized") {
            at += 1;
        }
        let what = tokens.identifier(at)?;
        match &*what {
            "index" if !tokens.is(at + 1, "all") => {
                let names = [name_behind(tokens, at + 1), renamed_to(tokens)];
                self.of_relations(names.into_iter().flatten().collect(), &[], catalog)
            }
            "table" | "view" | "sequence" if !tokens.is(at + 1, "all") => {
                self.of_mentioned(name_behind(tokens, at + 1), tokens, catalog, true)
            }
            "trigger" | "rule" | "policy" => self.of_mentioned(target_of(tokens), tokens, catalog, false),
            "function" | "procedure" | "routine" | "aggregate" => {
                let mut names = vec![name_behind(tokens, at + 1)?];
                names.extend(renamed_to(tokens));
                self.of_functions(&names, catalog)
            }
            _ => None,
        }
    }

    fn drops(&self, tokens: Tokens<'a>, catalog: &'a Catalog) -> Option<Touches> {
        let mut at = 1;
        if tokens.is_any(at, &["materialized"]) {
            at += 1;
        }
        let what = tokens.identifier(at)?;
        let cascades = tokens.is(tokens.len() - 1, "cascade");
        at += 1;
        at += usize::from(tokens.is(at, "concurrently"));
        at += if tokens.is(at, "if") { 2 } else { 0 };
        match &*what {
            // What depends on them names them, but for a column of their type, which is looked for.
            "table" | "view" | "index" | "sequence" => {
                let (names, end) = names_from(tokens, at)?;
                let behind = tokens.len() - usize::from(cascades || tokens.is(tokens.len() - 1, "restrict"));
                let dropped = self.mentioned(tokens, catalog)?;
                (end == behind).then(|| self.of_relations(names, &dropped, catalog)).flatten()
            }
            "function" | "procedure" | "routine" | "aggregate" if !cascades => {
                self.of_functions(&routines_from(tokens, at)?, catalog)
            }
            "trigger" | "rule" | "policy" => self.of_mentioned(target_of(tokens), tokens, catalog, false),
            _ => None,
        }
    }

    /// Who may see what: on other kinds of objects than these it concerns everything in them.
    fn grants(&self, tokens: Tokens<'a>, catalog: &'a Catalog) -> Option<Touches> {
        let on = (1..tokens.len()).find(|&at| tokens.is(at, "on"))?;
        let what = on + 1;
        if tokens.is_any(what, &["function", "procedure", "routine"]) {
            let touches = self.of_functions(&routines_from(tokens, what + 1)?, catalog)?;
            return Some(Touches { alters: Alters::Storage, ..touches });
        }
        let named_kind = tokens.is(what, "table") || tokens.is(what, "sequence");
        let (names, end) = names_from(tokens, what + usize::from(named_kind))?;
        let is_known = |name: &Arc<str>| catalog.relations(name).next().is_some();
        if !tokens.is_any(end, &["to", "from"]) || !names.iter().all(is_known) {
            return None;
        }
        let mut oids = vec![CATALOG_OID];
        oids.extend(self.mentioned(tokens, catalog)?.iter().map(|relation| relation.oid));
        Some(Touches { alters: Alters::Storage, writes: footprint(oids) })
    }

    /// What is worked on as a whole reads as before, but its indexes' expressions may be evaluated.
    fn tidies(&self, first: &str, tokens: Tokens<'a>, catalog: &'a Catalog) -> Option<Touches> {
        let tidies = matches!(first, "reindex" | "cluster");
        // Of an index nobody knows here whose it is.
        let by_index = tidies && (1..tokens.len()).any(|at| tokens.is_any(at, &["index", "using"]));
        let named = self.mentioned(tokens, catalog)?;
        let is_known = |name: &Arc<str>| catalog.relations(name).next().is_some();
        if !by_index && !objects(tokens).iter().all(is_known) {
            return None;
        }
        let all = || catalog.rows.relations.iter().collect();
        let worked_on: Vec<&Relation> = if by_index || named.is_empty() { all() } else { named };
        let harmless = worked_on.iter().all(|relation| self.keeps_to_itself(relation, catalog));
        let rewrites = tidies || tokens.is(1, "full") || tokens.is_mark(1, "(");
        harmless.then(|| of_catalog(if rewrites { Alters::Storage } else { Alters::Nothing }))
    }

    fn truncates(&self, tokens: Tokens<'a>, catalog: &'a Catalog) -> Option<Touches> {
        let cascades = (1..tokens.len()).any(|at| tokens.is(at, "cascade"));
        let mut todo = self.mentioned(tokens, catalog)?;
        if todo.is_empty() || !objects(tokens).iter().all(|name| catalog.relations(name).next().is_some()) {
            return None;
        }
        let mut seen: HashSet<u32> = todo.iter().map(|relation| relation.oid).collect();
        let mut footprints = vec![];
        while let Some(relation) = todo.pop() {
            footprints.push(catalog.written_with(relation, self));
            for &oid in relation.referrers.iter().filter(|_| cascades) {
                if seen.insert(oid) {
                    todo.push(catalog.relation_by_oid(oid)?);
                }
            }
            if footprints.len() > RELATIONS_MAX {
                return None;
            }
        }
        let writes = footprint(vec![CATALOG_OID]).union_all(footprints);
        Some(Touches { alters: Alters::Storage, writes })
    }

    fn refreshes(&self, tokens: Tokens<'a>, catalog: &'a Catalog) -> Option<Touches> {
        let named = self.mentioned(tokens, catalog)?;
        let mut oids = vec![CATALOG_OID];
        for view in named {
            let runs = || self.resolver(catalog).query_writes_nothing(view);
            if view.kind != 'm' || !runs() || !self.keeps_to_itself(view, catalog) {
                return None;
            }
            oids.push(view.oid);
        }
        (oids.len() > 1).then_some(())?;
        Some(Touches { alters: Alters::Storage, writes: footprint(oids) })
    }

    /// A statement that works on the relations that it mentions.
    fn of_mentioned(
        &self,
        target: Option<Arc<str>>,
        tokens: Tokens<'a>,
        catalog: &'a Catalog,
        evaluates: bool,
    ) -> Option<Touches> {
        let target = target?;
        let is_known = catalog.relations(&target).next().is_some();
        let relations = self.mentioned(tokens, catalog)?;
        let mut names: Vec<Arc<str>> = relations.iter().map(|relation| Arc::from(&*relation.name)).collect();
        names.extend([target].into_iter().chain(renamed_to(tokens)).chain(related(tokens)));
        let touches = self.of_relations(names, &relations, catalog)?;
        let harmless = || {
            self.are_harmless(tokens, catalog)
                && self
                    .with_descendants(&relations, catalog)
                    .is_some_and(|all| all.iter().all(|relation| self.keeps_to_itself(relation, catalog)))
        };
        let is_certain = is_known && (!evaluates || harmless());
        let writes = if is_certain { touches.writes } else { Footprint::Everything };
        Some(Touches { writes, ..touches })
    }

    /// Relations come, go or change by these names.
    fn of_relations(
        &self,
        mut names: Vec<Arc<str>>,
        relations: &[&'a Relation],
        catalog: &'a Catalog,
    ) -> Option<Touches> {
        let mut oids = vec![CATALOG_OID];
        for relation in self.with_descendants(relations, catalog)? {
            names.push(Arc::from(&*relation.name));
        }
        for name in &names {
            oids.extend(catalog.relations(name).map(|relation| relation.oid));
        }
        (!self.is_type_of_a_part(&names, catalog))
            .then(|| Touches { alters: Alters::names(names), writes: footprint(oids) })
    }

    /// Functions come, go or change by these names.
    fn of_functions(&self, names: &[Arc<str>], catalog: &'a Catalog) -> Option<Touches> {
        let of_extension = names.iter().any(|name| catalog.functions(name).any(|f| f.extension.is_some()));
        let oids = names.iter().flat_map(|name| catalog.functions(name)).map(|function| function.oid);
        (!of_extension).then(|| Touches {
            alters: Alters::names(names.iter().cloned()),
            writes: footprint([CATALOG_OID].into_iter().chain(oids).collect()),
        })
    }

    /// The relations that any word may mean.
    fn mentioned(&self, tokens: Tokens<'a>, catalog: &'a Catalog) -> Option<Vec<&'a Relation>> {
        let mut found: Vec<&'a Relation> = vec![];
        for word in words(tokens) {
            self.effort.take(1).ok()?;
            found.extend(catalog.relations(&word));
        }
        (found.len() <= RELATIONS_MAX && found.iter().all(|relation| relation.oid != 0)).then_some(found)
    }

    fn with_descendants(
        &self,
        relations: &[&'a Relation],
        catalog: &'a Catalog,
    ) -> Option<Vec<&'a Relation>> {
        let mut seen: HashSet<u32> = relations.iter().map(|relation| relation.oid).collect();
        let mut all = relations.to_vec();
        let mut at = 0;
        while let Some(relation) = all.get(at) {
            at += 1;
            for &child in &relation.children {
                if seen.insert(child) {
                    all.push(catalog.relation_by_oid(child)?);
                }
            }
            if all.len() > RELATIONS_MAX {
                return None;
            }
        }
        Some(all)
    }

    /// A column or a part of a type has the row type of a relation of such a name.
    fn is_type_of_a_part(&self, names: &[Arc<str>], catalog: &Catalog) -> bool {
        let names: HashSet<&str> = names.iter().map(|name| &**name).collect();
        let is_row = |kind: &String| {
            let spelt = kind.trim_end_matches("[]");
            spelt.rsplit_once('.').is_some_and(|(_, name)| names.contains(name.trim_matches('"')))
        };
        let rows = &catalog.rows;
        if self.effort.take(4 * (rows.relations.len() + rows.types.len())).is_err() {
            return true;
        }
        rows.relations.iter().any(|relation| relation.columns.iter().any(|(_, kind)| is_row(kind)))
            || rows.types.iter().any(|kind| kind.parts.iter().any(is_row))
    }

    /// What creating a table or a materialised view writes beside itself.
    fn evaluated_by_create(&self, tokens: Tokens<'a>) -> Option<Footprint> {
        match query_of(tokens) {
            Some(at) => {
                let facts = query::facts(tokens.slice(at, tokens.len()), self.thorough, self.effort);
                Some(self.written_beside(&facts))
            }
            // AS EXECUTE; bounds of partitions, which are evaluated.
            None if (2..tokens.len()).any(|at| tokens.is(at, "execute")) => None,
            None => {
                let bounds = (2..tokens.len()).find(|&at| tokens.is(at, "values"));
                let calls = |at: usize| {
                    tokens.is_mark(at + 1, "(")
                        && tokens.identifier(at).is_some()
                        && !tokens.is_any(at, &["from", "to", "in", "with", "range", "list", "hash"])
                };
                let harmless = bounds.is_none_or(|bounds| !(bounds..tokens.len()).any(calls));
                harmless.then(Footprint::none)
            }
        }
    }

    /// Working on the relation evaluates nothing that writes elsewhere.
    fn keeps_to_itself(&self, relation: &'a Relation, catalog: &'a Catalog) -> bool {
        self.resolver(catalog).of_writes().expressions_are_harmless(relation)
    }

    /// The expressions in a definition write nothing: calls, operators, and the checks of domains.
    pub fn are_harmless(&self, tokens: Tokens<'a>, catalog: &'a Catalog) -> bool {
        let mut names: HashSet<Arc<str>> = HashSet::default();
        for at in 0..tokens.len().saturating_sub(1) {
            if let Some(name) = tokens.identifier(at).filter(|_| tokens.is_mark(at + 1, "(")) {
                names.insert(Arc::from(&*name));
            }
        }
        let mut resolver = self.resolver(catalog);
        let calls_harmless = names.iter().all(|name| {
            let is_user = catalog.functions(name).next().is_some();
            let is_builtin_harmless =
                builtins::writes_nothing(name) || builtins::is_type(name) || builtins::is_no_function(name);
            if is_user { resolver.all_are_harmless(name) } else { is_builtin_harmless }
        });
        let walked = walk::walk(tokens, Text::Sql, self.effort);
        let facts = Facts { operators: walked.operators, words: walked.words, ..Facts::default() };
        calls_harmless && tokens_of_modification(tokens).is_empty() && resolver.check(&facts).is_ok()
    }
}

impl Touches {
    fn and(self, more: Footprint) -> Self {
        Touches { writes: self.writes.union(&more), ..self }
    }
}

const SERIAL: [&str; 7] =
    ["serial", "bigserial", "smallserial", "serial2", "serial4", "serial8", "generated"];

/// Only the catalogs themselves.
fn of_catalog(alters: Alters) -> Touches {
    Touches { alters, writes: footprint(vec![CATALOG_OID]) }
}

fn footprint(mut oids: Vec<u32>) -> Footprint {
    oids.sort_unstable();
    oids.dedup();
    Footprint::Relations(oids.into())
}
