//! What the policies have in common: counts, ages of the calendar, and the periods of which one is kept.

use crate::{Error, Kind, Result};
use jiff::Zoned;
use jiff::civil::Date;
use std::fmt;
use std::str::FromStr;

/// How many of one sort to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// The rule is not used.
    #[default]
    Unset,
    /// The newest so many.
    Count(u32),
    /// All of them.
    All,
}

impl FromStr for Keep {
    type Err = Error;

    /// A number, or `unlimited` or `-1` for all.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "unlimited" | "-1" => Ok(Keep::All),
            "0" => Ok(Keep::Unset),
            _ => text.parse().map(Keep::Count).map_err(|_| {
                Error::new(Kind::Config, format!("read \"{text}\" as a number of snapshots"))
                    .hint("write a number, or \"unlimited\"")
            }),
        }
    }
}

impl Keep {
    pub(super) fn take(&mut self) -> bool {
        match self {
            Keep::Unset => false,
            Keep::All => true,
            Keep::Count(left) => {
                let some = *left > 0;
                *left = left.saturating_sub(1);
                some
            }
        }
    }

    pub(super) fn has_some_left(self) -> bool {
        !matches!(self, Keep::Unset | Keep::Count(0))
    }
}

/// A calendar length of time, as in `1y5m7d2h`; `m` is months, as restic has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Age {
    /// Years.
    pub years: u16,
    /// Months.
    pub months: u16,
    /// Days.
    pub days: u16,
    /// Hours.
    pub hours: u16,
}

impl FromStr for Age {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::new(Kind::Config, format!("read \"{text}\" as an age"))
                .hint("write years, months, days and hours, as in \"1y5m7d2h\"")
        };
        let mut age = Age::default();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
            let number = rest[..end].parse().map_err(|_| bad())?;
            match rest.as_bytes()[end] {
                b'y' => age.years = number,
                b'm' => age.months = number,
                b'd' => age.days = number,
                b'h' => age.hours = number,
                _ => return Err(bad()),
            }
            rest = &rest[end + 1..];
        }
        Ok(age)
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.years, 'y'), (self.months, 'm'), (self.days, 'd'), (self.hours, 'h')];
        parts.iter().filter(|(n, _)| *n > 0).try_for_each(|(n, unit)| write!(f, "{n}{unit}"))
    }
}

impl Age {
    pub(super) fn is_zero(self) -> bool {
        self == Age::default()
    }

    /// The moment so long before `end`, in the zone of `end`. A day that the month does not have runs
    /// over into the next month, as in Go. `None` if it lies before the calendar begins: always.
    pub(super) fn before(self, end: &Zoned) -> Option<Zoned> {
        let months = i32::from(end.year()) * 12 + i32::from(end.month())
            - 1
            - i32::from(self.years) * 12
            - i32::from(self.months);
        let year = i16::try_from(months.div_euclid(12)).ok()?;
        let month = i8::try_from(months.rem_euclid(12) + 1).ok()?;
        let days = i32::from(end.day()) - 1 - i32::from(self.days);
        let date = Date::new(year, month, 1).ok()?.checked_add(jiff::Span::new().days(days)).ok()?;
        let moment = date.to_datetime(end.time()).to_zoned(end.time_zone().clone()).ok()?;
        moment.checked_sub(jiff::Span::new().hours(self.hours)).ok()
    }
}

/// The day, as a number that sorts.
pub(super) fn day(t: &Zoned) -> i64 {
    i64::from(t.year()) * 10_000 + i64::from(t.month()) * 100 + i64::from(t.day())
}

/// The hour on the clock. On the night when it is set back one number stands for two hours.
pub(super) fn hour(t: &Zoned) -> i64 {
    i64::from(t.hour()) + 100 * day(t)
}

/// The ISO week, with the year it belongs to.
pub(super) fn week(t: &Zoned) -> i64 {
    let week = t.date().iso_week_date();
    i64::from(week.year()) * 100 + i64::from(week.week())
}

/// The month.
pub(super) fn month(t: &Zoned) -> i64 {
    day(t) / 100
}

/// The year.
pub(super) fn year(t: &Zoned) -> i64 {
    i64::from(t.year())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_count_the_calendar() {
        let end = "2025-03-31T12:00:00Z".parse::<jiff::Timestamp>().unwrap();
        let end = end.to_zoned(jiff::tz::TimeZone::UTC);
        let before = |age: &str| age.parse::<Age>().unwrap().before(&end).unwrap().timestamp().to_string();
        assert_eq!(before("1m"), "2025-03-03T12:00:00Z", "February has no 31st day");
        assert_eq!(before("1y2d3h"), "2024-03-29T09:00:00Z");
        assert!("5".parse::<Age>().is_err() && "1x".parse::<Age>().is_err());
        assert_eq!("2y3d".parse::<Age>().unwrap().to_string(), "2y3d");
        assert!("65535y".parse::<Age>().unwrap().before(&end).is_none());
    }
}
