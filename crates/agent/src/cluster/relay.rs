//! A relay that the panel names by its path alone: movers do not know where the panel is, the orchestrator does. Pure.

use model::agent_api::{Request, Route, TransferAction};

use crate::transfer::way::complete;

/// `request` with the whole URL of the relay in it, if there is one in it.
pub(super) fn completed(mut request: Request, panel_url: &str) -> Request {
    if let Some(Route::Relay { url }) = route_in(&mut request) {
        *url = complete(url, panel_url);
    }
    request
}

fn route_in(request: &mut Request) -> Option<&mut Route> {
    let Request::Transfer { action, .. } = request else { return None };
    match action {
        TransferAction::Precopy { door, .. }
        | TransferAction::FinalCopy { door, .. }
        | TransferAction::TryDoor { door } => Some(&mut door.route),
        TransferAction::DialSource { route } => Some(route),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use model::agent_api::StepKey;
    use model::{Epoch, ServerId, TransferId};

    use super::*;

    #[test]
    fn a_path_is_at_the_panel_and_a_url_stays() {
        let dial = |url: &str| {
            let key = StepKey { transfer_id: TransferId::new(), step: "prepare_target".to_owned(), epoch: Epoch(1) };
            let action = TransferAction::DialSource { route: Route::Relay { url: url.to_owned() } };
            let mut request = completed(Request::Transfer { key, server_id: ServerId::new(), action }, "https://p/x");
            match route_in(&mut request) {
                Some(Route::Relay { url }) => url.clone(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(dial("/api/v1/agents/relay/1"), "wss://p/x/api/v1/agents/relay/1");
        assert_eq!(dial("ws://elsewhere/relay"), "ws://elsewhere/relay");
    }
}
