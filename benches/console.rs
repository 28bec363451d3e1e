//! The pages of the console in a large store: bytes, server CPU and time to first byte of each.
//!
//! Boundary: the store is filled through the public API, and pages are read as a browser without a cache does, one after the other over
//! one connection, by somebody who is signed in. Nothing is compressed: the server compresses no page.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use policyhub::client::{Client, pb};
use policyhub::http::console::{Handler, ROUTES};
use tokio::task::JoinSet;

use super::checks::percentile;
use super::hub::{self, BenchHub, FILLERS, HubDirectory};
use super::plan::LatencySample;
use super::process::{Core, cpu, memory_kib};
use super::report::OURS;
use super::scenarios::{BenchRun, KIB};

/// Versions of each policy.
const VERSIONS_PER_POLICY: usize = 10;
/// Versions that one call publishes: the server's limit.
const PUBLICATIONS_PER_CALL: usize = 100;
/// Targets of one activation: the server's limit.
const TARGETS_MAX: usize = 100;
/// How often each page is read in a round, after some reads that are not measured.
const READS: usize = 300;
const WARM_UP_READS: usize = 10;
/// Further pages: searches that find in names, in every content, and nowhere, and where the search in contents goes on.
const SEARCHES: [(&str, &str); 4] = [
    ("namespace, a name is found", "/namespaces/default?q=p9999"),
    ("namespace, every content is found", "/namespaces/default?q=mark"),
    ("namespace, nothing is found", "/namespaces/default?q=nowhere"),
    ("namespace, a search goes on", "/namespaces/default?q=mark&contents_after=p5"),
];

impl BenchRun {
    /// Measures the pages of the console with 10,000 policies of 10 versions.
    pub async fn console(&mut self) -> Result<()> {
        let policies = if self.quick { 100 } else { 10_000 };
        let place = HubDirectory::new(None)?.with_console();
        let hub = BenchHub::start_on(Core::Server, &place)?;
        let began = Instant::now();
        fill(&hub, policies).await?;
        eprintln!("console: {policies} policies are written in {:.0} s", began.elapsed().as_secs_f64());
        let revision = hub::head(&hub.client().await?, "default").await?.revision;
        let mut browser = BenchBrowser::sign_in(hub.console.context("no console")?, &hub.token)?;
        let kept = browser.assets("/namespaces/default")?;
        let kept = vec![LatencySample::new("bytes of a page", "bytes", kept as f64)];
        self.report.add("console", "style, scripts and icon, which browsers keep", OURS, Ok(kept));
        for _ in 0..self.rounds {
            for (case, path) in pages(revision) {
                let reads = if self.quick { READS / 10 } else { READS };
                let samples = measure_page(&hub, &mut browser, &path, reads);
                self.report.add("console", case, OURS, samples);
            }
        }
        hub.process.end()?;
        self.report.add("console", "first read after a start", OURS, first_read(&place).await);
        Ok(())
    }
}

/// Starts the server again and reads one active policy: what is active in the namespace is verified first, all of it.
async fn first_read(place: &HubDirectory) -> Result<Vec<LatencySample>> {
    let hub = BenchHub::start_on(Core::Server, place)?;
    let client = hub.client().await?;
    let before = memory_kib(hub.process.id())?;
    let began = Instant::now();
    let name = "namespaces/default/policies/p0".to_owned();
    client.get_active(pb::GetActiveRequest { name, ..Default::default() }).await?;
    let took = began.elapsed();
    let grown = memory_kib(hub.process.id())? - before;
    hub.process.end()?;
    Ok(vec![
        LatencySample::new("first answer", "ms", took.as_secs_f64() * 1e3),
        LatencySample::new("memory that it adds", "MiB", grown / 1024.0),
    ])
}

/// Returns every page by its name.
fn pages(revision: i64) -> Vec<(&'static str, String)> {
    let path = |pattern: &str| {
        let parts = [("{namespace}", "default"), ("{policy}", "p0"), ("{version}", "1")];
        let path = parts.iter().fold(pattern.to_owned(), |path, (part, value)| path.replace(part, value));
        path.replace("{revision}", &revision.to_string())
    };
    // The archive is a download of all there is.
    let pages = ROUTES.iter().filter(|route| matches!(route.handler, Handler::Page(_)) && route.name != "archive");
    let pages = pages.map(|route| (route.name, path(route.path)));
    pages.chain(SEARCHES.map(|(case, path)| (case, path.to_owned()))).collect()
}

fn measure_page(hub: &BenchHub, browser: &mut BenchBrowser, path: &str, reads: usize) -> Result<Vec<LatencySample>> {
    for _ in 0..WARM_UP_READS {
        browser.get(path)?;
    }
    let (before, mut bytes, mut first_bytes) = (cpu(hub.process.id())?, 0, Vec::new());
    for _ in 0..reads {
        let page = browser.get(path)?;
        bytes = page.bytes;
        first_bytes.push(page.first_byte.as_secs_f64() * 1e3);
    }
    let used = (cpu(hub.process.id())? - before).as_secs_f64() * 1e6 / reads as f64;
    Ok(vec![
        LatencySample::new("bytes of a page", "bytes", bytes as f64),
        LatencySample::new("server CPU per page", "µs", used),
        LatencySample::new("p50 of the time to first byte", "ms", percentile(&mut first_bytes, 50)?),
        LatencySample::new("p99 of the time to first byte", "ms", percentile(&mut first_bytes, 99)?),
    ])
}

/// Fills the namespace `default` with policies of several published versions, each with its first one active.
async fn fill(hub: &BenchHub, policies: usize) -> Result<()> {
    let mut fillers = JoinSet::new();
    for filler in 0..FILLERS {
        let client = hub.client().await?;
        fillers.spawn(async move {
            for policy in (filler..policies).step_by(FILLERS) {
                for version in 0..VERSIONS_PER_POLICY {
                    draft(&client, policy, hub::content(KIB, policy * VERSIONS_PER_POLICY + version)).await?;
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(filled) = fillers.join_next().await {
        filled??;
    }
    let client = hub.client().await?;
    let names = (0..policies).flat_map(|policy| {
        (1..=VERSIONS_PER_POLICY)
            .map(move |version| format!("namespaces/default/policies/p{policy}/versions/{version}"))
    });
    // By one caller: each call holds the lock of the namespace for long.
    for names in names.collect::<Vec<_>>().chunks(PUBLICATIONS_PER_CALL) {
        publish(&client, names).await?;
    }
    let all: Vec<(String, i64)> = (0..policies).map(|policy| (format!("p{policy}"), 1)).collect();
    for targets in all.chunks(TARGETS_MAX) {
        client.activate(hub::activate_request("default", targets)).await?;
    }
    Ok(())
}

async fn draft(client: &Client, policy: usize, content: Vec<u8>) -> Result<()> {
    let request = pb::DraftRequest {
        parent: format!("namespaces/default/policies/p{policy}"),
        content: content.into(),
        content_type: "application/json".to_owned(),
        allow_missing: true,
        ..Default::default()
    };
    client.draft(request).await?;
    Ok(())
}

async fn publish(client: &Client, names: &[String]) -> Result<()> {
    let versions = names.iter().map(|name| pb::VersionToPublish { name: name.clone(), ..Default::default() });
    let request = pb::PublishVersionsRequest {
        parent: "namespaces/default".to_owned(),
        versions: versions.collect(),
        ..Default::default()
    };
    let results = client.publish_versions(request).await?.results;
    let is_published = |each: &pb::PublishVersionsResult| {
        matches!(each.outcome, Some(pb::publish_versions_result::Outcome::Published(_)))
    };
    ensure!(results.iter().all(is_published), "some versions were not published: {results:?}");
    Ok(())
}

/// Age at which a browser opens a new connection: the server ends each after a minute.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(30);

/// Somebody who is signed in, and one connection.
struct BenchBrowser {
    address: SocketAddr,
    cookie: String,
    socket: BufReader<TcpStream>,
    opened: Instant,
}

fn connect(address: SocketAddr) -> Result<BufReader<TcpStream>> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    Ok(BufReader::new(socket))
}

/// A page that was read to its end.
struct PageRead {
    head: String,
    text: String,
    bytes: usize,
    first_byte: Duration,
}

impl BenchBrowser {
    /// Signs in by a token.
    fn sign_in(address: SocketAddr, token: &str) -> Result<Self> {
        let mut browser = Self { address, cookie: String::new(), socket: connect(address)?, opened: Instant::now() };
        let form = format!("token={token}");
        let headers = format!(
            "Origin: http://{address}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
            form.len()
        );
        let answer = browser.send("POST /sign-in", &headers, &form)?;
        let set = answer.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).context("no session")?;
        browser.cookie = format!("Cookie: {}\r\n", set.split(';').next().unwrap_or_default());
        Ok(browser)
    }

    /// Reads a page.
    fn get(&mut self, path: &str) -> Result<PageRead> {
        if self.opened.elapsed() > CONNECTION_AGE_MAX {
            (self.socket, self.opened) = (connect(self.address)?, Instant::now());
        }
        let page = self.send(&format!("GET {path}"), "", "")?;
        ensure!(page.head.starts_with("HTTP/1.1 200 "), "{path}: {}", page.head);
        Ok(page)
    }

    /// Returns the bytes of what a page loads.
    fn assets(&mut self, path: &str) -> Result<usize> {
        let page = self.get(path)?.text;
        let named = page.split('"').filter(|part| part.starts_with("/assets/"));
        let named: BTreeSet<&str> = named.collect();
        ensure!(!named.is_empty(), "{path} loads nothing");
        named.into_iter().map(|asset| Ok(self.get(asset)?.bytes)).sum()
    }

    fn send(&mut self, what: &str, headers: &str, body: &str) -> Result<PageRead> {
        let request = format!("{what} HTTP/1.1\r\nHost: {}\r\n{}{headers}\r\n{body}", self.address, self.cookie);
        let began = Instant::now();
        self.socket.get_mut().write_all(request.as_bytes())?;
        ensure!(!self.socket.fill_buf()?.is_empty(), "{what}: the connection was closed");
        let first_byte = began.elapsed();
        let (mut head, mut line) = (String::new(), String::new());
        while line != "\r\n" {
            line.clear();
            ensure!(self.socket.read_line(&mut line)? > 0, "{what}: no end of the headers");
            head.push_str(&line);
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        let mut text = vec![0; length.trim().parse()?];
        self.socket.read_exact(&mut text)?;
        Ok(PageRead { head, bytes: text.len(), text: String::from_utf8(text)?, first_byte })
    }
}
