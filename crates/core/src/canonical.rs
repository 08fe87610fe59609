//! One text for one meaning: what is hashed or signed is written in one way only.

use sha2::{Digest, Sha256};

/// JSON with sorted keys and no spaces, whatever the map order was.
pub fn canonical_json(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let fields: Vec<String> = keys
                .iter()
                .map(|k| format!("{}:{}", Value::from(k.as_str()), canonical_json(&map[*k])))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical_json).collect();
            format!("[{}]", items.join(","))
        }
        other => other.to_string(),
    }
}

/// SHA-256 of the canonical text, 64 hex digits.
pub fn hash(value: &serde_json::Value) -> String {
    hex::encode(Sha256::digest(canonical_json(value)))
}

/// The first eight characters of an id or a hash, for people. What claims to be one and is shorter stays as it is.
pub fn short(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}

/// Whether what a person typed means `hash`: its beginning, four digits or more.
pub fn confirms(typed: &str, hash: &str) -> bool {
    let typed = typed.trim().to_ascii_lowercase();
    typed.len() >= 4 && hash.starts_with(&typed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_meant_by_its_beginning() {
        let hash = hash(&serde_json::json!({ "a": 1 }));
        assert_eq!(
            (hash.len(), short(&hash).len(), short("ab"), short("\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}")),
            (64, 8, "ab", "\u{e9}\u{e9}\u{e9}\u{e9}")
        );
        assert!(confirms(&format!(" {} ", hash[..4].to_uppercase()), &hash));
        assert!(!confirms(&hash[..3], &hash) && !confirms("", &hash) && !confirms("zzzz", &hash));
    }

    #[test]
    fn canonical_json_sorts_at_every_depth() {
        let value: serde_json::Value =
            serde_json::from_str(r#"{"b":[{"z":1,"a":"<\u2028"}],"a":null}"#).unwrap();
        assert_eq!(canonical_json(&value), "{\"a\":null,\"b\":[{\"a\":\"<\u{2028}\",\"z\":1}]}");
    }
}
