//! A picture of one or several panels below each other, with a title, a legend and lines.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A picture.
pub(super) struct Picture {
    pub(super) title: String,
    /// What it shows, a line below the title.
    pub(super) words: String,
    /// What its x axis means.
    pub(super) x_name: &'static str,
    /// The x axis from its left end to its right one.
    pub(super) x: (f64, f64),
    /// Where it has marks, and what stands there.
    pub(super) ticks: Vec<(f64, String)>,
    pub(super) panels: Vec<Panel>,
}

/// A quantity over x.
pub(super) struct Panel {
    pub(super) name: &'static str,
    /// The y axis goes up to at least this.
    pub(super) least_top: f64,
    pub(super) lines: Vec<Line>,
    /// What stands at the right end of its head.
    pub(super) note: String,
}

/// One line of a panel.
pub(super) struct Line {
    /// In the legend; without one it is not there.
    pub(super) name: String,
    pub(super) colour: RGBColor,
    pub(super) dashed: bool,
    pub(super) points: Vec<(f64, f64)>,
}

impl Line {
    pub(super) fn new(name: impl Into<String>, colour: RGBColor, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), colour, dashed: false, points }
    }

    pub(super) fn dashed(name: impl Into<String>, colour: RGBColor, points: Vec<(f64, f64)>) -> Self {
        Self { dashed: true, ..Self::new(name, colour, points) }
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), String>;

impl Picture {
    /// The picture as SVG.
    pub(super) fn svg(&self) -> Result<String, String> {
        let panel = if self.panels.len() == 1 { PANEL_ALONE } else { PANEL };
        let size = (WIDTH, HEAD + panel * self.panels.len() as u32 + FOOT);
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            root.fill(&PAPER).map_err(shown)?;
            let (head, mut rest) = root.split_vertically(HEAD);
            let bold = (FONT, 20).into_font().style(FontStyle::Bold).color(&INK);
            head.draw_text(&self.title, &bold, (MARGIN, 14)).map_err(shown)?;
            let plain = (FONT, 14).into_font().color(&FAINT);
            head.draw_text(&self.words, &plain, (MARGIN, 42)).map_err(shown)?;
            for (index, one) in self.panels.iter().enumerate() {
                let last = index + 1 == self.panels.len();
                let (area, below) = rest.split_vertically(if last { panel + FOOT } else { panel });
                rest = below;
                self.draw_panel(&area, one, last)?;
            }
            root.present().map_err(shown)?;
        }
        Ok(svg)
    }

    fn draw_panel(&self, area: &Area<'_>, panel: &Panel, last: bool) -> Drawn {
        let values = panel.lines.iter().flat_map(|line| &line.points).map(|&(_, y)| y);
        let top = values.filter(|y| y.is_finite()).fold(panel.least_top, f64::max) * 1.08;
        let mut chart = ChartBuilder::on(area)
            .margin_right(MARGIN)
            .margin_top(30)
            .set_label_area_size(LabelAreaPosition::Left, 76)
            .set_label_area_size(LabelAreaPosition::Bottom, if last { FOOT + 6 } else { 8 })
            .build_cartesian_2d(self.x.0..self.x.1, 0.0..top)
            .map_err(shown)?;
        let small = (FONT, 13).into_font().color(&FAINT);
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh().light_line_style(PAPER).bold_line_style(GRID).axis_style(GRID);
        mesh.label_style(small.clone()).y_labels(5).x_labels(0);
        mesh.y_label_formatter(&|value| number(*value)).draw().map_err(shown)?;
        for (x, text) in &self.ticks {
            chart.draw_series(LineSeries::new([(*x, 0.0), (*x, top)], GRID)).map_err(shown)?;
            if last {
                let (px, py) = chart.backend_coord(&(*x, 0.0));
                let (left, above) = area.get_base_pixel();
                let centred = small.pos(Pos::new(HPos::Center, VPos::Top));
                area.draw_text(text, &centred, (px - left, py - above + 7)).map_err(shown)?;
            }
        }
        if last {
            let centred = small.pos(Pos::new(HPos::Center, VPos::Bottom));
            let (_, height) = area.dim_in_pixel();
            area.draw_text(self.x_name, &centred, (WIDTH as i32 / 2, height as i32 - 6)).map_err(shown)?;
        }
        for line in &panel.lines {
            let style = ShapeStyle { color: line.colour.to_rgba(), filled: false, stroke_width: 2 };
            let points = line.points.iter().copied();
            if line.dashed {
                chart.draw_series(DashedLineSeries::new(points, 6, 5, style)).map_err(shown)?;
            } else {
                chart.draw_series(LineSeries::new(points, style)).map_err(shown)?;
            }
        }
        legend(area, panel)
    }
}

/// The panel's name, its lines' names beside it, and its note.
fn legend(area: &Area<'_>, panel: &Panel) -> Drawn {
    let bold = (FONT, 14).into_font().style(FontStyle::Bold).color(&INK);
    area.draw_text(panel.name, &bold, (MARGIN, 7)).map_err(shown)?;
    let mut x = MARGIN + width(panel.name, 8.3) + 14;
    for line in panel.lines.iter().filter(|line| !line.name.is_empty()) {
        let style = ShapeStyle { color: line.colour.to_rgba(), filled: false, stroke_width: 2 };
        // Two dashes, or a stroke.
        let strokes: &[(i32, i32)] = if line.dashed { &[(0, 8), (14, 22)] } else { &[(0, 22)] };
        for (from, to) in strokes {
            area.draw(&PathElement::new(vec![(x + from, 15), (x + to, 15)], style)).map_err(shown)?;
        }
        let text = (FONT, 13).into_font().color(&INK);
        area.draw_text(&line.name, &text, (x + 28, 8)).map_err(shown)?;
        x += 28 + width(&line.name, 7.2) + 16;
    }
    let right = (FONT, 13).into_font().color(&INK).pos(Pos::new(HPos::Right, VPos::Top));
    area.draw_text(&panel.note, &right, (WIDTH as i32 - MARGIN, 8)).map_err(shown)
}

/// What a text is about wide, `letter` pixels for each of its letters.
fn width(text: &str, letter: f64) -> i32 {
    (text.chars().count() as f64 * letter) as i32
}

/// A number of an axis, without zeros that say nothing.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn shown(error: impl std::fmt::Display) -> String {
    error.to_string()
}

const WIDTH: u32 = 960;
const HEAD: u32 = 70;
const PANEL: u32 = 190;
const PANEL_ALONE: u32 = 420;
const FOOT: u32 = 44;
const MARGIN: i32 = 20;
const FONT: &str = "sans-serif";

const PAPER: RGBColor = RGBColor(255, 255, 255);
const FAINT: RGBColor = RGBColor(89, 99, 110);
const GRID: RGBColor = RGBColor(224, 227, 231);
pub(super) const INK: RGBColor = RGBColor(31, 35, 40);
pub(super) const BLUE: RGBColor = RGBColor(9, 105, 218);
pub(super) const SKY: RGBColor = RGBColor(105, 175, 255);
pub(super) const VIOLET: RGBColor = RGBColor(130, 80, 223);
pub(super) const RED: RGBColor = RGBColor(207, 34, 46);
pub(super) const ORANGE: RGBColor = RGBColor(188, 76, 0);
pub(super) const GREEN: RGBColor = RGBColor(26, 127, 55);
pub(super) const GREY: RGBColor = RGBColor(140, 149, 159);
