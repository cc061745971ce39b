//! What comes of what sources tell: which nodes there are, which join and which leave.

use crate::config::Node;
use crate::config::sources::{Kind, Source};
use crate::limits::NODES_MAX;
use crate::rows::SourceStatus;
use std::collections::HashSet;

/// The nodes that are written down, and what each source has told last.
#[derive(Debug, Default)]
pub struct Found {
    written: Vec<Node>,
    sources: Vec<Known>,
}

/// One source.
#[derive(Debug)]
struct Known {
    source: Source,
    nodes: Vec<Node>,
    /// Nodes that its last answer did not tell any more.
    missing: HashSet<String>,
    standing: Standing,
}

/// How a source has answered.
#[derive(Debug, PartialEq)]
enum Standing {
    /// It has not been heard yet.
    Unheard,
    /// It answers.
    Answers,
    /// It does not, and why.
    Fails(String),
}

/// What came of an answer.
#[derive(Debug, Default, PartialEq)]
pub struct Heard {
    /// The list of nodes is another one, or a source has been heard for the first time.
    pub changed: bool,
    /// Some node may leave: the source is to be asked again at once.
    pub is_unsure: bool,
    /// Nodes that are new.
    pub joined: Vec<String>,
    /// Nodes that are gone.
    pub left: Vec<String>,
    /// Standbys that might be nodes, and have not been told of.
    pub offered: Vec<String>,
    /// Why nothing was learnt.
    pub failed: Option<String>,
    /// What is to be said of the source itself, if that has not been said yet.
    pub said: Option<String>,
}

impl Found {
    /// Sources come and go, or tell other weights. Gives the names of those that are gone.
    pub fn configure(&mut self, written: &[Node], sources: &[Source]) -> Vec<String> {
        self.written = written.to_vec();
        let mut before = std::mem::take(&mut self.sources);
        for source in sources {
            let known = before.iter().position(|known| known.source.name == source.name);
            let mut known = known.map_or_else(|| Known::new(source), |i| before.swap_remove(i));
            known.adopt(source);
            self.sources.push(known);
        }
        before.into_iter().map(|known| known.source.name).collect()
    }

    /// Every node, in a lasting order: those that are written down first. Each is there once, whoever tells it, and
    /// no more than [`NODES_MAX`].
    pub fn nodes(&self) -> Vec<Node> {
        let mut there = HashSet::new();
        let all = self.written.iter().chain(self.told());
        all.filter(|node| there.insert(node.address.as_str())).take(NODES_MAX).cloned().collect()
    }

    /// What sources tell, apart from offers.
    fn told(&self) -> impl Iterator<Item = &Node> {
        self.sources.iter().filter(|known| known.source.is_taken()).flat_map(|known| &known.nodes)
    }

    /// How many there are beyond [`NODES_MAX`].
    fn unlisted(&self) -> usize {
        let all: HashSet<&str> =
            self.written.iter().chain(self.told()).map(|node| node.address.as_str()).collect();
        all.len().saturating_sub(NODES_MAX)
    }

    /// Some source has never been heard: there may be nodes that nobody knows of.
    pub fn is_searching(&self) -> bool {
        // Standbys are asked for where there is a primary already.
        let finds = |known: &Known| !matches!(known.source.kind, Kind::Standbys { .. });
        self.sources.iter().any(|known| finds(known) && known.standing == Standing::Unheard)
    }

    /// How many nodes a source tells.
    pub fn count(&self, source: &str) -> usize {
        self.sources.iter().find(|known| known.source.name == source).map_or(0, |known| known.nodes.len())
    }

    /// A source has told its nodes, or has failed to. What fails, or tells nothing, changes nothing. A node leaves
    /// when it is missing from two answers in a row: some name servers show a part of what they have.
    pub fn heard(&mut self, source: &str, answer: Result<Vec<Node>, String>) -> Heard {
        let (before, unlisted) = (self.nodes(), self.unlisted());
        let Some(known) = self.sources.iter_mut().find(|known| known.source.name == source) else {
            return Heard::default();
        };
        let was_unheard = known.standing == Standing::Unheard;
        let mut heard = match answer.and_then(usable) {
            Err(why) => known.fails(why),
            Ok(told) => known.tells(told),
        };
        let after = self.nodes();
        let new_in = |these: &[Node], those: &[Node]| -> Vec<String> {
            let is_new = |node: &&Node| !those.iter().any(|other| other.address == node.address);
            these.iter().filter(is_new).map(|node| node.address.clone()).collect()
        };
        (heard.joined, heard.left) = (new_in(&after, &before), new_in(&before, &after));
        heard.changed = was_unheard || before != after;
        heard.offered.retain(|address| !after.iter().any(|node| node.address == *address));
        if self.unlisted() > 0 && unlisted == 0 {
            heard.said = Some(format!(
                "{source} tells more nodes than are watched: {} are left out, {NODES_MAX} is the most",
                self.unlisted()
            ));
        }
        heard
    }

    /// The sources, as people want to see them.
    pub fn rows(&self) -> Vec<SourceStatus> {
        let row = |known: &Known| SourceStatus {
            name: known.source.name.clone(),
            state: match known.standing {
                Standing::Unheard => "unheard",
                Standing::Answers => "answers",
                Standing::Fails(_) => "fails",
            },
            nodes: known.nodes.iter().map(|node| node.address.clone()).collect(),
            error: match &known.standing {
                Standing::Fails(why) => Some(why.clone()),
                _ => None,
            },
        };
        self.sources.iter().map(row).collect()
    }
}

/// An answer that can be believed.
fn usable(told: Vec<Node>) -> Result<Vec<Node>, String> {
    match told.len() {
        0 => Err("it tells no node".into()),
        n if n > NODES_MAX => Err(format!("it tells {n} nodes, of which {NODES_MAX} at most are watched")),
        _ => Ok(told),
    }
}

impl Known {
    fn new(source: &Source) -> Self {
        Self { source: source.clone(), nodes: vec![], missing: HashSet::new(), standing: Standing::Unheard }
    }

    /// The source is written in another way, by the same name.
    fn adopt(&mut self, source: &Source) {
        for node in &mut self.nodes {
            // One that its source spares stays spared.
            if node.weight == self.source.like.weight {
                node.weight = source.like.weight;
            }
            (node.zone, node.groups) = (source.like.zone.clone(), source.like.groups.clone());
        }
        self.source = source.clone();
    }

    fn fails(&mut self, why: String) -> Heard {
        let kept = self.nodes.len();
        let said = match &self.standing {
            Standing::Fails(_) => None,
            _ => Some(format!("{} fails: {why}; {kept} nodes of it stay as they are", self.source.name)),
        };
        self.standing = Standing::Fails(why.clone());
        Heard { failed: Some(why), said, ..Heard::default() }
    }

    fn tells(&mut self, mut told: Vec<Node>) -> Heard {
        told.sort_by(|a, b| a.address.cmp(&b.address));
        told.dedup_by(|a, b| a.address == b.address);
        let is_told = |node: &Node| told.iter().any(|other| other.address == node.address);
        let missing: HashSet<String> =
            self.nodes.iter().filter(|node| !is_told(node)).map(|node| node.address.clone()).collect();
        self.nodes.retain(|node| !missing.contains(&node.address) || !self.missing.contains(&node.address));
        self.missing =
            missing.into_iter().filter(|name| self.nodes.iter().any(|n| n.address == *name)).collect();
        let is_new = |node: &&Node| !self.nodes.iter().any(|known| known.address == node.address);
        let offered = match self.source.is_taken() {
            true => vec![],
            false => told.iter().filter(is_new).map(|node| node.address.clone()).collect(),
        };
        for node in told {
            match self.nodes.iter_mut().find(|known| known.address == node.address) {
                Some(known) => *known = node,
                None => self.nodes.push(node),
            }
        }
        let said = match &self.standing {
            Standing::Answers => None,
            _ => Some(format!("{} answers: it tells {} nodes", self.source.name, self.nodes.len())),
        };
        self.standing = Standing::Answers;
        Heard { is_unsure: !self.missing.is_empty(), offered, said, ..Heard::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(address: &str) -> Node {
        Node { address: address.into(), weight: 100, zone: None, groups: vec![], source: None }
    }

    fn source(name: &str) -> Source {
        Source { name: name.into(), kind: Kind::Services("a".into()), like: node(name) }
    }

    fn told(list: &[&str]) -> Result<Vec<Node>, String> {
        Ok(list.iter().map(|address| node(address)).collect())
    }

    fn names(found: &Found) -> Vec<String> {
        found.nodes().into_iter().map(|node| node.address).collect()
    }

    fn one_source(first: &[&str]) -> Found {
        let mut found = Found::default();
        found.configure(&[], &[source("s")]);
        assert!(found.is_searching() && found.nodes().is_empty());
        assert!(found.heard("s", told(first)).changed);
        found
    }

    #[test]
    fn what_is_told_joins_at_once_and_leaves_when_it_is_missing_twice() {
        let mut found = one_source(&["b", "a"]);
        assert!(!found.is_searching());
        assert_eq!(names(&found), ["a", "b"]);
        let heard = found.heard("s", told(&["c", "b"]));
        assert_eq!(
            (heard.joined.as_slice(), heard.is_unsure, heard.said),
            (&["c".to_owned()][..], true, None)
        );
        assert_eq!(names(&found), ["a", "b", "c"], "the order lasts");
        let heard = found.heard("s", told(&["b", "c"]));
        assert_eq!((heard.left.as_slice(), heard.is_unsure), (&["a".to_owned()][..], false));
        assert_eq!(names(&found), ["b", "c"]);
    }

    #[test]
    fn a_source_that_shows_a_part_each_time_loses_no_node() {
        let mut found = one_source(&["a", "b", "c"]);
        for part in [["a", "b"], ["b", "c"], ["c", "a"], ["a", "b"]] {
            assert!(!found.heard("s", told(&part)).changed);
        }
        assert_eq!(names(&found), ["a", "b", "c"]);
    }

    #[test]
    fn what_fails_or_tells_nothing_changes_nothing_and_is_said_once() {
        let mut found = one_source(&["a"]);
        let first = found.heard("s", Err("SERVFAIL".into()));
        assert!(first.said.unwrap().contains("SERVFAIL") && !first.changed);
        assert_eq!(found.heard("s", Err("SERVFAIL".into())).said, None);
        assert!(found.heard("s", told(&[])).failed.unwrap().contains("no node"));
        let many: Vec<String> = (0..=NODES_MAX).map(|i| i.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(found.heard("s", told(&many)).failed.is_some());
        assert_eq!((names(&found), found.rows()[0].state), (vec!["a".to_owned()], "fails"));
        assert!(found.heard("s", told(&["a"])).said.unwrap().contains("answers"));
        assert_eq!(found.heard("s", told(&["a"])), Heard::default());
    }

    #[test]
    fn a_failure_between_two_answers_does_not_count_as_one() {
        let mut found = one_source(&["a", "b"]);
        assert!(found.heard("s", told(&["a"])).is_unsure);
        found.heard("s", Err("late".into()));
        assert_eq!(names(&found), ["a", "b"]);
        assert_eq!(found.heard("s", told(&["a"])).left, ["b"]);
    }

    #[test]
    fn a_source_that_fails_at_first_no_longer_holds_anybody_up() {
        let mut found = Found::default();
        found.configure(&[node("w")], &[source("s")]);
        assert!(found.heard("s", Err("NXDOMAIN".into())).changed);
        assert!(!found.is_searching());
        assert_eq!(names(&found), ["w"]);
    }

    #[test]
    fn a_reload_keeps_what_was_found_by_sources_that_stay() {
        let mut found = one_source(&["a"]);
        let mut other = source("s");
        (other.like.weight, other.like.zone) = (7, Some("z".into()));
        assert!(found.configure(&[node("w")], &[source("t"), other]).is_empty());
        assert_eq!(names(&found), ["w", "a"]);
        assert_eq!((found.nodes()[1].weight, found.nodes()[1].zone.as_deref()), (7, Some("z")));
        assert!(found.is_searching(), "the new one has not been heard");
        assert_eq!(found.configure(&[node("w")], &[source("t")]), ["s"]);
        assert_eq!(names(&found), ["w"]);
        assert_eq!(found.heard("s", told(&["x"])), Heard::default(), "an answer that came too late");
    }

    #[test]
    fn an_offer_is_made_once_and_is_no_node_before_it_is_taken() {
        let offer = |takes| Source { kind: Kind::Standbys { takes }, ..source("s") };
        let mut found = Found::default();
        found.configure(&[node("w")], &[offer(false)]);
        assert!(!found.is_searching(), "it needs a primary first");
        assert_eq!(found.heard("s", told(&["w", "a"])).offered, ["a"]);
        assert_eq!(found.heard("s", told(&["w", "a"])).offered, Vec::<String>::new());
        assert_eq!(names(&found), ["w"]);
        found.configure(&[node("w")], &[offer(true)]);
        assert_eq!(names(&found), ["w", "a"]);
        assert_eq!(found.heard("s", told(&["w", "a", "b"])).joined, ["b"]);
    }

    #[test]
    fn a_node_is_there_once_whoever_tells_it_and_all_together_are_bounded() {
        let mut found = Found::default();
        found.configure(&[node("a")], &[source("s"), source("t")]);
        found.heard("s", told(&["a", "b"]));
        found.heard("t", told(&["b", "c"]));
        assert_eq!(names(&found), ["a", "b", "c"]);
        found.heard("s", told(&["d"]));
        assert_eq!(found.heard("s", told(&["d"])).left, Vec::<String>::new(), "others tell a and b, too");
        let many: Vec<String> = (0..NODES_MAX).map(|i| i.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(found.heard("t", told(&many)).said.unwrap().contains("left out"));
        assert_eq!(found.nodes().len(), NODES_MAX);
    }
}
