//! The planner of restores and drills.

use super::compat::Compat;
use super::forecast::{forecast, loss};
use super::order::start_order;
use super::step::{Action, Health, Phase, Step};
use super::{Plan, Purpose};
use crate::units::ByteSize;
use crate::{Error, Kind, Result};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Room that must be left on a file system after a restore: catalogs, journals and the system need some.
const RESERVE_BYTES: u64 = 64 << 20;

/// Everything the planner needs to know.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Name of the restore.
    pub restore: String,
    /// What it ends in.
    pub purpose: Purpose,
    /// The application.
    pub application: String,
    /// Full id of the point.
    pub point: String,
    /// The moment it stands for.
    pub point_time: Timestamp,
    /// Name of the location.
    pub location: String,
    /// Now.
    pub now: Timestamp,
    /// For people: where the result lies.
    pub target: String,
    /// In the order in which they are fetched and switched.
    pub sources: Vec<SourceFact>,
    /// All declared services.
    pub services: Vec<ServiceFact>,
    /// Point against code.
    pub compat: Compat,
    /// Bytes per second of the last timed restore.
    pub bytes_per_second: Option<u64>,
}

/// One source to be restored.
#[derive(Clone, Debug)]
pub struct SourceFact {
    /// Its name.
    pub name: String,
    /// Full id of its snapshot in the point.
    pub snapshot: String,
    /// Full id of its data tree.
    pub tree: String,
    /// Content in bytes.
    pub bytes: u64,
    /// The folder to be created for it.
    pub folder: String,
    /// Where beneath the folder the content goes.
    pub into: String,
    /// What is proved and switched: `into` or a file in it.
    pub restored: String,
    /// The live target.
    pub live: String,
    /// Where the old data will be kept.
    pub keep: String,
    /// Last write to the live target, if it is there.
    pub last_write: Option<Timestamp>,
    /// The file system that `folder` will be on, so that needs on one add up.
    pub device: u64,
    /// Bytes free there for this user, if known.
    pub free: Option<u64>,
}

/// One declared service.
#[derive(Clone, Debug, Default)]
pub struct ServiceFact {
    /// Its name.
    pub name: String,
    /// Sources and services that it needs.
    pub needs: Vec<String>,
    /// Stops it; empty if none is declared.
    pub stop: Vec<String>,
    /// Starts it; empty if none is declared.
    pub start: Vec<String>,
    /// Time limit of either, in seconds.
    pub within_seconds: u64,
    /// Whether it stays stopped after a restore until a person starts it.
    pub hold: bool,
    /// How it shows that it is well.
    pub health: Option<Health>,
}

/// Plans a restore.
///
/// # Errors
/// `Kind::Refused` `E0603` if there is not enough room (fault row 132); `Kind::Config` if there is
/// nothing to restore or services need each other in a circle.
pub fn choose(facts: &Facts) -> Result<Plan> {
    if facts.sources.is_empty() {
        return Err(Error::new(Kind::Config, "plan a restore of no source").code("E0602"));
    }
    enough_room(facts)?;
    let mut actions = aside(facts);
    if facts.purpose == Purpose::Aside {
        actions.extend(promote(facts)?);
    }
    Ok(plan(facts, actions))
}

/// Plans a drill: the same way back, then the checks and the application; nothing to promote.
///
/// # Errors
/// As [`choose`].
pub fn choose_drill(facts: &Facts, checks: bool, application: bool) -> Result<Plan> {
    if facts.sources.is_empty() {
        return Err(Error::new(Kind::Config, "plan a drill of no source").code("E0602"));
    }
    enough_room(facts)?;
    let mut actions = aside(facts);
    actions.extend(checks.then_some((Phase::Aside, Action::Checks {})));
    actions.extend(application.then_some((Phase::Aside, Action::Application {})));
    Ok(plan(facts, actions))
}

fn plan(facts: &Facts, actions: Vec<(Phase, Action)>) -> Plan {
    let bytes = facts.sources.iter().map(|s| s.bytes).sum();
    let writes: Vec<Timestamp> = facts.sources.iter().filter_map(|s| s.last_write).collect();
    let steps = (1..).zip(actions).map(|(id, (phase, action))| Step { id, phase, action }).collect();
    Plan {
        restore: facts.restore.clone(),
        purpose: facts.purpose,
        application: facts.application.clone(),
        point: facts.point.clone(),
        point_time: facts.point_time,
        location: facts.location.clone(),
        target: facts.target.clone(),
        decided: facts.now,
        compat: facts.compat.clone(),
        forecast: forecast(bytes, facts.bytes_per_second, loss(facts.point_time, facts.now, &writes)),
        steps,
    }
}

fn enough_room(facts: &Facts) -> Result<()> {
    let mut per_device: BTreeMap<u64, (u64, Option<u64>, &str)> = BTreeMap::new();
    for s in &facts.sources {
        let slot = per_device.entry(s.device).or_insert((0, s.free, &s.folder));
        slot.0 = slot.0.saturating_add(s.bytes);
    }
    for (need, free, folder) in per_device.into_values() {
        let Some(free) = free else { continue };
        if need.saturating_add(RESERVE_BYTES) > free {
            return Err(Error::new(Kind::Refused, "plan the restore: there is not enough room")
                .with("needed", ByteSize(need.saturating_add(RESERVE_BYTES)))
                .with("free", ByteSize(free))
                .with("at", folder)
                .code("E0603")
                .effect("nothing was written")
                .hint("free some room, or restore to another file system with `--to DIR`"));
        }
    }
    Ok(())
}

fn aside(facts: &Facts) -> Vec<(Phase, Action)> {
    let mut actions = Vec::new();
    for s in &facts.sources {
        actions.push(Action::Create { source: s.name.clone(), folder: s.folder.clone() });
        actions.push(Action::Fetch {
            source: s.name.clone(),
            snapshot: s.snapshot.clone(),
            tree: s.tree.clone(),
            into: s.into.clone(),
            bytes: s.bytes,
        });
    }
    for s in &facts.sources {
        actions.push(Action::Prove { source: s.name.clone(), restored: s.restored.clone() });
    }
    actions.into_iter().map(|a| (Phase::Aside, a)).collect()
}

/// Gate, services down, nobody holds the data, room for the old data, switches, services up, asked.
fn promote(facts: &Facts) -> Result<Vec<(Phase, Action)>> {
    let touched = touched_services(facts)?;
    let mut actions = vec![Action::Gate {}];
    for s in touched.iter().rev().filter(|s| !s.stop.is_empty()) {
        actions.push(Action::Stop {
            service: s.name.clone(),
            command: s.stop.clone(),
            start: s.start.clone(),
            within_seconds: s.within_seconds,
        });
    }
    for s in &facts.sources {
        actions.push(Action::Holders { source: s.name.clone(), target: s.live.clone() });
        actions.push(Action::Keep { source: s.name.clone(), keep: s.keep.clone() });
    }
    for s in &facts.sources {
        actions.push(Action::Switch {
            source: s.name.clone(),
            restored: s.restored.clone(),
            target: s.live.clone(),
            keep: s.keep.clone(),
        });
    }
    // A service that cannot be stopped was not stopped, so it is not started either.
    for s in touched.iter().filter(|s| !s.hold && !s.start.is_empty() && !s.stop.is_empty()) {
        actions.push(Action::Start {
            service: s.name.clone(),
            command: s.start.clone(),
            stop: s.stop.clone(),
            within_seconds: s.within_seconds,
        });
    }
    for s in touched.iter().filter(|s| !s.hold && !s.stop.is_empty() && !s.start.is_empty()) {
        if let Some(health) = &s.health {
            actions.push(Action::Probe { service: s.name.clone(), health: health.clone() });
        }
    }
    Ok(actions.into_iter().map(|a| (Phase::Promote, a)).collect())
}

/// The services that need a restored source, directly or through another service, in start order.
fn touched_services(facts: &Facts) -> Result<Vec<&ServiceFact>> {
    let needs: BTreeMap<String, Vec<String>> =
        facts.services.iter().map(|s| (s.name.clone(), s.needs.clone())).collect();
    let mut touched: Vec<&str> = facts.sources.iter().map(|s| s.name.as_str()).collect();
    let mut services = Vec::new();
    for name in start_order(&needs)? {
        let Some(service) = facts.services.iter().find(|s| s.name == name) else { continue };
        if service.needs.iter().any(|n| touched.contains(&n.as_str())) {
            touched.push(&service.name);
            services.push(service);
        }
    }
    Ok(services)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str) -> SourceFact {
        SourceFact {
            name: name.into(),
            snapshot: "aa".into(),
            tree: "bb".into(),
            bytes: 1000,
            folder: format!("/p/.recoup-R1/{name}"),
            into: format!("/p/.recoup-R1/{name}/data"),
            restored: format!("/p/.recoup-R1/{name}/data"),
            live: format!("/p/{name}"),
            keep: format!("/p/.recoup-R1/{name}/before"),
            last_write: None,
            device: 1,
            free: Some(1 << 40),
        }
    }

    fn service(name: &str, needs: &[&str]) -> ServiceFact {
        ServiceFact {
            name: name.into(),
            needs: needs.iter().map(|s| (*s).to_owned()).collect(),
            stop: vec!["stop".into(), name.into()],
            start: vec!["start".into(), name.into()],
            within_seconds: 30,
            ..Default::default()
        }
    }

    fn facts() -> Facts {
        Facts {
            restore: "R1".into(),
            purpose: Purpose::Aside,
            application: "shop".into(),
            point: "p1".into(),
            point_time: "2026-11-22T14:00:00Z".parse().unwrap(),
            location: "local".into(),
            now: "2026-11-22T14:30:00Z".parse().unwrap(),
            target: "beside the live data".into(),
            sources: vec![source("db"), source("media")],
            services: vec![
                service("web", &["db"]),
                service("worker", &["web"]),
                service("mailer", &["elsewhere"]),
            ],
            compat: Compat::default(),
            bytes_per_second: None,
        }
    }

    #[test]
    fn a_plan_has_every_step_in_its_order() {
        let plan = choose(&facts()).unwrap();
        let lines: Vec<String> = plan
            .steps
            .iter()
            .map(|s| format!("{} {} {}", s.id, s.action.stage(), s.action.subject()))
            .collect();
        assert_eq!(
            lines,
            [
                "1 create db",
                "2 fetch db",
                "3 create media",
                "4 fetch media",
                "5 prove db",
                "6 prove media",
                "7 gate ",
                "8 stop worker",
                "9 stop web",
                "10 holders db",
                "11 keep db",
                "12 holders media",
                "13 keep media",
                "14 switch db",
                "15 switch media",
                "16 start web",
                "17 start worker",
            ]
        );
        assert_eq!(plan.forecast.bytes, 2000);
        assert_eq!(plan.forecast.loss.seconds, 1800);
    }

    #[test]
    fn the_hash_is_the_meaning() {
        let plan = choose(&facts()).unwrap();
        let copy: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
        assert_eq!(copy.hash(), plan.hash());
        assert!(plan.confirmed_by(&plan.short_hash()) && plan.confirmed_by(&plan.hash().to_uppercase()));
        assert!(!plan.confirmed_by("") && !plan.confirmed_by(&plan.hash()[..3]));
        let mut other = facts();
        other.sources[0].tree = "cc".into();
        assert_ne!(choose(&other).unwrap().hash(), plan.hash());
    }

    #[test]
    fn row_132_needs_on_one_file_system_add_up_and_are_refused_before_anything() {
        let mut tight = facts();
        for s in &mut tight.sources {
            s.bytes = 100 << 20;
            s.free = Some(250 << 20);
        }
        let err = choose(&tight).unwrap_err();
        assert_eq!((err.kind(), err.stable_code()), (Kind::Refused, Some("E0603")));
        tight.sources[1].device = 2;
        choose(&tight).unwrap();
    }

    #[test]
    fn held_services_stay_down_and_losses_are_said() {
        let mut held = facts();
        held.services[1].hold = true;
        held.sources[0].last_write = Some("2026-11-22T13:00:00Z".parse().unwrap());
        let plan = choose(&held).unwrap();
        assert!(
            !plan
                .steps
                .iter()
                .any(|s| matches!(&s.action, Action::Start { service, .. } if service == "worker"))
        );
        assert_eq!(plan.forecast.loss.seconds, 0);
        held.sources[1].last_write = Some("2026-11-22T14:10:00Z".parse().unwrap());
        assert_eq!(choose(&held).unwrap().forecast.loss.seconds, 600);
    }
}
