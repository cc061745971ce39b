//! What a request would do.

use crate::server::prepared::Prepared;
use bytes::Bytes;
use router_rules::session::context;
use router_rules::statement::{Footprint, Kind, Statement, TransactionStep};
use router_rules::{Classified, Reason, SessionEffect};
use smallvec::SmallVec;
use std::sync::Arc;

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
    pub parsed: SmallVec<[Arc<Prepared>; 1]>,
    /// All that is read.
    pub reads: Footprint,
    /// Every part is proved read-only, or why the first is not.
    pub verdict: Result<Reason, Reason>,
    /// Every part is an ordinary read (see [`Work::is_ordinary`]).
    ordinary: bool,
    /// It is SHOW of a setting of ours.
    pub shows: Option<Box<Shown>>,
    /// What it binds or describes of the statements prepared earlier, each with whether it is a named one.
    pub relied: SmallVec<[(Arc<Prepared>, bool); 1]>,
}

/// A setting of ours that is shown.
#[derive(Debug)]
pub struct Shown {
    /// Its name.
    pub name: Box<str>,
    /// The cluster's position, where that is what it shows.
    pub position: Option<String>,
}

impl Default for Work {
    fn default() -> Self {
        Self::nothing()
    }
}

impl Work {
    /// Of a request that asks for nothing.
    pub(super) fn nothing() -> Self {
        Self {
            parts: SmallVec::new(),
            texts: SmallVec::new(),
            parsed: SmallVec::new(),
            reads: Footprint::none(),
            verdict: Ok(Reason::ReadOnly),
            ordinary: true,
            shows: None,
            relied: SmallVec::new(),
        }
    }

    pub(super) fn add(&mut self, part: &Arc<Classified>, sql: &Bytes) {
        if self.parts.last().is_some_and(|last| Arc::ptr_eq(last, part)) {
            return;
        }
        if self.verdict.is_ok() {
            self.verdict = part.verdict;
        }
        self.ordinary &= part.is_ordinary_read();
        self.reads = if self.parts.is_empty() { part.reads.clone() } else { self.reads.union(&part.reads) };
        self.parts.push(part.clone());
        self.texts.push(sql.clone());
    }

    pub(super) fn note_show(&mut self, part: &Classified, sql: &[u8]) {
        if let [statement] = part.statements.as_slice()
            && statement.kind == router_rules::statement::Kind::Show
        {
            let text = String::from_utf8_lossy(sql).to_ascii_lowercase();
            let name = text.split_ascii_whitespace().nth(1).unwrap_or("").trim_end_matches(';');
            let shown = || Box::new(Shown { name: name.into(), position: None });
            self.shows = name.starts_with("pgweir.").then(shown);
        }
    }

    /// What has no text that could be looked at.
    pub(super) fn of(part: Classified) -> Self {
        let mut work = Self::nothing();
        work.add(&Arc::new(part), &Bytes::new());
        work
    }

    /// Proved reads, each a query with nothing beside it: most work is that, and none of what is rare has to
    /// be looked for in it.
    pub fn is_ordinary(&self) -> bool {
        self.ordinary && self.verdict.is_ok() && !self.parts.is_empty() && self.shows.is_none()
    }

    /// What a Parse reads is another in the midst of it. `reverts`: also where its transaction ends.
    pub fn changes_settings(&self, reverts: bool) -> bool {
        let changes = |s: &Statement| {
            s.effects.iter().any(|effect| sets_one(effect, context::matters))
                || (reverts && ends_transaction(s))
        };
        self.parts.iter().any(|part| !part.plain && part.statements.iter().any(changes))
    }

    /// How the functions are planned that it may run: it is more than settings and steps of a transaction.
    /// `changed`: what counts (`is_read`) has changed ahead of it; `reverts`: it does where its transaction ends.
    pub fn planning(&self, mut changed: bool, reverts: bool, is_read: impl Fn(&str) -> bool) -> Planning {
        let mut planning = Planning::Nothing;
        for (part, sql) in self.parts.iter().zip(&self.texts) {
            for statement in &part.statements {
                let sets = statement.effects.iter().any(|effect| sets_one(effect, &is_read));
                if statement.transaction.is_none() && !only_sets(statement, sql) {
                    // What the catalog does not show yet may keep anything.
                    if changed || sets || part.verdict == Err(Reason::UnknownFunction) {
                        return Planning::Uncertain;
                    }
                    planning = Planning::InForce;
                }
                changed |= sets || (reverts && ends_transaction(statement));
            }
        }
        planning
    }

    /// What it leaves behind hangs on a catalog that is not known.
    pub fn is_doubtful(&self) -> bool {
        self.parts.iter().any(|part| part.statements.iter().any(router_rules::Statement::is_doubtful))
    }

    /// A catalog that would tell what it does or leaves behind, or the position that it shows.
    pub fn lacks_something(&self) -> bool {
        !self.is_ordinary()
            && (self.verdict == Err(Reason::NoCatalog) || self.shows.is_some() || self.is_doubtful())
    }

    /// Names it in logs: a hash of its first text, literals stripped.
    pub fn shape(&self) -> u64 {
        self.parts.first().map_or(0, |part| part.shape)
    }

    /// A query that no replica may answer, with this name (in lower case) in its text.
    pub fn asks_server(&self, name: &[u8]) -> bool {
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

/// How what functions run is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planning {
    /// There is nothing to be planned.
    Nothing,
    /// Under the settings that are in force.
    InForce,
    /// Under those, or under others.
    Uncertain,
}

/// It sets something that counts, or may.
fn sets_one(effect: &SessionEffect, counts: impl Fn(&str) -> bool) -> bool {
    use SessionEffect::{DiscardAll, Reset, ResetAll, Set, SetToParameter, SetUnknown, SetUnknownLocally};
    match effect {
        Set { name, .. }
        | Reset { name, .. }
        | SetToParameter { name, .. }
        | SetUnknown { name }
        | SetUnknownLocally { name } => name.is_empty() || counts(name),
        ResetAll | DiscardAll => true,
        _ => false,
    }
}

/// SET, RESET, or a query that calls `set_config` and no other function.
fn only_sets(statement: &Statement, sql: &[u8]) -> bool {
    let effects = &statement.effects;
    !effects.is_empty()
        && effects.iter().all(|effect| sets_one(effect, |_| true))
        && (statement.kind == Kind::Set || memchr::memchr_iter(b'(', sql).count() <= effects.len())
}

fn ends_transaction(statement: &Statement) -> bool {
    let begins =
        |step: &TransactionStep| matches!(step, TransactionStep::Begin(_) | TransactionStep::Savepoint(_));
    statement.transaction.as_ref().is_some_and(|step| !begins(step))
}
