//! What would happen if a server were moved: every obstacle with its cure, the size, and what is known about how long.
//!
//! Nothing is changed and nothing is kept: no lock, no reservation. What is asked of agents is bounded; one that does not
//! answer is a finding about its place and not a failure of the question. Numbers that nobody measured are not given.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use model::agent_api::{AgentError, Check, CheckLevel, ErrorCode, Reply, Request};
use model::{AllocationId, Mode, NodeId, PathKind, RuntimeKind, ServerId, ServerSpec};
use tokio::time::timeout;

use super::addresses::Addresses;
use super::admission::{Facts, Refusal, obstacles, start_it};
use super::facts;
use super::requests::MigrateError;
use crate::agent::{Agents, CallError};
use crate::databases::preflight as databases;
use crate::db::allocations::Allocation;
use crate::db::backup_storages::storage_default;
use crate::db::backups::backups_of;
use crate::db::nodes::{NodeKind, nodes_all};
use crate::db::transfers::{Transfer, VariableMove, transfer_between};
use crate::db::{Conn, Db, DbError, servers};
use crate::egg;

/// For a source to look at all of its files.
const MEASURING: Duration = Duration::from_secs(30);
/// For a target to look around.
const CHECKING: Duration = Duration::from_secs(20);
/// Targets that are asked at once.
const AT_ONCE: usize = 64;

/// What somebody thinks of moving.
#[derive(Clone, Debug)]
pub struct Question {
    /// The server.
    pub server_id: ServerId,
    /// Where to; none for every node and cluster but its own.
    pub target: Option<NodeId>,
    /// Its first address there.
    pub allocation_id: Option<AllocationId>,
    /// How its addresses there are chosen.
    pub addresses: Addresses,
    /// Whether it would be stopped first.
    pub mode: Mode,
    /// Bytes per second.
    pub bandwidth_limit: Option<u64>,
    /// What it has on database hosts.
    pub databases: Vec<databases::Access>,
    /// What is known already, whatever the target.
    pub known: Vec<Check>,
    /// Whether a backup would be made first.
    pub backup_first: bool,
}

/// What is known about one target.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which.
    pub target: NodeId,
    /// A node or a cluster.
    pub kind: NodeKind,
    /// Its name.
    pub name: String,
    /// Its addresses, the primary one first, and those that it would have there.
    pub addresses: Vec<(Option<Allocation>, Option<Allocation>)>,
    /// Those of them that a start would make.
    pub made: BTreeSet<AllocationId>,
    /// Its variables that would follow them.
    pub variables: Vec<VariableMove>,
    /// What was found, obstacles first.
    pub checks: Vec<Check>,
    /// Bytes of content; none if the source could not tell.
    pub bytes: Option<u64>,
    /// Files, directories and links.
    pub files: Option<u64>,
    /// How long the move would take, seconds.
    pub duration_s: Option<u64>,
    /// How long players would wait, seconds.
    pub freeze_s: Option<f64>,
    /// Which way the last copy between the two took.
    pub path: Option<PathKind>,
    /// Bytes per second, as measured then.
    pub bandwidth: Option<u64>,
}

impl Finding {
    /// Whether nothing forbids it.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.checks.iter().all(|check| check.level != CheckLevel::Error)
    }
}

/// A target, before its agent was asked.
struct Candidate {
    facts: Facts,
    spec: ServerSpec,
    addresses: Vec<(Option<Allocation>, Option<Allocation>)>,
    made: BTreeSet<AllocationId>,
    variables: Vec<VariableMove>,
    earlier: Earlier,
    backups: Vec<Check>,
}

/// What the last copy between two places measured.
#[derive(Clone, Copy, Debug, Default)]
struct Earlier {
    path: Option<PathKind>,
    bandwidth: Option<u64>,
    /// Of a live move.
    freeze_ms: Option<u64>,
}

impl From<Transfer> for Earlier {
    fn from(transfer: Transfer) -> Self {
        let path = transfer.path.unwrap_or_default();
        let freeze_ms = transfer.freeze_ms.filter(|_| transfer.mode == Mode::Live);
        Self { path: path.kind, bandwidth: path.bandwidth, freeze_ms }
    }
}

/// What the source said.
#[derive(Clone, Debug, Default)]
struct Size {
    known: Option<(u64, u64)>,
    running: bool,
    check: Option<Check>,
}

/// Answers the question for one target or for all. A server or a target that does not exist is a refusal.
pub async fn preflight(db: &Db, agents: &dyn Agents, question: &Question) -> Result<Vec<Finding>, MigrateError> {
    let candidates = candidates(db, agents, question).await?;
    let Some(source) = candidates.first().map(|it| it.facts.source.id) else { return Ok(Vec::new()) };
    let size = measure(agents, source, question.server_id).await;
    let look = |candidate: Candidate| look(agents, question, candidate, &size);
    Ok(stream::iter(candidates).map(look).buffered(AT_ONCE).collect().await)
}

async fn candidates(db: &Db, agents: &dyn Agents, question: &Question) -> Result<Vec<Candidate>, MigrateError> {
    let mut conn = db.acquire().await?;
    let own = match servers::server_get(&mut conn, question.server_id).await {
        Ok(server) => server.node_id,
        Err(DbError::NotFound) => return Err(MigrateError::Refused(Refusal::UnknownServer)),
        Err(error) => return Err(error.into()),
    };
    let targets = match question.target {
        Some(target) => vec![target],
        None => nodes_all(&mut conn, None).await?.iter().map(|node| node.id).filter(|id| *id != own).collect(),
    };
    let mut candidates = Vec::with_capacity(targets.len());
    for target in targets {
        candidates.push(candidate(&mut conn, agents, question, target).await?);
    }
    Ok(candidates)
}

async fn candidate(
    conn: &mut Conn,
    agents: &dyn Agents,
    question: &Question,
    target: NodeId,
) -> Result<Candidate, MigrateError> {
    let (primary, rule) = (question.allocation_id, &question.addresses);
    let gathered = facts::gather(conn, agents, question.server_id, target, primary, rule).await?;
    let mut gathered = gathered.map_err(MigrateError::Refused)?;
    let wants = gathered.facts.addresses.iter();
    let addresses: Vec<_> = wants.map(|want| (want.old.clone(), want.found().cloned())).collect();
    let ports = addresses.iter().filter_map(|(old, new)| Some((old.as_ref()?.port, new.as_ref()?.port)));
    let variables = egg::moved_variables(conn, &gathered.server, &ports.collect::<Vec<_>>()).await?;
    gathered.server.environment.extend(variables.iter().map(|one| (one.name.clone(), one.new.clone())));
    // Where there is no address there, the old one says as much as can be said.
    let there: Vec<_> = addresses.iter().filter_map(|(old, new)| new.clone().or(old.clone())).collect();
    let spec = egg::load_spec(conn, &gathered.server, &there).await?;
    let earlier = transfer_between(conn, gathered.source.id, target).await?;
    let earlier = earlier.map(Earlier::from).unwrap_or_default();
    let (made, backups) = (gathered.new_allocations, backups(conn, question).await?);
    Ok(Candidate { facts: gathered.facts, spec, addresses, made, variables, earlier, backups })
}

/// Those that there are stay where they are, and one that is to be made needs a place.
async fn backups(conn: &mut Conn, question: &Question) -> Result<Vec<Check>, DbError> {
    let mut checks = Vec::new();
    if question.backup_first && storage_default(conn).await?.is_none() {
        checks.push(as_check(&Refusal::NoBackupStorage));
    }
    let count = backups_of(conn, question.server_id).await?;
    if count > 0 {
        let message =
            format!("The server's backups ({count}) stay in their storage, and can be restored after the move.");
        checks.push(check("backups_stay", CheckLevel::Info, message, ""));
    }
    Ok(checks)
}

/// Once for all targets: it is the same server.
async fn measure(agents: &dyn Agents, source: NodeId, server_id: ServerId) -> Size {
    match ask(agents, source, Request::MeasureServer { server_id }, MEASURING).await {
        Ok(Reply::Measured { bytes, files, running, .. }) => Size { known: Some((bytes, files)), running, check: None },
        Ok(_) => Size { check: Some(unclear("source")), ..Size::default() },
        // Admission tells of an agent that is away.
        Err(CallError::Offline) => Size::default(),
        // A large tree on a slow disk takes its time, a server that sleeps must be woken; a transfer waits for longer.
        Err(CallError::Lost) => Size { check: Some(not_measured()), ..Size::default() },
        Err(error) => Size { check: Some(no_answer("source", &error)), ..Size::default() },
    }
}

async fn look(agents: &dyn Agents, question: &Question, candidate: Candidate, size: &Size) -> Finding {
    let Candidate { facts, spec, addresses, made, variables, earlier, backups } = candidate;
    let mut checks: Vec<Check> = obstacles(&facts).iter().map(as_check).collect();
    checks.extend(size.check.clone());
    checks.extend(question.known.clone());
    checks.extend(conversion(&facts));
    checks.extend(variables.iter().map(rewritten));
    checks.extend(backups);
    let (bytes, files) = size.known.unwrap_or_default();
    let request = Request::CheckTarget { spec: Box::new(spec), bytes, files };
    match ask(agents, facts.target.id, request, CHECKING).await {
        Ok(Reply::Checked { checks: found }) => checks.extend(found),
        Ok(_) => checks.push(unclear("target")),
        Err(CallError::Offline) => {}
        Err(error) => checks.push(no_answer("target", &error)),
    }
    checks.extend(databases::checks(agents, &question.databases, facts.source.id, facts.target.id).await);
    checks.sort_by_key(|check| match check.level {
        CheckLevel::Error => 0,
        CheckLevel::Warning => 1,
        CheckLevel::Info => 2,
    });
    let estimate = Estimate::new(question, size, earlier);
    Finding {
        target: facts.target.id,
        kind: facts.target.place.kind,
        name: facts.target.place.name,
        addresses,
        made,
        variables,
        checks,
        bytes: size.known.map(|(bytes, _)| bytes),
        files: size.known.map(|(_, files)| files),
        duration_s: estimate.duration_s,
        freeze_s: estimate.freeze_s,
        path: earlier.path,
        bandwidth: earlier.bandwidth,
    }
}

async fn ask(agents: &dyn Agents, node: NodeId, request: Request, patience: Duration) -> Result<Reply, CallError> {
    timeout(patience, agents.call(node, request)).await.unwrap_or(Err(CallError::Lost))
}

/// A refusal says what is in its first sentence and what to do in the others.
fn as_check(refusal: &Refusal) -> Check {
    let text = refusal.to_string();
    let (message, remedy) = text.split_once(". ").unwrap_or((&text, ""));
    check(refusal.code(), CheckLevel::Error, message.trim_end_matches('.').to_owned() + ".", remedy)
}

fn check(code: &str, level: CheckLevel, message: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check { code: code.to_owned(), level, message: message.into(), remedy: remedy.into() }
}

fn not_measured() -> Check {
    let message = format!("The source did not say within {} s how big the server is.", MEASURING.as_secs());
    let remedy = "Ask again, or look at the load of its agent; room on the target is checked in the transfer.";
    check("not_measured", CheckLevel::Warning, message, remedy)
}

fn unclear(side: &str) -> Check {
    let message = format!("The {side}'s agent gave an answer that is not understood.");
    check("agent_unclear", CheckLevel::Warning, message, "Bring panel and agent to the same release.")
}

fn no_answer(side: &str, error: &CallError) -> Check {
    let refused = match error {
        CallError::Refused(error) => error,
        CallError::Offline | CallError::Lost => {
            let message = format!("The {side}'s agent did not answer in time.");
            return check("agent_silent", CheckLevel::Error, message, "Look at its log and its load, then ask again.");
        }
    };
    let AgentError { code, message } = refused;
    let sentence = format!("The {side}: {}.", message.trim_end_matches('.'));
    match code {
        ErrorCode::Unsupported => {
            let message = format!("The {side}'s agent is too old to look beforehand.");
            check("agent_too_old", CheckLevel::Warning, message, "Upgrade it; what is wrong shows in the transfer.")
        }
        ErrorCode::CannotCarry => {
            let remedy = "Let the agent read these paths, or remove them from the server.";
            check("cannot_carry", CheckLevel::Error, sentence, remedy)
        }
        ErrorCode::NotFound => {
            let remedy = "Look whether its files were moved or removed by hand.";
            check("agent_has_no_server", CheckLevel::Error, sentence, remedy)
        }
        _ => {
            check("agent_failed", CheckLevel::Error, sentence, format!("{}, then ask again.", start_it(NodeKind::Node)))
        }
    }
}

/// Between Docker and Kubernetes the unit of a CPU limit changes: 100 % are 1000m.
fn conversion(facts: &Facts) -> Option<Check> {
    let percent = facts.limits.cpu_percent;
    let millicores = percent * 10;
    let is_cluster = |runtime| runtime == Some(RuntimeKind::Kubernetes);
    let message = match (is_cluster(facts.source.runtime), is_cluster(facts.target.runtime)) {
        _ if percent == 0 => return None,
        (false, true) => format!("The CPU limit of {percent} % becomes {millicores}m (100 % = 1000m)."),
        (true, false) => format!("The CPU limit of {millicores}m becomes {percent} % (100 % = 1000m)."),
        _ => return None,
    };
    Some(check("cpu_converted", CheckLevel::Info, message, ""))
}

/// A port variable follows its port.
fn rewritten(one: &VariableMove) -> Check {
    let VariableMove { name, old, new } = one;
    let message = format!("The variable {name} becomes {new} (it is {old}, a port that changes).");
    check("variable_rewritten", CheckLevel::Info, message, "")
}

#[derive(Debug, PartialEq)]
struct Estimate {
    duration_s: Option<u64>,
    freeze_s: Option<f64>,
}

impl Estimate {
    /// From what the last copy between the two places measured. A live move freezes as long as that one did, whatever the
    /// size; a cold one, and one of a server that does not run, is a copy from end to end.
    #[allow(clippy::cast_precision_loss, reason = "seconds for people")]
    fn new(question: &Question, size: &Size, earlier: Earlier) -> Self {
        let rate = earlier.bandwidth.map(|rate| rate.min(question.bandwidth_limit.unwrap_or(u64::MAX)).max(1));
        let copy = size.known.zip(rate).map(|((bytes, _), rate)| bytes as f64 / rate as f64);
        let live = earlier.freeze_ms.map(|ms| ms as f64 / 1000.0);
        let freeze_s = match (size.known.is_some(), size.running, question.mode) {
            (false, ..) => None,
            (true, false, _) => Some(0.0),
            (true, true, Mode::Live) => live,
            (true, true, Mode::Cold) => copy,
        };
        Self { duration_s: copy.map(|copy| whole_seconds(copy + live.unwrap_or_default())), freeze_s }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and far below 2^53")]
fn whole_seconds(seconds: f64) -> u64 {
    seconds.ceil() as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn question(mode: Mode, bandwidth_limit: Option<u64>) -> Question {
        Question {
            server_id: ServerId::new(),
            target: None,
            allocation_id: None,
            addresses: Addresses::default(),
            mode,
            bandwidth_limit,
            databases: Vec::new(),
            known: Vec::new(),
            backup_first: false,
        }
    }

    #[test]
    fn what_was_never_measured_is_not_estimated() {
        let running = Size { known: Some((1000, 3)), running: true, check: None };
        let nothing = Estimate { duration_s: None, freeze_s: None };
        let never = Earlier::default();
        assert_eq!(Estimate::new(&question(Mode::Live, Some(10)), &running, never), nothing);
        assert_eq!(Estimate::new(&question(Mode::Cold, None), &Size::default(), never), nothing);
        let offline = Size { known: Some((1000, 3)), running: false, check: None };
        assert_eq!(Estimate::new(&question(Mode::Live, None), &offline, never).freeze_s, Some(0.0));
    }

    #[test]
    fn an_estimate_is_made_of_what_the_last_move_measured() {
        let running = Size { known: Some((10_000, 3)), running: true, check: None };
        let earlier = Earlier { path: Some(PathKind::Direct), bandwidth: Some(1000), freeze_ms: Some(600) };
        let of = |mode, limit| {
            let estimate = Estimate::new(&question(mode, limit), &running, earlier);
            (estimate.duration_s, estimate.freeze_s)
        };
        assert_eq!(of(Mode::Live, None), (Some(11), Some(0.6)));
        assert_eq!(of(Mode::Live, Some(100)), (Some(101), Some(0.6)));
        assert_eq!(of(Mode::Cold, Some(5000)), (Some(11), Some(10.0)));
    }

    #[test]
    fn a_refusal_is_split_into_what_is_and_what_to_do() {
        let found = as_check(&Refusal::Installing);
        assert_eq!(found.message, "The server is still installing.");
        assert_eq!(found.remedy, "Wait for the installation to complete.");
        assert_eq!((found.code.as_str(), found.level), ("server_installing", CheckLevel::Error));
    }

    #[test]
    fn paths_that_cannot_be_read_are_an_error_that_names_them() {
        let error = AgentError::new(ErrorCode::CannotCarry, "cannot be read: world/secret");
        let found = no_answer("source", &CallError::Refused(error));
        assert_eq!((found.code.as_str(), found.level), ("cannot_carry", CheckLevel::Error));
        assert_eq!(found.message, "The source: cannot be read: world/secret.");
        let old = CallError::Refused(AgentError::new(ErrorCode::Unsupported, "unknown"));
        assert_eq!(no_answer("target", &old).level, CheckLevel::Warning);
    }
}
