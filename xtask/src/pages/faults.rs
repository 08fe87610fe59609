//! Which test covers which fault. A test says it in its name: `row_027_bit_flip_in_a_data_pack`.

use super::{cell, head};
use crate::rust_text::RustText;
use crate::tree::Tree;
use std::collections::BTreeMap;

/// The faults that this version must survive or name, in the project's own words.
const TABLE: &str = "docs/faults.toml";

pub(super) fn page(tree: &Tree) -> Result<String, String> {
    let table = tree.text(TABLE).ok_or_else(|| format!("{TABLE} is missing"))?;
    let table: toml::Table = table.parse().map_err(|e| format!("{TABLE}: {e}"))?;
    let mut faults: BTreeMap<u32, (String, Vec<String>)> = BTreeMap::new();
    for (row, text) in &table {
        let number = row.parse().map_err(|_| format!("{TABLE}: {row} is no number"))?;
        faults.insert(number, (text.as_str().unwrap_or_default().to_owned(), Vec::new()));
    }
    for (row, test, path) in tests(tree) {
        let fault =
            faults.get_mut(&row).ok_or_else(|| format!("{path}: {test}: {TABLE} has no row {row}"))?;
        fault.1.push(format!("`{test}` ({path})"));
    }
    let bare: Vec<String> =
        faults.iter().filter(|(_, (_, tests))| tests.is_empty()).map(|(r, _)| r.to_string()).collect();
    let mut page = head("Faults and the tests that cover them");
    page.push_str(
        "\nEach row is something that goes wrong in the field. Its tests show that it ends in a named error \
         and the right exit code, and that nothing is lost.\n\n| row | what goes wrong | tests |\n|---|---|---|\n",
    );
    for (row, (text, mut tests)) in faults.clone() {
        tests.sort();
        let tests = if tests.is_empty() { "none yet".to_owned() } else { tests.join("<br>") };
        page.push_str(&format!("| {row} | {} | {tests} |\n", cell(&text)));
    }
    let covered = faults.len() - bare.len();
    page.push_str(&format!("\n{covered} of {} rows are covered", faults.len()));
    page.push_str(&if bare.is_empty() {
        ".\n".to_owned()
    } else {
        format!("; not yet: {}.\n", bare.join(", "))
    });
    Ok(page)
}

/// Every `fn row_NNN_..` with its row and its file; a name may hold several rows: `row_141_142_..`.
fn tests(tree: &Tree) -> Vec<(u32, String, String)> {
    let mut found = Vec::new();
    for (path, text) in tree.files("", ".rs").filter(|(path, _)| !path.starts_with("xtask/")) {
        found.extend(
            named(&RustText::new(text).code, "fn ").into_iter().map(|(r, t)| (r, t, path.to_owned())),
        );
    }
    for (path, text) in tree.files("python/tests/", ".py") {
        found.extend(named(text, "def test_").into_iter().map(|(r, t)| (r, t, path.to_owned())));
    }
    found
}

fn named(code: &str, before: &str) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for mark in [format!("{before}row_"), format!("{before}rows_")] {
        for (at, _) in code.match_indices(&mark) {
            let name: String =
                code[at + before.len()..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let words = name.split('_').filter(|word| !matches!(*word, "row" | "rows"));
            for row in words.map_while(|word| word.parse::<u32>().ok()) {
                found.push((row, name.clone()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_from_names() {
        let code =
            "fn row_027_flip() {} async fn row_141_row_142_names() {} fn narrow_3() {} fn rows_7_8_x() {}";
        let rows: Vec<u32> = named(code, "fn ").into_iter().map(|(row, _)| row).collect();
        assert_eq!(rows, [27, 141, 142, 7, 8]);
    }
}
