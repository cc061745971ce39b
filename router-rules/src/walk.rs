//! A reading of a query's tokens that needs no grammar: every name that is called, every name that
//! stands where a relation stands, every operator.
//!
//! It serves where the parser refuses what Postgres accepts, and for the bodies of PL/pgSQL
//! functions. It walks over the tokens once, with a stack of open parentheses, and errs towards
//! too much: a column list that looks like a call is a call of a function that nobody knows, which
//! means the primary. What it must never do is overlook a name:
//! * a call is a name followed by `(` (or by nothing, in `a.f`);
//! * a relation is a name after FROM, JOIN, TABLE, or after a comma while a FROM clause is open in
//!   the same parentheses;
//! * INTO, locking clauses and data-modifying words end the matter.

mod bodies;
mod keywords;
mod names;

use crate::effort::Effort;
use crate::facts::{Facts, Name, Operation};
use crate::lex::TokenKind;
use crate::reason::Reason;
use crate::shown::shown_type;
use crate::tokens::Tokens;
use std::borrow::Cow;

/// What kind of text is walked over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// One SQL statement.
    Sql,
    /// The body of a SQL function.
    SqlBody,
    /// The body of a PL/pgSQL function: `INTO` is an assignment, statements follow one another.
    PlpgsqlBody,
}

/// Walks over `tokens`, if that is not too much.
pub(crate) fn walk<'a>(tokens: Tokens<'a>, text: Text, effort: &Effort) -> Facts<'a> {
    if let Err(reason) = effort.take(TOKEN_STEPS * tokens.len()) {
        return Facts { refusal: Some(reason), ..Facts::default() };
    }
    let mut walker = Walker {
        tokens,
        text,
        at: 0,
        frames: vec![Frame::new(Paren::Query)],
        facts: Facts { body: text == Text::PlpgsqlBody, ..Facts::default() },
        groups: false,
        operator_end: usize::MAX,
        distinct_on_end: usize::MAX,
        relation_end: usize::MAX,
        opens_end: 0,
        modifies: (0..tokens.len()).any(|at| tokens.is_any(at, &["insert", "update", "delete", "merge"])),
    };
    walker.run();
    let mut facts = walker.facts;
    // Replay writes none of what tells commands of one transaction apart.
    if facts.words.iter().any(|word| matches!(&**word, "cmin" | "cmax")) {
        facts.refusal.get_or_insert(Reason::NodeRelation);
    }
    let names = facts.words.len() + facts.calls.len() + facts.operators.len() + facts.types.len();
    // Each is looked up later; whoever does so sees that it was too much.
    let _ = effort.take(NAME_STEPS * names);
    facts
}

/// What an open parenthesis is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paren {
    /// A query, or what may turn out to be one.
    Query,
    /// A parenthesis in a FROM clause: joins.
    From,
    /// Arguments of the call with that index in `facts.calls`.
    Call(usize),
    /// An expression, a list of columns.
    Other,
    /// A list of columns with their types.
    Columns,
    /// `[…]`.
    Bracket,
}

/// Where in a query we are, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clause {
    /// Before anything.
    Start,
    /// After WITH, before the statement that it belongs to.
    With,
    /// In a FROM clause.
    From,
    /// Anywhere else.
    Other,
}

struct Frame {
    paren: Paren,
    clause: Clause,
    /// The next name is a relation (or a function in FROM).
    expects_table: bool,
    /// DELETE or MERGE has begun: behind its USING stand relations.
    uses_relations: bool,
    /// In a call: index of the first token of the argument that is being read, arguments seen.
    argument_from: usize,
    arguments: usize,
}

impl Frame {
    fn new(paren: Paren) -> Self {
        Frame {
            paren,
            clause: Clause::Start,
            expects_table: paren == Paren::From,
            uses_relations: false,
            argument_from: 0,
            arguments: 0,
        }
    }
}

/// What it takes to walk over a token.
const TOKEN_STEPS: usize = 3;
/// What it takes to keep and to look up a name.
const NAME_STEPS: usize = 2;

/// Parentheses deeper than this are not read any more.
const DEPTH_MAX: usize = 200;

struct Walker<'a> {
    tokens: Tokens<'a>,
    text: Text,
    at: usize,
    frames: Vec<Frame>,
    facts: Facts<'a>,
    /// The statement modifies somewhere, so that SET and CONFLICT may be words of its grammar.
    modifies: bool,
    /// Of the words that begin clauses behind FROM, the last was GROUP.
    groups: bool,
    /// Where the last `OPERATOR(…)` ended: its parenthesis ends no operand.
    operator_end: usize,
    /// Where the last `DISTINCT ON (…)` ended: what comes next is a value, and no alias.
    distinct_on_end: usize,
    /// Where the last run of opening parentheses ended.
    opens_end: usize,
    /// Where the last relation's name ended: a `*` there belongs to it.
    relation_end: usize,
}

impl<'a> Walker<'a> {
    fn run(&mut self) {
        while self.at < self.tokens.len() {
            match self.tokens.list[self.at].kind {
                TokenKind::Word | TokenKind::Quoted => self.name_or_keyword(),
                TokenKind::Unicode => {
                    // U&"…" may be any name at all.
                    if self.tokens.text(self.at).contains('"') {
                        self.facts.refuse(Reason::NotParsed);
                    }
                    self.at += 1;
                }
                TokenKind::Operator => self.operator(),
                TokenKind::Punctuation => self.punctuation(),
                _ => self.at += 1,
            }
        }
        if self.frames.len() != 1 {
            self.facts.refuse(Reason::NotParsed);
        }
    }

    fn frame(&mut self) -> &mut Frame {
        // The bottom frame is never popped.
        self.frames.last_mut().expect("the bottom frame stays")
    }

    fn previous_is(&self, word: &str) -> bool {
        self.at > 0 && self.tokens.is(self.at - 1, word)
    }

    fn previous_is_mark(&self, mark: &str) -> bool {
        self.at > 0 && self.tokens.is_mark(self.at - 1, mark)
    }

    fn punctuation(&mut self) {
        match self.tokens.text(self.at) {
            "(" => self.open(None),
            ")" => self.close(),
            "[" => {
                let mut frame = Frame::new(Paren::Bracket);
                frame.argument_from = self.at + 1;
                self.frame().expects_table = false;
                self.frames.push(frame);
            }
            "]" => {
                if self.frame().paren != Paren::Bracket {
                    self.facts.refuse(Reason::NotParsed);
                } else {
                    self.frames.pop();
                }
            }
            "," => {
                let at = self.at;
                self.end_argument(at);
                let frame = self.frame();
                match frame.clause {
                    Clause::From => frame.expects_table = true,
                    _ if frame.paren == Paren::From => frame.expects_table = true,
                    _ => {}
                }
            }
            "::" => {
                if let Some((name, _)) = self.tokens.name(self.at + 1) {
                    self.mention_type(name);
                } else {
                    self.facts.refuse(Reason::NotParsed);
                }
            }
            ";" => {
                if self.text == Text::Sql {
                    self.facts.refuse(Reason::NotParsed);
                }
                self.frames.truncate(1);
                *self.frame() = Frame::new(Paren::Query);
            }
            "."
                // `(expression).f` may call `f` on a row.
                if (self.previous_is_mark(")") || self.previous_is_mark("]")) => {
                    let mut end = self.at;
                    while self.tokens.is_mark(end, ".") {
                        let Some(name) = self.tokens.identifier(end + 1) else { break };
                        self.column(Name { schema: None, name });
                        end += 2;
                    }
                    self.at = end.max(self.at + 1);
                    return;
                }
            _ => {}
        }
        self.at += 1;
    }

    /// A parenthesis opens; `call` is the name that stands before it.
    fn open(&mut self, call: Option<usize>) {
        // Each of a run of parentheses looks for the same token behind it.
        let mut ahead = self.at + 1;
        if self.opens_end > self.at {
            ahead = self.opens_end;
        }
        while self.tokens.is_mark(ahead, "(") {
            ahead += 1;
        }
        self.opens_end = ahead;
        if self.frames.len() > DEPTH_MAX {
            self.facts.refuse(Reason::TooComplex);
        }
        let query = self
            .tokens
            .is_any(ahead, &["select", "with", "values", "table", "insert", "update", "delete", "merge"]);
        let expects = self.frame().expects_table;
        let paren = match call {
            Some(index) => Paren::Call(index),
            None if query && ahead == self.at + 1 => Paren::Query,
            None if expects => Paren::From,
            None if query => Paren::Query,
            None => Paren::Other,
        };
        self.frame().expects_table = false;
        let mut frame = Frame::new(paren);
        frame.argument_from = self.at + 1;
        self.frames.push(frame);
    }

    fn close(&mut self) {
        let at = self.at;
        if at > 0 && self.frames.last().is_some_and(|f| f.argument_from < at) {
            self.end_argument(at);
        }
        if self.frames.len() == 1 || self.frame().paren == Paren::Bracket {
            self.facts.refuse(Reason::NotParsed);
            return;
        }
        let closed = self.frames.pop();
        let begins = closed.as_ref().map_or(0, |frame| frame.argument_from.saturating_sub(1));
        if begins >= 2 && self.tokens.is(begins - 1, "on") && self.tokens.is(begins - 2, "distinct") {
            self.distinct_on_end = at;
        }
        if let Some(Frame { paren: Paren::Call(index), arguments, .. }) = closed {
            let call = &mut self.facts.calls[index];
            if call.args.is_some() {
                call.args = Some(arguments);
            }
        }
    }

    /// The argument that ends before token `end` is complete.
    fn end_argument(&mut self, end: usize) {
        let Some(frame) = self.frames.last_mut() else { return };
        let Paren::Call(index) = frame.paren else { return };
        let from = frame.argument_from;
        frame.argument_from = end + 1;
        frame.arguments += 1;
        let number = frame.arguments;
        let argument = self.tokens.slice(from, end);
        let shown = shown_type(argument);
        let call = &mut self.facts.calls[index];
        call.shown.push(shown);
        // Postgres itself writes `'a'::text` in views and policies.
        let is_text = argument.len() == 1
            || (argument.len() == 3 && argument.is_mark(1, "::") && argument.is(2, "text"));
        match number {
            1 if is_text => call.literal = argument.literal(0),
            2 if is_text => call.second = argument.literal(0),
            _ => {}
        }
        if argument.is(0, "variadic") || argument.is_mark(1, "=>") || argument.is_mark(1, ":=") {
            call.args = None;
        }
        if argument.len() == 1 && argument.is_mark(0, "*") {
            frame.arguments -= 1;
            call.shown.pop();
        }
    }

    fn operator(&mut self) {
        let name = match self.tokens.text(self.at) {
            // Postgres's scanner knows only one of the two.
            "!=" => "<>",
            name => name,
        };
        self.at += 1;
        // `f(name => value)`.
        if name == "=>" {
            return;
        }
        // `*` after SELECT, a comma, a dot or an opening parenthesis is no operator; taking it for
        // one does no harm.
        self.facts.operators.push(Operation {
            schema: None,
            name: Cow::Borrowed(name),
            left: None,
            right: None,
            implied: false,
        });
    }
}
