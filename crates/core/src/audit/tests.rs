use super::words::{Code, Fault, Hex, Name, Reason};
use super::*;
use crate::crypto::tree::Tree;
use crate::crypto::{SEED_BYTES, Signer, SigningKey};
use crate::event::Outcome;
use crate::{Error, Kind};
use jiff::Timestamp;
use proptest::prelude::*;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; SEED_BYTES], "recoup shop").unwrap()
}

fn signer() -> Signer {
    key(1).signer()
}

fn end() -> End {
    End { origin: Name::of("recoup/audit/shop/web-1"), tree: Tree::default() }
}

fn record(number: u64) -> Record {
    Record {
        schema: SCHEMA.to_owned(),
        log: end().origin,
        number,
        time: Timestamp::from_second(1_795_000_000 + i64::try_from(number).unwrap()).unwrap(),
        monotonic_ms: number * 1000,
        boot: None,
        actor: Name::of("deploy@web-1"),
        uid: 1000,
        host: Name::of("web-1"),
        application: Name::of("shop"),
        event: Event::Backup,
        phase: None,
        of: None,
        run: Some(Name::of("B20261122-083107-5c7e")),
        outcome: Some(Outcome::Pass),
        configuration: Hex::of("ab12"),
        details: Details { sources: vec![Name::of("db")], ..Details::default() },
    }
}

/// A log whose records are sealed with these keys.
fn log(keys: &[Option<u8>]) -> Vec<String> {
    let mut end = end();
    let seal = |key_of: &Option<u8>| end.append(&record(end.next()), key_of.map(key).as_ref()).unwrap();
    keys.iter().map(seal).collect()
}

fn signed(records: usize) -> Vec<String> {
    log(&vec![Some(1); records])
}

fn checked(lines: &[String]) -> Verdict {
    verify(lines.concat().as_bytes(), &[signer()])
}

fn wrong(lines: &[String]) -> Wrong {
    checked(lines).wrong.expect("something is wrong")
}

#[test]
fn a_log_that_nobody_touched_holds() {
    let verdict = checked(&signed(9));
    assert_eq!((verdict.records, verdict.signed, verdict.wrong), (9, 9, None));
    assert_eq!(verdict.head.map(|head| head.size), Some(9));
    assert_eq!(verdict.signers, [signer()]);
    assert_eq!(checked(&[]), Verdict::default());
    let line = Line::parse(signed(1)[0].trim_end().as_bytes()).unwrap();
    assert_eq!(line.record(), Some(record(1)));
}

#[test]
fn what_was_dropped_swapped_repeated_or_put_in_is_named() {
    let all = signed(6);
    let without = |range: std::ops::Range<usize>| [&all[..range.start], &all[range.end..]].concat();
    assert_eq!(wrong(&without(2..3)), Wrong::Missing { from: 3, to: 3 });
    assert_eq!(wrong(&without(0..4)), Wrong::Missing { from: 1, to: 4 });
    let mut swapped = all.clone();
    swapped.swap(1, 2);
    assert_eq!(wrong(&swapped), Wrong::Moved { number: 3, place: 2 });
    let repeated = [&all[..3], &all[1..]].concat();
    assert_eq!(wrong(&repeated), Wrong::Added { after: 3 });
    let mut other = end();
    other.origin = Name::of("recoup/audit/blog/web-1");
    let theirs = Record { log: other.origin.clone(), ..record(1) };
    let foreign = [vec![other.append(&theirs, Some(&key(1))).unwrap()], all.clone()].concat();
    assert_eq!(wrong(&foreign), Wrong::Changed { number: 2 });
    let cut = [all.concat()[..all.concat().len() - 1].to_owned()];
    assert_eq!(wrong(&cut), Wrong::CutOff { number: 6 });
    assert_eq!(checked(&cut).records, 5);
}

#[test]
fn a_log_that_was_written_anew_needs_the_key() {
    // All of it, with another key.
    assert_eq!(wrong(&log(&[Some(2); 4])), Wrong::Stranger { number: 1 });
    // Its end, with another key and with none.
    assert_eq!(wrong(&log(&[Some(1), Some(1), Some(2)])), Wrong::Stranger { number: 3 });
    let unsigned = checked(&log(&[Some(1), Some(1), None, None]));
    assert_eq!((unsigned.records, unsigned.signed, unsigned.wrong), (4, 2, None));
    // Without any public key the signatures say nothing.
    let unchecked = verify(signed(3).concat().as_bytes(), &[]);
    assert_eq!((unchecked.records, unchecked.signed, unchecked.wrong), (3, 0, None));
}

#[test]
fn the_first_signature_answers_for_all_before_it() {
    let mut all = log(&[None, None, None, Some(1), Some(1)]);
    assert_eq!((checked(&all).signed, checked(&all).wrong), (5, None));
    assert_eq!(checked(&all).late, [Late { from: 1, to: 3 }], "and is no word for what they were before");
    // The unsigned part is written anew, checkpoints and all.
    let mut end = end();
    for line in &mut all[..3] {
        let forged = Record { uid: 0, ..record(end.next()) };
        *line = end.append(&forged, None).unwrap();
    }
    assert_eq!(wrong(&all), Wrong::Between { from: 1, to: 4 });
}

#[test]
fn keys_may_change_on_the_way() {
    let all = log(&[Some(1), Some(1), Some(2)]).concat();
    let verdict = verify(all.as_bytes(), &[key(2).signer(), signer()]);
    assert_eq!((verdict.wrong, verdict.signers), (None, vec![signer(), key(2).signer()]));
}

#[test]
fn a_log_is_compared_with_its_copy() {
    let all = signed(5).concat();
    let beginning = signed(3).concat();
    let of = |log: &str, copy: &str, held| compare(log.as_bytes(), copy.as_bytes(), held);
    assert_eq!(of(&all, &all, [5, 5]), Compared::Same);
    assert_eq!(of(&all, &beginning, [5, 3]), Compared::Behind { records: 2 });
    assert_eq!(of(&beginning, &all, [3, 5]), Compared::Truncated { after: 3, copy: 5 });
    let other = log(&[Some(1), Some(1), Some(2), Some(2)]).concat();
    assert_eq!(of(&other, &all, [4, 5]), Compared::Rewritten { from: 3 });
}

#[test]
fn a_record_has_room_for_names_and_codes_only() {
    assert_eq!(Name::of("shop/db").as_str(), "shop/db");
    assert_eq!(Name::of("a b\n\u{202e}\"").as_str(), "a_b___");
    assert_eq!(Name::of(&"x".repeat(500)).as_str().len(), 128);
    assert_eq!(
        (Hex::of("ab12").is_some(), Hex::of("AB"), Hex::of("pass"), Hex::of("")),
        (true, None, None, None)
    );
    assert_eq!(Hex::of(&"a".repeat(65)), None);
    assert_eq!((Code::of("E0611").is_some(), Code::of("hello"), Code::of("E9999")), (true, None, None));
    assert_eq!(Reason::of(" disk\nfull ").as_str(), "disk\\nfull");
    assert_eq!(Reason::of(&"x".repeat(500)).as_str().len(), 200);
    let error = Error::new(Kind::Refused, "canary").with("password", "canary").code("E0611");
    let kept = serde_json::to_string(&Fault::of(&error)).unwrap();
    assert_eq!(kept, r#"{"kind":"refused","code":"E0611"}"#);
    // Nor can they be read back with more than that.
    let text = serde_json::to_value(record(1)).unwrap();
    for (field, value) in [("host", "two words"), ("configuration", "secret"), ("event", "chat")] {
        let mut changed = text.clone();
        changed[field] = value.into();
        assert!(serde_json::from_value::<Record>(changed).is_err(), "{field}");
    }
    let mut more = text;
    more["details"]["note"] = "anything".into();
    assert!(serde_json::from_value::<Record>(more).is_err());
}

#[test]
fn a_record_follows_the_one_before_it() {
    let mut end = end();
    assert_eq!(end.append(&record(2), None).unwrap_err().kind(), Kind::Bug);
    let elsewhere = Record { log: Name::of("recoup/audit/blog/web-1"), ..record(1) };
    assert_eq!(end.append(&elsewhere, None).unwrap_err().kind(), Kind::Bug);
    end.append(&record(1), None).unwrap();
    assert_eq!(end.next(), 2);
}

#[test]
fn every_event_has_its_word() {
    for event in Event::ALL {
        assert_eq!(serde_json::to_value(event).unwrap(), event.word());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whichever byte of whichever record is changed, that record is named: in a signed log and in one that
    /// nobody signed.
    #[test]
    fn row_170_a_changed_byte_is_named_with_its_record(
        is_signed in any::<bool>(), length in 1_usize..7, place in any::<prop::sample::Index>(), bit in 0_u8..8,
    ) {
        let lines = log(&vec![is_signed.then_some(1); length]);
        let mut bytes = lines.concat().into_bytes();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        let mut number = 1;
        for line in &lines[..length - 1] {
            let starts: usize = lines[..number].iter().map(String::len).sum();
            number += usize::from(place >= starts && !line.is_empty());
        }
        let verdict = verify(&bytes, &[signer()]);
        let named = verdict.wrong.as_ref().map(Wrong::number);
        prop_assert_eq!(named, Some(number as u64), "{:?} at {}", verdict.wrong, place);
        prop_assert_eq!(verdict.records, number as u64 - 1);
    }

    #[test]
    fn nonsense_is_no_log(mut bytes in prop::collection::vec(any::<u8>(), 1..300), is_line in any::<bool>()) {
        if is_line {
            bytes.push(b'\n');
        }
        let verdict = verify(&bytes, &[signer()]);
        prop_assert_eq!((verdict.records, verdict.wrong.is_some()), (0, true));
    }

    /// Any other list of the same lines is told from the log, and the first difference is named. That the
    /// end is missing only the copy can tell.
    #[test]
    fn row_170_records_that_are_dropped_repeated_or_reordered_are_named(
        order in prop::collection::vec(0_usize..6, 0..9),
    ) {
        let all = signed(6);
        let found: Vec<String> = order.iter().map(|at| all[*at].clone()).collect();
        let held = order.iter().enumerate().take_while(|(at, line)| at == *line).count() as u64;
        let verdict = checked(&found);
        prop_assert_eq!(verdict.records, held);
        prop_assert_eq!(verdict.wrong.as_ref().map(Wrong::number), (held < order.len() as u64).then_some(held + 1));
        let compared = compare(found.concat().as_bytes(), all.concat().as_bytes(), [held, 6]);
        let expected = if held == 6 { Compared::Same } else { Compared::Truncated { after: held, copy: 6 } };
        prop_assert_eq!(compared, expected);
    }
}
