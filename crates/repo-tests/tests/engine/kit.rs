//! Short words for what every test here does.

use recoup_core::Result;
use recoup_core::env::Env;
use recoup_core::secret::Secret;
use recoup_repo::check::{CheckOptions, CheckReport, check};
use recoup_repo::keyfile::PasswordStrength;
use recoup_repo::read::{RestoreOptions, RestoreReport, restore};
use recoup_repo::repository::{InitOptions, Repository};
use recoup_repo::write::{WriteOptions, Writer};
use recoup_repo::{Id, Limits, Snapshot};
use recoup_store::Store;
use recoup_testkit::restored::{Restored, differences};
use recoup_testkit::tree::{Flat, Tree};
use std::sync::Arc;

pub(crate) const PASSWORD: &str = "correct horse";

/// A process number that Linux never gives: a lock of it is provably dead.
pub(crate) const DEAD_PID: u32 = 0x3fff_fff0;

pub(crate) fn password() -> Secret {
    Secret::new(PASSWORD.into())
}

/// A world whose processes are dead as soon as somebody asks.
pub(crate) fn dead_env() -> Env {
    let mut env = recoup_testkit::env::real();
    env.host.pid = DEAD_PID;
    env
}

pub(crate) async fn init(store: Arc<dyn Store>, env: &Env) -> Result<Repository> {
    let options = InitOptions { password_strength: PasswordStrength::Generated, ..InitOptions::default() };
    Repository::init(store, &password(), &options, env).await
}

pub(crate) async fn open(store: Arc<dyn Store>, env: &Env) -> Result<Repository> {
    Repository::open(store, &password(), Limits::default(), env).await
}

/// What one backup came to.
#[derive(Debug)]
pub(crate) struct Backup {
    pub(crate) snapshot: Id,
    pub(crate) tree: Id,
    pub(crate) stored_bytes: u64,
}

/// Backs up `tree`, as the verb does.
pub(crate) async fn backup(repo: &Repository, tree: &Tree, parent: Option<Id>) -> Result<Backup> {
    let mut writer = Writer::begin(repo, WriteOptions::default()).await?;
    let report = writer.tree(tree.folder(), parent, "shop/media").await?;
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    let snapshot = Snapshot::new(repo.env(), report.tree, vec!["/shop/media".into()]);
    let snapshot = writer.snapshot(snapshot).await?;
    writer.finish().await?;
    Ok(Backup { snapshot, tree: report.tree, stored_bytes: report.bytes_stored })
}

pub(crate) async fn restore_tree(repo: &Repository, tree: Id) -> Result<(RestoreReport, Restored)> {
    let restored = Restored::new();
    let report = restore(repo, tree, &RestoreOptions::default(), restored.target()).await?;
    Ok((report, restored))
}

/// In words, what is wrong with a restore of `tree` that should give `expected`; empty if nothing is.
pub(crate) async fn restore_complaint(repo: &Repository, tree: Id, expected: &Flat) -> String {
    match restore_tree(repo, tree).await {
        Err(e) => format!("restore: {e:?}"),
        Ok((report, _)) if !report.errors.is_empty() => format!("restore: {:?}", report.errors),
        Ok((_, restored)) => differences(expected, &restored.flat()),
    }
}

pub(crate) async fn check_all(repo: &Repository) -> CheckReport {
    check(repo, &CheckOptions { read_data: true, ..CheckOptions::default() }).await.unwrap()
}

/// The serious problems a full check finds.
pub(crate) async fn serious(repo: &Repository) -> Vec<String> {
    let problems = check_all(repo).await.problems;
    problems.into_iter().filter(|p| p.is_serious()).map(|p| format!("{p:?}")).collect()
}
