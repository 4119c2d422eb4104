//! `--plot out.svg`: a job over time as a picture: its rate with the mean, the round trip, loss and retransmissions.
//!
//! The colours are taken from a table of a light and a dark one each: the picture is drawn in the light ones, and a style
//! sheet in it gives the dark ones to whoever looks at it in a dark window.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use udpx_control::schema::Sample;
use udpxd::Code;

use crate::failure::Failure;
use crate::run::Outcome;
use crate::{escape, units};

/// What a picture is of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plot<'a> {
    /// In its title: the file and the peer.
    pub(crate) title: &'a str,
    /// What was moved, bytes.
    pub(crate) bytes: u64,
    /// How long it took, seconds.
    pub(crate) seconds: f64,
    /// This end received: of loss and retransmissions the sender knows, and they are left out.
    pub(crate) receiving: bool,
    /// The job over time.
    pub(crate) samples: &'a [Sample],
}

/// Draws the picture into the file.
pub(crate) fn write(path: &Path, plot: &Plot<'_>) -> Result<(), Failure> {
    let svg =
        draw(plot).map_err(|why| Failure::new(Code::Bug, format!("the plot cannot be drawn: {why}")))?;
    std::fs::write(path, svg).map_err(|error| {
        let text = format!("the plot cannot be written: {}: {error}", escape::path(path));
        Failure::with_remedy(
            Code::Io,
            text,
            "Give --plot a file that can be written; the transfer itself is done.",
        )
    })
}

/// What a title calls files of these names.
pub(crate) fn files(names: &[Vec<u8>]) -> String {
    match names {
        [only] => String::from_utf8_lossy(only).into_owned(),
        several => format!("{} files", several.len()),
    }
}

impl Outcome {
    /// Draws what the job did, whether it came to a good end or not.
    pub(crate) fn plot(&self, path: &Path, title: &str, receiving: bool) -> Result<(), Failure> {
        let samples = &self.samples;
        let summary = self.summary.as_ref();
        let last = samples.last().map_or(0.0, |sample| sample.at_us as f64 / 1e6);
        let (bytes, seconds) = summary.map_or((0, last), |summary| (summary.bytes, summary.seconds));
        write(path, &Plot { title, bytes, seconds, receiving, samples })
    }
}

/// One of the panels: a quantity over time.
struct Panel {
    name: &'static str,
    unit: &'static str,
    colour: RGBColor,
    /// Its value at each sample.
    values: Vec<f64>,
    /// A line over the whole width, with what it says.
    mean: Option<(f64, String)>,
    /// The axis goes at least up to here.
    least_top: f64,
}

fn panels(plot: &Plot<'_>) -> Vec<Panel> {
    let samples = plot.samples;
    let values = |value: &dyn Fn(&Sample) -> f64| samples.iter().map(value).collect::<Vec<f64>>();
    let fastest = samples.iter().map(|sample| sample.rate_bps).max().unwrap_or(0) as f64;
    let (scale, unit) = [(1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")]
        .into_iter()
        .find(|&(scale, _)| fastest >= scale)
        .unwrap_or((1.0, "bit/s"));
    let mean_bps = mean(samples, |sample| sample.rate_bps as f64);
    let mean_rtt = mean(samples, |sample| sample.rtt_us as f64);
    let rtt_time = Duration::from_secs_f64(mean_rtt / 1e6);
    let mut panels = vec![
        Panel {
            name: "rate on the wire",
            unit,
            colour: BLUE,
            values: values(&|sample| sample.rate_bps as f64 / scale),
            mean: Some((mean_bps / scale, format!("mean {}", units::bit_rate(mean_bps)))),
            least_top: 0.001,
        },
        Panel {
            name: "round trip",
            unit: "ms",
            colour: VIOLET,
            values: values(&|sample| sample.rtt_us as f64 / 1e3),
            mean: Some((mean_rtt / 1e3, format!("mean {}", units::time(rtt_time)))),
            least_top: 0.01,
        },
    ];
    if !plot.receiving {
        let again: u64 = samples.iter().map(|sample| sample.retransmitted).sum();
        let mut spans = spans(samples);
        let per_second =
            samples.iter().map(|sample| sample.retransmitted as f64 / spans.next().unwrap_or(1.0)).collect();
        panels.push(Panel {
            name: "packets lost",
            unit: "%",
            colour: RED,
            values: values(&|sample| sample.loss * 100.0),
            mean: None,
            least_top: 0.1,
        });
        panels.push(Panel {
            name: "retransmissions",
            unit: "packets/s",
            colour: ORANGE,
            values: per_second,
            mean: Some((f64::NAN, format!("{} packets in all", units::count(again)))),
            least_top: 1.0,
        });
    }
    panels
}

/// How long each sample lasted, seconds.
fn spans(samples: &[Sample]) -> impl Iterator<Item = f64> + '_ {
    let before = std::iter::once(0).chain(samples.iter().map(|sample| sample.at_us));
    samples.iter().zip(before).map(|(sample, before)| sample.at_us.saturating_sub(before).max(1) as f64 / 1e6)
}

/// The mean over time.
fn mean(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    let (sum, time) = samples
        .iter()
        .zip(spans(samples))
        .fold((0.0, 0.0), |(sum, time), (sample, span)| (sum + value(sample) * span, time + span));
    if time > 0.0 { sum / time } else { 0.0 }
}

/// The SVG.
fn draw(plot: &Plot<'_>) -> Result<String, String> {
    let panels = panels(plot);
    let size = (WIDTH, HEAD + PANEL * panels.len() as u32 + FOOT);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&PAPER).map_err(shown)?;
        let (head, body) = root.split_vertically(HEAD);
        headline(&head, plot)?;
        let end = plot.samples.last().map_or(0.0, |sample| sample.at_us as f64 / 1e6).max(0.001);
        let count = panels.len();
        let mut rest = body;
        for (index, panel) in panels.iter().enumerate() {
            let last = index + 1 == count;
            let (area, below) = rest.split_vertically(if last { PANEL + FOOT } else { PANEL });
            rest = below;
            draw_panel(&area, panel, plot.samples, end, last)?;
        }
        root.present().map_err(shown)?;
    }
    Ok(styled(&svg))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn headline(area: &Area<'_>, plot: &Plot<'_>) -> Result<(), String> {
    let time = Duration::try_from_secs_f64(plot.seconds).unwrap_or_default();
    let goodput = if plot.seconds > 0.0 { plot.bytes as f64 * 8.0 / plot.seconds } else { 0.0 };
    let figures = format!(
        "{} in {}, {} of file data",
        units::size(plot.bytes),
        units::time(time),
        units::bit_rate(goodput)
    );
    let mut title = escape::text(plot.title);
    if title.chars().count() > TITLE_MAX {
        title = title.chars().take(TITLE_MAX).chain(['…']).collect();
    }
    let bold = (FONT, 20).into_font().style(FontStyle::Bold).color(&INK);
    area.draw_text(&title, &bold, (MARGIN, 14)).map_err(shown)?;
    let plain = (FONT, 14).into_font().color(&FAINT);
    area.draw_text(&figures, &plain, (MARGIN, 42)).map_err(shown)
}

fn draw_panel(
    area: &Area<'_>,
    panel: &Panel,
    samples: &[Sample],
    end: f64,
    last: bool,
) -> Result<(), String> {
    let top = panel.values.iter().copied().fold(panel.least_top, f64::max) * 1.12;
    let mut chart = ChartBuilder::on(area)
        .margin_right(MARGIN)
        .margin_top(28)
        .set_label_area_size(LabelAreaPosition::Left, 84)
        .set_label_area_size(LabelAreaPosition::Bottom, if last { 44 } else { 12 })
        .build_cartesian_2d(0.0..end, 0.0..top)
        .map_err(shown)?;
    let small = (FONT, 13).into_font().color(&FAINT);
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().light_line_style(PAPER).bold_line_style(GRID).axis_style(GRID);
    mesh.label_style(small.clone()).y_labels(4).x_labels(if last { 10 } else { 0 });
    mesh.y_label_formatter(&|value| number(*value)).x_label_formatter(&|value| number(*value));
    if last {
        mesh.x_desc("seconds since the job began");
    }
    mesh.axis_desc_style(small.clone()).draw().map_err(shown)?;
    let name = (FONT, 14).into_font().style(FontStyle::Bold).color(&panel.colour);
    area.draw_text(&format!("{}, {}", panel.name, panel.unit), &name, (MARGIN, 6)).map_err(shown)?;

    // A sample says what was from the one before until it: a step, not a slope.
    let mut points = Vec::with_capacity(samples.len() * 2);
    let mut begin = 0.0;
    for (sample, &value) in samples.iter().zip(&panel.values) {
        let until = sample.at_us as f64 / 1e6;
        points.extend([(begin, value), (until, value)]);
        begin = until;
    }
    let area_series = AreaSeries::new(points, 0.0, panel.colour.mix(0.18));
    let line = ShapeStyle { color: panel.colour.to_rgba(), filled: false, stroke_width: 2 };
    chart.draw_series(area_series.border_style(line)).map_err(shown)?;

    if let Some((mean, text)) = &panel.mean {
        if mean.is_finite() {
            let style = ShapeStyle { color: INK.to_rgba(), filled: false, stroke_width: 1 };
            let line = [(0.0, *mean), (end, *mean)];
            chart.draw_series(DashedLineSeries::new(line, 6, 4, style)).map_err(shown)?;
        }
        let right = small.color(&INK).pos(Pos::new(HPos::Right, VPos::Top));
        area.draw_text(text, &right, (WIDTH as i32 - MARGIN, 7)).map_err(shown)?;
    }
    Ok(())
}

/// A number of an axis, without zeros that say nothing.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// The colours for a dark window.
fn styled(svg: &str) -> String {
    let mut rules = String::new();
    for (light, dark) in COLOURS {
        let light = format!("#{:02X}{:02X}{:02X}", light.0, light.1, light.2);
        for property in ["fill", "stroke"] {
            // Writing to a String cannot fail.
            let _ = write!(rules, "[{property}=\"{light}\"]{{{property}:{dark}}}");
        }
    }
    let style = format!("<style>@media (prefers-color-scheme:dark){{{rules}}}</style>\n");
    match svg.find('>') {
        Some(end) => format!("{}\n{style}{}", &svg[..=end], svg[end + 1..].trim_start()),
        None => svg.to_owned(),
    }
}

fn shown(error: impl std::fmt::Display) -> String {
    error.to_string()
}

const WIDTH: u32 = 960;
const HEAD: u32 = 72;
const PANEL: u32 = 170;
const FOOT: u32 = 40;
const MARGIN: i32 = 20;
/// Letters of a title.
const TITLE_MAX: usize = 80;
const FONT: &str = "sans-serif";

const PAPER: RGBColor = RGBColor(255, 255, 255);
const INK: RGBColor = RGBColor(31, 35, 40);
const FAINT: RGBColor = RGBColor(89, 99, 110);
const GRID: RGBColor = RGBColor(224, 227, 231);
const BLUE: RGBColor = RGBColor(9, 105, 218);
const VIOLET: RGBColor = RGBColor(130, 80, 223);
const RED: RGBColor = RGBColor(207, 34, 46);
const ORANGE: RGBColor = RGBColor(188, 76, 0);

/// Each colour, and what stands for it in a dark window.
const COLOURS: [(RGBColor, &str); 8] = [
    (PAPER, "#0d1117"),
    (INK, "#e6edf3"),
    (FAINT, "#9198a1"),
    (GRID, "#2a313a"),
    (BLUE, "#4493f8"),
    (VIOLET, "#ab7df8"),
    (RED, "#f85149"),
    (ORANGE, "#f0883e"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Sample> {
        let sample = |step: u64| Sample {
            at_us: step * 100_000,
            rate_bps: 700_000_000 + step % 7 * 20_000_000,
            rtt_us: 40_000 + step % 5 * 900,
            loss: 0.01 + (step % 3) as f64 / 500.0,
            retransmitted: 40 + step % 11,
        };
        (1..=60).map(sample).collect()
    }

    #[test]
    fn the_panels_have_names_units_and_the_mean() {
        let samples = samples();
        let plot = Plot {
            title: "a<b>.iso to bob",
            bytes: 500 << 20,
            seconds: 6.0,
            receiving: false,
            samples: &samples,
        };
        let svg = draw(&plot).unwrap();
        for words in [
            "a&lt;b&gt;.iso to bob",
            "500 MiB in 6.0 s, 699.05 Mbit/s of file data",
            "rate on the wire, Mbit/s",
            "mean 75",
            "round trip, ms",
            "packets lost, %",
            "retransmissions, packets/s",
            "packets in all",
            "seconds since the job began",
            "prefers-color-scheme:dark",
        ] {
            assert!(svg.contains(words), "{words:?} is not in {svg}");
        }
        let receiving = draw(&Plot { receiving: true, ..plot }).unwrap();
        assert!(!receiving.contains("packets lost") && receiving.contains("round trip"));
    }

    #[test]
    fn a_job_without_samples_and_one_that_did_nothing_are_drawn() {
        assert!(draw(&Plot::default()).unwrap().contains("rate on the wire"));
        let idle = [Sample { at_us: 1, rate_bps: 0, rtt_us: 0, loss: 0.0, retransmitted: 0 }];
        assert!(draw(&Plot { samples: &idle, ..Plot::default() }).unwrap().contains("mean 0.00 bit/s"));
        let failure = write(Path::new("/nonexistent/x.svg"), &Plot::default()).unwrap_err();
        assert!(failure.code == Code::Io && failure.text.contains("/nonexistent/x.svg"));
    }

    #[test]
    fn every_colour_has_a_dark_one() {
        let samples = samples();
        let svg = draw(&Plot { samples: &samples, ..Plot::default() }).unwrap();
        let used: std::collections::BTreeSet<&str> =
            svg.split("=\"#").skip(1).filter_map(|rest| rest.get(..6)).collect();
        for colour in used {
            let known = COLOURS
                .iter()
                .any(|(light, _)| format!("{:02X}{:02X}{:02X}", light.0, light.1, light.2) == colour);
            assert!(known, "#{colour} has no dark one");
        }
    }
}
