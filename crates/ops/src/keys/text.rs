//! The kit as text, 80 columns, and as HTML: one template says both. A secret stands in it only if it is
//! handed in.

use super::block::Block;
use super::qr::Code;
use super::secret_part::{Part, lines};
use crate::config::Loaded;
use crate::secret::SecretRef;
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use recoup_core::env::Env;
use recoup_core::name::escape;
use recoup_core::secret::Secret;
use recoup_core::{Error, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Columns that a value has on paper: 80 without what stands before it.
const COLUMNS: usize = 74;
/// The widest QR code that fits between the margins of the text.
const CODE_COLUMNS: usize = 80;

/// What a recovery sheet, or a kit, says.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sheet {
    /// Name of the application.
    pub app: String,
    /// When the sheet was made, RFC 3339.
    pub made: String,
    /// On which machine.
    pub host: String,
    /// Where copies are: name, path, and id of the repository once it exists.
    pub locations: Vec<(String, String, Option<String>)>,
    /// Sources: name, kind, live path.
    pub sources: Vec<(String, String, String)>,
    /// Sources: name, where the data is in what was restored, kind.
    pub restores: Vec<(String, String, String)>,
    /// Where the password is kept, in words.
    pub password_kept: String,
    /// The environment variables and settings without which restored data cannot be read.
    pub keys: Vec<String>,
    /// Public keys of those who sign.
    pub signers: Vec<String>,
    /// Version of recoup.
    pub version: String,
    /// The name of the kit, if this is one.
    pub kit: Option<String>,
    /// Which secret parts the kit has, in words.
    pub secret: Option<String>,
    /// The part of a kit that a machine reads back.
    pub block: Option<String>,
}

/// The facts of the sheet for a configuration. `repositories` are the ids by location, once they exist.
///
/// # Errors
/// As [`Loaded::path`].
pub fn sheet_facts(loaded: &Loaded, repositories: &BTreeMap<String, String>, env: &Env) -> Result<Sheet> {
    let config = &loaded.config;
    let absolute = |written: &str| loaded.path(written).map(|path| shown(&path));
    let password_kept = match config.keys.as_ref().map(|keys| &keys.password) {
        Some(SecretRef::File(path)) => format!("file {}", absolute(path)?),
        Some(other) => other.to_string(),
        None => "nowhere: [keys] is not declared".to_owned(),
    };
    let mut locations = vec![];
    for (name, location) in &config.locations {
        let path = shown(&real(&loaded.path(&location.path)?));
        locations.push((name.clone(), path, repositories.get(name).cloned()));
    }
    let (mut sources, mut restores) = (vec![], vec![]);
    for (name, source) in &config.sources {
        let kind = source.driver.kind().to_owned();
        let live = loaded.path(source.driver.path())?;
        // A database is one file in the folder of its source; files are what the folder holds.
        let place = match live.file_name().filter(|_| kind == "sqlite") {
            Some(file) => format!("FOLDER/{name}/{}", escape(file.as_bytes())),
            None => format!("FOLDER/{name}/"),
        };
        sources.push((name.clone(), kind.clone(), shown(&live)));
        restores.push((name.clone(), place, kind));
    }
    let signers = config.keys.iter().flat_map(|keys| &keys.signers).map(ToString::to_string);
    Ok(Sheet {
        app: config.app.clone(),
        made: env.now().round(jiff::Unit::Second).unwrap_or_else(|_| env.now()).to_string(),
        host: escape(env.host.hostname.as_bytes()),
        locations,
        sources,
        restores,
        password_kept,
        keys: config.python.keys.iter().map(|key| escape(key.as_bytes())).collect(),
        signers: signers.collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Sheet::default()
    })
}

/// The path without links and steps upwards, as far as it is there: a disk that is not mounted has the same name.
pub(super) fn real(path: &Path) -> PathBuf {
    for there in path.ancestors() {
        let Ok(found) = std::fs::canonicalize(there) else { continue };
        return match path.strip_prefix(there) {
            Ok(rest) if !rest.as_os_str().is_empty() => found.join(rest),
            _ => found,
        };
    }
    path.to_owned()
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_bytes())
}

/// The facts of a kit: those of a sheet, with what a machine reads back.
#[must_use]
pub fn kit_facts(sheet: Sheet, block: &Block, secret: Option<String>) -> Sheet {
    Sheet {
        kit: Some(block.kit.to_string()),
        block: Some(block.encode().trim_end().to_owned()),
        secret,
        ..sheet
    }
}

/// The recovery sheet, or the kit, as plain text, 80 columns, to be printed. The password stands on it only if
/// `password` is given.
///
/// # Errors
/// `Kind::Bug` if the template does not fit its facts.
pub fn sheet(facts: &Sheet, password: Option<&Secret>) -> Result<Zeroizing<String>> {
    let password = password.map(|secret| String::from_utf8_lossy(secret.expose()).into_owned());
    let mut folded = facts.clone();
    folded.password_kept = fold(&facts.password_kept, 6);
    for (_, path, _) in &mut folded.locations {
        *path = fold(path, 6);
    }
    for (_, _, path) in &mut folded.sources {
        *path = fold(path, 6);
    }
    for (_, place, _) in &mut folded.restores {
        *place = fold(place, 6);
    }
    for signer in &mut folded.signers {
        // The kind of key, then the key, which fits on a line of its own.
        *signer = signer.replacen(' ', "\n  ", 1);
    }
    for key in &mut folded.keys {
        *key = fold(key, 2);
    }
    let three = |rows: Vec<(String, String, String)>| -> Vec<Vec<String>> {
        rows.into_iter().map(|(a, b, c)| vec![a, b, c]).collect()
    };
    let locations = folded.locations.into_iter().map(|(name, path, id)| (name, path, id.unwrap_or_default()));
    let facts = context! {
        app => folded.app, made => folded.made, host => folded.host, version => folded.version,
        locations => three(locations.collect()), sources => three(folded.sources),
        restores => three(folded.restores), password_kept => folded.password_kept, keys => folded.keys,
        signers => folded.signers, kit => folded.kit, secret => folded.secret, block => folded.block,
    };
    rendered("kit.txt", context! { sheet => facts, password => password })
}

/// Text that is too long for its column goes on below, with as many spaces before it.
fn fold(text: &str, indent: usize) -> String {
    let all: Vec<char> = text.chars().collect();
    let pieces = all.chunks(COLUMNS).map(|piece| piece.iter().collect::<String>());
    pieces.collect::<Vec<_>>().join(&format!("\n{}", " ".repeat(indent)))
}

/// A secret part as text to be printed, and with a QR code of its lines, if that was asked for, as HTML too.
///
/// # Errors
/// `Kind::Bug` if the template does not fit its facts; `E0693` if no QR code holds so much.
pub fn secret(
    block: &Block,
    part: &Part,
    with_code: bool,
) -> Result<(Zeroizing<String>, Option<Zeroizing<String>>)> {
    let lines = lines(part);
    let code = if with_code { Some(Code::new(&lines)?) } else { None };
    // A code that is wider than the paper's text stands in the HTML alone.
    let drawn = code.as_ref().filter(|code| code.width() <= CODE_COLUMNS).map(Code::blocks);
    let text = |code: Option<&str>| {
        rendered(
            "secret.txt",
            context! {
                app => block.app.clone(), kit => block.kit.to_string(), made => block.made.to_string(),
                needed => part.needed, of => part.of, number => part.number, lines => lines.as_str(),
                code => code,
            },
        )
    };
    let printed = text(drawn.as_deref().map(String::as_str))?;
    let Some(code) = code else { return Ok((printed, None)) };
    let title = format!("{}: secret {}", block.app, part.shown());
    let page = page(&title, &text(None)?, Some(("The same lines, to be read by a camera:", &code.svg())))?;
    Ok((printed, Some(page)))
}

/// Text as a page that stands alone: no script, nothing fetched, everything escaped. The figure is SVG of our
/// own making.
///
/// # Errors
/// `Kind::Bug` if the template does not fit its facts.
pub fn page(title: &str, text: &str, figure: Option<(&str, &str)>) -> Result<Zeroizing<String>> {
    let (caption, code) = figure.unzip();
    let text = minijinja::Value::from_safe_string(escaped(text));
    rendered("kit.html", context! { title => title, text => text, caption => caption, code => code })
}

/// Text as text inside HTML. Slashes stay, so that what a machine reads back is the same there.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn rendered(name: &'static str, facts: minijinja::Value) -> Result<Zeroizing<String>> {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    let html = |name: &str| if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None };
    templates.set_auto_escape_callback(html);
    let syntax =
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build();
    templates.set_syntax(syntax.map_err(|cause| Error::bug("read a template's syntax").caused_by(cause))?);
    for (name, text) in [
        ("kit.txt", include_str!("kit.txt")),
        ("kit.html", include_str!("kit.html")),
        ("secret.txt", include_str!("secret.txt")),
    ] {
        templates.add_template(name, text).map_err(|cause| Error::bug("read a template").caused_by(cause))?;
    }
    let template =
        templates.get_template(name).map_err(|cause| Error::bug("find a template").caused_by(cause))?;
    let text =
        template.render(facts).map_err(|cause| Error::bug("fill in the recovery kit").caused_by(cause))?;
    Ok(Zeroizing::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::names::{KitId, Split};
    use crate::keys::secret_part::parts;
    use recoup_testkit::env::real;

    fn facts() -> Sheet {
        Sheet {
            app: "shop".into(),
            made: "2026-11-22T09:00:00Z".into(),
            host: "web-1".into(),
            locations: vec![("local".into(), "/srv/recoup/shop".into(), Some("ab12".repeat(16)))],
            sources: vec![
                ("db".into(), "sqlite".into(), "/app/db.sqlite3".into()),
                ("media".into(), "files".into(), "/app/media".into()),
            ],
            restores: vec![
                ("db".into(), "FOLDER/db/db.sqlite3".into(), "sqlite".into()),
                ("media".into(), "FOLDER/media/".into(), "files".into()),
            ],
            password_kept: "file /root/.config/recoup/shop.password".into(),
            keys: vec!["DJANGO_SECRET_KEY".into()],
            signers: vec![format!("ssh-ed25519 {}", "A".repeat(68))],
            version: "0.1.0".into(),
            ..Sheet::default()
        }
    }

    fn block() -> Block {
        Block {
            app: "shop".into(),
            made: "2026-11-22T09:00:00Z".parse().unwrap(),
            kit: "0123456789abcdef".parse().unwrap(),
            locations: vec![],
            keys: vec![],
        }
    }

    fn narrow(text: &str) {
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn the_sheet_has_the_password_only_when_asked() {
        let without = sheet(&facts(), None).unwrap();
        insta::assert_snapshot!(without.as_str());
        let with = sheet(&facts(), Some(&Secret::new(b"canary-pw".to_vec()))).unwrap();
        assert!(with.contains("canary-pw") && !without.contains("canary-pw"));
        narrow(&without);
    }

    #[test]
    fn the_kit_says_what_the_sheet_says_and_what_a_machine_reads() {
        let facts = kit_facts(facts(), &block(), Some("2 of 3 parts".into()));
        let text = sheet(&facts, None).unwrap();
        narrow(&text);
        assert_eq!(Block::decode(&text, "kit.txt").unwrap(), block());
        let page = page("shop", &text, None).unwrap();
        assert_eq!(Block::decode(&page, "kit.html").unwrap(), block(), "paper and page are one text");
        assert!(!page.contains("<script") && !page.contains("http"), "{}", *page);
    }

    #[test]
    fn what_comes_from_outside_is_text_in_html() {
        let hostile = "</pre><script>alert(1)</script>&\"'";
        let facts = Sheet { password_kept: hostile.into(), ..facts() };
        let page = page(hostile, &sheet(&facts, None).unwrap(), None).unwrap();
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "{}", *page);
    }

    #[test]
    fn a_secret_part_is_read_back_from_its_paper() {
        let (kit, password) = (KitId::random(&real()), Secret::new(b"canary-secret".to_vec()));
        for split in [None, Some(Split { needed: 2, of: 3 })] {
            for part in parts(&password, kit, split, &real()).unwrap() {
                let (text, page) = secret(&block(), &part, true).unwrap();
                narrow(&text);
                assert!(text.contains('\u{2588}') && page.as_ref().unwrap().contains("<svg"));
                let read = |text: &str| crate::keys::secret_part::read(text, "f").unwrap().number;
                assert_eq!((read(&text), read(&page.unwrap())), (part.number, part.number));
                assert!(secret(&block(), &part, false).unwrap().1.is_none());
            }
        }
    }
}
