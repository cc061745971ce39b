//! What one TOML value means: durations, sizes, addresses, patterns.

use super::Secret;
use super::keys::Form;
use super::times::WeeklyTime;
use router_rules::rules::{Network, Pattern};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

/// Bytes of the text, and what is wrong there.
pub(super) type Wrong = (Range<usize>, String);

/// A value as written.
pub(super) type Written<'t> = Spanned<DeValue<'t>>;

/// Made from what is written, within the bounds of its key's form.
pub(super) trait FromToml: Sized {
    fn read(written: &Written<'_>, form: Form) -> Result<Self, Vec<Wrong>>;
}

/// Something that may be switched off by `"off"`.
pub(super) struct Off<T>(pub Option<T>);

fn wrong<T>(written: &Written<'_>, message: impl Into<String>) -> Result<T, Vec<Wrong>> {
    Err(vec![(written.span(), message.into())])
}

/// What is expected, and what is there instead, unless that is a secret.
fn expected_in<T>(written: &Written<'_>, form: Form) -> Result<T, Vec<Wrong>> {
    match form {
        Form::Secret => wrong(written, "expected text in quotes"),
        _ => expected(written, &form.describe()),
    }
}

fn expected<T>(written: &Written<'_>, what: &str) -> Result<T, Vec<Wrong>> {
    wrong(written, format!("expected {what}, found {}", found(written.get_ref())))
}

fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(s) => format!("\"{}\"", shortened(&without_password(s))),
        DeValue::Integer(i) => i.as_str().to_owned(),
        DeValue::Float(f) => f.as_str().to_owned(),
        DeValue::Boolean(b) => b.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// An address as it is written, but for the user and the password that a connection string has in it.
pub(super) fn without_password(text: &str) -> Cow<'_, str> {
    let start = text.find("://").map_or(0, |scheme| scheme + "://".len());
    let host = text.rfind('@').unwrap_or(start).max(start);
    let end = text[host..].find("password").map_or(text.len(), |at| host + at);
    match host > start || end < text.len() {
        true => {
            let [user, rest] = [host > start, end < text.len()].map(|hidden| if hidden { "…" } else { "" });
            Cow::Owned(format!("{}{user}{}{rest}", &text[..start], &text[host..end]))
        }
        false => Cow::Borrowed(text),
    }
}

/// Enough of a text to recognise it by.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn text<'w>(written: &'w Written<'_>, what: &str) -> Result<&'w str, Vec<Wrong>> {
    match written.get_ref().as_str() {
        Some(text) => Ok(text),
        None => expected(written, what),
    }
}

impl FromToml for String {
    fn read(written: &Written<'_>, form: Form) -> Result<Self, Vec<Wrong>> {
        let Some(text) = written.get_ref().as_str() else { return expected_in(written, form) };
        if let Form::Word(words) | Form::Words(words) = form
            && !words.contains(&text)
        {
            return wrong(written, unknown_word(text, words));
        }
        if text.is_empty() {
            return wrong(written, "must not be empty");
        }
        if text.contains('\0') {
            return wrong(written, "must not contain a NUL character");
        }
        Ok(text.to_owned())
    }
}

/// Only of a key whose form says that it is one: what shows a configuration goes by the form.
impl FromToml for Secret {
    fn read(written: &Written<'_>, form: Form) -> Result<Self, Vec<Wrong>> {
        assert_eq!(form, Form::Secret, "a secret's key is of the form `Secret`");
        String::read(written, form).map(Secret)
    }
}

pub(super) fn unknown_word(word: &str, words: &[&str]) -> String {
    match super::reader::nearest(word, words) {
        Some(near) => format!("unknown word \"{}\"; did you mean \"{near}\"?", shortened(word)),
        None => format!("expected one of {}, found \"{}\"", words.join(", "), shortened(word)),
    }
}

impl FromToml for PathBuf {
    fn read(written: &Written<'_>, form: Form) -> Result<Self, Vec<Wrong>> {
        String::read(written, form).map(PathBuf::from)
    }
}

impl FromToml for bool {
    fn read(written: &Written<'_>, _form: Form) -> Result<Self, Vec<Wrong>> {
        written.get_ref().as_bool().map_or_else(|| expected(written, "true or false"), Ok)
    }
}

impl FromToml for u64 {
    fn read(written: &Written<'_>, form: Form) -> Result<Self, Vec<Wrong>> {
        match form {
            Form::Size(min, max) | Form::OptionalSize(min, max) => {
                let text = text(written, "a size such as \"16MiB\"")?;
                match size(text) {
                    Err(message) => wrong(written, message),
                    Ok(n) if (min..=max).contains(&n) => Ok(n),
                    Ok(_) => wrong(written, format!("must be from {} to {}", put_size(min), put_size(max))),
                }
            }
            _ => {
                let (min, max) = if let Form::Count(min, max) = form { (min, max) } else { (0, u64::MAX) };
                let number = written.get_ref().as_integer();
                let number =
                    number.and_then(|i| u64::from_str_radix(&i.as_str().replace('_', ""), i.radix()).ok());
                match number {
                    Some(n) if (min..=max).contains(&n) => Ok(n),
                    _ => expected(written, &Form::Count(min, max).describe()),
                }
            }
        }
    }
}

impl FromToml for usize {
    fn read(written: &Written<'_>, form: Form) -> Result<Self, Vec<Wrong>> {
        let n = u64::read(written, form)?;
        usize::try_from(n).or_else(|_| wrong(written, "too large for this machine"))
    }
}

impl FromToml for u32 {
    fn read(written: &Written<'_>, form: Form) -> Result<Self, Vec<Wrong>> {
        let n = u64::read(written, form)?;
        u32::try_from(n).or_else(|_| wrong(written, "too large"))
    }
}

impl FromToml for Duration {
    fn read(written: &Written<'_>, form: Form) -> Result<Self, Vec<Wrong>> {
        let what = "a duration with its unit such as \"5s\", \"200ms\" or \"1h\"";
        let text = text(written, what)?;
        let Ok(duration) = humantime::parse_duration(text) else { return expected(written, what) };
        let (Form::Duration(min, max) | Form::OptionalDuration(min, max)) = form else {
            return Ok(duration);
        };
        let (min, max) = (Duration::from_millis(min), Duration::from_millis(max));
        if !(min..=max).contains(&duration) {
            let [min, max] = [min, max].map(put_duration);
            return wrong(written, format!("must be from {min} to {max}"));
        }
        Ok(duration)
    }
}

impl<T: FromToml> FromToml for Off<T> {
    fn read(written: &Written<'_>, form: Form) -> Result<Self, Vec<Wrong>> {
        if written.get_ref().as_str() == Some("off") {
            return Ok(Off(None));
        }
        T::read(written, form).map(|value| Off(Some(value)))
    }
}

impl FromToml for SocketAddr {
    fn read(written: &Written<'_>, _form: Form) -> Result<Self, Vec<Wrong>> {
        let what = "an IP address with port such as \"127.0.0.1:6432\" or \"[::]:6432\"";
        let text = text(written, what)?;
        let text =
            text.strip_prefix("localhost:").map_or(text.to_owned(), |port| format!("127.0.0.1:{port}"));
        let text = text.strip_prefix("*:").map_or(text.clone(), |port| format!("0.0.0.0:{port}"));
        text.parse().or_else(|_| expected(written, what))
    }
}

impl FromToml for f64 {
    fn read(written: &Written<'_>, form: Form) -> Result<Self, Vec<Wrong>> {
        let number = match written.get_ref() {
            DeValue::Float(float) => float.as_str().replace('_', "").parse().ok(),
            DeValue::Integer(integer) => integer.as_str().parse::<f64>().ok(),
            _ => None,
        };
        match number {
            Some(share) if (0.0..=1.0).contains(&share) => Ok(share),
            _ => expected(written, &form.describe()),
        }
    }
}

impl FromToml for Pattern {
    fn read(written: &Written<'_>, form: Form) -> Result<Self, Vec<Wrong>> {
        String::read(written, form).map(Pattern::new)
    }
}

impl FromToml for Network {
    fn read(written: &Written<'_>, _form: Form) -> Result<Self, Vec<Wrong>> {
        let text = text(written, "a network such as \"10.0.0.0/8\"")?;
        text.parse().or_else(|message: String| wrong(written, message))
    }
}

impl FromToml for WeeklyTime {
    fn read(written: &Written<'_>, _form: Form) -> Result<Self, Vec<Wrong>> {
        let text = text(written, "a time (UTC) such as \"mon-fri 08:55\"")?;
        text.parse().or_else(|message: String| wrong(written, message))
    }
}

impl FromToml for regex::bytes::Regex {
    fn read(written: &Written<'_>, _form: Form) -> Result<Self, Vec<Wrong>> {
        let text = text(written, "a regular expression")?;
        // The bound keeps a hostile or careless pattern from taking all memory.
        let built = regex::bytes::RegexBuilder::new(text).size_limit(1 << 20).build();
        built.or_else(|error| {
            let message = error.to_string();
            let last = message.lines().last().unwrap_or_default().trim_start_matches("error: ");
            wrong(written, format!("not a regular expression: {last}"))
        })
    }
}

/// One value, or a list of them.
impl<T: FromToml> FromToml for Vec<T> {
    fn read(written: &Written<'_>, form: Form) -> Result<Self, Vec<Wrong>> {
        let Some(list) = written.get_ref().as_array() else { return T::read(written, form).map(|v| vec![v]) };
        let (mut values, mut mistakes) = (vec![], vec![]);
        for item in list.iter() {
            match T::read(item, form) {
                Ok(value) => values.push(value),
                Err(wrong) => mistakes.extend(wrong),
            }
        }
        if mistakes.is_empty() { Ok(values) } else { Err(mistakes) }
    }
}

/// `16MiB`, `64kB`, `1024`: binary and decimal units, as Postgres spells them too (its kB is 1024).
fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "B" => 1,
        "kB" | "KB" | "KiB" => 1 << 10,
        "MB" | "MiB" => 1 << 20,
        "GB" | "GiB" => 1 << 30,
        "TB" | "TiB" => 1 << 40,
        _ => 0,
    };
    let n = number.parse::<u64>().ok().filter(|_| factor > 0).and_then(|n| n.checked_mul(factor));
    n.ok_or_else(|| {
        format!(
            "expected a size with its unit (B, kB, MiB, GiB, TiB) such as \"16MiB\", found \"{}\"",
            shortened(text)
        )
    })
}

/// As it would be written.
pub fn put_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// As it would be written.
pub fn put_size(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "kB")] {
        if bytes > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: FromToml>(text: &str, form: Form) -> Result<T, String> {
        let written = DeValue::parse(text).unwrap();
        T::read(&written, form).map_err(|w| w.into_iter().map(|w| w.1).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn a_duration_needs_its_unit_and_keeps_its_bounds() {
        let form = Form::Duration(10, 60_000);
        assert_eq!(read("\"1s 500ms\"", form), Ok(Duration::from_millis(1500)));
        assert!(read::<Duration>("5", form).unwrap_err().contains("found 5"));
        assert!(read::<Duration>("\"5\"", form).is_err());
        assert_eq!(read::<Duration>("\"2h\"", form).unwrap_err(), "must be from 10ms to 1m");
        assert!(read::<Off<Duration>>("\"off\"", form).unwrap().0.is_none());
    }

    #[test]
    fn a_secret_is_not_shown_by_a_mistake_about_it() {
        for text in ["31337", "[\"s3cret\"]", "true"] {
            let wrong = read::<Secret>(text, Form::Secret).err().unwrap();
            assert_eq!(wrong, "expected text in quotes", "{text}");
        }
        for (text, shown) in [
            ("db1:5432", "db1:5432"),
            ("postgres://u:s3cret@h:5432/x", "postgres://…@h:5432/x"),
            ("patroni+http://u:s3@cret@h", "patroni+http://…@h"),
            ("u:s3cret@h", "…@h"),
            ("host=h password=s3cret", "host=h …"),
            ("postgres://h/x?password=s3cret", "postgres://h/x?…"),
            ("postgres://u:s3cret@h?password=s3cret", "postgres://…@h?…"),
        ] {
            assert_eq!(without_password(text), shown);
        }
    }

    #[test]
    fn a_size_needs_its_unit_and_does_not_overflow() {
        let form = Form::Size(0, u64::MAX);
        assert_eq!(read("\"16MiB\"", form), Ok(16u64 << 20));
        assert_eq!(read("\"64 kB\"", form), Ok(64u64 << 10));
        assert!(read::<u64>("\"16\"", form).is_err());
        assert!(read::<u64>("16", form).is_err());
        assert!(read::<u64>("\"99999999999TiB\"", form).is_err());
        assert_eq!(put_size(128 << 20), "128MiB");
        assert_eq!(put_size(1000), "1000B");
    }

    #[test]
    fn a_count_may_have_underscores_and_no_sign() {
        assert_eq!(read("10_000", Form::Count(1, 20_000)), Ok(10_000usize));
        assert_eq!(read("0x10", Form::Count(1, 20_000)), Ok(16usize));
        assert_eq!(
            read::<usize>("-1", Form::Count(1, 5)).unwrap_err(),
            "expected whole number, 1 to 5, found -1"
        );
        assert!(read::<usize>("99999999999999999999", Form::Count(1, u64::MAX)).is_err());
    }

    #[test]
    fn a_share_is_from_nothing_to_all() {
        for (text, share) in [("0", 0.0), ("1", 1.0), ("0.25", 0.25), ("1e-3", 0.001)] {
            assert_eq!(read(text, Form::Share), Ok(share));
        }
        for text in ["1.5", "-0.1", "nan", "inf", "2", "\"1\"", "\"10%\""] {
            assert!(read::<f64>(text, Form::Share).is_err(), "{text}");
        }
    }

    #[test]
    fn every_wrong_item_of_a_list_is_reported() {
        let wrong = read::<Vec<Network>>("[\"10.0.0.0/8\", \"x\", 7]", Form::Networks).unwrap_err();
        assert!(wrong.contains("`x`") && wrong.contains("found 7"), "{wrong}");
        assert_eq!(read::<Vec<Network>>("\"::1\"", Form::Networks).unwrap().len(), 1);
    }

    #[test]
    fn a_misspelt_word_is_answered_with_the_nearest_one() {
        let form = Form::Word(&["eventual", "session", "proxy", "global"]);
        assert_eq!(
            read::<String>("\"sesion\"", form).unwrap_err(),
            "unknown word \"sesion\"; did you mean \"session\"?"
        );
    }
}
