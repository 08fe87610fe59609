//! Plain tables: columns padded to their widest cell, two spaces apart, no rules.

/// Lays `rows` out under `head`; an empty head is left out. Right-aligns the columns in `right`.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>], right: &[usize]) -> String {
    let columns = rows.iter().map(Vec::len).chain([head.len()]).max().unwrap_or(0);
    let mut widths = vec![0; columns];
    let header: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    for row in rows.iter().chain([&header]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(shown_width(cell));
        }
    }
    let mut out = String::new();
    let first = (!head.is_empty()).then_some(&header);
    for row in first.into_iter().chain(rows) {
        let mut line = String::new();
        for (i, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[i].saturating_sub(shown_width(cell)));
            if right.contains(&i) {
                line.push_str(&pad);
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.push_str(&pad);
            }
            line.push_str("  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Characters on screen: colour sequences take none.
fn shown_width(cell: &str) -> usize {
    let mut width = 0;
    let mut chars = cell.chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            let _ = chars.by_ref().find(|c| c.is_ascii_alphabetic());
        } else {
            width += 1;
        }
    }
    width
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_their_colour() {
        let rows = vec![
            vec!["a".to_owned(), "\x1b[1mbold\x1b[0m".to_owned(), "1".to_owned()],
            vec!["long name".to_owned(), "b".to_owned(), "100".to_owned()],
        ];
        let text = table(&["name", "what", "n"], &rows, &[2]);
        let plain = text.replace("\x1b[1m", "").replace("\x1b[0m", "");
        assert_eq!(plain, "name       what    n\na          bold    1\nlong name  b     100\n");
    }
}
