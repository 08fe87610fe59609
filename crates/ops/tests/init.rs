//! `init` in a real Django project, in other projects, and with secrets that must not leave them.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "test code may touch the world"
)]

#[path = "support/venv.rs"]
mod venv;

use recoup_core::Kind;
use recoup_ops::config::{Driver, LoadOptions, Loaded, load};
use recoup_ops::discover::{Answers, Look, import, look, propose, write};
use recoup_ops::env::Variables;
use recoup_ops::probe::{self, Place};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const KEY: &str = "canary-3b9e1f5d-secret-key";
const FIELD_KEY: &str = "canary-77aa01-field-key";
const PASSWORD: &str = "canary-db-password-901";

/// A project beside a home directory, so that nothing of the real one is touched.
struct Project {
    root: TempDir,
    project: PathBuf,
    variables: Variables,
}

impl Project {
    fn new(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let project = root.path().canonicalize().unwrap().join("web-shop");
        for (name, text) in files {
            let path = project.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let home = root.path().join("home");
        fs::create_dir_all(&home).unwrap();
        let path = std::env::var_os("PATH").unwrap();
        let variables = Variables::from_pairs([
            ("HOME", home.into_os_string()),
            ("PATH", path),
            ("SHOP_SECRET_KEY", KEY.into()),
            ("RECOUP_STATE_DIR", root.path().join("state").into_os_string()),
        ]);
        Project { root, project, variables }
    }

    fn with_django(self) -> Self {
        std::os::unix::fs::symlink(venv::venv(), self.project.join(".venv")).unwrap();
        self
    }

    fn look(&self) -> Look {
        look(&self.project, &self.variables).unwrap()
    }

    fn load(&self) -> Loaded {
        let options = LoadOptions {
            start: self.project.clone(),
            variables: self.variables.clone(),
            ..LoadOptions::default()
        };
        load(&options).unwrap_or_else(|e| panic!("{e}: {}", e.excerpt_text().unwrap_or_default()))
    }
}

const MANAGE: &str = "import os, sys\n\
if __name__ == '__main__':\n    os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n\
    from django.core.management import execute_from_command_line\n    execute_from_command_line(sys.argv)\n";

const SETTINGS: &str = r#"
import os, socket
from pathlib import Path
BASE = Path(__file__).resolve().parent.parent
SECRET_KEY = os.environ["SHOP_SECRET_KEY"]
FIELD_ENCRYPTION_KEY = "canary-77aa01-field-key"
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE / "data" / "shop.sqlite3"},
    "reports": {"ENGINE": "django.db.backends.postgresql", "NAME": "reports", "PASSWORD": "canary-db-password-901"},
}
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "store"]
MEDIA_ROOT = BASE / "media"
SESSION_ENGINE = "django.contrib.sessions.backends.cache"
CELERY_BROKER_URL = "amqp://u:canary-broker@mq/"
ROOT_URLCONF = "shop.urls"
print("printed by the project: " + SECRET_KEY)
try:
    socket.create_connection(("127.0.0.1", 9), 1)
    raise SystemExit("the network is open")
except OSError:
    pass
"#;

fn shop() -> Project {
    let place = Project::new(&[
        ("manage.py", MANAGE),
        ("shop/__init__.py", ""),
        ("shop/settings.py", SETTINGS),
        ("shop/urls.py", "from django.urls import path\nurlpatterns = [path('healthz/', lambda r: None)]\n"),
        ("store/__init__.py", ""),
        (
            "store/models.py",
            "from django.db import models\nclass Photo(models.Model):\n    image = models.ImageField(upload_to='p')\n",
        ),
        ("pyproject.toml", "[project]\nname = \"Web_Shop\"\ndependencies = [\"Django>=5.2\", \"celery\"]\n"),
        ("uv.lock", "version = 1\n"),
        ("compose.yaml", "services:\n  db:\n    image: postgres:16\n"),
        ("media/a.jpg", "12345"),
        ("old/backup_2025.sql.gz", "x"),
        (".env", "MAIL_PASSWORD=canary-mail-1\n"),
    ]);
    fs::create_dir_all(place.project.join("data")).unwrap();
    let db = rusqlite::Connection::open(place.project.join("data/shop.sqlite3")).unwrap();
    db.execute_batch("create table store_photo (id integer primary key, image text); create table django_migrations (id integer primary key, app text, name text);")
        .unwrap();
    place
}

/// The default location depends on who runs the test.
fn answers() -> Answers {
    Answers { location: Some("/srv/recoup/web".into()), ..Answers::default() }
}

fn assert_no_canary(text: &str) {
    assert!(!text.contains("canary"), "a secret got out: {text}");
}

#[test]
fn files_alone_say_much_and_run_nothing() {
    let place = shop();
    // If anything of the project ran, this would be seen.
    fs::write(
        place.project.join("shop/settings.py"),
        format!("open({:?}, 'w')\n{SETTINGS}", place.project.join("RAN")),
    )
    .unwrap();
    let look = place.look();
    let django = look.django.as_ref().unwrap();
    assert_eq!(look.app, "web-shop");
    assert_eq!(django.settings.as_deref(), Some("shop.settings"));
    assert_eq!(django.health.as_deref(), Some("/healthz/"));
    assert_eq!(look.lock.as_deref(), Some("uv.lock"));
    assert!(look.dependencies.contains("celery"));
    assert!(look.facts.iter().any(|f| f.origin == "manage.py:3"), "{:?}", look.facts);
    let proposal = propose(&look, None, &answers(), &place.variables).unwrap();
    let names: Vec<&str> = proposal.sources.iter().map(|s| s.path.as_str()).collect();
    assert_eq!(names, ["data/shop.sqlite3", "media/"]);
    assert!(proposal.unprotected.iter().any(|u| u.what.contains("backup_2025.sql.gz")));
    assert!(proposal.unprotected.iter().any(|u| u.what == "postgres:16"));
    assert!(!place.project.join("RAN").exists());
    assert_no_canary(&format!("{look:?}{proposal:?}"));
}

#[tokio::test]
async fn imported_settings_are_read_without_network_and_without_secrets() {
    let place = shop().with_django();
    let look = place.look();
    let settings = import(&look, &place.variables).await.unwrap();
    assert_eq!(settings.databases.len(), 2);
    let key = |name: &str| settings.keys.iter().find(|k| k.setting == name).unwrap().reference.clone();
    assert_eq!(key("SECRET_KEY").as_deref(), Some("env:SHOP_SECRET_KEY"));
    assert_eq!(key("FIELD_ENCRYPTION_KEY"), None);
    assert_eq!(settings.lines["MEDIA_ROOT"], "shop/settings.py:12");

    let proposal = propose(&look, Some(&settings), &answers(), &place.variables).unwrap();
    let found: Vec<(&str, &str)> = proposal.sources.iter().map(|s| (s.name.as_str(), s.class)).collect();
    assert_eq!(found, [("db", "critical"), ("media", "standard")]);
    assert_eq!(proposal.keys, ["FIELD_ENCRYPTION_KEY", "SHOP_SECRET_KEY"]);
    let missing: Vec<&str> = proposal.unprotected.iter().map(|u| u.what.as_str()).collect();
    assert!(
        missing.contains(&"postgresql reports") && missing.contains(&"broker or store (amqp)"),
        "{missing:?}"
    );
    let codes: Vec<&str> = proposal.findings.iter().map(|f| f.id.as_str()).collect();
    assert_eq!(codes, ["W0420", "W0426"]);
    for code in codes {
        assert!(recoup_core::code::find(code).is_some(), "{code}");
    }

    let env = recoup_testkit::env::real();
    let written = write(&look, &proposal, false, &place.variables, &env).unwrap();
    let loaded = place.load();
    assert!(matches!(loaded.config.sources["db"].driver, Driver::Sqlite(_)));
    assert_eq!(loaded.config.services["web"].drill.as_ref().unwrap().start[1], "manage.py");
    assert!(loaded.config.checks.contains_key("store-photo-image-files"));
    assert_eq!(fs::metadata(&written.password).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(!written.password.starts_with(&place.project));
    let sheet = fs::read_to_string(&written.sheet).unwrap();
    let password = fs::read_to_string(&written.password).unwrap();
    assert!(sheet.contains("FIELD_ENCRYPTION_KEY") && !sheet.contains(password.trim()));
    assert_no_canary(&format!("{settings:?}{proposal:?}{written:?}{}{sheet}", proposal.toml));
    assert!(!place.project.join("shop/__pycache__").exists(), "the project was changed");

    // Never overwritten; beside it on request, with the same password.
    let again = write(&look, &proposal, false, &place.variables, &env).unwrap_err();
    assert_eq!((again.kind(), again.stable_code()), (Kind::Exists, Some("E0116")));
    let beside = write(&look, &proposal, true, &place.variables, &env).unwrap();
    assert!(beside.config.ends_with("recoup.toml.new") && !beside.password_is_new);
    assert_eq!(fs::read_to_string(&written.password).unwrap(), password);
    let _kept = (&place.root, KEY, FIELD_KEY, PASSWORD);
}

#[tokio::test]
async fn the_example_shop_gets_a_contract_that_holds_together() {
    let place = Project::new(&[("x", "")]);
    fs::remove_dir_all(&place.project).unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop");
    assert!(Command::new("cp").arg("-r").arg(example).arg(&place.project).status().unwrap().success());
    // What trying it out by hand may have left there.
    for left in [".venv", "media", "db.sqlite3", ".env", "recoup.toml"] {
        let _gone = Command::new("rm").arg("-rf").arg(place.project.join(left)).status().unwrap();
    }
    let place = place.with_django();
    let look = place.look();
    let settings = import(&look, &place.variables).await.unwrap();
    let proposal = propose(&look, Some(&settings), &answers(), &place.variables).unwrap();
    let text =
        proposal.toml.replace(&place.root.path().canonicalize().unwrap().display().to_string(), "ROOT");
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_settings_module_that_fails_says_why_without_its_secrets() {
    let place = shop().with_django();
    let broken = "import os\nraise RuntimeError('cannot log in with ' + os.environ['SHOP_SECRET_KEY'])\n";
    fs::write(place.project.join("shop/settings.py"), broken).unwrap();
    let error = import(&place.look(), &place.variables).await.unwrap_err();
    assert_eq!(error.stable_code(), Some("E0830"));
    assert!(error.to_string().contains("RuntimeError: cannot log in with ***"), "{error}");
}

#[tokio::test]
async fn fingerprints_of_settings_are_made_where_the_values_are() {
    let place = shop().with_django();
    let look = place.look();
    let key = recoup_ops::keys::FingerprintKey::new(&recoup_core::secret::Secret::new(b"pw".to_vec()));
    let at = Place {
        project: &look.project,
        settings: "shop.settings",
        interpreter: look.interpreter.as_ref().unwrap(),
        variables: &place.variables,
    };
    let names = ["FIELD_ENCRYPTION_KEY".to_owned(), "NOT_THERE".to_owned()];
    let made = probe::fingerprints(at, &names, key.for_children()).await.unwrap();
    assert_eq!(made.len(), 1);
    assert_eq!(made["FIELD_ENCRYPTION_KEY"], key.fingerprint("FIELD_ENCRYPTION_KEY", FIELD_KEY.as_bytes()));
}

#[test]
fn other_projects_get_a_minimal_file_that_says_what_is_missing() {
    let place = Project::new(&[("app.py", "print('hi')\n"), ("requirements.txt", "fastapi==0.1\n")]);
    let look = place.look();
    let proposal = propose(&look, None, &answers(), &place.variables).unwrap();
    assert!(look.django.is_none() && proposal.sources.is_empty());
    assert!(look.not_understood.iter().any(|what| what.contains("fastapi")));
    write(&look, &proposal, false, &place.variables, &recoup_testkit::env::real()).unwrap();
    let loaded = place.load();
    assert_eq!(loaded.config.app, "web-shop");
    insta::assert_snapshot!(proposal.toml);
}
