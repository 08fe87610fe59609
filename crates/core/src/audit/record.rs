//! What a record of the audit log says, and how it is written down with its checkpoint.

use super::words::{Code, Fault, Hex, Name, Reason};
use crate::canonical::canonical_json;
use crate::crypto::SigningKey;
use crate::crypto::note::Checkpoint;
use crate::crypto::tree::Tree;
use crate::event::Outcome;
use crate::{Error, Kind, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The version of the format.
pub const SCHEMA: &str = "recoup/audit/1";

/// One record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// `recoup/audit/1`.
    pub schema: String,
    /// The name of the log: the origin of its checkpoints.
    pub log: Name,
    /// Its number, from 1: also its line, and the size of the tree of its checkpoint.
    pub number: u64,
    /// When, by the clock of the host.
    pub time: Timestamp,
    /// Milliseconds since the machine started; a clock that was set leaves them alone.
    pub monotonic_ms: u64,
    /// Which start of the machine that was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub boot: Option<Name>,
    /// Who, as in `deploy@web-1`.
    pub actor: Name,
    /// The actor's user id.
    pub uid: u32,
    /// On which machine.
    pub host: Name,
    /// Of which application.
    pub application: Name,
    /// What happened.
    pub event: Event,
    /// For operations that are written down twice, which of the two it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub phase: Option<Phase>,
    /// Of a result: the number of its intent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub of: Option<u64>,
    /// The run, restore or drill.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub run: Option<Name>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<Outcome>,
    /// SHA-256 of the configuration in force.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub configuration: Option<Hex>,
    /// What else is known.
    #[serde(default)]
    pub details: Details,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A backup.
    Backup,
    /// A restore, aside or into a folder.
    Restore,
    /// A restore that was interrupted goes on.
    Resume,
    /// Restored data took the place of live data.
    Promote,
    /// The data before a promote came back.
    Rollback,
    /// A drill.
    Drill,
    /// What is stored was checked.
    Verify,
    /// Something that was stored was deleted.
    Deletion,
    /// A point must stay, or need not any more.
    Hold,
    /// Somebody approved an operation, or took it back.
    Approval,
    /// A key was shown or used by a person.
    KeyUse,
    /// A guard said no.
    Refusal,
    /// The configuration is another one than in the record before.
    Configuration,
    /// The log itself: begun, rebuilt, mended.
    Log,
}

/// Which of the two records of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Written before anything was done.
    Intent,
    /// Written when it had ended.
    Result,
}

/// What else is known of an event: ids, names, counts and codes, and nothing that could hold more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Details {
    /// Sources it concerned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Name>,
    /// Locations it concerned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub locations: Vec<Name>,
    /// Full id of the point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<Hex>,
    /// Hash of the plan that was followed or confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Hex>,
    /// Where a restore goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Somebody accepted data that is not wholly proved.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub accepted_damage: bool,
    /// Points that were made, looked at or deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub points: Option<u64>,
    /// Bytes that were captured, restored or read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Which key, and what was done with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyUse>,
    /// What was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verb: Option<Name>,
    /// SHA-256 of the configuration before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Hex>,
    /// What happened to the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogChange>,
    /// The first record that the change of the log concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// Codes of what was noticed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Code>,
    /// The error that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// Why, in the words of a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// Where a restore goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Beside the live data.
    Aside,
    /// Into a folder that somebody named.
    Folder,
}

/// What was done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyUse {
    /// The repository password was written onto a recovery sheet.
    PasswordShown,
    /// Somebody said that the sheet is stored away.
    SheetConfirmed,
    /// A signing key, or another password, was made.
    Added,
    /// The repository password is being replaced.
    Rotated,
    /// A recovery kit was made, with its secret part or without.
    KitMade,
    /// A recovery kit was tried.
    KitTried,
}

/// What happened to the log itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogChange {
    /// This is its first record.
    Begun,
    /// Records that this machine had lost were taken from the copy at a location.
    Rebuilt,
    /// A log that could not be gone on with was put aside.
    PutAside,
    /// A record that a crash had cut off was dropped; nobody acted on it.
    CutOff,
}

/// The end of a log, where it goes on.
#[derive(Clone, Debug)]
pub struct End {
    /// Its name.
    pub origin: Name,
    /// The tree over its records.
    pub tree: Tree,
}

impl End {
    /// The number of the next record.
    pub fn next(&self) -> u64 {
        self.tree.size() + 1
    }

    /// Appends `record`: the line that is to be written, with the checkpoint that it makes true.
    ///
    /// # Errors
    /// `Kind::Bug` if it has another number or belongs to another log, or cannot be signed.
    pub fn append(&mut self, record: &Record, key: Option<&SigningKey>) -> Result<String> {
        if record.number != self.next() || record.log != self.origin {
            return Err(Error::bug("append a record that does not follow the one before it"));
        }
        let value = serde_json::to_value(record).map_err(|e| Error::bug("write a record").caused_by(e))?;
        let mut tree = self.tree.clone();
        tree.push(canonical_json(&value).as_bytes());
        let note = Checkpoint::of(self.origin.as_str(), &tree).note(key)?;
        self.tree = tree;
        Ok(format!("{}\n", canonical_json(&json!({ "checkpoint": note, "record": value }))))
    }
}

/// A line of a log as it was found. Nothing in it is believed yet.
#[derive(Clone, Debug)]
pub struct Line {
    /// The number that the record gives itself.
    pub number: u64,
    /// The log that the record names.
    pub log: String,
    /// The note with its checkpoint.
    pub note: String,
    /// The record as it is hashed.
    pub hashed: String,
    record: Value,
}

impl Line {
    /// Reads a line, without its line end.
    ///
    /// # Errors
    /// `Kind::Corrupt` if it is not written as [`End::append`] writes.
    pub fn parse(line: &[u8]) -> Result<Self> {
        let bad = || Error::new(Kind::Corrupt, "read a record of the audit log");
        let value: Value = serde_json::from_slice(line).map_err(|e| bad().caused_by(e))?;
        // One meaning has one text: spaces, another order or a field beside the two are changes as well.
        let (note, record) = (value["checkpoint"].as_str(), &value["record"]);
        let (Some(note), Some(number), Some(log)) = (note, record["number"].as_u64(), record["log"].as_str())
        else {
            return Err(bad());
        };
        let fields = value.as_object().map_or(0, serde_json::Map::len);
        if fields != 2 || canonical_json(&value).as_bytes() != line {
            return Err(bad());
        }
        let (log, note, hashed) = (log.to_owned(), note.to_owned(), canonical_json(record));
        Ok(Line { number, log, note, hashed, record: record.clone() })
    }

    /// What the record says, if this version understands it.
    pub fn record(&self) -> Option<Record> {
        serde_json::from_value(self.record.clone()).ok().filter(|record: &Record| record.schema == SCHEMA)
    }
}

impl Event {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Event::Backup => "backup",
            Event::Restore => "restore",
            Event::Resume => "resume",
            Event::Promote => "promote",
            Event::Rollback => "rollback",
            Event::Drill => "drill",
            Event::Verify => "verify",
            Event::Deletion => "deletion",
            Event::Hold => "hold",
            Event::Approval => "approval",
            Event::KeyUse => "key-use",
            Event::Refusal => "refusal",
            Event::Configuration => "configuration",
            Event::Log => "log",
        }
    }

    /// Every event.
    pub const ALL: [Event; 14] = [
        Event::Backup,
        Event::Restore,
        Event::Resume,
        Event::Promote,
        Event::Rollback,
        Event::Drill,
        Event::Verify,
        Event::Deletion,
        Event::Hold,
        Event::Approval,
        Event::KeyUse,
        Event::Refusal,
        Event::Configuration,
        Event::Log,
    ];
}
