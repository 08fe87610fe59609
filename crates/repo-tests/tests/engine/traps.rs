//! Mistakes that other backup tools have made, and that cost somebody data. Each test shows that we do not
//! make it; the numbers are those of the project's list of traps. Those that are not here carry their number in
//! the name of a test elsewhere: `grep -rn trap_ crates`.
//!
//! One has no test because it has no subject yet. Trap 51: objects under a retention lock, of which only new ones
//! are protected while old packs run out. No location of this version locks objects: `Store::lock_until` of a
//! local folder says that it cannot, and nothing counts on it. The test belongs to the location that can.

use crate::kit;
use recoup_core::Kind;
use recoup_core::entry::{Folder, Item, Listing};
use recoup_core::env::Env;
use recoup_repo::config::Config;
use recoup_repo::index::{IndexBuilder, IndexFile, IndexPack};
use recoup_repo::locks::LockMode;
use recoup_repo::pack::{PackEntry, size_of};
use recoup_repo::repository::Repository;
use recoup_repo::write::{WriteOptions, Writer};
use recoup_repo::{BlobHandle, BlobKind, Id, ObjectKind, Snapshot, layout};
use recoup_store::memory::Memory;
use recoup_store::{Key, Store};
use recoup_testkit::env::{SeededEntropy, real, scripted};
use recoup_testkit::evil::{Evil, dir, file};
use recoup_testkit::faulty::{Fault, Faulty, Op, Script};
use recoup_testkit::tree::{Tree, noise, seed};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

fn some_tree() -> Tree {
    Tree::new()
        .file("a/small", "some words")
        .file("a/large", noise(5, 1_500_000))
        .file("b/other", noise(6, 3000))
}

/// An empty repository and a store in front of it that misbehaves.
async fn behind(scripts: impl IntoIterator<Item = Script>) -> (Memory, Repository) {
    let memory = Memory::new();
    kit::init(Arc::new(memory.clone()), &real()).await.unwrap();
    let faulty: Arc<dyn Store> = Arc::new(Faulty::new(Arc::new(memory.clone()), scripts));
    (memory, kit::open(faulty, &real()).await.unwrap())
}

/// Backs up through the honest store; after that everything is there and sound.
async fn heals(memory: &Memory, about: &str) {
    // Randomness of its own: with the same seed the same pack would come again, which never happens in life.
    let env = Env { entropy: SeededEntropy::new(2), ..real() };
    let repo = kit::open(Arc::new(memory.clone()), &env).await.unwrap();
    repo.unlock(true).await.unwrap();
    let backup = kit::backup(&repo, &some_tree(), None).await.unwrap();
    assert_eq!(kit::restore_complaint(&repo, backup.tree, &some_tree().flat()).await, "", "{about}");
}

fn names(memory: &Memory, kind: ObjectKind) -> Vec<Key> {
    let prefix = format!("{}/", layout::prefix(kind));
    memory.objects().into_keys().filter(|key| key.as_str().starts_with(&prefix)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_03_an_upload_that_failed_is_in_no_index_and_in_no_snapshot() {
    for nth in 0..2 {
        let script = Script::once(Op::Put, "data", nth, Fault::Error(Kind::Unavailable));
        let (memory, repo) = behind([script]).await;
        kit::backup(&repo, &some_tree(), None).await.unwrap_err();
        assert!(names(&memory, ObjectKind::Snapshot).is_empty());
        let honest = kit::open(Arc::new(memory.clone()), &real()).await.unwrap();
        let index = honest.index().await.unwrap();
        assert!(index.packs().iter().all(|pack| pack.sound), "{:?}", index.packs());
        heals(&memory, "an error").await;
    }
}

/// No client can do better than to notice when it looks: the store said yes.
#[tokio::test(flavor = "multi_thread")]
async fn row_033_trap_03_an_upload_that_was_lost_after_the_yes_is_found_and_made_good() {
    for fault in [Fault::LostAfterOk, Fault::Short(10), Fault::Short(0)] {
        let (memory, repo) = behind([Script::once(Op::Put, "data", 0, fault.clone())]).await;
        let _ = kit::backup(&repo, &some_tree(), None).await;
        let honest = kit::open(Arc::new(memory.clone()), &real()).await.unwrap();
        if !names(&memory, ObjectKind::Snapshot).is_empty() {
            assert!(!kit::serious(&honest).await.is_empty(), "{fault:?} is not noticed");
        }
        heals(&memory, &format!("{fault:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_07_a_listing_that_is_cut_short_costs_room_and_never_data() {
    for prefix in ["index", "data", "snapshots"] {
        let memory = Memory::new();
        let repo = kit::init(Arc::new(memory.clone()), &real()).await.unwrap();
        let first = kit::backup(&repo, &some_tree(), None).await.unwrap();
        let script = Script::always(Op::List, prefix, Fault::ShortList(0));
        let faulty: Arc<dyn Store> = Arc::new(Faulty::new(Arc::new(memory.clone()), [script]));
        let cut = kit::open(faulty, &real()).await.unwrap();
        let second = some_tree().changed(1);
        let newer = kit::backup(&cut, &second, Some(first.tree)).await.unwrap();
        let whole = kit::open(Arc::new(memory.clone()), &real()).await.unwrap();
        assert_eq!(kit::serious(&whole).await, [""; 0], "{prefix}");
        assert_eq!(kit::restore_complaint(&whole, first.tree, &some_tree().flat()).await, "", "{prefix}");
        assert_eq!(kit::restore_complaint(&whole, newer.tree, &second.flat()).await, "", "{prefix}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_07_a_check_that_sees_no_packs_is_not_content() {
    let memory = Memory::new();
    let repo = kit::init(Arc::new(memory.clone()), &real()).await.unwrap();
    kit::backup(&repo, &some_tree(), None).await.unwrap();
    let script = Script::always(Op::List, "data", Fault::ShortList(1));
    let faulty: Arc<dyn Store> = Arc::new(Faulty::new(Arc::new(memory), [script]));
    assert!(!kit::serious(&kit::open(faulty, &real()).await.unwrap()).await.is_empty());
}

#[tokio::test]
async fn trap_24_a_file_without_a_list_of_content_is_named_and_its_siblings_are_there() {
    let mut evil = Evil::new();
    let mut missing = file("missing", &[], 0);
    missing.as_object_mut().unwrap().remove("content");
    let mut null = file("null", &[], 0);
    null["content"] = json!(null);
    let tree = evil.tree(&[file("empty", &[], 0), missing, null]);
    evil.snapshot(tree);
    let store: Arc<dyn Store> = Arc::new(evil.finish());
    let password = Evil::password();
    let repo = Repository::open(store, &password, recoup_repo::Limits::default(), &real()).await.unwrap();
    let (report, restored) = kit::restore_tree(&repo, tree).await.unwrap();
    assert_eq!(restored.flat().keys().map(ToString::to_string).collect::<Vec<_>>(), ["empty"]);
    let told = format!("{:?}", report.errors);
    assert!(report.errors.len() == 2 && told.contains("missing") && told.contains("null"), "{told}");
}

/// restic calls a list that is null an error, so an empty file has an empty list, and nothing else has one.
#[tokio::test]
async fn trap_24_an_empty_file_is_written_with_an_empty_list() {
    let repo = kit::init(Arc::new(Memory::new()), &real()).await.unwrap();
    let backup = kit::backup(&repo, &Tree::new().file("f", "").dir("d"), None).await.unwrap();
    let json = repo.blob(BlobHandle::tree(backup.tree)).await.unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["nodes"][0]["content"], json!(null), "{json}");
    assert_eq!(json["nodes"][1]["content"], json!([]), "{json}");
}

#[tokio::test]
async fn trap_26_the_config_is_never_compressed() {
    let memory = Memory::new();
    kit::init(Arc::new(memory.clone()), &real()).await.unwrap();
    let plain = Config::new(&real(), None).unwrap().encode().unwrap();
    assert!(plain.starts_with(b"{"));
    // Sealing adds exactly 32 bytes, so as many bytes as JSON means that it is JSON.
    assert_eq!(memory.objects()[&layout::config()].len(), plain.len() + 32);

    let mut evil = Evil::new();
    evil.config(&recoup_repo::unpacked::encode(2, plain).unwrap());
    let store: Arc<dyn Store> = Arc::new(evil.finish());
    let limits = recoup_repo::Limits::default();
    let error = Repository::open(store, &Evil::password(), limits, &real()).await.unwrap_err();
    assert_eq!((error.kind(), error.stable_code()), (Kind::Corrupt, Some("E0418")), "{error:?}");
}

#[tokio::test]
async fn trap_27_unsorted_and_double_names_are_read_as_far_as_they_make_sense() {
    let mut evil = Evil::new();
    let (one, two) = (evil.data(b"one"), evil.data(b"two"));
    let below = evil.tree(&[file("f", &[one], 3)]);
    let nodes = [file("z", &[one], 3), dir("m", below), file("a", &[two], 3), file("z", &[two], 3)];
    let tree = evil.tree(&nodes);
    evil.snapshot(tree);
    let store: Arc<dyn Store> = Arc::new(evil.finish());
    let limits = recoup_repo::Limits::default();
    let repo = Repository::open(store, &Evil::password(), limits, &real()).await.unwrap();
    let (report, restored) = kit::restore_tree(&repo, tree).await.unwrap();
    let flat = restored.flat();
    let names: Vec<String> = flat.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["a", "m", "m/f", "z"]);
    let codes: Vec<_> = report.errors.iter().map(|p| p.error.stable_code()).collect();
    assert_eq!(codes, [Some("E0430")], "{:?}", report.errors);
}

/// A folder that lists its entries backwards.
struct Backwards(Tree);

impl Folder for Backwards {
    fn list(&self) -> recoup_core::Result<Listing> {
        let listing = self.0.folder().list()?;
        let items: Vec<Item> = listing.items.into_iter().rev().collect();
        Ok(Listing { items, problems: listing.problems })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_27_whatever_the_order_of_a_listing_the_tree_is_the_same_and_sorted() {
    let tree = Tree::random(seed(), 60);
    let repo = kit::init(Arc::new(Memory::new()), &real()).await.unwrap();
    let expected = kit::backup(&repo, &tree, None).await.unwrap();
    let mut writer = Writer::begin(&repo, WriteOptions::default()).await.unwrap();
    let report = writer.tree(Box::new(Backwards(tree)), None, "shop/media").await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(report.tree, expected.tree);
    let stored = recoup_repo::Tree::decode(&repo.blob(BlobHandle::tree(report.tree)).await.unwrap()).unwrap();
    assert_eq!(stored.problems, []);
    assert!(stored.nodes.is_sorted_by(|a, b| a.name() < b.name()));
}

#[test]
fn trap_31_the_index_answers_as_a_plain_map_does() {
    use rand::{RngExt, SeedableRng};
    let mut random = rand::rngs::StdRng::seed_from_u64(seed());
    for _ in 0..30 {
        let mut plain: BTreeMap<BlobHandle, BTreeSet<(Id, u32)>> = BTreeMap::new();
        let (mut builder, mut sizes) = (IndexBuilder::default(), HashMap::new());
        for pack in 0..random.random_range(1..40_u32) {
            let pack = Id::of(&pack.to_le_bytes());
            let mut blobs: Vec<PackEntry> = Vec::new();
            for _ in 0..random.random_range(1..200) {
                let id = Id::of(&random.random_range(0..2000_u32).to_le_bytes());
                let kind = if random.random() { BlobKind::Data } else { BlobKind::Tree };
                let offset = blobs.last().map_or(0, |b| b.offset + b.length);
                let handle = BlobHandle { kind, id };
                blobs.push(PackEntry {
                    handle,
                    offset,
                    length: random.random_range(32..90),
                    uncompressed: None,
                });
                plain.entry(handle).or_default().insert((pack, offset));
            }
            sizes.insert(pack, size_of(&blobs));
            // One pack over two index files, some of it in both.
            let (from, to) = (random.random_range(0..=blobs.len()), random.random_range(0..=blobs.len()));
            for part in [&blobs[..from.max(to)], &blobs[from.min(to)..]] {
                builder.add(IndexFile { packs: vec![IndexPack { id: pack, blobs: part.to_vec() }] });
            }
        }
        assert_eq!(builder.doubtful(&sizes), []);
        let index = builder.finish(&sizes);
        assert_eq!(index.len(), plain.values().map(BTreeSet::len).sum::<usize>());
        for (handle, places) in &plain {
            let found: BTreeSet<_> = index.lookup(handle).map(|l| (l.pack, l.entry.offset)).collect();
            assert_eq!(&found, places);
        }
        for n in 0..4000_u32 {
            let handle = BlobHandle::data(Id::of(&n.to_le_bytes()));
            assert_eq!(index.has(&handle), plain.contains_key(&handle));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_34_what_is_remembered_of_a_repository_is_never_older_than_its_lock() {
    let memory = Memory::new();
    let repo = kit::init(Arc::new(memory.clone()), &real()).await.unwrap();
    let first = kit::backup(&repo, &some_tree(), None).await.unwrap();
    repo.index().await.unwrap();
    for parent in [None, Some(first.tree)] {
        // Somebody else forgets and prunes everything, between two runs of ours.
        for kind in [ObjectKind::Snapshot, ObjectKind::Index, ObjectKind::Pack] {
            for key in names(&memory, kind) {
                memory.delete(&key).await.unwrap();
            }
        }
        let again = kit::backup(&repo, &some_tree(), parent).await.unwrap();
        let fresh = kit::open(Arc::new(memory.clone()), &real()).await.unwrap();
        assert_eq!(kit::restore_complaint(&fresh, again.tree, &some_tree().flat()).await, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_35_a_full_store_ends_the_run_and_is_no_trouble_with_a_file() {
    for prefix in ["data", "index", "snapshots"] {
        let (memory, repo) = behind([Script::always(Op::Put, prefix, Fault::NoSpace)]).await;
        let error = kit::backup(&repo, &some_tree(), None).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.stable_code()),
            (Kind::Unavailable, Some("E0401")),
            "{prefix}: {error:?}"
        );
        assert!(names(&memory, ObjectKind::Snapshot).is_empty());
    }
}

#[tokio::test]
async fn trap_36_an_object_in_the_place_of_another_kind_is_refused() {
    let memory = Memory::new();
    let repo = kit::init(Arc::new(memory.clone()), &real()).await.unwrap();
    let backup = kit::backup(&repo, &some_tree(), None).await.unwrap();
    let kinds = [ObjectKind::Snapshot, ObjectKind::Index];
    for (from, to) in [(kinds[0], kinds[1]), (kinds[1], kinds[0])] {
        let spoofed = Memory::from_objects(memory.objects());
        let real_one = names(&memory, from).remove(0);
        let bytes = memory.objects()[&real_one].clone();
        // Sealed with the right key, under its true name, in the wrong place.
        spoofed.tamper(&layout::key(to, &Id::of(&bytes)), |_| Some(bytes.clone()));
        let repo = kit::open(Arc::new(spoofed), &real()).await.unwrap();
        let check = kit::check_all(&repo).await;
        let told = check.problems.iter().any(|p| p.object.contains(&Id::of(&bytes).to_string()));
        // A snapshot has no packs, so as an index it says nothing; an index is never a snapshot.
        assert!(told || to == ObjectKind::Index, "{:?}", check.problems);
        assert_eq!(repo.snapshots().await.unwrap().snapshots.len(), 1);
        assert_eq!(kit::restore_complaint(&repo, backup.tree, &some_tree().flat()).await, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_038_trap_38_an_answer_that_is_lost_at_any_write_loses_nothing() {
    for op in [Op::Put, Op::Delete] {
        for nth in 0.. {
            let memory = Memory::new();
            kit::init(Arc::new(memory.clone()), &real()).await.unwrap();
            let script = Script::once(op, "", nth, Fault::LostAnswer);
            let faulty = Faulty::new(Arc::new(memory.clone()), [script]);
            let repo = kit::open(Arc::new(faulty.clone()), &real()).await.unwrap();
            let _ = kit::backup(&repo, &some_tree(), None).await;
            heals(&memory, &format!("{op:?} {nth}")).await;
            let honest = kit::open(Arc::new(memory), &real()).await.unwrap();
            assert_eq!(kit::serious(&honest).await, [""; 0], "{op:?} {nth}");
            if faulty.calls().iter().filter(|(called, _)| *called == op).count() <= nth {
                break;
            }
        }
    }
}

/// A lock of a process that is gone, of this machine and this boot, in `namespace`.
async fn with_lock(namespace: &str) -> Repository {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let mut evil = Evil::new();
    let env = real();
    let now = env.now().to_string();
    let lock = json!({
        "time": now, "exclusive": false, "hostname": env.host.hostname, "username": "u", "pid": kit::DEAD_PID,
        "recoup": {"machine": machine.trim(), "boot": boot.trim(), "namespace": namespace, "started": 1}
    });
    evil.document(ObjectKind::Lock, &lock);
    let store: Arc<dyn Store> = Arc::new(evil.finish());
    Repository::open(store, &Evil::password(), recoup_repo::Limits::default(), &env).await.unwrap()
}

#[tokio::test]
async fn trap_39_a_lock_of_a_container_with_our_host_name_is_left_alone() {
    let here = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let ours = with_lock(here.to_str().unwrap()).await;
    ours.lock(LockMode::Exclusive).await.unwrap().release().await.unwrap();

    let theirs = with_lock("pid:[1]").await;
    let error = theirs.lock(LockMode::Exclusive).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Locked, "{error:?}");
    assert!(theirs.unlock(false).await.unwrap().removed.is_empty());
}

#[tokio::test(start_paused = true)]
async fn trap_41_a_clock_that_is_two_hours_wrong_costs_nobody_a_lock() {
    let memory = Memory::new();
    let (env, clock) = scripted("2026-01-01T12:00:00Z", 1);
    kit::init(Arc::new(memory.clone()), &env).await.unwrap();
    for wrong in ["2026-01-01T10:00:00Z", "2026-01-01T14:00:00Z"] {
        let (mut skewed, their_clock) = scripted(wrong, 2);
        skewed.host.hostname = "elsewhere".into();
        let theirs = kit::open(Arc::new(memory.clone()), &skewed).await.unwrap();
        let guard = theirs.lock(LockMode::Exclusive).await.unwrap();
        let ours = kit::open(Arc::new(memory.clone()), &env).await.unwrap();
        for _ in 0..3 {
            assert_eq!(ours.lock(LockMode::Shared).await.unwrap_err().kind(), Kind::Locked, "{wrong}");
            for clock in [&clock, &their_clock] {
                clock.advance(Duration::from_secs(300));
            }
            tokio::time::sleep(Duration::from_secs(300)).await;
        }
        guard.check().unwrap();
        guard.release().await.unwrap();
        ours.lock(LockMode::Shared).await.unwrap().release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_52_the_pieces_of_one_file_are_spread_over_packs_at_random() {
    let repo = kit::init(Arc::new(Memory::new()), &real()).await.unwrap();
    let backup = kit::backup(&repo, &Tree::new().file("secret", noise(9, 60_000_000)), None).await.unwrap();
    let json = repo.blob(BlobHandle::tree(backup.tree)).await.unwrap();
    let content = recoup_repo::Tree::decode(&json).unwrap().nodes[0].content.clone().unwrap();
    let index = repo.index().await.unwrap();
    let pack_of = |id: &Id| index.lookup(&BlobHandle::data(*id)).next().unwrap().pack;
    let packs: Vec<Id> = content.iter().map(pack_of).collect();
    let changes = packs.windows(2).filter(|two| two[0] != two[1]).count();
    // Put one after the other they would change pack four times; at random every second time.
    assert!(changes > packs.len() / 5, "{changes} of {}", packs.len());
}

#[tokio::test]
async fn trap_36_a_snapshot_under_the_name_of_another_is_no_snapshot() {
    let memory = Memory::new();
    let repo = kit::init(Arc::new(memory.clone()), &real()).await.unwrap();
    let backup = kit::backup(&repo, &some_tree(), None).await.unwrap();
    let old = memory.objects()[&layout::key(ObjectKind::Snapshot, &backup.snapshot)].clone();
    let newer = Snapshot::new(&real(), backup.tree, vec!["/newer".into()]);
    let name = Id::of(&newer.encode().unwrap());
    memory.tamper(&layout::key(ObjectKind::Snapshot, &name), |_| Some(old.clone()));
    let list = repo.snapshots().await.unwrap();
    assert_eq!(list.snapshots.len(), 1);
    assert!(list.problems.iter().any(|p| p.object.contains(&name.to_string())), "{:?}", list.problems);
}
