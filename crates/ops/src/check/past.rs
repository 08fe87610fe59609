//! The last drills against the classes: how old are the proofs, and how long did a restore take?

use crate::catalog::{Run, RunKind};
use crate::config::section::{Drill, DrillLevel};
use crate::config::{Loaded, Problem};
use crate::keys::record::{Current, Record};
use jiff::Timestamp;
use recoup_core::class::Class;
use recoup_core::event::Outcome;
use recoup_core::ladder::{Evidence, Rung};
use recoup_core::units::Span;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is known from before. Empty if nothing is: a new checkout, or a state directory that was lost.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Evidence by source, of every location.
    pub evidence: BTreeMap<String, Vec<Evidence>>,
    /// The newest measured restore by source.
    pub measured: BTreeMap<String, Measured>,
    /// The newest recovery kit.
    pub kit: Option<Record>,
    /// What a kit made now would say; what the configuration says if this is left out.
    pub current: Option<Current>,
}

/// How long a drill took until the data, or the application, was usable.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Seconds from the start of the restore until it was healthy.
    pub seconds: f64,
    /// When.
    pub at: Timestamp,
    /// Where it is written down, as in `drill D7`.
    pub by: String,
}

impl Past {
    /// What drills among `runs` say. A drill that started the application went through the restore
    /// and its checks, so it speaks of both rungs.
    pub fn of_runs(runs: &[Run]) -> Self {
        let mut past = Past::default();
        for run in runs.iter().filter(|run| run.kind == RunKind::Drill) {
            let application = run.document["level"] == "application";
            let rungs = [Some(Rung::Rehydrated), application.then_some(Rung::ApplicationProven)];
            let by = format!("drill {}", run.id);
            for source in &run.sources {
                for rung in rungs.into_iter().flatten() {
                    let evidence = Evidence { rung, outcome: run.outcome, at: run.at, by: by.clone() };
                    past.evidence.entry(source.clone()).or_default().push(evidence);
                }
                let newer = past.measured.get(source).is_none_or(|known| known.at < run.at);
                if let (Some(seconds), true) = (run.document["rto_seconds"].as_f64(), newer) {
                    past.measured.insert(source.clone(), Measured { seconds, at: run.at, by: by.clone() });
                }
            }
        }
        past
    }
}

/// All problems with the proofs.
pub(super) fn check(loaded: &Loaded, past: &Past, now: Timestamp) -> Vec<Problem> {
    let mut out = vec![];
    for (name, source) in &loaded.config.sources {
        let Some(class) = loaded.config.class_of(source) else { continue };
        for wanted in wanted(class) {
            scheduled(loaded, name, &wanted, &mut out);
            proven(loaded, name, &wanted, past, now, &mut out);
        }
        duration(loaded, name, class, past, &mut out);
    }
    // A class with several sources would say the same for each of them.
    out.dedup_by(|a, b| a.code == "W0413" && b.code == "W0413" && a.at == b.at);
    out
}

/// A proof that a class asks for.
struct Wanted<'c> {
    class: &'c str,
    key: &'static str,
    rung: Rung,
    level: DrillLevel,
    age_max: Span,
}

fn wanted(class: &Class) -> Vec<Wanted<'_>> {
    let one = |key, rung, level, age: Option<Span>| {
        age.map(|age_max| Wanted { class: &class.name, key, rung, level, age_max })
    };
    let proven = class.proven;
    [
        one("rehydrated", Rung::Rehydrated, DrillLevel::Rehydrated, proven.rehydrated),
        one("application", Rung::ApplicationProven, DrillLevel::Application, proven.application),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn scheduled(loaded: &Loaded, source: &str, wanted: &Wanted<'_>, out: &mut Vec<Problem>) {
    let config = &loaded.config;
    let covers = |drill: &Drill| {
        let set = drill.set.as_ref().and_then(|set| config.consistency.get(set));
        let named = drill.sources.as_ref().or(set.map(|set| &set.members));
        drill.level >= wanted.level && named.is_none_or(|names| names.iter().any(|n| n == source))
    };
    let gaps = config.drills.iter().filter(|(_, drill)| covers(drill)).filter_map(|(name, drill)| {
        let schedule: recoup_core::schedule::Schedule = drill.schedule.as_ref()?.parse().ok()?;
        Some((schedule.longest_gap()?, name))
    });
    let place = ["class", wanted.class, "proven"];
    match gaps.min() {
        None => {
            let problem = Problem::warning(
                "W0413",
                format!("no drill is scheduled that proves class `{}`", wanted.class),
            )
            .label(format!("{} = \"{}\"", wanted.key, wanted.age_max))
            .hint("[drill.nightly] schedule = \"daily 03:20\"");
            out.push(loaded.problem_at(problem, &place));
        }
        Some((gap, drill)) if gap > wanted.age_max => {
            let problem =
                Problem::error("E0303", format!("`drill.{drill}` is too rare for class `{}`", wanted.class))
                    .label(format!("up to {gap} apart; {} = \"{}\"", wanted.key, wanted.age_max))
                    .hint("schedule it more often, or allow older proofs");
            out.push(loaded.problem_at(problem, &["drill", drill, "schedule"]));
        }
        Some(_) => {}
    }
}

fn proven(
    loaded: &Loaded,
    source: &str,
    wanted: &Wanted<'_>,
    past: &Past,
    now: Timestamp,
    out: &mut Vec<Problem>,
) {
    let evidence = past.evidence.get(source).map(Vec::as_slice).unwrap_or_default();
    let newest = evidence.iter().filter(|e| e.rung == wanted.rung).max_by_key(|e| e.at);
    let place = ["class", wanted.class, "proven"];
    let title = format!("`source.{source}` is not {} as class `{}` asks", wanted.key, wanted.class);
    let Some(newest) = newest else {
        let problem = Problem::warning("W0416", title)
            .label(format!("{} = \"{}\", and no drill has tried it yet", wanted.key, wanted.age_max))
            .hint("recoup drill");
        out.push(loaded.problem_at(problem, &place));
        return;
    };
    let age = Span(Duration::from_secs(u64::try_from(now.as_second() - newest.at.as_second()).unwrap_or(0)));
    let label = match newest.outcome {
        Outcome::Pass if age <= wanted.age_max => return,
        Outcome::Pass => {
            format!("{} = \"{}\"; the last proof is {age} old ({})", wanted.key, wanted.age_max, newest.by)
        }
        Outcome::Unknown => format!("the last try could not find out ({})", newest.by),
        _ => format!("the last try failed ({}, {age} ago)", newest.by),
    };
    let problem = Problem::error("E0303", title).label(label).hint("recoup drill");
    out.push(loaded.problem_at(problem, &place));
}

fn duration(loaded: &Loaded, source: &str, class: &Class, past: &Past, out: &mut Vec<Problem>) {
    let (Some(rto), Some(measured)) = (class.rto, past.measured.get(source)) else { return };
    if measured.seconds > rto.0.as_secs_f64() {
        let took = Span(Duration::try_from_secs_f64(measured.seconds.max(0.0)).unwrap_or(Duration::MAX));
        let problem = Problem::error(
            "E0304",
            format!("`source.{source}` cannot be back as soon as class `{}` asks", class.name),
        )
        .label(format!("rto is {rto}; {} took {took}", measured.by))
        .hint("look at the stages of the drill for what is slow, or change `rto`");
        out.push(loaded.problem_at(problem, &["class", &class.name, "rto"]));
    }
}
