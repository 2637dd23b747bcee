//! Is a cluster fit for game servers? Asked by a person before it joins (`badger doctor --cluster`).
//!
//! It changes nothing: what only the API server can tell (its range of ports, whether Pod Security is on) is learnt from
//! refusals of what could never be made. What follows from an answer is in [`judge`], which is pure. Whether one server fits is another question, and the
//! orchestrator's (`CheckTarget`).

mod judge;

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use model::agent_api::Check;
use serde_json::{Value, json};

/// For one question to the API server.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the cluster is wanted for.
#[derive(Clone, Copy, Debug)]
pub struct Survey<'a> {
    /// How to get there; none: as `kubectl` would.
    pub kubeconfig: Option<&'a Path>,
    /// The class of servers' volumes; none: the default class.
    pub storage_class: Option<&'a str>,
    /// First and last port that servers may get.
    pub node_ports: (u16, u16),
}

/// What an installation makes that an ordinary user of a cluster may not: verb, group, resource.
const RIGHTS: [(&str, &str, &str); 4] = [
    ("create", "", "namespaces"),
    ("create", "rbac.authorization.k8s.io", "clusterroles"),
    ("create", "rbac.authorization.k8s.io", "clusterrolebindings"),
    ("create", "admissionregistration.k8s.io", "validatingadmissionpolicies"),
];

/// Looks at everything; a cluster that does not answer is one finding.
pub async fn survey(wanted: &Survey<'_>) -> Vec<Check> {
    let client = match connect(wanted.kubeconfig).await {
        Ok(client) => client,
        Err(reason) => return vec![judge::unreachable(&reason)],
    };
    let version = match asked(client.apiserver_version()).await {
        Ok(version) => version,
        Err(reason) => return vec![judge::unreachable(&reason)],
    };
    let mut found = vec![judge::version(&version.major, &version.minor, &version.git_version)];
    found.extend(rights(&client).await);
    found.extend(nodes(&client).await);
    found.push(storage(&client, wanted.storage_class).await);
    found.push(ports(&client, wanted.node_ports).await);
    found.push(pod_security(&client).await);
    found
}

async fn connect(kubeconfig: Option<&Path>) -> Result<Client, String> {
    let config = match kubeconfig {
        None => Config::infer().await.map_err(|e| chain(&e))?,
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(|e| chain(&e))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(|e| chain(&e))?
        }
    };
    Client::try_from(config).map_err(|e| chain(&e))
}

/// The answer, or why there is none in words for people.
async fn asked<T>(question: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, question).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(status.message.clone()),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

async fn rights(client: &Client) -> Vec<Check> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let mut missing = Vec::new();
    for (verb, group, resource) in RIGHTS {
        let review = review(verb, group, resource);
        match asked(reviews.create(&PostParams::default(), &review)).await {
            Ok(answer) if answer.status.as_ref().is_some_and(|status| status.allowed) => {}
            Ok(_) => missing.push(format!("{verb} {resource}")),
            Err(reason) => return vec![judge::unknown("rights", &reason)],
        }
    }
    vec![judge::rights(&missing)]
}

fn review(verb: &str, group: &str, resource: &str) -> SelfSubjectAccessReview {
    let attributes = ResourceAttributes {
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        ..ResourceAttributes::default()
    };
    let spec =
        SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..SelfSubjectAccessReviewSpec::default() };
    SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() }
}

async fn nodes(client: &Client) -> Vec<Check> {
    match asked(Api::<Node>::all(client.clone()).list(&ListParams::default())).await {
        Ok(list) => judge::nodes(&list.items),
        Err(reason) => vec![judge::unknown("nodes", &reason)],
    }
}

async fn storage(client: &Client, wanted: Option<&str>) -> Check {
    match asked(Api::<StorageClass>::all(client.clone()).list(&ListParams::default())).await {
        Ok(list) => judge::storage(&list.items, wanted),
        Err(reason) => judge::unknown("storage", &reason),
    }
}

/// The range is a flag of the API server that no object shows, and a dry run does not look at it. The refusal of a port
/// that is surely outside names it, and makes nothing.
async fn ports(client: &Client, wanted: (u16, u16)) -> Check {
    let services: Api<Service> = Api::namespaced(client.clone(), "default");
    let service = from_json(json!({
        "metadata": {"generateName": "badger-doctor-"},
        "spec": {"type": "NodePort", "ports": [{"port": 1, "nodePort": 1}]},
    }));
    match asked(services.create(&PostParams::default(), &service)).await {
        Err(refusal) => judge::ports(&refusal, wanted),
        // A cluster that gives out every port: what was made goes at once.
        Ok(made) => {
            let name = made.metadata.name.unwrap_or_default();
            match asked(services.delete(&name, &DeleteParams::default())).await {
                Ok(_) => judge::any_port(wanted),
                Err(reason) => judge::left(&name, &reason),
            }
        }
    }
}

/// The admission plugin refuses a level that it does not know; without the plugin the label is any label.
async fn pod_security(client: &Client) -> Check {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let namespace = from_json(json!({
        "metadata": {
            "generateName": "badger-doctor-",
            "labels": {"pod-security.kubernetes.io/enforce": "no-such-level"},
        },
    }));
    let answer = asked(Api::<Namespace>::all(client.clone()).create(&dry_run, &namespace)).await;
    judge::pod_security(answer.map(drop))
}

fn from_json<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object that is written here")
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some libraries print their source themselves.
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
