//! How a check chooses what it reads, what it notes of it, and what it says when a read goes wrong once.

use crate::kit;
use recoup_core::env::Env;
use recoup_repo::Id;
use recoup_repo::check::{Budget, CheckOptions, CheckReport, LedgerPlace, Slice, Subset, check};
use recoup_repo::repository::Repository;
use recoup_store::memory::Memory;
use recoup_store::{Key, Store};
use recoup_testkit::env::{ManualClock, real, scripted};
use recoup_testkit::faulty::{Fault, Faulty, Op, Script, flip};
use recoup_testkit::tree::{Tree, noise};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A repository of many packs, and where its ledger is.
struct World {
    memory: Memory,
    ledger: Memory,
    clock: Arc<ManualClock>,
    env: Env,
}

const SNAPSHOTS: u64 = 6;

impl World {
    async fn new() -> Self {
        World::of(7).await
    }

    async fn of(seed: u64) -> Self {
        let memory = Memory::new();
        let (env, clock) = scripted("2026-01-01T00:00:00Z", seed);
        let repo = kit::init(Arc::new(memory.clone()), &env).await.unwrap();
        for n in 0..SNAPSHOTS {
            let tree = Tree::new().file(format!("f{n}"), noise(n, 40_000 + n as usize * 1000));
            kit::backup(&repo, &tree, None).await.unwrap();
        }
        World { memory, ledger: Memory::new(), clock, env }
    }

    async fn open(&self) -> Repository {
        kit::open(Arc::new(self.memory.clone()), &self.env).await.unwrap()
    }

    async fn check(&self, slice: Option<Slice>) -> CheckReport {
        self.check_at(&self.open().await, slice).await
    }

    async fn check_at(&self, repo: &Repository, slice: Option<Slice>) -> CheckReport {
        let options = CheckOptions {
            read_data: slice.is_some(),
            slice: slice.unwrap_or_default(),
            ledger: Some(at(Arc::new(self.ledger.clone()))),
            ..CheckOptions::default()
        };
        check(repo, &options).await.unwrap()
    }

    fn packs(&self) -> Vec<Key> {
        let keys = self.memory.objects().into_keys();
        keys.filter(|key| key.as_str().starts_with("data/")).collect()
    }

    fn pass(&self, days: u64) {
        self.clock.advance(Duration::from_secs(days * 24 * 3600));
    }
}

fn at(store: Arc<dyn Store>) -> LedgerPlace {
    LedgerPlace { store, location: "memory".into() }
}

fn codes(report: &CheckReport) -> Vec<&'static str> {
    report.problems.iter().map(|problem| problem.code).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_reads_what_was_verified_longest_ago_first() {
    let world = World::new().await;
    let all = world.packs().len() as u64;
    assert_eq!(all, 2 * SNAPSHOTS);
    let before = world.check(None).await.verified.unwrap();
    assert_eq!((before.packs, before.never, before.oldest, before.lately), (all, all, None, 0));
    // One byte is a budget of one pack: each run takes another one, until all were read.
    for run in 1..=all {
        let report = world.check(Some(Slice::Budget(Budget::Bytes(1)))).await;
        let verified = report.verified.unwrap();
        assert_eq!((report.packs_read, verified.never, verified.lately), (1, all - run, run));
        assert_eq!(verified.oldest.is_some(), run == all);
        world.pass(1);
    }
    // After three weeks the first ones are due again, and only those.
    world.pass(21);
    let late = world.check(None).await.verified.unwrap();
    assert_eq!((late.never, late.lately), (0, all - 3), "{late:?}");
    let report = world.check(Some(Slice::Budget(Budget::Bytes(120_000)))).await;
    assert!(report.packs_read > 1 && report.bytes_read <= 120_000, "{report:?}");
    let now = report.verified.unwrap();
    assert!(now.oldest > late.oldest, "the oldest were read: {:?} {:?}", now.oldest, late.oldest);
    // No time is still time for one.
    let report = world.check(Some(Slice::Budget(Budget::Time(Duration::ZERO)))).await;
    assert_eq!(report.packs_read, 1);
    let report = world.check(Some(Slice::Budget(Budget::Time(Duration::from_secs(60))))).await;
    assert_eq!(report.packs_read, all, "the clock stands still, so there is time for all");
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_divide_as_restic_divides() {
    let world = World::new().await;
    let all = world.packs().len();
    let mut sum = 0;
    for part in 1..=5 {
        let report = world.check(Some(Slice::Part(Subset { part, of: 5 }))).await;
        let first_byte = |key: &Key| u32::from_str_radix(&key.file_name()[..2], 16).unwrap();
        let want = world.packs().iter().filter(|key| first_byte(key) % 5 == part - 1).count();
        assert_eq!(report.packs_read as usize, want);
        sum += want;
    }
    assert_eq!(sum, all);
    for (percent, want) in [(0.1, 1), (50.0, all / 2), (100.0, all)] {
        assert_eq!(world.check(Some(Slice::Percent(percent))).await.packs_read as usize, want, "{percent} %");
    }
    let whole = world.check(Some(Slice::All)).await.bytes_read;
    let some = world.check(Some(Slice::Bytes(100_000))).await.bytes_read;
    assert!((100_000..whole).contains(&some), "{some} of {whole}");
    assert_eq!(world.check(Some(Slice::Bytes(u64::MAX))).await.bytes_read, whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_46_a_ledger_that_was_changed_or_torn_is_noticed_and_counts_for_nothing() {
    let world = World::new().await;
    let all = world.packs().len() as u64;
    assert_eq!(world.check(Some(Slice::All)).await.verified.unwrap().never, 0);
    let (key, good) = world.ledger.objects().into_iter().next().unwrap();
    for at in (0..good.len()).step_by(13) {
        for harmed in [flip(&good, at * 8 + at % 8), good.slice(..at)] {
            world.ledger.tamper(&key, |_| Some(harmed));
            let report = world.check(None).await;
            assert_eq!((codes(&report), report.verified.unwrap().never), (vec!["W0487"], all), "byte {at}");
            assert!(report.problems.iter().all(|problem| !problem.is_serious()));
        }
    }
    // It was written anew each time, so the next check finds nothing odd, and nothing verified.
    let report = world.check(None).await;
    assert_eq!((codes(&report), report.verified.unwrap().never), (vec![], all));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_speaks_of_one_repository_and_of_no_time_to_come() {
    let world = World::new().await;
    world.check(Some(Slice::All)).await;
    let all = world.packs().len() as u64;
    let other = World::of(8).await;
    let (key, ledger) = world.ledger.objects().into_iter().next().unwrap();
    other.ledger.tamper(&key, |_| Some(ledger));
    let report = other.check(None).await;
    assert_eq!((codes(&report), report.verified.unwrap().never), (vec!["W0487"], all));
    // The same repository somewhere else.
    let elsewhere = LedgerPlace { location: "another place".into(), ..at(Arc::new(world.ledger.clone())) };
    let options = CheckOptions { ledger: Some(elsewhere), ..CheckOptions::default() };
    let report = check(&world.open().await, &options).await.unwrap();
    assert_eq!((codes(&report), report.verified.unwrap().never), (vec!["W0487"], all));
    // Somebody's clock was a year ahead.
    world.pass(365);
    world.check(Some(Slice::All)).await;
    let (early, _) = scripted("2026-02-01T00:00:00Z", 9);
    let repo = kit::open(Arc::new(world.memory.clone()), &early).await.unwrap();
    let verified = world.check_at(&repo, None).await.verified.unwrap();
    assert_eq!((verified.never, verified.lately), (all, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_pack_is_never_verified_and_one_that_is_gone_is_not_counted() {
    let world = World::new().await;
    let all = world.packs().len() as u64;
    world.check(Some(Slice::All)).await;
    let pack = world.packs().pop().unwrap();
    let whole = world.memory.objects().into_iter().find(|(key, _)| *key == pack).unwrap().1;
    world.memory.tamper(&pack, |bytes| bytes.map(|bytes| flip(&bytes, 800)));
    let report = world.check(Some(Slice::All)).await;
    assert!(!report.is_sound());
    assert_eq!(report.verified.unwrap().never, 1);
    // That it looks whole again is no proof before somebody has read it.
    world.memory.tamper(&pack, |_| Some(whole));
    assert_eq!(world.check(None).await.verified.unwrap().never, 1);
    assert_eq!(world.check(Some(Slice::Budget(Budget::Bytes(1)))).await.verified.unwrap().never, 0);
    world.memory.tamper(&pack, |_| None);
    let left = world.check(None).await.verified.unwrap();
    assert_eq!((left.packs, left.never), (all - 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_47_a_ledger_that_cannot_be_kept_takes_nothing_away() {
    let world = World::new().await;
    for fault in [Fault::NoSpace, Fault::Error(recoup_core::Kind::Denied)] {
        let scripts = [Script::always(Op::Put, "", fault)];
        let full: Arc<dyn Store> = Arc::new(Faulty::new(Arc::new(Memory::new()), scripts));
        let options = CheckOptions { read_data: true, ledger: Some(at(full)), ..CheckOptions::default() };
        let report = check(&world.open().await, &options).await.unwrap();
        assert_eq!(codes(&report), ["W0488"]);
        assert!(report.is_sound() && report.packs_read == report.packs);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_49_a_read_that_was_bad_once_is_a_warning_and_no_damage() {
    let world = World::new().await;
    let packs = world.packs().len();
    let mut flaky = 0;
    // The nth read of a pack is bad, whichever it is: a header, a directory, or content.
    for nth in 0..(4 * packs) {
        for fault in [Fault::FlipBit(300), Fault::Truncated(20)] {
            let scripts = [Script::once(Op::Get, "data/", nth, fault.clone())];
            let store: Arc<dyn Store> = Arc::new(Faulty::new(Arc::new(world.memory.clone()), scripts));
            let repo = kit::open(store, &world.env).await.unwrap();
            let options = CheckOptions { read_data: true, ..CheckOptions::default() };
            let report = check(&repo, &options).await.unwrap();
            assert!(report.is_sound(), "read {nth} {fault:?}: {:?}", report.problems);
            assert_eq!(report.packs_read as usize, packs);
            for problem in &report.problems {
                assert!(problem.code == "W0486" && problem.problem.contains("first read"), "{problem:?}");
                flaky += 1;
            }
        }
    }
    assert!(flaky > packs, "bad reads of content are told: {flaky}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_49_what_is_bad_every_time_is_damage() {
    let world = World::new().await;
    for pack in world.packs() {
        let prefix: &'static str = Box::leak(pack.as_str().to_owned().into_boxed_str());
        let scripts = [Script::always(Op::Get, prefix, Fault::FlipBit(300))];
        let store: Arc<dyn Store> = Arc::new(Faulty::new(Arc::new(world.memory.clone()), scripts));
        let repo = kit::open(store, &world.env).await.unwrap();
        let report = kit::check_all(&repo).await;
        assert!(!report.is_sound());
        let id: Id = pack.file_name().parse().unwrap();
        assert!(report.problems.iter().any(|p| p.is_serious() && p.object == format!("pack {id}")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_49_a_restore_reads_again_before_it_gives_a_file_up() {
    let memory = Memory::new();
    let repo = kit::init(Arc::new(memory.clone()), &real()).await.unwrap();
    let tree = Tree::new().file("a", noise(1, 900_000)).file("dir/b", noise(2, 5000));
    let root = kit::backup(&repo, &tree, None).await.unwrap().tree;
    let mut told = BTreeSet::new();
    for nth in 0..6 {
        let scripts = [Script::once(Op::Get, "data/", nth, Fault::FlipBit(nth * 1_000_003))];
        let store: Arc<dyn Store> = Arc::new(Faulty::new(Arc::new(memory.clone()), scripts));
        let repo = kit::open(store, &real()).await.unwrap();
        let (report, restored) = kit::restore_tree(&repo, root).await.unwrap();
        assert!(report.errors.is_empty(), "read {nth}: {:?}", report.errors);
        assert_eq!(recoup_testkit::restored::differences(&tree.flat(), &restored.flat()), "");
        told.extend(report.warnings.iter().map(|p| (p.error.stable_code(), p.path.to_string())));
    }
    let named = told.iter().filter(|(code, path)| *code == Some("W0486") && (path == "a" || path == "dir/b"));
    assert!(named.count() == told.len() && !told.is_empty(), "{told:?}");
}
