//! Tier 0: files inside the project are read; nothing is run, nothing outside is opened.

use super::text::{assigned, file_fields, lines_with, quoted};
use crate::env::Variables;
use crate::interpreter::{self, Interpreter};
use crate::provenance::LOCK_FILES;
use crate::secret;
use recoup_core::{Error, Kind, Result};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// How a fact was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Read from files.
    Files,
    /// Said by the imported settings.
    Import,
}

/// Something found, with the place it was found at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// How.
    pub tier: Tier,
    /// Where, as in `manage.py:7`.
    pub origin: String,
    /// What, in a few words.
    pub what: String,
}

/// A file of interest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundFile {
    /// Its path beneath the project.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A Django project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Django {
    /// `manage.py`, beneath the project.
    pub manage: PathBuf,
    /// The settings module that it names.
    pub settings: Option<String>,
    /// `MEDIA_ROOT` as the text of the settings has it, beneath the project.
    pub media: Option<(PathBuf, String)>,
    /// Path of an address that looks like a health check, as in `/healthz`.
    pub health: Option<String>,
    /// Fields of models that name files: (table, column).
    pub file_columns: Vec<(String, String)>,
}

/// What the files of a project say.
#[derive(Clone, Debug, Serialize)]
pub struct Look {
    /// The project's folder.
    pub project: PathBuf,
    /// A name for the application.
    pub app: String,
    /// Everything found, in the order in which it was found.
    pub facts: Vec<Fact>,
    /// The Django side, if there is one.
    pub django: Option<Django>,
    /// The project's interpreter.
    pub interpreter: Option<Interpreter>,
    /// The lock file.
    pub lock: Option<String>,
    /// Dependencies that say something about data, by their names.
    pub dependencies: BTreeSet<String>,
    /// SQLite databases.
    pub databases: Vec<FoundFile>,
    /// Folders whose name says that they hold data, beneath the project.
    pub folders: Vec<PathBuf>,
    /// Old dumps and copies of databases.
    pub dumps: Vec<FoundFile>,
    /// Servers that a compose file starts, by image.
    pub images: Vec<(String, String)>,
    /// Names in `.env`.
    pub dotenv: Vec<String>,
    /// What was seen and not understood.
    pub not_understood: Vec<String>,
}

/// Entries looked at before the walk stops and says so.
const ENTRIES_MAX: usize = 20_000;
/// Depth of the walk.
const DEPTH_MAX: usize = 5;
/// Bytes of a text file that are read.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// Folders that hold other people's code, or none.
const SKIPPED: [&str; 9] =
    ["node_modules", "__pycache__", "site-packages", "venv", "env", "build", "dist", "target", "tests"];
const DATA_FOLDERS: [&str; 5] = ["media", "uploads", "upload", "storage", "data"];
const INTERESTING: [&str; 16] = [
    "django",
    "flask",
    "fastapi",
    "celery",
    "psycopg",
    "psycopg2",
    "psycopg2-binary",
    "mysqlclient",
    "pymysql",
    "redis",
    "sqlalchemy",
    "alembic",
    "django-storages",
    "rq",
    "huey",
    "dramatiq",
];
const COMPOSE: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// Looks at the files of `project`.
///
/// # Errors
/// `Kind::NotFound` if the folder is not there.
pub fn look(project: &Path, variables: &Variables) -> Result<Look> {
    let project = std::fs::canonicalize(project)
        .map_err(|e| Error::io("look at the project's folder", e).with("folder", project.display()))?;
    if !project.is_dir() {
        return Err(Error::new(Kind::NotFound, "look at the project's folder: it is not a folder"));
    }
    let mut look = Look {
        app: app_name(&project),
        facts: vec![],
        django: None,
        interpreter: interpreter::find(&project, None, variables),
        lock: LOCK_FILES.into_iter().find(|name| project.join(name).is_file()).map(str::to_owned),
        dependencies: BTreeSet::new(),
        databases: vec![],
        folders: vec![],
        dumps: vec![],
        images: vec![],
        dotenv: secret::dotenv_names(&project.join(".env")),
        not_understood: vec![],
        project,
    };
    dependencies(&mut look);
    let walked = walk(&look.project);
    if walked.stopped {
        look.not_understood.push(format!("only the first {ENTRIES_MAX} files and folders were looked at"));
    }
    django(&mut look, &walked);
    files(&mut look, &walked);
    compose(&mut look);
    if !look.dotenv.is_empty() {
        look.fact(".env", format!("{} names of variables (no values were kept)", look.dotenv.len()));
    }
    if let Some(found) = &look.interpreter {
        let version = found.version.clone().unwrap_or_else(|| "of unknown version".to_owned());
        let origin = found.path.strip_prefix(&look.project).unwrap_or(&found.path).display().to_string();
        look.fact(&origin, format!("Python {version}"));
    }
    Ok(look)
}

impl Look {
    fn fact(&mut self, origin: &str, what: impl Into<String>) {
        self.facts.push(Fact { tier: Tier::Files, origin: origin.to_owned(), what: what.into() });
    }

    fn read(&self, path: &Path) -> Option<String> {
        let mut bytes = vec![];
        let file = File::open(self.project.join(path)).ok()?;
        file.take(TEXT_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn app_name(project: &Path) -> String {
    let text = std::fs::read_to_string(project.join("pyproject.toml")).unwrap_or_default();
    let table: Option<toml::Table> = text.parse().ok();
    let named = table.as_ref().and_then(|t| t.get("project")?.get("name")?.as_str());
    let folder = project.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let raw = named.map(str::to_owned).unwrap_or(folder).to_ascii_lowercase();
    let plain: String = raw.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name: String = plain.trim_matches('-').chars().take(63).collect();
    if name.is_empty() { "app".to_owned() } else { name }
}

fn dependencies(look: &mut Look) {
    for file in ["pyproject.toml", "requirements.txt", "Pipfile", "setup.cfg"] {
        let Some(text) = look.read(Path::new(file)) else { continue };
        let mut found = vec![];
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')) {
            let word = word.to_ascii_lowercase().replace('_', "-");
            if INTERESTING.contains(&word.as_str()) && look.dependencies.insert(word.clone()) {
                found.push(word);
            }
        }
        if !found.is_empty() {
            look.fact(file, found.join(", "));
        }
    }
    for other in ["flask", "fastapi", "sqlalchemy", "alembic", "rq", "huey", "dramatiq"] {
        if look.dependencies.contains(other) {
            look.not_understood
                .push(format!("{other} is a dependency, and this version does not read its settings"));
        }
    }
    if let Some(lock) = look.lock.clone() {
        look.fact(&lock, "lock file");
    }
}

#[derive(Default)]
struct Walked {
    files: Vec<FoundFile>,
    folders: Vec<PathBuf>,
    stopped: bool,
}

fn walk(project: &Path) -> Walked {
    let mut walked = Walked::default();
    let mut queue = std::collections::VecDeque::from([(PathBuf::new(), 0)]);
    let mut seen = 0;
    while let Some((folder, depth)) = queue.pop_front() {
        let Ok(entries) = std::fs::read_dir(project.join(&folder)) else { continue };
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            seen += 1;
            if seen > ENTRIES_MAX {
                walked.stopped = true;
                return walked;
            }
            let (Ok(kind), name) = (entry.file_type(), entry.file_name()) else { continue };
            let path = folder.join(&name);
            let name = name.to_string_lossy();
            if kind.is_dir() && !name.starts_with('.') && !SKIPPED.contains(&name.as_ref()) {
                walked.folders.push(path.clone());
                // What lies in a data folder is data, however deep.
                if depth < DEPTH_MAX && !DATA_FOLDERS.contains(&name.as_ref()) || depth == 0 && name == "data"
                {
                    queue.push_back((path, depth + 1));
                }
            } else if kind.is_file() {
                let bytes = entry.metadata().map_or(0, |meta| meta.len());
                walked.files.push(FoundFile { path, bytes });
            }
        }
    }
    walked
}

fn django(look: &mut Look, walked: &Walked) {
    let manage =
        walked.files.iter().map(|f| &f.path).find(|path| path.file_name().is_some_and(|n| n == "manage.py"));
    let Some(manage) = manage else { return };
    let text = look.read(manage).unwrap_or_default();
    let found = lines_with(&text, "DJANGO_SETTINGS_MODULE").find_map(|(line, rest)| {
        let value = quoted(rest.trim_start_matches(['"', '\''])).first().map(|s| (*s).to_owned())?;
        Some((line, value))
    });
    let mut django =
        Django { manage: manage.clone(), settings: None, media: None, health: None, file_columns: vec![] };
    if let Some((line, module)) = found {
        look.fact(&format!("{}:{line}", manage.display()), format!("settings module {module}"));
        django.media = media_root(look, manage, &module);
        django.settings = Some(module);
    } else {
        look.not_understood
            .push(format!("{} does not name its settings module in plain text", manage.display()));
    }
    for file in &walked.files {
        match file.path.file_name().and_then(|n| n.to_str()) {
            Some("urls.py") if django.health.is_none() => django.health = health(look, &file.path),
            Some("models.py") => django.file_columns.extend(file_columns(look, &file.path)),
            _ => {}
        }
    }
    look.django = Some(django);
}

fn media_root(look: &mut Look, manage: &Path, module: &str) -> Option<(PathBuf, String)> {
    let base = manage.parent().unwrap_or(Path::new(""));
    let stem = base.join(module.replace('.', "/"));
    let file = [stem.with_extension("py"), stem.join("__init__.py")];
    let (file, text) = file.into_iter().find_map(|f| look.read(&f).map(|text| (f, text)))?;
    let (line, value) = assigned(&text, "MEDIA_ROOT")?;
    let origin = format!("{}:{line}", file.display());
    look.fact(&origin, format!("MEDIA_ROOT {value}"));
    Some((base.join(value), origin))
}

/// Names under which applications usually answer that they are well.
const HEALTH: [&str; 8] = ["healthz", "health", "livez", "readyz", "-/health", "-/healthy", "ping", "up"];

fn health(look: &mut Look, urls: &Path) -> Option<String> {
    let text = look.read(urls)?;
    let (line, path) = lines_with(&text, "path(").find_map(|(line, rest)| {
        let path = quoted(rest).first().map(|s| (*s).to_owned())?;
        HEALTH.contains(&path.trim_matches('/')).then_some((line, path))
    })?;
    look.fact(&format!("{}:{line}", urls.display()), format!("health address /{path}"));
    Some(format!("/{}", path.trim_start_matches('/')))
}

fn file_columns(look: &Look, models: &Path) -> Vec<(String, String)> {
    let label = models.parent().and_then(Path::file_name).map(|n| n.to_string_lossy().to_lowercase());
    let (Some(label), Some(text)) = (label, look.read(models)) else { return vec![] };
    let table = |model: &str| format!("{label}_{}", model.to_lowercase());
    file_fields(&text).into_iter().map(|(model, field)| (table(&model), field)).collect()
}

fn files(look: &mut Look, walked: &Walked) {
    for file in &walked.files {
        let name = file.path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
        let ends = |list: &[&str]| list.iter().any(|end| name.ends_with(end));
        if ends(&[".sqlite3", ".sqlite", ".db", ".db3"]) && is_sqlite(&look.project.join(&file.path)) {
            look.databases.push(file.clone());
        } else if file.bytes > 0 && ends(&[".sql", ".sql.gz", ".dump", ".bak", ".sql.zst", ".sql.xz"]) {
            look.dumps.push(file.clone());
        }
    }
    let is_data = |path: &&PathBuf| {
        path.file_name().and_then(|n| n.to_str()).is_some_and(|n| DATA_FOLDERS.contains(&n))
    };
    look.folders = walked.folders.iter().filter(is_data).cloned().collect();
}

fn is_sqlite(path: &Path) -> bool {
    let mut head = [0_u8; 16];
    File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && &head == b"SQLite format 3\0"
}

fn compose(look: &mut Look) {
    for file in COMPOSE {
        let Some(text) = look.read(Path::new(file)) else { continue };
        let images: Vec<(usize, String)> = lines_with(&text, "image:")
            .map(|(line, rest)| (line, rest.trim().trim_matches(['"', '\'']).to_owned()))
            .collect();
        for (line, image) in images {
            look.fact(&format!("{file}:{line}"), format!("image {image}"));
            look.images.push((image, format!("{file}:{line}")));
        }
    }
    if look.read(Path::new("Procfile")).is_some() {
        look.fact("Procfile", "processes of the application");
    }
}
