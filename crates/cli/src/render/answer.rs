//! What a verb answers, in the four forms it can be written in.

use super::style::Style;
use clap::ValueEnum;
use recoup_core::event::{Finding, Outcome, Severity};
use serde::Serialize;
use serde_json::{Map, Value};
use std::io::{self, Write};

/// The form of standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables and sentences.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// One JSON object a line: events as they happen, the result last.
    Jsonl,
    /// JUnit XML, for test reports.
    Junit,
}

/// A verb's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Which verb answered, as in `repo backup`.
    pub(crate) kind: &'static str,
    /// How it went.
    pub(crate) outcome: Outcome,
    /// The exit code.
    pub(crate) code: u8,
    /// What was noticed.
    pub(crate) findings: Vec<Finding>,
    /// The verb's own fields.
    pub(crate) body: Map<String, Value>,
    /// The answer for people, ending in a newline.
    pub(crate) text: String,
    /// The findings stand in `text` already.
    pub(crate) text_has_findings: bool,
    /// The command that goes on from here; the last line on the screen.
    pub(crate) resume: Option<String>,
}

impl Answer {
    /// An answer of `kind`; the exit code follows from the outcome.
    pub(crate) fn new(kind: &'static str, outcome: Outcome, text: impl Into<String>) -> Self {
        Answer {
            kind,
            outcome,
            code: crate::exit::of_outcome(outcome),
            findings: Vec::new(),
            body: Map::new(),
            text: text.into(),
            text_has_findings: false,
            resume: None,
        }
    }

    /// Adds the verb's own fields: `fields` must be a JSON object.
    pub(crate) fn with(mut self, fields: impl Serialize) -> Self {
        if let Ok(Value::Object(map)) = serde_json::to_value(fields) {
            self.body.extend(map);
        }
        self
    }

    /// Adds what was noticed.
    pub(crate) fn findings(mut self, findings: Vec<Finding>) -> Self {
        self.findings = findings;
        self
    }

    /// Adds one more.
    pub(crate) fn finding(mut self, finding: Option<Finding>) -> Self {
        self.findings.extend(finding);
        self
    }

    /// Sets another exit code than the outcome's.
    pub(crate) fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The document for scripts.
    pub(crate) fn document(&self) -> Value {
        let mut doc = Map::new();
        doc.insert("schema".into(), "recoup/1".into());
        doc.insert("kind".into(), self.kind.into());
        doc.insert("outcome".into(), serde_json::to_value(self.outcome).unwrap_or_default());
        doc.insert("code".into(), self.code.into());
        doc.insert("findings".into(), serde_json::to_value(&self.findings).unwrap_or_default());
        for (key, value) in &self.body {
            doc.entry(key.clone()).or_insert_with(|| value.clone());
        }
        if let Some(resume) = &self.resume {
            doc.entry("resume").or_insert_with(|| resume.clone().into());
        }
        Value::Object(doc)
    }

    /// Writes the answer to standard output in `format`.
    ///
    /// # Errors
    /// As the operating system says; a closed pipe included.
    pub(crate) fn write(&self, format: Format, style: Style) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match format {
            Format::Text => {
                out.write_all(self.text.as_bytes())?;
                if !self.text_has_findings {
                    out.write_all(findings_text(&self.findings, style).as_bytes())?;
                }
                if let Some(resume) = &self.resume {
                    writeln!(out, "{resume}")?;
                }
            }
            // In one write: who is killed while it answers has said all of it or nothing.
            Format::Json => out.write_all(format!("{:#}\n", self.document()).as_bytes())?,
            Format::Jsonl => {
                let mut doc = self.document();
                if let Value::Object(map) = &mut doc {
                    map.insert("event".into(), "result".into());
                }
                out.write_all(format!("{doc}\n").as_bytes())?;
            }
            Format::Junit => out.write_all(self.junit().as_bytes())?,
        }
        out.flush()
    }

    /// One test case for the verb and one for every stage or check it reports.
    fn junit(&self) -> String {
        let mut cases = vec![(self.kind.to_owned(), self.outcome, String::new())];
        for list in ["stages", "checks"] {
            let Some(Value::Array(items)) = self.body.get(list) else { continue };
            for item in items {
                let name = item.get("name").and_then(Value::as_str).unwrap_or(list);
                let outcome = item.get("outcome").cloned().unwrap_or_default();
                let outcome = serde_json::from_value(outcome).unwrap_or(Outcome::Unknown);
                let detail = item.get("detail").and_then(Value::as_str).unwrap_or_default();
                cases.push((format!("{} {name}", self.kind), outcome, detail.to_owned()));
            }
        }
        for finding in self.findings.iter().filter(|f| f.severity == Severity::High) {
            cases.push((
                format!("{} {}", finding.id, finding.address),
                Outcome::Fail,
                finding.message.clone(),
            ));
        }
        let count = |want: fn(Outcome) -> bool| cases.iter().filter(|c| want(c.1)).count();
        let failures = count(|o| matches!(o, Outcome::Fail | Outcome::Refused | Outcome::Partial));
        let skipped = count(|o| o == Outcome::Unknown);
        let mut out = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"recoup\" tests=\"{}\" failures=\"{failures}\" skipped=\"{skipped}\">\n",
            cases.len()
        );
        for (name, outcome, detail) in &cases {
            let inner = match outcome {
                Outcome::Pass => String::new(),
                Outcome::Unknown => format!("<skipped message=\"{}\"/>", xml(detail)),
                _ => format!("<failure message=\"{}\"/>", xml(detail)),
            };
            out.push_str(&format!(
                "  <testcase classname=\"recoup\" name=\"{}\">{inner}</testcase>\n",
                xml(name)
            ));
        }
        out.push_str("</testsuite>\n");
        out
    }
}

/// Findings for people: severity, code, address, sentence, fix.
pub(crate) fn findings_text(findings: &[Finding], style: Style) -> String {
    let mut out = String::new();
    for f in findings {
        let word = match f.severity {
            Severity::High => style.red("high"),
            Severity::Warning => style.yellow("warning"),
            Severity::Info => style.dim("info"),
        };
        out.push_str(&format!("{word} {} {}: {}\n", style.bold(&f.id), f.address, f.message));
        if !f.fix.is_empty() {
            out.push_str(&format!("    fix: {}\n", f.fix));
        }
    }
    out
}

/// Text as it may stand in XML; control characters become spaces.
pub(crate) fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_what_scripts_rely_on() {
        let answer =
            Answer::new("points", Outcome::Partial, "text\n").with(serde_json::json!({"points": []}));
        let doc = answer.document();
        assert_eq!(doc["schema"], "recoup/1");
        assert_eq!(doc["outcome"], "partial");
        assert_eq!(doc["code"], 4);
        assert!(doc["findings"].as_array().unwrap().is_empty());
        assert!(doc["points"].is_array());
    }

    #[test]
    fn junit_escapes_names_from_outside() {
        let finding = Finding::new("R0203", Severity::High, "a<b>&\"", "m", "f");
        let text = Answer::new("drill", Outcome::Fail, "").findings(vec![finding]).junit();
        assert!(text.contains("R0203 a&lt;b&gt;&amp;&quot;"), "{text}");
        assert!(text.contains("tests=\"2\" failures=\"2\""), "{text}");
    }
}
