//! The address of the web console, or that there is none.

use std::net::SocketAddr;
use std::str::FromStr;

use serde::Deserialize;

/// The word that turns the console off.
const OFF: &str = "off";

/// Where the web console listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ConsoleAddr {
    /// Nowhere.
    Off,
    /// At this address.
    At(SocketAddr),
}

impl FromStr for ConsoleAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == OFF {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|_| "must be an IP address and a port, or off".to_owned())
    }
}

impl TryFrom<String> for ConsoleAddr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
