//! Paths that nobody tuned for, drawn from a seed.

use std::time::Duration;

use udpx_proto::testing::net::{ReorderSpec, SimRng};

use super::path::Path;
use super::steady::steady;

/// What a path gave.
pub(super) struct Drawn {
    pub(super) path: Path,
    pub(super) share: f64,
}

/// `count` paths of this seed: C log-uniform 5 M to 2 G, RTT 2 to 400 ms, loss 0 to 15 %, queue 0.1 to 4 BDP; jitter on
/// a third and reordering on another third of them.
pub(super) fn run(seed: u64, count: u64) -> Vec<Drawn> {
    let mut rng = SimRng::stream(seed, 0x4e1d);
    let mut drawn: Vec<Drawn> = (0..count)
        .map(|index| {
            let path = draw(&mut rng);
            let s = steady(&path, seed ^ index, 40.0, 5.0);
            Drawn { path, share: s.share }
        })
        .collect();
    drawn.sort_by(|a, b| a.share.total_cmp(&b.share));
    drawn
}

fn draw(rng: &mut SimRng) -> Path {
    let bps = rng.log_uniform(5_000_000, 2_000_000_000) as f64;
    let rtt = Duration::from_micros(rng.log_uniform(2_000, 400_000));
    let mut path =
        Path { bps, rtt, loss: 0.15 * rng.unit(), queue: 0.1 + 3.9 * rng.unit(), ..Path::default() };
    match rng.below(3) {
        0 => path.wander = rtt.mul_f64(0.2 * rng.unit()),
        1 => {
            let extra = rtt.mul_f64(0.25 * rng.unit());
            path.reorder = Some(ReorderSpec { share: 0.05 * rng.unit(), extra });
        }
        _ => {}
    }
    path
}
