//! An error for people: what was attempted, on what, what it means for the data, what to do next.

use super::style::Style;
use recoup_core::name::escape;
use recoup_core::{Error, code};
use serde_json::{Value, json};

/// Several lines, ending in a newline.
pub(crate) fn text(error: &Error, style: Style) -> String {
    let label = match error.stable_code() {
        Some(code) => format!("error[{code}]"),
        None => "error".to_owned(),
    };
    let mut out = format!("{}: could not {}\n", style.red(&label), sentence(error));
    for (what, value) in error.context() {
        out.push_str(&format!("  {what}: {value}\n"));
    }
    if let Some(excerpt) = error.excerpt_text() {
        out.push_str(excerpt);
        out.push('\n');
    }
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        out.push_str(&format!("  because: {}\n", escape(inner.to_string().as_bytes())));
        cause = inner.source();
    }
    let known = error.stable_code().and_then(code::find);
    if let Some(effect) = error.effect_on_data().or(known.map(|k| k.effect)) {
        out.push_str(&format!("  effect: {effect}\n"));
    }
    if let Some(hint) = error.next_step().or(known.map(|k| k.next)) {
        out.push_str(&format!("{}: {hint}\n", style.green("hint")));
    }
    if let Some(k) = known {
        out.push_str(&format!("{}: `recoup explain {}` says more\n", style.green("hint"), k.code));
    }
    out
}

/// The same for scripts.
pub(crate) fn json(error: &Error) -> Value {
    let known = error.stable_code().and_then(code::find);
    json!({
        "code": error.stable_code(),
        "kind": format!("{:?}", error.kind()).to_lowercase(),
        "message": error.to_string(),
        "context": error.context().iter().map(|(k, v)| json!({"what": k, "value": v})).collect::<Vec<_>>(),
        "effect": error.effect_on_data().or(known.map(|k| k.effect)),
        "hint": error.next_step().or(known.map(|k| k.next)),
    })
}

fn sentence(error: &Error) -> &str {
    error.doing()
}
