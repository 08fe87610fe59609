//! What holds of every plan, over random series and policies.

use super::points::{Attested, PointFacts, Policies, RetentionPlan, plan};
use super::points_tests::{NOW, TRANSITIONS, at, fact, of};
use super::simulate::simulate;
use super::{Reason, Retain, Rule};
use crate::units::Span;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn retains() -> impl Strategy<Value = Retain> {
    let hours = |max: u64| {
        proptest::option::of((1..=max).prop_map(|h| Span(std::time::Duration::from_secs(h * 3600))))
    };
    let counts = (0..6_u32, 0..6_u32, 0..4_u32, 0..4_u32, 0..3_u32);
    (hours(72), counts, proptest::option::of(1..5_u32), hours(2000)).prop_filter_map(
        "a policy that can be followed",
        |(all, (hourly, daily, weekly, monthly, yearly), min, max)| {
            let retain = Retain { all, hourly, daily, weekly, monthly, yearly, min, max };
            retain.check().ok().map(|()| retain)
        },
    )
}

fn attestations() -> impl Strategy<Value = Attested> {
    prop_oneof![4 => Just(Attested::Yes), 4 => Just(Attested::NoKey), 1 => Just(Attested::No)]
}

type Random = (i64, Option<u64>, Attested, Vec<&'static str>, [Option<()>; 4]);

fn random(nr: usize, (minutes, sequence, attested, sources, rare): Random) -> PointFacts {
    let [held, proven, suspect, partial] = rare;
    PointFacts {
        id: format!("p{nr:03}"),
        time: at(NOW).checked_add(SignedDuration::from_mins(minutes)).unwrap(),
        sequence,
        attested,
        sources: sources.into_iter().map(str::to_owned).collect(),
        held: held.map(|()| "a case".to_owned()).into_iter().collect(),
        proven: proven.map(|()| ("db".to_owned(), at(NOW))).into_iter().collect(),
        suspect: suspect.map(|()| "odd".to_owned()),
        complete: partial.is_none(),
    }
}

fn points() -> impl Strategy<Value = Vec<PointFacts>> {
    // Up to a year back and a month ahead, often close together; a sequence says something else at times.
    let minutes = prop_oneof![-525_600..43_200_i64, -6000..0_i64];
    let sources = proptest::sample::subsequence(vec!["db", "media", "gone"], 1..=3);
    let rare = |weight| proptest::option::weighted(weight, Just(()));
    let one = (
        minutes,
        proptest::option::of(0..60_u64),
        attestations(),
        sources,
        [rare(0.05), rare(0.1), rare(0.03), rare(0.15)],
    );
    proptest::collection::vec(one, 0..60)
        .prop_map(|list| list.into_iter().enumerate().map(|(nr, one)| random(nr, one)).collect())
}

fn policies() -> impl Strategy<Value = Policies> {
    (retains(), proptest::option::of(retains()))
        .prop_map(|(db, media)| BTreeMap::from([("db".to_owned(), Some(db)), ("media".to_owned(), media)]))
}

/// `retain` with every rule at least as large.
fn raised(retain: Retain, by: (u32, u32, u32, u64)) -> Retain {
    let (few, some, min, hours) = by;
    let longer = |span: Span| Span(span.0 + std::time::Duration::from_secs(hours * 3600));
    Retain {
        all: retain.all.map(longer),
        hourly: retain.hourly + some,
        daily: retain.daily + few,
        weekly: retain.weekly + some,
        monthly: retain.monthly + few,
        yearly: retain.yearly + some,
        min: (retain.min.unwrap_or(0) + min > 0).then(|| retain.min.unwrap_or(0) + min),
        max: retain.max.map(longer),
    }
}

fn gone(plan: &RetentionPlan) -> BTreeSet<String> {
    plan.delete.iter().map(|d| d.id.clone()).collect()
}

proptest! {
    #[test]
    fn no_series_is_emptied_and_every_point_has_its_answer(points in points(), policies in policies()) {
        let Ok(plan) = plan(&points, &policies, &[], at(NOW), &TimeZone::UTC) else { return Ok(()) };
        prop_assert_eq!(plan.keep.len() + plan.delete.len(), points.len());
        prop_assert!(plan.keep.iter().all(|k| !k.reasons.is_empty()));
        prop_assert!(plan.delete.iter().all(|d| !d.why.is_empty()));
        let gone = gone(&plan);
        for source in points.iter().flat_map(|p| &p.sources) {
            prop_assert!(points.iter().any(|p| p.sources.contains(source) && !gone.contains(&p.id)));
        }
        for p in points.iter().filter(|p| gone.contains(&p.id)) {
            let protected = !p.held.is_empty() || p.suspect.is_some() || p.attested == Attested::No || p.time > at(NOW);
            prop_assert!(!protected && !p.sources.contains(&"gone".to_owned()), "{:?}", p);
        }
    }

    #[test]
    fn planning_again_on_what_stays_deletes_nothing(points in points(), policies in policies()) {
        let Ok(first) = plan(&points, &policies, &[], at(NOW), &TimeZone::UTC) else { return Ok(()) };
        let gone = gone(&first);
        let left: Vec<PointFacts> = points.into_iter().filter(|p| !gone.contains(&p.id)).collect();
        let second = plan(&left, &policies, &[], at(NOW), &TimeZone::UTC).unwrap();
        prop_assert_eq!(second.delete, vec![]);
    }

    #[test]
    fn a_policy_that_keeps_more_never_deletes_more(
        points in points(), policies in policies(), by in (0..3_u32, 0..3_u32, 0..3_u32, 0..100_u64),
    ) {
        let more: Policies = policies.iter().map(|(s, r)| (s.clone(), r.map(|r| raised(r, by)))).collect();
        for (source, retain) in &policies {
            prop_assert!(!super::shortens(more[source].as_ref(), retain.as_ref()));
        }
        let all = |policies| plan(&points, policies, &[], at(NOW), &TimeZone::UTC);
        let (Ok(less), Ok(more)) = (all(&policies), all(&more)) else { return Ok(()) };
        prop_assert!(gone(&more).is_subset(&gone(&less)));
    }

    #[test]
    fn the_order_of_the_facts_does_not_matter(
        (points, shuffled) in points().prop_flat_map(|p| (Just(p.clone()), Just(p).prop_shuffle())),
        policies in policies(),
    ) {
        let all = |points: &[PointFacts]| plan(points, &policies, &[], at(NOW), &TimeZone::UTC).ok();
        prop_assert_eq!(all(&points), all(&shuffled));
    }

    #[test]
    fn what_is_simulated_is_what_daily_planning_keeps(
        retain in retains(), every in 1..30_u64, days in 1..40_u64, zone in 0..3_usize, start in 0..400_i64,
    ) {
        let zone = TimeZone::get(TRANSITIONS[zone].0).unwrap();
        let hours = |h: u64| Span(std::time::Duration::from_secs(h * 3600));
        let from = at("2026-01-01T00:20:00Z").checked_add(SignedDuration::from_hours(start * 24)).unwrap();
        let fast = simulate(Some(&retain), hours(every), hours(days * 24), from, &zone).unwrap();
        // Step by step: make the points of a day, plan, delete.
        let (mut there, mut next, mut made) = (Vec::<PointFacts>::new(), from, 0);
        for tick in &fast.timeline {
            while next <= tick.time {
                there.push(PointFacts { time: next, ..fact(&format!("{made:05}"), NOW) });
                made += 1;
                next = next.checked_add(SignedDuration::from_hours(i64::try_from(every).unwrap())).unwrap();
            }
            // A policy may want nothing that is left, as `all = "1h"` with a point a day: then nothing goes, and the
            // newest stays in the end.
            let Ok(plan) = plan(&there, &of(retain), &[], tick.time, &zone) else { return Ok(()) };
            let gone = gone(&plan);
            there.retain(|p| !gone.contains(&p.id));
            prop_assert_eq!(there.len() as u64, tick.points, "{}", tick.time);
        }
        prop_assert_eq!(fast.made, made);
        let slow: Vec<Timestamp> = there.iter().rev().map(|p| p.time).collect();
        let times: Vec<Timestamp> = fast.kept.iter().map(|p| p.time).collect();
        prop_assert_eq!(times, slow);
        let last = plan(&there, &of(retain), &[], fast.to, &zone).unwrap();
        for (simulated, kept) in fast.kept.iter().zip(&last.keep) {
            let rules: Vec<Rule> = kept.reasons.iter().filter_map(|r| match r {
                Reason::Rule { rule, .. } => Some(*rule),
                _ => None,
            }).collect();
            prop_assert_eq!(&simulated.rules, &rules);
        }
    }
}
