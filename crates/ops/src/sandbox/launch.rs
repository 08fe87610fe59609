//! The last stage before a command: gives up every privilege, then becomes the command.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "this module turns a process into the drilled command and says why when it cannot"
)]

use super::spec::User;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Exit code of a command that was never reached.
pub(super) const NOT_REACHED: i32 = 126;

/// Words that a command is introduced with: who it runs as, then its own words.
pub(super) fn words(user: User, command: &[String]) -> Vec<String> {
    let mut words =
        vec![user.uid.to_string(), user.gid.to_string(), u8::from(user.through_user_namespace).to_string()];
    words.extend_from_slice(command);
    words
}

/// Becomes the command in `words`, unprivileged. Returns only if that fails.
pub(super) fn launch(words: &[String]) -> i32 {
    let (Some(user), Some(program)) = (parse(words), words.get(3)) else { return NOT_REACHED };
    if let Err(why) = give_up_privileges(user) {
        eprintln!("recoup: give up privileges: {why}");
        return NOT_REACHED;
    }
    let why = Command::new(program).args(&words[4..]).exec();
    eprintln!("recoup: start {}: {why}", recoup_core::name::escape(program.as_bytes()));
    NOT_REACHED
}

fn parse(words: &[String]) -> Option<User> {
    Some(User {
        uid: words.first()?.parse().ok()?,
        gid: words.get(1)?.parse().ok()?,
        through_user_namespace: words.get(2)? == "1",
    })
}

fn give_up_privileges(user: User) -> nix::Result<()> {
    nix::sys::prctl::set_no_new_privs()?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = setrlimit(Resource::Core, none);
    if user.through_user_namespace {
        // Inside, we are uid 0 of a namespace that holds only us. One more namespace gives the command
        // its own id back; becoming another program then drops what is left.
        unshare(CloneFlags::CLONE_NEWUSER)?;
        let io = |e: std::io::Error| nix::Error::from_raw(e.raw_os_error().unwrap_or(nix::libc::EIO));
        std::fs::write("/proc/self/uid_map", format!("{} 0 1", user.uid)).map_err(io)?;
        std::fs::write("/proc/self/gid_map", format!("{} 0 1", user.gid)).map_err(io)?;
        return Ok(());
    }
    drop_bounding_set();
    setgroups(&[])?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}

/// No program started later can gain a capability, whatever its file says.
fn drop_bounding_set() {
    for bit in 0..64 {
        let one = rustix::thread::CapabilitySet::from_bits_retain(1 << bit);
        let _ = rustix::thread::remove_capability_from_bounding_set(one);
    }
}
