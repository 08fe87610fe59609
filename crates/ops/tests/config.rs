//! The configuration file: what is accepted, what is refused, and how it is said.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "test code may touch the world"
)]

use recoup_core::Kind;
use recoup_ops::config::{LoadOptions, Loaded, effective, load, parse, schema};
use recoup_ops::env::Variables;
use std::path::{Path, PathBuf};

const GOOD: &str = r#"
version = 1
app = "shop"
timezone = "Europe/Berlin"

[class.critical]
why = "orders and payments"
owner = "data-owner"
rpo = "15m"
rto = "30m"
mtd = "4h"
copies = 2
proven = { rehydrated = "1d", application = "7d" }

[python]
manage = "manage.py"
settings = "shop.settings"
lock = "uv.lock"
keys = ["DJANGO_SECRET_KEY"]

[source.db]
kind = "sqlite"
class = "critical"
labels = ["pii", "financial"]
path = "${env:SHOP_DATA:-data}/db.sqlite3"
capture = { every = "15m" }

[source.media]
kind = "files"
class = "critical"
path = "media/"
ignore = ["cache/**"]
schedule = "daily 01:10"

[service.web]
needs = ["db", "media"]
stop = ["systemctl", "stop", "shop"]
start = ["systemctl", "start", "shop"]
health = { http = "http://127.0.0.1:8000/healthz", within = "20s" }
drill = { start = ["python", "manage.py", "runserver", "127.0.0.1:${port}"], env = { DEBUG = "0" }, health = { http = "http://127.0.0.1:${port}/healthz" } }

[consistency.shop]
members = ["db", "media"]
anchor = "db"
invariants = ["media-rows-have-files"]

[location.local]
kind = "local"
path = "/srv/recoup/shop"
failure_domain = "disk-2"
use = "fast-restore"

[keys]
password = { file = "~/.config/recoup/shop.password" }

[check.orders]
source = "db"
sql = "select count(*) from orders"
expect = "> 0"

[check.media-rows-have-files]
kind = "references"
rows = "db:media_file.path"
files = "media"
expect = "dangling == 0"

[drill.nightly]
level = "application"
set = "shop"
pick = "random within 14d"
from = "rotate"
schedule = "daily 03:20"
checks = ["orders"]
tolerance = { rows_drop = "5%" }
app = { migrate = true, start = ["web"] }
budget = "30m"

[scratch]
limits = { disk = "20 GiB", time = "1h" }
"#;

fn variables() -> Variables {
    Variables::from_pairs([("HOME", "/home/dana")])
}

fn read(text: &str) -> recoup_core::Result<Loaded> {
    parse(text, Path::new("/project/recoup.toml"), &variables())
}

fn excerpt(text: &str) -> String {
    let error = read(text).expect_err("this file is wrong");
    assert_eq!(error.kind(), Kind::Config);
    let code = error.stable_code().unwrap();
    assert!(recoup_core::code::find(code).is_some(), "{code} is not explained");
    error.excerpt_text().unwrap().to_owned()
}

/// The good file with one line replaced.
fn with(line: &str, other: &str) -> String {
    assert!(GOOD.contains(line), "{line}");
    GOOD.replacen(line, other, 1)
}

#[test]
fn a_whole_file_is_understood() {
    let loaded = read(GOOD).unwrap();
    let config = &loaded.config;
    assert_eq!(config.app, "shop");
    assert_eq!(config.classes["critical"].rpo.unwrap().as_secs(), 900);
    assert_eq!(config.sources["db"].driver.path(), "data/db.sqlite3");
    assert_eq!(config.sources["media"].schedule.as_ref().unwrap().to_string(), "daily 01:10");
    assert_eq!(config.capture_order(), ["db", "media"]);
    assert_eq!(config.start_order(), ["web"]);
    assert_eq!(loaded.path("media/").unwrap(), PathBuf::from("/project/media"));
    assert_eq!(loaded.path("~/x").unwrap(), PathBuf::from("/home/dana/x"));
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.digest.len(), 64);
}

#[test]
fn the_digest_follows_values_and_nothing_else() {
    let digest = |text: &str| read(text).unwrap().digest;
    assert_eq!(digest(GOOD), digest(&format!("# a comment\n{GOOD}")));
    assert_ne!(digest(GOOD), digest(&with("rpo = \"15m\"", "rpo = \"16m\"")));
}

#[test]
fn unknown_keys_and_bare_numbers_are_shown_together() {
    let text = with("rpo = \"15m\"", "rpo = 15").replace("rto = \"30m\"", "rtoo = \"30m\"");
    insta::assert_snapshot!(excerpt(&text));
}

#[test]
fn keys_of_later_versions_are_named_as_such() {
    insta::assert_snapshot!(excerpt(&with("mtd = \"4h\"", "immutable = \"35d\"")));
}

#[test]
fn row_051_a_policy_that_keeps_nothing_is_shown_where_it_is_written() {
    let retain = |text: &str| with("mtd = \"4h\"", &format!("mtd = \"4h\"\nretain = {{ {text} }}"));
    insta::assert_snapshot!(excerpt(&retain("daily = 0, max = \"7y\"")));
    insta::assert_snapshot!(excerpt(&retain("all = \"8d\", max = \"7d\"")));
    insta::assert_snapshot!(excerpt(&retain("dayly = 35, weekly = -1")));
    let class =
        &read(&retain("all = \"7d\", daily = 35, min = 2, max = \"7y\"")).unwrap().config.classes["critical"];
    let policy = class.retain.unwrap();
    assert_eq!((policy.daily, policy.weekly, policy.min), (35, 0, Some(2)));
    assert_eq!(policy.max.unwrap().as_secs(), 7 * 365 * 86_400);
    assert!(read(GOOD).unwrap().config.classes["critical"].retain.is_none());
}

#[test]
fn a_literal_secret_is_refused_and_not_shown() {
    let text = with("password = { file = \"~/.config/recoup/shop.password\" }", "password = \"canary-7f3a\"");
    let shown = excerpt(&text);
    assert!(!shown.contains("canary-7f3a"), "{shown}");
    assert!(!format!("{}", read(&text).unwrap_err()).contains("canary"));
    insta::assert_snapshot!(shown);
}

#[test]
fn names_must_refer_to_something() {
    let text = with("class = \"critical\"", "class = \"critcal\"")
        .replace("checks = [\"orders\"]", "checks = [\"order\"]");
    insta::assert_snapshot!(excerpt(&text));
}

#[test]
fn syntax_errors_point_at_the_place() {
    insta::assert_snapshot!(excerpt("version = 1\napp = \"shop\n"));
}

#[test]
fn units_schedules_and_comparisons_explain_themselves() {
    let text = with("rpo = \"15m\"", "rpo = \"15 minutes\"")
        .replace("schedule = \"daily 01:10\"", "schedule = \"nightly\"")
        .replace("expect = \"> 0\"", "expect = \"some\"")
        .replace("rows_drop = \"5%\"", "rows_drop = \"5\"")
        .replace("Europe/Berlin", "Europe/Berln");
    insta::assert_snapshot!(excerpt(&text));
}

#[test]
fn every_kind_of_mistake_has_its_code() {
    let cases: &[(&str, &str, &str)] = &[
        ("version = 1", "version = 2", "E0104"),
        ("version = 1", "", "E0105"),
        ("app = \"shop\"", "app = \"../shop\"", "E0113"),
        ("kind = \"sqlite\"", "kind = \"sqlit\"", "E0104"),
        ("kind = \"sqlite\"", "", "E0105"),
        ("path = \"media/\"", "path = 7", "E0103"),
        ("capture = { every = \"15m\" }", "lock_max = \"5\"", "E0104"),
        ("schedule = \"daily 01:10\"", "schedule = \"daily 01:10\"\ncapture = { every = \"1h\" }", "E0114"),
        ("[source.media]", "[source.\"a/b\"]", "E0113"),
        ("${env:SHOP_DATA:-data}", "${env:SHOP_DATA}", "E0107"),
        ("${env:SHOP_DATA:-data}", "${SHOP_DATA}", "E0107"),
        ("start = [\"systemctl\"", "start = [\"${env:PATH}\"", "E0107"),
        ("mtd = \"4h\"", "mtd = \"5m\"", "E0114"),
        ("needs = [\"db\", \"media\"]", "needs = [\"db\", \"web\"]", "E0114"),
        ("anchor = \"db\"", "anchor = \"dbb\"", "E0106"),
        ("rows = \"db:media_file.path\"", "rows = \"media_file\"", "E0114"),
        ("from = \"rotate\"", "from = \"moon\"", "E0106"),
        ("labels = [\"pii\"", "labels = [\"secrte\"", "E0104"),
        ("path = \"media/\"", "path = \"media\\u0000\"", "E0104"),
        (
            "password = { file = \"~/.config/recoup/shop.password\" }",
            "password = { literal = \"x\" }",
            "E0112",
        ),
    ];
    for (line, other, code) in cases {
        let error = read(&with(line, other)).expect_err(other);
        assert_eq!(error.stable_code(), Some(*code), "{other}: {:?}\n{:?}", error, error.excerpt_text());
    }
}

#[test]
fn hostile_files_are_bounded_and_harmless() {
    let deep = format!("version = 1\napp = \"a\"\nx = {}1{}\n", "[".repeat(60), "]".repeat(60));
    assert!(read(&deep).is_err());
    assert!(read(&format!("version = 1\napp = \"a\"\nx = {}\n", "{a=".repeat(5000))).is_err());
    // Bidirectional and control characters cannot speak to the terminal, wherever they stand.
    let shown = excerpt("version = 1\napp = \"a\"\n\"x\u{202e}\u{1b}[31m\" = 1\n# \u{202e} \u{1b}\n");
    assert!(!shown.contains(['\u{202e}', '\u{1b}']), "{shown:?}");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("recoup.toml"), " ".repeat(2 << 20)).unwrap();
    let error = load(&LoadOptions { start: dir.path().into(), ..LoadOptions::default() }).unwrap_err();
    assert_eq!(error.stable_code(), Some("E0108"));
}

#[test]
fn the_nearest_file_wins_and_the_overlay_goes_over_it() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("a/b");
    std::fs::create_dir_all(&inner).unwrap();
    let options =
        |start: &Path| LoadOptions { start: start.into(), variables: variables(), ..LoadOptions::default() };
    assert_eq!(load(&options(&inner)).unwrap_err().stable_code(), Some("E0100"));

    std::fs::write(
        dir.path().join("pyproject.toml"),
        "[project]\nname = \"x\"\n[tool.other]\nkey = 1\n[tool.recoup]\nversion = 1\napp = \"small\"\n",
    )
    .unwrap();
    let small = load(&options(&inner)).unwrap();
    assert_eq!((small.config.app.as_str(), small.root.as_path()), ("small", dir.path()));

    std::fs::write(dir.path().join("recoup.toml"), GOOD).unwrap();
    let both = load(&options(&inner)).unwrap();
    assert_eq!(both.config.app, "shop");
    assert_eq!(both.warnings[0].code, "W0401");

    std::fs::write(dir.path().join("recoup.staging.toml"), "[class.critical]\nrpo = \"2h\"\n").unwrap();
    let staging = load(&LoadOptions { overlay: Some("staging".into()), ..options(&inner) }).unwrap();
    assert_eq!(staging.config.classes["critical"].rpo.unwrap().as_secs(), 7200);
    assert_eq!(staging.config.classes["critical"].rto.unwrap().as_secs(), 1800);
    let shown = effective::text(&effective::settings(&staging), true);
    assert!(shown.contains("class.critical.rpo = \"2h\"  # recoup.staging.toml:2"), "{shown}");
    assert!(shown.contains("app = \"shop\"  # recoup.toml:3"), "{shown}");
    // Text from the environment may be private: it is shown as written.
    assert!(shown.contains("${env:SHOP_DATA:-data}"), "{shown}");
    let again: toml::Table = effective::text(&effective::settings(&staging), false).parse().unwrap();
    assert_eq!(again["app"].as_str(), Some("shop"));

    let missing = load(&LoadOptions { overlay: Some("moon".into()), ..options(&inner) }).unwrap_err();
    assert_eq!(missing.stable_code(), Some("E0117"));
}

#[test]
fn what_seals_a_kit_is_named_and_not_chosen_by_a_variable() {
    let keys = |line: &str| with("[keys]\n", &format!("[keys]\n{line}\n"));
    let loaded =
        read(&keys("wrap = [[\"age\", \"-r\", \"${env:HOME}\"]]\nkit = { prove_every = \"30d\" }")).unwrap();
    let declared = loaded.config.keys.unwrap();
    assert_eq!(declared.wrap, [["age", "-r", "/home/dana"]]);
    assert_eq!(declared.kit.unwrap().prove_every.unwrap().as_secs(), 30 * 86_400);
    for (line, code) in [
        ("wrap = [[\"${env:HOME}/seal\"]]", "E0107"),
        ("wrap = [[]]", "E0104"),
        ("wrap = [\"age -r somebody\"]", "E0103"),
        ("kit = { prove_every = 30 }", "E0103"),
        ("kit = { parts = \"2 of 3\" }", "E0102"),
    ] {
        assert_eq!(read(&keys(line)).unwrap_err().stable_code(), Some(code), "{line}");
    }
}

#[test]
fn the_schema_in_the_reference_is_the_one_in_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/recoup.schema.json");
    if std::env::var_os("RECOUP_UPDATE_DOCS").is_some() {
        std::fs::write(&path, schema::text()).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == schema::text(), "run the test with RECOUP_UPDATE_DOCS=1 and look at the difference");
}

/// Pieces of configuration that the guides show, each beside what every configuration has.
#[test]
fn what_the_guides_show_of_a_configuration_is_read() {
    const HEAD: &str =
        "version = 1\napp = \"shop\"\n[location.local]\nkind = \"local\"\npath = \"../repo\"\n";
    const KEYS: &str = "[keys]\npassword = { file = \"../password\" }\n";
    let guides = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides");
    let mut read = 0;
    for page in std::fs::read_dir(guides).unwrap().map(|e| e.unwrap().path()) {
        let text = std::fs::read_to_string(&page).unwrap();
        for block in text.split("\n```toml\n").skip(1) {
            let block = block.split("\n```").next().unwrap();
            let keys = if block.contains("[keys]") { "" } else { KEYS };
            let whole = format!("{HEAD}{keys}{block}\n");
            let parsed = parse(&whole, Path::new("/project/recoup.toml"), &Variables::default());
            assert!(parsed.is_ok(), "{}: {}", page.display(), parsed.unwrap_err());
            read += 1;
        }
    }
    assert!(read > 0);
}
