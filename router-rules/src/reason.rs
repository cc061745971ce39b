//! The words in which pgweir explains a decision.

/// Declares an enum whose variants each have one word and one sentence.
///
/// The word is the metric label, the console column, the log field, the NOTICE and the docs row;
/// the sentence is what the docs table says.
#[macro_export]
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $word:literal : $sentence:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $(#[doc = $sentence] $variant,)* }

        impl $name {
            /// Every one, in the order of the docs table.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The one word, `snake_case`.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }

            /// One sentence for a reader who has never seen the word.
            pub const fn explain(self) -> &'static str {
                match self { $($name::$variant => $sentence,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Where a statement runs.
    Target {
        Primary = "primary": "The node that takes writes.",
        Replica = "replica": "A node that replays the primary's WAL and answers reads.",
    }
}

words! {
    /// Why a statement ran where it ran.
    Reason {
        ReadOnly = "read_only": "Proved read-only by its syntax and the catalog: a replica may run it.",
        ReadOnlyTransaction = "read_only_transaction": "Part of a READ ONLY transaction whose statements are all proved read-only.",
        Write = "write": "It changes data (INSERT, UPDATE, DELETE, MERGE, COPY FROM, also inside WITH or EXPLAIN ANALYZE).",
        Ddl = "ddl": "It changes the schema or is a maintenance command.",
        Locks = "locks": "It locks rows or tables.",
        Transaction = "transaction": "Part of an explicit transaction that may write.",
        BeforeWrite = "before_write": "A read of a transaction that has not needed the primary so far (`routing.transactions = \"until_first_write\"`).",
        Serializable = "serializable": "SERIALIZABLE is not available on a hot standby.",
        WritingFunction = "writing_function": "It calls a function that writes, or may write.",
        UnknownFunction = "unknown_function": "It calls a function or an operator that the catalog snapshot does not know.",
        NodeFunction = "node_function": "It calls a function whose answer or effect belongs to one node or one session.",
        NodeRelation = "node_relation": "It reads a system view, or a system column, whose content differs from node to node.",
        Sequence = "sequence": "It uses a sequence's state.",
        LargeObject = "large_object": "It works on large objects or their descriptors.",
        AdvisoryLock = "advisory_lock": "Advisory locks live on one node.",
        UnknownRelation = "unknown_relation": "It names a relation that the catalog snapshot does not know.",
        UnknownType = "unknown_type": "It names a type that the catalog snapshot does not know.",
        UnloggedRelation = "unlogged_relation": "Unlogged relations are empty and unreadable on a replica.",
        TemporaryRelation = "temporary_relation": "Temporary relations live in one server connection.",
        ForeignTable = "foreign_table": "A foreign table's server may be written through, or differ from node to node.",
        WritingView = "writing_view": "A view, rule or policy on the way leads to something that is not read-only.",
        WritingOperator = "writing_operator": "An operator, cast, aggregate or domain leads to a function that is not proved read-only.",
        Session = "session": "It works on the session's own state.",
        Cursor = "cursor": "It works on a cursor.",
        Notify = "notify": "LISTEN, NOTIFY and UNLISTEN belong to the primary.",
        Show = "show": "It asks for a setting: answered by the primary, as on a direct connection.",
        MultiStatement = "multi_statement": "Several statements in one string of which at least one is for the primary.",
        NotParsed = "not_parsed": "The parser does not understand it; Postgres will.",
        TooLarge = "too_large": "Too long or too many tokens to be looked into.",
        TooComplex = "too_complex": "Nested too deep, or looking into it and all that it leads to would take too long: nothing is known of it, and the session keeps its server.",
        NotReadOnly = "not_read_only": "Not proved read-only.",
        Pinned = "pinned": "The session is pinned to its server connection.",
        FunctionCall = "function_call": "The fast-path function call goes to the primary.",
        Rule = "rule": "A rule of the configuration decided.",
        Hint = "hint": "A comment or `pgweir.route` decided.",
        NoReplica = "no_replica": "No replica is up, so the primary reads.",
        LagTooLarge = "lag_too_large": "Every replica is over max_lag, so the primary reads.",
        FreshnessTimeout = "freshness_timeout": "No replica caught up within freshness_wait, so the primary reads.",
        Late = "late": "No replica has caught up yet, and by routing.when_late the primary reads at once.",
        Reroute = "reroute": "A replica refused it; it ran on the primary instead.",
        Learnt = "learnt": "A replica refused this shape before; it goes straight to the primary.",
        NoCatalog = "no_catalog": "The catalog of this database has not been read, or not since something has changed that the statement comes by, or cannot be proved to be current.",
        BatchBegun = "batch_begun": "The beginning of a batch that is long, or in which the client paused: its rest may write.",
        NoPrimary = "no_primary": "Nothing takes writes just now.",
    }
}

words! {
    /// Why a session keeps its server connection between transactions.
    PinReason {
        TemporaryTable = "temporary_table": "It has temporary objects.",
        Listen = "listen": "It listens on a channel.",
        AdvisoryLock = "advisory_lock": "It may hold session-level advisory locks.",
        HoldCursor = "hold_cursor": "It has a cursor WITH HOLD.",
        NoCatalog = "no_catalog": "It ran something while the catalog of its database was not known, and that may have left anything behind: until the catalog has been read and tells.",
        SqlPrepare = "sql_prepare": "It has statements prepared by SQL's PREPARE.",
        Load = "load": "It has loaded a library.",
        SequenceState = "sequence_state": "It has used a sequence, and currval or lastval may follow: reads go elsewhere meanwhile, and the server to whoever waits for one where nobody asks for either.",
        ServerProcess = "server_process": "It has asked for its server's process id (`pg_backend_pid()`): kept for a minute, unless others wait for a server.",
        Unfollowable = "unfollowable": "It ran SQL whose effect on the session cannot be followed.",
        MayHaveChanged = "may_have_changed": "It ran SQL that was put together at run time: kept until others wait for a server and its own says that nothing is left of it.",
        UnknownNames = "unknown_names": "It named what is not in the catalog as it was read last: kept until that has been read again, in some seconds, or others wait for a server and its own says that nothing is left.",
        Replication = "replication": "It is a replication connection.",
        SessionMode = "session_mode": "Pool mode `session`: one server for one client.",
    }
}

words! {
    /// Why a statement that began on one server was run once more on another.
    RerouteCause {
        ReadOnly = "read_only": "The replica refused it as a write (25006): a mistake of the classifier.",
        Recovery = "recovery": "The replica refused it as not available during recovery: a mistake of the classifier.",
        NotReplayed = "not_replayed": "It names something that the replica has not replayed yet.",
        Conflict = "conflict": "The replica had to cancel it, since it stood in the way of replay.",
        Resources = "resources": "The replica lacked disk, memory or a readable file for it.",
        Lost = "lost": "The server shut down, or the connection to it broke.",
        StalePlan = "stale_plan": "A prepared statement's result has changed its type: it was prepared anew.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_word_is_used_once_and_is_a_metric_label() {
        let words: Vec<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(words.iter().collect::<HashSet<_>>().len(), words.len());
        assert!(words.iter().all(|w| w.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }
}
