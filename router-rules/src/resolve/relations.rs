//! Relations: what a name means, and what reading or writing one leads to.

use super::{BODY_TOKENS_MAX, CATALOG_OID, Resolver, through};
use crate::builtins;
use crate::catalog::{Catalog, Function, Relation, Unknown};
use crate::facts::{Facts, Name};
use crate::lex;
use crate::reason::Reason;
use crate::statistics::lists_relations;
use crate::tokens::Tokens;
use crate::walk::{self, Text};

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

impl<'a> Resolver<'a> {
    pub(super) fn relation(&mut self, name: &Name<'_>, facts: &Facts<'_>, only: bool) -> Result<(), Reason> {
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
            // A CTE in one place hides nothing elsewhere: what is known by that name still counts.
            Found::No(Reason::UnknownRelation)
                if name.schema.is_none() && facts.ctes.contains(&name.name) =>
            {
                Ok(())
            }
            Found::No(Reason::NodeRelation) if facts.names_only && lists_relations(&name.name) => {
                self.relations.push(format!("pg_catalog.{}", name.name).into());
                self.reads_relation(CATALOG_OID);
                Ok(())
            }
            Found::No(Reason::NodeRelation) if self.of_writes => Ok(()),
            Found::No(reason) => {
                self.reads = None;
                self.relations.push(name.written());
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
        if self.effort.take(1 + self.path.len() / 4).is_err() {
            return Found::No(Reason::TooComplex);
        }
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
                if schema == "pg_catalog" {
                    match builtin_relation(&name.name) {
                        Found::No(Reason::UnknownRelation) => {}
                        found => return found,
                    }
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

    pub(super) fn look_into_relation(&mut self, relation: &'a Relation) -> Result<(), Reason> {
        if self.is_in_doubt(&relation.name) {
            return self.doubts();
        }
        let outcome = self.memoised(relation.oid, |inner| inner.relation_outcome(relation));
        self.absorb(&outcome);
        outcome.verdict
    }

    pub(super) fn relation_outcome(&mut self, relation: &'a Relation) -> Result<(), Reason> {
        self.relation_itself(relation)?;
        for &child in &relation.children {
            let child = self.catalog.relation_by_oid(child).ok_or(Reason::UnknownRelation)?;
            self.look_into_relation(child)?;
        }
        Ok(())
    }

    pub(super) fn relation_itself(&mut self, relation: &'a Relation) -> Result<(), Reason> {
        self.reads_relation(relation.oid);
        match relation.persistence {
            'u' | 't' if self.of_writes => {}
            'u' => return Err(Reason::UnloggedRelation),
            't' => return Err(Reason::TemporaryRelation),
            _ => {}
        }
        match relation.kind {
            'r' | 'p' | 'm' => {}
            'v' if relation.definition.is_none() && self.catalog.unknown() == Unknown::Sketch => {}
            'v' => {
                let definition = relation.definition.as_deref().ok_or(Reason::WritingView)?;
                self.expression(definition, Text::Sql).map_err(through(Reason::WritingView))?;
            }
            'S' if self.of_writes => {}
            'S' => return Err(Reason::Sequence),
            'f' => return Err(Reason::ForeignTable),
            _ => return Err(Reason::NotReadOnly),
        }
        for policy in &relation.policies {
            self.expression(policy, Text::Sql).map_err(through(Reason::WritingView))?;
        }
        Ok(())
    }

    /// What a write to `relation` evaluates (defaults, checks, triggers) writes to no relation.
    pub fn evaluates_harmlessly(&mut self, relation: &'a Relation) -> bool {
        self.expressions_are_harmless(relation)
            && relation.policies.iter().all(|policy| self.expression(policy, Text::Sql).is_ok())
            && relation
                .triggers
                .iter()
                .all(|&oid| self.catalog.function_by_oid(oid).is_some_and(|f| self.is_harmless_trigger(f)))
    }

    /// The expressions that belong to `relation` (defaults, checks, those of indexes and of its columns' domains)
    /// write to no relation.
    pub fn expressions_are_harmless(&mut self, relation: &'a Relation) -> bool {
        if self.is_in_doubt(&relation.name) {
            self.effort.meet_doubt();
            return false;
        }
        relation.expressions.iter().all(|expression| self.expression(expression, Text::Sql).is_ok())
            && relation.columns.iter().all(|(_, kind)| self.spelt_type(kind).is_ok())
    }

    /// The relations that a view names, if its query is proved to be a read of no others.
    pub fn relations_of_view(&mut self, view: &'a Relation) -> Option<Vec<&'a Relation>> {
        if !self.query_writes_nothing(view) {
            return None;
        }
        let definition = view.definition.as_deref()?;
        let tokens = lex::tokenize(definition.as_bytes(), true, BODY_TOKENS_MAX).ok()?;
        let facts = walk::walk(Tokens { sql: definition, list: &tokens }, Text::Sql, self.effort);
        let mut found = vec![];
        for name in &facts.relations {
            match self.find_relation(name) {
                Found::User(relation) => found.push(relation),
                Found::Builtin => {}
                Found::No(_) => return None,
            }
        }
        Some(found)
    }

    /// A view's query is proved to be a read.
    pub fn query_writes_nothing(&mut self, view: &'a Relation) -> bool {
        let definition = view.definition.as_deref();
        definition.is_some_and(|definition| self.expression(definition, Text::Sql).is_ok())
    }

    /// A trigger function may be VOLATILE: what counts is that its body does no more than look at
    /// the row and change it.
    pub(super) fn is_harmless_trigger(&mut self, function: &'a Function) -> bool {
        match (&function.body, function.language.as_str()) {
            (Some(body), "plpgsql") => self.body(function, body, Text::PlpgsqlBody).is_ok(),
            _ => false,
        }
    }
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
