//! Functions of extensions, which are C code: by a list.
//!
//! Read and called on a primary and on its standby: those that PostgreSQL 15 brings (hstore 1.8, citext 1.6,
//! pg_trgm 1.6, ltree 1.2, intarray 1.5, unaccent 1.1, pgcrypto 1.3, uuid-ossp 1.1, tablefunc 1.0 and their like)
//! and PostGIS 3.3.2. A function belongs to an extension only where the catalog says so.

use crate::catalog::Function;
use crate::reason::Reason;

/// Functions of extensions are C code that nobody can look into here: by a list.
pub(super) fn extension_function(extension: &str, function: &Function, planning: bool) -> Result<(), Reason> {
    const PURE: &[&str] = &[
        "hstore",
        "citext",
        "pg_trgm",
        "ltree",
        "intarray",
        "unaccent",
        "pgcrypto",
        "uuid-ossp",
        "cube",
        "seg",
        "isn",
        "fuzzystrmatch",
        "earthdistance",
        "btree_gin",
        "btree_gist",
        "bloom",
        "tsm_system_rows",
        "tsm_system_time",
        "postgis",
        "postgis_raster",
        "postgis_topology",
        "postgis_sfcgal",
        "vector",
        "ip4r",
        "semver",
        "pg_similarity",
        "prefix",
        "hll",
        "tdigest",
        "roaringbitmap",
        "rum",
        "pg_bigm",
        "zhparser",
        "h3",
        "h3_postgis",
        "unit",
        "numeral",
    ];
    const HARMLESS_VOLATILE: &[(&str, &str)] = &[
        ("pgcrypto", "gen_random_bytes"),
        ("pgcrypto", "gen_random_uuid"),
        ("pgcrypto", "gen_salt"),
        ("pgcrypto", "pgp_sym_encrypt"),
        ("pgcrypto", "pgp_sym_encrypt_bytea"),
        ("pgcrypto", "pgp_pub_encrypt"),
        ("pgcrypto", "pgp_pub_encrypt_bytea"),
        ("uuid-ossp", "uuid_generate_v1"),
        ("uuid-ossp", "uuid_generate_v1mc"),
        ("uuid-ossp", "uuid_generate_v4"),
        ("tablefunc", "normal_rand"),
        ("postgis", "st_clusterkmeans"),
        ("postgis", "st_generatepoints"),
        ("postgis", "st_symmetricdifference"),
    ];
    let name = function.name.as_str();
    if HARMLESS_VOLATILE.contains(&(extension, name)) {
        return Ok(());
    }
    if planning && function.volatility == 'v' {
        return Ok(());
    }
    if PURE.contains(&extension) && function.volatility != 'v' && function.kind != 'p' {
        // postgis' ST_EstimatedExtent and its like read statistics; names that take SQL are refused.
        let takes_sql = name.contains("query") && !matches!(extension, "intarray" | "ltree" | "pg_trgm");
        return if takes_sql { Err(Reason::UnknownFunction) } else { Ok(()) };
    }
    Err(if function.volatility == 'v' { Reason::WritingFunction } else { Reason::UnknownFunction })
}

/// What functions of an extension read beside what they are given.
pub(super) enum Reads {
    /// Nothing.
    Nothing,
    /// A relation of that name.
    Relation(&'static str),
    /// Whatever they are told to.
    Anything,
}

/// What the functions of an extension read.
pub(super) fn reads(extension: &str) -> Reads {
    match extension {
        // Definitions of projections.
        "postgis" | "postgis_sfcgal" | "h3_postgis" => Reads::Relation("spatial_ref_sys"),
        // Some take names of tables and columns.
        "postgis_raster" | "postgis_topology" => Reads::Anything,
        _ => Reads::Nothing,
    }
}

/// Its code may work outside of the transaction that it is called in.
pub(crate) fn may_reach_elsewhere(function: &Function) -> bool {
    match (&function.extension, &*function.language) {
        (Some(extension), "c") => extension_function(extension, function, false).is_err(),
        (None, "c") => true,
        (_, "sql" | "plpgsql") => function.body.as_ref().is_some_and(|body| works_on_files(body)),
        // Untrusted languages end so.
        (_, language) => language.ends_with('u'),
    }
}

/// It may write a file or run a program of the server's machine: by COPY, which in a function knows nothing else, or
/// by functions for that.
fn works_on_files(body: &str) -> bool {
    let body = body.to_ascii_lowercase();
    ["copy", "lo_export", "pg_file_"].iter().any(|word| body.contains(word))
}

/// True for a function that runs the queries that it is given as texts, read-only.
pub(super) fn runs_query(function: &Function) -> bool {
    function.extension.as_deref() == Some("tablefunc")
        && matches!(&*function.name, "crosstab" | "crosstab2" | "crosstab3" | "crosstab4")
}
