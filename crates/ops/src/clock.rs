//! The clock of this machine, remembered from run to run (`recoup_core::clock`).

use crate::attest::History;
use crate::session::Session;
use recoup_core::clock::{Facts, Seen, doubts as judge};
use recoup_core::retention::points::Doubt;
use recoup_core::{Error, Result};
use recoup_store::local::durable;
use std::path::PathBuf;

/// Why nothing should be deleted now. What the clock shows is remembered for the next time, unless it is in doubt
/// and nobody said that it `is_trusted` all the same.
///
/// # Errors
/// If the state directory cannot be written.
pub(crate) fn doubts<'h>(
    session: &Session,
    histories: impl Iterator<Item = &'h History>,
    is_trusted: bool,
) -> Result<Vec<Doubt>> {
    let config = session.config();
    let newest = histories.filter_map(|h| h.judgement.heads.values().map(|head| head.time).max()).max();
    let now = seen(session);
    let last = read(session);
    let found = judge(&Facts {
        now: &now,
        last: last.as_ref(),
        newest,
        every: config.sources.values().filter_map(|s| config.class_of(s)?.rpo).min(),
        locations: &[],
    });
    if found.is_empty() || is_trusted {
        write(session, &now)?;
    }
    Ok(found)
}

fn seen(session: &Session) -> Seen {
    let clock = &session.env().clock;
    let (boot, since_boot) = clock.since_boot().unwrap_or_default();
    Seen { wall: session.env().now(), boot, since_boot }
}

fn file(session: &Session) -> PathBuf {
    session.state().join("clock.json")
}

fn read(session: &Session) -> Option<Seen> {
    serde_json::from_slice(&std::fs::read(file(session)).ok()?).ok()
}

fn write(session: &Session, seen: &Seen) -> Result<()> {
    let text = serde_json::to_vec(seen).map_err(|e| Error::bug("write down the clock").caused_by(e))?;
    durable::create_dir_all(session.state(), 0o700)?;
    durable::write(&file(session), &text, 0o600)
}
