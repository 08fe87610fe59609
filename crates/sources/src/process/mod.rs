//! The one module that starts children, and the one that asks who holds files open.
//!
//! Children get an argument array and never a shell, a cleared environment with a short allow list,
//! a secret only through their standard input, a longest time, and a process group of their own
//! that is killed at the end. Their output is kept up to a limit.
#![allow(clippy::disallowed_methods, reason = "this module owns child processes and what they inherit")]

mod holders;

pub(crate) use holders::open_files;
pub use holders::{Held, Holder, Holding, boot_id, holders, is_alive};

use recoup_core::secret::Secret;
use recoup_core::{Error, Kind, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a child inherits from our environment if it is set: where programs are, who we are, and how
/// text and times are written. Nothing here may carry a secret.
pub const INHERITED: [&str; 9] =
    ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"];

/// Output kept of each stream unless told otherwise, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// How long a child has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// How long a pipe is read after the child went, when something it left behind still holds it.
const DRAIN: Duration = Duration::from_millis(500);

/// A command, completely described.
#[derive(Clone)]
pub struct Run {
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    inherit: bool,
    cwd: Option<PathBuf>,
    stdin: Option<Secret>,
    limit: Duration,
    output_bytes_max: usize,
    keep_group: bool,
}

impl Run {
    /// Runs `program`, found on `PATH` unless it has a slash, for at most `limit`.
    pub fn new(program: impl Into<OsString>, limit: Duration) -> Self {
        Run {
            argv: vec![program.into()],
            env: Vec::new(),
            inherit: true,
            cwd: None,
            stdin: None,
            limit,
            output_bytes_max: OUTPUT_BYTES_MAX,
            keep_group: false,
        }
    }

    /// Runs an argument array as it stands in a configuration.
    ///
    /// # Errors
    /// `Kind::Config` if it is empty.
    pub fn argv<S: AsRef<OsStr>>(argv: &[S], limit: Duration) -> Result<Self> {
        let (program, rest) = argv
            .split_first()
            .filter(|(program, _)| !program.as_ref().is_empty())
            .ok_or_else(|| Error::new(Kind::Config, "run a command: it is empty").code("E0501"))?;
        Ok(Run::new(program.as_ref(), limit).args(rest))
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.argv.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: &[S]) -> Self {
        self.argv.extend(args.iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets one variable of the child. It is no place for a secret: other processes of the same user can read it.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Passes nothing of our environment, not even [`INHERITED`].
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.inherit = false;
        self
    }

    /// Runs it in `dir`.
    #[must_use]
    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    /// Writes `secret` to its standard input and closes it. Without it standard input is empty.
    #[must_use]
    pub fn stdin(mut self, secret: Secret) -> Self {
        self.stdin = Some(secret);
        self
    }

    /// Keeps at most `bytes` of each output stream; the rest is read and dropped.
    #[must_use]
    pub fn output_bytes_max(mut self, bytes: usize) -> Self {
        self.output_bytes_max = bytes;
        self
    }

    /// Lets what the child left in its group live on. For commands that start a service and return.
    #[must_use]
    pub fn keep_group(mut self) -> Self {
        self.keep_group = true;
        self
    }

    /// Program and arguments for people, escaped, without the environment.
    pub fn shown(&self) -> String {
        use std::os::unix::ffi::OsStrExt;
        let parts: Vec<String> = self.argv.iter().map(|a| recoup_core::name::escape(a.as_bytes())).collect();
        parts.join(" ")
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// It took longer than allowed and was killed.
    TimedOut,
}

/// What a child did.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub ended: Ended,
    /// Its standard output, up to the limit.
    pub stdout: Vec<u8>,
    /// Its standard error, up to the limit.
    pub stderr: Vec<u8>,
    /// Whether output was dropped.
    pub truncated: bool,
    /// How long it took.
    pub took: Duration,
}

impl Output {
    /// Whether it ended with code 0.
    pub fn success(&self) -> bool {
        self.ended == Ended::Code(0)
    }

    /// Standard output as text, escaped for a terminal but for line ends.
    pub fn text(&self) -> String {
        shown_lines(&self.stdout)
    }

    /// The last lines of standard error (or output, if that is empty), for an error message.
    pub fn tail(&self) -> String {
        let bytes = if self.stderr.is_empty() { &self.stdout } else { &self.stderr };
        let text = shown_lines(bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    /// The output if the child ended well.
    ///
    /// # Errors
    /// `Kind::TimedOut` (E0503), or `Kind::Unavailable` (E0502) with the tail of what it wrote.
    pub fn ok(self, run: &Run) -> Result<Output> {
        let (kind, code, how) = match self.ended {
            Ended::Code(0) => return Ok(self),
            Ended::Code(code) => (Kind::Unavailable, "E0502", format!("it ended with code {code}")),
            Ended::Signal(signal) => (Kind::Unavailable, "E0502", format!("signal {signal} ended it")),
            Ended::TimedOut => (Kind::TimedOut, "E0503", format!("it was stopped after {:?}", run.limit)),
        };
        let mut error = Error::new(kind, format!("run `{}`: {how}", run.shown())).code(code);
        let tail = self.tail();
        if !tail.is_empty() {
            error = error.with("its last words", tail);
        }
        Err(error)
    }
}

fn shown_lines(bytes: &[u8]) -> String {
    let lines: Vec<String> = bytes.split(|&b| b == b'\n').map(recoup_core::name::escape).collect();
    lines.join("\n")
}

/// Runs a command to its end. If the returned future is dropped the command is killed.
///
/// # Errors
/// `Kind::NotFound` or `Kind::Denied` (E0501) if it cannot be started. How it ended is a value: see [`Output::ok`].
pub async fn run(command: &Run) -> Result<Output> {
    let command = command.clone();
    let stop = Arc::new(StopOnDrop::new()?);
    let seen = stop.reader.try_clone().map_err(|e| Error::io("prepare a command", e))?;
    let done = tokio::task::spawn_blocking(move || run_here(&command, Some(&seen)));
    let result = done.await.map_err(|e| Error::bug("run a command on its own thread").caused_by(e))?;
    drop(stop);
    result
}

/// Runs a command to its end on this thread.
///
/// # Errors
/// As [`run`].
pub fn run_blocking(command: &Run) -> Result<Output> {
    run_here(command, None)
}

/// A pipe whose writing end closes when the caller loses interest.
struct StopOnDrop {
    reader: OwnedFd,
    _writer: OwnedFd,
}

impl StopOnDrop {
    fn new() -> Result<Self> {
        let (reader, writer) = std::io::pipe().map_err(|e| Error::io("prepare a command", e))?;
        Ok(StopOnDrop { reader: reader.into(), _writer: writer.into() })
    }
}

fn run_here(command: &Run, stop: Option<&OwnedFd>) -> Result<Output> {
    let started = Instant::now();
    let mut running = start(command, Stdio::piped(), Stdio::piped())?;
    let stdout = collect(running.child.stdout.take(), command.output_bytes_max);
    let stderr = collect(running.child.stderr.take(), command.output_bytes_max);
    let ended = running.wait(command.limit, stop)?;
    let (out, err) = (stdout.finish(), stderr.finish());
    Ok(Output { ended, truncated: out.1 || err.1, stdout: out.0, stderr: err.0, took: started.elapsed() })
}

/// Starts a command that runs on, as a service in a drill does; its output goes to `log` or nowhere.
/// It is killed with its group when the handle is dropped.
///
/// # Errors
/// As [`run`].
pub fn spawn(command: &Run, log: Option<File>) -> Result<Running> {
    let (out, err) = match log {
        Some(file) => {
            let twin = file.try_clone().map_err(|e| Error::io("share a log file with a command", e))?;
            (Stdio::from(file), Stdio::from(twin))
        }
        None => (Stdio::null(), Stdio::null()),
    };
    start(command, out, err)
}

/// A child whose standard output is read while it runs.
pub struct Stream {
    running: Running,
    stdout: Option<std::process::ChildStdout>,
    stderr: Collector,
    command: Run,
    started: Instant,
}

/// Starts a command whose output is a stream of any length. It is killed with its group when the handle is
/// dropped.
///
/// # Errors
/// As [`run`].
pub fn stream(command: &Run) -> Result<Stream> {
    let started = Instant::now();
    let mut running = start(command, Stdio::piped(), Stdio::piped())?;
    let stdout = running.child.stdout.take();
    let stderr = collect(running.child.stderr.take(), command.output_bytes_max);
    Ok(Stream { running, stdout, stderr, command: command.clone(), started })
}

impl Stream {
    /// Its standard output; the second call gives an empty one.
    pub fn output(&mut self) -> Box<dyn Read + Send> {
        match self.stdout.take() {
            Some(pipe) => Box::new(pipe),
            None => Box::new(std::io::empty()),
        }
    }

    /// Waits for its end, after its output was read. What it still does then may take as long as the
    /// command's limit.
    ///
    /// # Errors
    /// As [`Output::ok`]: what a command wrote that did not end well may be cut anywhere.
    pub fn end(mut self) -> Result<Output> {
        let ended = self.running.wait(self.command.limit, None)?;
        let (stderr, truncated) = self.stderr.finish();
        let output = Output { ended, stdout: Vec::new(), stderr, truncated, took: self.started.elapsed() };
        output.ok(&self.command)
    }
}

/// A child that runs.
pub struct Running {
    child: Child,
    pidfd: OwnedFd,
    keep_group: bool,
    reaped: Option<ExitStatus>,
}

impl Running {
    /// Its process id, which is also the id of its group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn ended(&mut self) -> Result<Option<Ended>> {
        if self.reaped.is_none() && readable(&[&self.pidfd], Some(Duration::ZERO))?[0] {
            self.reap()?;
        }
        Ok(self.reaped.map(ended))
    }

    /// Asks it to stop, waits a little, and kills what is left of its group.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn stop(mut self) -> Result<Ended> {
        self.keep_group = false;
        if let Some(status) = self.reaped {
            return Ok(ended(status));
        }
        self.signal(Signal::TERM);
        readable(&[&self.pidfd], Some(GRACE))?;
        self.signal(Signal::KILL);
        self.reap().map(ended)
    }

    fn wait(&mut self, limit: Duration, stop: Option<&OwnedFd>) -> Result<Ended> {
        let mut watched = vec![&self.pidfd];
        watched.extend(stop);
        let ready = readable(&watched, Some(limit))?;
        if ready[0] {
            if !self.keep_group {
                self.signal(Signal::KILL);
            }
            return self.reap().map(ended);
        }
        self.signal(Signal::TERM);
        readable(&[&self.pidfd], Some(GRACE))?;
        self.signal(Signal::KILL);
        self.reap()?;
        if ready.get(1) == Some(&true) {
            return Err(Error::new(Kind::Interrupted, "run a command: recoup was stopped"));
        }
        Ok(Ended::TimedOut)
    }

    /// The group id cannot have been reused: the leader is not reaped yet.
    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // An empty group is what we want; nothing else can go wrong with our own child.
            let _gone = kill_process_group(pid, signal);
        }
    }

    fn reap(&mut self) -> Result<ExitStatus> {
        let status = self.child.wait().map_err(|e| Error::io("wait for a command", e))?;
        self.reaped = Some(status);
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.reaped.is_none() {
            self.signal(Signal::KILL);
            let _ended = self.child.wait();
        }
    }
}

fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Code(code),
        (None, signal) => Ended::Signal(signal.unwrap_or_default()),
    }
}

fn start(command: &Run, stdout: Stdio, stderr: Stdio) -> Result<Running> {
    // `Run` cannot be built without a program.
    let mut child = Command::new(&command.argv[0]);
    child.args(&command.argv[1..]).env_clear().process_group(0).stdout(stdout).stderr(stderr);
    child.stdin(if command.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    if command.inherit {
        child.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    }
    child.envs(command.env.iter().map(|(k, v)| (k, v)));
    if let Some(dir) = &command.cwd {
        child.current_dir(dir);
    }
    let failed = |e| Error::io(format!("start `{}`", command.shown()), e).code("E0501");
    let mut child = child.spawn().map_err(failed)?;
    if let (Some(secret), Some(pipe)) = (command.stdin.clone(), child.stdin.take()) {
        feed(secret, pipe);
    }
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Error::bug("read the process id of a child"))?;
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Running { child, pidfd, keep_group: command.keep_group, reaped: None }),
        Err(e) => {
            let _gone = kill_process_group(pid, Signal::KILL);
            let _ended = child.wait();
            Err(Error::io("watch a command", e.into()))
        }
    }
}

/// A child that does not read its input must not block us: the writing has its own thread, and it
/// ends when the child does.
fn feed(secret: Secret, mut pipe: std::process::ChildStdin) {
    std::thread::spawn(move || {
        let _unread = pipe.write_all(secret.expose());
    });
}

#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    truncated: bool,
}

struct Collector {
    kept: Arc<Mutex<Kept>>,
    ended: std::sync::mpsc::Receiver<()>,
}

fn collect(pipe: Option<impl Read + Send + 'static>, bytes_max: usize) -> Collector {
    let kept = Arc::new(Mutex::new(Kept::default()));
    let (end, ended) = std::sync::mpsc::channel();
    if let Some(mut pipe) = pipe {
        let kept = kept.clone();
        std::thread::spawn(move || {
            let _end = end;
            let mut buffer = [0; 8192];
            while let Ok(n @ 1..) = pipe.read(&mut buffer) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let room = bytes_max.saturating_sub(kept.bytes.len()).min(n);
                kept.bytes.extend_from_slice(&buffer[..room]);
                kept.truncated |= room < n;
            }
        });
    }
    Collector { kept, ended }
}

impl Collector {
    /// The pipe ends with its last holder, which need not be the child: after [`DRAIN`] the rest is not waited for.
    fn finish(self) -> (Vec<u8>, bool) {
        let _ended = self.ended.recv_timeout(DRAIN);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut kept.bytes), kept.truncated)
    }
}

/// Waits until one of `fds` can be read or `limit` is over, and says which can.
fn readable(fds: &[&OwnedFd], limit: Option<Duration>) -> Result<Vec<bool>> {
    let until = limit.map(|limit| Instant::now() + limit);
    loop {
        let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::IN)).collect();
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| rustix::event::Timespec::try_from(left).ok());
        match poll(&mut polled, left.as_ref()) {
            Ok(_) => return Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(Error::io("wait for a command", e.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn sh(script: &str) -> Run {
        Run::new("sh", LIMIT).arg("-c").arg(script)
    }

    /// A kill is a request: the end comes a moment later.
    fn dies(pid: u32) -> bool {
        let until = Instant::now() + LIMIT;
        while is_alive(pid) && Instant::now() < until {
            std::thread::yield_now();
        }
        !is_alive(pid)
    }

    #[tokio::test]
    async fn the_environment_is_cleared_and_output_is_bounded() {
        let out = run(&Run::new("env", LIMIT).env("ONLY", "this")).await.unwrap();
        assert!(out.success());
        for line in out.text().lines() {
            let name = line.split('=').next().unwrap();
            assert!(name == "ONLY" || INHERITED.contains(&name), "{name}");
        }
        let run_ = sh("yes | head -c 100000").output_bytes_max(1000);
        let out = run(&run_).await.unwrap();
        assert_eq!((out.stdout.len(), out.truncated), (1000, true));
        let bare = run(&Run::new("/usr/bin/env", LIMIT).bare()).await.unwrap();
        assert_eq!(bare.stdout, b"");
    }

    #[tokio::test]
    async fn a_secret_goes_through_stdin_and_nobody_must_read_it() {
        let secret = Secret::new(b"pass word".to_vec());
        let out = run(&Run::new("cat", LIMIT).stdin(secret)).await.unwrap();
        assert_eq!(out.stdout, b"pass word");
        let big = Secret::new(vec![b'x'; 1 << 20]);
        assert!(run(&Run::new("true", LIMIT).stdin(big)).await.unwrap().success());
    }

    #[tokio::test]
    async fn what_takes_too_long_is_killed_with_all_it_started() {
        let mut slow = sh("sleep 1000 & echo $!; sleep 1000");
        slow.limit = Duration::from_millis(300);
        let out = run(&slow).await.unwrap();
        assert_eq!(out.ended, Ended::TimedOut);
        let pid: u32 = out.text().trim().parse().unwrap();
        assert!(dies(pid), "{pid} lives on");
        assert_eq!(out.ok(&slow).unwrap_err().stable_code(), Some("E0503"));
    }

    #[tokio::test]
    async fn a_grandchild_dies_unless_it_is_to_stay() {
        let out = run(&sh("sleep 1000 >/dev/null 2>&1 & echo $!")).await.unwrap();
        let pid: u32 = out.text().trim().parse().unwrap();
        assert!(dies(pid), "{pid} lives on");
        let out = run(&sh("sleep 1000 >/dev/null 2>&1 & echo $!").keep_group()).await.unwrap();
        let pid: u32 = out.text().trim().parse().unwrap();
        assert!(is_alive(pid), "{pid} died");
        rustix::process::kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
    }

    #[tokio::test]
    async fn failures_say_how_and_the_last_words_are_safe_to_show() {
        let command = sh("printf 'bad\\033[31m\\n' >&2; exit 7");
        let error = run(&command).await.unwrap().ok(&command).unwrap_err();
        assert_eq!(error.stable_code(), Some("E0502"));
        assert!(error.to_string().contains("code 7") && error.to_string().contains("bad\\u{1b}[31m"));
        let error = run(&Run::new("/no/such/program", LIMIT)).await.unwrap_err();
        assert_eq!((error.kind(), error.stable_code()), (Kind::NotFound, Some("E0501")));
        assert!(Run::argv::<&str>(&[], LIMIT).is_err());
    }

    #[tokio::test]
    async fn a_dropped_run_kills_its_command() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("echo $$ > {}; sleep 1000", file.display());
        let _late = tokio::time::timeout(Duration::from_millis(500), run(&sh(&script))).await;
        let pid: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        assert!(dies(pid), "{pid} lives on");
    }

    #[test]
    fn a_service_runs_until_it_is_stopped() {
        let mut service = spawn(&Run::new("sleep", LIMIT).arg("1000"), None).unwrap();
        assert_eq!(service.ended().unwrap(), None);
        let pid = service.pid();
        assert_eq!(service.stop().unwrap(), Ended::Signal(15));
        assert!(dies(pid));
    }
}
