//! Instructions of the hot loops, counted under valgrind and compared with `bench/counts.toml`. Unlike
//! seconds they are the same on a busy machine. It never judges speed: valgrind hides SHA and AVX-512
//! instructions, so that only a change against the noted number says something.

use crate::tree;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILE: &str = "bench/counts.toml";
/// So much above the noted number fails.
const PERCENT_MAX: u64 = 5;
const HEAD: &str = "\
# Instructions of one turn of each case of crates/repo/benches/counts.rs, under valgrind.
# Written by `cargo xtask counts --write`; `--check` fails for more than 5 % above.
";

/// What to do with the counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Show,
    Check,
    Write,
}

/// Counts, and compares or notes.
pub(crate) fn run(mode: Mode) -> Result<String, String> {
    let program = build()?;
    let mut counts = BTreeMap::new();
    for case in cases(&program)?.lines() {
        let (one, two) = (count(&program, case, 1)?, count(&program, case, 2)?);
        counts.insert(case.to_owned(), two.saturating_sub(one));
    }
    let path = tree::root().join(FILE);
    if mode == Mode::Write {
        write(&path, &counts)?;
        return Ok(format!("{}\ncounts: wrote {FILE}", table(&counts, &BTreeMap::new())));
    }
    let noted = read(&path)?;
    let shown = table(&counts, &noted);
    let wrong = complaints(&counts, &noted);
    if mode == Mode::Show || wrong.is_empty() {
        return Ok(format!("{shown}\ncounts: {} cases run", counts.len()));
    }
    let compilers = format!("noted with {}, now {}", compiler_noted(&path), compiler());
    Err(format!(
        "{shown}\ncounts: {}\n({compilers})\nIf this is meant: cargo xtask counts --write, and say why",
        wrong.join("\ncounts: ")
    ))
}

/// Every case that costs more than it may, or that only one side knows.
fn complaints(counts: &BTreeMap<String, u64>, noted: &BTreeMap<String, u64>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (case, now) in counts {
        match noted.get(case) {
            None => wrong.push(format!("{case} is not noted in {FILE}")),
            Some(before) if *now * 100 > *before * (100 + PERCENT_MAX) => {
                let more = percent(*now, *before);
                wrong.push(format!(
                    "{case} takes {now} instructions, {more:.1} % more than the noted {before}"
                ));
            }
            Some(_) => {}
        }
    }
    let gone = noted.keys().filter(|case| !counts.contains_key(*case));
    wrong.extend(gone.map(|case| format!("{case} is noted in {FILE} and is no case any more")));
    wrong
}

fn percent(now: u64, before: u64) -> f64 {
    (now as f64 / before.max(1) as f64 - 1.0) * 100.0
}

fn table(counts: &BTreeMap<String, u64>, noted: &BTreeMap<String, u64>) -> String {
    let line = |(case, now): (&String, &u64)| match noted.get(case) {
        Some(before) => format!("{case:24} {now:>14} {:+7.1} %", percent(*now, *before)),
        None => format!("{case:24} {now:>14}"),
    };
    counts.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Builds the program, with the settings that the tests are built with, and says where it is.
#[allow(clippy::disallowed_methods, reason = "cargo builds")]
fn build() -> Result<PathBuf, String> {
    let words = ["build", "--quiet", "--locked", "--workspace", "--bench", "counts", "--message-format=json"];
    let said = said(Command::new("cargo").current_dir(tree::root()).args(words))?;
    let messages = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut programs = messages.filter_map(|m| m["executable"].as_str().map(PathBuf::from));
    programs.next().ok_or_else(|| "cargo built no program called counts".to_owned())
}

/// What the program can count, one a line.
#[allow(clippy::disallowed_methods, reason = "the program says its cases")]
fn cases(program: &Path) -> Result<String, String> {
    said(Command::new(program).arg("list"))
}

/// All instructions of a run, from its start to its end.
#[allow(clippy::disallowed_methods, reason = "valgrind counts")]
fn count(program: &Path, case: &str, times: u32) -> Result<u64, String> {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(program)
        .args([case, &times.to_string()])
        .env_clear()
        .envs([("PATH", "/usr/bin:/bin"), ("HOME", "/nonexistent"), ("LC_ALL", "C")]);
    let out = valgrind.output().map_err(|e| format!("cannot run valgrind: {e}"))?;
    let text = String::from_utf8_lossy(&out.stderr);
    let refs =
        text.lines().find_map(|line| line.split_once("refs:")).map(|(_, number)| number.replace(',', ""));
    match refs.and_then(|number| number.trim().parse().ok()) {
        Some(number) if out.status.success() => Ok(number),
        _ => Err(format!("valgrind could not count {case}: {text}")),
    }
}

fn said(command: &mut Command) -> Result<String, String> {
    let out = command.output().map_err(|e| format!("cannot run {command:?}: {e}"))?;
    if !out.status.success() {
        return Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&out.stderr)));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

fn document(path: &Path) -> Result<toml::Table, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {FILE}: {e}"))?;
    text.parse().map_err(|e| format!("cannot read {FILE}: {e}"))
}

fn read(path: &Path) -> Result<BTreeMap<String, u64>, String> {
    let document = document(path)?;
    let noted = document.get("instructions").and_then(toml::Value::as_table);
    let noted = noted.ok_or_else(|| format!("{FILE} has no [instructions]"))?;
    let number = |value: &toml::Value| value.as_integer().and_then(|n| u64::try_from(n).ok());
    let one = |(case, value): (&String, &toml::Value)| {
        let number = number(value).ok_or_else(|| format!("{FILE}: {case} is no number"))?;
        Ok((case.clone(), number))
    };
    noted.iter().map(one).collect()
}

#[allow(clippy::disallowed_methods, reason = "writes a file of the repository, under version control")]
fn write(path: &Path, counts: &BTreeMap<String, u64>) -> Result<(), String> {
    let lines: String = counts.iter().map(|(case, n)| format!("{case} = {n}\n")).collect();
    let text = format!("{HEAD}compiler = \"{}\"\n\n[instructions]\n{lines}", compiler());
    std::fs::write(path, text).map_err(|e| format!("cannot write {FILE}: {e}"))
}

fn compiler_noted(path: &Path) -> String {
    let document = document(path).unwrap_or_default();
    document.get("compiler").and_then(toml::Value::as_str).unwrap_or("an unknown compiler").to_owned()
}

#[allow(clippy::disallowed_methods, reason = "the compiler says its version")]
fn compiler() -> String {
    let said = said(Command::new("rustc").arg("--version")).unwrap_or_default();
    said.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
        of.iter().map(|(case, n)| ((*case).to_owned(), *n)).collect()
    }

    #[test]
    fn more_than_five_percent_is_a_complaint_and_less_is_none() {
        let noted = counts(&[("a", 1000), ("b", 1000), ("c", 1000)]);
        assert!(complaints(&counts(&[("a", 1050), ("b", 900), ("c", 1000)]), &noted).is_empty());
        let wrong = complaints(&counts(&[("a", 1051), ("d", 1)]), &noted);
        assert_eq!(wrong.len(), 4, "{wrong:?}");
        assert!(wrong[0].contains("5.1 %"), "{wrong:?}");
    }
}
