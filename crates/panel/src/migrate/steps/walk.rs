//! Walking the ladder: each way is set up, tried from the source, and taken or left with the reason on record.
//!
//! ```text
//!   direct                                                   TryDoor at the source
//!   reverse   ExpectTarget at the source ─► DialSource at the target ─► TryDoor    (left: EndCopy at the source)
//!   relay     a passage in the panel     ─► DialSource at the target ─► TryDoor    (left: the passage is closed)
//! ```
//!
//! An agent that is away is waited for as in every step: that is not the way's fault. An agent that says no, or says
//! nothing in time, is. Every command has a key of its own (`precopy.reverse#2`), and every secret is derived from that:
//! a panel that dies in the middle says the same again.

use std::time::Duration;

use model::agent_api::{Door, Reply, Route, TransferAction};
use model::{CopyPath, NodeId, PathKind, TriedPath};
use saga::{Call, Failure};
use tokio::time::{Instant, sleep};

use super::ladder::{self, Goal, Way, none_left, order, word};
use super::outputs::{Precopied, Prepared, output_of};
use crate::db::transfers;
use crate::migrate::Move;
use crate::migrate::ask::{AGENT_LOST, AGENT_OFFLINE, NO_PROGRESS, Patience, UNREACHABLE, key_step, unexpected};
use crate::migrate::context::db_failure;
use crate::relay::{Opened, Side};

/// Pause in front of the second try of a door; it doubles. A service's port may need a moment to be there.
const FIRST_PAUSE: Duration = Duration::from_millis(300);

/// What a try of a way needs to know.
struct Rung<'a> {
    call: &'a Call<'a>,
    /// `precopy.reverse`.
    step: String,
    goal: &'a Goal,
    patience: Patience,
}

/// A way that works, and how well; none from an agent that cannot tell.
struct Found {
    way: Way,
    relay: Option<Opened>,
    measured: Option<(u64, u64)>,
}

/// Why a way is not taken.
enum Left {
    /// On record; the next one is tried.
    Because(String),
    /// No other way would help.
    Over(Failure),
}

impl Move {
    /// The way for a copy of `step`: what was found before if that holds, else what is found now.
    pub(super) async fn way(&self, call: &Call<'_>, step: &str, patience: Patience) -> Result<Way, Failure> {
        let prepared: Prepared = output_of(call, "prepare_target")?;
        let goal = prepared.goal.clone();
        match self.standing.way() {
            Some((way, None)) => Ok(way),
            Some((way, Some(why))) => self.walk(call, step, &goal, patience, Some((way, why))).await,
            // Nothing broke: it was let go when the copy was put to rest.
            None if self.standing.is_at_rest() || call.log().was_interrupted(step) => {
                self.walk(call, step, &goal, patience, None).await
            }
            None => {
                let way = logged(call.log(), &prepared);
                if call.attempt() == 1 {
                    self.take_again(&way);
                    return Ok(way);
                }
                // What the attempt before this one failed of went with the panel that knew it.
                self.walk(call, step, &goal, patience, Some((way, "the panel started again".to_owned()))).await
            }
        }
    }

    /// What a failed copy says about its way. The first time that it stands still, another way is worth a try.
    pub(super) fn blame_way(&self, failure: Failure, way: &Way) -> Failure {
        match failure.cause().code.as_str() {
            UNREACHABLE => {
                self.standing.break_off(way, &failure.cause().message);
                failure
            }
            NO_PROGRESS if !self.standing.stall() => {
                self.standing.break_off(way, &failure.cause().message);
                Failure::Retry(failure.cause().clone())
            }
            _ => failure,
        }
    }

    /// After a restart of the panel: the relay of a way that is on record opens again, with the tokens that it had.
    pub(in crate::migrate) fn reopen(&self, log: &saga::Log) {
        let done = |step: &str| log.phase(step) == Some(saga::Phase::Done);
        if done("prepare_target")
            && !done("start_target")
            && let Some(prepared) = log.output::<Prepared>("prepare_target")
        {
            self.take_again(&logged(log, &prepared));
        }
    }

    fn take_again(&self, way: &Way) {
        let relay = (way.kind == PathKind::Relay).then(|| self.open_relay(&way.label)).flatten();
        if relay.is_none() && way.kind == PathKind::Relay {
            tracing::warn!(transfer = %self.transfer.id, "transfer: the relay is full, the copy will look for another way");
        }
        self.standing.take(way.clone(), relay);
    }

    /// Tries one way after the other; `broken` is the way that did not hold, and why.
    pub(super) async fn walk(
        &self,
        call: &Call<'_>,
        step: &str,
        goal: &Goal,
        patience: Patience,
        broken: Option<(Way, String)>,
    ) -> Result<Way, Failure> {
        let after = broken.as_ref().map(|(way, _)| way.kind);
        let mut path = CopyPath::default();
        if let Some((way, reason)) = broken {
            self.let_go(call, &format!("{step}.walk"), way.kind, patience).await?;
            path.tried.push(TriedPath { kind: way.kind, reason });
        }
        for kind in order(after) {
            let rung = Rung { call, step: format!("{step}.{}", word(kind)), goal, patience };
            match self.try_way(&rung, kind).await {
                Ok(found) => return self.take(path, found).await,
                Err(Left::Over(failure)) => return Err(failure),
                Err(Left::Because(reason)) => {
                    tracing::info!(transfer = %self.transfer.id, path = word(kind), reason, "transfer: not on this way");
                    self.let_go(call, &rung.step, kind, patience).await?;
                    path.tried.push(TriedPath { kind, reason });
                }
            }
        }
        self.record(&path).await?;
        Err(Failure::Retry(none_left(&path.tried[path.tried.len() - order(after).len()..])))
    }

    async fn take(&self, mut path: CopyPath, found: Found) -> Result<Way, Failure> {
        path.kind = Some(found.way.kind);
        (path.rtt_us, path.bandwidth) = found.measured.unzip();
        tracing::info!(
            transfer = %self.transfer.id, path = word(found.way.kind), rtt_us = path.rtt_us, bandwidth = path.bandwidth,
            "transfer: the way of the copy"
        );
        self.standing.take(found.way.clone(), found.relay);
        self.record(&path).await?;
        Ok(found.way)
    }

    async fn record(&self, path: &CopyPath) -> Result<(), Failure> {
        let mut conn = self.db.acquire().await.map_err(db_failure)?;
        transfers::path_set(&mut conn, self.transfer.id, path).await.map_err(db_failure)
    }

    /// The source expects nobody any more. A dial of the target ends with its door, or where another takes its place.
    async fn let_go(&self, call: &Call<'_>, step: &str, kind: PathKind, patience: Patience) -> Result<(), Failure> {
        if kind != PathKind::Reverse {
            return Ok(());
        }
        let patience = patience.at_once(self.pace.door);
        match self.ask(call, &format!("{step}.end"), self.source(), TransferAction::EndCopy, patience).await {
            Ok(_) => Ok(()),
            Err(failure) => match left(failure) {
                Left::Over(failure) => Err(failure),
                Left::Because(reason) => {
                    // A rendezvous that nobody knows any more is no way in; the end of the transfer removes it.
                    tracing::info!(transfer = %self.transfer.id, reason, "transfer: the source still expects the target");
                    Ok(())
                }
            },
        }
    }

    async fn try_way(&self, rung: &Rung<'_>, kind: PathKind) -> Result<Found, Left> {
        let label = key_step(rung.call, &rung.step);
        match kind {
            PathKind::Direct => {
                let address = rung.goal.address.clone();
                let address = address.ok_or_else(|| no_address("target"))?;
                self.try_door(rung, Way { kind, address: Some(address), label }, None).await
            }
            PathKind::Reverse => {
                let rendezvous = self.rendezvous(&label);
                let expected = self.say(rung, self.source(), TransferAction::ExpectTarget { rendezvous }).await?;
                let Reply::Listening { address } = expected else { return Err(Left::Over(unexpected(&expected))) };
                let address = address.ok_or_else(|| no_address("source"))?;
                let way = Way { kind, address: Some(address), label };
                self.say(rung, self.target(), TransferAction::DialSource { route: self.route(&way) }).await?;
                self.try_door(rung, way, None).await
            }
            PathKind::Relay => {
                let relay = self.open_relay(&label);
                let relay =
                    relay.ok_or_else(|| Left::Because("the panel relays too many copies already".to_owned()))?;
                let url = self.relay_url(&label, Side::Target);
                self.say(rung, self.target(), TransferAction::DialSource { route: Route::Relay { url } }).await?;
                self.try_door(rung, Way { kind, address: None, label }, Some(relay)).await
            }
        }
    }

    /// The source knocks, more than once if there is time: who dials, and who listens, may need a moment.
    async fn try_door(&self, rung: &Rung<'_>, way: Way, relay: Option<Opened>) -> Result<Found, Left> {
        let until = Instant::now() + self.pace.door;
        let door = self.door(&way, rung.goal);
        let (mut pause, mut step) = (FIRST_PAUSE, format!("{}.try", rung.step));
        let mut before: Option<Failure> = None;
        loop {
            let action = TransferAction::TryDoor { door: door.clone() };
            let patience = rung.patience.at_once(until.saturating_duration_since(Instant::now()));
            let failure = match self.ask(rung.call, &step, self.source(), action, patience).await {
                Ok(Reply::Reached { rtt_us, bandwidth }) => {
                    return Ok(Found { way, relay, measured: Some((rtt_us, bandwidth)) });
                }
                Ok(other) => return Err(Left::Over(unexpected(&other))),
                Err(failure) => failure,
            };
            let code = failure.cause().code.as_str();
            // An agent of an earlier release knows one way only and cannot try it: then the copy does.
            if code == "unsupported" && way.kind == PathKind::Direct {
                return Ok(Found { way, relay, measured: None });
            }
            if code != UNREACHABLE {
                return Err(left(failure));
            }
            if Instant::now() + pause >= until {
                // The last try was cut short by us: what an earlier one found says more.
                return Err(left(before.unwrap_or(failure)));
            }
            before = Some(failure);
            sleep(pause).await;
            (pause, step) = (pause * 2, format!("{step}+"));
        }
    }

    async fn say(&self, rung: &Rung<'_>, node: NodeId, action: TransferAction) -> Result<Reply, Left> {
        self.ask(rung.call, &rung.step, node, action, rung.patience.at_once(self.pace.door)).await.map_err(left)
    }

    /// The door of the target as the source finds it on this way.
    pub(super) fn door(&self, way: &Way, goal: &Goal) -> Door {
        let ticket = self.permits.ticket(self.transfer.id);
        Door { route: self.route(way), fingerprint: goal.fingerprint.clone(), ticket, owner: goal.owner }
    }

    /// The source's side of a way.
    fn route(&self, way: &Way) -> Route {
        let address = way.address.clone().unwrap_or_default();
        match way.kind {
            PathKind::Direct => Route::Direct { address },
            PathKind::Reverse => Route::Reverse { address, rendezvous: self.rendezvous(&way.label) },
            PathKind::Relay => Route::Relay { url: self.relay_url(&way.label, Side::Source) },
        }
    }

    fn rendezvous(&self, label: &str) -> String {
        self.permits.secret(self.transfer.id, &format!("rendezvous {label}"))
    }

    fn relay_token(&self, label: &str, side: Side) -> String {
        self.permits.secret(self.transfer.id, &format!("relay {label} {side:?}"))
    }

    fn relay_url(&self, label: &str, side: Side) -> String {
        self.relays.url(self.transfer.id, side, &self.relay_token(label, side))
    }

    fn open_relay(&self, label: &str) -> Option<Opened> {
        let tokens = [Side::Source, Side::Target].map(|side| self.relay_token(label, side));
        self.relays.open(self.transfer.id, [&tokens[0], &tokens[1]])
    }
}

/// The way on record: the last precopy's, which may have changed it, or the one that was found at first.
fn logged(log: &saga::Log, prepared: &Prepared) -> Way {
    let of = |step| log.output::<Precopied>(step).and_then(|precopied| precopied.way);
    of("await_window").or_else(|| of("precopy")).unwrap_or_else(|| prepared.way())
}

fn no_address(side: &str) -> Left {
    Left::Because(format!("the {side} cannot be dialled from outside"))
}

/// Whether another way may help.
fn left(failure: Failure) -> Left {
    match failure.cause().code.as_str() {
        AGENT_OFFLINE | AGENT_LOST | "stale_epoch" | "bad_permit" | "lease_lost" | saga::CANCELLED => {
            Left::Over(ladder::final_word(failure))
        }
        _ => Left::Because(failure.cause().message.clone()),
    }
}
