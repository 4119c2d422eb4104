//! The pictures of `docs/results`: what udpx gets of a path against its loss, its round trip and the number of streams,
//! and how a transfer goes over time.

mod chart;
mod sweeps;
mod time;

use std::path::Path;

use crate::compare::Void;
use chart::Picture;

/// A picture and the name of its file.
type Named = (String, Box<dyn Fn(u64) -> Picture>);

/// Draws every picture whose file's name contains one of `only`, or all.
pub(super) fn draw_all(directory: &Path, seed: u64, only: &[String]) -> Result<(), Void> {
    std::fs::create_dir_all(directory)?;
    let pictures = sweeps::all().into_iter().chain(time::all());
    for (name, draw) in pictures.filter(|(name, _)| only.is_empty() || only.iter().any(|o| name.contains(o)))
    {
        let file = directory.join(format!("{name}.svg"));
        let svg = draw(seed).svg().map_err(|why| Void(format!("{name} cannot be drawn: {why}")))?;
        std::fs::write(&file, svg).map_err(|error| {
            Void(format!("{} cannot be written: {error}. Give another --plots.", file.display()))
        })?;
        println!("{}", file.display());
    }
    Ok(())
}
