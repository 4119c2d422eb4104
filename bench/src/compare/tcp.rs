//! One TCP stream, memory to memory and not encrypted: `sendfile` from a memory-backed file into a receiver that reads
//! 256 KiB at a time.
//!
//! Hashing is no part of what TCP does, so it stays out of the time: the receiver keeps all it reads, in memory that was
//! touched before, and hashes it afterwards. The clock stops when the receiver has read the last byte and said so.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::sendfile::sendfile;

use super::endpoint::{self, EndpointArgs, Kind, Report, announce, cpu_seconds};
use super::ktls;
use super::process::Void;
use super::row::{Figure, Lab};

/// What one read asks for.
const READ: usize = 256 * 1024;
/// What one `sendfile` is asked to move.
const SENDFILE: u64 = 16 << 20;
/// How long either end may hear nothing.
const SILENCE: Duration = Duration::from_secs(10);

pub(crate) fn one_stream(lab: &Lab) -> Result<Vec<Figure>, Void> {
    stream(lab, Kind::Tcp)
}

/// The same through the kernel's TLS.
pub(crate) fn ktls(lab: &Lab) -> Result<Vec<Figure>, Void> {
    ktls::check()?;
    stream(lab, Kind::Ktls)
}

fn stream(lab: &Lab, kind: Kind) -> Result<Vec<Figure>, Void> {
    let plan = endpoint::Plan {
        kind,
        size: lab.source.size,
        digest: false,
        file: Some(&lab.source.path),
        rate: None,
        limit: lab.limit,
    };
    let ends = endpoint::transfer(&lab.arena, &plan)?;
    if ends.received.digest.as_ref() != Some(&lab.source.digest) {
        return Err(Void("the receiver's digest is not the source's".into()));
    }
    Ok(vec![ends.figure("no digest")])
}

pub(crate) fn send(args: &EndpointArgs) -> Result<Report, Void> {
    let path = args.file.as_ref().ok_or_else(|| Void("the TCP sender needs --file".into()))?;
    let file = File::open(path)?;
    let cpu = cpu_seconds();
    let begin = Instant::now();
    let mut stream = TcpStream::connect(args.address)?;
    if args.kind == Kind::Ktls {
        ktls::enable(&stream)?;
    }
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    let mut bytes = 0;
    while bytes < args.size {
        // At most SENDFILE, which a usize holds.
        match sendfile(&stream, &file, None, (args.size - bytes).min(SENDFILE) as usize) {
            Ok(0) => return Err(Void(format!("the source ended after {bytes} bytes"))),
            Ok(n) => bytes += n as u64,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    stream.shutdown(Shutdown::Write)?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer)?;
    let seconds = begin.elapsed().as_secs_f64();
    let cpu_seconds = cpu_seconds() - cpu;
    if u64::from_le_bytes(answer) != bytes {
        return Err(Void("the receiver counted other bytes than were sent".into()));
    }
    Ok(Report::new(bytes, seconds, cpu_seconds, 0.0))
}

pub(crate) fn receive(args: &EndpointArgs) -> Result<Report, Void> {
    let size = usize::try_from(args.size).map_err(|_| Void("the size does not fit this machine".into()))?;
    // Not zero: a zeroed allocation is untouched memory, whose first touch would be in the time.
    let mut kept = vec![0xa5; size];
    let listener = TcpListener::bind(args.address)?;
    announce(listener.local_addr()?)?;
    let (mut stream, _) = listener.accept()?;
    if args.kind == Kind::Ktls {
        ktls::enable(&stream)?;
    }
    stream.set_read_timeout(Some(SILENCE))?;
    let cpu = cpu_seconds();
    let begin = Instant::now();
    let mut have = 0;
    loop {
        let end = size.min(have + READ);
        let n = stream.read(&mut kept[have..end])?;
        if n == 0 {
            break;
        }
        have += n;
    }
    stream.write_all(&(have as u64).to_le_bytes())?;
    let seconds = begin.elapsed().as_secs_f64();
    let cpu_seconds = cpu_seconds() - cpu;
    let digest = Some(blake3::hash(&kept[..have]).to_hex().to_string());
    Ok(Report { digest, ..Report::new(have as u64, seconds, cpu_seconds, 0.0) })
}
