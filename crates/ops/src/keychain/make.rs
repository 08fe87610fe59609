//! `recoup keys kit`: the printable kit, and its secret part as files of their own. All of it is made before the
//! first file is written, and nothing that is there is ever overwritten.

use super::{current, shown, somebody, with_fingerprints};
use crate::keys::record::{self, Current, Record};
use crate::keys::{self, Block, BlockLocation, KitId, Part, Split};
use crate::points::unreadable;
use crate::session::Session;
use recoup_core::event::{Finding, Severity};
use recoup_core::name::escape;
use recoup_core::secret::Secret;
use recoup_core::{Error, Kind, Result};
use recoup_sources::process::{self, Run};
use recoup_store::local::durable;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// How long a command may take to seal the secret part; it may ask a server.
const SEAL_LIMIT: Duration = Duration::from_secs(60);
/// Longest sealed form, in bytes.
const SEALED_BYTES_MAX: usize = 1 << 20;

/// What to make.
#[derive(Clone, Debug, Default)]
pub struct KitOptions {
    /// Write the secret part, whole.
    pub with_secret: bool,
    /// Write it in parts.
    pub split: Option<Split>,
    /// Draw QR codes of it.
    pub qr: bool,
    /// Where the files go; without it there is only the text of the kit.
    pub write: Option<PathBuf>,
}

/// A kit.
#[derive(Clone, Debug, Serialize)]
pub struct KitReport {
    /// Its name.
    pub kit: String,
    /// The application.
    pub application: String,
    /// Where the copies are, and which repositories they are.
    pub locations: BTreeMap<String, Option<String>>,
    /// The application's keys that it covers.
    pub keys: Vec<String>,
    /// Which secret parts there are, in words.
    pub secret: Option<String>,
    /// The files that were written.
    pub files: Vec<String>,
    /// The text of the kit, without any secret.
    #[serde(skip)]
    pub text: String,
    /// What was noticed.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// A file to be written.
struct File {
    name: String,
    bytes: Zeroizing<Vec<u8>>,
    mode: u32,
    is_secret: bool,
}

impl File {
    fn open(name: &str, text: &str) -> Self {
        File { name: name.into(), bytes: Zeroizing::new(text.into()), mode: 0o644, is_secret: false }
    }

    fn secret(name: String, bytes: &[u8]) -> Self {
        File { name, bytes: Zeroizing::new(bytes.to_vec()), mode: 0o600, is_secret: true }
    }
}

/// Makes a kit.
///
/// # Errors
/// `Kind::Config` `E0698` if there is a secret part and no folder for it; `Kind::Exists` `E0694` if a file is
/// there; `E0695` if a command did not seal; `E0820` if a secret would lie inside the project.
pub async fn make(session: &Session, options: &KitOptions) -> Result<KitReport> {
    let wanted = options.with_secret || options.split.is_some();
    if options.write.is_none() && (wanted || options.qr) {
        return Err(Error::new(Kind::Config, "write the secret part of a kit: no folder is named for it")
            .code("E0698")
            .effect("nothing was written")
            .hint("add --write FOLDER; a secret never goes to standard output"));
    }
    let wrap = session.config().keys.as_ref().map(|keys| keys.wrap.clone()).unwrap_or_default();
    let seals = !wrap.is_empty() && options.write.is_some();
    if options.qr && !wanted {
        return Err(Error::new(Kind::Config, "draw a QR code: this kit has no secret part to draw")
            .code("E0698")
            .effect("nothing was written")
            .hint("add --with-secret or --split"));
    }
    let (facts, mut findings) = facts(session).await?;
    let kit = KitId::random(session.env());
    let block = block(session, kit, &facts);
    let secret = in_words(options, if seals { &wrap } else { &[] });
    let repositories = facts.locations.iter().filter_map(|(n, at)| Some((n.clone(), at.repository.clone()?)));
    let sheet = keys::sheet_facts(session.loaded(), &repositories.collect(), session.env())?;
    let text = keys::sheet(&keys::kit_facts(sheet, &block, secret.clone()), None)?;
    let mut files = Vec::new();
    if let Some(folder) = &options.write {
        files.push(File::open("kit.txt", &text));
        let title = format!("Recovery kit of {}", session.app());
        files.push(File::open("kit.html", &keys::page(&title, &text, None)?));
        if wanted || seals {
            files.extend(secrets(session, options, &block, &wrap).await?);
        }
        write(session, folder, &files)?;
    } else if !wrap.is_empty() {
        findings.push(not_sealed(session));
    }
    record::keep(session.state(), remembered(session, &block, secret.clone(), &facts))?;
    let folder = options.write.clone().unwrap_or_default();
    Ok(KitReport {
        kit: kit.to_string(),
        application: session.app().to_owned(),
        locations: facts.locations.into_iter().map(|(name, at)| (name, at.repository)).collect(),
        keys: block.keys,
        secret,
        files: files.iter().map(|file| shown(&folder.join(&file.name))).collect(),
        text: text.to_string(),
        findings,
    })
}

/// How it is now. A location that cannot be opened is named as this machine remembers it.
async fn facts(session: &Session) -> Result<(Current, Vec<Finding>)> {
    let mut facts = with_fingerprints(session, current(session).await?).await;
    let mut findings = Vec::new();
    for place in session.places(None)? {
        match session.repository(&place).await {
            Ok(repository) => {
                if let Some(at) = facts.locations.get_mut(&place.name) {
                    at.repository = Some(repository.id().to_owned());
                }
            }
            Err(e) if e.stable_code() == Some("E0410") => {}
            Err(e) => findings.push(unreadable(&place.name, &e)),
        }
    }
    Ok((facts, findings))
}

fn block(session: &Session, kit: KitId, facts: &Current) -> Block {
    let location = |(name, at): (&String, &record::Whereabouts)| BlockLocation {
        name: name.clone(),
        path: at.path.clone(),
        repository: at.repository.clone(),
    };
    let now = session.env().now();
    Block {
        app: session.app().to_owned(),
        made: now.round(jiff::Unit::Second).unwrap_or(now),
        kit,
        locations: facts.locations.iter().map(location).collect(),
        keys: facts.keys.keys().cloned().collect(),
    }
}

fn remembered(session: &Session, block: &Block, secret: Option<String>, facts: &Current) -> Record {
    Record {
        kit: block.kit.to_string(),
        made: block.made,
        by: somebody(session),
        secret,
        locations: facts.locations.clone(),
        keys: facts.keys.clone(),
        outdated: None,
        proofs: BTreeMap::new(),
    }
}

/// As in `2 of these 3 parts: secret-1-of-3.txt, …`.
fn in_words(options: &KitOptions, wrap: &[Vec<String>]) -> Option<String> {
    let whole = match options.split {
        Some(Split { needed, of }) => Some(format!("{needed} of {of} parts: secret-1-of-{of}.txt and so on")),
        None if options.with_secret => Some("secret.txt".to_owned()),
        None => None,
    };
    let sealed = (1..).zip(wrap).map(|(number, argv)| {
        let program: String = argv.first().map_or("", String::as_str).chars().take(40).collect();
        format!("secret-sealed-{number} (sealed by {})", escape(program.as_bytes()))
    });
    let all: Vec<String> = whole.into_iter().chain(sealed).collect();
    (!all.is_empty()).then(|| all.join("\n      "))
}

/// The files of the secret part.
async fn secrets(
    session: &Session,
    options: &KitOptions,
    block: &Block,
    wrap: &[Vec<String>],
) -> Result<Vec<File>> {
    let password = session.password().await?;
    let parts = |split| keys::parts(&password, block.kit, split, session.env());
    let mut files = Vec::new();
    if options.with_secret || options.split.is_some() {
        for part in parts(options.split)? {
            let name = file_name(&part);
            let (text, page) = keys::secret_text(block, &part, options.qr)?;
            files.push(File::secret(format!("{name}.txt"), text.as_bytes()));
            files.extend(page.map(|page| File::secret(format!("{name}.html"), page.as_bytes())));
        }
    }
    if wrap.is_empty() {
        return Ok(files);
    }
    for part in parts(None)? {
        let (text, _) = keys::secret_text(block, &part, false)?;
        for (number, argv) in (1_usize..).zip(wrap) {
            let sealed = sealed(session, argv, &text).await?;
            files.push(File::secret(format!("secret-sealed-{number}"), &sealed));
        }
    }
    Ok(files)
}

fn file_name(part: &Part) -> String {
    match part.of {
        1 => "secret".to_owned(),
        of => format!("secret-{}-of-{of}", part.number),
    }
}

/// What a command makes of the secret part. What it prints besides is not repeated: it may be the secret.
async fn sealed(session: &Session, argv: &[String], text: &str) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |why: &str| {
        Error::new(Kind::Unavailable, format!("seal the secret part of a kit: {why}"))
            .with("program", escape(argv.first().map_or("", String::as_str).as_bytes()))
            .code("E0695")
            .effect("nothing was written")
    };
    let run = Run::argv(argv, SEAL_LIMIT)?
        .cwd(&session.loaded().root)
        .output_bytes_max(SEALED_BYTES_MAX)
        .stdin(Secret::new(text.as_bytes().to_vec()));
    let output =
        process::run(&run).await.map_err(|e| failed("the command cannot be started").caused_by(e))?;
    let bytes = Zeroizing::new(output.stdout);
    match output.ended {
        process::Ended::Code(0) => {}
        process::Ended::Code(code) => return Err(failed(&format!("the command ended with code {code}"))),
        process::Ended::Signal(signal) => return Err(failed(&format!("signal {signal} ended the command"))),
        process::Ended::TimedOut => return Err(failed("the command took longer than a minute")),
    }
    if bytes.is_empty() || output.truncated {
        return Err(failed("the command printed nothing, or too much"));
    }
    let shown = String::from_utf8_lossy(&bytes);
    let is_line = |line: &&str| line.as_bytes().first().is_some_and(u8::is_ascii_digit);
    if text.lines().filter(is_line).any(|line| shown.contains(line)) {
        return Err(failed("the command printed what it was given, and sealed nothing"));
    }
    Ok(bytes)
}

/// All files, or none: nothing that is there is overwritten, and no secret goes where a repository of code is.
fn write(session: &Session, folder: &Path, files: &[File]) -> Result<()> {
    durable::create_dir_all(folder, 0o700)?;
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let inside = real(folder).starts_with(real(&session.loaded().project()?));
    if inside && files.iter().any(|file| file.is_secret) {
        return Err(Error::new(Kind::Refused, "write the secret part of a kit inside the project")
            .with("folder", shown(folder))
            .code("E0820")
            .effect("nothing was written"));
    }
    let taken = |path: &Path| {
        Error::new(Kind::Exists, "write a kit: a file of this name is there already")
            .with("file", shown(path))
            .code("E0694")
            .effect("it was not touched")
            .hint("name another folder; an older kit may be the only one that opens an older copy")
    };
    if let Some(there) = files.iter().map(|f| folder.join(&f.name)).find(|p| p.symlink_metadata().is_ok()) {
        return Err(taken(&there));
    }
    for file in files {
        let path = folder.join(&file.name);
        durable::create(&path, &file.bytes, file.mode).map_err(|error| match error.kind() {
            Kind::Exists => taken(&path),
            _ => error,
        })?;
    }
    Ok(())
}

fn not_sealed(session: &Session) -> Finding {
    Finding::new(
        "E0698",
        Severity::Info,
        session.app(),
        "the commands in `wrap` were not run: the sealed secret part goes into files only",
        "add --write FOLDER",
    )
}
