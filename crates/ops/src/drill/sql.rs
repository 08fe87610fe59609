//! Questions to a restored SQLite database. The file is opened as immutable: nothing is written, no
//! journal is made, and only reading statements are allowed.

use recoup_core::{Error, Kind, Result};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Longest time of one question.
const QUESTION_MAX: Duration = Duration::from_secs(120);
/// Virtual machine steps between two looks at the clock; about a millisecond.
const STEPS: i32 = 100_000;

/// A restored database that can only be asked.
pub(super) struct Restored(Connection);

impl Restored {
    /// Opens `file`.
    ///
    /// # Errors
    /// `Kind::Corrupt` if it is no database.
    pub(super) fn open(file: &Path, clock: Arc<dyn recoup_core::env::Clock>) -> Result<Self> {
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection =
            Connection::open_with_flags(address(file)?, flags).map_err(|e| asked("open it", &e))?;
        let end = clock.monotonic() + QUESTION_MAX;
        connection
            .progress_handler(STEPS, Some(move || clock.monotonic() > end))
            .map_err(|e| asked("limit it", &e))?;
        connection.authorizer(Some(only_reading)).map_err(|e| asked("guard it", &e))?;
        Ok(Restored(connection))
    }

    /// The one number that `sql` answers; `None` if the answer is empty, NULL or text.
    ///
    /// # Errors
    /// If the question is refused, wrong, or takes too long.
    pub(super) fn number(&self, sql: &str) -> Result<Option<f64>> {
        let mut statement = self.0.prepare(sql).map_err(|e| asked("understand the question", &e))?;
        if statement.column_count() != 1 {
            return Err(
                Error::new(Kind::Config, "ask the database: the question must have one column").code("E0711")
            );
        }
        let mut rows = statement.query([]).map_err(|e| asked("ask it", &e))?;
        let Some(row) = rows.next().map_err(|e| asked("ask it", &e))? else { return Ok(None) };
        Ok(match row.get_ref(0).map_err(|e| asked("read the answer", &e))? {
            ValueRef::Integer(n) => Some(n as f64),
            ValueRef::Real(n) => Some(n),
            _ => None,
        })
    }

    /// Names of the tables that hold data.
    ///
    /// # Errors
    /// As [`Restored::number`].
    pub(super) fn tables(&self) -> Result<Vec<String>> {
        let sql = "select name from sqlite_schema where type = 'table' and name not like 'sqlite\\_%' escape '\\' \
                   and sql not like 'create virtual%' order by name";
        self.column(sql, usize::MAX)
    }

    /// Number of rows in `table`.
    ///
    /// # Errors
    /// As [`Restored::number`].
    pub(super) fn count(&self, table: &str) -> Result<u64> {
        let found = self.number(&format!("select count(*) from {}", quoted(table)))?;
        Ok(found.unwrap_or(0.0) as u64)
    }

    /// The values of one text column, at most `most`.
    ///
    /// # Errors
    /// As [`Restored::number`].
    pub(super) fn texts(&self, table: &str, column: &str, most: usize) -> Result<Vec<String>> {
        let (table, column) = (quoted(table), quoted(column));
        self.column(
            &format!("select distinct {column} from {table} where {column} is not null and {column} <> ''"),
            most,
        )
    }

    fn column(&self, sql: &str, most: usize) -> Result<Vec<String>> {
        let mut statement = self.0.prepare(sql).map_err(|e| asked("understand the question", &e))?;
        let mut rows = statement.query([]).map_err(|e| asked("ask it", &e))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(|e| asked("ask it", &e))? {
            if found.len() == most {
                break;
            }
            if let Ok(text) = row.get_ref(0).map_err(|e| asked("read the answer", &e))?.as_bytes_or_null() {
                found.push(String::from_utf8_lossy(text.unwrap_or_default()).into_owned());
            }
        }
        Ok(found)
    }
}

fn only_reading(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Select | AuthAction::Recursive | AuthAction::Read { .. } => Authorization::Allow,
        AuthAction::Function { function_name } if !function_name.eq_ignore_ascii_case("load_extension") => {
            Authorization::Allow
        }
        _ => Authorization::Deny,
    }
}

/// `file:` with the few characters escaped that mean something in it.
fn address(file: &Path) -> Result<String> {
    let text = file
        .to_str()
        .ok_or_else(|| Error::new(Kind::Unsupported, "open a database whose path is no UTF-8"))?;
    let safe: String = text
        .chars()
        .map(|c| match c {
            '%' => "%25".to_owned(),
            '?' => "%3f".to_owned(),
            '#' => "%23".to_owned(),
            c => c.to_string(),
        })
        .collect();
    Ok(format!("file:{safe}?mode=ro&immutable=1"))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The database's own words can hold values of rows, so only its kind of error is kept.
fn asked(doing: &str, why: &rusqlite::Error) -> Error {
    use rusqlite::ffi::ErrorCode;
    let what = why.sqlite_error_code();
    let kind = match what {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Kind::Corrupt,
        Some(ErrorCode::OperationInterrupted) => Kind::TimedOut,
        Some(ErrorCode::AuthorizationForStatementDenied) => Kind::Refused,
        _ => Kind::Config,
    };
    let word = match (kind, why) {
        (Kind::Corrupt, _) => "it is damaged or no database".to_owned(),
        (Kind::TimedOut, _) => "it took too long".to_owned(),
        (Kind::Refused, _) => "only reading is allowed".to_owned(),
        (_, rusqlite::Error::SqlInputError { msg, .. }) => recoup_core::name::escape(msg.as_bytes()),
        _ => what.map_or("it failed".to_owned(), |code| format!("{code:?}")),
    };
    Error::new(kind, format!("{doing}: {word}")).code("E0711")
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the world")]
mod tests {
    use super::*;

    #[test]
    fn only_questions_are_answered() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a?b#c%.db");
        let made = Connection::open(&file).unwrap();
        made.execute_batch("create table t(x, f text); insert into t values (1, 'a'), (2, 'b')").unwrap();
        drop(made);
        let before = std::fs::read(&file).unwrap();
        let db = Restored::open(&file, recoup_testkit::env::real().clock).unwrap();
        assert_eq!(db.tables().unwrap(), ["t"]);
        assert_eq!(db.count("t").unwrap(), 2);
        assert_eq!(db.number("select sum(x) from t").unwrap(), Some(3.0));
        assert_eq!(db.number("select f from t").unwrap(), None);
        assert_eq!(db.texts("t", "f", 1).unwrap(), ["a"]);
        for bad in [
            "delete from t",
            "attach '/etc/passwd' as p",
            "pragma query_only=0",
            "select x, f from t",
            "nonsense",
        ] {
            assert!(db.number(bad).is_err(), "{bad}");
        }
        assert_eq!(std::fs::read(&file).unwrap(), before);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
