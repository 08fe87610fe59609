//! From stored bytes to nodes. Whoever wrote them is not trusted: every name is checked, and a node
//! that makes no sense is left out and named.

use super::mode::from_go;
use super::{Node, NodeProblem, Tree};
use crate::golang::text::unquote;
use crate::golang::time::GoTime;
use crate::id::Id;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use recoup_core::entry::{Entry, EntryKind, Xattr};
use recoup_core::name::{NodeName, escape};
use recoup_core::{Error, Kind, Result};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The usual case: every node makes sense.
#[derive(Deserialize)]
struct RawTree<'a> {
    #[serde(borrow, default)]
    nodes: Option<Vec<RawNode<'a>>>,
}

/// A tree of which some node makes none.
#[derive(Deserialize)]
struct LooseTree<'a> {
    #[serde(borrow, default)]
    nodes: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct RawNode<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(default)]
    mode: u32,
    #[serde(borrow, default)]
    mtime: Option<Text<'a>>,
    #[serde(borrow, default)]
    atime: Option<Text<'a>>,
    #[serde(borrow, default)]
    ctime: Option<Text<'a>>,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(default)]
    user: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    inode: u64,
    #[serde(default)]
    device_id: u64,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    links: u64,
    #[serde(default)]
    linktarget: String,
    #[serde(default)]
    linktarget_raw: Option<String>,
    #[serde(default)]
    extended_attributes: Option<Vec<RawXattr>>,
    #[serde(borrow, default)]
    generic_attributes: Option<&'a RawValue>,
    #[serde(default)]
    device: u64,
    #[serde(default)]
    content: Option<Vec<Id>>,
    #[serde(default)]
    subtree: Option<Id>,
    #[serde(default)]
    error: String,
}

/// A text that is copied only if it holds escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Visitor).map(Text)
    }
}

#[derive(Deserialize)]
struct RawXattr {
    name: String,
    #[serde(default)]
    value: Option<String>,
}

impl Tree {
    /// Reads the JSON of a directory.
    ///
    /// # Errors
    /// `Kind::Corrupt` if it is no list of nodes; what is wrong with single nodes goes into
    /// [`Tree::problems`].
    pub fn decode(json: &[u8]) -> Result<Self> {
        let mut tree = Tree::default();
        if let Ok(RawTree { nodes }) = serde_json::from_slice(json) {
            let nodes = nodes.unwrap_or_default();
            tree.nodes.reserve(nodes.len());
            tree.nodes.extend(nodes.into_iter().filter_map(|raw| check_node(raw, &mut tree.problems)));
        } else {
            let raw: LooseTree<'_> = serde_json::from_slice(json)
                .map_err(|cause| Error::new(Kind::Corrupt, "read a tree").code("E0428").caused_by(cause))?;
            let nodes = raw.nodes.unwrap_or_default();
            tree.nodes.extend(nodes.into_iter().filter_map(|raw| decode_node(raw.get(), &mut tree.problems)));
        }
        tree.sort();
        Ok(tree)
    }

    /// Sorts by name; of several nodes with one name the first stays (fault row 142).
    fn sort(&mut self) {
        if self.nodes.is_sorted_by(|a, b| a.name() < b.name()) {
            return;
        }
        self.nodes.sort_by(|a, b| a.name().cmp(b.name()));
        let problems = &mut self.problems;
        self.nodes.dedup_by(|later, first| {
            let same = later.name() == first.name();
            if same {
                problems.push(lost(
                    later.name().to_string(),
                    "another entry of the directory has the same name",
                    "E0430",
                ));
            }
            same
        });
    }
}

fn lost(name: String, problem: impl Into<String>, code: &'static str) -> NodeProblem {
    NodeProblem { name, problem: problem.into(), lost: true, code }
}

fn decode_node(json: &str, problems: &mut Vec<NodeProblem>) -> Option<Node> {
    match serde_json::from_str(json) {
        Ok(raw) => check_node(raw, problems),
        Err(cause) => {
            problems.push(lost(name_in(json), format!("its metadata cannot be read: {cause}"), "E0429"));
            None
        }
    }
}

fn check_node(raw: RawNode<'_>, problems: &mut Vec<NodeProblem>) -> Option<Node> {
    let Some(name) = unquote(&raw.name.0) else {
        problems.push(lost(escape(raw.name.0.as_bytes()), "its name cannot be read", "E0429"));
        return None;
    };
    let name = match NodeName::new(name) {
        Ok(name) => name,
        Err(err) => {
            problems.push(lost(escape(raw.name.0.as_bytes()), err.to_string(), "E0405"));
            return None;
        }
    };
    let Some(kind) = kind_of(&raw) else {
        let text = format!("its type {} is unknown", escape(raw.kind.0.as_bytes()));
        problems.push(lost(name.to_string(), text, "E0429"));
        return None;
    };
    let mut doubts = Vec::new();
    let node = build(raw, name, kind, &mut doubts);
    for problem in doubts {
        problems.push(NodeProblem { name: node.name().to_string(), problem, lost: false, code: "W0431" });
    }
    match (&node.entry.kind, &node.content, &node.subtree) {
        (EntryKind::File, None, _) => {
            problems.push(lost(node.name().to_string(), "it is a file without a list of content", "E0429"));
            None
        }
        (EntryKind::Dir, _, None) => {
            problems.push(lost(node.name().to_string(), "it is a directory without a tree", "E0429"));
            None
        }
        _ => Some(node),
    }
}

/// The name in a node that is no node, for the report.
fn name_in(json: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    let name = value.get("name").and_then(|name| name.as_str()).unwrap_or("(without a name)");
    escape(name.as_bytes())
}

fn kind_of(raw: &RawNode<'_>) -> Option<EntryKind> {
    Some(match &*raw.kind.0 {
        "file" => EntryKind::File,
        "dir" => EntryKind::Dir,
        "symlink" => EntryKind::Symlink { target: link_target(raw) },
        "dev" => EntryKind::BlockDevice { device: raw.device },
        "chardev" => EntryKind::CharDevice { device: raw.device },
        "fifo" => EntryKind::Fifo,
        "socket" => EntryKind::Socket,
        _ => return None,
    })
}

fn link_target(raw: &RawNode<'_>) -> Vec<u8> {
    let exact = raw.linktarget_raw.as_ref().and_then(|text| STANDARD.decode(text).ok());
    exact.filter(|bytes| !bytes.is_empty()).unwrap_or_else(|| raw.linktarget.clone().into_bytes())
}

fn build(raw: RawNode<'_>, name: NodeName, kind: EntryKind, doubts: &mut Vec<String>) -> Node {
    let mut time = |field: &str, text: &Option<Text<'_>>, absent: Option<Timestamp>| match (
        text.as_ref().map(|text| GoTime::parse(&text.0)),
        absent,
    ) {
        (Some(Ok(time)), _) => time.at,
        (None, Some(other)) => other,
        _ => {
            doubts.push(format!("its {field} cannot be read; 1970 is taken"));
            Timestamp::UNIX_EPOCH
        }
    };
    // rustic leaves out what it was told not to keep, and knows no time of a folder that it made up.
    let mtime = time("mtime", &raw.mtime, (kind == EntryKind::Dir).then_some(Timestamp::UNIX_EPOCH));
    let (atime, ctime) = (time("atime", &raw.atime, Some(mtime)), time("ctime", &raw.ctime, Some(mtime)));
    let mut xattrs = Vec::new();
    for xattr in raw.extended_attributes.unwrap_or_default() {
        match STANDARD.decode(xattr.value.unwrap_or_default()) {
            Ok(value) => xattrs.push(Xattr { name: xattr.name, value }),
            Err(_) => doubts.push(format!("its attribute {} cannot be read", escape(xattr.name.as_bytes()))),
        }
    }
    let is_file = kind == EntryKind::File;
    let is_dir = kind == EntryKind::Dir;
    let entry = Entry {
        name,
        kind,
        mode: from_go(raw.mode),
        mtime,
        atime,
        ctime,
        uid: raw.uid,
        gid: raw.gid,
        user: raw.user,
        group: raw.group,
        inode: raw.inode,
        device_id: raw.device_id,
        size: if is_file { raw.size } else { 0 },
        links: raw.links,
        xattrs,
    };
    Node {
        entry,
        content: if is_file { raw.content } else { None },
        subtree: if is_dir { raw.subtree } else { None },
        generic_attributes: raw.generic_attributes.map(|raw| raw.get().to_owned()),
        error: raw.error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    const TIMES: &str =
        r#""mtime":"2026-11-22T10:00:00Z","atime":"2026-11-22T10:00:00Z","ctime":"2026-11-22T10:00:00Z""#;

    fn tree(nodes: &[String]) -> Tree {
        Tree::decode(format!("{{\"nodes\":[{}]}}\n", nodes.join(",")).as_bytes()).unwrap()
    }

    fn file(name: &str) -> String {
        format!(r#"{{"name":"{name}","type":"file",{TIMES},"uid":0,"gid":0,"content":[]}}"#)
    }

    #[test]
    fn row_141_a_hostile_name_takes_nothing_else_with_it() {
        let names = ["../x", "/etc/passwd", "a/b", ".", "..", "", r"a\\x00b", r"bad\\q", "good"];
        let tree = tree(&names.map(file));
        assert_eq!(tree.nodes.len(), 1);
        assert_eq!(tree.nodes[0].name().as_bytes(), b"good");
        assert_eq!(tree.problems.len(), 8);
        assert_eq!(tree.problems.iter().filter(|p| p.code == "E0405" && p.lost).count(), 7);
    }

    #[test]
    fn row_142_the_first_of_two_with_one_name_stays() {
        let link = format!(r#"{{"name":"a","type":"symlink",{TIMES},"linktarget":"/etc","content":null}}"#);
        let tree = tree(&[file("b"), link, file("a")]);
        assert_eq!(tree.nodes.len(), 2);
        assert_eq!(tree.nodes[0].entry.kind, EntryKind::Symlink { target: b"/etc".to_vec() });
        assert_eq!(tree.problems[0].code, "E0430");
    }

    #[test]
    fn nodes_that_make_no_sense_are_named() {
        let nodes = [
            format!(r#"{{"name":"nocontent","type":"file",{TIMES},"content":null}}"#),
            format!(r#"{{"name":"notree","type":"dir",{TIMES},"content":null}}"#),
            format!(r#"{{"name":"odd","type":"door",{TIMES},"content":null}}"#),
            r#"{"name":"minus","type":"file","size":-1,"content":[]}"#.to_owned(),
            "7".to_owned(),
            r#"{"name":"notime","type":"file","mtime":"x","atime":"y","ctime":"z","content":[]}"#.to_owned(),
        ];
        let tree = tree(&nodes);
        assert_eq!(tree.nodes.len(), 1);
        assert_eq!(tree.problems.iter().filter(|p| p.lost).count(), 5);
        assert_eq!(tree.problems.iter().filter(|p| !p.lost).count(), 3);
        assert!(Tree::decode(b"{\"nodes\":null}").unwrap().nodes.is_empty());
        assert!(Tree::decode(b"[]x").is_err());
    }

    #[test]
    fn every_cut_is_an_error_and_never_a_panic() {
        let json = format!("{{\"nodes\":[{}]}}", file("a"));
        for cut in 0..json.len() {
            assert!(Tree::decode(&json.as_bytes()[..cut]).is_err());
        }
    }

    fn any_entry() -> impl Strategy<Value = Entry> {
        let name = prop::collection::vec(any::<u8>(), 1..40)
            .prop_filter_map("a normal component", |raw| NodeName::new(raw).ok());
        let kind = prop_oneof![
            Just(EntryKind::File),
            Just(EntryKind::Dir),
            Just(EntryKind::Fifo),
            any::<u64>().prop_map(|device| EntryKind::CharDevice { device }),
            any::<u64>().prop_map(|device| EntryKind::BlockDevice { device }),
            prop::collection::vec(1..=255u8, 1..30).prop_map(|target| EntryKind::Symlink { target }),
        ];
        (
            name,
            kind,
            0..0o10000u32,
            -62_000_000_000i64..250_000_000_000,
            0..1_000_000_000i32,
            any::<(u32, u64, String)>(),
            any::<Vec<u8>>(),
        )
            .prop_map(|(name, kind, mode, secs, nanos, (uid, inode, user), value)| {
                let time = Timestamp::new(secs, 0).unwrap() + jiff::SignedDuration::from_nanos(nanos.into());
                let links = u64::from(matches!(kind, EntryKind::File | EntryKind::Symlink { .. }));
                let size = if kind == EntryKind::File { inode } else { 0 };
                Entry {
                    uid,
                    inode,
                    user,
                    links,
                    size,
                    xattrs: vec![Xattr { name: "user.x".into(), value }],
                    ..Entry::plain(name, kind, mode, time)
                }
            })
    }

    #[test]
    fn times_of_access_and_change_may_be_absent_and_the_time_of_content_may_not() {
        let node = |times: &str| {
            let tree = tree(&[format!(r#"{{"name":"a","type":"file","mode":420,{times}"content":[]}}"#)]);
            (tree.nodes[0].entry.clone(), tree.problems.len())
        };
        let (entry, problems) = node(r#""mtime":"2026-11-22T10:00:00Z","#);
        assert_eq!((entry.atime, entry.ctime, problems), (entry.mtime, entry.mtime, 0));
        let (entry, problems) = node(r#""mtime":"2026-11-22T10:00:00Z","ctime":"soon","#);
        assert_eq!((entry.ctime, problems), (Timestamp::UNIX_EPOCH, 1));
        let (entry, problems) = node("");
        assert_eq!((entry.mtime, entry.ctime, problems), (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH, 1));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(entries in prop::collection::vec(any_entry(), 0..6), offset in -12..14i8) {
            let mut tree = Tree::new(entries.into_iter().map(|entry| match entry.kind {
                EntryKind::File => Node::file(entry, vec![Id::of(b"a"), Id::of(b"b")]),
                EntryKind::Dir => Node::dir(entry, Id::of(b"t")),
                _ => Node::plain(entry),
            }).collect());
            tree.nodes.dedup_by(|a, b| a.name() == b.name());
            let json = tree.encode(&TimeZone::fixed(jiff::tz::offset(offset))).unwrap();
            prop_assert_eq!(Tree::decode(&json).unwrap(), tree);
        }

        #[test]
        fn anything_can_be_read(json: Vec<u8>) {
            let _ = Tree::decode(&json);
        }
    }
}
