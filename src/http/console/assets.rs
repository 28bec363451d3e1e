//! The style sheet, the script and the icon: part of the binary, at addresses that change with their contents.
//!
//! A browser keeps them for a year, and asks for new ones as soon as a page names others.

use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::Path;
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};

use crate::domain::digest::Digest;

/// Hex digits of the digest that are in an address.
const ADDRESS_DIGITS: usize = 16;
const FOREVER: &str = "public, max-age=31536000, immutable";

/// One file.
#[derive(Debug)]
struct Asset {
    /// The last part of its address.
    file: String,
    content_type: &'static str,
    text: &'static str,
}

static STYLESHEET: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("console", "css", "text/css; charset=utf-8", include_str!("assets/console.css")));
static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("console", "js", "text/javascript; charset=utf-8", include_str!("assets/console.js")));
static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("favicon", "svg", "image/svg+xml", include_str!("assets/favicon.svg")));

impl Asset {
    fn new(name: &str, suffix: &str, content_type: &'static str, text: &'static str) -> Self {
        let digest = Digest::of_bytes(text.as_bytes()).to_string();
        let digits: String = digest.chars().skip("sha256:".len()).take(ADDRESS_DIGITS).collect();
        Self { file: format!("{name}.{digits}.{suffix}"), content_type, text }
    }

    fn address(&self) -> String {
        format!("/assets/{}", self.file)
    }
}

/// The addresses of the files, for pages.
#[derive(Debug, Clone)]
pub struct AssetAddresses {
    /// The style sheet.
    pub style: String,
    /// The script of the console: keys, copying and live parts.
    pub script: String,
    /// The icon. Without one in the page browsers ask for `/favicon.ico`, which is not there.
    pub icon: String,
}

impl AssetAddresses {
    /// Returns the addresses of this build.
    #[must_use]
    pub fn current() -> Self {
        Self { style: STYLESHEET.address(), script: SCRIPT.address(), icon: ICON.address() }
    }
}

/// Answers a file by its address; 404 for one of another build.
pub async fn serve_asset(Path(file): Path<String>, headers: HeaderMap) -> Response {
    let found = [&*STYLESHEET, &*SCRIPT, &*ICON].into_iter().find(|asset| asset.file == file);
    let Some(asset) = found else { return answer(StatusCode::NOT_FOUND, None) };
    let etag = format!("\"{file}\"");
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes());
    let status = if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    answer(status, Some((asset, etag)))
}

fn answer(status: StatusCode, asset: Option<(&Asset, String)>) -> Response {
    let mut response = Response::builder().status(status);
    let mut body = Body::empty();
    if let Some((asset, etag)) = asset {
        response = response.header(header::ETAG, etag).header(header::CACHE_CONTROL, FOREVER);
        if status == StatusCode::OK {
            response = response.header(header::CONTENT_TYPE, asset.content_type);
            body = Body::from(asset.text);
        }
    }
    response.body(body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_the_contents() {
        let addresses = AssetAddresses::current();
        let all = [addresses.style, addresses.script, addresses.icon];
        assert!(
            all.iter().all(|address| address.starts_with("/assets/") && address.split('.').count() == 3),
            "{all:?}"
        );
    }
}
