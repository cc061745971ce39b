//! What it costs to classify a statement: known text, known shape, never seen, and the parser alone.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use router_rules::catalog::{Catalog, Unknown};
use router_rules::{Classifier, Scope};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use std::hint::black_box;
use std::sync::Arc;

/// The read of pgbench, and one as an ORM writes it.
const STATEMENTS: [(&str, &str); 2] = [
    ("pgbench", "SELECT abalance FROM pgbench_accounts WHERE aid = "),
    (
        "orm",
        "SELECT \"shop_book\".\"id\", \"shop_book\".\"title\", \"shop_book\".\"author_id\", \"shop_book\".\"price\", \
         \"shop_book\".\"stock\", \"shop_book\".\"published\", \"shop_author\".\"id\", \"shop_author\".\"name\" \
         FROM \"shop_book\" INNER JOIN \"shop_author\" ON (\"shop_book\".\"author_id\" = \"shop_author\".\"id\") \
         WHERE (\"shop_book\".\"price\" > 10 AND UPPER(\"shop_author\".\"name\"::text) LIKE UPPER('%a%')) \
         ORDER BY \"shop_book\".\"title\" ASC LIMIT ",
    ),
];

fn scope() -> Scope {
    let tables = ["public.pgbench_accounts:r:p", "public.shop_book:r:p", "public.shop_author:r:p"];
    let catalog = Catalog::from_short_form([], tables, Unknown::Primary);
    Scope::new(Some(Arc::new(catalog)), vec!["public".into()], "app".into(), true)
}

fn classify(c: &mut Criterion) {
    let scope = scope();
    for (name, start) in STATEMENTS {
        let mut group = c.benchmark_group(name);
        let text = format!("{start}4711");
        group.throughput(Throughput::Bytes(text.len() as u64));
        let classifier = Classifier::new(32 << 20);
        // Seen twice, a text is kept.
        for _ in 0..3 {
            classifier.classify(text.as_bytes(), &scope);
        }
        group.bench_function("text hit", |b| {
            b.iter(|| classifier.classify(black_box(text.as_bytes()), &scope))
        });

        // Other literals each time: more texts than the memory of texts seen once has slots.
        let texts: Vec<String> = (0..100_000).map(|n| format!("{start}{}", 100_000 + n)).collect();
        let mut at = 0;
        group.bench_function("shape hit", |b| {
            b.iter(|| {
                at = (at + 1) % texts.len();
                classifier.classify(black_box(texts[at].as_bytes()), &scope)
            });
        });

        // Another table alias each time makes another shape; the cache is too small to keep any.
        let texts: Vec<String> =
            (0..10_000).map(|n| text.replace(" WHERE", &format!(" /* {n} */ WHERE"))).collect();
        let classifier = Classifier::new(64 << 10);
        group.bench_function("never seen", |b| {
            b.iter(|| {
                at = (at + 1) % texts.len();
                classifier.classify(black_box(texts[at].as_bytes()), &scope)
            });
        });
        group.bench_function("sqlparser alone", |b| {
            b.iter(|| Parser::parse_sql(&PostgreSqlDialect {}, black_box(&text)));
        });
        group.finish();
    }
}

criterion_group!(benches, classify);
criterion_main!(benches);
