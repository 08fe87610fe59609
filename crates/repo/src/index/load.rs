//! Reads the index from a store and mends it in memory: a damaged, foreign or missing index file is
//! reported and never in the way (fault rows 29, 34, 37, 149).

use super::file::{IndexFile, MarkedFile};
use super::table::{Index, IndexBuilder};
use crate::crypto::MasterKey;
use crate::id::Id;
use crate::layout::{self, ObjectKind};
use crate::limits::Limits;
use crate::pack::{PackEntry, TRAILER_BYTES, decode_header, header_length};
use crate::problem::Problem;
use crate::unpacked;
use futures_util::{StreamExt, TryStreamExt};
use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use recoup_store::{Meta, Store};
use std::collections::HashMap;

/// Requests under way at a time.
const PARALLEL: usize = 8;

/// Loads all index files, then lists the packs, then reads the headers of the packs that no index
/// explains. Packs are listed last: an index that names a pack was written after it.
///
/// The caller lists snapshots before, so that every blob of theirs can be in it.
///
/// # Errors
/// Only if the store cannot be listed or read; damage goes into [`Index::problems`].
pub async fn load(store: &dyn Store, key: &MasterKey, limits: &Limits) -> Result<Index> {
    Ok(load_each(store, key, limits, |_, _| {}).await?.0)
}

/// As [`load`]; `each` sees every index file that could be read, with its marks. Gives the bytes of every
/// pack that is there as well.
///
/// # Errors
/// As [`load`].
pub async fn load_each(
    store: &dyn Store,
    key: &MasterKey,
    limits: &Limits,
    mut each: impl FnMut(Id, &MarkedFile),
) -> Result<(Index, HashMap<Id, u64>)> {
    let mut builder = IndexBuilder::default();
    let files = list_ids(store, ObjectKind::Index, &mut builder).await?;
    let mut read = futures_util::stream::iter(files)
        .map(|meta| async move { (meta.0, read_marked(store, key, limits, meta.0).await) })
        .buffer_unordered(PARALLEL);
    while let Some((id, file)) = read.next().await {
        match file {
            Ok(file) => {
                each(id, &file);
                builder.mark(&file.marked);
                builder.add(file.file);
            }
            Err(err) if is_damage(&err) => {
                builder.report(Problem::new(
                    "E0422",
                    format!("index {id}"),
                    format!("it cannot be used: {err}"),
                ));
            }
            Err(err) => return Err(err),
        }
    }
    let sizes: HashMap<Id, u64> =
        list_ids(store, ObjectKind::Pack, &mut builder).await?.into_iter().collect();
    mend(store, key, limits, &sizes, &mut builder).await?;
    Ok((builder.finish(&sizes), sizes))
}

async fn mend(
    store: &dyn Store,
    key: &MasterKey,
    limits: &Limits,
    sizes: &HashMap<Id, u64>,
    builder: &mut IndexBuilder,
) -> Result<()> {
    let mut read = futures_util::stream::iter(builder.doubtful(sizes))
        .map(|(id, size)| async move { (id, read_header(store, key, limits, id, size).await) })
        .buffer_unordered(PARALLEL);
    while let Some((id, header)) = read.next().await {
        let object = format!("pack {id}");
        match header {
            Ok(entries) => {
                let why = if builder.lists(&id) {
                    "what the index says of it does not add up; its own header was used"
                } else {
                    "no index lists it; its own header was used"
                };
                builder.report(Problem::new("W0427", object, why));
                builder.mend(id, entries);
            }
            Err(err) if is_damage(&err) => {
                if !builder.lists(&id) {
                    builder.report(Problem::new("E0426", object, format!("no index lists it, and: {err}")));
                }
            }
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

/// Reads one index file and checks it against its name.
///
/// # Errors
/// `Kind::Corrupt` if it is not what its name says or no index; as the store says otherwise.
pub async fn read_file(store: &dyn Store, key: &MasterKey, limits: &Limits, id: Id) -> Result<IndexFile> {
    Ok(read_marked(store, key, limits, id).await?.file)
}

/// As [`read_file`], with the marks.
///
/// # Errors
/// As [`read_file`].
pub async fn read_marked(store: &dyn Store, key: &MasterKey, limits: &Limits, id: Id) -> Result<MarkedFile> {
    let bytes = store.get(&layout::key(ObjectKind::Index, &id), None).await?;
    let (key, limits) = (key.clone(), limits.clone());
    let work = move || {
        if Id::of(&bytes) != id {
            let what = "read an index: its content is not what its name says";
            return Err(Error::new(Kind::Corrupt, what).code("E0422"));
        }
        MarkedFile::decode(&unpacked::decode(key.open(&bytes)?, &limits)?)
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|cause| Error::bug("read an index on a thread").caused_by(cause)).flatten()
}

/// Reads the header of a pack of `size` bytes: the end is read once, and once more if the header is
/// longer than what came with it.
///
/// # Errors
/// `Kind::Corrupt` if it is damaged; `Kind::Refused` if it is larger than allowed; as the store says
/// otherwise.
pub async fn read_header(
    store: &dyn Store,
    key: &MasterKey,
    limits: &Limits,
    id: Id,
    size: u64,
) -> Result<Vec<PackEntry>> {
    /// Sixteen entries and what goes with them, as restic reads at first.
    const EAGER_BYTES: u64 = 16 * 41 + 36;
    let pack = layout::key(ObjectKind::Pack, &id);
    let from = size.saturating_sub(EAGER_BYTES);
    let tail = store.get(&pack, Some(from..size)).await?;
    let Some(trailer) = tail.last_chunk::<4>() else {
        return Err(Error::new(Kind::Corrupt, "read a pack header: the pack is too short").code("E0421"));
    };
    let length = header_length(size, *trailer, limits)?;
    let start = size - TRAILER_BYTES - length;
    let sealed = match start.checked_sub(from) {
        Some(at) => tail.slice(at as usize..tail.len() - TRAILER_BYTES as usize),
        None => store.get(&pack, Some(start..size - TRAILER_BYTES)).await?,
    };
    decode_header(key, &sealed, size)
}

/// Lists ids with sizes; strays are reported and left alone.
async fn list_ids(store: &dyn Store, kind: ObjectKind, builder: &mut IndexBuilder) -> Result<Vec<(Id, u64)>> {
    let all: Vec<Meta> = store.list(layout::prefix(kind)).try_collect().await?;
    let mut ids = Vec::with_capacity(all.len());
    for meta in all {
        match layout::id_of(kind, &meta.key) {
            Some(id) => ids.push((id, meta.size)),
            None => {
                let name = escape(meta.key.as_str().as_bytes());
                builder.report(Problem::new("W0425", name, "it does not belong into a repository"));
            }
        }
    }
    ids.sort_unstable();
    Ok(ids)
}

fn is_damage(err: &Error) -> bool {
    // gone since the listing counts as damage too: what needs it will say so
    matches!(err.kind(), Kind::Corrupt | Kind::Refused | Kind::NotFound | Kind::Unsupported)
}
