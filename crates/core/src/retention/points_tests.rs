//! The planner of points and its simulation: examples from the field.

use super::points::{Attested, Doubt, PointFacts, Policies, RetentionPlan, plan};
use super::simulate::simulate;
use super::{Reason, Retain, Rule};
use crate::Kind;
use crate::units::Span;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn span(text: &str) -> Option<Span> {
    Some(text.parse().unwrap())
}

pub(super) fn fact(id: &str, time: &str) -> PointFacts {
    PointFacts {
        id: id.into(),
        time: at(time),
        sequence: None,
        attested: Attested::NoKey,
        sources: vec!["db".into()],
        held: vec![],
        proven: BTreeMap::new(),
        suspect: None,
        complete: true,
    }
}

pub(super) fn of(retain: Retain) -> Policies {
    BTreeMap::from([("db".to_owned(), Some(retain))])
}

pub(super) const NOW: &str = "2026-06-30T12:00:00Z";

fn planned(points: &[PointFacts], policies: &Policies) -> RetentionPlan {
    plan(points, policies, &[], at(NOW), &TimeZone::UTC).unwrap()
}

fn kept(plan: &RetentionPlan) -> Vec<&str> {
    plan.keep.iter().map(|k| k.id.as_str()).collect()
}

fn reasons<'p>(plan: &'p RetentionPlan, id: &str) -> &'p [Reason] {
    &plan.keep.iter().find(|k| k.id == id).unwrap_or_else(|| panic!("{id} goes")).reasons
}

/// Two weeks: twice on the last day, once a day before that.
fn fortnight() -> Vec<PointFacts> {
    let daily = (17..30).map(|day| fact(&format!("d{day}"), &format!("2026-06-{day}T20:00:00Z")));
    daily.chain([fact("morning", "2026-06-30T06:10:00Z"), fact("noon", "2026-06-30T11:50:00Z")]).collect()
}

#[test]
fn each_rule_keeps_what_it_says() {
    let keeps = |retain: Retain| planned(&fortnight(), &of(retain)).keep.len();
    let none = Retain::default();
    assert_eq!(keeps(Retain { all: span("1d"), ..none }), 3, "noon, morning, and last evening");
    assert_eq!(keeps(Retain { hourly: 3, ..none }), 3);
    assert_eq!(keeps(Retain { daily: 1, ..none }), 1, "only the last of today");
    assert_eq!(keeps(Retain { daily: 14, ..none }), 14);
    assert_eq!(keeps(Retain { daily: 1000, ..none }), 14, "there are no more days");
    assert_eq!(keeps(Retain { min: Some(5), ..none }), 5);
    assert_eq!(keeps(Retain { daily: 14, max: span("5d"), ..none }), 6, "nothing is older than five days");
    assert_eq!(keeps(Retain { daily: 14, max: span("1d"), min: Some(9), ..none }), 9, "min outranks max");
    let weeks = planned(&fortnight(), &of(Retain { weekly: 3, ..none }));
    assert_eq!(kept(&weeks), ["noon", "d28", "d21"], "ISO weeks end on Sunday");
    let months = planned(&fortnight(), &of(Retain { monthly: 7, yearly: 7, ..none }));
    assert_eq!(kept(&months), ["noon"]);
    let rule = |rule| Reason::Rule { source: "db".into(), rule };
    let newest = Reason::Newest { source: "db".into() };
    assert_eq!(reasons(&months, "noon"), [newest, rule(Rule::Monthly), rule(Rule::Yearly)]);
}

#[test]
fn a_point_that_goes_says_why() {
    let plan = planned(&fortnight(), &of(Retain { daily: 14, max: span("5d"), ..Retain::default() }));
    let why = |id: &str| plan.delete.iter().find(|d| d.id == id).unwrap().why.clone();
    assert_eq!(why("morning"), "db: no rule wants it");
    assert_eq!(why("d24"), "db: older than 5d");
    assert_eq!(plan.keep.len() + plan.delete.len(), 15);
}

#[test]
fn a_point_stays_while_any_of_its_sources_wants_it() {
    let mut points = fortnight();
    for point in &mut points {
        point.sources.push("media".into());
    }
    let mut policies = of(Retain { all: span("1d"), ..Retain::default() });
    policies.insert("media".into(), Some(Retain { daily: 4, ..Retain::default() }));
    assert_eq!(kept(&planned(&points, &policies)), ["noon", "morning", "d29", "d28", "d27"]);
    policies.insert("media".into(), None);
    let all = planned(&points, &policies);
    assert!(all.delete.is_empty(), "a class without a policy keeps everything");
    assert_eq!(reasons(&all, "d17"), [Reason::NoPolicy { source: "media".into() }]);
}

#[test]
fn row_051_a_policy_that_wants_none_of_the_points_is_refused() {
    let old = [fact("a", "2026-06-01T00:00:00Z"), fact("b", "2026-06-02T00:00:00Z")];
    let hour = of(Retain { all: span("1h"), ..Retain::default() });
    let refused = plan(&old, &hour, &[], at(NOW), &TimeZone::UTC).unwrap_err();
    assert_eq!((refused.kind(), refused.stable_code()), (Kind::Refused, Some("E0661")));
    // Nothing would go: there is nothing to refuse.
    assert_eq!(kept(&planned(&old[1..], &hour)), ["b"]);
    let empty = plan(&old, &of(Retain::default()), &[], at(NOW), &TimeZone::UTC).unwrap_err();
    assert_eq!((empty.kind(), empty.stable_code()), (Kind::Config, Some("E0660")));
    let with_min = of(Retain { all: span("1h"), min: Some(1), ..Retain::default() });
    assert_eq!(kept(&planned(&old, &with_min)), ["b"]);
}

#[test]
fn row_053_a_source_that_was_renamed_leaves_orphans_that_stay() {
    let mut points = fortnight();
    for point in &mut points[..10] {
        point.sources = vec!["database".into()];
    }
    let plan = planned(&points, &of(Retain { daily: 2, ..Retain::default() }));
    assert_eq!(plan.orphans["database"].len(), 10);
    assert_eq!(reasons(&plan, "d17"), [Reason::Orphan { source: "database".into() }]);
    // The new series is judged by itself: 27, 28, 29 and two of today, of which two days stay.
    assert_eq!(plan.delete.len(), 3);
    assert!(plan.delete.iter().all(|d| !plan.orphans["database"].contains(&d.id)));
}

#[test]
fn row_054_the_last_proven_point_stays_while_newer_ones_are_not_proven() {
    let mut points = fortnight();
    points[2].proven.insert("db".into(), at("2026-06-20T00:00:00Z"));
    points[4].proven.insert("db".into(), at("2026-06-22T00:00:00Z"));
    // That a restore of something else passed says nothing about this source.
    points[6].proven.insert("media".into(), at("2026-06-24T00:00:00Z"));
    points[14].complete = false;
    let plan = planned(&points, &of(Retain { daily: 1, ..Retain::default() }));
    assert_eq!(kept(&plan), ["noon", "morning", "d21"], "what is not complete takes nobody's place");
    let proven = Reason::Proven { source: "db".into(), at: at("2026-06-22T00:00:00Z") };
    assert_eq!(reasons(&plan, "d21"), [proven]);
}

#[test]
fn row_054_what_came_before_a_point_under_suspicion_stays_until_that_is_settled() {
    let mut points = fortnight();
    points[10].suspect = Some("40 % of the files are new".into());
    let policies = of(Retain { daily: 1, ..Retain::default() });
    let plan = planned(&points, &policies);
    assert_eq!(plan.delete.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(), ["morning", "d29", "d28"]);
    assert_eq!(reasons(&plan, "d17"), [Reason::BeforeSuspect { point: "d27".into() }]);
    assert_eq!(reasons(&plan, "d27"), [Reason::Suspect { why: "40 % of the files are new".into() }]);
    // A suspect that does not count has no place in the order, and covers by its time.
    points[10].attested = Attested::No;
    assert_eq!(planned(&points, &policies).delete.len(), 3);
    points[10].suspect = None;
    assert_eq!(planned(&points, &policies).delete.len(), 13);
}

#[test]
fn held_points_stay_and_count() {
    let mut points = fortnight();
    points[0].held = vec!["case 4711".into()];
    let plan = planned(&points, &of(Retain { daily: 1, ..Retain::default() }));
    assert_eq!(kept(&plan), ["noon", "d17"]);
    assert_eq!(reasons(&plan, "d17"), [Reason::Held { why: "case 4711".into() }]);
}

#[test]
fn row_156_points_that_nobody_vouches_for_take_no_place_and_do_not_go() {
    let mut points: Vec<PointFacts> =
        fortnight().into_iter().map(|p| PointFacts { attested: Attested::Yes, ..p }).collect();
    for n in 0..28 {
        let forged = fact(&format!("forged{n:02}"), &format!("2026-06-{:02}T23:59:00Z", n + 1));
        points.push(PointFacts { attested: Attested::No, sequence: Some(1000 + n), ..forged });
    }
    let plan = planned(&points, &of(Retain { daily: 3, ..Retain::default() }));
    assert_eq!(plan.unattested.len(), 28);
    let good: Vec<&str> = kept(&plan).into_iter().filter(|id| !id.starts_with("forged")).collect();
    assert_eq!(good, ["noon", "d29", "d28"]);
    assert_eq!(plan.delete.len(), 12);
}

#[test]
fn row_059_points_from_the_future_neither_count_nor_go() {
    let mut points = fortnight();
    for year in 2036..2046 {
        points.push(fact(&format!("y{year}"), &format!("{year}-06-30T12:00:00Z")));
    }
    let plan = planned(&points, &of(Retain { daily: 2, yearly: 2, ..Retain::default() }));
    assert_eq!(plan.future.len(), 10);
    assert_eq!(reasons(&plan, "y2036"), [Reason::Future]);
    let counted: Vec<&str> = kept(&plan).into_iter().filter(|id| !id.starts_with('y')).collect();
    assert_eq!(counted, ["noon", "d29"], "the newest is the newest that is not from the future");
}

#[test]
fn row_060_a_clock_that_is_two_years_behind_does_not_make_new_points_old() {
    let mut points = fortnight();
    for (point, sequence) in points.iter_mut().zip(1..) {
        point.sequence = Some(sequence);
    }
    // The clock broke on the last day: what was made then is dated 2024.
    points[13].time = at("2024-01-01T00:00:00Z");
    points[14].time = at("2024-01-01T06:00:00Z");
    let plan = planned(&points, &of(Retain { all: span("2d"), max: span("30d"), ..Retain::default() }));
    assert_eq!(kept(&plan), ["d29", "d28", "noon", "morning"]);
    assert!(reasons(&plan, "noon").contains(&Reason::Newest { source: "db".into() }));
    assert!(reasons(&plan, "d29").contains(&Reason::Order), "it says how young the two are");
    // By time alone they would be the oldest.
    for point in &mut points {
        point.sequence = None;
    }
    let by_time = planned(&points, &of(Retain { all: span("2d"), max: span("30d"), ..Retain::default() }));
    assert_eq!(kept(&by_time), ["d29", "d28"]);
}

#[test]
fn doubt_about_the_clock_deletes_nothing_and_says_so() {
    let doubt = Doubt { code: "E0462".into(), why: "the clock is ten minutes off".into() };
    let policies = of(Retain { daily: 1, ..Retain::default() });
    let plan = plan(&fortnight(), &policies, std::slice::from_ref(&doubt), at(NOW), &TimeZone::UTC).unwrap();
    assert!(plan.delete.is_empty());
    assert_eq!((plan.keep.len(), &plan.stopped_by), (15, &vec![doubt]));
    assert_eq!(reasons(&plan, "d17"), [Reason::Doubt]);
}

#[test]
fn a_plan_is_read_as_it_was_written() {
    let policies = of(Retain { daily: 3, ..Retain::default() });
    let plan = planned(&fortnight(), &policies);
    let read: RetentionPlan = serde_json::from_value(serde_json::to_value(&plan).unwrap()).unwrap();
    assert_eq!(read, plan);
    let mut twice = fortnight();
    twice.push(twice[0].clone());
    assert_eq!(
        super::points::plan(&twice, &policies, &[], at(NOW), &TimeZone::UTC).unwrap_err().kind(),
        Kind::Bug
    );
}

/// Transitions of 2026: forward in spring, back in autumn, by half an hour on Lord Howe.
pub(super) const TRANSITIONS: [(&str, &str, &str, i64); 3] = [
    ("Europe/Berlin", "2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z", 60),
    ("America/New_York", "2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z", 60),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z", "2026-04-04T15:00:00Z", 30),
];

/// A point every ten minutes, twelve hours before `turn` and after it.
fn around(turn: Timestamp) -> Vec<PointFacts> {
    let time = |n: i64| turn.checked_add(SignedDuration::from_mins(10 * n)).unwrap();
    (-72..72).map(|n| PointFacts { time: time(n), ..fact(&format!("{:03}", n + 100), NOW) }).collect()
}

#[test]
fn row_063_an_hour_that_comes_twice_is_two_hours_and_one_that_is_skipped_is_none() {
    for (name, spring, autumn, minutes) in TRANSITIONS {
        let zone = TimeZone::get(name).unwrap();
        for turn in [at(spring), at(autumn)] {
            let points = around(turn);
            let now = points[143].time;
            let offset = |t: Timestamp| t.to_zoned(zone.clone()).offset().seconds();
            let shift = offset(turn) - offset(turn.checked_sub(SignedDuration::from_secs(1)).unwrap());
            assert_eq!(
                shift.abs(),
                i32::try_from(minutes * 60).unwrap(),
                "{name}: the clock turns at {turn}"
            );
            for hourly in 1..=24 {
                let plan =
                    plan(&points, &of(Retain { hourly, ..Retain::default() }), &[], now, &zone).unwrap();
                assert_eq!(plan.keep.len(), hourly as usize, "{name} {turn}");
                // Each is the last of its hour, and no hour lies between two of them.
                let gaps =
                    plan.keep.windows(2).map(|pair| pair[0].time.duration_since(pair[1].time).as_mins());
                assert!(
                    gaps.clone().all(|gap| gap == 60 || gap == minutes),
                    "{name} {turn}: {:?}",
                    gaps.collect::<Vec<_>>()
                );
            }
            let days = plan(&points, &of(Retain { daily: 2, ..Retain::default() }), &[], now, &zone).unwrap();
            assert_eq!(days.keep.len(), 2, "a day of 23 or 25 hours is one day");
        }
    }
}

#[test]
fn row_064_days_end_where_they_end_in_the_zone_of_the_application() {
    let points = [fact("late", "2026-06-28T22:30:00Z"), fact("early", "2026-06-29T21:30:00Z")];
    let policies = of(Retain { daily: 2, ..Retain::default() });
    let in_zone = |name: &str| {
        let plan = plan(&points, &policies, &[], at(NOW), &TimeZone::get(name).unwrap()).unwrap();
        plan.keep.len()
    };
    assert_eq!((in_zone("UTC"), in_zone("Europe/Berlin")), (2, 1), "in Berlin both are of the 29th");
}

#[test]
fn two_years_of_points_every_quarter_of_an_hour() {
    let retain =
        Retain { all: span("7d"), daily: 35, monthly: 13, yearly: 7, max: span("7y"), ..Retain::default() };
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let (every, length) = ("15m".parse().unwrap(), "2y".parse().unwrap());
    let simulation = simulate(Some(&retain), every, length, at("2026-01-01T00:00:00Z"), &zone).unwrap();
    assert_eq!(simulation.made, 2 * 365 * 96 + 1);
    let share = |rule| simulation.rules.iter().find(|s| s.rule == rule).unwrap().points;
    assert_eq!((share(Rule::All), share(Rule::Daily), share(Rule::Monthly)), (672, 35, 13));
    // 2026, 2027, and the first minutes of 2028 after two years of 365 days: there is no third year yet.
    assert_eq!(share(Rule::Yearly), 3);
    assert_eq!(simulation.rules.len(), 4, "rules that are not given are not told");
    assert_eq!(simulation.timeline.len(), 105, "week by week");
    assert!(simulation.most <= share(Rule::All) + 35 + 13 + 7 + 96, "{}", simulation.most);
    assert_eq!(simulation.kept.len() as u64, simulation.timeline.last().unwrap().points);
    let everything =
        simulate(None, "1d".parse().unwrap(), length, at("2026-01-01T00:00:00Z"), &zone).unwrap();
    assert_eq!((everything.kept.len(), everything.rules.len()), (731, 0));
}

#[test]
fn what_cannot_be_simulated_is_told() {
    let now = at(NOW);
    let code = |every: &str, length: &str| {
        let (every, length) = (every.parse().unwrap(), length.parse().unwrap());
        simulate(None, every, length, now, &TimeZone::UTC).unwrap_err().stable_code()
    };
    for (every, length) in [("0s", "2y"), ("1d", "0s"), ("1s", "2y"), ("5000y", "9000y")] {
        assert_eq!(code(every, length), Some("E0664"), "{every} {length}");
    }
    let nothing =
        simulate(Some(&Retain::default()), "1d".parse().unwrap(), "2y".parse().unwrap(), now, &TimeZone::UTC);
    assert_eq!(nothing.unwrap_err().stable_code(), Some("E0660"));
}
