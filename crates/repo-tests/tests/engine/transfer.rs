//! Copies between repositories: whole or not there, with one key or two, after any crash.

use crate::kit;
use recoup_core::Kind;
use recoup_core::env::Env;
use recoup_core::secret::Secret;
use recoup_repo::copy::copy;
use recoup_repo::keyfile::PasswordStrength;
use recoup_repo::repository::{InitOptions, Repository};
use recoup_repo::write::WriteOptions;
use recoup_repo::{Id, Limits};
use recoup_store::local::Local;
use recoup_store::memory::Memory;
use recoup_store::{Store, StoreExt};
use recoup_testkit::crash::{Tried, every_crash};
use recoup_testkit::env::{SeededEntropy, real};
use recoup_testkit::recording::{CrashState, Recording};
use recoup_testkit::restic::Restic;
use recoup_testkit::tree::{Tree, noise, seed};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A source on disk with two snapshots, so that it has a location of its own.
struct Source {
    _dir: tempfile::TempDir,
    repo: Repository,
    snapshots: Vec<(Id, Id, Tree)>,
}

impl Source {
    async fn new(seed: u64) -> Source {
        let dir = tempfile::tempdir().unwrap();
        let store = Local::create(dir.path().join("source")).await.unwrap();
        // Another key than that of the target.
        let env = Env { entropy: SeededEntropy::new(seed ^ 0x5eed), ..real() };
        let repo = kit::init(Arc::new(store), &env).await.unwrap();
        let first = Tree::random(seed, 18).file("large", noise(seed, 3 << 20));
        let second = first.changed(seed + 1);
        let mut snapshots = Vec::new();
        for tree in [first, second] {
            let backup = kit::backup(&repo, &tree, None).await.unwrap();
            snapshots.push((backup.snapshot, backup.tree, tree));
        }
        Source { _dir: dir, repo, snapshots }
    }

    fn ids(&self) -> Vec<Id> {
        self.snapshots.iter().map(|(id, ..)| *id).collect()
    }
}

/// The target has the same trees, and a check finds nothing.
async fn complaint(source: &Source, target: &Repository) -> String {
    for (_, tree, expected) in &source.snapshots {
        let wrong = kit::restore_complaint(target, *tree, &expected.flat()).await;
        if !wrong.is_empty() {
            return wrong;
        }
    }
    kit::serious(target).await.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_whole_and_is_made_once() {
    let source = Source::new(seed()).await;
    let target = kit::init(Arc::new(Memory::new()), &real()).await.unwrap();
    let first = copy(&source.repo, &target, &source.ids(), WriteOptions::default()).await.unwrap();
    assert_eq!((first.copied.len(), first.skipped.len(), first.failed.len()), (2, 0, 0));
    assert!(!first.same_chunker);
    assert_eq!(complaint(&source, &target).await, "");
    let again = copy(&source.repo, &target, &source.ids(), WriteOptions::default()).await.unwrap();
    assert_eq!((again.copied.len(), again.skipped.len(), again.added.bytes_stored), (0, 2, 0));
    // And back: what came from there is known there.
    let ids: Vec<Id> = first.copied.iter().map(|(_, id)| *id).collect();
    let back = copy(&target, &source.repo, &ids, WriteOptions::default()).await.unwrap();
    assert_eq!((back.copied.len(), back.skipped.len()), (0, 2));
    let onto_itself = copy(&source.repo, &source.repo, &source.ids(), WriteOptions::default()).await;
    assert_eq!(onto_itself.unwrap_err().kind(), Kind::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_key_sealed_bytes_stay_as_they_are() {
    let source = Source::new(seed()).await;
    // The same key and config, and nothing else.
    let target_store = Arc::new(Memory::new());
    for meta in source.repo.store().list_all("").await.unwrap() {
        if meta.key.as_str() == "config" || meta.key.as_str().starts_with("keys/") {
            let bytes = source.repo.store().get(&meta.key, None).await.unwrap();
            target_store.put(&meta.key, bytes, recoup_store::Put::Create).await.unwrap();
        }
    }
    let target = kit::open(target_store, &real()).await.unwrap();
    let done = copy(&source.repo, &target, &source.ids(), WriteOptions::default()).await.unwrap();
    assert!(done.same_chunker && done.failed.is_empty());
    assert_eq!(complaint(&source, &target).await, "");
    let (from, to) = (source.repo.index().await.unwrap(), target.reload_index().await.unwrap());
    let mut same = 0;
    for here in to.iter().filter(|l| l.entry.handle.kind == recoup_repo::BlobKind::Data) {
        let there = from.lookup(&here.entry.handle).next().unwrap();
        let sealed = |repo: &Repository, at: recoup_repo::index::Location| {
            let key = recoup_repo::layout::key(recoup_repo::ObjectKind::Pack, &at.pack);
            let store = Arc::clone(repo.store());
            async move { store.get(&key, Some(u64::from(at.entry.offset)..at.entry.end())).await.unwrap() }
        };
        assert_eq!(sealed(&source.repo, there).await, sealed(&target, here).await);
        same += 1;
    }
    assert!(same > 5, "{same} blobs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_source_costs_the_snapshots_that_need_it_and_no_others() {
    let source = Source::new(seed()).await;
    let lonely = Tree::new().file("only", noise(77, 2 << 20));
    let third = kit::backup(&source.repo, &lonely, None).await.unwrap();
    let index = source.repo.reload_index().await.unwrap();
    let newest: Id = {
        let tree = source.repo.tree(&third.tree).await.unwrap();
        let blob = recoup_repo::BlobHandle::data(tree.nodes[0].content.as_ref().unwrap()[0]);
        index.lookup(&blob).next().unwrap().pack
    };
    let key = recoup_repo::layout::key(recoup_repo::ObjectKind::Pack, &newest);
    let mut bytes = source.repo.store().get(&key, None).await.unwrap().to_vec();
    bytes[100] ^= 1;
    source.repo.store().delete(&key).await.unwrap();
    source.repo.store().put(&key, bytes.into(), recoup_store::Put::Create).await.unwrap();
    let target = kit::init(Arc::new(Memory::new()), &real()).await.unwrap();
    let ids = [source.ids(), vec![third.snapshot]].concat();
    let done = copy(&source.repo, &target, &ids, WriteOptions::default()).await.unwrap();
    assert_eq!(done.failed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [third.snapshot]);
    assert_eq!(done.copied.len(), 2);
    assert_eq!(complaint(&source, &target).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_crash_of_a_copy_leaves_whole_snapshots_and_the_next_run_finishes() {
    let seed = seed();
    let source = Arc::new(Source::new(seed).await);
    let recording = Recording::new(Arc::new(Memory::new()));
    let target = kit::init(Arc::new(recording.clone()), &kit::dead_env()).await.unwrap();
    recording.mark("init");
    copy(&source.repo, &target, &source.ids(), WriteOptions::default()).await.unwrap();
    let oracle = |state: CrashState| {
        let source = Arc::clone(&source);
        async move {
            if state.marks.is_empty() {
                return Ok(());
            }
            let store: Arc<dyn Store> = Arc::new(state.store());
            let target = kit::open(Arc::clone(&store), &real()).await.map_err(|e| format!("{e:?}"))?;
            for (id, snapshot) in target.snapshots().await.unwrap().snapshots {
                let of = source.snapshots.iter().find(|(_, tree, _)| *tree == snapshot.tree).unwrap();
                let wrong = kit::restore_complaint(&target, snapshot.tree, &of.2.flat()).await;
                if !wrong.is_empty() {
                    return Err(format!("snapshot {id}: {wrong}"));
                }
            }
            let done = copy(&source.repo, &target, &source.ids(), WriteOptions::default()).await;
            let done = done.map_err(|e| format!("the next copy: {e:?}"))?;
            let target = kit::open(store, &real()).await.map_err(|e| format!("{e:?}"))?;
            let wrong = complaint(&source, &target).await;
            let count = done.copied.len() + done.skipped.len();
            if wrong.is_empty() && count == 2 { Ok(()) } else { Err(format!("{count} snapshots; {wrong}")) }
        }
    };
    let Tried { prefixes, states } =
        every_crash(&BTreeMap::new(), &recording.log(), seed, oracle).await.unwrap();
    eprintln!("copy: {prefixes} prefixes, {states} states");
    assert!(states > 10);
}

/// There and back through stock restic, from a repository of each version.
#[tokio::test(flavor = "multi_thread")]
async fn restic_reads_our_copies_and_we_read_its_repositories() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    std::fs::create_dir_all(live.join("below")).unwrap();
    std::fs::write(live.join("text"), "some text ".repeat(10_000)).unwrap();
    std::fs::write(live.join("below/noise"), noise(5, 2 << 20)).unwrap();
    for version in ["1", "2"] {
        let theirs = Restic::new(dir.path().join(format!("theirs-{version}")), kit::PASSWORD);
        theirs.run(&["init", "--repository-version", version]);
        let id: Id = theirs.backup(&live).parse().unwrap();
        let open = |path: std::path::PathBuf| async move {
            let password = Secret::new(kit::PASSWORD.into());
            Repository::open(Arc::new(Local::new(path)), &password, Limits::default(), &real()).await.unwrap()
        };
        let from = open(theirs.repository().to_owned()).await;
        let ours = dir.path().join(format!("ours-{version}"));
        let options = InitOptions {
            password_strength: PasswordStrength::Generated,
            chunker_polynomial: Some(from.chunker_polynomial()),
        };
        let store = Arc::new(Local::create(&ours).await.unwrap());
        let to = Repository::init(store, &kit::password(), &options, &real()).await.unwrap();
        let done = copy(&from, &to, &[id], WriteOptions::default()).await.unwrap();
        assert!(done.same_chunker);
        assert_eq!(done.copied.len(), 1);
        let stock = Restic::new(&ours, kit::PASSWORD);
        stock.check();
        assert_eq!(stock.snapshots()[0]["original"].as_str(), Some(&*id.to_string()));
        // restic sees that it has been copied, and has nothing to do.
        stock.copy_from(theirs.repository());
        assert_eq!(stock.snapshots().len(), 1);
        if version == "1" {
            let refused = copy(&to, &from, &[done.copied[0].1], WriteOptions::default()).await.unwrap_err();
            assert_eq!(refused.stable_code(), Some("E0470"));
        }
    }
}
