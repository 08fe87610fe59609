//! Which application a point belongs to: code, dependencies, migrations, configuration, keys. Each is
//! known, or unknown with the reason; finding out never takes long and never fails a backup.

use crate::config::Loaded;
use crate::interpreter::{self, Interpreter};
use crate::keys::FingerprintKey;
use crate::probe::{self, Place};
use crate::secret;
use recoup_core::name::escape;
use recoup_core::{Error, Result};
use recoup_sources::process::{self, Run};
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Something known, or the reason why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Known<T> {
    /// It is known.
    Known(T),
    /// It is not, because of this.
    Unknown(String),
}

impl<T> Known<T> {
    /// The value, if it is known.
    pub fn value(&self) -> Option<&T> {
        match self {
            Known::Known(value) => Some(value),
            Known::Unknown(_) => None,
        }
    }

    fn of(result: Result<T>) -> Self {
        match result {
            Ok(value) => Known::Known(value),
            Err(error) => Known::Unknown(escape(error.to_string().as_bytes())),
        }
    }
}

/// Names of migrations by application label: the last one of each.
pub type Heads = BTreeMap<String, BTreeSet<String>>;

/// The application at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Revision of the code.
    pub code: Known<Code>,
    /// The lock file.
    pub lock: Known<Lock>,
    /// The Python interpreter's version.
    pub python: Known<String>,
    /// The Django version.
    pub django: Known<String>,
    /// The last migrations in the code, read from the files' names.
    pub migrations_in_code: Known<Heads>,
    /// SHA-256 of the effective configuration.
    pub config: String,
    /// Versions of recoup and of the tools it used.
    pub tools: BTreeMap<String, String>,
    /// Fingerprints of the declared keys; never their values.
    pub keys: BTreeMap<String, Known<String>>,
}

/// A revision of the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// The commit.
    pub revision: String,
    /// Whether files differ from it, or are not in it.
    pub dirty: bool,
}

/// A lock file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Its path beneath the project.
    pub file: String,
    /// SHA-256 of its content.
    pub sha256: String,
}

/// How long git may take.
const GIT_LIMIT: Duration = Duration::from_secs(10);

/// Files larger than this are not hashed here.
const LOCK_BYTES_MAX: u64 = 64 << 20;

/// Gathers what can be known. Fingerprints need `fingerprints`; keys that are Django settings are
/// asked for in the project's interpreter only if `may_import`.
pub async fn gather(loaded: &Loaded, fingerprints: Option<&FingerprintKey>, may_import: bool) -> Provenance {
    let config = loaded.digest.clone();
    let tools = tools();
    let project = match loaded.project() {
        Ok(project) => project,
        Err(error) => return nothing(&error, config, tools),
    };
    let python = &loaded.config.python;
    let found = interpreter::find(&project, python.interpreter.as_deref(), &loaded.variables);
    let no_python = || Known::Unknown("no interpreter was found for the project".to_owned());
    let keys = match fingerprints {
        Some(key) => keys(loaded, &project, found.as_ref(), key, may_import).await,
        None => BTreeMap::new(),
    };
    Provenance {
        code: Known::of(code(&project).await),
        lock: Known::of(lock(&project, python.lock.as_deref())),
        python: match &found {
            Some(found) => found.version.clone().map_or_else(
                || Known::Unknown(format!("{} does not say its version", found.path.display())),
                Known::Known,
            ),
            None => no_python(),
        },
        django: found.as_ref().map_or_else(no_python, |found| {
            found.distribution("django").map_or_else(
                || Known::Unknown("Django is not in the project's environment".to_owned()),
                Known::Known,
            )
        }),
        migrations_in_code: Known::of(heads_in_code(&project)),
        config,
        tools,
        keys,
    }
}

/// Fingerprints of the declared keys whose values are in the environment or in .env; nothing is run.
pub(crate) async fn fingerprints(
    loaded: &Loaded,
    key: &FingerprintKey,
) -> Result<BTreeMap<String, Known<String>>> {
    Ok(keys(loaded, &loaded.project()?, None, key, false).await)
}

fn nothing(error: &Error, config: String, tools: BTreeMap<String, String>) -> Provenance {
    let reason = escape(error.to_string().as_bytes());
    Provenance {
        code: Known::Unknown(reason.clone()),
        lock: Known::Unknown(reason.clone()),
        python: Known::Unknown(reason.clone()),
        django: Known::Unknown(reason.clone()),
        migrations_in_code: Known::Unknown(reason),
        config,
        tools,
        keys: BTreeMap::new(),
    }
}

fn tools() -> BTreeMap<String, String> {
    let own = ("recoup".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    BTreeMap::from([own, ("sqlite".to_owned(), rusqlite::version().to_owned())])
}

async fn code(project: &Path) -> Result<Code> {
    let revision = git(project, &["rev-parse", "--verify", "HEAD"]).await?;
    let status = git(project, &["status", "--porcelain=v1", "--untracked-files=normal", "--", "."]).await?;
    Ok(Code { revision: revision.trim().to_owned(), dirty: !status.trim().is_empty() })
}

/// Reads only: no hook, no watcher, no lock, no pager, no question.
async fn git(project: &Path, arguments: &[&str]) -> Result<String> {
    let quiet =
        ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "--no-optional-locks", "--no-pager"];
    let run = Run::new("git", GIT_LIMIT)
        .args(&quiet)
        .args(arguments)
        .cwd(project)
        .env("GIT_TERMINAL_PROMPT", "0")
        .output_bytes_max(256 * 1024);
    let output = process::run(&run).await?.ok(&run)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Lock files by what people use most.
pub const LOCK_FILES: [&str; 5] = ["uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "requirements.txt"];

fn lock(project: &Path, declared: Option<&str>) -> Result<Lock> {
    let known = || LOCK_FILES.into_iter().find(|name| project.join(name).is_file());
    let file = declared.or_else(known).ok_or_else(|| {
        Error::new(recoup_core::Kind::NotFound, "find a lock file: none is declared and none was found")
    })?;
    let failed = |e| Error::io("read the lock file", e).with("file", escape(file.as_bytes()));
    let opened = std::fs::File::open(project.join(file)).map_err(failed)?;
    let mut bytes = vec![];
    opened.take(LOCK_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Lock { file: file.to_owned(), sha256: hex::encode(Sha256::digest(&bytes)) })
}

async fn keys(
    loaded: &Loaded,
    project: &Path,
    python: Option<&Interpreter>,
    key: &FingerprintKey,
    may_import: bool,
) -> BTreeMap<String, Known<String>> {
    let python_section = &loaded.config.python;
    let mut found = BTreeMap::new();
    let mut missing = vec![];
    for name in &python_section.keys {
        match secret::named(name, project, &loaded.variables) {
            Some(value) => {
                drop(found.insert(name.clone(), Known::Known(key.fingerprint(name, value.expose()))))
            }
            None => missing.push(name.clone()),
        }
    }
    if missing.is_empty() {
        return found;
    }
    let asked = match (&python_section.settings, python, may_import) {
        (Some(settings), Some(interpreter), true) => {
            let place = Place { project, settings, interpreter, variables: &loaded.variables };
            probe::fingerprints(place, &missing, key.for_children()).await
        }
        (_, _, false) => Err(Error::new(
            recoup_core::Kind::Refused,
            "find the value: it is neither in the environment nor in .env, and importing the settings was not allowed",
        )),
        _ => Err(Error::new(
            recoup_core::Kind::NotFound,
            "find the value: it is neither in the environment nor in .env, and there is no settings module to ask",
        )),
    };
    let asked = Known::of(asked);
    for name in missing {
        let known = match &asked {
            Known::Known(all) => all.get(&name).cloned().map_or_else(
                || Known::Unknown("neither the environment, .env nor the settings have it".to_owned()),
                Known::Known,
            ),
            Known::Unknown(reason) => Known::Unknown(reason.clone()),
        };
        found.insert(name, known);
    }
    found
}

/// The last migration of each application that the Django database `file` records. `file` is a
/// captured or restored copy, and is opened read-only.
///
/// # Errors
/// `Kind::NotFound` if it has no table of migrations; otherwise as SQLite says.
pub fn heads_in_database(file: &Path) -> Result<Heads> {
    let doing = "read the migrations in the database";
    let failed = |e: rusqlite::Error| Error::new(recoup_core::Kind::Unavailable, doing).caused_by(e);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(file, flags).map_err(failed)?;
    let exists: bool = db
        .query_row("select count(*) > 0 from sqlite_master where name = 'django_migrations'", [], |row| {
            row.get(0)
        })
        .map_err(failed)?;
    if !exists {
        let none = "read the migrations in the database: it has no table django_migrations";
        return Err(Error::new(recoup_core::Kind::NotFound, none));
    }
    // SQLite takes `name` from the row that has the maximum.
    let mut query = db
        .prepare("select app, name, max(id) from django_migrations group by app order by app limit 2000")
        .map_err(failed)?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, BTreeSet::from([row.get(1)?])))).map_err(failed)?;
    rows.collect::<std::result::Result<_, _>>().map_err(failed)
}

/// Folders that hold other people's code or none.
const SKIPPED: [&str; 8] =
    ["node_modules", "__pycache__", "site-packages", "venv", "env", "build", "dist", "target"];

/// Folders looked into before we say that we do not know.
const FOLDERS_MAX: usize = 5_000;

fn heads_in_code(project: &Path) -> Result<Heads> {
    let mut heads = Heads::new();
    let mut folders = vec![(project.to_owned(), 0_usize)];
    let mut seen = 0;
    while let Some((folder, depth)) = folders.pop() {
        seen += 1;
        if seen > FOLDERS_MAX {
            return Err(Error::new(
                recoup_core::Kind::Unsupported,
                "find the migrations: the project has too many folders",
            ));
        }
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "migrations" {
                let label = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                let last = heads_in_folder(&entry.path());
                if !last.is_empty() {
                    heads.insert(label, last);
                }
            } else if depth < 5 && !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
    Ok(heads)
}

/// The migrations that no other one in the folder names.
fn heads_in_folder(folder: &Path) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeSet::new() };
    let files: Vec<(String, PathBuf)> = entries
        .flatten()
        .filter_map(|e| Some((e.file_name().to_str()?.strip_suffix(".py")?.to_owned(), e.path())))
        .filter(|(name, _)| name.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    let mut heads: BTreeSet<String> = files.iter().map(|(name, _)| name.clone()).collect();
    for (own, path) in &files {
        let mut text = String::new();
        let read = std::fs::File::open(path).and_then(|f| f.take(1 << 20).read_to_string(&mut text));
        if read.is_ok() {
            heads.retain(|name| {
                name == own || !(text.contains(&format!("\"{name}\"")) || text.contains(&format!("'{name}'")))
            });
        }
    }
    heads
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::env::Variables;
    use recoup_core::secret::Secret;

    #[test]
    fn heads_come_from_files_and_from_the_database() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("store/migrations");
        std::fs::create_dir_all(&folder).unwrap();
        write(&folder.join("__init__.py"), "");
        write(&folder.join("0001_initial.py"), "dependencies = []");
        write(&folder.join("0002_a.py"), "dependencies = [('store', '0001_initial')]");
        write(&folder.join("0002_b.py"), "dependencies = [(\"store\", \"0001_initial\")]");
        let heads = heads_in_code(dir.path()).unwrap();
        assert_eq!(heads["store"], BTreeSet::from(["0002_a".to_owned(), "0002_b".to_owned()]));

        let file = dir.path().join("db.sqlite3");
        let db = Connection::open(&file).unwrap();
        assert_eq!(heads_in_database(&file).unwrap_err().kind(), recoup_core::Kind::NotFound);
        db.execute_batch(
            "create table django_migrations (id integer primary key, app text, name text, applied text);
             insert into django_migrations (app, name) values ('store', '0001_initial'), ('auth', '0012_x'), ('store', '0002_a');",
        )
        .unwrap();
        let heads = heads_in_database(&file).unwrap();
        assert_eq!(heads["store"], BTreeSet::from(["0002_a".to_owned()]));
        assert_eq!(heads["auth"], BTreeSet::from(["0012_x".to_owned()]));
    }

    #[tokio::test]
    async fn what_is_unknown_says_why_and_keys_are_only_fingerprints() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join(".env"), "SIGNING_KEY='canary-dotenv'\n");
        write(&dir.path().join("uv.lock"), "x");
        let text =
            "version = 1\napp = \"shop\"\n[python]\nkeys = [\"A_KEY\", \"SIGNING_KEY\", \"NOWHERE\"]\n";
        let variables = Variables::from_pairs([("A_KEY", "canary-env")]);
        let loaded = parse(text, &dir.path().join("recoup.toml"), &variables).unwrap();
        let key = FingerprintKey::new(&Secret::new(b"pw".to_vec()));
        let found = gather(&loaded, Some(&key), false).await;
        assert!(matches!(found.code, Known::Unknown(_)));
        assert!(matches!(found.python, Known::Unknown(_)));
        assert_eq!(found.lock.value().unwrap().file, "uv.lock");
        assert_eq!(found.keys["A_KEY"], Known::Known(key.fingerprint("A_KEY", b"canary-env")));
        assert_eq!(found.keys["SIGNING_KEY"], Known::Known(key.fingerprint("SIGNING_KEY", b"canary-dotenv")));
        assert!(matches!(found.keys["NOWHERE"], Known::Unknown(_)));
        let json = serde_json::to_string(&found).unwrap();
        assert!(!json.contains("canary"), "{json}");
        assert_eq!(serde_json::from_str::<Provenance>(&json).unwrap(), found);
    }

    #[tokio::test]
    async fn the_code_is_a_revision_and_whether_it_was_changed() {
        let dir = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let run = Run::new("git", GIT_LIMIT)
                .args(&["-c", "user.name=t", "-c", "user.email=t@t"])
                .args(arguments)
                .cwd(dir.path());
            process::run_blocking(&run).unwrap().ok(&run).unwrap();
        };
        git(&["init", "-q"]);
        write(&dir.path().join("a"), "1");
        git(&["add", "a"]);
        git(&["commit", "-q", "-m", "a"]);
        let clean = code(dir.path()).await.unwrap();
        assert_eq!((clean.revision.len(), clean.dirty), (40, false));
        write(&dir.path().join("a"), "2");
        assert!(code(dir.path()).await.unwrap().dirty);
    }

    #[allow(clippy::disallowed_methods, reason = "a test makes its own files")]
    fn write(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
    }
}
