//! What a text does itself, and where it leads.

use super::{Left, Node, Reach, name_of_relation, reach, runs_text};
use crate::analyse::tokens_of_modification;
use crate::catalog::Catalog;
use crate::effort::Effort;
use crate::facts::{Call, Facts, Form, Name};
use crate::lex;
use crate::reason::PinReason;
use crate::shown::canonical_type;
use crate::statement::SessionEffect;
use crate::tokens::Tokens;
use crate::walk::{self, Text};
use crate::{dynamic, effects};
use foldhash::HashSet;
use std::sync::Arc;

/// Texts longer than this (tokens) may do anything.
const TEXT_TOKENS_MAX: usize = 20_000;

/// More settings than this are as good as any.
const SETS_MAX: usize = 32;

/// What a node does itself, and the nodes that it leads to.
#[derive(Debug, Default)]
pub(super) struct Direct {
    pub left: Left,
    /// Settings that it gives values that only the server knows.
    pub sets: Vec<SessionEffect>,
    pub unknown: bool,
    pub edges: Vec<Node>,
}

/// Finds out what is direct.
pub(super) struct Finder<'a> {
    pub catalog: &'a Catalog,
    effort: &'a Effort,
    pub found: Direct,
}

/// Where a statement with these facts leads. What built-ins do that it calls itself is left out.
pub(crate) fn of_statement(
    catalog: &Catalog,
    facts: &Facts<'_>,
    tokens: Tokens<'_>,
    effort: &Effort,
) -> Vec<Node> {
    let mut finder = Finder::new(catalog, effort);
    finder.facts(facts, tokens, None);
    finder.modifications(tokens);
    let mut edges = finder.found.edges;
    edges.sort_unstable();
    edges.dedup();
    edges
}

/// Where writing to relations by these names leads.
pub(crate) fn of_writing(catalog: &Catalog, names: &[Name<'_>], effort: &Effort) -> Vec<Node> {
    let mut finder = Finder::new(catalog, effort);
    names.iter().for_each(|name| finder.relation(name, Node::Write));
    finder.found.edges
}

/// The relations that any word may mean, qualified.
pub(crate) fn names_mentioned(catalog: &Catalog, tokens: Tokens<'_>, effort: &Effort) -> Vec<Arc<str>> {
    let mut finder = Finder::new(catalog, effort);
    finder.relations_mentioned(tokens);
    let places = finder.found.edges.iter().filter_map(|edge| match edge {
        Node::Write(at) => catalog.rows.relations.get(*at as usize),
        _ => None,
    });
    places.map(name_of_relation).collect()
}

/// What a DO block does.
pub(crate) fn of_block(catalog: &Catalog, body: &str, effort: &Effort) -> Reach {
    let mut finder = Finder::new(catalog, effort);
    finder.text(body, Text::PlpgsqlBody);
    let Direct { left, sets, unknown, edges } = finder.found;
    let mut reach = reach(catalog, &edges, effort);
    reach.left |= left;
    reach.take_over(&sets);
    reach.unknown |= unknown;
    reach
}

/// Where a statement leads that changes the schema or works on whole relations.
pub(crate) fn of_utility(
    catalog: &Catalog,
    facts: &Facts<'_>,
    tokens: Tokens<'_>,
    effort: &Effort,
) -> Vec<Node> {
    let mut finder = Finder::new(catalog, effort);
    finder.facts(facts, tokens, None);
    finder.found.edges.push(Node::Ddl);
    let before = finder.found.edges.len();
    finder.relations_mentioned(tokens);
    let names_none = finder.found.edges.len() == before;
    if names_none && tokens.is_any(0, &["vacuum", "analyze", "analyse", "reindex", "cluster", "repack"]) {
        finder.found.edges.push(Node::Everything);
    }
    let mut edges = finder.found.edges;
    edges.sort_unstable();
    edges.dedup();
    edges
}

impl<'a> Finder<'a> {
    pub fn new(catalog: &'a Catalog, effort: &'a Effort) -> Self {
        Self { catalog, effort, found: Direct::default() }
    }

    /// Nobody knows what it does.
    pub fn may_do_anything(&mut self) {
        self.found.left |= Left::ANYTHING;
        self.found.unknown = true;
    }

    /// A text that runs.
    pub fn text(&mut self, sql: &str, text: Text) {
        let Ok(list) = lex::tokenize(sql.as_bytes(), true, TEXT_TOKENS_MAX) else {
            return self.may_do_anything();
        };
        let tokens = Tokens { sql, list: &list };
        if tokens.hides_names() {
            return self.may_do_anything();
        }
        if self.catalog.doubts().mentioned_in(tokens) {
            return self.effort.meet_doubt();
        }
        let facts = walk::walk(tokens, text, self.effort);
        self.facts(&facts, tokens, Some(text));
        if text != Text::Sql {
            self.modifications(tokens);
            self.statements(tokens, text);
        }
    }

    /// What a text mentions; of a body, also what the built-ins do that it calls.
    fn facts(&mut self, facts: &Facts<'_>, tokens: Tokens<'_>, inner: Option<Text>) {
        for name in &facts.relations {
            self.relation(name, Node::Read);
        }
        for call in &facts.calls {
            self.call(call);
            if inner.is_some() && matches!(call.name.schema.as_deref(), None | Some("pg_catalog")) {
                self.builtin_within(call, tokens);
            }
        }
        let mut named: HashSet<(Option<&str>, &str)> = HashSet::default();
        for operation in &facts.operators {
            if !named.insert((operation.schema.as_deref(), &operation.name)) || self.effort.gave_up() {
                continue;
            }
            let schema = operation.schema.as_deref();
            for operator in self.catalog.operators(&operation.name) {
                if schema.is_none_or(|schema| schema == operator.schema) && self.pays(1) {
                    self.function_by_oid(operator.function);
                    operator.partners.iter().for_each(|oid| self.function_by_oid(*oid));
                }
            }
        }
        for name in &facts.types {
            self.types(&name.name);
            self.rows(&name.name);
        }
        if !self.catalog.rows.types.is_empty() {
            facts.words.iter().for_each(|word| self.types(word));
        }
        if facts.body || facts.calls.iter().any(|call| call.name.name.contains("_populate_record")) {
            facts.words.iter().for_each(|word| self.rows(word));
        }
        // A query of calls that are given nothing, or names and values of settings, has no value that could be cast.
        let is_given_values = |call: &Call<'_>| {
            let name = &*call.name.name;
            let of_settings = matches!(name, "set_config" | "current_setting");
            (call.args != Some(0) && !of_settings) || self.catalog.functions(name).next().is_some()
        };
        let has_values = inner.is_some()
            || !tokens.is(0, "select")
            || !(facts.relations.is_empty() && facts.operators.is_empty() && facts.types.is_empty())
            || facts.calls.iter().any(is_given_values);
        if !has_values {
            return;
        }
        // Casts are named by nobody.
        for cast in self.catalog.rows.casts.iter().filter(|cast| cast.function != 0) {
            if self.pays(1) {
                self.function_by_oid(cast.function);
            }
        }
    }

    fn pays(&self, steps: usize) -> bool {
        self.effort.take(steps).is_ok()
    }

    fn call(&mut self, call: &Call<'_>) {
        let schema = call.name.schema.as_deref();
        for &at in self.catalog.places_of_functions(&call.name.name) {
            let function = &self.catalog.rows.functions[at as usize];
            let takes_row = || {
                let required = function.args.len().saturating_sub(function.defaults);
                required <= 1 && function.args.first().is_some_and(|arg| canonical_type(arg).is_none())
            };
            let meant = schema.is_none_or(|schema| schema == function.schema)
                && (call.form != Form::Column || takes_row());
            if meant && self.pays(1) {
                self.found.edges.push(Node::Function(at));
            }
        }
    }

    /// A built-in that a body calls.
    fn builtin_within(&mut self, call: &Call<'_>, tokens: Tokens<'_>) {
        match &*call.name.name {
            _ if call.form == Form::Column => {}
            "set_config" => {
                let mut effects = vec![];
                dynamic::of_set_config(tokens, &mut effects);
                effects.into_iter().for_each(|effect| self.leaves(effect));
            }
            // A sequence that a function uses for itself is not the session's concern.
            "nextval" | "setval" => self.found.left |= Left::DRAWS,
            name => self.builtin(name),
        }
    }

    pub(super) fn leaves(&mut self, effect: SessionEffect) {
        match effect {
            SessionEffect::Pin(PinReason::MayHaveChanged) => self.found.left |= Left::MAY_HAVE_CHANGED,
            SessionEffect::SetUnknown { .. } | SessionEffect::SetUnknownLocally { .. }
                if self.found.sets.len() < SETS_MAX =>
            {
                effects::push(&mut self.found.sets, effect);
            }
            _ => self.found.left |= Left::ANYTHING,
        }
    }

    fn builtin(&mut self, name: &str) {
        if name == "set_config" {
            self.found.left |= Left::ANYTHING;
        }
        if runs_text(name) {
            self.may_do_anything();
        }
        self.found.left |= Left::of_builtin(name);
    }

    fn relation(&mut self, name: &Name<'_>, node: fn(u32) -> Node) {
        for &at in self.catalog.places_of_relations(&name.name) {
            let schema = &self.catalog.rows.relations[at as usize].schema;
            if name.schema.as_ref().is_none_or(|wanted| wanted == schema) && self.pays(1) {
                self.found.edges.push(node(at));
            }
        }
    }

    fn types(&mut self, name: &str) {
        for &at in self.catalog.places_of_types(name) {
            if self.pays(1) {
                self.found.edges.push(Node::Type(at));
            }
        }
    }

    fn rows(&mut self, name: &str) {
        for &at in self.catalog.places_of_relations(name) {
            if self.pays(1) {
                self.found.edges.push(Node::Row(at));
            }
        }
    }

    /// A type as the catalog spells it.
    pub fn spelt_type(&mut self, spelt: &str) {
        let spelt = spelt.trim_end_matches("[]");
        let name = spelt.rsplit_once('.').map_or(spelt, |(_, name)| name).trim_matches('"');
        self.types(name);
        if spelt.contains('.') {
            self.rows(name);
        }
    }

    /// A function that something refers to.
    pub fn function_by_oid(&mut self, oid: u32) {
        if let Some(at) = self.catalog.place_of_function(oid) {
            self.found.edges.push(Node::Function(at));
        } else if let Some(name) = self.catalog.builtin_by_oid(oid) {
            let name = name.to_owned();
            self.builtin(&name);
        } else {
            self.may_do_anything();
        }
    }

    /// A relation that something refers to.
    pub fn relation_by_oid(&mut self, oid: u32, node: fn(u32) -> Node) {
        match self.catalog.place_of_relation(oid) {
            Some(at) => self.found.edges.push(node(at)),
            None => self.may_do_anything(),
        }
    }

    /// Whatever a view reads may be written to through it.
    pub fn written_through(&mut self, definition: &str) {
        if let Ok(list) = lex::tokenize(definition.as_bytes(), true, TEXT_TOKENS_MAX) {
            let tokens = Tokens { sql: definition, list: &list };
            if self.catalog.doubts().mentioned_in(tokens) {
                self.effort.meet_doubt();
            }
            let facts = walk::walk(tokens, Text::Sql, self.effort);
            facts.relations.iter().for_each(|name| self.relation(name, Node::Write));
        }
    }

    /// What INSERT, UPDATE, DELETE, MERGE and COPY write to.
    fn modifications(&mut self, tokens: Tokens<'_>) {
        for at in tokens_of_modification(tokens) {
            if let Some((name, _)) = tokens.name(at) {
                self.relation(&name, Node::Write);
                if self.catalog.may_be_settings(&name.name) {
                    // An UPDATE of it is a SET.
                    self.found.left |= Left::ANYTHING;
                }
            }
        }
    }

    /// Any relation that is named, wherever that is.
    fn relations_mentioned(&mut self, tokens: Tokens<'_>) {
        for at in 0..tokens.len() {
            if let Some(word) = tokens.identifier(at) {
                let name = Name { schema: None, name: word };
                self.relation(&name, Node::Write);
                self.relation(&name, Node::Read);
            }
        }
    }

    /// Statements of a body that work on the session or the schema.
    fn statements(&mut self, tokens: Tokens<'_>, text: Text) {
        let mut changes_schema = false;
        for at in 0..tokens.len() {
            let Some(word) = tokens.identifier(at) else { continue };
            let begins = at == 0
                || tokens.is_mark(at - 1, ";")
                || tokens.is_mark(at - 1, "(")
                || tokens.is_any(at - 1, &["begin", "then", "else", "loop", "atomic", "instead", "also"]);
            match &*word {
                "set" if begins && !tokens.is_any(at + 1, &["local", "constraints"]) => {
                    self.leaves(dynamic::of_set(tokens, at));
                }
                "set" if begins && tokens.is(at + 1, "local") => {
                    dynamic::of_set_local(tokens, at + 2).into_iter().for_each(|effect| self.leaves(effect));
                }
                "reset" | "discard" | "load" | "deallocate" if begins => self.found.left |= Left::ANYTHING,
                "do" if begins => self.may_do_anything(),
                "execute" if !tokens.is_any(at + 1, &["function", "procedure", "on"]) => {
                    self.execute(tokens, at + 1);
                }
                "prepare" if begins => self.found.left |= Left::PREPARED,
                "hold" if tokens.is(at.wrapping_sub(1), "with") => self.found.left |= Left::HOLD_CURSOR,
                "listen" if begins => self.found.left |= Left::LISTEN,
                "unlisten" if begins => self.found.left |= Left::MAY_UNPIN,
                "temp" | "temporary"
                    if at > 0 && tokens.is_any(at - 1, &["create", "into", "replace", "local", "global"]) =>
                {
                    self.found.left |= Left::TEMPORARY;
                }
                name if name.starts_with("pg_temp") => self.found.left |= Left::TEMPORARY,
                "into" if text == Text::SqlBody => changes_schema = true,
                "create" | "alter" | "drop" | "truncate" | "refresh" | "comment" | "grant" | "revoke"
                | "cluster" | "reindex" | "vacuum" | "analyze" | "analyse" | "copy" | "import"
                | "security"
                    if begins =>
                {
                    changes_schema = true;
                }
                _ => {}
            }
        }
        if changes_schema {
            self.found.edges.push(Node::Ddl);
            self.relations_mentioned(tokens);
        }
    }
}
