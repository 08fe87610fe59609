//! Trees in memory: a `Folder` to back up, built by hand or at random from a seed.

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use recoup_core::Result;
use recoup_core::entry::{Body, Entry, EntryKind, FileBody, FileReader, Folder, Item, Listing};
use recoup_core::name::{NodeName, TreePath};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

/// A directory in memory. Clones are cheap and independent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    nodes: BTreeMap<NodeName, Node>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub entry: Entry,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    None,
    File(Arc<Vec<u8>>),
    Dir(Tree),
}

/// A tree as a map from path to entry and content; how trees are compared.
pub type Flat = BTreeMap<TreePath, (Entry, Vec<u8>)>;

/// When everything in a built tree was changed last.
pub fn dated() -> Timestamp {
    "2024-03-10T12:13:14.123456789Z".parse().unwrap()
}

impl Tree {
    pub fn new() -> Self {
        Tree::default()
    }

    /// Puts a file at `path`, with the directories above it.
    #[must_use]
    pub fn file(self, path: impl AsRef<[u8]>, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let mut entry = plain(path.as_ref(), EntryKind::File, 0o644);
        entry.size = bytes.len() as u64;
        self.node(path, Node { entry, content: Content::File(Arc::new(bytes)) })
    }

    /// Puts an empty directory at `path`.
    #[must_use]
    pub fn dir(self, path: impl AsRef<[u8]>) -> Self {
        let entry = plain(path.as_ref(), EntryKind::Dir, 0o755);
        self.node(path, Node { entry, content: Content::Dir(Tree::new()) })
    }

    #[must_use]
    pub fn symlink(self, path: impl AsRef<[u8]>, target: impl Into<Vec<u8>>) -> Self {
        let entry = plain(path.as_ref(), EntryKind::Symlink { target: target.into() }, 0o777);
        self.node(path, Node { entry, content: Content::None })
    }

    #[must_use]
    pub fn fifo(self, path: impl AsRef<[u8]>) -> Self {
        let entry = plain(path.as_ref(), EntryKind::Fifo, 0o600);
        self.node(path, Node { entry, content: Content::None })
    }

    /// Makes `path` another name of the file `of`.
    #[must_use]
    pub fn hard_link(mut self, path: impl AsRef<[u8]>, of: impl AsRef<[u8]>) -> Self {
        let first = self.get_mut(of.as_ref()).expect("the file to link to");
        first.entry.links += 1;
        let mut node = first.clone();
        node.entry.name = last(path.as_ref());
        self.node(path, node)
    }

    /// Puts `node` at `path`, with the directories above it.
    #[must_use]
    pub fn node(mut self, path: impl AsRef<[u8]>, mut node: Node) -> Self {
        let path = TreePath::parse(path.as_ref()).unwrap();
        if node.entry.inode == 0 {
            node.entry.inode = number(&path);
        }
        let (name, above) = path.components().split_last().expect("a path");
        let mut at = &mut self;
        let mut walked = TreePath::root();
        for part in above {
            walked = walked.join(part);
            let fresh = || {
                let mut entry = Entry::plain(part.clone(), EntryKind::Dir, 0o755, dated());
                entry.inode = number(&walked);
                Node { entry, content: Content::Dir(Tree::new()) }
            };
            match &mut at.nodes.entry(part.clone()).or_insert_with(fresh).content {
                Content::Dir(tree) => at = tree,
                other => panic!("{walked} is {other:?}"),
            }
        }
        at.nodes.insert(name.clone(), node);
        self
    }

    /// The node at `path`, to be changed.
    pub fn get_mut(&mut self, path: &[u8]) -> Option<&mut Node> {
        let path = TreePath::parse(path).unwrap();
        let (name, above) = path.components().split_last()?;
        let mut at = self;
        for part in above {
            match &mut at.nodes.get_mut(part)?.content {
                Content::Dir(tree) => at = tree,
                _ => return None,
            }
        }
        at.nodes.get_mut(name)
    }

    pub fn remove(&mut self, name: &NodeName) {
        self.nodes.remove(name);
    }

    pub fn folder(&self) -> Box<dyn Folder> {
        Box::new(self.clone())
    }

    pub fn flat(&self) -> Flat {
        let mut flat = Flat::new();
        let mut todo = vec![(TreePath::root(), self)];
        while let Some((path, tree)) = todo.pop() {
            for (name, node) in &tree.nodes {
                let path = path.join(name);
                let bytes = match &node.content {
                    Content::File(bytes) => bytes.to_vec(),
                    Content::Dir(below) => {
                        todo.push((path.clone(), below));
                        Vec::new()
                    }
                    Content::None => Vec::new(),
                };
                flat.insert(path, (node.entry.clone(), bytes));
            }
        }
        flat
    }

    /// A tree of about `files` files from `seed`: nasty names, empty, small and large files, links.
    pub fn random(seed: u64, files: usize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut tree = Tree::new();
        let mut dirs = vec![Vec::new()];
        for n in 0..files {
            let mut path = dirs[random.random_range(0..dirs.len())].clone();
            path.push(b'/');
            path.extend(nasty_name(&mut random, n));
            tree = match random.random_range(0..12) {
                0 | 1 => {
                    dirs.push(path.clone());
                    tree.dir(&path)
                }
                2 => tree.symlink(&path, nasty_name(&mut random, n)),
                3 => tree.fifo(&path),
                4 => tree.file(&path, Vec::new()),
                5 => tree.file(&path, random_bytes(&mut random, 520_000, 1_100_000)),
                _ => tree.file(&path, random_bytes(&mut random, 1, 20_000)),
            };
            // Linux gives every symbolic link the mode 0777.
            if let Some(node) =
                tree.get_mut(&path).filter(|n| !matches!(n.entry.kind, EntryKind::Symlink { .. }))
            {
                node.entry.mode = random.random_range(0..0o1000) | 0o400;
            }
        }
        tree
    }

    /// This tree after a day's work: some files changed, some gone, some new.
    #[must_use]
    pub fn changed(&self, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut tree = self.clone();
        let paths: Vec<TreePath> = self.flat().into_keys().collect();
        for path in paths {
            let raw = path.to_bytes();
            let roll = random.random_range(0..10);
            match tree.get_mut(&raw) {
                Some(Node { entry, content: Content::File(bytes) }) if roll < 3 && entry.links == 1 => {
                    let fresh = random_bytes(&mut random, 1, 30_000);
                    entry.size = fresh.len() as u64;
                    entry.mtime = "2024-03-11T01:02:03.5Z".parse().unwrap();
                    entry.ctime = entry.mtime;
                    *bytes = Arc::new(fresh);
                }
                Some(n) if roll == 9 && n.entry.links == 1 && path.components().len() == 1 => {
                    tree.remove(path.last().unwrap())
                }
                _ => {}
            }
        }
        let fresh = random_bytes(&mut random, 1000, 100_000);
        tree.file(format!("new-{seed}"), fresh)
    }
}

fn plain(path: &[u8], kind: EntryKind, mode: u32) -> Entry {
    let mut entry = Entry::plain(last(path), kind, mode, dated());
    entry.uid = 1000;
    entry.gid = 1000;
    entry
}

fn last(path: &[u8]) -> NodeName {
    TreePath::parse(path).unwrap().last().expect("a path").clone()
}

/// A number that stays the same for a path, as an inode does.
fn number(path: &TreePath) -> u64 {
    path.to_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}

/// Bytes that do not compress, between `min` and `max` of them.
pub fn random_bytes(random: &mut StdRng, min: usize, max: usize) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(min..=max)];
    random.fill_bytes(&mut bytes);
    bytes
}

/// `bytes` bytes that do not compress, the same ones for the same seed.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    random_bytes(&mut StdRng::seed_from_u64(seed), bytes, bytes)
}

/// Names that broke one tool or another.
pub const NASTY: &[&[u8]] = &[
    b"\xff\xfe invalid",
    b"\xc3\x28",
    b"<html>&amp;",
    "line\u{2028}para\u{2029}".as_bytes(),
    b"quote\"back\\slash'",
    b"new\nline\ttab\rreturn",
    b"\x01\x7f\x1b[31m",
    "nbsp\u{a0}zero\u{200b}width\u{feff}".as_bytes(),
    "bidi\u{202e}txt.exe".as_bytes(),
    b"-rf",
    b"$(x) `y` ;z",
    b"trailing dot.",
    b" leading and trailing ",
    "e\u{301}".as_bytes(),
    "\u{e9}".as_bytes(),
    "\u{1f4a9}\u{10ffff}".as_bytes(),
    "\u{fffd}".as_bytes(),
    b"\\xff",
    b"\\u00e9",
    b"...",
    b"*?[a]{b}",
    b"\xed\xa0\x80 surrogate",
    &[b'n'; 255],
];

fn nasty_name(random: &mut StdRng, n: usize) -> Vec<u8> {
    if random.random_range(0..3) > 0 {
        return format!("file-{n}").into_bytes();
    }
    let mut name = NASTY[random.random_range(0..NASTY.len())].to_vec();
    name.truncate(NodeName::BYTES_MAX - 8);
    name.extend(format!("-{n}").bytes());
    name
}

impl Folder for Tree {
    fn list(&self) -> Result<Listing> {
        let item = |node: &Node| Item {
            entry: node.entry.clone(),
            body: match &node.content {
                Content::None => Body::None,
                Content::Dir(tree) => Body::Folder(Box::new(tree.clone())),
                Content::File(bytes) => {
                    Body::File(Box::new(Opener { entry: node.entry.clone(), bytes: Arc::clone(bytes) }))
                }
            },
        };
        Ok(Listing { items: self.nodes.values().map(item).collect(), problems: Vec::new() })
    }
}

struct Opener {
    entry: Entry,
    bytes: Arc<Vec<u8>>,
}

impl FileBody for Opener {
    fn open(&self) -> Result<Box<dyn FileReader>> {
        Ok(Box::new(Reader { entry: self.entry.clone(), bytes: Arc::clone(&self.bytes), at: 0 }))
    }
}

struct Reader {
    entry: Entry,
    bytes: Arc<Vec<u8>>,
    at: usize,
}

impl Read for Reader {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = (&self.bytes[self.at..]).read(out)?;
        self.at += n;
        Ok(n)
    }
}

impl FileReader for Reader {
    fn entry(&self) -> Result<Entry> {
        Ok(self.entry.clone())
    }

    /// Whole blocks of zeros are holes, as a file system would have it.
    fn hole(&mut self) -> Result<u64> {
        const BLOCK: usize = 4096;
        if !self.at.is_multiple_of(BLOCK) {
            return Ok(0);
        }
        let blocks = self.bytes[self.at..].chunks_exact(BLOCK).take_while(|b| b.iter().all(|b| *b == 0));
        Ok((blocks.count() * BLOCK) as u64)
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        self.at += bytes as usize;
        Ok(())
    }
}

/// The seed of a random test: `RECOUP_TEST_SEED` to replay one, else from the clock. It is printed,
/// and shown when the test fails.
pub fn seed() -> u64 {
    let fresh = || Timestamp::now().as_nanosecond() as u64 & 0xffff_ffff;
    let seed = std::env::var("RECOUP_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(fresh);
    eprintln!("RECOUP_TEST_SEED={seed}");
    seed
}
