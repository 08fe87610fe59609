//! The verb: backup, then drills of the points it made, all through the real repository.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests touch the world")]

#[path = "support/django.rs"]
mod django;

use django::{Flavour, Shop, venv};
use recoup_core::event::Outcome;
use recoup_ops::backup::{BackupOptions, backup};
use recoup_ops::config;
use recoup_ops::drill::{DrillOptions, DrillReport, drill, drill_by};
use recoup_ops::env::Variables;
use recoup_ops::session::Session;
use recoup_testkit::env::real;
use rusqlite::Connection;
use std::fs;
use std::path::Path;

const CONFIG: &str = r#"
version = 1
app = "shop"

[class.critical]
rpo = "15m"
rto = "30m"

[python]
manage = "manage.py"
settings = "shop.settings"
interpreter = "@VENV@/bin/python"

[source.db]
kind = "sqlite"
class = "critical"
path = "data/shop.sqlite3"

[source.media]
kind = "files"
class = "critical"
path = "media"

[service.web]
needs = ["db", "media"]
health = { http = "http://127.0.0.1:${port}/healthz", expect = 200, within = "40s" }
drill = { start = ["python", "manage.py", "runserver", "--noreload", "127.0.0.1:${port}"], env = { SHOP_SECRET_KEY = "drill" } }

[location.local]
kind = "local"
path = "@BASE@/repository"

[keys]
password = { file = "@BASE@/password" }

[check.orders]
source = "db"
sql = "select count(*) from shop_order"
expect = "> 0"

[check.photos]
kind = "references"
rows = "db:shop_order.photo"
files = "media"
expect = "dangling == 0"

[drill.full]
level = "application"
pick = "latest"

[drill.data]
level = "rehydrated"
"#;

struct World {
    shop: Shop,
    session: Session,
}

impl World {
    fn new(flavour: Flavour) -> Self {
        let shop = Shop::new(flavour);
        let base = shop.root.path().canonicalize().unwrap();
        fs::create_dir(base.join("repository")).unwrap();
        fs::write(base.join("password"), "b7e1".repeat(16)).unwrap();
        fs::set_permissions(base.join("password"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        let text =
            CONFIG.replace("@VENV@", venv().to_str().unwrap()).replace("@BASE@", base.to_str().unwrap());
        let file = shop.project.join("recoup.toml");
        fs::write(&file, &text).unwrap();
        let variables = Variables::from_pairs([
            ("RECOUP_STATE_DIR", base.join("state").to_str().unwrap()),
            ("PATH", "/usr/bin:/bin"),
        ]);
        let session = Session::of(config::parse(&text, &file, &variables).unwrap(), &real()).unwrap();
        World { shop, session }
    }

    fn back_up(&self) {
        let report = wait(backup(&self.session, &BackupOptions::default())).unwrap();
        assert_eq!(report.outcome, Outcome::Pass, "{report:#?}");
    }

    fn drill(&self, name: Option<&str>) -> DrillReport {
        let options = DrillOptions { name: name.map(str::to_owned), ..DrillOptions::default() };
        let host = Path::new(env!("CARGO_BIN_EXE_recoup-sandbox-host"));
        wait(drill_by(&self.session, &options, host)).unwrap()
    }

    fn scratch_is_empty(&self) -> bool {
        fs::read_dir(self.session.state().join("scratch")).unwrap().next().is_none()
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn a_point_is_drilled_from_the_repository_to_the_health_page() {
    let world = World::new(Flavour::Healthy);
    world.back_up();
    let before = world.shop.contents();
    let report = world.drill(None);
    assert_eq!((report.outcome, report.findings.len()), (Outcome::Pass, 0), "{report:#?}");
    assert_eq!((report.name.as_deref(), report.level.as_deref()), (Some("full"), Some("application")));
    let stages: Vec<&str> = report.stages.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(stages, ["locate", "retrieve", "recover", "checks", "migrate", "start"]);
    assert!(report.rto_seconds.is_some_and(|s| s < 1800.0) && report.targets.rto_seconds == Some(1800.0));
    assert!(report.rpo_seconds.is_some_and(|s| s < 900.0) && report.targets.rpo_seconds == Some(900.0));
    assert!(report.evidence.iter().all(|path| fs::metadata(path).unwrap().len() > 100));
    assert_eq!(world.shop.contents(), before);
    assert!(world.scratch_is_empty());
    let kept = world.session.catalog().unwrap().run(&report.drill).unwrap().unwrap();
    assert_eq!((kept.outcome, kept.document["level"].as_str()), (Outcome::Pass, Some("application")));
}

#[test]
fn row_137_a_point_with_half_of_the_rows_of_the_point_before_fails() {
    let world = World::new(Flavour::Healthy);
    world.back_up();
    let live = Connection::open(&world.shop.database).unwrap();
    live.execute("delete from shop_order where id % 2 = 0", []).unwrap();
    drop(live);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    world.back_up();
    let report = world.drill(Some("data"));
    assert_eq!(report.outcome, Outcome::Fail, "{report:#?}");
    assert!(report.findings.iter().any(|f| f.id == "R0203"), "{report:#?}");
    assert!(report.not_run.is_empty() && report.rto_seconds.is_none());
    assert!(world.scratch_is_empty());
}

#[test]
fn a_drill_that_is_not_declared_is_refused_before_anything() {
    let world = World::new(Flavour::Healthy);
    let options = DrillOptions { name: Some("weekly".into()), ..DrillOptions::default() };
    let error = wait(drill(&world.session, &options)).unwrap_err();
    assert_eq!(error.stable_code(), Some("E0705"));
    assert!(error.next_step().is_some_and(|hint| hint.contains("data, full")));
    let without = wait(drill(&world.session, &DrillOptions::default())).unwrap_err();
    assert_eq!(without.stable_code(), Some("E0410"), "{without}");
}
