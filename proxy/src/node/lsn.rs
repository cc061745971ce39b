//! Positions in the write-ahead log, comparable within one timeline.

use std::fmt;
use std::str::FromStr;

/// A byte position in the write-ahead log.
/// <https://www.postgresql.org/docs/current/datatype-pg-lsn.html>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// How many bytes ahead of `other` this is; zero when it is behind.
    pub const fn ahead_of(self, other: Lsn) -> u64 {
        self.0.saturating_sub(other.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl FromStr for Lsn {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (high, low) = text.split_once(['/', '-']).ok_or(())?;
        Ok(Lsn(u64::from(hex(high)?) << 32 | u64::from(hex(low)?)))
    }
}

/// One to eight hexadecimal digits, no sign.
fn hex(digits: &str) -> Result<u32, ()> {
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(());
    }
    u32::from_str_radix(digits, 16).map_err(|_| ())
}

/// How a cluster lays out its log: pages in segments, each page with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalLayout {
    /// `wal_block_size`, bytes.
    pub page_bytes: u64,
    /// `wal_segment_size`, bytes.
    pub segment_bytes: u64,
}

impl Default for WalLayout {
    fn default() -> Self {
        Self { page_bytes: 8192, segment_bytes: 16 << 20 }
    }
}

/// `SizeOfXLogShortPHD`: the header of a page.
const PAGE_HEADER_BYTES: u64 = 24;
/// `SizeOfXLogLongPHD`: the header of the first page of a segment.
const SEGMENT_HEADER_BYTES: u64 = 40;

impl WalLayout {
    /// An insert position without the page header that it may stand behind.
    ///
    /// When the last record ends exactly at a page's end, `pg_current_wal_insert_lsn()` answers
    /// with the place of the *next* record, behind the header of the next page, while a replica
    /// that has replayed that last record reports the page's end. Nothing lies in between.
    /// See `XLogBytePosToRecPtr` and `XLogBytePosToEndRecPtr` in PostgreSQL's `xlog.c`.
    pub fn end_of_records(&self, insert: Lsn) -> Lsn {
        let header = if insert.0 % self.segment_bytes == SEGMENT_HEADER_BYTES {
            SEGMENT_HEADER_BYTES
        } else if insert.0 % self.page_bytes == PAGE_HEADER_BYTES {
            PAGE_HEADER_BYTES
        } else {
            0
        };
        Lsn(insert.0 - header)
    }
}

/// A position that crosses sessions, services and proxies: what `SHOW pgweir.lsn` gives.
///
/// Written `timeline/high-low`, timeline decimal, position hexadecimal: `1/0-16B3748`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The timeline on which the position counts.
    pub timeline: u32,
    /// The position that has to be replayed.
    pub lsn: Lsn,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:X}-{:X}", self.timeline, self.lsn.0 >> 32, self.lsn.0 & 0xffff_ffff)
    }
}

impl FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "a position is written timeline/high-low, for example 1/0-16B3748".to_string();
        let (timeline, position) = text.trim().split_once('/').ok_or_else(wrong)?;
        if !position.contains('-') || !timeline.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        let timeline = timeline.parse().map_err(|_| wrong())?;
        let lsn = position.parse().map_err(|()| wrong())?;
        Ok(Token { timeline, lsn })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_back_as_it_is_written() {
        for lsn in [Lsn(0), Lsn(0x16B_3748), Lsn(0x1_0000_0028), Lsn(u64::MAX)] {
            assert_eq!(lsn.to_string().parse(), Ok(lsn));
        }
        assert_eq!(Lsn(0x1_0000_0028).to_string(), "1/28");
    }

    #[test]
    fn what_is_not_a_position_is_refused() {
        for text in ["", "/", "1/", "/1", "1/123456789", "x/1", "+1/2", "1/2/3", "1"] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_reads_back_as_it_is_written() {
        let token = Token { timeline: 12, lsn: Lsn(0x3_016B_3748) };
        assert_eq!(token.to_string(), "12/3-16B3748");
        assert_eq!("12/3-16B3748".parse(), Ok(token));
    }

    #[test]
    fn what_is_not_a_token_is_refused_with_an_example() {
        for text in ["", "1", "1/0", "1/0/16B3748", "-1/0-1", "99999999999/0-1", "1/0-", "0/16B3748"] {
            assert!(text.parse::<Token>().unwrap_err().contains("1/0-16B3748"), "{text}");
        }
    }

    #[test]
    fn an_insert_position_behind_a_page_header_counts_as_the_end_of_the_page_before() {
        let wal = WalLayout::default();
        assert_eq!(wal.end_of_records(Lsn(3 * 8192 + 24)), Lsn(3 * 8192));
        assert_eq!(wal.end_of_records(Lsn((16 << 20) + 40)), Lsn(16 << 20));
    }

    #[test]
    fn an_insert_position_behind_records_stays() {
        let wal = WalLayout::default();
        // Offset 40 of a page that does not start a segment: 16 bytes of records precede it.
        for lsn in [Lsn(3 * 8192 + 40), Lsn(3 * 8192 + 32), Lsn(3 * 8192), Lsn((16 << 20) + 48)] {
            assert_eq!(wal.end_of_records(lsn), lsn);
        }
    }
}
