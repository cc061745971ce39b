//! Reads sections of a TOML text by the table of keys, noting every mistake with its place.

use super::keys;
use super::value::{FromToml, Written, Wrong};
use std::cell::RefCell;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// Where in which file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// As given on the command line.
    pub file: String,
    /// From 1; 0: not in a file, the name is that of an environment variable.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            // An environment variable.
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}:{}", self.file, self.column),
        }
    }
}

/// Something in the configuration that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// Something in the configuration that can be, and probably should not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// What is odd.
    pub message: String,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: warning: {}", self.place, self.message)
    }
}

/// The text, and what has been found wrong with it so far.
pub(super) struct Reader<'t> {
    file: &'t str,
    text: &'t str,
    /// Environment variables that say something: the places behind the end of the text.
    variables: Vec<String>,
    mistakes: RefCell<Vec<Mistake>>,
    warnings: RefCell<Vec<Warning>>,
}

impl<'t> Reader<'t> {
    pub fn new(text: &'t str, file: &'t str) -> Self {
        Self { file, text, variables: vec![], mistakes: RefCell::default(), warnings: RefCell::default() }
    }

    /// One more environment variable says something.
    pub fn know(&mut self, variable: &str) {
        self.variables.push(variable.to_owned());
    }

    /// The place of what the variable says that was made known last.
    pub fn place_of_variable(&self) -> Range<usize> {
        let place = self.text.len() + self.variables.len();
        place..place
    }

    pub fn mistake(&self, at: Range<usize>, message: impl Into<String>) {
        self.mistakes.borrow_mut().push(Mistake { place: self.place(at.start), message: message.into() });
    }

    pub fn warning(&self, at: Range<usize>, message: impl Into<String>) {
        self.warnings.borrow_mut().push(Warning { place: self.place(at.start), message: message.into() });
    }

    pub fn is_clean(&self) -> bool {
        self.mistakes.borrow().is_empty()
    }

    /// All of them, in the order of the text.
    pub fn finish(self) -> (Vec<Mistake>, Vec<Warning>) {
        let (mut mistakes, mut warnings) = (self.mistakes.into_inner(), self.warnings.into_inner());
        mistakes.sort_by(|a, b| (&a.place, &a.message).cmp(&(&b.place, &b.message)));
        mistakes.dedup();
        warnings.sort_by(|a, b| a.place.cmp(&b.place));
        (mistakes, warnings)
    }

    fn place(&self, offset: usize) -> Place {
        let variable = offset.checked_sub(self.text.len() + 1).and_then(|i| self.variables.get(i));
        if let Some(variable) = variable {
            return Place { file: variable.clone(), line: 0, column: 0 };
        }
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// One table of the text, or the absence of one.
#[derive(Clone)]
pub(super) struct Section<'r, 't> {
    reader: &'r Reader<'t>,
    /// As in the table of keys: `listen.tls`, `rule[]`.
    path: String,
    table: Option<&'r DeTable<'t>>,
    /// Where it begins, for what is missing in it.
    pub span: Range<usize>,
}

impl<'r, 't> Section<'r, 't> {
    /// The top of the file.
    pub fn top(reader: &'r Reader<'t>, table: &'r DeTable<'t>) -> Self {
        Self::at(reader, String::new(), Some(table), 0..0)
    }

    fn at(reader: &'r Reader<'t>, path: String, table: Option<&'r DeTable<'t>>, span: Range<usize>) -> Self {
        let section = Self { reader, path, table, span };
        section.report_unknown_keys();
        section
    }

    /// True when it is written in the file.
    pub fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// A table below.
    pub fn section(&self, name: &str) -> Section<'r, 't> {
        let path = self.path_of(name);
        match self.written(name) {
            None => Self { reader: self.reader, path, table: None, span: self.span.clone() },
            Some(written) => match written.get_ref().as_table() {
                Some(table) => Self::at(self.reader, path, Some(table), self.key_span(name)),
                None => {
                    self.reader.mistake(written.span(), format!("`{name}` is a section: write [{path}]"));
                    Self { reader: self.reader, path, table: None, span: written.span() }
                }
            },
        }
    }

    /// The tables of an array of tables below: `[[rule]]`.
    pub fn sections(&self, name: &str) -> Vec<Section<'r, 't>> {
        let path = self.path_of(name);
        let Some(written) = self.written(name) else { return vec![] };
        let tables = written.get_ref().as_array().map(|a| a.iter().collect::<Vec<_>>());
        let Some(tables) = tables.filter(|t| t.iter().all(|t| t.get_ref().is_table())) else {
            self.reader.mistake(written.span(), format!("`{name}` may be repeated: write [[{path}]]"));
            return vec![];
        };
        tables.into_iter().map(|table| self.section_of(name, table)).collect()
    }

    /// A table found as a value of the list `name`.
    pub fn section_of(&self, name: &str, written: &'r Written<'t>) -> Section<'r, 't> {
        Self::at(
            self.reader,
            format!("{}[]", self.path_of(name)),
            written.get_ref().as_table(),
            written.span(),
        )
    }

    /// The value of a key that has a default: what is written, or, absent or mistaken, the default.
    pub fn read<T: FromToml>(&self, name: &str) -> T {
        self.read_optional(name).unwrap_or_else(|| {
            let key = self.key(name);
            let default = key.default.unwrap_or_else(|| panic!("{} has no default", key.path));
            let written = DeValue::parse(default).unwrap_or_else(|e| panic!("{}: {e}", key.path));
            T::read(&written, key.form).unwrap_or_else(|e| panic!("{}: {e:?}", key.path))
        })
    }

    /// The value of a key if it is written, and right.
    pub fn read_optional<T: FromToml>(&self, name: &str) -> Option<T> {
        let written = self.written(name)?;
        T::read(written, self.key(name).form).map_err(|wrong| self.report(name, wrong)).ok()
    }

    /// The value of a key that must be written.
    pub fn read_required<T: FromToml>(&self, name: &str) -> Option<T> {
        if self.written(name).is_none() {
            self.mistake(format!("`{name}` is missing"));
        }
        self.read_optional(name)
    }

    /// What is written, as it is.
    pub fn written(&self, name: &str) -> Option<&'r Written<'t>> {
        self.table?.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value)
    }

    /// Where a key's value is, or the section where it would be.
    pub fn span_of(&self, name: &str) -> Range<usize> {
        self.written(name).map_or(self.span.clone(), |w| w.span())
    }

    /// Notes a mistake of the whole section.
    pub fn mistake(&self, message: impl Into<String>) {
        self.reader.mistake(self.span.clone(), message);
    }

    /// Notes a mistake in a key's value.
    pub fn mistake_in(&self, name: &str, message: impl Into<String>) {
        self.reader.mistake(self.span_of(name), message);
    }

    /// Notes something odd about a key's value.
    pub fn warning_in(&self, name: &str, message: impl Into<String>) {
        self.reader.warning(self.span_of(name), message);
    }

    fn report(&self, name: &str, wrong: Vec<Wrong>) {
        for (span, message) in wrong {
            self.reader.mistake(span, format!("`{name}`: {message}"));
        }
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn key(&self, name: &str) -> &'static keys::Key {
        let path = self.path_of(name);
        keys::find(&path).unwrap_or_else(|| panic!("{path} is not in the table of keys"))
    }

    fn key_span(&self, name: &str) -> Range<usize> {
        let key = self.table.and_then(|t| t.keys().find(|key| key.get_ref() == name));
        key.map_or(self.span.clone(), |key| key.span())
    }

    fn report_unknown_keys(&self) {
        let known = keys::names_in(&self.path);
        for key in self.table.into_iter().flat_map(|t| t.keys()) {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                self.reader.mistake(key.span(), self.unknown(name, &known));
            }
        }
    }

    fn unknown(&self, name: &str, known: &[&'static str]) -> String {
        let here = if self.path.is_empty() { String::new() } else { format!(" in [{}]", self.path) };
        let elsewhere = keys::KEYS.iter().find(|k| k.path.rsplit_once('.').is_some_and(|(_, n)| n == name));
        let advice = match (nearest(name, known), elsewhere) {
            (Some(near), _) => format!("; did you mean `{near}`?"),
            (None, Some(key)) => {
                let section = key.path.rsplit_once('.').map_or("", |(section, _)| section);
                format!("; there is one in [{section}]")
            }
            (None, None) => format!("; known here: {}", known.join(", ")),
        };
        format!("unknown key `{}`{here}{advice}", name.escape_debug())
    }
}

/// The one of `words` that somebody who wrote `word` most likely meant.
pub(crate) fn nearest<'w>(word: &str, words: &[&'w str]) -> Option<&'w str> {
    let similarity = |w: &&&str| strsim::normalized_damerau_levenshtein(word, w);
    let best = words.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
    (similarity(&best) >= 0.6 || (word.len() >= 4 && (best.contains(word) || word.contains(*best))))
        .then_some(*best)
}
