//! Every state that a crash of a prune can leave: the snapshots are whole, and the next prune and the next
//! backup work.

use crate::kit;
use crate::prune::at_once;
use recoup_repo::Id;
use recoup_repo::forget::{ForgetOptions, forget};
use recoup_repo::prune::{PruneOptions, Unused, prune};
use recoup_store::Store;
use recoup_store::memory::Memory;
use recoup_testkit::crash::every_crash;
use recoup_testkit::env::{real, scripted};
use recoup_testkit::recording::{CrashState, Recording};
use recoup_testkit::tree::{Tree, seed};
use std::sync::Arc;
use std::time::Duration;

struct Expected {
    snapshot: Id,
    tree: Id,
    content: Tree,
    next: Tree,
}

/// After a crash in `state` everything works, and the data that `state` left over goes.
async fn oracle(state: CrashState, expected: Arc<Expected>) -> Result<(), String> {
    let store: Arc<dyn Store> = Arc::new(state.store());
    let repo = kit::open(Arc::clone(&store), &real()).await.map_err(|e| format!("open: {e:?}"))?;
    let whole = async |about: &str| {
        let complaint = kit::restore_complaint(&repo, expected.tree, &expected.content.flat()).await;
        if complaint.is_empty() { Ok(()) } else { Err(format!("{about}: {complaint}")) }
    };
    whole("after the crash").await?;
    let list = repo.snapshots().await.map_err(|e| format!("snapshots: {e:?}"))?;
    if !list.snapshots.iter().any(|(id, _)| *id == expected.snapshot) {
        return Err("the snapshot is gone".into());
    }
    let backup = kit::backup(&repo, &expected.next, Some(expected.tree)).await;
    let backup = backup.map_err(|e| format!("the next backup: {e:?}"))?;
    prune(&repo, &at_once()).await.map_err(|e| format!("the next prune: {e:?}"))?;
    whole("after the next prune").await?;
    let complaint = kit::restore_complaint(&repo, backup.tree, &expected.next.flat()).await;
    let serious = kit::serious(&repo).await.join("\n");
    let idle = prune(&repo, &PruneOptions { dry_run: true, ..at_once() }).await;
    let unused = idle.map_err(|e| format!("dry run: {e:?}"))?.planned.bytes_unused;
    match (complaint.is_empty(), serious.is_empty(), unused) {
        (true, true, 0) => Ok(()),
        _ => Err(format!("{complaint} {serious} {unused} bytes are not needed")),
    }
}

async fn every_crash_of(options: PruneOptions) -> usize {
    let seed = seed();
    let memory = Memory::new();
    let env = kit::dead_env();
    let repo = kit::init(Arc::new(memory.clone()), &env).await.unwrap();
    let first = Tree::random(seed, 14);
    let second = first.changed(seed + 1);
    let one = kit::backup(&repo, &first, None).await.unwrap();
    let two = kit::backup(&repo, &second, Some(one.tree)).await.unwrap();
    forget(&repo, &[one.snapshot], ForgetOptions::default()).await.unwrap();
    let before = memory.objects();
    let recording = Recording::new(Arc::new(memory));
    let (mut env, clock) = scripted("2027-01-01T00:00:00Z", seed);
    env.host = kit::dead_env().host;
    let repo = kit::open(Arc::new(recording.clone()), &env).await.unwrap();
    prune(&repo, &options).await.unwrap();
    clock.advance(Duration::from_secs(24 * 3600));
    prune(&repo, &options).await.unwrap();
    let next = second.changed(seed + 2);
    let expected = Arc::new(Expected { snapshot: two.snapshot, tree: two.tree, content: second, next });
    let log = recording.log();
    let tried = every_crash(&before, &log, seed, |state| oracle(state, Arc::clone(&expected))).await.unwrap();
    eprintln!("crash points of prune: {} prefixes, {} states", tried.prefixes, tried.states);
    tried.states
}

#[tokio::test(flavor = "multi_thread")]
async fn row_002_trap_33_every_crash_of_a_prune_that_deletes_at_once() {
    assert!(every_crash_of(at_once()).await > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_002_trap_33_every_crash_of_a_prune_in_two_steps() {
    let two_steps = PruneOptions { max_unused: Unused::Bytes(0), ..PruneOptions::default() };
    assert!(every_crash_of(two_steps).await > 10);
}
