//! `recoup hold`: a point that must stay, whatever the policy says, and a suspicious one that somebody has looked
//! into. Both are signed statements, so that nobody who can only write to a location can lift a hold.

use crate::attest::{self, Reading};
use crate::audit;
use crate::point::{self, Point};
use crate::session::{Place, Session};
use jiff::Timestamp;
use recoup_core::attest::{Hold, Statement};
use recoup_core::audit::words::{Hex, Name, Reason};
use recoup_core::audit::{Details, Event};
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use serde::Serialize;

/// Longest reason, in characters.
const REASON_CHARS_MAX: usize = 500;

/// What is said of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// It must stay.
    Hold,
    /// It need not stay any more; if it was suspicious, it is not.
    Release,
}

/// What was said, and where it stands now.
#[derive(Clone, Debug, Serialize)]
pub struct HoldReport {
    /// Full id of the point.
    pub point: String,
    /// As in `shop@2026-11-22T08:31:07Z`.
    pub name: String,
    /// Why.
    pub reason: String,
    /// Who said so.
    pub by: String,
    /// The locations that have the statement.
    pub locations: Vec<String>,
    /// How it ended.
    #[serde(skip)]
    pub outcome: Outcome,
    /// Locations that do not have it yet.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// A point that is held, or suspicious.
#[derive(Clone, Debug, Serialize)]
pub struct Held {
    /// Full id of the point.
    pub point: String,
    /// As in `shop@2026-11-22T08:31:07Z`.
    pub name: String,
    /// The moment it stands for.
    pub time: Timestamp,
    /// Why it is held.
    pub holds: Vec<Hold>,
    /// Why it is suspicious.
    pub suspicions: Vec<String>,
}

/// Says that a point must stay, or need not any more, at every location.
///
/// # Errors
/// `Kind::Config` `E0602` for a reason that is empty or too long; `Kind::NotFound` if there is no such point,
/// `E0823` if nothing can be signed here; as the first location says.
pub async fn say(session: &Session, what: Say, point: &str, reason: &str) -> Result<HoldReport> {
    let reason = sound(reason)?;
    let host = &session.env().host;
    let by = format!("{}@{}", host.username, host.hostname);
    let _lock = session.exclusive("backup")?;
    let (place, found) = locate(session, point).await?;
    let statement = match what {
        Say::Hold => Statement::Hold { point: found.id.clone(), reason: reason.clone(), by: by.clone() },
        Say::Release => {
            Statement::Release { point: found.id.clone(), reason: reason.clone(), by: by.clone() }
        }
    };
    let repository = session.repository(&place).await?.id().to_owned();
    let unsigned = || {
        Error::new(
            Kind::Config,
            "hold a point: the application signs nothing, so nobody could tell who said so",
        )
        .code("E0823")
        .effect("nothing was changed")
        .hint("`recoup keys add signing` makes a signing key")
    };
    let details = Details {
        point: Hex::of(&found.id),
        verb: Some(Name::of(if what == Say::Hold { "hold-add" } else { "hold-release" })),
        reason: Some(Reason::of(&reason)),
        ..Details::default()
    };
    audit::record(session, Event::Hold, None, details).await?;
    let history = attest::look(session, &place, &repository, Reading::New).await?;
    attest::state(session, &place, &mut history.ok_or_else(unsigned)?, statement).await?;
    let mut report = HoldReport {
        point: found.id.clone(),
        name: found.name(),
        reason,
        by,
        locations: vec![place.name.clone()],
        outcome: Outcome::Pass,
        findings: Vec::new(),
    };
    for other in session.places(None)?.into_iter().filter(|p| p.name != place.name) {
        match spread(session, &place, &other, &repository).await {
            Ok(()) => report.locations.push(other.name),
            Err(error) => {
                report.outcome = Outcome::Partial;
                report.findings.push(behind(&other.name, &error));
            }
        }
    }
    Ok(report)
}

/// The points that are held or suspicious, oldest first.
///
/// # Errors
/// As [`crate::points::points`].
pub async fn list(session: &Session, location: Option<&str>) -> Result<(Vec<Held>, Vec<Finding>)> {
    let (all, findings) = crate::points::survey(session, location).await?;
    let mut held: Vec<Held> = Vec::new();
    for point in all.iter().flat_map(|at| &at.points) {
        let suspicions = point.suspicions();
        let is_new = held.iter().all(|h| h.point != point.id);
        if is_new && !(point.held.is_empty() && suspicions.is_empty()) {
            let (id, name, time) = (point.id.clone(), point.name(), point.document.time);
            held.push(Held { point: id, name, time, holds: point.held.clone(), suspicions });
        }
    }
    held.sort_by_key(|h| h.time);
    Ok((held, findings))
}

/// A reason as it is kept: not empty, not long, without characters that play tricks on a terminal.
pub(crate) fn sound(reason: &str) -> Result<String> {
    let reason = reason.trim();
    let bad = |why: &str| Error::new(Kind::Config, format!("note a reason: {why}")).code("E0602");
    match reason.chars().count() {
        0 => Err(bad("it is empty").hint("somebody will want to know in a year: write why")),
        n if n > REASON_CHARS_MAX => Err(bad("it is longer than 500 characters")),
        _ => Ok(escape(reason.as_bytes())),
    }
}

/// The first location that has the point, and the point.
async fn locate(session: &Session, wanted: &str) -> Result<(Place, Point)> {
    let moment = session.moment(Some(wanted))?;
    let mut missing = None;
    for place in session.places(None)? {
        let repo = match session.repository(&place).await {
            Ok(repo) => repo,
            Err(error) => {
                missing = Some(error);
                continue;
            }
        };
        let mut catalog = session.catalog()?;
        let (listing, _) = attest::list(session, &place, &repo, &mut catalog, Reading::New).await?;
        match point::find_with(&listing.points, &listing.unattested, &moment) {
            Ok(point) => return Ok((place, point.clone())),
            Err(error) => missing = Some(error),
        }
    }
    Err(missing.unwrap_or_else(|| Error::new(Kind::NotFound, "find the point").code("E0601")))
}

async fn spread(session: &Session, from: &Place, to: &Place, repository: &str) -> Result<()> {
    // Only where the repository is: a location without one gets everything with its first copy.
    session.repository(to).await?;
    recoup_repo::attest::copy(&*session.store(from), &*session.store(to)).await?;
    attest::look(session, to, repository, Reading::New).await.map(drop)
}

fn behind(place: &str, error: &Error) -> Finding {
    Finding::new(
        "R0116",
        Severity::Warning,
        format!("location {place}"),
        format!("does not have the statement yet: {error}"),
        "the next `recoup backup` brings it there",
    )
}
