//! What every location must do, as one suite that runs against each of them.

use crate::{Key, Put, Store, StoreExt};
use bytes::Bytes;
use recoup_core::Kind;

/// Runs the whole suite against `store`, which must be empty. It is empty again afterwards.
///
/// # Errors
/// The first rule that does not hold, in words.
pub async fn run(store: &dyn Store) -> Result<(), String> {
    absent(store).await?;
    create_and_read(store).await?;
    replace(store).await?;
    if_match(store).await?;
    ranges(store).await?;
    listing(store).await?;
    sizes(store).await?;
    locking(store).await?;
    for meta in said(store.list_all("").await, "list everything")? {
        said(store.delete(&meta.key).await, "delete")?;
    }
    holds(said(store.list_all("").await, "list nothing")?.is_empty(), "everything can be deleted")
}

async fn absent(store: &dyn Store) -> Result<(), String> {
    let key = key("data/ab/nothing");
    holds(said(store.head(&key).await, "head")?.is_none(), "head of what is absent is none")?;
    holds(kind(store.get(&key, None).await) == Some(Kind::NotFound), "get of what is absent is NotFound")?;
    holds(
        kind(store.get(&key, Some(0..1)).await) == Some(Kind::NotFound),
        "a range of what is absent is NotFound",
    )?;
    holds(store.delete(&key).await.is_ok(), "deleting what is absent is no error")?;
    holds(said(store.list_all("data").await, "list")?.is_empty(), "a folder that is absent lists as empty")
}

async fn create_and_read(store: &dyn Store) -> Result<(), String> {
    let key = key("data/ab/one");
    said(store.put(&key, Bytes::from_static(b"hello"), Put::Create).await, "create")?;
    holds(said(store.get(&key, None).await, "get")? == "hello", "what was put is read")?;
    let meta = said(store.head(&key).await, "head")?.ok_or("head finds what was put")?;
    holds(meta.size == 5 && meta.key == key, "head knows name and size")?;
    if store.capabilities().conditional_create {
        let again = store.put(&key, Bytes::from_static(b"other"), Put::Create).await;
        holds(kind(again) == Some(Kind::Exists), "create refuses a name that is taken")?;
        holds(said(store.get(&key, None).await, "get")? == "hello", "a refused create changes nothing")?;
    }
    said(store.delete(&key).await, "delete")?;
    holds(said(store.head(&key).await, "head")?.is_none(), "what was deleted is gone")?;
    said(store.put(&key, Bytes::from_static(b"again"), Put::Create).await, "create after delete")?;
    said(store.delete(&key).await, "delete")
}

async fn replace(store: &dyn Store) -> Result<(), String> {
    let key = key("config");
    for text in ["first", "second and longer", ""] {
        said(store.put(&key, Bytes::from(text), Put::Replace).await, "replace")?;
        holds(said(store.get(&key, None).await, "get")? == text, "replace shows the new bytes alone")?;
    }
    said(store.delete(&key).await, "delete")
}

async fn if_match(store: &dyn Store) -> Result<(), String> {
    let key = key("mark");
    let put = |text: &'static str, mode| store.put(&key, Bytes::from(text), mode);
    if !store.capabilities().if_match {
        let answer = put("x", Put::IfMatch("1".into())).await;
        return holds(kind(answer) == Some(Kind::Unsupported), "without if-match the mode is Unsupported");
    }
    said(put("one", Put::Create).await, "create")?;
    let old =
        said(store.head(&key).await, "head")?.and_then(|m| m.version).ok_or("head knows the version")?;
    said(put("two", Put::IfMatch(old.clone())).await, "replace the version that is there")?;
    holds(
        kind(put("three", Put::IfMatch(old)).await) == Some(Kind::Conflict),
        "an old version is a Conflict",
    )?;
    holds(said(store.get(&key, None).await, "get")? == "two", "a conflict changes nothing")?;
    said(store.delete(&key).await, "delete")
}

async fn ranges(store: &dyn Store) -> Result<(), String> {
    let key = key("data/cd/range");
    said(store.put(&key, Bytes::from_static(b"0123456789"), Put::Create).await, "create")?;
    for (range, expected) in [(0..10, "0123456789"), (3..5, "34"), (9..10, "9"), (4..4, ""), (10..10, "")] {
        let what = format!("bytes {}..{}", range.start, range.end);
        holds(said(store.get(&key, Some(range)).await, &what)? == expected, &what)?;
    }
    #[allow(clippy::reversed_empty_ranges, reason = "a hostile index may ask for one")]
    for range in [5..11, 10..11, 11..12, 0..u64::MAX, u64::MAX - 1..u64::MAX, 7..3] {
        let what = format!("bytes {}..{} of 10 are Corrupt", range.start, range.end);
        holds(kind(store.get(&key, Some(range)).await) == Some(Kind::Corrupt), &what)?;
    }
    said(store.delete(&key).await, "delete")
}

async fn listing(store: &dyn Store) -> Result<(), String> {
    let names = ["data/00/a", "data/00/b", "data/ff/c", "database", "index/d", "x"];
    for name in names {
        said(store.put(&key(name), Bytes::from(name), Put::Create).await, "create")?;
    }
    for (prefix, expected) in
        [("", &names[..]), ("data", &names[..3]), ("data/ff", &names[2..3]), ("index", &names[4..5])]
    {
        let found = said(store.list_all(prefix).await, "list")?;
        let listed: Vec<&str> = found.iter().map(|m| m.key.as_str()).collect();
        holds(listed == expected, &format!("the folder \"{prefix}\" lists {expected:?} and not {listed:?}"))?;
        holds(found.iter().all(|m| m.size == m.key.as_str().len() as u64), "a listing knows sizes")?;
    }
    for name in names {
        said(store.delete(&key(name)).await, "delete")?;
    }
    Ok(())
}

async fn sizes(store: &dyn Store) -> Result<(), String> {
    for size in [0, 1, 4095, 4096, 4097, 3 << 20] {
        let key = key(&format!("data/ee/{size}"));
        let bytes: Bytes = (0..size).map(|i| (i * 31 % 251) as u8).collect();
        said(store.put(&key, bytes.clone(), Put::Create).await, "create")?;
        holds(said(store.get(&key, None).await, "get")? == bytes, &format!("{size} bytes come back equal"))?;
        said(store.delete(&key).await, "delete")?;
    }
    Ok(())
}

async fn locking(store: &dyn Store) -> Result<(), String> {
    if store.capabilities().lock {
        return Ok(());
    }
    let answer = store.lock_until(&key("config"), jiff::Timestamp::UNIX_EPOCH).await;
    holds(kind(answer) == Some(Kind::Unsupported), "without lock the call is Unsupported")
}

fn key(name: &str) -> Key {
    #[allow(clippy::expect_used, reason = "the names of this suite are all well formed")]
    Key::new(name).expect("a well-formed name")
}

fn kind<T>(result: recoup_core::Result<T>) -> Option<Kind> {
    result.err().map(|e| e.kind())
}

fn said<T>(result: recoup_core::Result<T>, doing: &str) -> Result<T, String> {
    result.map_err(|e| format!("{doing}: {e:?}"))
}

fn holds(rule: bool, text: &str) -> Result<(), String> {
    if rule { Ok(()) } else { Err(format!("does not hold: {text}")) }
}
