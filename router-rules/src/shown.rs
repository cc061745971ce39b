//! Types as far as a text shows them, and what may be passed for what.

use crate::facts::Shown;
use crate::lex::TokenKind;
use crate::tokens::Tokens;

/// The type that an argument shows by itself: a literal, or anything under one cast.
pub(crate) fn shown_type(argument: Tokens<'_>) -> Shown {
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
