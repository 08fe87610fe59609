//! Decide first, then do: facts in, a plan with no choices left out.
//!
//! A [`Plan`] is plain data. It is printed before anything runs, its [`Plan::hash`] is what a person
//! confirms, and the executor only follows it. Facts are gathered elsewhere; nothing here reads a file.

mod choose;
mod compat;
mod forecast;
mod order;
mod step;

pub use choose::{Facts, ServiceFact, SourceFact, choose, choose_drill};
pub use compat::{Compat, Heads, Relation, compare};
pub use forecast::{Forecast, Loss};
pub use order::start_order;
pub use step::{Action, Health, Phase, Step};

use crate::canonical;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a plan ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Beside the live data, ready to be promoted.
    Aside,
    /// Into a folder somebody chose; there is nothing to promote.
    Folder,
    /// Into a scratch folder, for a drill; everything is discarded at the end.
    Drill,
}

/// A restore decided down to its last step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Name of the restore or drill, as in `R20261122-140307-5c7e`.
    pub restore: String,
    /// What it ends in.
    pub purpose: Purpose,
    /// The application.
    pub application: String,
    /// Full id of the point.
    pub point: String,
    /// The moment the point stands for.
    pub point_time: Timestamp,
    /// Name of the location it is read from.
    pub location: String,
    /// Where the restored data goes, for people: a folder, or the live target it lies beside.
    pub target: String,
    /// The decision was made at this moment.
    pub decided: Timestamp,
    /// Point against code.
    pub compat: Compat,
    /// What it costs and what it loses.
    pub forecast: Forecast,
    /// In the order in which they run; ids count from 1.
    pub steps: Vec<Step>,
}

impl Plan {
    /// SHA-256 of the canonical JSON, 64 hex digits. Two plans with one hash do the same thing.
    pub fn hash(&self) -> String {
        // Plan holds strings, numbers and lists only, so it always serialises.
        let value = serde_json::to_value(self).unwrap_or_default();
        canonical::hash(&value)
    }

    /// The first four digits of [`Plan::hash`]: what a person types.
    pub fn short_hash(&self) -> String {
        self.hash()[..4].to_owned()
    }

    /// Whether `typed` is a prefix of the hash, at least four digits long.
    pub fn confirmed_by(&self, typed: &str) -> bool {
        canonical::confirms(typed, &self.hash())
    }

    /// The steps of `phase`.
    pub fn phase(&self, phase: Phase) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(move |s| s.phase == phase)
    }

    /// The step `id`.
    pub fn step(&self, id: u32) -> Option<&Step> {
        self.steps.iter().find(|s| s.id == id)
    }

    /// Whether it has a part that changes live data.
    pub fn can_promote(&self) -> bool {
        self.steps.iter().any(|s| s.phase == Phase::Promote)
    }
}
