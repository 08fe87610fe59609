//! What is built in: how many packages, under which licences, from where, and which never. `deny.toml` is the table.

use super::Report;
use crate::tree::Tree;
use std::process::Command;

const TABLE: &str = "deny.toml";

/// More packages than this need a talk first: each is code that somebody must trust.
const PACKAGES_MAX: usize = 260;

pub(super) fn check(tree: &Tree, report: &mut Report) {
    let table = match tree.text(TABLE).map(str::parse::<toml::Table>) {
        Some(Ok(table)) => table,
        Some(Err(e)) => return report.add(TABLE, 0, "packages", format!("not TOML: {e}")),
        None => return report.add(TABLE, 0, "packages", "the table is missing"),
    };
    let packages = match metadata(tree) {
        Ok(packages) => packages,
        Err(why) => return report.add("Cargo.toml", 0, "packages", why),
    };
    if packages.len() > PACKAGES_MAX {
        report.add(
            "Cargo.lock",
            0,
            "packages",
            format!("{} packages, at most {PACKAGES_MAX}", packages.len()),
        );
    }
    let allowed = words(&table, "licenses", "allow");
    let banned = bans(&table);
    let registry = default_registry(&packages);
    for package in &packages {
        if !licence_fits(&package.licence, &allowed) {
            report.add(
                TABLE,
                0,
                "packages",
                format!("{}: the licence {:?} is not allowed", package.name, package.licence),
            );
        }
        if let Some((_, reason)) = banned.iter().find(|(name, _)| *name == package.name) {
            report.add("Cargo.lock", 0, "packages", format!("{} is banned: {reason}", package.name));
        }
        if package.source.is_some() && package.source != registry {
            report.add(
                "Cargo.lock",
                0,
                "packages",
                format!("{} does not come from the one registry that serde comes from", package.name),
            );
        }
    }
}

/// Where serde comes from: cargo's own default, which is the only place packages may come from. No
/// Git checkout, no second registry.
fn default_registry(packages: &[Package]) -> Option<String> {
    let serde = packages.iter().find(|p| p.name == "serde")?;
    serde.source.clone().filter(|source| source.starts_with("registry+"))
}

struct Package {
    name: String,
    licence: String,
    source: Option<String>,
}

#[allow(clippy::disallowed_methods, reason = "cargo is the only one who knows what it builds")]
fn metadata(tree: &Tree) -> Result<Vec<Package>, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let said = Command::new(cargo)
        .current_dir(tree.root())
        .args(["metadata", "--format-version", "1", "--locked", "--all-features"])
        .output()
        .map_err(|e| format!("cannot run cargo metadata: {e}"))?;
    if !said.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&said.stderr).trim()));
    }
    let said: serde_json::Value =
        serde_json::from_slice(&said.stdout).map_err(|e| format!("cargo metadata: {e}"))?;
    let word = |p: &serde_json::Value, key: &str| p[key].as_str().map(str::to_owned);
    let packages = said["packages"].as_array().ok_or("cargo metadata names no packages")?;
    Ok(packages
        .iter()
        .map(|p| Package {
            name: word(p, "name").unwrap_or_default(),
            licence: word(p, "license").unwrap_or_default(),
            source: word(p, "source"),
        })
        .collect())
}

/// Whether an SPDX expression can be satisfied by the allowed licences. `AND` and `OR` are read flat:
/// every part of an `AND`, one part of an `OR`; a `/` is the old way to write `OR`.
fn licence_fits(licence: &str, allowed: &[String]) -> bool {
    let licence = licence.replace('/', " OR ");
    let licence = licence.replace(['(', ')'], " ");
    licence.split(" AND ").all(|part| {
        part.split(" OR ").any(|name| {
            let name = name.split(" WITH ").next().unwrap_or(name).trim();
            allowed.iter().any(|a| a == name)
        })
    })
}

fn words(table: &toml::Table, section: &str, key: &str) -> Vec<String> {
    let list = table.get(section).and_then(|s| s.get(key)).and_then(toml::Value::as_array);
    list.into_iter().flatten().filter_map(toml::Value::as_str).map(str::to_owned).collect()
}

fn bans(table: &toml::Table) -> Vec<(String, String)> {
    let list = table.get("bans").and_then(|s| s.get("deny")).and_then(toml::Value::as_array);
    list.into_iter()
        .flatten()
        .map(|ban| {
            let word = |key| ban.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_owned();
            (word("crate"), word("reason"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_read_as_choices_and_sums() {
        let allowed = ["MIT".to_owned(), "Apache-2.0".to_owned(), "Unicode-3.0".to_owned()];
        assert!(licence_fits("MIT OR GPL-3.0", &allowed));
        assert!(licence_fits("(MIT OR Apache-2.0) AND Unicode-3.0", &allowed));
        assert!(licence_fits("Apache-2.0 WITH LLVM-exception", &allowed));
        assert!(!licence_fits("MIT AND GPL-3.0", &allowed));
        assert!(!licence_fits("", &allowed));
    }
}
