//! Just enough of Rust's grammar to tell code from comments, text and tests. It never parses expressions.

/// A source file with its comments and texts blanked out, line for line.
pub(crate) struct RustText {
    /// The file with comments and the insides of texts replaced by spaces.
    pub(crate) code: String,
    /// Every text literal with the line (from 1) on which it starts.
    pub(crate) literals: Vec<(usize, String)>,
    /// For every line (from 0): whether it belongs to a test.
    tests: Vec<bool>,
}

impl RustText {
    /// Splits `source`. A broken file gives a broken split, never a panic.
    pub(crate) fn new(source: &str) -> RustText {
        let mut scanner = Scanner::new(source);
        scanner.run();
        let code: String = scanner.code.into_iter().collect();
        let tests = test_lines(&code);
        RustText { code, literals: scanner.literals, tests }
    }

    /// The lines of code that ship, with their numbers from 1.
    pub(crate) fn shipped(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().filter(|(n, _)| !self.in_test(n + 1)).map(|(n, line)| (n + 1, line))
    }

    /// Whether line `number` (from 1) belongs to a test.
    pub(crate) fn in_test(&self, number: usize) -> bool {
        self.tests.get(number - 1).copied().unwrap_or(false)
    }

    /// How many lines hold code.
    pub(crate) fn code_lines(&self) -> usize {
        self.code.lines().filter(|line| !line.trim().is_empty()).count()
    }
}

struct Scanner {
    chars: Vec<char>,
    at: usize,
    line: usize,
    code: Vec<char>,
    literals: Vec<(usize, String)>,
}

impl Scanner {
    fn new(source: &str) -> Scanner {
        Scanner { chars: source.chars().collect(), at: 0, line: 1, code: Vec::new(), literals: Vec::new() }
    }

    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    /// Takes one character; keeps it in the code or leaves a space (a line feed always stays).
    fn take(&mut self, keep: bool) -> char {
        let c = self.peek(0);
        self.at += 1;
        if c == '\n' {
            self.line += 1;
        }
        self.code.push(if keep || c == '\n' { c } else { ' ' });
        c
    }

    fn run(&mut self) {
        while self.at < self.chars.len() {
            let before = self.code.last().copied().unwrap_or(' ');
            let in_word = before.is_alphanumeric() || before == '_';
            match self.peek(0) {
                '/' if self.peek(1) == '/' => self.line_comment(),
                '/' if self.peek(1) == '*' => self.block_comment(),
                '"' => self.text(),
                'r' | 'b' | 'c' if !in_word && self.raw_hashes().is_some() => self.raw_text(),
                '\'' => self.quote(),
                _ => {
                    self.take(true);
                }
            }
        }
    }

    fn line_comment(&mut self) {
        while self.at < self.chars.len() && self.peek(0) != '\n' {
            self.take(false);
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.chars.len() {
            let pair = (self.peek(0), self.peek(1));
            match pair {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    self.take(false);
                    continue;
                }
            }
            self.take(false);
            self.take(false);
            if depth == 0 {
                return;
            }
        }
    }

    fn text(&mut self) {
        let (line, mut value) = (self.line, String::new());
        self.take(true);
        while self.at < self.chars.len() && self.peek(0) != '"' {
            let c = self.take(false);
            value.push(c);
            if c == '\\' && self.at < self.chars.len() {
                value.push(self.take(false));
            }
        }
        self.take(true);
        self.literals.push((line, value));
    }

    /// The number of hashes when a raw text starts here (`r"`, `br#"`, `cr##"`).
    fn raw_hashes(&self) -> Option<usize> {
        let mut ahead = usize::from(self.peek(0) != 'r');
        if self.peek(ahead) != 'r' {
            return None;
        }
        ahead += 1;
        let hashes = (0..).take_while(|n| self.peek(ahead + n) == '#').count();
        (self.peek(ahead + hashes) == '"').then_some(hashes)
    }

    fn raw_text(&mut self) {
        let hashes = self.raw_hashes().unwrap_or(0);
        let (line, mut value) = (self.line, String::new());
        while self.peek(0) != '"' {
            self.take(true);
        }
        self.take(true);
        while self.at < self.chars.len() {
            if self.peek(0) == '"' && (1..=hashes).all(|n| self.peek(n) == '#') {
                (0..=hashes).for_each(|_| {
                    self.take(true);
                });
                break;
            }
            value.push(self.take(false));
        }
        self.literals.push((line, value));
    }

    /// A character literal is blanked, a lifetime stays.
    fn quote(&mut self) {
        let literal = self.peek(1) == '\\' || self.peek(2) == '\'';
        self.take(true);
        if !literal {
            return;
        }
        if self.peek(0) == '\\' {
            self.take(false);
        }
        self.take(false);
        while self.at < self.chars.len() && self.peek(0) != '\'' {
            self.take(false);
        }
        self.take(true);
    }
}

/// Marks the lines of every item below `#[cfg(test)]`, `#[test]` or `#[tokio::test..]`.
fn test_lines(code: &str) -> Vec<bool> {
    let mut marks = vec![false; code.lines().count()];
    for start in ["#[cfg(test)]", "#[cfg(all(test", "#[test]", "#[tokio::test"]
        .iter()
        .flat_map(|mark| code.match_indices(mark).map(|(at, _)| at))
    {
        let end = start + item_end(&code[start..]);
        let first = code[..start].matches('\n').count();
        let last = code[..end].matches('\n').count();
        marks.iter_mut().take(last + 1).skip(first).for_each(|mark| *mark = true);
    }
    marks
}

/// Where the item that starts with an attribute ends: at its closing brace, or at `;` before any brace.
fn item_end(code: &str) -> usize {
    let (mut braces, mut others) = (0usize, 0usize);
    for (at, c) in code.char_indices() {
        match c {
            '{' => braces += 1,
            '}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 {
                    return at;
                }
            }
            '[' | '(' => others += 1,
            ']' | ')' => others = others.saturating_sub(1),
            ';' if braces == 0 && others == 0 => return at,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_texts_are_blanked_and_kept_apart() {
        let text = RustText::new("let a = \"x // y\"; // crate::b\n/* /* n */ crate::c */ let d = 'e';\n");
        assert!(!text.code.contains("crate"));
        assert!(text.code.contains("let d = ' '"));
        assert_eq!(text.literals, [(1, "x // y".to_owned())]);
    }

    #[test]
    fn raw_texts_lifetimes_and_escapes_do_not_derail() {
        let text = RustText::new("fn f<'a>(x: &'a str) { g(r#\"a\"b\"#, '\\'', b\"q\\\"\", '\"') } crate::z");
        assert!(text.code.ends_with("crate::z"), "{}", text.code);
        assert_eq!(text.literals.len(), 2);
    }

    #[test]
    fn tests_are_known() {
        let text = RustText::new("fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() { }\n}\nfn c() {}\n");
        let shipped: Vec<usize> = text.shipped().map(|(n, _)| n).collect();
        assert_eq!(shipped, [1, 6]);
    }
}
