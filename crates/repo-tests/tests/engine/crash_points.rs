//! Every state that a crash can leave behind: what was acknowledged is there, and work goes on.

use crate::kit::{self, Backup};
use recoup_core::Kind;
use recoup_repo::Id;
use recoup_repo::forget::{ForgetOptions, forget};
use recoup_repo::repository::Repository;
use recoup_store::memory::Memory;
use recoup_store::{Store, StoreExt};
use recoup_testkit::crash::{Tried, every_crash};
use recoup_testkit::env::real;
use recoup_testkit::recording::{CrashState, Recording};
use recoup_testkit::tree::{Flat, Tree, seed};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A recorded history, with what it promised.
struct History {
    recording: Recording,
    trees: Arc<BTreeMap<Id, Flat>>,
    /// Backed up after each crash.
    next: Arc<Tree>,
}

impl History {
    async fn record(seed: u64) -> History {
        let recording = Recording::new(Arc::new(Memory::new()));
        let store: Arc<dyn Store> = Arc::new(recording.clone());
        let env = kit::dead_env();
        let repo = kit::init(Arc::clone(&store), &env).await.unwrap();
        recording.mark("init");
        let first = Tree::random(seed, 18);
        let second = first.changed(seed + 1);
        let one = kit::backup(&repo, &first, None).await.unwrap();
        recording.mark(format!("snapshot {}", one.snapshot));
        let two = kit::backup(&repo, &second, Some(one.tree)).await.unwrap();
        recording.mark(format!("snapshot {}", two.snapshot));
        recording.mark(format!("forgetting {}", one.snapshot));
        forget(&repo, &[one.snapshot], ForgetOptions::default()).await.unwrap();
        recording.mark(format!("forgot {}", one.snapshot));
        let next = Arc::new(second.changed(seed + 2));
        let trees = [(one, &first), (two, &second)];
        let trees = trees.map(|(Backup { snapshot, .. }, tree)| (snapshot, tree.flat())).into();
        History { recording, trees: Arc::new(trees), next }
    }
}

/// What had been told to the user when the crash came.
#[derive(Default)]
struct Promised {
    initialised: bool,
    snapshots: Vec<Id>,
    forgotten: Vec<Id>,
}

impl Promised {
    fn by(state: &CrashState) -> Self {
        let mut promised = Promised::default();
        for mark in &state.marks {
            let id = |text: &str| text.parse::<Id>().unwrap();
            match mark.split_once(' ') {
                Some(("snapshot", text)) => promised.snapshots.push(id(text)),
                Some(("forgetting", text)) => promised.snapshots.retain(|s| *s != id(text)),
                Some(("forgot", text)) => promised.forgotten.push(id(text)),
                _ => promised.initialised = true,
            }
        }
        promised
    }
}

async fn oracle(state: CrashState, trees: Arc<BTreeMap<Id, Flat>>, next: Arc<Tree>) -> Result<(), String> {
    let promised = Promised::by(&state);
    let store: Arc<dyn Store> = Arc::new(state.store());
    let repo = match kit::open(Arc::clone(&store), &real()).await {
        Ok(repo) => repo,
        Err(e) if !promised.initialised && e.kind() == Kind::NotFound => {
            kit::init(Arc::clone(&store), &real()).await.map_err(|e| format!("init again: {e:?}"))?
        }
        Err(e) => return Err(format!("open: {e:?}")),
    };
    snapshots_are_whole(&repo, &promised, &trees).await?;
    let flat = next.flat();
    let parent = repo.snapshots().await.map_err(|e| format!("snapshots: {e:?}"))?.snapshots.pop();
    let backup = kit::backup(&repo, &next, parent.map(|(_, s)| s.tree)).await;
    let backup = backup.map_err(|e| format!("the next backup: {e:?}"))?;
    let repo = kit::open(Arc::clone(&store), &real()).await.map_err(|e| format!("open again: {e:?}"))?;
    none(kit::restore_complaint(&repo, backup.tree, &flat).await, "the next backup")?;
    snapshots_are_whole(&repo, &promised, &trees).await?;
    let serious = kit::serious(&repo).await;
    none(serious.join("\n"), "check")?;
    let locks = store.list_all("locks").await.map_err(|e| format!("list: {e:?}"))?;
    none(locks.iter().map(|m| format!("{} is left", m.key)).collect::<String>(), "locks")
}

async fn snapshots_are_whole(
    repo: &Repository,
    promised: &Promised,
    trees: &BTreeMap<Id, Flat>,
) -> Result<(), String> {
    let list = repo.snapshots().await.map_err(|e| format!("snapshots: {e:?}"))?;
    none(list.problems.iter().map(|p| format!("{p:?}")).collect::<String>(), "snapshots")?;
    let listed: BTreeMap<Id, Id> = list.snapshots.iter().map(|(id, s)| (*id, s.tree)).collect();
    let missing = promised.snapshots.iter().filter(|id| !listed.contains_key(id));
    none(missing.map(|id| format!("{id} was acknowledged and is gone")).collect::<String>(), "snapshots")?;
    let back = promised.forgotten.iter().filter(|id| listed.contains_key(id));
    none(back.map(|id| format!("{id} was forgotten and is back")).collect::<String>(), "snapshots")?;
    // One that was not acknowledged but can be seen must be whole all the same.
    for (snapshot, tree) in listed {
        if let Some(flat) = trees.get(&snapshot) {
            none(kit::restore_complaint(repo, tree, flat).await, &format!("snapshot {snapshot}"))?;
        }
    }
    Ok(())
}

fn none(complaints: String, about: &str) -> Result<(), String> {
    if complaints.is_empty() { Ok(()) } else { Err(format!("{about}: {complaints}")) }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_1_10_11_trap_44_every_crash_of_init_backup_and_forget() {
    let seed = seed();
    let history = History::record(seed).await;
    let log = history.recording.log();
    let Tried { prefixes, states } = every_crash(&BTreeMap::new(), &log, seed, |state| {
        oracle(state, Arc::clone(&history.trees), Arc::clone(&history.next))
    })
    .await
    .unwrap();
    eprintln!("crash points: {prefixes} prefixes, {states} states");
    assert!(prefixes > 20 && states > 20, "the history is too short to prove anything");
}

/// Stock restic looks at some of the states after the next recoup run.
#[tokio::test(flavor = "multi_thread")]
async fn row_001_after_a_crash_and_the_next_run_restic_is_content() {
    let seed = seed();
    let history = History::record(seed).await;
    let log = history.recording.log();
    for at in (log.len() / 8..log.len()).step_by(log.len() / 6) {
        let state = recoup_testkit::recording::crash_states(&BTreeMap::new(), &log, at, seed).pop().unwrap();
        let store: Arc<dyn Store> = Arc::new(state.store());
        let Ok(repo) = kit::open(Arc::clone(&store), &real()).await else { continue };
        kit::backup(&repo, &history.next, None).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        crate::interop::write_out(&*store, dir.path()).await;
        let restic = recoup_testkit::restic::Restic::new(dir.path(), kit::PASSWORD);
        restic.check();
    }
}
