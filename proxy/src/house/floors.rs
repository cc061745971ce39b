//! The map in `lib.rs` is true: whatever a module of this crate imports stands on a line below its own.

use super::sources;
use std::collections::BTreeMap;

/// Macros that are called by `crate::name!`, and where they are.
const MACROS: [(&str, &str); 1] = [("limited", "observe")];

/// Module → the number of its line in the map.
fn floors() -> BTreeMap<&'static str, usize> {
    let map = include_str!("../lib.rs").lines().filter_map(|line| line.strip_prefix("//! * "));
    let named = |line: &'static str| line.split("[`").skip(1).filter_map(|rest| rest.split("`]").next());
    map.enumerate().flat_map(|(floor, line)| named(line).map(move |module| (module, floor))).collect()
}

/// The modules that production code names by `crate::module`, with the line of each.
fn named(source: &str) -> impl Iterator<Item = (usize, &str)> {
    let production = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    production.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")).flat_map(
        |(number, line)| {
            line.split("crate::").skip(1).flat_map(move |rest| {
                let list = rest.strip_prefix('{').unwrap_or(rest);
                let many = if list.len() < rest.len() { usize::MAX } else { 1 };
                let word = |text: &'_ str| {
                    text.len() - text.trim_start_matches(|c: char| c.is_ascii_lowercase() || c == '_').len()
                };
                list.split(", ").take(many).map(move |name| (number + 1, &name[..word(name)]))
            })
        },
    )
}

#[test]
fn dependencies_point_down() {
    let floors = floors();
    let mut arrows = vec![];
    for (path, source) in sources("proxy/src") {
        let module = path.trim_start_matches("proxy/src/").split(['/', '.']).next().unwrap();
        if ["lib", "main", "house"].contains(&module) || path.ends_with("tests.rs") {
            continue;
        }
        let floor = floors.get(module).unwrap_or_else(|| panic!("{module} is not in the map of lib.rs"));
        for (line, name) in named(&source) {
            let name = MACROS.iter().find(|of| of.0 == name).map_or(name, |of| of.1);
            let other = floors.get(name).unwrap_or_else(|| panic!("{path}:{line}: what is crate::{name}?"));
            if name != module && other <= floor {
                arrows.push(format!("{path}:{line}: {module} knows of {name}"));
            }
        }
    }
    assert!(arrows.is_empty(), "dependencies that run up:\n{}", arrows.join("\n"));
}
