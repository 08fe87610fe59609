//! When something runs by itself: an interval, or moments of a calendar in a time zone.
//!
//! The written forms are `every 15m`, `hourly`, `daily 01:10`, `Sun 04:00`, `Mon,Thu 02:00`,
//! `monthly 03:00` (the first day), `quarterly 03:00`, `yearly 03:00`, and five cron fields.

use crate::units::Span;
use crate::{Error, Kind, Result};
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Span as JiffSpan, Timestamp, ToSpan};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A declared rhythm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    rhythm: Rhythm,
}

/// What a schedule means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rhythm {
    /// Once in each interval, counted from the last run.
    Every(Span),
    /// At moments of the calendar.
    Calendar(Calendar),
}

/// Moments of the calendar: the sets behind five cron fields, each sorted and never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// Minutes, 0 to 59.
    pub minutes: Vec<u8>,
    /// Hours, 0 to 23.
    pub hours: Vec<u8>,
    /// Days of the month, 1 to 31.
    pub days: Vec<u8>,
    /// Months, 1 to 12.
    pub months: Vec<u8>,
    /// Days of the week, 0 (Sunday) to 6.
    pub weekdays: Vec<u8>,
}

impl Schedule {
    /// An interval.
    pub fn every(span: Span) -> Self {
        Schedule { text: format!("every {span}"), rhythm: Rhythm::Every(span) }
    }

    /// What it means.
    pub fn rhythm(&self) -> &Rhythm {
        &self.rhythm
    }

    /// The first moment after `after`, in `zone`; for an interval, one interval later. `None` if the
    /// calendar has no such day within eight years (as `0 0 30 2 *`).
    ///
    /// A local time that a change of clocks skips runs at the moment the gap ends; one that occurs
    /// twice runs the first time.
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match &self.rhythm {
            Rhythm::Every(span) => after.checked_add(JiffSpan::try_from(span.0).ok()?).ok(),
            Rhythm::Calendar(calendar) => calendar.next_after(after, zone),
        }
    }

    /// The longest wait between two runs, which is the most work a capture on this schedule can
    /// lose. `None` if it never runs.
    pub fn longest_gap(&self) -> Option<Span> {
        match &self.rhythm {
            Rhythm::Every(span) => Some(*span),
            Rhythm::Calendar(calendar) => calendar.longest_gap(),
        }
    }
}

/// Days looked at before a calendar counts as empty: eight years hold a 29 February even across 2100.
const DAYS_MAX: usize = 8 * 366;

impl Calendar {
    fn has_day(&self, date: Date) -> bool {
        let weekday = date.weekday().to_sunday_zero_offset().unsigned_abs();
        let day = self.days.contains(&date.day().unsigned_abs());
        let week = self.weekdays.contains(&weekday);
        // Cron's rule: if both day fields are restricted, either is enough.
        let either = self.days.len() < 31 && self.weekdays.len() < 7;
        self.months.contains(&date.month().unsigned_abs()) && if either { day || week } else { day && week }
    }

    fn times(&self) -> impl Iterator<Item = Time> + '_ {
        let at = |h: u8, m: u8| Time::new(h.cast_signed(), m.cast_signed(), 0, 0).ok();
        self.hours.iter().flat_map(move |&h| self.minutes.iter().filter_map(move |&m| at(h, m)))
    }

    fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut date = after.to_zoned(zone.clone()).date();
        for _ in 0..DAYS_MAX {
            if self.has_day(date) {
                for time in self.times() {
                    let moment = zone.to_ambiguous_timestamp(date.to_datetime(time)).compatible().ok()?;
                    if moment > after {
                        return Some(moment);
                    }
                }
            }
            date = date.checked_add(1.day()).ok()?;
        }
        None
    }

    fn longest_gap(&self) -> Option<Span> {
        let mut last: Option<Timestamp> = None;
        let mut longest = Duration::ZERO;
        // Two years from a leap year's start see every wait of calendars that run at least yearly.
        let mut date = Date::new(2024, 1, 1).ok()?;
        for _ in 0..DAYS_MAX {
            if self.has_day(date) {
                for time in self.times() {
                    let moment = TimeZone::UTC.to_timestamp(date.to_datetime(time)).ok()?;
                    if let Some(last) = last {
                        let gap = moment.duration_since(last);
                        longest = longest.max(Duration::from_secs(gap.as_secs().unsigned_abs()));
                    }
                    last = Some(moment);
                }
            }
            date = date.checked_add(1.day()).ok()?;
        }
        last.map(|_| Span(longest)).filter(|gap| gap.0 > Duration::ZERO)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let rhythm = match words.as_slice() {
            ["every", rest @ ..] if !rest.is_empty() => Rhythm::Every(interval(&rest.join(" "))?),
            [word] => named(word, "00:00").ok_or_else(|| bad(text))?,
            [word, time] => named(word, time).ok_or_else(|| bad(text))?,
            [minute, hour, day, month, weekday] => {
                cron([minute, hour, day, month, weekday]).ok_or_else(|| bad(text))?
            }
            _ => return Err(bad(text)),
        };
        Ok(Schedule { text: words.join(" "), rhythm })
    }
}

fn bad(text: &str) -> Error {
    Error::new(Kind::Config, format!("read \"{}\" as a schedule", crate::name::escape(text.as_bytes())))
        .hint("write \"every 15m\", \"daily 01:10\", \"Sun 04:00\", \"monthly 03:00\" or five cron fields")
}

fn interval(text: &str) -> Result<Span> {
    let span: Span = text.parse()?;
    if span.as_secs() < 1 { Err(bad(text)) } else { Ok(span) }
}

fn named(word: &str, time: &str) -> Option<Rhythm> {
    let (hour, minute) = time.split_once(':')?;
    if hour.len() != 2 || minute.len() != 2 {
        return None;
    }
    let fields = match word.to_ascii_lowercase().as_str() {
        "hourly" => return cron([if time == "00:00" { "0" } else { minute }, "*", "*", "*", "*"]),
        "daily" => [minute, hour, "*", "*", "*"],
        "weekly" => [minute, hour, "*", "*", "1"],
        "monthly" => [minute, hour, "1", "*", "*"],
        "quarterly" => [minute, hour, "1", "1,4,7,10", "*"],
        "yearly" => [minute, hour, "1", "1", "*"],
        days if days.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            return cron([minute, hour, "*", "*", word]);
        }
        _ => return None,
    };
    cron(fields)
}

const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

fn cron(fields: [&str; 5]) -> Option<Rhythm> {
    let mut weekdays = field(fields[4], 0, 7, &WEEKDAYS, 0)?;
    // 7 is another way to write Sunday.
    if weekdays.last() == Some(&7) {
        weekdays.pop();
        if weekdays.first() != Some(&0) {
            weekdays.insert(0, 0);
        }
    }
    Some(Rhythm::Calendar(Calendar {
        minutes: field(fields[0], 0, 59, &[], 0)?,
        hours: field(fields[1], 0, 23, &[], 0)?,
        days: field(fields[2], 1, 31, &[], 0)?,
        months: field(fields[3], 1, 12, &MONTHS, 1)?,
        weekdays,
    }))
}

fn field(text: &str, min: u8, max: u8, names: &[&str], first_name: u8) -> Option<Vec<u8>> {
    let value = |word: &str| -> Option<u8> {
        let lower = word.to_ascii_lowercase();
        if let Some(i) = names.iter().position(|n| *n == lower) {
            return u8::try_from(i).ok().map(|i| i + first_name);
        }
        word.parse().ok().filter(|n| (min..=max).contains(n))
    };
    let mut set = vec![];
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u8>().ok().filter(|s| *s > 0)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (min, max),
            Some((from, to)) => (value(from)?, value(to)?),
            None => (value(range)?, if step.is_some() { max } else { value(range)? }),
        };
        if from > to {
            return None;
        }
        set.extend((from..=to).step_by(usize::from(step.unwrap_or(1))));
    }
    set.sort_unstable();
    set.dedup();
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(text: &str, after: &str, zone: &str) -> String {
        let zone = TimeZone::get(zone).unwrap();
        let s: Schedule = text.parse().unwrap();
        s.next_after(after.parse().unwrap(), &zone).unwrap().to_string()
    }

    #[test]
    fn calendars_run_in_local_time() {
        assert_eq!(next("daily 01:10", "2026-01-10T03:00:00Z", "Europe/Berlin"), "2026-01-11T00:10:00Z");
        assert_eq!(next("Sun 04:00", "2026-11-22T03:00:00Z", "UTC"), "2026-11-22T04:00:00Z");
        assert_eq!(next("Mon-Fri 04:00", "2026-11-20T05:00:00Z", "UTC"), "2026-11-23T04:00:00Z");
        assert_eq!(next("*/20 8-9 * * *", "2026-11-22T08:40:00Z", "UTC"), "2026-11-22T09:00:00Z");
        assert_eq!(next("quarterly 03:00", "2026-11-22T08:40:00Z", "UTC"), "2027-01-01T03:00:00Z");
        assert_eq!(next("0 0 29 2 *", "2097-01-01T00:00:00Z", "UTC"), "2104-02-29T00:00:00Z");
        assert_eq!(next("every 1h30m", "2026-11-22T08:40:00Z", "UTC"), "2026-11-22T10:10:00Z");
    }

    #[test]
    fn skipped_and_doubled_local_times_run_once() {
        // Berlin skips 02:00-03:00 on 2026-03-29 and doubles it on 2026-10-25.
        assert_eq!(next("daily 02:30", "2026-03-28T12:00:00Z", "Europe/Berlin"), "2026-03-29T01:30:00Z");
        assert_eq!(next("daily 02:30", "2026-10-24T12:00:00Z", "Europe/Berlin"), "2026-10-25T00:30:00Z");
        assert_eq!(next("daily 02:30", "2026-10-25T00:30:00Z", "Europe/Berlin"), "2026-10-26T01:30:00Z");
    }

    #[test]
    fn the_longest_gap_is_what_can_be_lost() {
        let gap = |text: &str| text.parse::<Schedule>().unwrap().longest_gap().map(|g| g.to_string());
        assert_eq!(gap("every 15m").as_deref(), Some("15m"));
        assert_eq!(gap("daily 01:10").as_deref(), Some("1d"));
        assert_eq!(gap("0 8,12 * * *").as_deref(), Some("20h"));
        assert_eq!(gap("weekly 03:00").as_deref(), Some("7d"));
        assert_eq!(gap("monthly 03:00").as_deref(), Some("31d"));
        assert_eq!(gap("0 0 30 2 *"), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "often",
            "daily 1:10",
            "daily 25:00",
            "every 0s",
            "every 15",
            "60 * * * *",
            "5-1 * * * *",
            "* * * *",
            "*/0 * * * *",
            "daily 01:10 extra",
        ] {
            assert!(text.parse::<Schedule>().is_err(), "{text:?}");
        }
    }
}
