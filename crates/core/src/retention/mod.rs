//! What to keep: facts in, a plan with no choices left out. Nothing is deleted here.
//!
//! Two policies live side by side. Snapshots of `recoup repo forget` follow the rules of `restic forget`
//! (`forget`). Points of an application follow the [`Retain`] of their sources' classes ([`points`]);
//! [`simulate`] says what such a policy will have kept after some time.
//!
//! The second differs on purpose: it counts only what is attested, orders by the signed sequence before the
//! clock, and never deletes the newest point of a source, the last one that was proven, or what came before a
//! point under suspicion.

mod rules;
mod forget;
mod retain;
mod series;
mod reason;
pub mod points;
pub mod simulate;

pub use forget::{Candidate, Group, GroupBy, Kept, Plan, Policy, plan};
pub use reason::{Reason, words};
pub use retain::{Retain, Rule, shortens};
pub use rules::{Age, Keep};

#[cfg(test)]
mod points_tests;
#[cfg(test)]
mod properties_tests;
