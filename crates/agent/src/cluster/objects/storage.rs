//! The class that volumes are made of.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::Api;
use model::agent_api::{AgentError, ErrorCode};

use super::{Objects, api, quantity};

const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

impl Objects {
    /// A claim of a class that does not exist waits for ever, so this is asked first.
    pub(super) async fn storage_class(&self) -> Result<StorageClass, AgentError> {
        let classes: Api<StorageClass> = Api::all(self.client.clone());
        let Some(name) = &self.config.storage_class else {
            let all = api::list(&classes, "").await?;
            return all.into_iter().find(is_default).ok_or_else(no_default);
        };
        match api::get(&classes, name).await? {
            Some(class) => Ok(class),
            None => Err(no_such(name, &api::list(&classes, "").await?)),
        }
    }
}

pub(super) fn is_default(class: &StorageClass) -> bool {
    class.annotations().get(DEFAULT).is_some_and(|value| value == "true")
}

fn no_default() -> AgentError {
    AgentError::new(
        ErrorCode::Conflict,
        "the cluster has no default storage class; name one in storage.storage_class of the orchestrator, or mark one \
         as the default",
    )
}

fn no_such(name: &str, all: &[StorageClass]) -> AgentError {
    let names: Vec<String> = all.iter().map(|class| format!("`{}`", class.name_any())).collect();
    let there = if names.is_empty() { "none at all".to_owned() } else { names.join(", ") };
    AgentError::new(
        ErrorCode::Conflict,
        format!(
            "the cluster has no storage class `{name}`, but {there}; correct storage.storage_class of the orchestrator"
        ),
    )
}

/// What a claim asks for.
pub(super) fn size_mb(claim: &PersistentVolumeClaim) -> u64 {
    let requests = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()).and_then(|r| r.requests.as_ref());
    requests.and_then(|requests| requests.get("storage")).map_or(0, |size| quantity::mb(&size.0))
}
