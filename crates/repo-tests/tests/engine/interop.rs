//! Stock restic 0.14 next to us on one repository.

use crate::kit;
use recoup_core::entry::EntryKind;
use recoup_repo::forget::{ForgetOptions, forget};
use recoup_repo::repository::{Repository, SnapshotFilter};
use recoup_repo::{Id, Limits};
use recoup_store::local::Local;
use recoup_store::{Store, StoreExt};
use recoup_testkit::env::real;
use recoup_testkit::on_disk;
use recoup_testkit::restic::Restic;
use recoup_testkit::restored::differences;
use recoup_testkit::tree::{Flat, NASTY, Tree, seed};
use std::path::Path;
use std::sync::Arc;

/// Writes every object of `store` below `dir`, as `local` would.
pub(crate) async fn write_out(store: &dyn Store, dir: &Path) {
    for meta in store.list_all("").await.unwrap() {
        let path = dir.join(meta.key.as_str());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, store.get(&meta.key, None).await.unwrap()).unwrap();
    }
    // restic makes these when it creates a repository, and lists them.
    for folder in ["keys", "snapshots", "index", "data", "locks"] {
        std::fs::create_dir_all(dir.join(folder)).unwrap();
    }
}

/// A repository on disk that both use.
struct Shared {
    dir: tempfile::TempDir,
    restic: Restic,
}

impl Shared {
    fn new() -> Shared {
        let dir = tempfile::tempdir().unwrap();
        let restic = Restic::new(dir.path().join("repo"), kit::PASSWORD);
        Shared { dir, restic }
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(Local::new(self.restic.repository()))
    }

    async fn init_by_recoup(&self) -> Repository {
        let store = Local::create(self.restic.repository()).await.unwrap();
        kit::init(Arc::new(store), &real()).await.unwrap()
    }

    async fn open(&self) -> Repository {
        Repository::open(self.store(), &kit::password(), Limits::default(), &real()).await.unwrap()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// What restic makes of a snapshot of ours.
    fn restored_by_restic(&self, snapshot: &Id) -> Flat {
        let target = self.path(&format!("restored-{}", snapshot.short()));
        self.restic.restore(&snapshot.to_string(), &target);
        on_disk::flat(&target)
    }
}

/// What restic 0.14 can keep: targets of links that are not UTF-8 lose the bytes that are not. Later
/// versions and recoup keep them in a field of their own.
fn as_old_restic_keeps_it(mut flat: Flat) -> Flat {
    for (entry, _) in flat.values_mut() {
        if let EntryKind::Symlink { target } = &mut entry.kind {
            *target = String::from_utf8_lossy(target).into_owned().into_bytes();
        }
    }
    flat
}

fn nasty_tree() -> Tree {
    let mut tree = Tree::random(seed(), 40).dir("empty dir").file("empty file", "");
    for (n, name) in NASTY.iter().enumerate() {
        tree = tree.file(name, format!("content {n}")).symlink([b"links/", *name].concat(), *name);
    }
    let deep = "d/".repeat(500);
    tree = tree.file(format!("{deep}bottom"), "far down").fifo("pipe");
    tree =
        tree.file("linked", "one inode").hard_link("aside/linked", "linked").hard_link("zlinked", "linked");
    let mut sparse = vec![1; 70_000];
    sparse.resize(9 << 20, 0);
    tree = tree.file("sparse", sparse);
    for (name, mode) in [("setuid", 0o4755), ("setgid", 0o2750), ("sticky", 0o1600), ("none", 0)] {
        tree = tree.file(name, name);
        tree.get_mut(name.as_bytes()).unwrap().entry.mode = mode;
    }
    tree
}

#[tokio::test(flavor = "multi_thread")]
async fn restic_lists_checks_and_restores_what_we_wrote() {
    let shared = Shared::new();
    let repo = shared.init_by_recoup().await;
    let tree = nasty_tree();
    let backup = kit::backup(&repo, &tree, None).await.unwrap();
    let changed = tree.changed(1);
    let second = kit::backup(&repo, &changed, Some(backup.tree)).await.unwrap();
    let listed = shared.restic.snapshots();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0]["paths"][0], "/shop/media");
    assert_eq!(listed[0]["hostname"], "testhost");
    shared.restic.check();
    assert_eq!(
        differences(&as_old_restic_keeps_it(tree.flat()), &shared.restored_by_restic(&backup.snapshot)),
        ""
    );
    assert_eq!(
        differences(&as_old_restic_keeps_it(changed.flat()), &shared.restored_by_restic(&second.snapshot)),
        ""
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn restic_copies_what_we_wrote() {
    let shared = Shared::new();
    let repo = shared.init_by_recoup().await;
    let tree = nasty_tree();
    kit::backup(&repo, &tree, None).await.unwrap();
    let copy = Restic::new(shared.path("copy"), kit::PASSWORD);
    copy.init();
    copy.copy_from(shared.restic.repository());
    copy.check();
    let target = shared.path("from-copy");
    copy.restore("latest", &target);
    assert_eq!(differences(&as_old_restic_keeps_it(tree.flat()), &on_disk::flat(&target)), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn we_read_check_and_restore_what_restic_wrote() {
    let shared = Shared::new();
    shared.restic.init();
    let live = shared.path("live");
    std::fs::create_dir(&live).unwrap();
    on_disk::make_nasty(&live);
    on_disk::add_xattrs(&live);
    let snapshot = shared.restic.backup(&live);
    let before = on_disk::flat(&live);
    let repo = shared.open().await;
    let (id, found) = repo.find_snapshot(&snapshot[..10], &SnapshotFilter::default()).await.unwrap();
    assert_eq!(id.to_string(), snapshot);
    assert_eq!(kit::serious(&repo).await, Vec::<String>::new());
    let (report, restored) = kit::restore_tree(&repo, found.tree).await.unwrap();
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    let prefix = recoup_core::name::TreePath::parse(live.to_str().unwrap().as_bytes()).unwrap();
    let below = |flat: Flat| -> Flat {
        flat.into_iter()
            .filter(|(path, _)| path.starts_with(&prefix) && *path != prefix)
            .map(|(path, what)| {
                (path.components()[prefix.components().len()..].iter().cloned().collect(), what)
            })
            .collect()
    };
    assert_eq!(differences(&as_old_restic_keeps_it(before), &below(restored.flat())), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_history_of_restic_is_read_by_us() {
    let shared = Shared::new();
    shared.restic.init();
    let live = shared.path("live");
    std::fs::create_dir(&live).unwrap();
    for round in 0..4u32 {
        for n in 0..30 {
            std::fs::write(live.join(format!("f{n}")), vec![(n + round % 2) as u8; 1000 * n as usize])
                .unwrap();
        }
        shared.restic.backup(&live);
    }
    let repo = shared.open().await;
    assert_eq!(repo.snapshots().await.unwrap().snapshots.len(), 4);
    assert_eq!(kit::serious(&repo).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn restic_forgets_and_prunes_after_us_and_all_is_well() {
    let shared = Shared::new();
    let repo = shared.init_by_recoup().await;
    let first = nasty_tree();
    let second = first.changed(2);
    let one = kit::backup(&repo, &first, None).await.unwrap();
    let two = kit::backup(&repo, &second, Some(one.tree)).await.unwrap();
    shared.restic.run(&["forget", &one.snapshot.to_string(), "--prune", "--max-unused", "0"]);
    shared.restic.check();
    let repo = shared.open().await;
    assert_eq!(repo.snapshots().await.unwrap().snapshots.len(), 1);
    assert_eq!(kit::restore_complaint(&repo, two.tree, &second.flat()).await, "");
    assert_eq!(kit::serious(&repo).await, Vec::<String>::new());
    let third = second.changed(3);
    let three = kit::backup(&repo, &third, Some(two.tree)).await.unwrap();
    shared.restic.check();
    assert_eq!(
        differences(&as_old_restic_keeps_it(third.flat()), &shared.restored_by_restic(&three.snapshot)),
        ""
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn we_forget_and_restic_is_content() {
    let shared = Shared::new();
    let repo = shared.init_by_recoup().await;
    let first = nasty_tree();
    let one = kit::backup(&repo, &first, None).await.unwrap();
    let two = kit::backup(&repo, &first.changed(2), Some(one.tree)).await.unwrap();
    forget(&repo, &[one.snapshot], ForgetOptions::default()).await.unwrap();
    assert_eq!(shared.restic.snapshots().len(), 1);
    shared.restic.check();
    shared.restic.run(&["prune"]);
    assert_eq!(kit::restore_complaint(&shared.open().await, two.tree, &first.changed(2).flat()).await, "");
}

/// Both write into one repository: what one stored, the other does not store again.
#[tokio::test(flavor = "multi_thread")]
async fn data_is_shared_between_restic_and_us() {
    let shared = Shared::new();
    shared.restic.init();
    let live = shared.path("live");
    std::fs::create_dir(&live).unwrap();
    let noise = recoup_testkit::tree::noise(9, 9 << 20);
    std::fs::write(live.join("large"), &noise).unwrap();
    shared.restic.backup(&live);
    let repo = shared.open().await;
    let backup = kit::backup(&repo, &Tree::new().file("elsewhere/large", noise), None).await.unwrap();
    assert!(
        backup.stored_bytes < 100_000,
        "cut as restic cuts: {} bytes were stored again",
        backup.stored_bytes
    );
    shared.restic.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn row_047_trap_05_a_lock_of_restic_is_honoured_and_ours_by_restic() {
    let shared = Shared::new();
    let repo = shared.init_by_recoup().await;
    kit::backup(&repo, &Tree::new().file("a", "x"), None).await.unwrap();
    let lock = repo.lock(recoup_repo::locks::LockMode::Exclusive).await.unwrap();
    let refused = shared.restic.try_run(&["backup", "/etc/hostname"]);
    assert!(!refused.status.success(), "restic wrote under our exclusive lock");
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("locked"), "{text}");
    lock.release().await.unwrap();
    shared.restic.run(&["backup", "/etc/hostname"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_entry_of_restic_is_known() {
    let shared = Shared::new();
    shared.restic.init();
    shared.restic.run(&["backup", "/dev/null", "/dev/zero"]);
    let repo = shared.open().await;
    let (_, snapshot) = repo.find_snapshot("latest", &SnapshotFilter::default()).await.unwrap();
    let (report, restored) = kit::restore_tree(&repo, snapshot.tree).await.unwrap();
    assert!(report.errors.is_empty());
    let flat = restored.flat();
    let (null, _) = flat.iter().find(|(path, _)| path.to_string() == "dev/null").unwrap().1;
    assert!(
        matches!(null.kind, EntryKind::CharDevice { device } if device == rustix_makedev(1, 3)),
        "{null:?}"
    );
}

fn rustix_makedev(major: u64, minor: u64) -> u64 {
    major << 8 | minor
}
