//! Partial snapshots: what a run leaves that did not come to its end, and how the next one goes on from it.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, reason = "a test touches the world")]

use recoup_core::entry::{Body, Entry, EntryKind, FileBody, FileReader, Folder, Item, Listing};
use recoup_core::env::Env;
use recoup_core::name::TreePath;
use recoup_core::retention::{GroupBy, Keep, Policy};
use recoup_core::secret::Secret;
use recoup_core::{Error, Kind, Result};
use recoup_repo::check::{CheckOptions, check};
use recoup_repo::forget::{ForgetOptions, by_policy};
use recoup_repo::keyfile::PasswordStrength;
use recoup_repo::read::{RestoreOptions, restore};
use recoup_repo::repository::{InitOptions, Repository, SnapshotFilter};
use recoup_repo::snapshot::{PARTIAL_TAG, Story};
use recoup_repo::tagging::{TagChange, tag};
use recoup_repo::write::{Earlier, Parent, TreeReport, WriteOptions, Writer};
use recoup_repo::{Id, Limits, Snapshot};
use recoup_store::Store;
use recoup_store::local::Local;
use recoup_store::memory::Memory;
use recoup_testkit::env::real;
use recoup_testkit::faulty::{Fault, Faulty, Op, Script};
use recoup_testkit::recording::{Change, Record, Recording, crash_states};
use recoup_testkit::restic::Restic;
use recoup_testkit::restored::{Restored, differences};
use recoup_testkit::tree::{Flat, Tree, noise, seed};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const PASSWORD: &str = "correct horse";
/// Longer than anything here takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn password() -> Secret {
    Secret::new(PASSWORD.into())
}

/// A world whose processes are dead as soon as somebody asks.
fn dead_env() -> Env {
    let mut env = real();
    env.host.pid = 0x3fff_fff0;
    env
}

async fn init(store: Arc<dyn Store>) -> Repository {
    let options = InitOptions { password_strength: PasswordStrength::Generated, ..InitOptions::default() };
    Repository::init(store, &password(), &options, &dead_env()).await.unwrap()
}

/// Directories in directories, files of each size, and last of all a file that a test can hold.
fn shop(seed: u64) -> Tree {
    let mut tree = Tree::random(seed, 40);
    for n in 0..24 {
        tree = tree.file(format!("media/{}/{n}", n % 5), noise(seed ^ n, 300_000 + 10_000 * n as usize));
    }
    // So much new at the end that all before it is kept.
    tree.file("zz/deep/most", noise(seed ^ 50, 4 << 20)).file("zz/deep/er/hold", noise(seed, 70_000))
}

/// Holds who opens `hold`, and counts what is opened.
#[derive(Clone, Default)]
struct Gate {
    is_open: Arc<(Mutex<bool>, Condvar)>,
    opened: Arc<AtomicUsize>,
}

impl Gate {
    fn open(&self) {
        *self.is_open.0.lock().unwrap() = true;
        self.is_open.1.notify_all();
    }

    fn folder(&self, tree: &Tree) -> Box<dyn Folder> {
        let gate = self.clone();
        Box::new(Asking(tree.folder(), Arc::new(move |entry| gate.pass(entry))))
    }

    fn pass(&self, entry: &Entry) -> Result<()> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        if entry.name.as_bytes() != b"hold" {
            return Ok(());
        }
        let (is_open, changed) = &*self.is_open;
        let waited = changed.wait_timeout_while(is_open.lock().unwrap(), PATIENCE, |open| !*open).unwrap();
        if *waited.0 { Ok(()) } else { Err(Error::bug("wait for the test")) }
    }
}

/// A tree that asks before one of its files is opened.
struct Asking(Box<dyn Folder>, Question);

type Question = Arc<dyn Fn(&Entry) -> Result<()> + Send + Sync>;

impl Folder for Asking {
    fn list(&self) -> Result<Listing> {
        let Listing { items, problems } = self.0.list()?;
        let wrap = |Item { entry, body }| {
            let question = Arc::clone(&self.1);
            let body = match body {
                Body::Folder(folder) => Body::Folder(Box::new(Asking(folder, question))),
                Body::File(file) => Body::File(Box::new(AskingFile(file, entry.clone(), question))),
                other => other,
            };
            Item { entry, body }
        };
        Ok(Listing { items: items.into_iter().map(wrap).collect(), problems })
    }
}

struct AskingFile(Box<dyn FileBody>, Entry, Question);

impl FileBody for AskingFile {
    fn open(&self) -> Result<Box<dyn FileReader>> {
        (self.2)(&self.1)?;
        self.0.open()
    }
}

fn is_snapshot(record: &Record) -> bool {
    matches!(record, Record::Issued(_, Change::Put(key, _)) if key.as_str().starts_with("snapshots/"))
}

/// Lets a file be opened when a partial snapshot has come for each sixteen before it, or none came for a while: what
/// is new since the last one may not be worth one.
#[derive(Clone)]
struct Pace {
    recording: Recording,
    opened: Arc<AtomicUsize>,
}

impl Pace {
    fn keep(&self) {
        let due = self.opened.fetch_add(1, Ordering::Relaxed) / 16;
        let start = std::time::Instant::now();
        while self.recording.log().iter().filter(|record| is_snapshot(record)).count() < due {
            if start.elapsed() > Duration::from_millis(100) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn new_snapshot(repo: &Repository) -> Snapshot {
    let mut snapshot = Snapshot::new(repo.env(), Id::of(b""), vec!["/shop".into()]);
    snapshot.tags = vec!["nightly".into()];
    snapshot
}

async fn all(repo: &Repository) -> Vec<(Id, Snapshot)> {
    let list = repo.snapshots().await.unwrap();
    assert!(list.problems.is_empty(), "{:?}", list.problems);
    list.snapshots
}

async fn partials(repo: &Repository) -> Vec<(Id, Snapshot)> {
    all(repo).await.into_iter().filter(|(_, snapshot)| snapshot.is_partial()).collect()
}

/// One run to its end, as `repo backup` does it.
async fn back_up(
    repo: &Repository,
    folder: Box<dyn Folder>,
    every: Option<Duration>,
) -> Result<(Id, TreeReport)> {
    let mut snapshot = new_snapshot(repo);
    let list = all(repo).await;
    let parent = list.iter().rfind(|(_, old)| !old.is_partial());
    let parent = parent.map(|(id, old)| Parent { id: *id, time: old.time.at, tree: old.tree });
    let earlier = Earlier::of(&snapshot, parent, &list);
    let options = WriteOptions { partial_every: every, threads: Some(3), ..WriteOptions::default() };
    let mut writer = Writer::begin(repo, options).await?;
    let report = writer.tree(folder, earlier, "shop").await?;
    snapshot.tree = report.tree;
    let id = writer.snapshot(snapshot).await?;
    writer.finish().await?;
    Ok((id, report))
}

/// A run that is stopped when it has left a partial snapshot of at least so many entries.
async fn stopped(repo: &Repository, tree: &Tree, items_min: u64) -> (Id, Snapshot) {
    let gate = Gate::default();
    let run = {
        let (repo, folder) = (repo.clone(), gate.folder(tree));
        tokio::spawn(async move { back_up(&repo, folder, Some(Duration::from_millis(5))).await.map(drop) })
    };
    let left = tokio::time::timeout(PATIENCE, async {
        loop {
            assert!(!run.is_finished(), "the run came to its end");
            let left = partials(repo).await;
            let far = |(_, old): &&(Id, Snapshot)| old.story().is_some_and(|story| story.items >= items_min);
            if let Some(left) = left.iter().find(far) {
                return left.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let left = left.await.unwrap();
    run.abort();
    let _aborted = run.await;
    gate.open();
    left
}

async fn restored(repo: &Repository, tree: Id) -> Flat {
    repo.reload_index().await.unwrap();
    let restored = Restored::new();
    let report = restore(repo, tree, &RestoreOptions::default(), restored.target()).await.unwrap();
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    restored.flat()
}

async fn serious(repo: &Repository) -> Vec<String> {
    let options = CheckOptions { read_data: true, ..CheckOptions::default() };
    let problems = check(repo, &options).await.unwrap().problems;
    problems.into_iter().filter(|p| p.is_serious()).map(|p| format!("{p:?}")).collect()
}

/// Files of `part` that are not as in `whole`. Directories may lack entries.
fn wrong(part: &Flat, whole: &Flat) -> String {
    let kept = whole.iter().filter(|(path, _)| part.contains_key(path));
    differences(&kept.map(|(path, node)| (path.clone(), node.clone())).collect(), part)
}

fn regular(flat: &Flat) -> impl Iterator<Item = (&TreePath, &(Entry, Vec<u8>))> {
    flat.iter().filter(|(_, (entry, _))| entry.kind == EntryKind::File)
}

fn files(flat: &Flat) -> usize {
    flat.values().filter(|(entry, _)| !entry.is_dir()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_run_leaves_what_it_had_and_the_next_one_goes_on_from_there() {
    let seed = seed();
    let home = tempfile::tempdir().unwrap();
    let store = Arc::new(Local::create(home.path().join("repository")).await.unwrap());
    let repo = init(store).await;
    let tree = shop(seed);
    let (id, left) = stopped(&repo, &tree, 12).await;
    assert_eq!(left.tags, ["nightly", PARTIAL_TAG]);

    // It is whole, for everybody: what is in it is as it was.
    let part = restored(&repo, left.tree).await;
    assert_eq!(wrong(&part, &tree.flat()), "");
    assert!(files(&part) >= 5 && files(&part) < files(&tree.flat()), "{}", files(&part));
    assert_eq!(serious(&repo).await, [""; 0]);
    let restic = Restic::new(home.path().join("repository"), PASSWORD);
    restic.run(&["unlock"]);
    restic.check();
    let target = tempfile::tempdir().unwrap();
    restic.restore(&id.to_string(), target.path());
    let err = repo.find_snapshot("latest", &SnapshotFilter::default()).await.unwrap_err();
    assert_eq!((err.kind(), err.stable_code()), (Kind::NotFound, Some("E0464")));

    let gate = Gate::default();
    gate.open();
    let folder = gate.folder(&tree);
    let (whole, report) = back_up(&repo, folder, None).await.unwrap();
    assert_eq!(report.files_adopted + gate.opened.load(Ordering::Relaxed) as u64, report.files());
    assert_eq!(report.files_adopted, regular(&part).count() as u64, "{report:?}");
    assert_eq!(differences(&tree.flat(), &restored(&repo, report.tree).await), "");
    // As if nothing had happened: the same tree, and nothing partial any more.
    let (_, again) = back_up(&repo, tree.folder(), None).await.unwrap();
    assert_eq!(again.tree, report.tree);
    assert_eq!(partials(&repo).await.len(), 0);
    assert!(repo.find_snapshot(&whole.to_string(), &SnapshotFilter::default()).await.is_ok());
    assert_eq!(serious(&repo).await, [""; 0]);
    restic.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_from_parent_and_partial_and_replaces_only_what_holds_less() {
    let seed = seed();
    let repo = init(Arc::new(Memory::new())).await;
    let before = shop(seed);
    let (parent, first) = back_up(&repo, before.folder(), None).await.unwrap();
    let mut tree = before.changed(seed ^ 7);
    for n in 0..12 {
        tree = tree.file(format!("new/{n}"), noise(seed ^ (n + 100), 400_000));
    }
    let tree = tree.file("zz/deep/most", noise(seed ^ 51, (4 << 20) + 1));
    let tree = tree.file("zz/deep/er/hold", noise(seed ^ 99, 80_000));
    let (id, left) = stopped(&repo, &tree, 12).await;
    assert_eq!(left.parent, Some(parent));
    let (part, old) = (restored(&repo, left.tree).await, before.flat());
    // What tells an unchanged file.
    let sign = |(entry, _): &(Entry, Vec<u8>)| (entry.size, entry.mtime, entry.ctime, entry.inode);
    let is_adopted =
        |(path, node): &(&TreePath, &(Entry, Vec<u8>))| old.get(*path).map(sign) != Some(sign(node));
    let adopted = regular(&part).filter(is_adopted).count() as u64;
    assert!(left.time.at < repo.snapshot(&parent).await.unwrap().time.at, "nobody takes it for the newest");
    assert_eq!(repo.find_snapshot("latest", &SnapshotFilter::default()).await.unwrap().0, parent);

    // A second run that hardly begins does not take the place of the first.
    let gate = Gate::default();
    let early = {
        let (repo, folder) = (repo.clone(), gate.folder(&tree));
        tokio::spawn(async move { back_up(&repo, folder, Some(PATIENCE)).await.map(drop) })
    };
    while gate.opened.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    early.abort();
    let _aborted = early.await;
    gate.open();
    assert_eq!(partials(&repo).await.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [id]);

    let (_, report) = back_up(&repo, tree.folder(), Some(Duration::from_millis(1))).await.unwrap();
    assert_eq!(report.files_adopted, adopted, "{report:?}");
    assert!(report.files_unmodified > 0, "{report:?}");
    assert_ne!(report.tree, first.tree);
    assert_eq!(differences(&tree.flat(), &restored(&repo, report.tree).await), "");
    assert_eq!(partials(&repo).await.len(), 0);
    assert_eq!(serious(&repo).await, [""; 0]);
}

/// At every moment, whatever of the changes in flight comes through: each snapshot that is there, partial or not,
/// has all that it needs.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_partial_snapshot_needs_is_durable_before_it_is_there() {
    let seed = seed();
    let memory = Memory::new();
    drop(init(Arc::new(memory.clone())).await);
    let before = memory.objects();
    let recording = Recording::new(Arc::new(memory));
    let repo =
        Repository::open(Arc::new(recording.clone()), &password(), Limits::default(), &real()).await.unwrap();
    let mut tree = Tree::random(seed, 20);
    for n in 0..160 {
        // The same in two folders each, so that one thread refers to what another is about to store.
        tree = tree.file(format!("{:02}/{n:03}", n / 8), noise(seed ^ (n / 16 * 8 + n % 8), 450_000));
    }
    let pace = Pace { recording: recording.clone(), opened: Arc::default() };
    let keep = move |_: &Entry| {
        pace.keep();
        Ok(())
    };
    let folder = Box::new(Asking(tree.folder(), Arc::new(keep)));
    back_up(&repo, folder, Some(Duration::ZERO)).await.unwrap();
    let log = recording.log();
    let written: Vec<usize> = (0..log.len()).filter(|at| is_snapshot(&log[*at])).collect();
    assert!(written.len() >= 2, "only {} snapshots", written.len());
    for at in written {
        for state in crash_states(&before, &log, at + 1, seed) {
            let store = Arc::new(state.store());
            let repo = Repository::open(store, &password(), Limits::default(), &dead_env()).await.unwrap();
            for (id, snapshot) in all(&repo).await {
                let flat = restored(&repo, snapshot.tree).await;
                assert_eq!(wrong(&flat, &tree.flat()), "", "snapshot {id} at {at}, lost {:?}", state.lost);
            }
        }
    }
    assert_eq!(partials(&repo).await.len(), 0);
}

/// A run with a partial snapshot at every turn, in a store that fails at every `put` beneath `prefix` from the
/// `nth` on.
async fn in_a_failing_store(
    prefix: &'static str,
    nth: usize,
    times: usize,
) -> (Repository, Result<TreeReport>) {
    let memory = Memory::new();
    drop(init(Arc::new(memory.clone())).await);
    let script = Script { op: Op::Put, prefix, nth, times, fault: Fault::NoSpace };
    let store = Arc::new(Faulty::new(Arc::new(memory.clone()), [script]));
    let mut env = real();
    env.host.pid = 0x3fff_fff0;
    let repo = Repository::open(store, &password(), Limits::default(), &env).await.unwrap();
    let done = back_up(&repo, shop(seed()).folder(), Some(Duration::ZERO)).await;
    let repo = Repository::open(Arc::new(memory), &password(), Limits::default(), &real()).await.unwrap();
    (repo, done.map(|(_, report)| report))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_why_a_run_ended_is_told_and_a_partial_snapshot_is_no_reason() {
    for (prefix, nth) in [("data/", 0), ("data/", 2), ("index/", 0), ("index/", 1)] {
        let (repo, done) = in_a_failing_store(prefix, nth, usize::MAX).await;
        let err = done.unwrap_err();
        assert_eq!(err.stable_code(), Some("E0401"), "{prefix} {nth}: {err:?}");
        assert_eq!(serious(&repo).await, [""; 0], "{prefix} {nth}");
        for (_, left) in all(&repo).await {
            assert!(left.is_partial());
            restored(&repo, left.tree).await;
        }
    }
    let (repo, done) = in_a_failing_store("snapshots/", 0, 1).await;
    let report = done.unwrap();
    restored(&repo, report.tree).await;
    assert_eq!(all(&repo).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_counts_complete_snapshots_and_forgets_partial_ones_that_were_overtaken() {
    let repo = init(Arc::new(Memory::new())).await;
    let tree = shop(seed());
    let put = |partial: bool, hour: u32, path: &str| {
        let mut snapshot = Snapshot::new(repo.env(), Id::of(b""), vec![path.into()]);
        snapshot.time.at = format!("2026-03-01T{hour:02}:00:00Z").parse().unwrap();
        if partial {
            snapshot.tags.push(PARTIAL_TAG.to_owned());
            let at = snapshot.time.at;
            snapshot.recoup = Some(Story { began: at, at, items: 1 }.to_field());
        }
        snapshot
    };
    let mut ids = BTreeMap::new();
    let mut writer = Writer::begin(&repo, WriteOptions::default()).await.unwrap();
    let root = writer.tree(tree.folder(), None, "shop").await.unwrap().tree;
    let made =
        [("old", true, 1, "/a"), ("whole", false, 2, "/a"), ("new", true, 3, "/a"), ("alone", true, 1, "/b")];
    for (name, partial, hour, path) in made {
        let snapshot = Snapshot { tree: root, ..put(partial, hour, path) };
        ids.insert(name, writer.snapshot(snapshot).await.unwrap());
    }
    writer.finish().await.unwrap();
    let policy = Policy { last: Keep::Count(1), ..Policy::default() };
    let filter = SnapshotFilter::default();
    for (dry_run, left) in [(true, 4), (false, 3)] {
        let options = ForgetOptions { dry_run, ..ForgetOptions::default() };
        let done = by_policy(&repo, &filter, &policy, GroupBy::default(), options).await.unwrap();
        assert_eq!((done.partial, done.done.removed), (vec![ids["old"]], vec![ids["old"]]));
        assert_eq!(done.plan.groups.len(), 1, "a partial snapshot makes no group");
        assert_eq!(all(&repo).await.len(), left);
    }
    // Who keeps nothing on purpose keeps nothing partial either.
    let none = Policy { may_keep_nothing: true, ..Policy::default() };
    let done = by_policy(&repo, &filter, &none, GroupBy::default(), ForgetOptions::default()).await.unwrap();
    assert_eq!((done.done.removed.len(), done.partial.len()), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_run_makes_a_snapshot_partial_and_only_what_tells_its_story_is_removed() {
    let repo = init(Arc::new(Memory::new())).await;
    let tree = shop(seed());
    let (whole, report) = back_up(&repo, tree.folder(), None).await.unwrap();
    let mut writer = Writer::begin(&repo, WriteOptions::default()).await.unwrap();
    let mut marked = Snapshot { tree: report.tree, ..new_snapshot(&repo) };
    marked.tags.push(PARTIAL_TAG.into());
    let told = Story { began: marked.time.at, at: marked.time.at, items: 1 };
    // Another tool gave the tag, or took it away.
    let tagged = writer.snapshot(marked.clone()).await.unwrap();
    let told = Snapshot { recoup: Some(told.to_field()), tags: Vec::new(), ..marked };
    let told = writer.snapshot(told).await.unwrap();
    writer.finish().await.unwrap();
    let left = async || partials(&repo).await.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>();
    assert_eq!(left().await, BTreeSet::from([tagged, told]));

    let mark = || vec![PARTIAL_TAG.to_owned()];
    for (id, change) in [
        (whole, TagChange::Change { add: mark(), remove: Vec::new() }),
        (whole, TagChange::Set(mark())),
        (tagged, TagChange::Set(Vec::new())),
        (tagged, TagChange::Change { add: Vec::new(), remove: mark() }),
    ] {
        let done = tag(&repo, &[id], &change, Duration::ZERO).await.unwrap();
        assert_eq!(done.failed[0].1.stable_code(), Some("E0482"), "{change:?}");
        assert!(repo.snapshot(&id).await.is_ok());
    }
    let more = TagChange::Change { add: vec!["kept".into()], remove: Vec::new() };
    let renamed = tag(&repo, &[tagged], &more, Duration::ZERO).await.unwrap().changed[0].1;
    back_up(&repo, tree.folder(), None).await.unwrap();
    assert_eq!(left().await, BTreeSet::from([renamed]), "nobody knows what came in its place");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_of_the_same_place_at_once_leave_two_snapshots_and_nothing_partial() {
    let repo = init(Arc::new(Memory::new())).await;
    let (one, other) = (shop(seed()), shop(seed() ^ 5));
    let run = |tree: &Tree| back_up(&repo, tree.folder(), Some(Duration::ZERO));
    let (first, second) = tokio::join!(run(&one), run(&other));
    for (done, tree) in [(first, &one), (second, &other)] {
        let (_, report) = done.unwrap();
        assert_eq!(differences(&tree.flat(), &restored(&repo, report.tree).await), "");
    }
    assert_eq!((all(&repo).await.len(), partials(&repo).await.len()), (2, 0));
    assert_eq!(serious(&repo).await, [""; 0]);
}
