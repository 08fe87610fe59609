//! Every driver keeps the rules of the suite.

use crate::common::sh;
use recoup_sources::Source;
use recoup_sources::conformance::{Case, suite};
use recoup_sources::files::{Files, FilesConfig};
use recoup_sources::sqlite::{Sqlite, SqliteConfig};
use recoup_testkit::env::real;
use rusqlite::Connection;
use std::path::{Path, PathBuf};

struct FilesCase(PathBuf);

impl Case for FilesCase {
    fn source(&self) -> Box<dyn Source> {
        Box::new(Files::new(&self.0, &FilesConfig::new("media")).unwrap())
    }
    fn content(&self) -> String {
        sh(&self.0, "find . -printf '%P %m\\n' | sort; find . -type f -exec cat {} +")
    }
    fn change(&self) {
        sh(&self.0, "rm a/one; echo other > three");
    }
    fn spoil(&self, restored: &Path) {
        sh(restored, "rm a/one");
    }
    fn empty(&self) {
        sh(&self.0, "rm -r ./*");
    }
    fn remove(&self) {
        sh(&self.0, "rmdir \"$PWD\"");
    }
}

struct SqliteCase {
    path: PathBuf,
    mode: &'static str,
}

impl SqliteCase {
    fn sql(&self, sql: &str) {
        Connection::open(&self.path).unwrap().execute_batch(sql).unwrap();
    }
}

impl Case for SqliteCase {
    fn source(&self) -> Box<dyn Source> {
        Box::new(Sqlite::new(&self.path, &SqliteConfig::new("db")).unwrap())
    }
    fn content(&self) -> String {
        let db = Connection::open(&self.path).unwrap();
        db.query_row("SELECT group_concat(x) FROM t", [], |r| r.get(0)).unwrap()
    }
    fn change(&self) {
        self.sql("UPDATE t SET x = x * 2");
    }
    fn spoil(&self, restored: &Path) {
        Connection::open(restored.join("db")).unwrap().execute_batch("DELETE FROM t WHERE x > 1").unwrap();
    }
    fn empty(&self) {
        self.sql("DELETE FROM t");
    }
    fn remove(&self) {
        std::fs::remove_file(&self.path).unwrap();
    }
}

#[tokio::test]
async fn files() {
    let (dir, room) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let media = dir.path().join("media");
    sh(dir.path(), "mkdir -p media/a; echo 1 > media/a/one; echo 22 > media/two");
    suite(&FilesCase(media), &real(), room.path()).await.unwrap();
}

#[tokio::test]
async fn sqlite() {
    for mode in ["wal", "delete"] {
        let (dir, room) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let case = SqliteCase { path: dir.path().join("db"), mode };
        case.sql(&format!(
            "PRAGMA journal_mode={}; CREATE TABLE t(x); INSERT INTO t VALUES (1), (2), (3)",
            case.mode
        ));
        suite(&case, &real(), room.path()).await.unwrap();
    }
}
