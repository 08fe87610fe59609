//! Files and directories named on a command line, nested from `/` as restic nests them: directories
//! above a target carry their metadata and nothing else.

use super::walk::{Options, Walk, absolute, missing};
use recoup_core::entry::{Body, Folder, Item, Listing};
use recoup_core::event::{Finding, Severity};
use recoup_core::name::{NodeName, escape};
use recoup_core::{Error, Kind, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The root of a snapshot made from paths.
pub struct Roots {
    top: Node,
    walk: Walk,
    paths: Vec<PathBuf>,
    missing: Vec<(PathBuf, Error)>,
    findings: Vec<Finding>,
}

/// One place in the tree of targets: a target itself, or a directory on the way to one.
#[derive(Clone, Default)]
struct Node {
    nodes: BTreeMap<Vec<u8>, Node>,
    /// What to read here, if this is a target.
    target: Option<Vec<u8>>,
    /// It was not named itself, but found in a directory that was.
    listed: bool,
    /// Where the metadata of a directory on the way is.
    meta: Vec<u8>,
    /// Where a top name begins: two targets may share their first name and not their place.
    root: Vec<u8>,
}

impl Roots {
    /// Plans the tree of `targets`; relative ones start at the current directory. `.` and `/` stand
    /// for what is in them. A target that does not exist is in [`Roots::missing`].
    ///
    /// # Errors
    /// `Kind::NotFound` (E0521) if no target exists; as the operating system says otherwise.
    pub fn new<P: AsRef<Path>>(targets: &[P], options: Options) -> Result<Self> {
        let walk = Walk::new(options);
        let mut roots = Roots {
            top: Node::default(),
            walk,
            paths: Vec::new(),
            missing: Vec::new(),
            findings: Vec::new(),
        };
        let mut seen = BTreeSet::new();
        for target in targets {
            let target = target.as_ref();
            match std::fs::symlink_metadata(target) {
                Ok(meta) => roots.accept(target, meta.is_symlink(), &mut seen)?,
                Err(e) => {
                    let errno = rustix::io::Errno::from_io_error(&e).unwrap_or(rustix::io::Errno::IO);
                    roots.missing.push((target.to_owned(), missing(target, errno)));
                }
            }
        }
        if seen.is_empty() {
            return Err(match roots.missing.pop() {
                Some((_, error)) => error,
                None => Error::new(Kind::Config, "back up: no file or directory was named").code("E0521"),
            });
        }
        unroll(&roots.walk, &mut roots.top)?;
        Ok(roots)
    }

    /// The targets that exist, absolute, as a snapshot lists them.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The targets that do not exist, as they were named.
    pub fn missing(&self) -> &[(PathBuf, Error)] {
        &self.missing
    }

    /// What the user should know about the targets.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The walk, for its notes.
    pub fn walk(&self) -> &Walk {
        &self.walk
    }

    fn accept(&mut self, target: &Path, is_link: bool, seen: &mut BTreeSet<Vec<u8>>) -> Result<()> {
        let full = PathBuf::from(OsStr::from_bytes(&absolute(target)?));
        if is_link {
            let shown = escape(full.as_os_str().as_bytes());
            self.findings.push(Finding::new(
                "E0527",
                Severity::Warning,
                shown,
                "it is a symbolic link: the link is stored, and not what it points to",
                "name what it points to, with a trailing slash or by its own path",
            ));
        }
        self.paths.push(full);
        let text = clean(target.as_os_str().as_bytes());
        if !components(&text).is_empty() {
            return self.insert(text, false, seen);
        }
        for name in self.walk.names(Path::new(OsStr::from_bytes(&text)))? {
            self.insert(join(&text, name.as_bytes()), true, seen)?;
        }
        Ok(())
    }

    fn insert(&mut self, target: Vec<u8>, listed: bool, seen: &mut BTreeSet<Vec<u8>>) -> Result<()> {
        if !seen.insert(target.clone()) {
            return Ok(());
        }
        let parts: Vec<Vec<u8>> = components(&target).into_iter().map(<[u8]>::to_vec).collect();
        let root = root_of(&target);
        let first = &parts[0];
        let mut name = first.clone();
        let mut turn = 0;
        while self.top.nodes.get(&name).is_some_and(|other| other.root != root) {
            turn += 1;
            name = [first, format!("-{turn}").as_bytes()].concat();
        }
        let mut node =
            self.top.nodes.entry(name).or_insert_with(|| Node { root: root.clone(), ..Node::default() });
        let mut place = join(&root, first);
        for part in &parts[1..] {
            node.meta.clone_from(&place);
            node = node.nodes.entry(part.clone()).or_default();
            place = join(&place, part);
        }
        (node.target, node.listed) = (Some(target), listed);
        Ok(())
    }
}

impl Folder for Roots {
    fn list(&self) -> Result<Listing> {
        list(&self.top, &self.walk)
    }
}

struct Above {
    node: Node,
    walk: Walk,
}

impl Folder for Above {
    fn list(&self) -> Result<Listing> {
        list(&self.node, &self.walk)
    }
}

fn list(node: &Node, walk: &Walk) -> Result<Listing> {
    let mut listing = Listing::default();
    for (name, node) in &node.nodes {
        let name = NodeName::new(name.clone())?;
        match item(&name, node, walk) {
            Ok(Some(item)) => listing.items.push(item),
            Ok(None) => {}
            Err(error) => listing.problems.push((name, error)),
        }
    }
    Ok(listing)
}

fn item(name: &NodeName, node: &Node, walk: &Walk) -> Result<Option<Item>> {
    if let Some(target) = &node.target {
        let mut item = walk.item_in(Path::new(OsStr::from_bytes(target)), node.listed)?;
        if let Some(item) = &mut item {
            item.entry.name = name.clone();
        }
        return Ok(item);
    }
    let entry = walk.dir_entry(Path::new(OsStr::from_bytes(&node.meta)), name.clone())?;
    Ok(Some(Item { entry, body: Body::Folder(Box::new(Above { node: node.clone(), walk: walk.clone() })) }))
}

/// A target that also has targets below it becomes its entries, so that each stands once.
fn unroll(walk: &Walk, node: &mut Node) -> Result<()> {
    if !node.nodes.is_empty()
        && let Some(target) = node.target.take()
    {
        for name in walk.names(Path::new(OsStr::from_bytes(&target)))? {
            let below = node.nodes.entry(name.as_bytes().to_vec()).or_default();
            if below.target.is_none() {
                (below.target, below.listed) = (Some(join(&target, name.as_bytes())), true);
            }
        }
    }
    node.nodes.values_mut().try_for_each(|below| unroll(walk, below))
}

/// The components of a clean path once `..` at its start is dropped, as if it began at `/`.
fn components(clean: &[u8]) -> Vec<&[u8]> {
    clean.split(|&b| b == b'/').filter(|p| !p.is_empty() && *p != b"." && *p != b"..").collect()
}

/// The directory that holds the first component: `/`, the current one, or as many above as `..` says.
fn root_of(clean: &[u8]) -> Vec<u8> {
    if clean.starts_with(b"/") {
        return b"/".to_vec();
    }
    let ups: Vec<&[u8]> = clean.split(|&b| b == b'/').take_while(|p| *p == b"..").collect();
    if ups.is_empty() { b".".to_vec() } else { ups.join(&b'/') }
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    clean(&[dir, b"/", name].concat())
}

/// The shortest text for the same path, by text alone: no `.`, no doubled slash, `..` taken back
/// where something stands before it.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => {
                parts.pop();
            }
            b".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_by_text() {
        for (raw, want) in [
            ("", "."),
            ("a//b/./c/", "a/b/c"),
            ("a/../b", "b"),
            ("../../a/..", "../.."),
            ("/../a", "/a"),
            ("/", "/"),
        ] {
            assert_eq!(clean(raw.as_bytes()), want.as_bytes(), "{raw}");
        }
        assert_eq!(root_of(b"../../a/b"), b"../..");
        assert_eq!(root_of(b"a/b"), b".");
    }
}
