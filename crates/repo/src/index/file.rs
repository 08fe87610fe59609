//! One index file as JSON.

use crate::blob::{BlobHandle, BlobKind};
use crate::golang::time::GoTime;
use crate::id::Id;
use crate::pack::PackEntry;
use recoup_core::{Error, Kind, Result};
use serde::{Deserialize, Serialize};

/// Blobs in one index file. All blobs of a pack stand in the same file, so the last pack may go over.
pub const BLOBS_MAX: usize = 50_000;

/// The content of one index file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexFile {
    /// The packs it speaks of.
    pub packs: Vec<IndexPack>,
}

/// One pack with everything in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexPack {
    /// Its name.
    pub id: Id,
    /// What is in it.
    pub blobs: Vec<PackEntry>,
}

/// A pack that a prune gave up and a later one deletes, as rustic writes it down. Restic does not see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkedPack {
    /// Its name.
    pub id: Id,
    /// When it was given up; `None` if nobody says.
    pub time: Option<GoTime>,
    /// Its bytes, if somebody says.
    pub size: Option<u64>,
    /// What is in it, so that it can be taken back.
    pub blobs: Vec<PackEntry>,
}

/// An index file together with its marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarkedFile {
    /// What every reader sees.
    pub file: IndexFile,
    /// Packs that are waiting for deletion.
    pub marked: Vec<MarkedPack>,
}

#[derive(Serialize, Deserialize)]
struct RawFile {
    #[serde(default)]
    packs: Option<Vec<RawPack>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    packs_to_delete: Option<Vec<RawPack>>,
}

#[derive(Serialize, Deserialize)]
struct RawPack {
    id: Id,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default)]
    blobs: Option<Vec<RawBlob>>,
}

#[derive(Serialize, Deserialize)]
struct RawBlob {
    id: Id,
    #[serde(rename = "type")]
    kind: BlobKind,
    offset: u64,
    length: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uncompressed_length: Option<u64>,
}

impl IndexFile {
    /// How many blobs it lists.
    pub fn blobs(&self) -> usize {
        self.packs.iter().map(|pack| pack.blobs.len()).sum()
    }

    /// The JSON, to go through [`crate::unpacked`].
    ///
    /// # Errors
    /// `Kind::Bug` if it cannot be written.
    pub fn encode(&self) -> Result<Vec<u8>> {
        encode(&self.packs, &[])
    }

    /// Reads the JSON. A blob that no pack could hold is left out; its pack then does not add up and
    /// is read from its header instead (fault row 148).
    ///
    /// # Errors
    /// `Kind::Corrupt` if it is no index.
    pub fn decode(json: &[u8]) -> Result<Self> {
        Ok(MarkedFile::decode(json)?.file)
    }
}

impl MarkedFile {
    /// The JSON, to go through [`crate::unpacked`].
    ///
    /// # Errors
    /// `Kind::Bug` if it cannot be written.
    pub fn encode(&self) -> Result<Vec<u8>> {
        encode(&self.file.packs, &self.marked)
    }

    /// As [`IndexFile::decode`], with the marks. A mark without a time that makes sense has none.
    ///
    /// # Errors
    /// `Kind::Corrupt` if it is no index.
    pub fn decode(json: &[u8]) -> Result<Self> {
        let raw: RawFile = serde_json::from_slice(json)
            .map_err(|cause| Error::new(Kind::Corrupt, "read an index").code("E0422").caused_by(cause))?;
        let packs = raw.packs.unwrap_or_default().into_iter();
        let packs = packs.map(|pack| IndexPack { id: pack.id, blobs: pack.entries() }).collect();
        let marked = raw.packs_to_delete.unwrap_or_default().into_iter().map(|pack| MarkedPack {
            id: pack.id,
            time: pack.time.as_ref().and_then(|time| GoTime::parse(time.as_str()?).ok()),
            size: pack.size,
            blobs: pack.entries(),
        });
        Ok(MarkedFile { file: IndexFile { packs }, marked: marked.collect() })
    }
}

fn encode(packs: &[IndexPack], marked: &[MarkedPack]) -> Result<Vec<u8>> {
    let raw = |id, blobs: &[PackEntry]| RawPack {
        id,
        time: None,
        size: None,
        blobs: Some(blobs.iter().map(RawBlob::from).collect()),
    };
    let marks = marked.iter().map(|pack| RawPack {
        time: pack.time.map(|time| time.to_string().into()),
        size: pack.size,
        ..raw(pack.id, &pack.blobs)
    });
    let file = RawFile {
        packs: Some(packs.iter().map(|pack| raw(pack.id, &pack.blobs)).collect()),
        packs_to_delete: (!marked.is_empty()).then(|| marks.collect()),
    };
    let mut json =
        serde_json::to_vec(&file).map_err(|cause| Error::bug("write an index").caused_by(cause))?;
    json.push(b'\n');
    Ok(json)
}

impl RawPack {
    fn entries(&self) -> Vec<PackEntry> {
        self.blobs.iter().flatten().filter_map(RawBlob::entry).collect()
    }
}

impl From<&PackEntry> for RawBlob {
    fn from(entry: &PackEntry) -> Self {
        RawBlob {
            id: entry.handle.id,
            kind: entry.handle.kind,
            offset: entry.offset.into(),
            length: entry.length.into(),
            uncompressed_length: entry.uncompressed.map(u64::from),
        }
    }
}

impl RawBlob {
    fn entry(&self) -> Option<PackEntry> {
        let entry = PackEntry {
            handle: BlobHandle { kind: self.kind, id: self.id },
            offset: u32::try_from(self.offset).ok()?,
            length: u32::try_from(self.length).ok()?,
            uncompressed: match self.uncompressed_length {
                None | Some(0) => None,
                Some(bytes) => Some(u32::try_from(bytes).ok()?),
            },
        };
        (entry.length as usize >= crate::crypto::OVERHEAD_BYTES).then_some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_as_restic_writes_them() {
        let (pack, a, b) = (Id::of(b"p"), Id::of(b"a"), Id::of(b"b"));
        let text = format!(
            "{{\"packs\":[{{\"id\":\"{pack}\",\"blobs\":[{{\"id\":\"{a}\",\"type\":\"data\",\"offset\":0,\"length\":38}},\
             {{\"id\":\"{b}\",\"type\":\"tree\",\"offset\":38,\"length\":112,\"uncompressed_length\":511}}]}}]}}\n"
        );
        let file = IndexFile::decode(text.as_bytes()).unwrap();
        assert_eq!(file.blobs(), 2);
        assert_eq!(String::from_utf8(file.encode().unwrap()).unwrap(), text);
        for cut in 0..text.len() - 1 {
            assert!(IndexFile::decode(&text.as_bytes()[..cut]).is_err());
        }
    }

    #[test]
    fn foreign_extras_are_ignored_and_impossible_blobs_left_out() {
        let id = Id::of(b"p");
        let text = format!(
            r#"{{"supersedes":[],"packs_to_delete":[],"packs":[{{"id":"{id}","time":"x","blobs":[
            {{"id":"{id}","type":"data","offset":99999999999,"length":50}},{{"id":"{id}","type":"data","offset":0,"length":31}},
            {{"id":"{id}","type":"data","offset":0,"length":32,"uncompressed_length":0}}]}}]}}"#
        );
        let file = IndexFile::decode(text.as_bytes()).unwrap();
        assert_eq!(file.packs[0].blobs.len(), 1);
        assert_eq!(file.packs[0].blobs[0].uncompressed, None);
        assert_eq!(IndexFile::decode(br#"{"packs":null}"#).unwrap(), IndexFile::default());
    }

    #[test]
    fn marks_stand_as_rustic_writes_them_and_are_no_packs() {
        let (pack, a) = (Id::of(b"p"), Id::of(b"a"));
        let text = format!(
            "{{\"packs\":[],\"packs_to_delete\":[{{\"id\":\"{pack}\",\"time\":\"2026-11-22T10:00:00.5+01:00\",\"size\":111,\
             \"blobs\":[{{\"id\":\"{a}\",\"type\":\"data\",\"offset\":0,\"length\":38}}]}}]}}\n"
        );
        let file = MarkedFile::decode(text.as_bytes()).unwrap();
        assert_eq!((file.file.packs.len(), file.marked.len()), (0, 1));
        assert_eq!(String::from_utf8(file.encode().unwrap()).unwrap(), text);
        let odd = format!(r#"{{"packs":[],"packs_to_delete":[{{"id":"{pack}","time":7}}]}}"#);
        assert_eq!(MarkedFile::decode(odd.as_bytes()).unwrap().marked[0].time, None);
    }
}
