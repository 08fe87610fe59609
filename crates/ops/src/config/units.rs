//! How quantities with units look in the schema, and the percentage.

use recoup_core::{Error, Kind, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

macro_rules! text_with_format {
    ($($(#[$doc:meta])* $name:ident, $format:literal, $pattern:expr, $example:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format, "pattern": $pattern, "examples": [$example] })
            }
        }
    )*};
}

text_with_format! {
    /// A duration with units, as in `15m`.
    DurationText, "duration", r"^\s*([0-9]+\s*(y|w|d|h|min|m|s)\s*)+$", "15m";
    /// A size with a unit, as in `40 GiB`.
    SizeText, "size", r"^[0-9]+\s*(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)$", "40 GiB";
    /// A percentage, as in `5%`.
    PercentText, "percent", r"^[0-9]+(\.[0-9]+)?%$", "5%";
    /// A schedule, as in `daily 01:10`.
    ScheduleText, "schedule", r"\S", "daily 01:10";
    /// A time zone by its name in the IANA database, as in `Europe/Berlin`.
    ZoneText, "time-zone", r"\S", "Europe/Berlin";
    /// A comparison, as in `> 0`.
    CompareText, "comparison", r"(==|!=|<=|>=|<|>)", "> 0";
}

/// A share of a whole, kept as hundredths. Written `"5%"`; a bare number is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Percent(pub f64);

impl FromStr for Percent {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::new(Kind::Config, format!("read \"{text}\" as a percentage"))
                .hint("write a number from 0 to 100 and the sign, as in \"5%\"")
        };
        let number: f64 = text.trim().strip_suffix('%').ok_or_else(bad)?.trim().parse().map_err(|_| bad())?;
        if (0.0..=100.0).contains(&number) { Ok(Percent(number)) } else { Err(bad()) }
    }
}

impl TryFrom<String> for Percent {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Percent> for String {
    fn from(value: Percent) -> String {
        value.to_string()
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// A comparison of one number, so that a result can never hold rows: `> 0`, `== 12.5`, or with a
/// subject, `dangling == 0`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Comparison {
    /// What is compared; `None` if there is only one thing.
    pub subject: Option<String>,
    /// How.
    pub operator: Operator,
    /// With what.
    pub value: f64,
}

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

// Longer signs first, so that `<=` is not read as `<`.
const OPERATORS: [(&str, Operator); 6] = [
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

impl Comparison {
    /// Whether `found` satisfies it. A result that is no number never does.
    pub fn holds(&self, found: f64) -> bool {
        match self.operator {
            Operator::Equal => found == self.value,
            Operator::NotEqual => found != self.value && !found.is_nan(),
            Operator::Less => found < self.value,
            Operator::LessOrEqual => found <= self.value,
            Operator::Greater => found > self.value,
            Operator::GreaterOrEqual => found >= self.value,
        }
    }
}

impl FromStr for Comparison {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::new(Kind::Config, format!("read \"{text}\" as a comparison"))
                .hint("write a sign and a number, as in \"> 0\", \"== 0\" or \"dangling == 0\"")
        };
        let found = OPERATORS.iter().filter_map(|(sign, op)| text.find(sign).map(|at| (at, *sign, *op)));
        let (at, sign, operator) = found.min_by_key(|(at, sign, _)| (*at, 2 - sign.len())).ok_or_else(bad)?;
        let value: f64 = text[at + sign.len()..].trim().parse().map_err(|_| bad())?;
        let subject = text[..at].trim();
        let named = subject.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !named || !value.is_finite() {
            return Err(bad());
        }
        Ok(Comparison { subject: (!subject.is_empty()).then(|| subject.to_owned()), operator, value })
    }
}

impl TryFrom<String> for Comparison {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Comparison> for String {
    fn from(value: Comparison) -> String {
        value.to_string()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(subject) = &self.subject {
            write!(f, "{subject} ")?;
        }
        let sign = OPERATORS.iter().find(|(_, op)| *op == self.operator).map_or("?", |(sign, _)| sign);
        write!(f, "{sign} {}", self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_compare_one_number() {
        let c: Comparison = "dangling == 0".parse().unwrap();
        assert_eq!((c.subject.as_deref(), c.holds(0.0), c.holds(1.0)), (Some("dangling"), true, false));
        assert!(">= 10".parse::<Comparison>().unwrap().holds(10.0));
        assert!(!"!= 3".parse::<Comparison>().unwrap().holds(f64::NAN));
        for bad in ["", "0", "> x", "a b > 0", "> inf", "=> 1", "select 1 > 0; drop"] {
            assert!(bad.parse::<Comparison>().is_err(), "{bad}");
        }
    }

    #[test]
    fn percentages_carry_their_sign() {
        assert_eq!("5%".parse::<Percent>().unwrap(), Percent(5.0));
        for bad in ["5", "-1%", "101%", "%", "NaN%"] {
            assert!(bad.parse::<Percent>().is_err(), "{bad}");
        }
    }
}
