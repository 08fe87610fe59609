//! `check`: the contract against the means, with the line to change; `doctor` and `export`.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "test code may touch the world"
)]

use jiff::Timestamp;
use recoup_core::event::Outcome;
use recoup_core::ladder::{Evidence, Rung};
use recoup_ops::check::{CheckReport, Measured, Past, check};
use recoup_ops::config::{Loaded, parse};
use recoup_ops::doctor::doctor;
use recoup_ops::env::Variables;
use recoup_ops::export::{ExportOptions, cron, systemd};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A contract that its means keep. Nothing of it exists, so that no disk is shared.
const KEPT: &str = r#"version = 1
app = "shop"
timezone = "Europe/Berlin"

[class.critical]
rpo = "15m"
rto = "30m"
copies = 2
failure_domains = 1
proven = { rehydrated = "2d", application = "7d" }

[source.db]
kind = "sqlite"
class = "critical"
path = "db.sqlite3"
capture = { every = "10m" }

[source.media]
kind = "files"
class = "critical"
path = "media/"
capture = { every = "10m" }

[service.web]
needs = ["db", "media"]
stop = ["true"]
start = ["true"]

[location.local]
kind = "local"
path = "/proc/recoup-test/shop"
failure_domain = "this-machine"

[keys]
password = { file = "~/.config/recoup/shop.password" }

[drill.nightly]
level = "application"
schedule = "daily 03:20"
"#;

fn load(text: &str) -> Loaded {
    let variables = Variables::from_pairs([("HOME", "/home/dana"), ("PATH", "/usr/bin:/bin")]);
    parse(text, Path::new("/nowhere/shop/recoup.toml"), &variables)
        .unwrap_or_else(|e| panic!("{}", e.excerpt_text().unwrap_or_default()))
}

fn with(line: &str, other: &str) -> Loaded {
    assert!(KEPT.contains(line), "{line}");
    load(&KEPT.replacen(line, other, 1))
}

const NOW: &str = "2026-11-22T12:00:00Z";

fn evidence(rung: Rung, outcome: Outcome, at: &str) -> Evidence {
    Evidence { rung, outcome, at: at.parse().unwrap(), by: "drill D7".into() }
}

/// Both sources proven this morning.
fn proven() -> Past {
    let mut past = Past::default();
    for source in ["db", "media"] {
        let all = [Rung::Rehydrated, Rung::ApplicationProven];
        let all = all.map(|rung| evidence(rung, Outcome::Pass, "2026-11-22T03:25:00Z"));
        past.evidence.insert(source.into(), all.into());
    }
    past
}

fn run(loaded: &Loaded, past: &Past) -> CheckReport {
    let (env, _clock) = recoup_testkit::env::scripted(NOW, 1);
    let report = check(loaded, past, &env);
    for problem in &report.problems {
        assert!(recoup_core::code::find(problem.code).is_some(), "{} is not explained", problem.code);
    }
    report
}

fn codes(report: &CheckReport) -> Vec<&'static str> {
    report.problems.iter().map(|p| p.code).collect()
}

#[test]
fn a_contract_that_is_kept_says_nothing() {
    let report = run(&load(KEPT), &proven());
    assert_eq!(report.text(), "");
    assert_eq!((report.outcome, report.sources, report.classes), (Outcome::Pass, 2, 1));
}

#[test]
fn a_source_that_is_captured_too_rarely_points_at_its_line() {
    let report = run(&with("capture = { every = \"10m\" }", "capture = { every = \"1h\" }"), &proven());
    assert_eq!(report.outcome, Outcome::Fail);
    insta::assert_snapshot!(report.text());
}

#[test]
fn copies_and_failure_domains_are_counted() {
    let report = run(&with("copies = 2\nfailure_domains = 1", "copies = 3\nfailure_domains = 2"), &proven());
    insta::assert_snapshot!(report.text());
}

#[test]
fn old_failed_and_missing_proofs_are_told_apart() {
    let loaded = load(KEPT);
    let nothing = run(&loaded, &Past::default());
    assert_eq!(nothing.outcome, Outcome::Pass, "before the first drill nothing can be known");
    assert_eq!(codes(&nothing), ["W0416"; 4]);

    let mut old = proven();
    old.evidence.get_mut("db").unwrap()[0].at = "2026-11-19T03:25:00Z".parse().unwrap();
    assert_eq!(codes(&run(&loaded, &old)), ["E0303"]);

    let mut failed = proven();
    let bad = evidence(Rung::ApplicationProven, Outcome::Fail, "2026-11-22T10:00:00Z");
    failed.evidence.get_mut("media").unwrap().push(bad);
    assert_eq!(codes(&run(&loaded, &failed)), ["E0303"]);

    let mut slow = proven();
    let at: Timestamp = "2026-11-22T03:25:00Z".parse().unwrap();
    slow.measured.insert("db".into(), Measured { seconds: 7920.0, at, by: "drill D7".into() });
    let report = run(&loaded, &slow);
    insta::assert_snapshot!(report.text());
}

#[test]
fn every_way_to_break_the_promise_has_its_code() {
    let cases: &[(&str, &str, &str)] = &[
        ("capture = { every = \"10m\" }", "", "E0307"),
        ("capture = { every = \"10m\" }", "capture = { every = \"15m\" }", "W0410"),
        ("capture = { every = \"10m\" }", "schedule = \"0 0 30 2 *\"", "E0301"),
        ("path = \"/proc/recoup-test/shop\"", "path = \"media/copies\"", "E0308"),
        ("stop = [\"true\"]", "", "W0415"),
        ("rto = \"30m\"", "", "W0414"),
        ("schedule = \"daily 03:20\"", "schedule = \"weekly 03:20\"", "E0303"),
        ("schedule = \"daily 03:20\"", "", "W0413"),
        ("[keys]\npassword = { file = \"~/.config/recoup/shop.password\" }", "", "E0306"),
    ];
    for (line, other, code) in cases {
        let report = run(&with(line, other), &proven());
        assert!(codes(&report).contains(code), "{other}: {:?}", codes(&report));
        let finding = report.findings().into_iter().find(|f| f.id == *code).unwrap();
        assert!(!finding.fix.is_empty() && finding.message.contains("recoup.toml:"), "{finding:?}");
    }
    let start = KEPT.find("[location.local]").unwrap();
    let end = KEPT.find("[keys]").unwrap();
    let without = format!("{}{}", &KEPT[..start], &KEPT[end..]);
    assert!(codes(&run(&load(&without), &proven())).contains(&"E0305"));
}

#[test]
fn a_copy_on_the_disk_of_its_data_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let text = KEPT.replace("/proc/recoup-test/shop", "/nowhere/copies");
    std::fs::write(dir.path().join("db.sqlite3"), "").unwrap();
    let report = run(&load(&text), &proven());
    assert!(codes(&report).contains(&"W0411"), "{}", report.text());
}

#[tokio::test]
async fn doctor_tries_and_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let variables = Variables::from_pairs([
        ("RECOUP_STATE_DIR", state.to_str().unwrap()),
        ("HOME", dir.path().to_str().unwrap()),
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    ]);
    let text = KEPT.replace("/proc/recoup-test/shop", "copies");
    std::fs::create_dir_all(dir.path().join("media")).unwrap();
    let loaded = parse(&text, &dir.path().join("recoup.toml"), &variables).unwrap();
    let env = recoup_testkit::env::real();
    let answers = doctor(Some(&loaded), &variables, &env).await;
    let of =
        |name: &str| answers.answers.iter().filter(|a| a.name == name).map(|a| a.outcome).collect::<Vec<_>>();
    assert_eq!(of("state-directory"), [Outcome::Pass]);
    assert_eq!(of("password"), [Outcome::Fail]);
    assert_eq!(of("source"), [Outcome::Fail, Outcome::Pass]);
    assert_eq!(of("sqlite"), [Outcome::Pass]);
    assert_eq!(answers.outcome, Outcome::Fail);
    assert!(answers.findings().iter().all(|f| !f.fix.is_empty() && recoup_core::code::find(&f.id).is_some()));
    // Nothing was left behind.
    assert_eq!(std::fs::read_dir(state.join("shop")).unwrap().count(), 0);
}

fn options() -> ExportOptions {
    ExportOptions { program: "/usr/local/bin/recoup".into(), user: "shop".into(), state_dir: None }
}

#[test]
fn schedules_become_units() {
    let text = KEPT.replacen(
        "capture = { every = \"10m\" }\n\n[service",
        "schedule = \"Mon-Fri 01:10\"\n\n[service",
        1,
    );
    let (units, findings) = systemd(&load(&text), &options());
    assert!(findings.is_empty());
    let all: Vec<String> = units.iter().map(|u| format!("## {}\n{}", u.name, u.text)).collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn systemd_accepts_the_units_and_reads_hostile_paths_as_text() {
    let dir = tempfile::tempdir().unwrap();
    let file = PathBuf::from("/nowhere/a b%h\"$HOME'\\x/recoup.toml");
    let variables = Variables::from_pairs([("HOME", "/home/dana")]);
    let loaded = parse(&KEPT.replace("daily 03:20", "10 4 1 * Sun"), &file, &variables).unwrap();
    let program = options().program;
    let true_program =
        ExportOptions { program: "/bin/true".into(), state_dir: Some("/s d/%x".into()), ..options() };
    let (units, _) = systemd(&loaded, &ExportOptions { user: "root".into(), ..true_program });
    let service = units.iter().find(|u| u.name == "recoup-shop-backup.service").unwrap();
    assert!(service.text.contains(r#""/nowhere/a b%%h\"$$HOME'\\x""#), "{}", service.text);
    let mut paths = vec![];
    for unit in &units {
        let path = dir.path().join(&unit.name);
        std::fs::write(&path, &unit.text).unwrap();
        paths.push(path);
    }
    assert_eq!(paths.len(), 4);
    // Where systemd is not installed its own reading cannot be had; the text above is still compared.
    let Ok(output) = Command::new("systemd-analyze").arg("verify").args(&paths).output() else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("recoup-shop")).collect();
    assert!(ours.is_empty(), "{ours:?}");
    let _unused = program;
}

#[test]
fn schedules_become_cron_lines() {
    let (text, findings) = cron(&load(KEPT), &options());
    assert!(findings.is_empty());
    insta::assert_snapshot!(text);
    let (text, findings) =
        cron(&with("capture = { every = \"10m\" }", "capture = { every = \"7m\" }"), &options());
    assert!(!text.contains("7m") && findings.len() == 1);
    let file = Path::new("/nowhere/it's 100%/recoup.toml");
    let loaded = parse(KEPT, file, &Variables::default()).unwrap();
    let (text, _) = cron(&loaded, &options());
    assert!(text.contains(r"-C '/nowhere/it'\''s 100'\%''"), "{text}");
}
