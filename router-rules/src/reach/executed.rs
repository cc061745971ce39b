//! What a text may do that a body puts together and runs.

use super::Node;
use super::text::Finder;
use crate::dynamic;
use crate::tokens::Tokens;
use crate::walk::Text;

/// In a database with more relations than this nobody looks at all of them for what one text may do.
const RELATIONS_MAX: usize = 2_000;

impl Finder<'_> {
    /// An EXECUTE, whose text begins at `at`.
    pub(super) fn execute(&mut self, tokens: Tokens<'_>, at: usize) {
        self.found.unknown = true;
        let is_own = |name: &&str| self.catalog.functions(name).next().is_some();
        let may_look =
            self.catalog.rows.relations.len() <= RELATIONS_MAX && !dynamic::QUOTING.iter().any(is_own);
        match dynamic::template(tokens, at).filter(|_| may_look) {
            Some(text) => {
                self.text(&text, Text::Sql);
                self.found.edges.push(Node::Somewhere);
            }
            None => self.leaves(dynamic::of_execute(tokens, at)),
        }
    }
}
