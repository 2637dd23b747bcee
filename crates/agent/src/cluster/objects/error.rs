//! What the API server says, in words of ours: by what the caller does next, with what a person does next. Pure.

use kube::core::Status;
use model::agent_api::{AgentError, ErrorCode};

/// `doing`: "make the service `game`", for the message.
pub(super) fn from_kube(doing: &str, error: &kube::Error) -> AgentError {
    match error {
        kube::Error::Api(status) => from_status(doing, status),
        kube::Error::SerdeError(_) | kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => AgentError::new(
            ErrorCode::Internal,
            format!("cannot {doing}: {error}; the cluster speaks a version of its API that is not known here"),
        ),
        other => AgentError::new(
            ErrorCode::Unreachable,
            format!("cannot {doing}: the cluster's API server cannot be reached ({})", innermost(other)),
        ),
    }
}

fn from_status(doing: &str, status: &Status) -> AgentError {
    let said = &status.message;
    let (code, cure) = match status.code {
        401 => (ErrorCode::Conflict, "; its credential is not accepted: install the orchestrator again"),
        403 if said.contains("being terminated") => (ErrorCode::Internal, "; it will be gone soon"),
        403 => forbidden(said),
        404 => (ErrorCode::NotFound, ""),
        409 => (ErrorCode::Internal, "; somebody else changed it at the same moment"),
        422 => invalid(said),
        429 | 500..=599 => (ErrorCode::Unreachable, "; the API server is overloaded or not well"),
        _ => (ErrorCode::Conflict, ""),
    };
    AgentError::new(code, format!("cannot {doing}: {said}{cure}"))
}

/// Who forbids it decides what helps.
pub(super) fn forbidden(said: &str) -> (ErrorCode, &'static str) {
    let known = [
        ("exceeded quota", "; raise the ResourceQuota of the namespace, or lower the server's limits"),
        ("failed quota", "; the ResourceQuota wants limits that the server does not have: set its memory and CPU"),
        ("violates PodSecurity", "; the namespace enforces a profile that the pod does not meet: set it to restricted"),
        ("per Container", "; change the LimitRange of the namespace, or the server's limits"),
        ("per Pod", "; change the LimitRange of the namespace, or the server's limits"),
        ("per PersistentVolumeClaim", "; change the LimitRange of the namespace, or the server's disk limit"),
        ("denied the request", "; an admission policy of this cluster refuses it: ask who runs the cluster"),
        ("ValidatingAdmissionPolicy", "; an admission policy of this cluster refuses it: ask who runs the cluster"),
        ("cannot ", "; the orchestrator lacks a right: apply its manifest again, as the panel shows it"),
    ];
    let cure = known.iter().find(|(word, _)| said.contains(word)).map_or("", |(_, cure)| cure);
    (ErrorCode::Conflict, cure)
}

fn invalid(said: &str) -> (ErrorCode, &'static str) {
    if said.contains("already allocated") {
        return (ErrorCode::PortTaken, "; choose another port, or remove the service that has it");
    }
    if said.contains("not in the valid range") {
        return (ErrorCode::PortTaken, "; choose a port of that range, and set networking.nodeport_range_* to it");
    }
    (ErrorCode::Conflict, "")
}

/// The libraries wrap what happened several times; people want the last of it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: u16, message: &str) -> AgentError {
        let status = Status::failure(message, "").with_code(code);
        from_kube("make the service `game`", &kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn a_taken_node_port_is_a_taken_port() {
        let error = said(
            422,
            "Service \"game\" is invalid: spec.ports[0].nodePort: Invalid value: 30565: provided port is already allocated",
        );
        assert_eq!(error.code, ErrorCode::PortTaken);
        assert!(error.message.contains("30565") && error.message.contains("choose another port"), "{error}");
        let error = said(
            422,
            "spec.ports[0].nodePort: Invalid value: 25565: provided port is not in the valid range. The range of valid ports is 30000-32767",
        );
        assert_eq!(error.code, ErrorCode::PortTaken);
    }

    #[test]
    fn who_forbids_it_decides_what_helps() {
        let quota =
            said(403, "persistentvolumeclaims \"d\" is forbidden: exceeded quota: q, requested: requests.storage=10Gi");
        assert!(
            quota.message.ends_with("raise the ResourceQuota of the namespace, or lower the server's limits"),
            "{quota}"
        );
        let rights =
            said(403, "services is forbidden: User \"x\" cannot create resource \"services\" in API group \"\"");
        assert!(rights.message.contains("apply its manifest again"), "{rights}");
        let ending = said(403, "unable to create new content in namespace bp-1 because it is being terminated");
        assert_eq!(ending.code, ErrorCode::Internal, "time helps");
    }

    #[test]
    fn an_api_server_that_is_away_is_waited_for() {
        assert_eq!(said(503, "etcd is gone").code, ErrorCode::Unreachable);
        assert_eq!(said(409, "conflict").code, ErrorCode::Internal);
    }
}
