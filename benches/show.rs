//! Prints and writes the results of a run: medians, ratios and goals.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::goals::{self, GoalVerdict};
use super::report::{BenchReport, Figure, OURS, number};

impl BenchReport {
    /// Prints everything and writes it as JSON. Returns whether nothing failed.
    pub fn finish(mut self, json: &Path) -> Result<bool> {
        self.sum_up();
        self.machine.print();
        let mut tables: Vec<(&str, &str, &str)> = Vec::new();
        for figure in &self.figures {
            let table = (figure.scenario, figure.what.as_str(), figure.unit.as_str());
            if !tables.contains(&table) {
                tables.push(table);
            }
        }
        for (scenario, what, unit) in tables {
            self.table(scenario, what, unit);
        }
        let verdicts = goals::judge(&self);
        GoalVerdict::print(&verdicts);
        for what in &self.not_measured {
            println!("not measured: {what}");
        }
        for failure in &self.failures {
            println!("failed: {failure}");
        }
        let written = serde_json::json!({ "report": self, "goals": verdicts });
        if let Some(directory) = json.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::write(json, serde_json::to_vec_pretty(&written)?)
            .with_context(|| format!("failed to write {}", json.display()))?;
        println!("\nevery sample is in {}", json.display());
        Ok(self.failures.is_empty())
    }

    fn table(&self, scenario: &str, what: &str, unit: &str) {
        let of_it = || self.figures.iter().filter(|f| f.scenario == scenario && f.what == what);
        let (mut cases, mut targets): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
        for figure in of_it() {
            if !cases.contains(&figure.case.as_str()) {
                cases.push(&figure.case);
            }
            if !targets.contains(&figure.target.as_str()) {
                targets.push(&figure.target);
            }
        }
        let unit = if unit.is_empty() { String::new() } else { format!(", {unit}") };
        let brackets = if targets.len() > 1 { format!(" (in brackets: {OURS} divided by it)") } else { String::new() };
        println!("\n### {scenario}: {what}{unit}{brackets}\n");
        println!("| | {} |", targets.join(" | "));
        println!("|---|{}", "---|".repeat(targets.len()));
        for case in cases {
            let cells: Vec<String> = targets
                .iter()
                .map(|target| match self.figure(scenario, case, what, target) {
                    None => "–".to_owned(),
                    Some(Figure { median, ratio: None, .. }) => number(*median),
                    Some(Figure { median, ratio: Some(ratio), .. }) => format!("{} (×{ratio:.2})", number(*median)),
                })
                .collect();
            println!("| {case} | {} |", cells.join(" | "));
        }
    }
}
