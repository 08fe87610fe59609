//! A crate may depend only on the crates below it.

use super::Report;
use crate::tree::Tree;

/// Each crate with the crates of this workspace that it may use when it ships.
const FLOORS: [(&str, &[&str]); 8] = [
    ("core", &[]),
    ("store", &["core"]),
    ("sources", &["core"]),
    ("repo", &["core", "store"]),
    ("ops", &["core", "store", "sources", "repo"]),
    ("cli", &["core", "store", "sources", "repo", "ops"]),
    ("testkit", &["core", "store", "repo"]),
    ("repo-tests", &[]),
];

/// Third-party crates that the deciding floor never gets: they do, it decides.
const NOT_IN_CORE: [&str; 7] = ["tokio", "rusqlite", "rustix", "nix", "rand", "tempfile", "futures-util"];

pub(super) fn check(tree: &Tree, report: &mut Report) {
    for name in tree.crates() {
        let path = format!("crates/{name}/Cargo.toml");
        let Some((_, allowed)) = FLOORS.iter().find(|(floor, _)| *floor == name) else {
            report.add(&path, 0, "floors", "this crate has no floor: add it to xtask/src/tidy/floors.rs");
            continue;
        };
        let manifest = match tree.text(&path).unwrap_or_default().parse::<toml::Table>() {
            Ok(manifest) => manifest,
            Err(e) => {
                report.add(&path, 0, "floors", format!("not TOML: {e}"));
                continue;
            }
        };
        for table in ["dependencies", "build-dependencies"] {
            for used in keys(&manifest, table) {
                let own = used.strip_prefix("recoup-");
                if own.is_some_and(|own| !allowed.contains(&own)) || used == "recoup" {
                    report.add(&path, 0, "floors", format!("{name} may not use {used}: it is not below it"));
                }
                if name == "core" && NOT_IN_CORE.contains(&used.as_str()) {
                    report.add(
                        &path,
                        0,
                        "floors",
                        format!("core never does anything, so it never gets {used}"),
                    );
                }
            }
        }
        if manifest.get("lints").and_then(|l| l.get("workspace")).and_then(toml::Value::as_bool) != Some(true)
        {
            report.add(
                &path,
                0,
                "floors",
                "the lints of the workspace are not switched on ([lints] workspace = true)",
            );
        }
    }
}

fn keys(manifest: &toml::Table, table: &str) -> Vec<String> {
    let Some(table) = manifest.get(table).and_then(toml::Value::as_table) else { return Vec::new() };
    table.keys().cloned().collect()
}
