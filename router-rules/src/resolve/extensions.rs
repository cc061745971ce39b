//! Functions of extensions, which are C code: by a list.

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
