//! SQL text → [`Classified`], behind a cache of texts and a cache of shapes.

use crate::analyse::{Analysed, Analysis};
use crate::catalog::Catalog;
use crate::effort::Effort;
use crate::encoding::Encoding;
use crate::hint::Hint;
use crate::lex::{self, LexError};
use crate::reach::{self, Node};
use crate::reason::{PinReason, Reason};
use crate::statement::{Footprint, Kind, SessionEffect, Statement};
use crate::temporary::Temporary;
use crate::{builtins, shape, split};
use foldhash::HashSet;
use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};
use std::borrow::Cow;
use std::cell::RefCell;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

/// All that decides what a SQL text means, beside the text itself.
///
/// Built once and kept by the session while its settings stay the same; `id` is the cache key.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Equal for equal scopes, different for different ones (a hash of the fields below and the
    /// catalog's generation).
    pub id: u64,
    /// The database's catalog; `None` while it has not been read yet.
    pub catalog: Option<Arc<Catalog>>,
    /// `search_path` as the server reports or the session set it, split and unquoted; `$user` kept.
    pub search_path: Vec<String>,
    /// The current role, for `$user` and row-level security.
    pub role: String,
    /// `standard_conforming_strings` (off is rare and sends everything with a backslash to the primary).
    pub standard_conforming_strings: bool,
    /// The encoding of the text.
    pub encoding: Encoding,
    /// The temporary objects that the session is known to have.
    pub temporary: Arc<[Temporary]>,
}

/// What a SQL text (one or more statements) would do.
#[derive(Clone, Debug)]
pub struct Classified {
    /// The statements, in order; a text that is not understood is one `Kind::Other`.
    pub statements: Vec<Statement>,
    /// The verdict over all of them.
    pub verdict: Result<Reason, Reason>,
    /// All that is read.
    pub reads: Footprint,
    /// All that may be written.
    pub writes: Footprint,
    /// What a comment in the text asks for.
    pub hint: Option<Hint>,
    /// A hash of the text's shape (literals stripped): names it in logs and in what the net learnt.
    pub shape: u64,
    /// No transaction steps and no session effects: the whole text is just work.
    pub plain: bool,
    /// One query and nothing beside it: no hint, no effect, nothing written. With its verdict that makes an
    /// [ordinary read](Classified::is_ordinary_read).
    pub single_query: bool,
    /// What it took to find this out, in steps of a token or a name each.
    pub steps: usize,
}

/// Classifies SQL texts and remembers its answers. Shared by all sessions.
///
/// Three steps, the dear one last: the text as it is (with its scope) in a cache; its shape,
/// literals stripped, in another; the parser. A text enters the first cache when it is seen for
/// the second time, so that texts that differ in every literal do not wash it out.
#[derive(Debug)]
pub struct Classifier {
    texts: Cache<Key, Arc<Classified>, Weigh>,
    shapes: Cache<Key, Arc<Classified>, Weigh>,
    /// Hashes of texts that were seen once.
    seen: Box<[AtomicU64]>,
    /// Shapes that a replica refused.
    learnt: RwLock<HashSet<u64>>,
    /// The newest generation of a catalog that was heard of.
    generation: AtomicU64,
}

/// Texts longer than this (bytes) are not kept.
const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Slots for the texts seen once; each new one takes another's place.
const SEEN_SLOTS: usize = 8192;
/// Shapes learnt at most; more than that and the oldest lessons are dropped.
const LEARNT_MAX: usize = 10_000;
/// Tokens of a text that are looked at; a text with more is for the primary.
const TEXT_TOKENS_MAX: usize = 1_000_000;

/// The statements of a text with more than so many are not parsed, only walked over.
const PARSED_STATEMENTS_MAX: usize = 100;

/// A text or a shape, under a scope.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    scope: u64,
    text: Box<[u8]>,
}

/// The same, borrowed.
#[derive(Hash)]
struct KeyRef<'a> {
    scope: u64,
    text: &'a [u8],
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.scope == key.scope && *self.text == *key.text
    }
}

/// Weighs a cache entry in bytes, roughly.
#[derive(Clone, Debug)]
struct Weigh;

impl Weighter<Key, Arc<Classified>> for Weigh {
    fn weight(&self, key: &Key, classified: &Arc<Classified>) -> u64 {
        (key.text.len() + 64) as u64 + classified.bytes()
    }
}

impl Default for Classifier {
    fn default() -> Self {
        Self::new(32 << 20)
    }
}

thread_local! {
    /// Working space for stripping, kept from call to call.
    static STRIPPED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Classifier {
    /// A classifier whose caches together hold at most about `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        let half = (bytes_max / 2) as u64;
        let entries = (bytes_max / 2 / 1024).max(64);
        Self {
            texts: Cache::with_weighter(entries, half, Weigh),
            shapes: Cache::with_weighter(entries, half, Weigh),
            seen: (0..SEEN_SLOTS).map(|_| AtomicU64::new(0)).collect(),
            learnt: RwLock::default(),
            generation: AtomicU64::new(0),
        }
    }

    /// What `sql` would do under `scope`. Never panics, never takes more than linear time.
    pub fn classify(&self, sql: &[u8], scope: &Scope) -> Arc<Classified> {
        // A text that was not seen lately is not looked for: it has most likely a literal of its own.
        let again = self.seen_before(sql, scope.id);
        let key = KeyRef { scope: scope.id, text: sql };
        if again && let Some(classified) = self.texts.get(&key) {
            return classified;
        }
        STRIPPED.with_borrow_mut(|stripped| self.classify_new_text(sql, scope, again, stripped))
    }

    fn classify_new_text(
        &self,
        sql: &[u8],
        scope: &Scope,
        again: bool,
        stripped: &mut Vec<u8>,
    ) -> Arc<Classified> {
        shape::strip(sql, scope.standard_conforming_strings, stripped);
        // Where what looks like a quote or a backslash may be half a character, a text has no shape in common
        // with others.
        let readable = sql.is_ascii()
            || match scope.encoding {
                Encoding::Utf8 => std::str::from_utf8(sql).is_ok(),
                Encoding::Apart => true,
                _ => false,
            };
        if readable && let Some(classified) = self.shapes.get(&KeyRef { scope: scope.id, text: stripped }) {
            if again {
                self.texts.insert(Key { scope: scope.id, text: sql.into() }, classified.clone());
            }
            return classified;
        }
        // One that has no shape in common with others is kept by its text alone.
        if !again && let Some(classified) = self.texts.get(&KeyRef { scope: scope.id, text: sql }) {
            return classified;
        }
        let (mut classified, shareable) = classify_text(sql, scope, false);
        classified.shape = shape::hash(stripped);
        if self.is_learnt(classified.shape) && classified.verdict.is_ok() {
            classified.verdict = Err(Reason::Learnt);
        }
        let classified = Arc::new(classified);
        if sql.len() <= TEXT_BYTES_MAX {
            if shareable && readable {
                self.shapes
                    .insert(Key { scope: scope.id, text: stripped.as_slice().into() }, classified.clone());
            } else {
                self.texts.insert(Key { scope: scope.id, text: sql.into() }, classified.clone());
            }
        }
        if stripped.capacity() > 4 * TEXT_BYTES_MAX {
            *stripped = Vec::new();
        }
        classified
    }

    /// True when the text was seen lately; remembers it.
    fn seen_before(&self, sql: &[u8], scope: u64) -> bool {
        if sql.len() > TEXT_BYTES_MAX {
            return false;
        }
        let hash = shape::hash(sql) ^ scope;
        let slot = &self.seen[hash as usize % SEEN_SLOTS];
        slot.swap(hash, Ordering::Relaxed) == hash
    }

    fn is_learnt(&self, shape: u64) -> bool {
        self.learnt.read().is_ok_and(|learnt| !learnt.is_empty() && learnt.contains(&shape))
    }

    /// Why a session keeps its server that ran `sql` when no catalog was known, now that one is.
    pub fn left_behind(&self, sql: &[u8], scope: &Scope) -> Vec<PinReason> {
        let (classified, _) = classify_text(sql, scope, true);
        // It was taken to use sequences, and the session may have come to rely on that.
        let draws = classified.statements.iter().any(|statement| statement.draws);
        let pins = classified.statements.iter().flat_map(|statement| &statement.effects);
        let reasons = pins.filter_map(|effect| match effect {
            SessionEffect::Pin(reason) => Some(*reason),
            // What it was is not asked any more.
            SessionEffect::SetUnknown { .. } => Some(PinReason::Unfollowable),
            _ => None,
        });
        reasons.chain(draws.then_some(PinReason::SequenceState)).collect()
    }

    /// A replica refused this shape: from now on it is for the primary ([`Reason::Learnt`]).
    pub fn learn(&self, shape: u64) {
        if let Ok(mut learnt) = self.learnt.write() {
            if learnt.len() >= LEARNT_MAX {
                learnt.clear();
            }
            learnt.insert(shape);
        }
        self.texts.clear();
        self.shapes.clear();
    }

    /// A catalog of this generation is in use. What was learnt under an older one is forgotten: with
    /// the catalog, the cause of a refusal may have changed.
    pub fn on_catalog(&self, generation: u64) {
        if self.generation.fetch_max(generation, Ordering::Relaxed) >= generation {
            return;
        }
        if let Ok(mut learnt) = self.learnt.write()
            && !learnt.is_empty()
        {
            learnt.clear();
            self.texts.clear();
            self.shapes.clear();
        }
    }

    /// How many entries the caches hold, and their weight in bytes: (texts, shapes, bytes).
    pub fn cached(&self) -> (usize, usize, u64) {
        (self.texts.len(), self.shapes.len(), self.texts.weight() + self.shapes.weight())
    }
}

impl Scope {
    /// A scope, its `id` worked out.
    pub fn new(
        catalog: Option<Arc<Catalog>>,
        search_path: Vec<String>,
        role: String,
        standard_conforming_strings: bool,
    ) -> Self {
        let mut scope = Scope {
            id: 0,
            catalog,
            search_path,
            role,
            standard_conforming_strings,
            encoding: Encoding::Utf8,
            temporary: Arc::default(),
        };
        scope.identify(&foldhash::fast::FixedState::with_seed(1), "");
        scope
    }

    /// Works out its `id`, as one of this database.
    pub fn identify(&mut self, seed: &impl BuildHasher, database: &str) {
        let generation = self.catalog.as_ref().map_or(0, |catalog| catalog.generation);
        let Scope { search_path, role, standard_conforming_strings, encoding, temporary, .. } = self;
        let meaning = (&*search_path, &*role, *standard_conforming_strings, *encoding, &*temporary);
        self.id = seed.hash_one((database, generation, meaning));
    }

    /// The same for a client that writes in another encoding.
    pub fn in_encoding(mut self, encoding: Encoding) -> Self {
        self.id = foldhash::fast::FixedState::with_seed(2).hash_one((self.id, encoding));
        self.encoding = encoding;
        self
    }
}

impl Classified {
    /// Work of which nothing is known but why.
    pub fn unknown(reason: Reason) -> Self {
        whole(vec![Statement::unknown(Kind::Other, reason)], None)
    }

    /// A call of the function with this OID by a message of its own.
    pub fn function_call(oid: u32, catalog: Option<&Catalog>) -> Self {
        let mut statement = Statement::unknown(Kind::Call, Reason::FunctionCall);
        if builtins::LARGE_OBJECT_OIDS.contains(&oid) {
            // Descriptors end with the transaction.
            statement.unknown = false;
            statement.effects.clear();
        } else if let Some((catalog, node)) =
            catalog.and_then(|c| Some((c, Node::Function(c.place_of_function(oid)?))))
        {
            let effort = Effort::on(0);
            let reach = reach::reach(catalog, &[node], &effort);
            if effort.take_doubt() {
                return whole(vec![statement], None);
            }
            statement.unknown = reach.unknown;
            statement.effects = reach.left.effects().collect();
            if !reach.sets.is_empty() {
                // Nobody asks for them behind such a message.
                statement.effects.push(SessionEffect::Pin(PinReason::Unfollowable));
            }
            statement.relations = reach.relations;
            statement.functions = reach.functions;
        }
        whole(vec![statement], None)
    }

    /// May it run inside a READ ONLY transaction on a replica? What is proved read-only may, and
    /// so may what only works on the session or the transaction itself, unless it asks for what a
    /// standby refuses: READ WRITE or SERIALIZABLE.
    pub fn fits_read_only_transaction(&self) -> bool {
        self.statements.iter().all(|statement| {
            let harmless = match statement.kind {
                Kind::Show | Kind::Set | Kind::Empty => true,
                Kind::Transaction => statement.transaction.is_some() && statement.writes.is_none(),
                _ => {
                    statement.verdict.is_ok()
                        || statement.verdict == Err(Reason::Cursor)
                        || statement.only_sets()
                }
            };
            harmless
                && !statement.asks_for_writes()
                && !statement.effects.iter().any(|e| matches!(e, SessionEffect::Pin(_)))
        })
    }

    /// A single query that is proved read-only and asks for nothing else: none of what is looked for in
    /// other statements is in it.
    pub fn is_ordinary_read(&self) -> bool {
        self.single_query && self.verdict.is_ok()
    }

    fn bytes(&self) -> u64 {
        let names = |names: &[Arc<str>]| names.iter().map(|n| n.len() + 32).sum::<usize>();
        let oids = |footprint: &Footprint| match footprint {
            Footprint::Relations(oids) => oids.len() * 4 + 16,
            Footprint::Everything => 0,
        };
        let statements: usize = self
            .statements
            .iter()
            .map(|s| {
                size_of::<Statement>()
                    + names(&s.relations)
                    + names(&s.functions)
                    + oids(&s.reads)
                    + oids(&s.writes)
                    + s.effects.len() * 128
            })
            .sum();
        (size_of::<Self>() + statements) as u64
    }
}

/// Classifies without a cache; true when all texts of the same shape mean the same.
///
/// What follows a change of the schema in the same text is looked at without a catalog, except in
/// `hindsight`, with a catalog that was read when all of it had run.
fn classify_text(sql: &[u8], scope: &Scope, hindsight: bool) -> (Classified, bool) {
    let conforming = scope.standard_conforming_strings;
    let Some(read) = scope.encoding.readable(sql) else {
        let unknown = Statement::unknown(Kind::Other, Reason::NotParsed);
        return (whole(vec![unknown], None), false);
    };
    let text = String::from_utf8_lossy(&read);
    let effort = Effort::on(sql.len());
    let mut analysis = Analysis {
        catalog: scope.catalog.as_deref(),
        search_path: &scope.search_path,
        role: &scope.role,
        // The parser knows one kind of string only.
        thorough: conforming,
        effort: &effort,
        temporary: scope.temporary.to_vec(),
    };
    let (mut statements, mut shareable) = match lex::tokenize(text.as_bytes(), conforming, TEXT_TOKENS_MAX) {
        Ok(tokens) => {
            // The statements pay for more than the tokens.
            let _ = effort.take(tokens.len());
            let mut shareable = true;
            let parts = split::split(&text, &tokens);
            analysis.thorough &= parts.len() <= PARSED_STATEMENTS_MAX;
            let mut statements: Vec<Statement> = Vec::with_capacity(parts.len());
            // The path along which names are looked up is another than at the beginning.
            let mut hides_meanings = false;
            for tokens in parts {
                if effort.gave_up() {
                    break;
                }
                let Analysed { mut statement, literals_matter } = analysis.statement(tokens);
                shareable &= !literals_matter;
                if scope.encoding != Encoding::Utf8 && tokens.names_are_beyond_ascii() {
                    statement.is_unclear(Reason::NotParsed);
                }
                if hides_meanings && statement.looks_names_up() {
                    (statement.reads, statement.writes) = (Footprint::Everything, Footprint::Everything);
                }
                hides_meanings |= statement.effects.iter().any(SessionEffect::changes_meanings);
                if statement.alters.changes_meanings() && !hindsight {
                    analysis.catalog = None;
                }
                analysis.pass_temporary(&statement);
                if statement.replaces && statements.iter().any(Statement::is_doubtful) {
                    statement.effects.push(SessionEffect::Pin(PinReason::Unfollowable));
                }
                statements.push(statement);
            }
            (statements, shareable)
        }
        Err(error) => (vec![unreadable(&text, conforming, error)], false),
    };
    if effort.gave_up() {
        statements = vec![Statement::unknown(Kind::Other, Reason::TooComplex)];
        shareable = false;
    }
    if statements.is_empty() {
        statements.push(Statement::new(Kind::Empty, Ok(Reason::ReadOnly)));
    }
    // Backslashes that may escape, here or in a function's body, or bytes that are not what the client says
    // they are: the tokens are right, but nothing is proved by them.
    let bodies_escape = || analysis.catalog.is_some_and(|catalog| catalog.bodies_escape);
    let escapes = !conforming && (memchr::memchr(b'\\', sql).is_some() || bodies_escape());
    let no_utf8 = scope.encoding == Encoding::Utf8 && matches!(text, Cow::Owned(_));
    if no_utf8 || escapes {
        shareable = false;
        for statement in &mut statements {
            statement.verdict = statement.verdict.and(Err(Reason::NotParsed));
        }
    }
    if (no_utf8 || escapes || scope.encoding != Encoding::Utf8) && !sql.is_ascii() || escapes {
        // What is set to such a value cannot be brought to another server.
        for statement in &mut statements {
            if statement.effects.iter().any(|e| matches!(e, SessionEffect::Set { .. })) {
                statement.effects = vec![SessionEffect::Pin(PinReason::Unfollowable)];
            }
        }
    }
    (Classified { steps: effort.steps(), ..whole(statements, Hint::find(&read)) }, shareable)
}

/// The verdict over all statements of a text.
fn whole(statements: Vec<Statement>, hint: Option<Hint>) -> Classified {
    let verdict = match statements.iter().find_map(|s| s.verdict.err()) {
        Some(_) if statements.len() > 1 => Err(Reason::MultiStatement),
        Some(reason) => Err(reason),
        None => Ok(Reason::ReadOnly),
    };
    let union = |pick: fn(&Statement) -> &Footprint| {
        Footprint::none().union_all(statements.iter().map(|statement| pick(statement).clone()))
    };
    Classified {
        verdict,
        reads: union(|s| &s.reads),
        writes: union(|s| &s.writes),
        single_query: hint.is_none() && matches!(statements.as_slice(), [one] if one.is_only_query()),
        hint,
        shape: 0,
        steps: 0,
        plain: statements.iter().all(|s| s.transaction.is_none() && s.effects.is_empty()),
        statements,
    }
}

/// A text that cannot be taken apart: Postgres will refuse it, or it is too large.
fn unreadable(text: &str, conforming: bool, error: LexError) -> Statement {
    let too_large = error == LexError::TooMany;
    let mut statement =
        Statement::new(Kind::Other, Err(if too_large { Reason::TooLarge } else { Reason::NotParsed }));
    statement.reads = Footprint::Everything;
    statement.writes = Footprint::Everything;
    statement.unknown = true;
    if too_large {
        // Its beginning tells what it is, and a plain INSERT leaves nothing in the session.
        let mut lexer = lex::Lexer::new(text.as_bytes(), conforming);
        let first = lexer.next_token().ok().flatten().map(|t| &text[t.start as usize..t.end as usize]);
        if !first.is_some_and(|word| word.eq_ignore_ascii_case("insert")) {
            statement.effects.push(SessionEffect::Pin(PinReason::Unfollowable));
        }
    }
    statement
}
