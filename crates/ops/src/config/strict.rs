//! The tree against the schema: unknown keys with the nearest name, wrong types, missing keys,
//! quantities without units, literal secrets. Everything is found in one walk.

use super::node::{Field, Node, Value};
use super::problem::{Problem, Problems};
use super::units::{Comparison, Percent};
use recoup_core::Error;
use recoup_core::schedule::Schedule;
use recoup_core::units::{ByteSize, Span};
use serde_json::Value as Json;

/// Keys of the file's later shape. They are errors, as every unknown key is, but not typing mistakes.
const LATER: [&str; 29] = [
    "include",
    "immutable",
    "review_by",
    "image",
    "roles_and_grants",
    "slot",
    "databases",
    "exclude",
    "part",
    "dsn",
    "url",
    "messages",
    "on_restore",
    "quiesce",
    "wrap",
    "kit",
    "role",
    "person",
    "notify",
    "escalation",
    "approve",
    "exception",
    "scenario",
    "without",
    "cold",
    "people",
    "mask",
    "lock",
    "var",
];

/// Checks `root` against `schema`.
pub(super) fn check(root: &Node, schema: &Json, problems: &mut Problems) {
    walk(root, schema, &mut vec![], problems);
}

fn walk(node: &Node, schema: &Json, path: &mut Vec<String>, problems: &mut Problems) {
    if schema["format"] == "secret-reference" && !is_reference(node) {
        problems.push(literal_secret(node, path));
        return;
    }
    if let Some(options) = schema["oneOf"].as_array() {
        match choose(node, options, path) {
            Ok(Some(chosen)) => walk(node, chosen, path, problems),
            Ok(None) => {}
            Err(problem) => problems.push(*problem),
        }
        return;
    }
    let right = match schema["type"].as_str() {
        Some("string") => matches!(node.value, Value::Text(_)),
        Some("integer") => matches!(node.value, Value::Integer(_)),
        Some("number") => matches!(node.value, Value::Integer(_) | Value::Float(_)),
        Some("boolean") => matches!(node.value, Value::Bool(_)),
        Some("array") => matches!(node.value, Value::List(_)),
        Some("object") => matches!(node.value, Value::Table(_)),
        _ => true,
    };
    if !right {
        problems.push(wrong_type(node, schema, path));
        return;
    }
    match &node.value {
        Value::Table(fields) => table(node, fields, schema, path, problems),
        Value::List(list) => {
            if schema["minItems"].as_u64().is_some_and(|min| (list.len() as u64) < min) {
                problems.push(value_problem(node, path, "it is empty"));
            }
            list.iter().for_each(|item| walk(item, &schema["items"], path, problems));
        }
        Value::Text(text) => formatted(node, text, schema, path, problems),
        Value::Integer(n) => range(node, *n, schema, path, problems),
        _ => {}
    }
}

fn table(node: &Node, fields: &[Field], schema: &Json, path: &mut Vec<String>, problems: &mut Problems) {
    let known = schema["properties"].as_object();
    for field in fields {
        path.push(field.key.clone());
        let named = known.and_then(|k| k.get(&field.key));
        match (named, &schema["additionalProperties"]) {
            (Some(schema), _) => walk(&field.node, schema, path, problems),
            (None, Json::Bool(false)) => {
                let names: Vec<&str> = known.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                problems.push(unknown_key(field, &names, path));
            }
            (None, each) => {
                if schema["propertyNames"].is_object() && !is_name(&field.key) {
                    problems.push(bad_name(field, path));
                }
                walk(&field.node, each, path, problems);
            }
        }
        path.pop();
    }
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
        if node.get(key).is_none() {
            problems.push(missing(node, key, path, &schema["properties"][key]));
        }
    }
}

/// Which of the alternatives is meant: by the constant itself, or by the constant of `kind`.
fn choose<'s>(node: &Node, options: &'s [Json], path: &[String]) -> Result<Option<&'s Json>, Box<Problem>> {
    let of_kind = |option: &Json| option["properties"]["kind"]["const"].as_str().map(str::to_owned);
    let kinds: Vec<String> = options.iter().filter_map(of_kind).collect();
    if kinds.is_empty() {
        let mut constants: Vec<String> = vec![];
        for option in options {
            constants.extend(option["const"].as_str().map(str::to_owned));
            constants.extend(
                option["enum"].as_array().into_iter().flatten().filter_map(Json::as_str).map(str::to_owned),
            );
        }
        return one_of(node, &constants, path).map(|_| None);
    }
    let Some(kind) = node.get("kind") else {
        if !matches!(node.value, Value::Table(_)) {
            return Err(Box::new(wrong_type(node, &serde_json::json!({ "type": "object" }), path)));
        }
        let hint = format!("write `kind = \"{}\"`", kinds.join("\"` or `kind = \""));
        return Err(Box::new(missing(node, "kind", path, &Json::Null).hint(hint)));
    };
    let mut path = path.to_vec();
    path.push("kind".to_owned());
    one_of(kind, &kinds, &path).map(|found| options.get(found))
}

fn one_of(node: &Node, constants: &[String], path: &[String]) -> Result<usize, Box<Problem>> {
    let Some(text) = node.text() else {
        return Err(Box::new(wrong_type(node, &serde_json::json!({ "type": "string" }), path)));
    };
    constants.iter().position(|c| c == text).ok_or_else(|| {
        let names: Vec<&str> = constants.iter().map(String::as_str).collect();
        let problem = value_problem(node, path, "this version does not know it");
        Box::new(match nearest(text, &names) {
            Some(near) => problem.hint(format!("did you mean \"{near}\"?")),
            None => problem.hint(format!("write one of \"{}\"", names.join("\", \""))),
        })
    })
}

fn formatted(node: &Node, text: &str, schema: &Json, path: &[String], problems: &mut Problems) {
    if let Some(constants) = schema["enum"].as_array() {
        let constants: Vec<String> = constants.iter().filter_map(Json::as_str).map(str::to_owned).collect();
        problems.0.extend(one_of(node, &constants, path).err().map(|p| *p));
    }
    let failed: Option<Error> = match schema["format"].as_str() {
        Some("duration") => text.parse::<Span>().err(),
        Some("size") => text.parse::<ByteSize>().err(),
        Some("percent") => text.parse::<Percent>().err(),
        Some("schedule") => text.parse::<Schedule>().err(),
        Some("comparison") => text.parse::<Comparison>().err(),
        Some("time-zone") => jiff::tz::TimeZone::get(text).err().map(|_| {
            Error::new(recoup_core::Kind::Config, "find the time zone")
                .hint("write a name of the IANA database, as in \"Europe/Berlin\" or \"UTC\"")
        }),
        _ => None,
    };
    if let Some(error) = failed {
        let mut problem = value_problem(node, path, &format!("could not {}", error.doing()));
        if let Some(hint) = error.next_step() {
            problem = problem.hint(hint);
        }
        problems.push(problem);
    }
    if text.contains('\0') {
        problems.push(value_problem(node, path, "it has a NUL character"));
    }
}

fn range(node: &Node, n: i64, schema: &Json, path: &[String], problems: &mut Problems) {
    let min = schema["minimum"].as_i64().unwrap_or(i64::MIN);
    let max = schema["maximum"].as_i64().unwrap_or(i64::MAX);
    if n < min || n > max {
        problems.push(value_problem(node, path, &format!("must be from {min} to {max}")));
    }
}

fn is_reference(node: &Node) -> bool {
    node.fields().len() == 1 && ["env", "file", "command"].iter().any(|key| node.get(key).is_some())
}

/// Whether `text` may be the name of a class, a source and so on.
pub(super) fn is_name(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn dotted(path: &[String]) -> String {
    path.join(".")
}

fn unknown_key(field: &Field, names: &[&str], path: &[String]) -> Problem {
    let problem = Problem::error("E0102", format!("unknown key `{}`", dotted(path)))
        .at(&field.key_at)
        .address(dotted(path));
    if let Some(near) = nearest(&field.key, names) {
        return problem.label("not a key of this table").hint(format!("did you mean `{near}`?"));
    }
    if LATER.contains(&field.key.as_str()) {
        return problem
            .label("this version of recoup cannot do this yet")
            .hint("take it out: a promise that nobody keeps is worse than none");
    }
    let mut names = names.to_vec();
    names.sort_unstable();
    problem.label("not a key of this table").hint(format!("known here: {}", names.join(", ")))
}

/// The name nearest to `word`, if it is near enough to be what was meant.
pub(super) fn nearest<'n>(word: &str, names: &[&'n str]) -> Option<&'n str> {
    let near = names.iter().map(|name| (strsim::damerau_levenshtein(word, name), *name));
    let (distance, name) = near.min()?;
    (distance <= 1 + word.chars().count() / 4).then_some(name)
}

fn bad_name(field: &Field, path: &[String]) -> Problem {
    Problem::error("E0113", format!("`{}` cannot be a name", field.key))
        .at(&field.key_at)
        .label("letters, digits, `-` and `_`, at most 63 of them")
        .address(dotted(path))
        .hint("names become parts of paths and addresses; choose a plain one")
}

fn missing(node: &Node, key: &str, path: &[String], schema: &Json) -> Problem {
    let table = if path.is_empty() { "the file".to_owned() } else { format!("`{}`", dotted(path)) };
    let mut problem = Problem::error("E0105", format!("{table} has no `{key}`"))
        .at(&node.at)
        .label(format!("`{key}` belongs here"))
        .address(dotted(path));
    if let Some(about) = schema["description"].as_str() {
        problem = problem.note(format!("{key}: {}", about.replace('\n', " ")));
    }
    problem
}

fn wrong_type(node: &Node, schema: &Json, path: &[String]) -> Problem {
    let wanted = match schema["type"].as_str() {
        Some("string") => "a string",
        Some("integer") => "a whole number",
        Some("number") => "a number",
        Some("boolean") => "true or false",
        Some("array") => "an array",
        _ => "a table",
    };
    let problem = Problem::error("E0103", format!("`{}` must be {wanted}", dotted(path)))
        .at(&node.at)
        .label(format!("this is {}", node.type_name()))
        .address(dotted(path));
    let number = match node.value {
        Value::Integer(n) => n.to_string(),
        Value::Float(n) => n.to_string(),
        _ => String::new(),
    };
    match schema["format"].as_str() {
        Some("duration") if !number.is_empty() => {
            problem.hint(format!("a duration has a unit: \"{number}s\", \"{number}m\", \"{number}h\""))
        }
        Some("size") if !number.is_empty() => {
            problem.hint(format!("a size has a unit: \"{number} MiB\", \"{number} GiB\""))
        }
        Some("percent") if !number.is_empty() => {
            problem.hint(format!("a percentage has its sign: \"{number}%\""))
        }
        _ => match schema["examples"][0].as_str() {
            Some(example) => problem.hint(format!("write it as in \"{example}\"")),
            None => problem,
        },
    }
}

fn value_problem(node: &Node, path: &[String], label: &str) -> Problem {
    Problem::error("E0104", format!("`{}` has a value that cannot be used", dotted(path)))
        .at(&node.at)
        .label(label)
        .address(dotted(path))
}

/// No excerpt for a literal: it would show the secret.
fn literal_secret(node: &Node, path: &[String]) -> Problem {
    let key = path.last().map_or("password", String::as_str);
    let name = key.to_ascii_uppercase();
    let problem = Problem::error("E0112", format!("`{}` must say where the secret is kept", dotted(path)))
        .address(dotted(path))
        .hint(format!("{key} = {{ file = \"~/.config/recoup/{key}\" }}"))
        .hint(format!("{key} = {{ env = \"{name}\" }}"));
    match node.value {
        Value::Table(_) => problem.at(&node.at).label("exactly one of `env`, `file`, `command` belongs here"),
        _ => problem.note(format!("{} holds the secret itself; the line is not shown", node.at.short())),
    }
}
