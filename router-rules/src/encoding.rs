//! The encoding in which a client writes SQL, as far as reading it needs.
//!
//! Postgres turns a text into the server's encoding before it looks for quotes. In most encodings no byte of
//! a character beyond ASCII is an ASCII byte, and a text can be read as it is. In some the second byte may
//! be a backslash or a letter: there such characters are blotted out first.

use std::borrow::Cow;

/// A client's encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// UTF-8, in which catalogs are read, too.
    #[default]
    Utf8,
    /// No byte of a character beyond ASCII is an ASCII byte.
    Apart,
    /// Two bytes from 0x80 on, but for half-width kana: SJIS and SHIFT_JIS_2004.
    ShiftJis,
    /// Two bytes from 0x80 on: BIG5, GBK, UHC.
    TwoBytes,
    /// Two bytes from 0x80 on, three from 0x8f on: JOHAB.
    Johab,
    /// Two or four bytes from 0x80 on: GB18030.
    Gb18030,
    /// One that nobody has heard of.
    Unheard,
}

impl Encoding {
    /// By its name, as `client_encoding` shows it or as Postgres lets it be written.
    pub fn of(name: &str) -> Self {
        let name: String =
            name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
        let apart = ["latin", "iso8859", "win125", "windows125", "koi8", "euc"];
        match name.as_str() {
            "utf8" | "unicode" => Encoding::Utf8,
            "sjis" | "shiftjis" | "shiftjis2004" | "mskanji" | "win932" | "windows932" => Encoding::ShiftJis,
            "big5" | "win950" | "windows950" | "gbk" | "win936" | "windows936" | "uhc" | "win949"
            | "windows949" => Encoding::TwoBytes,
            "johab" => Encoding::Johab,
            "gb18030" => Encoding::Gb18030,
            "sqlascii" | "win866" | "windows866" | "win874" | "windows874" => Encoding::Apart,
            name if apart.iter().any(|prefix| name.starts_with(prefix)) => Encoding::Apart,
            _ => Encoding::Unheard,
        }
    }

    /// The text with the same quotes, backslashes and words, each byte of a character beyond ASCII beyond
    /// ASCII; `None` where that cannot be told.
    pub(crate) fn readable(self, sql: &[u8]) -> Option<Cow<'_, [u8]>> {
        if matches!(self, Encoding::Utf8 | Encoding::Apart) || sql.is_ascii() {
            return Some(Cow::Borrowed(sql));
        }
        let mut text = sql.to_vec();
        let mut at = 0;
        while at < sql.len() {
            let length = self.length(&sql[at..])?;
            if length > 1 {
                // A character that has no end is for Postgres to refuse.
                text.get_mut(at..at + length)?.fill(BLOT);
            }
            at += length;
        }
        Some(Cow::Owned(text))
    }

    /// The bytes of the first character.
    fn length(self, text: &[u8]) -> Option<usize> {
        let first = *text.first()?;
        Some(match self {
            _ if first.is_ascii() => 1,
            Encoding::ShiftJis if (0xa1..=0xdf).contains(&first) => 1,
            Encoding::Johab if first == 0x8f => 3,
            Encoding::Gb18030 if text.get(1).is_some_and(u8::is_ascii_digit) => 4,
            Encoding::ShiftJis | Encoding::TwoBytes | Encoding::Johab | Encoding::Gb18030 => 2,
            Encoding::Utf8 | Encoding::Apart => 1,
            Encoding::Unheard => return None,
        })
    }
}

/// Stands for a byte of a character beyond ASCII: part of a name like those, and never of a character.
const BLOT: u8 = 0xff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_byte_of_a_character_is_neither_quote_nor_backslash() {
        let read = |encoding: Encoding, sql: &[u8]| encoding.readable(sql).map(Cow::into_owned);
        assert_eq!(read(Encoding::ShiftJis, b"E'\xc2\x81\\'").unwrap(), b"E'\xc2\xff\xff'");
        assert_eq!(read(Encoding::TwoBytes, b"'\xbf\\'").unwrap(), b"'\xff\xff'");
        assert_eq!(read(Encoding::Johab, b"'\x8f\x5c\x5c'").unwrap(), b"'\xff\xff\xff'");
        assert_eq!(read(Encoding::Gb18030, b"'\x81\x30\x81\x30\\'").unwrap(), b"'\xff\xff\xff\xff\\'");
        assert_eq!(read(Encoding::Apart, b"'\xe9\\'").unwrap(), b"'\xe9\\'");
        assert_eq!(read(Encoding::TwoBytes, b"'\xbf"), None);
        assert_eq!(read(Encoding::Unheard, b"'\xbf'"), None);
        assert!(read(Encoding::Unheard, b"'a'").is_some());
    }
}
