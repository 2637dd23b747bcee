//! A runtime for tests: games that do what the test says.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use model::agent_api::{AgentError, ErrorCode};
use model::{Epoch, RuntimeKind, ServerId, ServerSpec, StopHow};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Exit, House, LINES_WAITING, Running, Runtime, Unit};
use crate::layout::Place;

/// Games by server.
#[derive(Default)]
pub(crate) struct Fake {
    games: Mutex<HashMap<ServerId, Game>>,
    behaviour: Mutex<Behaviour>,
    boots: AtomicU32,
}

/// What the next games do.
#[derive(Clone, Copy, Default)]
pub(crate) struct Behaviour {
    /// They do not end when asked.
    pub(crate) stubborn: bool,
    /// They cannot be started.
    pub(crate) broken: bool,
}

struct Game {
    epoch: Epoch,
    since: Instant,
    lines: Vec<mpsc::Sender<String>>,
    exit: watch::Sender<Option<Exit>>,
    asked: u32,
    starts: u32,
}

impl Fake {
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// The game ends by itself.
    pub(crate) fn end(&self, server: ServerId, code: i32) {
        self.end_as(server, Exit::with(Some(code)));
    }

    /// It ends because what it runs in has to go.
    pub(crate) fn evict(&self, server: ServerId) {
        self.end_as(server, Exit { code: Some(0), evicted: true });
    }

    /// The machine goes down with everything that runs there, and comes up again; or the pod is another one.
    pub(crate) fn reboot(&self) {
        self.boots.fetch_add(1, Ordering::Relaxed);
        self.games.lock().unwrap().values_mut().for_each(|game| {
            game.lines.clear();
            game.exit = watch::Sender::new(Some(Exit::with(None)));
        });
    }

    fn end_as(&self, server: ServerId, exit: Exit) {
        let mut games = self.games.lock().unwrap();
        let game = games.get_mut(&server).unwrap();
        game.lines.clear();
        game.exit.send_replace(Some(exit));
    }

    pub(crate) async fn say(&self, server: ServerId, line: &str) {
        let lines = self.games.lock().unwrap()[&server].lines.clone();
        for sender in lines {
            drop(sender.send(line.to_owned()).await);
        }
    }

    pub(crate) fn is_running(&self, server: ServerId) -> bool {
        self.games.lock().unwrap().get(&server).is_some_and(|game| game.exit.borrow().is_none())
    }

    pub(crate) fn starts(&self, server: ServerId) -> u32 {
        self.games.lock().unwrap().get(&server).map_or(0, |game| game.starts)
    }

    pub(crate) fn epoch(&self, server: ServerId) -> Epoch {
        self.games.lock().unwrap()[&server].epoch
    }

    pub(crate) fn asked(&self, server: ServerId) -> u32 {
        self.games.lock().unwrap()[&server].asked
    }
}

impl Game {
    fn attach(&mut self) -> Running {
        let (sender, lines) = mpsc::channel(LINES_WAITING);
        self.lines.push(sender);
        let mut exit = self.exit.subscribe();
        let exit = Box::pin(async move { exit.wait_for(Option::is_some).await.unwrap().unwrap() });
        Running { since: self.since, lines, exit }
    }
}

#[async_trait]
impl Runtime for Fake {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Process
    }

    fn house(&self) -> House {
        House { owner: None, data_is_mounted: false, binds_ports: true }
    }

    fn boot(&self) -> String {
        format!("boot {}", self.boots.load(Ordering::Relaxed))
    }

    async fn fetch(&self, _spec: &ServerSpec) -> Result<(), AgentError> {
        Ok(())
    }

    async fn prepare(&self, _unit: Unit<'_>) -> Result<(), AgentError> {
        Ok(())
    }

    async fn install(&self, unit: Unit<'_>) -> Result<(), AgentError> {
        fs::create_dir_all(unit.place.data()).unwrap();
        Ok(())
    }

    async fn start(&self, unit: Unit<'_>) -> Result<Running, AgentError> {
        if self.behaviour.lock().unwrap().broken {
            return Err(AgentError::new(ErrorCode::Internal, "broken"));
        }
        let mut games = self.games.lock().unwrap();
        let starts = games.get(&unit.spec.id).map_or(0, |game| game.starts) + 1;
        let game = Game {
            epoch: unit.epoch,
            since: Instant::now(),
            lines: Vec::new(),
            exit: watch::Sender::new(None),
            asked: 0,
            starts,
        };
        games.insert(unit.spec.id, game);
        Ok(games.get_mut(&unit.spec.id).unwrap().attach())
    }

    async fn find(&self, place: &Place) -> Result<Option<Running>, AgentError> {
        let mut games = self.games.lock().unwrap();
        let alive = games.get_mut(&place.server).filter(|game| game.exit.borrow().is_none());
        Ok(alive.map(Game::attach))
    }

    async fn history(&self, _place: &Place) -> Vec<String> {
        Vec::new()
    }

    async fn send(&self, place: &Place, line: &str) -> Result<(), AgentError> {
        self.say(place.server, &format!("typed {line}")).await;
        Ok(())
    }

    async fn ask_to_end(&self, place: &Place, _how: &StopHow) -> Result<(), AgentError> {
        self.games.lock().unwrap().get_mut(&place.server).unwrap().asked += 1;
        if !self.behaviour.lock().unwrap().stubborn {
            self.end(place.server, 0);
        }
        Ok(())
    }

    async fn kill(&self, place: &Place) -> Result<(), AgentError> {
        self.end(place.server, 137);
        Ok(())
    }

    async fn destroy(&self, _place: &Place) -> Result<(), AgentError> {
        Ok(())
    }

    async fn list(&self) -> Result<Vec<ServerId>, AgentError> {
        Ok(Vec::new())
    }

    async fn game_address(&self, _unit: Unit<'_>) -> Option<SocketAddr> {
        None
    }
}
