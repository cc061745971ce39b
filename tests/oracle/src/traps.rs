//! A catalog in which every sort of object has a harmless and a harmful example.

use router_rules::Scope;
use router_rules::catalog::{Catalog, Function, Operator, Relation, Rows, Type, Unknown};
use std::sync::Arc;

/// A relation of schema `public`.
fn relation(oid: u32, name: &str, kind: char, persistence: char) -> Relation {
    let columns = [("id", "integer"), ("a", "text"), ("b", "text"), ("n", "numeric")];
    Relation {
        oid,
        schema: "public".into(),
        name: name.into(),
        kind,
        persistence,
        columns: columns.map(|(name, kind)| (name.into(), kind.into())).to_vec(),
        ..Relation::default()
    }
}

/// A function of schema `schema`.
fn function(oid: u32, schema: &str, name: &str, args: &[&str], volatility: char, body: &str) -> Function {
    Function {
        oid,
        schema: schema.into(),
        name: name.into(),
        args: args.iter().map(|arg| (*arg).into()).collect(),
        returns: "integer".into(),
        volatility,
        language: "sql".into(),
        kind: 'f',
        body: Some(body.into()),
        ..Function::default()
    }
}

/// The catalog; names that it does not hold mean what `unknown` says.
pub fn catalog(unknown: Unknown) -> Catalog {
    let mut view = relation(110, "evil_view", 'v', 'p');
    view.definition = Some("SELECT public.evil() AS id".into());
    let mut good_view = relation(111, "good_view", 'v', 'p');
    good_view.definition = Some("SELECT t.id FROM public.t".into());
    let mut evil_agg = function(210, "public", "evil_agg", &["integer"], 'i', "");
    (evil_agg.kind, evil_agg.body, evil_agg.parts) = ('a', None, vec![201]);
    let mut evil_default = function(211, "public", "evil_default", &["integer"], 's', "SELECT 1");
    (evil_default.defaults, evil_default.default_exprs) = (1, Some("nextval('s'::regclass)".into()));
    let mut evil_variadic = function(212, "public", "evil_variadic", &["integer[]"], 'v', "SELECT 1");
    evil_variadic.variadic = true;
    let rows = Rows {
        relations: vec![
            relation(100, "t", 'r', 'p'),
            relation(101, "u", 'r', 'p'),
            relation(102, "Mixed Case", 'r', 'p'),
            relation(103, "evil_table", 'r', 'u'),
            relation(104, "evil_sequence", 'S', 'p'),
            relation(105, "evil_foreign", 'f', 'p'),
            view,
            good_view,
        ],
        functions: vec![
            function(200, "public", "good", &["integer"], 'i', "SELECT $1 + 1"),
            function(201, "public", "evil", &["integer"], 'v', "SELECT 1"),
            function(202, "public", "evil", &[], 'v', "SELECT 1"),
            function(203, "public", "evil_row", &["public.t"], 'v', "SELECT 1"),
            function(204, "public", "evil_liar", &["integer"], 's', "SELECT public.evil($1)"),
            function(205, "public", "Evil Quoted", &["integer"], 'v', "SELECT 1"),
            // Shadows nothing by its types, but is called like a built-in and like words of the grammar.
            function(206, "public", "lower", &["public.evil_domain"], 'v', "SELECT 1"),
            function(207, "public", "evil_any", &["anyelement"], 'v', "SELECT 1"),
            evil_agg,
            evil_default,
            evil_variadic,
        ],
        operators: vec![Operator {
            schema: "public".into(),
            name: "@@@@".into(),
            left: Some("text".into()),
            right: Some("text".into()),
            function: 201,
            partners: vec![],
        }],
        types: vec![
            Type {
                schema: "public".into(),
                name: "evil_domain".into(),
                kind: 'd',
                checks: vec!["CHECK (public.evil(VALUE) > 0)".into()],
                parts: vec!["integer".into()],
                functions: vec![],
            },
            Type { schema: "public".into(), name: "mood".into(), kind: 'e', ..Type::default() },
        ],
        ..Rows::default()
    };
    Catalog::build(rows, 1 + u64::from(unknown == Unknown::OrdinaryTables)).assuming(unknown)
}

/// A session's scope over [`catalog`].
pub fn scope(unknown: Unknown, conforming: bool) -> Scope {
    Scope::new(Some(Arc::new(catalog(unknown))), vec!["public".into()], "app".into(), conforming)
}
