//! Every stable code with its explanation, as `recoup explain` gives it.

use super::head;

pub(super) fn page() -> String {
    let mut page = head("Codes");
    page.push_str(
        "\n`E` is an error or a broken rule, `W` a warning, `R` a finding of a restore or a drill. \
         `recoup explain CODE` says the same offline.\n",
    );
    let mut codes: Vec<_> = recoup_core::code::all().collect();
    codes.sort_by_key(|c| c.code);
    for c in codes {
        page.push_str(&format!(
            "\n## {}: {}\n\n{}\n\nEffect on the data: {}\n\nNext: {}\n",
            c.code, c.title, c.meaning, c.effect, c.next
        ));
    }
    page
}
