//! The machine that the figures were measured on, as far as a program can find out.
//!
//! Invariant: nothing is assumed; what could not be found out is printed as unknown.

use std::process::Command;

use anyhow::Result;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;

use super::process::can_pin;
use super::target::TargetKind;

/// The machine and the programs.
#[derive(Debug, Serialize)]
pub struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: f64,
    kernel: String,
    profile: &'static str,
    pinned: bool,
    open_files_max: u64,
    congestion_control: String,
    versions: Vec<(String, String)>,
    date: String,
}

impl Machine {
    /// Reads the machine's properties, and raises the limit of open files to the maximum; processes started later inherit it.
    pub fn look(postgres: Option<String>) -> Result<Self> {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        let mut versions: Vec<(String, String)> = [TargetKind::Policyhub, TargetKind::Etcd, TargetKind::Nats]
            .map(|kind| (kind.name().to_owned(), kind.version().unwrap_or_else(|| "not installed".to_owned())))
            .into();
        versions.push(("PostgreSQL".to_owned(), postgres.unwrap_or_else(|| "not installed".to_owned())));
        Ok(Self {
            cpu: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: field("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0)
                / f64::from(1 << 20),
            kernel: said("uname", &["-sr"]),
            profile: if cfg!(debug_assertions) { "dev: figures mean nothing" } else { "release" },
            pinned: can_pin(),
            open_files_max: hard,
            congestion_control: std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control")
                .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned()),
            versions,
            date: said("date", &["-u", "+%Y-%m-%d"]),
        })
    }

    /// Prints them for a reader.
    pub fn print(&self) {
        let Self { cpu, cores, memory_gib, kernel, profile, pinned, open_files_max, versions, date, .. } = self;
        println!("{date} · {cpu} · {cores} cores · {memory_gib:.0} GiB · {kernel} · profile {profile}");
        let pinned = if *pinned { "server on core 0, driver on core 1" } else { "not pinned: no taskset or one core" };
        println!("{pinned} · at most {open_files_max} open files a process · TCP {}", self.congestion_control);
        for (name, version) in versions {
            println!("{name}: {version}");
        }
    }
}

fn field(file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
    line.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok();
    let text = output.and_then(|output| String::from_utf8(output.stdout).ok());
    text.map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}
