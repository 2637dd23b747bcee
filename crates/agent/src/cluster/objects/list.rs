//! Which servers are here, and what a person should look at. Pure but for the lists at the top.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod, Service};
use kube::api::Api;
use kube::{Resource, ResourceExt};
use model::agent_api::AgentError;
use model::{Epoch, ServerId};

use super::api::Thing;
use super::cause::{self, Seen, Verdict};
use super::config::KnownServer;
use super::expose::balancer;
use super::names::{self, EPOCH, GAME, RETAINED, SERVED};
use super::raise::{has_game, transfer_of};
use super::retain::server_of;
use super::{Objects, api, attention};

/// All of one server's.
#[derive(Default)]
struct Found {
    namespace: Option<Namespace>,
    seen: Seen,
    services: Vec<Service>,
}

impl Objects {
    pub(super) async fn do_list(&self) -> Result<Vec<KnownServer>, AgentError> {
        let mut all: BTreeMap<ServerId, Found> = BTreeMap::new();
        for claim in self.everywhere::<PersistentVolumeClaim>().await? {
            if let Some(server) = server_of(&claim).filter(|_| !claim.labels().contains_key(RETAINED)) {
                all.entry(server).or_default().seen.claim = Some(claim);
            }
        }
        for deployment in self.everywhere::<Deployment>().await? {
            if let Some(server) = server_of(&deployment) {
                all.entry(server).or_default().seen.deployment = Some(deployment);
            }
        }
        for (server, pod) in self.of_servers::<Pod>().await? {
            all.entry(server).and_modify(|found| found.seen.pods.push(pod));
        }
        for (server, service) in self.of_servers::<Service>().await? {
            all.entry(server).and_modify(|found| found.services.push(service));
        }
        for (server, namespace) in self.of_servers::<Namespace>().await? {
            all.entry(server).and_modify(|found| found.namespace = Some(namespace));
        }
        Ok(all.into_iter().map(|(server, found)| known(server, &found)).collect())
    }

    async fn everywhere<K: Thing + Resource>(&self) -> Result<Vec<K>, AgentError> {
        api::list(&Api::<K>::all(self.client.clone()), &names::ours()).await
    }

    async fn of_servers<K: Thing + Resource>(&self) -> Result<Vec<(ServerId, K)>, AgentError> {
        let all = self.everywhere::<K>().await?;
        Ok(all.into_iter().filter_map(|object| server_of(&object).map(|server| (server, object))).collect())
    }
}

fn known(server: ServerId, found: &Found) -> KnownServer {
    let seen = &found.seen;
    let labels = seen.claim.as_ref().map(ResourceExt::labels).or(seen.deployment.as_ref().map(ResourceExt::labels));
    let epoch = labels.and_then(|labels| labels.get(EPOCH)).and_then(|text| text.parse().ok());
    let of_claim = seen.claim.as_ref().and_then(transfer_of);
    KnownServer {
        server,
        epoch: Epoch(epoch.unwrap_or_default()),
        transfer: of_claim.or_else(|| seen.deployment.as_ref().and_then(transfer_of)),
        asleep: replicas(seen) == 0,
        attention: attention_of(found),
        player_address: players(found).and_then(balancer),
    }
}

fn players(found: &Found) -> Option<&Service> {
    found.services.iter().find(|service| service.name_any() == GAME)
}

fn replicas(seen: &Seen) -> i32 {
    let spec = seen.deployment.as_ref().and_then(|deployment| deployment.spec.as_ref());
    spec.and_then(|spec| spec.replicas).unwrap_or(0)
}

fn attention_of(found: &Found) -> Vec<String> {
    let seen = &found.seen;
    let mut said = missing(found);
    if let Some(deployment) = &seen.deployment {
        said.extend(attention::sentences("Deployment `game`", &deployment.metadata));
        said.extend(attention::scaled(&deployment.metadata).then(|| attention::scaled_sentence(replicas(seen))));
    }
    if let Some(service) = players(found) {
        said.extend(attention::sentences("Service `game`", &service.metadata));
    }
    if let Some(claim) = &seen.claim {
        said.extend(attention::sentences("volume claim", &claim.metadata));
    }
    if replicas(seen) > 0 {
        said.extend(of_pod(seen));
    }
    said
}

/// What is not there, or about to be gone.
fn missing(found: &Found) -> Vec<String> {
    let seen = &found.seen;
    let mut said = Vec::new();
    let going = found.namespace.as_ref().is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some());
    if going {
        said.push(
            "Its namespace is being deleted by hand: it cannot start there any more. Its files are held back in their \
             volume until the server is removed in the panel."
                .to_owned(),
        );
    }
    if seen.claim.is_none() {
        said.push(
            "Its volume claim is gone: its files were deleted by hand, or are kept where only a backup helps."
                .to_owned(),
        );
    }
    let Some(deployment) = &seen.deployment else {
        said.push("Its Deployment was deleted by hand; the next start of the server makes it again.".to_owned());
        return said;
    };
    let served = deployment.annotations().get(SERVED).is_some_and(|value| value == "true");
    if served && players(found).is_none() {
        said.push(
            "Its Service `game` was deleted by hand: players cannot reach it; the next start makes it again."
                .to_owned(),
        );
    }
    said
}

fn of_pod(seen: &Seen) -> Option<String> {
    let game = seen.deployment.as_ref().is_some_and(has_game);
    match cause::verdict(seen, game) {
        Verdict::Refused(error) | Verdict::Doubt(error) => Some(format!("It does not run: {error}.")),
        Verdict::Up | Verdict::Wait(_) => {
            let going = seen.pods.iter().find(|pod| pod.metadata.deletion_timestamp.is_some())?;
            let rolled_out = seen.deployment.as_ref().is_some_and(cause::rolled_out);
            rolled_out.then(|| {
                format!(
                    "Its pod {} is being ended, by hand or by a drain of its node; another one follows.",
                    going.name_any()
                )
            })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    fn deployment(spec: &Value, annotations: &Value) -> Deployment {
        let meta = json!({"name": "game", "labels": {EPOCH: "3"}, "annotations": annotations});
        serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
    }

    fn spec(replicas: i32) -> Value {
        json!({"replicas": replicas, "selector": {}, "template": {}})
    }

    #[test]
    fn a_server_whose_parts_were_deleted_says_which() {
        let mut found = Found::default();
        found.seen.deployment = Some(deployment(&spec(0), &json!({SERVED: "true"})));
        let known = known(ServerId::new(), &found);
        assert!(known.asleep);
        assert_eq!(known.epoch, Epoch(3));
        assert!(known.attention[0].contains("volume claim is gone"), "{known:?}");
        assert!(known.attention[1].contains("Service `game` was deleted"), "{known:?}");
    }

    #[test]
    fn the_address_is_the_load_balancers_and_nobody_elses() {
        let service = |kind: &str, name: &str| -> Service {
            let status = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}});
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"type": kind}, "status": status}))
                .unwrap()
        };
        let address = |services| known(ServerId::new(), &Found { services, ..Found::default() }).player_address;
        assert_eq!(address(vec![service("LoadBalancer", "game")]).as_deref(), Some("192.0.2.7"));
        assert_eq!(address(vec![service("NodePort", "game")]), None);
        assert_eq!(address(vec![service("LoadBalancer", "data-1")]), None);
    }

    #[test]
    fn a_volume_that_is_being_deleted_is_said_once() {
        let mut found = Found::default();
        found.seen.deployment = Some(deployment(&spec(1), &json!({})));
        let going = json!({"metadata": {"name": "data-1", "deletionTimestamp": "2026-11-22T12:00:00Z"}});
        found.seen.claim = Some(serde_json::from_value(going).unwrap());
        let said = attention_of(&found);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("move the server away"), "{said:?}");
    }
}
