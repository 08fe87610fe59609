//! The planner of a prune, without a repository.

use jiff::Timestamp;
use proptest::prelude::*;
use recoup_repo::golang::time::GoTime;
use recoup_repo::pack::{PackEntry, size_of};
use recoup_repo::prune::{Action, Facts, Goals, PackFact, PackState, Plan, Unused, bytes, plan};
use recoup_repo::{BlobHandle, Id};
use std::collections::HashSet;
use std::time::Duration;

fn now() -> Timestamp {
    "2027-01-01T00:00:00Z".parse().unwrap()
}

fn hours_ago(hours: i64) -> PackState {
    let at = now() - jiff::SignedDuration::from_hours(hours);
    PackState::Marked(Some(GoTime { at, offset_seconds: 0 }))
}

fn goals() -> Goals {
    Goals {
        max_unused: Unused::Bytes(0),
        max_repack_bytes: None,
        keep_delete: Duration::from_secs(23 * 3600),
        now: now(),
        prefer: HashSet::new(),
        repack: true,
    }
}

/// A pack of blobs by number, odd ones are trees, each of `length` bytes.
fn pack(name: u8, state: PackState, blobs: &[u8], length: u32) -> (PackFact, Vec<PackEntry>) {
    let entry = |(at, &n): (usize, &u8)| {
        let id = Id::of(&[n]);
        let handle = if n % 2 == 0 { BlobHandle::data(id) } else { BlobHandle::tree(id) };
        PackEntry { handle, offset: at as u32 * length, length, uncompressed: None }
    };
    let entries: Vec<PackEntry> = blobs.iter().enumerate().map(entry).collect();
    let size = Some(size_of(&entries));
    (PackFact { id: Id::of(&[name, 0]), size, sound: true, state }, entries)
}

fn needed(facts: &Facts, blobs: &[u8]) -> Vec<bool> {
    let wanted: HashSet<Id> = blobs.iter().map(|n| Id::of(&[*n])).collect();
    facts.copies.iter().map(|copy| wanted.contains(&copy.entry.handle.id)).collect()
}

fn action(facts: &Facts, plan: &Plan, name: u8) -> Action {
    let at = facts.packs.iter().position(|pack| pack.id == Id::of(&[name, 0])).unwrap();
    plan.actions[at]
}

const MIB: u32 = 1 << 20;

#[test]
fn each_pack_gets_what_it_deserves() {
    let facts = Facts::new(vec![
        pack(1, PackState::Live, &[0, 2, 4, 6, 8], MIB),
        pack(2, PackState::Live, &[10, 12], 3 * MIB),
        pack(3, PackState::Live, &[14, 16], 3 * MIB),
        pack(4, hours_ago(22), &[18], MIB),
        pack(5, hours_ago(24), &[20], MIB),
        pack(6, hours_ago(24), &[22], 6 * MIB),
        pack(7, PackState::Unlisted, &[24], 6 * MIB),
        pack(8, PackState::Unlisted, &[26], MIB),
        pack(9, PackState::Marked(None), &[28], MIB),
    ]);
    let plan = plan(&facts, &needed(&facts, &[0, 2, 4, 6, 8, 10, 22, 24]), &goals()).unwrap();
    let all: Vec<Action> = (1..10).map(|name| action(&facts, &plan, name)).collect();
    use Action::{Keep, Mark, Recover, Remove, Repack, Wait};
    assert_eq!(all, [Keep, Repack, Mark, Wait, Remove, Recover, Keep, Mark, Mark]);
    let numbers = plan.numbers;
    assert_eq!((numbers.packs_kept, numbers.bytes_repacked, numbers.bytes_unused_after), (2, 3 << 20, 0));
}

#[test]
fn limits_are_kept_and_small_packs_merged() {
    let facts = Facts::new(vec![
        pack(1, PackState::Live, &[0, 2], 4 * MIB),
        pack(2, PackState::Live, &[4, 6, 8], 4 * MIB),
    ]);
    let used = needed(&facts, &[0, 4, 6]);
    let with = |max_unused, max_repack_bytes| {
        let plan = plan(&facts, &used, &Goals { max_unused, max_repack_bytes, ..goals() }).unwrap();
        (plan.numbers.packs_repacked, plan.numbers.bytes_unused_after >> 20)
    };
    assert_eq!(with(Unused::Unlimited, None), (0, 8));
    assert_eq!(with(Unused::Bytes(8 << 20), None), (0, 8));
    assert_eq!(with(Unused::Bytes(4 << 20), None), (1, 4));
    assert_eq!(with(Unused::Percent(1.0), None), (2, 0));
    assert_eq!(with(Unused::Bytes(0), Some(9 << 20)), (1, 4));
    let small = (0..10).map(|n| pack(n, PackState::Live, &[2 * n], 100)).collect();
    let facts = Facts::new(small);
    let merged = plan(&facts, &[true; 10], &goals()).unwrap();
    assert!(merged.actions.iter().all(|action| *action == Action::Repack));
}

#[test]
fn options_are_read_as_restic_reads_them() {
    assert_eq!("5%".parse::<Unused>().unwrap(), Unused::Percent(5.0));
    assert_eq!("200M".parse::<Unused>().unwrap(), Unused::Bytes(200 << 20));
    assert_eq!("unlimited".parse::<Unused>().unwrap(), Unused::Unlimited);
    for wrong in ["100%", "-1%", "", "x", "9%%", "nan%"] {
        assert!(wrong.parse::<Unused>().is_err(), "{wrong}");
    }
    assert_eq!((bytes("0"), bytes("2g"), bytes("99999999999T")), (Some(0), Some(2 << 30), None));
}

fn any_state() -> impl Strategy<Value = PackState> {
    prop_oneof![
        3 => Just(PackState::Live),
        1 => Just(PackState::Unlisted),
        1 => (0..48_i64).prop_map(hours_ago),
        1 => Just(PackState::Marked(None)),
    ]
}

proptest! {
    /// Of every needed blob exactly one copy is relied on, in a sound pack that stays or is rewritten.
    #[test]
    fn trap_01_every_needed_blob_is_kept_once(
        packs in proptest::collection::vec((any_state(), proptest::collection::vec(0..20_u8, 0..6), any::<[bool; 2]>()), 0..12),
        used in proptest::collection::vec(0..20_u8, 0..20),
        (length, instant, repack) in (32..2 * MIB, any::<bool>(), any::<bool>()),
    ) {
        let make = |(n, (state, blobs, [sound, there])): (usize, (PackState, Vec<u8>, [bool; 2]))| {
            let (mut fact, entries) = pack(n as u8, state, &blobs, length);
            fact.sound = sound && there && !entries.is_empty();
            fact.size = fact.size.filter(|_| there);
            (fact, entries)
        };
        let facts = Facts::new(packs.into_iter().enumerate().map(make).collect());
        let keep_delete = if instant { Duration::ZERO } else { goals().keep_delete };
        let needed = needed(&facts, &used);
        let in_sound = |handle: &BlobHandle| facts.copies_of(handle).any(|at| facts.pack_of(at).sound);
        match plan(&facts, &needed, &Goals { keep_delete, repack, ..goals() }) {
            Err(missing) => prop_assert!(!missing.is_empty() && missing.iter().all(|handle| !in_sound(handle))),
            Ok(plan) => {
                for (at, copy) in facts.copies.iter().enumerate() {
                    let copies = facts.copies_of(&copy.entry.handle);
                    let relied_on = copies.filter(|&other| plan.relied_on[other]).count();
                    prop_assert_eq!(relied_on, usize::from(needed[at]));
                    if plan.relied_on[at] {
                        prop_assert!(facts.pack_of(at).sound);
                        let action = plan.actions[copy.pack as usize];
                        prop_assert!(matches!(action, Action::Keep | Action::Recover | Action::Repack));
                        prop_assert!(repack || action != Action::Repack);
                    }
                }
            }
        }
    }
}
