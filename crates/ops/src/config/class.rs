//! The tables of `recoup.toml` that say what must be true: the classes with their proofs, their retention and
//! their thresholds. Doc comments are the reference page and the schema.

use super::units::{DurationText, Percent, PercentText};
use recoup_core::class::{Class, Proven};
use recoup_core::retention::Retain;
use recoup_core::suspicion::Thresholds;
use recoup_core::units::Span;
use schemars::JsonSchema;
use serde::Deserialize;

/// A contract: what must be true of the sources that name it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassSection {
    /// Why it is what it is, for the person who reads it at 3 a.m.
    pub why: Option<String>,
    /// The role that answers for it.
    pub owner: Option<String>,
    /// How much work may be lost: the largest age of the newest point.
    #[schemars(with = "Option<DurationText>")]
    pub rpo: Option<Span>,
    /// How long a restore may take until the application is healthy.
    #[schemars(with = "Option<DurationText>")]
    pub rto: Option<Span>,
    /// How long the application may be down at all; at least `rto`.
    #[schemars(with = "Option<DurationText>")]
    pub mtd: Option<Span>,
    /// How many copies there must be, production included.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 16))]
    pub copies: u32,
    /// How many failure domains the copies outside production must span.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 16))]
    pub failure_domains: u32,
    /// How old each proof may become.
    #[serde(default)]
    pub proven: ProvenSection,
    /// Which points of its sources stay. A point stays while any rule of any of its sources wants it; if this is left
    /// out, everything stays.
    pub retain: Option<RetainSection>,
    /// Whether every source of this class must name the command that rebuilds it.
    #[serde(default)]
    pub rebuild_required: bool,
    /// From when on a capture is suspicious: it is marked, told, and nothing before it is deleted.
    #[serde(default)]
    pub suspect: SuspectSection,
}

/// From when on a capture is suspicious.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuspectSection {
    /// The share of files that were rewritten or replaced, with content that does not compress; 40% if left out.
    #[schemars(with = "Option<PercentText>")]
    pub rewritten: Option<Percent>,
    /// The share of files, bytes or rows that are gone; 50% if left out.
    #[schemars(with = "Option<PercentText>")]
    pub shrunk: Option<Percent>,
    /// How long nothing at all may change, where something has to.
    #[schemars(with = "Option<DurationText>")]
    pub unchanged: Option<Span>,
}

impl SuspectSection {
    fn thresholds(self) -> Thresholds {
        let usual = Thresholds::default();
        let share = |percent: Option<Percent>, usual: f64| percent.map_or(usual, |p| p.0 / 100.0);
        Thresholds {
            rewritten: share(self.rewritten, usual.rewritten),
            shrunk: share(self.shrunk, usual.shrunk),
            unchanged: self.unchanged,
        }
    }
}

/// How old each proof of the ladder may become.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProvenSection {
    /// The stored bytes were read back and matched.
    #[schemars(with = "Option<DurationText>")]
    pub intact: Option<Span>,
    /// Restored into a scratch place and checked.
    #[schemars(with = "Option<DurationText>")]
    pub rehydrated: Option<Span>,
    /// The application ran on the restored data.
    #[schemars(with = "Option<DurationText>")]
    pub application: Option<Span>,
}

/// Which points stay; a rule that is left out wants none.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetainSection {
    /// All that are younger.
    #[schemars(with = "Option<DurationText>")]
    pub all: Option<Span>,
    /// The newest of each of so many hours that have points.
    #[schemars(range(min = 0, max = 100_000))]
    pub hourly: Option<u32>,
    /// The newest of each of so many days that have points.
    #[schemars(range(min = 0, max = 100_000))]
    pub daily: Option<u32>,
    /// The newest of each of so many ISO weeks that have points.
    #[schemars(range(min = 0, max = 100_000))]
    pub weekly: Option<u32>,
    /// The newest of each of so many months that have points.
    #[schemars(range(min = 0, max = 100_000))]
    pub monthly: Option<u32>,
    /// The newest of each of so many years that have points.
    #[schemars(range(min = 0, max = 100_000))]
    pub yearly: Option<u32>,
    /// At least so many of the newest, whatever their age.
    #[schemars(range(min = 0, max = 100_000))]
    pub min: Option<u32>,
    /// Nothing that is so old is wanted by a rule other than `min`; at least `all`.
    #[schemars(with = "Option<DurationText>")]
    pub max: Option<Span>,
}

impl RetainSection {
    fn retain(self) -> Retain {
        let count = |n: Option<u32>| n.unwrap_or(0);
        Retain {
            all: self.all,
            hourly: count(self.hourly),
            daily: count(self.daily),
            weekly: count(self.weekly),
            monthly: count(self.monthly),
            yearly: count(self.yearly),
            min: self.min,
            max: self.max,
        }
    }
}

impl ClassSection {
    /// The contract, under its name.
    pub fn class(self, name: &str) -> Class {
        let ProvenSection { intact, rehydrated, application } = self.proven;
        Class {
            name: name.to_owned(),
            why: self.why,
            owner: self.owner,
            rpo: self.rpo,
            rto: self.rto,
            mtd: self.mtd,
            copies: self.copies,
            failure_domains: self.failure_domains,
            proven: Proven { intact, rehydrated, application },
            retain: self.retain.map(RetainSection::retain),
            rebuild_required: self.rebuild_required,
            suspect: self.suspect.thresholds(),
        }
    }
}

fn one() -> u32 {
    1
}

fn two() -> u32 {
    2
}
