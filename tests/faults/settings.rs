//! The settings of a run: environment variables, as `make faults` and a replay set them.

/// Number of seeds within which a planted defect must be caught.
const DEFECT_SEEDS_MAX: u64 = 200;
/// Streams of a storm and stuck readers: in the small set, and in full.
const STORM_STREAMS: [usize; 2] = [500, 5_000];
const STUCK_READERS: [usize; 2] = [100, 1_000];

/// The settings of a run.
#[derive(Debug, Clone)]
pub struct FaultSettings {
    /// Number of seeds: `SCHEDULES`. `None` means the small set, which `cargo test` runs.
    pub schedules: Option<u64>,
    /// Only seeds with a fault that has this in its name: `FAULT`.
    pub fault: Option<String>,
    /// Faults that last longer than every timer of a server, and large drills: `FULL`.
    pub full: bool,
    /// How often each seed runs: `REPEAT`.
    pub repeat: u64,
    /// Makes every schedule a rolling upgrade, from the earlier version that `OLD_BINARY` names.
    pub mixed: bool,
    /// The first seed: `SEED`.
    pub seed: u64,
    /// Number of concurrent schedules, each on a separate database: `LANES`.
    pub lanes: usize,
    /// The additional large faults: `DRILLS`, `storm` and `stuck` separated by commas, or `none`.
    pub drills: Vec<String>,
    pub storm_streams: usize,
    pub stuck_readers: usize,
    /// A defect planted in every server, to replay a catch: `DEFECT`.
    pub defect: Option<String>,
    /// Runs every planted defect until it is caught: `DEFECTS`, all or their names separated by commas.
    pub defects: Option<Vec<String>>,
    /// Number of seeds for each: `DEFECT_SEEDS`.
    #[cfg_attr(not(feature = "planted-defects"), expect(dead_code, reason = "nothing is planted"))]
    pub defect_seeds: u64,
}

impl FaultSettings {
    /// Reads the settings from the environment.
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
