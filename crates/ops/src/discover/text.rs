//! Small readings of source text. They find what people usually write and give nothing for the rest.

/// The text after `marker` up to the end of its line, with the line's number from 1.
pub(super) fn lines_with<'t>(text: &'t str, marker: &'t str) -> impl Iterator<Item = (usize, &'t str)> {
    let lines = text.lines().enumerate();
    lines.filter_map(move |(i, line)| {
        let code = line.split(" #").next().unwrap_or(line);
        let is_comment = code.trim_start().starts_with('#');
        code.find(marker).filter(|_| !is_comment).map(|at| (i + 1, &code[at + marker.len()..]))
    })
}

/// The strings in quotes on one line.
pub(super) fn quoted(line: &str) -> Vec<&str> {
    let mut out = vec![];
    let mut rest = line;
    while let Some(start) = rest.find(['"', '\'']) {
        let quote = &rest[start..=start];
        let Some(end) = rest[start + 1..].find(quote) else { break };
        out.push(&rest[start + 1..start + 1 + end]);
        rest = &rest[start + end + 2..];
    }
    out
}

/// The value in `NAME = ...` at the beginning of a line: its last string, with the line's number.
pub(super) fn assigned<'t>(text: &'t str, name: &str) -> Option<(usize, &'t str)> {
    text.lines().enumerate().find_map(|(i, line)| {
        let value = line.strip_prefix(name)?.trim_start().strip_prefix('=')?;
        quoted(value).last().map(|s| (i + 1, *s))
    })
}

/// Fields of models that hold the name of a file: (model, field), from the text of a models.py.
pub(super) fn file_fields(text: &str) -> Vec<(String, String)> {
    let mut model = None;
    let mut out = vec![];
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("class ") {
            model = rest.split(['(', ':']).next().map(|name| name.trim().to_owned());
        } else if let (Some(model), Some((field, kind))) = (&model, line.trim().split_once('=')) {
            let kind = kind.trim_start().trim_start_matches("models.");
            let is_name = field.trim().chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if line.starts_with(' ')
                && is_name
                && (kind.starts_with("FileField(") || kind.starts_with("ImageField("))
            {
                out.push((model.clone(), field.trim().to_owned()));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_lines_are_read() {
        let text = "import os\nMEDIA_ROOT = BASE_DIR / \"media\"  # uploads\nX = os.path.join(B, 'a', 'b')\n";
        assert_eq!(assigned(text, "MEDIA_ROOT"), Some((2, "media")));
        assert_eq!(assigned(text, "X"), Some((3, "b")));
        assert_eq!(assigned(text, "NONE"), None);
        let manage = "    os.environ.setdefault(\"DJANGO_SETTINGS_MODULE\", \"shop.settings\")\n";
        let (line, rest) = lines_with(manage, "DJANGO_SETTINGS_MODULE").next().unwrap();
        assert_eq!((line, quoted(&rest[1..])), (1, vec!["shop.settings"]));
        let models = "class Photo(models.Model):\n    image = models.ImageField(upload_to='p')\n    n = models.IntegerField()\n";
        assert_eq!(file_fields(models), [("Photo".to_owned(), "image".to_owned())]);
    }
}
