//! The reference of `recoup.toml`, from the same JSON Schema that editors use.

use super::{cell, head};
use crate::tree;
use serde_json::{Map, Value};

const SCHEMA: &str = "docs/reference/recoup.schema.json";

pub(super) fn page() -> Result<String, String> {
    let text = std::fs::read_to_string(tree::root().join(SCHEMA)).map_err(|e| format!("{SCHEMA}: {e}"))?;
    let schema: Value = serde_json::from_str(&text).map_err(|e| format!("{SCHEMA}: {e}"))?;
    let mut page = head("recoup.toml");
    page.push_str(
        "\nAn unknown key is an error. Durations and sizes have a unit (`\"15m\"`, `\"40 GiB\"`). \
         A secret is a reference: `{ env = \"NAME\" }`, `{ file = \"PATH\" }` or `{ command = [\"PROGRAM\", ..] }`.\n",
    );
    section("the file itself", &schema, &mut page);
    for (name, definition) in definitions(&schema) {
        section(name, definition, &mut page);
    }
    Ok(page)
}

fn definitions(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let found = schema.get("definitions").or(schema.get("$defs")).and_then(Value::as_object);
    found.into_iter().flat_map(Map::iter)
}

fn section(name: &str, schema: &Value, page: &mut String) {
    let variants: Vec<&Value> = ["oneOf", "anyOf"]
        .iter()
        .filter_map(|key| schema.get(*key).and_then(Value::as_array))
        .flatten()
        .filter(|v| v.get("properties").is_some() || v.get("const").is_some() || v.get("enum").is_some())
        .collect();
    let own = schema.get("properties").is_some();
    let choice = schema.get("enum").and_then(Value::as_array);
    if !own && variants.is_empty() && choice.is_none() && schema.get("description").is_none() {
        return;
    }
    page.push_str(&format!("\n## {name}\n"));
    if let Some(said) = schema.get("description").and_then(Value::as_str) {
        page.push_str(&format!("\n{}\n", said.trim()));
    }
    if let Some(choice) = choice {
        let names: Vec<String> = choice.iter().map(|v| format!("`{v}`")).collect();
        page.push_str(&format!("\nOne of {}.\n", names.join(", ")));
    }
    if own {
        table(schema, page);
    }
    for variant in variants {
        let title = variant_title(variant);
        page.push_str(&format!("\nEither {title}"));
        let said = variant.get("description").and_then(Value::as_str).unwrap_or_default();
        page.push_str(&if said.is_empty() {
            "\n".to_owned()
        } else {
            format!(": {}\n", said.replace('\n', " "))
        });
        if variant.get("properties").is_some() {
            table(variant, page);
        }
    }
}

fn variant_title(variant: &Value) -> String {
    if let Some(value) = variant.get("const") {
        return format!("`{value}`");
    }
    if let Some(values) = variant.get("enum").and_then(Value::as_array) {
        return values.iter().map(|v| format!("`{v}`")).collect::<Vec<_>>().join(" or ");
    }
    let kind = variant.get("properties").and_then(|p| p.get("kind")).and_then(|k| k.get("const"));
    kind.map_or_else(|| "a table".to_owned(), |kind| format!("`kind = {kind}`"))
}

fn table(schema: &Value, page: &mut String) {
    let needed: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    page.push_str("\n| key | type | what it says |\n|---|---|---|\n");
    for (key, value) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let must = if needed.contains(&key.as_str()) { " (required)" } else { "" };
        let said = value.get("description").and_then(Value::as_str).unwrap_or_default();
        page.push_str(&format!("| `{key}`{must} | {} | {} |\n", cell(&kind(value)), cell(said.trim())));
    }
}

/// The type of a value in words.
fn kind(value: &Value) -> String {
    if let Some(name) = value.get("$ref").and_then(Value::as_str) {
        return name.rsplit('/').next().unwrap_or(name).to_owned();
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(parts) = value.get(key).and_then(Value::as_array) {
            let mut names: Vec<String> = parts.iter().map(kind).filter(|name| name != "null").collect();
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
    let named = match value.get("type") {
        Some(Value::String(name)) => name.clone(),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).filter(|n| *n != "null").collect::<Vec<_>>().join(" or ")
        }
        _ => "any".to_owned(),
    };
    match named.as_str() {
        "array" => format!("list of {}", value.get("items").map_or_else(|| "any".to_owned(), kind)),
        "object" => match value.get("additionalProperties") {
            Some(inner) if inner.is_object() => format!("table of {}", kind(inner)),
            _ => "table".to_owned(),
        },
        _ => named,
    }
}
