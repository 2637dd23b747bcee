//! The transfer of a server, for whoever may see the server: owners and subusers watch, they start and stop nothing.

use axum::extract::State;

use super::of_server;
use super::view::TransferView;
use crate::api::on_server::OnServer;
use crate::api::views::One;
use crate::api::{Answer, ApiError};
use crate::app::App;

/// Shows the current transfer of a server, or its last one, to whoever may see the server.
#[utoipa::path(get, path = "/api/v1/servers/{id}/transfer", tag = "servers", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The transfer", body = One<TransferView>)))]
pub(super) async fn show_own_transfer(State(app): State<App>, on: OnServer) -> Result<Answer, ApiError> {
    of_server(&app, on.id).await
}
