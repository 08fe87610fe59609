//! Keys and tags that change: at every moment a password works and a snapshot is there.

use crate::kit;
use recoup_core::Kind;
use recoup_core::secret::Secret;
use recoup_repo::keyfile::PasswordStrength;
use recoup_repo::keys::{self, KeyOptions};
use recoup_repo::repository::Repository;
use recoup_repo::tagging::{TagChange, tag};
use recoup_repo::{Id, Limits};
use recoup_store::Store;
use recoup_store::memory::Memory;
use recoup_testkit::crash::{Tried, every_crash};
use recoup_testkit::env::real;
use recoup_testkit::recording::{CrashState, Recording};
use recoup_testkit::tree::{Tree, seed};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

fn options() -> KeyOptions {
    KeyOptions { strength: PasswordStrength::Generated, ..KeyOptions::default() }
}

fn secret(text: &str) -> Secret {
    Secret::new(text.into())
}

async fn opens(store: &Arc<dyn Store>, password: &str) -> bool {
    Repository::open(Arc::clone(store), &secret(password), Limits::default(), &real()).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_in_use_and_the_last_key_stay() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let repo = kit::init(Arc::clone(&store), &real()).await.unwrap();
    let first = repo.key_id().unwrap();
    let refused = keys::remove(&repo, first, Duration::ZERO).await.unwrap_err();
    assert_eq!((refused.kind(), refused.stable_code()), (Kind::Refused, Some("E0490")));
    let second = keys::add(&repo, &secret("second"), &options()).await.unwrap();
    let listed = keys::list(&repo).await.unwrap();
    assert_eq!(listed.iter().filter(|key| key.is_current).map(|key| key.id).collect::<Vec<_>>(), [first]);
    assert_eq!(listed.len(), 2);
    assert_eq!(keys::find(&repo, &second.to_string()[..12]).await.unwrap(), second);
    let by_second =
        Repository::open(Arc::clone(&store), &secret("second"), Limits::default(), &real()).await.unwrap();
    assert_eq!(by_second.key_id(), Some(second));
    keys::remove(&by_second, first, Duration::ZERO).await.unwrap();
    assert!(!opens(&store, kit::PASSWORD).await && opens(&store, "second").await);
    // The first session holds a key that is gone: it may not remove what is now the last.
    let refused = keys::remove(&repo, second, Duration::ZERO).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Refused);
    assert!(opens(&store, "second").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_004_every_crash_of_a_key_rotation_leaves_a_password_that_works() {
    let recording = Recording::new(Arc::new(Memory::new()));
    let store: Arc<dyn Store> = Arc::new(recording.clone());
    let repo = kit::init(Arc::clone(&store), &kit::dead_env()).await.unwrap();
    recording.mark("init");
    keys::add(&repo, &secret("second"), &options()).await.unwrap();
    recording.mark("second");
    keys::change_password(&repo, &secret("third"), &options()).await.unwrap();
    recording.mark("third");
    let oracle = |state: CrashState| async move {
        let store: Arc<dyn Store> = Arc::new(state.store());
        for (mark, password) in [("second", "second"), ("third", "third")] {
            if state.marks.iter().any(|m| m == mark) && !opens(&store, password).await {
                return Err(format!("the password \"{password}\" was acknowledged and does not work"));
            }
        }
        let any = opens(&store, kit::PASSWORD).await || opens(&store, "third").await;
        let initialised = state.marks.iter().any(|m| m == "init");
        if initialised && !any { Err("neither the old nor the new password works".into()) } else { Ok(()) }
    };
    let Tried { prefixes, states } =
        every_crash(&BTreeMap::new(), &recording.log(), seed(), oracle).await.unwrap();
    eprintln!("key rotation: {prefixes} prefixes, {states} states");
    assert!(states > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_crash_of_a_tag_leaves_the_snapshot() {
    let recording = Recording::new(Arc::new(Memory::new()));
    let store: Arc<dyn Store> = Arc::new(recording.clone());
    let repo = kit::init(Arc::clone(&store), &kit::dead_env()).await.unwrap();
    let first = kit::backup(&repo, &Tree::new().file("a", "x"), None).await.unwrap();
    recording.mark("backup");
    let change = TagChange::Change { add: vec!["keep".into()], remove: Vec::new() };
    let done = tag(&repo, &[first.snapshot], &change, Duration::ZERO).await.unwrap();
    recording.mark("tagged");
    let new = done.changed[0].1;
    let tagged = repo.snapshot(&new).await.unwrap();
    assert_eq!((tagged.original, &*tagged.tags), (Some(first.snapshot), &["keep".to_owned()][..]));
    let oracle = move |state: CrashState| async move {
        let is_backed_up = state.marks.iter().any(|m| m == "backup");
        if !is_backed_up {
            return Ok(());
        }
        let repo = kit::open(Arc::new(state.store()), &real()).await.map_err(|e| format!("{e:?}"))?;
        let ids = |list: Vec<(Id, _)>| list.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        let before = ids(repo.snapshots().await.unwrap().snapshots);
        if !before.contains(&first.snapshot) && !before.contains(&new) {
            return Err("the snapshot is gone".into());
        }
        // Once more: what was left in between is taken up and nothing comes twice.
        let change = TagChange::Change { add: vec!["keep".into()], remove: Vec::new() };
        tag(&repo, &before, &change, Duration::ZERO).await.map_err(|e| format!("tag again: {e:?}"))?;
        let after = repo.snapshots().await.unwrap().snapshots;
        let good = after.len() == 1 && after[0].1.tags == ["keep"];
        if good { Ok(()) } else { Err(format!("{} snapshots after the next run", after.len())) }
    };
    every_crash(&BTreeMap::new(), &recording.log(), seed(), oracle).await.unwrap();
}
