//! Short words for what every test here does.

use recoup_core::Result;
use recoup_core::env::Env;
use recoup_core::secret::Secret;
use recoup_repo::Limits;
use recoup_repo::keyfile::PasswordStrength;
use recoup_repo::repository::{InitOptions, Repository};
use recoup_store::Store;
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
