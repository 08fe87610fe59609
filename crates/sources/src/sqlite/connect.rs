//! Finding and opening databases: live ones read-only and with a limit on waiting, copies as files
//! that nobody can change. The bundled library does both; the one of the host is never used.

use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The first bytes of every database (SQLite file format, 1.3.1).
pub(crate) const MAGIC: &[u8] = b"SQLite format 3\0";

/// What SQLite puts beside a database.
pub(crate) const SIDECARS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Versions before 3.51.3 can lose changes when a write-ahead log is reset while another connection reads it.
const VERSION_MIN: i32 = 3_051_003;

/// Refuses to work with a library that can damage what it reads.
///
/// # Errors
/// `Kind::Unsupported` (E0510).
pub fn assert_version() -> Result<()> {
    if rusqlite::version_number() >= VERSION_MIN {
        return Ok(());
    }
    Err(Error::new(Kind::Unsupported, "use the bundled SQLite library")
        .with("version", rusqlite::version())
        .code("E0510"))
}

/// POSIX locks belong to the process: closing any descriptor of a database gives up the locks that
/// SQLite holds on it in the same process. Whoever copies a database, or opens and closes one
/// without SQLite, does it under this guard.
pub(crate) fn one_at_a_time() -> MutexGuard<'static, ()> {
    static GUARD: Mutex<()> = Mutex::new(());
    GUARD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The path of a sidecar.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Opens a live database for reading. Writers see nothing but a reader.
pub(crate) fn open_live(path: &Path, wait_max: Duration) -> Result<Connection> {
    assert_version()?;
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let live = Connection::open_with_flags(uri(path, "mode=ro"), flags)?;
        live.busy_timeout(wait_max)?;
        careful(&live)?;
        Ok(live)
    };
    open().map_err(|e| explain(e, "open the live database", path))
}

/// Opens a copy that nobody changes. SQLite then neither locks it nor writes beside it.
///
/// # Errors
/// `Kind::Refused` (E0514) if a journal beside it shows that the file alone is not the database.
pub(crate) fn open_copy(path: &Path) -> Result<Connection> {
    assert_version()?;
    for suffix in ["-journal", "-wal"] {
        let journal = beside(path, suffix);
        if std::fs::symlink_metadata(&journal).is_ok_and(|meta| meta.len() > 0) {
            return Err(Error::new(Kind::Refused, "check a copy of a database that has a journal beside it")
                .with("journal", escape(journal.as_os_str().as_bytes()))
                .code("E0514")
                .effect("the copy was not opened and not changed"));
        }
    }
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let copy = Connection::open_with_flags(uri(path, "mode=ro&immutable=1"), flags)?;
        careful(&copy)?;
        Ok(copy)
    };
    open().map_err(|e| explain(e, "open the copy of a database", path))
}

/// A database may come from anywhere: nothing in its schema may run code, and cells are checked before use.
fn careful(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.execute_batch("PRAGMA cell_size_check = ON")
}

/// A `file:` URI for any bytes: everything but plain letters is written in percent form.
fn uri(path: &Path, query: &str) -> String {
    let mut text = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                text.push(char::from(byte))
            }
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    format!("{text}?{query}")
}

/// Turns an error of SQLite into one of ours: what happened, and what it means.
pub(crate) fn explain(error: rusqlite::Error, doing: &str, path: &Path) -> Error {
    // Extended code of SQLITE_READONLY: a hot journal is there and a reader may not roll it back.
    const READONLY_ROLLBACK: i32 = 776;
    let extended = error.sqlite_error().map(|e| e.extended_code);
    let (kind, code) = match error.sqlite_error_code() {
        _ if extended == Some(READONLY_ROLLBACK) => (Kind::Refused, "E0513"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (Kind::Locked, "E0511"),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => (Kind::Corrupt, "E0515"),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            (Kind::Denied, "E0518")
        }
        Some(ErrorCode::OperationInterrupted) => (Kind::TimedOut, "E0512"),
        _ => (Kind::Unavailable, "E0518"),
    };
    Error::new(kind, doing).with("database", escape(path.as_os_str().as_bytes())).code(code).caused_by(error)
}

/// What the first hundred bytes of a database say (SQLite file format, 1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes in a page.
    pub page_size: u32,
    /// Whether the database is in WAL mode.
    pub wal: bool,
    /// Counts changes in rollback mode.
    pub change_counter: u32,
}

impl Header {
    /// Reads a header; `None` if it is not one of SQLite.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..100)?;
        if !bytes.starts_with(MAGIC) {
            return None;
        }
        let page_size = match u16::from_be_bytes([bytes[16], bytes[17]]) {
            1 => 65536,
            size => u32::from(size),
        };
        Some(Header {
            page_size,
            wal: bytes[19] == 2,
            change_counter: u32::from_be_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]),
        })
    }

    /// Reads the header of a file; `None` if it has none.
    ///
    /// # Errors
    /// `Kind::NotFound` (E0521) or as the operating system says.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let _guard = one_at_a_time();
        let failed = |e: std::io::Error| {
            let code = if e.kind() == std::io::ErrorKind::NotFound { "E0521" } else { "E0522" };
            Error::io("read the header of a database", e)
                .with("database", escape(path.as_os_str().as_bytes()))
                .code(code)
        };
        let file = File::open(path).map_err(failed)?;
        let mut bytes = [0; 100];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(Header::parse(&bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(failed(e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_library_is_new_enough() {
        assert_version().unwrap();
    }

    #[test]
    fn any_path_becomes_a_uri() {
        use std::ffi::OsStr;
        let path = Path::new(OsStr::from_bytes(b"/a b/\xff?#%&\n.db"));
        assert_eq!(uri(path, "mode=ro"), "file:/a%20b/%FF%3F%23%25%26%0A.db?mode=ro");
    }

    #[test]
    fn headers_are_read_and_rubbish_is_not() {
        assert_eq!(Header::parse(b"SQLite format 3\0"), None);
        assert_eq!(Header::parse(&[0; 100]), None);
        let mut bytes = [0; 100];
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16..20].copy_from_slice(&[0, 1, 2, 2]);
        bytes[27] = 9;
        let want = Header { page_size: 65536, wal: true, change_counter: 9 };
        assert_eq!(Header::parse(&bytes), Some(want));
    }
}
