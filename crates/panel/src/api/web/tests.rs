//! Against a small set of files, so that they hold whether or not the interface was built.

use super::*;

#[derive(RustEmbed)]
#[folder = "src/api/web/fixture"]
struct Fixture;

/// A set without files, like that of an executable that was built without the interface.
#[derive(RustEmbed)]
#[folder = "src/api/web/nothing-here"]
#[allow_missing = true]
struct Nothing;

fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
}

fn browser() -> HeaderMap {
    headers(&[(ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8"), (ACCEPT_ENCODING, "gzip, deflate, br")])
}

fn header(response: &Response, name: HeaderName) -> &str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[test]
fn a_browser_gets_the_page_at_whatever_address_its_program_knows() {
    for path in ["/", "/admin/servers", "/admin/servers/0198/transfer"] {
        let response = find::<Fixture>(path, &browser()).unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(header(&response, CONTENT_TYPE), "text/html; charset=utf-8");
        assert_eq!(header(&response, CACHE_CONTROL), "no-cache");
    }
}

#[test]
fn what_belongs_to_the_api_or_is_no_page_is_left_to_the_api() {
    for path in ["/api", "/api/v1/nothing", "/assets/index-old.js"] {
        assert!(find::<Fixture>(path, &browser()).is_none(), "{path}");
    }
    assert!(find::<Fixture>("/nothing", &headers(&[(ACCEPT, "*/*")])).is_none());
    assert!(find::<Fixture>("/nothing", &HeaderMap::new()).is_none());
}

#[test]
fn files_with_a_hash_in_their_names_are_kept_for_ever_and_compressed() {
    let plain = find::<Fixture>("/assets/index-abc123.js", &HeaderMap::new()).unwrap();
    assert_eq!(header(&plain, CACHE_CONTROL), "public, max-age=31536000, immutable");
    assert_eq!(header(&plain, CONTENT_TYPE), "text/javascript; charset=utf-8");
    assert_eq!(header(&plain, CONTENT_ENCODING), "");
    let compressed = find::<Fixture>("/assets/index-abc123.js", &browser()).unwrap();
    assert_eq!(header(&compressed, CONTENT_ENCODING), "gzip");
    assert_eq!(header(&compressed, VARY), "Accept-Encoding");
}

#[test]
fn what_a_browser_has_is_not_sent_again() {
    let first = find::<Fixture>("/badger.svg", &HeaderMap::new()).unwrap();
    let tag = header(&first, ETAG).to_owned();
    let second = find::<Fixture>("/badger.svg", &headers(&[(IF_NONE_MATCH, &tag)])).unwrap();
    assert_eq!(second.status(), StatusCode::NOT_MODIFIED);
}

#[test]
fn every_answer_forbids_scripts_in_pages_and_frames_around_them() {
    let of_browser = browser();
    for response in [page::<Fixture>(INDEX, &of_browser), find::<Fixture>("/badger.svg", &of_browser).unwrap()] {
        let policy = header(&response, CONTENT_SECURITY_POLICY);
        assert!(policy.contains("script-src 'self';") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(header(&response, X_CONTENT_TYPE_OPTIONS), "nosniff");
    }
}

#[test]
fn an_executable_without_the_interface_says_how_to_get_it() {
    let response = find::<Nothing>("/", &browser()).unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(NOT_BUILT.contains("make web"));
    assert!(header(&response, CONTENT_SECURITY_POLICY).contains("default-src 'none'"));
}
