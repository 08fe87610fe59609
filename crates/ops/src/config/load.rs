//! From a folder to a checked configuration.

use super::compose::{Config, compose};
use super::find::{self, Found};
use super::interpolate;
use super::node::{self, Node};
use super::problem::{FileText, Problem, Problems};
use crate::env::Variables;
use recoup_core::{Error, Kind, Result};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What decides which file is read, and how.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Where the search upwards begins.
    pub start: PathBuf,
    /// The file itself, instead of the search.
    pub file: Option<PathBuf>,
    /// Name of the overlay: `recoup.<name>.toml` beside the file.
    pub overlay: Option<String>,
    /// The environment.
    pub variables: Variables,
}

/// A configuration with where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// The folder of the file; relative paths begin here.
    pub root: PathBuf,
    /// The file.
    pub file: PathBuf,
    /// Name of the overlay, if there is one.
    pub overlay: Option<String>,
    /// SHA-256 over the effective values, as hex. Comments and order do not matter.
    pub digest: String,
    /// The tree with the origin of every value.
    pub tree: Node,
    /// What does not stop anything.
    pub warnings: Vec<Problem>,
    /// The environment it was read in.
    pub variables: Variables,
}

impl Loaded {
    /// A path of the configuration as an absolute path: `~/` is the home directory, anything
    /// relative begins at the file's folder.
    ///
    /// # Errors
    /// `Kind::Config` if there is no home directory.
    pub fn path(&self, written: &str) -> Result<PathBuf> {
        Ok(normal(&self.root.join(self.variables.expand_home(written)?)))
    }

    /// The project's folder, `[python] project`.
    ///
    /// # Errors
    /// As [`Loaded::path`].
    pub fn project(&self) -> Result<PathBuf> {
        self.path(&self.config.python.project)
    }

    /// A problem pointing at the key at `path`, for those who find it later.
    #[must_use]
    pub fn problem_at(&self, problem: Problem, path: &[&str]) -> Problem {
        problem.at(&self.tree.place(path)).address(path.join("."))
    }
}

/// Without `.` and, where that cannot cross a link, without `..`.
fn normal(path: &Path) -> PathBuf {
    let parts = path.components().filter(|part| !matches!(part, std::path::Component::CurDir));
    parts.collect()
}

/// Finds, reads and checks the configuration. Nothing that it names is opened or run.
///
/// # Errors
/// `Kind::Config` with all problems and the lines concerned; E0100 if there is no file.
pub fn load(options: &LoadOptions) -> Result<Loaded> {
    let Found { file, in_pyproject, warnings } = match &options.file {
        None => find::nearest(&options.start)?,
        Some(path) => {
            let path = options.start.join(path);
            let root = path.parent().unwrap_or(&path).to_owned();
            let in_pyproject = path.file_name().is_some_and(|name| name == "pyproject.toml");
            Found { file: find::read(&path, &root)?, in_pyproject, warnings: vec![] }
        }
    };
    let overlay = overlay_file(&file, options.overlay.as_deref())?;
    let mut loaded = read(file, in_pyproject, overlay, options.variables.clone())?;
    loaded.overlay.clone_from(&options.overlay);
    loaded.warnings.splice(0..0, warnings);
    Ok(loaded)
}

/// Checks the text of a file that need not exist; `path` says where it would be.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, path: &Path, variables: &Variables) -> Result<Loaded> {
    let shown = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let file = FileText { path: path.to_owned(), shown, text: text.to_owned() };
    read(Arc::new(file), false, None, variables.clone())
}

fn overlay_file(file: &FileText, name: Option<&str>) -> Result<Option<Arc<FileText>>> {
    let Some(name) = name else { return Ok(None) };
    let root = file.path.parent().unwrap_or(&file.path);
    if !super::strict::is_name(name) {
        return Err(Error::new(Kind::Config, "use the name given with --env").code("E0113"));
    }
    let path = root.join(format!("recoup.{name}.toml"));
    find::read(&path, root).map(Some).map_err(|error| match error.kind() {
        Kind::NotFound => Error::new(Kind::Config, format!("find the overlay recoup.{name}.toml"))
            .with("folder", root.display())
            .code("E0117")
            .effect("nothing was attempted"),
        _ => error,
    })
}

fn read(
    file: Arc<FileText>,
    in_pyproject: bool,
    overlay: Option<Arc<FileText>>,
    variables: Variables,
) -> Result<Loaded> {
    let doing = format!("use the configuration {}", file.shown);
    let mut problems = Problems::default();
    let tree = match tree(&file, in_pyproject, overlay.as_ref()) {
        Ok(mut tree) => {
            interpolate::fill(&mut tree, &variables, &mut problems);
            tree
        }
        Err(problem) => {
            problems.push(*problem);
            return Err(problems.into_error(doing));
        }
    };
    let Some(config) = compose(&tree, &mut problems) else {
        return Err(problems.into_error(doing));
    };
    let digest = hex::encode(Sha256::digest(tree.to_json().to_string().as_bytes()));
    let root = file.path.parent().map(Path::to_owned).unwrap_or_default();
    let path = file.path.clone();
    Ok(Loaded { config, root, file: path, overlay: None, digest, tree, warnings: problems.0, variables })
}

fn tree(
    file: &Arc<FileText>,
    in_pyproject: bool,
    overlay: Option<&Arc<FileText>>,
) -> Result<Node, Box<Problem>> {
    let mut tree = node::parse(file)?;
    if in_pyproject {
        tree = tree.at_path(&["tool", "recoup"]).cloned().ok_or_else(|| {
            Problem::error("E0100", "pyproject.toml has no [tool.recoup]").hint("run `recoup init`")
        })?;
    }
    if let Some(overlay) = overlay {
        tree.overlay(node::parse(overlay)?);
    }
    Ok(tree)
}
