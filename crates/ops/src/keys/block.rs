//! The part of a kit that a machine reads back: which application, which kit, which repository at which
//! location. It never holds a secret.
//!
//! Each line is its number, a key, a value without spaces, and five check symbols over the three; the last line
//! is a check over all. What has no plain sign is written as `%` and two digits, so that the block is the same
//! text on paper, in a file and inside HTML.

use super::names::KitId;
use super::symbols;
use jiff::Timestamp;
use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use sha2::{Digest, Sha256};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

const BEGIN: &str = "-----BEGIN RECOUP KIT-----";
const END: &str = "-----END RECOUP KIT-----";
const SCHEMA: &str = "recoup/kit/1";
/// Characters of a value on one line; longer values go on in the next, under the key `+`.
const VALUE: usize = 52;
/// Check symbols of a line: 25 bits. A wrong line passes once in 33 million.
const CHECK: usize = 5;
/// Symbols of the check over all lines: 65 bits.
const WHOLE: usize = 13;
/// More lines than any kit has.
const LINES_MAX: usize = 10_000;

/// What stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The application.
    pub app: String,
    /// When the kit was made.
    pub made: Timestamp,
    /// The kit.
    pub kit: KitId,
    /// Where the copies are.
    pub locations: Vec<BlockLocation>,
    /// Names of the application keys that the data needs.
    pub keys: Vec<String>,
}

/// One location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockLocation {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub path: PathBuf,
    /// Full id of the repository there; none if there was none yet.
    pub repository: Option<String>,
}

impl Block {
    /// The block as text, from the first mark to the last, at most 80 columns.
    pub fn encode(&self) -> String {
        let mut pairs = vec![
            ("schema", plain(SCHEMA.as_bytes())),
            ("app", plain(self.app.as_bytes())),
            ("made", plain(self.made.to_string().as_bytes())),
            ("kit", self.kit.to_string()),
        ];
        for location in &self.locations {
            pairs.push(("location", plain(location.name.as_bytes())));
            pairs.push(("path", plain(location.path.as_os_str().as_encoded_bytes())));
            pairs.extend(location.repository.as_ref().map(|id| ("repository", plain(id.as_bytes()))));
        }
        pairs.extend(self.keys.iter().map(|key| ("key", plain(key.as_bytes()))));
        let (mut out, mut sum, mut number) = (format!("{BEGIN}\n"), Sha256::new(), 0);
        let mut push = |key: &str, value: &str, sum: &mut Sha256| {
            number += 1;
            let check = line_check(&format!("{number:02}"), key, value);
            sum.update(format!("{key} {value}\n"));
            out.push_str(&format!("{number:02} {key:<10} {value:<VALUE$} {check}\n"));
        };
        for (key, value) in pairs {
            // Plain values are ASCII, so that they can be cut anywhere.
            let (first, mut rest) = value.split_at(value.len().min(VALUE));
            push(key, first, &mut sum);
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(VALUE));
                push("+", piece, &mut sum);
                rest = after;
            }
        }
        let whole = symbols_of(sum.clone(), WHOLE);
        push("check", &whole, &mut sum);
        out.push_str(END);
        out.push('\n');
        out
    }

    /// Reads the block out of `text`, which may be all of a kit; `file` names it in errors.
    ///
    /// # Errors
    /// `Kind::Config` `E0693` if there is none, or of a newer version; `E0691` with file and line of what is
    /// wrong.
    pub fn decode(text: &str, file: &str) -> Result<Self> {
        let none = |why: &str| {
            Error::new(Kind::Config, format!("read the kit: {why}")).with("file", file).code("E0693")
        };
        let mut lines = text.lines().zip(1_usize..).skip_while(|(line, _)| line.trim() != BEGIN).skip(1);
        let (mut pairs, mut sum, mut last) = (Vec::<Pair>::new(), Sha256::new(), 0);
        loop {
            let Some((line, at)) = lines.next().filter(|_| pairs.len() < LINES_MAX) else {
                let why = if last == 0 {
                    "no line says \"BEGIN RECOUP KIT\", or nothing follows it"
                } else {
                    "it breaks off before its end"
                };
                return Err(none(why));
            };
            if line.trim().is_empty() {
                continue;
            }
            last += 1;
            let (key, value) = split(line, last).map_err(|why| wrong(file, at, &why))?;
            if key == "check" {
                return match value.eq_ignore_ascii_case(&symbols_of(sum, WHOLE)) {
                    true => Block::of(&pairs, file),
                    false => {
                        Err(wrong(file, at, "the lines before it are not all of this kit, or are too many"))
                    }
                };
            }
            sum.update(format!("{key} {value}\n"));
            match pairs.last_mut().filter(|_| key == "+") {
                Some(pair) => pair.value.push_str(value),
                None => pairs.push(Pair { key: key.to_owned(), value: value.to_owned(), at }),
            }
        }
    }

    fn of(pairs: &[Pair], file: &str) -> Result<Self> {
        let newer = || {
            Error::new(Kind::Config, "read the kit: another version of recoup wrote it")
                .with("file", file)
                .code("E0693")
        };
        let mut pairs = pairs.iter();
        let mut must = |key: &str| pairs.next().filter(|p| p.key == key).ok_or_else(newer);
        if must("schema")?.text(file)? != SCHEMA {
            return Err(newer());
        }
        let app = must("app")?.text(file)?;
        let made = must("made")?;
        let made = made.text(file)?.parse().map_err(|_| wrong(file, made.at, "it is no time"))?;
        let kit = must("kit")?;
        let kit = kit.text(file)?.parse().map_err(|_| wrong(file, kit.at, "it is no name of a kit"))?;
        let mut block = Block { app, made, kit, locations: Vec::new(), keys: Vec::new() };
        for pair in pairs {
            match (pair.key.as_str(), block.locations.last_mut()) {
                ("location", _) => {
                    let name = pair.text(file)?;
                    block.locations.push(BlockLocation { name, path: PathBuf::new(), repository: None });
                }
                ("path", Some(location)) => {
                    location.path = PathBuf::from(std::ffi::OsString::from_vec(pair.bytes(file)?));
                }
                ("repository", Some(location)) => location.repository = Some(pair.text(file)?),
                ("key", _) => block.keys.push(pair.text(file)?),
                _ => return Err(newer()),
            }
        }
        Ok(block)
    }
}

struct Pair {
    key: String,
    value: String,
    /// Line of the file.
    at: usize,
}

impl Pair {
    fn bytes(&self, file: &str) -> Result<Vec<u8>> {
        unplain(&self.value)
            .ok_or_else(|| wrong(file, self.at, "its value is not written as a kit writes it"))
    }

    fn text(&self, file: &str) -> Result<String> {
        String::from_utf8(self.bytes(file)?).map_err(|_| wrong(file, self.at, "its value is no text"))
    }
}

fn wrong(file: &str, at: usize, why: &str) -> Error {
    Error::new(Kind::Config, format!("read the kit: {why}"))
        .with("file", file)
        .with("line", at)
        .code("E0691")
        .hint("compare this line with the paper")
}

/// Key and value of a line, whose number must be `expected`.
fn split(line: &str, expected: usize) -> std::result::Result<(&str, &str), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [number, key, value, check] = words.as_slice() else {
        return Err(format!("line {expected:02} of the block is not a number, a key, a value and a check"));
    };
    if !fits(check, &line_check(number, key, value)) {
        return Err(format!(
            "line {expected:02} of the block: its check does not fit, so a character in it is wrong"
        ));
    }
    if *number != format!("{expected:02}") {
        let shown = escape(number.as_bytes());
        return Err(format!("line {shown} of the block stands where line {expected:02} should be"));
    }
    Ok((key, value))
}

/// Whether check symbols are those that were computed, as people read symbols.
fn fits(typed: &str, computed: &str) -> bool {
    let values = |text: &str| -> Option<Vec<u8>> { text.chars().map(symbols::value).collect() };
    values(typed).is_some_and(|typed| Some(typed) == values(computed))
}

fn line_check(number: &str, key: &str, value: &str) -> String {
    symbols_of(Sha256::new().chain_update(format!("recoup kit line {number} {key} {value}")), CHECK)
}

fn symbols_of(sum: Sha256, count: usize) -> String {
    let values = symbols::from_bytes(&sum.finalize());
    symbols::text(&values[..count]).to_string()
}

/// Signs that look the same everywhere stay, all else becomes `%` and two digits.
fn plain(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes {
        match byte {
            b'A'..=b'Z'
            | b'a'..=b'z'
            | b'0'..=b'9'
            | b'/'
            | b'.'
            | b'_'
            | b'-'
            | b':'
            | b'@'
            | b'+'
            | b'=' => {
                out.push(char::from(*byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    // A value that is empty would be no word of its line.
    if out.is_empty() { "%".to_owned() } else { out }
}

fn unplain(text: &str) -> Option<Vec<u8>> {
    if text == "%" {
        return Some(Vec::new());
    }
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block() -> Block {
        Block {
            app: "shop".into(),
            made: "2026-11-22T09:00:00Z".parse().unwrap(),
            kit: "00ff00ff12345678".parse().unwrap(),
            locations: vec![
                BlockLocation {
                    name: "local".into(),
                    path: "/srv/re coup/<shöp>".into(),
                    repository: Some("ab".repeat(32)),
                },
                BlockLocation {
                    name: "far".into(),
                    path: format!("/mnt/{}", "x/".repeat(90)).into(),
                    repository: None,
                },
            ],
            keys: vec!["DJANGO_SECRET_KEY".into()],
        }
    }

    fn line_of(error: &Error) -> Option<usize> {
        error.context().iter().find(|(what, _)| *what == "line").and_then(|(_, line)| line.parse().ok())
    }

    #[test]
    fn a_block_is_read_back_from_all_of_a_kit() {
        let text = block().encode();
        assert!(text.lines().all(|l| l.len() <= 80 && l.is_ascii()), "{text}");
        assert!(!text.contains(['<', '>', '&', '"', '\'']), "it is the same inside HTML: {text}");
        assert_eq!(Block::decode(&text, "kit.txt").unwrap(), block());
        let around = format!("A KIT\n\n{}\nand more\n", text.replace('\n', "\n\n"));
        assert_eq!(Block::decode(&around, "kit.txt").unwrap(), block());
        assert_eq!(Block::decode("nothing", "kit.txt").unwrap_err().stable_code(), Some("E0693"));
        let all: Vec<&str> = text.lines().collect();
        let cut = all[..all.len() - 2].join("\n");
        assert_eq!(Block::decode(&cut, "kit.txt").unwrap_err().stable_code(), Some("E0693"));
    }

    #[test]
    fn a_line_that_is_missing_or_of_another_kit_is_told() {
        let text = block().encode();
        let all: Vec<&str> = text.lines().collect();
        for gone in 1..all.len() - 1 {
            let mut kept = all.clone();
            kept.remove(gone);
            assert!(Block::decode(&kept.join("\n"), "kit.txt").is_err(), "line {gone}");
        }
        let other = Block { kit: "1111111111111111".parse().unwrap(), ..block() }.encode();
        let mut mixed = all.clone();
        mixed[4] = other.lines().nth(4).unwrap();
        let error = Block::decode(&mixed.join("\n"), "kit.txt").unwrap_err();
        assert!(error.to_string().contains("not all of this kit"), "{error}");
    }

    proptest! {
        #[test]
        fn one_wrong_character_is_named_with_its_line(at: usize, by in 1_u8..36) {
            let text = block().encode();
            let inside = BEGIN.len() + 1..text.len() - END.len() - 1;
            let places: Vec<usize> = inside.filter(|i| !text.as_bytes()[*i].is_ascii_whitespace()).collect();
            let at = places[at % places.len()];
            let line = text[..at].matches('\n').count() + 1;
            let mut wrong = text.clone().into_bytes();
            let others = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ%/.-";
            wrong[at] = *others.iter().cycle().skip(usize::from(by)).find(|o| **o != wrong[at]).unwrap();
            let error = Block::decode(std::str::from_utf8(&wrong).unwrap(), "kit.txt").unwrap_err();
            prop_assert_eq!(line_of(&error), Some(line), "{}", error);
        }

        #[test]
        fn two_swapped_neighbours_are_named_with_their_line(at: usize) {
            let text = block().encode();
            let mut wrong = text.clone().into_bytes();
            let inside = BEGIN.len() + 1..text.len() - END.len() - 2;
            let places: Vec<usize> = inside
                .filter(|i| wrong[*i] != wrong[i + 1] && wrong[*i] != b'\n' && wrong[i + 1] != b'\n')
                .collect();
            let at = places[at % places.len()];
            let line = text[..at].matches('\n').count() + 1;
            wrong.swap(at, at + 1);
            match Block::decode(std::str::from_utf8(&wrong).unwrap(), "kit.txt") {
                Err(error) => prop_assert_eq!(line_of(&error), Some(line), "{}", error),
                // A word that moved between two spaces is still the same word.
                Ok(read) => prop_assert_eq!(read, block()),
            }
        }

        #[test]
        fn values_go_there_and_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(unplain(&plain(&bytes)), Some(bytes));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,300}") {
            let _ = Block::decode(&text, "f");
            let _ = Block::decode(&format!("{BEGIN}\n{text}\n{END}"), "f");
        }
    }
}
