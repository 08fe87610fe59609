//! Questions to the host.

use super::Answer;
use crate::env::Variables;
use crate::interpreter::on_path;
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags};
use recoup_core::env::Env;
use recoup_core::event::Outcome::{Fail, Pass, Unknown};
use recoup_sources::process::{self, Output, Run};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);

pub(super) async fn ask(variables: &Variables, env: &Env) -> Vec<Answer> {
    vec![
        namespaces(variables).await,
        overlay(),
        file_watch(),
        restic(variables).await,
        clock(env).await,
        zone(env),
        sqlite(),
    ]
}

pub(super) async fn try_out(argv: &[&str]) -> Option<Output> {
    process::run(&Run::argv(argv, LIMIT).ok()?).await.ok()
}

async fn namespaces(variables: &Variables) -> Answer {
    let answer = |outcome, detail: &str| {
        let fix = "drills end with \"could not find out\" here: allow namespaces (user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns), or run drills as root";
        Answer::new("namespaces", false, outcome, detail, fix)
    };
    if on_path("unshare", variables).is_none() {
        return answer(Unknown, "the program unshare is missing, so nothing was tried");
    }
    let root = rustix::process::geteuid().is_root();
    let own: &[&str] = if root { &[] } else { &["--user", "--map-root-user"] };
    let argv = [&["unshare"], own, &["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--", "true"]]
        .concat();
    match try_out(&argv).await {
        Some(output) if output.success() => answer(Pass, "private mounts, network and processes can be made"),
        Some(output) => answer(Fail, &format!("the kernel refused: {}", output.tail())),
        None => answer(Unknown, "unshare could not be started"),
    }
}

fn overlay() -> Answer {
    let known = std::fs::read_to_string("/proc/filesystems").map(|text| text.contains("overlay"));
    let (outcome, detail) = match known {
        Ok(true) => (Pass, "the kernel has overlayfs"),
        Ok(false) => (Unknown, "overlayfs is not loaded; the kernel may load it when it is asked"),
        Err(_) => (Unknown, "/proc/filesystems cannot be read"),
    };
    Answer::new(
        "overlayfs",
        false,
        outcome,
        detail,
        "modprobe overlay; without it drills copy what they would lay over",
    )
}

fn file_watch() -> Answer {
    let flags = InitFlags::FAN_CLASS_NOTIF | InitFlags::FAN_CLOEXEC;
    let (outcome, detail) = match Fanotify::init(flags, EventFFlags::O_RDONLY) {
        Ok(_) => (Pass, "a drill can see every file that the application opens".to_owned()),
        Err(cause) => (Fail, format!("fanotify: {cause}")),
    };
    let fix = "run drills as root, so that they can prove which data was used";
    Answer::new("file-watch", false, outcome, detail, fix)
}

async fn restic(variables: &Variables) -> Answer {
    let fix = "apt-get install restic: recoup does not need it, people without recoup would";
    if on_path("restic", variables).is_none() {
        return Answer::new("restic", false, Unknown, "stock restic is not installed here", fix);
    }
    match try_out(&["restic", "version"]).await {
        Some(output) if output.success() => {
            Answer::new("restic", false, Pass, output.text().lines().next().unwrap_or_default(), fix)
        }
        _ => Answer::new("restic", false, Unknown, "restic does not say its version", fix),
    }
}

async fn clock(env: &Env) -> Answer {
    let fix =
        "turn on time synchronisation (systemd-timesyncd, chrony): ages of points and proofs depend on it";
    let synced = try_out(&["timedatectl", "show", "--property=NTPSynchronized", "--value"]).await;
    let now = env.now();
    let (outcome, detail) =
        match synced.filter(Output::success).map(|o| o.text().trim().to_owned()).as_deref() {
            Some("yes") => (Pass, format!("synchronised; it is {now}")),
            Some("no") => (Fail, format!("not synchronised; it says {now}")),
            _ => (Unknown, format!("nobody says whether it is synchronised; it says {now}")),
        };
    Answer::new("clock", false, outcome, detail, fix)
}

fn zone(env: &Env) -> Answer {
    let fix = "set TZ or /etc/localtime; schedules run in this zone unless recoup.toml names one";
    match env.zone.iana_name() {
        Some(name) => Answer::new("time-zone", false, Pass, name, fix),
        None => Answer::new("time-zone", false, Unknown, "the host's zone has no name", fix),
    }
}

fn sqlite() -> Answer {
    let version = rusqlite::version();
    let outcome = if rusqlite::version_number() >= 3_051_003 { Pass } else { Fail };
    Answer::new(
        "sqlite",
        true,
        outcome,
        format!("recoup carries SQLite {version}"),
        "install a current recoup",
    )
}
