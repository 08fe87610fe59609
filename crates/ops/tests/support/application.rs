//! A small application on disk: a SQLite database, a media folder, a password file, a location.

use recoup_core::env::Env;
use recoup_ops::backup::{BackupOptions, BackupReport, backup};
use recoup_ops::config::parse;
use recoup_ops::env::Variables;
use recoup_ops::restore::{self, PromoteOptions, RestoreOptions, RestoreReport};
use recoup_ops::session::Session;
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The content of the live data, for comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) orders: i64,
    pub(crate) media: BTreeMap<String, Vec<u8>>,
}

pub(crate) struct Application {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) env: Env,
    extra: String,
    /// The line that names the repository of the location, or nothing.
    repository: String,
    /// The public key of this machine, if it signs.
    signer: Option<String>,
    /// The line of the class that says what is kept, or nothing.
    retain: String,
}

impl Application {
    /// Forty orders and six pictures; `extra` is added to recoup.toml.
    pub(crate) fn new(extra: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let app = Application {
            dir,
            env: recoup_testkit::env::real(),
            extra: extra.to_owned(),
            repository: String::new(),
            signer: None,
            retain: String::new(),
        };
        fs::create_dir_all(app.path("project/media/2026")).unwrap();
        fs::write(app.path("password"), "0123456789abcdef0123456789abcdef0123456789abcdef\n").unwrap();
        let db = app.db();
        db.execute_batch(
            "pragma journal_mode = wal;
             create table orders(id integer primary key, note text not null);
             create table django_migrations(id integer primary key, app text, name text, applied text);
             insert into django_migrations(app, name, applied) values ('shop', '0001_initial', '2026-01-01');",
        )
        .unwrap();
        for i in 0..40 {
            db.execute("insert into orders(note) values (?1)", [format!("order {i}")]).unwrap();
        }
        for i in 0..6u8 {
            let bytes: Vec<u8> =
                (0..60_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 ^ i).collect();
            fs::write(app.path(&format!("project/media/2026/{i}.jpg")), bytes).unwrap();
        }
        app
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn db(&self) -> Connection {
        let db = Connection::open(self.path("project/app.db")).unwrap();
        db.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        db
    }

    pub(crate) fn config(&self) -> String {
        let signing = self.signer.as_ref().map_or_else(String::new, |signer| {
            let file = self.path("signing");
            format!("signing = {{ file = \"{}\" }}\nsigners = [\"{signer}\"]\n", file.display())
        });
        format!(
            r#"
version = 1
app = "shop"

[class.critical]
rpo = "15m"
rto = "30m"
copies = 2
{}
[source.db]
kind = "sqlite"
class = "critical"
path = "app.db"

[source.media]
kind = "files"
class = "critical"
path = "media"

[location.local]
kind = "local"
path = "../repo"
failure_domain = "disk-2"
{}
[keys]
password = {{ file = "{}" }}
{signing}{}"#,
            self.retain,
            self.repository,
            self.path("password").display(),
            self.extra
        )
    }

    /// Names the repository of the location in recoup.toml.
    #[allow(dead_code, reason = "not every test binary names one")]
    pub(crate) fn name_repository(&mut self, id: &str) {
        self.repository = format!("repository = \"{id}\"\n");
    }

    /// Says what the class keeps.
    #[allow(dead_code, reason = "not every test binary deletes")]
    pub(crate) fn retain(&mut self, policy: &str) {
        self.retain = format!("retain = {policy}\n");
    }

    /// The same application, signing from now on.
    #[allow(dead_code, reason = "not every test binary signs")]
    pub(crate) fn signs(self) -> Self {
        let (file, project) = (self.path("signing"), self.path("project"));
        let key = recoup_ops::keys::signing_key(&file, &project, "test", &self.env).unwrap();
        Application { signer: Some(key.signer().to_string()), ..self }
    }

    /// The public key of this machine.
    #[allow(dead_code, reason = "not every test binary signs")]
    pub(crate) fn signer(&self) -> &str {
        self.signer.as_deref().unwrap()
    }

    /// Somebody with the data and the password, and without the signing key.
    #[allow(dead_code, reason = "not every test binary is attacked")]
    pub(crate) fn stranger(&self) -> Session {
        let config = self.config();
        let plain: Vec<&str> = config.lines().filter(|l| !l.starts_with("sign")).collect();
        self.session_of(&plain.join("\n"), "state-of-a-stranger")
    }

    pub(crate) fn session(&self) -> Session {
        self.session_of(&self.config(), "state")
    }

    fn session_of(&self, config: &str, state: &str) -> Session {
        let state = self.path(state);
        let variables = Variables::from_pairs([
            ("RECOUP_STATE_DIR", state.as_os_str()),
            ("PATH", std::ffi::OsStr::new("/usr/bin:/bin")),
        ]);
        let loaded = parse(config, &self.path("project/recoup.toml"), &variables).unwrap();
        Session::of(loaded, &self.env).unwrap()
    }

    pub(crate) async fn backup(&self) -> BackupReport {
        backup(&self.session(), &BackupOptions::default()).await.unwrap()
    }

    pub(crate) async fn restore(&self, at: Option<&str>) -> RestoreReport {
        let options = RestoreOptions { at: at.map(str::to_owned), ..RestoreOptions::default() };
        restore::restore(&self.session(), &options).await.unwrap()
    }

    pub(crate) async fn promote(&self, restored: &RestoreReport) -> RestoreReport {
        let options = PromoteOptions { confirm: restored.confirm.clone(), ..PromoteOptions::default() };
        restore::promote(&self.session(), &restored.restore, &options).await.unwrap()
    }

    /// Rows deleted and pictures gone.
    pub(crate) fn accident(&self) {
        self.db().execute("delete from orders where id > 10", []).unwrap();
        fs::remove_file(self.path("project/media/2026/3.jpg")).unwrap();
        fs::write(self.path("project/media/2026/4.jpg"), b"overwritten").unwrap();
    }

    pub(crate) fn live(&self) -> Live {
        let orders = self.db().query_row("select count(*) from orders", [], |r| r.get(0)).unwrap();
        let mut media = BTreeMap::new();
        collect(&self.path("project/media"), &self.path("project/media"), &mut media);
        Live { orders, media }
    }

    /// All packs, largest first.
    #[allow(dead_code, reason = "not every test binary damages them")]
    pub(crate) fn packs(&self) -> Vec<PathBuf> {
        let mut files = BTreeMap::new();
        collect(&self.path("repo/data"), &self.path("repo/data"), &mut files);
        let mut names: Vec<(usize, String)> =
            files.into_iter().map(|(name, bytes)| (bytes.len(), name)).collect();
        names.sort_by(|a, b| b.cmp(a));
        names.into_iter().map(|(_, name)| self.path("repo/data").join(name)).collect()
    }
}

pub(crate) fn collect(root: &Path, dir: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            collect(root, &entry.path(), into);
        } else {
            let name = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            into.insert(name, fs::read(entry.path()).unwrap());
        }
    }
}
