//! Byte for byte what stock restic writes: its own trees, read and written again; its own config, keys,
//! packs, index and snapshots, read.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "test code may touch the world")]

use jiff::tz::TimeZone;
use recoup_core::name::escape;
use recoup_core::secret::Secret;
use recoup_repo::index::load::{read_file as read_index, read_header};
use recoup_repo::layout::{self, ObjectKind};
use recoup_repo::read::{Visit, Walker};
use recoup_repo::repository::{Repository, SnapshotFilter};
use recoup_repo::{BlobHandle, BlobKind, Limits, Tree};
use recoup_store::local::Local;
use recoup_store::{Store, StoreExt};
use recoup_testkit::on_disk::{add_xattrs, make_nasty};
use recoup_testkit::restic::Restic;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

const PASSWORD: &str = "a password that somebody thought up";

async fn open(path: &Path) -> Repository {
    let store: Arc<dyn Store> = Arc::new(Local::new(path));
    let password = Secret::new(PASSWORD.into());
    Repository::open(store, &password, Limits::default(), &recoup_testkit::env::real()).await.unwrap()
}

/// Every tree of the repository: read, written again, compared. Gives how many there were.
async fn trees_are_equal(repo: &Repository, zone: &TimeZone) -> usize {
    let index = repo.index().await.unwrap();
    assert_eq!(index.problems(), []);
    let handles: BTreeSet<BlobHandle> = index.iter().map(|location| location.entry.handle).collect();
    let mut trees = 0;
    for handle in handles {
        let bytes = repo.blob(handle).await.unwrap();
        if handle.kind == BlobKind::Tree {
            let tree = Tree::decode(&bytes).unwrap();
            assert_eq!(tree.problems, []);
            let again = String::from_utf8(tree.encode(zone).unwrap()).unwrap();
            // restic 0.14 loses what is not UTF-8 in a link target; it cannot be written again as it was
            let theirs = std::str::from_utf8(&bytes).unwrap().replace(r"\ufffd", "\u{fffd}");
            let at = again.bytes().zip(theirs.bytes()).position(|(a, b)| a != b).unwrap_or(again.len());
            let around =
                |text: &str| escape(text.as_bytes().get(at.saturating_sub(80)..).unwrap_or_default());
            assert!(again == theirs, "ours   {:.200}\ntheirs {:.200}", around(&again), around(&theirs));
            trees += 1;
        }
    }
    trees
}

#[tokio::test]
async fn trap_23_trees_of_a_nasty_folder_are_written_again_byte_for_byte() {
    for zone in ["Europe/Berlin", "America/St_Johns"] {
        let work = tempfile::tempdir().unwrap();
        let (source, repo) = (work.path().join("source"), work.path().join("repo"));
        std::fs::create_dir(&source).unwrap();
        make_nasty(&source);
        assert!(add_xattrs(&source), "the file system of the test takes extended attributes");
        let restic = Restic::new(&repo, PASSWORD).zone(zone);
        restic.init();
        restic.backup(&source);
        let trees = trees_are_equal(&open(&repo).await, &TimeZone::get(zone).unwrap()).await;
        assert!(trees > 500, "{trees} trees");
    }
}

/// Names around every border between characters that Go prints and that it escapes.
#[tokio::test]
async fn restic_agrees_on_every_character_that_prints() {
    let work = tempfile::tempdir().unwrap();
    let (source, repo) = (work.path().join("source"), work.path().join("repo"));
    let chars: Vec<char> = (1..0x11_0000).filter_map(char::from_u32).filter(|c| *c != '/').collect();
    for (dir, some) in chars.chunks(2000).enumerate() {
        let dir = source.join(dir.to_string());
        std::fs::create_dir_all(&dir).unwrap();
        // sixty in a name, so that all of Unicode takes twenty thousand names
        for some in some.chunks(60) {
            let name: String = some.iter().collect();
            std::fs::write(dir.join(OsStr::from_bytes(format!("-{name}").as_bytes())), "").unwrap();
        }
    }
    let restic = Restic::new(&repo, PASSWORD);
    restic.init();
    restic.backup(&source);
    assert!(trees_are_equal(&open(&repo).await, &TimeZone::UTC).await > 500);
}

#[tokio::test]
async fn packs_index_and_snapshots_are_understood() {
    let work = tempfile::tempdir().unwrap();
    let (source, path) = (work.path().join("source"), work.path().join("repo"));
    std::fs::create_dir(&source).unwrap();
    make_nasty(&source);
    let restic = Restic::new(&path, PASSWORD);
    restic.init();
    let id = restic.backup(&source);
    let repo = open(&path).await;
    let (latest, snapshot) = repo.find_snapshot("latest", &SnapshotFilter::default()).await.unwrap();
    assert_eq!(latest.to_string(), id);
    assert_eq!(snapshot.paths, [source.to_str().unwrap()]);
    assert_eq!(snapshot.hostname, "testhost");

    let master: serde_json::Value = serde_json::from_str(&restic.run(&["cat", "masterkey"])).unwrap();
    assert_eq!(master["mac"]["k"].as_str().unwrap().len(), 24);

    // what the index says is what the headers say
    let store = repo.store();
    let index = repo.index().await.unwrap();
    let by_pack = index.by_pack();
    let key = recoup_key(&path);
    for meta in store.list_all("data").await.unwrap() {
        let id = layout::id_of(ObjectKind::Pack, &meta.key).unwrap();
        let header = read_header(&**store, &key, &Limits::default(), id, meta.size).await.unwrap();
        assert_eq!(header, by_pack[&id]);
    }
    for meta in store.list_all("index").await.unwrap() {
        let id = layout::id_of(ObjectKind::Index, &meta.key).unwrap();
        let file = read_index(&**store, &key, &Limits::default(), id).await.unwrap();
        assert!(file.blobs() > 0);
    }

    let mut walker = Walker::new(&repo, snapshot.tree);
    let mut entries = 0;
    while let Some(visit) = walker.next().await.unwrap() {
        match visit {
            Visit::Entry(..) => entries += 1,
            Visit::Leave(..) => {}
            Visit::Problem(problem) => panic!("{}: {}", problem.path, problem.error),
        }
    }
    assert!(entries > 500);
}

fn recoup_key(repo: &Path) -> recoup_repo::crypto::MasterKey {
    use recoup_repo::keyfile::{KeyFile, Unlock};
    let file = std::fs::read_dir(repo.join("keys")).unwrap().next().unwrap().unwrap();
    let file = KeyFile::decode(&std::fs::read(file.path()).unwrap()).unwrap();
    match file.open(&Secret::new(PASSWORD.into()), &Limits::default()).unwrap() {
        Unlock::Opened(key) => key,
        Unlock::WrongPassword => panic!("the password is right"),
    }
}
