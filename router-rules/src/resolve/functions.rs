//! Functions: which ones a call may mean, and what is in them.

use super::extensions::{self, Reads, extension_function};
use super::{BODY_TOKENS_MAX, CATALOG_OID, PLANNING, Resolver, through, trimmed};
use crate::builtins;
use crate::catalog::{Catalog, Function, Unknown};
use crate::facts::{Call, Facts, Form, Shown};
use crate::lex;
use crate::reason::Reason;
use crate::shown::{self, canonical_type};
use crate::tokens::Tokens;
use crate::walk::Text;
use std::sync::Arc;

impl<'a> Resolver<'a> {
    pub(super) fn call(&mut self, call: &Call<'_>, facts: &Facts<'_>) -> Result<(), Reason> {
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
            self.effort.take(1 + self.path.len() / 4 + call.shown.len())?;
            if self.visible(&function.schema, schema) && self.applicable(function, call) {
                candidates.push(function);
            }
        }
        let exact: Vec<&'a Function> = candidates.iter().copied().filter(|f| exact(f, call)).collect();
        if !exact.is_empty() {
            candidates = exact;
        }
        for function in &candidates {
            if extensions::runs_query(function) {
                self.given_query(function, call)?;
            } else {
                self.look_into_function(function)?;
            }
        }
        if call.form == Form::Maybe {
            let refused = builtins::refusal(name).filter(|_| !self.allows(name));
            return refused.map_or(Ok(()), Err);
        }
        match schema {
            None | Some("pg_catalog") => {
                self.tells_begin |= builtins::tells_begin(name, call.args);
                if self.allows(name) {
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
                let refused_anywhere = schema.is_none() && self.catalog.lacks_function(name);
                if !candidates.is_empty() || builtins::is_type(name) || refused_anywhere {
                    return Ok(());
                }
                self.named_type(&call.name).map_err(|_| Reason::UnknownFunction)?;
                // A type that nobody has seen is no proof here, whatever it means in a cast.
                if self.knows_type(&call.name) { Ok(()) } else { Err(Reason::UnknownFunction) }
            }
            Some("information_schema") if name.starts_with("_pg_") => Ok(()),
            Some(_) if !candidates.is_empty() => Ok(()),
            Some(_) => {
                self.meets_stranger = true;
                Err(Reason::UnknownFunction)
            }
        }
    }

    /// A built-in of this name is harmless.
    fn allows(&self, name: &str) -> bool {
        builtins::allows_function(name) || (self.of_writes && builtins::writes_nothing(name))
    }

    /// Built-ins that are harmless with these arguments only.
    pub(super) fn harmless_here(&self, name: &str, call: &Call<'_>) -> bool {
        match name {
            "current_setting" => call.literal.as_deref().is_some_and(builtins::setting_follows_session),
            _ if self.planning && builtins::only_runs(name) => true,
            // Their second argument names a type, whose checks may run.
            "pg_input_is_valid" | "pg_input_error_info" => !self.catalog.values_are_checked(),
            // With two arguments the second is SQL.
            "ts_rewrite" => call.args == Some(3),
            _ => false,
        }
    }

    /// `a.f` is a column, unless `f` is a function of one row.
    pub(super) fn functional_notation(&mut self, call: &Call<'_>, _facts: &Facts<'_>) -> Result<(), Reason> {
        let catalog: &'a Catalog = self.catalog;
        for function in catalog.functions(&call.name.name) {
            self.effort.take(1 + self.path.len() / 4)?;
            let takes_row = self.applicable(function, call)
                && function.args.first().is_some_and(|arg| canonical_type(arg).is_none());
            if takes_row && self.visible(&function.schema, None) {
                self.look_into_function(function)?;
            }
        }
        Ok(())
    }

    /// Could this call mean this function, by the number of arguments and what the text shows of their types?
    pub(super) fn applicable(&self, function: &Function, call: &Call<'_>) -> bool {
        let Some(given) = call.args else { return true };
        let declared = function.args.len();
        let required = declared.saturating_sub(function.defaults);
        let enough = given >= if function.variadic { required.saturating_sub(1) } else { required };
        let few_enough = function.variadic || given <= declared;
        let mut pairs = call.shown.iter().zip(&function.args);
        enough && few_enough && pairs.all(|(shown, arg)| self.fits(*shown, Some(arg)))
    }

    /// Could an operand that shows this type be passed as `declared`? Errs towards yes.
    pub(super) fn fits(&self, shown: Shown, declared: Option<&str>) -> bool {
        shown::fits(shown, declared)
            || matches!((shown, declared), (Some(from), Some(to)) if self.catalog.casts_implicitly(from, to))
    }

    pub(super) fn look_into_function(&mut self, function: &'a Function) -> Result<(), Reason> {
        if self.is_in_doubt(&function.name) {
            return self.doubts();
        }
        let outcome = self.memoised(function.oid, |inner| inner.function_outcome(function));
        self.absorb(&outcome);
        match &function.extension {
            // It changes with its extension, and that counts as a change of everything.
            Some(extension) => self.read_by_extension(extension),
            None => self.reads_relation(if function.oid == 0 { CATALOG_OID } else { function.oid }),
        }
        outcome.verdict
    }

    /// A function that runs the queries that it is given, and nothing but queries: they count as if they stood
    /// in the statement.
    fn given_query(&mut self, function: &Function, call: &Call<'_>) -> Result<(), Reason> {
        let takes_two = function.args.get(1).is_some_and(|kind| kind == "text");
        let first = call.literal.as_ref().ok_or(Reason::UnknownFunction)?;
        let second = call.second.as_ref().filter(|_| takes_two);
        if takes_two && second.is_none() {
            return Err(Reason::UnknownFunction);
        }
        for query in [first].into_iter().chain(second) {
            let list =
                lex::tokenize(query.as_bytes(), true, BODY_TOKENS_MAX).map_err(|_| Reason::NotParsed)?;
            let tokens = Tokens { sql: query, list: trimmed(&list, query) };
            let is_query = tokens.is_any(0, &["select", "with", "values", "table"])
                && !tokens.hides_names()
                && !(0..tokens.len()).any(|at| tokens.is_mark(at, ";"));
            if !is_query {
                return Err(Reason::WritingFunction);
            }
            let inner = self.inner(self.session_path, self.role);
            self.look_with(inner, query, Text::Sql)?;
        }
        Ok(())
    }

    /// What functions of an extension may read beside what they are given.
    fn read_by_extension(&mut self, extension: &str) {
        let catalog: &'a Catalog = self.catalog;
        match extensions::reads(extension) {
            Reads::Nothing => {}
            Reads::Relation(name) => {
                for relation in catalog.relations(name) {
                    self.reads_relation(relation.oid);
                }
            }
            Reads::Anything => self.reads = None,
        }
    }

    /// All functions of that name are.
    pub fn all_are_harmless(&mut self, name: &str) -> bool {
        let catalog: &'a Catalog = self.catalog;
        catalog.functions(name).all(|function| self.look_into_function(function).is_ok())
    }

    pub(super) fn function_outcome(&mut self, function: &'a Function) -> Result<(), Reason> {
        if let Some(extension) = &function.extension {
            return extension_function(extension, function, self.planning);
        }
        if function.schema.starts_with("pg_temp") {
            return Err(Reason::TemporaryRelation);
        }
        if function.sets.iter().any(|name| !builtins::setting_harms_nothing(name)) {
            return Err(Reason::WritingFunction);
        }
        if function.kind == 'a' {
            // An aggregate's own functions run in the executor only.
            if self.planning || self.catalog.unknown() == Unknown::Sketch {
                return Ok(());
            }
            if function.parts.is_empty() {
                return Err(Reason::WritingOperator);
            }
            for spelt in function.args.iter().chain([&function.returns, &function.state]) {
                self.spelt_type(spelt)?;
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
            self.expression(defaults, Text::SqlBody).map_err(through(Reason::WritingFunction))?;
        }
        if self.planning && function.volatility == 'v' && function.language != "sql" {
            return Ok(());
        }
        // The planner runs IMMUTABLE and STABLE functions: what is in them is not only planned.
        if function.volatility != 'v' && self.planning {
            self.planning = false;
            self.path_hash ^= PLANNING;
        }
        match (function.language.as_str(), &function.body) {
            ("sql", Some(body)) => {
                self.body(function, body, Text::SqlBody).map_err(through(Reason::WritingFunction))
            }
            ("plpgsql", Some(body)) => {
                self.body(function, body, Text::PlpgsqlBody).map_err(through(Reason::WritingFunction))
            }
            ("internal", Some(symbol)) => {
                let constructor =
                    symbol.starts_with("range_constructor") || symbol.starts_with("multirange_constructor");
                self.tells_begin |= builtins::tells_begin(symbol, None);
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
    pub(super) fn function_by_oid(&mut self, oid: u32) -> Result<(), Reason> {
        if let Some(name) = self.catalog.builtin_by_oid(oid) {
            self.tells_begin |= builtins::tells_begin(name, None);
            return if self.allows(name) { Ok(()) } else { Err(Reason::WritingOperator) };
        }
        let function = self.catalog.function_by_oid(oid).ok_or(Reason::UnknownFunction)?;
        self.look_into_function(function)
    }
}

/// All argument types are shown and are the function's own: Postgres looks no further.
fn exact(function: &Function, call: &Call<'_>) -> bool {
    call.args == Some(function.args.len())
        && call.shown.len() == function.args.len()
        && call.shown.iter().zip(&function.args).all(|(shown, arg)| shown.is_some_and(|s| s == arg))
}
