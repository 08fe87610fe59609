//! What is special about a directory as a location.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "test code may touch the world")]

use futures_util::TryStreamExt;
use recoup_core::Kind;
use recoup_store::local::Local;
use recoup_store::{Key, Put, Store, StoreExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn objects_are_paths_for_the_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::new(dir.path());
    store.put(&key("data/ab/cd"), "x".into(), Put::Create).await.unwrap();
    assert_eq!(std::fs::read(dir.path().join("data/ab/cd")).unwrap(), b"x");
    assert_eq!(mode(&dir.path().join("data/ab/cd")), 0o400);
    assert_eq!(mode(&dir.path().join("data/ab")), 0o700);
    store.put(&key("data/ab/cd"), "y".into(), Put::Replace).await.unwrap();
    assert_eq!(store.get(&key("data/ab/cd"), None).await.unwrap(), "y");
}

#[tokio::test]
async fn a_missing_root_is_never_an_empty_location() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::new(dir.path().join("unmounted"));
    let codes = [
        store.list_all("").await.unwrap_err(),
        store.list_all("snapshots").await.unwrap_err(),
        store.head(&key("config")).await.unwrap_err(),
        store.get(&key("config"), None).await.unwrap_err(),
        store.put(&key("config"), "x".into(), Put::Create).await.unwrap_err(),
    ];
    for error in codes {
        assert_eq!((error.kind(), error.stable_code()), (Kind::NotFound, Some("E0402")), "{error}");
    }
    assert!(!dir.path().join("unmounted").exists());
}

#[tokio::test]
async fn row_034_strays_are_not_listed_and_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::new(dir.path());
    store.put(&key("data/ab/cd"), "x".into(), Put::Create).await.unwrap();
    std::fs::write(dir.path().join("data/ab/.recoup-tmp-1-2"), "half").unwrap();
    std::fs::write(dir.path().join("data/a name with spaces"), "").unwrap();
    std::fs::create_dir(dir.path().join("lost+found")).unwrap();
    symlink("nowhere", dir.path().join("data/dangling")).unwrap();
    symlink("..", dir.path().join("data/loop")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("data/pipe"), rustix::fs::Mode::RUSR).unwrap();
    let listed: Vec<_> = store.list_all("").await.unwrap().into_iter().map(|m| m.key).collect();
    assert_eq!(listed, [key("data/ab/cd")]);
    assert_eq!(store.get(&key("data/pipe"), None).await.unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(store.get(&key("data/ab"), None).await.unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(store.head(&key("data/ab")).await.unwrap(), None);
}

#[tokio::test]
async fn objects_that_vanish_during_a_listing_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = Local::new(dir.path());
    for n in 0..50 {
        store.put(&key(&format!("data/{n:02}/x")), "x".into(), Put::Create).await.unwrap();
    }
    let mut listing = store.list("data");
    let first = listing.try_next().await.unwrap().unwrap().key;
    std::fs::remove_dir_all(dir.path().join("data")).unwrap();
    let mut seen = vec![first];
    while let Some(meta) = listing.try_next().await.unwrap() {
        seen.push(meta.key);
    }
    assert!(seen.len() <= 50);
}

#[tokio::test]
async fn row_021_a_full_disk_says_what_was_needed_and_leaves_nothing() {
    let Some(disk) = recoup_testkit::disk::Small::mount(1 << 20) else { return };
    let store = Local::new(disk.path());
    store.put(&key("data/aa/first"), vec![7; 1000].into(), Put::Create).await.unwrap();
    let error = store.put(&key("data/aa/big"), vec![7; 2 << 20].into(), Put::Create).await.unwrap_err();
    assert_eq!((error.kind(), error.stable_code()), (Kind::Unavailable, Some("E0401")));
    let text = error.to_string();
    assert!(text.contains("bytes needed 2097152") && text.contains("bytes free"), "{text}");
    let left: Vec<_> = std::fs::read_dir(disk.path().join("data/aa")).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file stays");
    assert_eq!(store.get(&key("data/aa/first"), None).await.unwrap(), vec![7; 1000]);
    store.put(&key("data/aa/small"), vec![7; 1000].into(), Put::Create).await.unwrap();
    store.delete(&key("data/aa/first")).await.unwrap();
}
