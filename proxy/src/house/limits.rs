//! Every bound in `limits.rs` is told to operators.

use super::root;
use std::fmt::Write as _;
use std::fs;

/// What stands before the table in `docs/limits.md`.
const HEADING: &str = "\n## By name\nThe constants of `proxy/src/limits.rs`:\n\n| name | what |\n|---|---|\n";

/// A row for each constant: its name, and its comment.
fn table() -> String {
    let mut table = String::from(HEADING);
    let mut comment: Vec<&str> = vec![];
    for line in include_str!("../limits.rs").lines() {
        if let Some(text) = line.strip_prefix("/// ") {
            comment.push(text);
        } else if let Some(constant) = line.strip_prefix("pub const ") {
            let name = constant.split(':').next().unwrap_or_default();
            assert!(!comment.is_empty(), "{name} has no reason");
            let _ = writeln!(table, "| `{name}` | {} |", comment.join(" ").replace(['[', ']'], ""));
            comment.clear();
        }
    }
    table
}

/// `PGWEIR_UPDATE=1 cargo test -p pgweir house` writes them.
#[test]
fn every_bound_is_on_the_page_of_limits() {
    let path = root().join("docs/limits.md");
    let page = fs::read_to_string(&path).unwrap();
    let told = page.split(HEADING).next().unwrap_or_default();
    let wanted = format!("{told}{}", table());
    if std::env::var_os("PGWEIR_UPDATE").is_some() {
        fs::write(&path, &wanted).unwrap();
    } else {
        assert_eq!(page, wanted, "run PGWEIR_UPDATE=1 cargo test -p pgweir house");
    }
}
