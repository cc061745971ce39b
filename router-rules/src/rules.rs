//! The operator's rules: first match wins.

/// An ordered list of rules, validated and ready to match.
#[derive(Debug, Default)]
pub struct Rules {}
