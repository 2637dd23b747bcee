//! Numbers for Prometheus, in its text format.
//!
//! Behind a key like everything else (`authorization: {credentials: bp_…}` in a scrape configuration): what it tells is
//! not for strangers. Each scrape is a handful of sums in the database, and nothing is counted in memory.

use std::fmt::Write as _;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa::OpenApi;

use super::{Admin, ApiError};
use crate::app::App;
use crate::db::metrics::{self, FREEZE_BUCKETS_MS, Freezes};
use crate::db::nodes;

#[derive(OpenApi)]
#[openapi(paths(show))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/metrics", get(show))
}

/// Shows numbers for Prometheus; needs the permission `admin.metrics.read`.
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, description = "Prometheus' text format", content_type = "text/plain", body = String),
))]
async fn show(State(app): State<App>, admin: Admin) -> Result<Response, ApiError> {
    admin.may("admin.metrics.read")?;
    let mut conn = app.db.acquire().await?;
    let mut page = Page::default();
    page.head("badger_build_info", "gauge", "The release that runs");
    page.line("badger_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.head("badger_servers", "gauge", "Servers by status");
    for (status, count) in metrics::servers_by_status(&mut conn).await? {
        page.line("badger_servers", &[("status", &status)], count);
    }
    page.head("badger_nodes", "gauge", "Nodes and clusters, and whether their agents are connected");
    for ((kind, online), count) in places(&app, &nodes::nodes_all(&mut conn, None).await?) {
        page.line("badger_nodes", &[("kind", kind), ("online", online)], count);
    }
    page.head("badger_transfers", "gauge", "Transfers by state, those that are over too");
    for (state, count) in metrics::transfers_by_state(&mut conn).await? {
        page.line("badger_transfers", &[("state", &state)], count);
    }
    page.head("badger_evacuations", "gauge", "Evacuations by state, those that are over too");
    for (state, count) in metrics::evacuations_by_state(&mut conn).await? {
        page.line("badger_evacuations", &[("state", &state)], count);
    }
    page.freezes(&metrics::freezes(&mut conn).await?);
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page.0).into_response())
}

fn places(app: &App, nodes: &[nodes::Node]) -> std::collections::BTreeMap<(&'static str, &'static str), u64> {
    let mut counts = std::collections::BTreeMap::new();
    for node in nodes {
        let online = if app.agents.is_online(node.id) { "true" } else { "false" };
        *counts.entry((node.kind.noun(), online)).or_default() += 1;
    }
    counts
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.add(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// Labels are words of ours: there is nothing in them to escape.
    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        self.add(format_args!("{name}{{{}}} {value}\n", labels.join(",")));
    }

    #[allow(clippy::cast_precision_loss, reason = "seconds for people")]
    fn freezes(&mut self, freezes: &Freezes) {
        let name = "badger_transfer_freeze_seconds";
        self.head(name, "histogram", "For how long the players of completed transfers waited");
        for (bound, count) in FREEZE_BUCKETS_MS.iter().zip(freezes.buckets) {
            let bound = (*bound as f64 / 1000.0).to_string();
            self.line(&format!("{name}_bucket"), &[("le", &bound)], count);
        }
        self.line(&format!("{name}_bucket"), &[("le", "+Inf")], freezes.count);
        self.add(format_args!("{name}_sum {}\n{name}_count {}\n", freezes.sum_ms as f64 / 1000.0, freezes.count));
    }

    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        // A String takes everything.
        self.0.write_fmt(text).unwrap_or_default();
    }
}
