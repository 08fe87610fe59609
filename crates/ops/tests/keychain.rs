//! The key chain with real repositories: kits that are made, proven and grow old, passwords that are added and
//! replaced, and a rotation that is killed after every step.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "test code may touch the world"
)]

#[path = "support/application.rs"]
#[allow(dead_code, reason = "nothing is promoted here")]
mod application;

use application::Application;
use recoup_core::env::Env;
use recoup_core::event::{Event, Finding, Outcome, Severity, Sink};
use recoup_core::secret::Secret;
use recoup_core::{Error, Kind};
use recoup_ops::check::{Past, check};
use recoup_ops::config::Problem;
use recoup_ops::keychain::{
    KitOptions, ProveOptions, ProveReport, add_password, add_signing, current, list, make, prove, remember,
    rotate,
};
use recoup_ops::keys::{Split, record};
use recoup_ops::session::Session;
use recoup_ops::status::status;
use recoup_repo::Limits;
use recoup_repo::keys as repository_keys;
use recoup_repo::repository::Repository;
use recoup_store::local::Local;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const FAR: &str = "\n[location.far]\nkind = \"local\"\npath = \"../far\"\nfailure_domain = \"disk-3\"\n";
const PLACES: [&str; 2] = ["repo", "far"];

/// An application with two locations, a key that its data needs, and one point. `keys` goes into [keys].
async fn application(keys: &str) -> Application {
    let app = Application::new(&format!("{keys}{FAR}\n[python]\nkeys = [\"A_KEY\"]\n"));
    fs::write(app.path("project/.env"), "A_KEY=canary-of-the-application\n").unwrap();
    assert_eq!(app.backup().await.outcome, Outcome::Pass);
    app
}

fn password(app: &Application) -> String {
    fs::read_to_string(app.path("password")).unwrap().trim_end().to_owned()
}

async fn open(path: &Path, password: &str, env: &Env) -> recoup_core::Result<Repository> {
    let password = Secret::new(password.as_bytes().to_vec());
    Repository::open(Arc::new(Local::new(path)), &password, Limits::default(), env).await
}

async fn count_of_keys(app: &Application, place: &str) -> usize {
    let repository = open(&app.path(place), &password(app), &app.env).await.unwrap();
    repository_keys::list(&repository).await.unwrap().len()
}

fn write_to(app: &Application, folder: &str) -> KitOptions {
    KitOptions { write: Some(app.path(folder)), ..KitOptions::default() }
}

async fn proved(app: &Application, folder: &str) -> ProveReport {
    let options = ProveOptions { kit: app.path(folder).join("kit.txt"), ..ProveOptions::default() };
    let (report, block) = prove(&options, &app.env).await.unwrap();
    assert!(remember(&app.session(), &block, &report).unwrap());
    report
}

async fn about_kits(app: &Application) -> Vec<Finding> {
    let mut findings = status(&app.session()).await.unwrap().findings;
    findings.retain(|f| f.id.starts_with("R014") || f.id == "R0114");
    findings
}

fn ids(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|f| f.id.as_str()).collect()
}

/// What `recoup check` says about the kit.
async fn checked(session: &Session) -> Vec<Problem> {
    let kit = record::newest(session.state());
    let current = Some(current(session).await.unwrap());
    let report = check(session.loaded(), &Past { kit, current, ..Past::default() }, session.env());
    let is_about_kits = |p: &Problem| p.code.starts_with("W049") || p.code == "W0420";
    report.problems.into_iter().filter(is_about_kits).collect()
}

fn code(result: recoup_core::Result<impl Sized>) -> &'static str {
    result.err().and_then(|e: Error| e.stable_code()).unwrap_or("none")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kit_is_made_proven_and_grows_old() {
    let app = application("").await;
    assert_eq!(ids(&about_kits(&app).await), ["R0114"]);
    let before = checked(&app.session()).await;
    assert_eq!((before.len(), before[0].code, before[0].severity), (1, "W0420", Severity::Info));

    let options = KitOptions { with_secret: true, ..write_to(&app, "kit") };
    let made = make(&app.session(), &options).await.unwrap();
    assert!(made.locations.values().all(Option::is_some) && made.findings.is_empty(), "{made:?}");
    for file in ["kit.txt", "kit.html", "secret.txt"] {
        let text = fs::read_to_string(app.path("kit").join(file)).unwrap();
        assert!(!text.contains(&password(&app)) && !text.contains("canary"), "{file}");
    }
    let mode = fs::metadata(app.path("kit/secret.txt")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(code(make(&app.session(), &options).await), "E0694");
    let in_project = KitOptions { with_secret: true, ..write_to(&app, "project/kit") };
    assert_eq!(code(make(&app.session(), &in_project).await), "E0820");
    assert!(!app.path("project/kit/kit.txt").exists());

    assert_eq!(ids(&about_kits(&app).await), ["R0140"], "it was never proven");
    let codes: Vec<&str> = checked(&app.session()).await.iter().map(|p| p.code).collect();
    assert_eq!(codes, ["W0491", "W0491"]);
    let report = proved(&app, "kit").await;
    assert_eq!(report.outcome, Outcome::Pass, "{report:#?}");
    for at in &report.locations {
        assert_eq!(at.points.len(), 1);
        let files: Vec<&str> = at.points[0].files.iter().filter_map(|f| f.path.as_deref()).collect();
        assert!(
            files.contains(&"db/app.db") && files.iter().any(|f| f.starts_with("media/2026/")),
            "{files:?}"
        );
        assert!(at.points[0].files.iter().all(|f| f.bytes > 0 && f.sha256.len() == 64));
    }
    assert!(about_kits(&app).await.is_empty() && checked(&app.session()).await.is_empty());

    // The key that the data needs is another now.
    fs::write(app.path("project/.env"), "A_KEY=another\n").unwrap();
    let found = about_kits(&app).await;
    assert_eq!(ids(&found), ["R0142"]);
    assert!(found[0].message.contains("the value of A_KEY"), "{found:?}");
    assert_eq!(checked(&app.session()).await[0].code, "W0492");
    assert_eq!(list(&app.session(), None).await.unwrap().kit.unwrap().kit, made.kit);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proofs_tell_what_is_bad_from_what_is_not_there() {
    let app = application("kit = { prove_every = \"30d\" }\n").await;
    assert_eq!(checked(&app.session()).await.iter().map(|p| p.code).collect::<Vec<_>>(), ["W0490", "W0420"]);
    make(&app.session(), &KitOptions { with_secret: true, ..write_to(&app, "kit") }).await.unwrap();
    app.accident();
    app.backup().await;
    let report = proved(&app, "kit").await;
    assert!(report.locations.iter().all(|at| at.points.len() == 2), "newest and oldest: {report:#?}");

    fs::rename(app.path("far"), app.path("elsewhere")).unwrap();
    let report = proved(&app, "kit").await;
    assert_eq!(report.outcome, Outcome::Unknown, "{report:#?}");
    assert_eq!(ids(&report.findings), ["R0144"]);
    let kit = app.path("kit/kit.txt");
    let paths = [("far".to_owned(), app.path("elsewhere"))].into();
    let (there, _) =
        prove(&ProveOptions { kit: kit.clone(), paths, ..ProveOptions::default() }, &app.env).await.unwrap();
    assert_eq!(there.outcome, Outcome::Pass);
    let unknown = ProveOptions { kit, location: Some("moon".into()), ..ProveOptions::default() };
    assert_eq!(code(prove(&unknown, &app.env).await), "E0640");

    // An empty folder is a mount point without its disk; another repository is another.
    fs::create_dir(app.path("far")).unwrap();
    assert_eq!(proved(&app, "kit").await.outcome, Outcome::Unknown);
    // With randomness of its own: every application of these tests begins with the same.
    let mut other = Application::new("");
    other.env = app.env.clone();
    other.backup().await;
    fs::remove_dir(app.path("far")).unwrap();
    fs::rename(other.path("repo"), app.path("far")).unwrap();
    let report = proved(&app, "kit").await;
    assert_eq!((report.outcome, ids(&report.findings)), (Outcome::Fail, vec!["R0143"]));
    assert!(report.locations.iter().any(|at| at.problem.as_ref().is_some_and(|p| p.contains("another one"))));
    fs::remove_dir_all(app.path("far")).unwrap();
    fs::rename(app.path("elsewhere"), app.path("far")).unwrap();

    // Damage is found where the file is read.
    for pack in app.packs() {
        let mut bytes = fs::read(&pack).unwrap();
        bytes.iter_mut().for_each(|b| *b ^= 1);
        fs::set_permissions(&pack, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&pack, bytes).unwrap();
    }
    let report = proved(&app, "kit").await;
    let outcomes: Vec<(&str, Outcome)> =
        report.locations.iter().map(|l| (l.name.as_str(), l.outcome)).collect();
    assert_eq!(outcomes, [("far", Outcome::Pass), ("local", Outcome::Fail)]);
    assert_eq!(ids(&about_kits(&app).await), ["R0141"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_two_kits_are_told_and_any_two_of_three_open() {
    let app = application("").await;
    let split = Some("2/3".parse::<Split>().unwrap());
    for folder in ["one", "two"] {
        make(&app.session(), &KitOptions { split, qr: true, ..write_to(&app, folder) }).await.unwrap();
        assert!(app.path(folder).join("secret-3-of-3.html").is_file());
    }
    let tried = async |secrets: &[&str]| {
        let secrets = secrets.iter().map(|name| app.path(name)).collect();
        let options = ProveOptions { kit: app.path("one/kit.txt"), secrets, ..ProveOptions::default() };
        prove(&options, &app.env).await
    };
    let (report, _) = tried(&["one/secret-3-of-3.html", "one/secret-1-of-3.txt"]).await.unwrap();
    assert_eq!((report.outcome, report.parts), (Outcome::Pass, 2));
    assert_eq!(code(tried(&["one/secret-1-of-3.txt"]).await), "E0692");
    let mixed = tried(&["one/secret-1-of-3.txt", "two/secret-2-of-3.txt"]).await.err().unwrap();
    assert_eq!(mixed.stable_code(), Some("E0692"));
    let second = record::newest(app.session().state()).unwrap().kit;
    assert!(mixed.to_string().contains(&second), "{mixed}");
    let whole = tried(&["two/secret-1-of-3.txt", "two/secret-2-of-3.txt"]).await.err().unwrap();
    assert_eq!(whole.stable_code(), Some("E0692"), "the parts of the other kit: {whole}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_seal_the_secret_part_from_standard_input() {
    let seal = r#"wrap = [["tr", "0-9A-Z", "5-90-4N-ZA-M"]]"#;
    let app = application(&format!("{seal}\n")).await;
    let made = make(&app.session(), &write_to(&app, "kit")).await.unwrap();
    assert_eq!(made.files.len(), 3, "{made:?}");
    assert!(!app.path("kit/secret.txt").exists(), "sealed only");
    let sealed = fs::read_to_string(app.path("kit/secret-sealed-1")).unwrap();
    let back = |c: char| match c {
        '0'..='9' => char::from((c as u8 - b'0' + 5) % 10 + b'0'),
        'A'..='Z' => char::from((c as u8 - b'A' + 13) % 26 + b'A'),
        c => c,
    };
    fs::write(app.path("kit/secret.txt"), sealed.chars().map(back).collect::<String>()).unwrap();
    assert_eq!(proved(&app, "kit").await.outcome, Outcome::Pass);
    for bad in [r#"[["cat"]]"#, r#"[["false"]]"#, r#"[["true"]]"#, r#"[["recoup-is-no-such-program"]]"#] {
        let app = application(&format!("wrap = {bad}\n")).await;
        let error = make(&app.session(), &write_to(&app, "kit")).await.err().unwrap();
        assert_eq!(error.stable_code(), Some("E0695"), "{bad}: {error}");
        assert!(!app.path("kit/kit.txt").exists(), "{bad}");
        assert_eq!(record::newest(app.session().state()), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signing_key_is_made_once_and_says_how_to_declare_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys/signing");
    let line = format!("signing = {{ file = \"{}\" }}\n", file.display());
    let app = Application::new(&line);
    let added = add_signing(&app.session()).unwrap();
    assert!(added.made && !added.declared && added.lines[0] == line.trim_end(), "{added:?}");
    assert!(added.lines[1].starts_with("signers = [\"ssh-ed25519 AAAA"), "{added:?}");
    let again = add_signing(&app.session()).unwrap();
    assert!(!again.made && again.fingerprint == added.fingerprint);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    // With the two lines it is declared, and points are signed.
    let declared = Application::new(&format!("{}\n{}\n", added.lines[0], added.lines[1]));
    assert!(add_signing(&declared.session()).unwrap().declared);
    let listed = list(&declared.session(), None).await.unwrap();
    assert!(listed.signing.is_some_and(|key| key.trusted && key.here), "{:?}", listed.signers);
    let elsewhere = Application::new("signing = { env = \"SIGNING\" }\n");
    assert_eq!(code(add_signing(&elsewhere.session())), "E0699");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_password_opens_every_location_or_none() {
    let app = application("").await;
    let file = app.path("second");
    let added = add_password(&app.session(), &file).await.unwrap();
    assert_eq!(added.locations.len(), 2);
    let second = fs::read_to_string(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    for place in PLACES {
        open(&app.path(place), second.trim_end(), &app.env).await.unwrap();
        assert_eq!(count_of_keys(&app, place).await, 2);
    }
    assert_eq!(code(add_password(&app.session(), &file).await), "E0821");
    let listed = list(&app.session(), None).await.unwrap();
    for at in &listed.locations {
        assert_eq!(at.keys.iter().filter(|key| key.opens).count(), 1, "{at:?}");
    }
    fs::rename(app.path("far"), app.path("away")).unwrap();
    assert_eq!(code(add_password(&app.session(), &app.path("third")).await), "E0696");
    assert!(!app.path("third").exists());
    assert_eq!(count_of_keys(&app, "repo").await, 2);
}

/// Kills a rotation when so many things have become durable.
struct Killer(AtomicUsize);

impl Sink for Killer {
    fn emit(&self, event: Event) {
        let Event::Checkpoint { stage, message } = event else { return };
        if stage == "rotate" && self.0.fetch_sub(1, Ordering::SeqCst) == 0 {
            panic!("killed after \"{message}\"");
        }
    }
}

/// Runs a rotation that is killed after `steps`; says whether it was.
async fn killed(app: &Application, steps: usize) -> bool {
    let session = app.session();
    let env = Env { events: Arc::new(Killer(AtomicUsize::new(steps))), ..app.env.clone() };
    let session = Session::of(session.loaded().clone(), &env).unwrap();
    let ended = tokio::spawn(async move { rotate(&session).await.map(drop) }).await;
    match ended {
        Ok(done) => done.map(|()| false).unwrap(),
        Err(error) => error.is_panic(),
    }
}

fn leftovers(app: &Application) -> Vec<PathBuf> {
    let all = [app.path("password.next"), app.session().state().join("rotate.json")];
    all.into_iter().filter(|path| path.exists()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_killed_after_every_step_goes_on_to_the_same_end() {
    for steps in 0.. {
        let app = application("").await;
        make(&app.session(), &KitOptions { with_secret: true, ..write_to(&app, "kit") }).await.unwrap();
        let old = password(&app);
        let was_killed = killed(&app, steps).await;
        // Killed or not: the password file opens every location.
        for place in app.session().places(None).unwrap() {
            app.session().repository(&place).await.unwrap();
        }
        if was_killed {
            // Killed again in the same place, and then not any more.
            killed(&app, 0).await;
            for place in PLACES {
                open(&app.path(place), &password(&app), &app.env).await.unwrap();
            }
            if !leftovers(&app).is_empty() {
                assert!(rotate(&app.session()).await.unwrap().resumed);
            }
        }
        let new = password(&app);
        assert_ne!(old, new, "after {steps} steps");
        assert_eq!(fs::metadata(app.path("password")).unwrap().permissions().mode() & 0o7777, 0o600);
        for place in PLACES {
            let refused = open(&app.path(place), &old, &app.env).await.err().unwrap();
            assert_eq!(refused.stable_code(), Some("E0412"), "the old password opens {place} no more");
            assert_eq!(count_of_keys(&app, place).await, 1);
        }
        assert_eq!(leftovers(&app), [] as [PathBuf; 0]);
        assert!(record::newest(app.session().state()).unwrap().outdated.is_some());
        let report = proved(&app, "kit").await;
        assert_eq!(report.outcome, Outcome::Fail, "the old kit opens nothing");
        assert_eq!(app.restore(None).await.outcome, Outcome::Pass);
        if !was_killed {
            assert!(steps >= 7, "there are more steps than {steps}");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_begins_only_where_it_can_end() {
    let app = application("").await;
    let old = password(&app);
    fs::rename(app.path("far"), app.path("away")).unwrap();
    let error = rotate(&app.session()).await.err().unwrap();
    assert_eq!((error.kind(), error.stable_code()), (Kind::Refused, Some("E0696")));
    assert_eq!((leftovers(&app).len(), password(&app)), (0, old.clone()));
    assert_eq!(count_of_keys(&app, "repo").await, 1);
    fs::rename(app.path("away"), app.path("far")).unwrap();

    // A file that is not ours has its name.
    fs::write(app.path("password.next"), "something\n").unwrap();
    assert_eq!(code(rotate(&app.session()).await), "E0697");
    assert_eq!(count_of_keys(&app, "repo").await, 1);
    fs::remove_file(app.path("password.next")).unwrap();

    // The new password is lost before it came into force: the old keys stay.
    assert!(killed(&app, 3).await);
    fs::remove_file(app.path("password.next")).unwrap();
    assert_eq!(code(rotate(&app.session()).await), "E0697");
    for place in PLACES {
        open(&app.path(place), &old, &app.env).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_is_kept_elsewhere_is_not_replaced_here() {
    let app = Application::new("");
    let config = app.config();
    let line = config.lines().find(|l| l.starts_with("password")).unwrap().to_owned();
    let variables = recoup_ops::env::Variables::from_pairs([
        ("RECOUP_STATE_DIR", app.path("state").into_os_string()),
        ("PW", "x".into()),
    ]);
    let text = config.replace(&line, "password = { env = \"PW\" }");
    let loaded = recoup_ops::config::parse(&text, &app.path("project/recoup.toml"), &variables).unwrap();
    let session = Session::of(loaded, &app.env).unwrap();
    assert_eq!(code(rotate(&session).await), "E0699");
}
