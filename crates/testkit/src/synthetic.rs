//! Trees of any size that exist only while they are walked, and a store that keeps no packs: how a run over
//! millions of files is measured on a machine that could not hold them.

use crate::tree::dated;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use recoup_core::entry::{Body, Entry, EntryKind, FileBody, FileReader, Folder, Item, Listing};
use recoup_core::name::NodeName;
use recoup_core::{Error, Kind, Result};
use recoup_store::memory::Memory;
use recoup_store::{Capabilities, Key, Meta, Put, Store};
use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// Files in one folder of a [`Synthetic`] tree.
pub const FILES_PER_FOLDER: u64 = 1000;

/// A tree of `files` files with `bytes` bytes each, no two alike. Another seed gives other content.
#[derive(Clone, Copy, Debug)]
pub struct Synthetic {
    pub files: u64,
    pub bytes: usize,
    pub seed: u64,
}

impl Synthetic {
    pub fn folder(self) -> Box<dyn Folder> {
        Box::new(self)
    }

    fn file(&self, number: u64) -> Item {
        let mut entry = Entry::plain(name("f", number), EntryKind::File, 0o644, dated());
        entry.size = self.bytes as u64;
        entry.inode = number + 1_000_000_000;
        let body = Content { entry: entry.clone(), seed: mixed(self.seed) ^ number, at: 0 };
        Item { entry, body: Body::File(Box::new(body)) }
    }
}

impl Folder for Synthetic {
    fn list(&self) -> Result<Listing> {
        let folder = |number| {
            let mut entry = Entry::plain(name("d", number), EntryKind::Dir, 0o755, dated());
            entry.inode = number + 1;
            Item { entry, body: Body::Folder(Box::new(Slice { tree: *self, number })) }
        };
        let folders = self.files.div_ceil(FILES_PER_FOLDER);
        Ok(Listing { items: (0..folders).map(folder).collect(), problems: Vec::new() })
    }
}

/// One folder of it.
struct Slice {
    tree: Synthetic,
    number: u64,
}

impl Folder for Slice {
    fn list(&self) -> Result<Listing> {
        let first = self.number * FILES_PER_FOLDER;
        let end = (first + FILES_PER_FOLDER).min(self.tree.files);
        Ok(Listing { items: (first..end).map(|n| self.tree.file(n)).collect(), problems: Vec::new() })
    }
}

/// A file: closed with `at` 0, or open and read up to `at`.
#[derive(Clone)]
struct Content {
    entry: Entry,
    seed: u64,
    at: u64,
}

impl FileBody for Content {
    fn open(&self) -> Result<Box<dyn FileReader>> {
        Ok(Box::new(self.clone()))
    }
}

impl Read for Content {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let mut done = 0;
        while done < out.len() && self.at < self.entry.size {
            let word = mixed(self.seed ^ (self.at / 8).rotate_left(40)).to_le_bytes();
            let part = &word[(self.at % 8) as usize..];
            let n = part.len().min(out.len() - done).min((self.entry.size - self.at) as usize);
            out[done..done + n].copy_from_slice(&part[..n]);
            done += n;
            self.at += n as u64;
        }
        Ok(done)
    }
}

impl FileReader for Content {
    fn entry(&self) -> Result<Entry> {
        Ok(self.entry.clone())
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        self.at += bytes;
        Ok(())
    }
}

fn name(prefix: &str, number: u64) -> NodeName {
    NodeName::new(format!("{prefix}{number:09}").into_bytes()).unwrap()
}

/// Spreads a number over 64 bits (the finaliser of SplitMix64, Steele and others 2014).
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A store that takes packs and keeps only their sizes; everything else stays.
#[derive(Clone, Debug, Default)]
pub struct Forgetful {
    rest: Memory,
    packs: Arc<Mutex<BTreeMap<Key, u64>>>,
}

impl Forgetful {
    pub fn new() -> Self {
        Forgetful::default()
    }

    /// Packs taken, and their bytes.
    pub fn packs(&self) -> (usize, u64) {
        let packs = self.packs.lock().unwrap();
        (packs.len(), packs.values().sum())
    }

    fn size(&self, key: &Key) -> Option<u64> {
        self.packs.lock().unwrap().get(key).copied()
    }
}

#[async_trait]
impl Store for Forgetful {
    fn location(&self) -> String {
        "forgetful:".to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        self.rest.capabilities()
    }

    async fn put(&self, key: &Key, bytes: Bytes, mode: Put) -> Result<()> {
        if !key.as_str().starts_with("data/") {
            return self.rest.put(key, bytes, mode).await;
        }
        self.packs.lock().unwrap().insert(key.clone(), bytes.len() as u64);
        Ok(())
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes> {
        if self.size(key).is_some() {
            return Err(Error::new(Kind::NotFound, "read a pack that was not kept").with("object", key));
        }
        self.rest.get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Meta>> {
        match self.size(key) {
            Some(size) => Ok(Some(described(key.clone(), size))),
            None => self.rest.head(key).await,
        }
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<Meta>> {
        if prefix != "data" {
            return self.rest.list(prefix);
        }
        let packs = self.packs.lock().unwrap().clone();
        stream::iter(packs.into_iter().map(|(key, size)| Ok(described(key, size)))).boxed()
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.packs.lock().unwrap().remove(key);
        self.rest.delete(key).await
    }
}

fn described(key: Key, size: u64) -> Meta {
    Meta { key, size, modified: None, version: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_all_there_and_no_two_alike() {
        let tree = Synthetic { files: 2500, bytes: 61, seed: 1 };
        let mut seen = std::collections::BTreeSet::new();
        for item in tree.list().unwrap().items {
            let Body::Folder(folder) = item.body else { panic!("a folder") };
            for file in folder.list().unwrap().items {
                let Body::File(file) = file.body else { panic!("a file") };
                let mut bytes = Vec::new();
                file.open().unwrap().read_to_end(&mut bytes).unwrap();
                assert_eq!(bytes.len(), 61);
                assert!(seen.insert(bytes));
            }
        }
        assert_eq!(seen.len(), 2500);
    }
}
