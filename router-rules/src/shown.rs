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
