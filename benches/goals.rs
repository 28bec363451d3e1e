//! The goals, as numbers: the only figures that are not measured.
//!
//! Boundary: reads figures, measures nothing. A goal whose figures are missing is "not measured", never met.

use serde::Serialize;

use super::growth::STORM_STATEMENTS;
use super::report::{BenchReport, OURS, number};

/// What a figure is divided by before it is compared.
enum Against {
    /// Nothing: the figure itself.
    Nothing,
    /// The same figure of another target.
    Target(&'static str),
    /// The same figure in another case.
    Case(&'static str),
}

/// Which side of the bound is good.
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

struct Goal {
    id: &'static str,
    scenario: &'static str,
    case: &'static str,
    what: &'static str,
    against: Against,
    bound: Bound,
}

const fn goal(
    id: &'static str,
    (scenario, case, what): (&'static str, &'static str, &'static str),
    against: Against,
    bound: Bound,
) -> Goal {
    Goal { id, scenario, case, what, against, bound }
}

use Against::{Case, Nothing, Target};
use Bound::{AtLeast, AtMost};

const DELIVERY: &str = "server CPU per delivery";
const IDLE: &str = "memory per idle subscriber";
const STATEMENTS: &str = "database statements per activation";
const ROWS: &str = "database rows per activation";
const ACTIVATION: &str = "server CPU per activation";

const GOALS: &[Goal] = &[
    goal("P1", ("fanout", "10,000 × 1, 1 KiB", DELIVERY), Target("etcd"), AtMost(0.65)),
    goal("P1", ("fanout", "10,000 × 1, 16 KiB", DELIVERY), Target("etcd"), AtMost(0.40)),
    goal("P2", ("fanout", "10,000 × 1, 1 KiB", DELIVERY), Target("NATS core"), AtMost(0.95)),
    goal("P2", ("fanout", "10,000 × 1, 16 KiB", DELIVERY), Target("NATS core"), AtMost(0.80)),
    goal("P3", ("fanout", "10,000 × 1, 1 KiB", DELIVERY), Target("raw h2"), AtMost(1.20)),
    goal("P3", ("fanout", "10,000 × 1, 16 KiB", DELIVERY), Target("raw h2"), AtMost(1.20)),
    goal("P4", ("fanout", "100 × 100, 1 KiB", DELIVERY), Target("etcd"), AtMost(0.20)),
    goal("P4", ("fanout", "100 × 100, 16 KiB", DELIVERY), Target("etcd"), AtMost(0.20)),
    goal("P4", ("fanout", "100 × 100, 1 KiB", DELIVERY), Target("raw h2"), AtMost(1.0)),
    goal("P4", ("fanout", "100 × 100, 16 KiB", DELIVERY), Target("raw h2"), AtMost(1.0)),
    goal("P5", ("fanout", "10,000 × 1, 1 KiB", IDLE), Nothing, AtMost(23.0)),
    goal("P5", ("fanout", "100 × 100, 1 KiB", IDLE), Nothing, AtMost(4.0)),
    goal("P6", ("fanout", "10,000 × 1, 1 KiB", "publish to last subscriber"), Target("etcd"), AtMost(0.65)),
    goal("P6", ("fanout", "10,000 × 1, 16 KiB", "publish to last subscriber"), Target("etcd"), AtMost(0.65)),
    goal("P7", ("getactive", "1 KiB", "rate"), Target("bare tonic"), AtLeast(0.90)),
    goal("P7", ("getactive", "16 KiB", "rate"), Target("bare tonic"), AtLeast(0.90)),
    goal("P7", ("getactive", "1 KiB", "server CPU per call"), Target("bare tonic"), AtMost(1.0 / 0.90)),
    goal("P7", ("getactive", "16 KiB", "server CPU per call"), Target("bare tonic"), AtMost(1.0 / 0.90)),
    goal("P8", ("activate", "PostgreSQL, 1 namespace", "rate"), Target("bare transactions"), AtLeast(0.80)),
    goal("P8", ("activate", "PostgreSQL, 16 namespaces", "rate"), Target("bare transactions"), AtLeast(0.80)),
    goal("P8", ("activate", "SQLite, 1 namespace", "rate"), Target("bare transactions"), AtLeast(0.80)),
    goal("P8", ("activate", "SQLite, 16 namespaces", "rate"), Target("bare transactions"), AtLeast(0.80)),
    goal("P9", ("resync", "10,000 × 1, 1 KiB", "cut to all caught up again"), Target("etcd"), AtMost(0.25)),
    goal("P9", ("resync", "10,000 × 1, 1 KiB", "memory per subscriber after it"), Nothing, AtMost(23.0)),
    goal("P9", ("resync", "10,000 × 1, 1 KiB", STORM_STATEMENTS), Nothing, AtMost(2.0)),
    goal("P10", ("growth", "10,000 policies", STATEMENTS), Case("10 policies, 10 versions"), AtMost(1.02)),
    goal("P10", ("growth", "10,000 policies", ROWS), Case("10 policies, 10 versions"), AtMost(1.02)),
    goal("P10", ("growth", "many versions", STATEMENTS), Case("10 policies, 10 versions"), AtMost(1.02)),
    goal("P10", ("growth", "many versions", ROWS), Case("10 policies, 10 versions"), AtMost(1.02)),
    goal("P10", ("growth", "10,000 subscribers", STATEMENTS), Case("10 policies, 10 versions"), AtMost(1.02)),
    // "linear in deliveries only", with room for noise.
    goal("P10", ("growth", "10,000 policies", ACTIVATION), Case("10 policies, 10 versions"), AtMost(1.25)),
    goal("P10", ("growth", "many versions", ACTIVATION), Case("10 policies, 10 versions"), AtMost(1.25)),
    goal("P10", ("growth", "many versions", "memory at start"), Case("10 policies, 10 versions"), AtMost(1.25)),
    goal(
        "P10",
        ("namespaces", "SQLite, 10,000 other namespaces", DELIVERY),
        Case("SQLite, no other namespaces"),
        AtMost(1.25),
    ),
    goal(
        "P10",
        ("namespaces", "PostgreSQL, 10,000 other namespaces", DELIVERY),
        Case("PostgreSQL, no other namespaces"),
        AtMost(1.25),
    ),
    goal(
        "P12",
        ("namespaces", "SQLite, 10,000 other namespaces", "start to ready"),
        Case("SQLite, no other namespaces"),
        AtMost(1.5),
    ),
    goal(
        "P12",
        ("namespaces", "PostgreSQL, 10,000 other namespaces", "start to ready"),
        Case("PostgreSQL, no other namespaces"),
        AtMost(1.5),
    ),
    goal("P11", ("idle", "10,000 × 1, 1 KiB", "idle server"), Nothing, AtMost(2.0)),
    goal("P11", ("idle", "10,000 × 1, 1 KiB, a heartbeat each 30 s", "idle server"), Nothing, AtMost(2.0)),
    goal("P13", ("tls", "10,000 × 1, 1 KiB", DELIVERY), Target("etcd"), AtMost(0.50)),
    goal("P13", ("tls", "10,000 × 1, 16 KiB", DELIVERY), Target("etcd"), AtMost(0.30)),
    goal("P13", ("tls", "10,000 × 1, 1 KiB", IDLE), Nothing, AtMost(32.0)),
    goal("P14", ("idle", "PostgreSQL, 10,000 × 1, 1 KiB", "WAL"), Nothing, AtMost(50.0)),
    goal("G23", ("noisy", "SQLite", "p99 of reads, beside ÷ alone"), Nothing, AtMost(1.5)),
    goal("G23", ("noisy", "SQLite", "p99 of writes, beside ÷ alone"), Nothing, AtMost(1.5)),
    goal("G23", ("noisy", "PostgreSQL", "p99 of reads, beside ÷ alone"), Nothing, AtMost(1.5)),
    goal("G23", ("noisy", "PostgreSQL", "p99 of writes, beside ÷ alone"), Nothing, AtMost(1.5)),
    goal("G28", ("checks", "SQLite", "p50 of a rollback, beside ÷ alone"), Nothing, AtMost(2.0)),
    goal("G28", ("checks", "SQLite", "p99 of a rollback, beside ÷ alone"), Nothing, AtMost(2.0)),
    goal("G28", ("checks", "SQLite", "p50 of a publish, beside ÷ alone"), Nothing, AtMost(2.0)),
    goal("G28", ("checks", "SQLite", "p99 of a publish, beside ÷ alone"), Nothing, AtMost(2.0)),
    goal("P12", ("growth", "many versions", "start to ready"), Case("empty store"), AtMost(1.5)),
];

/// A goal and its result.
#[derive(Debug, Serialize)]
pub struct GoalVerdict {
    id: &'static str,
    figure: String,
    against: String,
    goal: String,
    value: Option<f64>,
    met: Option<bool>,
}

/// Compares every goal with the report.
pub fn judge(report: &BenchReport) -> Vec<GoalVerdict> {
    GOALS.iter().map(|goal| goal.judge(report)).collect()
}

impl Goal {
    fn judge(&self, report: &BenchReport) -> GoalVerdict {
        let median = |case: &str, target: &str| {
            report.figure(self.scenario, case, self.what, target).map(|figure| figure.median)
        };
        let ours = median(self.case, OURS);
        let (base, against) = match self.against {
            Nothing => (Some(1.0), "itself".to_owned()),
            Target(target) => (median(self.case, target), target.to_owned()),
            Case(case) => (median(case, OURS), case.to_owned()),
        };
        let value = ours.zip(base).map(|(ours, base)| ours / base);
        let (goal, met) = match self.bound {
            AtMost(most) => (format!("≤ {}", number(most)), value.map(|value| value <= most)),
            AtLeast(least) => (format!("≥ {}", number(least)), value.map(|value| value >= least)),
        };
        let figure = format!("{}: {}, {}", self.scenario, self.case, self.what);
        GoalVerdict { id: self.id, figure, against, goal, value, met }
    }
}

impl GoalVerdict {
    /// Prints the goals that this run could judge, and how many it could not.
    pub fn print(verdicts: &[Self]) {
        println!("\n### goals\n\n| # | figure | against | goal | is | |\n|---|---|---|---|---|---|");
        for Self { id, figure, against, goal, value, met } in verdicts {
            let Some((value, met)) = value.zip(*met) else { continue };
            let met = if met { "met" } else { "missed" };
            println!("| {id} | {figure} | {against} | {goal} | {} | {met} |", number(value));
        }
        let missing: Vec<&str> = verdicts.iter().filter(|v| v.met.is_none()).map(|v| v.id).collect();
        if !missing.is_empty() {
            println!("\nnot measured in this run: {}", missing.join(", "));
        }
        println!();
    }
}
