//! Step two: what would it do.

use crate::cluster::catalogs;
use crate::server::prepared::Prepared;
use crate::session::Session;
use crate::session::memory::Wishes;
use crate::session::receive::{Kind, Request, frames};
use crate::wire::frame::HEADER_BYTES;
use crate::wire::frontend::{self, tag};
use crate::wire::{Refusal, sqlstate};
use bytes::Bytes;
use router_rules::statement::Footprint;
use router_rules::{Classified, Reason, Scope, SessionEffect};
use smallvec::SmallVec;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Statements that clients have asked to prepare.
static PREPARED: AtomicU64 = AtomicU64::new(0);

/// In a longer text (bytes) a name is found as it is written in lower case only.
const NAMES_BYTES_MAX: usize = 2_000;

/// What a request would do.
#[derive(Debug)]
pub struct Work {
    /// The texts that it runs or prepares, in order, neighbours that are equal once.
    pub parts: SmallVec<[Arc<Classified>; 1]>,
    /// The SQL of each.
    pub texts: SmallVec<[Bytes; 1]>,
    /// What its Parse messages prepare, in order.
    pub parsed: Vec<Arc<Prepared>>,
    /// All that is read.
    pub reads: Footprint,
    /// Every part is proved read-only, or why the first is not.
    pub verdict: Result<Reason, Reason>,
    /// It is SHOW of this setting of ours.
    pub shows: Option<String>,
    /// It binds a statement whose result was described to the client earlier.
    pub relies_on_shapes: bool,
    /// The cluster's position, where that is what it shows.
    pub position: Option<String>,
}

impl Work {
    fn nothing() -> Self {
        Self {
            parts: SmallVec::new(),
            texts: SmallVec::new(),
            parsed: vec![],
            reads: Footprint::none(),
            verdict: Ok(Reason::ReadOnly),
            shows: None,
            relies_on_shapes: false,
            position: None,
        }
    }

    fn add(&mut self, part: &Arc<Classified>, sql: Bytes) {
        if self.parts.last().is_some_and(|last| Arc::ptr_eq(last, part)) {
            return;
        }
        if self.verdict.is_ok() {
            self.verdict = part.verdict;
        }
        self.reads = if self.parts.is_empty() { part.reads.clone() } else { self.reads.union(&part.reads) };
        self.parts.push(part.clone());
        self.texts.push(sql);
    }

    fn note_show(&mut self, part: &Classified, sql: &[u8]) {
        if let [statement] = part.statements.as_slice()
            && statement.kind == router_rules::statement::Kind::Show
        {
            let text = String::from_utf8_lossy(sql).to_ascii_lowercase();
            let name = text.split_ascii_whitespace().nth(1).unwrap_or("").trim_end_matches(';');
            self.shows = name.starts_with("pgweir.").then(|| name.to_owned());
        }
    }

    fn unknown(reason: Reason) -> Self {
        Self {
            parts: SmallVec::new(),
            texts: SmallVec::new(),
            parsed: vec![],
            reads: Footprint::Everything,
            verdict: Err(reason),
            shows: None,
            relies_on_shapes: false,
            position: None,
        }
    }

    /// Names it in logs: a hash of its first text, literals stripped.
    pub fn shape(&self) -> u64 {
        self.parts.first().map_or(0, |part| part.shape)
    }

    /// A query that no replica may answer, with this name (in lower case) in its text.
    pub fn asks_server(&self, name: &[u8]) -> bool {
        use router_rules::statement::Kind;
        let mentions = |sql: &[u8]| {
            if sql.len() > NAMES_BYTES_MAX {
                return memchr::memmem::find(sql, name).is_some();
            }
            sql.windows(name.len()).any(|window| window.eq_ignore_ascii_case(name))
        };
        let asks = |part: &Classified, sql: &[u8]| {
            part.verdict.is_err()
                && part
                    .statements
                    .iter()
                    .any(|s| matches!(s.kind, Kind::Select | Kind::Prepare | Kind::Other))
                && mentions(sql)
        };
        self.parts.iter().zip(&self.texts).any(|(part, sql)| asks(part, sql))
    }

    /// The single statement that this is, if it is one.
    pub fn single(&self) -> Option<&router_rules::Statement> {
        match self.parts.as_slice() {
            [part] if part.statements.len() == 1 => part.statements.first(),
            _ => None,
        }
    }
}

impl Session {
    /// Classifies a request.
    ///
    /// # Errors
    /// A value of a `pgweir.…` setting that it cannot have; a message that cannot be read.
    pub(super) fn classify(&mut self, request: &Request) -> Result<Work, Refusal> {
        self.refresh_scope();
        let work = match request.kind {
            Kind::Query if request.left > 0 => Work::unknown(Reason::TooLarge),
            Kind::Query => {
                let body = &request.frames[HEADER_BYTES..];
                let sql = frontend::query(body).ok_or_else(|| malformed("Query"))?;
                let mut work = Work::nothing();
                let part = self.weir.classifier.classify(sql, &self.memory.scope);
                work.note_show(&part, sql);
                work.add(&part, request.frames.slice_ref(sql));
                work
            }
            Kind::Batch(_) => self.classify_batch(request)?,
            Kind::FunctionCall => Work::unknown(Reason::FunctionCall),
            Kind::Terminate => Work::nothing(),
        };
        for effect in
            work.parts.iter().filter(|p| !p.plain).flat_map(|p| &p.statements).flat_map(|s| &s.effects)
        {
            check_wish(effect)?;
        }
        Ok(work)
    }

    fn classify_batch(&mut self, request: &Request) -> Result<Work, Refusal> {
        let mut work = Work::nothing();
        // Names prepared in this very batch come before those prepared earlier.
        let mut named: Vec<(&[u8], usize)> = vec![];
        for (kind, body) in frames(&request.frames) {
            match kind {
                tag::PARSE => {
                    let parse = frontend::parse(body).ok_or_else(|| malformed("Parse"))?;
                    let prepared = self.prepare(&parse);
                    work.note_show(&prepared.classified, parse.sql);
                    work.add(&prepared.classified, prepared.sql.clone());
                    named.push((parse.name, work.parsed.len()));
                    work.parsed.push(prepared);
                }
                tag::BIND => {
                    let bind = frontend::bind(body).ok_or_else(|| malformed("Bind"))?;
                    self.add_named(&mut work, &named, bind.statement);
                }
                tag::DESCRIBE => {
                    let describe = frontend::named(body).ok_or_else(|| malformed("Describe"))?;
                    if describe.kind == b'S' {
                        self.add_named(&mut work, &named, describe.name);
                    }
                }
                tag::EXECUTE => {
                    frontend::execute(body).ok_or_else(|| malformed("Execute"))?;
                }
                tag::CLOSE => {
                    frontend::named(body).ok_or_else(|| malformed("Close"))?;
                }
                tag::SYNC | tag::FLUSH if !body.is_empty() => return Err(malformed("Sync")),
                _ => {}
            }
        }
        Ok(work)
    }

    fn add_named(&mut self, work: &mut Work, named: &[(&[u8], usize)], name: &[u8]) {
        if let Some((_, at)) = named.iter().rev().find(|(n, _)| *n == name) {
            let prepared = work.parsed[*at].clone();
            work.add(&prepared.classified, prepared.sql.clone());
        } else if let Some(prepared) = self.current(name) {
            work.relies_on_shapes |= prepared.shape().is_some();
            work.add(&prepared.classified, prepared.sql.clone());
        } else {
            // Prepared by SQL, or not at all: only the session's own server can say.
            work.verdict = Err(Reason::Session);
        }
    }

    fn prepare(&self, parse: &frontend::Parse<'_>) -> Arc<Prepared> {
        Arc::new(Prepared {
            key: Prepared::key_of(
                &self.weir.statement_seed,
                parse.sql,
                parse.types,
                &self.memory.scope.search_path,
            ),
            // It may live for long: what was read with it must not.
            sql: Bytes::copy_from_slice(parse.sql),
            types: Bytes::copy_from_slice(parse.types),
            classified: self.weir.classifier.classify(parse.sql, &self.memory.scope),
            scope: self.memory.scope.id,
            number: PREPARED.fetch_add(1, Ordering::Relaxed),
            shape: AtomicU64::new(0),
        })
    }

    /// A statement prepared earlier, classified under the scope that is in force now.
    pub(super) fn current(&mut self, name: &[u8]) -> Option<Arc<Prepared>> {
        let scope = &self.memory.scope;
        let prepared = self.memory.statements.get_mut(name)?;
        if prepared.scope != scope.id {
            *prepared = Arc::new(Prepared {
                key: prepared.key,
                sql: prepared.sql.clone(),
                types: prepared.types.clone(),
                classified: self.weir.classifier.classify(&prepared.sql, scope),
                scope: scope.id,
                number: prepared.number,
                shape: AtomicU64::new(prepared.shape.load(Ordering::Relaxed)),
            });
        }
        Some(prepared.clone())
    }

    /// The scope follows the session's settings and the catalog.
    pub(super) fn refresh_scope(&mut self) {
        let changes = catalogs::changes();
        let settings = self.memory.settings.now();
        if self.memory.scope_settings == settings.id()
            && self.memory.scope_changes == changes
            && self.started.duration_since(self.memory.scope_asked) < catalogs::ASK_EVERY / 2
        {
            return;
        }
        let catalog = self.weir.cluster.catalog(&self.who.database);
        (self.memory.scope_changes, self.memory.scope_asked) = (changes, self.started);
        let generation = catalog.as_ref().map_or(0, |c| c.generation);
        let known = self.memory.scope.catalog.as_ref().map_or(0, |c| c.generation);
        if self.memory.scope_settings == settings.id() && known == generation {
            return;
        }
        self.weir.classifier.on_catalog(generation);
        let search_path = settings.value("search_path").unwrap_or(&self.memory.defaults.search_path);
        let role = match settings.value("role") {
            Some(role) if !role.eq_ignore_ascii_case("none") => role,
            _ => settings.value("session_authorization").unwrap_or(&self.who.user),
        };
        let standard = self.memory.told.get("standard_conforming_strings") != Some("off");
        let id =
            self.weir.statement_seed.hash_one((&self.who.database, generation, search_path, role, standard));
        let scope = Scope {
            id,
            catalog,
            search_path: split_path(search_path),
            role: role.to_owned(),
            standard_conforming_strings: standard,
        };
        self.memory.scope = Arc::new(scope);
        self.memory.scope_settings = settings.id();
    }
}

fn malformed(what: &str) -> Refusal {
    Refusal::new(sqlstate::PROTOCOL_VIOLATION, format!("invalid message format in {what} message"))
}

fn check_wish(effect: &SessionEffect) -> Result<(), Refusal> {
    match effect {
        SessionEffect::Set { name, value, .. } if name.starts_with("pgweir.") => {
            Wishes::check(name, value.as_deref().unwrap_or(""))
                .map_err(|message| Refusal::new(sqlstate::INVALID_PARAMETER_VALUE, message))
        }
        _ => Ok(()),
    }
}

/// Splits a `search_path` as the server shows it: `"$user", public`.
fn split_path(path: &str) -> Vec<String> {
    let mut names = vec![];
    let mut name = String::new();
    let mut quoted = false;
    let mut was_quoted = false;
    let mut chars = path.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                name.push('"');
            }
            '"' => {
                quoted = !quoted;
                was_quoted = true;
            }
            ',' if !quoted => names.push(std::mem::take(&mut name)),
            c if c.is_whitespace() && !quoted => {}
            c if quoted => name.push(c),
            c => name.extend(c.to_lowercase()),
        }
    }
    if !name.is_empty() || was_quoted {
        names.push(name);
    }
    names.retain(|n| !n.is_empty());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_path_is_split_as_postgres_reads_it() {
        assert_eq!(split_path("\"$user\", public"), ["$user", "public"]);
        assert_eq!(split_path("A, \"B c\"\"d,\" ,e"), ["a", "B c\"d,", "e"]);
        assert!(split_path("").is_empty());
        assert!(split_path("\"\"").is_empty());
    }
}
