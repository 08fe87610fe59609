//! Snapshots: a tree with its story (restic design, Snapshots).

use crate::golang::time::GoTime;
use crate::id::Id;
use jiff::{SignedDuration, Timestamp};
use recoup_core::env::Env;
use recoup_core::event::{Finding, Severity};
use recoup_core::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The tag of a snapshot that a backup leaves while it is under way (see [`crate::write::Earlier`]).
pub const PARTIAL_TAG: &str = "recoup-partial";

/// How far the clocks of honest writers may be apart.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_hours(1);

/// Where such a snapshot tells its story in the `recoup` field.
const STORY: &str = "partial";

/// A snapshot. The fields stand in restic's order; unknown ones are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When the backup began.
    pub time: GoTime,
    /// The snapshot that unchanged files were taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Id>,
    /// The root.
    pub tree: Id,
    /// What was backed up, as absolute paths.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub paths: Vec<String>,
    /// Where.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// By whom.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// By which user id.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    /// By which group id.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid: u32,
    /// Patterns that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    pub excludes: Vec<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    pub tags: Vec<String>,
    /// The snapshot this one was rewritten from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Id>,
    /// What wrote it, as in `recoup 0.1.0`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program_version: String,
    /// Counters, in restic's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Value>,
    /// A short mirror of what recoup keeps inside the tree; lost when restic rewrites the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recoup: Option<Value>,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The story of a partial snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Story {
    /// When its run began.
    pub began: Timestamp,
    /// When it was written.
    pub at: Timestamp,
    /// Entries that were done.
    pub items: u64,
}

impl Story {
    /// As it stands in the `recoup` field.
    pub fn to_field(self) -> Value {
        json!({ STORY: self })
    }
}

/// Whether something made at `new` comes before what is dated `other`, by more than honest clocks differ.
pub fn is_overtaken(new: Timestamp, other: Timestamp) -> bool {
    other.duration_since(new) > CLOCK_SLACK
}

/// What to say of it: `later` is the name of the other, dated `at`.
pub fn overtaken(later: &str, at: Timestamp) -> Finding {
    Finding::new(
        "W0497",
        Severity::Warning,
        later,
        format!("it is dated {at}, later than now: it counts as the latest, and not what was just stored"),
        "set the clock of this machine, or of the one that wrote the other",
    )
}

/// Refuses [`PARTIAL_TAG`] among tags that people give: a snapshot that has it counts as a part of one.
///
/// # Errors
/// `Kind::Refused`, E0482.
pub fn refuse_partial_tag(tags: &[String]) -> Result<()> {
    if tags.iter().all(|tag| tag != PARTIAL_TAG) {
        return Ok(());
    }
    Err(Error::new(Kind::Refused, "give or take the tag that marks partial snapshots")
        .with("tag", PARTIAL_TAG)
        .code("E0482")
        .effect("nothing was changed"))
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(id: &u32) -> bool {
    *id == 0
}

/// Go writes an absent list as null.
fn null_is_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Option::<Vec<String>>::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Snapshot {
    /// A snapshot of `tree`, now, by this process.
    pub fn new(env: &Env, tree: Id, paths: Vec<String>) -> Self {
        Snapshot {
            time: GoTime::new(env.now(), &env.zone),
            parent: None,
            tree,
            paths,
            hostname: env.host.hostname.clone(),
            username: env.host.username.clone(),
            uid: env.host.uid,
            gid: env.host.gid,
            excludes: Vec::new(),
            tags: Vec::new(),
            original: None,
            program_version: concat!("recoup ", env!("CARGO_PKG_VERSION")).into(),
            summary: None,
            recoup: None,
            other: Map::new(),
        }
    }

    /// Whether the backup that wrote it had not come to its end: it holds a part of what there was. Other tools may
    /// have changed the tag or lost the story; either is enough.
    pub fn is_partial(&self) -> bool {
        self.tags.iter().any(|tag| tag == PARTIAL_TAG) || self.story().is_some()
    }

    /// Whether its writer said that it must stay, now or for ever, as rustic writes it (`delete`).
    pub fn must_stay(&self, now: Timestamp) -> bool {
        match self.other.get("delete") {
            Some(Value::String(word)) => word == "Never",
            Some(Value::Object(after)) => {
                let until = after.get("After").and_then(Value::as_str);
                until.and_then(|until| until.parse::<Timestamp>().ok()).is_none_or(|until| now < until)
            }
            // NotSet in other words; what nobody understands keeps its snapshot.
            Some(other) => !other.is_null(),
            None => false,
        }
    }

    /// What a partial snapshot says of itself. Without it nothing is known to have come in its place, so nobody
    /// removes it unasked.
    pub fn story(&self) -> Option<Story> {
        serde_json::from_value(self.recoup.as_ref()?.get(STORY)?.clone()).ok()
    }

    /// Whether `other` is of the same paths on the same host.
    pub fn is_of_same_place(&self, other: &Snapshot) -> bool {
        let sorted = |snapshot: &Snapshot| {
            let mut paths = snapshot.paths.clone();
            paths.sort_unstable();
            paths
        };
        self.hostname == other.hostname && sorted(self) == sorted(other)
    }

    /// Of `others`, the complete ones of the same place that are dated after it, the last: whoever asks for the latest
    /// gets that one (fault row 60).
    pub fn overtaken_by<'a>(&self, others: &'a [(Id, Snapshot)]) -> Option<&'a (Id, Snapshot)> {
        let later = others.iter().filter(|(_, other)| {
            is_overtaken(self.time.at, other.time.at) && !other.is_partial() && self.is_of_same_place(other)
        });
        later.max_by_key(|(_, other)| other.time.at)
    }

    /// The JSON, to go through [`crate::unpacked`].
    ///
    /// # Errors
    /// `Kind::Bug` if it cannot be written.
    pub fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|cause| Error::bug("write a snapshot").caused_by(cause))
    }

    /// Reads the JSON.
    ///
    /// # Errors
    /// `Kind::Corrupt` if it is no snapshot.
    pub fn decode(json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json)
            .map_err(|cause| Error::new(Kind::Corrupt, "read a snapshot").code("E0419").caused_by(cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_its_writer_said_must_stay_stays_until_then() {
        let now: Timestamp = "2026-11-28T10:00:00Z".parse().unwrap();
        let with = |delete: Value| {
            let mut snapshot = Snapshot::new(&recoup_testkit::env::real(), Id::of(b"tree"), Vec::new());
            snapshot.other.insert("delete".into(), delete);
            snapshot.must_stay(now)
        };
        assert!(with(json!("Never")));
        assert!(with(json!({"After": "2026-11-28T11:00:00.5+00:30"})));
        assert!(!with(json!({"After": "2026-11-28T11:00:00+01:00"})));
        assert!(!with(json!("NotSet")) && !with(json!(null)));
        for odd in [json!({"After": "soon"}), json!({"Before": 7}), json!(7)] {
            assert!(with(odd.clone()), "{odd}: what nobody understands keeps its snapshot");
        }
    }

    #[test]
    fn fields_stand_as_restic_writes_them_and_unknown_ones_stay() {
        let id = Id::of(b"t");
        let text = format!(
            r#"{{"time":"2026-11-22T10:00:00.25+01:00","tree":"{id}","paths":["/a"],"hostname":"h","username":"root","tags":["x"],"program_version":"restic 0.18.0","label":"rustic's"}}"#
        );
        let snapshot = Snapshot::decode(text.as_bytes()).unwrap();
        assert_eq!(snapshot.other["label"], "rustic's");
        assert_eq!(String::from_utf8(snapshot.encode().unwrap()).unwrap(), text);
        for cut in 0..text.len() {
            assert!(Snapshot::decode(&text.as_bytes()[..cut]).is_err());
        }
        let nulls = format!(r#"{{"time":"2026-11-22T10:00:00Z","tree":"{id}","paths":null,"tags":null}}"#);
        assert!(Snapshot::decode(nulls.as_bytes()).unwrap().paths.is_empty());
    }
}
