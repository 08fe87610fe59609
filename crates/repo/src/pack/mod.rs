//! Packs: sealed blobs one after the other, then a sealed header (restic design, Pack Format).
//!
//! ```text
//! blob 1 || ... || blob N || sealed header || u32le length of the sealed header
//! header entry = type (1) || u32le stored length || [u32le plaintext length] || SHA-256 (32)
//! ```
//!
//! Offsets are implied by the order, so a pack has exactly 36 + sum(stored length + entry) bytes.

mod opener;

pub use self::opener::{BlobOpener, open_blob};

use self::opener::not_its_name;
use crate::blob::{BlobHandle, BlobKind};
use crate::crypto::{MasterKey, OVERHEAD_BYTES};
use crate::hash::Hasher;
use crate::id::Id;
use crate::limits::Limits;
use recoup_core::env::Env;
use recoup_core::{Error, Kind, Result};

/// The length field at the end.
pub const TRAILER_BYTES: u64 = 4;
/// An empty pack: overhead of the header and the length field.
pub const FIXED_BYTES: u64 = OVERHEAD_BYTES as u64 + TRAILER_BYTES;

const ENTRY_PLAIN_BYTES: usize = 37;
const ENTRY_COMPRESSED_BYTES: usize = 41;

/// Where a blob lies in its pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackEntry {
    /// Which blob.
    pub handle: BlobHandle,
    /// First byte.
    pub offset: u32,
    /// Stored bytes, sealing included.
    pub length: u32,
    /// Plaintext bytes, if it is compressed.
    pub uncompressed: Option<u32>,
}

impl PackEntry {
    /// Length of the plaintext by what the entry claims.
    pub fn plain_bytes(&self) -> u64 {
        match self.uncompressed {
            Some(bytes) => u64::from(bytes),
            None => u64::from(self.length).saturating_sub(OVERHEAD_BYTES as u64),
        }
    }

    /// First byte behind the blob.
    pub fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.length)
    }

    /// Its length in the header.
    pub fn header_bytes(&self) -> u64 {
        (if self.uncompressed.is_some() { ENTRY_COMPRESSED_BYTES } else { ENTRY_PLAIN_BYTES }) as u64
    }
}

/// The one size a pack with these blobs has.
pub fn size_of(entries: &[PackEntry]) -> u64 {
    FIXED_BYTES + entries.iter().map(|e| u64::from(e.length) + e.header_bytes()).sum::<u64>()
}

/// A pack under construction. Blobs are sealed straight into its buffer.
#[derive(Default)]
pub struct PackBuilder {
    bytes: Vec<u8>,
    entries: Vec<PackEntry>,
}

/// A finished pack.
pub struct Pack {
    /// SHA-256 of `bytes`, its name.
    pub id: Id,
    /// What is stored.
    pub bytes: Vec<u8>,
    /// What is in it, by offset.
    pub entries: Vec<PackEntry>,
}

impl PackBuilder {
    /// An empty pack with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        PackBuilder { bytes: Vec::with_capacity(capacity), entries: Vec::new() }
    }

    /// Bytes so far, without the header.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is in it so far.
    pub fn entries(&self) -> &[PackEntry] {
        &self.entries
    }

    /// Bytes of the finished pack if it were finished now.
    pub fn finished_len(&self) -> u64 {
        size_of(&self.entries)
    }

    /// Seals `stored` into the pack. `uncompressed` is the plaintext's length if `stored` is compressed.
    /// The caller never adds a blob twice.
    ///
    /// # Errors
    /// `Kind::Refused` if the pack would grow beyond 4 GiB.
    pub fn add(
        &mut self,
        key: &MasterKey,
        env: &Env,
        handle: BlobHandle,
        stored: &[u8],
        uncompressed: Option<usize>,
    ) -> Result<()> {
        let full = || Error::new(Kind::Refused, "add a blob to a pack of 4 GiB").with("blob", handle);
        let fit = |n: usize| u32::try_from(n).map_err(|_| full());
        let end = self.bytes.len().checked_add(stored.len() + OVERHEAD_BYTES).ok_or_else(full)?;
        let entry = PackEntry {
            handle,
            offset: fit(self.bytes.len())?,
            length: fit(stored.len() + OVERHEAD_BYTES)?,
            uncompressed: uncompressed.map(fit).transpose()?,
        };
        fit(end)?;
        key.seal_into(env, stored, &mut self.bytes);
        self.entries.push(entry);
        Ok(())
    }

    /// Puts a blob that is sealed with the same key already, as it is.
    ///
    /// # Errors
    /// `Kind::Refused` if the pack would grow beyond 4 GiB.
    pub fn add_sealed(&mut self, handle: BlobHandle, sealed: &[u8], uncompressed: Option<u32>) -> Result<()> {
        let full = || Error::new(Kind::Refused, "add a blob to a pack of 4 GiB").with("blob", handle);
        let fit = |n: usize| u32::try_from(n).map_err(|_| full());
        let (offset, length) = (fit(self.bytes.len())?, fit(sealed.len())?);
        fit(self.bytes.len().checked_add(sealed.len()).ok_or_else(full)?)?;
        self.bytes.extend_from_slice(sealed);
        self.entries.push(PackEntry { handle, offset, length, uncompressed });
        Ok(())
    }

    /// Both packs in one. They have no blob in common.
    ///
    /// # Errors
    /// `Kind::Refused` if it would grow beyond 4 GiB.
    pub fn merged(mut self, other: PackBuilder) -> Result<Self> {
        let full = |_| Error::new(Kind::Refused, "merge packs beyond 4 GiB");
        let base = u32::try_from(self.bytes.len()).map_err(full)?;
        u32::try_from(self.bytes.len() + other.bytes.len()).map_err(full)?;
        self.bytes.extend_from_slice(&other.bytes);
        self.entries.extend(other.entries.into_iter().map(|e| PackEntry { offset: base + e.offset, ..e }));
        Ok(self)
    }

    /// Appends the header and names the pack.
    pub fn finish(mut self, key: &MasterKey, env: &Env) -> Pack {
        self.append_header(key, env);
        Pack { id: Id::of(&self.bytes), bytes: self.bytes, entries: self.entries }
    }

    /// Like [`PackBuilder::finish`], and reads everything back as a stranger would: the header, and every blob
    /// opened and hashed from the bytes that will be stored. The name of the pack is found meanwhile.
    ///
    /// # Errors
    /// `Kind::Corrupt` if anything differs; the pack is gone then.
    pub fn finish_proven(mut self, key: &MasterKey, env: &Env, limits: &Limits) -> Result<Pack> {
        self.append_header(key, env);
        let mut pack = Pack { id: Id::from_bytes([0; Id::BYTES]), bytes: self.bytes, entries: self.entries };
        pack.id = pack.read_back(key, limits).map_err(|cause| {
            Error::new(Kind::Corrupt, "read back a pack before storing it").code("E0465").caused_by(cause)
        })?;
        Ok(pack)
    }

    fn append_header(&mut self, key: &MasterKey, env: &Env) {
        let header = encode_header(&self.entries);
        let before = self.bytes.len();
        key.seal_into(env, &header, &mut self.bytes);
        // a pack stays below 4 GiB, and so does its header
        let length = (self.bytes.len() - before) as u32;
        self.bytes.extend_from_slice(&length.to_le_bytes());
    }
}

impl Pack {
    /// Reads the header back from the bytes and compares it with what was put in.
    ///
    /// # Errors
    /// `Kind::Corrupt` if it differs or cannot be read.
    pub fn read_header_back(&self, key: &MasterKey, limits: &Limits) -> Result<()> {
        let size = self.bytes.len() as u64;
        let differs = |what: &str| Error::new(Kind::Corrupt, what);
        let trailer = self.bytes.last_chunk::<4>().ok_or_else(|| differs("find its end"))?;
        let length = header_length(size, *trailer, limits)?;
        let end = size - TRAILER_BYTES;
        // Both lie within the bytes, as `header_length` has checked.
        let header = &self.bytes[(end - length) as usize..end as usize];
        if decode_header(key, header, size)? == self.entries {
            return Ok(());
        }
        Err(differs("compare its header with what was put in"))
    }

    /// Reads everything back, and gives the name of the bytes.
    pub(crate) fn read_back(&self, key: &MasterKey, limits: &Limits) -> Result<Id> {
        self.read_header_back(key, limits)?;
        let (mut hasher, mut ahead) = (Hasher::default(), self.bytes.as_slice());
        let mut opener = BlobOpener::default();
        let mut entries = self.entries.iter().peekable();
        let mut open = Vec::new();
        while let Some(entry) = entries.next() {
            opener.add(key, entry, self.sealed(entry), limits)?;
            open.push(entry.handle);
            if opener.is_full() || entries.peek().is_none() {
                let (_, proven) = opener.prove(|plain| hasher.update_beside(&mut ahead, plain));
                let mut blobs = open.drain(..).zip(proven);
                if let Some((blob, _)) = blobs.find(|(_, range)| range.is_none()) {
                    return Err(not_its_name(blob));
                }
            }
        }
        hasher.update(ahead);
        Ok(hasher.finish())
    }

    /// The bytes of one of its blobs. The header has been read back before.
    pub fn sealed(&self, entry: &PackEntry) -> &[u8] {
        self.bytes.get(entry.offset as usize..entry.end() as usize).unwrap_or_default()
    }
}

fn encode_header(entries: &[PackEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * ENTRY_COMPRESSED_BYTES);
    for entry in entries {
        let kind = match entry.handle.kind {
            BlobKind::Data => 0,
            BlobKind::Tree => 1,
        };
        out.push(kind + if entry.uncompressed.is_some() { 2 } else { 0 });
        out.extend_from_slice(&entry.length.to_le_bytes());
        if let Some(bytes) = entry.uncompressed {
            out.extend_from_slice(&bytes.to_le_bytes());
        }
        out.extend_from_slice(entry.handle.id.as_bytes());
    }
    out
}

/// Bytes of the sealed header, from the last four bytes of a pack of `size` bytes.
///
/// # Errors
/// `Kind::Corrupt` if there is no room for it; `Kind::Refused` if it is larger than allowed.
pub fn header_length(size: u64, trailer: [u8; 4], limits: &Limits) -> Result<u64> {
    let length = u64::from(u32::from_le_bytes(trailer));
    if length > limits.header_bytes_max {
        let text = format!("read a pack header of {length} bytes, {} are allowed", limits.header_bytes_max);
        return Err(Error::new(Kind::Refused, text).code("E0421"));
    }
    if length <= OVERHEAD_BYTES as u64 || length + TRAILER_BYTES > size {
        return Err(corrupt("its length makes no sense"));
    }
    Ok(length)
}

/// Opens the sealed header of a pack of `size` bytes. The blobs must fill the pack exactly.
///
/// # Errors
/// `Kind::Corrupt` if the seal is broken or the entries do not add up to `size`.
pub fn decode_header(key: &MasterKey, sealed: &[u8], size: u64) -> Result<Vec<PackEntry>> {
    let header = key.open(sealed).map_err(|cause| corrupt("its seal is broken").caused_by(cause))?;
    let mut rest = header.as_slice();
    let mut entries: Vec<PackEntry> = Vec::with_capacity(header.len() / ENTRY_PLAIN_BYTES);
    while !rest.is_empty() {
        let offset = entries.last().map_or(0, PackEntry::end);
        let offset = u32::try_from(offset).map_err(|_| corrupt("it is larger than 4 GiB"))?;
        entries.push(decode_entry(&mut rest, offset).ok_or_else(|| corrupt("an entry makes no sense"))?);
    }
    if size_of(&entries) != size {
        return Err(corrupt("its blobs do not add up to the size of the pack"));
    }
    Ok(entries)
}

fn decode_entry(rest: &mut &[u8], offset: u32) -> Option<PackEntry> {
    let kind = *rest.split_off_first()?;
    let length = u32::from_le_bytes(take(rest)?);
    let uncompressed = match kind {
        0 | 1 => None,
        2 | 3 => Some(u32::from_le_bytes(take(rest)?)),
        _ => return None,
    };
    let id = Id::from_bytes(take(rest)?);
    let kind = if kind & 1 == 0 { BlobKind::Data } else { BlobKind::Tree };
    (length as usize >= OVERHEAD_BYTES).then_some(PackEntry {
        handle: BlobHandle { kind, id },
        offset,
        length,
        uncompressed,
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*first)
}

fn corrupt(why: &str) -> Error {
    Error::new(Kind::Corrupt, format!("read a pack header: {why}")).code("E0421")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::Compressor;

    use proptest::prelude::*;
    use recoup_testkit::env::real;

    fn build(key: &MasterKey, blobs: &[Vec<u8>]) -> Pack {
        let env = real();
        let mut zstd = Compressor::new().unwrap();
        let mut pack = PackBuilder::default();
        for plain in blobs {
            let handle = BlobHandle::data(Id::of(plain));
            match zstd.shrink(plain).unwrap() {
                Some(packed) => pack.add(key, &env, handle, packed, Some(plain.len())).unwrap(),
                None => pack.add(key, &env, handle, plain, None).unwrap(),
            }
        }
        pack.finish(key, &env)
    }

    fn header_of(pack: &[u8], limits: &Limits) -> Result<(u64, usize)> {
        let trailer = *pack.last_chunk().ok_or_else(|| corrupt("too short"))?;
        let length = header_length(pack.len() as u64, trailer, limits)?;
        Ok((length, pack.len() - 4 - length as usize))
    }

    #[test]
    fn a_header_bomb_is_refused() {
        let err = header_length(u64::MAX, [0xff; 4], &Limits::default()).unwrap_err();
        assert_eq!(err.kind(), Kind::Refused);
        assert_eq!(header_length(100, [0, 0, 0, 0], &Limits::default()).unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(header_length(100, [97, 0, 0, 0], &Limits::default()).unwrap_err().kind(), Kind::Corrupt);
    }

    #[test]
    fn row_147_a_blob_under_a_wrong_name_is_never_given() {
        let env = real();
        let key = MasterKey::random(&env);
        let mut pack = PackBuilder::default();
        pack.add(&key, &env, BlobHandle::data(Id::of(b"good")), b"evil", None).unwrap();
        let pack = pack.finish(&key, &env);
        let entry = pack.entries[0];
        let err = open_blob(&key, &entry, pack.sealed(&entry), &Limits::default());
        assert_eq!(err.unwrap_err().kind(), Kind::Corrupt);
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(blobs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..8), repeat in 1..40usize) {
            let key = MasterKey::random(&real());
            let limits = Limits::default();
            let blobs: Vec<Vec<u8>> = blobs.into_iter().map(|b| b.repeat(repeat)).collect();
            let pack = build(&key, &blobs);
            prop_assert_eq!(pack.id, Id::of(&pack.bytes));
            prop_assert_eq!(size_of(&pack.entries), pack.bytes.len() as u64);
            let (length, start) = header_of(&pack.bytes, &limits).unwrap();
            let entries = decode_header(&key, &pack.bytes[start..start + length as usize], pack.bytes.len() as u64).unwrap();
            prop_assert_eq!(&entries, &pack.entries);
            for (entry, plain) in entries.iter().zip(&blobs) {
                prop_assert_eq!(&open_blob(&key, entry, pack.sealed(entry), &limits).unwrap(), plain);
                prop_assert_eq!(entry.plain_bytes(), plain.len() as u64);
            }
        }

        #[test]
        fn a_cut_pack_has_no_header(cut in 1..200usize) {
            let key = MasterKey::random(&real());
            let limits = Limits::default();
            let pack = build(&key, &[vec![1; 100], vec![2; 50]]);
            let cut_pack = &pack.bytes[..pack.bytes.len().saturating_sub(cut)];
            if let Ok((length, start)) = header_of(cut_pack, &limits) {
                let end = start + length as usize;
                prop_assert!(decode_header(&key, &cut_pack[start..end], cut_pack.len() as u64).is_err());
            }
        }
    }
}
