//! Why a pod does not run yet. Pure: from what the cluster shows to one verdict.
//!
//! ```text
//! claim lost or being deleted ─► refused
//! no pod   ─ ReplicaFailure (quota, LimitRange, Pod Security, webhook) ─► refused
//! pod      ─ Unschedulable ─ its last pod still ends, a scale-up was triggered ─► wait
//!          │               └ volume not provisioned, memory, CPU, taints ──────► doubt
//!          ─ containers    ─ image unknown or forbidden ─► refused;  registry silent, crash loops ─► doubt
//!                          └ mover and game run ─► up
//! ```
//!
//! A doubt is a refusal that may heal by itself; the caller believes it when it stays.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Event, PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use model::agent_api::{AgentError, ErrorCode};

use super::error::forbidden;
use super::names::{GAME, MOVER};

/// What the cluster shows of one server at one instant.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) deployment: Option<Deployment>,
    pub(super) pods: Vec<Pod>,
    pub(super) claim: Option<PersistentVolumeClaim>,
    pub(super) events: Vec<Event>,
    /// A refusal that was there before anybody asked for this pod. The next attempt to make it has a reason of its own.
    pub(super) outdated: Option<String>,
}

/// What follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It runs.
    Up,
    /// Not yet, for this reason.
    Wait(String),
    /// Not, unless it heals.
    Doubt(AgentError),
    /// Not at all.
    Refused(AgentError),
}

/// `game`: whether the game's container is awaited too.
pub(super) fn verdict(seen: &Seen, game: bool) -> Verdict {
    if let Some(lost) = seen.claim.as_ref().and_then(claim_lost) {
        return lost;
    }
    let Some(deployment) = &seen.deployment else {
        return Verdict::Wait("its Deployment is not there".to_owned());
    };
    if let Some(refused) = not_created(deployment, seen.outdated.as_deref()) {
        return refused;
    }
    if !rolled_out(deployment) {
        return Verdict::Wait("its pod has not been made yet, or the one before it still ends".to_owned());
    }
    let Some(pod) = seen.pods.iter().find(|pod| alive(pod)) else {
        return Verdict::Wait(seen.pods.iter().find_map(ended).unwrap_or_else(|| "its pod is not there".to_owned()));
    };
    unscheduled(pod, seen).or_else(|| containers(pod, game)).unwrap_or_else(|| still(seen))
}

fn claim_lost(claim: &PersistentVolumeClaim) -> Option<Verdict> {
    let name = claim.name_any();
    if claim.metadata.deletion_timestamp.is_some() {
        return Some(refused(
            ErrorCode::Conflict,
            format!(
                "its volume `{name}` is being deleted, not by us; its files are held back, but no new pod gets them: move the server away while it runs"
            ),
        ));
    }
    let lost = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Lost");
    lost.then(|| {
        refused(
            ErrorCode::Conflict,
            format!("the volume behind its claim `{name}` is gone; restore it in the cluster, or remove the server"),
        )
    })
}

/// Why the last attempt to make its pod was refused. It stands until the next one, which may be minutes away.
pub(super) fn refusal(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
    Some(failure.message.clone().unwrap_or_default())
}

/// What no pod could be made for is on the Deployment.
fn not_created(deployment: &Deployment, outdated: Option<&str>) -> Option<Verdict> {
    let said = refusal(deployment)?;
    if outdated == Some(said.as_str()) {
        return Some(Verdict::Wait(format!("its controllers have not tried again yet; the last time: {said}")));
    }
    let (code, cure) = forbidden(&said);
    let error = AgentError::new(code, format!("the cluster does not let its pod be made: {said}{cure}"));
    // The namespace is seconds old: its service account and the state of its quota are made by controllers.
    let young = said.contains("looking up service account") || said.contains("status unknown for quota");
    Some(if young {
        Verdict::Wait(said)
    } else if cure.is_empty() {
        Verdict::Doubt(error)
    } else {
        Verdict::Refused(error)
    })
}

/// Whether the pods that are there are of what was applied last.
pub(super) fn rolled_out(deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else { return false };
    status.observed_generation >= deployment.metadata.generation && status.updated_replicas.unwrap_or(0) > 0
}

pub(super) fn alive(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase(pod), "Failed" | "Succeeded")
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

fn ended(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let (reason, message) = (status.reason.as_deref()?, status.message.as_deref().unwrap_or_default());
    Some(format!("its last pod ended: {reason} {message}"))
}

/// Of a pod that is not the server's: what keeps it from running.
pub(super) fn obstacle(pod: &Pod, seen: &Seen) -> Option<Verdict> {
    unscheduled(pod, seen).or_else(|| containers(pod, false))
}

fn unscheduled(pod: &Pod, seen: &Seen) -> Option<Verdict> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let unscheduled = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
    let said = unscheduled.message.clone().unwrap_or_default();
    if said.contains("anti-affinity") {
        return Some(Verdict::Wait("its last pod still ends".to_owned()));
    }
    if let Some(trouble) = provisioning(&seen.events) {
        return Some(trouble);
    }
    if said.contains("unbound immediate") || said.contains("not found") {
        let said = warned(&seen.events, "PersistentVolumeClaim", &["ExternalProvisioning"]).unwrap_or(said);
        return Some(Verdict::Wait(format!("its volume is not there yet: {said}")));
    }
    if warned(&seen.events, "Pod", &["TriggeredScaleUp"]).is_some() {
        return Some(Verdict::Wait("the cluster adds a node for it".to_owned()));
    }
    let error = AgentError::new(ErrorCode::Conflict, format!("no node can take its pod: {said}"));
    Some(Verdict::Doubt(error))
}

/// What the provisioner says of the volume.
fn provisioning(events: &[Event]) -> Option<Verdict> {
    let said = warned(events, "PersistentVolumeClaim", &["ProvisioningFailed", "FailedBinding"])?;
    let full = ["no space", "insufficient", "capacity", "exhausted", "quota"];
    let lower = said.to_lowercase();
    let code = if full.iter().any(|word| lower.contains(word)) { ErrorCode::NoSpace } else { ErrorCode::Conflict };
    let cure = "look at the storage class, and at storage.storage_class and storage.access_mode of the orchestrator";
    Some(Verdict::Doubt(AgentError::new(code, format!("its volume cannot be made: {said}; {cure}"))))
}

fn warned(events: &[Event], kind: &str, reasons: &[&str]) -> Option<String> {
    let of_kind = |event: &&Event| event.involved_object.kind.as_deref() == Some(kind);
    let of_reason = |event: &&Event| event.reason.as_deref().is_some_and(|reason| reasons.contains(&reason));
    events.iter().rev().filter(of_kind).find(of_reason).and_then(|event| event.message.clone())
}

fn containers(pod: &Pod, game: bool) -> Option<Verdict> {
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten();
    let main = status.container_statuses.iter().flatten().filter(|c| game || c.name != GAME);
    if let Some(trouble) = init.chain(main.clone()).find_map(trouble) {
        return Some(trouble);
    }
    let running = |name: &str| main.clone().any(|c| c.name == name && state(c).is_some_and(|s| s.running.is_some()));
    (running(MOVER) && (!game || running(GAME))).then_some(Verdict::Up)
}

fn state(container: &ContainerStatus) -> Option<&ContainerState> {
    container.state.as_ref()
}

fn trouble(container: &ContainerStatus) -> Option<Verdict> {
    let waiting = state(container)?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().unwrap_or_default();
    let said = waiting.message.as_deref().unwrap_or_default();
    match reason {
        "" | "ContainerCreating" | "PodInitializing" => None,
        "CrashLoopBackOff" => Some(Verdict::Doubt(AgentError::new(ErrorCode::Unhealthy, crashed(container)))),
        "ErrImagePull"
        | "ImagePullBackOff"
        | "ErrImageNeverPull"
        | "InvalidImageName"
        | "RegistryUnavailable"
        | "ImageInspectError"
        | "SignatureValidationFailed" => Some(image(container, reason, said)),
        _ => Some(Verdict::Doubt(AgentError::new(
            ErrorCode::Conflict,
            format!("its container `{}` cannot be made: {reason}: {said}", container.name),
        ))),
    }
}

fn image(container: &ContainerStatus, reason: &str, said: &str) -> Verdict {
    let message = format!(
        "the image {} of its container `{}` cannot be pulled by the nodes: {reason}: {said}; correct its name, or give the cluster access to it",
        container.image, container.name
    );
    let final_words = ["not found", "denied", "unauthorized", "no match for platform"];
    let certain = matches!(reason, "ErrImageNeverPull" | "InvalidImageName")
        || (!said.contains("lookup") && final_words.iter().any(|word| said.contains(word)));
    let error = AgentError::new(ErrorCode::ImageMissing, message);
    if certain { Verdict::Refused(error) } else { Verdict::Doubt(error) }
}

fn crashed(container: &ContainerStatus) -> String {
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let how = last.map_or_else(String::new, |last| {
        let reason = last.reason.as_deref().unwrap_or("Error");
        format!(": {reason}, code {} {}", last.exit_code, last.message.as_deref().unwrap_or_default())
    });
    let name = &container.name;
    format!("its container `{name}` ends again and again{how}; see `kubectl logs -c {name}` of its pod")
}

/// The last thing that was complained about while nothing is decided.
fn still(seen: &Seen) -> Verdict {
    let mounts = ["FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "FailedScheduling"];
    let said = warned(&seen.events, "Pod", &mounts);
    Verdict::Wait(said.unwrap_or_else(|| "its containers are being made".to_owned()))
}

fn refused(code: ErrorCode, message: String) -> Verdict {
    Verdict::Refused(AgentError::new(code, message))
}

#[cfg(test)]
mod tests;
