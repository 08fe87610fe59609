//! The only reader of secrets: environment variables, files and commands that the configuration
//! refers to. A secret goes from here to the one place that needs it and is never printed.
#![allow(clippy::disallowed_methods, reason = "this module reads secrets from where they are kept")]

use crate::env::Variables;
use recoup_core::event::{Finding, Severity};
use recoup_core::name::escape;
use recoup_core::secret::Secret;
use recoup_core::{Error, Kind, Result};
use recoup_sources::process::{self, Run};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// Where a secret is kept. The configuration holds this and never the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file; one last line end is not part of the secret. `~/` is the home directory.
    File(String),
    /// A command that prints it: a list of arguments, no shell.
    Command(Vec<String>),
}

/// A secret with what was noticed on the way.
pub struct Resolved {
    /// The secret.
    pub secret: Secret,
    /// Warnings, as of a file that others can read.
    pub findings: Vec<Finding>,
}

/// Longest secret, in bytes. A password has less; a key file may have some kilobytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// How long a command may take to print a secret; it may ask a server.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// Fetches the secret that `reference` refers to. Relative files begin at `root`.
///
/// # Errors
/// `Kind::NotFound` (E0810) if it is not where it should be, `Kind::Denied` if it may not be read,
/// E0811 if the command failed, E0812 if it is empty or too long. No error shows any of it.
pub async fn resolve(reference: &SecretRef, root: &Path, variables: &Variables) -> Result<Resolved> {
    let (bytes, findings) = match reference {
        SecretRef::Env(name) => (from_env(name, variables)?, vec![]),
        SecretRef::File(path) => from_file(&root.join(variables.expand_home(path)?))?,
        SecretRef::Command(argv) => (from_command(argv, root).await?, vec![]),
    };
    let secret = without_line_end(bytes);
    if secret.expose().is_empty() {
        return Err(Error::new(Kind::NotFound, "read a secret: it is empty")
            .with("kept in", reference)
            .code("E0812"));
    }
    Ok(Resolved { secret, findings })
}

/// The value of `name`, from the environment or from `.env` in `project`. For fingerprints.
pub fn named(name: &str, project: &Path, variables: &Variables) -> Option<Secret> {
    if let Some(value) = variables.get(name).filter(|value| !value.is_empty()) {
        return Some(Secret::new(value.as_bytes().to_vec()));
    }
    let pairs = dotenv(&project.join(".env"));
    pairs
        .into_iter()
        .rev()
        .find(|(key, value)| key == name && !value.expose().is_empty())
        .map(|(_, value)| value)
}

/// The names in a `.env` file, in its order.
pub fn dotenv_names(file: &Path) -> Vec<String> {
    dotenv(file).into_iter().map(|(name, _)| name).collect()
}

fn dotenv(file: &Path) -> Vec<(String, Secret)> {
    let mut bytes = zeroize::Zeroizing::new(vec![]);
    let read = std::fs::File::open(file).and_then(|f| f.take(4 * SECRET_BYTES_MAX).read_to_end(&mut bytes));
    if read.is_err() {
        return vec![];
    }
    let is_name =
        |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let pair = |line: &[u8]| {
        let text = std::str::from_utf8(line).ok()?.trim();
        let (name, value) = text.strip_prefix("export ").unwrap_or(text).split_once('=')?;
        let value = value.trim().trim_matches(['"', '\'']);
        is_name(name.trim()).then(|| (name.trim().to_owned(), Secret::new(value.as_bytes().to_vec())))
    };
    bytes.split(|&b| b == b'\n').filter_map(pair).collect()
}

fn from_env(name: &str, variables: &Variables) -> Result<Vec<u8>> {
    variables.get(name).map(|value| value.as_bytes().to_vec()).ok_or_else(|| {
        Error::new(Kind::NotFound, "read a secret: the environment variable is not set")
            .with("variable", escape(name.as_bytes()))
            .code("E0810")
    })
}

fn from_file(path: &Path) -> Result<(Vec<u8>, Vec<Finding>)> {
    let shown = escape(path.as_os_str().as_bytes());
    let failed = |e| Error::io("read a secret from its file", e).with("file", shown.clone()).code("E0810");
    let file = std::fs::File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if meta.is_dir() {
        return Err(Error::new(Kind::NotFound, "read a secret from its file: it is a directory")
            .with("file", shown)
            .code("E0810"));
    }
    let mut bytes = vec![];
    file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(Error::new(Kind::Refused, "read a secret from its file: it is longer than 64 KiB")
            .with("file", shown)
            .code("E0812"));
    }
    let mut findings = vec![];
    if meta.is_file() && meta.mode() & 0o077 != 0 {
        findings.push(Finding::new(
            "W0402",
            Severity::Warning,
            shown.clone(),
            format!("other users may read the secret in {shown} (mode {:04o})", meta.mode() & 0o7777),
            format!("chmod 600 {shown}, and change the secret if others may have read it"),
        ));
    }
    Ok((bytes, findings))
}

async fn from_command(argv: &[String], root: &Path) -> Result<Vec<u8>> {
    let run = Run::argv(argv, COMMAND_LIMIT)?.cwd(root);
    let failed = |why: String| {
        // What the command printed stays out: it may be half of the secret.
        Error::new(Kind::NotFound, format!("read a secret from its command: {why}"))
            .with("program", escape(argv.first().map_or(&b""[..], |p| p.as_bytes())))
            .code("E0811")
    };
    let output =
        process::run(&run).await.map_err(|e| failed("it cannot be started".to_owned()).caused_by(e))?;
    match output.ended {
        process::Ended::Code(0) => Ok(output.stdout),
        process::Ended::Code(code) => Err(failed(format!("it ended with code {code}"))),
        process::Ended::Signal(signal) => Err(failed(format!("signal {signal} ended it"))),
        process::Ended::TimedOut => Err(failed("it took longer than 30 seconds".to_owned())),
    }
}

fn without_line_end(mut bytes: Vec<u8>) -> Secret {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    Secret::new(bytes)
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::Env(name) => write!(f, "environment variable {}", escape(name.as_bytes())),
            SecretRef::File(path) => write!(f, "file {}", escape(path.as_bytes())),
            SecretRef::Command(argv) => {
                write!(f, "command {}", escape(argv.first().map_or(&b""[..], |program| program.as_bytes())))
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    async fn get(reference: SecretRef, root: &Path) -> Result<Resolved> {
        resolve(&reference, root, &Variables::from_pairs([("PW", "from-env")])).await
    }

    #[tokio::test]
    async fn secrets_come_from_where_they_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pw");
        std::fs::write(&path, "from-file\n\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let file = get(SecretRef::File("pw".into()), dir.path()).await.unwrap();
        assert_eq!(file.secret.expose(), b"from-file\n");
        assert_eq!(file.findings[0].id, "W0402");
        let env = get(SecretRef::Env("PW".into()), dir.path()).await.unwrap();
        assert_eq!(env.secret.expose(), b"from-env");
        let argv = ["printf", "%s\\n", "from-command"].map(str::to_owned).to_vec();
        assert_eq!(get(SecretRef::Command(argv), dir.path()).await.unwrap().secret.expose(), b"from-command");
    }

    #[tokio::test]
    async fn a_missing_secret_is_an_error_that_shows_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let code = |r: Result<Resolved>| r.err().unwrap().stable_code().unwrap();
        assert_eq!(code(get(SecretRef::Env("NONE".into()), dir.path()).await), "E0810");
        assert_eq!(code(get(SecretRef::File("none".into()), dir.path()).await), "E0810");
        assert_eq!(code(get(SecretRef::File(".".into()), dir.path()).await), "E0810");
        let argv = ["sh", "-c", "echo canary-91; echo canary-92 >&2; exit 3"].map(str::to_owned).to_vec();
        let error = get(SecretRef::Command(argv), dir.path()).await.err().unwrap();
        assert_eq!(error.stable_code(), Some("E0811"));
        assert!(!format!("{error} {error:?}").contains("canary"));
        std::fs::write(dir.path().join("empty"), "\n").unwrap();
        assert_eq!(code(get(SecretRef::File("empty".into()), dir.path()).await), "E0812");
    }
}
