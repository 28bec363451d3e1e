//! The flags of a namespace's quotas, and their text. Each flag is one path of UpdateNamespace's mask.

use clap::Args;

use crate::client::pb;

/// What a namespace may use; 0: as the server is configured. A flag that is not given changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct QuotaFlags {
    /// Policies; 0: as the server is configured
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    max_policies: Option<i64>,
    /// Versions of all policies together; 0: as the server is configured
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    max_versions: Option<i64>,
    /// Content of all versions together; 0: as the server is configured
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(i64).range(0..))]
    max_content_bytes: Option<i64>,
    /// Watches open at one replica; 0: as the server is configured
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    max_streams: Option<i32>,
    /// Writes in a second at one replica; 0: as the server is configured
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    writes_per_second: Option<i32>,
    /// Reads in a second at one replica; 0: as the server is configured
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    reads_per_second: Option<i32>,
}

impl QuotaFlags {
    /// Returns whether no quota is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// Returns the quotas, 0 where none is given, and the paths of those that are given.
    #[must_use]
    pub fn read(&self) -> (pb::NamespaceQuotas, Vec<String>) {
        let given = [
            ("max_policies", self.max_policies.is_some()),
            ("max_versions", self.max_versions.is_some()),
            ("max_content_bytes", self.max_content_bytes.is_some()),
            ("max_streams", self.max_streams.is_some()),
            ("writes_per_second", self.writes_per_second.is_some()),
            ("reads_per_second", self.reads_per_second.is_some()),
        ];
        let quotas = pb::NamespaceQuotas {
            max_policies: self.max_policies.unwrap_or_default(),
            max_versions: self.max_versions.unwrap_or_default(),
            max_content_bytes: self.max_content_bytes.unwrap_or_default(),
            max_streams: self.max_streams.unwrap_or_default(),
            writes_per_second: self.writes_per_second.unwrap_or_default(),
            reads_per_second: self.reads_per_second.unwrap_or_default(),
        };
        let paths = given.iter().filter(|(_, given)| *given).map(|(name, _)| format!("quotas.{name}")).collect();
        (quotas, paths)
    }
}

/// Returns the quotas that are set for a namespace, in one cell.
#[must_use]
pub fn cell(quotas: &pb::NamespaceQuotas) -> String {
    let all = [
        ("policies", quotas.max_policies),
        ("versions", quotas.max_versions),
        ("bytes", quotas.max_content_bytes),
        ("streams", quotas.max_streams.into()),
        ("writes/s", quotas.writes_per_second.into()),
        ("reads/s", quotas.reads_per_second.into()),
    ];
    let said: Vec<String> =
        all.iter().filter(|(_, value)| *value != 0).map(|(name, value)| format!("{name}={value}")).collect();
    if said.is_empty() { "server's".to_owned() } else { said.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_given_is_in_the_mask() {
        let flags = QuotaFlags { max_policies: Some(5), reads_per_second: Some(0), ..Default::default() };
        let (quotas, paths) = flags.read();
        assert_eq!(paths, ["quotas.max_policies", "quotas.reads_per_second"]);
        assert_eq!((quotas.max_policies, quotas.reads_per_second), (5, 0));
        assert!(QuotaFlags::default().is_empty() && !flags.is_empty());
    }

    #[test]
    fn a_cell_names_what_was_said() {
        let quotas = pb::NamespaceQuotas { max_streams: 7, writes_per_second: 3, ..Default::default() };
        assert_eq!(cell(&quotas), "streams=7,writes/s=3");
        assert_eq!(cell(&pb::NamespaceQuotas::default()), "server's");
    }
}
