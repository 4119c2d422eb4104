//! Memory of one engine into a sink of another, in one process: the figure beside which `ffi/bench/compare.sh` puts that of
//! the C library. `into_sink MEBIBYTES` prints Gbit/s.

use std::io::{Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, SealFlag};
use nix::sys::memfd::{MFdFlags, memfd_create};
use udpxd::embedded::{self, Call, Descriptor, Loading, PushFile, PushRequest, Sink, SinkRef};
use udpxd::hosting::addresses::Address;
use udpxd::hosting::{Host, HostConfig, Offer};
use udpxd::identity;

struct Count(AtomicU64);

impl Sink for Count {
    fn begin(&self, _: &Path, _: Option<u64>) -> bool {
        true
    }

    fn begins_again(&self) -> bool {
        false
    }

    fn take(&self, bytes: &[u8]) -> bool {
        self.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        true
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mebibytes: u64 = std::env::args().nth(1).ok_or("into_sink MEBIBYTES")?.parse()?;
    let data: Vec<u8> = (0..mebibytes << 20).map(|at| ((at * 31) ^ (at >> 9)) as u8).collect();
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = std::fs::File::from(memfd_create(c"rate", flags)?);
    file.write_all(&data)?;
    file.rewind()?;
    nix::fcntl::fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW))?;

    let count = Arc::new(Count(AtomicU64::new(0)));
    let mut config = HostConfig::new(Offer::Sink(SinkRef(count.clone())), identity::ephemeral()?);
    config.addresses = Address::parse("127.0.0.1").into_iter().collect();
    let mut host = Host::start(&config)?;
    let ticket = host.ticket().cloned().ok_or("no ticket")?;
    let stop = AtomicBool::new(false);
    let seconds = std::thread::scope(|scope| -> Result<f64, Box<dyn std::error::Error>> {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = host.next_event(Duration::from_millis(20));
            }
        });
        let mut call = Call::new(ticket.key, ticket.addresses.clone(), identity::ephemeral()?);
        (call.way.credential, call.loading) = (ticket.credential(), Loading::Read);
        let mut request = PushRequest::new(call.way.peer, Vec::new(), call.identity.clone());
        let descriptor = Descriptor { file: Arc::new(file), shown: "rate".into() };
        (request.call, request.files) = (call, vec![PushFile::Open { name: b"rate".to_vec(), descriptor }]);
        let began = Instant::now();
        let pushed = embedded::push(request, &mut |_| {});
        let seconds = began.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        pushed?;
        Ok(seconds)
    })?;
    println!("{:.3}", count.0.load(Ordering::Relaxed) as f64 * 8.0 / seconds / 1e9);
    Ok(())
}
