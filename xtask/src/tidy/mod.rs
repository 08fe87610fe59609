//! The rules of the house, each in a few lines, all run together. A rule that matters is a test.

mod architecture;
mod codes;
mod drivers;
mod fences;
mod floors;
mod fragments;
mod modules;
mod packages;
mod sizes;
mod test_files;
mod words;

use crate::tree::Tree;

/// One broken rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    path: String,
    line: usize,
    rule: &'static str,
    text: String,
}

/// Where a rule says what it found.
#[derive(Default)]
pub(crate) struct Report {
    problems: Vec<Problem>,
}

impl Report {
    /// Line 0 means the file as a whole.
    pub(crate) fn add(&mut self, path: &str, line: usize, rule: &'static str, text: impl Into<String>) {
        self.problems.push(Problem { path: path.to_owned(), line, rule, text: text.into() });
    }
}

type Rule = fn(&Tree, &mut Report);

const RULES: [(&str, Rule); 11] = [
    ("floors", floors::check),
    ("modules", modules::check),
    ("sizes", sizes::check),
    ("fences", fences::check),
    ("drivers", drivers::check),
    ("codes", codes::check),
    ("architecture", architecture::check),
    ("words", words::check),
    ("test files", test_files::check),
    ("packages", packages::check),
    ("fragments", fragments::check),
];

/// Runs every rule. The answer is a line for people; an error is the list of what is broken.
pub(crate) fn run(fix: bool) -> Result<String, String> {
    if fix {
        architecture::rewrite(&Tree::read()?)?;
    }
    let tree = Tree::read()?;
    let mut report = Report::default();
    for (_, rule) in RULES {
        rule(&tree, &mut report);
    }
    let mut problems = report.problems;
    if problems.is_empty() {
        let names: Vec<&str> = RULES.iter().map(|(name, _)| *name).collect();
        return Ok(format!("tidy: {} rules kept ({})", names.len(), names.join(", ")));
    }
    problems.sort();
    let mut said = String::new();
    for p in &problems {
        let place = if p.line == 0 { p.path.clone() } else { format!("{}:{}", p.path, p.line) };
        said.push_str(&format!("{place}: [{}] {}\n", p.rule, p.text));
    }
    said.push_str(&format!("tidy: {} broken", problems.len()));
    Err(said)
}
