//! What a person changed by hand. Pure: from managed fields and from what is missing to sentences.
//!
//! The API server writes down who set which field. A field of ours that somebody else holds was taken over; it comes back
//! when the server is raised again, and until then it stands.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::Value;

use super::names::FIELD_MANAGER;

/// Parts of the cluster itself that write into specs: a volume's name, a service's address.
const MACHINERY: [&str; 5] =
    ["kube-controller-manager", "kube-scheduler", "kube-apiserver", "kubelet", "cloud-controller-manager"];

/// How many fields a sentence names.
const NAMED: usize = 4;

/// Who holds which fields of `spec` and of our labels, `kubectl-edit: spec.replicas`.
pub(super) fn hands_on(meta: &ObjectMeta) -> Vec<(String, Vec<String>)> {
    let entries = meta.managed_fields.iter().flatten();
    entries.filter(|entry| is_foreign(entry)).filter_map(held).collect()
}

fn is_foreign(entry: &ManagedFieldsEntry) -> bool {
    let who = entry.manager.as_deref().unwrap_or_default();
    who != FIELD_MANAGER && !MACHINERY.contains(&who) && entry.subresource.as_deref() != Some("status")
}

fn held(entry: &ManagedFieldsEntry) -> Option<(String, Vec<String>)> {
    let fields = entry.fields_v1.as_ref()?;
    let fields = serde_json::to_value(fields).ok()?;
    let mut paths = Vec::new();
    collect(&fields["f:spec"], "spec", &mut paths);
    for label in fields["f:metadata"]["f:labels"].as_object().into_iter().flatten().map(|(name, _)| name) {
        if label.contains("badgerpanel.io/") {
            paths.push(format!("metadata.labels.{}", label.trim_start_matches("f:")));
        }
    }
    (!paths.is_empty()).then(|| (entry.manager.clone().unwrap_or_default(), paths))
}

/// Whether somebody else set the replicas. The API server does not write down who: only that it is not us any more.
pub(super) fn scaled(meta: &ObjectMeta) -> bool {
    let entries = meta.managed_fields.iter().flatten();
    let mut ours = entries.filter(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER)).peekable();
    let owns = |entry: &ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().and_then(|fields| serde_json::to_value(fields).ok());
        fields.is_some_and(|fields| fields["f:spec"].get("f:replicas").is_some())
    };
    ours.peek().is_some() && !ours.any(owns)
}

/// Leaves of a field set, written as people write paths. Annotations of a template (`kubectl rollout restart`) change
/// nothing that runs.
fn collect(fields: &Value, path: &str, into: &mut Vec<String>) {
    let Some(children) = fields.as_object() else { return };
    if children.is_empty() {
        return into.push(path.to_owned());
    }
    for (name, child) in children {
        match name.split_once(':') {
            Some(("f", "annotations")) => {}
            Some(("f", field)) => collect(child, &format!("{path}.{field}"), into),
            Some((_, key)) => collect(child, &format!("{path}[{}]", short(key)), into),
            // `.`: the thing itself, besides its fields.
            None if children.len() == 1 => into.push(path.to_owned()),
            None => {}
        }
    }
}

/// `{"name":"game"}` → `game`.
fn short(key: &str) -> String {
    let values: Option<Vec<String>> = serde_json::from_str::<Value>(key).ok().and_then(|key| {
        let fields = key.as_object()?;
        Some(fields.values().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect())
    });
    values.map_or_else(|| key.to_owned(), |values| values.join(","))
}

/// One sentence for each hand. `what`: "Deployment `game`".
pub(super) fn sentences(what: &str, meta: &ObjectMeta) -> Vec<String> {
    hands_on(meta).into_iter().map(|(who, fields)| sentence(what, &who, &fields)).collect()
}

fn sentence(what: &str, who: &str, fields: &[String]) -> String {
    let mut named = fields.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if fields.len() > NAMED {
        named = format!("{named} and {} more", fields.len() - NAMED);
    }
    format!("The {what} was changed by hand ({who}): {named}; the next start of the server sets it back.")
}

/// Of a Deployment that [`scaled`] is true of.
pub(super) fn scaled_sentence(replicas: i32) -> String {
    format!("The Deployment `game` was scaled by hand to {replicas}; the next start of the server sets it back.")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn meta(entries: &Value) -> ObjectMeta {
        serde_json::from_value(json!({"managedFields": entries})).unwrap()
    }

    #[test]
    fn an_edited_deployment_and_a_changed_image_are_named() {
        let meta = meta(&json!([
            {"manager": "badger-orchestrator", "operation": "Apply", "fieldsV1": {"f:spec": {"f:strategy": {}}}},
            {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            {"manager": "kubectl-set", "operation": "Update", "fieldsV1": {"f:spec": {"f:template": {"f:spec": {
                "f:containers": {"k:{\"name\":\"game\"}": {"f:image": {}}}}}}}},
        ]));
        let said = sentences("Deployment `game`", &meta);
        assert_eq!(said.len(), 2);
        assert_eq!(
            said[0],
            "The Deployment `game` was changed by hand (kubectl-edit): spec.replicas; the next start of the server sets it back."
        );
        assert!(said[1].contains("spec.template.spec.containers[game].image"), "{}", said[1]);
    }

    #[test]
    fn replicas_that_are_not_ours_any_more_were_scaled() {
        let applied = |spec: &Value| meta(&json!([{"manager": "badger-orchestrator", "fieldsV1": {"f:spec": spec}}]));
        assert!(!scaled(&applied(&json!({"f:replicas": {}, "f:template": {}}))));
        assert!(scaled(&applied(&json!({"f:template": {}}))), "as `kubectl scale` leaves it");
        let rested = meta(&json!([
            {"manager": "badger-orchestrator", "operation": "Apply", "fieldsV1": {"f:spec": {"f:template": {}}}},
            {"manager": "badger-orchestrator", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        ]));
        assert!(!scaled(&rested), "we put it to rest ourselves");
    }

    #[test]
    fn what_the_cluster_writes_by_itself_is_nobodys_hand() {
        let meta = meta(&json!([
            {"manager": "kube-controller-manager", "operation": "Update", "fieldsV1": {"f:spec": {"f:volumeName": {}}}},
            {"manager": "local-path", "operation": "Update", "fieldsV1": {"f:metadata": {"f:annotations": {"f:x": {}}}}},
            {"manager": "kubectl", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {"f:replicas": {}}}},
            {"manager": "kubectl-rollout", "operation": "Update", "fieldsV1": {"f:spec": {"f:template": {"f:metadata": {
                "f:annotations": {".": {}, "f:kubectl.kubernetes.io/restartedAt": {}}}}}}},
        ]));
        assert_eq!(sentences("Deployment `game`", &meta), Vec::<String>::new());
    }
}
