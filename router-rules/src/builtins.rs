//! What every PostgreSQL server brings: which built-ins a hot standby may run.
//!
//! The lists are the files `builtins/functions.txt` and `builtins/relations.txt`; a name that is
//! on neither goes to the primary, and [`refusal`] says by which word. `builtins/others.txt` names the
//! rest.

use crate::reason::Reason;
use foldhash::{HashSet, HashSetExt};
use std::sync::LazyLock;

static FUNCTIONS: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| names(include_str!("builtins/functions.txt")));
static OTHERS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| names(include_str!("builtins/others.txt")));
static RELATIONS: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| names(include_str!("builtins/relations.txt")));
static TYPES: LazyLock<HashSet<&'static str>> = LazyLock::new(|| names(TYPE_NAMES));
static OPERATORS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| names(OPERATOR_NAMES));

fn names(list: &'static str) -> HashSet<&'static str> {
    let mut set = HashSet::new();
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        set.extend(line.split_whitespace());
    }
    set
}

/// Types of `pg_catalog` and the words by which SQL calls them.
const TYPE_NAMES: &str = "\
aclitem any anyarray anycompatible anycompatiblearray anycompatiblemultirange anycompatiblenonarray
anycompatiblerange anyelement anyenum anymultirange anynonarray anyrange bit bool box bpchar bytea
char cid cidr circle cstring date datemultirange daterange float4 float8 gtsvector inet int2
int2vector int4 int4multirange int4range int8 int8multirange int8range interval json jsonb jsonpath
line lseg macaddr macaddr8 money name numeric nummultirange numrange oid oidvector path pg_lsn
pg_dependencies pg_mcv_list pg_ndistinct pg_node_tree pg_snapshot point polygon record refcursor
regclass regcollation regconfig regdictionary regnamespace regoper regoperator regproc regprocedure
regrole regtype text tid time timestamp timestamptz timetz tsmultirange tsquery tsrange
tstzmultirange tstzrange tsvector txid_snapshot unknown uuid varbit varchar void xid xid8 xml
int integer smallint bigint real float double precision decimal dec boolean character varying
national nchar bytea trigger regdatabase internal setof";

/// Operators of `pg_catalog`; a hot standby may run all of them.
const OPERATOR_NAMES: &str = "\
! !! !~ !~* !~~ !~~* ## # #- #> #>> % && & &< &<| &> * *< *<= *<> *= *> *>= + - -> ->> -|- / < <-> << <<=
<<| <= <> <@ <^ = > >= >> >>= >^ ?# ?& ? ?- ?-| ?| ?|| @ @-@ @> @? @@ @@@ ^ ^@ |&> | |/ |>> || ||/ ~
~* ~<=~ ~<~ ~= ~>=~ ~>~ ~~ ~~*";

/// The built-in functions that work on large objects, which drivers call by their OIDs: `lo_open`, `lo_close`,
/// `loread`, `lowrite`, `lo_lseek`, `lo_creat`, `lo_tell`, `lo_unlink`, `lo_create`, `lo_truncate`, and those
/// for 64-bit positions.
pub(crate) const LARGE_OBJECT_OIDS: [u32; 13] =
    [952, 953, 954, 955, 956, 957, 958, 964, 715, 1004, 3170, 3171, 3172];

/// True for the name of a built-in operator.
pub(crate) fn is_operator(name: &str) -> bool {
    OPERATORS.contains(name)
}

/// True for a built-in function that a hot standby may run.
pub(crate) fn allows_function(name: &str) -> bool {
    FUNCTIONS.contains(name)
}

/// True for a relation of `pg_catalog` that reads the same on every node.
pub(crate) fn allows_relation(name: &str) -> bool {
    RELATIONS.contains(name)
}

/// True for the name of a built-in type, or a word of one that has several.
pub(crate) fn is_type(name: &str) -> bool {
    TYPES.contains(name)
}

/// True for a name in `pg_catalog` that is looked up before any schema of the `search_path`.
pub(crate) fn is_catalog_relation(name: &str) -> bool {
    name.starts_with("pg_")
}

/// The word for a built-in function that is not allowed; `None` when there is no such built-in.
pub(crate) fn refusal(name: &str) -> Option<Reason> {
    Some(match name {
        "nextval" | "setval" | "currval" | "lastval" | "pg_sequence_last_value" => Reason::Sequence,
        "pg_notify" => Reason::Notify,
        "query_to_xml" | "query_to_xmlschema" | "query_to_xml_and_xmlschema" | "ts_stat" | "ts_rewrite" => {
            Reason::WritingFunction
        }
        "txid_current" | "pg_current_xact_id" | "pg_switch_wal" => Reason::WritingFunction,
        "loread" | "lowrite" => Reason::LargeObject,
        "set_config" | "setseed" => Reason::Session,
        "current_setting" => Reason::NodeFunction,
        _ if name.starts_with("lo_") => Reason::LargeObject,
        _ if name.contains("advisory") => Reason::AdvisoryLock,
        _ if name.starts_with("brin_") || name.starts_with("gin_clean") => Reason::WritingFunction,
        _ if name.ends_with("_to_xml") || name.ends_with("_to_xmlschema") || name.ends_with("_xmlschema") => {
            Reason::WritingFunction
        }
        _ if name.starts_with("pg_") || name.starts_with("inet_") || name.starts_with("txid_") => {
            Reason::NodeFunction
        }
        _ => return None,
    })
}

/// True for a name that certainly no built-in function has.
pub(crate) fn is_no_function(name: &str) -> bool {
    !allows_function(name)
        && !OTHERS.contains(name)
        && refusal(name).is_none()
        && !name.starts_with("binary_upgrade_")
}

/// True for a built-in that changes no relation, so that a call leaves no watermark.
pub(crate) fn writes_nothing(name: &str) -> bool {
    allows_function(name)
        || matches!(refusal(name), Some(Reason::Sequence | Reason::AdvisoryLock | Reason::Notify))
        || matches!(
            name,
            "set_config" | "setseed" | "current_setting" | "txid_current" | "pg_current_xact_id"
        )
        || matches!(name, "pg_backend_pid" | "pg_is_in_recovery")
        || name.starts_with("pg_current_wal")
        || name.starts_with("inet_")
}

/// True for a VOLATILE built-in that the planner leaves alone, so that EXPLAIN may name it.
pub(crate) fn only_runs(name: &str) -> bool {
    matches!(
        name,
        "nextval"
            | "setval"
            | "currval"
            | "lastval"
            | "set_config"
            | "setseed"
            | "pg_notify"
            | "loread"
            | "lowrite"
            | "pg_is_in_recovery"
            | "pg_cancel_backend"
            | "pg_terminate_backend"
            | "pg_relation_size"
            | "pg_table_size"
    ) || name.contains("advisory")
        || (name.starts_with("lo_") && refusal(name).is_some())
        || name.starts_with("pg_current_wal")
}

/// True for a built-in whose answer hangs on the catalogs, so that DDL makes it stale.
pub(crate) fn reads_catalog(name: &str) -> bool {
    const PREFIXES: [&str; 9] =
        ["pg_", "has_", "to_reg", "obj_", "col_", "shobj_", "format_type", "current_schema", "enum_"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// True for a setting that a function may set for the time that it runs: its value changes how things
/// are computed or shown, not what is looked up nor as whom.
pub(crate) fn setting_harms_nothing(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("enable_")
        || name.starts_with("jit")
        || matches!(
            name.as_str(),
            "search_path"
                | "timezone"
                | "datestyle"
                | "intervalstyle"
                | "bytea_output"
                | "extra_float_digits"
                | "lc_monetary"
                | "lc_numeric"
                | "lc_time"
                | "default_text_search_config"
                | "xmlbinary"
                | "xmloption"
                | "statement_timeout"
                | "lock_timeout"
                | "client_min_messages"
                | "work_mem"
                | "hash_mem_multiplier"
                | "random_page_cost"
                | "seq_page_cost"
                | "effective_cache_size"
                | "plan_cache_mode"
                | "join_collapse_limit"
                | "from_collapse_limit"
                | "constraint_exclusion"
                | "max_parallel_workers_per_gather"
                | "check_function_bodies"
        )
}

/// True for a setting that `current_setting` answers alike on every server that the session's own
/// settings have been brought to. Others may differ from node to node.
pub(crate) fn setting_follows_session(name: &str) -> bool {
    // A dotted name is the application's own.
    name.contains('.')
        || matches!(
            name.to_ascii_lowercase().as_str(),
            "search_path"
                | "timezone"
                | "datestyle"
                | "intervalstyle"
                | "client_encoding"
                | "server_encoding"
                | "lc_monetary"
                | "lc_numeric"
                | "lc_time"
                | "application_name"
                | "role"
                | "row_security"
                | "statement_timeout"
                | "lock_timeout"
                | "bytea_output"
                | "extra_float_digits"
                | "server_version"
                | "server_version_num"
                | "standard_conforming_strings"
                | "work_mem"
                | "default_transaction_isolation"
                | "integer_datetimes"
                | "max_identifier_length"
                | "block_size"
                | "client_min_messages"
                | "default_text_search_config"
                | "xmlbinary"
                | "xmloption"
        )
}

/// Does this built-in tell when its transaction began, or which snapshot it sees? `args` is the number of
/// arguments, where that is known.
pub(crate) fn tells_begin(name: &str, args: Option<usize>) -> bool {
    match name {
        // With two arguments it compares them; with one, the second is today.
        "age" => args != Some(2),
        "now"
        | "transaction_timestamp"
        | "current_date"
        | "current_time"
        | "current_timestamp"
        | "localtime"
        | "localtimestamp"
        | "txid_current_snapshot"
        | "pg_current_snapshot" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_know_what_the_declared_volatility_does_not() {
        assert!(allows_function("random") && allows_function("now") && allows_function("clock_timestamp"));
        for name in [
            "txid_current",
            "pg_current_xact_id",
            "pg_walfile_name",
            "nextval",
            "set_config",
            "query_to_xml",
            "ts_stat",
        ] {
            assert!(!allows_function(name), "{name}");
        }
        assert!(
            allows_relation("pg_class")
                && !allows_relation("pg_locks")
                && !allows_relation("pg_stat_activity")
        );
    }

    #[test]
    fn no_listed_function_has_a_word_that_says_otherwise() {
        for name in FUNCTIONS.iter() {
            assert!(
                !name.contains("advisory") && !name.starts_with("dblink") && !name.starts_with("pg_stat_get"),
                "{name}"
            );
        }
    }
}
