//! The reference of `recoup.toml`, from the same JSON Schema that editors and the strict reader use.

use super::{cell, head};
use serde_json::{Map, Value};

pub(super) fn page(schema: &Value) -> String {
    let mut page = head("recoup.toml");
    page.push_str(
        "\nAn unknown key is an error. Durations and sizes have a unit (`\"15m\"`, `\"40 GiB\"`). \
         A secret is a reference: `{ env = \"NAME\" }`, `{ file = \"PATH\" }` or `{ command = [\"PROGRAM\", ..] }`. \
         Editors understand the file through `recoup.schema.json` beside this page.\n",
    );
    page.push_str("\n## the top of the file\n");
    let top = properties(schema);
    let (tables, plain): (Vec<_>, Vec<_>) = top.into_iter().partition(|(_, value)| is_table(value));
    rows("", plain, schema, &mut page);
    for (name, value) in tables {
        match value.get("additionalProperties").filter(|each| each.is_object()) {
            Some(each) => section(&format!("[{name}.NAME]"), value, each, &mut page),
            None => section(&format!("[{name}]"), value, value, &mut page),
        }
    }
    page
}

/// One table of the file; a choice of shapes (`oneOf`) gives a list of keys for each.
fn section(title: &str, about: &Value, schema: &Value, page: &mut String) {
    page.push_str(&format!("\n## `{title}`\n"));
    let (outer, inner) = (description(about), description(schema));
    for said in [&outer, &inner] {
        if !said.is_empty() && (std::ptr::eq(said, &outer) || outer != inner) {
            page.push_str(&format!("\n{said}\n"));
        }
    }
    match schema.get("oneOf").and_then(Value::as_array) {
        None => rows("", properties(schema), schema, page),
        Some(shapes) => {
            for shape in shapes {
                let kind = shape.pointer("/properties/kind/const").and_then(Value::as_str).unwrap_or("other");
                page.push_str(&format!("\n### `kind = \"{kind}\"`\n"));
                if !description(shape).is_empty() {
                    page.push_str(&format!("\n{}\n", description(shape)));
                }
                rows("", properties(shape), shape, page);
            }
        }
    }
}

fn rows(prefix: &str, keys: Vec<(&String, &Value)>, schema: &Value, page: &mut String) {
    if prefix.is_empty() {
        page.push_str("\n| key | type | what it says |\n|---|---|---|\n");
    }
    let needed: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (key, value) in keys {
        let path = format!("{prefix}{key}");
        let must = if needed.contains(&key.as_str()) { ", required" } else { "" };
        let usual = value.get("default").map(|d| format!(" Default: `{d}`.")).unwrap_or_default();
        let said = cell(&description(value));
        page.push_str(&format!("| `{path}` | {}{must} | {said}{} |\n", cell(&kind(value)), cell(&usual)));
        let inner = properties(value);
        if !inner.is_empty() {
            rows(&format!("{path}."), inner, value, page);
        } else if let Some(each) =
            value.get("additionalProperties").filter(|each| each.get("properties").is_some())
        {
            rows(&format!("{path}.NAME."), properties(each), each, page);
        }
    }
}

fn properties(schema: &Value) -> Vec<(&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::iter).collect()
}

fn is_table(value: &Value) -> bool {
    let of_tables = value
        .get("additionalProperties")
        .is_some_and(|each| each.get("properties").is_some() || each.get("oneOf").is_some());
    value.get("properties").is_some() || of_tables
}

fn description(value: &Value) -> String {
    value.get("description").and_then(Value::as_str).unwrap_or_default().trim().replace('\n', " ")
}

/// The type of a value in words.
fn kind(value: &Value) -> String {
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(parts) = value.get(key).and_then(Value::as_array) {
            let mut names: Vec<String> = parts.iter().map(kind).collect();
            names.dedup();
            return names.join(" or ");
        }
    }
    if let Some(values) = value.get("enum").and_then(Value::as_array) {
        return values.iter().map(|v| format!("`{v}`")).collect::<Vec<_>>().join(" or ");
    }
    if let Some(only) = value.get("const") {
        return format!("`{only}`");
    }
    match value.get("type").and_then(Value::as_str) {
        Some("array") => {
            format!("list of {}", value.get("items").map_or_else(|| "anything".to_owned(), kind))
        }
        Some("object") => match value.get("additionalProperties").filter(|each| each.is_object()) {
            Some(each) if each.get("properties").is_none() => format!("table of {}", kind(each)),
            _ => match properties(value).as_slice() {
                [(only, inner)] => format!("{{ {only} = {} }}", kind(inner)),
                _ => "table".to_owned(),
            },
        },
        Some(name) => name.to_owned(),
        None => "anything".to_owned(),
    }
}
