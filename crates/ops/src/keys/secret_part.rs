//! The secret part of a kit: the password, or one part of it, as lines that are typed from paper. It never
//! goes anywhere by itself, and no error shows any of it.
//!
//! A line is its number, up to twenty symbols in groups of five, and three check symbols that cover the number
//! too. Line 00 says which kit, which part of how many, and how many are needed; line 99 is a check over all.
//! What is shared is one byte for the form, the password, and four bytes that only the right password has.

use super::names::{KitId, Split};
use super::shares;
use super::symbols::{self, CHECKS, Verdict};
use recoup_core::env::Env;
use recoup_core::secret::Secret;
use recoup_core::{Error, Kind, Result};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Longest password that is put on paper, in bytes: 21 lines to type.
const PASSWORD_BYTES_MAX: usize = 256;

const BEGIN: &str = "-----BEGIN RECOUP SECRET-----";
const END: &str = "-----END RECOUP SECRET-----";
/// Version of these lines.
const VERSION: u8 = 1;
/// Symbols of a line, without its checks.
const LINE: usize = 20;
/// Number of the last line.
const LAST: u8 = 99;
/// Symbols of the check over all lines: 65 bits.
const WHOLE: usize = 13;
/// Bytes in what is shared that only the right password has.
const PROOF_BYTES: usize = 4;
/// The password follows as it is.
const PLAIN: u8 = 0;
/// The password is the hexadecimal text of the bytes that follow, which halves what must be typed.
const HEX: u8 = 1;

/// One part: all of the password, or a share of it.
#[derive(Clone)]
pub struct Part {
    /// The kit it belongs to.
    pub kit: KitId,
    /// How many parts give the password: 1 if this is all of it.
    pub needed: u8,
    /// How many parts there are.
    pub of: u8,
    /// Which one this is, from 1.
    pub number: u8,
    shared: Secret,
}

impl Part {
    /// As in `part 1 of 3`.
    pub fn shown(&self) -> String {
        format!("part {} of {}", self.number, self.of)
    }
}

/// The parts of `password` for the kit `kit`: one, or as many as `split` says.
///
/// # Errors
/// `Kind::Refused` `E0693` if the password is too long for paper.
pub fn parts(password: &Secret, kit: KitId, split: Option<Split>, env: &Env) -> Result<Vec<Part>> {
    let bytes = password.expose();
    if bytes.len() > PASSWORD_BYTES_MAX {
        let why = format!("put the password on paper: it has more than {PASSWORD_BYTES_MAX} bytes");
        return Err(Error::new(Kind::Refused, why).code("E0693").effect("nothing was written"));
    }
    let shared = shared(bytes, kit);
    let Some(Split { needed, of }) = split else {
        return Ok(vec![Part { kit, needed: 1, of: 1, number: 1, shared }]);
    };
    let made = shares::split(&shared, needed, of, env);
    Ok(made.into_iter().map(|(number, shared)| Part { kit, needed, of, number, shared }).collect())
}

fn shared(password: &[u8], kit: KitId) -> Secret {
    let is_hex = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let unhexed =
        if !password.is_empty() && password.iter().all(is_hex) { hex::decode(password).ok() } else { None };
    let mut bytes = Vec::with_capacity(1 + password.len() + PROOF_BYTES);
    match unhexed.map(Zeroizing::new) {
        Some(raw) => {
            bytes.push(HEX);
            bytes.extend_from_slice(&raw);
        }
        None => {
            bytes.push(PLAIN);
            bytes.extend_from_slice(password);
        }
    }
    let proof = proof(kit, &bytes);
    bytes.extend_from_slice(&proof);
    Secret::new(bytes)
}

fn proof(kit: KitId, bytes: &[u8]) -> [u8; PROOF_BYTES] {
    let sum = Sha256::new()
        .chain_update(b"recoup secret part, 1")
        .chain_update(kit.bytes())
        .chain_update(bytes)
        .finalize();
    let mut proof = [0; PROOF_BYTES];
    proof.copy_from_slice(&sum[..PROOF_BYTES]);
    proof
}

/// The lines of a part, from the first mark to the last.
pub(super) fn lines(part: &Part) -> Zeroizing<String> {
    let mut head = Zeroizing::new(vec![VERSION]);
    head.extend_from_slice(part.kit.bytes());
    head.extend_from_slice(&[part.needed, part.of, part.number]);
    let head = symbols::from_bytes(&head);
    let body = symbols::from_bytes(part.shared.expose());
    let mut out = Zeroizing::new(format!("{BEGIN}\n"));
    line(&mut out, 0, part.number, &head);
    for (number, piece) in (1..LAST).zip(body.chunks(LINE)) {
        line(&mut out, number, part.number, piece);
    }
    line(&mut out, LAST, part.number, &whole(&head, &body));
    out.push_str(END);
    out.push('\n');
    out
}

fn line(out: &mut Zeroizing<String>, number: u8, part: u8, values: &[u8]) {
    let checks = symbols::checks(&word(number, part, values));
    out.push_str(&format!("{number:02} "));
    for group in values.chunks(5) {
        out.push(' ');
        out.push_str(&symbols::text(group));
    }
    out.push_str("  ");
    out.push_str(&symbols::text(&checks));
    out.push('\n');
}

/// What the checks of a line cover: its number and that of its part stand before what is seen. Line 00 says
/// which part it is, so that its checks cannot depend on it.
fn word(number: u8, part: u8, values: &[u8]) -> Zeroizing<Vec<u8>> {
    let part = if number == 0 { 0 } else { part };
    let mut word = Zeroizing::new(vec![number % 32, part % 32]);
    word.extend_from_slice(values);
    word
}

/// Symbols before those that are seen on paper.
const UNSEEN: usize = 2;

fn whole(head: &[u8], body: &[u8]) -> Zeroizing<Vec<u8>> {
    let sum = Sha256::new()
        .chain_update(b"recoup secret lines, 1")
        .chain_update(head)
        .chain_update(body)
        .finalize();
    let mut values = symbols::from_bytes(&sum);
    values.truncate(WHOLE);
    values
}

/// Reads the lines of a part out of `text`; `file` names it in errors.
///
/// # Errors
/// `Kind::Config` `E0693` if there are none, or of a newer version; `E0690` with file and line, and the place
/// of the wrong symbol if it is one.
pub fn read(text: &str, file: &str) -> Result<Part> {
    let nothing = |why: &str| {
        Error::new(Kind::Config, format!("read a secret part: {why}")).with("file", file).code("E0693")
    };
    let mut lines = text.lines().zip(1_usize..).skip_while(|(line, _)| line.trim() != BEGIN).skip(1);
    let mut reader =
        Reader { file, part: 0, head: Zeroizing::default(), body: Zeroizing::default(), next: 0 };
    loop {
        let Some((line, at)) = lines.next() else {
            let why = if reader.next == 0 { "the file has none" } else { "it breaks off before its end" };
            return Err(nothing(why));
        };
        if line.trim().is_empty() {
            continue;
        }
        if reader.take(line, at)? {
            break;
        }
    }
    let head = symbols::to_bytes(&reader.head).ok_or_else(|| nothing("line 00 is none of ours"))?;
    let [VERSION, kit @ .., needed, of, number] = head.as_slice() else {
        return Err(nothing("a newer recoup wrote it"));
    };
    let mut id = [0; 8];
    id.copy_from_slice(kit.get(..8).ok_or_else(|| nothing("line 00 is none of ours"))?);
    let shared = symbols::to_bytes(&reader.body).ok_or_else(|| nothing("its lines are not whole"))?;
    if *needed == 0 || needed > of || *number == 0 || number > of {
        return Err(nothing("line 00 is none of ours"));
    }
    Ok(Part {
        kit: KitId::of(id),
        needed: *needed,
        of: *of,
        number: *number,
        shared: Secret::new(shared.to_vec()),
    })
}

struct Reader<'a> {
    file: &'a str,
    part: u8,
    head: Zeroizing<Vec<u8>>,
    body: Zeroizing<Vec<u8>>,
    /// Number of the line that comes next.
    next: u8,
}

impl Reader<'_> {
    /// Takes one line; says whether it was the last.
    fn take(&mut self, line: &str, at: usize) -> Result<bool> {
        let file = self.file;
        let wrong = |why: String| {
            Error::new(Kind::Config, format!("read a secret part: {why}"))
                .with("file", file)
                .with("line", at)
                .code("E0690")
                .hint("compare this line with the paper")
        };
        let mut words = line.split_whitespace();
        let number = words.next().and_then(|n| (n.len() == 2).then(|| n.parse::<u8>().ok()).flatten());
        let number =
            number.ok_or_else(|| wrong("the line does not begin with its number of two digits".into()))?;
        let mut values = Zeroizing::new(Vec::with_capacity(LINE + CHECKS));
        for (symbol, place) in words.flat_map(str::chars).filter(|c| *c != '-').zip(1_usize..) {
            let value = symbols::value(symbol).ok_or_else(|| {
                wrong(format!(
                    "line {number:02}: character {place} is none that is used here (no U, no signs)"
                ))
            })?;
            values.push(value);
        }
        let long = match number {
            0 => values.len() == LINE + CHECKS,
            LAST => values.len() == WHOLE + CHECKS,
            _ => (CHECKS + 1..=LINE + CHECKS).contains(&values.len()),
        };
        if !long {
            let count = values.len();
            return Err(wrong(format!(
                "line {number:02} has {count} characters, which are too many or too few"
            )));
        }
        self.judged(number, &values).map_err(wrong)?;
        let kept = values.len() - CHECKS;
        values.truncate(kept);
        self.kept(number, values).map_err(wrong)
    }

    /// Whether the checks of a line hold.
    fn judged(&self, number: u8, values: &[u8]) -> std::result::Result<(), String> {
        match symbols::judge(&word(number, self.part, values)) {
            Verdict::Whole => return Ok(()),
            Verdict::One(place) if place >= UNSEEN => {
                return Err(format!("line {number:02}: character {} is wrong", place - UNSEEN + 1));
            }
            Verdict::Swapped(place) if place >= UNSEEN => {
                let first = place - UNSEEN + 1;
                return Err(format!("line {number:02}: characters {first} and {} are swapped", first + 1));
            }
            _ => {}
        }
        let meant = [self.next, LAST]
            .into_iter()
            .find(|other| symbols::judge(&word(*other, self.part, values)) == Verdict::Whole);
        Err(match meant {
            Some(meant) => format!("line {number:02}: its number is wrong, it is line {meant:02}"),
            None => format!("line {number:02}: several characters are wrong, or it is of another part"),
        })
    }

    fn kept(&mut self, number: u8, mut values: Zeroizing<Vec<u8>>) -> std::result::Result<bool, String> {
        if number == LAST && self.next > 1 {
            return match *values == *whole(&self.head, &self.body) {
                true => Ok(true),
                false => Err(format!(
                    "line {LAST}: the lines before it are not all of this part; one is missing, short, or of another"
                )),
            };
        }
        if number != self.next {
            return Err(format!("line {number:02} stands where line {:02} should be", self.next));
        }
        if number > 1 && !self.body.len().is_multiple_of(LINE) {
            return Err(format!("line {:02} is too short, or line {number:02} is too much", number - 1));
        }
        if number == 0 {
            self.part = symbols::to_bytes(&values).and_then(|head| head.last().copied()).unwrap_or(0);
            self.head = values;
        } else {
            self.body.append(&mut values);
        }
        self.next += 1;
        Ok(false)
    }
}

/// The kit and the password that `parts`, with the names of their files, give together.
///
/// # Errors
/// `Kind::Config` `E0692` if they are of different kits, too few, or do not fit together.
pub fn combine(parts: &[(String, Part)]) -> Result<(KitId, Secret)> {
    let bad =
        |why: String| Error::new(Kind::Config, format!("put the secret parts together: {why}")).code("E0692");
    let Some((first_file, first)) = parts.first() else {
        return Err(bad("there is none".into()));
    };
    for (file, part) in parts {
        if part.kit != first.kit {
            return Err(bad(format!("{file} is of kit {}, {first_file} of kit {}", part.kit, first.kit)));
        }
        if (part.needed, part.of) != (first.needed, first.of) {
            return Err(bad(format!(
                "{file} is one of {}, {first_file} one of {}: the password was split twice",
                part.of, first.of
            )));
        }
    }
    let mut distinct: Vec<&Part> = Vec::new();
    for (_, part) in parts {
        match distinct.iter().find(|other| other.number == part.number) {
            Some(other) if other.shared.expose() != part.shared.expose() => {
                return Err(bad(format!("there are two of {}, and they differ", part.shown())));
            }
            Some(_) => {}
            None => distinct.push(part),
        }
    }
    let (have, needed) = (distinct.len(), first.needed);
    if have < usize::from(needed) {
        let shown: Vec<String> = distinct.iter().map(|p| p.number.to_string()).collect();
        return Err(bad(format!("{needed} different parts are needed, {have} given ({})", shown.join(", "))));
    }
    let shared = match needed {
        1 => first.shared.clone(),
        _ => {
            let shares: Vec<(u8, &Secret)> = distinct.iter().map(|p| (p.number, &p.shared)).collect();
            shares::combine(&shares, needed).map_err(|why| bad(why.to_owned()))?
        }
    };
    let password = password(shared.expose(), first.kit)
        .ok_or_else(|| bad("they do not give a password of this kit".to_owned()))?;
    Ok((first.kit, password))
}

fn password(shared: &[u8], kit: KitId) -> Option<Secret> {
    let (bytes, found) = shared.split_at_checked(shared.len().checked_sub(PROOF_BYTES)?)?;
    if found != proof(kit, bytes) {
        return None;
    }
    match bytes.split_first()? {
        (&PLAIN, rest) => Some(Secret::new(rest.to_vec())),
        (&HEX, rest) => Some(Secret::new(hex::encode(rest).into_bytes())),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
