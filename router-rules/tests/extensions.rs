//! What functions of extensions read beside what they are given.

use router_rules::catalog::{Function, Relation, Rows};
use router_rules::statement::Footprint;
use router_rules::{Catalog, Classified, Classifier, Reason, Scope};
use std::sync::Arc;

const SPATIAL_REF_SYS: u32 = 20;
const SALES: u32 = 21;

fn function(oid: u32, extension: &str, name: &str, args: &[&str], volatility: char) -> Function {
    Function {
        oid,
        schema: "public".into(),
        name: name.into(),
        kind: 'f',
        volatility,
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        returns: "integer".into(),
        language: "c".into(),
        extension: Some(extension.into()),
        ..Function::default()
    }
}

fn classify(sql: &str) -> Arc<Classified> {
    let table = |oid, name: &str| Relation {
        oid,
        schema: "public".into(),
        name: name.into(),
        kind: 'r',
        persistence: 'p',
        ..Relation::default()
    };
    let rows = Rows {
        functions: vec![
            function(1, "postgis", "st_transform", &["integer", "integer"], 'i'),
            function(2, "postgis_raster", "st_summarystats", &["text", "text"], 's'),
            function(3, "tablefunc", "crosstab", &["text"], 's'),
            function(4, "pg_trgm", "similarity", &["text", "text"], 'i'),
        ],
        relations: vec![table(SPATIAL_REF_SYS, "spatial_ref_sys"), table(SALES, "sales")],
        ..Rows::default()
    };
    let scope =
        Scope::new(Some(Arc::new(Catalog::build(rows, 1))), vec!["public".into()], "app".into(), true);
    Classifier::new(1 << 16).classify(sql.as_bytes(), &scope)
}

#[test]
fn projections_are_read_by_what_transforms_between_them() {
    let text = classify("SELECT st_transform(1, 4326)");
    assert_eq!(
        (text.verdict, &text.reads),
        (Ok(Reason::ReadOnly), &Footprint::Relations([SPATIAL_REF_SYS].into()))
    );
    assert!(classify("SELECT similarity('a', 'b')").reads.is_none());
}

#[test]
fn what_takes_names_of_tables_may_read_any() {
    let text = classify("SELECT st_summarystats('maps', 'tile')");
    assert_eq!((text.verdict, &text.reads), (Ok(Reason::ReadOnly), &Footprint::Everything));
}

#[test]
fn a_query_that_is_given_as_a_text_counts_as_if_it_stood_there() {
    let text = classify("SELECT * FROM crosstab('SELECT a, b, c FROM sales') AS t(a int, b int)");
    assert_eq!((text.verdict, &text.reads), (Ok(Reason::ReadOnly), &Footprint::Relations([SALES].into())));
    for unknown in [
        "SELECT * FROM crosstab($1) AS t(a int, b int)",
        "SELECT * FROM crosstab('DELETE FROM sales') AS t(a int, b int)",
        "SELECT * FROM crosstab('SELECT 1; SELECT 2') AS t(a int, b int)",
        "SELECT * FROM crosstab('SELECT writes()') AS t(a int, b int)",
    ] {
        assert!(classify(unknown).verdict.is_err(), "{unknown}");
    }
}
