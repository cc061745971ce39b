//! Words of Postgres's grammar, by the part that they play around names.
//!
//! See <https://www.postgresql.org/docs/current/sql-keywords-appendix.html>.

/// Words after which a parenthesis is no call.
pub(crate) const NOT_CALLED: &[&str] = &[
    "all",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "between",
    "by",
    "case",
    "check",
    "coalesce",
    "collate",
    "columns",
    "cube",
    "desc",
    "distinct",
    "else",
    "end",
    "escape",
    "except",
    "exists",
    "fetch",
    "filter",
    "first",
    "from",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "intersect",
    "is",
    "isnull",
    "join",
    "lateral",
    "least",
    "like",
    "limit",
    "materialized",
    "next",
    "not",
    "notnull",
    "null",
    "nullif",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "over",
    "partition",
    "passing",
    "range",
    "returning",
    "rollup",
    "row",
    "rows",
    "select",
    "sets",
    "similar",
    "some",
    "symmetric",
    "then",
    "to",
    "union",
    "using",
    "values",
    "variadic",
    "when",
    "where",
    "with",
    "within",
    "xmlattributes",
    "xmlnamespaces",
    "cast",
    "treat",
    "interval",
    "time",
    "timestamp",
    "groups",
    "nested",
    "set",
    "ordinality",
    "recursive",
    "asymmetric",
    "table",
    "preceding",
    "following",
];

/// The same in PL/pgSQL, beside those.
pub(crate) const NOT_CALLED_PLPGSQL: &[&str] = &[
    "if", "elsif", "elseif", "while", "loop", "return", "perform", "query", "assert", "begin", "atomic",
    "next", "foreach", "until", "declare", "into", "exit", "continue", "raise", "notice", "array",
];

/// Words that end a FROM clause.
pub(crate) const FROM_ENDS: &[&str] = &[
    "where",
    "group",
    "having",
    "order",
    "limit",
    "offset",
    "fetch",
    "for",
    "window",
    "union",
    "intersect",
    "except",
    "returning",
    "when",
];

/// Words that cannot name a relation.
pub(crate) fn is_reserved(word: &str) -> bool {
    const RESERVED: &[&str] = &[
        "all",
        "analyse",
        "analyze",
        "and",
        "any",
        "array",
        "as",
        "asc",
        "asymmetric",
        "both",
        "case",
        "cast",
        "check",
        "collate",
        "column",
        "constraint",
        "create",
        "current_catalog",
        "current_date",
        "current_role",
        "current_time",
        "current_timestamp",
        "current_user",
        "default",
        "deferrable",
        "desc",
        "distinct",
        "do",
        "else",
        "end",
        "except",
        "false",
        "fetch",
        "for",
        "foreign",
        "from",
        "grant",
        "group",
        "having",
        "in",
        "initially",
        "intersect",
        "into",
        "lateral",
        "leading",
        "limit",
        "localtime",
        "localtimestamp",
        "not",
        "null",
        "offset",
        "on",
        "only",
        "or",
        "order",
        "placing",
        "primary",
        "references",
        "returning",
        "select",
        "session_user",
        "some",
        "symmetric",
        "system_user",
        "table",
        "then",
        "to",
        "trailing",
        "true",
        "union",
        "unique",
        "user",
        "using",
        "variadic",
        "when",
        "where",
        "window",
        "with",
        "authorization",
        "binary",
        "collation",
        "concurrently",
        "cross",
        "current_schema",
        "freeze",
        "full",
        "ilike",
        "inner",
        "is",
        "isnull",
        "join",
        "left",
        "like",
        "natural",
        "notnull",
        "outer",
        "overlaps",
        "right",
        "similar",
        "tablesample",
        "verbose",
    ];
    RESERVED.contains(&word)
}

/// Words of the grammar that are neither names of functions nor of types: two of them in a row
/// with a name say nothing about that name.
pub(crate) fn is_grammar_word(word: &str) -> bool {
    NOT_CALLED.contains(&word)
        || FROM_ENDS.contains(&word)
        || matches!(
            word,
            "natural"
                | "inner"
                | "left"
                | "right"
                | "full"
                | "cross"
                | "outer"
                | "tablesample"
                | "repeatable"
                | "at"
                | "overlaps"
                | "true"
                | "false"
                | "both"
                | "leading"
                | "trailing"
                | "placing"
                | "unknown"
                | "document"
                | "content"
                | "unbounded"
                | "current"
                | "exclude"
                | "ties"
                | "no"
                | "others"
                | "nulls"
                | "last"
                | "search"
                | "depth"
                | "breadth"
                | "cycle"
                | "default"
                | "zone"
                | "percent"
                | "window"
                | "into"
                | "normalized"
                | "current_user"
                | "session_user"
                | "user"
                | "current_role"
                | "current_catalog"
                | "current_schema"
                | "current_date"
                | "current_time"
                | "current_timestamp"
                | "localtime"
                | "localtimestamp"
                | "overlay"
        )
}
