//! The ladder: what is known of a source's copy at a location, from A0 declared to A6 exercised, each
//! rung with its age. Unknown is never a rung climbed.

use crate::event::Outcome;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The rungs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rung {
    /// It stands in the configuration.
    #[serde(rename = "A0")]
    Declared,
    /// A capture ended with its proof of completeness.
    #[serde(rename = "A1")]
    Captured,
    /// The point is durable at the location and was read back.
    #[serde(rename = "A2")]
    Stored,
    /// Every byte at the location was read and hashed again.
    #[serde(rename = "A3")]
    Intact,
    /// It was restored and proved with the source's own means.
    #[serde(rename = "A4")]
    Rehydrated,
    /// The application ran on the restored data.
    #[serde(rename = "A5")]
    ApplicationProven,
    /// People did it, in a drill with a scenario.
    #[serde(rename = "A6")]
    Exercised,
}

impl Rung {
    /// All rungs from below.
    pub const ALL: [Rung; 7] = [
        Rung::Declared,
        Rung::Captured,
        Rung::Stored,
        Rung::Intact,
        Rung::Rehydrated,
        Rung::ApplicationProven,
        Rung::Exercised,
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Rung::Declared => "declared",
            Rung::Captured => "captured",
            Rung::Stored => "stored",
            Rung::Intact => "intact",
            Rung::Rehydrated => "rehydrated",
            Rung::ApplicationProven => "application-proven",
            Rung::Exercised => "exercised",
        }
    }
}

impl fmt::Display for Rung {
    /// As in `A4 rehydrated`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "A{} {}", *self as u8, self.word())
    }
}

/// Something that was tried, with what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Which rung it speaks of.
    pub rung: Rung,
    /// What came of it.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
    /// Where it is written down, as in `drill D20261122-1405`.
    pub by: String,
}

/// One rung with what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The rung.
    pub rung: Rung,
    /// `Pass`, `Fail`, or `Unknown` if nobody tried or nobody could tell.
    pub outcome: Outcome,
    /// Age of the newest evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// Where it is written down.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub by: String,
}

/// Where a source stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ladder {
    /// The highest rung that holds.
    pub level: Rung,
    /// Age of its evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// The lowest rung whose newest evidence is bad, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<Rung>,
    /// All rungs from below.
    pub rungs: Vec<Step>,
}

/// Climbs. The newest evidence of a rung counts. A rung holds if its newest evidence passed and no
/// rung at or below it has failed since; a gap in between does not hurt, because proof of a higher rung
/// went through the lower ones. A0 always holds.
pub fn climb(evidence: &[Evidence], now: Timestamp) -> Ladder {
    let newest = |rung: Rung| evidence.iter().filter(|e| e.rung == rung).max_by_key(|e| e.at);
    let age = |at: Timestamp| u64::try_from(now.as_second() - at.as_second()).unwrap_or(0);
    let mut level = Rung::Declared;
    let mut rungs = Vec::new();
    for rung in Rung::ALL {
        let found = newest(rung);
        rungs.push(Step {
            rung,
            outcome: match found {
                None if rung == Rung::Declared => Outcome::Pass,
                None => Outcome::Unknown,
                Some(e) => e.outcome,
            },
            age_seconds: found.map(|e| age(e.at)),
            by: found.map(|e| e.by.clone()).unwrap_or_default(),
        });
        let Some(own) = found.filter(|e| e.outcome == Outcome::Pass) else { continue };
        let failed_since = Rung::ALL
            .iter()
            .filter(|r| **r <= rung)
            .filter_map(|r| newest(*r))
            .any(|e| e.outcome == Outcome::Fail && e.at >= own.at);
        if !failed_since {
            level = rung;
        }
    }
    let broken = rungs.iter().find(|s| s.outcome == Outcome::Fail).map(|s| s.rung);
    let age_seconds = rungs.iter().find(|s| s.rung == level).and_then(|s| s.age_seconds);
    Ladder { level, age_seconds, broken, rungs }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(rung: Rung, outcome: Outcome, second: i64) -> Evidence {
        Evidence { rung, outcome, at: Timestamp::from_second(second).unwrap(), by: "test".into() }
    }

    fn at(evidence: &[Evidence]) -> Ladder {
        climb(evidence, Timestamp::from_second(1000).unwrap())
    }

    #[test]
    fn nothing_known_is_declared_and_unknown_above() {
        let ladder = at(&[]);
        assert_eq!((ladder.level, ladder.broken), (Rung::Declared, None));
        assert!(ladder.rungs[1..].iter().all(|s| s.outcome == Outcome::Unknown));
    }

    #[test]
    fn unknown_never_climbs_and_failure_pulls_down() {
        let mut known =
            vec![seen(Rung::Stored, Outcome::Pass, 100), seen(Rung::Rehydrated, Outcome::Unknown, 200)];
        assert_eq!(at(&known).level, Rung::Stored);
        known.push(seen(Rung::Rehydrated, Outcome::Pass, 300));
        assert_eq!((at(&known).level, at(&known).age_seconds), (Rung::Rehydrated, Some(700)));
        known.push(seen(Rung::Intact, Outcome::Fail, 400));
        assert_eq!((at(&known).level, at(&known).broken), (Rung::Stored, Some(Rung::Intact)));
        known.push(seen(Rung::Rehydrated, Outcome::Pass, 500));
        assert_eq!(at(&known).level, Rung::Rehydrated, "a newer proof goes through the lower rungs");
    }
}
