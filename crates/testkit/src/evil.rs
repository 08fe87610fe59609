//! Hostile repositories: sealed with the right key by somebody who means harm, or by a broken tool.
//!
//! Documents are written here by hand, since no honest code would write them. Fault rows 141-149,
//! 152-155, 158, 159.

use bytes::Bytes;
use recoup_core::env::Env;
use recoup_core::secret::Secret;
use recoup_repo::config::Config;
use recoup_repo::crypto::MasterKey;
use recoup_repo::id::Id;
use recoup_repo::keyfile::{KeyFile, PasswordStrength};
use recoup_repo::layout::{self, ObjectKind};
use recoup_repo::unpacked;
use recoup_store::Key;
use recoup_store::memory::Memory;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The password of every hostile repository.
pub const PASSWORD: &str = "evil";

/// A blob as the index and the pack header will speak of it.
#[derive(Clone, Debug)]
pub struct Claim {
    /// `data` or `tree`.
    pub kind: &'static str,
    pub id: Id,
    pub offset: u64,
    pub length: u64,
    pub uncompressed: Option<u64>,
}

/// A repository under construction.
pub struct Evil {
    objects: BTreeMap<Key, Bytes>,
    key: MasterKey,
    env: Env,
    data: OpenPack,
    trees: OpenPack,
    index: Vec<Value>,
}

#[derive(Default)]
struct OpenPack {
    bytes: Vec<u8>,
    claims: Vec<Claim>,
}

impl Default for Evil {
    fn default() -> Self {
        Evil::new()
    }
}

impl Evil {
    /// Key and config are in order; everything else is up to the test.
    pub fn new() -> Self {
        let env = crate::env::real();
        let key = MasterKey::random(&env);
        let password = Secret::new(PASSWORD.into());
        let file =
            KeyFile::create(&password, &key, PasswordStrength::Generated, &env).unwrap().encode().unwrap();
        let config = Config::new(&env, None).unwrap().encode().unwrap();
        let mut evil = Evil {
            objects: BTreeMap::new(),
            key,
            env,
            data: OpenPack::default(),
            trees: OpenPack::default(),
            index: Vec::new(),
        };
        evil.put(layout::key(ObjectKind::Key, &Id::of(&file)), file);
        evil.config(&config);
        evil
    }

    pub fn password() -> Secret {
        Secret::new(PASSWORD.into())
    }

    /// Puts any bytes anywhere.
    pub fn put(&mut self, key: Key, bytes: Vec<u8>) {
        self.objects.insert(key, bytes.into());
    }

    pub fn remove(&mut self, kind: ObjectKind) {
        let prefix = layout::prefix(kind);
        self.objects.retain(|key, _| !key.as_str().starts_with(prefix));
    }

    /// Seals `json` as the config.
    pub fn config(&mut self, json: &[u8]) {
        let sealed = self.key.seal(&self.env, json);
        self.put(layout::config(), sealed);
    }

    /// Seals a document and puts it under its true name.
    pub fn document(&mut self, kind: ObjectKind, json: &Value) -> Id {
        let plain = unpacked::encode(2, json.to_string().into_bytes()).unwrap();
        self.sealed(kind, &plain)
    }

    /// Seals any plaintext and puts it under its true name.
    pub fn sealed(&mut self, kind: ObjectKind, plain: &[u8]) -> Id {
        let sealed = self.key.seal(&self.env, plain);
        let id = Id::of(&sealed);
        self.put(layout::key(kind, &id), sealed);
        id
    }

    /// An honest data blob.
    pub fn data(&mut self, plain: &[u8]) -> Id {
        self.claim("data", Id::of(plain), plain, None)
    }

    /// An honest tree blob of `nodes`.
    pub fn tree(&mut self, nodes: &[Value]) -> Id {
        let json = format!("{}\n", json!({ "nodes": nodes }));
        self.claim("tree", Id::of(json.as_bytes()), json.as_bytes(), None)
    }

    /// Stores `stored` as the blob `id`, whatever it is; `uncompressed` claims that it is zstd.
    pub fn claim(&mut self, kind: &'static str, id: Id, stored: &[u8], uncompressed: Option<u64>) -> Id {
        let pack = if kind == "tree" { &mut self.trees } else { &mut self.data };
        let offset = pack.bytes.len() as u64;
        self.key.seal_into(&self.env, stored, &mut pack.bytes);
        let length = pack.bytes.len() as u64 - offset;
        pack.claims.push(Claim { kind, id, offset, length, uncompressed });
        id
    }

    /// Closes the open packs. `lie` may change what the index says of each blob.
    pub fn flush(&mut self, lie: impl Fn(&mut Claim)) {
        for pack in [std::mem::take(&mut self.data), std::mem::take(&mut self.trees)] {
            if pack.claims.is_empty() {
                continue;
            }
            let mut bytes = pack.bytes;
            let header: Vec<u8> = pack.claims.iter().flat_map(header_entry).collect();
            let before = bytes.len();
            self.key.seal_into(&self.env, &header, &mut bytes);
            let length = (bytes.len() - before) as u32;
            bytes.extend(length.to_le_bytes());
            let id = Id::of(&bytes);
            self.put(layout::key(ObjectKind::Pack, &id), bytes);
            let mut claims = pack.claims;
            claims.iter_mut().for_each(&lie);
            self.index.push(
                json!({"id": id.to_string(), "blobs": claims.iter().map(index_entry).collect::<Vec<_>>()}),
            );
        }
    }

    /// Writes one index file for every single blob of the packs that were flushed.
    pub fn split_index(&mut self) {
        for pack in std::mem::take(&mut self.index) {
            for blob in pack["blobs"].as_array().unwrap() {
                let packs = json!([{ "id": pack["id"], "blobs": [blob] }]);
                self.document(ObjectKind::Index, &json!({ "packs": packs }));
            }
        }
    }

    /// A snapshot of `tree`.
    pub fn snapshot(&mut self, tree: Id) -> Id {
        let json = json!({
            "time": "2024-03-10T12:13:14.5Z", "tree": tree.to_string(), "paths": ["/evil"],
            "hostname": "evil", "username": "mallory"
        });
        self.document(ObjectKind::Snapshot, &json)
    }

    /// Writes what is left to write and hands the repository over.
    pub fn finish(mut self) -> Memory {
        self.flush(|_| {});
        if !self.index.is_empty() {
            let packs = std::mem::take(&mut self.index);
            self.document(ObjectKind::Index, &json!({ "packs": packs }));
        }
        Memory::from_objects(self.objects)
    }
}

fn header_entry(claim: &Claim) -> Vec<u8> {
    let kind = u8::from(claim.kind == "tree") + if claim.uncompressed.is_some() { 2 } else { 0 };
    let mut entry = vec![kind];
    entry.extend((claim.length as u32).to_le_bytes());
    if let Some(bytes) = claim.uncompressed {
        entry.extend((bytes as u32).to_le_bytes());
    }
    entry.extend(claim.id.as_bytes());
    entry
}

fn index_entry(claim: &Claim) -> Value {
    let mut entry = json!({
        "id": claim.id.to_string(), "type": claim.kind, "offset": claim.offset, "length": claim.length
    });
    if let Some(bytes) = claim.uncompressed {
        entry["uncompressed_length"] = json!(bytes);
    }
    entry
}

/// A node with everything an honest one has; change what the case needs.
pub fn node(name: &str, kind: &str) -> Value {
    json!({
        "name": name, "type": kind, "mode": 0o644, "mtime": "2024-03-10T12:13:14.5Z",
        "atime": "2024-03-10T12:13:14.5Z", "ctime": "2024-03-10T12:13:14.5Z", "uid": 0, "gid": 0,
        "user": "root", "group": "root", "inode": 1, "device_id": 1, "links": 1, "content": null
    })
}

/// A file node over `content`, with an honest size if `size` is.
pub fn file(name: &str, content: &[Id], size: u64) -> Value {
    let mut node = node(name, "file");
    node["size"] = json!(size);
    node["content"] = content.iter().map(Id::to_string).collect();
    node
}

/// A directory node.
pub fn dir(name: &str, subtree: Id) -> Value {
    let mut node = node(name, "dir");
    node["mode"] = json!(0o755 | 1u32 << 31);
    node["subtree"] = json!(subtree.to_string());
    node
}

/// A symbolic link node.
pub fn symlink(name: &str, target: &str) -> Value {
    let mut node = node(name, "symlink");
    node["mode"] = json!(0o777 | 1u32 << 27);
    node["linktarget"] = json!(target);
    node
}

/// `bytes` zeros as one zstd frame, with or without a content size in the frame.
pub fn zstd_bomb(bytes: u64, with_size: bool) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    if with_size {
        encoder.set_pledged_src_size(Some(bytes)).unwrap();
        encoder.include_contentsize(true).unwrap();
    }
    let block = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let n = left.min(block.len() as u64);
        encoder.write_all(&block[..n as usize]).unwrap();
        left -= n;
    }
    encoder.finish().unwrap()
}
