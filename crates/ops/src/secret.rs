//! Under way.
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Where a secret is kept. The configuration holds this and never the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file; a last newline is not part of the secret. `~/` is the home directory.
    File(String),
    /// A command that prints it: a list of arguments, no shell.
    Command(Vec<String>),
}

impl JsonSchema for SecretRef {
    fn schema_name() -> Cow<'static, str> {
        "SecretRef".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Where a secret is kept: exactly one of `env`, `file`, `command`.",
            "type": "object",
            "format": "secret-reference",
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1,
            "properties": {
                "env": { "type": "string", "description": "An environment variable." },
                "file": { "type": "string", "description": "A file; `~/` is the home directory." },
                "command": {
                    "type": "array", "items": { "type": "string" }, "minItems": 1,
                    "description": "A command that prints it: a list of arguments, no shell."
                }
            }
        })
    }
}
