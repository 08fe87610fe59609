//! Why a point stays, for the plan and for people.

use super::retain::Rule;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a point stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Reason {
    /// A rule of a source's policy wants it.
    Rule {
        /// Name of the source.
        source: String,
        /// The rule.
        rule: Rule,
    },
    /// It is the newest of a source, or the newest that is complete.
    Newest {
        /// Name of the source.
        source: String,
    },
    /// It is the last of a source from which a restore or a drill passed.
    Proven {
        /// Name of the source.
        source: String,
        /// When that was.
        at: Timestamp,
    },
    /// The class of a source has no policy.
    NoPolicy {
        /// Name of the source.
        source: String,
    },
    /// It has a source that the configuration does not know: removed, or renamed. Nobody said how long it stays.
    Orphan {
        /// Name of the source; empty if the point has none at all.
        source: String,
    },
    /// Somebody holds it.
    Held {
        /// What was said when it was held.
        why: String,
    },
    /// Its application signs its points, and nobody vouches for this one.
    Unattested,
    /// It is dated later than now.
    Future,
    /// Something about it is suspicious and not settled.
    Suspect {
        /// What that is.
        why: String,
    },
    /// It came before a point under suspicion, and may be the last good one.
    BeforeSuspect {
        /// Full id of the point under suspicion.
        point: String,
    },
    /// Points that were made after it are dated before it: it says how young they are at least.
    Order,
    /// Nothing is deleted at the moment; see [`super::points::RetentionPlan::stopped_by`].
    Doubt,
}

impl fmt::Display for Reason {
    /// Names of sources are names of the configuration; words from outside are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escape = |text: &String| crate::name::escape(text.as_bytes());
        match self {
            Reason::Rule { source, rule } => write!(f, "{rule} of {}", escape(source)),
            Reason::Newest { source } => write!(f, "newest of {}", escape(source)),
            Reason::Proven { source, at } => write!(f, "last proven of {} ({at})", escape(source)),
            Reason::NoPolicy { source } => write!(f, "no policy for {}", escape(source)),
            Reason::Orphan { source } if source.is_empty() => f.write_str("orphan: it has no source"),
            Reason::Orphan { source } => write!(f, "orphan: {} is not declared", escape(source)),
            Reason::Held { why } => write!(f, "held: {}", escape(why)),
            Reason::Unattested => f.write_str("not attested"),
            Reason::Future => f.write_str("dated in the future"),
            Reason::Suspect { why } => write!(f, "suspect: {}", escape(why)),
            Reason::BeforeSuspect { point } => write!(f, "before the suspect {}", short(point)),
            Reason::Order => f.write_str("later points are dated before it"),
            Reason::Doubt => f.write_str("nothing is deleted while there is doubt"),
        }
    }
}

/// Reasons in one line; the rules of one source stand together.
pub fn words(reasons: &[Reason]) -> String {
    let mut rules: Vec<(&String, Vec<&str>)> = Vec::new();
    let mut parts: Vec<String> = Vec::new();
    for reason in reasons {
        match reason {
            Reason::Rule { source, rule } => match rules.iter_mut().find(|(of, _)| *of == source) {
                Some((_, words)) => words.push(rule.word()),
                None => rules.push((source, vec![rule.word()])),
            },
            other => parts.push(other.to_string()),
        }
    }
    let of_source = |(source, words): (&String, Vec<&str>)| {
        format!("{} of {}", words.join(" "), crate::name::escape(source.as_bytes()))
    };
    parts.extend(rules.into_iter().map(of_source));
    parts.join(", ")
}

/// Enough of an id to find the point by; ids from outside may hold anything.
fn short(id: &str) -> String {
    crate::name::escape(id.chars().take(8).collect::<String>().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_a_source_stand_together_and_names_are_escaped() {
        let rule = |source: &str, rule| Reason::Rule { source: source.into(), rule };
        let reasons = [
            Reason::Newest { source: "db".into() },
            rule("db", Rule::All),
            rule("db", Rule::Daily),
            Reason::Held { why: "case\u{1b}[2J".into() },
            rule("media", Rule::Monthly),
        ];
        let said = words(&reasons);
        assert!(said.starts_with("newest of db, held: case"), "{said}");
        assert!(said.ends_with("all daily of db, monthly of media") && !said.contains('\u{1b}'), "{said}");
    }
}
