//! What a run was asked for: variables of the environment, as `make faults` and a replay set them.

/// Seeds that a planted defect may take until it is caught.
const DEFECT_SEEDS_MAX: u64 = 200;
/// Streams of a storm and stuck readers: in the small set, and in full.
const STORM_STREAMS: [usize; 2] = [500, 5_000];
const STUCK_READERS: [usize; 2] = [100, 1_000];

/// A run.
#[derive(Debug, Clone)]
pub struct FaultSettings {
    /// Says how many seeds: `SCHEDULES`; none: the small set, which `cargo test` runs.
    pub schedules: Option<u64>,
    /// Says which of them: those that bring a fault with this in its name: `FAULT`.
    pub fault: Option<String>,
    /// Holds beyond every timer of a server, and big drills: `FULL`.
    pub full: bool,
    /// Says how often each seed runs: `REPEAT`.
    pub repeat: u64,
    /// Every schedule is a rolling upgrade, from the earlier version that `OLD_BINARY` names.
    pub mixed: bool,
    /// The first one: `SEED`.
    pub seed: u64,
    /// Says how many schedules run at once, each on a database of its own: `LANES`.
    pub lanes: usize,
    /// Says which of the big faults run besides: `DRILLS`, `storm` and `stuck` with commas between, or `none`.
    pub drills: Vec<String>,
    pub storm_streams: usize,
    pub stuck_readers: usize,
    /// Planted in every server, to replay a catch: `DEFECT`.
    pub defect: Option<String>,
    /// Runs every planted defect until it is caught: `DEFECTS`, all or their names with commas between.
    pub defects: Option<Vec<String>>,
    /// Seeds for each: `DEFECT_SEEDS`.
    #[cfg_attr(not(feature = "planted-defects"), expect(dead_code, reason = "nothing is planted"))]
    pub defect_seeds: u64,
}

impl FaultSettings {
    /// Reads them.
    pub fn read() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let number = |name: &str, otherwise: u64| match text(name) {
            Some(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text}")),
            None => otherwise,
        };
        let list = |text: String| text.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>();
        let full = usize::from(text("FULL").is_some());
        let drills = text("DRILLS").map_or_else(|| vec!["storm".to_owned(), "stuck".to_owned()], list);
        Self {
            schedules: text("SCHEDULES").map(|_| number("SCHEDULES", 0)),
            fault: text("FAULT"),
            full: full == 1,
            repeat: number("REPEAT", 1).max(1),
            mixed: text("OLD_BINARY").is_some(),
            seed: number("SEED", 1),
            lanes: usize::try_from(number("LANES", 2)).expect("a small number").max(1),
            drills: drills.into_iter().filter(|drill| drill != "none").collect(),
            storm_streams: STORM_STREAMS[full],
            stuck_readers: STUCK_READERS[full],
            defect: text("DEFECT"),
            defects: text("DEFECTS").map(list),
            defect_seeds: number("DEFECT_SEEDS", DEFECT_SEEDS_MAX),
        }
    }
}
