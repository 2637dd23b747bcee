//! The manifest that installs an orchestrator: what `kubectl apply -f` fetches.
//!
//! No API key: `kubectl` sends none. The token in the query is what counts; it is worth an enrolment and nothing else.
//! Refusals are plain text, because people read them with `curl`.
//!
//! What is filled in comes from our own configuration and from a token that the database knows; each is checked all the
//! same for having no character that means something in YAML, inside or outside of quotes.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::api::auth::sha256_hex;
use crate::api::chain;
use crate::app::App;
use crate::db::nodes::NodeKind;
use crate::db::{DbError, enrolment, nodes};

const TEMPLATE: &str = include_str!("../../../../../deploy/kubernetes/orchestrator.yaml");

/// The manifest that installs the orchestrator of a cluster.
///
/// For `kubectl apply -f`. It can be fetched until the token's time has run out; the first orchestrator that enrols with
/// it is the only one.
#[utoipa::path(get, path = "/api/v1/clusters/install.yaml", tag = "clusters",
    params(("token" = String, Query, description = "Of the cluster's enrolment")),
    responses(
        (status = 200, description = "Kubernetes objects", content_type = "application/yaml", body = String),
        (status = 404, description = "The token is unknown or its time has run out", content_type = "text/plain", body = String),
        (status = 503, description = "The panel cannot make it now", content_type = "text/plain", body = String),
    ))]
pub(super) async fn install(
    State(app): State<App>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Response {
    // A query that cannot be read has no token that could be known.
    let pairs = query.map(|Query(pairs)| pairs).unwrap_or_default();
    let token = pairs.into_iter().find_map(|(name, value)| (name == "token").then_some(value)).unwrap_or_default();
    match is_valid(&app, &token).await {
        Ok(true) => {}
        Ok(false) => return plain(StatusCode::NOT_FOUND, UNKNOWN),
        Err(error) => {
            tracing::warn!(error = chain(&error), "an enrolment token could not be looked up");
            return plain(StatusCode::SERVICE_UNAVAILABLE, "The panel's database did not answer. Try again.\n");
        }
    }
    match render(TEMPLATE, &app.public_url, &token, &app.image) {
        Some(manifest) => {
            let headers = [(CONTENT_TYPE, "application/yaml"), (CACHE_CONTROL, "no-store")];
            (headers, manifest).into_response()
        }
        None => plain(StatusCode::SERVICE_UNAVAILABLE, UNFIT),
    }
}

const UNKNOWN: &str = "This token is unknown, or its time has run out. Make a new one: Admin > Clusters > (cluster) > Install, or \
                       `badger cluster join-command`.\n";
const UNFIT: &str = "The panel's public URL or image name has characters that a manifest cannot carry. Start the panel \
                     with a plain --public-url and --image.\n";

fn plain(status: StatusCode, text: &'static str) -> Response {
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

async fn is_valid(app: &App, token: &str) -> Result<bool, DbError> {
    let mut conn = app.db.acquire().await?;
    let Some(found) = enrolment::token_get(&mut conn, &sha256_hex(token)).await? else { return Ok(false) };
    let node = nodes::node_get(&mut conn, found.node_id).await?;
    Ok(node.kind == NodeKind::Cluster && found.is_fresh(app.now()))
}

/// The template with its three gaps filled and without its comments, which are for those who change it; or none if
/// something does not fit into a gap.
fn render(template: &str, panel_url: &str, token: &str, image: &str) -> Option<String> {
    let fits = |text: &str, also: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || also.contains(&byte))
    };
    let is_url = panel_url.starts_with("http://") || panel_url.starts_with("https://");
    let all_fit = is_url && fits(panel_url, b":/.-_~%[]") && fits(token, b"-_") && fits(image, b"./:@-_");
    if !all_fit {
        return None;
    }
    let gaps = [("{{PANEL_URL}}", panel_url), ("{{TOKEN}}", token), ("{{IMAGE}}", image)];
    let mut manifest = String::with_capacity(template.len());
    for line in template.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let filled = gaps.iter().fold(line.to_owned(), |line, (gap, value)| line.replace(gap, value));
        manifest.push_str(&filled);
        manifest.push('\n');
    }
    Some(manifest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_gap_is_left_and_each_value_is_where_it_belongs() {
        let manifest =
            render(TEMPLATE, "https://panel.example:8443", "bpe_T-1", "example.org/badger@sha256:00").unwrap();
        assert!(!manifest.contains("{{"), "{manifest}");
        for part in ["https://panel.example:8443", "bpe_T-1", "image: \"example.org/badger@sha256:00\""] {
            assert!(manifest.contains(part), "{part}");
        }
    }

    #[test]
    fn nothing_that_means_something_in_yaml_gets_in() {
        let good = ("https://p", "bpe_a", "example.org/b:1");
        assert!(render(TEMPLATE, good.0, good.1, good.2).is_some());
        for bad in ["", "a\"b", "a\nkind: Secret", "a b", "a#b", "a\\", "a'b", "{{TOKEN}}", "a\tb", "ü"] {
            assert_eq!(render(TEMPLATE, &format!("https://{bad}\""), good.1, good.2), None, "{bad:?}");
            assert_eq!(render(TEMPLATE, good.0, bad, good.2), None, "{bad:?}");
            assert_eq!(render(TEMPLATE, good.0, good.1, bad), None, "{bad:?}");
        }
        assert_eq!(render(TEMPLATE, "panel.example", good.1, good.2), None);
    }
}
