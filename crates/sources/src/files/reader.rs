//! Open files of live data, with their holes.

use super::walk::Shared;
use crate::meta::{self, entry_of};
use recoup_core::entry::{Entry, FileReader, Stamp};
use recoup_core::name::NodeName;
use recoup_core::{Error, Result};
use rustix::fs::{SeekFrom, Stat, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

/// A file read through its own descriptor.
pub(super) struct Reader {
    file: File,
    name: NodeName,
    shared: Arc<Shared>,
    at: u64,
    /// Up to here there is data, as far as was asked; a file without holes is data without end.
    data_until: u64,
}

impl Reader {
    pub(super) fn new(file: File, stat: &Stat, name: NodeName, shared: Arc<Shared>) -> Self {
        // Blocks are 512 bytes here whatever the file system uses.
        let allocated = (stat.st_blocks as u64).saturating_mul(512);
        let sparse = allocated < u64::try_from(stat.st_size).unwrap_or(0);
        Reader { file, name, shared, at: 0, data_until: if sparse { 0 } else { u64::MAX } }
    }

    fn seek(&self, to: SeekFrom) -> Result<u64, Errno> {
        seek(&self.file, to)
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl FileReader for Reader {
    fn entry(&self) -> Result<Entry> {
        let stat =
            rustix::fs::fstat(&self.file).map_err(|e| Error::io("read the metadata of a file", e.into()))?;
        let mut entry = entry_of(self.name.clone(), &stat, &self.shared.owners);
        entry.xattrs = meta::xattrs_of(&self.file)?;
        Ok(entry)
    }

    /// Without names of owners and extended attributes, which takes as long as reading a small file.
    fn stamp(&self) -> Result<Stamp> {
        let stat = rustix::fs::fstat(&self.file);
        stat.map(|stat| meta::stamp_of(&stat)).map_err(|e| Error::io("read the metadata of a file", e.into()))
    }

    fn hole(&mut self) -> Result<u64> {
        if self.at < self.data_until {
            return Ok(0);
        }
        let failed = |e: Errno| Error::io("look for holes in a file", e.into());
        let hole = match self.seek(SeekFrom::Data(self.at)) {
            Ok(data) if data > self.at => data - self.at,
            Ok(_) => {
                self.data_until = self.seek(SeekFrom::Hole(self.at)).unwrap_or(u64::MAX);
                0
            }
            // No data follows: the rest, if any, is a hole.
            Err(Errno::NXIO) => self.seek(SeekFrom::End(0)).map_err(failed)?.saturating_sub(self.at),
            Err(_) => {
                self.data_until = u64::MAX;
                0
            }
        };
        self.seek(SeekFrom::Start(self.at)).map_err(failed)?;
        Ok(hole)
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        self.at = self.at.saturating_add(bytes);
        self.seek(SeekFrom::Start(self.at)).map_err(|e| Error::io("skip a hole in a file", e.into()))?;
        Ok(())
    }
}
