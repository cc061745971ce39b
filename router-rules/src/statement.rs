//! What one SQL statement would do.

use crate::changed::Alters;
use crate::reason::{PinReason, Reason};
use crate::temporary::Temporary;
use std::sync::Arc;

/// One statement of a SQL text, resolved against a catalog, a `search_path` and a role.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The kind of statement, for rules and logs.
    pub kind: Kind,
    /// `Ok` when proved read-only on a hot standby, with the reason to say so; otherwise why not.
    pub verdict: Result<Reason, Reason>,
    /// The relations that it reads, for freshness.
    pub reads: Footprint,
    /// The relations that it may write.
    pub writes: Footprint,
    /// What it does to the transaction it runs in.
    pub transaction: Option<TransactionStep>,
    /// What it leaves behind in the session, in order.
    pub effects: Vec<SessionEffect>,
    /// Schema-qualified names (`schema.name`) of relations named or reached, for rules.
    pub relations: Vec<Arc<str>>,
    /// Names of functions called (qualified as far as resolved), for rules.
    pub functions: Vec<Arc<str>>,
    /// It tells when its transaction began, or which snapshot it sees: `now()` and what leads there.
    /// Literals such as `'now'` are looked for in the text instead, which texts of one shape do not share.
    pub tells_begin: bool,
    /// It may work on relations and functions that are not listed.
    pub unknown: bool,
    /// It draws from a sequence without saying so.
    pub draws: bool,
    /// It changes or takes away what earlier statements may have run.
    pub replaces: bool,
    /// What it changes of what others mean.
    pub alters: Alters,
}

impl Statement {
    /// A statement that touches nothing.
    pub(crate) fn new(kind: Kind, verdict: Result<Reason, Reason>) -> Self {
        Statement {
            kind,
            verdict,
            reads: Footprint::none(),
            writes: Footprint::none(),
            transaction: None,
            effects: vec![],
            relations: vec![],
            functions: vec![],
            tells_begin: false,
            unknown: false,
            draws: false,
            replaces: false,
            alters: Alters::Nothing,
        }
    }

    /// A statement of which nothing is known: it may read and write anything, and leave anything behind.
    pub(crate) fn unknown(kind: Kind, reason: Reason) -> Self {
        let mut statement = Self::new(kind, Err(reason));
        statement.reads = Footprint::Everything;
        statement.is_unclear(reason);
        statement
    }

    /// What it works on hangs on where names are looked up.
    pub(crate) fn looks_names_up(&self) -> bool {
        !matches!(self.kind, Kind::Set | Kind::Show | Kind::Transaction | Kind::Empty)
    }

    /// What it left behind will be known when the catalog is.
    pub fn is_doubtful(&self) -> bool {
        self.effects.contains(&SessionEffect::Pin(PinReason::NoCatalog))
    }

    /// It names what the catalog does not show.
    pub fn meets_strangers(&self) -> bool {
        self.effects.contains(&SessionEffect::Pin(PinReason::UnknownNames))
    }

    /// A query that leaves nothing behind, writes nothing and changes nothing of what others mean.
    pub(crate) fn is_only_query(&self) -> bool {
        self.kind == Kind::Select
            && self.transaction.is_none()
            && self.effects.is_empty()
            && self.writes.is_none()
            && !self.draws
            && !self.replaces
            && self.alters == Alters::Nothing
    }

    /// Some of its names may mean anything.
    pub(crate) fn is_unclear(&mut self, reason: Reason) {
        self.verdict = self.verdict.and(Err(reason));
        (self.reads, self.writes) = (Footprint::Everything, Footprint::Everything);
        self.unknown = true;
        if self.kind == Kind::Ddl {
            self.alters = Alters::Anything;
        }
        let pin = SessionEffect::Pin(PinReason::Unfollowable);
        if !self.effects.contains(&pin) {
            self.effects.push(pin);
        }
    }

    /// It asks for a transaction that no hot standby gives: READ WRITE or SERIALIZABLE.
    pub fn asks_for_writes(&self) -> bool {
        let wants = |modes: &TransactionModes| {
            modes.read_only == Some(false) || modes.isolation == Some(Isolation::Serializable)
        };
        let begins = matches!(&self.transaction, Some(TransactionStep::Begin(modes)) if wants(modes));
        let prepares = self.transaction == Some(TransactionStep::PrepareTransaction);
        begins
            || prepares
            || self.effects.iter().any(|effect| match effect {
                SessionEffect::SetTransaction(modes) => wants(modes),
                SessionEffect::Set { name, .. } => {
                    matches!(name.as_str(), "transaction_read_only" | "transaction_isolation")
                }
                _ => false,
            })
    }
}

/// A coarse name for the statement: `select`, `insert`, `set`, ….
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// SELECT, VALUES, TABLE.
    Select,
    /// INSERT.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// MERGE.
    Merge,
    /// COPY in any form.
    Copy,
    /// EXPLAIN in any form.
    Explain,
    /// CREATE, ALTER, DROP, GRANT, COMMENT, …: what changes the catalog.
    Ddl,
    /// VACUUM, ANALYZE, REINDEX, CLUSTER, CHECKPOINT, TRUNCATE, LOCK, REFRESH….
    Maintenance,
    /// BEGIN, COMMIT, SAVEPOINT, PREPARE TRANSACTION, ….
    Transaction,
    /// SET, RESET, DISCARD.
    Set,
    /// SHOW.
    Show,
    /// PREPARE, EXECUTE, DEALLOCATE.
    Prepare,
    /// DECLARE, FETCH, MOVE, CLOSE.
    Cursor,
    /// LISTEN, NOTIFY, UNLISTEN.
    Notify,
    /// CALL, DO.
    Call,
    /// An empty statement.
    Empty,
    /// Everything else, and what does not parse.
    Other,
}

impl Kind {
    /// The word that rules and logs use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Select => "select",
            Kind::Insert => "insert",
            Kind::Update => "update",
            Kind::Delete => "delete",
            Kind::Merge => "merge",
            Kind::Copy => "copy",
            Kind::Explain => "explain",
            Kind::Ddl => "ddl",
            Kind::Maintenance => "maintenance",
            Kind::Transaction => "transaction",
            Kind::Set => "set",
            Kind::Show => "show",
            Kind::Prepare => "prepare",
            Kind::Cursor => "cursor",
            Kind::Notify => "notify",
            Kind::Call => "call",
            Kind::Empty => "empty",
            Kind::Other => "other",
        }
    }
}

/// Which relations a statement touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Footprint {
    /// Exactly these (OIDs of the database's catalog), sorted, without duplicates; may be empty.
    Relations(Arc<[u32]>),
    /// Not known for certain: any relation at all.
    Everything,
}

impl Footprint {
    /// Touches nothing.
    pub fn none() -> Self {
        // Asked for several times per statement: one allocation per thread, shared by none.
        thread_local!(static NONE: Arc<[u32]> = Arc::from([]));
        Footprint::Relations(NONE.with(Arc::clone))
    }

    /// True when it certainly touches nothing.
    pub fn is_none(&self) -> bool {
        matches!(self, Footprint::Relations(oids) if oids.is_empty())
    }

    /// This one and all of those together, at the cost of one.
    pub fn union_all(&self, others: impl IntoIterator<Item = Footprint>) -> Footprint {
        let mut one = self.clone();
        let mut more: Vec<u32> = vec![];
        for other in others {
            match (&one, other) {
                (Footprint::Everything, _) | (_, Footprint::Everything) => return Footprint::Everything,
                (Footprint::Relations(a), other) if a.is_empty() => one = other,
                (_, Footprint::Relations(b)) => more.extend(b.iter()),
            }
        }
        match (one, more.is_empty()) {
            (Footprint::Relations(oids), false) => {
                more.extend(oids.iter());
                more.sort_unstable();
                more.dedup();
                Footprint::Relations(more.into())
            }
            (one, _) => one,
        }
    }

    /// Both together.
    pub fn union(&self, other: &Footprint) -> Footprint {
        match (self, other) {
            (Footprint::Relations(a), _) if a.is_empty() => other.clone(),
            (_, Footprint::Relations(b)) if b.is_empty() => self.clone(),
            // Requests read the same tables again and again.
            (Footprint::Relations(a), Footprint::Relations(b)) if has_all(a, b) => self.clone(),
            (Footprint::Relations(a), Footprint::Relations(b)) => {
                let mut all: Vec<u32> = a.iter().chain(b.iter()).copied().collect();
                all.sort_unstable();
                all.dedup();
                Footprint::Relations(all.into())
            }
            _ => Footprint::Everything,
        }
    }
}

/// Each of `some` is among `all`, which are sorted.
fn has_all(all: &[u32], some: &[u32]) -> bool {
    some.iter().all(|oid| all.binary_search(oid).is_ok())
}

/// A step of transaction control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionStep {
    /// BEGIN or START TRANSACTION.
    Begin(TransactionModes),
    /// COMMIT or END; `chain` for AND CHAIN.
    Commit {
        /// AND CHAIN: a new transaction with the same modes begins at once.
        chain: bool,
    },
    /// ROLLBACK or ABORT.
    Rollback {
        /// AND CHAIN: a new transaction with the same modes begins at once.
        chain: bool,
    },
    /// SAVEPOINT name.
    Savepoint(String),
    /// RELEASE name.
    Release(String),
    /// ROLLBACK TO name.
    RollbackTo(String),
    /// PREPARE TRANSACTION: the session leaves the transaction, which stays on the server.
    PrepareTransaction,
}

/// What BEGIN or SET TRANSACTION asked for; `None` where it said nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransactionModes {
    /// READ ONLY (true) or READ WRITE (false).
    pub read_only: Option<bool>,
    /// The isolation level.
    pub isolation: Option<Isolation>,
    /// DEFERRABLE or NOT DEFERRABLE.
    pub deferrable: Option<bool>,
}

/// Isolation levels as Postgres names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// READ UNCOMMITTED.
    ReadUncommitted,
    /// READ COMMITTED.
    ReadCommitted,
    /// REPEATABLE READ.
    RepeatableRead,
    /// SERIALIZABLE.
    Serializable,
}

impl Isolation {
    /// As `SHOW transaction_isolation` spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Isolation::ReadUncommitted => "read uncommitted",
            Isolation::ReadCommitted => "read committed",
            Isolation::RepeatableRead => "repeatable read",
            Isolation::Serializable => "serializable",
        }
    }
}

/// What a statement leaves behind in the session that ran it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEffect {
    /// A setting changes for the session (or until the end of the transaction, if `local`).
    Set {
        /// Lower-case name; `role` and `session_authorization` included.
        name: String,
        /// The value as text where it is a plain literal (of `pgweir.*` always looked at).
        value: Option<String>,
        /// SQL that brings the same setting about on another server, for the whole session:
        /// `SET "name" = …` or `SELECT pg_catalog.set_config('name','value',false)`.
        replay: Arc<str>,
        /// SET LOCAL, or set_config(…, true).
        local: bool,
    },
    /// `set_config` of a literal name, for the session, to a parameter of the statement: the Bind says to
    /// what. Never of a setting that the route hangs on.
    SetToParameter {
        /// Lower-case name.
        name: String,
        /// `$1` is 1.
        parameter: u16,
    },
    /// A setting was given a value, for the session, that only the server knows.
    SetUnknown {
        /// Lower-case name.
        name: String,
    },
    /// A setting was given such a value until the end of the transaction. (The server knows a placeholder's
    /// name from then on.)
    SetUnknownLocally {
        /// Lower-case name; empty where that is computed, too.
        name: String,
    },
    /// RESET name, or SET name TO DEFAULT.
    Reset {
        /// Lower-case name.
        name: String,
        /// SET LOCAL … TO DEFAULT.
        local: bool,
    },
    /// RESET ALL (does not touch role and session_authorization).
    ResetAll,
    /// SET TRANSACTION.
    SetTransaction(TransactionModes),
    /// DISCARD ALL.
    DiscardAll,
    /// DISCARD PLANS, SEQUENCES or TEMP.
    DiscardSome,
    /// SQL PREPARE name.
    Prepare(String),
    /// SQL EXECUTE name.
    Execute(String),
    /// SQL DEALLOCATE name.
    Deallocate(String),
    /// SQL DEALLOCATE ALL.
    DeallocateAll,
    /// It makes something that only this server connection has: the session must keep it.
    Pin(PinReason),
    /// It makes a temporary object.
    MakesTemporary(Temporary),
    /// It takes temporary objects of these names away.
    DropsTemporary(Arc<[Arc<str>]>),
    /// It may end what a pin is for (UNLISTEN, pg_advisory_unlock, DROP, CLOSE, COMMIT of ON COMMIT DROP…):
    /// worth asking the server whether the session is clean again.
    MayUnpin,
}
