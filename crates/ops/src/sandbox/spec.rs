//! What goes into a sandbox and what is seen in it: plain data, passed between the stages as JSON.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// Everything a sandbox needs to know. Nothing in it is decided later.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// An empty private folder on disk; it may lie inside the project.
    pub scratch: PathBuf,
    /// Where commands run; the application may write here, on a private layer.
    pub project: PathBuf,
    /// Restored data and the paths where the application expects it.
    pub data: Vec<Data>,
    /// Live data that was declared and not restored: opening it is noticed and refused.
    pub forbidden: Vec<Forbidden>,
    /// Databases of the host that are covered by empty files: where openings cannot be refused, this
    /// keeps their content out and shows who asked for them.
    #[serde(default)]
    pub covered: Vec<PathBuf>,
    /// Folders whose own SQLite files are part of the program and not data: the interpreter's.
    pub program: Vec<PathBuf>,
    /// The user commands run as.
    pub user: User,
    /// The whole environment of the commands.
    pub environment: BTreeMap<String, String>,
    /// What is run, in this order.
    pub steps: Vec<Step>,
    /// Longest time for everything together, in seconds.
    pub limit_seconds: f64,
}

/// The unprivileged user of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Whether the namespaces are made through a user namespace, because recoup is not root.
    pub through_user_namespace: bool,
}

/// Restored data of one source.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Data {
    /// Name of the source.
    pub source: String,
    /// The restored file or folder. A file is a private copy: the application writes into it.
    pub restored: PathBuf,
    /// Where the application expects it.
    pub live: PathBuf,
    /// File or folder.
    pub shape: Shape,
}

/// How restored data is laid over the live path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// One database file; journals can be created beside it, those of the live file are hidden.
    Database,
    /// One ordinary file.
    File,
    /// A folder; changes go to a private layer above it.
    Folder,
}

/// Live data that the application must not read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Forbidden {
    /// Name of the source.
    pub source: String,
    /// The live file or folder.
    pub path: PathBuf,
}

/// One command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Stable name, as in `migrate`.
    pub name: String,
    /// Program and arguments; `${port}` stands for the service's port.
    pub command: Vec<String>,
    /// Added to the environment for this command alone.
    pub environment: BTreeMap<String, String>,
    /// Longest time, in seconds. For a service: until it is healthy.
    pub within_seconds: f64,
    /// Whether the command goes on running while the following ones run.
    pub service: bool,
    /// How a service says that it is well; `None` if it was not declared.
    pub health: Option<Health>,
    /// Whether the following steps make sense after this one failed.
    pub go_on: bool,
    /// The step is only run if the one of this name failed.
    #[serde(default)]
    pub after_failure_of: Option<String>,
}

/// The health question of a service.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Asks a URL from inside the sandbox.
    Http {
        /// `http://127.0.0.1:8000/healthz`; no TLS, because it never leaves the sandbox.
        url: String,
        /// The status that means well.
        expect: u16,
    },
    /// Runs a command; exit code 0 means well.
    Command {
        /// Program and arguments.
        command: Vec<String>,
    },
}

/// The last word of a sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Nothing was run: this host cannot isolate, or the user cannot run the project.
    Impossible(Impossible),
    /// Commands were run.
    Observed(Box<Observed>),
}

/// Why nothing was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Impossible {
    /// Stable code.
    pub code: String,
    /// What is missing; names are escaped.
    pub reason: String,
    /// How to get it.
    pub fix: String,
}

impl Impossible {
    /// This host cannot isolate.
    pub(super) fn host(what: &str, cause: impl std::fmt::Display) -> Self {
        Impossible {
            code: "E0701".into(),
            reason: format!("{what}: {cause}"),
            fix: "run the drill as root on a Linux kernel 5.11 or newer that allows namespaces and overlayfs, outside of a restricted container; `recoup doctor` shows what is missing".into(),
        }
    }
}

/// What was seen inside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// Which means of isolation and observation were at work.
    pub isolation: Isolation,
    /// The commands that were run, in order.
    pub steps: Vec<StepResult>,
    /// Files of interest that were opened.
    pub opened: Vec<Opened>,
    /// Attempts to reach another machine. Each was refused.
    pub egress: Vec<Attempt>,
    /// Attempts to reach a service of this host that is not part of the drill.
    pub local: Vec<Attempt>,
    /// Attempts to send mail. Nothing left the sandbox.
    pub mail: Vec<Mail>,
    /// Names that were looked up.
    pub names: BTreeMap<String, u64>,
}

/// The means that were at work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// The user that ran the commands.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Whether a user namespace was needed.
    pub user_namespace: bool,
    /// How opened files were seen: `fanotify` sees all and refuses what is foreign, `inotify` sees the
    /// restored files and the databases that it was pointed at.
    pub opens_seen_by: String,
    /// Whether packets were watched. If not, they were refused unseen.
    pub packets_watched: bool,
    /// Sockets of the host that were covered.
    pub sockets_hidden: usize,
}

/// How one command went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepResult {
    /// Name of the step.
    pub name: String,
    /// Program and arguments as run.
    pub command: Vec<String>,
    /// Whether it did what was asked: exit code 0, or healthy in time.
    pub ok: bool,
    /// Exit code, if it ended.
    pub exit: Option<i32>,
    /// Whether it was ended for taking too long.
    pub timed_out: bool,
    /// How long it took; for a service, until it was healthy.
    pub seconds: f64,
    /// What the health question said last.
    pub health: Option<String>,
    /// The last lines it wrote, escaped.
    pub log: Vec<String>,
}

/// A file of interest that was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Path inside the sandbox, escaped.
    pub path: String,
    /// What it is.
    pub what: What,
    /// The source it belongs to.
    pub source: Option<String>,
    /// The program that opened it, escaped; empty if it could not be told.
    pub program: String,
    /// Its process id inside the sandbox; 0 if it could not be told.
    pub pid: i32,
    /// The step during which it was opened first.
    pub step: String,
    /// Number of the file system.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// How often.
    pub count: u64,
    /// Whether the opening was refused.
    pub refused: bool,
}

/// What an opened file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// Restored data of a source.
    Restored,
    /// A database of this host that was not restored.
    Foreign,
    /// Declared live data that was not restored.
    Forbidden,
    /// A database that the application made for itself inside the sandbox.
    Created,
}

/// An attempt to reach something over the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The name that was looked up for it, if one was, escaped.
    pub name: Option<String>,
    /// How often.
    pub count: u64,
}

/// An attempt to send mail. Bodies and addresses are not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// The server, by name if it is known, escaped.
    pub server: String,
    /// Port.
    pub port: u16,
    /// Connections.
    pub connections: u64,
    /// Messages handed over.
    pub messages: u64,
    /// Recipients named.
    pub recipients: u64,
}
