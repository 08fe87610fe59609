//! Somebody who can write to a location, or has the password, or both: what they do is found, and the genuine
//! points can still be restored (fault rows 60, 156, 171, 172).
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "test code may touch the world"
)]

#[allow(dead_code, reason = "every test binary uses a part of it")]
#[path = "support/application.rs"]
mod application;

use application::{Application, collect};
use recoup_core::event::{Finding, Outcome};
use recoup_ops::attest::examine;
use recoup_ops::backup::{BackupOptions, BackupReport, backup};
use recoup_ops::hold::{Say, list, say};
use recoup_ops::points::{PointsReport, points};
use recoup_ops::status::{Contract, status};
use recoup_ops::verify::{VerifyOptions, VerifyReport, verify};
use recoup_repo::snapshot::Snapshot;
use recoup_repo::write::{WriteOptions, Writer};
use std::fs;
use std::path::Path;
use std::process::Command;

/// An application that signs.
fn signing() -> Application {
    let app = Application::new("");
    app.signs()
}

fn ids(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|f| f.id.as_str()).collect()
}

fn has(findings: &[Finding], id: &str, words: &str) {
    let found = findings.iter().find(|f| f.id == id);
    let found = found.unwrap_or_else(|| panic!("{id} is not among {findings:#?}"));
    assert!(found.message.contains(words), "{}", found.message);
}

async fn checked(app: &Application) -> Vec<Finding> {
    examine(&app.session()).await.unwrap()
}

async fn verified(app: &Application, read_data: bool) -> VerifyReport {
    verify(&app.session(), &VerifyOptions { read_data, ..VerifyOptions::default() }).await.unwrap()
}

async fn listed(app: &Application) -> PointsReport {
    points(&app.session(), None).await.unwrap()
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

/// The genuine points can be restored, whatever else is there.
async fn restorable(app: &Application, report: &BackupReport) {
    let point = report.point.as_ref().unwrap();
    let restored = app.restore(Some(&point[..12])).await;
    assert_eq!((restored.outcome, &restored.point), (Outcome::Pass, point), "{restored:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_signed_is_whole_and_openssh_says_so_too() {
    let app = signing();
    let first = app.backup().await;
    assert_eq!(first.outcome, Outcome::Pass, "{:?}", first.findings);
    app.accident();
    app.backup().await;
    let list = listed(&app).await;
    assert!(list.points.iter().all(|p| p.attested == Some(true)) && list.findings.is_empty(), "{list:?}");
    assert_eq!(verified(&app, true).await.outcome, Some(Outcome::Pass));
    assert!(checked(&app).await.is_empty());
    restorable(&app, &first).await;

    // Stock OpenSSH believes a statement, and does not believe it with one byte changed.
    let attest = app.path("repo/recoup/attest");
    let signer = fs::read_dir(&attest).unwrap().next().unwrap().unwrap().path();
    let mut files: Vec<_> = fs::read_dir(&signer).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 6, "begin, and a statement a point, with a signature each: {files:?}");
    fs::write(app.path("allowed"), format!("recoup {}\n", app.signer())).unwrap();
    let document = files.iter().rfind(|f| f.extension().unwrap() == "json").unwrap();
    let says = |text: Vec<u8>| {
        fs::write(app.path("statement"), text).unwrap();
        let mut command = Command::new("ssh-keygen");
        command.args(["-Y", "verify", "-I", "recoup", "-n", "recoup-attest", "-f"]).arg(app.path("allowed"));
        command.arg("-s").arg(document.with_extension("sig"));
        command.stdin(fs::File::open(app.path("statement")).unwrap());
        command.output().unwrap().status.success()
    };
    let text = fs::read(document).unwrap();
    assert!(says(text.clone()));
    let mut changed = text;
    changed[20] ^= 1;
    assert!(!says(changed));

    // Stock restic is not disturbed by what lies beside its repository.
    let restic = Command::new("restic")
        .args(["--no-cache", "check", "--read-data", "-r"])
        .arg(app.path("repo"))
        .arg("--password-file")
        .arg(app.path("password"))
        .output()
        .unwrap();
    assert!(restic.status.success(), "{}", String::from_utf8_lossy(&restic.stderr));
}

/// The old repository is put back over the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_171_an_old_state_that_is_put_back_is_found_by_its_numbers() {
    let app = signing();
    let first = app.backup().await;
    copy(&app.path("repo"), &app.path("old"));
    app.accident();
    app.backup().await;
    app.backup().await;
    assert!(checked(&app).await.is_empty());
    fs::remove_dir_all(app.path("repo")).unwrap();
    copy(&app.path("old"), &app.path("repo"));

    // Begin and one point, where there were begin and three.
    let words = "number 2 < 4";
    has(&checked(&app).await, "E0672", words);
    let found = verified(&app, false).await;
    assert_eq!(found.outcome, Some(Outcome::Fail));
    has(&found.findings, "E0672", words);
    has(&found.findings, "E0674", "under number 4");
    assert_eq!(status(&app.session()).await.unwrap().contract, Contract::NotMet);
    restorable(&app, &first).await;

    // It is found again and again, until the next backup: which stores its data and says so.
    has(&checked(&app).await, "E0672", words);
    let next = app.backup().await;
    assert_eq!(next.outcome, Outcome::Partial);
    has(&next.findings, "E0672", words);
    let list = listed(&app).await;
    let newest = list.points.last().unwrap();
    assert_eq!((Some(&newest.id), newest.attested), (next.point.as_ref(), Some(true)));
    restorable(&app, &next).await;
    // The history is whole again, and the points that are gone are still missed.
    assert!(checked(&app).await.is_empty());
    let later = verified(&app, false).await;
    assert_eq!((later.outcome, ids(&later.findings)), (Some(Outcome::Fail), vec!["E0674"]));
}

/// The newest point is deleted with everything that speaks of it, or only its snapshots are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newest_point_that_is_taken_away_is_missed() {
    for with_statement in [false, true] {
        let app = signing();
        let first = app.backup().await;
        app.accident();
        let second = app.backup().await;
        for source in &second.sources {
            fs::remove_file(app.path("repo/snapshots").join(source.snapshot.as_ref().unwrap())).unwrap();
        }
        if with_statement {
            remove_statements(&app, 3);
        }
        let found = verified(&app, false).await;
        assert_eq!(found.outcome, Some(Outcome::Fail));
        has(&found.findings, "E0674", "under number 3");
        assert_eq!(found.findings.iter().any(|f| f.id == "E0672"), with_statement);
        let next = app.backup().await;
        assert_eq!(next.outcome, Outcome::Partial, "{:?}", next.findings);
        restorable(&app, &first).await;
        restorable(&app, &next).await;
    }
}

fn remove_statements(app: &Application, number: u64) {
    let mut all = std::collections::BTreeMap::new();
    let attest = app.path("repo/recoup/attest");
    collect(&attest, &attest, &mut all);
    let wanted = format!("/{number:010}-");
    for name in all.keys().filter(|name| name.contains(&wanted)) {
        fs::remove_file(attest.join(name)).unwrap();
    }
}

/// Somebody who has the password and not the signing key writes newer and better-looking snapshots: one that
/// says it is a point of tomorrow, and one that says it is a genuine point with other content.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_156_forged_snapshots_neither_count_nor_hide_the_genuine() {
    let app = signing();
    let genuine = app.backup().await;
    let before = app.live();
    forge(&app, &genuine).await;
    // A whole point by a recoup without the key, made of ruined data.
    app.accident();
    let forged = backup(&app.stranger(), &BackupOptions::default()).await.unwrap();

    let list = listed(&app).await;
    let by_id = |id: &Option<String>| list.points.iter().find(|p| Some(&p.id) == id.as_ref()).unwrap();
    assert_eq!(by_id(&genuine.point).attested, Some(true));
    assert_eq!(by_id(&forged.point).attested, Some(false));
    has(&list.findings, "E0675", "1 point without an attestation");
    assert!(list.windows.iter().all(|w| w.from == w.to), "only one counts: {:?}", list.windows);

    // The latest is the genuine one, with the genuine content; the forged one is restored by its name only.
    let restored = app.restore(None).await;
    assert_eq!(Some(&restored.point), genuine.point.as_ref());
    let promoted = app.promote(&restored).await;
    assert_eq!(promoted.code, 0, "{promoted:#?}");
    assert_eq!(app.live(), before);
    let named = app.restore(Some(&forged.point.as_ref().unwrap()[..12])).await;
    assert_eq!(Some(&named.point), forged.point.as_ref());
    assert!(named.findings.iter().any(|f| f.id == "E0675"), "{:?}", named.findings);
    assert_eq!(verified(&app, false).await.outcome, Some(Outcome::Pass), "nothing genuine is missing");
}

/// A snapshot that says it is the database of `genuine`, with the tree of the pictures.
async fn forge(app: &Application, genuine: &BackupReport) {
    let session = app.session();
    let repo = session.repository(&session.place(None).unwrap()).await.unwrap();
    let all = repo.snapshots().await.unwrap().snapshots;
    let of = |index: usize| {
        let id = genuine.sources[index].snapshot.as_ref().unwrap();
        all.iter().find(|(found, _)| found.to_string() == *id).unwrap().1.clone()
    };
    let (db, media) = (of(0), of(1));
    let mut writer = Writer::begin(&repo, WriteOptions::default()).await.unwrap();
    writer.snapshot(Snapshot { tree: media.tree, ..db }).await.unwrap();
    writer.finish().await.unwrap();
}

/// The same number with another text, a text that nobody signed, a signer that nobody knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_that_are_changed_forged_or_strange_are_named() {
    let app = signing();
    let first = app.backup().await;
    let attest = app.path("repo/recoup/attest");
    let mut all = std::collections::BTreeMap::new();
    collect(&attest, &attest, &mut all);
    let name = all.keys().rfind(|n| n.ends_with(".json")).unwrap().clone();
    let mut changed = all[&name].clone();
    let at = changed.len() / 2;
    changed[at] ^= 1;
    fs::write(attest.join(&name), &changed).unwrap();
    // This machine has a copy of it and its name is the same: only reading everything tells.
    let found = verified(&app, true).await;
    assert_eq!(found.outcome, Some(Outcome::Fail));
    has(&found.findings, "E0670", "cannot be believed");
    restorable(&app, &first).await;

    fs::write(attest.join(&name), &all[&name]).unwrap();
    let stranger = attest.join("00112233aabbccdd");
    fs::create_dir(&stranger).unwrap();
    for kind in ["json", "sig"] {
        fs::write(stranger.join(format!("0000000001-0123456789abcdef.{kind}")), b"{}").unwrap();
    }
    has(&checked(&app).await, "E0673", "00112233aabbccdd");
    fs::remove_dir_all(&stranger).unwrap();
    assert_eq!(verified(&app, true).await.outcome, Some(Outcome::Pass));
}

/// Another machine, or this one after its state was lost, reads the history from the location and goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_017_a_lost_state_directory_is_made_up_for_by_the_location() {
    let app = signing();
    app.backup().await;
    app.backup().await;
    fs::remove_dir_all(app.session().state()).unwrap();
    assert_eq!(verified(&app, false).await.outcome, Some(Outcome::Pass));
    let third = app.backup().await;
    assert_eq!(third.outcome, Outcome::Pass, "{:?}", third.findings);
    // Points that are gone are missed on a machine that never saw them, since they are stated.
    fs::remove_dir_all(app.session().state()).unwrap();
    for source in &third.sources {
        fs::remove_file(app.path("repo/snapshots").join(source.snapshot.as_ref().unwrap())).unwrap();
    }
    has(&verified(&app, false).await.findings, "E0674", "under number 4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn points_from_before_are_taken_over_and_a_missing_key_loses_no_data() {
    let app = Application::new("");
    let old = app.backup().await;
    assert!(listed(&app).await.points.iter().all(|p| p.attested.is_none()));
    let app = app.signs();
    has(&listed(&app).await.findings, "R0119", "1 point without any signature");
    let first = app.backup().await;
    assert_eq!(first.outcome, Outcome::Pass, "{:?}", first.findings);
    let list = listed(&app).await;
    assert_eq!(list.points.iter().map(|p| p.attested).collect::<Vec<_>>(), [Some(true); 2]);
    restorable(&app, &old).await;

    fs::rename(app.path("signing"), app.path("away")).unwrap();
    let unsigned = app.backup().await;
    assert_eq!(unsigned.outcome, Outcome::Partial);
    has(&unsigned.findings, "E0676", "nobody answers for it");
    let list = listed(&app).await;
    assert_eq!(list.points.last().unwrap().attested, Some(false));
    assert_eq!(app.restore(None).await.point, first.point.unwrap(), "the latest that counts");
    restorable(&app, &unsigned).await;
    fs::rename(app.path("away"), app.path("signing")).unwrap();
    let again = app.backup().await;
    assert_eq!(again.outcome, Outcome::Pass, "{:?}", again.findings);
}

/// The battery of the clock is empty: the machine believes that it is two years ago.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_060_points_follow_each_other_by_number_and_not_by_the_clock() {
    let mut app = signing();
    let clock = recoup_testkit::env::ManualClock::at("2026-11-29T12:00:00Z");
    app.env.clock = clock.clone();
    let first = app.backup().await;
    clock.set("2024-11-29T12:00:00Z");
    app.accident();
    let second = app.backup().await;
    assert!(second.findings.iter().any(|f| f.id == "W0497"), "{:?}", second.findings);
    assert_eq!(app.restore(None).await.point, second.point.unwrap(), "the latest is the one made last");
    assert_eq!(app.restore(Some("before latest")).await.point, first.point.unwrap());
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    recoup_core::env::Entropy::fill(&*recoup_testkit::env::SeededEntropy::new(seed), &mut bytes);
    bytes
}

/// Forty pictures; a few come every day, one is looked at, a log is rotated.
fn a_normal_day(app: &Application, day: u64) {
    let media = app.path("project/media");
    for n in 0..3 {
        fs::write(media.join(format!("2026/day-{day}-{n}.jpg")), noise(day * 10 + n, 60_000)).unwrap();
    }
    let lines: String = (0..2000).map(|n| format!("day {day} request {n} took {} ms\n", n % 97)).collect();
    for n in (0..12).rev() {
        let from = media.join(format!("log.{n}"));
        if from.exists() {
            fs::rename(&from, media.join(format!("log.{}", n + 1))).unwrap();
        }
    }
    fs::write(media.join("log.0"), lines).unwrap();
    app.db().execute("insert into orders(note) values (?1)", [format!("day {day}")]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_177_encrypted_sources_are_noticed_that_day_and_daily_life_is_not() {
    let mut app = signing();
    let clock = recoup_testkit::env::ManualClock::at("2026-11-01T03:00:00Z");
    app.env.clock = clock.clone();
    let a_day = std::time::Duration::from_secs(86_400);
    let mut last = None;
    for day in 0..10 {
        a_normal_day(&app, day);
        let report = app.backup().await;
        assert_eq!(report.outcome, Outcome::Pass, "day {day}: {:?}", report.findings);
        last = report.point;
        clock.advance(a_day);
    }
    // In the night something encrypts every second file in place, as long as nobody looks.
    let mut all = std::collections::BTreeMap::new();
    collect(&app.path("project/media"), &app.path("project/media"), &mut all);
    let victims: Vec<_> = all.iter().step_by(2).collect();
    for (n, (name, bytes)) in victims.iter().enumerate() {
        fs::write(app.path("project/media").join(name), noise(900 + n as u64, bytes.len())).unwrap();
    }
    let struck = app.backup().await;
    assert_eq!(struck.outcome, Outcome::Partial);
    has(&struck.findings, "R0120", "were rewritten, with");
    let list = listed(&app).await;
    let newest = list.points.last().unwrap();
    assert!(newest.suspicions[0].starts_with("shop/media: "), "{:?}", newest.suspicions);
    let status_now = status(&app.session()).await.unwrap();
    assert_eq!(status_now.contract, Contract::NotMet);
    has(&status_now.findings, "R0120", "is suspicious");

    // The day before is there. Once somebody has looked and released it, the alarm is over.
    assert_eq!(app.restore(Some("before latest")).await.point, last.unwrap());
    say(&app.session(), Say::Release, struck.point.as_ref().unwrap(), "a test").await.unwrap();
    assert!(listed(&app).await.points.last().unwrap().suspicions.is_empty());
    assert!(status(&app.session()).await.unwrap().findings.iter().all(|f| f.id != "R0120"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_are_signed_and_go_to_every_location() {
    let app =
        Application::new("[location.far]\nkind = \"local\"\npath = \"../far\"\nuse = \"disaster\"\n").signs();
    let first = app.backup().await.point.unwrap();
    app.backup().await;
    let held = say(&app.session(), Say::Hold, &first[..10], "audit \u{202e} of 2026").await.unwrap();
    assert_eq!((held.outcome, held.locations.len()), (Outcome::Pass, 2), "{held:?}");
    for place in ["local", "far"] {
        let (list, findings) = self::list(&app.session(), Some(place)).await.unwrap();
        assert!(findings.is_empty(), "{findings:?}");
        assert_eq!((list.len(), &list[0].point), (1, &first));
        assert!(
            !list[0].holds[0].reason.contains('\u{202e}') && list[0].holds[0].reason.starts_with("audit")
        );
    }
    for reason in ["", "   ", &"x".repeat(501)] {
        let refused = say(&app.session(), Say::Hold, "latest", reason).await.unwrap_err();
        assert_eq!(refused.stable_code(), Some("E0602"));
    }
    let nowhere = say(&app.session(), Say::Hold, "deadbeef", "why").await.unwrap_err();
    assert_eq!(nowhere.stable_code(), Some("E0601"));
    say(&app.session(), Say::Release, &first, "over").await.unwrap();
    assert!(self::list(&app.session(), None).await.unwrap().0.is_empty());
    // The next backup finds everything in order at both.
    let next = app.backup().await;
    assert_eq!(next.outcome, Outcome::Pass, "{:?}", next.findings);
}

/// A store that shows for ever what it showed one day is known by the age of its newest statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_172_a_location_that_shows_an_old_state_for_ever_is_known_by_its_age() {
    let mut app = signing();
    let clock = recoup_testkit::env::ManualClock::at("2026-11-29T12:00:00Z");
    app.env.clock = clock.clone();
    let first = app.backup().await;
    assert!(verified(&app, false).await.findings.is_empty());
    copy(&app.path("repo"), &app.path("frozen"));
    clock.advance(std::time::Duration::from_secs(3600));
    app.backup().await;
    fs::remove_dir_all(app.path("repo")).unwrap();
    copy(&app.path("frozen"), &app.path("repo"));
    // A machine that saw nothing newer: all it has is the clock.
    fs::remove_dir_all(app.session().state()).unwrap();
    let found = verified(&app, false).await;
    has(&found.findings, "E0677", "its newest statement is 1h old, and there should be one every 15m");
    assert_eq!(status(&app.session()).await.unwrap().contract, Contract::NotMet);
    restorable(&app, &first).await;
}

/// Killed after its snapshots and before its signature, or unsigned for want of a key: the next run on this machine
/// makes up for it, and for nobody else's points.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_this_machine_made_and_did_not_sign_is_signed_by_the_next_run() {
    let app = signing();
    app.backup().await;
    fs::rename(app.path("signing"), app.path("away")).unwrap();
    let unsigned = app.backup().await.point;
    fs::rename(app.path("away"), app.path("signing")).unwrap();
    let forged = backup(&app.stranger(), &BackupOptions::default()).await.unwrap().point;
    let next = app.backup().await;
    assert_eq!(next.outcome, Outcome::Pass, "{:?}", next.findings);
    has(&next.findings, "E0675", "1 point without an attestation");
    let list = listed(&app).await;
    let attested =
        |id: &Option<String>| list.points.iter().find(|p| Some(&p.id) == id.as_ref()).unwrap().attested;
    assert_eq!((attested(&unsigned), attested(&next.point)), (Some(true), Some(true)));
    assert_eq!(attested(&forged), Some(false));
}

/// A statement that was cut short is put back from the copy by the next backup.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_was_cut_short_is_told_and_put_back() {
    let app = signing();
    app.backup().await;
    let attest = app.path("repo/recoup/attest");
    let mut all = std::collections::BTreeMap::new();
    collect(&attest, &attest, &mut all);
    let name = all.keys().rfind(|n| n.ends_with(".json")).unwrap();
    fs::write(attest.join(name), b"").unwrap();
    has(&checked(&app).await, "E0670", "cannot be believed");
    let told = app.backup().await;
    assert_eq!(told.outcome, Outcome::Partial);
    assert_eq!(fs::read(attest.join(name)).unwrap(), all[name]);
    assert_eq!(verified(&app, true).await.outcome, Some(Outcome::Pass));
}
