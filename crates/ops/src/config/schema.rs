//! The JSON Schema of `recoup.toml`, put together from the section types. Draft 7, because editors
//! know it; no `if`. The strict reader walks the same document, so that both always agree.

use super::class::ClassSection;
use super::section::{
    Check, Consistency, Drill, Head, Keys, Location, Python, Scratch, Service, SourceSection,
};
use recoup_sources::files::FilesConfig;
use recoup_sources::sqlite::SqliteConfig;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use std::sync::OnceLock;

/// Names that people give: classes, sources, services and so on.
pub const NAME_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$";

/// The schema, made once.
pub fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(build)
}

/// The schema as a file, with a last newline.
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(schema()).unwrap_or_default();
    text.push('\n');
    text
}

fn build() -> Value {
    let mut generator = SchemaSettings::draft07().with(|s| s.inline_subschemas = true).into_generator();
    let head = of::<Head>(&mut generator);
    let mut properties = Map::new();
    merge(&mut properties, &head);
    let g = &mut generator;
    for (key, about, each) in [
        ("class", "Contracts: what must be true.", of::<ClassSection>(g)),
        ("source", "What is protected.", sources(&of::<SourceSection>(g))),
        ("service", "What runs, and how to stop, start and ask it.", of::<Service>(g)),
        ("location", "Where copies live.", of::<Location>(g)),
        ("check", "Statements about the data.", of::<Check>(g)),
        ("consistency", "What must be captured together.", of::<Consistency>(g)),
        ("drill", "Timed restores with checks.", of::<Drill>(g)),
    ] {
        let table = json!({
            "description": about, "type": "object",
            "propertyNames": { "pattern": NAME_PATTERN }, "additionalProperties": each,
        });
        properties.insert(key.to_owned(), table);
    }
    properties.insert("python".to_owned(), of::<Python>(g));
    properties.insert("keys".to_owned(), of::<Keys>(g));
    properties.insert("scratch".to_owned(), of::<Scratch>(g));
    let mut schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "https://recoup.example/schema/recoup-1.json",
        "title": "recoup.toml",
        "description": "One application: what its data is, what must be true of it, where copies live, how it is proven.",
        "type": "object",
        "additionalProperties": false,
        "required": head["required"],
        "properties": properties,
    });
    clean(&mut schema);
    schema
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    let mut schema = generator.root_schema_for::<T>().to_value();
    if let Some(object) = schema.as_object_mut() {
        object.remove("$schema");
        object.remove("title");
    }
    schema
}

fn sources(common: &Value) -> Value {
    let mut generator = SchemaSettings::draft07().with(|s| s.inline_subschemas = true).into_generator();
    let kinds =
        [("files", of::<FilesConfig>(&mut generator)), ("sqlite", of::<SqliteConfig>(&mut generator))];
    let each = kinds.into_iter().map(|(kind, own)| {
        let mut properties = Map::new();
        properties.insert("kind".to_owned(), json!({ "const": kind, "description": "What kind of data." }));
        merge(&mut properties, common);
        merge(&mut properties, &own);
        let mut required = vec![json!("kind")];
        for part in [common, &own] {
            required.extend(part["required"].as_array().into_iter().flatten().cloned());
        }
        json!({
            "description": own["description"], "type": "object", "additionalProperties": false,
            "properties": properties, "required": required,
        })
    });
    json!({ "oneOf": each.collect::<Vec<_>>() })
}

fn merge(into: &mut Map<String, Value>, schema: &Value) {
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        into.insert(key.clone(), value.clone());
    }
}

/// TOML has no null, numbers need no `format`, and defaults that are empty say nothing.
fn clean(schema: &mut Value) {
    match schema {
        Value::Array(list) => list.iter_mut().for_each(clean),
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|t| t != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            for key in ["anyOf", "enum"] {
                if let Some(Value::Array(list)) = map.get_mut(key) {
                    list.retain(|v| !v.is_null() && v["type"] != "null");
                }
            }
            if let Some(Value::Array(list)) = map.get("anyOf")
                && let [Value::Object(only)] = list.as_slice()
            {
                let only = only.clone();
                map.remove("anyOf");
                for (key, value) in only {
                    map.entry(key).or_insert(value);
                }
            }
            if map.get("format").and_then(Value::as_str).is_some_and(|f| f.starts_with("uint")) {
                map.remove("format");
            }
            if map.get("default").is_some_and(|d| d.is_null() || d.is_object() || *d == json!([])) {
                map.remove("default");
            }
            map.values_mut().for_each(clean);
        }
        _ => {}
    }
}
