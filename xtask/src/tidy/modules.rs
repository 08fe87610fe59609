//! Inside a crate the order of the `mod` lines in `lib.rs` is the floor order: a module uses only
//! modules declared above it. Tests may look anywhere.

use super::Report;
use crate::rust_text::RustText;
use crate::tree::{Tree, is_test};

pub(super) fn check(tree: &Tree, report: &mut Report) {
    for name in tree.crates() {
        let source = format!("crates/{name}/src/");
        let Some(lib) = tree.text(&format!("{source}lib.rs")) else { continue };
        let order = declared(lib);
        for (path, text) in tree.files(&source, ".rs") {
            let inside = path.trim_start_matches(&source);
            if is_test(path) {
                continue;
            }
            let Some(own) = own_module(inside) else { continue };
            let Some(rank) = order.iter().position(|m| m == own) else {
                if !inside.contains('/') && inside != "main.rs" {
                    report.add(path, 0, "modules", format!("lib.rs does not declare `mod {own}`"));
                }
                continue;
            };
            for (line, used) in uses(&RustText::new(text)) {
                if let Some(other) = order.iter().position(|m| *m == used)
                    && other > rank
                {
                    report.add(
                        path,
                        line,
                        "modules",
                        format!("{own} uses {used}, which lib.rs declares below it"),
                    );
                }
            }
        }
    }
}

/// The modules that `lib.rs` declares, top down, without its tests.
fn declared(lib: &str) -> Vec<String> {
    let lib = RustText::new(lib);
    lib.shipped()
        .filter_map(|(_, line)| {
            let line = line.trim_start();
            let line = line.strip_prefix("pub(crate) ").or_else(|| line.strip_prefix("pub ")).unwrap_or(line);
            Some(line.strip_prefix("mod ")?.trim_end_matches([';', '{', ' ']).trim().to_owned())
        })
        .collect()
}

/// The top module that a file below `src/` belongs to.
fn own_module(inside: &str) -> Option<&str> {
    let own = inside.split('/').next()?;
    let own = own.strip_suffix(".rs").unwrap_or(own);
    (own != "lib").then_some(own)
}

/// The top modules named by `crate::x` and `crate::{x, y::z}`, with the line of each.
fn uses(text: &RustText) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in text.code.match_indices("crate::") {
        let line = text.code[..at].matches('\n').count() + 1;
        let part_of_word = text.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        if part_of_word || text.in_test(line) {
            continue;
        }
        let rest = &text.code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            found.extend(group_heads(group).into_iter().map(|name| (line, name)));
        } else {
            found.push((line, word(rest)));
        }
    }
    found
}

/// The first word of each member of a `{a, b::{c, d}, e}` group, given without its opening brace.
fn group_heads(group: &str) -> Vec<String> {
    let (mut heads, mut depth, mut start) = (Vec::new(), 0usize, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            c if start && (c.is_alphabetic() || c == '_') => {
                heads.push(word(&group[at..]));
                start = false;
            }
            _ => {}
        }
    }
    heads
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_found_alone_and_in_groups() {
        let text = RustText::new(
            "use crate::{a::{x, y}, b, self};\nlet z = crate::c::d();\n// crate::e\nrecoup_crate::f;",
        );
        let names: Vec<String> = uses(&text).into_iter().map(|(_, n)| n).collect();
        assert_eq!(names, ["a", "b", "self", "c"]);
    }

    #[test]
    fn declarations_keep_their_order() {
        assert_eq!(declared("//! x\npub mod b;\nmod a;\n#[cfg(test)]\nmod t;\npub use a::X;\n"), ["b", "a"]);
    }
}
