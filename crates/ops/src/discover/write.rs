//! The text of a first recoup.toml, and putting it and the password where they belong, once.

use super::look::Look;
use super::propose::{Answers, Proposal, ProposedSource, tables};
use crate::config::{LoadOptions, load};
use crate::env::{Variables, state_dir};
use crate::interpreter::Interpreter;
use crate::keys;
use recoup_core::env::Env;
use recoup_core::units::Span;
use recoup_core::{Error, Kind, Result};
use recoup_store::local::durable;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What `init` left behind.
#[derive(Clone, Debug, Serialize)]
pub struct Written {
    /// The configuration.
    pub config: PathBuf,
    /// Its number of lines.
    pub lines: usize,
    /// The file with the repository password.
    pub password: PathBuf,
    /// Whether the password was made now; otherwise the one that was there is kept.
    pub password_is_new: bool,
    /// The file with the signing key of this machine.
    pub signing: PathBuf,
    /// The recovery sheet, without the password.
    pub sheet: PathBuf,
    /// Whether it went beside an older file, as `recoup.toml.new`.
    pub beside: bool,
}

/// Writes the proposal, the password, the signing key and the recovery sheet. With `force`, an existing recoup.toml
/// stays and the new text goes into `recoup.toml.new`.
///
/// # Errors
/// `Kind::Exists` (E0116) if there is a configuration and `force` is not given.
pub fn write(
    look: &Look,
    proposal: &Proposal,
    force: bool,
    variables: &Variables,
    env: &Env,
) -> Result<Written> {
    let own = look.project.join("recoup.toml");
    let exists = own.symlink_metadata().is_ok() || in_pyproject(&look.project);
    if exists && !force {
        return Err(Error::new(Kind::Exists, "write recoup.toml: there is a configuration already")
            .with("folder", look.project.display())
            .code("E0116")
            .effect("nothing was written"));
    }
    let password = variables.expand_home(&proposal.password)?;
    let password_is_new = password.symlink_metadata().is_err();
    if password_is_new {
        keys::generate(&password, &look.project, env)?;
    }
    let signing = variables.expand_home(&proposal.signing)?;
    let comment = format!("{}@{}", proposal.app, env.host.hostname);
    let signer = keys::signing_key(&signing, &look.project, &comment, env)?.signer();
    let toml = with_signer(&proposal.toml, &format!("{signer} {comment}"))?;
    let config = if exists { look.project.join("recoup.toml.new") } else { own };
    if exists {
        durable::write(&config, toml.as_bytes(), 0o644)?;
    } else {
        durable::create(&config, toml.as_bytes(), 0o644)?;
    }
    let options = LoadOptions {
        start: look.project.clone(),
        file: Some(config.clone()),
        variables: variables.clone(),
        ..LoadOptions::default()
    };
    let loaded = load(&options)?;
    let state = state_dir(variables, &loaded.config.app)?;
    durable::create_dir_all(&state, 0o700)?;
    let sheet = state.join("recovery-sheet.txt");
    let text = keys::sheet(&keys::sheet_facts(&loaded, &BTreeMap::new(), env)?, None)?;
    durable::write(&sheet, text.as_bytes(), 0o600)?;
    let lines = toml.lines().count();
    Ok(Written { config, lines, password, password_is_new, signing, sheet, beside: exists })
}

/// The proposal with the public key of this machine, which was not known before its key was made.
fn with_signer(toml: &str, signer: &str) -> Result<String> {
    let mut document: toml_edit::DocumentMut =
        toml.parse().map_err(|e| Error::bug("read the proposed configuration").caused_by(e))?;
    document["keys"]["signers"] = toml_edit::value(toml_edit::Array::from_iter([signer]));
    Ok(document.to_string())
}

fn in_pyproject(project: &Path) -> bool {
    let text = std::fs::read_to_string(project.join("pyproject.toml")).unwrap_or_default();
    text.parse::<toml::Table>().is_ok_and(|t| t.get("tool").is_some_and(|tool| tool.get("recoup").is_some()))
}

/// The text of recoup.toml.
pub(super) fn text(look: &Look, proposal: &Proposal, answers: &Answers, variables: &Variables) -> String {
    let mut out = String::new();
    head(&mut out, proposal);
    classes(&mut out, answers, proposal);
    python(&mut out, look, proposal);
    for source in &proposal.sources {
        self::source(&mut out, source, answers);
    }
    if proposal.sources.is_empty() {
        out.push_str(NO_SOURCE);
    }
    for missing in &proposal.unprotected {
        out.push_str(&format!("# not protected: {} ({})\n", missing.what, missing.why));
    }
    service(&mut out, look, proposal, variables);
    set(&mut out, proposal);
    location(&mut out, proposal);
    checks(&mut out, look, proposal);
    drill(&mut out, look, proposal);
    out.push_str(NEXT);
    out.replace("\n\n\n", "\n\n")
}

fn head(out: &mut String, proposal: &Proposal) {
    out.push_str("# What this application's data is, what must be true of it, and how that is proven.\n");
    out.push_str("# `recoup check` says whether it can be kept; `recoup config schema` lists every key.\n");
    out.push_str(&format!("version = 1\napp = {}\n\n", quote(&proposal.app)));
}

fn classes(out: &mut String, answers: &Answers, proposal: &Proposal) {
    let uses = |class: &str| proposal.sources.iter().any(|source| source.class == class);
    let proven = "proven = { rehydrated = \"1d\", application = \"7d\" }   # how old each proof may become\n";
    if uses("critical") || proposal.sources.is_empty() {
        out.push_str("# The contract. Change the numbers to what the business can bear.\n[class.critical]\n");
        out.push_str("why = \"losing this loses customers\"\n");
        out.push_str(&format!("rpo = \"{}\"            # how much work may be lost\n", answers.rpo));
        out.push_str(&format!("rto = \"{}\"            # how long a restore may take\n", answers.rto));
        out.push_str("copies = 2             # production and one location\n");
        out.push_str("failure_domains = 1    # 2 as soon as there is a location on another machine\n");
        out.push_str(proven);
        out.push('\n');
    }
    if uses("standard") {
        let rpo = Span(answers.rpo.0.max(std::time::Duration::from_secs(3600)));
        let rto = Span(answers.rto.0.max(std::time::Duration::from_secs(7200)));
        out.push_str("[class.standard]\nwhy = \"uploads; painful to lose, not fatal\"\n");
        out.push_str(&format!("rpo = \"{rpo}\"\nrto = \"{rto}\"\ncopies = 2\nfailure_domains = 1\n"));
        out.push_str(proven);
        out.push('\n');
    }
}

fn python(out: &mut String, look: &Look, proposal: &Proposal) {
    let django = look.django.as_ref();
    out.push_str("[python]\nproject = \".\"\n");
    if let Some(django) = django {
        out.push_str(&format!("manage = {}\n", quote(&django.manage.to_string_lossy())));
        if let Some(settings) = &django.settings {
            out.push_str(&format!("settings = {}\n", quote(settings)));
        }
    }
    if let Some(lock) = &look.lock {
        out.push_str(&format!("lock = {}\n", quote(lock)));
    }
    if !proposal.keys.is_empty() {
        let keys: Vec<String> = proposal.keys.iter().map(|key| quote(key)).collect();
        out.push_str("# The data cannot be read without these. Only fingerprints are kept, never values.\n");
        out.push_str(&format!("keys = [{}]\n", keys.join(", ")));
    }
    out.push('\n');
}

/// Captures run a little more often than the contract asks, because a capture takes time.
fn source(out: &mut String, source: &ProposedSource, answers: &Answers) {
    let every = Span(std::time::Duration::from_secs((answers.rpo.as_secs() * 2 / 3).max(60)));
    out.push_str(&format!("# {}\n[source.{}]\n", source.why.replace('\n', " "), source.name));
    out.push_str(&format!(
        "kind = \"{}\"\nclass = \"{}\"\npath = {}\n",
        source.kind,
        source.class,
        quote(&source.path)
    ));
    if !source.ignore.is_empty() {
        let ignore: Vec<String> = source.ignore.iter().map(|pattern| quote(pattern)).collect();
        out.push_str(&format!("ignore = [{}]   # a source of its own\n", ignore.join(", ")));
    }
    out.push_str(&format!("capture = {{ every = \"{every}\" }}\n\n"));
}

const NO_SOURCE: &str = "# No data was found by looking at files. Declare what there is, for example:
# [source.db]
# kind = \"sqlite\"
# class = \"critical\"
# path = \"app.db\"
# capture = { every = \"10m\" }
#
# [source.uploads]
# kind = \"files\"
# class = \"critical\"
# path = \"uploads/\"
# capture = { every = \"10m\" }

";

fn service(out: &mut String, look: &Look, proposal: &Proposal, variables: &Variables) {
    let Some(django) = &look.django else { return };
    let needs: Vec<String> = proposal.sources.iter().map(|s| quote(&s.name)).collect();
    let python =
        look.interpreter.as_ref().map_or_else(|| "python3".to_owned(), |found| program(found, &look.project));
    let path = django.health.as_deref().unwrap_or("/");
    out.push_str("\n# How the application is stopped, started and asked. `promote` needs stop and start.\n");
    out.push_str(&format!("[service.web]\nneeds = [{}]\n", needs.join(", ")));
    out.push_str(
        "# stop = [\"systemctl\", \"stop\", \"web\"]\n# start = [\"systemctl\", \"start\", \"web\"]\n",
    );
    out.push_str(&format!(
        "# health = {{ http = \"http://127.0.0.1:8000{path}\", expect = 200, within = \"60s\" }}\n"
    ));
    out.push_str(
        "\n# In a drill it runs on restored data, sealed off from everything else.\n[service.web.drill]\n",
    );
    out.push_str(&format!(
        "start = [{}, {}, \"runserver\", \"--noreload\", \"127.0.0.1:${{port}}\"]\n",
        quote(&python),
        quote(&django.manage.to_string_lossy())
    ));
    if django.health.is_none() {
        out.push_str("# no health address was found: / is a guess\n");
    }
    out.push_str(&format!(
        "health = {{ http = \"http://127.0.0.1:${{port}}{path}\", expect = 200, within = \"60s\" }}\n"
    ));
    let absent: Vec<&String> = proposal
        .keys
        .iter()
        .filter(|key| !look.dotenv.contains(key) && variables.get(key).is_some_and(|value| !value.is_empty()))
        .collect();
    if !absent.is_empty() {
        out.push_str(
            "# a drill sees no secrets: the application only has to start, so any text will do here,\n",
        );
        out.push_str("# unless it must decrypt fields to answer the health address\n");
        let pairs: Vec<String> =
            absent.iter().map(|key| format!("{key} = \"only-for-drills-not-the-real-key\"")).collect();
        out.push_str(&format!("env = {{ {} }}\n", pairs.join(", ")));
    }
}

/// The program as a drill starts it: relative inside the project.
fn program(found: &Interpreter, project: &Path) -> String {
    found.path.strip_prefix(project).unwrap_or(&found.path).to_string_lossy().into_owned()
}

fn set(out: &mut String, proposal: &Proposal) {
    let members: Vec<String> = proposal.sources.iter().map(|s| quote(&s.name)).collect();
    let anchor = proposal.sources.iter().find(|source| source.kind == "sqlite");
    if let (Some(anchor), true) = (anchor, members.len() > 1) {
        out.push_str("\n# Captured together: files may be newer than the database, never older.\n");
        out.push_str(&format!("[consistency.{}]\nmembers = [{}]\n", proposal.app, members.join(", ")));
        out.push_str(&format!("anchor = {}\n", quote(&anchor.name)));
    }
}

fn location(out: &mut String, proposal: &Proposal) {
    out.push_str(
        "\n# Where copies live. One place on the same machine survives mistakes, not fires: add a second.\n",
    );
    out.push_str(&format!("[location.local]\nkind = \"local\"\npath = {}\n", quote(&proposal.location)));
    out.push_str("failure_domain = \"this-machine\"\n");
    out.push_str("\n# The key to everything. Print `recoup keys kit` and store it away from here.\n");
    out.push_str(&format!("[keys]\npassword = {{ file = {} }}\n", quote(&proposal.password)));
    out.push_str(
        "# Every point is signed by the machine that made it. Whose signatures count stands here.\n",
    );
    out.push_str(&format!("signing = {{ file = {} }}\n", quote(&proposal.signing)));
}

fn checks(out: &mut String, look: &Look, proposal: &Proposal) {
    let Some(db) = proposal.sources.iter().find(|source| source.kind == "sqlite") else { return };
    let Some(tables) = tables(&look.project.join(&db.path)) else { return };
    if tables.contains_key("django_migrations") {
        out.push_str("\n# What must be true of restored data. Add what only you can know: orders of today, balances.\n");
        out.push_str(&format!("[check.has-migrations]\nsource = {}\n", quote(&db.name)));
        out.push_str("sql = \"select count(*) from django_migrations\"\nexpect = \"> 0\"\n");
    }
    let Some(files) = proposal.sources.iter().find(|source| source.name == "media") else { return };
    for (table, column) in look.django.iter().flat_map(|django| &django.file_columns) {
        if tables.get(table).is_some_and(|columns| columns.contains(column)) {
            let name = format!("{}-{}-files", table.replace('_', "-"), column.replace('_', "-"));
            out.push_str(&format!("\n[check.{name}]\nkind = \"references\"\n"));
            out.push_str(&format!("rows = {}\n", quote(&format!("{}:{table}.{column}", db.name))));
            out.push_str(&format!("files = {}\nexpect = \"dangling == 0\"\n", quote(&files.name)));
        }
    }
}

fn drill(out: &mut String, look: &Look, proposal: &Proposal) {
    if proposal.sources.is_empty() {
        return;
    }
    let level = if look.django.is_some() { "application" } else { "rehydrated" };
    out.push_str(
        "\n# Restored, checked and started every night: a backup that was never restored is a hope.\n",
    );
    out.push_str(&format!(
        "[drill.nightly]\nlevel = \"{level}\"\npick = \"latest\"\nschedule = \"daily 03:20\"\n"
    ));
    out.push_str("tolerance = { rows_drop = \"20%\" }\n");
}

const NEXT: &str = "
# Next:
#   recoup backup    the first point
#   recoup drill     restore it aside, start the application on it, measure
#   recoup status    is the promise kept, and how do we know
";

/// A TOML string; JSON's escapes are TOML's.
fn quote(text: &str) -> String {
    let mut quoted = serde_json::Value::from(text).to_string();
    // JSON leaves DEL as it is, TOML does not.
    quoted = quoted.replace('\u{7f}', "\\u007f");
    quoted
}
