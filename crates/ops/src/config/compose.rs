//! The checked tree becomes a [`Config`], and the names in it are checked against each other.

use super::class::ClassSection;
use super::node::Node;
use super::problem::{At, Problem, Problems};
use super::section::{
    CaptureSection, Check, CheckKind, Consistency, Drill, Head, Health, Keys, Label, Location, Python,
    Scratch, Service, SourceSection,
};
use super::strict::nearest;
use super::{decode, schema, strict};
use recoup_core::Error;
use recoup_core::class::Class;
use recoup_core::name::{TreePath, escape};
use recoup_core::schedule::Schedule;
use recoup_sources::files::FilesConfig;
use recoup_sources::sqlite::SqliteConfig;
use serde::Deserialize;
use std::collections::BTreeMap;

/// One application, as declared. Every name in it that refers to something refers to something here.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the application.
    pub app: String,
    /// Time zone of calendars and of times shown; the host's if `None`.
    pub timezone: Option<jiff::tz::TimeZone>,
    /// Contracts by name.
    pub classes: BTreeMap<String, Class>,
    /// The Python side.
    pub python: Python,
    /// Sources by name.
    pub sources: BTreeMap<String, Source>,
    /// Services by name.
    pub services: BTreeMap<String, Service>,
    /// Consistency sets by name.
    pub consistency: BTreeMap<String, Consistency>,
    /// Locations by name.
    pub locations: BTreeMap<String, Location>,
    /// The key to the repository, if it is declared.
    pub keys: Option<Keys>,
    /// Checks by name.
    pub checks: BTreeMap<String, Check>,
    /// Drills by name.
    pub drills: BTreeMap<String, Drill>,
    /// Where restored things run.
    pub scratch: Scratch,
}

/// One source.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// The name of its class.
    pub class: String,
    /// What its data is.
    pub labels: Vec<Label>,
    /// Files in it that nobody has a reason to touch.
    pub canary: Vec<String>,
    /// When it is captured, if that is declared.
    pub schedule: Option<Schedule>,
    /// The command that makes its content anew.
    pub rebuild: Option<Vec<String>>,
    /// What it is.
    pub driver: Driver,
}

/// The kinds of sources with what each of them needs to know.
#[derive(Clone, Debug)]
pub enum Driver {
    /// A folder.
    Files(FilesConfig),
    /// A SQLite database.
    Sqlite(SqliteConfig),
}

impl Driver {
    /// The `kind` as written in the file.
    pub fn kind(&self) -> &'static str {
        match self {
            Driver::Files(_) => "files",
            Driver::Sqlite(_) => "sqlite",
        }
    }

    /// The path of its live data as written, seen from the project's folder.
    pub fn path(&self) -> &str {
        match self {
            Driver::Files(files) => &files.path,
            Driver::Sqlite(sqlite) => &sqlite.path,
        }
    }
}

impl Config {
    /// The contract of `source`.
    pub fn class_of(&self, source: &Source) -> Option<&Class> {
        self.classes.get(&source.class)
    }

    /// The address of a source, as in `shop/db`.
    pub fn address(&self, source: &str) -> String {
        format!("{}/{source}", self.app)
    }

    /// The names of the sources in the order of capture: anchors first, then databases, then the rest.
    pub fn capture_order(&self) -> Vec<&str> {
        let anchors: Vec<&str> = self.consistency.values().filter_map(|set| set.anchor.as_deref()).collect();
        let mut names: Vec<&str> = self.sources.keys().map(String::as_str).collect();
        names.sort_by_key(|name| {
            let is_database = matches!(self.sources[*name].driver, Driver::Sqlite(_));
            (!anchors.contains(name), !is_database, *name)
        });
        names
    }

    /// Services in the order they start: what a service needs comes before it.
    pub fn start_order(&self) -> Vec<&str> {
        let mut done: Vec<&str> = vec![];
        // Every round places at least one service: `cycles` refused files in which none could be.
        for _ in 0..self.services.len() {
            for (name, service) in &self.services {
                let ready =
                    |need: &String| !self.services.contains_key(need) || done.contains(&need.as_str());
                if !done.contains(&name.as_str()) && service.needs.iter().all(ready) {
                    done.push(name);
                }
            }
        }
        done
    }
}

/// Checks and composes. `None` if there are errors among `problems` afterwards.
pub(super) fn compose(root: &Node, problems: &mut Problems) -> Option<Config> {
    strict::check(root, schema::schema(), problems);
    if problems.has_errors() {
        return None;
    }
    let head: Head = take(&root.filtered(|key| matches!(key, "version" | "app" | "timezone")), problems)?;
    if !strict::is_name(&head.app) {
        problems.push(
            Problem::error("E0113", "the application's name cannot be used")
                .at(&root.place(&["app"]))
                .label("letters, digits, `-` and `_`, at most 63 of them"),
        );
    }
    let config = Config {
        app: head.app,
        timezone: head.timezone.and_then(|name| jiff::tz::TimeZone::get(&name).ok()),
        classes: tables::<ClassSection>(root, "class", problems)
            .into_iter()
            .map(|(name, section)| (name.clone(), section.class(&name)))
            .collect(),
        python: single(root, "python", problems)
            .unwrap_or_else(|| Python { project: ".".into(), ..Python::default() }),
        sources: sources(root, problems),
        services: tables(root, "service", problems),
        consistency: tables(root, "consistency", problems),
        locations: tables(root, "location", problems),
        keys: single(root, "keys", problems),
        checks: tables(root, "check", problems),
        drills: tables(root, "drill", problems),
        scratch: single(root, "scratch", problems).unwrap_or_default(),
    };
    if !problems.has_errors() {
        References { config: &config, root, problems }.check();
    }
    (!problems.has_errors()).then_some(config)
}

fn take<T: for<'a> Deserialize<'a>>(node: &Node, problems: &mut Problems) -> Option<T> {
    decode::decode(node).map_err(|problem| problems.push(*problem)).ok()
}

fn single<T: for<'a> Deserialize<'a>>(root: &Node, key: &str, problems: &mut Problems) -> Option<T> {
    take(root.get(key)?, problems)
}

fn tables<T: for<'a> Deserialize<'a>>(
    root: &Node,
    key: &str,
    problems: &mut Problems,
) -> BTreeMap<String, T> {
    let fields = root.get(key).map(Node::fields).unwrap_or_default();
    fields.iter().filter_map(|f| Some((f.key.clone(), take(&f.node, problems)?))).collect()
}

/// Keys of a source that do not belong to its driver.
const COMMON: [&str; 7] = ["kind", "class", "labels", "canary", "capture", "schedule", "rebuild"];

fn sources(root: &Node, problems: &mut Problems) -> BTreeMap<String, Source> {
    let fields = root.get("source").map(Node::fields).unwrap_or_default();
    fields.iter().filter_map(|f| Some((f.key.clone(), source(&f.key, &f.node, problems)?))).collect()
}

fn source(name: &str, node: &Node, problems: &mut Problems) -> Option<Source> {
    let common: SourceSection = take(&node.filtered(|key| key != "kind" && COMMON.contains(&key)), problems)?;
    for path in common.canary.iter().filter(|path| TreePath::parse(path.as_bytes()).is_err()) {
        problems.push(
            Problem::error("E0113", format!("`{}` is no path beneath the source", escape(path.as_bytes())))
                .at(&node.place(&["canary"]))
                .label("a path from the folder of the source, without `..`"),
        );
    }
    let own = node.filtered(|key| !COMMON.contains(&key));
    let driver = match node.get("kind")?.text()? {
        "files" => Driver::Files(take(&own, problems)?),
        _ => Driver::Sqlite(take(&own, problems)?),
    };
    let schedule = match (common.capture, common.schedule) {
        (Some(_), Some(_)) => {
            problems.push(
                Problem::error("E0114", format!("`source.{name}` has both `capture` and `schedule`"))
                    .at(&node.place(&["schedule"]))
                    .label("one of the two")
                    .hint("keep `capture = { every = ... }` for an interval, `schedule` for a calendar"),
            );
            None
        }
        (Some(CaptureSection { every }), None) => Some(Schedule::every(every)),
        // The strict walk parsed it before.
        (None, Some(text)) => text.parse().ok(),
        (None, None) => None,
    };
    let SourceSection { class, labels, canary, rebuild, .. } = common;
    Some(Source { name: name.to_owned(), class, labels, canary, schedule, rebuild, driver })
}

/// Names in one table that must stand in another, and keys that exclude or need each other.
struct References<'a> {
    config: &'a Config,
    root: &'a Node,
    problems: &'a mut Problems,
}

impl References<'_> {
    fn check(mut self) {
        self.sources();
        self.services();
        self.checks();
        self.sets();
        self.drills();
        self.classes();
        self.cycles();
    }

    fn place(&self, path: &[&str]) -> At {
        self.root.place(path)
    }

    /// `name`, found at `path`, must be one of `known`.
    fn known<'n>(&mut self, path: &[&str], what: &str, name: &str, known: impl Iterator<Item = &'n String>) {
        let known: Vec<&str> = known.map(String::as_str).collect();
        if known.contains(&name) {
            return;
        }
        let mut problem = Problem::error("E0106", format!("there is no {what} `{name}`"))
            .at(&self.place(path))
            .label("named here")
            .address(path.join("."));
        if let Some(near) = nearest(name, &known) {
            problem = problem.hint(format!("did you mean `{near}`?"));
        } else if known.is_empty() {
            problem = problem.hint(format!("no {what} is declared in this file"));
        } else {
            problem = problem.hint(format!("declared: {}", known.join(", ")));
        }
        self.problems.push(problem);
    }

    fn wrong(&mut self, path: &[&str], title: String, hint: &str) {
        let problem = Problem::error("E0114", title).at(&self.place(path)).address(path.join(".")).hint(hint);
        self.problems.push(problem);
    }

    fn sources(&mut self) {
        let config = self.config;
        for (name, source) in &config.sources {
            let path = ["source", name, "class"];
            self.known(&path, "class", &source.class, config.classes.keys());
            let must_rebuild = config.class_of(source).is_some_and(|class| class.rebuild_required);
            if must_rebuild && source.rebuild.as_ref().is_none_or(Vec::is_empty) {
                let title = format!("`source.{name}` must name the command that rebuilds it");
                self.wrong(
                    &["source", name],
                    title,
                    "add `rebuild = [\"program\", \"argument\"]`, or choose another class",
                );
            }
            if source.driver.path().is_empty() {
                self.wrong(
                    &["source", name, "path"],
                    format!("`source.{name}` has an empty path"),
                    "name the file or folder",
                );
            }
        }
    }

    fn services(&mut self) {
        let config = self.config;
        for (name, service) in &config.services {
            for need in &service.needs {
                let known = config.sources.keys().chain(config.services.keys());
                self.known(&["service", name, "needs"], "source or service", need, known);
            }
            if let Some(health) = &service.health {
                self.health(&["service", name, "health"], health);
            }
            if let Some(drill) = &service.drill {
                if drill.start.is_empty() {
                    let title = format!("`service.{name}.drill.start` is empty");
                    self.wrong(
                        &["service", name, "drill"],
                        title,
                        "give the command that runs the service and stays",
                    );
                }
                if let Some(health) = &drill.health {
                    self.health(&["service", name, "drill", "health"], health);
                }
            }
        }
    }

    fn health(&mut self, path: &[&str], health: &Health) {
        if health.http.is_some() == health.command.is_some() {
            let title = format!("`{}` needs either `http` or `command`", path.join("."));
            self.wrong(
                path,
                title,
                "health = { http = \"http://127.0.0.1:8000/\", expect = 200, within = \"60s\" }",
            );
        }
        if health.http.as_ref().is_some_and(|url| !url.starts_with("http://")) {
            let title = format!("`{}.http` must start with http://", path.join("."));
            self.wrong(path, title, "health is asked on this machine, where no TLS is needed");
        }
    }

    fn checks(&mut self) {
        let config = self.config;
        for (name, check) in &config.checks {
            let given =
                (check.source.is_some(), check.sql.is_some(), check.rows.is_some(), check.files.is_some());
            let (right, hint) = match check.kind {
                CheckKind::Sql => {
                    (given == (true, true, false, false), "a `sql` check has `source`, `sql` and `expect`")
                }
                CheckKind::References => (
                    given == (false, false, true, true),
                    "a `references` check has `rows`, `files` and `expect`",
                ),
            };
            if !right {
                self.wrong(&["check", name], format!("`check.{name}` does not fit its kind"), hint);
                continue;
            }
            if let Some(source) = &check.source {
                self.known(&["check", name, "source"], "source", source, config.sources.keys());
            }
            if let Some(files) = &check.files {
                self.known(&["check", name, "files"], "source", files, config.sources.keys());
            }
            match check.rows.as_deref().map(|rows| rows.split_once(':')) {
                Some(Some((source, column))) if column.contains('.') => {
                    self.known(&["check", name, "rows"], "source", source, config.sources.keys());
                }
                Some(_) => {
                    let title = format!("`check.{name}.rows` does not name a column");
                    self.wrong(
                        &["check", name, "rows"],
                        title,
                        "write `source:table.column`, as in `db:media_file.path`",
                    );
                }
                None => {}
            }
        }
    }

    fn sets(&mut self) {
        let config = self.config;
        for (name, set) in &config.consistency {
            for member in &set.members {
                self.known(&["consistency", name, "members"], "source", member, config.sources.keys());
            }
            if let Some(anchor) = &set.anchor {
                self.known(&["consistency", name, "anchor"], "member", anchor, set.members.iter());
            }
            for invariant in &set.invariants {
                self.known(&["consistency", name, "invariants"], "check", invariant, config.checks.keys());
            }
        }
    }

    fn drills(&mut self) {
        let config = self.config;
        for (name, drill) in &config.drills {
            for source in drill.sources.iter().flatten() {
                self.known(&["drill", name, "sources"], "source", source, config.sources.keys());
            }
            if let Some(set) = &drill.set {
                self.known(&["drill", name, "set"], "consistency set", set, config.consistency.keys());
            }
            if drill.set.is_some() && drill.sources.is_some() {
                let title = format!("`drill.{name}` has both `sources` and `set`");
                self.wrong(&["drill", name, "set"], title, "keep one of the two");
            }
            for check in drill.checks.iter().flatten() {
                self.known(&["drill", name, "checks"], "check", check, config.checks.keys());
            }
            if let Some(from) = drill.from.as_deref().filter(|from| *from != "rotate") {
                self.known(&["drill", name, "from"], "location", from, config.locations.keys());
            }
            for service in drill.app.start.iter().flatten() {
                self.known(&["drill", name, "app", "start"], "service", service, config.services.keys());
            }
        }
    }

    fn classes(&mut self) {
        for (name, class) in &self.config.classes {
            if let (Some(rto), Some(mtd)) = (class.rto, class.mtd)
                && mtd < rto
            {
                let title =
                    format!("`class.{name}` allows less downtime ({mtd}) than a restore may take ({rto})");
                self.wrong(&["class", name, "mtd"], title, "raise `mtd`, or lower `rto`");
            }
            if let Some(error) = class.retain.as_ref().and_then(|retain| retain.check().err()) {
                self.retain(name, &error);
            }
        }
    }

    /// A policy that cannot be followed, with the place where it is written.
    fn retain(&mut self, class: &str, error: &Error) {
        let path = ["class", class, "retain", "max"];
        let (code, path, what) = match error.stable_code() {
            Some("E0662") => ("E0662", &path[..], "has a `max` shorter than its `all`"),
            _ => ("E0660", &path[..3], "keeps nothing"),
        };
        let mut problem = Problem::error(code, format!("`class.{class}.retain` {what}"))
            .at(&self.place(path))
            .address(path.join("."));
        if let Some(hint) = error.next_step() {
            problem = problem.hint(hint);
        }
        self.problems.push(problem);
    }

    fn cycles(&mut self) {
        let order = self.config.start_order();
        let stuck = self.config.services.keys().find(|name| !order.contains(&name.as_str()));
        let open = self.problems.has_errors();
        if let Some(name) = stuck.filter(|_| !open) {
            let title = format!("`service.{name}` needs itself, by way of what it needs");
            self.wrong(&["service", name, "needs"], title, "take one name out of the circle");
        }
    }
}
