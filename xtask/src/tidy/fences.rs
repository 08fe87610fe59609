//! The dangerous is fenced: ciphers in one folder, unsafe code in named adapters, no panics in what ships.

use super::Report;
use crate::rust_text::RustText;
use crate::tree::{Tree, is_test};

/// Crates that make or break secrecy, with the only places that may name them.
const CRYPTO: [(&str, &[&str]); 8] = [
    ("aes", &["crates/repo/src/crypto/"]),
    ("blahaj", &["crates/ops/src/keys/shares.rs"]),
    ("ctr", &["crates/repo/src/crypto/"]),
    ("poly1305", &["crates/repo/src/crypto/"]),
    ("scrypt", &["crates/repo/src/crypto/"]),
    ("signature", &["crates/core/src/crypto/"]),
    ("ssh_key", &["crates/core/src/crypto/"]),
    ("subtle", &["crates/repo/src/crypto/"]),
];

/// Files that may hold unsafe code, with the reason.
const UNSAFE: [(&str, &str); 1] =
    [("crates/repo/src/hash/lanes.rs", "SHA-256 of several strings at once needs the instructions for it")];

pub(super) fn check(tree: &Tree, report: &mut Report) {
    for (path, source) in tree.files("crates/", ".rs") {
        if !path.contains("/src/") || is_test(path) || path.starts_with("crates/testkit/") {
            continue;
        }
        let text = RustText::new(source);
        for (line, code) in text.shipped() {
            crypto(path, line, code, report);
            panics(path, line, code, &text, report);
            let fenced = UNSAFE.iter().any(|(listed, _)| *listed == path);
            if has_word(code, "unsafe") && !code.contains("unsafe_code") && !fenced {
                report.add(path, line, "fences", "unsafe code outside the listed adapters");
            }
        }
    }
}

fn crypto(path: &str, line: usize, code: &str, report: &mut Report) {
    for (name, places) in CRYPTO {
        let used = code.contains(&format!("use {name}::")) || paths(code, name);
        if used && !places.iter().any(|place| path.starts_with(place)) {
            report.add(path, line, "fences", format!("{name} is used only under {}", places.join(", ")));
        }
    }
}

/// Whether `name::` stands in `code` as the start of a path.
fn paths(code: &str, name: &str) -> bool {
    code.match_indices(&format!("{name}::"))
        .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':')))
}

/// `unwrap` never ships; an `expect` says which invariant makes it safe, in three words or more.
fn panics(path: &str, line: usize, code: &str, text: &RustText, report: &mut Report) {
    if code.contains(".unwrap()") {
        report.add(
            path,
            line,
            "fences",
            "unwrap in shipped code: return an error, or expect() with the invariant",
        );
    }
    if code.contains(".expect(\"") {
        let stated =
            text.literals.iter().any(|(at, said)| *at == line && said.split_whitespace().count() >= 3);
        if !stated {
            report.add(path, line, "fences", "expect() without an invariant of three words or more");
        }
    }
    for bare in ["panic!(", "todo!(", "unimplemented!("] {
        if code.contains(bare) {
            report.add(path, line, "fences", format!("{bare}..) in shipped code"));
        }
    }
}

fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word)
}
