//! Running a small Python program of ours inside the project's interpreter: without network, without
//! root, for a limited time. It imports the project's settings, so it runs only with consent.

use crate::env::Variables;
use crate::interpreter::{Interpreter, on_path};
use recoup_core::name::escape;
use recoup_core::secret::Secret;
use recoup_core::{Error, Kind, Result};
use recoup_sources::process::{self, Ended, Run};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The program, carried inside the binary.
const SETTINGS: &str = include_str!("../../../python/recoup/probe/settings.py");

/// How long a settings module may take to import.
const LIMIT: Duration = Duration::from_secs(30);

/// Largest answer; a project with a thousand settings has some tens of kilobytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What the settings of a Django project say. No value of a secret is in it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Version of Django.
    pub django: String,
    /// Version of Python.
    pub python: String,
    /// Entries of `DATABASES`.
    pub databases: Vec<Database>,
    /// `MEDIA_ROOT`, absolute.
    pub media_root: Option<PathBuf>,
    /// `STATIC_ROOT`, absolute.
    pub static_root: Option<PathBuf>,
    /// Entries of `STORAGES`.
    pub storages: Vec<Storage>,
    /// Entries of `CACHES`.
    pub caches: Vec<Cache>,
    /// `SESSION_ENGINE`.
    pub session_engine: String,
    /// `SESSION_CACHE_ALIAS`.
    pub session_cache: String,
    /// `SESSION_FILE_PATH`, absolute.
    pub session_file_path: Option<PathBuf>,
    /// `INSTALLED_APPS`.
    pub installed_apps: Vec<String>,
    /// `EMAIL_BACKEND`.
    pub email_backend: String,
    /// Brokers and the like.
    pub addresses: Vec<Address>,
    /// Settings that data needs to stay readable.
    pub keys: Vec<Key>,
    /// Where a setting is assigned: name to `file:line`.
    pub lines: BTreeMap<String, String>,
}

/// One entry of `DATABASES`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Database {
    /// Its alias, as in `default`.
    pub alias: String,
    /// The engine's module.
    pub engine: String,
    /// Whether it is SQLite.
    pub sqlite: bool,
    /// `NAME`.
    pub name: String,
    /// The database file, absolute, if it is SQLite with a file.
    pub path: Option<PathBuf>,
}

/// One entry of `STORAGES`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Storage {
    /// Its alias.
    pub alias: String,
    /// The backend's class.
    pub backend: String,
    /// Its folder, if it says one.
    pub location: Option<PathBuf>,
}

/// One entry of `CACHES`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cache {
    /// Its alias.
    pub alias: String,
    /// The backend's class.
    pub backend: String,
}

/// A broker or another server that a setting names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Address {
    /// Name of the setting.
    pub setting: String,
    /// As in `redis`, `amqp`.
    pub scheme: String,
    /// Where the value is kept, as in `env:CELERY_BROKER_URL`.
    pub reference: Option<String>,
}

/// A setting that data needs to stay readable.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Key {
    /// Name of the setting.
    pub setting: String,
    /// Where the value is kept; `None` if it stands in the code or comes from elsewhere.
    pub reference: Option<String>,
    /// How many values it has.
    pub count: usize,
}

/// Where and as what to ask.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The project's folder.
    pub project: &'a Path,
    /// The settings module.
    pub settings: &'a str,
    /// The project's interpreter.
    pub interpreter: &'a Interpreter,
    /// The environment that the project is meant to see.
    pub variables: &'a Variables,
}

/// Imports the settings and says what they say.
///
/// # Errors
/// `Kind::Unavailable` (E0830) with the project's own error if they cannot be imported.
pub async fn settings(place: Place<'_>) -> Result<Settings> {
    let answer = ask(place, json!({})).await?;
    serde_json::from_value(answer)
        .map_err(|e| Error::bug("understand what our own program said").caused_by(e))
}

/// Fingerprints of the settings `names`, computed inside the project's interpreter, so that the
/// values never come here.
///
/// # Errors
/// As [`settings`].
pub async fn fingerprints(
    place: Place<'_>,
    names: &[String],
    key: &[u8],
) -> Result<BTreeMap<String, String>> {
    let mut answer = ask(place, json!({ "keys": names, "fingerprint_key": hex::encode(key) })).await?;
    serde_json::from_value(answer["fingerprints"].take())
        .map_err(|e| Error::bug("understand what our own program said").caused_by(e))
}

async fn ask(place: Place<'_>, mut orders: Value) -> Result<Value> {
    orders["root"] = json!(place.project);
    orders["settings"] = json!(place.settings);
    let mut argv = fences(place).await;
    argv.push(place.interpreter.path.clone().into_os_string());
    argv.extend(["-B", "-c", SETTINGS].map(OsString::from));
    let mut run = Run::argv(&argv, LIMIT)?
        .cwd(place.project)
        .env("RECOUP_PROBE", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Secret::new(orders.to_string().into_bytes()))
        .output_bytes_max(ANSWER_BYTES_MAX);
    for (name, value) in place.variables.pairs() {
        let ours = name.as_bytes().starts_with(b"RECOUP_") || name.as_bytes().starts_with(b"RESTIC_");
        if !ours {
            run = run.env(name, value);
        }
    }
    let output = process::run(&run).await?;
    let failed = |why: String| {
        Error::new(
            Kind::Unavailable,
            format!("import the settings module {}: {why}", escape(place.settings.as_bytes())),
        )
        .with("interpreter", place.interpreter.path.display())
        .code("E0830")
        .effect("nothing was changed")
    };
    if output.ended == Ended::TimedOut {
        return Err(failed(format!("it took longer than {} seconds", LIMIT.as_secs())));
    }
    let answer: Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| failed(format!("the interpreter gave no answer ({:?})", output.ended)))?;
    if answer["ok"] != true {
        let said = answer["error"].as_str().unwrap_or("without a reason");
        return Err(failed(escape(said.as_bytes())));
    }
    Ok(answer)
}

/// What stands before the interpreter: a private network without any interface, and the owner of the
/// project instead of root. Where the host gives no namespace, the program's own refusal remains.
async fn fences(place: Place<'_>) -> Vec<OsString> {
    let mut argv: Vec<OsString> = vec![];
    let is_root = rustix::process::geteuid().is_root();
    if let Some(unshare) = on_path("unshare", place.variables) {
        let mut fence: Vec<OsString> = vec![unshare.into_os_string()];
        if !is_root {
            fence.extend(["--user", "--map-current-user"].map(OsString::from));
        }
        fence.extend(["--net", "--"].map(OsString::from));
        let mut trial = fence.clone();
        trial.push("true".into());
        let works = match Run::argv(&trial, Duration::from_secs(5)) {
            Ok(run) => process::run(&run).await.is_ok_and(|output| output.success()),
            Err(_) => false,
        };
        if works {
            argv = fence;
        }
    }
    let owner = std::fs::metadata(place.project).ok().filter(|meta| is_root && meta.uid() != 0);
    if let (Some(owner), Some(setpriv)) = (owner, on_path("setpriv", place.variables)) {
        argv.push(setpriv.into_os_string());
        argv.push(format!("--reuid={}", owner.uid()).into());
        argv.push(format!("--regid={}", owner.gid()).into());
        argv.extend(["--clear-groups", "--no-new-privs", "--"].map(OsString::from));
    }
    argv
}
