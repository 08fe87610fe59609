//! What is stored that no policy wants: leftovers, strangers, points without a policy.

use super::{facts, policies, proven, zone};
use crate::attest::{self, Reading};
use crate::point::TAG;
use crate::session::{Place, Session};
use recoup_core::Result;
use recoup_core::event::{Finding, Outcome};
use recoup_core::retention::points::plan;
use recoup_repo::prune::{PruneOptions, prune};
use serde::Serialize;

/// What is stored and not wanted, location by location.
#[derive(Clone, Debug, Serialize)]
pub struct SprawlReport {
    /// Location by location.
    pub locations: Vec<Sprawl>,
    /// How it ended.
    #[serde(skip)]
    pub outcome: Outcome,
    /// What was noticed.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// One location.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sprawl {
    /// Its name.
    pub location: String,
    /// Points that count.
    pub points: u64,
    /// Points that the policies want no more; `retention apply` plans them.
    pub unwanted: Vec<String>,
    /// Points with a source that is not declared: nobody said how long they stay.
    pub orphans: Vec<String>,
    /// Points of sources whose class has no `retain`: they stay for ever.
    pub without_policy: Vec<String>,
    /// Points that nobody answers for.
    pub unattested: Vec<String>,
    /// Points that are stated as deleted and are still there.
    pub undeleted: Vec<String>,
    /// Snapshots that stopped runs left.
    pub partial: Vec<String>,
    /// Snapshots of something else.
    pub foreign: Vec<String>,
    /// Bytes in packs that no snapshot needs.
    pub bytes_unused: u64,
}

/// Looks at all locations, or the one that is named.
///
/// # Errors
/// If there is no location, or no state directory. A location that cannot be read is a finding.
pub async fn sprawl(session: &Session, location: Option<&str>) -> Result<SprawlReport> {
    let mut report = SprawlReport { locations: Vec::new(), outcome: Outcome::Pass, findings: Vec::new() };
    for place in session.places(location)? {
        match one(session, &place).await {
            Ok(sprawl) => report.locations.push(sprawl),
            Err(error) if error.stable_code() == Some("E0410") => {}
            Err(error) => {
                report.outcome = Outcome::Unknown;
                report.findings.push(crate::points::unreadable(&place.name, &error));
            }
        }
    }
    Ok(report)
}

async fn one(session: &Session, place: &Place) -> Result<Sprawl> {
    let repo = session.repository(place).await?;
    let mut catalog = session.catalog()?;
    let (listing, history) = attest::list(session, place, &repo, &mut catalog, Reading::New).await?;
    let all: Vec<_> = listing.points.iter().chain(&listing.unattested).cloned().collect();
    let policies = policies(session.config());
    let planned =
        plan(&facts(&all, &proven(&catalog)?), &policies, &[], session.env().now(), &zone(session.config()))?;
    let ids = |points: &[crate::point::Point]| points.iter().map(|p| p.id.clone()).collect::<Vec<_>>();
    let free = |p: &crate::point::Point| {
        let sources = &p.document.sources;
        sources.iter().any(|s| policies.get(&s.name).is_some_and(Option::is_none))
    };
    let gone = history.as_ref().map(|h| &h.judgement.gone);
    let mut orphans: Vec<String> = planned.orphans.into_values().flatten().collect();
    orphans.sort();
    orphans.dedup();
    let snapshots = repo.snapshots().await?.snapshots;
    let is_ours = |s: &recoup_repo::Snapshot| s.tags.iter().any(|t| t == TAG) || s.is_partial();
    let mut options = PruneOptions { dry_run: true, ..PruneOptions::default() };
    options.allow_no_snapshots = true;
    Ok(Sprawl {
        location: place.name.clone(),
        points: listing.points.len() as u64,
        unwanted: planned.delete.into_iter().map(|d| d.id).collect(),
        orphans,
        without_policy: listing.points.iter().filter(|p| free(p)).map(|p| p.id.clone()).collect(),
        undeleted: listing
            .points
            .iter()
            .filter(|p| gone.is_some_and(|g| g.contains(&p.id)))
            .map(|p| p.id.clone())
            .collect(),
        unattested: ids(&listing.unattested),
        partial: listing.partials.iter().map(|(id, _)| id.to_string()).collect(),
        foreign: snapshots.iter().filter(|(_, s)| !is_ours(s)).map(|(id, _)| id.to_string()).collect(),
        bytes_unused: prune(&repo, &options).await?.planned.bytes_unused,
    })
}
