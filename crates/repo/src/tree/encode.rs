//! From nodes to the bytes that restic would write.

use super::mode::to_go;
use super::{Node, Tree};
use crate::golang::text::{json, json_lossy, quote};
use crate::golang::time::GoTime;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::tz::TimeZone;
use recoup_core::entry::{EntryKind, Xattr};
use recoup_core::{Error, Result};

impl Tree {
    /// The JSON of the directory; times are written in `zone`.
    ///
    /// # Errors
    /// `Kind::Bug` if names are not strictly ascending, or a directory has no tree.
    pub fn encode(&self, zone: &TimeZone) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(16 + 512 * self.nodes.len());
        out.extend_from_slice(b"{\"nodes\":[");
        for (at, node) in self.nodes.iter().enumerate() {
            if at > 0 {
                if self.nodes[at - 1].name() >= node.name() {
                    return Err(
                        Error::bug("write a tree: its names are not ascending").with("name", node.name())
                    );
                }
                out.push(b',');
            }
            node.encode(zone, &mut out)?;
        }
        out.extend_from_slice(b"]}\n");
        Ok(out)
    }
}

impl Node {
    /// Appends the JSON of the node; times are written in `zone`.
    ///
    /// # Errors
    /// `Kind::Bug` if a directory has no tree.
    pub fn encode(&self, zone: &TimeZone, out: &mut Vec<u8>) -> Result<()> {
        let entry = &self.entry;
        out.extend_from_slice(b"{\"name\":");
        json(out, &quote(entry.name.as_bytes()));
        word(out, "type", type_word(&entry.kind).as_bytes());
        number(out, "mode", to_go(&entry.kind, entry.mode).into());
        for (field, time) in [("mtime", entry.mtime), ("atime", entry.atime), ("ctime", entry.ctime)] {
            key(out, field);
            out.push(b'"');
            GoTime::new(time, zone).append(out);
            out.push(b'"');
        }
        // Zero is a user as well.
        for (field, id) in [("uid", entry.uid), ("gid", entry.gid)] {
            key(out, field);
            out.extend_from_slice(itoa::Buffer::new().format(id).as_bytes());
        }
        text(out, "user", &entry.user);
        text(out, "group", &entry.group);
        number(out, "inode", entry.inode);
        number(out, "device_id", entry.device_id);
        self.encode_kind(out);
        xattrs(out, &entry.xattrs);
        if let Some(raw) = &self.generic_attributes {
            out.extend_from_slice(b",\"generic_attributes\":");
            out.extend_from_slice(raw.as_bytes());
        }
        if let EntryKind::BlockDevice { device } | EntryKind::CharDevice { device } = entry.kind {
            number(out, "device", device);
        }
        self.encode_content(out);
        match (&self.subtree, entry.is_dir()) {
            (Some(id), _) => word(out, "subtree", &id.digits()),
            (None, true) => {
                return Err(Error::bug("write a directory without its tree").with("name", &entry.name));
            }
            (None, false) => {}
        }
        text(out, "error", &self.error);
        out.push(b'}');
        Ok(())
    }

    /// Size, links and link target: each type has its own.
    fn encode_kind(&self, out: &mut Vec<u8>) {
        let entry = &self.entry;
        if entry.kind == EntryKind::File {
            number(out, "size", entry.size);
        }
        if !matches!(entry.kind, EntryKind::Dir | EntryKind::Fifo | EntryKind::Socket) {
            number(out, "links", entry.links);
        }
        let EntryKind::Symlink { target } = &entry.kind else { return };
        if target.is_empty() {
            return;
        }
        out.extend_from_slice(b",\"linktarget\":");
        json_lossy(out, target);
        if std::str::from_utf8(target).is_err() {
            out.extend_from_slice(format!(",\"linktarget_raw\":\"{}\"", STANDARD.encode(target)).as_bytes());
        }
    }

    fn encode_content(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"content\":");
        let Some(ids) = &self.content else {
            out.extend_from_slice(b"null");
            return;
        };
        out.push(b'[');
        for (at, id) in ids.iter().enumerate() {
            out.extend_from_slice(if at > 0 { b",\"" } else { b"\"" });
            out.extend_from_slice(&id.digits());
            out.push(b'"');
        }
        out.push(b']');
    }
}

fn type_word(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Dir => "dir",
        EntryKind::Symlink { .. } => "symlink",
        EntryKind::BlockDevice { .. } => "dev",
        EntryKind::CharDevice { .. } => "chardev",
        EntryKind::Fifo => "fifo",
        EntryKind::Socket => "socket",
    }
}

/// A comma and the name of a field.
fn key(out: &mut Vec<u8>, field: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(field.as_bytes());
    out.extend_from_slice(b"\":");
}

/// A text of letters and digits.
fn word(out: &mut Vec<u8>, field: &str, value: &[u8]) {
    key(out, field);
    out.push(b'"');
    out.extend_from_slice(value);
    out.push(b'"');
}

/// A number, left out when it is zero, as Go's `omitempty` does.
fn number(out: &mut Vec<u8>, field: &str, value: u64) {
    if value != 0 {
        key(out, field);
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }
}

/// A text, left out when it is empty.
fn text(out: &mut Vec<u8>, field: &str, value: &str) {
    if !value.is_empty() {
        key(out, field);
        json(out, value);
    }
}

fn xattrs(out: &mut Vec<u8>, all: &[Xattr]) {
    if all.is_empty() {
        return;
    }
    out.extend_from_slice(b",\"extended_attributes\":[");
    for (at, xattr) in all.iter().enumerate() {
        out.extend_from_slice(if at > 0 { b",{\"name\":" } else { b"{\"name\":" });
        json(out, &xattr.name);
        out.extend_from_slice(format!(",\"value\":\"{}\"}}", STANDARD.encode(&xattr.value)).as_bytes());
    }
    out.push(b']');
}
