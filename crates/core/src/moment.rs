//! Moments as people type them: RFC 3339, `today 14:02` in a zone, `latest`, `before POINT`.

use crate::{Error, Kind, Result};
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use std::str::FromStr;

/// A moment, understood but not looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The newest point.
    Latest,
    /// The newest point at or before this instant.
    At(Timestamp),
    /// The newest point before the named one.
    Before(String),
    /// The point with this id or name.
    Point(String),
}

/// Reads a moment. Wall clock times are in `zone`; `now` says which day `today` is.
///
/// # Errors
/// `Kind::Config` `E0604` for anything else, with the forms that are understood.
pub fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Moment> {
    let text = text.trim();
    if ["", "before", "today", "yesterday"].contains(&text.to_ascii_lowercase().as_str()) {
        return Err(not_understood(text));
    }
    if text.eq_ignore_ascii_case("latest") {
        return Ok(Moment::Latest);
    }
    if let Ok(instant) = Timestamp::from_str(text) {
        return Ok(Moment::At(instant));
    }
    if let Some((word, rest)) = text.split_once(' ') {
        if word.eq_ignore_ascii_case("before") && !rest.trim().is_empty() {
            return Ok(match parse(rest, now, zone)? {
                Moment::Point(id) => Moment::Before(id),
                Moment::At(instant) => Moment::At(instant.checked_sub(1.nanosecond()).unwrap_or(instant)),
                other => {
                    return if other == Moment::Latest {
                        Ok(Moment::Before("latest".into()))
                    } else {
                        Err(not_understood(text))
                    };
                }
            });
        }
        let today = now.to_zoned(zone.clone()).date();
        let day = match word.to_ascii_lowercase().as_str() {
            "today" => Some(today),
            "yesterday" => today.yesterday().ok(),
            date => Date::from_str(date).ok(),
        };
        let (Some(day), Ok(time)) = (day, Time::from_str(&pad(rest.trim()))) else {
            return Err(not_understood(text));
        };
        let zoned = day.to_datetime(time).to_zoned(zone.clone());
        return zoned.map(|z| Moment::At(z.timestamp())).map_err(|e| not_understood(text).caused_by(e));
    }
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'@' | b':' | b'.' | b'+'))
    {
        return Ok(Moment::Point(text.to_owned()));
    }
    Err(not_understood(text))
}

/// `9:05` means `09:05`.
fn pad(time: &str) -> String {
    if time.as_bytes().get(1) == Some(&b':') { format!("0{time}") } else { time.to_owned() }
}

fn not_understood(text: &str) -> Error {
    Error::new(Kind::Config, format!("read \"{}\" as a moment", crate::name::escape(text.as_bytes())))
        .code("E0604")
        .effect("nothing was attempted")
        .hint("write `latest`, \"today 14:02\", \"2026-11-22 14:02\", 2026-11-22T14:02:00Z, a point's id, or \"before POINT\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood() {
        let now: Timestamp = "2026-11-22T20:00:00Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let at = |t: &str| Moment::At(t.parse().unwrap());
        for (text, want) in [
            ("latest", Moment::Latest),
            ("2026-11-22T14:02:00+01:00", at("2026-11-22T13:02:00Z")),
            ("today 14:02", at("2026-11-22T13:02:00Z")),
            ("today 9:02", at("2026-11-22T08:02:00Z")),
            ("yesterday 23:59:30", at("2026-11-21T22:59:30Z")),
            ("2026-11-01 00:00", at("2026-10-31T23:00:00Z")),
            ("before ab12", Moment::Before("ab12".into())),
            ("before latest", Moment::Before("latest".into())),
            ("shop@2026-11-22T08:31:07Z", Moment::Point("shop@2026-11-22T08:31:07Z".into())),
        ] {
            assert_eq!(parse(text, now, &zone).unwrap(), want, "{text}");
        }
        for bad in ["", "tomorrow maybe", "today 25:00", "before ", "a/b", "14:02 today", "before before x"] {
            assert_eq!(parse(bad, now, &zone).unwrap_err().stable_code(), Some("E0604"), "{bad}");
        }
    }
}
