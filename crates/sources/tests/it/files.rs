//! The files source: databases on the way, what may count, and the switch.

use crate::common::{Writer, read, sh};
use crate::sqlite::make;
use recoup_core::Kind;
use recoup_core::entry::Body;
use recoup_core::event::Outcome;
use recoup_sources::conformance::pour;
use recoup_sources::files::beneath::{Beneath, BeneathOptions};
use recoup_sources::files::walk::{Databases, Options, Walk};
use recoup_sources::files::{Files, FilesConfig};
use recoup_sources::{CaptureContext, Facts, Proof, Source, TreeCounts};
use recoup_testkit::env::real;
use rusqlite::Connection;
use std::fs;
use std::path::Path;

fn source(path: &Path) -> Files {
    let config = FilesConfig { ignore: vec!["cache/".into()], ..FilesConfig::new("media") };
    Files::new(path, &config).unwrap()
}

/// Captures into a new directory as a backup and a restore would, and settles.
async fn round(source: &Files, to: &Path, previous: Option<&Facts>) -> recoup_core::Result<Proof> {
    let (env, scratch) = (real(), tempfile::tempdir().unwrap());
    let context = CaptureContext { env: &env, address: "shop/media", scratch: scratch.path(), previous };
    let capture = source.capture(&context).await?;
    let target = Beneath::open(to, BeneathOptions::default())?;
    let counts = pour(capture.folder.as_ref(), &target)?;
    target.finish_all()?;
    drop(capture.folder);
    let proof = capture.after.settle(counts);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "private copies are gone");
    Ok(proof)
}

async fn passes(source: &Files, at: &Path, facts: &Facts) -> bool {
    let checks = source.prove(at, facts, &real()).await.unwrap();
    checks.iter().all(|c| c.outcome == Outcome::Pass)
}

#[tokio::test]
async fn files_are_captured_proved_and_missed() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sh(dir.path(), "mkdir -p a/b cache; echo 1 > a/one; ln a/one a/b/two; echo x > cache/x");
    let source = source(dir.path());
    let proof = round(&source, to.path(), None).await.unwrap();
    assert!(proof.complete);
    assert_eq!(sh(to.path(), "find . -type f | sort"), "./a/b/two\n./a/one\n");
    assert_eq!(proof.facts["left_out"], 1);
    // This plain copy counts a hard link once; a repository counts each name.
    let facts = [("files".to_owned(), 2.into()), ("bytes".to_owned(), 4.into())].into_iter().collect();
    assert!(passes(&source, to.path(), &facts).await);
    sh(to.path(), "rm a/one");
    let checks = source.prove(to.path(), &facts, &real()).await.unwrap();
    assert_eq!(
        (checks[0].outcome, checks[0].finding.as_ref().unwrap().id.as_str()),
        (Outcome::Fail, "E0550")
    );
}

#[tokio::test]
async fn row_109_a_live_database_among_files_is_captured_as_a_database() {
    for mode in ["wal", "delete"] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        let path = dir.path().join("data/app.db");
        drop(make(&path, mode, 1500));
        sh(dir.path(), "echo plain > data/readme; echo 1 > data/lonely-wal; cp data/app.db data/rest.db");
        let writer = Writer::start(&path);
        let source = source(dir.path());
        for _ in 0..4 {
            let to = tempfile::tempdir().unwrap();
            let proof = round(&source, to.path(), None).await.unwrap();
            assert!(proof.complete, "{:?}", proof.why);
            assert_eq!(proof.findings[0].id, "E0528");
            assert!(proof.facts["databases"].as_array().unwrap().contains(&"data/app.db".into()));
            let names = sh(to.path(), "ls data");
            assert_eq!(names, "app.db\nlonely-wal\nreadme\nrest.db\n", "{mode}");
            let db = Connection::open(to.path().join("data/app.db")).unwrap();
            let sum: i64 = db.query_row("SELECT sum(balance) FROM account", [], |r| r.get(0)).unwrap();
            assert_eq!(sum, 150_000);
            drop(db);
        }
        assert!(writer.stop().0 > 0);
    }
}

#[tokio::test]
async fn row_109_a_database_that_cannot_be_copied_keeps_the_point_from_counting() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join("app.db");
    drop(make(&path, "delete", 50));
    sh(
        dir.path(),
        "printf '%04096d' 7 | dd of=app.db bs=4096 seek=5 conv=notrunc status=none; echo good > good",
    );
    let proof = round(&source(dir.path()), to.path(), None).await.unwrap();
    assert_eq!((proof.complete, proof.facts["errors"].as_u64()), (false, Some(1)));
    assert_eq!(proof.findings.last().unwrap().id, "E0524");
    assert_eq!(sh(to.path(), "cat good"), "good\n");
}

#[test]
fn row_109_a_backup_of_paths_notes_databases_with_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let open = make(&dir.path().join("app.db"), "wal", 5);
    let walk = Walk::new(Options { databases: Databases::Note, ..Options::default() });
    let seen = read(walk.folder(dir.path()).unwrap().1.as_ref());
    assert_eq!(seen.paths(), ["app.db", "app.db-shm", "app.db-wal"]);
    assert_eq!(walk.notes().databases_plain, [dir.path().join("app.db").to_str().unwrap()]);
    drop(open);
}

#[test]
fn row_117_a_file_that_changes_is_read_to_its_end_and_says_so() {
    use std::io::{Read, Write};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    fs::write(&path, vec![b'a'; 100_000]).unwrap();
    let listing = Walk::new(Options::default()).folder(dir.path()).unwrap().1.list().unwrap();
    let item = listing.items.into_iter().next().unwrap();
    let Body::File(body) = item.body else { panic!("a file was listed") };
    let mut reader = body.open().unwrap();
    let mut first = vec![0; 50_000];
    reader.read_exact(&mut first).unwrap();
    fs::File::options().append(true).open(&path).unwrap().write_all(&[b'b'; 10_000]).unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    let after = reader.entry().unwrap();
    assert_eq!((item.entry.size, after.size, first.len() + rest.len()), (100_000, 110_000, 110_000));
    assert!(after.mtime >= item.entry.mtime && after != item.entry);
    // Shorter, and replaced by a rename: a second opening sees the new file.
    fs::write(dir.path().join("new"), b"new").unwrap();
    fs::rename(dir.path().join("new"), &path).unwrap();
    let mut again = Vec::new();
    let mut reader = body.open().unwrap();
    reader.read_to_end(&mut again).unwrap();
    assert_eq!((again.as_slice(), reader.entry().unwrap().size), (&b"new"[..], 3));
}

#[test]
fn row_122_links_within_a_set_stay_links_and_others_are_copied() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sh(dir.path(), "mkdir set; echo x > set/a; ln set/a set/b; echo y > set/c; ln set/c outside");
    let (_, folder) = Walk::new(Options::default()).folder(&dir.path().join("set")).unwrap();
    let target = Beneath::open(to.path(), BeneathOptions::default()).unwrap();
    pour(folder.as_ref(), &target).unwrap();
    assert_eq!(sh(to.path(), "stat -c '%n %h' a b c; cat a b c"), "a 2\nb 2\nc 1\nx\nx\ny\n");
    assert_eq!(sh(to.path(), "test a -ef b && echo same"), "same\n");
}

#[tokio::test]
async fn row_127_a_link_as_the_root_of_a_source_is_followed_and_said_so() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sh(dir.path(), "mkdir real; echo x > real/x; ln -s real media");
    let source = source(&dir.path().join("media"));
    let (env, scratch) = (real(), tempfile::tempdir().unwrap());
    let context =
        CaptureContext { env: &env, address: "shop/media", scratch: scratch.path(), previous: None };
    let capture = source.capture(&context).await.unwrap();
    assert_eq!(capture.findings[0].id, "E0527");
    assert_eq!(capture.facts["followed_link"], true);
    drop(capture);
    assert!(round(&source, to.path(), None).await.unwrap().complete);
    assert_eq!(sh(to.path(), "cat x"), "x\n");
}

#[tokio::test]
async fn row_128_a_source_that_is_suddenly_empty_does_not_count() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sh(dir.path(), "echo x > x; echo y > y");
    let source = source(dir.path());
    let good = round(&source, to.path(), None).await.unwrap();
    sh(dir.path(), "rm x");
    assert!(round(&source, to.path(), Some(&good.facts)).await.unwrap().complete, "some may go");
    sh(dir.path(), "rm y");
    let empty = round(&source, to.path(), Some(&good.facts)).await.unwrap();
    assert_eq!((empty.complete, empty.findings[0].id.as_str()), (false, "E0525"));
    assert!(round(&source, to.path(), None).await.unwrap().complete, "a new source may be empty");
    sh(dir.path(), "echo other > other");
    let mut mounted = good.facts;
    mounted.insert("mount_point".into(), true.into());
    let unmounted = round(&source, to.path(), Some(&mounted)).await.unwrap();
    assert!(unmounted.why.unwrap().contains("not mounted"));
    fs::remove_dir_all(dir.path()).unwrap();
    let gone = round(&source, to.path(), Some(&mounted)).await.unwrap_err();
    assert_eq!((gone.kind(), gone.stable_code()), (Kind::NotFound, Some("E0521")));
    fs::create_dir(dir.path()).unwrap();
}

#[tokio::test]
async fn row_128_a_source_that_vanishes_while_it_is_read_does_not_count() {
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sh(dir.path(), "mkdir media; echo x > media/x");
    let (source, env) = (source(&dir.path().join("media")), real());
    let context =
        CaptureContext { env: &env, address: "shop/media", scratch: scratch.path(), previous: None };
    let capture = source.capture(&context).await.unwrap();
    sh(dir.path(), "mv media away; mkdir media; echo y > media/y");
    let proof = capture.after.settle(TreeCounts { files: 1, bytes: 2, errors: 0 });
    assert_eq!((proof.complete, proof.findings[0].id.as_str()), (false, "E0553"));
}

/// A live and a restored directory, on the same file system or not.
fn two(other_fs: bool) -> (tempfile::TempDir, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let restored = if other_fs {
        tempfile::tempdir_in("/dev/shm").unwrap()
    } else {
        tempfile::tempdir_in(dir.path()).unwrap()
    };
    sh(dir.path(), "mkdir media; echo old > media/f; chmod 2751 media; mkdir keep");
    sh(restored.path(), "mkdir media; echo new > media/f; mkdir media/d; echo deep > media/d/x");
    (dir, restored)
}

#[tokio::test]
async fn a_switch_exchanges_directories_and_may_run_twice() {
    for other_fs in [false, true] {
        let (dir, restored) = two(other_fs);
        let (source, env) = (source(&dir.path().join("media")), real());
        let (from, keep) = (restored.path().join("media"), dir.path().join("keep/media.before"));
        for _ in 0..2 {
            source.switch(&from, &keep, &env).await.unwrap();
            assert_eq!(
                sh(dir.path(), "cat media/f media/d/x keep/media.before/f; stat -c %a media"),
                "new\ndeep\nold\n2751\n"
            );
        }
        for _ in 0..2 {
            source.switch_back(&from, &keep, &env).await.unwrap();
            assert_eq!(sh(dir.path(), "cat media/f keep/media.before/f"), "old\nnew\n");
        }
        source.switch(&from, &keep, &env).await.unwrap();
        assert_eq!(sh(dir.path(), "cat media/f"), "new\n");
    }
}

#[tokio::test]
async fn a_switch_that_crashed_anywhere_goes_on() {
    for (other_fs, crash) in [
        (false, "mv media x; mv keep/media.before media; mv x $R/media"),
        (false, "mv media x; mv keep/media.before media; mv x keep/media.before"),
        (true, "mv media x; mv keep/media.before media; mv x keep/media.before"),
        (
            true,
            "rm -r media; mv keep/media.before media; mkdir keep/media.before.part; echo half > keep/media.before.part/f; rm keep/*.json",
        ),
    ] {
        let (dir, restored) = two(other_fs);
        let (source, env) = (source(&dir.path().join("media")), real());
        let (from, keep) = (restored.path().join("media"), dir.path().join("keep/media.before"));
        source.switch(&from, &keep, &env).await.unwrap();
        sh(dir.path(), &format!("R={}; {crash}", restored.path().display()));
        assert_eq!(sh(dir.path(), "cat media/f"), "old\n");
        source.switch(&from, &keep, &env).await.unwrap();
        assert_eq!(sh(dir.path(), "cat media/f keep/media.before/f"), "new\nold\n", "{crash}");
        source.switch_back(&from, &keep, &env).await.unwrap();
        assert_eq!(sh(dir.path(), "cat media/f"), "old\n");
    }
}

#[tokio::test]
async fn what_cannot_be_one_step_or_is_in_use_is_refused_before_anything() {
    let (dir, restored) = two(false);
    let (source, env) = (source(&dir.path().join("media")), real());
    let from = restored.path().join("media");
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let error = source.switch(&from, &elsewhere.path().join("k"), &env).await.unwrap_err();
    assert_eq!((error.kind(), error.stable_code()), (Kind::Refused, Some("E0541")));
    let keep = dir.path().join("keep/media.before");
    let tail = recoup_sources::process::Run::new("sh", std::time::Duration::from_secs(60))
        .args(&["-c", "exec 3<media/f; echo > ready; exec sleep 60"])
        .cwd(dir.path());
    let running = recoup_sources::process::spawn(&tail, None).unwrap();
    while !dir.path().join("ready").exists() {
        std::thread::yield_now();
    }
    let error = source.switch(&from, &keep, &env).await.unwrap_err();
    assert_eq!(error.stable_code(), Some("E0540"));
    assert!(error.to_string().contains(&running.pid().to_string()), "{error}");
    running.stop().unwrap();
    fs::create_dir(&keep).unwrap();
    assert_eq!(source.switch(&from, &keep, &env).await.unwrap_err().stable_code(), Some("E0545"));
    fs::remove_dir(&keep).unwrap();
    let before = sh(dir.path(), "find media keep; cat media/f");
    assert_eq!(before, "media\nmedia/f\nkeep\nold\n");
    source.switch(&from, &keep, &env).await.unwrap();
    sh(dir.path(), "mv media media2; mkdir media");
    assert_eq!(source.switch_back(&from, &keep, &env).await.unwrap_err().stable_code(), Some("E0543"));
}

#[tokio::test]
async fn one_file_is_a_source_too() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sh(dir.path(), "echo old > settings.ini; chmod 640 settings.ini; mkdir keep");
    let (source, env) = (source(&dir.path().join("settings.ini")), real());
    let proof = round(&source, to.path(), None).await.unwrap();
    assert!(proof.complete && passes(&source, to.path(), &proof.facts).await);
    sh(dir.path(), "echo changed > settings.ini");
    let keep = dir.path().join("keep/settings.before");
    for _ in 0..2 {
        source.switch(to.path(), &keep, &env).await.unwrap();
        assert_eq!(sh(dir.path(), "cat settings.ini; stat -c %a settings.ini"), "old\n640\n");
    }
    source.switch_back(to.path(), &keep, &env).await.unwrap();
    assert_eq!(sh(dir.path(), "cat settings.ini"), "changed\n");
}
