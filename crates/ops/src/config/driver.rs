//! The driver sections, until the drivers own them.
use schemars::JsonSchema;
use serde::Deserialize;
/// A folder of files.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// The folder.
    pub path: String,
    /// Patterns of what is left out, as in `.gitignore`.
    #[serde(default)]
    pub ignore: Vec<String>,
}
/// A SQLite database.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sqlite {
    /// The database file.
    pub path: String,
    /// The longest time a lock may be held.
    #[schemars(with = "Option<super::units::DurationText>")]
    pub lock_max: Option<recoup_core::units::Span>,
}
