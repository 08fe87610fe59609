//! The audit log at work: what a crash leaves is put right, what was lost comes back from a copy, and what
//! was touched is named (fault row 170).
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "test code may touch the world"
)]

#[path = "support/application.rs"]
mod application;

use application::Application;
use recoup_core::audit::{Details, Event, KeyUse, LogChange, Phase, Record};
use recoup_core::crypto::Signer;
use recoup_core::event::{Finding, Outcome};
use recoup_ops::audit::{self, AuditReport, CopyState, LogOptions, verify, verify_file};
use recoup_ops::backup::{BackupOptions, backup};
use recoup_ops::restore::{self, PromoteOptions, RestoreOptions};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn signing() -> Application {
    Application::new("").signs()
}

fn folder(app: &Application) -> PathBuf {
    app.path("state/shop/audit")
}

fn log_file(app: &Application) -> PathBuf {
    folder(app).join("log.jsonl")
}

fn signer(app: &Application) -> Vec<Signer> {
    vec![app.signer().parse().unwrap()]
}

/// One record and nothing else.
async fn note(app: &Application) {
    let details = Details { key: Some(KeyUse::SheetConfirmed), ..Details::default() };
    audit::record(&app.session(), Event::KeyUse, None, details).await.unwrap();
}

async fn records(app: &Application) -> Vec<Record> {
    audit::log(&app.session(), &LogOptions::default()).await.unwrap().records
}

async fn verified(app: &Application) -> AuditReport {
    verify(&app.session()).await.unwrap()
}

fn ids(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|f| f.id.as_str()).collect()
}

fn lines(app: &Application) -> Vec<String> {
    fs::read_to_string(log_file(app)).unwrap().split_inclusive('\n').map(str::to_owned).collect()
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_was_killed_between_any_two_writes_is_put_right() {
    let app = signing();
    for _ in 0..2 {
        note(&app).await;
    }
    let edge = folder(&app).join("edge.json");
    let (before, edge_before) = (fs::read(log_file(&app)).unwrap(), fs::read(&edge).unwrap());
    note(&app).await;
    let (after, edge_after) = (fs::read(log_file(&app)).unwrap(), fs::read(&edge).unwrap());
    let edges: [Option<&[u8]>; 4] = [Some(&edge_before), Some(&edge_after), None, Some(b"{\"size\":7}")];
    let places = (before.len()..after.len()).step_by(97).chain([after.len() - 1, after.len()]);
    for (at, place) in places.enumerate() {
        fs::write(log_file(&app), &after[..place]).unwrap();
        match edges[at % edges.len()] {
            Some(bytes) => fs::write(&edge, bytes).unwrap(),
            None => fs::remove_file(&edge).unwrap(),
        }
        note(&app).await;
        let all = records(&app).await;
        let report = verify_file(&log_file(&app), &signer(&app)).unwrap();
        assert_eq!((report.outcome, report.wrong), (Outcome::Pass, None), "{place}: {:?}", report.findings);
        let (is_before, is_after) = (place == before.len(), place == after.len());
        assert_eq!(all.len(), if is_before { 4 } else { 5 }, "{place}");
        let cut = all.iter().find(|r| r.details.log == Some(LogChange::CutOff));
        assert_eq!(
            cut.map(|r| (r.number, r.details.record)),
            (!is_before && !is_after).then_some((4, Some(4)))
        );
        assert_eq!(fs::read(log_file(&app)).unwrap()[..before.len()], before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_append_one_after_the_other() {
    let app = std::sync::Arc::new(signing());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let app = app.clone();
        tasks.spawn(async move {
            for _ in 0..4 {
                note(&app).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let report = verify_file(&log_file(&app), &signer(&app)).unwrap();
    assert_eq!((report.outcome, report.records), (Outcome::Pass, 25));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_170_a_log_that_is_lost_or_cut_short_comes_back_from_its_copy() {
    let app = signing();
    app.backup().await;
    app.backup().await;
    let whole = fs::read(log_file(&app)).unwrap();
    assert_eq!(verified(&app).await.outcome, Outcome::Pass);

    // The newest record is gone.
    let all = lines(&app);
    fs::write(log_file(&app), all[..2].concat()).unwrap();
    let report = verified(&app).await;
    assert_eq!((report.outcome, ids(&report.findings)), (Outcome::Fail, vec!["R0131"]));
    assert!(report.findings[0].message.contains("ends after record 2"), "{}", report.findings[0].message);
    assert!(report.findings[0].message.contains("record 3 is gone"), "{}", report.findings[0].message);
    // Half of it.
    fs::write(log_file(&app), &whole[..whole.len() - 50]).unwrap();
    assert_eq!(ids(&verified(&app).await.findings), ["R0131"]);
    // All of it.
    fs::remove_dir_all(folder(&app)).unwrap();
    let report = verified(&app).await;
    assert_eq!((report.records, ids(&report.findings)), (0, vec!["R0131"]));

    note(&app).await;
    assert_eq!(fs::read(log_file(&app)).unwrap()[..whole.len()], whole);
    let all = records(&app).await;
    let back = &all[3];
    assert_eq!(
        (back.event, back.details.log, back.details.record),
        (Event::Log, Some(LogChange::Rebuilt), Some(1))
    );
    assert_eq!(all[4].event, Event::KeyUse);
    let report = verified(&app).await;
    assert_eq!((report.outcome, report.copies[0].state), (Outcome::Pass, CopyState::Same));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_170_a_log_that_was_rewritten_with_the_key_differs_from_its_copy() {
    let app = signing();
    app.backup().await;
    copy(&folder(&app), &app.path("old"));
    app.backup().await;
    // An old state is put back, and goes on where nobody can ask the location.
    fs::remove_dir_all(folder(&app)).unwrap();
    copy(&app.path("old"), &folder(&app));
    fs::rename(app.path("repo"), app.path("away")).unwrap();
    note(&app).await;
    note(&app).await;
    let alone = verified(&app).await;
    assert_eq!((alone.outcome, ids(&alone.findings)), (Outcome::Partial, vec!["R0134"]));
    fs::rename(app.path("away"), app.path("repo")).unwrap();
    let report = verified(&app).await;
    assert_eq!((report.outcome, ids(&report.findings)), (Outcome::Fail, vec!["R0132"]));
    assert!(report.findings[0].message.contains("from record 3 on"), "{}", report.findings[0].message);
    // The next backup is made all the same, and both histories stand at the location from then on.
    let made = app.backup().await;
    assert_ne!(made.outcome, Outcome::Fail);
    assert_eq!(verified(&app).await.copies[0].state, CopyState::Differs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_gone_on_with_is_put_aside_and_kept() {
    let app = signing();
    app.backup().await;
    let whole = fs::read(log_file(&app)).unwrap();
    let mut damaged = whole.clone();
    let place = damaged.len() - 200;
    damaged[place] ^= 1;
    fs::write(log_file(&app), &damaged).unwrap();
    assert_eq!(verified(&app).await.findings[0].id, "R0130");
    note(&app).await;
    let changes: Vec<_> = records(&app).await.iter().filter_map(|r| r.details.log).collect();
    assert_eq!(changes, [LogChange::Begun, LogChange::PutAside, LogChange::Rebuilt]);
    let aside = fs::read_dir(folder(&app)).unwrap().flatten().map(|e| e.path());
    let aside = aside.filter(|p| p.file_name().unwrap().to_string_lossy().starts_with("put-aside-"));
    assert_eq!(aside.map(|p| fs::read(p).unwrap()).collect::<Vec<_>>(), [damaged]);
    assert_eq!(verified(&app).await.outcome, Outcome::Pass);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_copy_is_told_from_a_damaged_log() {
    let app = signing();
    for _ in 0..3 {
        app.backup().await;
    }
    let place = app.path("repo/recoup/audit/shop");
    let log = fs::read_dir(place).unwrap().flatten().next().unwrap().path();
    let mut objects: Vec<PathBuf> = fs::read_dir(log).unwrap().flatten().map(|e| e.path()).collect();
    objects.sort();
    assert_eq!(objects.len(), 3, "one for each backup");
    fs::remove_file(&objects[1]).unwrap();
    let report = verified(&app).await;
    assert_eq!((report.wrong, report.copies[0].state), (None, CopyState::Damaged));
    assert!(report.findings[0].message.contains("record 3 is missing"), "{}", report.findings[0].message);
    app.backup().await;
    assert_eq!(verified(&app).await.outcome, Outcome::Pass, "what was missing is copied again");
    let mut bytes = fs::read(&objects[0]).unwrap();
    let middle = bytes.len() / 4;
    bytes[middle] ^= 4;
    fs::remove_file(&objects[0]).unwrap();
    fs::write(&objects[0], bytes).unwrap();
    let report = verified(&app).await;
    assert_eq!(report.copies[0].state, CopyState::Damaged, "{:?}", report.findings);
    assert_eq!((report.outcome, ids(&report.findings)), (Outcome::Fail, vec!["R0135"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_written_down_is_not_begun_and_backups_go_on() {
    let app = signing();
    app.backup().await;
    app.accident();
    let broken = app.live();
    let restored = app.restore(None).await;
    fs::rename(folder(&app), app.path("away")).unwrap();
    fs::write(folder(&app), "in the way").unwrap();

    let options = PromoteOptions { confirm: restored.confirm.clone(), ..PromoteOptions::default() };
    let refused = restore::promote(&app.session(), &restored.restore, &options).await.unwrap_err();
    assert_eq!(refused.stable_code(), Some("E0680"));
    assert_eq!(app.live(), broken, "live data is untouched");
    let to = RestoreOptions { to: Some(app.path("out")), ..RestoreOptions::default() };
    let refused = restore::restore(&app.session(), &to).await.unwrap_err();
    assert_eq!(refused.stable_code(), Some("E0680"));
    assert!(!app.path("out").exists());
    let aside = app.restore(None).await;
    assert!(ids(&aside.findings).contains(&"R0137"), "{:?}", aside.findings);
    let made = backup(&app.session(), &BackupOptions::default()).await.unwrap();
    assert!(made.point.is_some(), "{:?}", made.findings);
    assert!(ids(&made.findings).contains(&"R0137"), "{:?}", made.findings);

    fs::remove_file(folder(&app)).unwrap();
    fs::rename(app.path("away"), folder(&app)).unwrap();
    let promoted = app.promote(&restored).await;
    assert_eq!(promoted.code, 0, "{promoted:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intent_is_at_the_location_before_the_effect() {
    let app = signing();
    app.backup().await;
    app.accident();
    let restored = app.restore(None).await;
    let options = PromoteOptions {
        confirm: restored.confirm.clone(),
        trip: Some(restore::Trip { after: 0, written: false }),
        ..PromoteOptions::default()
    };
    let broken = app.live();
    restore::promote(&app.session(), &restored.restore, &options).await.unwrap_err();
    assert_eq!(app.live(), broken);
    let all = records(&app).await;
    let begun = all.iter().find(|r| r.event == Event::Promote).unwrap();
    assert_eq!(
        (begun.phase, begun.run.as_ref().unwrap().as_str()),
        (Some(Phase::Intent), restored.restore.as_str())
    );
    assert_eq!(begun.details.plan.as_ref().unwrap().as_str(), restored.plan);
    let copies = fs::read_dir(app.path("repo").join(begun.log.as_str())).unwrap().flatten();
    let last = format!("-{:010}-", begun.number);
    let names: Vec<String> = copies.map(|e| e.file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name.contains(&last)), "copied before anything else happened: {names:?}");
    // The machine is lost.
    fs::remove_dir_all(folder(&app)).unwrap();
    note(&app).await;
    assert_eq!(records(&app).await[..usize::try_from(begun.number).unwrap()].last(), Some(begun));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_configuration_has_a_record_with_both_digests() {
    let mut app = signing();
    note(&app).await;
    note(&app).await;
    let before = app.session().loaded().digest.clone();
    app.name_repository("0123456789abcdef");
    note(&app).await;
    let all = records(&app).await;
    let events: Vec<Event> = all.iter().map(|r| r.event).collect();
    assert_eq!(events, [Event::Log, Event::KeyUse, Event::KeyUse, Event::Configuration, Event::KeyUse]);
    assert_eq!(all[3].details.before.as_ref().map(|hex| hex.as_str()), Some(before.as_str()));
    assert_eq!(all[3].configuration.as_ref().unwrap().as_str(), app.session().loaded().digest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_key_only_accidents_can_be_seen() {
    let app = Application::new("");
    app.backup().await;
    let report = verified(&app).await;
    assert_eq!((report.outcome, ids(&report.findings)), (Outcome::Unknown, vec!["R0133"]));
    let mut bytes = fs::read(log_file(&app)).unwrap();
    bytes[100] ^= 1;
    fs::write(log_file(&app), bytes).unwrap();
    let report = verified(&app).await;
    assert_eq!((report.outcome, report.wrong), (Outcome::Fail, Some(1)));
    // A key that is made later answers for what was before only from then on.
    let app = Application::new("");
    note(&app).await;
    let app = app.signs();
    app.backup().await;
    let report = verified(&app).await;
    assert_eq!((report.outcome, report.signed), (Outcome::Partial, report.records));
    assert_eq!(ids(&report.findings), ["R0139"]);
    assert!(
        report.findings[0].message.starts_with("records 1 to 2 were not signed"),
        "{:?}",
        report.findings
    );
}

/// Somebody without the key writes the whole log anew, without signatures, and lets this machine sign what comes
/// next: the copy differs, and without a copy it shows that the old records were signed late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_170_a_log_that_was_rewritten_from_its_beginning_is_not_vouched_for() {
    let app = signing();
    app.backup().await;
    app.backup().await;
    fs::remove_dir_all(folder(&app)).unwrap();
    fs::rename(app.path("repo"), app.path("away")).unwrap();
    let stranger = Application::new("");
    for _ in 0..3 {
        note(&stranger).await;
    }
    fs::create_dir_all(folder(&app)).unwrap();
    fs::copy(log_file(&stranger), log_file(&app)).unwrap();
    note(&app).await;
    let alone = verify_file(&log_file(&app), &signer(&app)).unwrap();
    assert_eq!((alone.outcome, ids(&alone.findings)), (Outcome::Partial, vec!["R0139"]));
    fs::rename(app.path("away"), app.path("repo")).unwrap();
    let report = verified(&app).await;
    assert_eq!(report.outcome, Outcome::Fail, "its name is another one than this machine's");
    assert!(ids(&report.findings).contains(&"R0132"), "{:?}", report.findings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_begun_only_where_a_backup_has_just_been() {
    let app = signing();
    fs::create_dir(app.path("repo")).unwrap();
    note(&app).await;
    restore::restore(&app.session(), &RestoreOptions::default()).await.unwrap_err();
    assert!(!app.path("repo/recoup").exists(), "it may be somebody else's disk");
    app.backup().await;
    assert!(app.path("repo/recoup/audit/shop").is_dir());
}
