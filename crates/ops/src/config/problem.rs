//! What is wrong with a configuration, where, and how to mend it; rendered with the lines concerned.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Element, Level, Renderer, Snippet};
use recoup_core::event::{Finding, Severity};
use recoup_core::name::escape;
use recoup_core::{Error, Kind};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// A place in one of the files that were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// The file.
    pub file: Arc<FileText>,
    /// Bytes of its text.
    pub span: Range<usize>,
}

impl At {
    /// The line, counted from 1.
    pub fn line(&self) -> usize {
        self.file.text.get(..self.span.start).map_or(1, |before| before.matches('\n').count() + 1)
    }

    /// `recoup.toml:12`.
    pub fn short(&self) -> String {
        format!("{}:{}", self.file.shown, self.line())
    }
}

/// A file that was read, whole.
#[derive(Debug, PartialEq, Eq)]
pub struct FileText {
    /// Where it is.
    pub path: PathBuf,
    /// How it is called in messages: relative to the project.
    pub shown: String,
    /// Its text.
    pub text: String,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Stable code.
    pub code: &'static str,
    /// Warnings do not stop anything.
    pub severity: Severity,
    /// What is wrong, in one line without a full stop.
    pub title: String,
    /// Where; `None` if it is about the file as a whole.
    pub at: Option<At>,
    /// Said at the marked place.
    pub label: String,
    /// What else there is to know.
    pub notes: Vec<String>,
    /// What to do.
    pub hints: Vec<String>,
    /// What it concerns, as in `source.db`, for those who read JSON.
    pub address: String,
}

impl Problem {
    /// An error.
    pub fn error(code: &'static str, title: impl Into<String>) -> Self {
        Problem {
            code,
            severity: Severity::High,
            title: title.into(),
            at: None,
            label: String::new(),
            notes: vec![],
            hints: vec![],
            address: String::new(),
        }
    }

    /// A warning.
    pub fn warning(code: &'static str, title: impl Into<String>) -> Self {
        Problem { severity: Severity::Warning, ..Problem::error(code, title) }
    }

    /// Something worth knowing.
    pub fn info(code: &'static str, title: impl Into<String>) -> Self {
        Problem { severity: Severity::Info, ..Problem::error(code, title) }
    }

    /// Marks the place.
    #[must_use]
    pub fn at(mut self, at: &At) -> Self {
        self.at = Some(at.clone());
        self
    }

    /// Says something at the marked place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Adds a note.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Names what it concerns.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self
    }

    /// The problem with its lines, as a compiler would show it, without colours.
    pub fn render(&self) -> String {
        let level = match self.severity {
            Severity::High => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Info => Level::INFO,
        };
        let title = escape(self.title.as_bytes());
        let label = escape(self.label.as_bytes());
        let text = self.at.as_ref().map(|at| masked(&at.file.text)).unwrap_or_default();
        let mut group = level.primary_title(title.as_str()).id(self.code).elements([] as [Element<'_>; 0]);
        if let Some(at) = &self.at {
            let mut mark = AnnotationKind::Primary.span(within(&at.span, &at.file.text));
            if !label.is_empty() {
                mark = mark.label(label.as_str());
            }
            group = group.element(
                Snippet::source(text.as_str()).path(at.file.shown.as_str()).fold(true).annotation(mark),
            );
        }
        let notes: Vec<String> = self.notes.iter().map(|note| escape(note.as_bytes())).collect();
        for note in &notes {
            group = group.element(Level::NOTE.message(note.as_str()));
        }
        let mut shown = Renderer::plain().decor_style(DecorStyle::Ascii).render(&[group]);
        if self.at.is_none() && !label.is_empty() {
            shown.push_str(&format!("\n  = {label}"));
        }
        if !self.hints.is_empty() {
            shown.push('\n');
        }
        for hint in &self.hints {
            shown.push_str(&format!("\nhint: {}", escape(hint.as_bytes())));
        }
        shown
    }

    /// The same for scripts.
    pub fn finding(&self) -> Finding {
        let place = self.at.as_ref().map(|at| format!(" ({})", at.short())).unwrap_or_default();
        let label = if self.label.is_empty() { String::new() } else { format!(": {}", self.label) };
        let message = escape(format!("{}{label}{place}", self.title).as_bytes());
        let fix = escape(self.hints.join("; ").as_bytes());
        Finding::new(self.code, self.severity, self.address.clone(), message, fix)
    }
}

/// Words in a key after which a string may be a secret, wherever somebody wrote it.
const SECRET_WORDS: [&str; 8] = ["password", "passwd", "secret", "token", "credential", "dsn", "pwd", "_key"];

/// The text with every string after a key that sounds like a secret, and every password in an
/// address, overwritten by stars. Lengths in bytes stay, so that marks still fit.
fn masked(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let lower = line.to_ascii_lowercase();
        for (at, _) in line.match_indices('=') {
            let before = lower[..at].trim_end().trim_end_matches(['"', '\'']);
            let key = before.rsplit(|c: char| c.is_whitespace() || matches!(c, ',' | '{' | '.')).next();
            if key.is_some_and(|key| SECRET_WORDS.iter().any(|word| key.contains(word))) {
                let value = &line[at + 1..];
                let lead = value.len() - value.trim_start().len();
                if let Some(quote) = value.trim_start().chars().next().filter(|c| matches!(c, '"' | '\'')) {
                    let from = at + 1 + lead + 1;
                    let to = line[from..].find(quote).map_or(line.trim_end().len(), |end| from + end);
                    bytes[start + from..start + to.max(from)].fill(b'*');
                }
            }
        }
        for (at, _) in line.match_indices("://") {
            let rest = &line[at + 3..];
            let end =
                rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '/')).unwrap_or(rest.len());
            if let Some((user, password)) =
                rest[..end].rsplit_once('@').and_then(|(who, _)| who.split_once(':'))
            {
                let from = start + at + 3 + user.len() + 1;
                bytes[from..from + password.len()].fill(b'*');
            }
        }
        start += line.len();
    }
    String::from_utf8(bytes).unwrap_or_default()
}

fn within(span: &Range<usize>, text: &str) -> Range<usize> {
    let mut span = span.start.min(text.len())..span.end.min(text.len());
    while !text.is_char_boundary(span.start) {
        span.start -= 1;
    }
    while !text.is_char_boundary(span.end) {
        span.end += 1;
    }
    span
}

/// Everything found wrong so far.
#[derive(Clone, Debug, Default)]
pub struct Problems(pub Vec<Problem>);

/// Problems shown at once; the rest is counted.
const SHOWN_MAX: usize = 20;

impl Problems {
    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Whether any of them is an error.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|p| p.severity == Severity::High)
    }

    /// One error for all of them; the warnings among them come along. The code is that of the first.
    pub fn into_error(mut self, doing: impl Into<String>) -> Error {
        self.0.sort_by_key(|p| (p.severity != Severity::High, p.at.as_ref().map(|at| at.span.start)));
        let errors = self.0.iter().filter(|p| p.severity == Severity::High).count();
        let code = self.0.first().map_or("E0101", |p| p.code);
        let mut shown: Vec<String> = self.0.iter().take(SHOWN_MAX).map(Problem::render).collect();
        if self.0.len() > SHOWN_MAX {
            shown.push(format!("and {} more", self.0.len() - SHOWN_MAX));
        }
        let mut error = Error::new(Kind::Config, doing)
            .code(code)
            .effect("nothing was attempted")
            .excerpt(shown.join("\n\n"));
        if errors > 1 {
            error = error.with("problems", errors);
        }
        match self.0.first().and_then(|p| p.hints.first()) {
            // The hint stands in the excerpt already; here it keeps scripts informed.
            Some(hint) => error.hint(escape(hint.as_bytes())),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_mask_what_sounds_like_a_secret() {
        let text = "pasword_key = \"s3cret\"\nx = { db_password = 'päss', n = 1 }\nurl = \"pg://u:pw@h/d\"\nok = \"plain\"\n";
        let hidden = masked(text);
        assert_eq!(hidden.len(), text.len());
        for secret in ["s3cret", "päss", "pw@"] {
            assert!(!hidden.contains(secret), "{hidden}");
        }
        assert!(hidden.contains("ok = \"plain\"") && hidden.contains("n = 1"));
    }
}
