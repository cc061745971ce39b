//! A second reader: sqlparser's tree of the same statement.
//!
//! The walk over tokens errs towards too much but knows no grammar; the parser knows the grammar
//! but refuses a part of what Postgres accepts. A query that the parser understands must look like
//! a plain read to both: a lock, an INTO or a data-modifying part that only the tree shows ends the
//! matter, and so does a relation or call that the walk has overlooked. In return the tree tells
//! the types of operands, so that `1 + 1` is not mistaken for somebody's `text + text`.
//!
//! The parser's depth limit does not see flat chains (`a + b + …`), whose trees are as deep as they
//! are long and overflow the stack when they are dropped. So it is asked about short texts only.

use crate::facts::{Facts, Form, Shown};
use crate::reason::Reason;
use crate::shown::{canonical_type, number_type};
use crate::tokens::Tokens;
use crate::words::is_grammar_word;
use sqlparser::ast::{
    BinaryOperator, Expr, FunctionArguments, Ident, ObjectName, ObjectNamePart, Query, Select, SetExpr,
    Statement, TableFactor, UnaryOperator, Value, Visit, Visitor,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use std::ops::ControlFlow;

/// Longer statements (tokens) are not parsed.
const TOKENS_MAX: usize = 1_000;
/// Longer statements (bytes) are not parsed.
const BYTES_MAX: usize = 16 * 1024;
/// How deep the parser may nest; applications do write 40 to 100 levels, and each subquery costs two.
const RECURSION_MAX: usize = 120;

/// Lets the parser read the statement, too, and brings its findings into `facts`.
pub(crate) fn consult(tokens: Tokens<'_>, facts: &mut Facts<'_>) {
    let (Some(first), Some(last)) = (tokens.list.first(), tokens.list.last()) else { return };
    let sql = &tokens.sql[first.start as usize..last.end as usize];
    if tokens.len() > TOKENS_MAX || sql.len() > BYTES_MAX {
        return;
    }
    let Some(statements) = parse(sql) else { return };
    let [statement] = statements.as_slice() else {
        // The parser splits the text where Postgres does not.
        return facts.refuse(Reason::NotReadOnly);
    };
    let mut reading = Reading::default();
    if !matches!(statement, Statement::Query(_)) {
        reading.modifies = true;
    }
    // Nothing breaks off the visit.
    let _ = statement.visit(&mut reading);
    if reading.modifies || reading.overlooked_by(facts) {
        facts.refuse(Reason::NotReadOnly);
    }
    reading.tell_types(facts);
}

fn parse(sql: &str) -> Option<Vec<Statement>> {
    let parsing = || {
        Parser::new(&PostgreSqlDialect {})
            .with_recursion_limit(RECURSION_MAX)
            .try_with_sql(sql)
            .and_then(|mut parser| parser.parse_statements())
    };
    // It has not been seen to panic, but what it reads comes from the network.
    std::panic::catch_unwind(parsing).ok()?.ok()
}

/// What the tree shows.
#[derive(Default)]
struct Reading {
    modifies: bool,
    relations: Vec<String>,
    functions: Vec<String>,
    /// Operators with the types of their operands.
    operators: Vec<(String, Shown, Shown)>,
}

impl Reading {
    /// True when the tree names a relation or a function that the walk has not seen.
    fn overlooked_by(&self, facts: &Facts<'_>) -> bool {
        // The parser takes `ONLY t` for a relation called ONLY with an alias.
        let relation = |name: &String| name == "only" || facts.relations.iter().any(|r| r.name == **name);
        let function = |name: &String| {
            is_grammar_word(name)
                || facts.calls.iter().any(|c| c.form != Form::Column && c.name.name == **name)
        };
        !self.relations.iter().all(relation) || !self.functions.iter().all(function)
    }

    /// Gives the operators of `facts` their operands' types, name by name, where both readers
    /// count the same number of them.
    fn tell_types(&self, facts: &mut Facts<'_>) {
        let mut names: Vec<&str> = self.operators.iter().map(|(name, _, _)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let typed = || self.operators.iter().filter(|(n, _, _)| n == name);
            let explicit =
                |o: &&mut crate::facts::Operation<'_>| !o.implied && o.schema.is_none() && o.name == name;
            let untyped: Vec<_> = facts.operators.iter_mut().filter(explicit).collect();
            if untyped.len() == typed().count() {
                for (operation, (_, left, right)) in untyped.into_iter().zip(typed()) {
                    (operation.left, operation.right) = (*left, *right);
                }
            }
        }
    }

    fn operator(&mut self, operator: &BinaryOperator, left: Shown, right: Shown) {
        match operator {
            BinaryOperator::And | BinaryOperator::Or => {}
            other => self.operators.push((other.to_string(), left, right)),
        }
    }

    fn function(&mut self, name: &ObjectName) {
        match name.0.last() {
            Some(ObjectNamePart::Identifier(ident)) => self.functions.push(folded(ident)),
            _ => self.modifies = true,
        }
    }
}

impl Visitor for Reading {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        self.modifies |= !matches!(statement, Statement::Query(_));
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.modifies |= !query.locks.is_empty();
        let modifying = matches!(
            *query.body,
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)
        );
        self.modifies |= modifying;
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.modifies |= select.into.is_some();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
                self.function(name)
            }
            TableFactor::Table { name, args: None, .. } => match name.0.last() {
                Some(ObjectNamePart::Identifier(ident)) => self.relations.push(folded(ident)),
                _ => self.modifies = true,
            },
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) if !matches!(function.args, FunctionArguments::None) => {
                self.function(&function.name)
            }
            Expr::BinaryOp { left, op, right } => self.operator(op, shown(left), shown(right)),
            Expr::AnyOp { left, compare_op, .. } | Expr::AllOp { left, compare_op, .. } => {
                self.operator(compare_op, shown(left), None);
            }
            Expr::UnaryOp { op, expr } if !matches!(op, UnaryOperator::Not) => {
                self.operators.push((op.to_string(), None, shown(expr)));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn folded(ident: &Ident) -> String {
    let kind = if ident.quote_style.is_some() { None } else { Some(()) };
    match kind {
        None => ident.value.clone(),
        Some(()) => ident.value.to_ascii_lowercase(),
    }
}

/// The type that an expression shows by itself, to a small depth.
fn shown(expr: &Expr) -> Shown {
    shown_to(expr, 8)
}

fn shown_to(expr: &Expr, depth: usize) -> Shown {
    let depth = depth.checked_sub(1)?;
    match expr {
        Expr::Nested(inner) => shown_to(inner, depth),
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => number_type(text),
            Value::Boolean(_) => Some("boolean"),
            _ => None,
        },
        Expr::Cast { data_type, .. } => canonical_type(&data_type.to_string().to_ascii_lowercase()),
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } => shown_to(expr, depth),
        Expr::BinaryOp { left, op, right } if is_arithmetic(op) => {
            let (left, right) = (shown_to(left, depth)?, shown_to(right, depth)?);
            (left == right && matches!(left, "integer" | "bigint" | "numeric" | "double precision"))
                .then_some(left)
        }
        _ => None,
    }
}

fn is_arithmetic(op: &BinaryOperator) -> bool {
    matches!(op, BinaryOperator::Plus | BinaryOperator::Minus | BinaryOperator::Multiply)
}
