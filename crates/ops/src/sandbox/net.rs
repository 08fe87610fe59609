//! The network of a sandbox: one loopback device on which every address is at home, so that an
//! attempt to reach another machine ends inside, at once, and is seen.
//!
//! Three netlink requests of fixed layout (rtnetlink(7)) do it; no tool of the host is needed.

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use std::io;

const RTM_NEWLINK: u16 = 16;
const RTM_NEWROUTE: u16 = 24;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const IFF_UP: u32 = 1;
const RTA_OIF: u16 = 4;
const RT_TABLE_LOCAL: u8 = 255;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_HOST: u8 = 254;
const RTN_LOCAL: u8 = 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// The loopback device of a new network namespace is always the first one.
const LOOPBACK: u32 = 1;

/// Brings the loopback device up and makes every address local.
///
/// # Errors
/// If even the device does not come up. Without the routes the sandbox is as closed, but attempts
/// stay unseen: that is the `false` answer.
pub(super) fn close() -> io::Result<bool> {
    request(RTM_NEWLINK, 0, &link_up())?;
    let four = request(RTM_NEWROUTE, NLM_F_CREATE, &all_local(AF_INET));
    // A host without IPv6 has nothing to catch there.
    let _ = request(RTM_NEWROUTE, NLM_F_CREATE, &all_local(AF_INET6));
    Ok(four.is_ok())
}

/// `struct ifinfomsg`: family, pad, type, index, flags, change mask.
fn link_up() -> Vec<u8> {
    let mut body = vec![0; 4];
    for word in [LOOPBACK, IFF_UP, IFF_UP] {
        body.extend(word.to_ne_bytes());
    }
    body
}

/// `struct rtmsg` for a route of length 0, and the device as its one attribute.
fn all_local(family: u8) -> Vec<u8> {
    let mut body = vec![family, 0, 0, 0, RT_TABLE_LOCAL, RTPROT_BOOT, RT_SCOPE_HOST, RTN_LOCAL];
    body.extend(0u32.to_ne_bytes());
    body.extend(8u16.to_ne_bytes());
    body.extend(RTA_OIF.to_ne_bytes());
    body.extend(LOOPBACK.to_ne_bytes());
    body
}

fn request(kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let mut message = Vec::new();
    message.extend((16 + body.len() as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0u8; 4096];
    let (_, length) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    verdict(&answer[..length.min(answer.len())])
}

/// `struct nlmsghdr` and, in an error message, the negative error number; 0 acknowledges.
fn verdict(answer: &[u8]) -> io::Result<()> {
    let word = |at: usize| answer.get(at..at + 4).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
    let kind = answer.get(4..6).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes);
    match (kind, word(16)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(number)) => Err(io::Error::from_raw_os_error(number.wrapping_neg())),
        _ => Err(io::Error::other("the kernel gave no answer")),
    }
}
