//! Drills of a real Django application in real namespaces.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests touch the world")]

#[path = "support/django.rs"]
mod django;

use django::{Flavour, ORDERS, Shop};
use recoup_core::event::{Outcome, Severity};
use recoup_ops::drill::report::{Facts, Stage, finish};
use recoup_ops::drill::{ApplicationResult, DrillReport, Subject, application, checks};
use recoup_ops::sandbox::spec::What;
use recoup_testkit::env::real;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn run(subject: &Subject) -> ApplicationResult {
    wait(application::run(subject, &real())).unwrap()
}

fn drill(shop: &Shop, subject: &Subject) -> DrillReport {
    let env = real();
    let checked = wait(checks::run(subject, &env)).unwrap();
    let ran = wait(application::run(subject, &env)).unwrap();
    let facts = Facts {
        drill: "D20261122-0900-5c7e".into(),
        name: None,
        application: "shop".into(),
        point: "5c7e".repeat(16),
        point_name: subject.point.clone(),
        location: "local".into(),
        with_application: true,
        started: env.now(),
        stages: vec![Stage::new("retrieve", 0.2, Outcome::Pass)],
        proofs: Vec::new(),
        rpo_seconds: Some(60.0),
        rpo_target: Some("15m".parse().unwrap()),
        rto_target: Some("30m".parse().unwrap()),
        budget: None,
        evidence: shop.scratch.join("evidence"),
    };
    finish(facts, Some(&checked), Some(&ran)).unwrap()
}

fn ids(report: &DrillReport) -> BTreeSet<&str> {
    report.findings.iter().map(|f| f.id.as_str()).collect()
}

/// Mounts of this host and processes that have to do with `shop`.
fn left_over(shop: &Shop) -> (usize, Vec<String>) {
    let root = shop.root.path().to_str().unwrap();
    let mounts = fs::read_to_string("/proc/mounts").unwrap().lines().filter(|l| l.contains(root)).count();
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let text = String::from_utf8_lossy(&line).replace('\0', " ");
        let cwd = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if pid != std::process::id()
            && (cwd.starts_with(root) || text.contains("__sandbox") && text.contains(root))
        {
            processes.push(text);
        }
    }
    (mounts, processes)
}

#[test]
fn ten_healthy_drills_find_nothing_and_leave_nothing() {
    let shop = Shop::new(Flavour::Healthy);
    let before = shop.contents();
    for round in 0..10 {
        shop.restore(|_| {});
        let report = drill(&shop, &shop.subject());
        assert_eq!(
            (report.outcome, ids(&report)),
            (Outcome::Pass, BTreeSet::new()),
            "round {round}: {report:#?}"
        );
        assert_eq!(report.level.as_deref(), Some("application"));
        let names: Vec<&str> = report.stages.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["retrieve", "checks", "migrate", "start"]);
        assert!(report.rto_seconds.is_some_and(|s| s > 0.0) && report.not_run.is_empty(), "{report:#?}");
        let used: Vec<_> =
            report.checks.iter().filter(|c| c.check == "data used").map(|c| &c.address).collect();
        assert_eq!(used, ["shop/db", "shop/media"]);
        assert!(report.evidence.iter().all(|path| fs::metadata(path).unwrap().len() > 100));
    }
    assert_eq!(shop.contents(), before, "the live data was touched");
    assert_eq!(left_over(&shop), (0, Vec::new()));
    let kept: Vec<PathBuf> = fs::read_dir(&shop.scratch).unwrap().flatten().map(|e| e.path()).collect();
    assert!(!kept.iter().any(|p| p.to_string_lossy().contains("sandbox-")), "{kept:?}");
}

#[test]
fn the_restored_data_itself_stays_as_it_was_restored() {
    let shop = Shop::new(Flavour::Healthy);
    shop.restore(|_| {});
    let database = shop.scratch.join("restored/db/shop.sqlite3");
    let before = fs::read(&database).unwrap();
    assert_eq!(run(&shop.subject()).outcome(), Outcome::Pass);
    assert!(fs::read(&database).unwrap() == before, "the application wrote into the restored database");
    assert!(!shop.scratch.join("restored/media/photos/probe.txt").exists());
}

#[test]
fn a_project_of_another_user_is_drilled_as_that_user() {
    let shop = Shop::new(Flavour::Healthy).owned_by(4321);
    shop.restore(|_| {});
    let result = run(&shop.subject());
    assert_eq!(result.outcome(), Outcome::Pass, "{result:#?}");
    assert_eq!(result.observed.unwrap().isolation.uid, 4321);
}

#[test]
fn row_136_a_hard_coded_production_database_is_found_and_never_read() {
    let shop = Shop::new(Flavour::HardCodedDatabase);
    let before = shop.contents();
    shop.restore(|_| {});
    let report = drill(&shop, &shop.subject());
    assert_eq!(report.outcome, Outcome::Fail, "{report:#?}");
    assert!(ids(&report).contains("R0301"), "{report:#?}");
    let found = report.findings.iter().find(|f| f.id == "R0301").unwrap();
    assert_eq!(found.severity, Severity::High);
    assert!(found.message.contains("production/live.sqlite3"), "{}", found.message);
    assert_eq!(shop.contents(), before);
}

#[test]
fn row_136_an_application_that_mails_on_start_is_found() {
    let shop = Shop::new(Flavour::MailsOnStart);
    shop.restore(|_| {});
    let report = drill(&shop, &shop.subject());
    assert_eq!((report.outcome, ids(&report)), (Outcome::Fail, ["R0312"].into()), "{report:#?}");
    let message = &report.findings[0].message;
    assert!(
        message.contains("1 mail to 2 recipients") && message.contains("smtp.example.test:587"),
        "{message}"
    );
}

#[test]
fn row_136_an_application_that_calls_home_is_found() {
    let shop = Shop::new(Flavour::CallsHome);
    shop.restore(|_| {});
    let report = drill(&shop, &shop.subject());
    assert_eq!((report.outcome, ids(&report)), (Outcome::Pass, ["R0311"].into()), "{report:#?}");
    assert!(report.findings[0].message.contains("telemetry.example.test:443"), "{report:#?}");
}

#[test]
fn row_137_a_point_that_lacks_half_of_the_rows_is_found() {
    let shop = Shop::new(Flavour::Healthy);
    shop.restore(|db| assert!(db.execute("delete from shop_order where id % 2 = 0", []).unwrap() > 0));
    let mut subject = shop.subject();
    subject.sources[0].facts["rows"]["shop_order"] = (ORDERS / 2).into();
    let report = drill(&shop, &subject);
    assert_eq!((report.outcome, ids(&report)), (Outcome::Fail, ["R0203"].into()), "{report:#?}");
    assert_eq!(report.level, None);
}

#[test]
fn row_137_restored_rows_that_differ_from_the_recorded_ones_are_found() {
    let shop = Shop::new(Flavour::Healthy);
    shop.restore(|db| assert!(db.execute("delete from shop_order where id = 1", []).unwrap() > 0));
    let report = drill(&shop, &shop.subject());
    assert_eq!((report.outcome, ids(&report)), (Outcome::Fail, ["R0202"].into()), "{report:#?}");
}

#[test]
fn missing_photos_and_broken_rules_are_found() {
    let shop = Shop::new(Flavour::Healthy);
    shop.restore(|_| {});
    fs::remove_file(shop.scratch.join("restored/media/photos/07.jpg")).unwrap();
    let mut subject = shop.subject();
    subject.checks.get_mut("orders").unwrap().expect = "> 1000".parse().unwrap();
    let report = drill(&shop, &subject);
    assert_eq!((report.outcome, ids(&report)), (Outcome::Fail, ["R0206", "R0207"].into()), "{report:#?}");
}

#[test]
fn row_135_a_point_behind_the_code_is_migrated_and_said_so() {
    let shop = Shop::new(Flavour::Behind);
    shop.restore(|_| {});
    let report = drill(&shop, &shop.subject());
    assert_eq!((report.outcome, ids(&report)), (Outcome::Pass, ["R0205"].into()), "{report:#?}");
}

#[test]
fn an_application_that_is_not_well_fails_the_drill() {
    let shop = Shop::new(Flavour::Sick);
    shop.restore(|_| {});
    let mut subject = shop.subject();
    subject.services[0].health.as_mut().unwrap().within = "5s".parse().unwrap();
    let report = drill(&shop, &subject);
    assert!(report.outcome == Outcome::Fail && ids(&report).contains("R0320"), "{report:#?}");
    assert_eq!((report.level.as_deref(), report.rto_seconds), (Some("rehydrated"), None));
}

#[test]
fn live_data_that_was_not_restored_is_refused() {
    let shop = Shop::new(Flavour::Healthy);
    shop.restore(|_| {});
    let mut subject = shop.subject();
    let media = subject.sources.pop().unwrap();
    subject.elsewhere = vec![(media.name, media.live)];
    subject.services[0].health.as_mut().unwrap().within = "5s".parse().unwrap();
    let result = run(&subject);
    let opened = result.observed.as_ref().unwrap().opened.iter().find(|o| o.what == What::Forbidden);
    assert!(opened.is_some_and(|o| o.refused), "{result:#?}");
    assert!(result.findings().iter().any(|f| f.id == "R0302"), "{result:#?}");
}

#[test]
fn a_host_that_cannot_isolate_gives_no_pass() {
    let shop = Shop::new(Flavour::Healthy);
    shop.restore(|_| {});
    let mut subject = shop.subject();
    // The same program without the capability to make namespaces, as in a container.
    let wrapper = shop.scratch.join("weak");
    let host = subject.executable.display();
    let text =
        format!("#!/bin/sh\nexec setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin {host} \"$@\"\n");
    fs::write(&wrapper, text).unwrap();
    fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    subject.executable = wrapper;
    let report = drill(&shop, &subject);
    assert_eq!(report.outcome, Outcome::Unknown, "{report:#?}");
    assert_eq!(report.rto_seconds, None);
    assert!(report.reasons.iter().any(|r| r.contains("application")), "{report:#?}");
    let result = run(&subject);
    assert_eq!(result.impossible.map(|i| i.code), Some("E0701".to_owned()));
}

#[test]
fn a_user_who_cannot_reach_the_project_gives_no_pass() {
    let shop = Shop::new(Flavour::Healthy);
    shop.restore(|_| {});
    let manage = shop.project.join("shop");
    fs::set_permissions(&manage, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let mut subject = shop.subject();
    subject.interpreter = Some("/nonexistent/bin/python".into());
    let result = run(&subject);
    assert_eq!(result.outcome(), Outcome::Unknown, "{result:#?}");
    assert_eq!(result.impossible.map(|i| i.code), Some("E0703".to_owned()));
    assert_eq!(left_over(&shop), (0, Vec::new()));
}

#[test]
fn a_drill_that_hangs_is_ended() {
    let shop = Shop::new(Flavour::Healthy);
    shop.restore(|_| {});
    let mut subject = shop.subject();
    subject.migrate = false;
    subject.services[0].start =
        ["sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000"].map(str::to_owned).to_vec();
    subject.limit = "2s".parse().unwrap();
    let result = run(&subject);
    assert_eq!(result.outcome(), Outcome::Fail, "{result:#?}");
    assert_eq!(left_over(&shop), (0, Vec::new()));
}
