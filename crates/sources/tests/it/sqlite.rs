//! The sqlite source against real databases, writers and crashes.

use crate::common::{Writer, sh};
use recoup_core::Kind;
use recoup_core::event::Outcome;
use recoup_sources::conformance::pour;
use recoup_sources::files::beneath::{Beneath, BeneathOptions};
use recoup_sources::sqlite::{Sqlite, SqliteConfig, capture, inspect};
use recoup_sources::{Capture, CaptureContext, Facts, Proof, Source};
use recoup_testkit::env::real;
use rusqlite::Connection;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) fn make(path: &Path, mode: &str, rows: u32) -> Connection {
    let db = Connection::open(path).unwrap();
    db.execute_batch(&format!(
        "PRAGMA journal_mode={mode}; PRAGMA user_version=7; PRAGMA application_id=42;
         CREATE TABLE account(id INTEGER PRIMARY KEY AUTOINCREMENT, balance INTEGER NOT NULL, filler BLOB);
         CREATE TABLE \"odd \"\"name\" (x);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{rows})
         INSERT INTO account(balance, filler) SELECT 100, zeroblob(2000) FROM n;"
    ))
    .unwrap();
    db
}

async fn captured(source: &Sqlite, scratch: &Path, previous: Option<&Facts>) -> recoup_core::Result<Capture> {
    let env = real();
    source.capture(&CaptureContext { env: &env, address: "shop/db", scratch, previous }).await
}

/// Captures into `to` as a backup and a restore would, and settles.
async fn round(source: &Sqlite, to: &Path, previous: Option<&Facts>) -> recoup_core::Result<Proof> {
    let scratch = tempfile::tempdir().unwrap();
    let capture = captured(source, scratch.path(), previous).await?;
    let target = Beneath::open(
        to,
        BeneathOptions {
            overwrite: recoup_sources::files::beneath::Overwrite::Always,
            ..BeneathOptions::default()
        },
    )?;
    let counts = pour(capture.folder.as_ref(), &target)?;
    target.finish_all()?;
    let proof = capture.after.settle(counts);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "the private copy is gone");
    Ok(proof)
}

fn source(path: &Path) -> Sqlite {
    Sqlite::new(path, &SqliteConfig::new("db")).unwrap()
}

fn sum(path: &Path) -> (i64, i64) {
    let db = Connection::open(path).unwrap();
    db.query_row("SELECT sum(balance), count(*) FROM account", [], |r| Ok((r.get(0)?, r.get(1)?))).unwrap()
}

async fn outcomes(source: &Sqlite, at: &Path, facts: &Facts) -> Vec<(String, Outcome)> {
    let checks = source.prove(at, facts, &real()).await.unwrap();
    checks.into_iter().map(|c| (c.name, c.outcome)).collect()
}

#[tokio::test]
async fn a_capture_is_proved_and_its_facts_are_recorded() {
    for mode in ["wal", "delete", "truncate", "persist"] {
        let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = dir.path().join("app ?%.db");
        let open = make(&path, mode, 500);
        let source = source(&path);
        let proof = round(&source, to.path(), None).await.unwrap();
        assert!(proof.complete, "{:?}", proof.why);
        let facts = &proof.facts;
        assert_eq!(facts["rows"], serde_json::json!({"account": 500, "odd \"name": 0}));
        assert_eq!(facts["sequences"], serde_json::json!({"account": 500}));
        assert_eq!((&facts["user_version"], &facts["application_id"]), (&7.into(), &42.into()));
        assert_eq!((facts["integrity"].as_str(), facts["page_size"].as_u64()), (Some("ok"), Some(4096)));
        let proved = outcomes(&source, to.path(), facts).await;
        assert!(proved.iter().all(|(_, o)| *o == Outcome::Pass), "{mode}: {proved:?}");
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 1, "nothing was left beside the copy");
        drop(open);
    }
}

#[tokio::test]
async fn a_restored_database_that_differs_is_found() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join("db");
    drop(make(&path, "delete", 300));
    let source = source(&path);
    let facts = round(&source, to.path(), None).await.unwrap().facts;
    let copy = to.path().join("db");
    Connection::open(&copy).unwrap().execute_batch("DELETE FROM account WHERE id > 150").unwrap();
    let got = outcomes(&source, to.path(), &facts).await;
    let want = [
        ("content", Outcome::Fail),
        ("integrity", Outcome::Pass),
        ("foreign keys", Outcome::Pass),
        ("rows", Outcome::Fail),
    ];
    assert_eq!(got, want.map(|(n, o)| (n.to_owned(), o)));
    sh(to.path(), "printf '%04096d' 7 | dd of=db bs=4096 seek=3 conv=notrunc status=none");
    let got = outcomes(&source, to.path(), &facts).await;
    assert_eq!(got[1], ("integrity".to_owned(), Outcome::Fail));
    fs::remove_file(&copy).unwrap();
    assert_eq!(outcomes(&source, to.path(), &facts).await[0].1, Outcome::Fail);
    let unknown = outcomes(&source, dir.path(), &Facts::new()).await;
    assert_eq!((unknown[0].1, unknown[3].1), (Outcome::Unknown, Outcome::Unknown));
}

/// Writers move money between accounts all the time; every copy must hold all of it.
async fn under_load(mode: &str, config: SqliteConfig, rounds: usize) -> (u64, u64) {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join("db");
    drop(make(&path, mode, 2000));
    let source = Sqlite::new(&path, &config).unwrap();
    let writers: Vec<Writer> = (0..2).map(|_| Writer::start(&path)).collect();
    for _ in 0..rounds {
        let proof = round(&source, to.path(), None).await.unwrap();
        assert!(proof.complete, "{:?}", proof.why);
        assert_eq!(sum(&to.path().join("db")), (200_000, 2000));
    }
    writers.into_iter().map(Writer::stop).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
}

#[tokio::test]
async fn wal_copies_under_load_are_consistent_and_writers_never_wait_for_us() {
    let (written, _) = under_load("wal", SqliteConfig::new("db"), 15).await;
    assert!(written > 100, "{written}");
}

/// One writer alone with no patience at all: whatever it meets as "busy" would be our doing.
#[tokio::test]
async fn a_wal_writer_without_patience_never_gets_busy() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join("db");
    let _open = make(&path, "wal", 2000);
    let writer = Writer::impatient(&path);
    let source = source(&path);
    for _ in 0..15 {
        round(&source, to.path(), None).await.unwrap();
        assert_eq!(sum(&to.path().join("db")), (200_000, 2000));
    }
    let (written, busy) = writer.stop();
    assert!(written > 50, "{written}");
    assert_eq!(busy, 0);
}

#[tokio::test]
async fn rollback_copies_under_load_are_consistent() {
    let config = SqliteConfig { lock_max: "20s".parse().unwrap(), ..SqliteConfig::new("db") };
    let (written, _) = under_load("delete", config, 4).await;
    assert!(written > 10, "{written}");
}

#[test]
fn restarts_are_limited_and_then_one_lock_is_taken_or_the_copy_fails_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    drop(make(&path, "delete", 4000));
    let writer = Writer::start(&path);
    let clock = real().clock;
    let busy = SqliteConfig {
        step_pages: 1,
        restarts_max: 2,
        lock_max: "30s".parse().unwrap(),
        ..SqliteConfig::new("db")
    };
    let copied = capture::copy(&path, &dir.path().join("copy"), &busy, clock.as_ref()).unwrap();
    assert!(copied.restarts > 2 && copied.locked.is_some(), "{copied:?}");
    assert_eq!(sum(&dir.path().join("copy")), (400_000, 4000));
    writer.stop();
    // By this clock any copy takes an hour.
    let writer = Writer::start(&path);
    let error = capture::copy(&path, &dir.path().join("copy2"), &busy, &Leaping::default()).unwrap_err();
    assert_eq!((error.kind(), error.stable_code()), (Kind::TimedOut, Some("E0512")));
    writer.stop();
}

#[derive(Default)]
struct Leaping(std::sync::atomic::AtomicU64);

impl recoup_core::env::Clock for Leaping {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }
    fn monotonic(&self) -> Duration {
        Duration::from_secs(3600 * self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }
}

#[tokio::test]
async fn a_locked_database_a_hot_journal_and_a_missing_file_fail_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = make(&path, "delete", 10);
    let config = SqliteConfig {
        lock_max: recoup_core::units::Span(Duration::from_millis(50)),
        ..SqliteConfig::new("db")
    };
    let source = Sqlite::new(&path, &config).unwrap();
    db.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error = captured(&source, dir.path(), None).await.err().unwrap();
    assert_eq!((error.kind(), error.stable_code()), (Kind::Locked, Some("E0511")));
    db.execute_batch("ROLLBACK").unwrap();
    drop(db);
    crash_in_transaction(&path);
    let before = sh(dir.path(), "sha256sum db db-journal");
    let error = captured(&source, dir.path(), None).await.err().unwrap();
    assert_eq!(error.stable_code(), Some("E0513"), "{error}");
    assert_eq!(sh(dir.path(), "sha256sum db db-journal"), before);
    let error = captured(&self::source(&dir.path().join("none")), dir.path(), None).await.err().unwrap();
    assert_eq!((error.kind(), error.stable_code()), (Kind::NotFound, Some("E0521")));
    assert!(!dir.path().join("none").exists());
    fs::write(dir.path().join("text"), "no database at all, but a long text ".repeat(50)).unwrap();
    let error = captured(&self::source(&dir.path().join("text")), dir.path(), None).await.err().unwrap();
    assert_eq!(error.stable_code(), Some("E0515"));
}

/// Leaves a database with a hot journal, as a writer does that is killed while it writes.
fn crash_in_transaction(path: &Path) {
    let script = "import sqlite3, sys, os\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
        c.execute('PRAGMA cache_size=1')\nc.execute('PRAGMA cache_spill=1')\nc.execute('BEGIN')\n\
        c.execute('UPDATE account SET balance = 0, filler = randomblob(3000)')\n\
        c.execute('INSERT INTO account(balance, filler) SELECT 1, randomblob(3000) FROM account, account LIMIT 500')\nos.kill(os.getpid(), 9)";
    let status = std::process::Command::new("python3").arg("-c").arg(script).arg(path).status().unwrap();
    assert!(!status.success());
    let journal = path.with_file_name(format!("{}-journal", path.file_name().unwrap().to_str().unwrap()));
    assert!(fs::metadata(journal).unwrap().len() > 0, "the journal is hot");
}

#[tokio::test]
async fn row_107_a_verifier_never_changes_what_it_verifies() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join("db");
    drop(make(&path, "delete", 100));
    let source = source(&path);
    let facts = round(&source, to.path(), None).await.unwrap().facts;
    let state = "ls -la --time-style=full-iso | tail -n +4; sha256sum *";
    let before = sh(to.path(), state);
    outcomes(&source, to.path(), &facts).await;
    assert_eq!(sh(to.path(), state), before);
    // An interrupted copy with its journal is refused and stays as it is.
    crash_in_transaction(&to.path().join("db"));
    let before = sh(to.path(), "ls; sha256sum *");
    let error = source.prove(to.path(), &facts, &real()).await.err().or_else(|| {
        inspect::inspect(&to.path().join("db"), inspect::Limits::default(), real().clock.as_ref()).err()
    });
    assert_eq!(error.unwrap().stable_code(), Some("E0514"));
    assert_eq!(sh(to.path(), "ls; sha256sum *"), before);
}

#[tokio::test]
async fn an_emptied_database_does_not_count_and_a_damaged_one_neither() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join("db");
    let db = make(&path, "delete", 100);
    let source = source(&path);
    let good = round(&source, to.path(), None).await.unwrap();
    db.execute_batch("DELETE FROM account").unwrap();
    let emptied = round(&source, to.path(), Some(&good.facts)).await.unwrap();
    assert_eq!((emptied.complete, emptied.findings[0].id.as_str()), (false, "E0517"));
    assert!(round(&source, to.path(), None).await.unwrap().complete, "a new application may be empty");
    drop(db);
    fs::write(&path, b"").unwrap();
    let emptied = round(&source, to.path(), Some(&good.facts)).await.unwrap();
    assert!(!emptied.complete, "{:?}", emptied.facts);
    fs::remove_file(&path).unwrap();
    drop(make(&path, "delete", 2000));
    sh(dir.path(), "printf '%04096d' 7 | dd of=db bs=4096 seek=9 conv=notrunc status=none");
    let damaged = round(&source, to.path(), None).await.unwrap();
    assert_eq!((damaged.complete, damaged.facts["integrity"].as_str()), (false, Some("damaged")));
}

#[tokio::test]
async fn what_only_the_application_knows_is_said_and_does_not_fail() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join("db");
    sh(
        dir.path(),
        "python3 -c \"
import sqlite3
c = sqlite3.connect('db')
c.create_collation('nat', lambda a, b: 0)
c.executescript('CREATE TABLE t(x COLLATE nat UNIQUE); INSERT INTO t VALUES (5); CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p); INSERT INTO c VALUES (9);')
\"",
    );
    let scratch = tempfile::tempdir().unwrap();
    let capture = captured(&source(&path), scratch.path(), None).await.unwrap();
    let codes: Vec<&str> = capture.findings.iter().map(|f| f.id.as_str()).collect();
    assert_eq!(codes, ["E0519", "E0516"]);
    drop(capture);
    let proof = round(&source(&path), to.path(), None).await.unwrap();
    assert!(proof.complete);
    let got = outcomes(&source(&path), to.path(), &proof.facts).await;
    assert_eq!(got[1].1, Outcome::Unknown, "unknown is never shown as pass");
    assert_eq!(got[2].1, Outcome::Pass);
}

fn text(path: &Path) -> String {
    let db = Connection::open(path).unwrap();
    db.query_row("SELECT group_concat(x) FROM t", [], |r| r.get(0)).unwrap()
}

struct Live {
    dir: tempfile::TempDir,
    path: PathBuf,
    restored: PathBuf,
    keep: PathBuf,
}

/// A live database in WAL mode whose last change is only in the log of a crashed writer, and a restored one.
fn live() -> Live {
    let dir = tempfile::tempdir().unwrap();
    let (path, restored) = (dir.path().join("db"), dir.path().join("restored"));
    fs::create_dir(&restored).unwrap();
    let script = "import sqlite3, os\nc = sqlite3.connect('db', isolation_level=None)\n\
        c.execute('PRAGMA journal_mode=wal')\nc.execute('CREATE TABLE t(x)')\nc.execute('PRAGMA wal_checkpoint(truncate)')\n\
        c.execute(\\\"INSERT INTO t VALUES ('old')\\\")\nos.kill(os.getpid(), 9)";
    sh(dir.path(), &format!("python3 -c \"{script}\" || true; test -s db-wal; chmod 640 db"));
    Connection::open(restored.join("db"))
        .unwrap()
        .execute_batch("PRAGMA journal_mode=wal; CREATE TABLE t(x); INSERT INTO t VALUES ('new')")
        .unwrap();
    let keep = dir.path().join(".recoup-1").join("db.before");
    Live { dir, path, restored, keep }
}

#[tokio::test]
async fn a_switch_takes_the_log_along_and_back_and_may_run_twice() {
    let live = live();
    let (source, env) = (source(&live.path), real());
    for _ in 0..2 {
        source.switch(&live.restored, &live.keep, &env).await.unwrap();
        assert!(!live.dir.path().join("db-wal").exists());
    }
    assert_eq!(text(&live.path), "new");
    assert_eq!(sh(live.dir.path(), "stat -c %a db").trim(), "640");
    for _ in 0..2 {
        source.switch_back(&live.restored, &live.keep, &env).await.unwrap();
    }
    assert_eq!(text(&live.path), "old", "what was only in the log is there");
    source.switch(&live.restored, &live.keep, &env).await.unwrap();
    assert_eq!(text(&live.path), "new", "and forward again");
}

#[tokio::test]
async fn a_switch_that_crashed_anywhere_goes_on() {
    for crash in 0..4 {
        let live = live();
        let (source, env) = (source(&live.path), real());
        let inode = sh(live.dir.path(), "stat -c %i db").trim().to_owned();
        source.switch(&live.restored, &live.keep, &env).await.unwrap();
        // Take the steps back to where a crash would have left them.
        let (keep, name) = (live.keep.display(), live.path.display());
        let undo = match crash {
            0 => "true".to_owned(),
            1 => format!("mv {name} x; mv {keep}/db {name}; mv x {keep}/db"),
            2 => {
                format!("mv {name} x; mv {keep}/db {name}; mv x {keep}/db; mv {keep}/{inode}-wal {name}-wal")
            }
            _ => format!(
                "mv {keep}/db {name}; mv {keep}/{inode}-wal {name}-wal; rm {keep}/switch.json; echo half > {keep}/db.part"
            ),
        };
        sh(live.dir.path(), &undo);
        if crash == 1 {
            source.switch_back(&live.restored, &live.keep, &env).await.unwrap();
            assert_eq!(text(&live.path), "old", "crash {crash}");
        }
        source.switch(&live.restored, &live.keep, &env).await.unwrap();
        assert_eq!(text(&live.path), "new", "crash {crash}");
        source.switch_back(&live.restored, &live.keep, &env).await.unwrap();
        assert_eq!(text(&live.path), "old", "crash {crash}");
    }
}

#[tokio::test]
async fn nothing_is_switched_under_somebody_who_has_it_open() {
    let live = live();
    let (source, env) = (source(&live.path), real());
    let writer = Writer::holding(&live.path);
    let holding = source.holders().await.unwrap();
    assert!(holding.holders.iter().any(|h| h.pid == writer.pid()), "{holding:?}");
    let error = source.switch(&live.restored, &live.keep, &env).await.unwrap_err();
    assert_eq!((error.kind(), error.stable_code()), (Kind::Refused, Some("E0540")));
    assert!(error.to_string().contains(&writer.pid().to_string()), "{error}");
    writer.stop();
    source.switch(&live.restored, &live.keep, &env).await.unwrap();
    let writer = Writer::holding(&live.path);
    assert_eq!(
        source.switch_back(&live.restored, &live.keep, &env).await.unwrap_err().stable_code(),
        Some("E0540")
    );
    writer.stop();
}

#[tokio::test]
async fn what_somebody_else_replaced_or_lost_is_not_touched_blindly() {
    let live = live();
    let (source, env) = (source(&live.path), real());
    assert_eq!(
        source.switch_back(&live.restored, &live.keep, &env).await.unwrap_err().stable_code(),
        Some("E0542")
    );
    source.switch(&live.restored, &live.keep, &env).await.unwrap();
    sh(live.dir.path(), "cp db db2; mv db2 db");
    let error = source.switch_back(&live.restored, &live.keep, &env).await.unwrap_err();
    assert_eq!((error.kind(), error.stable_code()), (Kind::Conflict, Some("E0543")));
    assert_eq!(text(&live.path), "new");

    let lost = self::live();
    let source = self::source(&lost.path);
    fs::remove_file(&lost.path).unwrap();
    source.switch(&lost.restored, &lost.keep, &env).await.unwrap();
    assert_eq!(text(&lost.path), "new", "a stale log beside a lost file is not played into the new one");
    source.switch_back(&lost.restored, &lost.keep, &env).await.unwrap();
    assert!(!lost.path.exists());
}
