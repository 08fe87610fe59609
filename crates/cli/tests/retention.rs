//! `recoup retention simulate` through the real binary: what it draws, what it refuses, and that it never deletes.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests touch the world")]

mod common;

use common::{Ran, World};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

const POLICY: &str = "retain = { all = \"7d\", daily = 35, monthly = 13, yearly = 7, max = \"7y\" }";

/// A project with one folder, one class with the policy `retain`, and one location.
fn project(world: &World, retain: &str) -> PathBuf {
    let project = world.path("project");
    fs::create_dir_all(project.join("media")).unwrap();
    fs::write(project.join("media/a"), "a").unwrap();
    configure(world, "timezone = \"Europe/Berlin\"", "media", retain);
    project
}

fn configure(world: &World, zone: &str, source: &str, retain: &str) {
    let text = format!(
        "version = 1\napp = \"shop\"\n{zone}\n\n[class.standard]\nrpo = \"15m\"\n{retain}\n\n\
         [source.{source}]\nkind = \"files\"\nclass = \"standard\"\npath = \"media\"\n\n\
         [location.local]\nkind = \"local\"\npath = \"../copies\"\n\n[keys]\npassword = {{ file = \"../password\" }}\n"
    );
    fs::write(world.path("project/recoup.toml"), text).unwrap();
}

fn run(world: &World, args: &[&str]) -> Ran {
    Ran::of(world.command().arg("-C").arg(world.path("project")).args(args))
}

fn simulate(world: &World, args: &[&str]) -> Ran {
    run(world, &[&["retention", "simulate"], args].concat())
}

/// How many points there are, by `recoup points`.
fn points(world: &World) -> usize {
    run(world, &["points", "--output", "json"]).expect_code(0).json()["points"].as_array().unwrap().len()
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|p| p["id"].as_str().unwrap()).collect()
}

#[test]
fn the_table_and_the_row_say_what_each_rule_keeps() {
    let world = World::new();
    project(&world, POLICY);
    let text = simulate(&world, &[]).expect_code(0).stdout;
    for said in
        ["class standard: shop/media", "a point every 15m", "672", "70081 points made", "no points yet"]
    {
        assert!(text.contains(said), "{said}\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let document =
        simulate(&world, &["--for", "90d", "--every", "1h", "--output", "json"]).expect_code(0).json();
    assert_eq!(
        (document["kind"].as_str(), document["zone"].as_str()),
        (Some("retention simulate"), Some("Europe/Berlin"))
    );
    let class = &document["classes"][0];
    assert_eq!(class["retain"]["all_seconds"], 7 * 86_400);
    assert_eq!((&class["every_seconds"], &class["made"]), (&3600.into(), &(90 * 24 + 1).into()));
    assert_eq!(class["timeline"].as_array().unwrap().len(), 90, "day by day");
    assert_eq!(class["timeline"][89]["points"], class["kept"].as_array().unwrap().len());
    let rules: Vec<&str> =
        class["rules"].as_array().unwrap().iter().map(|r| r["rule"].as_str().unwrap()).collect();
    assert_eq!(rules, ["all", "daily", "monthly", "yearly"]);
    // Nobody asks the location whether it may be read if there is none.
    let without = fs::read_to_string(world.path("project/recoup.toml")).unwrap();
    let without = without.split("[location.local]").next().unwrap().to_owned();
    fs::write(world.path("project/recoup.toml"), without).unwrap();
    let document = simulate(&world, &["--output", "json"]).expect_code(0).json();
    assert!(document["today"].is_null());
}

#[test]
fn lengths_that_make_no_sense_are_told_before_anything_is_attempted() {
    let world = World::new();
    project(&world, POLICY);
    let ran = simulate(&world, &["--every", "1s"]).expect_code(2);
    assert!(ran.stderr.contains("E0664"), "{}", ran.stderr);
    simulate(&world, &["--for", "2"]).expect_code(2);
}

#[test]
fn a_picture_stands_alone_and_is_never_drawn_over_something() {
    let world = World::new();
    project(&world, POLICY);
    let file = world.path("picture.svg");
    let name = file.to_str().unwrap();
    let document = simulate(&world, &["--svg", name, "--output", "json"]).expect_code(0).json();
    assert_eq!(document["svg"], name);
    let picture = fs::read_to_string(&file).unwrap();
    assert!(picture.starts_with("<?xml") && picture.ends_with("</svg>\n"), "{picture}");
    assert!(picture.contains("class standard: shop/media") && picture.contains("all = 7d: 672 points"));
    for never in ["<script", "href", "url(", "@import"] {
        assert!(!picture.contains(never), "{never}");
    }
    fs::write(&file, "mine").unwrap();
    let refused = simulate(&world, &["--svg", name]).expect_code(5);
    assert!(refused.stderr.contains("E0663"), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn what_would_go_today_is_shown_and_nothing_goes() {
    let world = World::new();
    project(&world, "retain = { min = 1 }");
    run(&world, &["backup"]).expect_code(0);
    run(&world, &["restore"]).expect_code(0);
    for _ in 0..2 {
        run(&world, &["backup"]).expect_code(0);
    }
    let ran = simulate(&world, &[]).expect_code(0);
    assert!(ran.stdout.contains("nothing was deleted"), "{}", ran.stdout);
    assert!(ran.stdout.contains("3 points, 2 would stay and 1 would go"), "{}", ran.stdout);
    assert!(ran.stdout.contains("last proven of media"), "{}", ran.stdout);
    let today = &simulate(&world, &["--output", "json"]).expect_code(0).json()["today"];
    assert_eq!((ids(&today["keep"]).len(), ids(&today["delete"]).len()), (2, 1));
    assert_eq!(today["delete"][0]["why"], "media: no rule wants it");
    assert_eq!(points(&world), 3);
}

#[test]
fn a_location_that_cannot_be_read_leaves_the_answer_partial() {
    let world = World::new();
    project(&world, POLICY);
    run(&world, &["backup"]).expect_code(0);
    fs::write(world.path("password"), "another").unwrap();
    let ran = simulate(&world, &[]).expect_code(4);
    assert!(ran.stdout.contains("672") && ran.stdout.contains("R0116"), "{}", ran.stdout);
    assert!(ran.stdout.contains("no location could be looked at"), "{}", ran.stdout);
}

#[test]
fn row_051_a_policy_that_keeps_nothing_is_a_mistake_in_the_file() {
    let world = World::new();
    for (retain, code) in [
        ("retain = { daily = 0 }", "E0660"),
        ("retain = {}", "E0660"),
        ("retain = { max = \"7y\" }", "E0660"),
        ("retain = { all = \"8d\", max = \"7d\" }", "E0662"),
        ("retain = { dayly = 35 }", "E0102"),
        ("retain = { daily = -1 }", "E0104"),
        ("retain = { all = 7 }", "E0103"),
    ] {
        project(&world, retain);
        let ran = simulate(&world, &[]).expect_code(2);
        assert!(
            ran.stderr.contains(code) && ran.stderr.contains("recoup.toml:7"),
            "{retain}\n{}",
            ran.stderr
        );
    }
}

#[test]
fn row_051_a_policy_that_would_leave_only_what_is_pinned_is_refused() {
    let world = World::new();
    project(&world, "retain = { all = \"1s\" }");
    for _ in 0..2 {
        run(&world, &["backup"]).expect_code(0);
    }
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let ran = simulate(&world, &["--every", "1h"]).expect_code(5);
    assert!(ran.stdout.contains("E0661") && ran.stdout.contains("source media"), "{}", ran.stdout);
    assert_eq!(points(&world), 2);
}

#[test]
fn row_053_the_points_of_a_source_that_was_renamed_are_orphans_and_stay() {
    let world = World::new();
    project(&world, "retain = { min = 1 }");
    for _ in 0..2 {
        run(&world, &["backup"]).expect_code(0);
    }
    configure(&world, "", "uploads", "retain = { min = 1 }");
    for _ in 0..2 {
        run(&world, &["backup"]).expect_code(0);
    }
    let document = simulate(&world, &["--output", "json"]).expect_code(0).json();
    let today = &document["today"];
    assert_eq!(today["orphans"]["media"].as_array().unwrap().len(), 2, "{today:#}");
    assert_eq!(today["delete"].as_array().unwrap().len(), 1, "one of the new series");
    assert!(document["findings"].as_array().unwrap().iter().any(|f| f["id"] == "W0461"), "{document:#}");
}

#[test]
fn row_064_days_are_those_of_the_application_wherever_the_machine_stands() {
    let world = World::new();
    project(&world, POLICY);
    let zone = |host: &str| {
        let mut command = world.command();
        command.env("TZ", host).arg("-C").arg(world.path("project"));
        Ran::of(command.args(["retention", "simulate", "--output", "json"])).expect_code(0).json()["zone"]
            .clone()
    };
    for host in ["America/New_York", "Asia/Tokyo"] {
        assert_eq!(zone(host), "Europe/Berlin");
    }
    configure(&world, "", "media", POLICY);
    for host in ["America/New_York", "Asia/Tokyo"] {
        assert_eq!(zone(host), "UTC", "without a zone of the application it is never that of the machine");
    }
}
