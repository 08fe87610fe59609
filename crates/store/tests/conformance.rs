//! The one suite against every location and every wrapper.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "test code may touch the world")]

use recoup_core::event::Silent;
use recoup_store::local::Local;
use recoup_store::memory::Memory;
use recoup_store::wrap::readonly::ReadOnly;
use recoup_store::wrap::retry::{Policy, Retry};
use recoup_store::{Key, Put, Store, StoreExt, conformance};
use recoup_testkit::faulty::Faulty;
use recoup_testkit::recording::Recording;
use std::sync::Arc;

#[tokio::test]
async fn local() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::create(dir.path().join("deep/location")).await.unwrap();
    conformance::run(&store).await.unwrap();
}

#[tokio::test]
async fn memory() {
    conformance::run(&Memory::new()).await.unwrap();
}

#[tokio::test]
async fn retry_of_memory() {
    let store = Retry::new(Arc::new(Memory::new()), Policy::default(), Arc::new(Silent));
    conformance::run(&store).await.unwrap();
    assert_eq!(store.retries(), 0);
}

#[tokio::test]
async fn recording_of_memory() {
    let store = Recording::new(Arc::new(Memory::new()));
    conformance::run(&store).await.unwrap();
    assert!(!store.log().is_empty());
}

#[tokio::test]
async fn faulty_of_memory_without_faults() {
    conformance::run(&Faulty::new(Arc::new(Memory::new()), [])).await.unwrap();
}

#[tokio::test]
async fn read_only_reads_and_refuses_the_rest() {
    let inner = Memory::new();
    let key = Key::new("config").unwrap();
    inner.put(&key, "x".into(), Put::Create).await.unwrap();
    let store = ReadOnly::new(Arc::new(inner.clone()));
    assert_eq!(store.get(&key, None).await.unwrap(), "x");
    assert_eq!(store.list_all("").await.unwrap().len(), 1);
    assert!(store.delete(&key).await.is_err());
    assert!(store.put(&key, "y".into(), Put::Replace).await.is_err());
    assert_eq!(inner.objects()[&key], "x");
}
