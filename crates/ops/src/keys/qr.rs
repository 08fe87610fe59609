//! QR codes, drawn: as SVG without any outside reference, and as half blocks of text. It never looks at what
//! they say.

use qrcode::{Color, EcLevel, QrCode};
use recoup_core::{Error, Kind, Result};
use std::fmt::Write;
use zeroize::Zeroizing;

/// White modules around a code, as its standard asks.
const QUIET: usize = 4;

/// A code: which modules are dark.
pub(super) struct Code {
    width: usize,
    dark: Zeroizing<Vec<bool>>,
}

impl Code {
    /// The code that says `text`; a seventh of it may be unreadable.
    ///
    /// # Errors
    /// `Kind::Refused` `E0693` if no code holds so much.
    pub(super) fn new(text: &str) -> Result<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::M).map_err(|cause| {
            Error::new(Kind::Refused, "draw a QR code: the text is too long for one")
                .code("E0693")
                .caused_by(cause)
        })?;
        let dark = Zeroizing::new(code.to_colors().iter().map(|color| *color == Color::Dark).collect());
        Ok(Code { width: code.width(), dark })
    }

    /// Modules in a row, with the white ones around.
    pub(super) fn width(&self) -> usize {
        self.width + 2 * QUIET
    }

    fn is_dark(&self, x: usize, y: usize) -> bool {
        let inside = |at: usize| at.checked_sub(QUIET).filter(|at| *at < self.width);
        match (inside(x), inside(y)) {
            (Some(x), Some(y)) => self.dark.get(y * self.width + x).copied().unwrap_or(false),
            _ => false,
        }
    }

    /// As SVG, to stand inside HTML.
    pub(super) fn svg(&self) -> Zeroizing<String> {
        let width = self.width();
        let mut path = Zeroizing::new(String::new());
        for y in 0..width {
            for x in (0..width).filter(|x| self.is_dark(*x, y)) {
                // Writing into a string does not fail.
                let _ = write!(*path, "M{x} {y}h1v1h-1z");
            }
        }
        Zeroizing::new(format!(
            "<svg viewBox=\"0 0 {width} {width}\" shape-rendering=\"crispEdges\" role=\"img\">\
             <rect width=\"{width}\" height=\"{width}\" fill=\"#fff\"/><path d=\"{}\"/></svg>",
            *path
        ))
    }

    /// As text, two rows of modules in each line, dark on light paper.
    pub(super) fn blocks(&self) -> Zeroizing<String> {
        let width = self.width();
        let mut out = Zeroizing::new(String::new());
        for y in (0..width).step_by(2) {
            let line: String = (0..width)
                .map(|x| match (self.is_dark(x, y), self.is_dark(x, y + 1)) {
                    (true, true) => '\u{2588}',
                    (true, false) => '\u{2580}',
                    (false, true) => '\u{2584}',
                    (false, false) => ' ',
                })
                .collect();
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_drawn_the_same_twice() {
        let code = Code::new("RECOUP").unwrap();
        assert_eq!(code.width(), 29);
        let blocks = code.blocks();
        // The finder pattern in the upper left corner: seven dark modules, after four light ones.
        assert!(
            blocks
                .lines()
                .nth(2)
                .unwrap()
                .starts_with("    \u{2588}\u{2580}\u{2580}\u{2580}\u{2580}\u{2580}\u{2588}"),
            "{}",
            *blocks
        );
        let svg = code.svg();
        assert!(svg.contains("M4 4h1v1h-1z") && !svg.contains("M3 4h"), "{}", *svg);
        assert!(!svg.contains("http"), "nothing is fetched from anywhere");
        assert!(Code::new(&"x".repeat(5000)).is_err());
    }
}
