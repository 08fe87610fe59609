//! The defining test: for every prefix of every recorded journal, resume reaches the same end, with
//! each step run once and twice. A model world takes the effects; failures are values.

use super::*;
use crate::plan::{Compat, Forecast};
use std::collections::BTreeSet;

/// What the model world can suffer: steps that always fail, undos that always fail.
#[derive(Clone, Debug, Default)]
struct Faults {
    act: BTreeSet<u32>,
    undo: BTreeSet<u32>,
}

/// The effects in force. Doing and undoing are idempotent, as real steps must be.
#[derive(Clone, Debug, Default, PartialEq)]
struct World(BTreeSet<u32>);

/// How an effect meets the crash or the repetition.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Times {
    Once,
    Twice,
}

fn plan(aside: u32, promote: u32) -> Plan {
    let step = |id: u32| {
        let phase = if id <= aside { Phase::Aside } else { Phase::Promote };
        let source = format!("s{id}");
        let action = match id {
            i if i == aside + 1 => Action::Gate {},
            i if i > aside + 3 => {
                Action::Switch { source, restored: "r".into(), target: "t".into(), keep: "k".into() }
            }
            i if i > aside => Action::Keep { source, keep: "k".into() },
            _ => Action::Create { source, folder: "f".into() },
        };
        Step { id, phase, action }
    };
    Plan {
        restore: "R1".into(),
        purpose: Purpose::Aside,
        application: "shop".into(),
        point: "p".into(),
        point_time: Timestamp::UNIX_EPOCH,
        location: "local".into(),
        target: "t".into(),
        decided: Timestamp::UNIX_EPOCH,
        compat: Compat::default(),
        forecast: Forecast::default(),
        steps: (1..=aside + promote).map(step).collect(),
    }
}

fn note(journal: &mut Journal, step: u32, event: StepEvent) {
    journal.apply(Record::new(Timestamp::UNIX_EPOCH, step, event)).unwrap();
}

/// The executor of the model; `ops` has the real one with the same loop.
fn run(journal: &mut Journal, world: &mut World, faults: &Faults, goal: Goal, times: Times) {
    for _ in 0..1000 {
        match journal.next(goal) {
            Next::Rest => return,
            Next::Do(id) => {
                note(journal, id, StepEvent::Started);
                if faults.act.contains(&id) {
                    note(journal, id, StepEvent::Failed);
                    if journal.plan().step(id).unwrap().phase == Phase::Aside {
                        return;
                    }
                    continue;
                }
                for _ in 0..if times == Times::Once { 1 } else { 2 } {
                    world.0.insert(id);
                }
                note(journal, id, StepEvent::Done);
            }
            Next::Undo(id) => {
                note(journal, id, StepEvent::UndoStarted);
                if faults.undo.contains(&id) {
                    note(journal, id, StepEvent::UndoFailed);
                    return;
                }
                for _ in 0..if times == Times::Once { 1 } else { 2 } {
                    world.0.remove(&id);
                }
                note(journal, id, StepEvent::Undone);
            }
        }
    }
    panic!("the executor did not come to rest");
}

/// A person's command: promoting opens the gate, and only data that is proved can be promoted.
fn command(journal: &mut Journal, world: &mut World, faults: &Faults, goal: Goal) {
    match (goal, journal.state(false)) {
        (Goal::Promoted, State::Proved) => {
            if let Some(gate) = journal.gate_step() {
                note(journal, gate, StepEvent::Started);
            }
        }
        (Goal::Promoted, _) => return,
        (Goal::RolledBack, s) if s != State::Promoted => return,
        _ => {}
    }
    run(journal, world, faults, goal, Times::Once);
}

/// The state of the world after a prefix; `landed` says whether the effect in flight took place.
fn world_after(records: &[Record], faults: &Faults, landed: bool) -> World {
    let mut world = World::default();
    for (i, record) in records.iter().enumerate() {
        let in_flight = i + 1 == records.len() && landed;
        match record.event {
            StepEvent::Done => {
                world.0.insert(record.step);
            }
            StepEvent::Undone => {
                world.0.remove(&record.step);
            }
            StepEvent::Started if in_flight && !faults.act.contains(&record.step) => {
                world.0.insert(record.step);
            }
            StepEvent::UndoStarted if in_flight && !faults.undo.contains(&record.step) => {
                world.0.remove(&record.step);
            }
            _ => {}
        }
    }
    world
}

/// A person's commands: restore, then promote, then roll back, then discard.
const COMMANDS: [Goal; 4] = [Goal::Proved, Goal::Promoted, Goal::RolledBack, Goal::Discarded];

fn faults_of(seed: u64, steps: u32) -> Faults {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut chance = |one_in: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.is_multiple_of(one_in)
    };
    let mut faults = Faults::default();
    for id in 1..=steps {
        if chance(6) {
            faults.act.insert(id);
        }
        if chance(9) {
            faults.undo.insert(id);
        }
    }
    faults
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the seed to replay comes from the environment")]
fn every_prefix_of_every_journal_resumes_to_the_same_end() {
    let only: Option<u64> = std::env::var("RECOUP_TEST_SEED").ok().and_then(|s| s.parse().ok());
    let mut prefixes = 0;
    for seed in only.map_or(0..60, |s| s..s + 1) {
        let (aside, promote) = (1 + (seed % 4) as u32, if seed % 5 == 4 { 0 } else { 3 + (seed % 3) as u32 });
        let faults = if seed == 0 { Faults::default() } else { faults_of(seed, aside + promote) };
        for upto in 1..=COMMANDS.len() {
            let mut recorded = Journal::new(plan(aside, promote));
            let mut end = World::default();
            let mut begun = Vec::new();
            for goal in &COMMANDS[..upto] {
                begun.push(recorded.records().len());
                command(&mut recorded, &mut end, &faults, *goal);
            }
            // A prefix inside the last command; earlier ones were acknowledged and are over.
            let from = *begun.last().unwrap() + 1;
            for cut in from..=recorded.records().len() {
                for (landed, times) in
                    [(false, Times::Once), (true, Times::Once), (false, Times::Twice), (true, Times::Twice)]
                {
                    prefixes += 1;
                    resume_and_compare(
                        &recorded,
                        cut,
                        landed,
                        times,
                        &faults,
                        &end,
                        COMMANDS[upto - 1],
                        seed,
                    );
                }
            }
        }
    }
    assert!(prefixes > 1000 || only.is_some(), "only {prefixes} prefixes were tried");
}

#[allow(clippy::too_many_arguments, reason = "the case, spelled out for the failure message")]
fn resume_and_compare(
    recorded: &Journal,
    cut: usize,
    landed: bool,
    times: Times,
    faults: &Faults,
    end: &World,
    goal: Goal,
    seed: u64,
) {
    let prefix = &recorded.records()[..cut];
    let mut text = recorded.encode_header();
    for record in prefix {
        text += &Journal::encode(record);
    }
    let (mut journal, whole) = Journal::parse(text.as_bytes()).unwrap();
    assert_eq!(whole, text.len());
    let mut world = world_after(prefix, faults, landed);
    let goal = if journal.state(false) == State::Interrupted { journal.goal() } else { goal };
    run(&mut journal, &mut world, faults, goal, times);
    let case =
        format!("RECOUP_TEST_SEED={seed} cut {cut} landed {landed} {times:?} goal {goal:?} {faults:?}");
    assert_eq!(&world, end, "{case}");
    assert_eq!(journal.state(false), recorded.state(false), "{case}");
}

#[test]
fn the_states_have_their_names() {
    let mut journal = Journal::new(plan(2, 4));
    let mut world = World::default();
    assert_eq!(journal.state(false), State::Planned);
    run(&mut journal, &mut world, &Faults::default(), Goal::Proved, Times::Once);
    assert_eq!(journal.state(false), State::Proved);
    assert_eq!(journal.state(true), State::Running);
    assert!(journal.next_actions(State::Proved)[0].starts_with("recoup promote R1 --confirm "));
    run(&mut journal, &mut world, &Faults::default(), Goal::Promoted, Times::Once);
    assert_eq!(journal.state(false), State::Promoted);
    run(&mut journal, &mut world, &Faults::default(), Goal::RolledBack, Times::Once);
    assert_eq!(journal.state(false), State::RolledBack);
    assert_eq!(world.0, BTreeSet::from([1, 2]));
}

#[test]
fn a_promotion_that_fails_before_the_switch_can_be_tried_again() {
    let mut journal = Journal::new(plan(1, 4));
    let mut world = World::default();
    run(&mut journal, &mut world, &Faults::default(), Goal::Proved, Times::Once);
    let held = Faults { act: BTreeSet::from([3]), ..Faults::default() };
    run(&mut journal, &mut world, &held, Goal::Promoted, Times::Once);
    assert_eq!(journal.state(false), State::Proved);
    assert_eq!(journal.failure().unwrap().0.id, 3);
    command(&mut journal, &mut world, &Faults::default(), Goal::Promoted);
    assert!(journal.failure().is_none());
    assert_eq!(journal.state(false), State::Promoted);
}

#[test]
fn a_failed_undo_is_stuck_and_says_what_a_person_must_do() {
    let mut journal = Journal::new(plan(1, 4));
    let mut world = World::default();
    run(&mut journal, &mut world, &Faults::default(), Goal::Proved, Times::Once);
    let faults = Faults { act: BTreeSet::from([5]), undo: BTreeSet::from([4]) };
    run(&mut journal, &mut world, &faults, Goal::Promoted, Times::Once);
    assert_eq!(journal.state(false), State::Stuck);
    let next = journal.next_actions(State::Stuck);
    assert!(next[0].contains("step 4") && next[1] == "recoup resume R1", "{next:?}");
    assert_eq!(journal.goal(), Goal::RolledBack);
    run(&mut journal, &mut world, &Faults::default(), Goal::RolledBack, Times::Once);
    assert_eq!(journal.state(false), State::RolledBack);
}

#[test]
fn illegal_transitions_are_errors_and_change_nothing() {
    let mut journal = Journal::new(plan(2, 3));
    let at = |step, event| Record::new(Timestamp::UNIX_EPOCH, step, event);
    for bad in [
        at(1, StepEvent::Done),
        at(2, StepEvent::Started),
        at(9, StepEvent::Started),
        at(1, StepEvent::Undone),
    ] {
        assert_eq!(journal.apply(bad).unwrap_err().stable_code(), Some("E0631"));
    }
    note(&mut journal, 1, StepEvent::Started);
    note(&mut journal, 1, StepEvent::Done);
    assert!(journal.apply(at(1, StepEvent::Started)).is_err(), "done is done");
    note(&mut journal, 2, StepEvent::Started);
    assert!(journal.apply(at(1, StepEvent::UndoStarted)).is_err(), "a later step stands on it");
    assert_eq!(journal.records().len(), 3);
}

#[test]
fn a_torn_last_line_never_counted_and_a_changed_plan_is_found() {
    let mut journal = Journal::new(plan(1, 3));
    note(&mut journal, 1, StepEvent::Started);
    let mut text = journal.encode_header() + &Journal::encode(&journal.records()[0]);
    let whole = text.len();
    text += "{\"at\":\"1970-01-01T00:00:00Z\",\"st";
    let (read, bytes) = Journal::parse(text.as_bytes()).unwrap();
    assert_eq!((read.records().len(), bytes), (1, whole));
    let changed = text.replace("\"application\":\"shop\"", "\"application\":\"shoe\"");
    assert_eq!(Journal::parse(changed.as_bytes()).unwrap_err().stable_code(), Some("E0630"));
    for cut in 0..whole {
        // No cut may panic; a cut inside the header is an error, one after it a shorter journal.
        drop(Journal::parse(&text.as_bytes()[..cut]));
    }
}
