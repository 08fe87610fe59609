//! Watches the loopback device of a sandbox for attempts to reach something.

use super::spec::Attempt;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread;

/// Distinct attempts that are kept; a program that scans the network is found with fewer.
const ATTEMPTS_MAX: usize = 10_000;
const ETH_P_ALL: u16 = 3;
const ETHERNET_BYTES: usize = 14;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What was seen on the wire.
#[derive(Clone, Default)]
pub(super) struct Packets(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// Every try once: address, port, protocol, and the sender's port.
    tries: BTreeSet<(IpAddr, u16, u8, u16)>,
    /// Ports that answered with a refusal.
    refused: BTreeSet<(IpAddr, u16)>,
}

/// A packet as far as it matters.
#[derive(Debug, PartialEq, Eq)]
struct Packet {
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    protocol: u8,
    /// TCP: the first packet of a connection.
    opens: bool,
    /// TCP: a refusal.
    refuses: bool,
}

impl Packets {
    /// Starts watching.
    ///
    /// # Errors
    /// Where packets cannot be seen.
    pub(super) fn watch() -> io::Result<Self> {
        let all = std::num::NonZeroU32::new(u32::from(ETH_P_ALL.to_be())).map(Protocol::from_raw);
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, all)?;
        let packets = Packets::default();
        let copy = packets.clone();
        thread::Builder::new().name("packets".into()).spawn(move || copy.read(&socket))?;
        Ok(packets)
    }

    fn read(&self, socket: &OwnedFd) {
        let mut buffer = [0u8; 256];
        while let Ok((_, length)) = recv(socket, &mut buffer[..], RecvFlags::empty()) {
            let Some(packet) = parse(&buffer[..length.min(buffer.len())]) else { continue };
            let Ok(mut seen) = self.0.lock() else { return };
            if packet.refuses {
                seen.refused.insert(packet.from);
            }
            if (packet.opens || packet.protocol == UDP) && seen.tries.len() < ATTEMPTS_MAX {
                let (address, port) = packet.to;
                seen.tries.insert((address, port, packet.protocol, packet.from.1));
            }
        }
    }

    /// The attempts so far: at other machines, and refused ones at this host.
    pub(super) fn attempts(&self) -> (Vec<Attempt>, Vec<Attempt>) {
        let Ok(seen) = self.0.lock() else { return Default::default() };
        let mut away: BTreeMap<(IpAddr, u16, u8), u64> = BTreeMap::new();
        let mut home = away.clone();
        for &(address, port, protocol, from) in &seen.tries {
            let outside = !address.is_loopback() && !address.is_unspecified() && !address.is_multicast();
            // Datagrams from port 53 are the answers of the sandbox itself.
            if outside && !(protocol == UDP && from == 53) {
                *away.entry((address, port, protocol)).or_default() += 1;
            } else if !outside && protocol == TCP && seen.refused.contains(&(address, port)) {
                *home.entry((address, port, protocol)).or_default() += 1;
            }
        }
        (named(away), named(home))
    }
}

fn named(counts: BTreeMap<(IpAddr, u16, u8), u64>) -> Vec<Attempt> {
    let attempt = |((address, port, protocol), count)| Attempt {
        address,
        port,
        protocol: if protocol == TCP { "tcp" } else { "udp" }.into(),
        name: None,
        count,
    };
    counts.into_iter().map(attempt).collect()
}

/// Ethernet, then IPv4 (RFC 791) or IPv6 (RFC 8200), then the first words of TCP or UDP.
fn parse(frame: &[u8]) -> Option<Packet> {
    let ip = frame.get(ETHERNET_BYTES..)?;
    let (from, to, protocol, rest) = match ip.first()? >> 4 {
        4 => {
            let header = usize::from(ip[0] & 15) * 4;
            let address = |at: usize| -> Option<IpAddr> {
                let bytes: [u8; 4] = ip.get(at..at + 4)?.try_into().ok()?;
                Some(Ipv4Addr::from(bytes).into())
            };
            (address(12)?, address(16)?, *ip.get(9)?, ip.get(header..)?)
        }
        6 => {
            let address = |at: usize| -> Option<IpAddr> {
                let bytes: [u8; 16] = ip.get(at..at + 16)?.try_into().ok()?;
                Some(Ipv6Addr::from(bytes).to_canonical())
            };
            (address(8)?, address(24)?, *ip.get(6)?, ip.get(40..)?)
        }
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes(rest.get(at..at + 2)?.try_into().ok()?));
    let flags = if protocol == TCP { *rest.get(13)? } else { 0 };
    matches!(protocol, TCP | UDP).then_some(Packet {
        from: (from, port(0)?),
        to: (to, port(2)?),
        protocol,
        opens: flags & 0x12 == 0x02,
        refuses: flags & 0x04 != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_packet_of_a_connection_is_an_attempt() {
        let mut frame = vec![0; ETHERNET_BYTES];
        frame.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, TCP, 0, 0, 10, 0, 0, 1, 203, 0, 113, 4]);
        frame.extend([0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02]);
        let packet = parse(&frame).unwrap();
        assert_eq!(packet.to, ("203.0.113.4".parse().unwrap(), 443));
        assert!(packet.opens && !packet.refuses);
        for cut in 0..frame.len() {
            assert!(parse(&frame[..cut]).is_none());
        }
    }
}
