//! Plots of durations, with two logarithmic axes.

use std::path::Path;

use plotters::prelude::*;

const SIZE: (u32, u32) = (760, 400);
const LEGEND: u32 = 150;
const COLORS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 140, 44),
    RGBColor(148, 103, 189),
    RGBColor(255, 127, 14),
    RGBColor(90, 90, 90),
];

#[derive(Clone, Copy)]
pub(crate) enum Stroke {
    Solid,
    Dashed,
    Dotted,
}

pub(crate) struct Curve {
    /// In the legend. Curves of the same color have the same name.
    pub(crate) name: String,
    /// The number of the color.
    pub(crate) color: usize,
    pub(crate) stroke: Stroke,
    /// Numbers, and durations in nanoseconds.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A number on an axis.
fn number(number: f64) -> String {
    match number {
        _ if number >= 1e6 => format!("{} M", number / 1e6),
        _ if number >= 1e3 => format!("{} k", number / 1e3),
        _ => format!("{number}"),
    }
}

/// A duration on an axis.
fn duration(nanoseconds: f64) -> String {
    match nanoseconds {
        _ if nanoseconds >= 1e9 => format!("{} s", nanoseconds / 1e9),
        _ if nanoseconds >= 1e6 => format!("{} ms", nanoseconds / 1e6),
        _ if nanoseconds >= 1e3 => format!("{} µs", nanoseconds / 1e3),
        _ => format!("{nanoseconds} ns"),
    }
}

/// Writes an SVG file.
pub(crate) fn draw(path: &Path, title: &str, axis: &str, curves: &[Curve]) {
    let points = || curves.iter().flat_map(|curve| curve.points.iter().copied());
    let numbers = points().map(|(number, _)| number);
    let durations = points().map(|(_, duration)| duration);
    let first = numbers.clone().fold(f64::INFINITY, f64::min);
    let last = numbers.fold(0.0, f64::max);
    let lowest = 10_f64.powf(durations.clone().fold(f64::INFINITY, f64::min).log10().floor());
    let highest = 10_f64.powf(durations.fold(0.0, f64::max).log10().ceil());

    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).unwrap();
    let (area, legend) = root.split_horizontally(SIZE.0 - LEGEND);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(45)
        .y_label_area_size(60)
        .build_cartesian_2d((first..last).log_scale(), (lowest..highest).log_scale())
        .unwrap();
    chart
        .configure_mesh()
        .light_line_style(WHITE.mix(0.0))
        .x_desc(axis)
        .x_labels(8)
        .y_labels(8)
        .x_label_formatter(&|x| number(*x))
        .y_label_formatter(&|y| duration(*y))
        .label_style(("sans-serif", 13))
        .draw()
        .unwrap();

    let mut entries: Vec<&str> = Vec::new();
    for curve in curves {
        let style = COLORS[curve.color % COLORS.len()].stroke_width(2);
        let points = || curve.points.iter().copied();
        match curve.stroke {
            Stroke::Solid => {
                chart.draw_series(LineSeries::new(points(), style)).unwrap();
                let dots = points().map(|point| Circle::new(point, 3, style.filled()));
                chart.draw_series(dots).unwrap();
            }
            Stroke::Dashed => {
                chart.draw_series(DashedLineSeries::new(points(), 8, 5, style)).unwrap();
            }
            Stroke::Dotted => {
                chart.draw_series(DashedLineSeries::new(points(), 2, 4, style)).unwrap();
            }
        }
        if !entries.contains(&&*curve.name) {
            entries.push(&curve.name);
            let height = 40 + 22 * i32::try_from(entries.len()).unwrap();
            let line = PathElement::new([(0, height), (24, height)], style);
            legend.draw(&line).unwrap();
            let text = Text::new(curve.name.clone(), (32, height - 7), ("sans-serif", 14));
            legend.draw(&text).unwrap();
        }
    }
    root.present().unwrap();
}
