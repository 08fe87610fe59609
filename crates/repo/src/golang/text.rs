//! Strings: quoted as in Go source, and escaped as in Go's JSON.

use super::printable::is_printable;
use std::borrow::Cow;
use std::fmt::Write;

/// `strconv.Quote` without the outer quotes: bytes that are not UTF-8 and characters that do not
/// print are escaped, so that the result is always text.
pub fn quote(raw: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(raw)
        && raw.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'))
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(raw.len() + 8);
    for chunk in raw.utf8_chunks() {
        for c in chunk.valid().chars() {
            quote_char(&mut out, c);
        }
        for byte in chunk.invalid() {
            hex(&mut out, 'x', 2, u32::from(*byte));
        }
    }
    Cow::Owned(out)
}

fn quote_char(out: &mut String, c: char) {
    match c {
        '"' | '\\' => out.extend(['\\', c]),
        c if is_printable(c) => out.push(c),
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        c if c < ' ' || c == '\x7f' => hex(out, 'x', 2, u32::from(c)),
        c if u32::from(c) < 0x10000 => hex(out, 'u', 4, u32::from(c)),
        c => hex(out, 'U', 8, u32::from(c)),
    }
}

fn hex(out: &mut String, letter: char, digits: usize, value: u32) {
    // writing to a String cannot fail
    let _ = write!(out, "\\{letter}{value:0digits$x}");
}

/// Undoes [`quote`]; `None` if `text` is nothing that Go's `strconv.Unquote` takes.
pub fn unquote(text: &str) -> Option<Vec<u8>> {
    if !text.contains(['\\', '"', '\n']) {
        return Some(text.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '"' | '\n' => return None,
            '\\' => rest = unescape(rest, &mut out)?,
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Some(out)
}

/// Reads one escape after its backslash and gives what follows it.
fn unescape<'a>(text: &'a str, out: &mut Vec<u8>) -> Option<&'a str> {
    let letter = *text.as_bytes().first()?;
    let byte = match letter {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b'\\' | b'"' => letter,
        b'x' => u8::try_from(number(text.get(1..3)?, 16)?).ok()?,
        b'0'..=b'7' => u8::try_from(number(text.get(..3)?, 8)?).ok()?,
        b'u' | b'U' => {
            let end = if letter == b'u' { 5 } else { 9 };
            let c = char::from_u32(number(text.get(1..end)?, 16)?)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return text.get(end..);
        }
        _ => return None,
    };
    out.push(byte);
    let used = match letter {
        b'x' | b'0'..=b'7' => 3,
        _ => 1,
    };
    text.get(used..)
}

fn number(digits: &str, radix: u32) -> Option<u32> {
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, radix).ok())?
}

/// Appends `text` as a JSON string the way Go does: `<`, `>`, `&`, U+2028 and U+2029 are escaped.
pub fn json(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    // Names and ids rarely hold anything to escape.
    if text.bytes().all(|b| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\' | b'<' | b'>' | b'&')) {
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if c < ' ' || matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// [`json`] for bytes that need not be text: each byte that is not UTF-8 becomes U+FFFD, escaped.
pub fn json_lossy(out: &mut Vec<u8>, raw: &[u8]) {
    out.push(b'"');
    for chunk in raw.utf8_chunks() {
        let mut part = Vec::with_capacity(chunk.valid().len() + 2);
        json(&mut part, chunk.valid());
        out.extend_from_slice(&part[1..part.len() - 1]);
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_go_writes_it() {
        let cases: [(&[u8], &str); 7] = [
            (b"plain", "plain"),
            (b"a\"b\\c", r#"a\"b\\c"#),
            (b"\xff\xfe", r"\xff\xfe"),
            ("\u{a0}\u{200b}\u{2028}".as_bytes(), r"\u00a0\u200b\u2028"),
            ("\u{e0001}".as_bytes(), r"\U000e0001"),
            (b"\x07\x08\x0c\n\r\t\x0b\x01\x7f", r"\a\b\f\n\r\t\v\x01\x7f"),
            ("ä語🙂\u{fffd}".as_bytes(), "ä語🙂\u{fffd}"),
        ];
        for (raw, text) in cases {
            assert_eq!(quote(raw), text);
            assert_eq!(unquote(text).unwrap(), raw);
        }
        let mut out = Vec::new();
        json(&mut out, "<a&b>\"\\\u{2028}\u{1}");
        assert_eq!(out, br#""\u003ca\u0026b\u003e\"\\\u2028\u0001""#);
        out.clear();
        json_lossy(&mut out, b"a\xffb\xe2\x82");
        assert_eq!(out, br#""a\ufffdb\ufffd\ufffd""#);
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for bad in [
            "\\",
            "\\q",
            "\\x1",
            "\\xg1",
            "\\u12",
            "\\ud800",
            "\\U00110000",
            "a\"b",
            "a\nb",
            "\\'",
            "\\400",
            "\\x+1",
            "\\uäää",
        ] {
            assert_eq!(unquote(bad), None, "{bad}");
        }
        assert_eq!(unquote("\\101").unwrap(), b"A");
    }

    proptest! {
        #[test]
        fn any_bytes_survive(raw: Vec<u8>) {
            prop_assert_eq!(unquote(&quote(&raw)).unwrap(), raw.clone());
            let mut out = Vec::new();
            json(&mut out, &quote(&raw));
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), quote(&raw));
        }

        #[test]
        fn any_text_can_be_asked(text: String) {
            let _ = unquote(&text);
        }
    }
}
