//! What stands between a password and the data: config and key files.

use crate::kit;
use recoup_core::Kind;
use recoup_core::secret::Secret;
use recoup_repo::repository::Repository;
use recoup_repo::{Limits, ObjectKind, layout};
use recoup_store::memory::Memory;
use recoup_store::{Key, Store, StoreExt};
use recoup_testkit::env::real;
use recoup_testkit::evil::Evil;
use serde_json::{Value, json};
use std::sync::Arc;

async fn open_evil(evil: Evil) -> recoup_core::Result<Repository> {
    let store: Arc<dyn Store> = Arc::new(evil.finish());
    Repository::open(store, &Evil::password(), Limits::default(), &real()).await
}

fn key_file(memory: &Memory) -> (Key, Value) {
    let (key, bytes) = memory.objects().into_iter().find(|(k, _)| k.as_str().starts_with("keys/")).unwrap();
    (key, serde_json::from_slice(&bytes).unwrap())
}

#[tokio::test]
async fn row_158_a_key_file_that_costs_a_terabyte_is_refused_at_once() {
    let memory = Evil::new().finish();
    let (old, mut file) = key_file(&memory);
    file["N"] = json!(1u64 << 30);
    let mut evil = Evil::new();
    evil.remove(ObjectKind::Key);
    let bytes = file.to_string().into_bytes();
    evil.put(layout::key(ObjectKind::Key, &recoup_repo::Id::of(&bytes)), bytes);
    let clock = std::time::Instant::now();
    let error = open_evil(evil).await.unwrap_err();
    assert!(clock.elapsed().as_secs() < 5, "it was derived, not refused");
    assert!(matches!(error.kind(), Kind::Refused | Kind::Corrupt | Kind::Denied), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("allowed") || text.contains("memory"),
        "it says what is needed and allowed: {text}"
    );
    assert!(old.as_str().starts_with("keys/"));
}

#[tokio::test]
async fn row_158_a_costly_key_file_does_not_shut_the_good_one_out() {
    let memory = Evil::new().finish();
    let (_, mut file) = key_file(&memory);
    file["N"] = json!(1u64 << 30);
    let mut evil = Evil::new();
    let bytes = file.to_string().into_bytes();
    evil.put(layout::key(ObjectKind::Key, &recoup_repo::Id::of(&bytes)), bytes);
    open_evil(evil).await.unwrap();
}

#[tokio::test]
async fn row_159_an_unknown_version_and_a_weak_polynomial_are_refused() {
    let id = "ab".repeat(32);
    let cases = [
        (json!({"version": 3, "id": id, "chunker_polynomial": "3da3358b4dc173"}), Kind::Unsupported),
        (json!({"version": 2, "id": id, "chunker_polynomial": "3"}), Kind::Corrupt),
        (json!({"version": 2, "id": id, "chunker_polynomial": "0"}), Kind::Corrupt),
        (json!({"version": 2, "id": id, "chunker_polynomial": "3da3358b4dc172"}), Kind::Corrupt),
        (json!({"version": 2, "id": id}), Kind::Corrupt),
    ];
    for (config, kind) in cases {
        let mut evil = Evil::new();
        evil.config(config.to_string().as_bytes());
        let error = open_evil(evil).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{config}: {error:?}");
        assert!(error.stable_code().is_some(), "{error:?}");
    }
}

#[tokio::test]
async fn wrong_password_and_no_repository_are_told_apart() {
    let memory = Memory::new();
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let error = kit::open(Arc::clone(&store), &real()).await.unwrap_err();
    assert_eq!((error.kind(), error.stable_code()), (Kind::NotFound, Some("E0410")));
    kit::init(Arc::clone(&store), &real()).await.unwrap();
    let wrong = Secret::new("wrong".into());
    let error = Repository::open(Arc::clone(&store), &wrong, Limits::default(), &real()).await.unwrap_err();
    assert_eq!((error.kind(), error.stable_code()), (Kind::Denied, Some("E0412")));
    let before = memory.objects();
    let error = kit::init(store, &real()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Exists);
    assert_eq!(memory.objects(), before, "a refused init changes nothing");
}

#[tokio::test]
async fn trap_50_a_location_that_lost_its_config_is_never_made_anew() {
    let memory = Memory::new();
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let repo = kit::init(Arc::clone(&store), &real()).await.unwrap();
    kit::backup(&repo, &recoup_testkit::tree::Tree::new().file("a", "x"), None).await.unwrap();
    store.delete(&layout::config()).await.unwrap();
    let before = memory.objects();
    for error in [
        kit::init(Arc::clone(&store), &real()).await.unwrap_err(),
        kit::open(Arc::clone(&store), &real()).await.unwrap_err(),
    ] {
        assert_eq!(error.stable_code(), Some("E0463"), "{error:?}");
    }
    assert_eq!(memory.objects(), before);
}

#[tokio::test]
async fn row_031_a_damaged_key_file_or_config_is_named() {
    let memory = Memory::new();
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    kit::init(Arc::clone(&store), &real()).await.unwrap();
    let objects = memory.objects();
    for key in objects.keys() {
        for bit in [0, 77, 1001] {
            let damaged = Memory::from_objects(objects.clone());
            damaged.tamper(key, |bytes| bytes.map(|b| recoup_testkit::faulty::flip(&b, bit)));
            let error = kit::open(Arc::new(damaged.clone()), &real()).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "{key}, bit {bit}: {error:?}");
            assert!(
                error.to_string().contains(if key.as_str() == "config" { "config" } else { "key" }),
                "{error}"
            );
        }
    }
    assert_eq!(store.list_all("").await.unwrap().len(), 2);
}
