//! The files of a kit as somebody typed or copied them: found, read, and the password put back into a file. It
//! overwrites nothing.

use super::shown;
use crate::keys::{self, Part};
use recoup_core::secret::Secret;
use recoup_core::{Error, Kind, Result};
use recoup_store::local::durable;
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest kit or secret part that is read, in bytes; a page with a QR code has a tenth of it.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// The secret parts in `files`, or in what lies beside the kit, with the names of their files.
pub(super) fn secret_parts(kit: &Path, files: &[PathBuf]) -> Result<Vec<(String, Part)>> {
    let files = if files.is_empty() { beside(kit) } else { files.to_owned() };
    if files.is_empty() {
        return Err(Error::new(Kind::Config, "find the secret part of the kit")
            .with("beside", shown(kit))
            .code("E0693")
            .hint("name its file with --secret, or each of its parts"));
    }
    let part = |file: &PathBuf| {
        let name = shown(file);
        keys::read_part(&read(file)?, &name).map(|part| (name, part))
    };
    files.iter().map(part).collect()
}

/// `secret.txt`, or the parts of which there are several.
fn beside(kit: &Path) -> Vec<PathBuf> {
    let folder = match kit.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let whole = folder.join("secret.txt");
    if whole.is_file() {
        return vec![whole];
    }
    let is_part = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("secret-") && name.contains("-of-") && name.ends_with(".txt")
    };
    let entries =
        std::fs::read_dir(folder).map(|entries| entries.flatten().map(|e| e.path()).filter(is_part));
    let mut parts: Vec<PathBuf> = entries.map(Iterator::collect).unwrap_or_default();
    parts.sort();
    parts
}

/// The text of a kit or of a secret part.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>> {
    let failed = |e| Error::io("read a file of the kit", e).with("file", shown(path)).code("E0693");
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Writes the password into a new file.
pub(super) fn keep_password(file: &Path, password: &Secret) -> Result<()> {
    let mut text = Zeroizing::new(password.expose().to_vec());
    text.push(b'\n');
    durable::create(file, &text, 0o600).map_err(|error| match error.kind() {
        Kind::Exists => Error::new(Kind::Exists, "write the password: a file of this name is there already")
            .with("file", shown(file))
            .code("E0694")
            .effect("it was not touched"),
        _ => error,
    })
}
