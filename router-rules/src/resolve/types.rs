//! Types, and what converts and compares their values: domains, casts, operators, operator classes.

use super::{CATALOG_OID, Found, Resolver, each_once, through};
use crate::builtins;
use crate::catalog::{Catalog, Relation, Type, Unknown};
use crate::facts::{Facts, Name, Operation};
use crate::reason::Reason;
use crate::walk::Text;

/// How deep rows within rows are followed; deeper ones may hold anything.
const HOLDING_DEPTH_MAX: usize = 4;

impl<'a> Resolver<'a> {
    pub(super) fn operation(&mut self, operation: &Operation<'_>) -> Result<(), Reason> {
        let catalog: &'a Catalog = self.catalog;
        let schema = operation.schema.as_deref();
        let mut known = match (catalog.unknown(), schema) {
            (Unknown::Sketch, _) | (Unknown::OrdinaryTables, None) => true,
            (_, None | Some("pg_catalog")) => builtins::is_operator(&operation.name),
            _ => false,
        };
        for operator in catalog.operators(&operation.name) {
            self.effort.take(2 + self.path.len() / 4 + operator.partners.len())?;
            let visible = self.visible(&operator.schema, schema);
            known |= visible;
            let meant = visible
                && self.fits(operation.left, operator.left.as_deref())
                && self.fits(operation.right, operator.right.as_deref());
            if meant {
                for &function in [&operator.function].into_iter().chain(&operator.partners) {
                    self.function_by_oid(function).map_err(through(Reason::WritingOperator))?;
                }
            }
        }
        self.meets_stranger |= !known;
        known.then_some(()).ok_or(Reason::UnknownFunction)
    }

    pub(super) fn knows_type(&self, name: &Name<'_>) -> bool {
        let schema = name.schema.as_deref();
        self.catalog.types(&name.name).any(|t| self.visible(&t.schema, schema))
    }

    pub(super) fn named_type(&mut self, name: &Name<'_>) -> Result<(), Reason> {
        self.effort.take(4)?;
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
            self.effort.take(1 + self.path.len() / 4)?;
            if self.visible(&found.schema, schema) {
                known = true;
                self.look_into_type(found)?;
            }
        }
        if !known {
            match self.find_relation(name) {
                Found::User(relation) => {
                    known = true;
                    self.reads_relation(relation.oid);
                    self.columns(relation)?;
                }
                Found::Builtin => known = true,
                Found::No(_) => {}
            }
        }
        if known || catalog.unknown() != Unknown::Primary {
            return Ok(());
        }
        self.meets_stranger = true;
        Err(Reason::UnknownType)
    }

    pub fn look_into_type(&mut self, found: &'a Type) -> Result<(), Reason> {
        if !self.types_seen.insert((&found.schema, &found.name)) {
            return Ok(());
        }
        if self.is_in_doubt(&found.name) {
            return self.doubts();
        }
        let _level = self.effort.look_deeper()?;
        // That types change counts as a change of everything.
        for check in &found.checks {
            self.expression(check, Text::Sql).map_err(through(Reason::WritingOperator))?;
        }
        found.parts.iter().try_for_each(|part| self.spelt_type(part))
    }

    /// A type as the catalog spells it; built-in ones are harmless.
    pub(super) fn spelt_type(&mut self, spelt: &str) -> Result<(), Reason> {
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
    pub(super) fn columns(&mut self, relation: &'a Relation) -> Result<(), Reason> {
        if !self.types_seen.insert((&relation.schema, &relation.name)) {
            return Ok(());
        }
        if self.is_in_doubt(&relation.name) {
            return self.doubts();
        }
        let _level = self.effort.look_deeper()?;
        relation.columns.iter().try_for_each(|(_, kind)| self.spelt_type(kind))
    }

    /// Sorting, grouping and joining call what user-defined operator classes name.
    pub(super) fn comparisons(&mut self, facts: &Facts<'_>) -> Result<(), Reason> {
        let catalog: &'a Catalog = self.catalog;
        // A function may compare what it is given: `array_position`, `max`, `record_eq`.
        if facts.operators.is_empty() && facts.calls.is_empty() {
            return Ok(());
        }
        // Those in C come with an access method or an extension.
        let written = catalog.rows.supports.iter().filter_map(|&oid| catalog.function_by_oid(oid));
        self.effort.take(catalog.rows.supports.len())?;
        for function in written.filter(|f| f.extension.is_none() && !matches!(&*f.language, "c" | "internal"))
        {
            self.look_into_function(function).map_err(through(Reason::WritingOperator))?;
        }
        Ok(())
    }

    /// Any identifier at all that is also the name of a domain or composite type: it may stand
    /// where a type stands. In PL/pgSQL, and beside functions that fill a row that they are given, so
    /// may the name of a table.
    pub(super) fn mentioned_types(&mut self, facts: &Facts<'_>) -> Result<(), Reason> {
        if self.catalog.rows.types.is_empty() {
            return Ok(());
        }
        let catalog: &'a Catalog = self.catalog;
        let fills_rows = facts.body || facts.calls.iter().any(|c| c.name.name.contains("_populate_record"));
        for word in each_once(facts.words.iter(), facts.words.len()) {
            for found in catalog.types(word) {
                self.effort.take(1)?;
                if matches!(found.kind, 'd' | 'c') {
                    self.look_into_type(found)?;
                }
            }
            if fills_rows {
                for relation in catalog.relations(word) {
                    self.effort.take(1)?;
                    self.columns(relation)?;
                }
            }
        }
        Ok(())
    }

    /// A cast with a function that is not harmless taints the types that it joins.
    pub(super) fn casts(&mut self, facts: &Facts<'_>) -> Result<(), Reason> {
        let catalog: &'a Catalog = self.catalog;
        for cast in catalog.rows.casts.iter().filter(|cast| cast.function != 0) {
            self.effort.take(1)?;
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
            // What no value of the statement's comes to is not called by it.
            if involved {
                self.function_by_oid(cast.function).map_err(through(Reason::WritingOperator))?;
            }
        }
        Ok(())
    }

    /// Could a value of the user-defined type `spelt` (`name` without its schema) turn up: named,
    /// in a column of a relation that is read, or as an argument or result of a function?
    pub(super) fn handles(&self, facts: &Facts<'_>, name: &str, spelt: &str) -> bool {
        if self.effort.take(facts.words.len() + facts.relations.len() + facts.calls.len()).is_err() {
            return true;
        }
        let is = |kind: &str| self.holds(kind, spelt, HOLDING_DEPTH_MAX);
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
}

impl Resolver<'_> {
    /// True when a value of the type `kind` is or may hold one of the type `wanted`.
    fn holds(&self, kind: &str, wanted: &str, depth: usize) -> bool {
        let kind = kind.trim_end_matches("[]");
        if kind == wanted || depth == 0 || self.effort.take(1).is_err() {
            return true;
        }
        let (schema, name) = kind.split_once('.').map_or((None, kind), |(s, n)| (Some(s), n));
        let (schema, name) = (schema.map(|s| s.trim_matches('"')), name.trim_matches('"'));
        let here = |other: &str| schema.is_none_or(|s| s == other);
        let catalog = self.catalog;
        catalog
            .types(name)
            .filter(|t| here(&t.schema))
            .any(|t| t.parts.iter().any(|part| self.holds(part, wanted, depth - 1)))
            || catalog
                .relations(name)
                .filter(|r| here(&r.schema))
                .any(|r| r.columns.iter().any(|(_, part)| self.holds(part, wanted, depth - 1)))
    }
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name).trim_matches('"').trim_end_matches("[]")
}
