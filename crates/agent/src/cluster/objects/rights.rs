//! What the orchestrator may do, as data: asked for in a preflight, and documented in the parent's table. A test holds it
//! and the deployed manifest together.

use futures_util::future::join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use model::agent_api::AgentError;

use super::Objects;
use super::error::from_kube;

/// API group, resource, subresource, verbs.
pub(super) const RIGHTS: &[(&str, &str, &str, &[&str])] = &[
    ("", "namespaces", "", &["get", "list", "create", "patch", "delete"]),
    ("", "persistentvolumeclaims", "", &["get", "list", "create", "patch", "delete"]),
    ("", "services", "", &["get", "list", "create", "patch", "delete"]),
    ("", "configmaps", "", &["get", "list", "create", "patch", "delete"]),
    ("", "secrets", "", &["create", "patch", "delete"]),
    ("", "pods", "", &["get", "list", "create", "patch", "delete"]),
    ("", "pods", "log", &["get"]),
    ("", "events", "", &["list"]),
    ("", "resourcequotas", "", &["list"]),
    ("", "limitranges", "", &["list"]),
    ("", "nodes", "", &["list"]),
    ("apps", "deployments", "", &["get", "list", "create", "patch", "delete"]),
    ("storage.k8s.io", "storageclasses", "", &["get", "list"]),
];

impl Objects {
    /// What of it is missing in `space`, as `verb resource`.
    pub(super) async fn missing_rights(&self, space: &str) -> Result<Vec<String>, AgentError> {
        let wanted = RIGHTS
            .iter()
            .flat_map(|(group, resource, sub, verbs)| verbs.iter().map(move |verb| (*group, *resource, *sub, *verb)));
        let asked = wanted.map(|(group, resource, sub, verb)| async move {
            let may = self.may(space, group, resource, sub, verb).await?;
            Ok((!may).then(|| {
                if sub.is_empty() { format!("{verb} {resource}") } else { format!("{verb} {resource}/{sub}") }
            }))
        });
        let answers: Result<Vec<Option<String>>, AgentError> = join_all(asked).await.into_iter().collect();
        Ok(answers?.into_iter().flatten().collect())
    }

    async fn may(&self, space: &str, group: &str, resource: &str, sub: &str, verb: &str) -> Result<bool, AgentError> {
        let attributes = ResourceAttributes {
            namespace: Some(space.to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource: (!sub.is_empty()).then(|| sub.to_owned()),
            verb: Some(verb.to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await;
        let answer = answer.map_err(|error| from_kube("ask for our own rights", &error))?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    const MANIFEST: &str = include_str!("../../../../../deploy/kubernetes/orchestrator.yaml");

    /// `apps/deployments patch`.
    fn granted() -> BTreeSet<String> {
        let role = MANIFEST.split("\n---\n").find(|part| part.contains("\nkind: ClusterRole\n")).unwrap();
        let role: Value = serde_saphyr::from_str(role).unwrap();
        let words = |list: &Value| -> Vec<String> {
            list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        let mut all = BTreeSet::new();
        for rule in role["rules"].as_array().unwrap() {
            for (group, resource) in words(&rule["apiGroups"]).iter().zip(std::iter::repeat(words(&rule["resources"])))
            {
                for resource in resource {
                    all.extend(words(&rule["verbs"]).iter().map(|verb| format!("{group}/{resource} {verb}")));
                }
            }
        }
        all
    }

    #[test]
    fn the_manifest_grants_what_is_used_and_nothing_else() {
        let used: BTreeSet<String> = RIGHTS
            .iter()
            .flat_map(|(group, resource, sub, verbs)| {
                let what =
                    if sub.is_empty() { format!("{group}/{resource}") } else { format!("{group}/{resource}/{sub}") };
                verbs.iter().map(move |verb| format!("{what} {verb}"))
            })
            .collect();
        assert_eq!(granted(), used);
    }
}
