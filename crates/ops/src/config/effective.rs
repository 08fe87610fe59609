//! What is in force: every value with the line it came from.

use super::load::Loaded;
use super::node::{Node, Value};
use serde::Serialize;
use serde_json::Value as Json;

/// One value in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// Dotted path, as in `class.critical.rpo`.
    pub key: String,
    /// The value. Text filled in from the environment is shown as written, because it may be private.
    pub value: Json,
    /// Where it was written, as in `recoup.toml:12`.
    pub origin: String,
}

/// All values in the order of the file, overlays in the place of what they replace.
pub fn settings(loaded: &Loaded) -> Vec<Setting> {
    let mut out = vec![];
    collect(&loaded.tree, String::new(), &mut out);
    out
}

fn collect(node: &Node, key: String, out: &mut Vec<Setting>) {
    if let Value::Table(fields) = &node.value
        && !fields.is_empty()
    {
        for field in fields {
            let name = if needs_quotes(&field.key) {
                Json::from(field.key.as_str()).to_string()
            } else {
                field.key.clone()
            };
            let path = if key.is_empty() { name } else { format!("{key}.{name}") };
            collect(&field.node, path, out);
        }
        return;
    }
    out.push(Setting { key, value: as_written(node), origin: node.at.short() });
}

fn needs_quotes(key: &str) -> bool {
    key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn as_written(node: &Node) -> Json {
    match (&node.raw, &node.value) {
        (Some(raw), _) => Json::from(raw.as_str()),
        (None, Value::List(list)) => list.iter().map(as_written).collect(),
        _ => node.to_json(),
    }
}

/// The settings as TOML lines, with their origins if `origin`.
pub fn text(settings: &[Setting], origin: bool) -> String {
    let mut out = String::new();
    for setting in settings {
        // JSON strings, numbers, booleans and arrays of them are TOML as they stand.
        out.push_str(&format!("{} = {}", setting.key, setting.value));
        if origin {
            out.push_str(&format!("  # {}", setting.origin));
        }
        out.push('\n');
    }
    out
}
