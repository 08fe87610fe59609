//! Creating, opening, locking and forgetting, with what can go wrong.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, reason = "a test touches the world")]

use bytes::Bytes;
use recoup_core::Kind;
use recoup_core::env::{Env, Host};
use recoup_core::retention::{GroupBy, Keep, Policy};
use recoup_core::secret::Secret;
use recoup_repo::forget::{ForgetOptions, by_policy, forget};
use recoup_repo::keyfile::PasswordStrength;
use recoup_repo::locks::{LockMode, LockState};
use recoup_repo::repository::{InitOptions, Repository, SnapshotFilter};
use recoup_repo::write::{WriteOptions, Writer};
use recoup_repo::{Id, Limits, Snapshot};
use recoup_store::local::Local;
use recoup_store::memory::Memory;
use recoup_store::{Key, Store};
use recoup_testkit::env::{real, scripted};
use recoup_testkit::restic::Restic;
use recoup_testkit::tree::Tree;
use std::sync::Arc;
use std::time::Duration;

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

fn options() -> InitOptions {
    InitOptions { password_strength: PasswordStrength::Generated, chunker_polynomial: None }
}

async fn init(store: &Memory, password: &str, env: &Env) -> recoup_core::Result<Repository> {
    Repository::init(Arc::new(store.clone()), &secret(password), &options(), env).await
}

async fn open(store: &Memory, password: &str) -> recoup_core::Result<Repository> {
    Repository::open(Arc::new(store.clone()), &secret(password), Limits::default(), &real()).await
}

async fn snapshot(repository: &Repository) -> Id {
    let mut writer = Writer::begin(repository, WriteOptions::default()).await.unwrap();
    let report = writer.tree(Tree::new().file("a", b"x".to_vec()).folder(), None, "t").await.unwrap();
    let id = writer.snapshot(Snapshot::new(repository.env(), report.tree, vec!["/t".into()])).await.unwrap();
    writer.finish().await.unwrap();
    id
}

fn keys(store: &Memory, prefix: &str) -> Vec<Key> {
    store.objects().into_keys().filter(|key| key.as_str().starts_with(prefix)).collect()
}

#[tokio::test]
async fn only_the_password_opens_and_absence_is_told() {
    let store = Memory::new();
    assert_eq!(open(&store, "a").await.unwrap_err().stable_code(), Some("E0410"));
    let made = init(&store, "a", &real()).await.unwrap();
    assert_eq!(open(&store, "a").await.unwrap().id(), made.id());
    let wrong = open(&store, "b").await.unwrap_err();
    assert_eq!((wrong.kind(), wrong.stable_code()), (Kind::Denied, Some("E0412")));
    let again = init(&store, "a", &real()).await.unwrap_err();
    assert_eq!((again.kind(), again.stable_code()), (Kind::Exists, Some("E0460")));
}

#[tokio::test]
async fn a_damaged_key_file_is_skipped_and_told() {
    let store = Memory::new();
    init(&store, "a", &real()).await.unwrap();
    let objects = store.objects();
    let good = keys(&store, "keys/")[0].clone();
    let bad = Key::new(format!("keys/{}", Id::of(b"other"))).unwrap();
    store.tamper(&bad, |_| Some(objects[&good].clone()));
    let empty = Key::new(format!("keys/{}", Id::of(b""))).unwrap();
    store.tamper(&empty, |_| Some(Bytes::new()));
    let repository = open(&store, "a").await.unwrap();
    assert_eq!(repository.key_problems().len(), 2);
    assert_eq!(open(&store, "b").await.unwrap_err().kind(), Kind::Denied);

    store.tamper(&good, |_| None);
    let err = open(&store, "a").await.unwrap_err();
    assert_eq!((err.kind(), err.stable_code()), (Kind::Corrupt, Some("E0469")));
}

#[tokio::test]
async fn creation_is_finished_after_any_crash_and_never_over_data() {
    let store = Memory::new();
    let repository = init(&store, "a", &real()).await.unwrap();
    let config = keys(&store, "config")[0].clone();
    store.tamper(&config, |_| None);
    let other = init(&store, "b", &real()).await.unwrap_err();
    assert_eq!(other.stable_code(), Some("E0462"), "a half-made repository of somebody else");
    let finished = init(&store, "a", &real()).await.unwrap();
    assert_ne!(finished.id(), repository.id());
    assert_eq!(keys(&store, "keys/").len(), 1, "its key is used");

    snapshot(&finished).await;
    store.tamper(&config, |_| None);
    let err = init(&store, "a", &real()).await.unwrap_err();
    assert_eq!((err.kind(), err.stable_code()), (Kind::Refused, Some("E0463")), "the config was lost");
    assert_eq!(open(&store, "a").await.unwrap_err().stable_code(), Some("E0463"));
}

#[tokio::test]
async fn restic_reads_a_human_password_and_we_read_restics() {
    let home = tempfile::tempdir().unwrap();
    let store = Arc::new(Local::create(home.path().join("ours")).await.unwrap());
    let human = InitOptions { password_strength: PasswordStrength::Human, chunker_polynomial: None };
    Repository::init(store, &secret("p\u{e9}"), &human, &real()).await.unwrap();
    Restic::new(home.path().join("ours"), "p\u{e9}").check();
    let theirs = Restic::new(home.path().join("theirs"), "p\u{e9}");
    theirs.init();
    let store: Arc<dyn Store> = Arc::new(Local::new(home.path().join("theirs")));
    Repository::open(store, &secret("p\u{e9}"), Limits::default(), &real()).await.unwrap();
}

#[tokio::test]
async fn shared_locks_share_and_exclusive_ones_do_not() {
    let store = Memory::new();
    let repository = init(&store, "a", &real()).await.unwrap();
    let one = repository.lock(LockMode::Shared).await.unwrap();
    let two = repository.lock(LockMode::Shared).await.unwrap();
    let err = repository.lock(LockMode::Exclusive).await.unwrap_err();
    assert_eq!((err.kind(), err.stable_code()), (Kind::Locked, Some("E0411")));
    assert!(err.to_string().contains(&std::process::id().to_string()), "{err}");
    assert_eq!(repository.locks().await.unwrap().len(), 2, "the one that was refused is gone");
    one.check().unwrap();
    one.release().await.unwrap();
    two.release().await.unwrap();
    let alone = repository.lock(LockMode::Exclusive).await.unwrap();
    assert_eq!(repository.lock(LockMode::Shared).await.unwrap_err().kind(), Kind::Locked);
    alone.release().await.unwrap();
    assert!(keys(&store, "locks/").is_empty());
}

#[tokio::test]
async fn of_two_who_want_it_alone_one_at_most_gets_it() {
    let store = Memory::new();
    let repository = init(&store, "a", &real()).await.unwrap();
    for _ in 0..5 {
        let (one, two) =
            tokio::join!(repository.lock(LockMode::Exclusive), repository.lock(LockMode::Exclusive));
        assert!(one.is_err() || two.is_err());
        for guard in [one, two].into_iter().flatten() {
            guard.release().await.unwrap();
        }
        assert!(repository.locks().await.unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn row_007_trap_43_a_lock_is_refreshed_and_one_that_is_not_is_not_relied_on() {
    let store = Memory::new();
    let (env, clock) = scripted("2026-01-01T00:00:00Z", 1);
    let repository = init(&store, "a", &env).await.unwrap();
    let guard = repository.lock(LockMode::Shared).await.unwrap();
    let first = keys(&store, "locks/");
    for _ in 0..6 {
        clock.advance(Duration::from_secs(60));
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let second = keys(&store, "locks/");
    assert!(second.len() == 1 && second != first);
    guard.check().unwrap();

    clock.advance(Duration::from_secs(23 * 60));
    let err = guard.check().unwrap_err();
    assert_eq!((err.kind(), err.stable_code()), (Kind::Interrupted, Some("E0466")));
    guard.release().await.unwrap();
    assert!(keys(&store, "locks/").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_somebody_removed_is_noticed() {
    let store = Memory::new();
    let (env, clock) = scripted("2026-01-01T00:00:00Z", 1);
    let repository = init(&store, "a", &env).await.unwrap();
    let guard = repository.lock(LockMode::Shared).await.unwrap();
    assert_eq!(repository.unlock(true).await.unwrap().removed.len(), 1);
    clock.advance(Duration::from_secs(301));
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(guard.check().unwrap_err().stable_code(), Some("E0466"));
}

#[tokio::test(start_paused = true)]
async fn row_048_the_dead_are_cleared_away_and_strangers_are_not() {
    let store = Memory::new();
    let (env, clock) = scripted("2026-01-01T00:00:00Z", 1);
    let repository = init(&store, "a", &env).await.unwrap();
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let gone = Env { host: Host { pid: child.id(), ..env.host.clone() }, ..env.clone() };
    child.wait().unwrap();
    let theirs =
        Repository::open(Arc::new(store.clone()), &secret("a"), Limits::default(), &gone).await.unwrap();
    std::mem::forget(theirs.lock(LockMode::Exclusive).await.unwrap());
    repository.lock(LockMode::Exclusive).await.unwrap().release().await.unwrap();

    let elsewhere = Env { host: Host { hostname: "elsewhere".into(), ..gone.host.clone() }, ..env.clone() };
    let theirs =
        Repository::open(Arc::new(store.clone()), &secret("a"), Limits::default(), &elsewhere).await.unwrap();
    let guard = theirs.lock(LockMode::Exclusive).await.unwrap();
    clock.advance(Duration::from_secs(31 * 60));
    let err = repository.lock(LockMode::Shared).await.unwrap_err();
    assert!(err.to_string().contains("elsewhere") && err.next_step().unwrap().contains("unlock"), "{err}");
    assert_eq!(repository.locks().await.unwrap()[0].state, LockState::Stale);
    assert_eq!(repository.unlock(false).await.unwrap().removed.len(), 1);
    repository.lock(LockMode::Shared).await.unwrap().release().await.unwrap();
    drop(guard);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_cannot_be_read_stands_in_the_way_until_it_is_removed() {
    let store = Memory::new();
    let repository = init(&store, "a", &real()).await.unwrap();
    let broken = Key::new(format!("locks/{}", Id::of(b"?"))).unwrap();
    store.tamper(&broken, |_| Some(Bytes::from_static(b"?")));
    let empty = Key::new(format!("locks/{}", Id::of(b"empty"))).unwrap();
    store.tamper(&empty, |_| Some(Bytes::new()));
    let err = repository.lock(LockMode::Shared).await.unwrap_err();
    assert!(err.kind() == Kind::Locked && err.next_step().unwrap().contains("--all"), "{err}");
    assert!(repository.unlock(false).await.unwrap().removed.is_empty());
    assert_eq!(repository.unlock(true).await.unwrap().removed.len(), 1);
    repository.lock(LockMode::Exclusive).await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn row_30_one_damaged_snapshot_does_not_hide_the_others() {
    let store = Memory::new();
    let repository = init(&store, "a", &real()).await.unwrap();
    let (one, two) = (snapshot(&repository).await, snapshot(&repository).await);
    store.tamper(&Key::new(format!("snapshots/{one}")).unwrap(), |bytes| {
        let mut bytes = bytes.unwrap().to_vec();
        bytes[40] ^= 1;
        Some(bytes.into())
    });
    let list = repository.snapshots().await.unwrap();
    assert_eq!(list.snapshots.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [two]);
    assert!(list.problems[0].object.contains(&one.to_string()));
    let filter = SnapshotFilter::default();
    assert_eq!(repository.find_snapshot("latest", &filter).await.unwrap().0, two);
    assert_eq!(repository.find_snapshot(&two.short(), &filter).await.unwrap().0, two);
    for nothing in ["zz", "", "ffffffffffffffff"] {
        let err = repository.find_snapshot(nothing, &filter).await.unwrap_err();
        assert_eq!((err.kind(), err.stable_code()), (Kind::NotFound, Some("E0464")));
    }
    let nobody = SnapshotFilter { hosts: vec!["nobody".into()], ..filter };
    assert_eq!(repository.find_snapshot("latest", &nobody).await.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn snapshots_go_by_policy_and_by_name() {
    let store = Memory::new();
    let (env, clock) = scripted("2026-01-01T12:00:00Z", 1);
    let repository = init(&store, "a", &env).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(snapshot(&repository).await);
        clock.advance(Duration::from_secs(86_400));
    }
    let filter = SnapshotFilter::default();
    let policy = Policy { daily: Keep::Count(2), ..Policy::default() };
    let dry = ForgetOptions { dry_run: true, ..ForgetOptions::default() };
    let planned = by_policy(&repository, &filter, &policy, GroupBy::default(), dry).await.unwrap();
    assert_eq!(planned.done.removed.len(), 2);
    assert_eq!(keys(&store, "snapshots/").len(), 4);
    let options = ForgetOptions::default();
    let empty = by_policy(&repository, &filter, &Policy::default(), GroupBy::default(), options).await;
    assert_eq!(empty.unwrap_err().stable_code(), Some("E0461"));
    by_policy(&repository, &filter, &policy, GroupBy::default(), options).await.unwrap();
    let left: Vec<Id> = repository.snapshots().await.unwrap().snapshots.iter().map(|(id, _)| *id).collect();
    assert_eq!(left, ids[2..]);

    let done = forget(&repository, &[ids[0], ids[3]], options).await.unwrap();
    assert_eq!((done.removed, done.missing), (vec![ids[3]], vec![ids[0]]));
    assert!(keys(&store, "locks/").is_empty());

    let (late, _) = scripted("2030-01-01T00:00:00Z", 2);
    let theirs =
        Repository::open(Arc::new(store.clone()), &secret("a"), Limits::default(), &late).await.unwrap();
    snapshot(&theirs).await;
    let err = by_policy(&repository, &filter, &policy, GroupBy::default(), options).await.unwrap_err();
    assert_eq!((err.kind(), err.stable_code()), (Kind::Refused, Some("E0475")));
}

/// Listings of a local disk are current, so that nobody waits between the two looks; still nobody gets
/// what another one holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_who_want_the_repository_alone_at_once_at_most_one_gets_it() {
    let home = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Local::create(home.path().join("r")).await.unwrap());
    Repository::init(Arc::clone(&store), &secret("a"), &options(), &real()).await.unwrap();
    let (password, env) = (secret("a"), real());
    let open = || Repository::open(Arc::clone(&store), &password, Limits::default(), &env);
    let (one, two) = (open().await.unwrap(), open().await.unwrap());
    for _ in 0..50 {
        let (a, b) = (one.clone(), two.clone());
        let first = tokio::spawn(async move { a.lock(LockMode::Exclusive).await });
        let second = tokio::spawn(async move { b.lock(LockMode::Exclusive).await });
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        assert!(first.is_err() || second.is_err(), "both have it alone");
        for guard in [first, second].into_iter().flatten() {
            guard.release().await.unwrap();
        }
    }
    assert!(one.locks().await.unwrap().is_empty());
}
