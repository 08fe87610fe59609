//! The whole way on real data: backup, accident, restore aside, prove, promote, roll back, resume.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "test code may touch the world"
)]

#[path = "support/application.rs"]
mod application;

use application::{Application, Live, collect};
use recoup_core::Kind;
use recoup_core::event::Outcome;
use recoup_core::journal::State;
use recoup_core::ladder::Rung;
use recoup_ops::backup::{BackupOptions, backup};
use recoup_ops::points::{Shown, points, show};
use recoup_ops::restore::{self, PromoteOptions, RestoreOptions, RestoreReport, Trip};
use recoup_ops::status::{Contract, status};
use recoup_ops::verify::{VerifyOptions, verify};
use recoup_repo::Id;
use recoup_repo::snapshot::{PARTIAL_TAG, Snapshot, Story};
use recoup_repo::write::{WriteOptions, Writer};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_accident_restore_promote_rollback() {
    let app = Application::new("");
    let before = app.live();
    let first = app.backup().await;
    assert_eq!(first.outcome, Outcome::Pass, "{:?}", first.findings);
    assert!(first.initialized && first.locations[0].durable);
    assert!(first.sources.iter().all(|s| s.complete && s.snapshot.is_some()));
    app.accident();
    let after = app.live();
    assert_ne!(after, before);
    let second = app.backup().await;
    assert!(!second.initialized);

    let restored = app.restore(Some("before latest")).await;
    assert_eq!(
        (restored.state, restored.outcome, restored.code),
        (State::Proved, Outcome::Pass, 0),
        "{restored:#?}"
    );
    assert_eq!(restored.point, first.point.clone().unwrap());
    assert_eq!(app.live(), after, "live data is untouched by a restore");
    assert!(restored.next[0].starts_with("recoup promote"), "{:?}", restored.next);

    let wrong = PromoteOptions { confirm: "0000".into(), ..PromoteOptions::default() };
    let refused = restore::promote(&app.session(), &restored.restore, &wrong).await.unwrap_err();
    assert_eq!((refused.kind(), refused.stable_code()), (Kind::Refused, Some("E0611")));

    let promoted = app.promote(&restored).await;
    assert_eq!((promoted.state, promoted.code), (State::Promoted, 0), "{promoted:#?}");
    assert_eq!(app.live(), before, "the data is back");

    fs::create_dir_all(app.path("project/media/.recoup-R1/db")).unwrap();
    fs::write(app.path("project/media/.recoup-R1/db/old"), b"what an earlier restore kept").unwrap();
    let next = app.backup().await;
    assert_eq!(next.sources[1].files, 6, "what restores keep is not live data");
    fs::remove_dir_all(app.path("project/media/.recoup-R1")).unwrap();

    let back = restore::rollback(&app.session(), &restored.restore, None).await.unwrap();
    assert_eq!((back.state, back.code), (State::RolledBack, 0), "{back:#?}");
    assert_eq!(app.live(), after, "and gone again");
    let again = restore::resume(&app.session(), &restored.restore, None).await.unwrap_err();
    assert_eq!(again.stable_code(), Some("E0612"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn points_show_status_and_verify_tell_the_truth() {
    let app = Application::new("");
    let empty = status(&app.session()).await.unwrap();
    assert_eq!(empty.contract, Contract::NotMet);
    assert_eq!(empty.unprotected, ["shop/db", "shop/media"]);
    let made = app.backup().await;
    app.backup().await;
    let listed = points(&app.session(), None).await.unwrap();
    assert_eq!(listed.points.len(), 2);
    assert_eq!(listed.points[0].id, made.point.clone().unwrap());
    assert_eq!(listed.points[0].locations, ["local"]);
    assert_eq!(listed.windows.len(), 2);
    let shown = show(&app.session(), &made.point.clone().unwrap()[..10], None).await.unwrap();
    let Shown::Point { document, .. } = shown else { panic!("{shown:?}") };
    assert_eq!(document.migrations.unwrap()["shop"].len(), 1);
    assert!(matches!(show(&app.session(), &made.run, None).await.unwrap(), Shown::Run { .. }));
    let verified =
        verify(&app.session(), &VerifyOptions { read_data: true, ..VerifyOptions::default() }).await.unwrap();
    assert_eq!(verified.outcome, Some(Outcome::Pass), "{verified:#?}");
    let restored = app.restore(None).await;
    assert!(matches!(show(&app.session(), &restored.restore, None).await.unwrap(), Shown::Restore { .. }));
    let now = status(&app.session()).await.unwrap();
    assert_eq!(now.contract, Contract::Unknown, "no drill has timed a restore: {:#?}", now.findings);
    assert!(now.unprotected.is_empty());
    assert!(now.sources.iter().all(|s| s.ladder[0].level == Rung::Rehydrated), "{:#?}", now.sources);
    assert!(
        now.sources.iter().all(|s| s.copies.outcome == Outcome::Pass && s.rpo[0].outcome == Outcome::Pass)
    );
    assert_eq!(now.restores.len(), 1);
    // The catalog is a cache: without it the points are the same, and the runs come back from their files.
    fs::remove_file(app.path("state/shop/catalog.db")).unwrap();
    assert_eq!(points(&app.session(), None).await.unwrap().points.len(), 2);
    let same = status(&app.session()).await.unwrap();
    assert!(same.sources.iter().all(|s| s.ladder[0].level == Rung::Rehydrated));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_that_is_not_complete_lists_no_point() {
    let app = Application::new("");
    app.backup().await;
    fs::rename(app.path("project/app.db"), app.path("project/away.db")).unwrap();
    let failed = app.backup().await;
    assert_eq!(failed.outcome, Outcome::Fail);
    assert!(failed.point.is_none() && failed.findings.iter().any(|f| f.id == "E0651"));
    assert_eq!(points(&app.session(), None).await.unwrap().points.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_run_is_kept_out() {
    let app = Application::new("");
    let session = app.session();
    let held = session.exclusive("backup").unwrap();
    let refused = backup(&app.session(), &BackupOptions::default()).await.unwrap_err();
    assert_eq!((refused.kind(), refused.stable_code()), (Kind::Locked, Some("E0650")));
    drop(held);
    app.backup().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_location_gets_everything_and_serves_alone() {
    let app = Application::new("[location.far]\nkind = \"local\"\npath = \"../far\"\nuse = \"disaster\"\n");
    app.backup().await;
    let made = app.backup().await;
    assert_eq!(made.outcome, Outcome::Pass, "{:#?}", made.findings);
    assert!(made.locations.iter().all(|l| l.durable && l.lag_objects == 0), "{:?}", made.locations);
    fs::rename(app.path("repo"), app.path("lost")).unwrap();
    let options = RestoreOptions {
        location: Some("far".into()),
        to: Some(app.path("out")),
        ..RestoreOptions::default()
    };
    let restored = restore::restore(&app.session(), &options).await.unwrap();
    assert_eq!((restored.state, restored.code), (State::Proved, 0), "{restored:#?}");
    let mut media = BTreeMap::new();
    collect(&app.path("out/media"), &app.path("out/media"), &mut media);
    assert_eq!(media, app.live().media);
    let gone = backup(&app.session(), &BackupOptions::default()).await.unwrap_err();
    assert_eq!(gone.stable_code(), Some("E0642"), "a disk that is not mounted is not begun anew");
    // Another repository at the place is never written to.
    fs::rename(app.path("lost"), app.path("repo")).unwrap();
    fs::write(app.path("far/config"), b"another repository").unwrap();
    let partial = app.backup().await;
    assert_eq!(partial.outcome, Outcome::Partial);
    assert!(partial.point.is_some() && !partial.locations[1].durable);
    assert!(partial.findings.iter().any(|f| f.id == "R0116"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_055_a_repository_that_belongs_elsewhere_is_neither_read_nor_written() {
    let mut app = Application::new("");
    app.backup().await;
    let right = app.session().repository(&app.session().place(None).unwrap()).await.unwrap().id().to_owned();
    // Another repository with the same password, as a copied setting or a wrong disk would lead to.
    let mut other = Application::new("");
    other.env.entropy = recoup_testkit::env::SeededEntropy::new(55);
    other.backup().await;
    let place = other.session().place(None).unwrap();
    let wrong = other.session().repository(&place).await.unwrap().id().to_owned();
    fs::rename(app.path("repo"), app.path("kept")).unwrap();
    fs::rename(other.path("repo"), app.path("repo")).unwrap();
    let snapshot = |dir: &std::path::Path| {
        let mut all = BTreeMap::new();
        collect(dir, dir, &mut all);
        all
    };
    let before = snapshot(&app.path("repo"));

    let refused = backup(&app.session(), &BackupOptions::default()).await.unwrap_err();
    assert_eq!((refused.kind(), refused.stable_code()), (Kind::Refused, Some("E0643")), "{refused:?}");
    assert!(format!("{refused:?}").contains(&right[..16]), "{refused:?}");
    assert!(refused.next_step().unwrap().contains(&wrong[..16]), "{refused:?}");
    let restored = restore::restore(&app.session(), &RestoreOptions::default()).await.unwrap_err();
    assert_eq!(restored.stable_code(), Some("E0643"));
    let listed = points(&app.session(), None).await.unwrap();
    assert!(listed.points.is_empty() && listed.outcome == Outcome::Unknown, "{listed:?}");
    let verified = verify(&app.session(), &VerifyOptions::default()).await.unwrap();
    assert_eq!(verified.outcome, Some(Outcome::Unknown));
    assert_eq!(snapshot(&app.path("repo")), before, "not a byte of it was changed");

    // Named in the configuration it is the right one, and the old one is then wrong.
    app.name_repository(&wrong[..16]);
    app.backup().await;
    fs::rename(app.path("repo"), app.path("named")).unwrap();
    fs::rename(app.path("kept"), app.path("repo")).unwrap();
    let refused = backup(&app.session(), &BackupOptions::default()).await.unwrap_err();
    assert_eq!(refused.stable_code(), Some("E0643"));
    // A repository that was named is not begun anew either, whatever this machine remembers.
    fs::rename(app.path("repo"), app.path("away")).unwrap();
    fs::remove_dir_all(app.session().state()).unwrap();
    let gone = backup(&app.session(), &BackupOptions::default()).await.unwrap_err();
    assert_eq!(gone.stable_code(), Some("E0642"));
}

/// Partial snapshots at a location.
async fn partials(app: &Application, place: usize) -> Vec<Id> {
    let session = app.session();
    let repo = session.repository(&session.places(None).unwrap()[place]).await.unwrap();
    let all = repo.snapshots().await.unwrap().snapshots;
    all.into_iter().filter(|(_, snapshot)| snapshot.is_partial()).map(|(id, _)| id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stopped_run_left_is_no_point_and_goes_with_the_next_one() {
    let app = Application::new("[location.far]\nkind = \"local\"\npath = \"../far\"\nuse = \"disaster\"\n");
    app.backup().await;
    let session = app.session();
    let places = session.places(None).unwrap();
    let repo = session.repository(&places[0]).await.unwrap();
    let tree = repo.snapshots().await.unwrap().snapshots[0].1.tree;
    let mut writer = Writer::begin(&repo, WriteOptions::default()).await.unwrap();
    let mut left = Snapshot::new(&app.env, tree, vec!["/shop/media".into()]);
    left.tags.push(PARTIAL_TAG.into());
    let now = app.env.now();
    left.recoup = Some(Story { began: now, at: now, items: 7 }.to_field());
    let left = writer.snapshot(left).await.unwrap();
    writer.finish().await.unwrap();

    // A run that makes no point: it stays here, and goes nowhere else.
    let healthy = fs::read(app.path("project/app.db")).unwrap();
    fs::write(app.path("project/app.db"), b"no database at all, and long enough to be taken for one")
        .unwrap();
    let failed = app.backup().await;
    assert_eq!((failed.outcome, failed.point), (Outcome::Fail, None));
    assert_eq!((partials(&app, 0).await, partials(&app, 1).await), (vec![left], vec![]));
    assert_eq!(points(&app.session(), None).await.unwrap().points.len(), 1);

    fs::write(app.path("project/app.db"), healthy).unwrap();
    let made = app.backup().await;
    assert_eq!(made.outcome, Outcome::Pass, "{:#?}", made.findings);
    assert_eq!((partials(&app, 0).await, partials(&app, 1).await), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_130_a_folder_that_is_not_empty_is_refused_and_untouched() {
    let app = Application::new("");
    app.backup().await;
    let before = app.live();
    let media = app.path("project/media");
    for to in [media.clone(), app.path("project")] {
        let options = RestoreOptions { to: Some(to), ..RestoreOptions::default() };
        let refused = restore::restore(&app.session(), &options).await.unwrap_err();
        assert_eq!((refused.kind(), refused.stable_code()), (Kind::Refused, Some("E0606")));
    }
    assert_eq!(app.live(), before);
    fs::create_dir(app.path("empty")).unwrap();
    let options = RestoreOptions { to: Some(app.path("empty")), ..RestoreOptions::default() };
    let restored = restore::restore(&app.session(), &options).await.unwrap();
    assert_eq!((restored.state, restored.code), (State::Proved, 0), "{restored:#?}");
    assert!(app.path("empty/db/app.db").is_file() && app.path("empty/media/2026/3.jpg").is_file());
    let refused =
        restore::promote(&app.session(), &restored.restore, &PromoteOptions::default()).await.unwrap_err();
    assert_eq!(refused.stable_code(), Some("E0612"), "there is nothing to promote");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_132_a_full_target_is_refused_before_and_resumed_after() {
    let app = Application::new("");
    app.backup().await;
    let Some(disk) = recoup_testkit::disk::Small::mount(80 << 20) else { return };
    // Not enough room from the start: nothing is written.
    fs::write(disk.path().join("junk"), vec![1u8; 40 << 20]).unwrap();
    let to = disk.path().join("out");
    let options = RestoreOptions { to: Some(to.clone()), ..RestoreOptions::default() };
    let refused = restore::restore(&app.session(), &options).await.unwrap_err();
    assert_eq!((refused.kind(), refused.stable_code()), (Kind::Refused, Some("E0603")));
    assert!(!to.exists());
    fs::remove_file(disk.path().join("junk")).unwrap();
    // Room at first, none later: the restore stops, says how to go on, and does.
    let options = RestoreOptions { trip: Some(Trip { after: 1, written: true }), ..options };
    let stopped = restore::restore(&app.session(), &options).await.unwrap();
    assert_eq!((stopped.state, stopped.code), (State::Interrupted, 6));
    let free = rustix::fs::statvfs(disk.path()).map(|s| s.f_bavail * s.f_frsize).unwrap();
    fs::write(disk.path().join("junk"), vec![1u8; usize::try_from(free).unwrap() - 200_000]).unwrap();
    let full = restore::resume(&app.session(), &stopped.restore, None).await.unwrap();
    assert_eq!((full.state, full.code), (State::Interrupted, 6), "{full:#?}");
    assert_eq!(full.error.as_ref().unwrap().code.as_deref(), Some("E0608"), "{full:#?}");
    assert_eq!(full.resume.as_deref(), Some(format!("recoup resume {}", stopped.restore).as_str()));
    fs::remove_file(disk.path().join("junk")).unwrap();
    let done = restore::resume(&app.session(), &stopped.restore, None).await.unwrap();
    assert_eq!((done.state, done.code), (State::Proved, 0), "{done:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_5_133_a_restore_killed_at_every_event_is_resumed_to_the_same_end() {
    let app = Application::new("");
    let whole = app.live();
    app.backup().await;
    app.accident();
    let broken = app.live();
    for after in 0.. {
        let mut killed = false;
        for written in [false, true] {
            let trip = Some(Trip { after, written });
            let options = RestoreOptions { trip, ..RestoreOptions::default() };
            let restored = restore::restore(&app.session(), &options).await.unwrap();
            killed |= restored.state != State::Proved;
            let restored = finish(&app, restored).await;
            assert_eq!((restored.state, restored.outcome), (State::Proved, Outcome::Pass), "{restored:#?}");
            assert_eq!(app.live(), broken);
            killed |= there_and_back(&app, &restored, trip, &whole, &broken).await;
        }
        if !killed {
            assert!(after > 12, "every phase has more events than {after}");
            return;
        }
    }
}

/// Promotes and rolls back, both killed at `trip`; both end where they should. Says whether one was killed.
async fn there_and_back(
    app: &Application,
    restored: &RestoreReport,
    trip: Option<Trip>,
    whole: &Live,
    broken: &Live,
) -> bool {
    let options = PromoteOptions { confirm: restored.confirm.clone(), trip, ..PromoteOptions::default() };
    let promoted = match restore::promote(&app.session(), &restored.restore, &options).await {
        Ok(report) => report,
        // Killed at the very confirmation: it was given or it was not.
        Err(e) => {
            assert_eq!(e.kind(), Kind::Interrupted, "{e:?}");
            let looked = restore::look(&app.session(), &restored.restore).unwrap();
            if looked.state == State::Proved { app.promote(restored).await } else { looked }
        }
    };
    let mut killed = promoted.state != State::Promoted;
    let promoted = finish(app, promoted).await;
    assert_eq!(promoted.state, State::Promoted, "{trip:?} {promoted:#?}");
    assert_eq!(&app.live(), whole, "{trip:?}");
    let back = restore::rollback(&app.session(), &restored.restore, trip).await.unwrap();
    killed |= back.state != State::RolledBack;
    let back = match back.state {
        // Nothing of the undo was written down: it is still promoted, and asked for again.
        State::Promoted => restore::rollback(&app.session(), &restored.restore, None).await.unwrap(),
        _ => finish(app, back).await,
    };
    assert_eq!(back.state, State::RolledBack, "{trip:?} {back:#?}");
    assert_eq!(&app.live(), broken, "{trip:?}");
    killed
}

async fn finish(app: &Application, report: RestoreReport) -> RestoreReport {
    if !matches!(report.state, State::Interrupted | State::Planned) {
        return report;
    }
    if report.state == State::Interrupted {
        assert_eq!(report.code, 6, "{report:#?}");
        assert_eq!(report.resume.as_deref(), Some(format!("recoup resume {}", report.restore).as_str()));
    }
    restore::resume(&app.session(), &report.restore, None).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_139_a_damaged_point_gives_everything_else_and_names_what_is_lost() {
    let app = Application::new("");
    app.backup().await;
    let before = app.live();
    // Bytes of the largest pack, which holds file content, are flipped.
    let pack = app.packs().remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    let mut mode = fs::metadata(&pack).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o600);
    fs::set_permissions(&pack, mode).unwrap();
    fs::write(&pack, bytes).unwrap();
    let options = RestoreOptions {
        addresses: vec!["media".into()],
        to: Some(app.path("out")),
        ..RestoreOptions::default()
    };
    let restored = restore::restore(&app.session(), &options).await.unwrap();
    let mut media = BTreeMap::new();
    collect(&app.path("out/media"), &app.path("out/media"), &mut media);
    let good: Vec<&String> = media.keys().filter(|name| !name.ends_with(".recoup-damaged")).collect();
    let lost = before.media.len() - good.len();
    assert!(lost >= 1 && lost < before.media.len(), "{media:?}");
    for name in good {
        assert_eq!(media[name], before.media[name], "what has its name is whole");
    }
    let named: Vec<_> = restored.findings.iter().filter(|f| f.id == "R0101").collect();
    assert_eq!(named.len(), lost, "{:#?}", restored.findings);
    assert!(named[0].address.starts_with("shop/media/2026/"), "{named:?}");
    assert!(matches!(restored.code, 1 | 4), "{restored:#?}");
    assert_ne!(restored.outcome, Outcome::Pass);
    // Aside the same happens, and promoting it is refused.
    let options = RestoreOptions { addresses: vec!["media".into()], ..RestoreOptions::default() };
    let aside = restore::restore(&app.session(), &options).await.unwrap();
    let options = PromoteOptions { confirm: aside.confirm.clone(), ..PromoteOptions::default() };
    let refused = restore::promote(&app.session(), &aside.restore, &options).await.unwrap_err();
    assert!(matches!(refused.stable_code(), Some("E0612" | "E0613")), "{refused:?}");
    assert_eq!(app.live(), before);
    let verified =
        verify(&app.session(), &VerifyOptions { read_data: true, ..VerifyOptions::default() }).await.unwrap();
    assert_eq!(verified.outcome, Some(Outcome::Fail));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promoting_under_an_open_writer_is_refused_and_names_it() {
    let app = Application::new("");
    app.backup().await;
    app.accident();
    let broken = app.live();
    let restored = app.restore(None).await;
    let held = fs::OpenOptions::new().read(true).write(true).open(app.path("project/app.db")).unwrap();
    // Once it says so the kernel shows its arguments, which are not there yet when `spawn` comes back.
    let script = "echo ready; kill -STOP $$";
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::from(held)).stdout(Stdio::piped());
    let mut holder = command.spawn().unwrap();
    holder.stdout.take().unwrap().read_exact(&mut [0; 6]).unwrap();
    let options = PromoteOptions { confirm: restored.confirm.clone(), ..PromoteOptions::default() };
    let refused = restore::promote(&app.session(), &restored.restore, &options).await.unwrap_err();
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!((refused.kind(), refused.stable_code()), (Kind::Refused, Some("E0622")));
    assert!(refused.to_string().contains(&format!("process {} (sh -c {script})", holder.id())), "{refused}");
    assert_eq!(app.live(), broken);
    assert_eq!(app.promote(&restored).await.state, State::Promoted, "the same restore can be promoted now");
}

const SERVICE: &str = r#"
[service.web]
needs = ["db", "media"]
stop = ["sh", "-c", "echo stop >> calls"]
start = ["sh", "-c", "echo start >> calls"]
health = { command = ["sh", "-c", "test -e healthy"], within = "1s" }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_stop_before_and_start_after_and_a_sick_one_turns_everything_round() {
    let app = Application::new(SERVICE);
    let whole = app.live();
    app.backup().await;
    app.accident();
    let broken = app.live();
    let restored = app.restore(None).await;
    let sick = app.promote(&restored).await;
    assert_eq!((sick.state, sick.code), (State::RolledBack, 3), "{sick:#?}");
    assert_eq!(sick.error.as_ref().unwrap().code.as_deref(), Some("E0621"));
    assert_eq!(app.live(), broken, "the old data is live again");
    let calls = fs::read_to_string(app.path("project/calls")).unwrap();
    assert_eq!(calls, "stop\nstart\nstop\nstart\n", "stopped, started, and both undone");
    fs::write(app.path("project/healthy"), b"").unwrap();
    let restored = app.restore(None).await;
    let well = app.promote(&restored).await;
    assert_eq!((well.state, well.code), (State::Promoted, 0), "{well:#?}");
    assert_eq!(app.live(), whole);
    assert!(
        well.findings.iter().any(|f| f.id == "R0105" && f.message.contains(".before")),
        "{:?}",
        well.findings
    );
}
