//! What answers inside a sandbox in place of the world: names, and mail servers that take everything
//! and keep nothing.

use super::spec::Mail;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Ports at which mail is handed over.
pub(super) const MAIL_PORTS: [u16; 5] = [25, 465, 587, 1025, 2525];
/// Names that get an address of their own: 198.51.100.0/24 and 198.18.0.0/15 are for documentation
/// and tests (RFC 5737, RFC 2544), so none of them means anybody.
const NAMES_MAX: usize = 60_000;
const PACKET_BYTES_MAX: usize = 1500;
const LINE_BYTES_MAX: u64 = 64 << 10;
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Name of the machine inside.
pub(super) const HOSTNAME: &str = "drill";

/// The two sinks and what they saw.
#[derive(Clone, Default)]
pub(super) struct Sinks(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    names: BTreeMap<String, (Ipv4Addr, u64)>,
    mail: BTreeMap<(IpAddr, u16), [u64; 3]>,
}

const CONNECTIONS: usize = 0;
const MESSAGES: usize = 1;
const RECIPIENTS: usize = 2;

impl Sinks {
    /// Starts both. A port that is taken is left out: the packet watch sees it all the same.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub(super) fn start() -> io::Result<Self> {
        let sinks = Sinks::default();
        if let Ok(socket) = UdpSocket::bind("[::]:53").or_else(|_| UdpSocket::bind("0.0.0.0:53")) {
            let copy = sinks.clone();
            thread::Builder::new().name("names".into()).spawn(move || copy.answer_names(&socket))?;
        }
        for port in MAIL_PORTS {
            let Ok(listener) =
                TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))
            else {
                continue;
            };
            let copy = sinks.clone();
            thread::Builder::new().name("mail".into()).spawn(move || copy.take_mail(&listener))?;
        }
        Ok(sinks)
    }

    /// The name that was looked up and answered with `address`, escaped.
    pub(super) fn name_of(&self, address: IpAddr) -> Option<String> {
        let seen = self.0.lock().ok()?;
        let found = seen.names.iter().find(|(_, (a, _))| IpAddr::V4(*a) == address);
        found.map(|(name, _)| shown(name))
    }

    /// Every name that was looked up and how often, escaped.
    pub(super) fn names(&self) -> BTreeMap<String, u64> {
        let Ok(seen) = self.0.lock() else { return BTreeMap::new() };
        seen.names.iter().map(|(name, (_, count))| (shown(name), *count)).collect()
    }

    /// Every server that was offered mail.
    pub(super) fn mail(&self) -> Vec<Mail> {
        let all: Vec<_> = match self.0.lock() {
            Ok(seen) => seen.mail.iter().map(|(k, v)| (*k, *v)).collect(),
            Err(_) => Vec::new(),
        };
        let mail = |((address, port), counts): ((IpAddr, u16), [u64; 3])| Mail {
            server: self.name_of(address).unwrap_or_else(|| address.to_string()),
            port,
            connections: counts[CONNECTIONS],
            messages: counts[MESSAGES],
            recipients: counts[RECIPIENTS],
        };
        all.into_iter().map(mail).collect()
    }

    fn answer_names(&self, socket: &UdpSocket) {
        let mut packet = [0u8; PACKET_BYTES_MAX];
        while let Ok((length, client)) = socket.recv_from(&mut packet) {
            let Some((name, kind, end)) = question(&packet[..length]) else { continue };
            let address = (kind == TYPE_A || kind == TYPE_AAAA).then(|| self.address_for(&name)).flatten();
            let answer = reply(&packet[..end], address.filter(|_| kind == TYPE_A), address.is_some());
            let _ = socket.send_to(&answer, client);
        }
    }

    /// The address that stands for `name`; `None` if the name shall not exist.
    fn address_for(&self, name: &str) -> Option<Ipv4Addr> {
        if name == HOSTNAME || name == "localhost" {
            return Some(Ipv4Addr::LOCALHOST);
        }
        let mut seen = self.0.lock().ok()?;
        let next = seen.names.len();
        if next >= NAMES_MAX && !seen.names.contains_key(name) {
            return None;
        }
        let (address, count) = seen.names.entry(name.to_owned()).or_insert_with(|| (nth_address(next), 0));
        *count += 1;
        Some(*address)
    }

    fn take_mail(&self, listener: &TcpListener) {
        while let Ok((stream, _)) = listener.accept() {
            let copy = self.clone();
            let _ = thread::Builder::new().name("mail".into()).spawn(move || copy.converse(&stream));
        }
    }

    fn count(&self, server: (IpAddr, u16), what: usize) {
        if let Ok(mut seen) = self.0.lock() {
            seen.mail.entry(server).or_default()[what] += 1;
        }
    }

    /// As much of SMTP (RFC 5321) as a client needs to believe that its mail was taken.
    fn converse(&self, stream: &TcpStream) -> Option<()> {
        let here = stream.local_addr().ok()?;
        let server = (here.ip().to_canonical(), here.port());
        self.count(server, CONNECTIONS);
        stream.set_read_timeout(Some(SILENCE_MAX)).ok()?;
        let mut lines = BufReader::new(stream);
        let mut out = stream;
        out.write_all(b"220 drill.invalid ESMTP\r\n").ok()?;
        let mut in_message = false;
        loop {
            let mut line = Vec::new();
            if (&mut lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).ok()? == 0 {
                return None;
            }
            let verb: Vec<u8> = line.iter().take(4).map(u8::to_ascii_uppercase).collect();
            let answer: &[u8] = match (in_message, verb.as_slice()) {
                (true, _) if line == b".\r\n" || line == b".\n" => {
                    in_message = false;
                    self.count(server, MESSAGES);
                    b"250 taken\r\n"
                }
                (true, _) => continue,
                (false, b"DATA") => {
                    in_message = true;
                    b"354 go on\r\n"
                }
                (false, b"QUIT") => {
                    let _ = out.write_all(b"221 bye\r\n");
                    return None;
                }
                (false, b"EHLO") => {
                    b"250-drill.invalid\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 AUTH PLAIN LOGIN\r\n"
                }
                (false, b"AUTH") => b"235 welcome\r\n",
                (false, b"RCPT") => {
                    self.count(server, RECIPIENTS);
                    b"250 ok\r\n"
                }
                _ => b"250 ok\r\n",
            };
            out.write_all(answer).ok()?;
        }
    }
}

fn shown(name: &str) -> String {
    recoup_core::name::escape(name.as_bytes())
}

fn nth_address(n: usize) -> Ipv4Addr {
    match u8::try_from(n + 1) {
        Ok(last) if last < 255 => Ipv4Addr::new(198, 51, 100, last),
        _ => Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + n as u32),
    }
}

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

/// The one question of a query (RFC 1035, 4.1): name, type, and where it ends.
fn question(packet: &[u8]) -> Option<(String, u16, usize)> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        match length {
            0 => break,
            1..=63 => labels.push(String::from_utf8_lossy(packet.get(at..at + length)?).to_lowercase()),
            _ => return None,
        }
        at += length;
    }
    let kind = u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?);
    packet.get(at + 2..at + 4)?;
    Some((labels.join("."), kind, at + 4))
}

/// The answer to `query`, which ends after its question.
fn reply(query: &[u8], address: Option<Ipv4Addr>, exists: bool) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2] = 0x81 | (query[2] & 0x01);
    answer[3] = if exists { 0x80 } else { 0x83 };
    answer[4..12].copy_from_slice(&[0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    if let Some(address) = address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gets_one_address_and_keeps_it() {
        let sinks = Sinks::default();
        let first = sinks.address_for("smtp.example.test").unwrap();
        assert_eq!(first, Ipv4Addr::new(198, 51, 100, 1));
        assert_eq!(sinks.address_for("smtp.example.test"), Some(first));
        assert_ne!(sinks.address_for("other.example.test"), Some(first));
        assert_eq!(sinks.name_of(first.into()).as_deref(), Some("smtp.example.test"));
        assert_eq!(sinks.names()["smtp.example.test"], 2);
        assert_eq!(nth_address(300), Ipv4Addr::new(198, 18, 1, 44));
    }

    #[test]
    fn a_query_is_answered_and_garbage_is_not() {
        let mut query = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend(b"\x04smtp\x07example\x00\x00\x01\x00\x01");
        let (name, kind, end) = question(&query).unwrap();
        assert_eq!((name.as_str(), kind, end), ("smtp.example", TYPE_A, query.len()));
        let answer = reply(&query[..end], Some(Ipv4Addr::new(198, 51, 100, 1)), true);
        assert_eq!(&answer[answer.len() - 4..], [198, 51, 100, 1]);
        for cut in 0..query.len() {
            assert!(question(&query[..cut]).is_none());
        }
    }
}
