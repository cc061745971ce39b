//! The lock files beside the workspace's own: nothing else compiles by them until somebody fuzzes.

use super::root;
use std::collections::BTreeSet;
use std::fs;
use toml::{Table, Value};

fn read(path: &str) -> Table {
    fs::read_to_string(root().join(path)).unwrap().parse().unwrap()
}

/// What a package needs, by its manifest.
fn needed(manifest: &str) -> BTreeSet<String> {
    let manifest = read(manifest);
    manifest["dependencies"].as_table().unwrap().keys().cloned().collect()
}

/// The same by a lock file.
fn locked(lock: &Table, name: &str) -> BTreeSet<String> {
    let packages = lock["package"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"].as_str() == Some(name));
    let needs = package.and_then(|package| package.get("dependencies")).and_then(Value::as_array);
    // A version stands behind the name where there are several.
    let name = |need: &Value| need.as_str().unwrap().split(' ').next().unwrap().to_owned();
    needs.into_iter().flatten().map(name).collect()
}

#[test]
fn what_fuzzes_is_locked_with_what_it_fuzzes() {
    for (lock, packages) in [
        ("tests/fuzz/Cargo.lock", ["pgweir", "router-rules"].as_slice()),
        ("tests/oracle/Cargo.lock", ["router-rules"].as_slice()),
    ] {
        let contents = read(lock);
        for package in packages {
            let directory = if *package == "pgweir" { "proxy" } else { package };
            let needed = needed(&format!("{directory}/Cargo.toml"));
            assert!(needed.len() > 3, "{package} needs {needed:?}");
            let locked = locked(&contents, package);
            let missing: Vec<_> = needed.difference(&locked).collect();
            assert!(missing.is_empty(), "{lock} lacks {missing:?}: run cargo metadata beside it");
        }
    }
}
