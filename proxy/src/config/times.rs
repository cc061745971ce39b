//! Times of the week, such as "08:55" or "mon-fri 08:55".

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

/// A minute of some days of the week, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeeklyTime {
    /// One bit for each day, Monday first.
    days: u8,
    /// Minutes since midnight.
    minute: u16,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTES_PER_DAY: u64 = 24 * 60;
/// 1 January 1970 was a Thursday.
const EPOCH_DAY: u64 = 3;

/// Minutes since 1970, UTC.
pub fn minute_of(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / 60
}

impl WeeklyTime {
    /// True when it is due in this minute since 1970.
    pub fn is_due(self, minute: u64) -> bool {
        let day = (minute / MINUTES_PER_DAY + EPOCH_DAY) % 7;
        self.days >> day & 1 == 1 && minute % MINUTES_PER_DAY == u64::from(self.minute)
    }
}

impl FromStr for WeeklyTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (days, time) = match text.trim().rsplit_once(' ') {
            Some((days, time)) => (days_of(days)?, time),
            None => (0x7f, text.trim()),
        };
        let number = |text: &str, below: u16| {
            let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|number| digits && *number < below)
        };
        let time = time.split_once(':');
        match time.and_then(|(hour, minute)| Some((number(hour, 24)?, number(minute, 60)?))) {
            Some((hour, minute)) => Ok(Self { days, minute: hour * 60 + minute }),
            None => Err("expected a time (UTC) such as \"08:55\" or \"mon-fri 08:55\"".into()),
        }
    }
}

/// `mon`, `mon-fri`, `mon,wed,sat-sun`.
fn days_of(text: &str) -> Result<u8, String> {
    let day = |name: &str| {
        let name = name.trim().to_ascii_lowercase();
        let found = DAYS.iter().position(|day| *day == name);
        found.ok_or_else(|| format!("\"{}\" is not one of {}", name.escape_debug(), DAYS.join(", ")))
    };
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        // Over the week's end, too: sat-mon.
        for offset in 0..=(last + 7 - first) % 7 {
            days |= 1 << ((first + offset) % 7);
        }
    }
    Ok(days)
}

impl fmt::Display for WeeklyTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != 0x7f {
            let days: Vec<_> = (0..7).filter(|day| self.days >> day & 1 == 1).map(|day| DAYS[day]).collect();
            write!(f, "{} ", days.join(","))?;
        }
        write!(f, "{:02}:{:02}", self.minute / 60, self.minute % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> WeeklyTime {
        text.parse().unwrap_or_else(|message| panic!("{text}: {message}"))
    }

    #[test]
    fn days_and_times_are_read_as_people_write_them() {
        for (written, read) in [
            ("08:55", "08:55"),
            ("mon-fri 08:55", "mon,tue,wed,thu,fri 08:55"),
            ("Sat-Mon 00:00", "mon,sat,sun 00:00"),
            ("tue,thu-fri 23:59", "tue,thu,fri 23:59"),
            ("mon-sun 12:30", "12:30"),
        ] {
            assert_eq!(time(written).to_string(), read);
        }
        for wrong in ["", "8:55", "24:00", "08:60", "mon", "08:55 mon", "day 08:55", "mon- 08:55", "-1:00"] {
            assert!(wrong.parse::<WeeklyTime>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_is_due_in_its_minute_of_its_days() {
        // Wednesday, 25 November 2026, 08:55 UTC.
        let minute = 1_795_596_900 / 60;
        assert!(time("08:55").is_due(minute) && time("wed 08:55").is_due(minute));
        assert!(!time("08:55").is_due(minute + 1) && !time("thu-tue 08:55").is_due(minute));
        assert!(time("thu 08:55").is_due(minute + MINUTES_PER_DAY));
        assert_eq!(minute_of(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(119)), 1);
    }
}
