//! Sizes and durations with their units, as people write and read them.

use crate::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes. Written `"40 GiB"`, `"5MB"`, `"512 B"`; a bare number is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(pub u64);

const SIZE_UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::new(Kind::Config, format!("read \"{text}\" as a size: {why}"))
                .hint("write a number and a unit, as in \"40 GiB\" or \"500 MB\"")
        };
        let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(|| bad("it has no unit"))?;
        let number: u64 = text[..split].parse().map_err(|_| bad("it does not start with a number"))?;
        let unit = text[split..].trim();
        let (_, factor) =
            SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(|| bad("the unit is unknown"))?;
        number.checked_mul(*factor).map(ByteSize).ok_or_else(|| bad("it is too large"))
    }
}

impl fmt::Display for ByteSize {
    /// Three significant digits and a binary unit, as in `48.1 GiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 1023.95 && unit + 1 < names.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(f, "{value:.1} {}", names[unit])
    }
}

/// A length of time. Written `"15m"`, `"4h"`, `"35d"`, `"1h30m"`; a bare number is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

const SPAN_UNITS: [(&str, u64); 7] =
    [("y", 31_536_000), ("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1), ("min", 60)];

impl Span {
    /// Whole seconds.
    pub fn as_secs(self) -> u64 {
        self.0.as_secs()
    }
}

impl FromStr for Span {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::new(Kind::Config, format!("read \"{text}\" as a duration: {why}"))
                .hint("write numbers with units, as in \"90s\", \"15m\", \"4h\", \"35d\", \"1h30m\"")
        };
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(bad("it is empty"));
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(|| bad("it has no unit"))?;
            let number: u64 = rest[..digits].parse().map_err(|_| bad("it does not start with a number"))?;
            rest = rest[digits..].trim_start();
            let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            let (_, factor) = SPAN_UNITS
                .iter()
                .find(|(name, _)| *name == &rest[..letters])
                .ok_or_else(|| bad("the unit is unknown"))?;
            total = number
                .checked_mul(*factor)
                .and_then(|n| total.checked_add(n))
                .ok_or_else(|| bad("it is too long"))?;
            rest = rest[letters..].trim_start();
        }
        Ok(Span(Duration::from_secs(total)))
    }
}

impl fmt::Display for Span {
    /// The two largest units, as in `1h30m`; below ten seconds with one decimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.as_secs();
        if secs < 10 && self.0.subsec_millis() > 0 {
            return write!(f, "{:.1}s", self.0.as_secs_f64());
        }
        let mut rest = secs;
        let mut shown = 0;
        for (name, factor) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
            let n = rest / factor;
            rest %= factor;
            if n > 0 && shown < 2 {
                write!(f, "{n}{name}")?;
                shown += 1;
            } else if shown > 0 {
                break;
            }
        }
        if shown == 0 { f.write_str("0s") } else { Ok(()) }
    }
}

macro_rules! as_text {
    ($($t:ty),*) => {$(
        impl TryFrom<String> for $t {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }
        impl From<$t> for String {
            fn from(value: $t) -> String {
                value.exact()
            }
        }
    )*};
}
as_text!(ByteSize, Span);

impl ByteSize {
    fn exact(self) -> String {
        let unit = ["TiB", "GiB", "MiB", "KiB"].iter().find_map(|want| {
            let (name, factor) = SIZE_UNITS.iter().find(|(name, _)| name == want)?;
            (self.0 > 0 && self.0.is_multiple_of(*factor)).then(|| format!("{} {name}", self.0 / factor))
        });
        unit.unwrap_or_else(|| format!("{} B", self.0))
    }
}

impl Span {
    fn exact(self) -> String {
        let secs = self.0.as_secs();
        let unit = [("d", 86_400), ("h", 3_600), ("m", 60)]
            .iter()
            .find(|(_, factor)| secs > 0 && secs.is_multiple_of(*factor))
            .map(|(name, factor)| format!("{}{name}", secs / factor));
        unit.unwrap_or_else(|| format!("{secs}s"))
    }
}

/// `count` things for people: "1 file", "2 files", "2 directories".
pub fn counted(count: u64, thing: &str) -> String {
    match (count, thing.strip_suffix('y')) {
        (1, _) => format!("1 {thing}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        _ => format!("{count} {thing}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_required() {
        assert_eq!("40 GiB".parse::<ByteSize>().unwrap().0, 40 << 30);
        assert!("40".parse::<ByteSize>().is_err());
        assert!("40 gb".parse::<ByteSize>().is_err());
        assert_eq!("1h30m".parse::<Span>().unwrap().as_secs(), 5400);
        for bad in ["15", "", "m", "1x", "99999999999999999999d", "9999999999999999y"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn shown_for_people_and_kept_for_machines() {
        assert_eq!(ByteSize(50_000_000).to_string(), "47.7 MiB");
        assert_eq!(Span(Duration::from_secs(5400)).to_string(), "1h30m");
        assert_eq!(Span(Duration::from_secs(86_401)).to_string(), "1d");
        assert_eq!(String::from(Span(Duration::from_secs(5400))), "90m");
        assert_eq!(String::from(ByteSize(40 << 30)), "40 GiB");
    }

    #[test]
    fn one_thing_is_not_several() {
        let texts = [counted(0, "file"), counted(1, "file"), counted(2, "file"), counted(3, "directory")];
        assert_eq!(texts, ["0 files", "1 file", "2 files", "3 directories"]);
    }
}
