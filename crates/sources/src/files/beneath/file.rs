//! One file under its temporary name, until it is whole.

use super::super::apply::Metadata;
use super::{Durability, HOLE_BYTES, Inner, failed, failed_io, refused};
use recoup_core::Result;
use recoup_core::entry::{Entry, FileTarget};
use recoup_core::name::{NodeName, TreePath};
use rustix::fs::{AtFlags, RenameFlags, renameat_with, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A file that was there and stays.
pub(super) struct Left;

impl FileTarget for Left {
    fn write_at(&self, _offset: u64, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
    fn finish(self: Box<Self>, _entry: &Entry) -> Result<()> {
        Ok(())
    }
    fn abandon(self: Box<Self>, _keep: bool) -> Result<()> {
        Ok(())
    }
}

/// A file under its temporary name.
pub(super) struct BeneathFile {
    pub(super) inner: Arc<Inner>,
    pub(super) file: File,
    pub(super) dir: Arc<OwnedFd>,
    pub(super) temp: String,
    pub(super) path: TreePath,
    pub(super) name: NodeName,
    pub(super) placed: AtomicBool,
}

impl FileTarget for BeneathFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        // What is not zero and not written yet starts here.
        let (mut from, mut at) = (0, 0);
        while at < bytes.len() {
            // Pieces end at multiples of their size in the file, not in the buffer.
            let step = HOLE_BYTES - ((offset + at as u64) % HOLE_BYTES as u64) as usize;
            let end = bytes.len().min(at + step);
            if bytes[at..end].iter().all(|&b| b == 0) {
                self.write_all(&bytes[from..at], offset + from as u64)?;
                from = end;
            }
            at = end;
        }
        self.write_all(&bytes[from..], offset + from as u64)
    }

    fn finish(self: Box<Self>, entry: &Entry) -> Result<()> {
        self.inner.apply(Metadata::Open(self.file.as_fd()), &self.path, entry)?;
        if self.inner.options.durability == Durability::EachFile {
            self.file.sync_all().map_err(|e| failed_io("make a file durable", &self.path, e))?;
        }
        self.inner.place(&self.dir, &self.temp, &self.path, &self.name)?;
        self.placed.store(true, Ordering::Relaxed);
        // A further name of the file changes its time, so a file that will have some is not noted.
        if let Some(journal) = self.inner.journal.as_ref().filter(|_| entry.links < 2) {
            journal.finished(&self.inner.root, &self.path, &self.file);
        }
        Ok(())
    }

    fn abandon(self: Box<Self>, keep: bool) -> Result<()> {
        if !keep {
            return Ok(());
        }
        // Room for the suffix and a number within the longest name.
        let stem = self.name.as_bytes();
        let stem = &stem[..stem.len().min(NodeName::BYTES_MAX - 24)];
        for turn in 0..1000u32 {
            let number = if turn == 0 { String::new() } else { format!(".{turn}") };
            let name = [stem, b".recoup-damaged", number.as_bytes()].concat();
            match renameat_with(
                &self.dir,
                self.temp.as_str(),
                &self.dir,
                name.as_slice(),
                RenameFlags::NOREPLACE,
            ) {
                Ok(()) => {
                    self.placed.store(true, Ordering::Relaxed);
                    return Ok(());
                }
                Err(Errno::EXIST) => {}
                Err(e) => return Err(failed("keep a damaged file aside", &self.path, e)),
            }
        }
        Err(refused("keep a damaged file aside: there are a thousand already", &self.path))
    }
}

impl BeneathFile {
    fn write_all(&self, bytes: &[u8], at: u64) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file.write_all_at(bytes, at).map_err(|e| failed_io("write a file", &self.path, e))
    }
}

impl Drop for BeneathFile {
    fn drop(&mut self) {
        if !self.placed.load(Ordering::Relaxed) {
            let _gone = unlinkat(&self.dir, self.temp.as_str(), AtFlags::empty());
        }
    }
}
