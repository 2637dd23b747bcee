//! A server is raised: what is missing of it is made, and then it is waited for.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Namespace, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::Api;
use model::agent_api::{AgentError, ErrorCode};
use model::{ServerId, ServerSpec, TransferId};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::cause::{self, Seen, Verdict};
use super::config::{Players, Raise, Welcomed};
use super::make::{self, Plan, service};
use super::names::{self, EPOCH, GAME, HELD, MADE_FROM, RETAINED, SPEC, TRANSFER};
use super::remove::not_here;
use super::{Objects, api, attention, quantity, storage};

/// For controllers to see that there is no pod to make; they may have much to do.
const FORGETS: Duration = Duration::from_secs(30);

/// What is there of a server already.
pub(super) struct Standing {
    pub(super) namespace: Option<Namespace>,
    pub(super) deployment: Option<Deployment>,
    pub(super) claim: Option<PersistentVolumeClaim>,
}

/// Whose that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// Neither volume nor Deployment is there.
    Nobody,
    /// The server is here for good.
    Server,
    /// A transfer brought it, and may take it away again.
    Transfer(TransferId),
}

impl Standing {
    pub(super) fn holder(&self) -> Holder {
        let claim = self.claim.as_ref().map(transfer_of);
        match claim.or_else(|| self.deployment.as_ref().map(transfer_of)) {
            None => Holder::Nobody,
            Some(None) => Holder::Server,
            Some(Some(transfer)) => Holder::Transfer(transfer),
        }
    }
}

pub(super) fn transfer_of<K: ResourceExt>(object: &K) -> Option<TransferId> {
    object.labels().get(TRANSFER).and_then(|id| id.parse().ok())
}

impl Objects {
    pub(super) async fn do_raise(&self, raise: &Raise<'_>) -> Result<(), AgentError> {
        let welcomed = self.welcomed()?;
        let server = raise.spec.id;
        let mut standing = self.standing(server).await?;
        let transfer = admit(raise, &standing)?;
        let class = self.storage_class().await?;
        let name = standing.claim.as_ref().map_or_else(|| names::claim(server, transfer), ResourceExt::name_any);
        let players = players(transfer, &standing);
        let plan = Plan { config: &self.config, welcomed: &welcomed, raise, transfer, claim: &name, players };
        self.raise_namespace(&plan, &standing).await?;
        self.raise_claim(&plan, &standing, &class).await?;
        api::apply::<Secret>(&self.inside(server), &make::secret(&plan)).await?;
        self.raise_service(&plan).await?;
        let outdated = self.forget_refusal(server, &mut standing.deployment).await?;
        self.raise_deployment(&plan, &standing).await?;
        self.until_up(raise, outdated).await?;
        self.set_epoch_of_pods(server, raise.epoch).await
    }

    /// The service first: a port that cannot be had is refused there, and then nothing has changed.
    pub(super) async fn do_configure(&self, raise: &Raise<'_>) -> Result<(), AgentError> {
        let welcomed = self.welcomed()?;
        let server = raise.spec.id;
        let standing = self.standing(server).await?;
        let name = standing.claim.as_ref().ok_or_else(|| not_here(server))?.name_any();
        let transfer = admit(raise, &standing)?;
        let class = self.storage_class().await?;
        let players = players(transfer, &standing);
        let plan = Plan { config: &self.config, welcomed: &welcomed, raise, transfer, claim: &name, players };
        self.raise_service(&plan).await?;
        self.raise_claim(&plan, &standing, &class).await
    }

    pub(super) async fn do_recall(&self, server: ServerId) -> Result<Option<ServerSpec>, AgentError> {
        let claim = self.claim(server).await?;
        let Some(text) = claim.as_ref().and_then(|claim| claim.annotations().get(SPEC)) else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|error| {
            let message = format!(
                "the annotation {SPEC} on its volume claim was changed by hand: {error}; start it anew from the panel"
            );
            AgentError::new(ErrorCode::Conflict, message)
        })
    }

    /// A launcher cannot check a permit before it knows who signs them.
    pub(super) fn welcomed(&self) -> Result<Welcomed, AgentError> {
        self.config.welcome.borrow().clone().ok_or_else(|| {
            AgentError::new(
                ErrorCode::Unreachable,
                "the panel has not welcomed this orchestrator yet; it will be asked again",
            )
        })
    }

    /// Before something is made.
    pub(super) async fn standing(&self, server: ServerId) -> Result<Standing, AgentError> {
        let namespace = api::get(&self.namespaces(), &self.space(server)).await?;
        let namespace = self.settled(server, namespace).await?;
        self.standing_in(server, namespace).await
    }

    /// Before something is removed: a namespace that a hand deleted waits for its volumes, which are ours to let go.
    pub(super) async fn standing_now(&self, server: ServerId) -> Result<Standing, AgentError> {
        let namespace = api::get(&self.namespaces(), &self.space(server)).await?;
        self.standing_in(server, namespace).await
    }

    async fn standing_in(&self, server: ServerId, namespace: Option<Namespace>) -> Result<Standing, AgentError> {
        if namespace.is_none() {
            return Ok(Standing { namespace: None, deployment: None, claim: None });
        }
        let deployment = api::get(&self.inside(server), GAME).await?;
        Ok(Standing { namespace, deployment, claim: self.claim(server).await? })
    }

    /// Nothing can be made in a namespace that is going; one that has gone can be made again. One with a volume in it does
    /// not go by itself.
    async fn settled(&self, server: ServerId, namespace: Option<Namespace>) -> Result<Option<Namespace>, AgentError> {
        match namespace {
            Some(going) if going.metadata.deletion_timestamp.is_some() => {
                if !api::list(&self.inside::<PersistentVolumeClaim>(server), "").await?.is_empty() {
                    return Err(deleted_by_hand(&going.name_any()));
                }
                api::until_gone(&self.namespaces(), &going.name_any(), self.config.patience.gone).await?;
                Ok(None)
            }
            other => Ok(other),
        }
    }

    /// The volume that is in use; those that are retained are not.
    pub(super) async fn claim(&self, server: ServerId) -> Result<Option<PersistentVolumeClaim>, AgentError> {
        let selector = format!("{},!{RETAINED}", names::of_server(server));
        let mut claims = api::list(&self.inside::<PersistentVolumeClaim>(server), &selector).await?;
        if claims.len() > 1 {
            let names: Vec<String> = claims.iter().map(ResourceExt::name_any).collect();
            return Err(AgentError::new(
                ErrorCode::Conflict,
                format!("it has several volumes ({}); remove the wrong ones with kubectl", names.join(", ")),
            ));
        }
        Ok(claims.pop())
    }

    pub(super) async fn raise_service(&self, plan: &Plan<'_>) -> Result<(), AgentError> {
        let services = self.inside::<Service>(plan.raise.spec.id);
        match service::players(plan) {
            Some(players) => api::apply(&services, &players).await.map(drop),
            None => api::delete(&services, GAME).await,
        }
    }

    async fn raise_namespace(&self, plan: &Plan<'_>, standing: &Standing) -> Result<(), AgentError> {
        let transfer = standing.namespace.as_ref().map_or(plan.transfer, transfer_of);
        api::apply(&self.namespaces(), &make::namespace(plan, transfer)).await.map(drop)
    }

    /// A claim that exists keeps its class and mode, and grows where its class lets it.
    async fn raise_claim(&self, plan: &Plan<'_>, standing: &Standing, class: &StorageClass) -> Result<(), AgentError> {
        let claims = self.inside::<PersistentVolumeClaim>(plan.raise.spec.id);
        let wanted_mb = quantity::volume_mb(plan.raise.spec.limits, plan.raise.bytes);
        let Some(claim) = &standing.claim else {
            return api::apply(&claims, &make::claim(plan, wanted_mb)).await.map(drop);
        };
        let held = (plan.players == Players::Held).then_some(make::HELD_YES);
        let labels = json!({EPOCH: plan.raise.epoch.0.to_string(), HELD: held});
        let annotations = json!({SPEC: make::remembered(plan.raise.spec)});
        let meta = json!({"metadata": {"labels": labels, "annotations": annotations}});
        api::merge(&claims, plan.claim, &meta).await?;
        if storage::size_mb(claim) >= wanted_mb || class.allow_volume_expansion != Some(true) {
            return Ok(());
        }
        let size = json!({"spec": {"resources": {"requests": {"storage": quantity::mi(wanted_mb)}}}});
        api::merge(&claims, plan.claim, &size).await.map(drop)
    }

    /// A pod that runs from the same template is left in peace.
    async fn raise_deployment(&self, plan: &Plan<'_>, standing: &Standing) -> Result<(), AgentError> {
        let deployments = self.inside::<Deployment>(plan.raise.spec.id);
        if standing.deployment.as_ref().is_some_and(|deployment| suffices(deployment, plan)) {
            let served = json!({names::SERVED: (!plan.raise.spec.allocations.is_empty()).to_string()});
            let meta = json!({"labels": {EPOCH: plan.raise.epoch.0.to_string()}, "annotations": served});
            return api::merge(&deployments, GAME, &json!({"metadata": meta})).await.map(drop);
        }
        api::apply(&deployments, &make::deployment(plan)).await.map(drop)
    }

    /// A controller that was refused a pod waits longer each time before it tries again, minutes in the end, and its reason
    /// stands until then, cured or not. With no pod to make it forgets both; then it is asked anew. Answers the reason that
    /// it has not forgotten.
    async fn forget_refusal(
        &self,
        server: ServerId,
        deployment: &mut Option<Deployment>,
    ) -> Result<Option<String>, AgentError> {
        let (deployments, pods) = (self.inside::<Deployment>(server), self.inside::<Pod>(server));
        let refusal = |seen: &Option<Deployment>| seen.as_ref().and_then(cause::refusal);
        if refusal(deployment).is_none() || !api::list(&pods, &names::pods_of(server)).await?.is_empty() {
            return Ok(None);
        }
        api::merge(&deployments, GAME, &json!({"spec": {"replicas": 0}})).await?;
        let deadline = Instant::now() + FORGETS;
        loop {
            *deployment = api::get(&deployments, GAME).await?;
            let outdated = refusal(deployment);
            if outdated.is_none() || Instant::now() >= deadline {
                return Ok(outdated);
            }
            sleep(api::LOOK).await;
        }
    }

    async fn until_up(&self, raise: &Raise<'_>, outdated: Option<String>) -> Result<(), AgentError> {
        let patience = self.config.patience;
        let deadline = Instant::now() + patience.raise;
        let mut doubted_since = None;
        loop {
            let reason = match self.look(raise, outdated.clone()).await? {
                Verdict::Up => return Ok(()),
                Verdict::Refused(error) => return Err(error),
                Verdict::Wait(reason) => {
                    doubted_since = None;
                    reason
                }
                Verdict::Doubt(error) => {
                    if doubted_since.get_or_insert_with(Instant::now).elapsed() >= patience.doubt {
                        return Err(self.explained(raise, error).await);
                    }
                    error.message
                }
            };
            if Instant::now() >= deadline {
                return Err(too_long(raise, &reason, patience.raise));
            }
            sleep(api::LOOK).await;
        }
    }

    /// An API server that is away for a moment decides nothing.
    async fn look(&self, raise: &Raise<'_>, outdated: Option<String>) -> Result<Verdict, AgentError> {
        match self.seen(raise.spec.id).await {
            Ok(seen) => Ok(cause::verdict(&Seen { outdated, ..seen }, !raise.mover_only)),
            Err(error) if error.code == ErrorCode::Unreachable => Ok(Verdict::Wait(error.message)),
            Err(error) => Err(error),
        }
    }

    async fn seen(&self, server: ServerId) -> Result<Seen, AgentError> {
        Ok(Seen {
            deployment: api::get(&self.inside(server), GAME).await?,
            pods: api::list(&self.inside::<Pod>(server), &names::pods_of(server)).await?,
            claim: self.claim(server).await?,
            events: api::list(&self.inside::<Event>(server), "").await?,
            outdated: None,
        })
    }

    /// The scheduler says that memory is short, not how much of it there is.
    async fn explained(&self, raise: &Raise<'_>, error: AgentError) -> AgentError {
        if !error.message.contains("Insufficient") {
            return error;
        }
        match self.nodes().await {
            Ok(nodes) => {
                AgentError::new(error.code, format!("{}; {}", error.message, nodes.shortage(raise, &self.config)))
            }
            Err(_) => error,
        }
    }

    pub(super) fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.client.clone())
    }
}

/// The transfer that everything of this raise belongs to.
fn admit(raise: &Raise<'_>, standing: &Standing) -> Result<Option<TransferId>, AgentError> {
    match (raise.transfer, standing.holder()) {
        (asked, Holder::Nobody) => Ok(asked),
        (None, Holder::Server) => Ok(None),
        (None, Holder::Transfer(standing)) => Ok(Some(standing)),
        (Some(asked), Holder::Transfer(standing)) if asked == standing => Ok(Some(asked)),
        (Some(_), Holder::Transfer(other)) => Err(AgentError::new(
            ErrorCode::Conflict,
            format!("what transfer {other} brought of this server is still here; abort that transfer first"),
        )),
        (Some(_), Holder::Server) => {
            Err(AgentError::new(ErrorCode::Conflict, "this server is in this cluster already, and no transfer's"))
        }
    }
}

/// What a transfer brings is shut until somebody opens it; that it was started, and so adopted, opens nothing.
fn players(transfer: Option<TransferId>, standing: &Standing) -> Players {
    let held = standing.claim.as_ref().is_some_and(|claim| claim.labels().contains_key(HELD));
    if held || transfer.is_some() { Players::Held } else { Players::Admitted }
}

/// Whether what is applied already is what is asked for, or more, and nobody changed it by hand.
fn suffices(deployment: &Deployment, plan: &Plan<'_>) -> bool {
    let awake = deployment.spec.as_ref().and_then(|spec| spec.replicas) == Some(1);
    let same = deployment.annotations().get(MADE_FROM) == Some(&make::made_from(plan));
    let more = plan.raise.mover_only && has_game(deployment);
    let meta = &deployment.metadata;
    awake && (same || more) && attention::hands_on(meta).is_empty() && !attention::scaled(meta)
}

pub(super) fn has_game(deployment: &Deployment) -> bool {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    pod.is_some_and(|pod| pod.containers.iter().any(|container| container.name == GAME))
}

fn deleted_by_hand(space: &str) -> AgentError {
    AgentError::new(
        ErrorCode::Conflict,
        format!(
            "its namespace {space} is being deleted by hand, and nothing can be made in it any more; its files are held \
             back in their volume until the server, or the copy that is kept, is removed in the panel"
        ),
    )
}

fn too_long(raise: &Raise<'_>, reason: &str, patience: std::time::Duration) -> AgentError {
    AgentError::new(
        ErrorCode::Internal,
        format!("the pod of server {} does not run after {} s; last seen: {reason}", raise.spec.id, patience.as_secs()),
    )
}
