//! Where a request of the panel goes, and which of several goes first. Pure: what is done about it is in `carry`.
//!
//! Most of it is the mover's, which is an agent like any other. What is not: whatever makes, changes or removes objects
//! of the cluster before or after. A pod sleeps while its server does not run, so each request says what it needs to be
//! awake for it.

use std::mem::Discriminant;

use model::agent_api::{Request, TransferAction};
use model::{BackupAction, Epoch, ServerId, Timestamp, TransferId};

use super::lanes::Towards;

/// What a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Nothing: we are here.
    Pong,
    /// A look at the cluster.
    Check,
    /// A connection from where we are, in the cluster's network.
    Database,
    /// Objects, the egg's installation, the mover.
    Create,
    /// Ports and volume, then the mover.
    Configure,
    /// The mover if it is there, then all objects.
    Remove,
    /// Objects for a transfer's target, the mover, a way in.
    Prepare,
    /// The mover if it is there, then what the transfer brought.
    Abort,
    /// The mover, then the pod goes and the volume stays.
    Retain(Timestamp),
    /// The way in for players opens.
    Admit,
    /// The volume that a transfer left.
    Free,
    /// The mover.
    Mover(Need, Then),
}

/// What must be awake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// The game's container too: it is going to be started.
    Game,
    /// The volume's files: the mover alone will do.
    Files,
    /// Nothing is woken for it. If it sleeps, this is the answer.
    Asleep(Asleep),
}

/// Answers of a server that sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asleep {
    /// It is so already.
    Done,
    /// It would have to run.
    NotRunning,
    /// It says nothing.
    NoLines,
    /// The same to whoever follows what it says.
    NoMemory,
    /// What the cluster shows.
    Observation,
}

/// What follows when the mover has answered well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing.
    Answer,
    /// People see the epoch on the objects.
    Epoch(Epoch),
    /// A way in for the other agent, named in the answer.
    Expose,
    /// That way is closed.
    Conceal,
    /// What the transfer brought is the server's.
    Adopt(Epoch),
}

/// Where `request` goes.
pub(super) fn route(request: &Request) -> Route {
    match request {
        Request::Ping => Route::Pong,
        Request::CreateServer { .. } => Route::Create,
        Request::ConfigureServer { .. } => Route::Configure,
        // A server that sleeps is woken by its start. The permit itself is for the launcher and the mover to judge.
        Request::StartServer { permit, .. } => Route::Mover(Need::Game, Then::Epoch(permit.epoch)),
        // What sleeps has ended, copies nothing and packs nothing; a restore that was cut off is finished by the mover when it
        // wakes.
        Request::StopServer { .. }
        | Request::KillServer { .. }
        | Request::AdjustCopy { .. }
        | Request::Backup { action: BackupAction::Cancel, .. } => {
            Route::Mover(Need::Asleep(Asleep::Done), Then::Answer)
        }
        Request::SendConsole { .. } => Route::Mover(Need::Asleep(Asleep::NotRunning), Then::Answer),
        Request::ReadConsole { .. } => Route::Mover(Need::Asleep(Asleep::NoLines), Then::Answer),
        Request::FollowConsole { .. } => Route::Mover(Need::Asleep(Asleep::NoMemory), Then::Answer),
        Request::ObserveServer { .. } => Route::Mover(Need::Asleep(Asleep::Observation), Then::Answer),
        // A preflight, a backup: the files have to be looked at, wherever they are.
        Request::MeasureServer { .. } | Request::Backup { .. } => Route::Mover(Need::Files, Then::Answer),
        Request::RemoveServer { .. } => Route::Remove,
        // A cluster's are found by their labels, and shown by the orchestrator's survey.
        Request::CheckTarget { .. } | Request::ListOrphans { .. } | Request::RemoveOrphan { .. } => Route::Check,
        Request::CheckDatabase { .. } => Route::Database,
        Request::Transfer { action, .. } => of_action(action),
    }
}

fn of_action(action: &TransferAction) -> Route {
    match action {
        // The source: all that is needed are its files, and the lease and the tombstone beside them.
        TransferAction::Measure
        | TransferAction::Precopy { .. }
        | TransferAction::StopSource { .. }
        | TransferAction::FinalCopy { .. }
        | TransferAction::FenceSource
        | TransferAction::TryDoor { .. }
        | TransferAction::Audit { .. } => Route::Mover(Need::Files, Then::Answer),
        TransferAction::UnfenceSource { permit } => Route::Mover(Need::Files, Then::Epoch(permit.epoch)),
        // It comes back: with its game only if that is to run.
        TransferAction::ResumeSource { permit, start } => {
            let need = if *start { Need::Game } else { Need::Files };
            Route::Mover(need, Then::Epoch(permit.epoch))
        }
        // The target is to dial in here.
        TransferAction::ExpectTarget { .. } => Route::Mover(Need::Files, Then::Expose),
        // What sleeps copies nothing; the way in may be open all the same.
        TransferAction::EndCopy => Route::Mover(Need::Asleep(Asleep::Done), Then::Conceal),
        TransferAction::RetainSource { expires_at } => Route::Retain(*expires_at),
        TransferAction::FreeRetained => Route::Free,
        TransferAction::PrepareTarget { .. } => Route::Prepare,
        // The pod has been there since it was prepared. Should it sleep all the same, its files say what it is.
        TransferAction::DialSource { .. } | TransferAction::CheckHealth { .. } => {
            Route::Mover(Need::Files, Then::Answer)
        }
        // In the freeze: the pod is awake, nothing is looked up, and the objects change hands when it has answered.
        TransferAction::StartTarget { permit, .. } => Route::Mover(Need::Files, Then::Adopt(permit.epoch)),
        // The Service is the cluster's, whether the server is awake or not.
        TransferAction::AdmitPlayers => Route::Admit,
        TransferAction::AbortTarget => Route::Abort,
    }
}

/// What requests have to keep an order about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum About {
    Server(ServerId),
    Transfer(TransferId),
}

/// Which request it is: the same one again shares the answer of the one that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Create,
    Start(Epoch),
    Stop,
    Kill,
    Remove,
    /// Each is one of its own: a line that is typed twice is typed twice.
    Once(u64),
    Step {
        step: String,
        action: Discriminant<TransferAction>,
        takes_back: bool,
    },
}

/// What it is about and which it is; `once` numbers those that are never the same. None: it is about no server.
pub(super) fn name(request: &Request, once: u64) -> Option<(About, Name)> {
    let (server, name) = match request {
        Request::Ping
        | Request::CheckTarget { .. }
        | Request::CheckDatabase { .. }
        | Request::ListOrphans { .. }
        | Request::RemoveOrphan { .. } => return None,
        Request::CreateServer { spec, .. } => (spec.id, Name::Create),
        Request::StartServer { server_id, permit } => (*server_id, Name::Start(permit.epoch)),
        Request::StopServer { server_id } => (*server_id, Name::Stop),
        Request::KillServer { server_id } => (*server_id, Name::Kill),
        Request::RemoveServer { server_id } => (*server_id, Name::Remove),
        // Each has a spec of its own.
        Request::ConfigureServer { spec } => (spec.id, Name::Once(once)),
        Request::SendConsole { server_id, .. }
        | Request::ReadConsole { server_id, .. }
        | Request::FollowConsole { server_id, .. }
        | Request::ObserveServer { server_id }
        | Request::MeasureServer { server_id }
        | Request::AdjustCopy { server_id, .. }
        | Request::Backup { server_id, .. } => (*server_id, Name::Once(once)),
        Request::Transfer { key, action, .. } => {
            let (action, takes_back) = (std::mem::discriminant(action), action.takes_back());
            let name = Name::Step { step: key.step.clone(), action, takes_back };
            return Some((About::Transfer(key.transfer_id), name));
        }
    };
    Some((About::Server(server), name))
}

/// Which server a request is about.
pub(super) fn server_of(request: &Request) -> Option<ServerId> {
    match request {
        Request::Ping
        | Request::CheckTarget { .. }
        | Request::CheckDatabase { .. }
        | Request::ListOrphans { .. }
        | Request::RemoveOrphan { .. } => None,
        Request::CreateServer { spec, .. } | Request::ConfigureServer { spec } => Some(spec.id),
        Request::StartServer { server_id, .. }
        | Request::StopServer { server_id }
        | Request::KillServer { server_id }
        | Request::SendConsole { server_id, .. }
        | Request::ReadConsole { server_id, .. }
        | Request::FollowConsole { server_id, .. }
        | Request::ObserveServer { server_id }
        | Request::MeasureServer { server_id }
        | Request::AdjustCopy { server_id, .. }
        | Request::RemoveServer { server_id }
        | Request::Backup { server_id, .. }
        | Request::Transfer { server_id, .. } => Some(*server_id),
    }
}

/// What a newer request does about an earlier one of the same server or transfer.
///
/// Of a transfer one thing is asked at a time: a different one means that the panel has given up on the one before,
/// except that what takes something back is always seen through. Of a server several are, and the mover puts them in
/// order; only what the cluster is still doing for them has to give way.
pub(super) fn towards(newer: &Name, earlier: &Name) -> Towards {
    match (newer, earlier) {
        // What is being removed is made again, or started, when it is gone. It cannot be asked for anything meanwhile.
        (_, Name::Step { takes_back: true, .. } | Name::Remove) | (Name::Start(_), Name::Create | Name::Start(_)) => {
            Towards::After
        }
        (_, Name::Step { takes_back: false, .. }) | (Name::Remove, _) | (Name::Stop | Name::Kill, Name::Start(_)) => {
            Towards::Instead
        }
        (_, _) => Towards::Beside,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use model::NodeId;
    use model::Permit;
    use model::agent_api::StepKey;

    use super::*;

    fn step(step: &str, action: TransferAction) -> Request {
        let key = StepKey { transfer_id: TransferId::new(), step: step.to_owned(), epoch: Epoch(1) };
        Request::Transfer { key, server_id: ServerId::new(), action }
    }

    fn permit() -> Permit {
        Permit { server_id: ServerId::new(), epoch: Epoch(7), agent_id: NodeId::new(), signature: String::new() }
    }

    #[test]
    fn only_what_will_run_needs_its_game_awake() {
        let resume = |start| route(&step("undo_stop_source", TransferAction::ResumeSource { permit: permit(), start }));
        assert_eq!(resume(true), Route::Mover(Need::Game, Then::Epoch(Epoch(7))));
        assert_eq!(resume(false), Route::Mover(Need::Files, Then::Epoch(Epoch(7))));
        assert_eq!(route(&step("a", TransferAction::Measure)), Route::Mover(Need::Files, Then::Answer));
        let start = TransferAction::StartTarget { permit: permit(), start: true };
        assert_eq!(route(&step("start_target", start)), Route::Mover(Need::Files, Then::Adopt(Epoch(7))));
    }

    #[test]
    fn nothing_is_woken_to_hear_that_it_does_not_run() {
        let server_id = ServerId::new();
        for request in [
            Request::StopServer { server_id },
            Request::KillServer { server_id },
            Request::SendConsole { server_id, line: String::new() },
            Request::ReadConsole { server_id, lines: 1 },
            Request::FollowConsole { server_id, after: None, lines: 1, wait_ms: 0 },
            Request::ObserveServer { server_id },
        ] {
            assert!(matches!(route(&request), Route::Mover(Need::Asleep(_), Then::Answer)), "{request:?}");
        }
    }

    #[test]
    fn a_transfers_newer_request_takes_the_place_of_what_does_not_take_back() {
        let name = |request: &Request| name(request, 0).unwrap().1;
        let precopy = name(&step("prepare_target", TransferAction::Measure));
        let abort = name(&step("undo_prepare_target", TransferAction::AbortTarget));
        assert_eq!(towards(&abort, &precopy), Towards::Instead);
        assert_eq!(towards(&precopy, &abort), Towards::After);
        assert_eq!(precopy, name(&step("prepare_target", TransferAction::Measure)));
        assert_ne!(precopy, name(&step("prepare_target#2", TransferAction::Measure)));
    }

    #[test]
    fn a_stop_overtakes_a_start_and_nothing_overtakes_a_removal() {
        let start = Name::Start(Epoch(1));
        assert_eq!(towards(&Name::Stop, &start), Towards::Instead);
        assert_eq!(towards(&start, &Name::Stop), Towards::Beside);
        assert_eq!(towards(&Name::Once(2), &Name::Once(1)), Towards::Beside);
        assert_eq!(towards(&Name::Remove, &Name::Create), Towards::Instead);
        assert_eq!(towards(&Name::Create, &Name::Remove), Towards::After);
    }
}
