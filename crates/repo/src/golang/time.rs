//! Times: RFC 3339 with nanoseconds, trailing zeros cut, in a zone (`Z` when it is UTC).

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::fmt::temporal::Pieces;
use jiff::tz::{Offset, TimeZone};
use recoup_core::{Error, Kind, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::ops::Range;

/// A moment and the zone offset it was written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoTime {
    /// The moment.
    pub at: Timestamp,
    /// Seconds east of UTC, in whole minutes.
    pub offset_seconds: i32,
}

impl GoTime {
    /// `at` in `zone`.
    pub fn new(at: Timestamp, zone: &TimeZone) -> Self {
        GoTime { at, offset_seconds: whole_minutes(zone.to_offset(at).seconds()) }
    }

    /// Reads what [`GoTime`] shows.
    ///
    /// # Errors
    /// `Kind::Corrupt` for anything that is no RFC 3339 time.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || {
            let shown = recoup_core::name::escape(text.chars().take(60).collect::<String>().as_bytes());
            Error::new(Kind::Corrupt, "read a time").with("text", shown)
        };
        if let Some(time) = parse_plain(text.as_bytes()) {
            return Ok(time);
        }
        let pieces = Pieces::parse(text).map_err(|_| bad())?;
        let offset = pieces.to_numeric_offset().ok_or_else(bad)?;
        let local = pieces.date().to_datetime(pieces.time().ok_or_else(bad)?);
        let at = offset.to_timestamp(local).map_err(|_| bad())?;
        Ok(GoTime { at, offset_seconds: whole_minutes(offset.seconds()) })
    }
}

/// Until about 1900 clocks went by the sun, as in Berlin 53 minutes and 28 seconds ahead. The text has no room
/// for the seconds. Go writes the local time with them and the offset without, which moves the moment; here
/// both are without, so that the moment is what it was.
fn whole_minutes(seconds: i32) -> i32 {
    seconds / 60 * 60
}

/// Appends `value` with so many digits; it has no more.
fn digits(out: &mut Vec<u8>, value: u32, count: u32) {
    // What is left of a remainder by 10 fits into a byte.
    out.extend((0..count).rev().map(|place| b'0' + (value / 10_u32.pow(place) % 10) as u8));
}

/// Reads the form in which this and Go write: every field of its full length. Anything else is left to a parser
/// that knows all forms.
fn parse_plain(text: &[u8]) -> Option<GoTime> {
    let number = |range: Range<usize>| {
        let digits = text.get(range)?;
        let all = digits.iter().all(u8::is_ascii_digit);
        all.then(|| digits.iter().fold(0_i32, |sum, digit| sum * 10 + i32::from(digit - b'0')))
    };
    let is_at = |at: usize, byte: u8| text.get(at) == Some(&byte);
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !marks.iter().all(|(at, byte)| is_at(*at, *byte)) {
        return None;
    }
    let small = |range: Range<usize>| i8::try_from(number(range)?).ok();
    let mut at = 19;
    let mut nanoseconds = 0;
    if is_at(at, b'.') {
        let count = text[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let places = u32::try_from(count).ok().filter(|count| (1..=9).contains(count))?;
        nanoseconds = number(at + 1..at + 1 + count)? * 10_i32.pow(9 - places);
        at += 1 + count;
    }
    let offset = match text.get(at..)? {
        [b'Z'] => Offset::UTC,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (number(at + 1..at + 3)?, number(at + 4..at + 6)?);
            let seconds = (hours * 60 + minutes) * 60;
            let is_usual = hours < 24 && minutes < 60 && seconds > 0;
            Offset::from_seconds(if *sign == b'-' { -seconds } else { seconds }).ok().filter(|_| is_usual)?
        }
        _ => return None,
    };
    let year = i16::try_from(number(0..4)?).ok()?;
    let date = Date::new(year, small(5..7)?, small(8..10)?).ok()?;
    let time = Time::new(small(11..13)?, small(14..16)?, small(17..19)?, nanoseconds).ok()?;
    let at = offset.to_timestamp(date.to_datetime(time)).ok()?;
    Some(GoTime { at, offset_seconds: offset.seconds() })
}

impl GoTime {
    /// Appends what [`GoTime`] shows.
    pub fn append(&self, out: &mut Vec<u8>) {
        let offset = Offset::from_seconds(whole_minutes(self.offset_seconds)).unwrap_or(Offset::UTC);
        let local = offset.to_datetime(self.at);
        // Nothing of a date but the year is ever negative.
        let plain = |value: i8| u32::from(value.unsigned_abs());
        // restic clamps to the years that RFC 3339 can write
        digits(out, u32::from(local.year().clamp(0, 9999).unsigned_abs()), 4);
        let parts = [
            (b'-', local.month()),
            (b'-', local.day()),
            (b'T', local.hour()),
            (b':', local.minute()),
            (b':', local.second()),
        ];
        for (mark, value) in parts {
            out.push(mark);
            digits(out, plain(value), 2);
        }
        let nanoseconds = local.subsec_nanosecond().unsigned_abs();
        if nanoseconds != 0 {
            out.push(b'.');
            digits(out, nanoseconds, 9);
            while out.last() == Some(&b'0') {
                out.pop();
            }
        }
        if offset.seconds() == 0 {
            return out.push(b'Z');
        }
        let minutes = offset.seconds() / 60;
        out.push(if minutes < 0 { b'-' } else { b'+' });
        digits(out, minutes.unsigned_abs() / 60, 2);
        out.push(b':');
        digits(out, minutes.unsigned_abs() % 60, 2);
    }
}

impl fmt::Display for GoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::with_capacity(35);
        self.append(&mut out);
        f.write_str(std::str::from_utf8(&out).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for GoTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        GoTime::parse(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_go_writes_it() {
        for text in [
            "2026-11-22T10:00:00Z",
            "2026-11-22T10:00:00.5+01:00",
            "1969-12-31T19:00:00.000000001-05:00",
            "2026-11-22T10:00:00.12345+05:45",
            "0001-01-01T00:00:00Z",
        ] {
            assert_eq!(GoTime::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "2026", "2026-11-22T10:00:00", "2026-13-22T10:00:00Z", "x", "2026-11-22"] {
            assert!(GoTime::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn the_plain_form_is_read_as_every_form_is(text in r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](\.[0-9]{1,10})?(Z|z|[+-][0-2][0-9]:[0-9]{2}(:[0-9]{2})?|)") {
            if let Some(plain) = parse_plain(text.as_bytes()) {
                let pieces = Pieces::parse(&text).unwrap();
                let local = pieces.date().to_datetime(pieces.time().unwrap());
                prop_assert_eq!(plain.at, pieces.to_numeric_offset().unwrap().to_timestamp(local).unwrap());
                prop_assert_eq!(plain.offset_seconds, pieces.to_numeric_offset().unwrap().seconds());
            }
        }

        #[test]
        fn what_is_shown_is_read(seconds in -60_000_000_000_i64..250_000_000_000, nanos in 0..1_000_000_000_i32, offset in -1400..1400_i32) {
            let at = Timestamp::new(seconds, 0).unwrap() + jiff::SignedDuration::from_nanos(nanos.into());
            let time = GoTime { at, offset_seconds: offset * 60 };
            let text = time.to_string();
            prop_assert_eq!(parse_plain(text.as_bytes()), Some(time));
        }
    }

    #[test]
    fn a_moment_stays_where_it_is_in_a_zone_with_seconds() {
        for (zone, shown) in [
            ("Europe/Berlin", "1880-01-01T00:53:00.5+00:53"),
            ("America/New_York", "1879-12-31T19:04:00.5-04:56"),
            ("Africa/Monrovia", "1879-12-31T23:17:00.5-00:43"),
        ] {
            let zone = TimeZone::get(zone).unwrap();
            let at: Timestamp = "1880-01-01T00:00:00.5Z".parse().unwrap();
            let time = GoTime::new(at, &zone);
            assert_eq!(time.to_string(), shown);
            assert_eq!(GoTime::parse(shown).unwrap(), time);
        }
        let odd = GoTime::parse("1880-01-01T00:53:28+00:53:28").unwrap();
        assert_eq!(odd.to_string(), "1880-01-01T00:53:00+00:53");
        assert_eq!(GoTime::parse("1880-01-01T00:53:00+00:53").unwrap(), odd);
        assert_eq!(odd.at, "1880-01-01T00:00:00Z".parse().unwrap());
    }

    #[test]
    fn the_zone_is_that_of_the_moment() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let show = |text: &str| GoTime::new(text.parse().unwrap(), &zone).to_string();
        assert_eq!(show("2026-07-01T00:00:00Z"), "2026-07-01T02:00:00+02:00");
        assert_eq!(show("2026-12-01T00:00:00Z"), "2026-12-01T01:00:00+01:00");
    }
}
