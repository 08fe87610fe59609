//! Variables in plain strings: `${env:NAME}` and `${env:NAME:-default}`; `\${` is a plain `${`.
//!
//! Nothing is filled in inside `command`, `start`, `stop`, `rebuild` and other lists of arguments at
//! their first place: a file must not choose a program by a variable. `${port}` and `${scratch:...}`
//! are filled in by the drill and pass through unchanged in the drill variant of a service.

use super::node::{Field, Node, Value};
use super::problem::{Problem, Problems};
use crate::env::Variables;

/// Keys whose value is a list of arguments.
const ARGUMENTS: [&str; 5] = ["command", "start", "stop", "rebuild", "password_command"];

/// Fills in all variables below `root`.
pub(super) fn fill(root: &mut Node, variables: &Variables, problems: &mut Problems) {
    walk(root, "", false, variables, problems);
}

fn walk(node: &mut Node, key: &str, in_drill: bool, variables: &Variables, problems: &mut Problems) {
    match &mut node.value {
        Value::Text(_) => text(node, in_drill, variables, problems),
        Value::List(list) => {
            let fixed = usize::from(ARGUMENTS.contains(&key));
            for program in list.iter().take(fixed).filter(|n| n.text().is_some_and(|t| t.contains("${"))) {
                problems.push(
                    Problem::error("E0107", "a variable may not choose the program to run")
                        .at(&program.at)
                        .hint("write the program's name; arguments after it may hold variables"),
                );
            }
            // A list of commands: each of them is a list of arguments.
            let inner = if key == "wrap" { "command" } else { "" };
            for item in list.iter_mut().skip(fixed) {
                walk(item, inner, in_drill, variables, problems);
            }
        }
        Value::Table(fields) => {
            for Field { key, node, .. } in fields {
                walk(node, key, in_drill || key == "drill" || key == "health", variables, problems);
            }
        }
        _ => {}
    }
}

fn text(node: &mut Node, in_drill: bool, variables: &Variables, problems: &mut Problems) {
    let Some(raw) = node.text().filter(|t| t.contains("${")).map(str::to_owned) else { return };
    match expand(&raw, in_drill, variables) {
        Ok(filled) => {
            node.value = Value::Text(filled);
            node.raw = Some(raw);
        }
        Err((label, hint)) => problems.push(
            Problem::error("E0107", "a variable cannot be filled in").at(&node.at).label(label).hint(hint),
        ),
    }
}

fn expand(raw: &str, in_drill: bool, variables: &Variables) -> Result<String, (String, String)> {
    let mut out = String::new();
    let mut rest = raw;
    while let Some(start) = rest.find("${") {
        let before = &rest[..start];
        if let Some(plain) = before.strip_suffix('\\') {
            out.push_str(plain);
            out.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        out.push_str(before);
        let end = rest[start..].find('}').ok_or_else(|| {
            ("`${` without `}`".to_owned(), "close the brace, or write `\\${` in a literal string".to_owned())
        })?;
        let inner = &rest[start + 2..start + end];
        if in_drill && (inner == "port" || inner.starts_with("scratch:")) {
            out.push_str(&rest[start..=start + end]);
        } else {
            out.push_str(&variable(inner, variables)?);
        }
        rest = &rest[start + end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn variable(inner: &str, variables: &Variables) -> Result<String, (String, String)> {
    let Some(name) = inner.strip_prefix("env:") else {
        return Err((
            format!("`{inner}` is not a variable that recoup knows"),
            "write `${env:NAME}` or `${env:NAME:-default}`".to_owned(),
        ));
    };
    let (name, default) = match name.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (name, None),
    };
    match (variables.get(name), default) {
        (Some(value), _) if !value.is_empty() => value.to_str().map(str::to_owned).ok_or_else(|| {
            (format!("the value of `{name}` is not UTF-8"), "give it a value in UTF-8".to_owned())
        }),
        (_, Some(default)) => Ok(default.to_owned()),
        (Some(_), None) => Ok(String::new()),
        (None, None) => Err((
            format!("the environment has no `{name}`"),
            format!("set `{name}`, or write `${{env:{name}:-default}}`"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_forms_are_filled_in() {
        let v = Variables::from_pairs([("A", "x"), ("E", "")]);
        let ok = |raw: &str| expand(raw, false, &v).unwrap();
        assert_eq!(ok("p/${env:A}/${env:B:-d}/${env:E:-e}/${env:E}"), "p/x/d/e/");
        assert_eq!(ok("\\${env:A}"), "${env:A}");
        assert!(expand("${env:B}", false, &v).is_err());
        assert!(expand("${port}", false, &v).is_err());
        assert_eq!(expand("h:${port}/${scratch:db}", true, &v).unwrap(), "h:${port}/${scratch:db}");
        assert!(expand("${env:A", false, &v).is_err());
        assert!(expand("${HOME}", false, &v).is_err());
    }
}
