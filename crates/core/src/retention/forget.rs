//! Which snapshots to forget: facts in, a plan with no choices left out. The rules are those of
//! `restic forget`, so that people need not learn others; two guards are ours: a policy that keeps
//! nothing is refused, and snapshots dated in the future are named.

use super::rules::{self, Age, Keep};
use crate::{Error, Kind, Result};
use jiff::Zoned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::str::FromStr;

/// What to keep. A snapshot stays if any rule wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The newest.
    pub last: Keep,
    /// The newest of each of so many hours.
    pub hourly: Keep,
    /// The newest of each of so many days.
    pub daily: Keep,
    /// The newest of each of so many ISO weeks.
    pub weekly: Keep,
    /// The newest of each of so many months.
    pub monthly: Keep,
    /// The newest of each of so many years.
    pub yearly: Keep,
    /// All that are not so much older than the newest.
    pub within: Age,
    /// Hourly ones that are not so much older than the newest.
    pub within_hourly: Age,
    /// Daily ones that are not so much older than the newest.
    pub within_daily: Age,
    /// Weekly ones that are not so much older than the newest.
    pub within_weekly: Age,
    /// Monthly ones that are not so much older than the newest.
    pub within_monthly: Age,
    /// Yearly ones that are not so much older than the newest.
    pub within_yearly: Age,
    /// All that have every tag of one of these lists.
    pub tags: Vec<Vec<String>>,
    /// All that have every tag of one of these lists are out of reach: no rule counts them, and they do
    /// not stand for what a policy keeps.
    pub protect: Vec<Vec<String>>,
    /// Somebody said that nothing may be left of a group. Without it such a policy is refused, since a
    /// mistyped one looks like this.
    pub may_keep_nothing: bool,
}

impl Policy {
    /// Whether it says nothing at all of what to keep.
    pub fn is_empty(&self) -> bool {
        let keeps = Policy { protect: Vec::new(), may_keep_nothing: false, ..self.clone() };
        keeps == Policy::default()
    }

    /// Whether a snapshot with these `tags` is out of reach.
    pub fn protects(&self, tags: &[String]) -> bool {
        self.protect.iter().any(|list| has_tags(tags, list))
    }
}

/// A snapshot as the planner sees it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Full id.
    pub id: String,
    /// When it was taken, with the offset written in it: days end where the writer's days ended.
    pub time: Zoned,
    /// Host name.
    pub host: String,
    /// Paths.
    pub paths: Vec<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// Its writer said that it must stay: it is out of reach, as what [`Policy::protect`] means.
    pub must_stay: bool,
}

impl Candidate {
    /// Whether it has every one of `tags`; the empty tag matches a snapshot that has none.
    pub fn has_tags(&self, tags: &[String]) -> bool {
        has_tags(&self.tags, tags)
    }
}

fn has_tags(has: &[String], tags: &[String]) -> bool {
    tags.iter().all(|tag| has.contains(tag) || (tag.is_empty() && has.is_empty()))
}

/// What makes snapshots a series to which a policy applies on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupBy {
    /// The host name.
    pub host: bool,
    /// The set of paths.
    pub paths: bool,
    /// The set of tags.
    pub tags: bool,
}

impl Default for GroupBy {
    /// Host and paths.
    fn default() -> Self {
        GroupBy { host: true, paths: true, tags: false }
    }
}

impl FromStr for GroupBy {
    type Err = Error;

    /// A list of `host`, `paths` and `tags` with commas; empty for one group.
    fn from_str(text: &str) -> Result<Self> {
        let mut by = GroupBy { host: false, paths: false, tags: false };
        for word in text.split(',').filter(|w| !w.is_empty()) {
            match word {
                "host" | "hosts" => by.host = true,
                "path" | "paths" => by.paths = true,
                "tag" | "tags" => by.tags = true,
                _ => {
                    return Err(Error::new(Kind::Config, format!("group snapshots by \"{word}\""))
                        .hint("write a list of host, paths and tags, as in \"host,paths\""));
                }
            }
        }
        Ok(by)
    }
}

/// What will be kept and forgotten, group by group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The groups, sorted by what they have in common.
    pub groups: Vec<Group>,
    /// Snapshots dated later than now: a wrong clock, or somebody who wants good ones to expire.
    pub future: Vec<String>,
}

impl Plan {
    /// Every snapshot to forget.
    pub fn remove(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().flat_map(|group| group.remove.iter().map(String::as_str))
    }
}

/// One series of snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The host name, if grouped by it.
    pub host: String,
    /// The paths, if grouped by them.
    pub paths: Vec<String>,
    /// The tags, if grouped by them.
    pub tags: Vec<String>,
    /// What stays, newest first, with the reasons.
    pub keep: Vec<Kept>,
    /// What goes, newest first.
    pub remove: Vec<String>,
}

/// A snapshot that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Full id.
    pub id: String,
    /// Which rules want it, in words.
    pub reasons: Vec<String>,
}

/// Applies `policy` to each group of `candidates`.
///
/// # Errors
/// `Kind::Refused`, E0461, if the policy says nothing or would keep nothing of some group and does not say
/// that it may.
pub fn plan(candidates: &[Candidate], policy: &Policy, by: GroupBy, now: &Zoned) -> Result<Plan> {
    if policy.is_empty() && !policy.may_keep_nothing {
        return Err(Error::new(Kind::Refused, "forget snapshots by a policy that keeps nothing")
            .code("E0461")
            .effect("no snapshot was forgotten"));
    }
    let mut groups: BTreeMap<GroupKey, Vec<&Candidate>> = BTreeMap::new();
    let within_reach = |candidate: &&Candidate| !candidate.must_stay && !policy.protects(&candidate.tags);
    for candidate in candidates.iter().filter(within_reach) {
        groups.entry(group_key(candidate, by)).or_default().push(candidate);
    }
    let mut plan = Plan::default();
    for ((host, paths, tags), mut members) in groups {
        members.sort_by_key(|c| std::cmp::Reverse(c.time.timestamp()));
        let (keep, remove) = apply(&members, policy, now);
        if keep.is_empty() && !policy.may_keep_nothing {
            return Err(Error::new(Kind::Refused, "forget every snapshot of a group")
                .code("E0461")
                .with("host", crate::name::escape(host.as_bytes()))
                .with("paths", crate::name::escape(paths.join(" ").as_bytes()))
                .effect("no snapshot was forgotten"));
        }
        plan.groups.push(Group { host, paths, tags, keep, remove });
    }
    plan.future = candidates.iter().filter(|c| c.time > *now).map(|c| c.id.clone()).collect();
    Ok(plan)
}

/// Host, paths and tags, as far as they are grouped by.
type GroupKey = (String, Vec<String>, Vec<String>);

fn group_key(candidate: &Candidate, by: GroupBy) -> GroupKey {
    let sorted = |list: &[String], wanted: bool| {
        let mut list = if wanted { list.to_vec() } else { Vec::new() };
        list.sort();
        list
    };
    let host = if by.host { candidate.host.clone() } else { String::new() };
    (host, sorted(&candidate.paths, by.paths), sorted(&candidate.tags, by.tags))
}
/// What a snapshot has in common with the others of its hour, day...
type Period = fn(&Zoned, usize) -> i64;

const PERIODS: [(&str, Period); 6] = [
    ("last", |_, nr| nr as i64),
    ("hourly", |t, _| rules::hour(t)),
    ("daily", |t, _| rules::day(t)),
    ("weekly", |t, _| rules::week(t)),
    ("monthly", |t, _| rules::month(t)),
    ("yearly", |t, _| rules::year(t)),
];

/// One rule under way: what is left of it and the period it kept last.
struct Rule {
    name: String,
    period: Period,
    left: Keep,
    /// Only snapshots after this; `None` for no limit.
    after: Option<Zoned>,
    kept: Option<i64>,
}

impl Rule {
    /// Asks the rule about the next older snapshot. The oldest of all is kept while something is left,
    /// which makes the history as long as the rule allows.
    fn wants(&mut self, nr: usize, time: &Zoned, oldest: bool) -> Option<String> {
        if !self.left.has_some_left() || self.after.as_ref().is_some_and(|after| time <= after) {
            return None;
        }
        let period = (self.period)(time, nr);
        let repeated = self.kept == Some(period);
        if repeated && !oldest {
            return None;
        }
        self.kept = Some(period);
        self.left.take();
        Some(if repeated { format!("oldest {}", self.name) } else { self.name.clone() })
    }
}

fn rules_of(policy: &Policy, newest: Option<&Zoned>) -> Vec<Rule> {
    let counts = [policy.last, policy.hourly, policy.daily, policy.weekly, policy.monthly, policy.yearly];
    let ages = [
        policy.within_hourly,
        policy.within_daily,
        policy.within_weekly,
        policy.within_monthly,
        policy.within_yearly,
    ];
    let counted = PERIODS.iter().zip(counts).map(|((name, period), left)| Rule {
        name: format!("{name} snapshot"),
        period: *period,
        left,
        after: None,
        kept: None,
    });
    let dated = PERIODS[1..].iter().zip(ages).filter(|(_, age)| !age.is_zero());
    let dated = dated.map(|((name, period), age)| Rule {
        name: format!("{name} within {age}"),
        period: *period,
        left: Keep::All,
        after: newest.and_then(|newest| age.before(newest)),
        kept: None,
    });
    counted.chain(dated).collect()
}

fn apply(newest_first: &[&Candidate], policy: &Policy, now: &Zoned) -> (Vec<Kept>, Vec<String>) {
    let newest = newest_first.iter().map(|c| &c.time).find(|time| *time < now);
    let mut rules = rules_of(policy, newest);
    let since = newest.and_then(|newest| policy.within.before(newest));
    let (mut keep, mut remove) = (Vec::new(), Vec::new());
    for (nr, candidate) in newest_first.iter().enumerate() {
        let mut reasons: Vec<String> = policy
            .tags
            .iter()
            .filter(|tags| candidate.has_tags(tags))
            .map(|tags| format!("has tags [{}]", tags.join(", ")))
            .collect();
        if !policy.within.is_zero() && since.as_ref().is_none_or(|since| candidate.time > *since) {
            reasons.push(format!("within {}", policy.within));
        }
        let oldest = nr + 1 == newest_first.len();
        reasons.extend(rules.iter_mut().filter_map(|rule| rule.wants(nr, &candidate.time, oldest)));
        if reasons.is_empty() {
            remove.push(candidate.id.clone());
        } else {
            keep.push(Kept { id: candidate.id.clone(), reasons });
        }
    }
    (keep, remove)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(id: &str, time: &str) -> Candidate {
        let time = time.parse::<jiff::Timestamp>().unwrap().to_zoned(jiff::tz::TimeZone::UTC);
        Candidate {
            id: id.into(),
            time,
            host: "h".into(),
            paths: vec!["/p".into()],
            tags: vec![],
            must_stay: false,
        }
    }

    fn now() -> Zoned {
        at("", "2026-01-01T00:00:00Z").time
    }

    fn kept(candidates: &[Candidate], policy: &Policy) -> Vec<String> {
        let plan = plan(candidates, policy, GroupBy::default(), &now()).unwrap();
        plan.groups.iter().flat_map(|g| g.keep.iter().map(|k| k.id.clone())).collect()
    }

    fn series() -> Vec<Candidate> {
        vec![
            at("a", "2025-12-01T10:00:00Z"),
            at("b", "2025-12-01T12:00:00Z"),
            at("c", "2025-12-02T09:00:00Z"),
            at("d", "2025-12-02T09:30:00Z"),
            at("e", "2025-12-09T09:30:00Z"),
        ]
    }

    #[test]
    fn each_rule_keeps_the_newest_of_its_periods() {
        let keep = |policy: Policy| kept(&series(), &policy).concat();
        assert_eq!(keep(Policy { last: Keep::Count(2), ..Policy::default() }), "ed");
        assert_eq!(keep(Policy { daily: Keep::Count(2), ..Policy::default() }), "ed");
        assert_eq!(keep(Policy { hourly: Keep::Count(3), ..Policy::default() }), "edb");
        assert_eq!(keep(Policy { last: Keep::All, ..Policy::default() }), "edcba");
        // One is left over, so the oldest stays although its month was kept.
        assert_eq!(keep(Policy { monthly: Keep::Count(2), ..Policy::default() }), "ea");
        assert_eq!(keep(Policy { weekly: Keep::Count(2), ..Policy::default() }), "ed");
        assert_eq!(keep(Policy { within: "7d1h".parse().unwrap(), ..Policy::default() }), "edc");
        assert_eq!(keep(Policy { within_daily: "8d".parse().unwrap(), ..Policy::default() }), "edba");
    }

    #[test]
    fn the_iso_year_decides_about_weeks() {
        let turn = [
            at("a", "2024-12-30T00:00:00Z"),
            at("b", "2025-01-01T00:00:00Z"),
            at("c", "2025-01-06T00:00:00Z"),
        ];
        assert_eq!(kept(&turn, &Policy { weekly: Keep::Count(2), ..Policy::default() }), ["c", "b"]);
    }

    #[test]
    fn a_policy_that_keeps_nothing_is_refused() {
        let refused = |policy: Policy| {
            let err = plan(&series(), &policy, GroupBy::default(), &now()).unwrap_err();
            assert_eq!((err.kind(), err.stable_code()), (Kind::Refused, Some("E0461")));
        };
        refused(Policy::default());
        refused(Policy { tags: vec![vec!["typo".into()]], ..Policy::default() });
    }

    #[test]
    fn groups_stand_alone_and_tags_are_all_needed() {
        let mut all = series();
        all[0].host = "other".into();
        all[1].tags = vec!["x".into(), "y".into()];
        let policy =
            Policy { last: Keep::Count(1), tags: vec![vec!["x".into(), "y".into()]], ..Policy::default() };
        let plan = plan(&all, &policy, GroupBy::default(), &now()).unwrap();
        assert_eq!(plan.groups.len(), 2);
        assert_eq!(plan.remove().collect::<Vec<_>>(), ["d", "c"]);
    }

    #[test]
    fn the_future_is_named_and_does_not_move_the_window() {
        let mut all = series();
        all.push(at("z", "2031-01-01T00:00:00Z"));
        let policy = Policy { within: "1d".parse().unwrap(), ..Policy::default() };
        let plan = plan(&all, &policy, GroupBy::default(), &now()).unwrap();
        assert_eq!(plan.future, ["z"]);
        assert_eq!(plan.groups[0].keep.iter().map(|k| k.id.as_str()).collect::<String>(), "ze");
    }

    #[test]
    fn what_is_protected_is_neither_forgotten_nor_counted() {
        let mut candidates = series();
        candidates[0].tags = vec!["legal".into()];
        candidates[4].tags = vec!["legal".into()];
        let protect = vec![vec!["legal".to_owned()]];
        let policy = Policy { last: Keep::Count(1), protect: protect.clone(), ..Policy::default() };
        let plan = plan(&candidates, &policy, GroupBy::default(), &now()).unwrap();
        assert_eq!(plan.groups[0].keep[0].id, "d");
        assert_eq!(plan.remove().collect::<Vec<_>>(), ["c", "b"]);
        assert!(Policy { protect, ..Policy::default() }.is_empty());
    }

    #[test]
    fn row_051_all_of_a_group_goes_only_if_somebody_said_so_and_never_what_is_protected() {
        let mut all = series();
        all[1].tags = vec!["legal".into()];
        let nothing = Policy { tags: vec![vec!["typo".into()]], ..Policy::default() };
        assert!(plan(&all, &nothing, GroupBy::default(), &now()).is_err());
        for policy in [nothing, Policy::default()] {
            let said = Policy { may_keep_nothing: true, protect: vec![vec!["legal".to_owned()]], ..policy };
            let plan = plan(&all, &said, GroupBy::default(), &now()).unwrap();
            assert_eq!(plan.remove().collect::<Vec<_>>(), ["e", "d", "c", "a"]);
        }
    }

    #[test]
    fn row_053_trap_29_a_renamed_host_or_a_moved_path_begins_a_series_and_ends_none() {
        let mut all = series();
        let policy = Policy { last: Keep::Count(1), ..Policy::default() };
        for moved in &mut all[3..] {
            moved.host = "renamed".into();
        }
        all[4].paths = vec!["/moved".into()];
        // by host and path each series keeps its newest: nothing of the old ones expires as one with the new
        assert_eq!(kept(&all, &policy), ["c", "e", "d"]);
        // a series that has an identity of its own, its tag, goes on whatever host and path are called
        for candidate in &mut all {
            candidate.tags = vec!["app=shop".into()];
        }
        let by_tag = plan(&all, &policy, "tags".parse().unwrap(), &now()).unwrap();
        assert_eq!(by_tag.groups.len(), 1);
        assert_eq!(by_tag.remove().collect::<Vec<_>>(), ["d", "c", "b", "a"]);
    }

    #[test]
    fn trap_28_a_tag_that_nobody_has_keeps_nothing_and_is_refused() {
        let policy = Policy { tags: vec![vec!["typo".into()]], ..Policy::default() };
        let err = super::plan(&series(), &policy, GroupBy::default(), &now()).unwrap_err();
        assert_eq!((err.kind(), err.stable_code()), (Kind::Refused, Some("E0461")));
        for text in ["-1", "unlimited"] {
            let all = Policy { daily: text.parse().unwrap(), ..Policy::default() };
            assert_eq!(kept(&series(), &all).concat(), "edba");
        }
    }
}
