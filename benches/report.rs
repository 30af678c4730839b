//! Renders `benches/README.md` and `benches/plots` from `benches/README.template.md` and the
//! figures in `benches/figures`. `benches/report` runs the benchmarks first.
//!
//! In the template, `@run` stands for date, commit and machine, `@from BENCHMARK` for those of a
//! benchmark if they differ, `@growth BENCHMARK: OPERATIONS` for its comparisons and a plot of
//! these operations, `@latencies BENCHMARK` for its percentiles, and `@values BENCHMARK` for its
//! other figures.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark stops where it fails, and rounds"
)]

mod measure;
mod plot;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use measure::{Comparison, Figures, Target, grouped};
use plot::{Curve, Stroke};

fn benches() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches")
}

fn main() {
    let template = fs::read_to_string(benches().join("README.template.md")).unwrap();
    let report = Report::read(&template);
    let mut lines = Vec::new();
    for line in template.lines() {
        match line.strip_prefix('@') {
            Some(directive) => lines.extend(report.render(directive)),
            None => lines.push(line.to_owned()),
        }
    }
    // A directive may stand for nothing.
    lines.dedup_by(|line, before| line.is_empty() && before.is_empty());
    fs::write(benches().join("README.md"), lines.join("\n") + "\n").unwrap();
}

struct Report {
    /// The figures of each benchmark that the template names.
    figures: BTreeMap<String, Figures>,
    /// The latest run.
    run: String,
}

impl Report {
    fn read(template: &str) -> Self {
        let names = template.lines().filter_map(|line| line.strip_prefix("@from "));
        let figures: BTreeMap<String, Figures> =
            names.filter_map(|name| Some((name.to_owned(), Figures::read(name)?))).collect();
        let runs = figures.values().map(|figures| figures.run.clone());
        // A run begins with its date.
        let run = runs.max().unwrap_or_else(|| "Nothing was measured yet".to_owned());
        Self { figures, run }
    }

    fn render(&self, directive: &str) -> Vec<String> {
        let (verb, rest) = directive.split_once(' ').unwrap_or((directive, ""));
        let (name, plotted) = rest.split_once(": ").unwrap_or((rest, ""));
        let plotted: Vec<&str> = plotted.split(", ").filter(|name| !name.is_empty()).collect();
        let figures = self.figures.get(name);
        match (verb, figures) {
            ("run", _) => wrapped(&format!("{}.", self.run)),
            ("from", None) => vec![format!(
                "No figures: `benches/report {name}` did not run, or found no server."
            )],
            ("from", Some(figures)) if figures.run != self.run => {
                wrapped(&format!("Of another run: {}.", figures.run))
            }
            ("growth", Some(figures)) => growth(name, &figures.comparisons, &plotted),
            ("latencies", Some(figures)) => latencies(name, figures),
            ("values", Some(figures)) => values(figures),
            ("from" | "growth" | "latencies" | "values", _) => Vec::new(),
            _ => panic!("the template has an unknown directive: @{directive}"),
        }
    }
}

/// The lines of a text, of at most 100 columns.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().unwrap();
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= 100 {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Three significant digits, with separators.
fn short(figure: f64) -> String {
    match figure {
        _ if figure >= 100.0 => grouped(format!("{figure:.0}").parse().unwrap()),
        _ if figure >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

/// A duration in its unit.
fn duration(nanoseconds: f64) -> String {
    match nanoseconds {
        _ if nanoseconds < 999.5 => format!("{nanoseconds:.0} ns"),
        _ if nanoseconds < 999_500.0 => format!("{} µs", short(nanoseconds / 1e3)),
        _ => format!("{} ms", short(nanoseconds / 1e6)),
    }
}

fn bound(target: Target) -> String {
    match target {
        Target::None => String::new(),
        Target::AtMost(bound) if bound < 100.0 => format!("at most {bound}"),
        Target::AtLeast(bound) if bound < 100.0 => format!("at least {bound}"),
        Target::AtMost(bound) => format!("at most {}", short(bound)),
        Target::AtLeast(bound) => format!("at least {}", short(bound)),
    }
}

fn mark(target: Target, figure: f64) -> &'static str {
    if target.is_met(figure) { "" } else { "*" }
}

fn row(cells: impl IntoIterator<Item = String>) -> String {
    format!("| {} |", cells.into_iter().collect::<Vec<_>>().join(" | "))
}

/// A table without its empty columns, and an empty line after it.
fn table(mut head: Vec<String>, rows: impl IntoIterator<Item = Vec<String>>) -> Vec<String> {
    let mut rows: Vec<Vec<String>> = rows.into_iter().collect();
    for column in (0..head.len()).rev() {
        if rows.iter().all(|row| row[column].is_empty()) {
            head.remove(column);
            for row in &mut rows {
                row.remove(column);
            }
        }
    }
    let rule = format!("|{}", "---|".repeat(head.len()));
    let rows = rows.into_iter().map(row);
    [row(head), rule].into_iter().chain(rows).chain([String::new()]).collect()
}

/// Draws a plot. Returns its line in the report, and an empty one.
fn draw(name: &str, title: &str, axis: &str, curves: &[Curve]) -> Vec<String> {
    let file = format!("{name}.svg");
    plot::draw(&benches().join("plots").join(&file), title, axis, curves);
    vec![format!("![{title}](plots/{file})"), String::new()]
}

/// The comparisons, one row for each operation and number of callers.
fn growth(name: &str, comparisons: &[Comparison], plotted: &[&str]) -> Vec<String> {
    let sizes: BTreeSet<usize> = comparisons
        .iter()
        .map(|found| found.users)
        // What compares single users has no column of its own.
        .filter(|users| *users >= 1_000)
        .collect();
    let mut operations: Vec<(&str, usize)> = Vec::new();
    for found in comparisons {
        let operation = (&*found.operation, found.callers);
        if !operations.contains(&operation) {
            operations.push(operation);
        }
    }
    let of = |(operation, callers): (&str, usize)| -> Vec<&Comparison> {
        let same = |found: &&Comparison| found.operation == operation && found.callers == callers;
        comparisons.iter().filter(same).collect()
    };
    let mut lines = Vec::new();
    let rows = operations.iter().map(|&operation| {
        let found = of(operation);
        let name = match operation {
            (name, 1) => name.to_owned(),
            (name, callers) => format!("{name}, {callers} callers"),
        };
        let cell = |of: &Comparison| {
            format!("{} ({:.2}{})", duration(of.ours), of.ratio, mark(of.target, of.ratio))
        };
        let mut cells = vec![name];
        cells.extend(sizes.iter().map(|size| {
            let cell_of = found.iter().find(|found| found.users == *size);
            cell_of.map_or_else(String::new, |found| cell(found))
        }));
        let (first, last) = (found[0], found[found.len() - 1]);
        if first.users < 1_000 {
            cells[1] = cell(first);
        }
        let mut bounds: Vec<String> = found.iter().map(|found| bound(found.target)).collect();
        bounds.dedup();
        cells.push(bounds.join(", then "));
        let grown = format!("{:.2}, {:.2}", last.ours / first.ours, last.floor / first.floor);
        cells.push(if found.len() > 1 { grown } else { String::new() });
        cells
    });
    let mut head = vec!["operation".to_owned()];
    head.extend(sizes.iter().map(|size| format!("{} users", grouped(*size))));
    head.extend(["target of the ratio", "growth"].map(str::to_owned));
    lines.extend(table(head, rows));

    if sizes.len() > 1 {
        let curves: Vec<Curve> = plotted
            .iter()
            .enumerate()
            .flat_map(|(color, operation)| {
                let found = of((operation, 1));
                let curve = |stroke, time: &dyn Fn(&Comparison) -> f64| {
                    let points = found.iter().map(|found| (found.users as f64, time(found)));
                    Curve { name: (*operation).to_owned(), color, stroke, points: points.collect() }
                };
                [curve(Stroke::Solid, &|of| of.ours), curve(Stroke::Dashed, &|of| of.floor)]
            })
            .collect();
        let title = "Time per operation (solid) and its floor (dashed)";
        lines.extend(draw(&format!("{name}-growth"), title, "users", &curves));
    }
    lines
}

fn latencies(name: &str, figures: &Figures) -> Vec<String> {
    let rows = figures.latencies.iter().map(|of| {
        let percentiles = [of.p50, of.p99, of.p999].map(duration);
        let start = [of.operation.clone(), of.callers.to_string(), short(of.per_second)];
        start.into_iter().chain(percentiles).collect()
    });
    let head = ["operation", "callers", "per second", "p50", "p99", "p99.9"];
    let mut lines = table(head.map(str::to_owned).to_vec(), rows);

    let mut operations: Vec<&str> = Vec::new();
    for found in &figures.latencies {
        if !operations.contains(&&*found.operation) {
            operations.push(&found.operation);
        }
    }
    let curves: Vec<Curve> = operations
        .iter()
        .enumerate()
        .flat_map(|(color, operation)| {
            let found = figures.latencies.iter().filter(|found| found.operation == *operation);
            let mut percentiles = [
                (Stroke::Solid, Vec::new()),
                (Stroke::Dashed, Vec::new()),
                (Stroke::Dotted, Vec::new()),
            ];
            for of in found {
                for ((_, points), percentile) in
                    percentiles.iter_mut().zip([of.p50, of.p99, of.p999])
                {
                    points.push((of.callers as f64, percentile));
                }
            }
            let name = (*operation).to_owned();
            percentiles.map(|(stroke, points)| Curve { name: name.clone(), color, stroke, points })
        })
        .collect();
    let title = "Latency: p50 (solid), p99 (dashed), p99.9 (dotted)";
    lines.extend(draw(&format!("{name}-latencies"), title, "callers", &curves));
    lines
}

fn values(figures: &Figures) -> Vec<String> {
    let rows = figures.values.iter().map(|of| {
        let figure = format!("{} {}", short(of.figure), of.unit);
        let figure = format!("{}{}", figure.trim_end(), mark(of.target, of.figure));
        vec![of.what.clone(), figure, bound(of.target)]
    });
    table(["", "figure", "target"].map(str::to_owned).to_vec(), rows)
}
