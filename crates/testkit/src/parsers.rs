//! Every parser of what a repository holds, as a function of bytes that panics when a promise is broken:
//! no panic of its own, memory within limits, and what was read comes out again as it went in. The seeds
//! that they start from are in `corpus/`, the random inputs come from [`mutate`].

use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use recoup_core::Result;
use recoup_repo::compress::decompress_exact;
use recoup_repo::config::Config;
use recoup_repo::crypto::{MasterKey, OVERHEAD_BYTES};
use recoup_repo::index::IndexFile;
use recoup_repo::keyfile::KeyFile;
use recoup_repo::lockfile::LockFile;
use recoup_repo::pack::{PackEntry, decode_header, header_length, open_blob, size_of};
use recoup_repo::{BlobHandle, BlobKind, Id, Limits, Snapshot, Tree, unpacked};
use serde_json::{Value, json};
use std::fmt::Debug;
use std::path::PathBuf;

/// A parser under test; says whether it took the input.
pub type Target = fn(&[u8]) -> bool;

/// All of them, by name; the names are the folders of the corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("config", config),
    ("keyfile", keyfile),
    ("unpacked", unpacked_document),
    ("snapshot", snapshot),
    ("index", index),
    ("tree", tree),
    ("pack_header", pack_header),
    ("lockfile", lockfile),
    ("blob", blob),
    ("sealed", sealed),
];

/// Tries `input` on the target called `name`; what a fuzzer calls.
///
/// # Panics
/// If a promise is broken, or there is no such target.
pub fn try_input(name: &str, input: &[u8]) -> bool {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target of this name");
    target(input)
}

/// What a parser may claim in a test: small, so that a claim that is believed shows.
pub fn limits() -> Limits {
    Limits {
        blob_bytes_max: 1 << 20,
        tree_bytes_max: 1 << 20,
        unpacked_bytes_max: 1 << 20,
        header_bytes_max: 1 << 20,
        ..Limits::default()
    }
}

fn key() -> MasterKey {
    MasterKey::from_bytes(&std::array::from_fn(|n| n as u8 + 1))
}

/// What was read is written, read again, and must be the same; what is written must stay the same.
fn stable<T: Debug>(
    input: &[u8],
    decode: impl Fn(&[u8]) -> Result<T>,
    encode: impl Fn(&T) -> Result<Vec<u8>>,
    same: impl Fn(&T, &T) -> bool,
) -> bool {
    let Ok(first) = decode(input) else { return false };
    let written = encode(&first).expect("what was read can be written");
    let again = decode(&written).unwrap_or_else(|e| panic!("{e:?}: {}", shown(&written)));
    assert!(same(&first, &again), "first {first:?}\nagain {again:?}");
    assert_eq!(written, encode(&again).unwrap(), "{}", shown(&written));
    true
}

/// Bytes for people.
pub fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(4000)].escape_ascii().to_string()
}

fn config(input: &[u8]) -> bool {
    stable(input, Config::decode, Config::encode, PartialEq::eq)
}

fn keyfile(input: &[u8]) -> bool {
    // It has no equality, so that what is in it cannot be compared by accident; its text is compared.
    stable(input, KeyFile::decode, KeyFile::encode, |a, b| a.encode().unwrap() == b.encode().unwrap())
}

fn snapshot(input: &[u8]) -> bool {
    stable(input, Snapshot::decode, Snapshot::encode, PartialEq::eq)
}

fn index(input: &[u8]) -> bool {
    stable(input, IndexFile::decode, IndexFile::encode, PartialEq::eq)
}

fn lockfile(input: &[u8]) -> bool {
    stable(input, LockFile::decode, LockFile::encode, PartialEq::eq)
}

fn tree(input: &[u8]) -> bool {
    let zone = jiff::tz::TimeZone::UTC;
    let Ok(first) = Tree::decode(input) else { return false };
    assert!(first.nodes.is_sorted_by(|a, b| a.name() < b.name()), "{first:?}");
    let written = first.encode(&zone).expect("what was read can be written");
    let again = Tree::decode(&written).unwrap_or_else(|e| panic!("{e:?}: {}", shown(&written)));
    assert_eq!(again.problems, [], "{}", shown(&written));
    for (first, again) in first.nodes.iter().zip(&again.nodes) {
        let mut first = first.clone();
        if !first.is_file() {
            // restic writes the size of files only, and not everything has links.
            (first.entry.size, first.entry.links) = (again.entry.size, again.entry.links);
        }
        assert_eq!(&first, again);
    }
    assert_eq!(first.nodes.len(), again.nodes.len());
    assert_eq!(written, again.encode(&zone).unwrap(), "{}", shown(&written));
    true
}

fn unpacked_document(input: &[u8]) -> bool {
    let limits = limits();
    let Ok(json) = unpacked::decode(input.to_vec(), &limits) else { return false };
    assert!(json.len() as u64 <= limits.unpacked_bytes_max.max(input.len() as u64));
    for version in [1, 2] {
        let written = unpacked::encode(version, json.clone()).unwrap();
        assert_eq!(unpacked::decode(written, &limits).unwrap(), json);
    }
    true
}

/// The input is the header before it is sealed, with the pack size it adds up to and with others.
fn pack_header(input: &[u8]) -> bool {
    if let Some(trailer) = input.last_chunk() {
        let size = input.len() as u64;
        if let Ok(length) = header_length(size, *trailer, &limits()) {
            assert!(length + 4 <= size);
        }
    }
    let env = crate::env::real();
    let sealed = key().seal(&env, input);
    let size = adds_up_to(input).unwrap_or(1000);
    assert!(decode_header(&key(), &sealed, size + 1).is_err());
    let Ok(entries) = decode_header(&key(), &sealed, size) else { return false };
    assert_eq!(size_of(&entries), size);
    let mut end = 0;
    for entry in &entries {
        assert_eq!(u64::from(entry.offset), end);
        end = entry.end();
    }
    assert_eq!(entries.iter().flat_map(header_entry).collect::<Vec<u8>>(), input);
    true
}

/// The size of a pack with this header, by a second reading of the format.
fn adds_up_to(mut header: &[u8]) -> Option<u64> {
    let mut size = 36;
    while let Some(kind) = header.first() {
        let entry = if *kind & 2 == 0 { 37 } else { 41 };
        let length = u32::from_le_bytes(header.get(1..5)?.try_into().unwrap());
        header = header.get(entry..)?;
        size += u64::from(length) + entry as u64;
    }
    Some(size)
}

fn header_entry(entry: &PackEntry) -> Vec<u8> {
    let kind =
        u8::from(entry.handle.kind == BlobKind::Tree) + if entry.uncompressed.is_some() { 2 } else { 0 };
    let mut bytes = vec![kind];
    bytes.extend(entry.length.to_le_bytes());
    bytes.extend(entry.uncompressed.iter().flat_map(|n| n.to_le_bytes()));
    bytes.extend(entry.handle.id.as_bytes());
    bytes
}

/// The input is a byte that says what the blob is, the claimed length, and what is stored.
fn blob(input: &[u8]) -> bool {
    let Some((head, stored)) = input.split_first_chunk::<5>() else { return false };
    let claimed = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    let limits = limits();
    let kind = if head[0] & 2 == 0 { BlobKind::Data } else { BlobKind::Tree };
    let uncompressed = (head[0] & 1 == 1).then_some(claimed);
    let plain = match uncompressed {
        Some(claimed) => decompress_exact(stored, claimed.into(), limits.plain_bytes_max(kind)).ok(),
        None => Some(stored.to_vec()),
    };
    let id = plain.as_ref().map_or(Id::of(stored), |plain| Id::of(plain));
    let length = (stored.len() + OVERHEAD_BYTES) as u32;
    let entry = PackEntry { handle: BlobHandle { kind, id }, offset: 0, length, uncompressed };
    let sealed = key().seal(&crate::env::real(), stored);
    let opened = open_blob(&key(), &entry, &sealed, &limits);
    let taken = opened.is_ok();
    match opened {
        Ok(opened) => assert_eq!(Some(opened), plain),
        Err(e) => assert!(plain.is_none_or(|p| p.len() as u64 > limits.plain_bytes_max(kind)), "{e:?}"),
    }
    let other = PackEntry { handle: BlobHandle { kind, id: Id::of(b"another") }, ..entry };
    assert!(open_blob(&key(), &other, &sealed, &limits).is_err());
    taken
}

/// Bytes that nobody sealed never open.
fn sealed(input: &[u8]) -> bool {
    assert!(key().open(input).is_err());
    false
}

/// The seeds of a target that are kept with the project.
pub fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Pieces that parsers of this format have stumbled over.
const PIECES: &[&[u8]] = &[
    b"null",
    b"true",
    b"-1",
    b"0",
    b"1e999",
    b"4294967295",
    b"4294967296",
    b"18446744073709551616",
    b"\"\"",
    b"[]",
    b"{}",
    b"[",
    b"{",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\\x00",
    b"\xff",
    b"\0",
    b"..",
    b"/",
    b"\xff\xff\xff\xff",
    b"0001-01-01T00:00:00Z",
    b"9999-12-31T23:59:59.999999999+23:59",
    b"\x28\xb5\x2f\xfd",
];

/// `seed`, changed in one to six places; half of the time as the JSON that it is, so that it stays some.
pub fn mutate(random: &mut StdRng, seed: &[u8], other: &[u8]) -> Vec<u8> {
    if random.random_range(0..2) == 0
        && let Ok(mut json) = serde_json::from_slice::<Value>(seed)
    {
        for _ in 0..changes(random) {
            change(random, &mut json);
        }
        return json.to_string().into_bytes();
    }
    let mut bytes = seed.to_vec();
    for _ in 0..changes(random) {
        let at = random.random_range(0..=bytes.len());
        let end = (at + random.random_range(0..=40)).min(bytes.len());
        match random.random_range(0..9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = random.random(),
            2 => drop(bytes.drain(at..end)),
            3 => drop(bytes.splice(at..end, PIECES[random.random_range(0..PIECES.len())].iter().copied())),
            4 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            5 => bytes.truncate(at),
            6 => {
                let from = random.random_range(0..=other.len());
                let to = (from + random.random_range(0..=200)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            7 => replace_number(random, &mut bytes, at),
            _ => {
                let mut noise = vec![0; random.random_range(0..=16)];
                random.fill_bytes(&mut noise);
                bytes.splice(at..at, noise);
            }
        }
    }
    bytes
}

/// One change most of the time, up to six.
fn changes(random: &mut StdRng) -> usize {
    [1, 1, 1, 1, 2, 3, 6][random.random_range(0..7)]
}

/// Changes one value somewhere in `json`.
fn change(random: &mut StdRng, json: &mut Value) {
    let deeper = random.random_range(0..5) > 0;
    match json {
        Value::Array(items) if deeper && !items.is_empty() => {
            let at = random.random_range(0..items.len());
            match random.random_range(0..8) {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                2 => items.rotate_left(at),
                _ => change(random, &mut items[at]),
            }
        }
        Value::Object(fields) if deeper && !fields.is_empty() => {
            let at = random.random_range(0..fields.len());
            let name = fields.keys().nth(at).unwrap().clone();
            match random.random_range(0..10) {
                0 => drop(fields.remove(&name)),
                1 => drop(fields.insert(format!("{name}_later"), json!(1.5))),
                2 => drop(fields.insert(name.to_uppercase(), fields[&name].clone())),
                _ => change(random, &mut fields[&name]),
            }
        }
        Value::String(text) if deeper => {
            let raw = mutate(random, text.clone().as_bytes(), b"\\\\xff\\u2028");
            *text = String::from_utf8_lossy(&raw).into_owned();
        }
        _ => *json = any_value(random),
    }
}

fn any_value(random: &mut StdRng) -> Value {
    let number: u64 = random.random::<u64>() >> random.random_range(0..64);
    match random.random_range(0..12) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!([]),
        3 => json!({}),
        4 => json!(-(number as i64)),
        5 => json!(number as f64 / 7.0),
        6 => json!(""),
        7 => json!(Id::of(&number.to_le_bytes()).to_string()),
        8 => json!("2024-03-10T12:13:14.123456789+05:30"),
        9 => json!(["file", "dir", "symlink", "dev", "fifo", "socket", "irregular"][number as usize % 7]),
        _ => json!(number),
    }
}

/// Puts another number in the place of the next one.
fn replace_number(random: &mut StdRng, bytes: &mut Vec<u8>, from: usize) {
    let Some(start) = bytes[from..].iter().position(u8::is_ascii_digit).map(|n| n + from) else { return };
    let digits = bytes[start..].iter().take_while(|b| b.is_ascii_digit()).count();
    let number: u64 = random.random::<u64>() >> random.random_range(0..64);
    bytes.splice(start..start + digits, number.to_string().into_bytes());
}
