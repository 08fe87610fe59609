//! What a run over many files costs: memory and time for each. The tree exists only while it is walked, and
//! the store keeps the sizes of packs and not their content, so that millions fit anywhere.
//!
//! 50,000 files by default; `RECOUP_TEST_FULL=1` takes a million, `RECOUP_TEST_FILES=16000000` as many.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "test code may touch the world"
)]

use recoup_core::secret::Secret;
use recoup_repo::keyfile::PasswordStrength;
use recoup_repo::repository::{InitOptions, Repository};
use recoup_repo::write::{WriteOptions, Writer};
use recoup_repo::{Id, Limits, Snapshot};
use recoup_store::{Store, StoreExt};
use recoup_testkit::env::real;
use recoup_testkit::memory_use::{peak_bytes, reset_peak};
use recoup_testkit::synthetic::{Forgetful, Synthetic};
use std::sync::Arc;
use std::time::Instant;

/// What a run may take in all, and for each million of files with a blob each.
const FIXED_BYTES_MAX: u64 = 120 << 20;
const PER_FILE_BYTES_MAX: u64 = 150;

fn files() -> u64 {
    let asked = std::env::var("RECOUP_TEST_FILES").ok().and_then(|n| n.parse().ok());
    let full = std::env::var_os("RECOUP_TEST_FULL").is_some();
    asked.unwrap_or(if full { 1_000_000 } else { 50_000 })
}

fn password() -> Secret {
    Secret::new("a password".into())
}

/// Runs one step; gives what it took at most above what there was, and says so.
async fn measured<T>(what: &str, files: u64, step: impl Future<Output = T>) -> (u64, T) {
    reset_peak();
    let (before, begun) = (peak_bytes(), Instant::now());
    let made = step.await;
    let (grown, seconds) = (peak_bytes().saturating_sub(before), begun.elapsed().as_secs_f64());
    eprintln!(
        "{what}: {files} files, {:.1} MB more at the peak ({} bytes a file), {seconds:.2} s ({:.2} us a file)",
        grown as f64 / 1e6,
        grown / files,
        seconds * 1e6 / files as f64,
    );
    (grown, made)
}

async fn open(store: &Arc<dyn Store>) -> Repository {
    Repository::open(Arc::clone(store), &password(), Limits::default(), &real()).await.unwrap()
}

async fn fresh() -> Repository {
    let options = InitOptions { password_strength: PasswordStrength::Generated, ..InitOptions::default() };
    Repository::init(Arc::new(Forgetful::new()), &password(), &options, &real()).await.unwrap()
}

async fn back_up(repo: &Repository, tree: Synthetic) -> (Id, u64) {
    let mut writer = Writer::begin(repo, WriteOptions::default()).await.unwrap();
    let report = writer.tree(tree.folder(), None, "scale/many").await.unwrap();
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    writer.snapshot(Snapshot::new(repo.env(), report.tree, vec!["/many".into()])).await.unwrap();
    writer.finish().await.unwrap();
    (report.tree, report.data_blobs)
}

#[tokio::test(flavor = "multi_thread")]
async fn row_008_memory_and_time_of_a_run_follow_the_number_of_files() {
    let (files, forgetful) = (files(), Forgetful::new());
    let store: Arc<dyn Store> = Arc::new(forgetful.clone());
    let options = InitOptions { password_strength: PasswordStrength::Generated, ..InitOptions::default() };
    let repo = Repository::init(Arc::clone(&store), &password(), &options, &real()).await.unwrap();
    let tree = Synthetic { files, bytes: 64, seed: 1 };

    let (first, (root, blobs)) = measured("first backup", files, back_up(&repo, tree)).await;
    assert_eq!(blobs, files);
    drop(repo);
    // The index is stored in this process too, which no other store does.
    let index_bytes: u64 = store.list_all("index").await.unwrap().iter().map(|meta| meta.size).sum();
    let (packs, stored) = forgetful.packs();
    eprintln!("stored: {packs} packs, {stored} bytes, and {index_bytes} bytes of index");

    let repo = open(&store).await;
    let (loaded, index) = measured("loading the index", files, repo.index()).await;
    assert!(index.unwrap().len() as u64 >= files);
    drop(repo);

    let repo = open(&store).await;
    let (again, (same, more)) = measured("backup, all known", files, back_up(&repo, tree)).await;
    assert_eq!((same, more), (root, 0));
    let allowed = FIXED_BYTES_MAX + PER_FILE_BYTES_MAX * files + index_bytes;
    for (what, grown) in [("first backup", first), ("loading the index", loaded), ("known backup", again)] {
        assert!(grown <= allowed, "{what}: {grown} bytes, {allowed} are allowed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_stays_within_the_memory_it_may_have() {
    const MIB: u64 = 1 << 20;
    let (files, bytes) = (10, 16 << 20);
    for (allowed, threads) in [(165, 8), (400, 8)] {
        let repo = fresh().await;
        let options = WriteOptions {
            threads: Some(threads),
            memory_bytes_max: Some(allowed * MIB),
            ..WriteOptions::default()
        };
        let mut writer = Writer::begin(&repo, options).await.unwrap();
        let tree = Synthetic { files, bytes, seed: allowed };
        let what = format!("backup within {allowed} MiB");
        let (grown, report) = measured(&what, files, writer.tree(tree.folder(), None, "scale/large")).await;
        assert_eq!(report.unwrap().bytes_read, files * bytes as u64);
        writer.flush().await.unwrap();
        writer.finish().await.unwrap();
        assert!(grown <= allowed * MIB, "{grown} bytes");
    }
    let repo = fresh().await;
    let options = WriteOptions { memory_bytes_max: Some(100 * MIB), ..WriteOptions::default() };
    let err = Writer::begin(&repo, options).await.unwrap_err();
    assert_eq!(err.stable_code(), Some("E0489"));
    assert!(repo.locks().await.unwrap().is_empty(), "a refused run leaves no lock");
}
