//! The verbs that everything here is done with, each safe to repeat. Knows no game server.
//!
//! An apply is forced: fields that a person took over come back to us when, and only when, somebody asks for the server to
//! be raised. Until then the change stands and is reported.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Client, Resource, ResourceExt};
use model::agent_api::{AgentError, ErrorCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::error::from_kube;
use super::names::FIELD_MANAGER;

/// How often something that is waited for is looked at. A watch would see it sooner, and would have to survive the API
/// server's restarts, which this does by itself.
pub(super) const LOOK: Duration = Duration::from_millis(400);
/// How often an object that others change too is tried.
const TRIES: u32 = 10;

/// What we ask of a kind of object.
pub(super) trait Thing:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}

impl<K> Thing for K where K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}

/// Objects of one kind in one namespace.
pub(super) fn inside<K: Thing + Resource<Scope = NamespaceResourceScope>>(client: &Client, space: &str) -> Api<K> {
    Api::namespaced(client.clone(), space)
}

fn kind<K: Thing>() -> String {
    K::kind(&()).to_string()
}

/// Makes it so. `value` names itself.
pub(super) async fn apply<K: Thing>(api: &Api<K>, value: &Value) -> Result<K, AgentError> {
    let name = value["metadata"]["name"].as_str().unwrap_or_default();
    let params = PatchParams::apply(FIELD_MANAGER).force().validation_strict();
    let made = api.patch(name, &params, &Patch::Apply(value)).await;
    made.map_err(|error| from_kube(&format!("make the {} `{name}`", kind::<K>()), &error))
}

pub(super) async fn get<K: Thing>(api: &Api<K>, name: &str) -> Result<Option<K>, AgentError> {
    api.get_opt(name).await.map_err(|error| from_kube(&format!("look at the {} `{name}`", kind::<K>()), &error))
}

pub(super) async fn list<K: Thing>(api: &Api<K>, selector: &str) -> Result<Vec<K>, AgentError> {
    let params = ListParams::default().labels(selector);
    let found = api.list(&params).await.map_err(|error| from_kube(&format!("list {}s", kind::<K>()), &error))?;
    Ok(found.items)
}

/// Changes a few fields of what is there; false: it is not.
pub(super) async fn merge<K: Thing>(api: &Api<K>, name: &str, patch: &Value) -> Result<bool, AgentError> {
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch(name, &params, &Patch::Merge(patch)).await {
        Ok(_) => Ok(true),
        Err(error) => absent(&format!("change the {} `{name}`", kind::<K>()), &error).map(|()| false),
    }
}

/// `null` takes a label away.
pub(super) async fn relabel<K: Thing>(api: &Api<K>, name: &str, labels: &Value) -> Result<bool, AgentError> {
    merge(api, name, &json!({"metadata": {"labels": labels}})).await
}

/// What is not there is deleted already.
pub(super) async fn delete<K: Thing>(api: &Api<K>, name: &str) -> Result<(), AgentError> {
    match api.delete(name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(error) => absent(&format!("delete the {} `{name}`", kind::<K>()), &error),
    }
}

/// Deletes `object` only if it is still as it was seen: what was adopted or taken back into use meanwhile stays.
pub(super) async fn delete_as_seen<K: Thing>(api: &Api<K>, object: &K) -> Result<(), AgentError> {
    let meta = object.meta();
    let seen = Preconditions { uid: meta.uid.clone(), resource_version: meta.resource_version.clone() };
    let name = object.name_any();
    match api.delete(&name, &DeleteParams::background().preconditions(seen)).await {
        Ok(_) => Ok(()),
        Err(error) => absent(&format!("delete the {} `{name}`", kind::<K>()), &error),
    }
}

/// Lifts a finalizer of ours; other people's stay. Controllers lift theirs at the same moment, and what they lifted must
/// not be put back: each try is about one version of the object.
pub(super) async fn let_go<K: Thing>(api: &Api<K>, name: &str, finalizer: &str) -> Result<(), AgentError> {
    let doing = format!("let go of the {} `{name}`", kind::<K>());
    let mut tries = 1..=TRIES;
    loop {
        let Some(object) = get(api, name).await? else { return Ok(()) };
        let Some(patch) = without(&object, finalizer) else { return Ok(()) };
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match api.patch(name, &params, &Patch::Merge(&patch)).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 && tries.next() != Some(TRIES) => {}
            Err(error) => return absent(&doing, &error),
        }
    }
}

/// None: nothing of that name holds it.
fn without<K: Thing>(object: &K, finalizer: &str) -> Option<Value> {
    let (ours, others): (Vec<&String>, Vec<&String>) = object.finalizers().iter().partition(|held| *held == finalizer);
    let version = object.meta().resource_version.as_ref();
    (!ours.is_empty()).then(|| json!({"metadata": {"resourceVersion": version, "finalizers": others}}))
}

fn absent(doing: &str, error: &kube::Error) -> Result<(), AgentError> {
    let error = from_kube(doing, error);
    if error.code == ErrorCode::NotFound { Ok(()) } else { Err(error) }
}

/// Waits until nothing that `selector` finds is left, or says what is.
pub(super) async fn until_none<K: Thing>(api: &Api<K>, selector: &str, patience: Duration) -> Result<(), AgentError> {
    let deadline = Instant::now() + patience;
    loop {
        let left = match list(api, selector).await {
            Ok(left) if left.is_empty() => return Ok(()),
            Ok(left) => still_there(&left, patience),
            Err(error) if error.code == ErrorCode::Unreachable => error,
            Err(error) => return Err(error),
        };
        if Instant::now() >= deadline {
            return Err(left);
        }
        sleep(LOOK).await;
    }
}

/// Waits until `name` is gone.
pub(super) async fn until_gone<K: Thing>(api: &Api<K>, name: &str, patience: Duration) -> Result<(), AgentError> {
    let deadline = Instant::now() + patience;
    loop {
        let left = match get(api, name).await {
            Ok(None) => return Ok(()),
            Ok(Some(left)) => still_there(&[left], patience),
            Err(error) if error.code == ErrorCode::Unreachable => error,
            Err(error) => return Err(error),
        };
        if Instant::now() >= deadline {
            return Err(left);
        }
        sleep(LOOK).await;
    }
}

fn still_there<K: Thing>(left: &[K], patience: Duration) -> AgentError {
    let names: Vec<String> = left.iter().map(|object| format!("`{}`", object.name_any())).collect();
    let holds: Vec<&str> = left.iter().flat_map(|object| object.finalizers().iter().map(String::as_str)).collect();
    let held = if holds.is_empty() { String::new() } else { format!(", held by {}", holds.join(", ")) };
    let (kind, names) = (kind::<K>(), names.join(", "));
    AgentError::new(
        ErrorCode::Internal,
        format!(
            "the {kind} {names} was deleted and is still there after {} s{held}; look at it with kubectl",
            patience.as_secs()
        ),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use k8s_openapi::api::core::v1::PersistentVolumeClaim;

    use super::*;

    #[test]
    fn only_our_finalizer_is_lifted_and_only_of_the_version_that_was_seen() {
        let claim = |finalizers: &Value| -> PersistentVolumeClaim {
            let meta = json!({"name": "data-1", "resourceVersion": "7", "finalizers": finalizers});
            serde_json::from_value(json!({"metadata": meta})).unwrap()
        };
        let held = claim(&json!(["kubernetes.io/pvc-protection", "badgerpanel.io/files"]));
        let patch = json!({"metadata": {"resourceVersion": "7", "finalizers": ["kubernetes.io/pvc-protection"]}});
        assert_eq!(without(&held, "badgerpanel.io/files"), Some(patch));
        assert_eq!(without(&claim(&json!(["kubernetes.io/pvc-protection"])), "badgerpanel.io/files"), None);
    }
}
