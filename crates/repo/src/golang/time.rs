//! Times: RFC 3339 with nanoseconds, trailing zeros cut, in a zone (`Z` when it is UTC).

use jiff::Timestamp;
use jiff::fmt::temporal::Pieces;
use jiff::tz::{Offset, TimeZone};
use recoup_core::{Error, Kind, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

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

impl fmt::Display for GoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = Offset::from_seconds(whole_minutes(self.offset_seconds)).unwrap_or(Offset::UTC);
        let local = offset.to_datetime(self.at);
        // restic clamps to the years that RFC 3339 can write
        let year = local.year().clamp(0, 9999);
        write!(f, "{year:04}-{:02}-{:02}", local.month(), local.day())?;
        write!(f, "T{:02}:{:02}:{:02}", local.hour(), local.minute(), local.second())?;
        if local.subsec_nanosecond() != 0 {
            let digits = format!("{:09}", local.subsec_nanosecond());
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        if offset.seconds() == 0 {
            return f.write_str("Z");
        }
        let minutes = offset.seconds() / 60;
        let sign = if minutes < 0 { '-' } else { '+' };
        write!(f, "{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
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
