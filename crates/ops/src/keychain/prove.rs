//! `recoup keys prove`: with nothing but the kit and its secret part, is everything there? No configuration, no
//! state and no home directory is needed. It only reads.

use super::papers::{keep_password, read, secret_parts};
use super::{shown, somebody};
use crate::keys::record::{self, Record, Whereabouts};
use crate::keys::{self, Block, BlockLocation};
use crate::point::{self, DOCUMENT_PATH, NoCache, Point};
use crate::session::Session;
use jiff::Timestamp;
use recoup_core::env::Env;
use recoup_core::event::{Event, Finding, Outcome, Severity};
use recoup_core::name::{TreePath, escape};
use recoup_core::secret::Secret;
use recoup_core::{Error, Kind, Result};
use recoup_repo::read::{Visit, Walker};
use recoup_repo::repository::Repository;
use recoup_repo::{BlobHandle, Id, Limits, Node};
use recoup_store::local::Local;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Entries of a source among which a small file is looked for.
const ENTRIES_MAX: usize = 200;

/// What to prove, and with what.
#[derive(Clone, Debug, Default)]
pub struct ProveOptions {
    /// The kit.
    pub kit: PathBuf,
    /// The secret part, or its parts; those beside the kit if empty.
    pub secrets: Vec<PathBuf>,
    /// Only this location.
    pub location: Option<String>,
    /// Where a location is on this machine, if not where the kit says.
    pub paths: BTreeMap<String, PathBuf>,
    /// Write the password into this new file.
    pub password_to: Option<PathBuf>,
}

/// What a kit is worth.
#[derive(Clone, Debug, Serialize)]
pub struct ProveReport {
    /// The kit.
    pub kit: String,
    /// The application.
    pub application: String,
    /// When the kit was made.
    pub made: Timestamp,
    /// How many secret parts were used.
    pub parts: usize,
    /// Location by location.
    pub locations: Vec<LocationProof>,
    /// The file with the password, if one was asked for.
    pub password_file: Option<String>,
    /// How it ended.
    #[serde(skip)]
    pub outcome: Outcome,
    /// What was noticed.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// What was found at one location.
#[derive(Clone, Debug, Serialize)]
pub struct LocationProof {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub path: String,
    /// Full id of the repository that was opened.
    pub repository: Option<String>,
    /// Snapshots in it.
    pub snapshots: usize,
    /// The oldest point and the newest, as far as they were read.
    pub points: Vec<PointProof>,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub seconds: f64,
    /// Why it is not proven.
    pub problem: Option<String>,
}

/// What was read of a point.
#[derive(Clone, Debug, Serialize)]
pub struct PointProof {
    /// Full id.
    pub id: String,
    /// As in `shop@2026-11-22T08:31:07Z`.
    pub name: String,
    /// One file of each source.
    pub files: Vec<FileProof>,
}

/// A file that was read to its end.
#[derive(Clone, Debug, Serialize)]
pub struct FileProof {
    /// The source.
    pub source: String,
    /// Its path in the snapshot; none if the source has no file.
    pub path: Option<String>,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
}

/// Reads the kit and its secret part, and tries them at every location.
///
/// # Errors
/// `Kind::Config` E0690 to E0693 with file and line if what was typed is wrong. What is wrong at a location is
/// part of the report.
pub async fn prove(options: &ProveOptions, env: &Env) -> Result<(ProveReport, Block)> {
    let block = Block::decode(&read(&options.kit)?, &shown(&options.kit))?;
    let parts = secret_parts(&options.kit, &options.secrets)?;
    let (kit, password) = keys::combine(&parts)?;
    if kit != block.kit {
        return Err(Error::new(Kind::Config, "use the secret part with this kit: it is of another")
            .with("kit", block.kit)
            .with("secret part of", kit)
            .code("E0692"));
    }
    if let Some(unknown) = options.paths.keys().chain(&options.location).find(|name| !names(&block, name)) {
        return Err(Error::new(Kind::Config, "find the location in the kit")
            .with("location", escape(unknown.as_bytes()))
            .code("E0640"));
    }
    if let Some(file) = &options.password_to {
        keep_password(file, &password)?;
    }
    let mut report = ProveReport {
        kit: kit.to_string(),
        application: escape(block.app.as_bytes()),
        made: block.made,
        parts: parts.len(),
        locations: Vec::new(),
        password_file: options.password_to.as_deref().map(shown),
        outcome: Outcome::Unknown,
        findings: Vec::new(),
    };
    let wanted = |at: &&BlockLocation| options.location.as_ref().is_none_or(|name| *name == at.name);
    for at in block.locations.iter().filter(wanted) {
        let path = options.paths.get(&at.name).unwrap_or(&at.path);
        let proof = location(&block.app, at, path, &password, env).await;
        report.findings.extend(finding(&proof));
        report.locations.push(proof);
    }
    // A kit without a location proves nothing.
    report.outcome = report.locations.iter().map(|l| l.outcome).max().unwrap_or(Outcome::Unknown);
    Ok((report, block))
}

fn names(block: &Block, name: &str) -> bool {
    block.locations.iter().any(|at| at.name == name)
}

async fn location(app: &str, at: &BlockLocation, path: &Path, password: &Secret, env: &Env) -> LocationProof {
    let began = env.clock.monotonic();
    let address = format!("location {}", escape(at.name.as_bytes()));
    env.emit(Event::StageStart { stage: "prove".into(), address: address.clone() });
    let mut proof = LocationProof {
        name: escape(at.name.as_bytes()),
        path: shown(path),
        repository: None,
        snapshots: 0,
        points: Vec::new(),
        outcome: Outcome::Unknown,
        seconds: 0.0,
        problem: None,
    };
    match tried(app, at, path, password, env, &mut proof).await {
        Ok(()) => proof.outcome = Outcome::Pass,
        Err(error) => {
            proof.outcome = outcome_of(&error);
            proof.problem = Some(error.to_string());
        }
    }
    proof.seconds = round(env.clock.monotonic().saturating_sub(began));
    let message = proof.problem.clone().unwrap_or_else(|| format!("{} snapshots", proof.snapshots));
    let (seconds, outcome) = (proof.seconds, proof.outcome);
    env.emit(Event::StageEnd { stage: "prove".into(), address, seconds, outcome, message });
    proof
}

/// Each step fails with what it means: a bad answer, or none.
async fn tried(
    app: &str,
    at: &BlockLocation,
    path: &Path,
    password: &Secret,
    env: &Env,
    proof: &mut LocationProof,
) -> Result<()> {
    if !path.is_dir() {
        return Err(Error::new(Kind::Unavailable, "open the location: its folder is not on this machine"));
    }
    let repository = Repository::open(Arc::new(Local::new(path)), password, Limits::default(), env).await?;
    proof.repository = Some(repository.id().to_owned());
    match &at.repository {
        None => {
            let why = "compare the repository: the kit was made before there was one; make a new kit";
            return Err(Error::new(Kind::Unavailable, why));
        }
        Some(expected) if expected != repository.id() => {
            return Err(Error::new(Kind::Corrupt, "open the repository of the kit: another one is there"));
        }
        Some(_) => {}
    }
    proof.snapshots = repository.snapshots().await?.snapshots.len();
    let listing = point::list(&repository, app, None, &mut NoCache).await?;
    let (Some(oldest), Some(newest)) = (listing.points.first(), listing.points.last()) else {
        return Err(Error::new(Kind::Corrupt, "read the newest point: there is no point of the application"));
    };
    for point in [Some(newest), Some(oldest).filter(|p| p.id != newest.id)].into_iter().flatten() {
        proof.points.push(point_read(&repository, point).await?);
    }
    Ok(())
}

async fn point_read(repository: &Repository, point: &Point) -> Result<PointProof> {
    let named = |e: Error| e.with("point", point.name());
    let mut files = Vec::new();
    for (source, tree) in &point.trees {
        let document = point::read_document(repository, *tree).await.map_err(named)?;
        if document.id() != point.id {
            return Err(named(Error::new(
                Kind::Corrupt,
                format!("read {DOCUMENT_PATH}: it is of another point"),
            )));
        }
        files.push(file_read(repository, source, tree).await.map_err(named)?);
    }
    Ok(PointProof { id: point.id.clone(), name: point.name(), files })
}

/// The smallest file with content among the first of the source, read piece by piece.
async fn file_read(repository: &Repository, source: &str, tree: &Id) -> Result<FileProof> {
    let own = TreePath::parse(source.as_bytes())?;
    let mut walker = Walker::new(repository, *tree);
    let (mut best, mut seen): (Option<(TreePath, Node)>, usize) = (None, 0);
    while let Some(visit) = walker.next().await? {
        match visit {
            Visit::Entry(path, _) if !path.starts_with(&own) => walker.skip(),
            Visit::Entry(path, node) => {
                seen += 1;
                let length = |node: &Node| (node.entry.size == 0, node.entry.size);
                let better = best.as_ref().is_none_or(|(_, held)| length(&node) < length(held));
                if node.content.is_some() && better {
                    best = Some((path, node));
                }
            }
            Visit::Leave(..) => {}
            Visit::Problem(problem) => return Err(problem.error),
        }
        if seen >= ENTRIES_MAX && best.is_some() {
            break;
        }
    }
    let Some((path, node)) = best else {
        return Ok(FileProof { source: source.to_owned(), path: None, bytes: 0, sha256: String::new() });
    };
    let (mut sum, mut bytes) = (Sha256::new(), 0);
    for id in node.content.iter().flatten() {
        let piece = repository.blob(BlobHandle::data(*id)).await.map_err(|e| e.with("path", &path))?;
        bytes += piece.len() as u64;
        sum.update(&piece);
    }
    if bytes != node.entry.size {
        let why = format!("read a file: it has {bytes} bytes and not {}", node.entry.size);
        return Err(Error::new(Kind::Corrupt, why).with("path", &path));
    }
    let path = Some(path.to_string());
    Ok(FileProof { source: source.to_owned(), path, bytes, sha256: hex::encode(sum.finalize()) })
}

/// What is not there may be somewhere else; what is there and is wrong is wrong.
fn outcome_of(error: &Error) -> Outcome {
    match error.stable_code() {
        Some("E0412") => Outcome::Fail,
        Some("E0402" | "E0410") => Outcome::Unknown,
        _ => match error.kind() {
            Kind::Corrupt | Kind::Refused | Kind::NotFound => Outcome::Fail,
            _ => Outcome::Unknown,
        },
    }
}

fn finding(proof: &LocationProof) -> Option<Finding> {
    let (code, severity, fix) = match proof.outcome {
        Outcome::Pass => return None,
        Outcome::Unknown => (
            "R0144",
            Severity::Warning,
            "mount it and prove again, or say where it is with --path; until then nobody knows",
        ),
        _ => (
            "R0143",
            Severity::High,
            "if the password was replaced since, make a new kit; otherwise look at this copy with `recoup verify`",
        ),
    };
    let problem = proof.problem.clone().unwrap_or_default();
    Some(Finding::new(code, severity, format!("location {}", proof.name), problem, fix))
}

/// Remembers in the state directory what came of it, if the application is that of the kit.
///
/// # Errors
/// As the file system says.
pub fn remember(session: &Session, block: &Block, report: &ProveReport) -> Result<bool> {
    if session.app() != block.app {
        return Ok(false);
    }
    let outcomes = report.locations.iter().map(|l| (l.name.clone(), l.outcome)).collect();
    let elsewhere = || Record {
        kit: block.kit.to_string(),
        made: block.made,
        by: format!("elsewhere; proven by {}", somebody(session)),
        secret: None,
        locations: block
            .locations
            .iter()
            .map(|at| {
                (at.name.clone(), Whereabouts { path: at.path.clone(), repository: at.repository.clone() })
            })
            .collect(),
        keys: block.keys.iter().map(|key| (key.clone(), None)).collect(),
        outdated: None,
        proofs: BTreeMap::new(),
    };
    record::proven(session.state(), block.kit, &outcomes, session.env().now(), elsewhere)?;
    Ok(true)
}

fn round(span: Duration) -> f64 {
    (span.as_secs_f64() * 1000.0).round() / 1000.0
}
