//! A restore onto a real directory from a repository that stops answering, and onto a disk that does not keep
//! what it is given.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests touch the world")]

use recoup_core::Kind;
use recoup_core::secret::Secret;
use recoup_repo::keyfile::PasswordStrength;
use recoup_repo::read::{RestoreOptions, RestoreReport, delete_others, restore, verify};
use recoup_repo::repository::{InitOptions, Repository};
use recoup_repo::write::{WriteOptions, Writer};
use recoup_repo::{Id, Limits, Snapshot};
use recoup_sources::files::beneath::{Beneath, BeneathOptions};
use recoup_store::Store;
use recoup_store::memory::Memory;
use recoup_testkit::env::real;
use recoup_testkit::faulty::{Fault, Faulty, Op, Script};
use recoup_testkit::tree::{Tree, noise};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

struct World {
    memory: Memory,
    root: Id,
    files: usize,
}

impl World {
    /// A repository with a snapshot of `files` files.
    async fn new(files: usize) -> Self {
        let memory = Memory::new();
        let options =
            InitOptions { password_strength: PasswordStrength::Generated, ..InitOptions::default() };
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        let repo = Repository::init(store, &password(), &options, &real()).await.unwrap();
        let tree =
            (0..files).fold(Tree::new(), |tree, n| tree.file(format!("d/f{n:03}"), noise(n as u64, 700)));
        let tree = tree.file("large", noise(999, 3 << 20));
        let mut writer = Writer::begin(&repo, WriteOptions::default()).await.unwrap();
        let report = writer.tree(tree.folder(), None, "test").await.unwrap();
        writer.snapshot(Snapshot::new(repo.env(), report.tree, vec!["/test".into()])).await.unwrap();
        writer.finish().await.unwrap();
        World { memory, root: report.tree, files: files + 1 }
    }

    async fn open(&self, scripts: Vec<Script>) -> Repository {
        let store: Arc<dyn Store> = Arc::new(Faulty::new(Arc::new(self.memory.clone()), scripts));
        Repository::open(store, &password(), Limits::default(), &real()).await.unwrap()
    }
}

fn password() -> Secret {
    Secret::new(b"pw".to_vec())
}

fn options() -> RestoreOptions {
    RestoreOptions { delete: true, ..RestoreOptions::default() }
}

fn target(to: &Path) -> Arc<Beneath> {
    let options = BeneathOptions { journal: Some([3; 32]), ..BeneathOptions::default() };
    Arc::new(Beneath::open(to, options).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_repository_stops_answering_the_next_restore_goes_on() {
    let world = World::new(450).await;
    let (mut stopped, mut resumed_most) = (0, 0);
    for nth in 0..40 {
        let to = tempfile::tempdir().unwrap();
        let first = target(to.path());
        let down =
            Script { op: Op::Get, prefix: "data/", nth, times: 1000, fault: Fault::Error(Kind::Unavailable) };
        let repo = world.open(vec![down]).await;
        match restore(&repo, world.root, &options(), first.clone()).await {
            Ok(report) if report.errors.is_empty() => break,
            _ => stopped += 1,
        }
        first.pause().unwrap();
        let names = std::fs::read_dir(to.path().join("d")).into_iter().flatten().flatten();
        let finished = names.filter(|entry| entry.file_name().to_string_lossy().starts_with('f')).count()
            + usize::from(to.path().join("large").exists());
        let again = target(to.path());
        let repo = world.open(Vec::new()).await;
        let report = restore(&repo, world.root, &options(), again.clone()).await.unwrap();
        assert!(report.errors.is_empty(), "{nth}: {:?}", report.errors);
        assert_eq!(report.files as usize, world.files);
        assert_eq!(report.resumed as usize, finished, "{nth}: what was finished is not read again");
        resumed_most = resumed_most.max(report.resumed);
        again.complete().unwrap();
        for n in 0..world.files - 1 {
            let bytes = std::fs::read(to.path().join(format!("d/f{n:03}"))).unwrap();
            assert!(bytes == noise(n as u64, 700), "{nth}: f{n:03}");
        }
        assert!(std::fs::read(to.path().join("large")).unwrap() == noise(999, 3 << 20));
        assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 2, "no journal and nothing else is left");
    }
    assert!(stopped > 2 && resumed_most >= 200, "{stopped} stops, {resumed_most} resumed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_disk_did_not_keep_is_named_and_nothing_is_deleted() {
    let world = World::new(3).await;
    let to = tempfile::tempdir().unwrap();
    std::fs::write(to.path().join("mine"), "mine").unwrap();
    let target = target(to.path());
    let repo = world.open(Vec::new()).await;
    let mut report = restore(&repo, world.root, &options(), target.clone()).await.unwrap();
    target.finish_all().unwrap();
    let spoil = |name: &str, at: u64| {
        let file = std::fs::OpenOptions::new().write(true).open(to.path().join(name)).unwrap();
        file.write_all_at(b"!", at).unwrap();
    };
    spoil("large", 2_000_000);
    spoil("d/f001", 5);
    std::fs::OpenOptions::new()
        .append(true)
        .open(to.path().join("d/f002"))
        .unwrap()
        .write_at(b"x", 0)
        .unwrap();
    verify(&repo, world.root, &options(), target.clone(), &mut report).await.unwrap();
    let found: Vec<(String, Option<&str>)> =
        report.errors.iter().map(|p| (p.path.to_string(), p.error.stable_code())).collect();
    let names: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!((names, report.verified), (vec!["d/f001", "d/f002", "large"], 1));
    assert!(found.iter().all(|(_, code)| *code == Some("E0483")));
    let large = report.errors.last().unwrap().error.to_string();
    let range = large.split("bytes ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let (from, end) = range.split_once('-').unwrap();
    assert!((from.parse::<u64>().unwrap()..=end.parse().unwrap()).contains(&2_000_000), "{large}");
    let refused = delete_others(&repo, world.root, &options(), target, &mut report).await.unwrap_err();
    assert_eq!(refused.stable_code(), Some("E0484"));
    assert!(to.path().join("mine").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_unless_a_restore_came_to_its_end_before() {
    let world = World::new(1).await;
    let to = tempfile::tempdir().unwrap();
    std::fs::write(to.path().join("mine"), "mine").unwrap();
    let repo = world.open(Vec::new()).await;
    let mut never = RestoreReport::default();
    let refused =
        delete_others(&repo, world.root, &options(), target(to.path()), &mut never).await.unwrap_err();
    assert_eq!((refused.kind(), refused.stable_code()), (Kind::Refused, Some("E0484")));
    // And not if the snapshot cannot be read a second time, whatever the first time gave.
    let mut report = restore(&repo, world.root, &options(), target(to.path())).await.unwrap();
    let broken = world.open(vec![Script::always(Op::Get, "data/", Fault::FlipBit(77))]).await;
    let refused =
        delete_others(&broken, world.root, &options(), target(to.path()), &mut report).await.unwrap_err();
    assert_eq!(refused.stable_code(), Some("E0484"));
    assert!(to.path().join("mine").exists());
    delete_others(&repo, world.root, &options(), target(to.path()), &mut report).await.unwrap();
    assert_eq!(report.deleted.len(), 1);
    assert!(!to.path().join("mine").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn times_of_directories_are_right_after_something_was_deleted_in_them() {
    let world = World::new(2).await;
    let to = tempfile::tempdir().unwrap();
    let repo = world.open(Vec::new()).await;
    restore(&repo, world.root, &options(), target(to.path())).await.unwrap();
    let before = std::fs::metadata(to.path().join("d")).unwrap();
    std::fs::create_dir_all(to.path().join("d/x/y")).unwrap();
    let target = target(to.path());
    let mut report = restore(&repo, world.root, &options(), target.clone()).await.unwrap();
    delete_others(&repo, world.root, &options(), target, &mut report).await.unwrap();
    let after = std::fs::metadata(to.path().join("d")).unwrap();
    assert_eq!((after.mtime(), after.mtime_nsec()), (before.mtime(), before.mtime_nsec()));
    assert_eq!(report.deleted.len(), 2);
}
