//! The policy of a class: which of its points stay.

use super::rules;
use crate::units::Span;
use crate::{Error, Kind, Result};
use jiff::Zoned;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What to keep of the points of a source. A point stays if any rule wants it; a rule that is not given wants none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retain {
    /// All that are younger.
    pub all: Option<Span>,
    /// The newest of each of so many hours that have points.
    pub hourly: u32,
    /// The newest of each of so many days that have points.
    pub daily: u32,
    /// The newest of each of so many ISO weeks that have points.
    pub weekly: u32,
    /// The newest of each of so many months that have points.
    pub monthly: u32,
    /// The newest of each of so many years that have points.
    pub yearly: u32,
    /// At least so many of the newest, whatever their age.
    pub min: Option<u32>,
    /// Nothing that is so old is wanted by a rule other than `min`.
    pub max: Option<Span>,
}

/// A rule of a [`Retain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Younger than `all`.
    All,
    /// The newest of its hour.
    Hourly,
    /// The newest of its day.
    Daily,
    /// The newest of its ISO week.
    Weekly,
    /// The newest of its month.
    Monthly,
    /// The newest of its year.
    Yearly,
    /// Among the `min` newest.
    Min,
}

/// How many rules keep one point of each period.
pub(super) const PERIODS: usize = 5;

/// The number of a period and, for hours, the offset from UTC in seconds: on the night when the clock is set
/// back two hours have one number on the clock and are two hours all the same.
pub(super) type Period = (i64, i32);

impl Rule {
    /// Every rule, in the order in which they are written.
    pub const ALL: [Rule; 7] =
        [Rule::All, Rule::Hourly, Rule::Daily, Rule::Weekly, Rule::Monthly, Rule::Yearly, Rule::Min];

    /// The key it is written with.
    pub fn word(self) -> &'static str {
        match self {
            Rule::All => "all",
            Rule::Hourly => "hourly",
            Rule::Daily => "daily",
            Rule::Weekly => "weekly",
            Rule::Monthly => "monthly",
            Rule::Yearly => "yearly",
            Rule::Min => "min",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The period of a moment for each of the rules that have one.
pub(super) fn periods(at: &Zoned) -> [Period; PERIODS] {
    [
        (rules::hour(at), at.offset().seconds()),
        (rules::day(at), 0),
        (rules::week(at), 0),
        (rules::month(at), 0),
        (rules::year(at), 0),
    ]
}

impl Retain {
    /// Rules that keep one point of each period, with how many periods; the order is that of [`periods`].
    pub(super) fn counts(&self) -> [(Rule, u32); PERIODS] {
        [
            (Rule::Hourly, self.hourly),
            (Rule::Daily, self.daily),
            (Rule::Weekly, self.weekly),
            (Rule::Monthly, self.monthly),
            (Rule::Yearly, self.yearly),
        ]
    }

    /// The number or span of a rule as it was written; `None` if the rule wants nothing.
    pub fn setting(&self, rule: Rule) -> Option<String> {
        let count = |n: u32| (n > 0).then(|| n.to_string());
        match rule {
            Rule::All => self.all.filter(|all| !all.0.is_zero()).map(|all| all.to_string()),
            Rule::Min => self.min.and_then(count),
            _ => self.counts().into_iter().find(|(of, _)| *of == rule).and_then(|(_, n)| count(n)),
        }
    }

    /// Whether it can be followed: some rule wants something, and `max` does not take back what `all` promises.
    ///
    /// # Errors
    /// `Kind::Config`, E0660 or E0662.
    pub fn check(&self) -> Result<()> {
        let spans = [self.all, self.max];
        let empty = Rule::ALL.iter().all(|rule| self.setting(*rule).is_none());
        if empty || spans.iter().flatten().any(|span| span.0.is_zero()) {
            return Err(Error::new(Kind::Config, "follow a retention policy that keeps nothing")
                .code("E0660")
                .effect("nothing was deleted")
                .hint("say what stays, as in `retain = { all = \"7d\", daily = 35, monthly = 13 }`"));
        }
        match (self.all, self.max) {
            (Some(all), Some(max)) if max < all => {
                Err(Error::new(Kind::Config, "follow a retention policy with a `max` shorter than its `all`")
                    .code("E0662")
                    .with("max", max)
                    .with("all", all)
                    .effect("nothing was deleted")
                    .hint("raise `max`, or lower `all`"))
            }
            _ => Ok(()),
        }
    }

    /// Whether any rule keeps less than that of `older`: the change of a policy that somebody should look at.
    pub fn shortens(&self, older: &Retain) -> bool {
        let fewer = self.counts().iter().zip(older.counts()).any(|(new, old)| new.1 < old.1);
        let end = |max: Option<Span>| max.map_or(std::time::Duration::MAX, |max| max.0);
        fewer
            || self.all.unwrap_or_default() < older.all.unwrap_or_default()
            || self.min.unwrap_or(0) < older.min.unwrap_or(0)
            || end(self.max) < end(older.max)
    }
}

/// As [`Retain::shortens`], where a class without a policy keeps everything.
pub fn shortens(new: Option<&Retain>, older: Option<&Retain>) -> bool {
    match (new, older) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(new), Some(older)) => new.shortens(older),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Option<Span> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn row_051_a_policy_that_says_nothing_is_refused_before_it_is_followed() {
        let code = |retain: Retain| retain.check().unwrap_err().stable_code();
        assert_eq!(code(Retain::default()), Some("E0660"));
        assert_eq!(code(Retain { min: Some(0), ..Retain::default() }), Some("E0660"));
        assert_eq!(code(Retain { all: span("0s"), ..Retain::default() }), Some("E0660"));
        assert_eq!(code(Retain { all: span("0s"), daily: 3, ..Retain::default() }), Some("E0660"));
        assert_eq!(
            code(Retain { max: span("7y"), ..Retain::default() }),
            Some("E0660"),
            "`max` keeps nothing"
        );
        assert_eq!(code(Retain { all: span("8d"), max: span("7d"), ..Retain::default() }), Some("E0662"));
        Retain { all: span("7d"), max: span("7d"), ..Retain::default() }.check().unwrap();
        Retain { min: Some(1), ..Retain::default() }.check().unwrap();
    }

    #[test]
    fn any_rule_that_keeps_less_makes_a_policy_shorter() {
        let old = Retain { all: span("7d"), daily: 35, max: span("7y"), min: Some(2), ..Retain::default() };
        assert!(!old.shortens(&old));
        assert!(!Retain { daily: 36, max: None, hourly: 1, ..old }.shortens(&old));
        for shorter in [
            Retain { all: span("6d"), ..old },
            Retain { all: None, ..old },
            Retain { daily: 34, yearly: 100, ..old },
            Retain { min: None, ..old },
            Retain { max: span("6y"), ..old },
        ] {
            assert!(shorter.shortens(&old), "{shorter:?}");
        }
        assert!(old.shortens(&Retain { max: None, ..old }));
        assert!(shortens(Some(&old), None), "without a policy everything stays");
        assert!(!shortens(None, Some(&old)) && !shortens(None, None) && !shortens(Some(&old), Some(&old)));
    }

    #[test]
    fn the_iso_week_belongs_to_the_year_that_has_most_of_it() {
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().to_zoned(jiff::tz::TimeZone::UTC);
        let (eve, new_year) = (periods(&at("2024-12-30T00:00:00Z")), periods(&at("2025-01-01T00:00:00Z")));
        assert_eq!(eve[2], new_year[2]);
        assert_ne!(eve[4], new_year[4]);
    }
}
