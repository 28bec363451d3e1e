//! The text that a server prints when it starts on a terminal: its data, token and addresses, and what to type next.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use super::config::{DATA_DIR, GRPC_PORT};
use super::data_dir::DataDir;
use crate::store::Database;

/// The address that commands use when none is given.
const CLIENTS_ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), GRPC_PORT);

/// The facts about a server that has started.
#[derive(Debug)]
pub struct StartupBanner<'a> {
    pub data_dir: &'a DataDir,
    pub database: &'a Database,
    pub grpc_addr: SocketAddr,
    pub http_addr: SocketAddr,
    pub console_addr: Option<SocketAddr>,
    pub has_tls: bool,
}

/// Prints the banner when stderr is a terminal.
pub fn print_if_terminal(banner: &StartupBanner<'_>) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        // A failed write must not keep the server from serving.
        let _ = write!(stderr, "{banner}");
    }
}

impl fmt::Display for StartupBanner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { data_dir, database, grpc_addr, http_addr, console_addr, has_tls } = self;
        let (directory, token) = (data_dir.path(), data_dir.admin_token());
        let database = match database {
            Database::Sqlite { path } => format!("SQLite, {}", path.display()),
            Database::Postgres { .. } => "PostgreSQL".to_owned(),
        };
        let scheme = if *has_tls { "https" } else { "http" };
        writeln!(f, "\nPolicy Hub {} serves.\n", env!("CARGO_PKG_VERSION"))?;
        writeln!(f, "  database     {database}")?;
        writeln!(f, "  admin token  {}", token.display())?;
        writeln!(f, "  gRPC         {scheme}://{grpc_addr}")?;
        writeln!(f, "  HTTP         http://{http_addr}  (/readyz, /metrics)")?;
        if let Some(console_addr) = console_addr {
            writeln!(f, "  console      {scheme}://{console_addr}  (`policyhub console` signs you in)")?;
        }
        writeln!(f, "\nCtrl-C ends it. In another terminal, in this directory:\n")?;
        if directory != Path::new(DATA_DIR) {
            writeln!(f, "  export POLICYHUB_DATA_DIR='{}'", directory.display())?;
        }
        let port = grpc_addr.port();
        if *has_tls {
            writeln!(f, "  export POLICYHUB_SERVER=https://NAME:{port}    # with a name that its certificate has")?;
        } else if *grpc_addr != CLIENTS_ADDR {
            let ip = if grpc_addr.ip().is_unspecified() { CLIENTS_ADDR.ip() } else { grpc_addr.ip() };
            writeln!(f, "  export POLICYHUB_SERVER=http://{}", SocketAddr::new(ip, port))?;
        }
        writeln!(f, "  policyhub draft my-policy my-policy.yaml --create")?;
        writeln!(f, "  policyhub help\n")
    }
}
