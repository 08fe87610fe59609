//! The second phase: what is due goes.

use super::{ApplyOptions, ApplyReport, Open, Said, by, state_everywhere};
use crate::point::Mirror;
use crate::session::Session;
use recoup_core::attest::Statement;
use recoup_core::event::{Event, Finding, Outcome, Severity};
use recoup_core::units::{ByteSize, counted};
use recoup_core::{Error, Result};
use recoup_repo::forget::{ForgetOptions, forget};
use recoup_repo::prune::{PruneOptions, prune};
use recoup_repo::{Id, Snapshot};
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long to wait for others who hold a repository.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// What was deleted, or would be.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Deleted {
    /// Full ids of the points.
    pub points: Vec<String>,
    /// Location by location.
    pub locations: Vec<LocationDeleted>,
}

/// What was deleted at one location.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LocationDeleted {
    /// Its name.
    pub name: String,
    /// Points that went there.
    pub points: u64,
    /// Snapshots that went.
    pub snapshots: u64,
    /// Bytes that became free, or will once the packs that are marked are deleted.
    pub bytes_freed: u64,
}

/// Deletes `due` at every location that was opened. The statement is at all of them before the first snapshot goes.
pub(super) async fn delete(
    session: &Session,
    open: &mut [Open],
    due: &BTreeSet<String>,
    said: &Said,
    options: &ApplyOptions,
    report: &mut ApplyReport,
) -> Result<()> {
    let present = |id: &&String| open.iter().any(|o| o.listing.points.iter().any(|p| p.id == **id));
    let points: Vec<String> = due.iter().filter(present).cloned().collect();
    let mut leftovers = Vec::new();
    for at in open.iter() {
        leftovers.push(left_of(at).await?);
    }
    if points.is_empty() && leftovers.iter().all(Vec::is_empty) {
        return Ok(());
    }
    report.deleted.points.clone_from(&points);
    if !options.dry_run {
        // A run that was killed between two locations told one of them only.
        even_out(open).await?;
    }
    let unsaid: Vec<String> = points.iter().filter(|id| !said.gone.contains(*id)).cloned().collect();
    if !options.dry_run && !unsaid.is_empty() {
        let concerns = |(_, p): &(&String, &recoup_core::attest::Planned)| !p.points.is_disjoint(due);
        let plans = said.planned.iter().filter(concerns).map(|(hash, _)| hash.clone()).collect();
        let statement = Statement::Deletion { points: unsaid, plans, by: by(session) };
        state_everywhere(session, open, statement).await?;
    }
    for (at, leftovers) in open.iter().zip(leftovers) {
        match at_location(session, at, &points, leftovers, options).await {
            Ok(done) => report.deleted.locations.push(done),
            Err(error) => {
                report.outcome = Outcome::Partial;
                report.findings.push(undeleted(&at.place.name, &error));
            }
        }
    }
    report.waiting.retain(|_, planned| {
        planned.points.retain(|id| options.dry_run || !points.contains(id));
        !planned.points.is_empty()
    });
    Ok(())
}

/// Snapshots of points that are stated as deleted and of which a killed run left a part: those that hold what is
/// stated of them, and no others.
async fn left_of(at: &Open) -> Result<Vec<Id>> {
    let judgement = &at.history.judgement;
    let is_left = |snapshot: &Snapshot| {
        let mirror = snapshot.recoup.clone().and_then(|v| serde_json::from_value::<Mirror>(v).ok());
        mirror.is_some_and(|m| {
            let stated = judgement.points.get(&m.point).and_then(|s| s.trees.get(&m.source));
            judgement.deleted.contains(&m.point)
                && stated == Some(&snapshot.tree.to_string())
                && at.listing.points.iter().all(|p| p.id != m.point)
        })
    };
    let all = at.repo.snapshots().await?.snapshots;
    Ok(all.into_iter().filter(|(_, snapshot)| is_left(snapshot)).map(|(id, _)| id).collect())
}

/// Every location has the statements of the others.
async fn even_out(open: &[Open]) -> Result<()> {
    for from in open {
        for to in open.iter().filter(|to| to.place.name != from.place.name) {
            recoup_repo::attest::copy(&**from.repo.store(), &**to.repo.store()).await?;
        }
    }
    Ok(())
}

async fn at_location(
    session: &Session,
    at: &Open,
    points: &[String],
    leftovers: Vec<Id>,
    options: &ApplyOptions,
) -> Result<LocationDeleted> {
    let here: Vec<_> = at.listing.points.iter().filter(|p| points.contains(&p.id)).collect();
    let snapshots = here.iter().flat_map(|p| p.snapshots.values().copied());
    let ids: Vec<Id> = snapshots.chain(leftovers).collect();
    let mut done = LocationDeleted {
        name: at.place.name.clone(),
        points: here.len() as u64,
        snapshots: ids.len() as u64,
        bytes_freed: 0,
    };
    let (stage, address) = ("delete".to_owned(), format!("location {}", at.place.name));
    session.env().emit(Event::StageStart { stage: stage.clone(), address: address.clone() });
    let began = session.env().clock.monotonic();
    let forgotten =
        forget(&at.repo, &ids, ForgetOptions { dry_run: options.dry_run, lock_wait: LOCK_WAIT }).await?;
    if let Some((_, error)) = forgotten.failed.into_iter().next() {
        return Err(error);
    }
    if !options.keep_data && !options.dry_run {
        let stays = at.listing.points.iter().filter(|p| !points.contains(&p.id));
        let protect = stays.flat_map(|p| p.snapshots.values().copied()).collect();
        let options = PruneOptions { protect, lock_wait: LOCK_WAIT, ..PruneOptions::default() };
        let pruned = prune(&at.repo, &options).await?.done;
        done.bytes_freed = pruned.bytes_marked + pruned.bytes_removed;
    }
    let seconds = session.env().clock.monotonic().saturating_sub(began).as_secs_f64();
    let message = format!("{}, {}", counted(done.points, "point"), ByteSize(done.bytes_freed));
    session.env().emit(Event::StageEnd { stage, address, seconds, outcome: Outcome::Pass, message });
    Ok(done)
}

fn undeleted(place: &str, error: &Error) -> Finding {
    Finding::new(
        "E0669",
        Severity::High,
        format!("location {place}"),
        format!("what is stated as deleted is not all gone there: {error}"),
        "mend this and run `recoup retention apply` again: it goes on where this run stopped",
    )
}
