//! May this server move there now, and if not, why not? Pure: facts in, decision out.

use std::collections::BTreeSet;
use std::fmt;

use model::{AllocationId, Limits, NodeId, RuntimeKind, ServerId, ServerStatus};

use crate::db::allocations::Allocation;
use crate::db::nodes::NodeKind;

/// What is known when a transfer is asked for.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whether the feature flag `server_transfers` is on.
    pub enabled: bool,
    /// The server that is to move.
    pub server_id: ServerId,
    /// What it does.
    pub status: ServerStatus,
    /// Who holds it.
    pub locked_by: Option<String>,
    /// What it may use. Zero is no limit.
    pub limits: Limits,
    /// Where it is.
    pub source: NodeFacts,
    /// Where it is to go.
    pub target: NodeFacts,
    /// What the target has free for it. None where the node has no bound.
    pub free: Free,
    /// What becomes of its addresses, the primary one first. At least one.
    pub addresses: Vec<Want>,
}

/// One address of the server, and which it is to have in its place.
#[derive(Clone, Debug)]
pub struct Want {
    /// The one that it has; none if it has none.
    pub old: Option<Allocation>,
    /// The one that was asked for, or the one that was chosen.
    pub wanted: Wanted,
}

impl Want {
    /// The address on the target, if there is one that may be had.
    #[must_use]
    pub fn found(&self) -> Option<&Allocation> {
        match &self.wanted {
            Wanted::Named(row) => Some(row),
            Wanted::Chosen(row) => row.as_ref(),
            Wanted::Unknown(_) => None,
        }
    }
}

/// What is known about a node.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    /// Its id.
    pub id: NodeId,
    /// What it is called, for messages.
    pub place: Place,
    /// Whether its agent has enrolled and is connected.
    pub online: bool,
    /// What its servers run in; none until its agent has enrolled.
    pub runtime: Option<RuntimeKind>,
    /// Whether it takes no new servers.
    pub cordoned: bool,
}

/// A node or a cluster by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which of both.
    pub kind: NodeKind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.noun(), self.name)
    }
}

/// What a node has left; none where it is not bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Free {
    /// MiB.
    pub memory_mb: Option<u64>,
    /// MiB.
    pub disk_mb: Option<u64>,
    /// Percent of one core.
    pub cpu_percent: Option<u64>,
}

/// Which address is to take the place of another.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// The caller named one.
    Named(Allocation),
    /// The caller named one that does not exist.
    Unknown(AllocationId),
    /// The caller left it to us; none if there is none free.
    Chosen(Option<Allocation>),
}

/// Why not. Each becomes one documented answer of the API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The feature flag is off.
    #[error(
        "Server transfers are switched off. An administrator can switch the feature flag server_transfers on in Admin > Settings > Feature Flags."
    )]
    FeatureDisabled,
    /// No such server.
    #[error("There is no such server. Check the id.")]
    UnknownServer,
    /// No such node or cluster.
    #[error("There is no such {}. Check target_{}_id.", .0.noun(), .0.noun())]
    UnknownTarget(NodeKind),
    /// It is there already.
    #[error("The server is on {place} already. Choose another target.")]
    SameTarget {
        /// Where it is.
        place: Place,
    },
    /// Its installation has not ended.
    #[error("The server is still installing. Wait for the installation to complete.")]
    Installing,
    /// Another operation holds it.
    #[error("Server Is Currently Locked: {holder} is in progress. Wait for it to complete.")]
    Locked {
        /// What holds it.
        holder: String,
    },
    /// What the server runs in here it cannot run in there.
    #[error(
        "The {target} runs servers {}, the {source_place} {}: neither can run the other's. {}",
        as_what(*to), as_what(*from), way_out(*from, target.kind)
    )]
    RuntimeMismatch {
        /// Where it is to go.
        target: Place,
        /// Where it is.
        source_place: Place,
        /// Where the server is.
        from: RuntimeKind,
        /// Where it is to go.
        to: RuntimeKind,
    },
    /// A backup was asked for, and nobody has said where to.
    #[error(
        "There is no default storage for backups. Add one in Admin > Backup Storages, or start the transfer without backup_first."
    )]
    NoBackupStorage,
    /// An agent is not connected.
    #[error("The agent of {place} is not connected. {} and try again.", start_it(place.kind))]
    AgentOffline {
        /// Whose.
        place: Place,
    },
    /// An address that is to be replaced is not the server's.
    #[error("{0} is not an address of the server. See GET /api/v1/servers/{{id}}/allocations for those that are.")]
    AllocationUnknown(AllocationId),
    /// The same allocation was named for two addresses.
    #[error("One allocation is named for two addresses of the server. Name a different one for each.")]
    AllocationTwice,
    /// The target takes no new servers.
    #[error("The {place} is cordoned: it takes no new servers. Choose another target, or uncordon it.")]
    Cordoned {
        /// The target.
        place: Place,
    },
    /// The allocation does not exist or is another node's.
    #[error("The allocation is not one of {place}. Choose one of the target's, or none to let one be chosen.")]
    AllocationForeign {
        /// The target.
        place: Place,
    },
    /// Somebody has the allocation.
    #[error("The allocation is in use. Choose a free one, or none to let one be chosen.")]
    AllocationTaken,
    /// The target has not enough.
    #[error(
        "Insufficient Resources: {place} has not enough free {}. Choose another target, or free something there.",
        list(shortages)
    )]
    Insufficient {
        /// The target.
        place: Place,
        /// Of what.
        shortages: Vec<Shortage>,
    },
}

/// One resource of which there is too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// `memory_mb`, `disk_mb`, `cpu_percent` or `allocations`.
    pub resource: &'static str,
    /// What the server needs. Zero where it is unlimited and the node is not.
    pub needed: u64,
    /// What is free.
    pub available: u64,
}

impl Refusal {
    /// The stable code of the API.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::FeatureDisabled => "feature_disabled",
            Self::UnknownServer | Self::UnknownTarget(_) => "not_found",
            Self::SameTarget { .. } => "same_target",
            Self::Installing => "server_installing",
            Self::Locked { .. } => "server_locked",
            Self::RuntimeMismatch { .. } => "runtime_mismatch",
            Self::AgentOffline { .. } => "agent_offline",
            Self::AllocationUnknown(_) => "allocation_unknown",
            Self::AllocationTwice => "allocation_twice",
            Self::Cordoned { .. } => "target_cordoned",
            Self::NoBackupStorage => "no_backup_storage",
            Self::AllocationForeign { .. } => "allocation_foreign",
            Self::AllocationTaken => "allocation_taken",
            Self::Insufficient { .. } => "insufficient_resources",
        }
    }
}

/// Lets the transfer in with these addresses on the target, the primary one first, or says why not.
pub fn admit(facts: &Facts) -> Result<Vec<Allocation>, Refusal> {
    match obstacles(facts).into_iter().next() {
        Some(refusal) => Err(refusal),
        None => facts.addresses.iter().map(|want| want.found().cloned().ok_or(Refusal::AllocationTaken)).collect(),
    }
}

/// Everything that stands in the way; what a caller should be told first is first.
#[must_use]
pub fn obstacles(facts: &Facts) -> Vec<Refusal> {
    let (source, target) = (&facts.source, &facts.target);
    let mut found = Vec::new();
    if !facts.enabled {
        found.push(Refusal::FeatureDisabled);
    }
    if source.id == target.id {
        found.push(Refusal::SameTarget { place: target.place.clone() });
    }
    if facts.status == ServerStatus::Installing {
        found.push(Refusal::Installing);
    }
    if let Some(holder) = &facts.locked_by {
        found.push(Refusal::Locked { holder: describe(holder) });
    }
    if let (Some(from), Some(to)) = (source.runtime, target.runtime)
        && as_what(from) != as_what(to)
    {
        let (target, source_place) = (target.place.clone(), source.place.clone());
        found.push(Refusal::RuntimeMismatch { target, source_place, from, to });
    }
    if target.cordoned {
        found.push(Refusal::Cordoned { place: target.place.clone() });
    }
    // A named one that cannot be had is told as that; that there is none is a shortage.
    found.extend(refused_addresses(facts));
    let missing = facts.addresses.iter().filter(|want| matches!(want.wanted, Wanted::Chosen(None))).count();
    let addresses = (count(facts.addresses.len()), count(facts.addresses.len() - missing));
    let shortages = shortages(facts.limits, facts.free, addresses);
    if !shortages.is_empty() {
        found.push(Refusal::Insufficient { place: target.place.clone(), shortages });
    }
    // Last: what the request got wrong is told even while an agent is away.
    let away = [target, source].into_iter().filter(|node| !node.online);
    found.extend(away.map(|node| Refusal::AgentOffline { place: node.place.clone() }));
    found
}

/// What was named and cannot be had; each reason once.
fn refused_addresses(facts: &Facts) -> Vec<Refusal> {
    let (mut found, mut named) = (Vec::new(), BTreeSet::new());
    for want in &facts.addresses {
        let refusal = match &want.wanted {
            Wanted::Unknown(_) => Some(Refusal::AllocationForeign { place: facts.target.place.clone() }),
            Wanted::Named(row) if row.node_id != facts.target.id => {
                Some(Refusal::AllocationForeign { place: facts.target.place.clone() })
            }
            Wanted::Named(row) if !row.is_free() => Some(Refusal::AllocationTaken),
            Wanted::Named(row) if !named.insert(row.id) => Some(Refusal::AllocationTwice),
            Wanted::Named(_) | Wanted::Chosen(_) => None,
        };
        found.extend(refusal.filter(|refusal| !found.contains(refusal)));
    }
    found
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Of what there is too little; addresses are those that are needed and those that are free.
pub(crate) fn shortages(needed: Limits, free: Free, addresses: (u64, u64)) -> Vec<Shortage> {
    let of = |resource, needed: u64, available: Option<u64>| {
        let available = available?;
        // An unlimited server fits wherever something is left: its limit says nothing that could be added up.
        let fits = if needed == 0 { available > 0 } else { needed <= available };
        (!fits).then_some(Shortage { resource, needed, available })
    };
    let mut shortages: Vec<_> = [
        of("memory_mb", needed.memory_mb, free.memory_mb),
        of("disk_mb", needed.disk_mb, free.disk_mb),
        of("cpu_percent", needed.cpu_percent, free.cpu_percent),
    ]
    .into_iter()
    .flatten()
    .collect();
    let (needed, available) = addresses;
    if available < needed {
        shortages.push(Shortage { resource: "allocations", needed, available });
    }
    shortages
}

fn as_what(runtime: RuntimeKind) -> &'static str {
    match runtime {
        RuntimeKind::Process => "as processes",
        RuntimeKind::Docker | RuntimeKind::Kubernetes => "in containers",
    }
}

/// A daemon can be started with another runtime, a cluster is what it is.
fn way_out(from: RuntimeKind, target: NodeKind) -> String {
    let what = as_what(from);
    match (from, target) {
        (_, NodeKind::Cluster) => format!("Choose a target that runs them {what}."),
        (RuntimeKind::Process, NodeKind::Node) => {
            format!("Choose a target that runs them {what}, or start the target's daemon with --runtime process.")
        }
        (RuntimeKind::Docker | RuntimeKind::Kubernetes, NodeKind::Node) => {
            format!("Choose a target that runs them {what}, or start the target's daemon with --runtime docker.")
        }
    }
}

/// How an agent comes back.
#[must_use]
pub fn start_it(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Node => "Start its daemon",
        NodeKind::Cluster => "Look at its orchestrator (`kubectl -n badger-system get pods`)",
    }
}

/// Shortages in words.
pub(crate) fn list(shortages: &[Shortage]) -> String {
    let word = |shortage: &Shortage| match shortage.resource {
        "allocations" if shortage.available == 0 => format!("allocations ({} needed, none free)", shortage.needed),
        "allocations" => format!("allocations ({} needed, {} free)", shortage.needed, shortage.available),
        "memory_mb" => format!("memory ({} MiB needed, {} free)", shortage.needed, shortage.available),
        "disk_mb" => format!("disk ({} MiB needed, {} free)", shortage.needed, shortage.available),
        _ => format!("CPU ({} % needed, {} free)", shortage.needed, shortage.available),
    };
    shortages.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// Locks of transfers are ids, those of other operations words.
fn describe(holder: &str) -> String {
    match holder.parse::<model::TransferId>() {
        Ok(id) => format!("transfer {id}"),
        Err(_) if holder.starts_with("backup:") => "a backup".to_owned(),
        Err(_) if holder.starts_with("restore:") => "the restore of a backup".to_owned(),
        Err(_) => format!("another operation ({holder})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(node: NodeId) -> Allocation {
        Allocation::new(node, "127.0.0.1", 25565)
    }

    fn only(wanted: Wanted) -> Vec<Want> {
        vec![Want { old: None, wanted }]
    }

    fn facts() -> Facts {
        let runtime = Some(RuntimeKind::Process);
        let place = |name: &str| Place { kind: NodeKind::Node, name: name.into() };
        let node =
            |name: &str| NodeFacts { id: NodeId::new(), place: place(name), online: true, runtime, cordoned: false };
        let (source, target) = (node("one"), node("two"));
        Facts {
            enabled: true,
            server_id: ServerId::new(),
            status: ServerStatus::Running,
            locked_by: None,
            limits: Limits { memory_mb: 1024, disk_mb: 2048, cpu_percent: 100 },
            free: Free { memory_mb: Some(1024), disk_mb: Some(2048), cpu_percent: Some(100) },
            addresses: only(Wanted::Chosen(Some(address(target.id)))),
            source,
            target,
        }
    }

    #[test]
    fn what_just_fits_is_let_in() {
        let facts = facts();
        let chosen = facts.addresses[0].found().expect("it was chosen");
        assert_eq!(admit(&facts), Ok(vec![chosen.clone()]));
    }

    #[test]
    fn each_obstacle_has_its_own_refusal() {
        let with = |change: fn(&mut Facts)| {
            let mut facts = facts();
            change(&mut facts);
            admit(&facts).expect_err("refused").code()
        };
        assert_eq!(with(|f| f.enabled = false), "feature_disabled");
        assert_eq!(with(|f| f.target.id = f.source.id), "same_target");
        assert_eq!(with(|f| f.status = ServerStatus::Installing), "server_installing");
        assert_eq!(with(|f| f.locked_by = Some("install".into())), "server_locked");
        assert_eq!(with(|f| f.target.runtime = Some(RuntimeKind::Docker)), "runtime_mismatch");
        assert_eq!(with(|f| f.source.runtime = Some(RuntimeKind::Docker)), "runtime_mismatch");
        assert_eq!(with(|f| f.target.cordoned = true), "target_cordoned");
        assert_eq!(with(|f| f.source.online = false), "agent_offline");
        assert_eq!(with(|f| f.target.online = false), "agent_offline");
        assert_eq!(with(|f| f.addresses = only(Wanted::Unknown(AllocationId::new()))), "allocation_foreign");
        assert_eq!(with(|f| f.addresses = only(Wanted::Named(address(f.source.id)))), "allocation_foreign");
        assert_eq!(with(|f| f.addresses = only(Wanted::Chosen(None))), "insufficient_resources");
        let taken = |f: &mut Facts| {
            let mut taken = address(f.target.id);
            taken.server_id = Some(ServerId::new());
            f.addresses = only(Wanted::Named(taken));
        };
        assert_eq!(with(taken), "allocation_taken");
    }

    #[test]
    fn all_addresses_are_needed_and_each_is_one_of_its_own() {
        let mut facts = facts();
        let (first, second) = (address(facts.target.id), address(facts.target.id));
        let want = |wanted| Want { old: None, wanted };
        let both = |a: &Allocation, b: &Allocation| {
            vec![want(Wanted::Named(a.clone())), want(Wanted::Chosen(None)), want(Wanted::Named(b.clone()))]
        };
        facts.addresses = both(&first, &second);
        let refusal = admit(&facts).expect_err("refused");
        let Refusal::Insufficient { shortages, .. } = &refusal else { panic!("{refusal}") };
        assert_eq!(shortages, &[Shortage { resource: "allocations", needed: 3, available: 2 }]);
        assert!(refusal.to_string().contains("allocations (3 needed, 2 free)"), "{refusal}");
        facts.addresses = both(&first, &first);
        assert_eq!(admit(&facts).expect_err("refused").code(), "allocation_twice");
    }

    #[test]
    fn a_shortage_names_what_is_needed_and_what_is_there() {
        let mut facts = facts();
        facts.free = Free { memory_mb: Some(1000), disk_mb: None, cpu_percent: Some(0) };
        let Err(Refusal::Insufficient { shortages, .. }) = admit(&facts) else { panic!() };
        let memory = Shortage { resource: "memory_mb", needed: 1024, available: 1000 };
        let cpu = Shortage { resource: "cpu_percent", needed: 100, available: 0 };
        assert_eq!(shortages, [memory, cpu]);
        let message = admit(&facts).expect_err("refused").to_string();
        assert!(message.starts_with("Insufficient Resources"), "{message}");
        assert!(message.contains("memory (1024 MiB needed, 1000 free)"), "{message}");
    }

    #[test]
    fn another_runtime_is_refused_with_what_to_do() {
        let mut facts = facts();
        facts.target.runtime = Some(RuntimeKind::Docker);
        let message = admit(&facts).expect_err("refused").to_string();
        assert!(message.starts_with("The node two runs servers in containers, the node one as processes"), "{message}");
        assert!(message.ends_with("with --runtime process."), "{message}");
        // One that has never enrolled has none yet: what is wrong with it is that it is not there.
        facts.target.runtime = None;
        facts.target.online = false;
        assert_eq!(admit(&facts).expect_err("refused").code(), "agent_offline");
    }

    #[test]
    fn docker_and_kubernetes_run_the_same_images_and_processes_are_apart() {
        use RuntimeKind::{Docker, Kubernetes, Process};
        for from in [Process, Docker, Kubernetes] {
            for to in [Process, Docker, Kubernetes] {
                let mut facts = facts();
                (facts.source.runtime, facts.target.runtime) = (Some(from), Some(to));
                assert_eq!(admit(&facts).is_ok(), (from == Process) == (to == Process), "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn a_cluster_is_called_a_cluster_and_has_its_own_cure() {
        let mut facts = facts();
        facts.target.place.kind = NodeKind::Cluster;
        facts.target.runtime = Some(RuntimeKind::Kubernetes);
        facts.target.online = false;
        let all: Vec<_> = obstacles(&facts).iter().map(ToString::to_string).collect();
        assert!(all[0].ends_with("Choose a target that runs them as processes."), "{all:?}");
        assert!(all[1].starts_with("The agent of cluster two is not connected. Look at its orchestrator"), "{all:?}");
    }

    #[test]
    fn all_obstacles_are_told_and_the_first_is_the_refusal() {
        let mut facts = facts();
        facts.locked_by = Some("install".into());
        facts.addresses = only(Wanted::Chosen(None));
        facts.source.online = false;
        let codes: Vec<_> = obstacles(&facts).iter().map(Refusal::code).collect();
        assert_eq!(codes, ["server_locked", "insufficient_resources", "agent_offline"]);
        assert_eq!(admit(&facts).expect_err("refused").code(), "server_locked");
    }

    #[test]
    fn an_unlimited_server_needs_something_to_be_left() {
        let mut facts = facts();
        facts.limits = Limits::default();
        assert!(admit(&facts).is_ok());
        facts.free.memory_mb = Some(0);
        assert_eq!(admit(&facts).expect_err("refused").code(), "insufficient_resources");
    }

    #[test]
    fn the_lock_message_begins_as_on_the_products_page() {
        let mut facts = facts();
        facts.locked_by = Some(model::TransferId::new().to_string());
        let message = admit(&facts).expect_err("refused").to_string();
        assert!(message.starts_with("Server Is Currently Locked"), "{message}");
    }
}
