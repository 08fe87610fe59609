//! `recoup retention apply`: deletes what the policies do not want, in two phases.
//!
//! 1. every location is listed and held against its signed history; one that is in trouble stops everything
//! 2. the clock is doubted; the policies are followed by `recoup_core::retention::points`
//! 3. what no policy wants any more is *planned*: a signed statement names the points and a day. Nothing else
//!    changes; the points are there, can be restored, and `retention undo` keeps them
//! 4. what was planned, is due, and is still not wanted, is *deleted*: first the statement, at every location that
//!    can be reached, then the snapshots, then the data that nothing else needs
//!
//! A policy that nobody has confirmed, or that keeps less than the confirmed one, is confirmed by the hash of what it
//! would delete. Every step can be repeated: a run that was killed is finished by the next one.

mod deed;

pub use deed::{Deleted, LocationDeleted};

use super::{each_once, facts, noticed_in, policies, proven, zone};
use crate::attest::{self, History, Reading};
use crate::audit::{self as audit_log, Reported, Told, Trail};
use crate::clock;
use crate::point::Listing;
use crate::session::{Place, Session};
use jiff::Timestamp;
use recoup_core::attest::{Planned, Statement};
use recoup_core::audit::words::{Hex, Name, Reason};
use recoup_core::audit::{self, Details};
use recoup_core::canonical;
use recoup_core::event::{Finding, Outcome, Severity};
use recoup_core::name::escape;
use recoup_core::retention::Retain;
use recoup_core::retention::points::{self, Doubt, Policies, RetentionPlan};
use recoup_core::units::Span;
use recoup_core::{Error, Kind, Result};
use recoup_repo::repository::Repository;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a planned deletion can be undone if nothing else is said.
pub const GRACE: Duration = Duration::from_secs(7 * 86_400);

/// How to apply the policies.
#[derive(Clone, Debug, Default)]
pub struct ApplyOptions {
    /// Only say what would be done.
    pub dry_run: bool,
    /// The start of the hash of a plan that was shown.
    pub confirm: Option<String>,
    /// How long the deletion can be undone; [`GRACE`] if `None`.
    pub grace: Option<Span>,
    /// Delete the snapshots and leave the data to a later prune.
    pub keep_data: bool,
    /// Delete although the clock is in doubt. The doubts are still told.
    pub trust_clock: bool,
}

/// What applying the policies came to.
#[derive(Clone, Debug, Serialize)]
pub struct ApplyReport {
    /// What the policies say of each point, over all locations.
    pub plan: RetentionPlan,
    /// Points that no policy wants and that were not planned before.
    pub new: Vec<String>,
    /// SHA-256 over these points and the policies: what `--confirm` wants.
    pub hash: String,
    /// Whether the plan must be confirmed, and why.
    pub must_confirm: Option<String>,
    /// When the points that are planned now may go; none if nothing is.
    pub due: Option<Timestamp>,
    /// Deletions that can still be undone, by the hash of their plan.
    pub waiting: BTreeMap<String, Planned>,
    /// What was deleted, or with a dry run would be.
    pub deleted: Deleted,
    /// Whether nothing was changed on purpose.
    pub dry_run: bool,
    /// How it ended.
    #[serde(skip)]
    pub outcome: Outcome,
    /// What was noticed.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

impl ApplyReport {
    /// What the audit log keeps before anything is done.
    fn intended(&self, due: usize) -> Details {
        Details {
            plan: Hex::of(&self.hash),
            points: Some((self.new.len() + due) as u64),
            ..Details::default()
        }
    }
}

impl Reported for ApplyReport {
    fn told(&self) -> Told {
        let details = Details {
            plan: Hex::of(&self.hash),
            points: Some(self.deleted.points.len() as u64),
            bytes: Some(self.deleted.locations.iter().map(|l| l.bytes_freed).sum()),
            locations: self.deleted.locations.iter().map(|l| Name::of(&l.name)).collect(),
            ..Details::default()
        };
        Told { run: String::new(), outcome: self.outcome, details, proven: Vec::new() }
    }

    fn findings(&mut self) -> &mut Vec<Finding> {
        &mut self.findings
    }
}

/// A location that could be read.
pub(super) struct Open {
    pub(super) place: Place,
    pub(super) repo: Repository,
    pub(super) listing: Listing,
    pub(super) history: History,
}

/// Applies the policies.
///
/// # Errors
/// `Kind::Refused`: `E0661` for a policy that wants nothing, `E0666` if the signed history of a location is in
/// trouble, `E0667` if the plan must be confirmed and was not; `E0823` if nothing can be signed here.
pub async fn apply(session: &Session, options: &ApplyOptions) -> Result<ApplyReport> {
    let mut trail = Trail::new(session, audit::Event::Deletion);
    let done = unrecorded(session, options, &mut trail).await;
    if options.dry_run {
        return done;
    }
    trail.end(done).await
}

async fn unrecorded(session: &Session, options: &ApplyOptions, trail: &mut Trail<'_>) -> Result<ApplyReport> {
    let _lock = session.exclusive("backup")?;
    let (mut open, mut findings) = open_all(session).await?;
    let now = session.env().now();
    let mut stops = clock::doubts(session, open.iter().map(|o| &o.history), options.trust_clock)?;
    if options.trust_clock {
        findings.extend(stops.drain(..).map(|doubt| overridden(session.app(), &doubt)));
    }
    stops.extend(unseen_suspects(&open));
    let policies = policies(session.config());
    let all = each_once(open.iter().flat_map(|o| o.listing.points.iter().chain(&o.listing.unattested)));
    let plan = points::plan(
        &facts(&all, &proven(&session.catalog()?)?),
        &policies,
        &stops,
        now,
        &zone(session.config()),
    )?;
    findings.extend(noticed_in(session.app(), &plan));
    let unwanted: BTreeSet<String> = plan.delete.iter().map(|d| d.id.clone()).collect();
    let said = Said::of(&open);
    let new: Vec<String> =
        unwanted.iter().filter(|id| !said.is_planned(id) && !said.gone.contains(*id)).cloned().collect();
    let due: BTreeSet<String> = unwanted.into_iter().filter(|id| said.is_due(id, now)).collect();
    let text = policy_text(&policies);
    let hash = hash(&new, &text);
    let must_confirm = if new.is_empty() { None } else { said.unconfirmed(&policies) };
    let mut report = ApplyReport {
        plan,
        new,
        hash,
        must_confirm,
        due: None,
        waiting: said.planned.clone(),
        deleted: Deleted::default(),
        dry_run: options.dry_run,
        outcome: if findings.iter().any(|f| f.severity == Severity::High) {
            Outcome::Partial
        } else {
            Outcome::Pass
        },
        findings,
    };
    if !report.plan.stopped_by.is_empty() {
        report.outcome = Outcome::Refused;
    }
    confirmed(&report, options)?;
    let does_something = !report.new.is_empty() || !due.is_empty();
    if does_something && !options.dry_run {
        trail.intent(&session.run_id('T'), report.intended(due.len())).await?;
    }
    if !report.new.is_empty() && !options.dry_run {
        let grace = options.grace.map_or(GRACE, |span| span.0);
        let at = later(now, grace);
        let planned = Statement::Planned {
            points: report.new.clone(),
            plan: report.hash.clone(),
            policies: text,
            due: at,
            by: by(session),
        };
        state_everywhere(session, &mut open, planned).await?;
        report.due = Some(at);
        report.waiting = Said::of(&open_all(session).await?.0).planned;
    }
    deed::delete(session, &mut open, &due, &said, options, &mut report).await?;
    Ok(report)
}

/// Keeps the points of a planned deletion: they are held from now on.
///
/// # Errors
/// `Kind::NotFound` `E0668` if no such deletion is planned; as [`apply`].
pub async fn undo(session: &Session, plan: &str, reason: &str) -> Result<Planned> {
    let reason = crate::hold::sound(reason)?;
    let _lock = session.exclusive("backup")?;
    let (mut open, _) = open_all(session).await?;
    let planned = Said::of(&open).planned;
    let found: Vec<_> =
        planned.iter().filter(|(hash, _)| plan.len() >= 4 && hash.starts_with(plan)).collect();
    let [(hash, undone)] = found.as_slice() else {
        let known: Vec<&str> = planned.keys().map(|h| canonical::short(h)).collect();
        return Err(Error::new(Kind::NotFound, "undo a deletion: no such one is planned")
            .with("plan", escape(plan.as_bytes()))
            .code("E0668")
            .effect("nothing was changed")
            .hint(match known.as_slice() {
                [] => "nothing is planned; what was deleted is gone from this location".to_owned(),
                some => format!("planned: {}", some.join(", ")),
            }));
    };
    let (hash, undone) = ((*hash).clone(), (*undone).clone());
    let (plan, points) = (Hex::of(&hash), Some(undone.points.len() as u64));
    let details = Details { plan, points, reason: Some(Reason::of(&reason)), ..Details::default() };
    audit_log::record(session, audit::Event::Hold, None, details).await?;
    state_everywhere(session, &mut open, Statement::Undone { plan: hash, reason, by: by(session) }).await?;
    Ok(undone)
}

/// Says that somebody has looked into points that are gone although nobody deleted them.
///
/// # Errors
/// `Kind::NotFound` `E0668` if the point is not missed; as [`apply`].
pub async fn lost(session: &Session, point: &str, reason: &str) -> Result<Vec<String>> {
    let reason = crate::hold::sound(reason)?;
    let _lock = session.exclusive("backup")?;
    let mut open = open_anyway(session).await?.0;
    let there: BTreeSet<String> = open.iter().flat_map(|o| &o.listing.points).map(|p| p.id.clone()).collect();
    let missed = |o: &Open| -> Vec<String> {
        let present = o.listing.points.iter().map(|p| p.id.as_str()).collect();
        o.history.judgement.missing(&present).map(|(id, _)| id.to_owned()).collect()
    };
    let points: BTreeSet<String> = open
        .iter()
        .flat_map(missed)
        .filter(|id| point.len() >= 4 && id.starts_with(point) && !there.contains(id))
        .collect();
    if points.is_empty() {
        return Err(Error::new(Kind::NotFound, "accept the loss of a point: it is not missed everywhere")
            .with("point", escape(point.as_bytes()))
            .code("E0668")
            .effect("nothing was changed")
            .hint(
                "a point that another location has is not lost; `recoup verify` names those that are missed",
            ));
    }
    let points: Vec<String> = points.into_iter().collect();
    let number = Some(points.len() as u64);
    let details = Details { points: number, reason: Some(Reason::of(&reason)), ..Details::default() };
    audit_log::record(session, audit::Event::Approval, None, details).await?;
    let statement = Statement::Loss { points: points.clone(), reason, by: by(session) };
    state_everywhere(session, &mut open, statement).await?;
    Ok(points)
}

/// What the statements at all locations come to.
pub(super) struct Said {
    pub(super) planned: BTreeMap<String, Planned>,
    pub(super) gone: BTreeSet<String>,
    policies: Option<String>,
}

impl Said {
    fn of(open: &[Open]) -> Self {
        let mut said = Said { planned: BTreeMap::new(), gone: BTreeSet::new(), policies: None };
        let undone = |plan: &str, o: &Open| !o.history.judgement.planned.contains_key(plan);
        for at in open {
            let judgement = &at.history.judgement;
            said.gone.extend(judgement.gone.iter().cloned());
            // A location that heard of an undoing keeps the points, whatever the others have not heard yet.
            let still =
                |(plan, _): &(&String, &Planned)| !open.iter().any(|o| o.knows(plan) && undone(plan, o));
            let planned = judgement.planned.iter().filter(still);
            said.planned.extend(planned.map(|(plan, p)| (plan.clone(), p.clone())));
            said.policies = said.policies.or_else(|| judgement.policies.clone());
        }
        said
    }

    fn is_planned(&self, id: &str) -> bool {
        self.planned.values().any(|p| p.points.contains(id))
    }

    /// Planned and due, or stated as deleted where it could not be reached then.
    fn is_due(&self, id: &str, now: Timestamp) -> bool {
        self.gone.contains(id) || self.planned.values().any(|p| p.due <= now && p.points.contains(id))
    }

    /// Why somebody must confirm these policies, if so.
    fn unconfirmed(&self, policies: &Policies) -> Option<String> {
        let Some(text) = &self.policies else {
            return Some("nothing was ever deleted by these policies".into());
        };
        let Ok(before) = serde_json::from_str::<Policies>(text) else {
            return Some("the policies that were confirmed cannot be read".into());
        };
        let shorter = |(source, now): (&String, &Option<Retain>)| match (before.get(source), now) {
            (_, None) => None,
            (Some(Some(before)), Some(now)) if !now.shortens(before) => None,
            (Some(Some(_)), Some(_)) => {
                Some(format!("the policy of {source} keeps less than the confirmed one"))
            }
            (_, Some(_)) => Some(format!("the policy of {source} was never confirmed")),
        };
        policies.iter().find_map(shorter)
    }
}

impl Open {
    /// Whether the history at this location has heard of a plan at all.
    fn knows(&self, plan: &str) -> bool {
        self.history
            .statements()
            .any(|s| matches!(&s.statement, Statement::Planned { plan: p, .. } if p == plan))
    }
}

/// What lies beyond the calendar never comes: too long a time is no short one.
fn later(now: Timestamp, span: Duration) -> Timestamp {
    let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(now.as_second().saturating_add(seconds)).unwrap_or(Timestamp::MAX)
}

/// A suspicious point that no location shows that can be read now: what came before it must stay all the same.
fn unseen_suspects(open: &[Open]) -> Vec<Doubt> {
    let shown = |id: &String| open.iter().any(|o| o.listing.points.iter().any(|p| p.id == *id));
    let known: BTreeMap<&String, &Vec<String>> =
        open.iter().flat_map(|o| &o.history.judgement.suspects).filter(|(id, _)| !shown(id)).collect();
    let doubt = |(id, why): (&String, &Vec<String>)| Doubt {
        code: "R0120".to_owned(),
        why: format!(
            "point {} is suspicious ({}), and no location that can be read has it",
            escape(canonical::short(id).as_bytes()),
            escape(why.join("; ").as_bytes()),
        ),
    };
    known.into_iter().map(doubt).collect()
}

fn overridden(app: &str, doubt: &Doubt) -> Finding {
    Finding::new(
        "E0665",
        Severity::Warning,
        app,
        format!("the clock is in doubt, and is trusted because somebody said so: {}", doubt.why),
        "set the clock right if it is wrong, and `recoup retention undo` what was planned by it",
    )
}

fn confirmed(report: &ApplyReport, options: &ApplyOptions) -> Result<()> {
    let Some(why) = &report.must_confirm else { return Ok(()) };
    let fits = options.confirm.as_deref().is_some_and(|typed| canonical::confirms(typed, &report.hash));
    if options.dry_run || fits {
        return Ok(());
    }
    let short = canonical::short(&report.hash);
    Err(Error::new(Kind::Refused, format!("delete points: {why}"))
        .with("points", report.new.len())
        .code("E0667")
        .effect("nothing was planned and nothing was deleted")
        .hint(format!(
            "`recoup retention apply --dry-run` shows them; then `recoup retention apply --confirm {short}`"
        )))
}

fn hash(new: &[String], policies: &str) -> String {
    canonical::hash(&serde_json::json!({ "delete": new, "policies": policies }))
}

fn policy_text(policies: &Policies) -> String {
    canonical::canonical_json(&serde_json::to_value(policies).unwrap_or_default())
}

fn by(session: &Session) -> String {
    format!("{}@{}", session.env().host.username, session.env().host.hostname)
}

/// Opens all locations; those that cannot be read now are findings, those whose history is in trouble stop it all.
async fn open_all(session: &Session) -> Result<(Vec<Open>, Vec<Finding>)> {
    let (open, findings) = open_anyway(session).await?;
    if let Some(trouble) = findings.iter().find(|f| attest::is_about_trust(f) && f.severity == Severity::High)
    {
        return Err(Error::new(
            Kind::Refused,
            format!("delete points while {} is in trouble", trouble.address),
        )
        .with("because", &trouble.message)
        .code("E0666")
        .effect("nothing was planned and nothing was deleted")
        .hint(&trouble.fix));
    }
    Ok((open, findings))
}

async fn open_anyway(session: &Session) -> Result<(Vec<Open>, Vec<Finding>)> {
    let mut open = Vec::new();
    let mut findings = Vec::new();
    for place in session.places(None)? {
        match one(session, place.clone()).await {
            Ok(Some(at)) => {
                findings.extend(at.listing.findings.iter().cloned());
                open.push(at);
            }
            Ok(None) => {
                return Err(Error::new(
                    Kind::Config,
                    "delete points by a policy: the application signs nothing",
                )
                .code("E0823")
                .effect("nothing was planned and nothing was deleted")
                .hint("`recoup keys add signing` makes a signing key; deletions are signed statements"));
            }
            Err(error) if error.stable_code() == Some("E0410") => {}
            Err(error) => findings.push(crate::points::unreadable(&place.name, &error)),
        }
    }
    Ok((open, findings))
}

async fn one(session: &Session, place: Place) -> Result<Option<Open>> {
    let repo = session.repository(&place).await?;
    let mut catalog = session.catalog()?;
    let (listing, history) = attest::list(session, &place, &repo, &mut catalog, Reading::New).await?;
    Ok(history.map(|history| Open { place, repo, listing, history }))
}

/// Signs a statement at the first location and brings it to the others, before anything follows from it.
pub(super) async fn state_everywhere(
    session: &Session,
    open: &mut [Open],
    statement: Statement,
) -> Result<()> {
    let Some((first, others)) = open.split_first_mut() else {
        return Err(
            Error::new(Kind::Unavailable, "sign a statement: no location can be reached").code("E0640")
        );
    };
    attest::state(session, &first.place, &mut first.history, statement).await?;
    for other in others {
        recoup_repo::attest::copy(&**first.repo.store(), &**other.repo.store()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_too_long_is_no_short_one() {
        let now: Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
        assert_eq!(later(now, GRACE).to_string(), "2026-12-06T12:00:00Z");
        assert_eq!(later(now, Duration::MAX), Timestamp::MAX);
        assert_eq!(later(now, Duration::from_secs(400_000_000_000)), Timestamp::MAX);
    }
}
