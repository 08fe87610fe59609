//! Repositories that somebody made to hurt us. Each ends in a named error for what is bad, the rest is
//! restored, and memory stays bounded.

use crate::kit;
use recoup_core::Kind;
use recoup_repo::check::CheckReport;
use recoup_repo::read::{RestoreOptions, RestoreReport, restore};
use recoup_repo::repository::Repository;
use recoup_repo::{Id, Limits, ObjectKind};
use recoup_store::Store;
use recoup_testkit::env::real;
use recoup_testkit::evil::{Evil, dir, file, node, symlink, zstd_bomb};
use recoup_testkit::memory_use::{peak_bytes, reset_peak};
use recoup_testkit::restored::Restored;
use recoup_testkit::tree::Flat;
use serde_json::json;
use std::sync::Arc;

/// What came of a hostile repository.
struct Outcome {
    report: RestoreReport,
    restored: Restored,
    check: CheckReport,
}

impl Outcome {
    fn flat(&self) -> Flat {
        self.restored.flat()
    }

    fn names(&self) -> Vec<String> {
        self.flat().keys().map(ToString::to_string).collect()
    }

    /// The content of the only file called `name`.
    fn bytes(&self, name: &str) -> Vec<u8> {
        let flat = self.flat();
        flat.into_iter().find(|(path, _)| path.to_string() == name).map(|(_, (_, bytes))| bytes).unwrap()
    }

    fn error_codes(&self) -> Vec<&'static str> {
        self.report.errors.iter().filter_map(|p| p.error.stable_code()).collect()
    }

    fn errors(&self) -> String {
        format!("{:?}", self.report.errors)
    }

    fn check_codes(&self) -> Vec<&'static str> {
        self.check.problems.iter().map(|p| p.code).collect()
    }
}

async fn open(evil: Evil) -> Repository {
    let store: Arc<dyn Store> = Arc::new(evil.finish());
    Repository::open(store, &Evil::password(), Limits::default(), &real()).await.unwrap()
}

/// Restores `tree` of the repository and checks the repository.
async fn meet(mut evil: Evil, tree: Id) -> Outcome {
    evil.snapshot(tree);
    let repo = open(evil).await;
    let (report, restored) = kit::restore_tree(&repo, tree).await.unwrap();
    let check = kit::check_all(&repo).await;
    Outcome { report, restored, check }
}

#[tokio::test]
async fn row_141_names_that_leave_their_directory_are_refused_one_by_one() {
    for name in ["../x", "/etc/passwd", "a/b", ".", "..", "", "nul\\u0000", "\\x00", "\\x2f", "a\\x2fb"] {
        let mut evil = Evil::new();
        let good = evil.data(b"good");
        let tree = evil.tree(&[file(name, &[good], 4), file("good", &[good], 4)]);
        let met = meet(evil, tree).await;
        assert_eq!(met.names(), ["good"], "{name:?}");
        assert_eq!(met.error_codes(), ["E0405"], "{name:?}: {}", met.errors());
        assert!(met.check_codes().contains(&"E0405"), "{name:?}: {:?}", met.check.problems);
    }
}

#[tokio::test]
async fn row_142_a_link_and_a_file_of_one_name_are_never_both_taken() {
    let mut evil = Evil::new();
    let good = evil.data(b"good");
    let inner = evil.tree(&[file("passwd", &[good], 4)]);
    let nodes = [symlink("x", "/etc"), dir("x", inner), file("x", &[good], 4), file("y", &[good], 4)];
    let tree = evil.tree(&nodes);
    let met = meet(evil, tree).await;
    assert_eq!(met.names(), ["x", "y"]);
    assert_eq!(met.error_codes(), ["E0430", "E0430"], "{}", met.errors());
    assert_eq!(met.bytes("y"), b"good");
}

#[tokio::test]
async fn row_143_a_claimed_terabyte_takes_no_room() {
    let mut evil = Evil::new();
    let good = evil.data(b"honest");
    let tree = evil.tree(&[file("big", &[good], 1 << 40)]);
    let met = meet(evil, tree).await;
    assert_eq!(met.bytes("big"), b"honest");
    assert_eq!(met.restored.bytes_claimed(), 6);
    assert!(met.report.errors.is_empty() && !met.report.warnings.is_empty(), "{:?}", met.report);
}

#[tokio::test]
async fn row_144_a_file_that_claims_too_little_is_whole_all_the_same() {
    let mut evil = Evil::new();
    let good = evil.data(b"eighteen bytes long");
    let tree = evil.tree(&[file("small", &[good], 1)]);
    let met = meet(evil, tree).await;
    assert_eq!(met.bytes("small"), b"eighteen bytes long");
    assert!(met.report.errors.is_empty() && !met.report.warnings.is_empty(), "{:?}", met.report);
}

#[tokio::test]
async fn row_145_a_logical_bomb_is_refused_before_anything_is_written() {
    let mut evil = Evil::new();
    let block = evil.data(&vec![b'x'; 1 << 20]);
    let bomb = file("bomb", &vec![block; 100_000], 100_000 << 20);
    let tree = evil.tree(&[bomb]);
    evil.snapshot(tree);
    let repo = open(evil).await;
    let restored = Restored::new();
    let options = RestoreOptions { bytes_max: Some(1 << 30), ..RestoreOptions::default() };
    let error = restore(&repo, tree, &options, restored.target()).await.unwrap_err();
    assert_eq!((error.kind(), error.stable_code()), (Kind::Refused, Some("E0435")), "{error:?}");
    assert!(restored.flat().is_empty());
}

#[tokio::test]
async fn row_146_a_zstd_bomb_costs_no_more_than_it_may() {
    const BOMB: u64 = 400 << 20;
    for (kind, with_size, claimed) in [
        ("data", true, BOMB),
        ("data", true, 100),
        ("data", false, BOMB),
        ("data", false, 100),
        ("tree", true, 4 << 30),
    ] {
        let mut evil = Evil::new();
        let good = evil.data(b"good");
        let id = Id::of(b"never");
        evil.claim(kind, id, &zstd_bomb(BOMB, with_size), Some(claimed.min(u64::from(u32::MAX))));
        let bad = if kind == "data" { file("bad", &[id], 100) } else { dir("bad", id) };
        let tree = evil.tree(&[bad, file("good", &[good], 4)]);
        reset_peak();
        let before = peak_bytes();
        let met = meet(evil, tree).await;
        let grown = peak_bytes().saturating_sub(before) >> 20;
        assert_eq!(met.bytes("good"), b"good");
        assert_eq!(met.report.errors.len(), 1, "{}", met.errors());
        assert!(grown < 128, "{kind} {with_size} {claimed}: {grown} MiB");
    }
}

#[tokio::test]
async fn row_147_content_under_a_wrong_name_is_never_written() {
    let mut evil = Evil::new();
    let good = evil.data(b"good");
    let wrong = evil.claim("data", Id::of(b"what it should be"), b"what it is", None);
    let tree = evil.tree(&[file("good", &[good], 4), file("wrong", &[wrong], 10)]);
    let met = meet(evil, tree).await;
    assert_eq!(met.names(), ["good"]);
    assert_eq!(met.restored.abandoned().len(), 1);
    assert_eq!(met.report.errors.len(), 1, "{}", met.errors());
    assert!(met.check.problems.iter().any(recoup_repo::Problem::is_serious));
}

#[tokio::test]
async fn row_147_a_tree_under_the_name_of_another_is_never_followed() {
    let mut evil = Evil::new();
    let fake = br#"{"nodes":[]}"#;
    let wrong = evil.claim("tree", Id::of(b"another tree"), fake, None);
    let good = evil.data(b"good");
    let tree = evil.tree(&[dir("bad", wrong), file("good", &[good], 4)]);
    let met = meet(evil, tree).await;
    assert_eq!(met.bytes("good"), b"good");
    assert_eq!(met.report.errors.len(), 1, "{}", met.errors());
}

#[tokio::test]
async fn row_148_an_index_that_points_beyond_its_pack_reads_nothing_and_allocates_nothing() {
    for (offset, length) in
        [(0, u64::from(u32::MAX)), (u64::from(u32::MAX), 40), (1 << 31, 1 << 31), (0, 0), (0, 31)]
    {
        let mut evil = Evil::new();
        let good = evil.data(b"good");
        let tree = evil.tree(&[file("good", &[good], 4)]);
        evil.flush(|claim| (claim.offset, claim.length) = (offset, length));
        reset_peak();
        let before = peak_bytes();
        let met = meet(evil, tree).await;
        assert!(peak_bytes().saturating_sub(before) < 64 << 20);
        // The header of the pack tells the truth, so nothing is lost.
        assert_eq!(met.bytes("good"), b"good", "{offset} {length}: {}", met.errors());
        assert!(!met.check.problems.is_empty());
    }
}

#[tokio::test]
async fn row_149_a_garbage_index_is_skipped_and_reported() {
    let mut evil = Evil::new();
    let good = evil.data(b"good");
    let tree = evil.tree(&[file("good", &[good], 4)]);
    evil.sealed(ObjectKind::Index, b"\x02 this is no zstd");
    evil.sealed(ObjectKind::Index, b"{\"packs\":[{\"id\":\"zz\"}]}");
    evil.sealed(ObjectKind::Index, b"[]");
    evil.sealed(ObjectKind::Index, b"");
    let name = recoup_repo::layout::key(ObjectKind::Index, &Id::of(b"nothing"));
    evil.put(name, b"not even sealed".to_vec());
    let met = meet(evil, tree).await;
    assert_eq!(met.bytes("good"), b"good");
    assert!(met.report.errors.is_empty(), "{}", met.errors());
    let told = met.check_codes().iter().filter(|code| **code == "E0422").count();
    assert!(told >= 4, "{:?}", met.check.problems);
}

/// Whether a dangerous entry is made is decided by the target; the engine hands over what is there.
#[tokio::test]
async fn row_152_set_uid_devices_and_capabilities_reach_the_target_as_what_they_are() {
    let mut evil = Evil::new();
    let good = evil.data(b"good");
    let mut setuid = file("setuid", &[good], 4);
    setuid["mode"] = json!(0o755 | 1u32 << 23);
    setuid["extended_attributes"] =
        json!([{"name": "security.capability", "value": "AQAAAgAgAAAAAAAAAAAAAAAAAAA="}]);
    let mut device = node("device", "dev");
    device["mode"] = json!(0o666 | 1u32 << 26);
    device["device"] = json!(0x801);
    let tree = evil.tree(&[device, setuid]);
    let met = meet(evil, tree).await;
    let flat = met.flat();
    let (device, _) = flat.values().next().unwrap();
    assert_eq!(device.kind, recoup_core::entry::EntryKind::BlockDevice { device: 0x801 });
    let (setuid, _) = flat.values().last().unwrap();
    assert_eq!(setuid.mode, 0o4755);
    assert_eq!(setuid.xattrs[0].name, "security.capability");
}

#[tokio::test]
async fn row_153_two_names_of_one_inode_with_different_content_stay_two_files() {
    let mut evil = Evil::new();
    let (one, two) = (evil.data(b"one"), evil.data(b"two"));
    let linked = |name, id| {
        let mut node = file(name, &[id], 3);
        node["links"] = json!(3);
        node["inode"] = json!(77);
        node
    };
    let tree = evil.tree(&[linked("a", one), linked("b", two), linked("c", one)]);
    let met = meet(evil, tree).await;
    assert_eq!(
        (met.bytes("a"), met.bytes("b"), met.bytes("c")),
        (b"one".to_vec(), b"two".to_vec(), b"one".to_vec())
    );
    assert!(met.report.errors.is_empty() && !met.report.warnings.is_empty(), "{:?}", met.report);
}

#[tokio::test]
async fn row_154_a_missing_subtree_is_named_and_its_siblings_are_restored() {
    let mut evil = Evil::new();
    let good = evil.data(b"good");
    let tree =
        evil.tree(&[file("a", &[good], 4), dir("gone", Id::of(b"no such tree")), file("z", &[good], 4)]);
    let met = meet(evil, tree).await;
    let names = met.names();
    assert!(names.contains(&"a".to_owned()) && names.contains(&"z".to_owned()), "{names:?}");
    assert_eq!(met.report.errors.len(), 1, "{}", met.errors());
    assert_eq!(met.report.errors[0].path.to_string(), "gone");
    assert!(met.check.problems.iter().any(recoup_repo::Problem::is_serious));
}

#[tokio::test]
async fn row_155_a_tree_three_thousand_deep_is_walked() {
    let mut evil = Evil::new();
    let good = evil.data(b"bottom");
    let mut tree = evil.tree(&[file("f", &[good], 6)]);
    for _ in 0..3000 {
        tree = evil.tree(&[dir("d", tree)]);
    }
    let met = meet(evil, tree).await;
    assert!(met.report.errors.is_empty(), "{}", met.errors());
    assert_eq!(met.flat().len(), 3001);
}

/// Found while testing: a directory that is its own grandchild cannot exist under true hashes, but many
/// names of one tree can, and double at every level.
#[tokio::test]
async fn row_145_a_tree_of_trees_is_refused_by_its_total() {
    let mut evil = Evil::new();
    let block = evil.data(&vec![b'x'; 1 << 16]);
    let mut tree = evil.tree(&[file("f", &[block], 1 << 16)]);
    for _ in 0..40 {
        tree = evil.tree(&[dir("a", tree), dir("b", tree)]);
    }
    evil.snapshot(tree);
    let repo = open(evil).await;
    let options = RestoreOptions { bytes_max: Some(1 << 20), ..RestoreOptions::default() };
    let restored = Restored::new();
    let wait = std::time::Duration::from_secs(60);
    let refused = tokio::time::timeout(wait, restore(&repo, tree, &options, restored.target())).await;
    assert_eq!(refused.expect("it stops soon").unwrap_err().stable_code(), Some("E0435"));
}
