//! Types as far as a text shows them, and what may be passed for what.

use crate::facts::Shown;
use crate::lex::TokenKind;
use crate::tokens::Tokens;

/// Arguments with more tokens than this show no type.
const ARGUMENT_TOKENS_MAX: usize = 16;

/// The type that an argument shows by itself: a literal, or anything under one cast.
pub(crate) fn shown_type(argument: Tokens<'_>) -> Shown {
    if argument.len() > ARGUMENT_TOKENS_MAX {
        return None;
    }
    let mut argument = argument;
    while closes_at_end(argument, 0) {
        argument = argument.slice(1, argument.len() - 1);
    }
    let last = argument.len().checked_sub(1)?;
    let named = |at: usize| canonical_type(&argument.text(at).to_ascii_lowercase());
    match (argument.len(), argument.kind(0)?) {
        (1, TokenKind::Number) => number_type(argument.text(0)),
        (1, TokenKind::Word) if argument.is_any(0, &["true", "false"]) => Some("boolean"),
        (2, TokenKind::Operator) if argument.is_mark(0, "-") || argument.is_mark(0, "+") => {
            number_type(argument.text(1)).filter(|_| argument.kind(1) == Some(TokenKind::Number))
        }
        // `date '2024-01-01'`.
        (2, TokenKind::Word) if argument.kind(1) == Some(TokenKind::String) => named(0),
        (
            3,
            TokenKind::Number
            | TokenKind::String
            | TokenKind::Parameter
            | TokenKind::Word
            | TokenKind::Quoted,
        ) if argument.is_mark(1, "::") && argument.kind(2) == Some(TokenKind::Word) => named(2),
        (_, TokenKind::Word)
            if argument.is(0, "cast")
                && closes_at_end(argument, 1)
                && argument.is(last - 2, "as")
                && argument.kind(last - 1) == Some(TokenKind::Word) =>
        {
            named(last - 1)
        }
        _ => None,
    }
}

/// True when a parenthesis opens at `open`, something stands in it, and the last token closes it.
fn closes_at_end(tokens: Tokens<'_>, open: usize) -> bool {
    if !tokens.is_mark(open, "(") || tokens.len() < open + 3 {
        return false;
    }
    let mut depth = 0usize;
    for at in open..tokens.len() {
        if tokens.is_mark(at, "(") {
            depth += 1;
        } else if tokens.is_mark(at, ")") {
            depth -= 1;
            if depth == 0 {
                return at + 1 == tokens.len();
            }
        }
    }
    false
}

/// The type of a number as Postgres reads it.
pub(crate) fn number_type(text: &str) -> Shown {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(integer_type(text.as_bytes()));
    }
    // `0x1F` and `1_000` are integers from PostgreSQL 16 on, and something else before.
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    plain.then_some("numeric")
}

/// The type of a run of decimal digits: the smallest that holds the value.
pub(crate) fn integer_type(digits: &[u8]) -> &'static str {
    let zeros = digits.iter().take_while(|b| **b == b'0').count();
    let digits = &digits[zeros..];
    let fits = |largest: &[u8]| (digits.len(), digits) <= (largest.len(), largest);
    if fits(b"2147483647") {
        "integer"
    } else if fits(b"9223372036854775807") {
        "bigint"
    } else {
        "numeric"
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

/// The same by Postgres's own implicit casts.
pub(crate) fn fits(shown: Shown, declared: Option<&str>) -> bool {
    let (Some(from), Some(declared)) = (shown, declared) else { return true };
    let Some(to) = canonical_type(declared) else { return true };
    if from == to {
        return true;
    }
    const NUMBERS: [&str; 6] = ["smallint", "integer", "bigint", "numeric", "real", "double precision"];
    const TIMES: [&str; 3] = ["date", "timestamp without time zone", "timestamp with time zone"];
    for family in [&NUMBERS[..], &TIMES[..]] {
        if let (Some(f), Some(t)) =
            (family.iter().position(|x| *x == from), family.iter().position(|x| *x == to))
        {
            return f < t;
        }
    }
    false
}
