//! What a retry mends, and what it must not hide.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "test code may touch the world")]

use recoup_core::Kind;
use recoup_core::event::Event;
use recoup_store::memory::Memory;
use recoup_store::wrap::retry::{Policy, Retry};
use recoup_store::{Key, Put, Store, StoreExt};
use recoup_testkit::env::Recorder;
use recoup_testkit::faulty::{Fault, Faulty, Op, Script};
use std::sync::Arc;
use std::time::Duration;

struct Bench {
    memory: Memory,
    faulty: Faulty,
    store: Retry,
    events: Arc<Recorder>,
}

fn bench(scripts: impl IntoIterator<Item = Script>) -> Bench {
    let memory = Memory::new();
    let faulty = Faulty::new(Arc::new(memory.clone()), scripts);
    let events = Arc::new(Recorder::default());
    let policy =
        Policy { retries_max: 3, wait_first: Duration::from_micros(1), wait_max: Duration::from_micros(2) };
    let store = Retry::new(Arc::new(faulty.clone()), policy, events.clone());
    Bench { memory, faulty, store, events }
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

#[tokio::test]
async fn passing_failures_of_every_call_are_tried_again_and_told() {
    let ops = [Op::Put, Op::Get, Op::Head, Op::List, Op::Delete];
    let b = bench(ops.map(|op| Script::once(op, "", 0, Fault::Error(Kind::Unavailable))));
    b.store.put(&key("a"), "x".into(), Put::Create).await.unwrap();
    assert_eq!(b.store.get(&key("a"), None).await.unwrap(), "x");
    assert!(b.store.head(&key("a")).await.unwrap().is_some());
    assert_eq!(b.store.list_all("").await.unwrap().len(), 1);
    b.store.delete(&key("a")).await.unwrap();
    assert_eq!(b.store.retries(), 5);
    let told = b.events.0.lock().unwrap();
    assert_eq!(told.len(), 5);
    assert!(told.iter().all(|e| matches!(e, Event::Finding(f) if f.id == "W0481")));
}

#[tokio::test]
async fn lasting_failures_end_after_the_last_retry() {
    let b = bench([Script::always(Op::Get, "", Fault::Error(Kind::TimedOut))]);
    assert_eq!(b.store.get(&key("a"), None).await.unwrap_err().kind(), Kind::TimedOut);
    assert_eq!(b.faulty.calls().len(), 4);
}

#[tokio::test]
async fn row_021_a_full_disk_is_not_asked_again() {
    let b = bench([Script::always(Op::Put, "", Fault::NoSpace)]);
    let error = b.store.put(&key("a"), "x".into(), Put::Create).await.unwrap_err();
    assert_eq!(error.stable_code(), Some("E0401"));
    assert_eq!(b.faulty.calls().len(), 1);
}

#[tokio::test]
async fn answers_that_no_retry_can_change_are_final() {
    for kind in [Kind::NotFound, Kind::Denied, Kind::Corrupt, Kind::Refused] {
        let b = bench([Script::always(Op::Get, "", Fault::Error(kind))]);
        assert_eq!(b.store.get(&key("a"), None).await.unwrap_err().kind(), kind);
        assert_eq!(b.faulty.calls().len(), 1);
    }
}

#[tokio::test]
async fn a_create_whose_answer_got_lost_is_a_success() {
    let b = bench([Script::once(Op::Put, "", 0, Fault::LostAnswer)]);
    b.store.put(&key("a"), "x".into(), Put::Create).await.unwrap();
    assert_eq!(b.memory.objects()[&key("a")], "x");
}

#[tokio::test]
async fn a_create_over_the_bytes_of_somebody_else_is_refused() {
    let b = bench([Script::once(Op::Put, "", 0, Fault::Error(Kind::Unavailable))]);
    b.memory.put(&key("a"), "theirs".into(), Put::Create).await.unwrap();
    assert_eq!(b.store.put(&key("a"), "ours".into(), Put::Create).await.unwrap_err().kind(), Kind::Exists);
    // Without a doubtful attempt before it, equal bytes are no excuse either.
    assert_eq!(b.store.put(&key("a"), "theirs".into(), Put::Create).await.unwrap_err().kind(), Kind::Exists);
    assert_eq!(b.memory.objects()[&key("a")], "theirs");
}

#[tokio::test]
async fn a_listing_that_breaks_off_is_made_again_as_a_whole() {
    let b = bench([Script::once(Op::List, "", 0, Fault::BrokenList(2))]);
    for name in ["a", "b", "c"] {
        b.memory.put(&key(name), "x".into(), Put::Create).await.unwrap();
    }
    assert_eq!(b.store.list_all("").await.unwrap().len(), 3);
    let b = bench([Script::always(Op::List, "", Fault::BrokenList(2))]);
    b.memory.put(&key("a"), "x".into(), Put::Create).await.unwrap();
    assert!(b.store.list_all("").await.is_err(), "half a listing is no listing");
}
