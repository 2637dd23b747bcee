//! What things are called in a cluster: labels, annotations, names. Pure.
//!
//! A selector over these labels finds everything of ours and nothing else; the audit after an aborted transfer counts by
//! them. Names inside a namespace are fixed, because the namespace is the server's own; only volumes and what belongs to
//! one transfer carry a piece of its id.

use std::collections::BTreeMap;

use model::{Epoch, ServerId, TransferId};

/// Whose objects these are.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
pub(crate) const US: &str = "badgerpanel";
/// Whose server.
pub(crate) const SERVER: &str = "badgerpanel.io/server";
/// In which epoch it is here.
pub(crate) const EPOCH: &str = "badgerpanel.io/epoch";
/// Which transfer brought it; goes when the transfer has brought it for good.
pub(crate) const TRANSFER: &str = "badgerpanel.io/transfer";
/// On a volume in use: players are not let in yet. It outlives the transfer's label, which ends with the start.
pub(crate) const HELD: &str = "badgerpanel.io/held";
/// On a volume: which transfer left it behind.
pub(crate) const RETAINED: &str = "badgerpanel.io/retained";
/// When a retained volume may be destroyed.
pub(crate) const EXPIRES: &str = "badgerpanel.io/expires";
/// How much is in a retained volume.
pub(crate) const BYTES: &str = "badgerpanel.io/bytes";
/// On a Deployment: fingerprint of what its pods are made from.
pub(crate) const MADE_FROM: &str = "badgerpanel.io/made-from";
/// On a Deployment: whether there is a service for players.
pub(crate) const SERVED: &str = "badgerpanel.io/served";
/// On a volume: what a pod for it is made from, so that a start needs nobody to bring it along.
pub(crate) const SPEC: &str = "badgerpanel.io/spec";
/// Name for people.
pub(crate) const DISPLAY_NAME: &str = "badgerpanel.io/name";
/// What a pod is for: `server` or `install`.
pub(crate) const ROLE: &str = "badgerpanel.io/role";
/// Holds an anchor until we let go of it ourselves.
pub(crate) const FINALIZER: &str = "badgerpanel.io/transfer";
/// Holds a volume's claim until we destroy it ourselves. The cluster's own protection ends with the last pod; a hand that
/// deletes the claim would then have deleted the files.
pub(crate) const FILES: &str = "badgerpanel.io/files";

/// Who we are in managed fields.
pub(crate) const FIELD_MANAGER: &str = "badger-orchestrator";

/// Deployment, Service, Secret of a server.
pub(crate) const GAME: &str = "game";
pub(crate) const MOVER: &str = "mover";
pub(crate) const INIT: &str = "install-launcher";
pub(crate) const INSTALL: &str = "install";

/// Where the mover listens for other agents, inside the pod.
pub(crate) const DATA_PORT: u16 = 8443;

pub(crate) type Labels = BTreeMap<String, String>;

/// Labels by which everything of a server is found.
pub(crate) fn labels(server: ServerId) -> Labels {
    let pairs = [(SERVER, server.to_string()), (MANAGED_BY, US.to_owned())];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Labels of an object that carries epoch and, for as long as it is one's, transfer.
pub(crate) fn owned(server: ServerId, epoch: Epoch, transfer: Option<TransferId>) -> Labels {
    let mut all = labels(server);
    all.insert(EPOCH.to_owned(), epoch.0.to_string());
    if let Some(transfer) = transfer {
        all.insert(TRANSFER.to_owned(), transfer.to_string());
    }
    all
}

/// Selects everything of a server.
pub(crate) fn of_server(server: ServerId) -> String {
    format!("{MANAGED_BY}={US},{SERVER}={server}")
}

/// Selects the pods that its Deployment makes.
pub(crate) fn pods_of(server: ServerId) -> String {
    format!("{},{ROLE}={SERVER_ROLE}", of_server(server))
}

pub(crate) const SERVER_ROLE: &str = "server";
/// What no pod is for: a Service that selects it has its address and its ports, and leads nowhere.
pub(crate) const HELD_ROLE: &str = "held";

/// Selects everything of ours.
pub(crate) fn ours() -> String {
    format!("{MANAGED_BY}={US},{SERVER}")
}

/// The claim of a server: named after the transfer that brings it, so that it can come back while its old volume is kept.
pub(crate) fn claim(server: ServerId, transfer: Option<TransferId>) -> String {
    let id = transfer.map_or(server.0, |transfer| transfer.0).simple().to_string();
    // The end of a UUID of version 7 is random; its beginning is the hour.
    format!("data-{}", &id[id.len() - 10..])
}

/// What the temporary objects of a transfer hang on.
pub(crate) fn anchor(transfer: TransferId) -> String {
    format!("transfer-{transfer}")
}

/// The Service of a transfer's data. A Service's name has room for 63 bytes and must begin with a letter.
pub(crate) fn data_service(transfer: TransferId) -> String {
    format!("data-{transfer}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_a_dns_label() {
        let (server, transfer) = (ServerId::new(), TransferId::new());
        for name in [claim(server, None), claim(server, Some(transfer)), anchor(transfer), data_service(transfer)] {
            assert!(name.len() <= 63 && name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
        }
    }

    #[test]
    fn a_server_that_comes_back_gets_another_claim() {
        let server = ServerId::new();
        assert_ne!(claim(server, None), claim(server, Some(TransferId::new())));
        assert_eq!(claim(server, None), claim(server, None));
    }
}
