//! The audit log: who changed what, and when. It is read here and written by the handlers; nothing changes it.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::{OpenApi, ToSchema};
use uuid::Uuid;

use super::views::Many;
use super::{Admin, Answer, ApiError, ListQuery};
use crate::app::App;
use crate::db::audit::{self, Entry, Filter};

#[derive(OpenApi)]
#[openapi(paths(list))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/admin/audit", get(list))
}

/// Something that was done.
#[derive(Debug, Serialize, ToSchema)]
struct EntryView {
    /// Its id.
    id: Uuid,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// By whom: `user:<id>:<name>`, `api_key:<id>:<name>`, or `address:<address>` for a log-in that failed.
    #[schema(example = "user:0198a7b2-0000-7000-8000-000000000001:kim")]
    actor: String,
    /// What.
    #[schema(example = "server.create")]
    action: String,
    /// To what: an id, as a rule.
    #[schema(example = "0198a7b2-0000-7000-8000-000000000002")]
    subject: String,
    /// More, by action.
    #[schema(value_type = Object, example = json!({"name": "survival"}))]
    details: Value,
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        let Entry { id, at, actor, action, subject, details } = entry;
        Self { id, at, actor, action, subject, details }
    }
}

/// Lists what was done, the youngest first.
#[utoipa::path(get, path = "/api/v1/admin/audit", tag = "audit", params(
    ("sort" = Option<String>, Query, description = "at; - in front for descending, which is the default"),
    ("filter[actor]" = Option<String>, Query, description = "An actor, or the beginning of one: `user:<id>`, `api_key:`"),
    ("filter[action]" = Option<String>, Query, description = "An action (`server.create`) or the noun of several (`server`)"),
    ("filter[subject]" = Option<String>, Query, description = "To this id"),
    ("filter[from]" = Option<String>, Query, description = "Not before this time"),
    ("filter[until]" = Option<String>, Query, description = "Before this time"),
), responses((status = 200, description = "One page", body = Many<EntryView>)))]
async fn list(State(app): State<App>, admin: Admin, query: ListQuery) -> Result<Answer, ApiError> {
    admin.may("admin.audit.list")?;
    query.only_filters(&["actor", "action", "subject", "from", "until"])?;
    let sort = query.sort(&["at"], "-at")?;
    let filter = Filter {
        actor: query.filter("actor")?,
        action: query.filter("action")?,
        subject: query.filter("subject")?,
        from: query.filter("from")?,
        until: query.filter("until")?,
    };
    let mut conn = app.db.acquire().await?;
    let page = audit::audit_page(&mut conn, &filter, query.paging, sort.descending).await?;
    Answer::page(&page.map(EntryView::from), query.paging)
}
