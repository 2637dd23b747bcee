//! Carrying requests out: waking what sleeps, asking the mover, and changing the cluster around it.
//!
//! Nothing is remembered here that matters. Each request looks at the cluster, makes the difference, and may be dropped
//! and repeated anywhere: by a newer request, by a crash of the orchestrator, by the panel that asks again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use model::agent_api::{AgentError, ErrorCode, Outcome, Reply, Request, StepKey, TransferAction};
use model::{Epoch, ServerId, ServerSpec, ServerStatus, Timestamp, TransferId};
use tokio::time::timeout;

use super::objects::{KnownServer, Raise};
use super::orchestrator::{Orchestrator, outcome};
use super::route::{Asleep, Need, Route, Then, route, server_of};

/// For a mover that is being started again, on another node if need be. The panel bounds what it waits for itself.
const AWAY: Duration = Duration::from_mins(1);
/// For one that would only say goodbye: what it looks after is about to be removed.
const GOODBYE: Duration = Duration::from_secs(10);
/// For what is written on objects when what counts is done, and somebody waits for the answer.
const BESIDE: Duration = Duration::from_secs(5);
/// For one whose word says that a game which ran has ended. After that its pod is ended instead.
const LAST_WORD: Duration = Duration::from_secs(30);
/// The undo in which players wait for the source. What is in the cluster goes with the undo of the preparation.
const UNDO_OF_START: &str = "undo_start_target";

/// A step of a transfer, and the server that it is about.
#[derive(Clone)]
struct Step {
    key: StepKey,
    server: ServerId,
}

impl Step {
    fn transfer(&self) -> TransferId {
        self.key.transfer_id
    }
}

impl Orchestrator {
    /// Begins a request: if its mover is there and needs nothing first, it has been asked when this returns.
    pub(super) fn begin(self: Arc<Self>, request: Request) -> BoxFuture<'static, Outcome> {
        let Some(server) = server_of(&request) else {
            return Box::pin(async move { outcome(self.about_the_cluster(request).await) });
        };
        let busy = self.beds.keep_up(server);
        if let Route::Mover(need, then) = route(&request)
            && self.is_ready(server, need)
        {
            let (step, call) = (step_of(&request), self.hub.call(server, &request, AWAY));
            return Box::pin(async move {
                let _busy = busy;
                let asked = call.await;
                outcome(self.then(step, server, then, asked).await)
            });
        }
        Box::pin(async move {
            let _busy = busy;
            self.beds.until_still(server).await;
            outcome(Box::pin(self.carry(server, request)).await)
        })
    }

    fn is_ready(&self, server: ServerId, need: Need) -> bool {
        let awake = self.hub.is_here(server) && !self.beds.is_falling_asleep(server);
        awake && (need != Need::Game || self.table().whole.contains(&server))
    }

    async fn about_the_cluster(&self, request: Request) -> Result<Reply, AgentError> {
        match request {
            Request::CheckTarget { spec, bytes, files } => {
                Ok(Reply::Checked { checks: self.objects.check(&spec, bytes, files).await })
            }
            // From the orchestrator's pod, whose way out of the cluster is that of the games.
            Request::CheckDatabase { host, port, database, username, password } => {
                let answer = Box::pin(crate::database::look(&host, port, &database, &username, &password)).await;
                Ok(Reply::DatabaseChecked { answer })
            }
            Request::ListOrphans { .. } | Request::RemoveOrphan { .. } => {
                let message = "what nobody owns in a cluster has labels of ours: kubectl get all -A -l app.kubernetes.io/managed-by=badgerpanel";
                Err(AgentError::new(ErrorCode::Unsupported, message))
            }
            _ => Ok(Reply::Done),
        }
    }

    async fn carry(&self, server: ServerId, request: Request) -> Result<Reply, AgentError> {
        let step = step_of(&request);
        match (route(&request), request) {
            (Route::Mover(need, then), request) => Box::pin(self.ask(step, server, need, then, &request)).await,
            (Route::Create, Request::CreateServer { spec, epoch }) => self.create(*spec, epoch).await,
            (Route::Configure, Request::ConfigureServer { spec }) => self.configure(*spec).await,
            (Route::Remove, request) => self.remove(server, &request).await,
            (Route::Prepare, Request::Transfer { key, action, .. }) => self.prepare(server, key, action).await,
            (route, request) => match step {
                Some(step) => self.end_of_transfer(route, &step, &request).await,
                None => self.about_the_cluster(request).await,
            },
        }
    }

    async fn end_of_transfer(&self, route: Route, step: &Step, request: &Request) -> Result<Reply, AgentError> {
        match route {
            Route::Admit => self.admit(step).await,
            Route::Abort => self.abort(step, request).await,
            Route::Retain(expires_at) => self.retain(step, expires_at, request).await,
            _ => {
                self.objects.free(step.transfer()).await?;
                Ok(Reply::Done)
            }
        }
    }

    /// Asks the mover, having woken what `need` says.
    async fn ask(
        &self,
        step: Option<Step>,
        server: ServerId,
        need: Need,
        then: Then,
        request: &Request,
    ) -> Result<Reply, AgentError> {
        let asked = match self.awaken(server, need, epoch_of(then)).await? {
            None => self.hub.call(server, request, AWAY).await,
            Some(asleep) => self.answer_asleep(server, asleep),
        };
        self.then(step, server, then, asked).await
    }

    /// Makes awake what must be. Answers what to say if it sleeps on.
    async fn awaken(&self, server: ServerId, need: Need, epoch: Option<Epoch>) -> Result<Option<Asleep>, AgentError> {
        // A game that runs is not given another pod by a start that will leave it alone.
        let runs = || self.hub.seen(server).is_some_and(|seen| seen.status.is_live());
        if self.hub.is_here(server) && (need != Need::Game || runs()) {
            return Ok(None);
        }
        let known = self.known(server).await?.ok_or_else(|| not_here(server))?;
        match need {
            Need::Asleep(answer) if known.asleep => return Ok(Some(answer)),
            Need::Files if known.asleep => self.wake(&known, true, epoch).await?,
            Need::Game => self.wake(&known, false, epoch).await?,
            Need::Asleep(_) | Need::Files => {}
        }
        Ok(None)
    }

    async fn wake(&self, known: &KnownServer, mover_only: bool, epoch: Option<Epoch>) -> Result<(), AgentError> {
        let server = known.server;
        let spec = self.objects.recall(server).await?.ok_or_else(|| not_here(server))?;
        let raise = Raise {
            spec: &spec,
            epoch: epoch.unwrap_or(known.epoch),
            transfer: known.transfer,
            bytes: 0,
            mover_only,
            token: &self.hub.bearers.bearer(server),
        };
        self.raise(&raise).await
    }

    async fn raise(&self, raise: &Raise<'_>) -> Result<(), AgentError> {
        let server = raise.spec.id;
        tracing::info!(%server, mover_only = raise.mover_only, "raising its pod");
        self.table().whole.remove(&server);
        self.objects.raise(raise).await?;
        if !raise.mover_only {
            self.table().whole.insert(server);
        }
        Ok(())
    }

    fn answer_asleep(&self, server: ServerId, asleep: Asleep) -> Result<Reply, AgentError> {
        match asleep {
            Asleep::Done => Ok(Reply::Done),
            Asleep::NotRunning => Err(AgentError::new(ErrorCode::Conflict, "it is not running")),
            Asleep::NoLines => Ok(Reply::Console { lines: Vec::new() }),
            Asleep::NoMemory => Ok(Reply::ConsoleLines { memory: String::new(), first: 1, lines: Vec::new() }),
            Asleep::Observation => {
                let server = self.observed_asleep(server).ok_or_else(|| not_here(server))?;
                Ok(Reply::Server { server })
            }
        }
    }

    /// What follows the mover's answer.
    async fn then(
        &self,
        step: Option<Step>,
        server: ServerId,
        then: Then,
        asked: Result<Reply, AgentError>,
    ) -> Result<Reply, AgentError> {
        let reply = asked?;
        match (then, step) {
            (Then::Epoch(epoch), _) => self.show_epoch(server, epoch).await,
            (Then::Conceal, Some(step)) => self.objects.conceal_data(server, step.transfer()).await?,
            (Then::Adopt(epoch), Some(step)) => self.adopt(server, step.transfer(), epoch).await,
            (Then::Expose, Some(step)) => {
                let address = self.objects.expose_data(server, step.transfer()).await?;
                return Ok(Reply::Listening { address });
            }
            (Then::Answer, _) | (_, None) => {}
        }
        Ok(reply)
    }

    /// The game runs: an API server that is away is no reason to stop it, and players do not wait for it. What is not
    /// adopted now is adopted by [`Self::adopt_what_came`].
    pub(super) async fn adopt(&self, server: ServerId, transfer: TransferId, epoch: Epoch) {
        match timeout(BESIDE, self.objects.adopt(server, transfer, epoch)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%server, %transfer, %error, "its objects will be adopted later"),
            Err(_) => tracing::warn!(%server, %transfer, "its objects will be adopted later: no answer in time"),
        }
    }

    /// The epoch that counts lies beside the data; this one is for people, and no reason to fail or to wait.
    async fn show_epoch(&self, server: ServerId, epoch: Epoch) {
        match timeout(BESIDE, self.objects.set_epoch(server, epoch)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%server, %epoch, %error, "the epoch cannot be shown on its objects"),
            Err(_) => tracing::warn!(%server, %epoch, "the epoch cannot be shown on its objects: no answer in time"),
        }
    }

    async fn create(&self, spec: ServerSpec, epoch: Epoch) -> Result<Reply, AgentError> {
        let server = spec.id;
        let token = self.hub.bearers.bearer(server);
        let raise = Raise { spec: &spec, epoch, transfer: None, bytes: 0, mover_only: false, token: &token };
        self.raise(&raise).await?;
        if spec.install.is_some() && !self.is_installed(server).await? {
            self.objects.install(&spec).await?;
        }
        let request = Request::CreateServer { spec: Box::new(without_script(spec)), epoch };
        self.hub.call(server, &request, AWAY).await
    }

    /// The cluster first: it alone knows whether the ports can be had, and refuses before anything is written down. A pod that
    /// is no longer what the server needs is replaced at the next start, when no game is in it.
    async fn configure(&self, spec: ServerSpec) -> Result<Reply, AgentError> {
        let server = spec.id;
        let known = self.known(server).await?.ok_or_else(|| not_here(server))?;
        let token = self.hub.bearers.bearer(server);
        let (epoch, transfer, mover_only) = (known.epoch, known.transfer, known.asleep);
        let raise = Raise { spec: &spec, epoch, transfer, bytes: 0, mover_only, token: &token };
        self.objects.configure(&raise).await?;
        self.table().whole.remove(&server);
        self.awaken(server, Need::Files, None).await?;
        let request = Request::ConfigureServer { spec: Box::new(without_script(spec)) };
        self.hub.call(server, &request, AWAY).await
    }

    /// A script is not run again over a server that it has installed.
    async fn is_installed(&self, server: ServerId) -> Result<bool, AgentError> {
        match self.hub.call(server, &Request::ObserveServer { server_id: server }, AWAY).await {
            Ok(Reply::Server { server }) => {
                Ok(!matches!(server.status, ServerStatus::Installing | ServerStatus::InstallFailed))
            }
            Ok(_) => Ok(false),
            Err(error) if error.code == ErrorCode::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A mover that refuses, because the game runs, is obeyed. One that is not there, or whose pod cannot be scheduled,
    /// does not keep its server from being removed.
    async fn remove(&self, server: ServerId, request: &Request) -> Result<Reply, AgentError> {
        let awake = self.hub.is_here(server) || self.known(server).await?.is_some_and(|known| !known.asleep);
        if awake {
            self.say_goodbye(server, request, GOODBYE).await?;
        }
        self.objects.remove(server).await?;
        self.forget(server);
        Ok(Reply::Done)
    }

    /// Answers whether the mover has heard it.
    async fn say_goodbye(&self, server: ServerId, request: &Request, patience: Duration) -> Result<bool, AgentError> {
        match self.hub.call(server, request, patience).await {
            Ok(_) => Ok(true),
            Err(error) if error.code == ErrorCode::Unreachable => {
                tracing::warn!(%server, "its mover is not there: its pod is ended without its word");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn prepare(&self, server: ServerId, key: StepKey, action: TransferAction) -> Result<Reply, AgentError> {
        let TransferAction::PrepareTarget { spec, epoch, source_fingerprint, ticket, bytes, files, basis } = action
        else {
            return Err(AgentError::new(ErrorCode::Internal, "only a preparation is prepared"));
        };
        if basis.is_some() {
            let message =
                "a retained volume of this cluster cannot be built on: start a transfer back, which sends everything";
            return Err(AgentError::new(ErrorCode::Unsupported, message));
        }
        let transfer = key.transfer_id;
        if self.known(server).await?.is_some_and(|known| known.transfer != Some(transfer)) {
            return Err(AgentError::new(ErrorCode::Conflict, format!("server {server} is in this cluster already")));
        }
        tracing::info!(%transfer, %server, bytes, "transfer: making the target's objects");
        let token = self.hub.bearers.bearer(server);
        let raise = Raise { spec: &spec, epoch, transfer: Some(transfer), bytes, mover_only: false, token: &token };
        self.raise(&raise).await?;
        let spec = Box::new(without_script(*spec));
        let action = TransferAction::PrepareTarget { spec, epoch, source_fingerprint, ticket, bytes, files, basis };
        let request = Request::Transfer { key, server_id: server, action };
        let reply = self.hub.call(server, &request, AWAY).await?;
        self.with_a_way_in(server, transfer, reply).await
    }

    /// The mover knows its pod's address, which means nothing outside of the cluster.
    async fn with_a_way_in(&self, server: ServerId, transfer: TransferId, reply: Reply) -> Result<Reply, AgentError> {
        let Reply::TargetReady { fingerprint, owner, .. } = reply else { return Ok(reply) };
        let holds_players = true;
        let address = self.objects.expose_data(server, transfer).await?;
        let player_address = self.objects.player_address(server).await?;
        Ok(Reply::TargetReady { address, fingerprint, owner, player_address, holds_players })
    }

    /// Adopted first, if that was left for later when it was started: whatever a transfer holds is shut.
    async fn admit(&self, step: &Step) -> Result<Reply, AgentError> {
        let server = step.server;
        let known = self.known(server).await?.ok_or_else(|| not_here(server))?;
        let spec = self.objects.recall(server).await?.ok_or_else(|| not_here(server))?;
        let token = self.hub.bearers.bearer(server);
        let (epoch, mover_only) = (step.key.epoch.next(), known.asleep);
        if known.transfer == Some(step.transfer()) {
            self.objects.adopt(server, step.transfer(), epoch).await?;
        }
        let raise = Raise { spec: &spec, epoch, transfer: None, bytes: 0, mover_only, token: &token };
        self.objects.admit(&raise).await?;
        tracing::info!(transfer = %step.transfer(), %server, "transfer: players are let in");
        Ok(Reply::Done)
    }

    /// What the transfer brought goes. What was started, and so adopted, is known by the epoch that the transfer gave it:
    /// a server that has moved on since, or came back in a later one, is left alone.
    async fn abort(&self, step: &Step, request: &Request) -> Result<Reply, AgentError> {
        let (server, transfer) = (step.server, step.transfer());
        let known = self.known(server).await?;
        let brought = known.as_ref().is_some_and(|known| known.transfer == Some(transfer));
        let adopted =
            known.as_ref().is_some_and(|known| known.transfer.is_none() && known.epoch == step.key.epoch.next());
        if (brought && self.hub.is_here(server)) || adopted {
            let heard = self.say_goodbye(server, request, if adopted { LAST_WORD } else { GOODBYE }).await?;
            // Its game has ended and will not start again: enough for the source, for which players wait.
            if heard && step.key.step.starts_with(UNDO_OF_START) {
                return Ok(Reply::Done);
            }
        }
        self.objects.remove_target(server, transfer).await?;
        if adopted {
            self.objects.remove(server).await?;
        }
        if adopted || brought {
            self.forget(server);
        }
        tracing::info!(%transfer, %server, "transfer: aborted, its objects are gone");
        Ok(Reply::Done)
    }

    /// The mover notes what is kept; then the pod goes. A repeat finds the pod gone and the volume labelled.
    async fn retain(&self, step: &Step, expires_at: Timestamp, request: &Request) -> Result<Reply, AgentError> {
        let (server, transfer) = (step.server, step.transfer());
        let bytes = if let Some(bytes) = self.objects.retained(server, transfer).await? {
            bytes
        } else {
            self.awaken(server, Need::Files, None).await?;
            match self.hub.call(server, request, AWAY).await? {
                Reply::Retained { bytes } => bytes,
                other => return Ok(other),
            }
        };
        self.objects.conceal_data(server, transfer).await?;
        self.objects.retain(server, transfer, expires_at, bytes).await?;
        self.forget(server);
        tracing::info!(%transfer, %server, bytes, "transfer: the source's volume is kept, its pod is gone");
        Ok(Reply::Retained { bytes })
    }
}

fn step_of(request: &Request) -> Option<Step> {
    match request {
        Request::Transfer { key, server_id, .. } => Some(Step { key: key.clone(), server: *server_id }),
        _ => None,
    }
}

fn epoch_of(then: Then) -> Option<Epoch> {
    match then {
        Then::Epoch(epoch) => Some(epoch),
        _ => None,
    }
}

/// The installation is the cluster's business; a mover that is given a script could only refuse.
fn without_script(spec: ServerSpec) -> ServerSpec {
    ServerSpec { install: None, ..spec }
}

fn not_here(server: ServerId) -> AgentError {
    AgentError::new(ErrorCode::NotFound, format!("server {server} is not in this cluster"))
}
