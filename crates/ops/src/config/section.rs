//! The tables of `recoup.toml`. Their doc comments are the reference page and the schema.
//! Drivers own the keys of their kind of source (`recoup_sources::<kind>::config`).

use super::units::{
    CompareText, Comparison, DurationText, Percent, PercentText, ScheduleText, SizeText, ZoneText,
};
use crate::secret::SecretRef;
use recoup_core::crypto::Signer;
use recoup_core::units::{ByteSize, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The keys at the top of the file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Version of this file's format; 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// Name of the application: letters, digits, `-` and `_`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"))]
    pub app: String,
    /// Time zone of calendars and of times shown to people; storage is in UTC. The host's if left out.
    #[schemars(with = "Option<ZoneText>")]
    pub timezone: Option<String>,
}

/// The application's Python side: provenance, compatibility and drills use it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Python {
    /// The project's folder, seen from this file.
    #[serde(default = "here")]
    pub project: String,
    /// Django's `manage.py`, seen from the project's folder.
    pub manage: Option<String>,
    /// The settings module.
    pub settings: Option<String>,
    /// The lock file, whose hash is kept with every point.
    pub lock: Option<String>,
    /// The interpreter; found in `.venv` and the environment if left out.
    pub interpreter: Option<String>,
    /// Names of environment variables or settings that the data needs to be readable. Fingerprints
    /// of their values are kept with every point, the values never.
    #[serde(default)]
    pub keys: Vec<String>,
}

fn here() -> String {
    ".".to_owned()
}

/// What every source has, of whatever kind.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceSection {
    /// The contract it is held to, declared as `[class.<name>]`.
    pub class: String,
    /// What its data is.
    #[serde(default)]
    pub labels: Vec<Label>,
    /// Files in it that nobody has a reason to touch, by their path beneath the source. A capture that finds one
    /// changed or gone is suspicious.
    #[serde(default)]
    pub canary: Vec<String>,
    /// When it is captured.
    pub capture: Option<CaptureSection>,
    /// When it is captured, as a calendar.
    #[schemars(with = "Option<ScheduleText>")]
    pub schedule: Option<String>,
    /// The command that makes its content anew, where that is possible.
    pub rebuild: Option<Vec<String>>,
}

/// When a source is captured.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaptureSection {
    /// Once in each interval.
    #[schemars(with = "DurationText")]
    pub every: Span,
}

/// What data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// It is about people.
    Pii,
    /// It is about money.
    Financial,
    /// It opens doors.
    Secret,
    /// It can be made anew.
    Rebuildable,
    /// Nobody misses it.
    Ephemeral,
}

/// A part of the application that runs, and how to stop it, start it and know that it is healthy.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Sources and services that must be there before it starts.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Command that stops it: a list of arguments, no shell.
    #[serde(default)]
    pub stop: Vec<String>,
    /// Command that starts it and returns.
    #[serde(default)]
    pub start: Vec<String>,
    /// How to know that it is healthy.
    pub health: Option<Health>,
    /// How it runs in a drill, on restored data, sealed off.
    pub drill: Option<ServiceDrill>,
}

/// How to know that a service is healthy: an address or a command.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Address to ask; `${port}` is the port chosen for a drill.
    pub http: Option<String>,
    /// Command that ends with 0 if all is well.
    pub command: Option<Vec<String>>,
    /// Expected HTTP status.
    #[serde(default = "status_ok")]
    #[schemars(range(min = 100, max = 599))]
    pub expect: u16,
    /// How long to wait for it.
    #[serde(default = "minute")]
    #[schemars(with = "DurationText")]
    pub within: Span,
}

fn status_ok() -> u16 {
    200
}

fn minute() -> Span {
    Span(std::time::Duration::from_secs(60))
}

/// How a service runs in a drill.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceDrill {
    /// Command that runs it and stays: a list of arguments, no shell. `${port}` is a free port.
    pub start: Vec<String>,
    /// Environment variables it gets beside the few that every drill gives.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// How to know that it is healthy there; the service's own `health` if left out.
    pub health: Option<Health>,
}

/// A place where a copy of the repository lives.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Location {
    /// What kind of place.
    pub kind: LocationKind,
    /// Folder of the repository.
    pub path: String,
    /// What can fail together with it: a disk, a building, an account. Two locations with the same
    /// name count once. `production` is the place where the application itself runs.
    pub failure_domain: Option<String>,
    /// What it is for.
    #[serde(default)]
    pub r#use: LocationUse,
    /// Id of the repository that belongs here, or its first digits, at least 8. Any other is refused. If it
    /// is left out, the first repository seen here is the one, as far as this machine remembers.
    #[schemars(with = "Option<String>", regex(pattern = r"^[0-9a-f]{8,64}$"))]
    pub repository: Option<RepositoryId>,
}

/// Id of a repository, or its first digits: 8 to 64 lower-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct RepositoryId(String);

impl RepositoryId {
    /// Whether it means the repository with this full id.
    pub fn means(&self, id: &str) -> bool {
        id.starts_with(&self.0)
    }
}

impl TryFrom<String> for RepositoryId {
    type Error = recoup_core::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if (8..=64).contains(&text.len()) && text.bytes().all(is_digit) {
            return Ok(RepositoryId(text));
        }
        Err(recoup_core::Error::new(
            recoup_core::Kind::Config,
            "read the id of a repository: write 8 to 64 of its digits, 0-9 and a-f",
        ))
    }
}

impl std::fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of place a location is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LocationKind {
    /// A folder on a mounted file system.
    Local,
}

/// What a location is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LocationUse {
    /// Near and quick: restores come from here.
    #[default]
    FastRestore,
    /// Far and safe: restores come from here if nothing else is left.
    Disaster,
}

/// The key to the repository.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Where the repository password is kept: never the password itself.
    pub password: SecretRef,
    /// Where the signing key of this machine is kept, a private key of OpenSSH. Points are signed with it.
    pub signing: Option<SecretRef>,
    /// The public keys of the machines whose signatures count, as in `ssh-ed25519 AAAA… web-1`. The key of this
    /// machine must be among them.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub signers: Vec<Signer>,
    /// Commands that seal the secret part of a recovery kit for somebody, as in
    /// `[["age", "-r", "age1…"]]`: lists of arguments, no shell. Each gets it on standard input and prints
    /// the sealed form.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    pub wrap: Vec<Vec<String>>,
    /// What is expected of the recovery kit.
    pub kit: Option<KitSection>,
}

/// What is expected of the recovery kit.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KitSection {
    /// How old the last `recoup keys prove` may become; 90 days if left out.
    #[schemars(with = "Option<DurationText>")]
    pub prove_every: Option<Span>,
}

/// A statement about the data, usable at capture, in drills and after restores.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// `sql` (the default) or `references`.
    #[serde(default)]
    pub kind: CheckKind,
    /// The source whose data a `sql` check asks.
    pub source: Option<String>,
    /// A query with one number as its answer.
    pub sql: Option<String>,
    /// The column that names files: `source:table.column`.
    pub rows: Option<String>,
    /// The source that holds the files.
    pub files: Option<String>,
    /// What the answer must be: a comparison, so that no row can leave the database.
    #[schemars(with = "CompareText")]
    pub expect: Comparison,
}

/// What kind of statement a check makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckKind {
    /// A query gives one number.
    #[default]
    Sql,
    /// Files that rows name are there.
    References,
}

/// What must be captured together.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Consistency {
    /// Its sources.
    pub members: Vec<String>,
    /// The source captured first: the others may be newer than it, never older.
    pub anchor: Option<String>,
    /// Checks that hold for the set as a whole.
    #[serde(default)]
    pub invariants: Vec<String>,
}

/// A timed restore with checks.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drill {
    /// How far it goes.
    #[serde(default)]
    pub level: DrillLevel,
    /// The sources it restores; all if both this and `set` are left out.
    pub sources: Option<Vec<String>>,
    /// The consistency set it restores.
    pub set: Option<String>,
    /// Which point: `latest` or `random within 14d`.
    #[serde(default)]
    #[schemars(with = "String")]
    pub pick: Pick,
    /// The location it restores from, or `rotate`: every location gets its turn.
    pub from: Option<String>,
    /// When it runs.
    #[schemars(with = "Option<ScheduleText>")]
    pub schedule: Option<String>,
    /// The checks it makes; all that fit its sources if left out.
    pub checks: Option<Vec<String>>,
    /// What may differ.
    #[serde(default)]
    pub tolerance: Tolerance,
    /// What it does with the application.
    #[serde(default)]
    pub app: DrillApp,
    /// How long it may take as a whole.
    #[schemars(with = "Option<DurationText>")]
    pub budget: Option<Span>,
}

/// How far a drill goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DrillLevel {
    /// Restored and checked.
    Rehydrated,
    /// The application started on it.
    #[default]
    Application,
}

/// Which point a drill takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub enum Pick {
    /// The newest.
    #[default]
    Latest,
    /// Any that is not older than this.
    RandomWithin(Span),
}

impl TryFrom<String> for Pick {
    type Error = recoup_core::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.strip_prefix("random within ") {
            Some(span) => span.parse().map(Pick::RandomWithin),
            None if text == "latest" => Ok(Pick::Latest),
            None => Err(recoup_core::Error::new(
                recoup_core::Kind::Config,
                "read which point to take: write \"latest\" or \"random within 14d\"",
            )),
        }
    }
}

/// What may differ between a point and what was recorded before.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// How many rows a table may have lost since the point before.
    #[schemars(with = "Option<PercentText>")]
    pub rows_drop: Option<Percent>,
}

/// What a drill does with the application.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillApp {
    /// Whether it asks if all migrations are applied.
    #[serde(default = "yes")]
    pub migrate: bool,
    /// The services it starts; all that have a drill variant if left out.
    pub start: Option<Vec<String>>,
}

impl Default for DrillApp {
    fn default() -> Self {
        DrillApp { migrate: true, start: None }
    }
}

fn yes() -> bool {
    true
}

/// Where restored things run.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scratch {
    /// How they are kept apart.
    #[serde(default)]
    pub runtime: Runtime,
    /// What may leave; nothing.
    #[serde(default)]
    pub egress: Egress,
    /// Where mail goes; nowhere.
    #[serde(default)]
    pub mail: Mail,
    /// The user they run as; the owner of the project if left out, `nobody` if that is root.
    pub user: Option<String>,
    /// What they may use.
    #[serde(default)]
    pub limits: Limits,
}

/// How restored things are kept apart from everything else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Processes in private namespaces.
    #[default]
    Process,
}

/// What may leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Egress {
    /// Nothing; attempts are findings.
    #[default]
    Deny,
}

/// Where mail goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mail {
    /// Nowhere; attempts are findings.
    #[default]
    Sink,
}

/// What restored things may use.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Space on disk.
    #[schemars(with = "Option<SizeText>")]
    pub disk: Option<ByteSize>,
    /// Time as a whole.
    #[schemars(with = "Option<DurationText>")]
    pub time: Option<Span>,
}
