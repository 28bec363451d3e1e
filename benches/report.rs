//! Figures with all their samples, and the format of numbers and names.
//!
//! Invariant: a figure that was not measured is reported as such, with the reason; nothing is left out silently.

use std::collections::BTreeSet;

use anyhow::Result;
use serde::Serialize;

use super::machine::Machine;
use super::plan::LatencySample;
use super::target::TargetKind;

/// Name of our own server in tables.
pub const OURS: &str = "policyhub";

/// One figure of one target in one case.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// The scenario that measured it.
    pub scenario: &'static str,
    /// The case, such as "10,000 × 1, 1 KiB".
    pub case: String,
    /// The server.
    pub target: String,
    /// The quantity that was measured.
    pub what: String,
    /// Its unit.
    pub unit: String,
    /// In the order of measurement.
    pub samples: Vec<f64>,
    /// Statistics of the samples.
    pub min: f64,
    pub median: f64,
    pub max: f64,
    /// Ours divided by this one; `None` for our own.
    pub ratio: Option<f64>,
}

/// All results.
#[derive(Debug, Serialize)]
pub struct BenchReport {
    pub machine: Machine,
    pub figures: Vec<Figure>,
    pub not_measured: BTreeSet<String>,
    pub failures: Vec<String>,
}

impl BenchReport {
    /// Returns an empty report.
    pub fn new(machine: Machine) -> Self {
        Self { machine, figures: Vec::new(), not_measured: BTreeSet::new(), failures: Vec::new() }
    }

    /// Adds the samples of one run, or the reason why there are none.
    pub fn add(&mut self, scenario: &'static str, case: &str, target: &str, samples: Result<Vec<LatencySample>>) {
        let samples = match samples {
            Ok(samples) => samples,
            Err(error) => {
                return self.failed(format!("{scenario}, {case}, {target}: {error:#}"));
            }
        };
        let said: Vec<String> = samples.iter().map(|s| format!("{} {} {}", s.what, number(s.value), s.unit)).collect();
        eprintln!("{scenario}, {case}, {target}: {}", said.join(", "));
        for LatencySample { what, unit, value } in samples {
            let same = |figure: &&mut Figure| {
                figure.scenario == scenario && figure.case == case && figure.target == target && figure.what == what
            };
            if let Some(figure) = self.figures.iter_mut().find(same) {
                figure.samples.push(value);
            } else {
                let (case, target) = (case.to_owned(), target.to_owned());
                let (min, median, max, ratio) = (value, value, value, None);
                let samples = vec![value];
                self.figures.push(Figure { scenario, case, target, what, unit, samples, min, median, max, ratio });
            }
        }
    }

    /// Adds an error: the run continues, and ends as failed.
    pub fn failed(&mut self, what: String) {
        eprintln!("{what}");
        self.failures.push(what);
    }

    /// Adds what could not be measured, with the reason.
    pub fn not_measured(&mut self, what: String) {
        self.not_measured.insert(what);
    }

    /// Returns the figure of a target.
    pub fn figure(&self, scenario: &str, case: &str, what: &str, target: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| {
            figure.scenario == scenario && figure.case == case && figure.what == what && figure.target == target
        })
    }

    /// Computes the statistics of every figure, and the ratio of ours to it.
    pub fn sum_up(&mut self) {
        for figure in &mut self.figures {
            let mut sorted = figure.samples.clone();
            sorted.sort_by(f64::total_cmp);
            let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
            (figure.min, figure.median, figure.max) = (at(0), at(sorted.len() / 2), at(sorted.len().saturating_sub(1)));
        }
        let ours: Vec<Option<f64>> = self
            .figures
            .iter()
            .map(|f| self.figure(f.scenario, &f.case, &f.what, OURS).filter(|_| f.target != OURS).map(|o| o.median))
            .collect();
        for (figure, ours) in self.figures.iter_mut().zip(ours) {
            figure.ratio = ours.map(|ours| ours / figure.median);
        }
    }
}

/// Formats a number with its significant digits.
pub fn number(value: f64) -> String {
    let decimals = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    grouped(&format!("{value:.decimals$}"))
}

/// Adds commas between thousands.
pub fn grouped(text: &str) -> String {
    let (whole, rest) = text.find('.').map_or((text, ""), |at| text.split_at(at));
    let mut out = String::new();
    for (place, letter) in whole.chars().enumerate() {
        if place > 0 && letter.is_ascii_digit() && (whole.len() - place) % 3 == 0 && !out.ends_with('-') {
            out.push(',');
        }
        out.push(letter);
    }
    out + rest
}

/// Formats a size, such as "1 KiB".
pub fn size_name(size_bytes: usize) -> String {
    format!("{} KiB", size_bytes / 1024)
}

/// Formats a case, such as "10,000 × 1, 1 KiB".
pub fn shape_name(connections: usize, streams: usize, size_bytes: usize) -> String {
    let count = |number: usize| grouped(&number.to_string());
    format!("{} × {}, {}", count(connections), count(streams), size_name(size_bytes))
}

/// Returns the installed targets; the others are added to the report as not measured.
pub fn installed(report: &mut BenchReport, kinds: &[TargetKind]) -> Vec<TargetKind> {
    let (there, absent): (Vec<TargetKind>, Vec<TargetKind>) = kinds.iter().partition(|kind| kind.version().is_some());
    for kind in absent {
        let package = kind.program().map_or("", |(_, package)| package);
        report.not_measured(format!("{}: not installed (BENCH_INSTALL=1, or package {package})", kind.name()));
    }
    there
}
