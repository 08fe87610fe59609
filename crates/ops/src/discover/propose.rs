//! Facts become a first contract: sources, classes, keys, a location, checks and a drill, written
//! down as a recoup.toml that explains itself. Nothing is decided that the person cannot see.

use super::look::{FoundFile, Look};
use crate::env::Variables;
use crate::probe::Settings;
use recoup_core::event::{Finding, Severity};
use recoup_core::name::escape;
use recoup_core::units::{ByteSize, Span};
use recoup_core::{Error, Result};
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What the person was asked.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Folder of the repository; a default is found if `None`.
    pub location: Option<String>,
    /// How much work may be lost for what is critical.
    pub rpo: Span,
    /// How long a restore of it may take.
    pub rto: Span,
}

impl Default for Answers {
    fn default() -> Self {
        let minutes = |n: u64| Span(std::time::Duration::from_secs(n * 60));
        Answers { location: None, rpo: minutes(15), rto: minutes(30) }
    }
}

/// A first contract.
#[derive(Clone, Debug, Serialize)]
pub struct Proposal {
    /// Name of the application.
    pub app: String,
    /// What would be protected.
    pub sources: Vec<ProposedSource>,
    /// What was found and nothing protects.
    pub unprotected: Vec<Unprotected>,
    /// Names of the keys that the data needs.
    pub keys: Vec<String>,
    /// What should be mended or known.
    pub findings: Vec<Finding>,
    /// Where the password will be kept, as written in the file.
    pub password: String,
    /// Where the signing key will be kept, as written in the file.
    pub signing: String,
    /// Folder of the repository, as written in the file.
    pub location: String,
    /// The text of recoup.toml.
    pub toml: String,
}

/// A source that would be declared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProposedSource {
    /// Its name.
    pub name: String,
    /// `sqlite` or `files`.
    pub kind: &'static str,
    /// Its path as written: relative inside the project.
    pub path: String,
    /// Its size in bytes, as far as it was counted; `None` if it is not there yet.
    pub bytes: Option<u64>,
    /// Tables or files.
    pub items: Option<u64>,
    /// What is left out, because it is a source of its own.
    pub ignore: Vec<String>,
    /// The class it would be held to.
    pub class: &'static str,
    /// Why it was found, and where.
    pub why: String,
}

/// Something that would not be protected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unprotected {
    /// What it is.
    pub what: String,
    /// Why it is not protected, or what it seems to be.
    pub why: String,
}

/// Makes a proposal from the files and, if they were imported, the settings.
///
/// # Errors
/// `Kind::Bug` if the text it made is not a valid configuration.
pub fn propose(
    look: &Look,
    settings: Option<&Settings>,
    answers: &Answers,
    variables: &Variables,
) -> Result<Proposal> {
    let mut sources = databases(look, settings);
    let folders = folders(look, settings, &sources);
    sources.extend(folders);
    unique_names(&mut sources);
    let keys = keys(look, settings);
    let location = answers.location.clone().unwrap_or_else(|| default_location(&look.app, variables));
    let mut proposal = Proposal {
        app: look.app.clone(),
        unprotected: unprotected(look, settings, &sources),
        findings: findings(look, settings),
        password: format!("~/.config/recoup/{}.password", look.app),
        signing: format!("~/.config/recoup/{}.signing", look.app),
        sources,
        keys,
        location,
        toml: String::new(),
    };
    proposal.toml = super::write::text(look, &proposal, answers, variables);
    let path = look.project.join("recoup.toml");
    crate::config::parse(&proposal.toml, &path, variables).map_err(|cause| {
        let why = cause.excerpt_text().map(str::to_owned).unwrap_or_else(|| cause.to_string());
        Error::bug("write a configuration that recoup itself can read").excerpt(why)
    })?;
    Ok(proposal)
}

fn default_location(app: &str, variables: &Variables) -> String {
    let is_root = rustix::process::geteuid().is_root();
    if is_root || variables.home().is_none() {
        format!("/srv/recoup/{app}")
    } else {
        format!("~/recoup/{app}")
    }
}

fn databases(look: &Look, settings: Option<&Settings>) -> Vec<ProposedSource> {
    let Some(settings) = settings else {
        return look
            .databases
            .iter()
            .map(|file| database(look, None, &file.path, "found in the project"))
            .collect();
    };
    let line = settings.lines.get("DATABASES").map_or("DATABASES", String::as_str);
    let with_file = settings.databases.iter().filter_map(|db| Some((db, db.path.as_deref()?)));
    with_file
        .map(|(db, path)| {
            let why = format!("DATABASES[\"{}\"], {line}", escape(db.alias.as_bytes()));
            let name = if db.alias == "default" { "db" } else { db.alias.as_str() };
            database(look, Some(name), path, &why)
        })
        .collect()
}

fn database(look: &Look, name: Option<&str>, path: &Path, why: &str) -> ProposedSource {
    let only = look.databases.len() == 1;
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let file = look.project.join(path);
    ProposedSource {
        name: plain(name.unwrap_or(if only { "db" } else { stem.as_str() })),
        kind: "sqlite",
        path: written(look, path),
        bytes: std::fs::metadata(&file).ok().map(|meta| meta.len()),
        items: tables(&file).map(|tables| tables.len() as u64),
        ignore: vec![],
        class: "critical",
        why: why.to_owned(),
    }
}

/// Tables and their columns, read from the file alone: no lock is taken, and what a writer has not
/// yet moved into the file is not seen.
pub(super) fn tables(file: &Path) -> Option<BTreeMap<String, Vec<String>>> {
    let mut address = "file:".to_owned();
    for byte in std::fs::canonicalize(file).ok()?.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                address.push(char::from(*byte))
            }
            other => address.push_str(&format!("%{other:02x}")),
        }
    }
    address.push_str("?mode=ro&immutable=1");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(address, flags).ok()?;
    let mut query = db
        .prepare(
            "select m.name, c.name from sqlite_master m, pragma_table_info(m.name) c
             where m.type = 'table' and m.name not like 'sqlite_%' limit 20000",
        )
        .ok()?;
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).ok()?;
    for (table, column) in rows.flatten() {
        tables.entry(table).or_default().push(column);
    }
    Some(tables)
}

fn folders(look: &Look, settings: Option<&Settings>, databases: &[ProposedSource]) -> Vec<ProposedSource> {
    let mut found: Vec<(String, PathBuf, String)> = vec![];
    if let Some(settings) = settings {
        let local = settings.storages.iter().find(|s| s.alias == "default");
        let on_disk = local.is_none_or(|s| s.backend.ends_with("FileSystemStorage"));
        let place = local.and_then(|s| s.location.clone()).or_else(|| settings.media_root.clone());
        if let Some(path) = place.filter(|_| on_disk) {
            let line = settings.lines.get("MEDIA_ROOT").map_or("settings", String::as_str);
            found.push(("media".into(), path, format!("MEDIA_ROOT on local disk, {line}")));
        }
    } else if let Some((path, origin)) = look.django.as_ref().and_then(|d| d.media.clone()) {
        found.push(("media".into(), path, format!("MEDIA_ROOT in the text of {origin}")));
    }
    for folder in &look.folders {
        let full = look.project.join(folder);
        // A folder above or below one that is there already would be captured twice.
        let overlaps = |path: &PathBuf| {
            let other = look.project.join(path);
            other.starts_with(&full) || full.starts_with(&other)
        };
        let has_code = std::fs::read_dir(&full)
            .is_ok_and(|mut d| d.any(|e| e.is_ok_and(|e| e.path().extension().is_some_and(|x| x == "py"))));
        if !has_code && !found.iter().any(|(_, path, _)| overlaps(path)) {
            let name = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            found.push((name, folder.clone(), "its name says that it holds data".into()));
        }
    }
    let sources = found.into_iter().map(|(name, path, why)| folder_source(look, &name, &path, why));
    sources.filter_map(|source| without_databases(look, source, databases)).collect()
}

/// Databases in the folder are sources of their own. `None` if the folder holds nothing else.
fn without_databases(
    look: &Look,
    mut source: ProposedSource,
    databases: &[ProposedSource],
) -> Option<ProposedSource> {
    let folder = look.project.join(&source.path);
    let inside =
        databases.iter().map(|db| look.project.join(&db.path)).filter(|path| path.starts_with(&folder));
    for file in inside {
        let beneath = file.strip_prefix(&folder).ok()?.to_string_lossy().into_owned();
        source.ignore.push(format!("/{beneath}"));
        source.ignore.extend(["-wal", "-shm", "-journal"].map(|end| format!("/{beneath}{end}")));
    }
    let others = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let names: Vec<String> = others.map(|e| format!("/{}", e.file_name().to_string_lossy())).collect();
    let only_databases = !source.ignore.is_empty() && names.iter().all(|name| source.ignore.contains(name));
    (!only_databases).then_some(source)
}

fn folder_source(look: &Look, name: &str, path: &Path, why: String) -> ProposedSource {
    let counted = count(&look.project.join(path));
    let mut shown = written(look, path);
    if !shown.ends_with('/') {
        shown.push('/');
    }
    ProposedSource {
        name: plain(name),
        kind: "files",
        path: shown,
        bytes: counted.map(|(bytes, _)| bytes),
        items: counted.map(|(_, files)| files),
        ignore: vec![],
        class: "standard",
        why,
    }
}

/// Files counted before we stop; the number shown is then a lower bound.
const COUNTED_MAX: u64 = 200_000;

fn count(folder: &Path) -> Option<(u64, u64)> {
    let (mut bytes, mut files) = (0, 0);
    let mut queue = vec![folder.to_owned()];
    std::fs::read_dir(folder).ok()?;
    while let Some(folder) = queue.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                queue.push(entry.path());
            } else {
                files += 1;
                bytes += meta.len();
            }
            if files >= COUNTED_MAX {
                return Some((bytes, files));
            }
        }
    }
    Some((bytes, files))
}

fn keys(look: &Look, settings: Option<&Settings>) -> Vec<String> {
    let mut names: Vec<String> = vec![];
    match settings {
        Some(settings) => {
            for key in &settings.keys {
                let name =
                    key.reference.as_deref().and_then(|r| r.strip_prefix("env:")).unwrap_or(&key.setting);
                names.push(name.to_owned());
            }
        }
        None => {
            let sounds = |name: &&String| {
                ["SECRET_KEY", "ENCRYPTION_KEY", "FERNET_KEY", "SIGNING_KEY"]
                    .iter()
                    .any(|end| name.ends_with(end))
            };
            names.extend(look.dotenv.iter().filter(sounds).cloned());
        }
    }
    names.sort();
    names.dedup();
    names
}

fn unprotected(look: &Look, settings: Option<&Settings>, sources: &[ProposedSource]) -> Vec<Unprotected> {
    let mut out = vec![];
    let mut add = |what: String, why: String| {
        out.push(Unprotected { what: escape(what.as_bytes()), why: escape(why.as_bytes()) });
    };
    if let Some(settings) = settings {
        for db in settings.databases.iter().filter(|db| db.path.is_none()) {
            let engine = db.engine.rsplit('.').next().unwrap_or("database");
            add(
                format!("{engine} {}", db.name),
                format!("DATABASES[\"{}\"]: this version captures SQLite and files only", db.alias),
            );
        }
        for storage in settings.storages.iter().filter(|s| s.alias != "staticfiles") {
            if !storage.backend.ends_with("FileSystemStorage")
                && !storage.backend.ends_with("InMemoryStorage")
            {
                add(
                    format!("storage {}", storage.alias),
                    format!("{}: this version captures local files only", storage.backend),
                );
            }
        }
        for address in &settings.addresses {
            let why = format!("{}: messages in it would be lost", address.setting);
            add(format!("broker or store ({})", address.scheme), why);
        }
        for cache in
            settings.caches.iter().filter(|c| !c.backend.contains("locmem") && !c.backend.contains("dummy"))
        {
            add(format!("cache {}", cache.alias), format!("{}: taken for rebuildable", cache.backend));
        }
    }
    let covered = |file: &FoundFile| {
        let full = look.project.join(&file.path);
        sources.iter().any(|source| full.starts_with(look.project.join(&source.path)))
    };
    for file in look.databases.iter().filter(|file| !covered(file)) {
        add(format!("sqlite {}", file.path.display()), "a database that the settings do not name".into());
    }
    for file in look.dumps.iter().filter(|file| !covered(file)) {
        let what = format!("files {} ({})", file.path.display(), ByteSize(file.bytes));
        add(what, "looks like an old dump: a shadow copy that nobody keeps up to date".into());
    }
    for (image, origin) in &look.images {
        let servers = [
            "postgres",
            "mysql",
            "mariadb",
            "redis",
            "valkey",
            "rabbitmq",
            "mongo",
            "minio",
            "elasticsearch",
        ];
        if servers.iter().any(|server| image.contains(server)) {
            add(image.clone(), format!("{origin}: this version captures SQLite and files only"));
        }
    }
    out
}

fn findings(look: &Look, settings: Option<&Settings>) -> Vec<Finding> {
    let mut out = vec![];
    let Some(settings) = settings else { return out };
    for key in settings.keys.iter().filter(|key| key.reference.is_none()) {
        let place = settings.lines.get(&key.setting).cloned().unwrap_or_else(|| key.setting.clone());
        out.push(Finding::new(
            "W0420",
            Severity::Warning,
            look.app.clone(),
            format!("{} is needed to read the data, and its value comes neither from the environment nor from .env ({place})", key.setting),
            "move it into the environment, and keep it together with the recovery kit",
        ));
    }
    if settings.session_engine.ends_with(".cache") {
        out.push(Finding::new(
            "W0426",
            Severity::Warning,
            look.app.clone(),
            "SESSION_ENGINE keeps sessions in the cache, which is not captured",
            "accept that everybody is logged out after a restore, or use cached_db",
        ));
    }
    out
}

fn unique_names(sources: &mut [ProposedSource]) {
    let mut seen: Vec<String> = vec![];
    for source in sources {
        let base = source.name.clone();
        let mut n = 2;
        while seen.contains(&source.name) {
            source.name = format!("{base}-{n}");
            n += 1;
        }
        seen.push(source.name.clone());
    }
}

fn plain(name: &str) -> String {
    let kept: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).take(40).collect();
    let kept = kept.trim_matches('-');
    if kept.is_empty() { "data".to_owned() } else { kept.to_owned() }
}

/// As it stands in the file: relative inside the project, absolute outside.
fn written(look: &Look, path: &Path) -> String {
    let full = look.project.join(path);
    let shown = full.strip_prefix(&look.project).unwrap_or(&full);
    shown.to_string_lossy().into_owned()
}
