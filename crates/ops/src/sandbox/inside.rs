//! The first process inside: builds the world, runs the commands, watches, and tells what it saw.
//! When it ends, the kernel ends everything else in there.
#![allow(clippy::disallowed_methods, reason = "this module starts, times and ends the commands of a drill")]

use super::host::{Order, die_with_parent, say, stage};
use super::launch::{self, NOT_REACHED};
use super::opens::Opens;
use super::packets::Packets;
use super::root;
use super::sinks::{HOSTNAME, MAIL_PORTS, Sinks};
use super::spec::{Answer, Attempt, Health, Impossible, Isolation, Observed, Spec, Step, StepResult};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

type Try<T> = std::result::Result<T, Impossible>;

const LOG_LINES_MAX: usize = 40;
const LOG_LINE_BYTES_MAX: usize = 500;
const POLL: Duration = Duration::from_millis(20);
const HEALTH_PAUSE: Duration = Duration::from_millis(100);
const HEALTH_ANSWER_MAX: Duration = Duration::from_secs(10);
/// What a command gets between the polite and the final signal.
const POLITE: Duration = Duration::from_secs(2);
/// The port that `${port}` stands for; the network is private, so it is always free.
const PORT: &str = "8000";

/// Runs as the first process of the namespaces.
pub(super) fn inside() -> i32 {
    die_with_parent();
    let answer = match run() {
        Ok(observed) => Answer::Observed(Box::new(observed)),
        Err(impossible) => Answer::Impossible(impossible),
    };
    say(&answer);
    0
}

struct Sandbox<'a> {
    spec: &'a Spec,
    opens: Opens,
    deadline: Instant,
    services: Vec<Running>,
}

struct Running {
    child: Child,
    log: Log,
}

fn run() -> Try<Observed> {
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text).map_err(|e| Impossible::host("read the order", e))?;
    let Order { spec, sockets } =
        serde_json::from_slice(&text).map_err(|e| Impossible::host("read the order", e))?;
    let built = root::enter(&spec, &sockets)?;
    let sockets_hidden = built.sockets;
    nix::unistd::sethostname(HOSTNAME).map_err(|e| Impossible::host("name the sandbox", e))?;
    let routed = super::net::close().map_err(|e| Impossible::host("bring up the private network", e))?;
    let sinks = Sinks::start().map_err(|e| Impossible::host("start the sinks", e))?;
    let packets = Packets::watch().ok().filter(|_| routed);
    nix::sys::prctl::set_no_new_privs().map_err(|e| Impossible::host("forbid new privileges", e))?;
    let opens = Opens::watch(&spec, built);
    let isolation = Isolation {
        uid: spec.user.uid,
        gid: spec.user.gid,
        user_namespace: spec.user.through_user_namespace,
        opens_seen_by: opens.by.into(),
        packets_watched: packets.is_some(),
        sockets_hidden,
    };
    let deadline = Instant::now() + Duration::from_secs_f64(spec.limit_seconds.max(0.0));
    let mut sandbox = Sandbox { spec: &spec, opens, deadline, services: Vec::new() };
    sandbox.may_the_user()?;
    let steps = sandbox.steps();
    sandbox.opens.look_at_processes(&spec);
    sandbox.stop();
    let (egress, local) = packets.map(|p| p.attempts()).unwrap_or_default();
    Ok(Observed {
        isolation,
        steps,
        opened: sandbox.opens.seen(),
        egress: without_mail(egress, &sinks),
        local: without_health(local, &spec),
        mail: sinks.mail(),
        names: sinks.names(),
    })
}

impl Sandbox<'_> {
    /// Asks, as the user, whether the project and the programs are within reach.
    fn may_the_user(&self) -> Try<()> {
        let spec = self.spec;
        let mut asked: Vec<String> = vec!["/proc/self/exe".into(), super::ENTRY.into(), "reach".into()];
        asked.push(spec.project.to_string_lossy().into_owned());
        asked.extend(spec.data.iter().map(|d| d.live.to_string_lossy().into_owned()));
        asked.push("--".into());
        asked.extend(spec.steps.iter().filter_map(|s| s.command.first().cloned()));
        let output = self.command(&asked, &Default::default()).output();
        let output = output.map_err(|e| Impossible::host("ask what the user may do", e))?;
        if output.status.success() {
            return Ok(());
        }
        let uid = spec.user.uid;
        let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        Err(Impossible {
            code: "E0703".into(),
            reason: format!("the drill runs as user {uid}, who cannot use the project: {said}"),
            fix: "let that user read the project and run its interpreter, or name another one with `user` in [scratch]".into(),
        })
    }

    fn steps(&mut self) -> Vec<StepResult> {
        let mut results: Vec<StepResult> = Vec::new();
        for step in &self.spec.steps {
            let failed = |name: &String| results.iter().any(|r| r.name == *name && !r.ok);
            if step.after_failure_of.as_ref().is_some_and(|name| !failed(name)) {
                continue;
            }
            self.opens.during(&step.name);
            let result = self.step(step);
            let stop = !result.ok && !step.go_on;
            results.push(result);
            if stop {
                break;
            }
        }
        results
    }

    fn step(&mut self, step: &Step) -> StepResult {
        let command: Vec<String> = step.command.iter().map(|w| w.replace("${port}", PORT)).collect();
        let started = Instant::now();
        let until = (started + Duration::from_secs_f64(step.within_seconds.max(0.0))).min(self.deadline);
        let mut result =
            StepResult { name: step.name.clone(), command: command.clone(), ..Default::default() };
        let child = self.command(&command, &step.environment).process_group(0).spawn();
        let mut running = match child {
            Ok(mut child) => Running { log: Log::of(&mut child), child },
            Err(why) => {
                result.log = vec![why.to_string()];
                return result;
            }
        };
        if step.service {
            self.until_well(step, &mut running, until, &mut result);
        } else {
            self.until_done(&mut running, until, &mut result);
        }
        result.seconds = started.elapsed().as_secs_f64();
        result.log = running.log.lines();
        if step.service {
            self.services.push(running);
        }
        result
    }

    fn until_done(&self, running: &mut Running, until: Instant, result: &mut StepResult) {
        loop {
            if let Ok(Some(status)) = running.child.try_wait() {
                note_end(status, result);
                result.ok = status.success();
                break;
            }
            if Instant::now() >= until {
                result.timed_out = true;
                end_group(&mut running.child);
                break;
            }
            thread::sleep(POLL);
        }
        running.log.settle();
    }

    /// A service is well when its health question is answered twice in a row, or, without a question,
    /// when it is still there at the end of its time.
    fn until_well(&self, step: &Step, running: &mut Running, until: Instant, result: &mut StepResult) {
        let mut good = 0;
        let mut last = String::from("never asked");
        loop {
            if let Ok(Some(status)) = running.child.try_wait()
                && !status.success()
            {
                note_end(status, result);
                running.log.settle();
                break;
            }
            if let Some(health) = &step.health {
                match self.ask(health, until) {
                    Ok(said) => (good, last) = (good + 1, said),
                    Err(said) => (good, last) = (0, said),
                }
                self.opens.look_at_processes(self.spec);
            }
            if good == 2 {
                result.ok = true;
                break;
            }
            if Instant::now() >= until {
                result.timed_out = step.health.is_some();
                result.ok = step.health.is_none();
                break;
            }
            thread::sleep(HEALTH_PAUSE);
        }
        result.health = step.health.as_ref().map(|_| last);
    }

    fn ask(&self, health: &Health, until: Instant) -> std::result::Result<String, String> {
        let left = until.saturating_duration_since(Instant::now()).max(POLL).min(HEALTH_ANSWER_MAX);
        match health {
            Health::Http { url, expect } => {
                let config = ureq::Agent::config_builder()
                    .timeout_global(Some(left))
                    .http_status_as_error(false)
                    .max_redirects(0)
                    .build();
                let url = url.replace("${port}", PORT);
                let answer = ureq::Agent::from(config).get(&url).call().map_err(|e| e.to_string())?;
                let status = answer.status().as_u16();
                let said = format!("status {status}");
                if status == *expect { Ok(said) } else { Err(format!("{said}, expected {expect}")) }
            }
            Health::Command { command } => {
                let mut child = self
                    .command(command, &Default::default())
                    .process_group(0)
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .map_err(|e| e.to_string())?;
                let end = Instant::now() + left;
                loop {
                    match child.try_wait() {
                        Ok(Some(status)) if status.success() => return Ok("exit 0".into()),
                        Ok(Some(status)) => return Err(status.to_string()),
                        Ok(None) if Instant::now() < end => thread::sleep(POLL),
                        _ => {
                            end_group(&mut child);
                            return Err("it took too long".into());
                        }
                    }
                }
            }
        }
    }

    fn command(&self, words: &[String], more: &std::collections::BTreeMap<String, String>) -> Command {
        let mut command = stage(Path::new("/proc/self/exe"), "launch");
        command
            .args(launch::words(self.spec.user, words))
            .envs(&self.spec.environment)
            .envs(more)
            .current_dir(&self.spec.project)
            .stdin(Stdio::null());
        command
    }

    /// Ends everything politely; what does not listen ends with this process.
    fn stop(&mut self) {
        // As the first process of its namespace, -1 means everybody but itself.
        let _ = kill(Pid::from_raw(-1), Signal::SIGTERM);
        let end = Instant::now() + POLITE;
        while Instant::now() < end && self.services.iter_mut().any(|s| matches!(s.child.try_wait(), Ok(None)))
        {
            thread::sleep(POLL);
        }
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    }
}

fn note_end(status: ExitStatus, result: &mut StepResult) {
    result.exit = status.code().or_else(|| status.signal().map(|s| 128 + s));
    if status.code() == Some(NOT_REACHED) {
        result.health = None;
    }
}

fn end_group(child: &mut Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = kill(Pid::from_raw(-pid), Signal::SIGKILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Mail has its own list.
fn without_mail(attempts: Vec<Attempt>, sinks: &Sinks) -> Vec<Attempt> {
    attempts
        .into_iter()
        .filter(|a| !(a.protocol == "tcp" && MAIL_PORTS.contains(&a.port)))
        .map(|a| Attempt { name: sinks.name_of(a.address), ..a })
        .collect()
}

/// Asking a service that does not listen yet is no attempt of the application.
fn without_health(attempts: Vec<Attempt>, spec: &Spec) -> Vec<Attempt> {
    let ports: Vec<u16> = spec
        .steps
        .iter()
        .filter_map(|s| match &s.health {
            Some(Health::Http { url, .. }) => port_of(&url.replace("${port}", PORT)),
            _ => None,
        })
        .collect();
    attempts.into_iter().filter(|a| !ports.contains(&a.port) && !MAIL_PORTS.contains(&a.port)).collect()
}

fn port_of(url: &str) -> Option<u16> {
    let host = url.strip_prefix("http://")?.split(['/', '?']).next()?;
    match host.rsplit_once(':') {
        Some((_, port)) => port.parse().ok(),
        None => Some(80),
    }
}

/// The last lines of what a command writes, both streams together.
#[derive(Clone, Default)]
struct Log {
    lines: Arc<Mutex<VecDeque<String>>>,
    readers: Arc<Mutex<Vec<thread::JoinHandle<()>>>>,
}

impl Log {
    fn of(child: &mut Child) -> Self {
        let log = Log::default();
        let out = child.stdout.take().map(|p| Box::new(p) as Box<dyn Read + Send>);
        let err = child.stderr.take().map(|p| Box::new(p) as Box<dyn Read + Send>);
        for pipe in [out, err].into_iter().flatten() {
            let copy = log.clone();
            let reader = thread::spawn(move || copy.read(pipe));
            if let Ok(mut readers) = log.readers.lock() {
                readers.push(reader);
            }
        }
        log
    }

    fn read(&self, mut pipe: Box<dyn Read + Send>) {
        let mut rest: Vec<u8> = Vec::new();
        let mut block = [0u8; 4096];
        while let Ok(n) = pipe.read(&mut block)
            && n > 0
        {
            for &byte in &block[..n] {
                if byte == b'\n' {
                    self.push(&std::mem::take(&mut rest));
                } else if rest.len() < LOG_LINE_BYTES_MAX {
                    rest.push(byte);
                }
            }
        }
        if !rest.is_empty() {
            self.push(&rest);
        }
    }

    fn push(&self, line: &[u8]) {
        let Ok(mut lines) = self.lines.lock() else { return };
        if lines.len() == LOG_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(recoup_core::name::escape(line));
    }

    /// Waits a moment for the readers; a child of the command may keep the pipes open.
    fn settle(&self) {
        let end = Instant::now() + Duration::from_millis(500);
        let done =
            |log: &Log| log.readers.lock().is_ok_and(|r| r.iter().all(thread::JoinHandle::is_finished));
        while !done(self) && Instant::now() < end {
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().map(|lines| lines.iter().cloned().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_health_question() {
        assert_eq!(port_of("http://127.0.0.1:8000/healthz"), Some(8000));
        assert_eq!(port_of("http://127.0.0.1/"), Some(80));
        assert_eq!(port_of("ftp://x"), None);
    }
}
