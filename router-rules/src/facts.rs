//! What the text of one statement mentions, before anybody knows what the names mean.

use crate::reason::Reason;
use foldhash::HashSet;
use std::borrow::Cow;
use std::sync::Arc;

/// A name as written, folded and unquoted: `name` or `schema.name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name<'a> {
    /// The schema, when the text gives one.
    pub schema: Option<Cow<'a, str>>,
    /// The last part.
    pub name: Cow<'a, str>,
}

impl Name<'_> {
    /// As written, folded.
    pub fn written(&self) -> Arc<str> {
        match &self.schema {
            Some(schema) => format!("{schema}.{}", self.name).into(),
            None => Arc::from(&*self.name),
        }
    }
}

/// The type of an argument or operand as far as the text alone shows it: the canonical name of a
/// built-in type (`integer`, `text`, …), `None` when it does not.
pub(crate) type Shown = Option<&'static str>;

/// A call as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Call<'a> {
    /// Its name.
    pub name: Name<'a>,
    /// How many arguments; `None` when that is not clear (VARIADIC, a column reference `a.f`).
    pub args: Option<usize>,
    /// What is known of their types, in order.
    pub shown: Vec<Shown>,
    /// The first argument, when it is a plain literal.
    pub literal: Option<String>,
    /// The second one.
    pub second: Option<String>,
    /// How it is written.
    pub form: Form,
}

/// How certain it is that something is a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// `f(…)`.
    Call,
    /// `a.f`: a call only if `f` is a function of a row.
    Column,
    /// A word of the grammar or an alias before a parenthesis: if anything by that name is not
    /// harmless, then this may be a call of it.
    Maybe,
}

impl Call<'_> {
    /// True when it can be nothing but a call.
    pub fn certain(&self) -> bool {
        self.form == Form::Call
    }
}

/// An operator as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Operation<'a> {
    /// `OPERATOR(schema.op)`.
    pub schema: Option<Cow<'a, str>>,
    /// Its characters.
    pub name: Cow<'a, str>,
    /// The left operand's type; `None` for not known or a prefix operator.
    pub left: Shown,
    /// The right operand's type.
    pub right: Shown,
    /// A word of the grammar stands for it (`IN` for `=`).
    pub implied: bool,
}

/// All that a statement mentions. Everything errs on the side of too much.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts<'a> {
    /// Relations in a place where a relation is read; names of CTEs among them.
    pub relations: Vec<Name<'a>>,
    /// Which of them stand behind ONLY, by index, in order.
    pub only: Vec<usize>,
    /// Names that WITH declares.
    pub ctes: HashSet<Cow<'a, str>>,
    /// Calls.
    pub calls: Vec<Call<'a>>,
    /// Operators.
    pub operators: Vec<Operation<'a>>,
    /// Types in a place where a type must stand.
    pub types: Vec<Name<'a>>,
    /// Every identifier, wherever it stands.
    pub words: Vec<Cow<'a, str>>,
    /// Of views of statistics it reads names only.
    pub names_only: bool,
    /// The text is the body of a PL/pgSQL function.
    pub body: bool,
    /// The text alone shows that it is not a plain read, and why.
    pub refusal: Option<Reason>,
    /// Why not all is known that it does, beside the writes and locks that it shows.
    pub unclear: Option<Reason>,
    /// The classification hangs on a literal: it must not be shared by the shape.
    pub literals_matter: bool,
}

impl Facts<'_> {
    /// Remembers the first thing that is not a plain read.
    pub fn refuse(&mut self, reason: Reason) {
        self.refusal.get_or_insert(reason);
        if !matches!(reason, Reason::Write | Reason::Locks) {
            self.unclear.get_or_insert(reason);
        }
    }
}
