//! The style of the house, executed: what CONTRIBUTING.md asks for and a compiler does not see.

mod floors;
mod limits;
mod locks;
mod sizes;

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The Rust files below `directory`, by their paths from the root of the workspace, with their texts.
fn sources(directory: &str) -> Vec<(String, String)> {
    let root = root();
    let mut directories = vec![root.join(directory)];
    let mut found = vec![];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let is_built = path.ends_with("target") || path.ends_with("node_modules");
            if path.is_dir() && !is_built {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}
