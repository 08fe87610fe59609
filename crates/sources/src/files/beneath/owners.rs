//! Who gets what is restored.

use recoup_core::entry::Entry;
use recoup_core::name::escape;
use recoup_core::{Error, Kind, Result};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Who gets what is restored. Access lists name people by number and stay as they were stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ownership {
    /// The stored numbers, as restic does. Needs root; what is somebody else's is counted otherwise.
    #[default]
    ByNumber,
    /// Whoever has the stored name here; the stored number where nobody has it. Needs root.
    ByName,
    /// The current user.
    Current,
    /// One user and group for everything. Needs root.
    Fixed {
        /// Number of the user.
        uid: u32,
        /// Number of the group.
        gid: u32,
    },
}

impl Ownership {
    /// Reads `keep`, `by-name`, `current`, or a user and perhaps a group behind a colon, by name or number. Without
    /// a group it is the first one of the user.
    ///
    /// # Errors
    /// `Kind::Config` (E0801) if there is no such user or group here.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "keep" => return Ok(Ownership::ByNumber),
            "by-name" => return Ok(Ownership::ByName),
            "current" => return Ok(Ownership::Current),
            _ => {}
        }
        let unknown = |what: &str, name: &str| {
            Error::new(Kind::Config, format!("find the {what} \"{}\"", escape(name.as_bytes())))
                .code("E0801")
                .effect("nothing was written")
        };
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        let known = match user.parse::<u32>() {
            Ok(number) => nix::unistd::User::from_uid(number.into()).ok().flatten(),
            Err(_) => nix::unistd::User::from_name(user).ok().flatten(),
        };
        let uid = user.parse().ok().or_else(|| Some(known.as_ref()?.uid.as_raw()));
        let uid = uid.ok_or_else(|| unknown("user", user))?;
        let gid = match group {
            None => {
                let known =
                    known.ok_or_else(|| unknown("user", user).hint("give a group as well: USER:GROUP"))?;
                known.gid.as_raw()
            }
            Some(group) => {
                let named =
                    || nix::unistd::Group::from_name(group).ok().flatten().map(|known| known.gid.as_raw());
                group.parse().ok().or_else(named).ok_or_else(|| unknown("group", group))?
            }
        };
        Ok(Ownership::Fixed { uid, gid })
    }
}

/// Numbers of users and groups, asked once each.
#[derive(Default)]
pub(super) struct Resolver {
    users: Mutex<HashMap<String, Option<u32>>>,
    groups: Mutex<HashMap<String, Option<u32>>>,
}

impl Resolver {
    /// Numbers of the user and the group that `entry` is to have; `None` for whoever restores.
    pub(super) fn owner(&self, how: Ownership, entry: &Entry) -> Option<(u32, u32)> {
        match how {
            Ownership::ByNumber => Some((entry.uid, entry.gid)),
            Ownership::Current => None,
            Ownership::Fixed { uid, gid } => Some((uid, gid)),
            Ownership::ByName => {
                let user = number(&self.users, &entry.user, |name| {
                    nix::unistd::User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
                });
                let group = number(&self.groups, &entry.group, |name| {
                    nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
                });
                Some((user.unwrap_or(entry.uid), group.unwrap_or(entry.gid)))
            }
        }
    }
}

fn number(
    known: &Mutex<HashMap<String, Option<u32>>>,
    name: &str,
    ask: impl FnOnce(&str) -> Option<u32>,
) -> Option<u32> {
    // The name is from outside: one with a zero byte in it could only be cut short by the system.
    if name.is_empty() || name.contains('\0') {
        return None;
    }
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(number) = known.get(name) {
        return *number;
    }
    let number = ask(name);
    known.insert(name.to_owned(), number);
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_read_as_people_write_them() {
        let fixed = |uid, gid| Ownership::Fixed { uid, gid };
        for (text, want) in [
            ("keep", Ownership::ByNumber),
            ("by-name", Ownership::ByName),
            ("current", Ownership::Current),
            ("root", fixed(0, 0)),
            ("0", fixed(0, 0)),
            ("12345678:87654321", fixed(12_345_678, 87_654_321)),
            ("root:5", fixed(0, 5)),
        ] {
            assert_eq!(Ownership::parse(text).unwrap(), want, "{text}");
        }
        for text in ["", ":", "no-such-user-4a1", "root:no-such-group-4a1", "12345678", "-1:0", "a\0b"] {
            assert_eq!(Ownership::parse(text).unwrap_err().stable_code(), Some("E0801"), "{text}");
        }
    }
}
