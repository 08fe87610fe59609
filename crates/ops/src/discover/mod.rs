//! `recoup init`: what data does this project have, and what would a first contract for it look like?
//!
//! Facts come in tiers. Tier 0 reads files inside the project and runs nothing ([`look()`]). Tier 1
//! imports the settings in the project's own interpreter and needs consent ([`import`]). Every fact
//! carries its tier and the line it came from. [`propose()`] turns facts into a commented recoup.toml,
//! and [`write()`] writes it once; it never overwrites.

pub mod look;

mod text;

pub mod propose;

mod write;

pub use look::{Django, Fact, FoundFile, Look, Tier, look};
pub use propose::{Answers, Proposal, propose};
pub use write::{Written, write};

use crate::env::Variables;
use crate::probe::{self, Place, Settings};
use recoup_core::{Error, Kind, Result};

/// Imports the project's settings: tier 1. Only with consent, because it runs the project's code.
///
/// # Errors
/// `Kind::NotFound` if there is no settings module or no interpreter; E0830 with the project's own
/// error if the import fails.
pub async fn import(look: &Look, variables: &Variables) -> Result<Settings> {
    let settings = look.django.as_ref().and_then(|django| django.settings.as_deref());
    let settings = settings.ok_or_else(|| {
        Error::new(Kind::NotFound, "find the settings module: manage.py does not name one")
            .hint("declare it as `settings` under [python]")
    })?;
    let interpreter = look.interpreter.as_ref().ok_or_else(|| {
        Error::new(Kind::NotFound, "find a Python interpreter for the project")
            .hint("make a virtual environment in .venv, or activate one")
    })?;
    probe::settings(Place { project: &look.project, settings, interpreter, variables }).await
}
