//! Signed notes and the checkpoints of a log in them, as C2SP describes both (c2sp.org/signed-note and
//! c2sp.org/tlog-checkpoint). A checkpoint says: the log ORIGIN had so many records, and this is their hash.
//!
//! ```text
//! recoup/audit/shop/web-1-5c7e01aa
//! 845
//! 7Jm3bJDVqd5lf2Zdr4bJGqLqPZ6SbwtPKxH8gbc2uAg=
//!
//! — recoup/audit/shop/web-1-5c7e01aa x08go/ZJkuBS9UG/...
//! ```
//!
//! A signature names its key by four bytes, the start of SHA-256(name, newline, 0x01, public key), and is bare
//! Ed25519 of the text above the empty line. Lines of keys that nobody here knows are passed over: others
//! may add their signatures to a checkpoint.

use super::tree::{Hash, Tree};
use super::{Signer, SigningKey};
use crate::{Error, Kind, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Longest note that is looked at; ours have less than 500 bytes.
const NOTE_BYTES_MAX: usize = 16 << 10;
/// What stands before the name in the line of a signature: an em dash and a space.
const DASH: &str = "\u{2014} ";
/// The type of an Ed25519 signature, as key ids have it.
const ED25519: u8 = 1;
const KEY_ID_BYTES: usize = 4;

/// What a log says of itself at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// How many records it has.
    pub size: u64,
    /// The hash that stands for them.
    pub root: Hash,
}

/// A checkpoint as it was found, with whoever signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// What it says.
    pub checkpoint: Checkpoint,
    text: &'a str,
    signatures: Vec<(&'a str, Vec<u8>)>,
}

impl Checkpoint {
    /// What the log `origin` says with these records.
    pub fn of(origin: &str, tree: &Tree) -> Self {
        Checkpoint { origin: origin.to_owned(), size: tree.size(), root: tree.root() }
    }

    /// The hash as it stands in the note.
    pub fn root_text(&self) -> String {
        STANDARD.encode(self.root)
    }

    /// The note: signed with `key`, or without a signature if there is none.
    ///
    /// # Errors
    /// `Kind::Bug` if it cannot be signed, or the origin is no name for a key.
    pub fn note(&self, key: Option<&SigningKey>) -> Result<String> {
        let bad = self.origin.is_empty() || self.origin.contains(|c: char| c == '+' || c.is_whitespace());
        if bad || self.origin.chars().any(char::is_control) {
            return Err(Error::bug("name a log with characters that a note cannot have"));
        }
        let text = self.text();
        let Some(key) = key else { return Ok(format!("{text}\n")) };
        let mut line = key_id(&self.origin, &key.signer()).to_vec();
        line.extend(key.sign_bare(text.as_bytes())?);
        Ok(format!("{text}\n{DASH}{} {}\n", self.origin, STANDARD.encode(line)))
    }

    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root_text())
    }
}

impl<'a> Note<'a> {
    /// Reads a note. Nothing in it may be believed before [`Note::signer`] named somebody.
    ///
    /// # Errors
    /// `Kind::Corrupt` if it is not written as notes are.
    pub fn parse(note: &'a str) -> Result<Self> {
        let bad = |why: &str| Error::new(Kind::Corrupt, format!("read a checkpoint: {why}"));
        if note.len() > NOTE_BYTES_MAX || note.chars().any(|c| c.is_control() && c != '\n') {
            return Err(bad("it is no note"));
        }
        let end = note.rfind("\n\n").ok_or_else(|| bad("no empty line ends its text"))?;
        let (text, lines) = (&note[..=end], &note[end + 2..]);
        let checkpoint = checkpoint(text).ok_or_else(|| bad("its text is no checkpoint"))?;
        let mut signatures = Vec::new();
        for line in lines.split_inclusive('\n') {
            signatures.push(signature(line).ok_or_else(|| bad("a line is no signature"))?);
        }
        Ok(Note { checkpoint, text, signatures })
    }

    /// Who of `trusted` signed it.
    pub fn signer<'s>(&self, trusted: &'s [Signer]) -> Option<&'s Signer> {
        let signed = |signer: &&Signer| {
            let id = key_id(&self.checkpoint.origin, signer);
            let ours = self.signatures.iter().filter(|(name, _)| *name == self.checkpoint.origin);
            ours.filter_map(|(_, bytes)| bytes.strip_prefix(&id))
                .any(|signature| signer.verify_bare(self.text.as_bytes(), signature))
        };
        trusted.iter().find(signed)
    }

    /// Whether anybody signed it, known or not.
    pub fn is_signed(&self) -> bool {
        !self.signatures.is_empty()
    }
}

fn checkpoint(text: &str) -> Option<Checkpoint> {
    let mut lines = text.lines();
    let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
    let checkpoint = Checkpoint {
        origin: Some(origin).filter(|o| !o.is_empty())?.to_owned(),
        size: size.parse().ok()?,
        root: STANDARD.decode(root).ok()?.try_into().ok()?,
    };
    // One meaning has one text: no sign, no leading zero, no further lines.
    (checkpoint.text() == text).then_some(checkpoint)
}

fn signature(line: &str) -> Option<(&str, Vec<u8>)> {
    let (name, encoded) = line.strip_suffix('\n')?.strip_prefix(DASH)?.split_once(' ')?;
    let bytes = STANDARD.decode(encoded).ok()?;
    (!name.is_empty() && bytes.len() > KEY_ID_BYTES).then_some((name, bytes))
}

fn key_id(name: &str, signer: &Signer) -> [u8; KEY_ID_BYTES] {
    let hash: Hash = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', ED25519])
        .chain_update(signer.bytes())
        .finalize()
        .into();
    [hash[0], hash[1], hash[2], hash[3]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SEED_BYTES;
    use proptest::prelude::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; SEED_BYTES], "recoup shop").unwrap()
    }

    fn of(records: &[&str]) -> Checkpoint {
        let mut tree = Tree::default();
        records.iter().for_each(|record| tree.push(record.as_bytes()));
        Checkpoint::of("recoup/audit/shop/web-1", &tree)
    }

    /// The note and the key in the documentation of Go's `sumdb/note`, where the format comes from.
    #[test]
    fn key_ids_and_signatures_are_those_of_other_implementations() {
        let key = STANDARD.decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
        let mut file = b"\0\0\0\x0bssh-ed25519\0\0\0 ".to_vec();
        file.extend(&key[1..]);
        let signer: Signer = format!("ssh-ed25519 {}", STANDARD.encode(file)).parse().unwrap();
        let text = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
        let line = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let (name, bytes) = signature(line).unwrap();
        assert_eq!(name, "PeterNeumann");
        assert_eq!(hex::encode(key_id(name, &signer)), "c74f20a3");
        let signed = bytes.strip_prefix(&key_id(name, &signer)).unwrap();
        assert!(signer.verify_bare(text.as_bytes(), signed));
    }

    #[test]
    fn a_note_is_written_and_read_with_its_signer() {
        let checkpoint = of(&["a", "b"]);
        let note = checkpoint.note(Some(&key(1))).unwrap();
        let read = Note::parse(&note).unwrap();
        assert_eq!(read.checkpoint, checkpoint);
        let (one, two) = (key(1).signer(), key(2).signer());
        assert_eq!(read.signer(&[two.clone(), one.clone()]), Some(&one));
        let strangers = [two.clone()];
        assert_eq!(read.signer(&strangers), None);
        // Somebody else may sign beside it.
        let theirs = checkpoint.note(Some(&key(2))).unwrap();
        let both = format!("{note}{}", theirs.lines().last().map(|line| format!("{line}\n")).unwrap());
        assert_eq!(Note::parse(&both).unwrap().signer(&strangers), Some(&two));
        let bare = checkpoint.note(None).unwrap();
        let bare = Note::parse(&bare).unwrap();
        assert_eq!((bare.is_signed(), bare.signer(&[one])), (false, None));
    }

    #[test]
    fn what_is_no_checkpoint_is_told_apart() {
        let root = of(&[]).root_text();
        let nonsense = [
            String::new(),
            "a\n1\n".to_owned(),
            format!("\n1\n{root}\n\n"),
            format!("a\n01\n{root}\n\n"),
            format!("a\n+1\n{root}\n\n"),
            format!("a\n1\n{}\n\n", &root[4..]),
            format!("a\n1\n{root}\nmore\n\n"),
            format!("a\n1\n{root}\n\nb\n"),
            format!("a\n1\n{root}\n\n\u{2014} a AAAAAA==\n").repeat(400),
            format!("a\t\n1\n{root}\n\n"),
        ];
        for note in nonsense {
            assert!(Note::parse(&note).is_err(), "{note:?}");
        }
        let odd = Checkpoint { origin: "two words".into(), ..of(&[]) };
        assert_eq!(odd.note(None).unwrap_err().kind(), Kind::Bug);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn no_changed_byte_is_believed(place in 0_usize..1000, bit in 0_u8..8) {
            let note = of(&["a"]).note(Some(&key(1))).unwrap();
            let mut bytes = note.clone().into_bytes();
            let place = place % bytes.len();
            bytes[place] ^= 1 << bit;
            if let Ok(text) = String::from_utf8(bytes) && let Ok(read) = Note::parse(&text) {
                let trusted = [key(1).signer()];
                prop_assert_eq!(read.signer(&trusted), None);
            }
        }
    }
}
