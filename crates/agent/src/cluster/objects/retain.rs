//! Retained copies: volumes whose server lives elsewhere now, kept until they expire.
//!
//! A retained volume carries its transfer in [`RETAINED`], and no function here or elsewhere touches one but these.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim};
use kube::ResourceExt;
use kube::api::Api;
use model::agent_api::AgentError;
use model::{ServerId, TransferId};
use serde_json::json;

use super::names::{self, BYTES, EXPIRES, FILES, RETAINED, SERVER, TRANSFER};
use super::remove::not_here;
use super::{Objects, api};

/// How old a namespace of ours without anything in it is before it is taken for a leftover, not for one in the making.
const YOUNG_S: i64 = 600;

impl Objects {
    pub(super) async fn do_retain(
        &self,
        server: ServerId,
        transfer: TransferId,
        expires_at: Timestamp,
        bytes: u64,
    ) -> Result<(), AgentError> {
        // First the label: from here on nothing that removes the server removes this volume.
        let claims = self.inside::<PersistentVolumeClaim>(server);
        let Some(claim) = self.to_retain(server, transfer).await? else { return Err(not_here(server)) };
        let keep = json!({"metadata": {
            "labels": {RETAINED: transfer.to_string(), TRANSFER: null},
            "annotations": {EXPIRES: expires_at.to_string(), BYTES: bytes.to_string()},
        }});
        api::merge(&claims, &claim.name_any(), &keep).await?;
        self.take_down(server).await
    }

    /// The volume in use, or the one that this call retained when it was made before.
    async fn to_retain(
        &self,
        server: ServerId,
        transfer: TransferId,
    ) -> Result<Option<PersistentVolumeClaim>, AgentError> {
        let claims = self.inside::<PersistentVolumeClaim>(server);
        let retained = api::list(&claims, &kept_by(transfer)).await?.pop();
        if retained.is_some() { Ok(retained) } else { self.claim(server).await }
    }

    pub(super) async fn do_retained(&self, server: ServerId, transfer: TransferId) -> Result<Option<u64>, AgentError> {
        let kept = api::list(&self.inside::<PersistentVolumeClaim>(server), &kept_by(transfer)).await?;
        let bytes = |claim: &PersistentVolumeClaim| claim.annotations().get(BYTES).and_then(|text| text.parse().ok());
        Ok(kept.first().map(|claim| bytes(claim).unwrap_or(0)))
    }

    pub(super) async fn do_free(&self, transfer: TransferId) -> Result<(), AgentError> {
        for claim in api::list(&self.all_claims(), &kept_by(transfer)).await? {
            self.destroy(&claim).await?;
        }
        Ok(())
    }

    /// One that cannot be destroyed does not keep the others.
    pub(super) async fn do_reap(&self, now: Timestamp) -> Result<(), AgentError> {
        let mut failed = None;
        for claim in api::list(&self.all_claims(), &format!("{},{RETAINED}", names::ours())).await? {
            if has_expired(&claim, now)
                && let Err(error) = self.destroy(&claim).await
            {
                failed.get_or_insert(error);
            }
        }
        for namespace in api::list(&self.namespaces(), &names::ours()).await? {
            if let Some(server) = abandoned(&namespace, now)
                && let Err(error) = self.close_space(server, None).await
            {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn destroy(&self, claim: &PersistentVolumeClaim) -> Result<(), AgentError> {
        let Some(server) = server_of(claim) else { return Ok(()) };
        let claims = self.inside::<PersistentVolumeClaim>(server);
        tracing::info!(%server, claim = claim.name_any(), "a retained volume is destroyed");
        api::delete_as_seen(&claims, claim).await?;
        api::let_go(&claims, &claim.name_any(), FILES).await?;
        api::until_gone(&claims, &claim.name_any(), self.config.patience.gone).await?;
        self.close_space(server, None).await
    }

    fn all_claims(&self) -> Api<PersistentVolumeClaim> {
        Api::all(self.client.clone())
    }
}

fn kept_by(transfer: TransferId) -> String {
    format!("{},{RETAINED}={transfer}", names::ours())
}

pub(super) fn server_of<K: ResourceExt>(object: &K) -> Option<ServerId> {
    object.labels().get(SERVER).and_then(|id| id.parse().ok())
}

/// An expiry that cannot be read never comes: files are kept rather than lost.
fn has_expired(claim: &PersistentVolumeClaim, now: Timestamp) -> bool {
    let expiry = claim.annotations().get(EXPIRES).and_then(|text| text.parse::<Timestamp>().ok());
    if expiry.is_none() {
        tracing::warn!(claim = claim.name_any(), "a retained volume without a readable expiry is kept for good");
    }
    expiry.is_some_and(|expiry| expiry <= now)
}

/// A namespace that a crash left behind when all else of the server had gone.
fn abandoned(namespace: &Namespace, now: Timestamp) -> Option<ServerId> {
    let made = namespace.metadata.creation_timestamp.as_ref()?.0;
    let old = now.as_second().saturating_sub(made.as_second()) > YOUNG_S;
    server_of(namespace).filter(|_| old && namespace.metadata.deletion_timestamp.is_none())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn claim(expiry: &str) -> PersistentVolumeClaim {
        serde_json::from_value(json!({"metadata": {"name": "data-1", "annotations": {EXPIRES: expiry}}})).unwrap()
    }

    #[test]
    fn a_volume_expires_at_its_time_and_not_without_one() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        assert!(has_expired(&claim("2026-11-22T12:00:00Z"), now));
        assert!(!has_expired(&claim("2026-11-22T12:00:01Z"), now));
        assert!(!has_expired(&claim("soon"), now));
    }

    #[test]
    fn a_namespace_in_the_making_is_not_abandoned() {
        let server = ServerId::new();
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {
            "name": "bp-1", "labels": names::labels(server), "creationTimestamp": "2026-11-22T12:00:00Z",
        }}))
        .unwrap();
        assert_eq!(abandoned(&namespace, "2026-11-22T12:09:00Z".parse().unwrap()), None);
        assert_eq!(abandoned(&namespace, "2026-11-22T12:11:00Z".parse().unwrap()), Some(server));
    }
}
