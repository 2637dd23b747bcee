//! Does it fit on this machine: bytes, inodes, ports.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use ::transfer::{Measure, ReceiverLimits};
use model::Allocation;
use model::agent_api::{AgentError, ErrorCode};

use crate::disk;
use crate::resources::room;

/// Room that must be left beside what is copied: the world grows while it is.
const RESERVE_BYTES: u64 = 64 << 20;
const RESERVE_INODES: u64 = 1000;

/// What is staged already needs no more room.
pub(crate) async fn check_room(staging: &Path, beneath: &Path, bytes: u64, files: u64) -> Result<(), AgentError> {
    let (staging, dir) = (staging.to_owned(), beneath.to_owned());
    let looked = disk::blocking(move || {
        let staged =
            if staging.exists() { ::transfer::measure(&staging).unwrap_or_default() } else { Measure::default() };
        Ok((room(&dir)?, staged))
    });
    let (room, staged) = looked.await.map_err(|e| disk::failed("look at", beneath, &e))?;
    let bytes = bytes.saturating_sub(staged.bytes) + RESERVE_BYTES;
    let files = files.saturating_sub(staged.files) + RESERVE_INODES;
    if room.free < bytes {
        let message = format!("the disk does not suffice: {bytes} bytes are needed and {} are free", room.free);
        return Err(AgentError::new(ErrorCode::NoSpace, message));
    }
    if room.inodes > 0 && room.inodes < files {
        let message = format!("the disk's inodes do not suffice: {files} are needed and {} are free", room.inodes);
        return Err(AgentError::new(ErrorCode::NoSpace, message));
    }
    Ok(())
}

/// The port is tried, not reserved: it is the panel that gives ports out, this finds strangers.
pub(super) fn check_port(allocation: &Allocation) -> Result<(), AgentError> {
    let refuse = |why: &dyn std::fmt::Display| {
        let message = format!("{}:{} cannot be used on this node: {why}", allocation.ip_address, allocation.port);
        AgentError::new(ErrorCode::PortTaken, message)
    };
    let ip: IpAddr = allocation.ip_address.parse().map_err(|e| refuse(&e))?;
    let address = SocketAddr::new(ip, allocation.port);
    std::net::TcpListener::bind(address).map_err(|e| refuse(&e))?;
    std::net::UdpSocket::bind(address).map_err(|e| refuse(&e))?;
    Ok(())
}

/// A source can fill the disk to where we would have refused to begin, no further.
pub(super) fn limits(staging: &Path) -> ReceiverLimits {
    let room = room(staging).unwrap_or_default();
    ReceiverLimits { max_bytes: room.total.max(RESERVE_BYTES), ..ReceiverLimits::default() }
}
