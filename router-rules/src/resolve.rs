//! What the names in a statement mean under a catalog, a `search_path` and a role, and whether a
//! hot standby may run what they lead to.
//!
//! Views are expanded, functions' bodies looked into, and so are operators, casts, domains,
//! aggregates and row-level-security policies: whatever the statement would run is followed to its
//! end, or to the first thing that is not proved harmless. Where overloads could be meant that
//! differ, all of them must be harmless.

use crate::builtins;
use crate::catalog::{Catalog, Function, Relation, Type, Unknown};
use crate::facts::{Call, Facts, Form, Name, Operation, Shown};
use crate::lex;
use crate::reason::Reason;
use crate::statement::Footprint;
use crate::walk::{self, Text, Tokens};
use foldhash::HashSet;
use std::borrow::Cow;
use std::hash::BuildHasher;
use std::sync::Arc;

/// How deep views and functions may lead into one another.
const DEPTH_MAX: usize = 24;

/// How many types one statement may lead to; each is looked into by recursion.
const TYPES_MAX: usize = 500;

/// Tokens of a view or a function body that are looked into; longer ones are not proved.
const BODY_TOKENS_MAX: usize = 20_000;

/// Keeps what was found for planning apart from what was found for running.
const PLANNING: u64 = 0x9e37_79b9_7f4a_7c15;

/// The OID that stands for the system catalogs in a [`Footprint`] (that of `pg_class`).
pub const CATALOG_OID: u32 = 1259;

/// What looking into something brought to light.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Proved read-only, or why not.
    pub verdict: Result<(), Reason>,
    /// Relations that it reads; `None` when that is not known.
    pub reads: Option<Vec<u32>>,
}

/// The part of a scope that names are resolved in.
pub(crate) struct Resolver<'a> {
    catalog: &'a Catalog,
    path: Vec<Cow<'a, str>>,
    path_hash: u64,
    depth: usize,
    /// Nothing runs, it is only planned: EXPLAIN without ANALYZE. The planner evaluates IMMUTABLE
    /// and STABLE functions, but no VOLATILE ones.
    planning: bool,
    /// Types that were looked into, by schema and name.
    types_seen: HashSet<(&'a str, &'a str)>,
    /// OIDs read so far; `None` once that is not known.
    pub reads: Option<Vec<u32>>,
    /// Names for rules.
    pub relations: Vec<Arc<str>>,
    /// Names for rules.
    pub functions: Vec<Arc<str>>,
}

impl<'a> Resolver<'a> {
    /// A resolver for a session's `search_path` and role.
    pub fn new(catalog: &'a Catalog, search_path: &'a [String], role: &'a str) -> Self {
        let path = search_path
            .iter()
            .map(|s| if s == "$user" { Cow::Borrowed(role) } else { Cow::Borrowed(s.as_str()) });
        Self::with_path(catalog, path.collect(), 0)
    }

    /// The same for a statement that is planned and not run.
    pub fn planning(catalog: &'a Catalog, search_path: &'a [String], role: &'a str) -> Self {
        let mut resolver = Self::new(catalog, search_path, role);
        resolver.planning = true;
        // Outcomes differ from those of running: keep them apart in the memo.
        resolver.path_hash ^= PLANNING;
        resolver
    }

    /// A resolver for something that this one has come to.
    fn inner(&self, path: Vec<Cow<'a, str>>) -> Self {
        let mut inner = Self::with_path(self.catalog, path, self.depth + 1);
        inner.planning = self.planning;
        if self.planning {
            inner.path_hash ^= PLANNING;
        }
        inner
    }

    fn with_path(catalog: &'a Catalog, path: Vec<Cow<'a, str>>, depth: usize) -> Self {
        let path_hash = foldhash::fast::FixedState::with_seed(7).hash_one(&path);
        Resolver {
            catalog,
            path,
            path_hash,
            depth,
            planning: false,
            types_seen: HashSet::default(),
            reads: Some(vec![]),
            relations: vec![],
            functions: vec![],
        }
    }

    /// Everything that the facts name must be harmless.
    pub fn check(&mut self, facts: &Facts<'_>) -> Result<(), Reason> {
        let mut verdict = facts.refusal.map_or(Ok(()), Err);
        // Go on after a refusal: the reads and the names are wanted all the same.
        for (at, relation) in facts.relations.iter().enumerate() {
            let outcome = self.relation(relation, facts, facts.only.contains(&at));
            verdict = verdict.and(outcome);
        }
        for call in &facts.calls {
            let outcome = self.call(call, facts);
            verdict = verdict.and(outcome);
        }
        for operation in &facts.operators {
            let outcome = self.operation(operation);
            verdict = verdict.and(outcome);
        }
        for name in &facts.types {
            let outcome = self.named_type(name);
            verdict = verdict.and(outcome);
        }
        verdict
            .and_then(|()| self.mentioned_types(facts))
            .and_then(|()| self.comparisons(facts))
            .and_then(|()| self.casts(facts))
    }

    /// What the facts read, as a footprint.
    pub fn footprint(&self) -> Footprint {
        match &self.reads {
            Some(oids) => {
                let mut oids = oids.clone();
                oids.sort_unstable();
                oids.dedup();
                Footprint::Relations(oids.into())
            }
            None => Footprint::Everything,
        }
    }

    fn reads_relation(&mut self, oid: u32) {
        match &mut self.reads {
            Some(reads) if oid != 0 => reads.push(oid),
            // Without an OID there is no watermark to compare with.
            _ => self.reads = None,
        }
    }

    // ---- relations -------------------------------------------------------------------------

    fn relation(&mut self, name: &Name<'_>, facts: &Facts<'_>, only: bool) -> Result<(), Reason> {
        match self.find_relation(name) {
            Found::Builtin => {
                self.relations.push(format!("pg_catalog.{}", name.name).into());
                self.reads_relation(CATALOG_OID);
                Ok(())
            }
            Found::User(relation) => {
                self.relations.push(format!("{}.{}", relation.schema, relation.name).into());
                // `ONLY t` leaves the children alone.
                if only && relation.kind == 'r' {
                    return self.relation_itself(relation);
                }
                self.look_into_relation(relation)
            }
            Found::No(_) if name.schema.is_none() && facts.ctes.contains(&name.name) => Ok(()),
            Found::No(reason) => {
                self.reads = None;
                self.relations.push(match &name.schema {
                    Some(schema) => format!("{schema}.{}", name.name).into(),
                    None => Arc::from(&*name.name),
                });
                if self.catalog.unknown() == Unknown::OrdinaryTables && reason == Reason::UnknownRelation {
                    Ok(())
                } else {
                    Err(reason)
                }
            }
        }
    }

    /// The relation that a name means.
    pub fn find_relation(&self, name: &Name<'_>) -> Found<'a> {
        let catalog: &'a Catalog = self.catalog;
        if let Some(schema) = &name.schema {
            return match &**schema {
                "pg_catalog" => builtin_relation(&name.name),
                "information_schema" => Found::Builtin,
                schema if schema.starts_with("pg_temp") => Found::No(Reason::TemporaryRelation),
                schema => match catalog.relations(&name.name).find(|r| r.schema == schema) {
                    Some(relation) => Found::User(relation),
                    None => Found::No(Reason::UnknownRelation),
                },
            };
        }
        let mut candidates = catalog.relations(&name.name).peekable();
        let user = candidates.peek().is_some();
        if user && catalog.relations(&name.name).any(|r| r.schema.starts_with("pg_temp")) {
            return Found::No(Reason::TemporaryRelation);
        }
        let listed = self.path.iter().any(|s| s == "pg_catalog");
        if !listed && builtins::is_catalog_relation(&name.name) {
            match builtin_relation(&name.name) {
                Found::No(Reason::UnknownRelation) => {}
                found => return found,
            }
        }
        if user {
            for schema in &self.path {
                if schema == "pg_catalog" && builtins::allows_relation(&name.name) {
                    return Found::Builtin;
                }
                if let Some(relation) = catalog.relations(&name.name).find(|r| r.schema == **schema) {
                    return Found::User(relation);
                }
            }
        } else if listed && builtins::is_catalog_relation(&name.name) {
            return builtin_relation(&name.name);
        }
        if self.catalog.unknown() == Unknown::Sketch
            && let Some(relation) = catalog.relations(&name.name).next()
        {
            return Found::User(relation);
        }
        if self.path.iter().any(|s| s == "information_schema") {
            return Found::Builtin;
        }
        Found::No(Reason::UnknownRelation)
    }

    fn look_into_relation(&mut self, relation: &'a Relation) -> Result<(), Reason> {
        let outcome = self.memoised(relation.oid, |inner| inner.relation_outcome(relation));
        self.absorb(&outcome);
        outcome.verdict
    }

    fn relation_outcome(&mut self, relation: &'a Relation) -> Result<(), Reason> {
        self.relation_itself(relation)?;
        for &child in &relation.children {
            let child = self.catalog.relation_by_oid(child).ok_or(Reason::UnknownRelation)?;
            self.look_into_relation(child)?;
        }
        Ok(())
    }

    fn relation_itself(&mut self, relation: &'a Relation) -> Result<(), Reason> {
        self.reads_relation(relation.oid);
        match relation.persistence {
            'u' => return Err(Reason::UnloggedRelation),
            't' => return Err(Reason::TemporaryRelation),
            _ => {}
        }
        match relation.kind {
            'r' | 'p' | 'm' => {}
            'v' if relation.definition.is_none() && self.catalog.unknown() == Unknown::Sketch => {}
            'v' => {
                let definition = relation.definition.as_deref().ok_or(Reason::WritingView)?;
                self.text(definition, Text::Sql, Some(&[])).map_err(through(Reason::WritingView))?;
            }
            'S' => return Err(Reason::Sequence),
            'f' => return Err(Reason::ForeignTable),
            _ => return Err(Reason::NotReadOnly),
        }
        for policy in &relation.policies {
            self.text(policy, Text::Sql, Some(&[])).map_err(through(Reason::WritingView))?;
        }
        Ok(())
    }

    /// What a write to `relation` evaluates (defaults, checks, triggers) writes to no relation.
    pub fn evaluates_harmlessly(&mut self, relation: &'a Relation) -> bool {
        for expression in &relation.expressions {
            let Ok(tokens) = lex::tokenize(expression.as_bytes(), true, BODY_TOKENS_MAX) else {
                return false;
            };
            let facts = walk::walk(Tokens { sql: expression, list: &tokens }, Text::Sql);
            for call in facts.calls.iter().filter(|call| call.certain()) {
                let name = &call.name.name;
                let builtin = self.catalog.functions(name).next().is_none()
                    && (builtins::writes_nothing(name) || builtins::is_type(name));
                if !builtin && self.call(call, &facts).is_err() {
                    return false;
                }
            }
        }
        relation
            .triggers
            .iter()
            .all(|&oid| self.catalog.function_by_oid(oid).is_some_and(|f| self.is_harmless_trigger(f)))
    }

    /// A trigger function may be VOLATILE: what counts is that its body does no more than look at
    /// the row and change it.
    fn is_harmless_trigger(&mut self, function: &'a Function) -> bool {
        match (&function.body, function.language.as_str()) {
            (Some(body), "plpgsql") => {
                self.text(body, Text::PlpgsqlBody, function.search_path.as_deref()).is_ok()
            }
            _ => false,
        }
    }

    // ---- functions -------------------------------------------------------------------------

    fn call(&mut self, call: &Call<'_>, facts: &Facts<'_>) -> Result<(), Reason> {
        let name = &*call.name.name;
        if call.form == Form::Column {
            return self.functional_notation(call, facts);
        }
        let schema = call.name.schema.as_deref();
        if call.certain() {
            self.functions.push(match schema {
                Some(schema) => format!("{schema}.{name}").into(),
                None => Arc::from(name),
            });
        }
        let catalog: &'a Catalog = self.catalog;
        let mut candidates: Vec<&'a Function> = vec![];
        for function in catalog.functions(name) {
            if self.visible(&function.schema, schema) && self.applicable(function, call) {
                candidates.push(function);
            }
        }
        let exact: Vec<&'a Function> = candidates.iter().copied().filter(|f| exact(f, call)).collect();
        if !exact.is_empty() {
            candidates = exact;
        }
        for function in &candidates {
            self.look_into_function(function)?;
        }
        if call.form == Form::Maybe {
            let refused = builtins::refusal(name).filter(|_| !builtins::allows_function(name));
            return refused.map_or(Ok(()), Err);
        }
        match schema {
            None | Some("pg_catalog") => {
                if builtins::allows_function(name) {
                    if builtins::reads_catalog(name) {
                        self.reads_relation(CATALOG_OID);
                    }
                    return Ok(());
                }
                if self.harmless_here(name, call) {
                    return Ok(());
                }
                if let Some(reason) = builtins::refusal(name) {
                    return Err(reason);
                }
                if !candidates.is_empty() || builtins::is_type(name) {
                    return Ok(());
                }
                self.named_type(&call.name).map_err(|_| Reason::UnknownFunction)?;
                // A type that nobody has seen is no proof here, whatever it means in a cast.
                if self.knows_type(&call.name) { Ok(()) } else { Err(Reason::UnknownFunction) }
            }
            Some("information_schema") if name.starts_with("_pg_") => Ok(()),
            Some(_) if !candidates.is_empty() => Ok(()),
            Some(_) => Err(Reason::UnknownFunction),
        }
    }

    /// Built-ins that are harmless with these arguments only.
    fn harmless_here(&self, name: &str, call: &Call<'_>) -> bool {
        match name {
            "current_setting" => call.literal.as_deref().is_some_and(builtins::setting_follows_session),
            _ if self.planning && builtins::only_runs(name) => true,
            // With two arguments the second is SQL.
            "ts_rewrite" => call.args == Some(3),
            _ => false,
        }
    }

    /// `a.f` is a column, unless `f` is a function of one row.
    fn functional_notation(&mut self, call: &Call<'_>, _facts: &Facts<'_>) -> Result<(), Reason> {
        let catalog: &'a Catalog = self.catalog;
        for function in catalog.functions(&call.name.name) {
            let takes_row = self.applicable(function, call)
                && function.args.first().is_some_and(|arg| walk::canonical_type(arg).is_none());
            if takes_row && self.visible(&function.schema, None) {
                self.look_into_function(function)?;
            }
        }
        Ok(())
    }

    /// Could this call mean this function, by the number of arguments and what the text shows of their types?
    fn applicable(&self, function: &Function, call: &Call<'_>) -> bool {
        let Some(given) = call.args else { return true };
        let declared = function.args.len();
        let required = declared.saturating_sub(function.defaults);
        let enough = given >= if function.variadic { required.saturating_sub(1) } else { required };
        let few_enough = function.variadic || given <= declared;
        let mut pairs = call.shown.iter().zip(&function.args);
        enough && few_enough && pairs.all(|(shown, arg)| self.fits(*shown, Some(arg)))
    }

    /// Could an operand that shows this type be passed as `declared`? Errs towards yes.
    fn fits(&self, shown: Shown, declared: Option<&str>) -> bool {
        fits(shown, declared) || self.catalog.casts_implicitly()
    }

    fn visible(&self, schema: &str, wanted: Option<&str>) -> bool {
        match wanted {
            Some("pg_temp") => schema.starts_with("pg_temp"),
            None if self.catalog.unknown() == Unknown::Sketch => true,
            Some(wanted) => schema == wanted,
            None => schema == "pg_catalog" || self.path.iter().any(|s| s == schema),
        }
    }

    fn look_into_function(&mut self, function: &'a Function) -> Result<(), Reason> {
        let outcome = self.memoised(function.oid, |inner| inner.function_outcome(function));
        self.absorb(&outcome);
        self.reads_relation(CATALOG_OID);
        outcome.verdict
    }

    fn function_outcome(&mut self, function: &'a Function) -> Result<(), Reason> {
        if let Some(extension) = &function.extension {
            return extension_function(extension, function, self.planning);
        }
        if function.schema.starts_with("pg_temp") {
            return Err(Reason::TemporaryRelation);
        }
        if function.kind == 'a' {
            // An aggregate's own functions run in the executor only.
            if self.planning || self.catalog.unknown() == Unknown::Sketch {
                return Ok(());
            }
            if function.parts.is_empty() {
                return Err(Reason::WritingOperator);
            }
            for &part in &function.parts {
                self.function_by_oid(part).map_err(through(Reason::WritingOperator))?;
            }
            return Ok(());
        }
        if (function.volatility == 'v' && !self.planning) || function.kind == 'p' {
            return Err(Reason::WritingFunction);
        }
        // A value that becomes a domain's is checked.
        for spelt in function.args.iter().chain([&function.returns]) {
            self.spelt_type(spelt)?;
        }
        if let Some(defaults) = &function.default_exprs {
            self.text(defaults, Text::SqlBody, Some(&[])).map_err(through(Reason::WritingFunction))?;
        }
        if self.planning && function.volatility == 'v' && function.language != "sql" {
            return Ok(());
        }
        // The planner runs IMMUTABLE and STABLE functions: what is in them is not only planned.
        if function.volatility != 'v' && self.planning {
            self.planning = false;
            self.path_hash ^= PLANNING;
        }
        let path = function.search_path.as_deref();
        match (function.language.as_str(), &function.body) {
            ("sql", Some(body)) => {
                self.text(body, Text::SqlBody, path).map_err(through(Reason::WritingFunction))
            }
            ("plpgsql", Some(body)) => {
                self.text(body, Text::PlpgsqlBody, path).map_err(through(Reason::WritingFunction))
            }
            ("internal", Some(symbol)) => {
                let constructor =
                    symbol.starts_with("range_constructor") || symbol.starts_with("multirange_constructor");
                if constructor || builtins::allows_function(symbol) {
                    Ok(())
                } else {
                    Err(Reason::UnknownFunction)
                }
            }
            ("internal" | "sql" | "plpgsql", None)
                if function.volatility == 'i' && self.catalog.unknown() == Unknown::Sketch =>
            {
                Ok(())
            }
            _ => Err(Reason::UnknownFunction),
        }
    }

    /// A function that an operator, cast, aggregate or type refers to.
    fn function_by_oid(&mut self, oid: u32) -> Result<(), Reason> {
        if let Some(name) = self.catalog.builtin_by_oid(oid) {
            return if builtins::allows_function(name) { Ok(()) } else { Err(Reason::WritingOperator) };
        }
        let function = self.catalog.function_by_oid(oid).ok_or(Reason::UnknownFunction)?;
        self.look_into_function(function)
    }

    // ---- operators, casts, types -----------------------------------------------------------

    fn operation(&mut self, operation: &Operation<'_>) -> Result<(), Reason> {
        let catalog: &'a Catalog = self.catalog;
        for operator in catalog.operators(&operation.name) {
            let meant = self.visible(&operator.schema, operation.schema.as_deref())
                && self.fits(operation.left, operator.left.as_deref())
                && self.fits(operation.right, operator.right.as_deref());
            if meant {
                self.function_by_oid(operator.function).map_err(through(Reason::WritingOperator))?;
            }
        }
        Ok(())
    }

    fn knows_type(&self, name: &Name<'_>) -> bool {
        let schema = name.schema.as_deref();
        self.catalog.types(&name.name).any(|t| self.visible(&t.schema, schema))
    }

    fn named_type(&mut self, name: &Name<'_>) -> Result<(), Reason> {
        let schema = name.schema.as_deref();
        if matches!(schema, None | Some("pg_catalog")) {
            let element = name.name.strip_prefix('_').unwrap_or(&name.name);
            if builtins::is_type(element) || builtins::allows_relation(element) {
                if name.name.starts_with("reg") {
                    self.reads_relation(CATALOG_OID);
                }
                return Ok(());
            }
        }
        let catalog: &'a Catalog = self.catalog;
        let mut known = false;
        for found in catalog.types(&name.name) {
            if self.visible(&found.schema, schema) {
                known = true;
                self.look_into_type(found)?;
            }
        }
        if !known {
            match self.find_relation(name) {
                Found::User(relation) => {
                    known = true;
                    self.columns(relation)?;
                }
                Found::Builtin => known = true,
                Found::No(_) => {}
            }
        }
        if known || catalog.unknown() != Unknown::Primary { Ok(()) } else { Err(Reason::UnknownType) }
    }

    fn look_into_type(&mut self, found: &'a Type) -> Result<(), Reason> {
        if !self.types_seen.insert((&found.schema, &found.name)) {
            return Ok(());
        }
        if self.types_seen.len() > TYPES_MAX {
            return Err(Reason::TooLarge);
        }
        self.reads_relation(CATALOG_OID);
        for check in &found.checks {
            self.text(check, Text::Sql, Some(&[])).map_err(through(Reason::WritingOperator))?;
        }
        found.parts.iter().try_for_each(|part| self.spelt_type(part))
    }

    /// A type as the catalog spells it; built-in ones are harmless.
    fn spelt_type(&mut self, spelt: &str) -> Result<(), Reason> {
        let catalog: &'a Catalog = self.catalog;
        let spelt = spelt.trim_end_matches("[]");
        let (schema, name) = spelt.split_once('.').map_or((None, spelt), |(s, n)| (Some(s), n));
        let (schema, name) = (schema.map(|s| s.trim_matches('"')), name.trim_matches('"'));
        for found in catalog.types(name) {
            if schema.is_none_or(|s| s == found.schema) {
                self.look_into_type(found)?;
            }
        }
        for relation in catalog.relations(name) {
            if schema.is_some_and(|s| s == relation.schema) {
                self.columns(relation)?;
            }
        }
        Ok(())
    }

    /// A row type's columns: a value that becomes a domain's is checked.
    fn columns(&mut self, relation: &'a Relation) -> Result<(), Reason> {
        if !self.types_seen.insert((&relation.schema, &relation.name)) {
            return Ok(());
        }
        relation.columns.iter().try_for_each(|(_, kind)| self.spelt_type(kind))
    }

    /// Sorting, grouping and joining call what user-defined operator classes name.
    fn comparisons(&mut self, facts: &Facts<'_>) -> Result<(), Reason> {
        let catalog: &'a Catalog = self.catalog;
        if facts.operators.is_empty() {
            return Ok(());
        }
        catalog
            .rows
            .supports
            .iter()
            .try_for_each(|&oid| self.function_by_oid(oid).map_err(through(Reason::WritingOperator)))
    }

    /// Any identifier at all that is also the name of a domain or composite type: it may stand
    /// where a type stands. In PL/pgSQL, and beside functions that fill a row that they are given, so
    /// may the name of a table.
    fn mentioned_types(&mut self, facts: &Facts<'_>) -> Result<(), Reason> {
        if self.catalog.rows.types.is_empty() {
            return Ok(());
        }
        let catalog: &'a Catalog = self.catalog;
        let fills_rows = facts.body || facts.calls.iter().any(|c| c.name.name.contains("_populate_record"));
        for word in &facts.words {
            for found in catalog.types(word) {
                if matches!(found.kind, 'd' | 'c') {
                    self.look_into_type(found)?;
                }
            }
            if fills_rows {
                for relation in catalog.relations(word) {
                    self.columns(relation)?;
                }
            }
        }
        Ok(())
    }

    /// A cast with a function that is not harmless taints the types that it joins.
    fn casts(&mut self, facts: &Facts<'_>) -> Result<(), Reason> {
        let catalog: &'a Catalog = self.catalog;
        for cast in catalog.rows.casts.iter().filter(|cast| cast.function != 0) {
            let Err(reason) = self.function_by_oid(cast.function).map_err(through(Reason::WritingOperator))
            else {
                continue;
            };
            let source = last_part(&cast.source);
            let target = last_part(&cast.target);
            let user =
                |name: &str| catalog.types(name).next().is_some() || catalog.relations(name).next().is_some();
            let involved = match (user(source), user(target)) {
                // Between built-in types: whatever casts at all, or anything when it is implicit.
                (false, false) => cast.usage == 'i' || !facts.types.is_empty(),
                (from, to) => {
                    (from && self.handles(facts, source, &cast.source))
                        || (to && self.handles(facts, target, &cast.target))
                }
            };
            if involved {
                return Err(reason);
            }
        }
        Ok(())
    }

    /// Could a value of the user-defined type `spelt` (`name` without its schema) turn up: named,
    /// in a column of a relation that is read, or as an argument or result of a function?
    fn handles(&self, facts: &Facts<'_>, name: &str, spelt: &str) -> bool {
        let is = |kind: &str| kind.trim_end_matches("[]") == spelt;
        facts.words.iter().any(|word| word == name)
            || facts.relations.iter().any(|relation| match self.find_relation(relation) {
                // A view's own relations are looked at when it is expanded.
                Found::User(relation) => relation.columns.iter().any(|(_, kind)| is(kind)),
                _ => false,
            })
            || facts.calls.iter().any(|call| {
                let mut functions = self.catalog.functions(&call.name.name);
                functions.any(|f| is(&f.returns) || f.args.iter().any(|arg| is(arg)))
            })
    }

    // ---- looking further -------------------------------------------------------------------

    /// Looks into SQL that the catalog holds; `path` is the `search_path` that it runs under
    /// (`None`: that of the caller).
    fn text(&mut self, sql: &str, text: Text, path: Option<&[String]>) -> Result<(), Reason> {
        if self.depth >= DEPTH_MAX {
            return Err(Reason::TooLarge);
        }
        let tokens = lex::tokenize(sql.as_bytes(), true, BODY_TOKENS_MAX).map_err(|_| Reason::NotParsed)?;
        let facts = walk::walk(Tokens { sql, list: trimmed(&tokens, sql) }, text);
        let path = match path {
            Some(path) => path.iter().map(|s| Cow::Owned(s.clone())).collect(),
            None => self.path.clone(),
        };
        let mut inner = self.inner(path);
        let verdict = inner.check(&facts);
        self.absorb(&Outcome { verdict, reads: inner.reads });
        verdict
    }

    fn absorb(&mut self, outcome: &Outcome) {
        match (&mut self.reads, &outcome.reads) {
            (Some(reads), Some(more)) => reads.extend(more),
            (reads, _) => *reads = None,
        }
    }

    fn memoised(
        &mut self,
        oid: u32,
        look: impl FnOnce(&mut Resolver<'a>) -> Result<(), Reason>,
    ) -> Arc<Outcome> {
        let key = (oid, self.path_hash);
        if oid != 0
            && let Some(outcome) = self.catalog.memo.lock().ok().and_then(|memo| memo.get(&key).cloned())
        {
            return outcome;
        }
        if self.depth >= DEPTH_MAX {
            return Arc::new(Outcome { verdict: Err(Reason::TooLarge), reads: None });
        }
        let mut inner = self.inner(self.path.clone());
        let verdict = look(&mut inner);
        let outcome = Arc::new(Outcome { verdict, reads: inner.reads });
        // What was cut off by the depth is not worth remembering: from elsewhere it may be shallow.
        if oid != 0 && verdict != Err(Reason::TooLarge) {
            self.catalog.remember(key, outcome.clone());
        }
        outcome
    }
}

/// What a relation's name means.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found<'a> {
    /// A catalog that reads the same on every node.
    Builtin,
    /// One of the snapshot.
    User(&'a Relation),
    /// None of them, and why it is for the primary.
    No(Reason),
}

fn builtin_relation<'a>(name: &str) -> Found<'a> {
    if builtins::allows_relation(name) {
        return Found::Builtin;
    }
    let node = name.starts_with("pg_stat_")
        || name.starts_with("pg_statio_")
        || name.starts_with("pg_prepared_")
        || name.starts_with("pg_replication_")
        || matches!(
            name,
            "pg_locks"
                | "pg_settings"
                | "pg_sequences"
                | "pg_cursors"
                | "pg_file_settings"
                | "pg_hba_file_rules"
                | "pg_ident_file_mappings"
                | "pg_shmem_allocations"
                | "pg_shmem_allocations_numa"
                | "pg_backend_memory_contexts"
                | "pg_config"
                | "pg_wait_events"
                | "pg_aios"
                | "pg_dsm_registry_allocations"
        );
    Found::No(if node { Reason::NodeRelation } else { Reason::UnknownRelation })
}

/// All argument types are shown and are the function's own: Postgres looks no further.
fn exact(function: &Function, call: &Call<'_>) -> bool {
    call.args == Some(function.args.len())
        && call.shown.len() == function.args.len()
        && call.shown.iter().zip(&function.args).all(|(shown, arg)| shown.is_some_and(|s| s == arg))
}

/// The same by Postgres's own implicit casts.
fn fits(shown: Shown, declared: Option<&str>) -> bool {
    let (Some(from), Some(declared)) = (shown, declared) else { return true };
    let Some(to) = walk::canonical_type(declared) else { return true };
    if from == to {
        return true;
    }
    const NUMBERS: [&str; 6] = ["smallint", "integer", "bigint", "numeric", "real", "double precision"];
    const TIMES: [&str; 3] = ["date", "timestamp without time zone", "timestamp with time zone"];
    for family in [&NUMBERS[..], &TIMES[..]] {
        if let (Some(f), Some(t)) =
            (family.iter().position(|x| *x == from), family.iter().position(|x| *x == to))
        {
            return f < t;
        }
    }
    false
}

/// Functions of extensions are C code that nobody can look into here: by a list.
fn extension_function(extension: &str, function: &Function, planning: bool) -> Result<(), Reason> {
    const PURE: &[&str] = &[
        "hstore",
        "citext",
        "pg_trgm",
        "ltree",
        "intarray",
        "unaccent",
        "pgcrypto",
        "uuid-ossp",
        "cube",
        "seg",
        "isn",
        "fuzzystrmatch",
        "earthdistance",
        "btree_gin",
        "btree_gist",
        "bloom",
        "tsm_system_rows",
        "tsm_system_time",
        "postgis",
        "postgis_raster",
        "postgis_topology",
        "postgis_sfcgal",
        "vector",
        "ip4r",
        "semver",
        "pg_similarity",
        "prefix",
        "hll",
        "tdigest",
        "roaringbitmap",
        "rum",
        "pg_bigm",
        "zhparser",
        "h3",
        "h3_postgis",
        "unit",
        "numeral",
    ];
    const HARMLESS_VOLATILE: &[(&str, &str)] = &[
        ("pgcrypto", "gen_random_bytes"),
        ("pgcrypto", "gen_random_uuid"),
        ("pgcrypto", "gen_salt"),
        ("pgcrypto", "pgp_sym_encrypt"),
        ("pgcrypto", "pgp_sym_encrypt_bytea"),
        ("pgcrypto", "pgp_pub_encrypt"),
        ("pgcrypto", "pgp_pub_encrypt_bytea"),
        ("uuid-ossp", "uuid_generate_v1"),
        ("uuid-ossp", "uuid_generate_v1mc"),
        ("uuid-ossp", "uuid_generate_v4"),
        ("tablefunc", "normal_rand"),
    ];
    let name = function.name.as_str();
    if HARMLESS_VOLATILE.contains(&(extension, name)) {
        return Ok(());
    }
    if planning && function.volatility == 'v' {
        return Ok(());
    }
    if PURE.contains(&extension) && function.volatility != 'v' && function.kind != 'p' {
        // postgis' ST_EstimatedExtent and its like read statistics; names that take SQL are refused.
        let takes_sql = name.contains("query") && !matches!(extension, "intarray" | "ltree" | "pg_trgm");
        return if takes_sql { Err(Reason::UnknownFunction) } else { Ok(()) };
    }
    Err(if function.volatility == 'v' { Reason::WritingFunction } else { Reason::UnknownFunction })
}

/// A reason found further down is told by the thing that led there, except where it says more.
fn through(by: Reason) -> impl Fn(Reason) -> Reason {
    move |inner| match inner {
        Reason::Sequence
        | Reason::AdvisoryLock
        | Reason::LargeObject
        | Reason::UnloggedRelation
        | Reason::TemporaryRelation
        | Reason::ForeignTable
        | Reason::NodeFunction
        | Reason::NodeRelation
        | Reason::Notify
        | Reason::Locks => inner,
        _ => by,
    }
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name).trim_matches('"').trim_end_matches("[]")
}

/// Without semicolons at the end.
fn trimmed<'t>(tokens: &'t [lex::Token], sql: &str) -> &'t [lex::Token] {
    let mut end = tokens.len();
    while end > 0 && sql.as_bytes()[tokens[end - 1].start as usize] == b';' {
        end -= 1;
    }
    &tokens[..end]
}
