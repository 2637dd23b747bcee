//! One turn with an agent, and what its failure means.

use std::time::Duration;

use model::agent_api::{AgentError, ErrorCode, Reply, Request};
use model::{BackupAction, BackupId, BackupStand, NodeId, ServerId};
use tokio::time::{Instant, sleep, timeout};

use crate::agent::{Agents, CallError};
use crate::db::backups::BackupFailure;

/// Between two calls to an agent that is there and yet does not answer.
const BREATH: Duration = Duration::from_millis(200);
/// Beyond what a turn may wait for news.
const ANSWER: Duration = Duration::from_secs(30);

/// How patient turns are.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long the agent waits for news.
    pub wait: Duration,
    /// How long an agent may be away during an upload.
    pub away: Duration,
    /// The same during a restore, which survives its agent.
    pub away_restore: Duration,
    /// How long a signed address is good.
    pub address: Duration,
    /// How often storages are cleared that could not be.
    pub tidy: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(2),
            away: Duration::from_mins(2),
            away_restore: Duration::from_mins(15),
            address: Duration::from_mins(30),
            tidy: Duration::from_mins(1),
        }
    }
}

/// Of whom turns are taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partner {
    pub(super) node: NodeId,
    pub(super) backup: BackupId,
    pub(super) server: ServerId,
    pub(super) away: Duration,
}

/// Takes one turn, and waits for an agent that went away.
pub(super) async fn turn(
    agents: &dyn Agents,
    with: Partner,
    wait: Duration,
    action: BackupAction,
) -> Result<BackupStand, BackupFailure> {
    let request = Request::Backup { backup_id: with.backup, server_id: with.server, action };
    match ask(agents, with, wait + ANSWER, request).await? {
        Reply::Backup { stand } => Ok(stand),
        other => Err(BackupFailure::new("unexpected_reply", format!("The agent answered something else: {other:?}"))),
    }
}

/// Asks until there is an answer. Requests are idempotent.
pub(super) async fn ask(
    agents: &dyn Agents,
    with: Partner,
    patience: Duration,
    request: Request,
) -> Result<Reply, BackupFailure> {
    let mut away_since = None;
    loop {
        let began = Instant::now();
        match timeout(patience, agents.call(with.node, request.clone())).await.unwrap_or(Err(CallError::Lost)) {
            Ok(reply) => return Ok(reply),
            Err(CallError::Refused(error)) => return Err(refused(&error)),
            Err(CallError::Offline | CallError::Lost) => {}
        }
        let since = *away_since.get_or_insert(began);
        let left = with.away.saturating_sub(since.elapsed());
        let back = async {
            sleep(BREATH).await;
            agents.wait_online(with.node).await;
        };
        if left.is_zero() || timeout(left, back).await.is_err() {
            let message = "The agent of the server's node or cluster went away and did not come back in time. Start its \
                           daemon, or look at its orchestrator, and try again.";
            return Err(BackupFailure::new("agent_lost", message));
        }
    }
}

fn refused(error: &AgentError) -> BackupFailure {
    let code = match error.code {
        ErrorCode::NoSpace => "insufficient_disk",
        ErrorCode::CannotCarry => "cannot_carry",
        ErrorCode::Unreachable => "storage_unreachable",
        ErrorCode::RootsDiffer => "roots_differ",
        ErrorCode::Cancelled => "cancelled",
        ErrorCode::NotFound => "agent_has_no_server",
        ErrorCode::Conflict => "agent_refused",
        ErrorCode::Unsupported => "agent_too_old",
        _ => "agent_failed",
    };
    BackupFailure::new(code, format!("{}.", error.message.trim_end_matches('.')))
}
