//! The deletion log: what was planned, undone, deleted and lost, as it was signed.

use crate::attest::{self, Reading};
use crate::session::Session;
use jiff::Timestamp;
use recoup_core::Result;
use recoup_core::attest::{Attestation, Statement};
use recoup_core::event::Finding;
use serde::Serialize;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When it was signed.
    pub time: Timestamp,
    /// `planned`, `undone`, `deleted` or `lost`.
    pub what: &'static str,
    /// Hashes of the plans.
    pub plans: Vec<String>,
    /// Full ids of the points; none for what was undone.
    pub points: Vec<String>,
    /// Who said so.
    pub by: String,
    /// The reason, or the day it is due.
    pub said: String,
}

/// The log of all locations, or of the one that is named, oldest first.
///
/// # Errors
/// If there is no location, or the state directory cannot be read. A location that cannot be read is a finding.
pub async fn log(session: &Session, location: Option<&str>) -> Result<(Vec<Entry>, Vec<Finding>)> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut findings = Vec::new();
    for place in session.places(location)? {
        let looked = match session.repository(&place).await {
            Ok(repo) => attest::look(session, &place, repo.id(), Reading::New).await,
            Err(error) => Err(error),
        };
        match looked {
            Ok(Some(history)) => {
                for entry in history.statements().filter_map(entry) {
                    if !entries.contains(&entry) {
                        entries.push(entry);
                    }
                }
            }
            Ok(None) => {}
            Err(error) if error.stable_code() == Some("E0410") => {}
            Err(error) => findings.push(crate::points::unreadable(&place.name, &error)),
        }
    }
    entries.sort_by_key(|e| e.time);
    Ok((entries, findings))
}

fn entry(says: &Attestation) -> Option<Entry> {
    let (what, plans, points, by, said) = match &says.statement {
        Statement::Planned { points, plan, due, by, .. } => {
            ("planned", vec![plan.clone()], points.clone(), by, format!("due {due}"))
        }
        Statement::Undone { plan, reason, by } => {
            ("undone", vec![plan.clone()], Vec::new(), by, reason.clone())
        }
        Statement::Deletion { points, plans, by } => {
            ("deleted", plans.clone(), points.clone(), by, String::new())
        }
        Statement::Loss { points, reason, by } => ("lost", Vec::new(), points.clone(), by, reason.clone()),
        Statement::Begin { .. }
        | Statement::Point(_)
        | Statement::Hold { .. }
        | Statement::Release { .. } => {
            return None;
        }
    };
    Some(Entry { time: says.time, what, plans, points, by: by.clone(), said })
}
