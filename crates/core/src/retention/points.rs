//! Which points of an application stay. It decides and never deletes.
//!
//! A point has several sources, and each source is a series of its own, judged by the policy of its class. A
//! point stays while any of them wants it. Whatever the policies say, these stay, each with its reason:
//!
//! * the newest point of each source, and the newest that is complete;
//! * the last point of each source from which a restore or a drill passed;
//! * what somebody holds; what is under suspicion, and all that came before it;
//! * what nobody vouches for, and what is dated later than now: neither takes the place of another point;
//! * points with a source that the configuration does not know.
//!
//! Planning again on what a plan keeps deletes nothing more, and a policy that keeps more never deletes more.

use super::reason::Reason;
use super::retain::Retain;
use super::series::{Entry, Rules, judge, order};
use crate::{Error, Kind, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Whether somebody vouches for a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attested {
    /// Yes: its attestation is there and good.
    Yes,
    /// No: the application signs its points, and this one has no good attestation.
    No,
    /// The application signs nothing.
    NoKey,
}

/// A point as the planner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointFacts {
    /// Full id.
    pub id: String,
    /// The moment it stands for.
    pub time: Timestamp,
    /// Its number among the points of the application, if that is signed. It goes before the time.
    pub sequence: Option<u64>,
    /// Whether somebody vouches for it.
    pub attested: Attested,
    /// Names of its sources.
    pub sources: Vec<String>,
    /// Why it is held, once for each hold.
    pub held: Vec<String>,
    /// When a restore or a drill passed on it for the last time, by the name of the source that was restored.
    pub proven: BTreeMap<String, Timestamp>,
    /// What is suspicious about it, while that is not settled.
    pub suspect: Option<String>,
    /// Whether all of it was captured.
    pub complete: bool,
}

/// A reason to delete nothing at the moment, as a clock that cannot be trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// Stable code.
    pub code: String,
    /// One sentence.
    pub why: String,
}

/// The policies by name of the source. `None` is a source whose class has none: all of it stays. A source that is
/// not here is one that the configuration does not know.
pub type Policies = BTreeMap<String, Option<Retain>>;

/// What stays and what goes. Each point stands in exactly one of the two lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionPlan {
    /// What stays, newest first.
    pub keep: Vec<Kept>,
    /// What goes, newest first.
    pub delete: Vec<Deleted>,
    /// Sources that the configuration does not know, with the points that stay because of them.
    pub orphans: BTreeMap<String, Vec<String>>,
    /// Points dated later than now: they stay and count for nothing.
    pub future: Vec<String>,
    /// Points that nobody vouches for, in an application that signs: they stay and count for nothing.
    pub unattested: Vec<String>,
    /// Why nothing goes although the policies say so.
    pub stopped_by: Vec<Doubt>,
}

/// A point that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Full id.
    pub id: String,
    /// The moment it stands for.
    pub time: Timestamp,
    /// Why; never empty.
    pub reasons: Vec<Reason>,
}

/// A point that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Full id.
    pub id: String,
    /// The moment it stands for.
    pub time: Timestamp,
    /// Why none of its sources wants it, in words.
    pub why: String,
}

/// Decides about `points` by the policies of their sources; days and hours are those of `zone`.
///
/// # Errors
/// `Kind::Config` E0660 or E0662 if a policy cannot be followed; `Kind::Refused` E0661 if one wants no point at all of a
/// source and something of it would go.
pub fn plan(
    points: &[PointFacts],
    policies: &Policies,
    doubts: &[Doubt],
    now: Timestamp,
    zone: &TimeZone,
) -> Result<RetentionPlan> {
    for (source, retain) in policies {
        retain.iter().try_for_each(Retain::check).map_err(|e| e.with("source", shown(source)))?;
    }
    let ids: BTreeSet<&str> = points.iter().map(|p| p.id.as_str()).collect();
    if ids.len() < points.len() {
        return Err(Error::bug("plan what to keep: two points have one id"));
    }
    let counts = |p: &PointFacts| p.attested != Attested::No && p.time <= now;
    let ordered = order(points.iter().enumerate().filter(|(_, p)| counts(p)), zone);
    let mut work = Work { points, now, ordered, reasons: vec![Vec::new(); points.len()] };
    work.whatever_the_policies_say(policies);
    let mut bare = Vec::new();
    let sources: BTreeSet<&String> = points.iter().flat_map(|p| &p.sources).collect();
    for source in sources {
        bare.extend(work.judge(source, policies.get(source).and_then(Option::as_ref)));
    }
    work.keep_witnesses();
    if let Some(source) = bare.into_iter().find(|source| work.loses(source)) {
        return Err(Error::new(
            Kind::Refused,
            "follow a retention policy that wants none of the points there are",
        )
        .code("E0661")
        .with("source", shown(source))
        .effect("nothing was deleted")
        .hint(
            "`recoup retention simulate` shows what a policy keeps; add `min` or a rule for days or months",
        ));
    }
    Ok(work.finish(policies, doubts))
}

fn shown(name: &str) -> String {
    crate::name::escape(name.as_bytes())
}

/// A plan in the making.
struct Work<'p> {
    points: &'p [PointFacts],
    now: Timestamp,
    /// The points that count, newest first.
    ordered: Vec<Entry>,
    /// Why each point stays.
    reasons: Vec<Vec<Reason>>,
}

impl<'p> Work<'p> {
    /// Reasons that lie in the point itself.
    fn whatever_the_policies_say(&mut self, policies: &Policies) {
        let (points, now) = (self.points, self.now);
        for (reasons, point) in self.reasons.iter_mut().zip(points) {
            if point.attested == Attested::No {
                reasons.push(Reason::Unattested);
            }
            if point.time > now {
                reasons.push(Reason::Future);
            }
            reasons.extend(point.held.iter().map(|why| Reason::Held { why: why.clone() }));
            reasons.extend(point.suspect.iter().map(|why| Reason::Suspect { why: why.clone() }));
            let orphan = |source: &String| Reason::Orphan { source: source.clone() };
            reasons.extend(point.sources.iter().filter(|s| !policies.contains_key(*s)).map(orphan));
            if point.sources.is_empty() {
                reasons.push(orphan(&String::new()));
            }
        }
        self.keep_what_came_before_suspects();
    }

    /// The newest point under suspicion covers what the older ones cover. One that does not count has no place
    /// in the order, and covers by its time.
    fn keep_what_came_before_suspects(&mut self) {
        let points = self.points;
        let newest = self.ordered.iter().position(|e| points[e.nr].suspect.is_some());
        if let Some(at) = newest {
            let suspect = &points[self.ordered[at].nr].id;
            for entry in &self.ordered[at + 1..] {
                self.reasons[entry.nr].push(Reason::BeforeSuspect { point: suspect.clone() });
            }
        }
        let ordered: BTreeSet<usize> = self.ordered.iter().map(|e| e.nr).collect();
        let apart = (0..points.len()).filter(|nr| points[*nr].suspect.is_some() && !ordered.contains(nr));
        let Some(apart) = apart.max_by_key(|nr| (points[*nr].time, &points[*nr].id)) else { return };
        for (nr, point) in points.iter().enumerate() {
            let covered = self.reasons[nr].iter().any(|r| matches!(r, Reason::BeforeSuspect { .. }));
            if nr != apart && !covered && point.time <= points[apart].time {
                self.reasons[nr].push(Reason::BeforeSuspect { point: points[apart].id.clone() });
            }
        }
    }

    /// Judges the series of `source` and pins what must stay of it. Gives the source back if its policy wants
    /// none of its points.
    fn judge(&mut self, source: &'p str, retain: Option<&Retain>) -> Option<&'p str> {
        let points = self.points;
        let has = |e: &&Entry| points[e.nr].sources.iter().any(|s| s == source);
        let series: Vec<&Entry> = self.ordered.iter().filter(has).collect();
        let name = || source.to_owned();
        let newest = series.first().map(|e| e.nr);
        let complete = series.iter().find(|e| e.complete).map(|e| e.nr).filter(|nr| Some(*nr) != newest);
        for nr in newest.into_iter().chain(complete) {
            self.reasons[nr].push(Reason::Newest { source: name() });
        }
        let proven = series.iter().find_map(|e| points[e.nr].proven.get(source).map(|at| (e.nr, *at)));
        if let Some((nr, at)) = proven {
            self.reasons[nr].push(Reason::Proven { source: name(), at });
        }
        let Some(retain) = retain else {
            // An orphan has its reason already.
            for entry in series {
                if !self.reasons[entry.nr].contains(&Reason::Orphan { source: name() }) {
                    self.reasons[entry.nr].push(Reason::NoPolicy { source: name() });
                }
            }
            return None;
        };
        let wanted = judge(&series, retain, self.now);
        for (entry, rules) in series.iter().zip(&wanted) {
            self.reasons[entry.nr].extend(rules.iter().map(|rule| Reason::Rule { source: name(), rule }));
        }
        (!series.is_empty() && wanted.iter().all(|rules: &Rules| rules.is_empty())).then_some(source)
    }

    /// The age of a point whose clock was behind is known from one that was made before it; without that one
    /// the next plan would take it for older. A witness needs no witness: nothing before it is dated later.
    fn keep_witnesses(&mut self) {
        let kept = self.ordered.iter().filter(|e| !self.reasons[e.nr].is_empty());
        let witnesses: BTreeSet<usize> = kept.filter_map(|e| e.witness).collect();
        for nr in witnesses {
            self.reasons[nr].push(Reason::Order);
        }
    }

    /// Whether any point of `source` has no reason to stay.
    fn loses(&self, source: &str) -> bool {
        let bare = self.points.iter().zip(&self.reasons).filter(|(_, reasons)| reasons.is_empty());
        bare.into_iter().any(|(point, _)| point.sources.iter().any(|s| s == source))
    }

    fn finish(mut self, policies: &Policies, doubts: &[Doubt]) -> RetentionPlan {
        let mut plan = RetentionPlan { stopped_by: doubts.to_vec(), ..RetentionPlan::default() };
        let points = self.points;
        let mut newest_first: Vec<usize> = (0..points.len()).collect();
        newest_first
            .sort_by(|a, b| (points[*b].time, &points[*b].id).cmp(&(points[*a].time, &points[*a].id)));
        let since: BTreeMap<usize, &Entry> = self.ordered.iter().map(|e| (e.nr, e)).collect();
        for nr in newest_first {
            let (id, time) = (points[nr].id.clone(), points[nr].time);
            let mut reasons = std::mem::take(&mut self.reasons[nr]);
            if reasons.is_empty() && doubts.is_empty() {
                let why = why_not(&points[nr], since.get(&nr).copied(), policies, self.now);
                plan.delete.push(Deleted { id, time, why });
                continue;
            }
            if reasons.is_empty() {
                reasons.push(Reason::Doubt);
            }
            for reason in &reasons {
                match reason {
                    Reason::Orphan { source } => {
                        plan.orphans.entry(source.clone()).or_default().push(id.clone());
                    }
                    Reason::Future => plan.future.push(id.clone()),
                    Reason::Unattested => plan.unattested.push(id.clone()),
                    _ => {}
                }
            }
            plan.keep.push(Kept { id, time, reasons });
        }
        plan
    }
}

/// In words: for each source whether the point is too old for it, or no rule wants it.
fn why_not(point: &PointFacts, entry: Option<&Entry>, policies: &Policies, now: Timestamp) -> String {
    let of = |source: &String| {
        let retain = policies.get(source).and_then(Option::as_ref)?;
        let name = shown(source);
        Some(match retain.max {
            Some(max) if !entry?.is_within(retain, now) => format!("{name}: older than {max}"),
            _ => format!("{name}: no rule wants it"),
        })
    };
    point.sources.iter().filter_map(of).collect::<Vec<_>>().join("; ")
}
