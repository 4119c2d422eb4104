//! Two processes that move bytes over quinn, the QUIC library that a Rust program would take today, for the row `quinn` of
//! `udpx-bench compare`.
//!
//! It is a package of its own, outside the workspace, so that building or testing udpx compiles nothing of it. The cipher is udpx's
//! (AES-256-GCM of aws-lc), every packet has the size that the path carries, windows and socket buffers are larger
//! than the path needs, segmentation offload is on and ACKs are thinned. What the ends used is part of
//! their reports; datagrams a system call, counted at the socket, prove GSO and GRO.
//!
//! The receiver prints a line with its address and certificate, and at the end, like the sender, one report.
//! The sender's clock runs from before the handshake to the receiver's count of all bytes. Nothing is hashed in that time: the bytes are
//! counted, and the stamp that each MiB begins with is compared.

mod counting;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, Connection, Endpoint, EndpointConfig, Runtime, TokioRuntime, TransportConfig, VarInt,
};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::json;

use counting::{Counting, Counts};

/// What each connection may have under way, bytes: more than any path of the comparison needs.
const WINDOW: u32 = 32 << 20;
/// Asked of the kernel for each socket buffer, bytes, as udpx asks.
const SOCKET_BUFFER: usize = 8 << 20;
/// ACK-eliciting packets that one ACK may answer.
const ACK_EVERY: u32 = 10;
/// The unit that is written, and stamped.
const BLOCK: usize = 1 << 20;
const NAME: &str = "udpx-bench";

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    Send,
    Receive,
}

/// One end of the row; `udpx-bench compare` runs it.
#[derive(Parser)]
struct Args {
    #[arg(long)]
    role: Role,
    /// Where the receiver listens and the sender sends to.
    #[arg(long)]
    address: SocketAddr,
    /// The receiver's certificate, as it printed it.
    #[arg(long, required_if_eq("role", "send"))]
    cert: Option<String>,
    /// Payload bytes over all connections.
    #[arg(long)]
    size: u64,
    /// UDP payload of a full datagram.
    #[arg(long)]
    datagram: u16,
    /// Connections that share the bytes.
    #[arg(long, default_value_t = 1)]
    connections: u64,
    /// Threads of the runtime; one is the faster on two cores.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let mut runtime = match args.threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        threads => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(threads);
            builder
        }
    };
    runtime.enable_all().build()?.block_on(async {
        match args.role {
            Role::Send => send(&args).await,
            Role::Receive => receive(&args).await,
        }
    })
}

async fn receive(args: &Args) -> Result<(), Failure> {
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
    let cert = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![cert.clone()], key.into())?;
    let crypto = QuicServerConfig::try_from(tls)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport(args)));
    let counts = Arc::new(Counts::default());
    let endpoint = endpoint(args, Some(config), args.address, &counts)?;
    let hex: String = cert.iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{}", json!({ "listening": endpoint.local_addr()?, "cert": hex }));
    let cpu = cpu_seconds();
    let mut tasks = Vec::new();
    for _ in 0..args.connections {
        let incoming = endpoint.accept().await.ok_or("the endpoint is closed")?;
        tasks.push(tokio::spawn(async move { take(incoming.await?).await }));
    }
    let mut report = Tally::default();
    let begin = Instant::now();
    for task in tasks {
        let (bytes, connection) = task.await??;
        report.add(bytes, &connection);
        connection.closed().await;
    }
    report.print(args, begin.elapsed(), cpu_seconds() - cpu, counts.received_per_call());
    Ok(())
}

/// Reads the stream of a connection to its end, and tells the sender how much that was.
async fn take(connection: Connection) -> Result<(u64, Connection), Failure> {
    let (mut answer, mut stream) = connection.accept_bi().await?;
    let (mut bytes, mut stamp) = (0, Vec::with_capacity(8));
    while let Some(chunk) = stream.read_chunk(usize::MAX, true).await? {
        let mut rest = &chunk.bytes[..];
        while !rest.is_empty() {
            let within = (bytes % BLOCK as u64) as usize;
            let len =
                if within < 8 { (8 - within).min(rest.len()) } else { (BLOCK - within).min(rest.len()) };
            if within < 8 {
                stamp.extend_from_slice(&rest[..len]);
            }
            bytes += len as u64;
            rest = &rest[len..];
            if stamp.len() == 8 {
                let due = (bytes - 8) / BLOCK as u64;
                if stamp != due.to_le_bytes() {
                    return Err(format!("block {due} is another").into());
                }
                stamp.clear();
            }
        }
    }
    answer.write_all(&bytes.to_le_bytes()).await?;
    answer.finish()?;
    Ok((bytes, connection))
}

async fn send(args: &Args) -> Result<(), Failure> {
    let text = args.cert.as_deref().unwrap_or_default();
    let der: Result<Vec<u8>, _> = (0..text.len() / 2)
        .map(|at| u8::from_str_radix(text.get(at * 2..at * 2 + 2).unwrap_or(""), 16))
        .collect();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(der?))?;
    let tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport(args)));
    let any = if args.address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let counts = Arc::new(Counts::default());
    let mut endpoint = endpoint(args, None, any.parse()?, &counts)?;
    endpoint.set_default_client_config(config);
    let (begin, cpu) = (Instant::now(), cpu_seconds());
    let mut tasks = Vec::new();
    for _ in 0..args.connections {
        let connection = endpoint.connect(args.address, NAME)?.await?;
        tasks.push(tokio::spawn(give(connection, args.size / args.connections)));
    }
    let mut report = Tally::default();
    for task in tasks {
        let (bytes, connection) = task.await??;
        report.add(bytes, &connection);
        connection.close(VarInt::from_u32(0), b"");
    }
    report.print(args, begin.elapsed(), cpu_seconds() - cpu, counts.sent_per_call());
    endpoint.wait_idle().await;
    Ok(())
}

async fn give(connection: Connection, size: u64) -> Result<(u64, Connection), Failure> {
    let (mut stream, mut answer) = connection.open_bi().await?;
    let mut block = vec![0x5a; BLOCK];
    let mut sent = 0u64;
    while sent < size {
        block[..8].copy_from_slice(&(sent / BLOCK as u64).to_le_bytes());
        let len = (size - sent).min(BLOCK as u64) as usize;
        stream.write_all(&block[..len]).await?;
        sent += len as u64;
    }
    stream.finish()?;
    let mut counted = [0; 8];
    answer.read_exact(&mut counted).await?;
    if u64::from_le_bytes(counted) != sent {
        return Err("the receiver counted other bytes than were sent".into());
    }
    Ok((sent, connection))
}

/// What the connections of an end came to.
#[derive(Default)]
struct Tally {
    bytes: u64,
    stats: Vec<quinn::ConnectionStats>,
}

impl Tally {
    fn add(&mut self, bytes: u64, connection: &Connection) {
        self.bytes += bytes;
        self.stats.push(connection.stats());
    }

    fn print(&self, args: &Args, took: Duration, cpu: f64, per_call: f64) {
        let lost: u64 = self.stats.iter().map(|stats| stats.path.lost_packets).sum();
        let sent: u64 = self.stats.iter().map(|stats| stats.path.sent_packets).sum();
        println!(
            "{}",
            json!({
                "bytes": self.bytes,
                "digest": null,
                "seconds": took.as_secs_f64(),
                "cpu_seconds": cpu,
                "datagrams_per_call": per_call,
                "resent_share": lost as f64 / sent.max(1) as f64,
                "setup": format!(
                    "quinn 0.11, AES-256-GCM of aws-lc, datagrams of {}, windows of {} MiB, CUBIC, ACK every {ACK_EVERY}, {} thread(s), GSO and GRO on",
                    args.datagram, WINDOW >> 20, args.threads
                ),
            })
        );
    }
}

fn provider() -> Arc<CryptoProvider> {
    // The initial packets of QUIC are AES-128 by its definition; everything after the handshake is the first of these.
    let suites = vec![cipher_suite::TLS13_AES_256_GCM_SHA384, cipher_suite::TLS13_AES_128_GCM_SHA256];
    Arc::new(CryptoProvider { cipher_suites: suites, ..default_provider() })
}

fn transport(args: &Args) -> TransportConfig {
    let mut config = TransportConfig::default();
    let mut congestion = CubicConfig::default();
    congestion.initial_window(4 << 20);
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(ACK_EVERY - 1));
    config
        .initial_mtu(args.datagram)
        .min_mtu(args.datagram)
        .mtu_discovery_config(None)
        .stream_receive_window(WINDOW.into())
        .receive_window(WINDOW.into())
        .send_window(WINDOW.into())
        .ack_frequency_config(Some(acks))
        .congestion_controller_factory(Arc::new(congestion))
        .enable_segmentation_offload(true);
    config
}

fn endpoint(
    args: &Args,
    server: Option<quinn::ServerConfig>,
    address: SocketAddr,
    counts: &Arc<Counts>,
) -> Result<Endpoint, Failure> {
    let runtime = Arc::new(TokioRuntime);
    let socket = Counting::new(runtime.wrap_udp_socket(socket(address)?)?, counts.clone());
    Ok(Endpoint::new_with_abstract_socket(endpoint_config(args), server, Arc::new(socket), runtime)?)
}

fn endpoint_config(args: &Args) -> EndpointConfig {
    let mut config = EndpointConfig::default();
    // Refused only below 1200, which no path of the comparison is.
    let _ = config.max_udp_payload_size(args.datagram.max(1472));
    config
}

fn socket(address: SocketAddr) -> Result<std::net::UdpSocket, Failure> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, None)?;
    // Beyond the system's limit only as root.
    if setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err() {
        socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    }
    if setsockopt(&socket, sockopt::SndBufForce, &SOCKET_BUFFER).is_err() {
        socket.set_send_buffer_size(SOCKET_BUFFER)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// User and system time of this process so far, in seconds.
fn cpu_seconds() -> f64 {
    let seconds = |t: TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |u| seconds(u.user_time()) + seconds(u.system_time()))
}
