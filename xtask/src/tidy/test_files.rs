//! Each test file is run by somebody, and no test is switched off.

use super::Report;
use crate::rust_text::RustText;
use crate::tree::Tree;

pub(super) fn check(tree: &Tree, report: &mut Report) {
    for (path, text) in tree.files("crates/", ".rs") {
        if let Some((folder, inside)) = path.split_once("/tests/").filter(|_| !path.contains("/src/")) {
            // Cargo runs tests/NAME.rs and tests/NAME/main.rs by itself; another file deeper down must be a module of one of those.
            if inside.contains('/') && !inside.contains("fixtures/") && !is_module(tree, folder, inside) {
                report.add(
                    path,
                    0,
                    "test files",
                    "no file in tests/ declares this module, so nothing runs it",
                );
            }
        }
        for (number, line) in RustText::new(text).code.lines().enumerate() {
            if line.contains("#[ignore") {
                report.add(
                    path,
                    number + 1,
                    "test files",
                    "a test is never switched off: fix it or remove it",
                );
            }
        }
    }
    for (path, _) in tree.files("crates/", "/Cargo.toml") {
        if tree.text(path).is_some_and(|text| text.contains("autotests")) {
            report.add(path, 0, "test files", "autotests must stay on, or test files are forgotten");
        }
    }
    for (path, text) in tree.files("python/tests/", ".py") {
        let name = path.rsplit('/').next().unwrap_or(path);
        let collected = name.starts_with("test_") || name == "conftest.py";
        if !collected {
            report.add(path, 0, "test files", "pytest collects only test_*.py and conftest.py");
        }
        if text.contains("mark.skip") || text.contains("pytest.skip") {
            report.add(path, 0, "test files", "a test is never switched off: fix it or remove it");
        }
    }
}

fn is_module(tree: &Tree, folder: &str, inside: &str) -> bool {
    let named =
        tree.text(&format!("{folder}/Cargo.toml")).is_some_and(|m| m.contains(&format!("tests/{inside}")));
    if named || (inside.ends_with("/main.rs") && inside.matches('/').count() == 1) {
        return true;
    }
    let name = inside.trim_end_matches(".rs").trim_end_matches("/mod");
    let name = name.rsplit('/').next().unwrap_or(name);
    let tests = format!("{folder}/tests/");
    tree.files(&tests, ".rs").any(|(path, text)| {
        let declares =
            text.lines().any(|line| line.trim_start_matches("pub ").trim() == format!("mod {name};"));
        let points = text.contains("#[path") && text.contains(inside.rsplit('/').next().unwrap_or(inside));
        path != format!("{tests}{inside}") && (declares || points)
    })
}
