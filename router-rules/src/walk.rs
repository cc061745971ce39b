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

use crate::facts::{Call, Facts, Form, Name, Operation, Shown};
use crate::lex::{self, Token, TokenKind};
use crate::reason::Reason;
use std::borrow::Cow;

/// The tokens of one statement and the text that they stand in.
#[derive(Clone, Copy)]
pub(crate) struct Tokens<'a> {
    pub sql: &'a str,
    pub list: &'a [Token],
}

impl<'a> Tokens<'a> {
    /// The text of token `at`; empty behind the end.
    pub fn text(&self, at: usize) -> &'a str {
        self.list.get(at).map_or("", |t| &self.sql[t.start as usize..t.end as usize])
    }

    /// The kind of token `at`.
    pub fn kind(&self, at: usize) -> Option<TokenKind> {
        self.list.get(at).map(|t| t.kind)
    }

    /// True when token `at` is the unquoted word `word` (given in lower case).
    pub fn is(&self, at: usize, word: &str) -> bool {
        self.kind(at) == Some(TokenKind::Word) && self.text(at).eq_ignore_ascii_case(word)
    }

    /// True when token `at` is one of `words`.
    pub fn is_any(&self, at: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(at, word))
    }

    /// True when token `at` is that punctuation or operator.
    pub fn is_mark(&self, at: usize, mark: &str) -> bool {
        matches!(self.kind(at), Some(TokenKind::Punctuation | TokenKind::Operator)) && self.text(at) == mark
    }

    /// The identifier at `at`, folded; `None` when no identifier stands there.
    pub fn identifier(&self, at: usize) -> Option<Cow<'a, str>> {
        match self.kind(at)? {
            kind @ (TokenKind::Word | TokenKind::Quoted) => Some(lex::identifier(self.text(at), kind)),
            _ => None,
        }
    }

    /// The value of the plain literal at `at`.
    pub fn literal(&self, at: usize) -> Option<String> {
        lex::literal(self.text(at), self.kind(at)?)
    }

    /// How many tokens.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// A part of the tokens.
    pub fn slice(&self, from: usize, to: usize) -> Tokens<'a> {
        let to = to.min(self.list.len());
        Tokens { sql: self.sql, list: &self.list[from.min(to)..to] }
    }

    /// The possibly qualified name that starts at `at`, and the index behind it.
    pub fn name(&self, at: usize) -> Option<(Name<'a>, usize)> {
        let mut name = Name { schema: None, name: self.identifier(at)? };
        let mut end = at + 1;
        while self.is_mark(end, ".") {
            let Some(next) = self.identifier(end + 1) else { break };
            name = Name { schema: Some(name.name), name: next };
            end += 2;
        }
        Some((name, end))
    }
}

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

/// Walks over `tokens`.
pub(crate) fn walk<'a>(tokens: Tokens<'a>, text: Text) -> Facts<'a> {
    let mut walker = Walker {
        tokens,
        text,
        at: 0,
        frames: vec![Frame::new(Paren::Query)],
        facts: Facts { body: text == Text::PlpgsqlBody, ..Facts::default() },
        operator_end: usize::MAX,
        relation_end: usize::MAX,
        modifies: (0..tokens.len()).any(|at| tokens.is_any(at, &["insert", "update", "delete", "merge"])),
    };
    walker.run();
    walker.facts
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
            argument_from: 0,
            arguments: 0,
        }
    }
}

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
    /// Where the last `OPERATOR(…)` ended: its parenthesis ends no operand.
    operator_end: usize,
    /// Where the last relation's name ended: a `*` there belongs to it.
    relation_end: usize,
}

/// Words after which a parenthesis is no call.
const NOT_CALLED: &[&str] = &[
    "all",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "between",
    "by",
    "case",
    "check",
    "coalesce",
    "collate",
    "columns",
    "cube",
    "desc",
    "distinct",
    "else",
    "end",
    "escape",
    "except",
    "exists",
    "fetch",
    "filter",
    "first",
    "from",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "intersect",
    "is",
    "isnull",
    "join",
    "lateral",
    "least",
    "like",
    "limit",
    "materialized",
    "next",
    "not",
    "notnull",
    "null",
    "nullif",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "over",
    "partition",
    "passing",
    "range",
    "returning",
    "rollup",
    "row",
    "rows",
    "select",
    "sets",
    "similar",
    "some",
    "symmetric",
    "then",
    "to",
    "union",
    "using",
    "values",
    "variadic",
    "when",
    "where",
    "with",
    "within",
    "xmlattributes",
    "xmlnamespaces",
    "cast",
    "treat",
    "interval",
    "time",
    "timestamp",
    "groups",
    "nested",
    "set",
    "ordinality",
    "recursive",
    "asymmetric",
    "table",
    "preceding",
    "following",
];

/// The same in PL/pgSQL, beside those.
const NOT_CALLED_PLPGSQL: &[&str] = &[
    "if", "elsif", "elseif", "while", "loop", "return", "perform", "query", "assert", "begin", "atomic",
    "next", "foreach", "until", "declare", "into", "exit", "continue", "raise", "notice", "array",
];

/// Words that end a FROM clause.
const FROM_ENDS: &[&str] = &[
    "where",
    "group",
    "having",
    "order",
    "limit",
    "offset",
    "fetch",
    "for",
    "window",
    "union",
    "intersect",
    "except",
    "returning",
    "when",
];

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

    fn mention_type(&mut self, name: Name<'a>) {
        self.facts.types.push(name);
    }

    /// A name before a parenthesis that is probably no call.
    fn maybe_called(&mut self, name: Name<'a>) {
        self.facts.calls.push(Call { name, args: None, shown: vec![], literal: None, form: Form::Maybe });
    }

    fn column(&mut self, name: Name<'a>) {
        self.facts.words.push(name.name.clone());
        self.facts.calls.push(Call {
            name,
            args: Some(1),
            shown: vec![None],
            literal: None,
            form: Form::Column,
        });
    }

    /// A parenthesis opens; `call` is the name that stands before it.
    fn open(&mut self, call: Option<usize>) {
        let mut ahead = self.at + 1;
        while self.tokens.is_mark(ahead, "(") && ahead < self.at + DEPTH_MAX {
            ahead += 1;
        }
        if self.frames.len() > DEPTH_MAX {
            self.facts.refuse(Reason::TooLarge);
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
        if let Some(Frame { paren: Paren::Call(index), arguments, .. }) = self.frames.pop() {
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
        let first = frame.arguments == 1;
        let argument = self.tokens.slice(from, end);
        let shown = shown_type(argument);
        let call = &mut self.facts.calls[index];
        call.shown.push(shown);
        if first && argument.len() == 1 {
            call.literal = argument.literal(0);
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
        // `*` after SELECT, a comma, a dot or an opening parenthesis is no operator; taking it for
        // one does no harm.
        self.facts.operators.push(Operation {
            schema: None,
            name: Cow::Borrowed(name),
            left: None,
            right: None,
            implied: false,
        });
        self.at += 1;
    }

    fn name_or_keyword(&mut self) {
        let word = self.tokens.list[self.at].kind == TokenKind::Word;
        if word && !self.previous_is_mark(".") && self.keyword() {
            return;
        }
        let start = self.at;
        let Some((name, end)) = self.tokens.name(start) else {
            self.at += 1;
            return;
        };
        self.facts.words.extend(name.schema.clone());
        self.facts.words.push(name.name.clone());
        self.at = end;
        if self.tokens.is_mark(end, "(") {
            self.name_before_parenthesis(name, start);
        } else if self.frame().expects_table {
            self.frame().expects_table = false;
            if self.stands_behind_only(start) {
                self.facts.only.push(self.facts.relations.len());
            }
            self.facts.relations.push(name);
            self.relation_end = end;
        } else if name.schema.is_some() {
            self.column(Name { schema: None, name: name.name });
        } else if matches!(
            self.tokens.kind(end),
            Some(TokenKind::String | TokenKind::EscapeString | TokenKind::Dollar)
        ) && self.text == Text::Sql
        {
            // `type 'literal'`; words of the grammar before a literal (`AND 'x'`) are types, too, and known.
            if !is_grammar_word(&name.name) {
                self.mention_type(name);
            }
        } else if self.frame().clause == Clause::With && self.declares_cte(start) {
            self.facts.ctes.push(name.name);
        } else if self.frame().paren == Paren::Columns && start > 0 && !self.previous_was_separator(start) {
            self.mention_type(name);
        }
    }

    /// True inside `CAST(… AS …)` and its like, where a type follows AS.
    fn casts(&self) -> bool {
        match self.frames.last() {
            Some(Frame { paren: Paren::Call(index), .. }) => {
                matches!(&*self.facts.calls[*index].name.name, "cast" | "treat" | "xmlserialize")
            }
            _ => false,
        }
    }

    fn previous_was_separator(&self, at: usize) -> bool {
        self.tokens.is_mark(at - 1, ",") || self.tokens.is_mark(at - 1, "(")
    }

    /// `ONLY t` or `ONLY (t)`, but not `ONLY t*`.
    fn stands_behind_only(&self, start: usize) -> bool {
        let before = |n: usize, word: &str| start >= n && self.tokens.is(start - n, word);
        (before(1, "only") || (before(2, "only") && self.tokens.is_mark(start - 1, "(")))
            && !self.tokens.is_mark(self.at, "*")
    }

    /// True for the name that INSERT INTO or MERGE INTO writes to.
    fn follows_into(&self, start: usize) -> bool {
        start > 1 && self.tokens.is(start - 1, "into") && self.tokens.is_any(start - 2, &["insert", "merge"])
    }

    fn declares_cte(&self, start: usize) -> bool {
        start > 0
            && (self.tokens.is_any(start - 1, &["with", "recursive"]) || self.tokens.is_mark(start - 1, ","))
    }

    /// `name(`: a call, unless it is plainly something else.
    fn name_before_parenthesis(&mut self, name: Name<'a>, start: usize) {
        let lists_columns = match start.checked_sub(1) {
            _ if self.frame().clause == Clause::With && self.declares_cte(start) => {
                self.facts.ctes.push(name.name.clone());
                true
            }
            Some(before) if self.tokens.is(before, "as") => true,
            // `INSERT INTO t (a, b)`.
            Some(_) if self.modifies && self.follows_into(start) => true,
            // `t a(b, c)`: two names in a row cannot be a call.
            // Only a FROM clause has such aliases.
            Some(before) if self.text == Text::Sql && name.schema.is_none() => {
                let in_from = self.frames.last().is_some_and(|f| {
                    (f.clause == Clause::From || f.paren == Paren::From) && !f.expects_table
                });
                in_from && self.ends_operand(before)
            }
            _ => false,
        };
        if lists_columns {
            self.maybe_called(name.clone());
            let cast = self.casts();
            if cast {
                self.mention_type(name);
            }
            self.open(None);
            self.frame().paren = if cast { Paren::Other } else { Paren::Columns };
            self.at += 1;
            return;
        }
        if self.tokens.is(start.wrapping_sub(1), "tablesample")
            && matches!(&*name.name, "bernoulli" | "system" | "system_rows" | "system_time")
        {
            self.open(None);
            self.at += 1;
            return;
        }
        let index = self.facts.calls.len();
        self.facts.calls.push(Call { name, args: Some(0), shown: vec![], literal: None, form: Form::Call });
        self.open(Some(index));
        self.at += 1;
    }

    /// True when a table or operand can end with token `at`, so that a name behind it is an alias.
    fn ends_operand(&self, at: usize) -> bool {
        match self.tokens.kind(at) {
            Some(TokenKind::Quoted) => true,
            Some(TokenKind::Punctuation) => self.tokens.text(at) == ")" && at != self.operator_end,
            // `FROM t* a(b)`.
            Some(TokenKind::Operator) => self.tokens.text(at) == "*" && at == self.relation_end,
            Some(TokenKind::Word) => {
                let before_dot = at > 0 && self.tokens.is_mark(at - 1, ".");
                before_dot
                    || self.tokens.is(at, "ordinality")
                    || !is_grammar_word(&self.tokens.text(at).to_ascii_lowercase())
            }
            _ => false,
        }
    }

    /// Handles the keyword at `self.at`; false when the word is a name like any other.
    fn keyword(&mut self) -> bool {
        let at = self.at;
        let text = self.tokens.text(at);
        let mut buffer = [0u8; 16];
        if text.len() > buffer.len() || !text.is_ascii() {
            return false;
        }
        let lower = &mut buffer[..text.len()];
        lower.copy_from_slice(text.as_bytes());
        lower.make_ascii_lowercase();
        let Ok(word) = std::str::from_utf8(lower) else { return false };
        let labelled = self.previous_is("as")
            && self.frame().clause != Clause::With
            && !self.tokens.is_mark(at + 1, "(");
        if self.text != Text::Sql && self.body_word(word) {
            self.at += 1;
            return true;
        }
        // A relation may be called by any word that is not reserved.
        if self.frame().expects_table
            && !is_reserved(word)
            && !(word == "rows" && self.tokens.is(at + 1, "from"))
        {
            return false;
        }
        match word {
            _ if labelled && word != "select" && word != "with" && word != "values" => {
                // `AS any_word`: a label; only a data type may matter.
                if self.casts()
                    && let Some((name, _)) = self.tokens.name(at)
                {
                    self.mention_type(name);
                }
                self.facts.words.push(Cow::Owned(word.to_string()));
                self.at += 1;
                return true;
            }
            "select" => {
                let frame = self.frame();
                if let Paren::Call(index) = frame.paren {
                    // `json_array(SELECT …)`.
                    self.facts.calls[index].args = None;
                }
                let frame = self.frame();
                frame.paren = Paren::Query;
                frame.clause = Clause::Other;
                frame.expects_table = false;
            }
            "values" if self.tokens.is_mark(at + 1, "(") => {
                self.frame().clause = Clause::Other;
                self.frame().expects_table = false;
            }
            "with" if self.starts_with_clause() => self.frame().clause = Clause::With,
            "recursive" if self.previous_is("with") => {}
            "table" => self.frame().expects_table = true,
            "from" => {
                let distinct_from =
                    self.previous_is("distinct") && at > 1 && self.tokens.is_any(at - 2, &["is", "not"]);
                let body = self.text != Text::Sql;
                let frame = self.frame();
                if !distinct_from && frame.paren == Paren::Query {
                    frame.clause = Clause::From;
                    frame.expects_table = true;
                } else if !distinct_from && body {
                    frame.expects_table = true;
                }
            }
            "join" if self.tokens.is_mark(at + 1, "(") && !self.is_grammar_here(word) => return false,
            "join" => self.frame().expects_table = true,
            "lateral" | "only" => {}
            "rows" if self.tokens.is(at + 1, "from") && self.tokens.is_mark(at + 2, "(") => {
                self.frame().expects_table = false;
                self.at += 2;
                self.open(None);
                self.frame().paren = Paren::Other;
                self.at += 1;
                return true;
            }
            "into" => {
                if self.text != Text::PlpgsqlBody {
                    self.facts.refuse(Reason::Write);
                } else {
                    self.frame().expects_table = false;
                }
            }
            "for" => {
                if self.tokens.is_any(at + 1, &["update", "no", "share", "key"]) {
                    self.facts.refuse(Reason::Locks);
                }
                self.end_from();
            }
            "insert" | "update" | "delete" | "merge" => {
                if !self.modifies(word) {
                    return false;
                }
                self.facts.refuse(Reason::Write);
            }
            "operator" if self.tokens.is_mark(at + 1, "(") => return self.qualified_operator(),
            "uescape" => self.facts.refuse(Reason::NotParsed),
            _ if FROM_ENDS.contains(&word) => {
                // `agg(a, b ORDER BY c, d)`: what follows is no argument.
                if let Some(Frame { paren: Paren::Call(index), .. }) = self.frames.last() {
                    self.facts.calls[*index].args = None;
                }
                implied_operator(word, &mut self.facts);
                self.end_from();
            }
            _ if self.tokens.is_mark(at + 1, "(") => {
                let modifying = self.modifies && matches!(word, "set" | "conflict" | "insert");
                let field = word == "second" && self.tokens.kind(at + 2) == Some(TokenKind::Number);
                let grammar = NOT_CALLED.contains(&word) && self.is_grammar_here(word);
                if grammar
                    || modifying
                    || field
                    || (self.text != Text::Sql && NOT_CALLED_PLPGSQL.contains(&word))
                {
                    if !is_reserved(word) {
                        self.maybe_called(Name { schema: None, name: Cow::Owned(word.to_string()) });
                    }
                    if matches!(word, "cast" | "treat") {
                        let index = self.facts.calls.len();
                        self.facts.calls.push(Call {
                            name: Name { schema: None, name: Cow::Borrowed("cast") },
                            args: None,
                            shown: vec![],
                            literal: None,
                            form: Form::Call,
                        });
                        self.at += 1;
                        self.open(Some(index));
                        self.at += 1;
                        return true;
                    }
                } else {
                    return false;
                }
            }
            _ => {
                if !is_grammar_word(word) {
                    return false;
                }
                if self.tokens.is_mark(at + 1, ".") {
                    return false;
                }
                implied_operator(word, &mut self.facts);
                if self.frame().clause == Clause::With && self.declares_cte(at) {
                    return false;
                }
            }
        }
        if self.tokens.is_mark(at + 1, "(") {
            implied_operator(word, &mut self.facts);
        }
        self.at += 1;
        true
    }

    /// A word of the grammar that may also name a function: does it stand where the grammar has it?
    fn is_grammar_here(&self, word: &str) -> bool {
        let Some(before) = self.at.checked_sub(1) else { return true };
        let follows = |words: &[&str]| self.tokens.is_any(before, words);
        match word {
            "by" => follows(&["group", "order", "partition", "first"]),
            "first" | "next" => follows(&["fetch", "nulls"]),
            "materialized" => {
                follows(&["as"]) || (follows(&["not"]) && self.tokens.is(before.wrapping_sub(1), "as"))
            }
            "sets" => follows(&["grouping"]),
            "ordinality" => follows(&["with", "for"]),
            "cube" | "rollup" => {
                let begins = follows(&["by", "all", "distinct"])
                    || self.tokens.is_mark(before, ",")
                    || self.tokens.is_mark(before, "(");
                begins && (0..before).any(|at| self.tokens.is(at, "group"))
            }
            "set" => self.modifies || self.text != Text::Sql,
            "join" => {
                self.ends_value(before)
                    || follows(&["natural", "inner", "left", "right", "full", "outer", "cross"])
            }
            "like" | "ilike" | "similar" => follows(&["not"]) || self.ends_value(before),
            "escape" | "columns" | "passing" | "filter" | "over" => self.ends_value(before),
            "following" | "groups" | "is" | "isnull" | "nested" | "notnull" | "partition" | "preceding"
            | "range" | "recursive" | "rows" | "within" => false,
            _ => true,
        }
    }

    /// True when a value or a table can end with token `at`.
    fn ends_value(&self, at: usize) -> bool {
        const VALUES: &[&str] = &[
            "true",
            "false",
            "null",
            "end",
            "user",
            "current_user",
            "session_user",
            "current_role",
            "current_catalog",
            "current_schema",
            "current_date",
            "current_time",
            "current_timestamp",
            "localtime",
            "localtimestamp",
            "unknown",
            "isnull",
            "notnull",
            "document",
            "normalized",
            "group",
        ];
        match self.tokens.kind(at) {
            Some(TokenKind::Word) => self.tokens.is_any(at, VALUES) || self.ends_operand(at),
            Some(TokenKind::Operator) => self.ends_operand(at),
            Some(TokenKind::Punctuation) => self.tokens.text(at) == "]" || self.ends_operand(at),
            Some(_) => true,
            None => false,
        }
    }

    fn end_from(&mut self) {
        let frame = self.frame();
        if frame.clause == Clause::From {
            frame.clause = Clause::Other;
            frame.expects_table = false;
        }
    }

    /// WITH as the beginning of common table expressions, not `WITH ORDINALITY` or `WITH TIES`.
    fn starts_with_clause(&self) -> bool {
        let clause = self.frames.last().map(|f| f.clause);
        if clause == Some(Clause::From)
            || (clause != Some(Clause::Start) && self.tokens.is(self.at + 1, "ordinality"))
        {
            return false;
        }
        let name = self.at + 1 + usize::from(self.tokens.is(self.at + 1, "recursive"));
        self.tokens.identifier(name).is_some()
            && (self.tokens.is(name + 1, "as") || self.tokens.is_mark(name + 1, "("))
    }

    /// INSERT, UPDATE, DELETE, MERGE as the beginning of a statement, not as a column's name.
    fn modifies(&mut self, word: &str) -> bool {
        let at = self.at;
        let begins = at == 0
            || self.previous_is_mark("(")
            || self.previous_is_mark(")")
            || self.previous_is_mark(";")
            || self.frame().clause == Clause::With
            || self.text != Text::Sql;
        let continues = match word {
            "insert" | "merge" => self.tokens.is(at + 1, "into"),
            "delete" => self.tokens.is(at + 1, "from"),
            _ => self.tokens.identifier(at + 1).is_some() && !self.tokens.is_any(at + 1, FROM_ENDS),
        };
        begins && continues
    }

    /// Words that a function body may not contain.
    fn body_word(&mut self, word: &str) -> bool {
        let refused = match word {
            "exception" => !self.previous_is("raise"),
            "insert" | "update" | "delete" | "merge" | "truncate" | "create" | "drop" | "alter"
            | "execute" | "notify" | "listen" | "unlisten" | "copy" | "lock" | "call" | "commit"
            | "rollback" | "savepoint" | "grant" | "revoke" | "set" | "reset" | "open" | "fetch" | "move"
            | "vacuum" | "analyze" | "analyse" | "refresh" | "cluster" | "reindex" | "do" | "import"
            | "comment" | "discard" | "prepare" | "deallocate" | "checkpoint" | "load" | "reassign"
            | "explain" => true,
            _ => false,
        };
        if refused {
            self.facts.refuse(Reason::WritingFunction);
        }
        refused
    }

    /// `OPERATOR(schema.op)`.
    fn qualified_operator(&mut self) -> bool {
        let mut at = self.at + 2;
        let mut schema = None;
        // `operator(x)` is a call like any other.
        let mut ahead = at;
        while self.tokens.identifier(ahead).is_some() && self.tokens.is_mark(ahead + 1, ".") {
            ahead += 2;
        }
        if self.tokens.kind(ahead) != Some(TokenKind::Operator) || !self.tokens.is_mark(ahead + 1, ")") {
            return false;
        }
        while let Some(part) = self.tokens.identifier(at) {
            schema = Some(part);
            at += 1;
            if self.tokens.is_mark(at, ".") {
                at += 1;
            }
        }
        let name = Cow::Borrowed(self.tokens.text(at));
        self.facts.operators.push(Operation { schema, name, left: None, right: None, implied: false });
        while at < self.tokens.len() && !self.tokens.is_mark(at, ")") {
            at += 1;
        }
        self.operator_end = at;
        self.at = at + 1;
        true
    }
}

/// Adds the operators that a word of the grammar stands for.
pub(crate) fn implied_operator(word: &str, facts: &mut Facts<'_>) {
    let names: &[&'static str] = match word {
        "like" => &["~~", "!~~"],
        "ilike" => &["~~*", "!~~*"],
        "similar" => &["~", "!~"],
        "between" => &[">=", "<=", "<", ">"],
        "in" | "case" | "nullif" | "distinct" | "using" | "natural" | "group" | "union" | "intersect"
        | "except" | "partition" => &["=", "<>", "<"],
        "order" | "greatest" | "least" => &["<", ">"],
        _ => return,
    };
    for name in names {
        facts.operators.push(Operation {
            schema: None,
            name: Cow::Borrowed(name),
            left: None,
            right: None,
            implied: true,
        });
    }
}

/// The type that an argument shows by itself: a literal, or anything under one cast.
fn shown_type(argument: Tokens<'_>) -> Shown {
    match (argument.len(), argument.kind(0)?) {
        (1, TokenKind::Number) => number_type(argument.text(0)),
        (
            3,
            TokenKind::Number
            | TokenKind::String
            | TokenKind::Parameter
            | TokenKind::Word
            | TokenKind::Quoted,
        ) if argument.is_mark(1, "::") && argument.kind(2) == Some(TokenKind::Word) => {
            canonical_type(&argument.text(2).to_ascii_lowercase())
        }
        (1, TokenKind::Word) if argument.is_any(0, &["true", "false"]) => Some("boolean"),
        _ => None,
    }
}

/// The type of a number as Postgres reads it.
pub(crate) fn number_type(text: &str) -> Shown {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Some("numeric");
    }
    match text.parse::<i64>() {
        Ok(n) if i32::try_from(n).is_ok() => Some("integer"),
        Ok(_) => Some("bigint"),
        Err(_) => Some("numeric"),
    }
}

/// The canonical name of a built-in scalar type; `None` for all others.
pub(crate) fn canonical_type(name: &str) -> Shown {
    Some(match name {
        "int" | "int4" | "integer" => "integer",
        "int2" | "smallint" => "smallint",
        "int8" | "bigint" => "bigint",
        "float4" | "real" => "real",
        "float8" | "double precision" => "double precision",
        "numeric" | "decimal" | "dec" => "numeric",
        "bool" | "boolean" => "boolean",
        "text" => "text",
        "date" => "date",
        "timestamp" | "timestamp without time zone" => "timestamp without time zone",
        "timestamptz" | "timestamp with time zone" => "timestamp with time zone",
        "interval" => "interval",
        "uuid" => "uuid",
        "bytea" => "bytea",
        "json" => "json",
        "jsonb" => "jsonb",
        _ => return None,
    })
}

/// Words that cannot name a relation.
fn is_reserved(word: &str) -> bool {
    const RESERVED: &[&str] = &[
        "all",
        "analyse",
        "analyze",
        "and",
        "any",
        "array",
        "as",
        "asc",
        "asymmetric",
        "both",
        "case",
        "cast",
        "check",
        "collate",
        "column",
        "constraint",
        "create",
        "current_catalog",
        "current_date",
        "current_role",
        "current_time",
        "current_timestamp",
        "current_user",
        "default",
        "deferrable",
        "desc",
        "distinct",
        "do",
        "else",
        "end",
        "except",
        "false",
        "fetch",
        "for",
        "foreign",
        "from",
        "grant",
        "group",
        "having",
        "in",
        "initially",
        "intersect",
        "into",
        "lateral",
        "leading",
        "limit",
        "localtime",
        "localtimestamp",
        "not",
        "null",
        "offset",
        "on",
        "only",
        "or",
        "order",
        "placing",
        "primary",
        "references",
        "returning",
        "select",
        "session_user",
        "some",
        "symmetric",
        "system_user",
        "table",
        "then",
        "to",
        "trailing",
        "true",
        "union",
        "unique",
        "user",
        "using",
        "variadic",
        "when",
        "where",
        "window",
        "with",
        "authorization",
        "binary",
        "collation",
        "concurrently",
        "cross",
        "current_schema",
        "freeze",
        "full",
        "ilike",
        "inner",
        "is",
        "isnull",
        "join",
        "left",
        "like",
        "natural",
        "notnull",
        "outer",
        "overlaps",
        "right",
        "similar",
        "tablesample",
        "verbose",
    ];
    RESERVED.contains(&word)
}

/// Words of the grammar that are neither names of functions nor of types: two of them in a row
/// with a name say nothing about that name.
pub(crate) fn is_grammar_word(word: &str) -> bool {
    NOT_CALLED.contains(&word)
        || FROM_ENDS.contains(&word)
        || matches!(
            word,
            "natural"
                | "inner"
                | "left"
                | "right"
                | "full"
                | "cross"
                | "outer"
                | "tablesample"
                | "repeatable"
                | "at"
                | "overlaps"
                | "true"
                | "false"
                | "both"
                | "leading"
                | "trailing"
                | "placing"
                | "unknown"
                | "document"
                | "content"
                | "unbounded"
                | "current"
                | "exclude"
                | "ties"
                | "no"
                | "others"
                | "nulls"
                | "last"
                | "search"
                | "depth"
                | "breadth"
                | "cycle"
                | "default"
                | "zone"
                | "percent"
                | "window"
                | "into"
                | "normalized"
                | "current_user"
                | "session_user"
                | "user"
                | "current_role"
                | "current_catalog"
                | "current_schema"
                | "current_date"
                | "current_time"
                | "current_timestamp"
                | "localtime"
                | "localtimestamp"
                | "overlay"
        )
}
