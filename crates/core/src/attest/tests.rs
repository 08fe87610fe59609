use super::*;
use crate::crypto::SEED_BYTES;
use proptest::prelude::*;
use std::collections::BTreeSet;

const REPOSITORY: &str = "ab12";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; SEED_BYTES], "").unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A chain of so many statements about points `p1`, `p2`, …, one a minute.
fn chain(seed: u8, length: u64) -> Vec<Sealed> {
    let mut all: Vec<Sealed> = Vec::new();
    for sequence in 1..=length {
        let source = SourceStatement {
            name: "db".into(),
            snapshot: format!("s{sequence}"),
            tree: format!("t{sequence}"),
            bytes: 1,
            files: 1,
            position: None,
        };
        let time = at(60 * i64::try_from(sequence).unwrap());
        let statement = Statement::Point(Box::new(PointStatement {
            point: format!("p{sequence}"),
            time,
            result: Outcome::Pass,
            suspect: Vec::new(),
            sources: vec![source],
        }));
        all.push(next(seed, &all, time, statement));
    }
    all
}

fn next(seed: u8, before: &[Sealed], time: Timestamp, statement: Statement) -> Sealed {
    let attestation = Attestation {
        schema: Attestation::schema(),
        application: "shop".into(),
        repository: REPOSITORY.into(),
        signer: key(seed).signer().name(),
        host: "web-1".into(),
        location: "local".into(),
        sequence: before.last().map_or(0, |s| s.attestation.sequence) + 1,
        previous: before.last().map(Sealed::hash),
        time,
        tool: "recoup test".into(),
        configuration: None,
        statement,
    };
    attestation.seal(&key(seed)).unwrap()
}

fn judged(found: &[Sealed], copies: &[Sealed], seen: &[Sealed]) -> Judgement {
    let seen: Heads = seen.last().map(|s| (s.attestation.signer.clone(), s.head())).into_iter().collect();
    let held = BTreeMap::new();
    judge(found, &Known { copies, seen: &seen, ..known(&Heads::new(), &held) })
}

fn known<'a>(seen: &'a Heads, held: &'a BTreeMap<String, u64>) -> Known<'a> {
    Known { application: "shop", repository: REPOSITORY, location: "local", copies: &[], seen, held }
}

fn signer() -> String {
    key(1).signer().name()
}

#[test]
fn a_whole_chain_answers_for_its_points() {
    let chain = chain(1, 3);
    let judgement = judged(&chain, &chain, &chain);
    assert_eq!(judgement.troubles, []);
    assert_eq!(judgement.heads[&signer()].sequence, 3);
    let trees = |tree: &str| BTreeMap::from([("db".to_owned(), tree.to_owned())]);
    assert!(judgement.attests("p2", &trees("t2")));
    assert!(!judgement.attests("p2", &trees("t3")), "another tree under the name of a point");
    assert!(!judgement.attests("p4", &trees("t4")));
    let missing = |judgement: &Judgement| -> Vec<(String, u64)> {
        let present = BTreeSet::from(["p1", "p2"]);
        let missing = judgement.missing(&present).map(|(id, s)| (id.to_owned(), s.sequence));
        missing.collect()
    };
    assert_eq!(missing(&judgement), [("p3".to_owned(), 3)]);
    // Another location may not have it yet; once it had, it must have it.
    let (seen, mut held) = (Heads::new(), BTreeMap::new());
    assert_eq!(missing(&judge(&chain, &Known { location: "far", ..known(&seen, &held) })), []);
    held.insert(signer(), 3);
    let far = judge(&chain, &Known { location: "far", ..known(&seen, &held) });
    assert_eq!(missing(&far), [("p3".to_owned(), 3)]);
}

#[test]
fn what_is_gone_with_a_reason_is_not_missed() {
    let mut all = chain(1, 2);
    let deletion =
        Statement::Deletion { points: vec!["p1".into()], plans: vec!["h".into()], by: "lee".into() };
    all.push(next(1, &all, at(300), deletion));
    let loss = Statement::Loss { points: vec!["p2".into()], reason: "disk".into(), by: "lee".into() };
    all.push(next(1, &all, at(400), loss));
    assert_eq!(judged(&all, &[], &[]).missing(&BTreeSet::new()).count(), 0);
}

#[test]
fn holds_end_when_they_are_released_whatever_the_clock_says() {
    let mut all = chain(1, 1);
    let hold = Statement::Hold { point: "p1".into(), reason: "audit".into(), by: "lee".into() };
    all.push(next(1, &all, at(900), hold.clone()));
    assert_eq!(judged(&all, &[], &[]).holds["p1"][0].reason, "audit");
    // The clock of the host was set back.
    let release = Statement::Release { point: "p1".into(), reason: "over".into(), by: "lee".into() };
    all.push(next(1, &all, at(100), release));
    assert!(judged(&all, &[], &[]).holds.is_empty());
    all.push(next(1, &all, at(200), hold));
    assert_eq!(judged(&all, &[], &[]).holds.len(), 1);
}

#[test]
fn a_planned_deletion_is_undone_or_done_and_never_both() {
    let mut all = chain(1, 3);
    let plan = |points: &[&str], plan: &str| Statement::Planned {
        points: points.iter().map(|&p| p.into()).collect(),
        plan: plan.into(),
        policies: "{}".into(),
        due: at(2000),
        by: "lee".into(),
    };
    all.push(next(1, &all, at(1000), plan(&["p1", "p2"], "aa")));
    all.push(next(1, &all, at(1001), plan(&["p3"], "bb")));
    let judgement = judged(&all, &[], &[]);
    assert_eq!(judgement.planned.len(), 2);
    assert_eq!((judgement.planned["aa"].due, judgement.policies.as_deref()), (at(2000), Some("{}")));
    let undone = Statement::Undone { plan: "bb".into(), reason: "no".into(), by: "sam".into() };
    all.push(next(1, &all, at(1002), undone));
    let deletion =
        Statement::Deletion { points: vec!["p1".into()], plans: vec!["aa".into()], by: "lee".into() };
    all.push(next(1, &all, at(2001), deletion));
    let judgement = judged(&all, &[], &[]);
    assert_eq!(judgement.planned["aa"].points, BTreeSet::from(["p2".to_owned()]), "one is still to go");
    assert!(!judgement.planned.contains_key("bb"));
    assert_eq!(judgement.holds["p3"][0].reason, "no");
    assert_eq!(judgement.gone, BTreeSet::from(["p1".to_owned()]));
}

/// A hold that was signed at one location holds at another that never heard of it.
#[test]
fn what_this_machine_knows_counts_at_every_location() {
    let mut all = chain(1, 2);
    let hold = Statement::Hold { point: "p1".into(), reason: "audit".into(), by: "lee".into() };
    all.push(next(1, &all, at(900), hold));
    let judgement = judged(&all[..2], &all, &all[..2]);
    assert_eq!((judgement.troubles.len(), judgement.holds["p1"].len()), (0, 1));
}

#[test]
fn two_statements_with_one_number_are_a_fork() {
    let ours = chain(1, 3);
    let mut theirs = chain(1, 2);
    let begin = Statement::Begin { points: BTreeMap::new() };
    theirs.push(next(1, &theirs, at(500), begin));
    let both = [ours.clone(), theirs[2..].to_vec()].concat();
    assert_eq!(judged(&both, &[], &[]).troubles, [Trouble::Forked { signer: signer(), sequence: 3 }]);
    // Only the other one is there now.
    let rewritten = judged(&theirs, &ours, &ours);
    assert_eq!(rewritten.troubles, [Trouble::Rewritten { signer: signer(), sequence: 3 }]);
}

#[test]
fn another_repository_is_told_apart() {
    let chain = chain(1, 1);
    let (seen, held) = (Heads::new(), BTreeMap::new());
    let judgement = judge(&chain, &Known { repository: "cd34", ..known(&seen, &held) });
    assert_eq!(judgement.troubles, [Trouble::Elsewhere { signer: signer(), sequence: 1 }]);
    assert!(judgement.points.is_empty());
}

#[test]
fn only_what_is_signed_by_the_trusted_is_opened() {
    let sealed = &chain(1, 1)[0];
    let open = |text: &str, signature: &str, seed| {
        let opened = Sealed::open(text.as_bytes(), signature.as_bytes(), &key(seed).signer());
        opened.map_err(|e| e.stable_code())
    };
    assert_eq!(open(&sealed.text, &sealed.signature, 1).as_ref(), Ok(sealed));
    assert_eq!(open(&sealed.text, &sealed.signature, 2), Err(Some("E0670")));
    assert_eq!(open("{", &sealed.signature, 1), Err(Some("E0670")));
    // Signed, and by the right key, but it is no text that we write.
    let spaced = sealed.text.replacen(':', ": ", 1);
    let signature = key(1).sign(NAMESPACE, spaced.as_bytes()).unwrap();
    assert_eq!(open(&spaced, &signature, 1), Err(Some("E0670")));
    let newer = sealed.text.replace("attestation/1", "attestation/9");
    let signature = key(1).sign(NAMESPACE, newer.as_bytes()).unwrap();
    assert_eq!(open(&newer, &signature, 1), Err(Some("E0671")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever part of a history that was seen is taken away, it is noticed, and what is stated stays stated.
    #[test]
    fn nothing_that_was_seen_goes_unnoticed(length in 1_u64..8, gone in prop::collection::btree_set(1_u64..8, 1..8)) {
        let all = chain(1, length);
        let found: Vec<Sealed> =
            all.iter().filter(|s| !gone.contains(&s.attestation.sequence)).cloned().collect();
        let judgement = judged(&found, &all, &all);
        prop_assert_eq!(judgement.troubles.is_empty(), found.len() == all.len());
        prop_assert_eq!(judgement.points.len(), all.len());
        let last = found.last().map_or(0, |s| s.attestation.sequence);
        let backwards = Trouble::Backwards { signer: signer(), expected: length, found: last };
        prop_assert_eq!(judgement.troubles.contains(&backwards), last < length);
    }

    /// A changed byte of the text or of the signature is never opened as something else.
    #[test]
    fn no_changed_byte_is_believed(place in 0_usize..10_000, bit in 0_u8..8) {
        let sealed = &chain(1, 1)[0];
        let mut text = sealed.text.clone().into_bytes();
        let mut signature = sealed.signature.clone().into_bytes();
        let place = place % (text.len() + signature.len());
        let (changed, at) = if place < text.len() { (&mut text, place) } else { (&mut signature, place - sealed.text.len()) };
        changed[at] ^= 1 << bit;
        if let Ok(opened) = Sealed::open(&text, &signature, &key(1).signer()) {
            // A line end in the armour may be written in two ways.
            prop_assert_eq!(&opened.text, &sealed.text);
        }
    }
}
