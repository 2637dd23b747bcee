//! The web interface: the files that `web/` is built into, which are inside of the executable.
//!
//! ```text
//! /assets/…            have a hash in their names: kept for ever by browsers
//! /api/docs            the API's reference, a page of its own
//! any other file       asked for anew each time, answered with 304 while it is the same
//! any other path       the interface's one page, if a browser asks for a page; its program reads the address
//! ```
//!
//! It knows nothing of users: the interface talks to the API like everybody else. Called by [`super::router`] for whatever
//! no route has.

use std::borrow::Cow;

use axum::Router;
use axum::body::Body;
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use data_encoding::HEXLOWER;
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::app::App;

/// What `web/` was built into; empty if it was not built.
#[derive(RustEmbed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
struct Dist;

const INDEX: &str = "index.html";
const REFERENCE: &str = "reference.html";

/// Scripts and everything else from the panel alone. Styles may stand in pages: the component library puts its variables
/// there. Nobody may show the interface inside of a page of theirs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    font-src 'self' data:; connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>BadgerPanel</title>\
    <h1>BadgerPanel</h1><p>This executable was built without its web interface. Run <code>make web</code> (it takes Node.js 20 \
    and npm), then build it again. The API is at <a href=\"/api/v1/openapi.json\">/api/v1</a>.</p></html>";

pub(super) fn routes() -> Router<App> {
    Router::new().route("/api/docs", get(async |headers: HeaderMap| page::<Dist>(REFERENCE, &headers)))
}

/// The file at `path`, or the interface's page. None for whom the API's own answer is better.
pub(super) fn answer(path: &str, headers: &HeaderMap) -> Option<Response> {
    find::<Dist>(path, headers)
}

fn find<Files: RustEmbed>(path: &str, headers: &HeaderMap) -> Option<Response> {
    let name = path.trim_start_matches('/');
    if name.starts_with("api/") || name == "api" {
        return None;
    }
    if name.is_empty() {
        return Some(page::<Files>(INDEX, headers));
    }
    // Compressed twins and pages are no files to be asked for by name.
    if let Some(file) = Files::get(name).filter(|_| !is_hidden(name)) {
        return Some(file_answer::<Files>(name, &file, headers));
    }
    let is_page = !name.starts_with("assets/") && accepts(headers, ACCEPT, "text/html");
    is_page.then(|| page::<Files>(INDEX, headers))
}

fn is_hidden(name: &str) -> bool {
    name == INDEX || name == REFERENCE || extension(name) == "gz"
}

fn page<Files: RustEmbed>(name: &str, headers: &HeaderMap) -> Response {
    match Files::get(name) {
        Some(file) => file_answer::<Files>(name, &file, headers),
        None => guarded((StatusCode::SERVICE_UNAVAILABLE, [(CONTENT_TYPE, "text/html; charset=utf-8")], NOT_BUILT)),
    }
}

fn file_answer<Files: RustEmbed>(name: &str, file: &EmbeddedFile, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", &HEXLOWER.encode(&file.metadata.sha256_hash())[..32]);
    let forever = name.starts_with("assets/");
    let caching = if forever { "public, max-age=31536000, immutable" } else { "no-cache" };
    if accepts(headers, IF_NONE_MATCH, &tag) {
        return guarded((StatusCode::NOT_MODIFIED, [(ETAG, tag), (CACHE_CONTROL, caching.to_owned())]));
    }
    let compressed = accepts(headers, ACCEPT_ENCODING, "gzip").then(|| Files::get(&format!("{name}.gz"))).flatten();
    let encoding = compressed.is_some().then_some((CONTENT_ENCODING, HeaderValue::from_static("gzip")));
    let data = compressed.map_or_else(|| file.data.clone(), |compressed| compressed.data);
    let head = [(CONTENT_TYPE, media_type(name)), (CACHE_CONTROL, caching), (VARY, "Accept-Encoding")];
    let mut response = guarded((head, [(ETAG, tag)], body(data)));
    response.headers_mut().extend(encoding);
    response
}

/// Files inside of the executable are not copied.
fn body(data: Cow<'static, [u8]>) -> Body {
    match data {
        Cow::Borrowed(bytes) => Body::from(bytes),
        Cow::Owned(bytes) => Body::from(bytes),
    }
}

/// Adds the headers that every file of the interface has.
fn guarded(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether a header of a request names `wanted` among what stands between its commas.
fn accepts(headers: &HeaderMap, name: HeaderName, wanted: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let mut items = lines.flat_map(|line| line.split(','));
    items.any(|item| item.split(';').next().is_some_and(|item| item.trim().trim_start_matches("W/") == wanted))
}

fn extension(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

fn media_type(name: &str) -> &'static str {
    match extension(name) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "json" => "application/json",
        "png" => "image/png",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
