//! What recoup decides: plans, journals, contracts and outcomes.
//! It never does: no file, no clock, no randomness, no network is touched here.
//!
//! # Glossary
//!
//! The order of the modules is the floor order: a module uses only modules above it.
//!
//! * **application**: what one `recoup.toml` describes. **source**: one kind of live data.
//! * **point**: a restorable moment of a consistency set; one restic snapshot with positions and provenance.
//! * **plan**: a restore decided down to its last step, with a hash. **journal**: what it has done so far.
//! * **promote**, **rollback**: the one atomic switch to the restored data, and the switch back.
//! * **drill**: a timed restore with checks. **finding**: a stable code, a severity, a fix.
//! * **ladder**: A0 declared to A6 exercised; what is known of a copy, each rung with its age.

pub mod canonical;
pub mod code;
pub mod error;
pub mod event;
pub mod name;
pub mod entry;
pub mod env;
pub mod secret;
pub mod units;
pub mod retention;

pub mod crypto;
pub mod attest;
pub mod clock;
pub mod audit;

pub mod verdict;

pub mod suspicion;
pub mod class;
pub mod schedule;

pub mod plan;
pub mod journal;
pub mod ladder;
pub mod moment;
pub use error::{Error, Kind, Result};
