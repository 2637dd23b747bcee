//! The directory of a server that comes or goes. Where `data` in it is mounted into what runs, the directory stays and
//! is emptied; elsewhere it goes as a whole.

use model::ServerId;
use model::agent_api::AgentError;

use crate::disk;
use crate::node::Node;

pub(super) fn is_mounted(node: &Node) -> bool {
    node.around.runtime.house().data_is_mounted
}

/// Nothing of the server stays here. May be repeated.
pub(crate) async fn clear_place(node: &Node, server: ServerId) -> Result<(), AgentError> {
    let (place, mounted) = (node.layout.place(server), is_mounted(node));
    let cleared = place.clone();
    let cleared = disk::blocking(move || disk::clear_place(&cleared, mounted)).await;
    cleared.map_err(|e| disk::failed("remove", &place.home, &e))
}
