use super::*;
use proptest::prelude::*;
use recoup_core::event::Silent;
use std::sync::Arc;

const PASSWORD: &str = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

/// With the randomness of the machine: that of the test kit is the same again and again.
fn real() -> Env {
    crate::env::real(Arc::new(Silent))
}

fn made(password: &str, split: Option<Split>) -> (KitId, Vec<Part>) {
    let kit = KitId::of([7, 1, 2, 3, 4, 5, 6, 0xff]);
    let parts = parts(&Secret::new(password.into()), kit, split, &real()).unwrap();
    (kit, parts)
}

fn text(password: &str) -> String {
    lines(&made(password, None).1[0]).to_string()
}

fn password_of(text: &str) -> Result<String> {
    let part = read(text, "secret.txt")?;
    let (_, password) = combine(&[("secret.txt".into(), part)])?;
    Ok(String::from_utf8(password.expose().to_vec()).unwrap())
}

fn line_of(error: &Error) -> Option<usize> {
    error.context().iter().find(|(what, _)| *what == "line").and_then(|(_, line)| line.parse().ok())
}

#[test]
fn a_password_becomes_five_short_lines_and_comes_back() {
    let text = text(PASSWORD);
    assert_eq!(text.lines().count(), 7, "{text}");
    assert!(text.lines().all(|l| l.len() <= 40), "{text}");
    assert_eq!(password_of(&text).unwrap(), PASSWORD);
    let sloppy =
        text.lines().map(|l| if l.starts_with('-') { l.into() } else { l.to_lowercase().replace('0', "o") });
    let sloppy: Vec<String> = sloppy
        .map(|l| {
            l.replacen("oo", "00", 1)
                .replacen("o1 ", "01 ", 1)
                .replacen("o2 ", "02 ", 1)
                .replacen("o3 ", "03 ", 1)
        })
        .collect();
    assert_eq!(password_of(&format!("something before\n{}\nafter", sloppy.join("\n\n"))).unwrap(), PASSWORD);
    for other in ["x", "correct horse battery staple", "ABCDEF", "abc", "äöü\t\n", &"y".repeat(256)] {
        assert_eq!(password_of(&super::tests::text(other)).unwrap(), other);
    }
    let long = parts(&Secret::new(vec![b'x'; 257]), made("x", None).0, None, &real()).err().unwrap();
    assert_eq!(long.stable_code(), Some("E0693"));
}

#[test]
fn lines_that_are_missing_doubled_or_of_another_part_are_told() {
    let text = text(PASSWORD);
    let all: Vec<&str> = text.lines().collect();
    let without = |n: usize| {
        let mut kept = all.clone();
        kept.remove(n);
        password_of(&kept.join("\n")).unwrap_err()
    };
    for (n, code) in [(0, "E0693"), (1, "E0690"), (2, "E0690"), (3, "E0690"), (4, "E0690"), (5, "E0690")] {
        let error = without(n);
        assert_eq!(error.stable_code(), Some(code), "line {n}: {error}");
    }
    let mut swapped = all.clone();
    swapped.swap(2, 3);
    let error = password_of(&swapped.join("\n")).unwrap_err();
    assert!(error.to_string().contains("stands where line 01"), "{error}");
    assert_eq!(line_of(&error), Some(3));

    let (_, parts) = made(PASSWORD, Some(Split { needed: 2, of: 3 }));
    let (one, two) = (lines(&parts[0]), lines(&parts[1]));
    let mut mixed: Vec<&str> = one.lines().collect();
    mixed[3] = two.lines().nth(3).unwrap();
    let error = read(&mixed.join("\n"), "mixed").err().unwrap();
    assert!(error.to_string().contains("line 02"), "{error}");
    assert_eq!(line_of(&error), Some(4));
}

#[test]
fn enough_parts_give_the_password_and_fewer_give_nothing() {
    let (kit, parts) = made(PASSWORD, Some(Split { needed: 2, of: 3 }));
    let named = |numbers: &[usize]| -> Vec<(String, Part)> {
        let again = |n: &usize| read(&lines(&parts[n - 1]), &format!("part {n}")).unwrap();
        numbers.iter().map(|n| (format!("secret-{n}-of-3.txt"), again(n))).collect()
    };
    for numbers in [&[1, 2][..], &[3, 1], &[2, 3], &[1, 2, 3], &[2, 2, 1]] {
        let (found, password) = combine(&named(numbers)).unwrap();
        assert_eq!((found, password.expose()), (kit, PASSWORD.as_bytes()));
    }
    for numbers in [&[1][..], &[3, 3], &[]] {
        assert_eq!(combine(&named(numbers)).err().unwrap().stable_code(), Some("E0692"));
    }
    // Parts of another kit, and of another split of this one, do not get in.
    let other = super::parts(
        &Secret::new(PASSWORD.into()),
        KitId::of([9; 8]),
        Some(Split { needed: 2, of: 3 }),
        &real(),
    );
    let mut mixed = named(&[1]);
    mixed.push(("other.txt".into(), other.unwrap()[1].clone()));
    let error = combine(&mixed).err().unwrap();
    assert!(error.to_string().contains(&KitId::of([9; 8]).to_string()), "{error}");
    mixed[1].1 = made(PASSWORD, Some(Split { needed: 2, of: 4 })).1[1].clone();
    assert!(combine(&mixed).err().unwrap().to_string().contains("split twice"));
    // The same numbers out of a second split: nothing but the proof inside can tell.
    mixed[1].1 = made(PASSWORD, Some(Split { needed: 2, of: 3 })).1[1].clone();
    assert_eq!(combine(&mixed).err().unwrap().stable_code(), Some("E0692"));
}

#[test]
fn fewer_parts_than_needed_say_nothing_of_the_password() {
    // With one part of two, every first byte of the secret is as likely as any other: over many splits the
    // first byte of a share takes all values, whatever the secret is.
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..4000 {
        let (_, parts) = made("x", Some(Split { needed: 2, of: 2 }));
        seen.insert(parts[0].shared.expose()[0]);
    }
    assert!(seen.len() > 250, "{}", seen.len());
}

#[test]
fn splits_are_read_as_they_are_written() {
    let read = |text: &str| text.parse::<Split>().ok().map(|s| (s.needed, s.of));
    assert_eq!(read("2/3"), Some((2, 3)));
    assert_eq!(read("16/16"), Some((16, 16)));
    for bad in ["1/3", "3/2", "2/17", "2", "2/", "two/three", "0/0", "-2/3"] {
        assert_eq!(read(bad), None, "{bad}");
    }
}

/// The characters that may stand for another: capitals, and digits that letters are read as.
fn other(c: char, by: usize) -> char {
    let all: Vec<char> = "0123456789ABCDEFGHJKMNPQRSTVWXYZ".chars().filter(|o| *o != c).collect();
    all[by % all.len()]
}

proptest! {
    #[test]
    fn one_wrong_character_is_named_with_its_line(at: usize, by: usize, split: bool) {
        let (_, parts) = made(PASSWORD, split.then_some(Split { needed: 2, of: 3 }));
        let text = lines(&parts[0]).to_string();
        let places: Vec<usize> = text
            .char_indices()
            .filter(|(i, c)| !c.is_whitespace() && !text[..*i].ends_with('-') && *c != '-')
            .filter(|(i, _)| !text[..*i].lines().next_back().is_some_and(|l| l.starts_with('-') && !text[..*i].ends_with('\n')))
            .map(|(i, _)| i)
            .collect();
        let at = places[at % places.len()];
        let line = text[..at].matches('\n').count() + 1;
        let mut wrong: Vec<char> = text.chars().collect();
        wrong[at] = other(wrong[at], by);
        let wrong: String = wrong.into_iter().collect();
        let error = read(&wrong, "secret.txt").err().expect("it is found");
        prop_assert_eq!(error.stable_code(), Some("E0690"));
        prop_assert_eq!(line_of(&error), Some(line), "{}", error);
    }

    #[test]
    fn two_swapped_neighbours_are_named_with_their_line(at: usize) {
        let text = text(PASSWORD);
        let chars: Vec<char> = text.chars().collect();
        let inside = |i: usize| !chars[..i].iter().collect::<String>().lines().next_back().is_some_and(|l| l.starts_with('-'));
        let places: Vec<usize> = (30..chars.len() - 28)
            .filter(|i| chars[*i] != chars[i + 1] && !chars[*i].is_whitespace() && !chars[i + 1].is_whitespace() && inside(*i))
            .collect();
        let at = places[at % places.len()];
        let mut wrong = chars.clone();
        wrong.swap(at, at + 1);
        let line = chars[..at].iter().filter(|c| **c == '\n').count() + 1;
        let wrong: String = wrong.into_iter().collect();
        let error = read(&wrong, "secret.txt").err().expect("it is found");
        prop_assert_eq!(line_of(&error), Some(line), "{}", error);
    }

    #[test]
    fn any_password_and_any_split_come_back(
        password in proptest::collection::vec(any::<u8>(), 1..120), needed in 2_u8..6, more in 0_u8..6, first: u8,
    ) {
        let split = Split { needed, of: needed + more };
        let kit = KitId::of([3; 8]);
        let parts = parts(&Secret::new(password.clone()), kit, Some(split), &real()).unwrap();
        let chosen: Vec<(String, Part)> = (0..needed)
            .map(|n| parts[usize::from((first % split.of + n) % split.of)].clone())
            .map(|p| (p.shown(), read(&lines(&p), "part").unwrap()))
            .collect();
        let (_, found) = combine(&chosen).unwrap();
        prop_assert_eq!(found.expose(), password.as_slice());
        prop_assert!(combine(&chosen[1..]).is_err());
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,300}") {
        let _ = read(&text, "f");
        let _ = read(&format!("{BEGIN}\n{text}\n{END}"), "f");
    }
}
