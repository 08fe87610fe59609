//! What recoup remembers on this machine: runs, and points that were read before.
//!
//! It is a cache. The truth about points is in the repositories; the truth about runs is one JSON file
//! each under `runs/` in the state directory. The database `catalog.db` can be deleted at any time:
//! it is made anew from the files, and points are read again from the repositories.

mod runs;

pub use runs::{Run, RunKind};

use crate::point::{Document, DocumentCache};
use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use recoup_store::local::durable;
use rusqlite::{Connection, OptionalExtension, params};
use std::path::{Path, PathBuf};
use std::time::Duration;

const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
    create table if not exists run(
        id text primary key, kind text not null, at text not null, outcome text not null, document text not null);
    create index if not exists run_at on run(at);
    create table if not exists point(id text primary key, document text not null);
";

/// The memory of one application on this machine.
#[derive(Debug)]
pub struct Catalog {
    db: Connection,
    runs: PathBuf,
}

impl Catalog {
    /// Opens the catalog in the state directory `state`, or makes it anew if it is missing, damaged or of
    /// another version.
    ///
    /// # Errors
    /// If the state directory cannot be written.
    pub fn open(state: &Path) -> Result<Self> {
        durable::create_dir_all(state, 0o700)?;
        let runs = state.join("runs");
        let path = state.join("catalog.db");
        match Catalog::connect(&path) {
            Ok((db, true)) => Ok(Catalog { db, runs }),
            Ok((db, false)) => Catalog { db, runs }.rebuilt(),
            Err(_) => {
                // A cache that cannot be read is thrown away, never mended.
                for suffix in ["", "-wal", "-shm", "-journal"] {
                    durable::remove_file(&state.join(format!("catalog.db{suffix}")))?;
                }
                let (db, _) = Catalog::connect(&path).map_err(|e| failed(e).with("file", shown(&path)))?;
                Catalog { db, runs }.rebuilt()
            }
        }
    }

    /// The database, and whether it was there and of this version.
    fn connect(path: &Path) -> rusqlite::Result<(Connection, bool)> {
        let db = Connection::open(path)?;
        db.busy_timeout(Duration::from_secs(10))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version == SCHEMA_VERSION {
            db.query_row("select count(*) from run, point", [], |_| Ok(()))?;
            return Ok((db, true));
        }
        db.execute_batch("drop table if exists run; drop table if exists point;")?;
        db.execute_batch(SCHEMA)?;
        db.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        Ok((db, false))
    }

    fn rebuilt(self) -> Result<Self> {
        for run in runs::read_all(&self.runs)? {
            self.remember(&run)?;
        }
        Ok(self)
    }

    /// Keeps a run: as a file first, then in the database.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn keep(&self, run: &Run) -> Result<()> {
        runs::write(&self.runs, run)?;
        self.remember(run)
    }

    fn remember(&self, run: &Run) -> Result<()> {
        let text = serde_json::to_string(run).map_err(|e| Error::bug("write a run").caused_by(e))?;
        let outcome = serde_json::to_string(&run.outcome).unwrap_or_default();
        self.db
            .execute(
                "insert or replace into run(id, kind, at, outcome, document) values (?1, ?2, ?3, ?4, ?5)",
                params![run.id, run.kind.word(), run.at.to_string(), outcome, text],
            )
            .map_err(failed)?;
        Ok(())
    }

    /// The runs of `kind`, newest first, at most `limit`.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn runs(&self, kind: RunKind, limit: usize) -> Result<Vec<Run>> {
        let mut statement = self
            .db
            .prepare("select document from run where kind = ?1 order by at desc, id desc limit ?2")
            .map_err(failed)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement
            .query_map(params![kind.word(), limit], |row| row.get::<_, String>(0))
            .map_err(failed)?;
        let texts: Vec<String> = rows.collect::<rusqlite::Result<_>>().map_err(failed)?;
        Ok(texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect())
    }

    /// The run with this id.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn run(&self, id: &str) -> Result<Option<Run>> {
        let text: Option<String> = self
            .db
            .query_row("select document from run where id = ?1", [id], |row| row.get(0))
            .optional()
            .map_err(failed)?;
        Ok(text.and_then(|t| serde_json::from_str(&t).ok()))
    }
}

impl DocumentCache for Catalog {
    fn get(&self, point: &str) -> Option<Document> {
        let text: String =
            self.db.query_row("select document from point where id = ?1", [point], |row| row.get(0)).ok()?;
        // A cached document that is not its id is no document of this point.
        Document::decode(text.as_bytes()).ok().filter(|d| d.id() == point)
    }

    fn put(&mut self, point: &str, document: &Document) {
        let text = document.encode();
        // The cache may be read-only or full; the point is found all the same.
        drop(
            self.db
                .execute("insert or replace into point(id, document) values (?1, ?2)", params![point, text]),
        );
    }
}

fn failed(cause: rusqlite::Error) -> Error {
    Error::new(Kind::Unavailable, "use the catalog of runs")
        .effect("nothing in any repository is concerned")
        .hint("catalog.db in the state directory is a cache and may be deleted")
        .caused_by(cause)
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use recoup_core::event::Outcome;

    fn run(id: &str, second: i64) -> Run {
        Run {
            id: id.into(),
            kind: RunKind::Drill,
            at: jiff::Timestamp::from_second(second).unwrap(),
            outcome: Outcome::Pass,
            location: "local".into(),
            point: "p".into(),
            sources: vec!["db".into()],
            document: serde_json::json!({"x": 1}),
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the test damages the file")]
    fn row_018_a_lost_or_damaged_catalog_comes_back_from_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path()).unwrap();
        catalog.keep(&run("D1", 1)).unwrap();
        catalog.keep(&run("D2", 2)).unwrap();
        drop(catalog);
        for damage in [&b"this is no database at all, it is a text of some length"[..], b""] {
            std::fs::write(dir.path().join("catalog.db"), damage).unwrap();
            let catalog = Catalog::open(dir.path()).unwrap();
            let ids: Vec<String> =
                catalog.runs(RunKind::Drill, 9).unwrap().into_iter().map(|r| r.id).collect();
            assert_eq!(ids, ["D2", "D1"]);
            assert!(catalog.runs(RunKind::Backup, 9).unwrap().is_empty());
            assert_eq!(catalog.run("D1").unwrap().unwrap().document["x"], 1);
        }
    }

    #[test]
    fn row_042_a_point_that_somebody_changed_in_the_catalog_is_read_from_its_repository_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut catalog = Catalog::open(dir.path()).unwrap();
        let moment = jiff::Timestamp::from_second(1_700_000_000).unwrap();
        let document = Document {
            schema: "recoup/point/1".into(),
            application: "shop".into(),
            run: "R1".into(),
            time: moment,
            finished: moment,
            sources: Vec::new(),
            provenance: None,
            migrations: None,
            stages: Vec::new(),
        };
        let id = document.id();
        catalog.put(&id, &document);
        assert_eq!(catalog.get(&id), Some(document.clone()));
        // A younger time would be a better green light; a bit anywhere is a small change.
        let younger =
            Document { time: jiff::Timestamp::from_second(1_800_000_000).unwrap(), ..document.clone() };
        let encoded = document.encode().into_bytes();
        let flipped = (0..encoded.len()).map(|at| {
            let mut bytes = encoded.clone();
            bytes[at] ^= 1;
            bytes
        });
        for poison in flipped.chain([younger.encode().into_bytes(), Vec::new()]) {
            let text = String::from_utf8_lossy(&poison);
            catalog.db.execute("update point set document = ?2 where id = ?1", params![id, text]).unwrap();
            // What says the same in other words is as good.
            assert!(catalog.get(&id).is_none_or(|found| found == document), "{text}");
        }
        assert_eq!(catalog.get(&id), None, "nothing at all");
        catalog.put(&id, &document);
        assert_eq!(catalog.get(&id), Some(document));
    }
}
