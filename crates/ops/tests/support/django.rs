//! A small real Django project on SQLite with uploaded files, made anew for each test, and the virtual
//! environment it runs in, made once and kept below `target/`.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use recoup_core::units::Span;
use recoup_ops::config::section::{Check, Health};
use recoup_ops::drill::{Subject, SubjectService, SubjectSource};
use recoup_sources::Facts;
use rusqlite::Connection;
use rustix::fs::FlockOperation;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const DJANGO: &str = "Django==5.2.19";
pub const ORDERS: u64 = 120;

/// How a project misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    Healthy,
    /// The settings name another database by an absolute path.
    HardCodedDatabase,
    /// It sends mail when it starts.
    MailsOnStart,
    /// It asks a machine outside when it starts.
    CallsHome,
    /// A migration of the code is not in the database.
    Behind,
    /// The health page fails.
    Sick,
}

/// A project with its data, and a place for what is restored.
pub struct Shop {
    pub root: TempDir,
    pub project: PathBuf,
    pub database: PathBuf,
    pub production: PathBuf,
    pub media: PathBuf,
    pub scratch: PathBuf,
}

impl Shop {
    pub fn new(flavour: Flavour) -> Self {
        let root = tempfile::Builder::new().prefix("shop-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let base = root.path().canonicalize().unwrap();
        let project = base.join("project");
        let shop = Shop {
            database: project.join("data/shop.sqlite3"),
            media: project.join("media"),
            production: base.join("production/live.sqlite3"),
            scratch: base.join("scratch"),
            project,
            root,
        };
        shop.write_code(flavour);
        for folder in [&shop.scratch, &shop.media, &base.join("production"), &shop.project.join("data")] {
            fs::create_dir_all(folder).unwrap();
        }
        shop.fill(flavour);
        shop
    }

    /// Gives the whole project to `uid`.
    pub fn owned_by(self, uid: u32) -> Self {
        let done =
            Command::new("chown").arg("-R").arg(format!("{uid}:{uid}")).arg(&self.project).status().unwrap();
        assert!(done.success());
        self
    }

    fn write_code(&self, flavour: Flavour) {
        let file = |name: &str, text: &str| {
            let path = self.project.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let database = match flavour {
            Flavour::HardCodedDatabase => format!("\"{}\"", self.production.display()),
            _ => "BASE / \"data\" / \"shop.sqlite3\"".to_owned(),
        };
        file("manage.py", MANAGE);
        file("shop/__init__.py", "");
        file("shop/settings.py", &SETTINGS.replace("@DATABASE@", &database));
        file("shop/urls.py", URLS);
        file("shop/models.py", MODELS);
        file("shop/migrations/__init__.py", "");
        file("shop/migrations/0001_initial.py", MIGRATION);
        let ready = match flavour {
            Flavour::MailsOnStart => {
                "from django.core.mail import send_mail\n        send_mail('up', 'we are up', 'shop@example.test', ['dana@example.test', 'ravi@example.test'])"
            }
            Flavour::CallsHome => {
                "import socket\n        try:\n            socket.create_connection(('telemetry.example.test', 443), timeout=3)\n        except OSError:\n            pass"
            }
            _ => "pass",
        };
        file("shop/apps.py", &APPS.replace("@READY@", ready));
        let health = if flavour == Flavour::Sick { "1 / 0" } else { "pass" };
        file("shop/views.py", &VIEWS.replace("@HEALTH@", health));
    }

    fn fill(&self, flavour: Flavour) {
        for database in [&self.database, &self.production] {
            let made = Connection::open(database).unwrap();
            made.execute_batch(
                "pragma journal_mode = wal;
                 create table django_migrations (id integer primary key, app text, name text, applied datetime);
                 insert into django_migrations (app, name, applied) values ('shop', '0001_initial', '2026-01-01');
                 create table shop_order (id integer primary key autoincrement, customer text not null, photo text not null);",
            )
            .unwrap();
            for n in 0..ORDERS {
                let photo = format!("photos/{:02}.jpg", n % 20);
                made.execute(
                    "insert into shop_order (customer, photo) values (?1, ?2)",
                    (format!("c{n}"), photo),
                )
                .unwrap();
            }
        }
        fs::create_dir_all(self.media.join("photos")).unwrap();
        for n in 0..20u8 {
            fs::write(self.media.join(format!("photos/{n:02}.jpg")), [n; 512]).unwrap();
        }
        if flavour == Flavour::Behind {
            fs::write(self.project.join("shop/migrations/0002_note.py"), MIGRATION_TWO).unwrap();
        }
    }

    /// What a restore would put into the scratch folder, after `change`.
    pub fn restore(&self, change: impl FnOnce(&Connection)) {
        let database = self.scratch.join("restored/db/shop.sqlite3");
        let media = self.scratch.join("restored/media");
        fs::create_dir_all(database.parent().unwrap()).unwrap();
        fs::create_dir_all(media.join("photos")).unwrap();
        let _ = fs::remove_file(&database);
        let live = Connection::open(&self.database).unwrap();
        live.execute("vacuum into ?1", [database.to_str().unwrap()]).unwrap();
        change(&Connection::open(&database).unwrap());
        for file in fs::read_dir(self.media.join("photos")).unwrap().flatten() {
            fs::copy(file.path(), media.join("photos").join(file.file_name())).unwrap();
        }
    }

    pub fn subject(&self) -> Subject {
        let rows = |n: u64| -> Facts {
            serde_json::json!({ "rows": { "shop_order": n, "django_migrations": 1 } })
                .as_object()
                .unwrap()
                .clone()
        };
        let source =
            |name: &str, kind: &str, live: &Path, facts: Facts, before: Option<Facts>| SubjectSource {
                name: name.into(),
                kind: kind.into(),
                restored: self.scratch.join("restored").join(name),
                live: live.to_owned(),
                facts,
                before,
            };
        Subject {
            application: "shop".into(),
            point: "shop@2026-11-22T08:31:07Z".into(),
            project: self.project.clone(),
            interpreter: Some(venv().join("bin/python")),
            manage: Some("manage.py".into()),
            settings: Some("shop.settings".into()),
            sources: vec![
                source("db", "sqlite", &self.database, rows(ORDERS), Some(rows(ORDERS))),
                source("media", "files", &self.media, Facts::new(), None),
            ],
            elsewhere: Vec::new(),
            services: vec![SubjectService {
                name: "web".into(),
                needs: vec!["db".into(), "media".into()],
                start: ["python", "manage.py", "runserver", "--noreload", "127.0.0.1:${port}"]
                    .map(str::to_owned)
                    .to_vec(),
                environment: [("SHOP_SECRET_KEY".to_owned(), "drill".to_owned())].into(),
                health: Some(Health {
                    http: Some("http://127.0.0.1:${port}/healthz".into()),
                    command: None,
                    expect: 200,
                    within: Span(Duration::from_secs(40)),
                }),
            }],
            not_startable: Vec::new(),
            migrate: true,
            checks: checks(),
            rows_drop_percent: None,
            user: None,
            scratch: self.scratch.clone(),
            limit: Span(Duration::from_secs(120)),
            executable: env!("CARGO_BIN_EXE_recoup-sandbox-host").into(),
        }
    }

    /// Every file of the project and of production with its content.
    pub fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = BTreeMap::new();
        let mut open = vec![self.project.clone(), self.production.parent().unwrap().to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                match entry.file_type().unwrap().is_dir() {
                    true => open.push(entry.path()),
                    false => drop(all.insert(entry.path(), fs::read(entry.path()).unwrap())),
                }
            }
        }
        all
    }
}

fn checks() -> BTreeMap<String, Check> {
    let some = |value: serde_json::Value| -> Check { serde_json::from_value(value).unwrap() };
    [
        ("orders", some(serde_json::json!({ "source": "db", "sql": "select count(*) from shop_order", "expect": "> 0" }))),
        (
            "photos",
            some(serde_json::json!({ "kind": "references", "rows": "db:shop_order.photo", "files": "media", "expect": "dangling == 0" })),
        ),
    ]
    .map(|(name, check)| (name.to_owned(), check))
    .into()
}

/// The environment with Django, made by the first test that needs it.
pub fn venv() -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("venv-django");
    fs::create_dir_all(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let lock = fs::File::create(home.with_extension("lock")).unwrap();
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
    let ready = home.join("ready");
    if fs::read_to_string(&ready).is_ok_and(|made| made == DJANGO) {
        return home;
    }
    let python = if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" };
    let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
    run(Command::new(python).args(["-m", "venv", "--clear"]).arg(&home));
    run(Command::new(home.join("bin/python")).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        DJANGO,
    ]));
    fs::write(ready, DJANGO).unwrap();
    home
}

const MANAGE: &str = "import os, sys\n\
os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n\
from django.core.management import execute_from_command_line\n\
execute_from_command_line(sys.argv)\n";

const SETTINGS: &str = r#"import os
from pathlib import Path
BASE = Path(__file__).resolve().parent.parent
SECRET_KEY = os.environ["SHOP_SECRET_KEY"]
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["shop.apps.Shop"]
ROOT_URLCONF = "shop.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": @DATABASE@}}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
MEDIA_ROOT = BASE / "media"
EMAIL_HOST = "smtp.example.test"
EMAIL_PORT = 587
USE_TZ = True
"#;

const URLS: &str = "from django.urls import path\nfrom shop import views\n\
urlpatterns = [path('healthz', views.healthz)]\n";

const MODELS: &str = "from django.db import models\n\
class Order(models.Model):\n    customer = models.TextField()\n    photo = models.FileField(upload_to='photos', max_length=None)\n";

const MIGRATION: &str = r#"from django.db import migrations, models
class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [migrations.CreateModel("Order", [
        ("id", models.AutoField(primary_key=True)),
        ("customer", models.TextField()),
        ("photo", models.FileField(upload_to="photos", max_length=None)),
    ])]
"#;

const MIGRATION_TWO: &str = r#"from django.db import migrations, models
class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [migrations.AddField("Order", "note", models.TextField(null=True))]
"#;

const APPS: &str = r#"import sys
from django.apps import AppConfig
class Shop(AppConfig):
    name = "shop"
    def ready(self):
        if "runserver" not in sys.argv:
            return
        @READY@
"#;

const VIEWS: &str = r#"from django.conf import settings
from django.db import connection
from django.http import HttpResponse
def healthz(request):
    @HEALTH@
    with connection.cursor() as cursor:
        cursor.execute("insert into shop_order (customer, photo) values ('probe', 'photos/00.jpg')")
        cursor.execute("select count(*), min(photo) from shop_order")
        count, photo = cursor.fetchone()
    size = len((settings.MEDIA_ROOT / photo).read_bytes())
    (settings.MEDIA_ROOT / "photos" / "probe.txt").write_text("written in a drill")
    return HttpResponse(f"{count} {size}")
"#;
