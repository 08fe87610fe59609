//! The keys of a `files` source in `recoup.toml`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A directory of files, or one file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilesConfig {
    /// The directory. If the path is a symbolic link it is followed.
    pub path: String,
    /// What is left out, in the language of `.gitignore`, relative to the directory.
    #[serde(default)]
    pub ignore: Vec<String>,
}

impl FilesConfig {
    /// Everything below `path`.
    pub fn new(path: impl Into<String>) -> Self {
        FilesConfig { path: path.into(), ignore: Vec::new() }
    }
}
