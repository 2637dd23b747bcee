//! Games as containers of a Docker engine.
//!
//! Each run has a container of its own, made from the spec of that moment: its log is the console of this run and
//! nothing else. A container that ended stays until the next start, for its exit code and last words. The engine keeps
//! games running while the agent is away; they are found again by name and label.

mod container;
mod engine;
mod install;

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum, ImageInspect};
use futures_util::StreamExt;
use model::agent_api::{AgentError, ErrorCode, Owner};
use model::{Clock, RuntimeKind, ServerId, ServerSpec, StopHow, Timestamp};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::lines::Lines;
use super::{Exit, House, LINES_WAITING, Running, Runtime, Unit};
use crate::disk;
use crate::error::{Error, Result as Fatal};
use crate::layout::Place;
use engine::Engine;

/// Lines that are read again when the agent comes back to a game.
const HISTORY: &str = "1000";

/// Runs games as containers.
pub(crate) struct Containers {
    engine: Engine,
    clock: Arc<dyn Clock>,
    /// Written on everything that is made, so that two agents on one engine do not tidy each other away.
    agent: String,
    user: String,
    owner: (u32, u32),
}

impl Containers {
    /// `agent` must stay the same for as long as the data directory does.
    pub(crate) async fn connect(socket: &str, user: &str, agent: String, clock: Arc<dyn Clock>) -> Fatal<Self> {
        let owner =
            owner(user).ok_or_else(|| Error::Config(format!("the user of games must be uid:gid, not {user}")))?;
        let engine = Engine::connect(socket).await.map_err(|e| {
            Error::Runtime(format!("there is no Docker engine at {socket} ({e}): start it, or give another socket"))
        })?;
        Ok(Self { engine, clock, agent, user: user.to_owned(), owner })
    }

    /// The server's container and its name; never one of another agent.
    async fn locate(&self, server: ServerId) -> Result<(String, Option<ContainerInspectResponse>), AgentError> {
        let second = container::second_name(server, &self.agent);
        if let Some(found) = self.engine.inspect(&second).await? {
            return Ok((second, Some(found)));
        }
        let first = container::name(server);
        let found = self.engine.inspect(&first).await?;
        let foreign = found.as_ref().is_some_and(|found| label(found, container::AGENT) != Some(&self.agent));
        Ok(if foreign { (second, None) } else { (first, found) })
    }

    async fn name(&self, server: ServerId) -> Result<String, AgentError> {
        self.locate(server).await.map(|(name, _)| name)
    }

    /// A container made for exactly this, that has never run.
    fn is_fresh(&self, unit: Unit<'_>, found: &ContainerInspectResponse) -> Result<bool, AgentError> {
        let made_from = container::made_from(unit, &self.user)?;
        Ok(status(found) == Some(ContainerStateStatusEnum::CREATED)
            && label(found, container::MADE_FROM) == Some(&made_from))
    }

    fn running(&self, name: &str, found: &ContainerInspectResponse, tail: &'static str) -> Running {
        let (sender, lines) = mpsc::channel(LINES_WAITING);
        tokio::spawn(follow(self.engine.clone(), name.to_owned(), tail, sender));
        let (engine, name) = (self.engine.clone(), name.to_owned());
        let exit = Box::pin(async move {
            let code = engine.ended(&name).await;
            Exit::with(code.and_then(|code| i32::try_from(code).ok()))
        });
        Running { since: self.since(found), lines, exit }
    }

    fn since(&self, found: &ContainerInspectResponse) -> Instant {
        let text = found.state.as_ref().and_then(|state| state.started_at.as_deref()).unwrap_or_default();
        let started: Timestamp = text.parse().unwrap_or_else(|_| self.clock.now());
        let age = Duration::try_from(self.clock.now().duration_since(started)).unwrap_or_default();
        Instant::now().checked_sub(age).unwrap_or_else(Instant::now)
    }
}

#[async_trait]
impl Runtime for Containers {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Docker
    }

    fn house(&self) -> House {
        let (uid, gid) = self.owner;
        House { owner: Some(Owner { uid, gid }), data_is_mounted: false, binds_ports: true }
    }

    async fn fetch(&self, spec: &ServerSpec) -> Result<(), AgentError> {
        self.engine.image(&spec.image).await.map(drop)
    }

    async fn prepare(&self, unit: Unit<'_>) -> Result<(), AgentError> {
        let (name, found) = self.locate(unit.place.server).await?;
        match found {
            Some(found) if is_running(&found) => return Ok(()),
            Some(found) if self.is_fresh(unit, &found)? => return Ok(()),
            Some(_) => self.engine.remove(&name).await?,
            None => {}
        }
        let image = self.engine.image(&unit.spec.image).await?;
        let body = container::body(unit, &self.agent, &self.user, has_command(&image))?;
        self.engine.create(&name, body).await
    }

    async fn install(&self, unit: Unit<'_>) -> Result<(), AgentError> {
        let data = unit.place.data();
        fs::create_dir_all(&data).map_err(|e| disk::failed("make", &data, &e))?;
        if let Some(script) = unit.spec.install.as_ref().filter(|install| !install.script.trim().is_empty()) {
            install::run(&self.engine, unit, &self.agent, script).await?;
        }
        let (uid, gid) = self.owner;
        let given = data.clone();
        let owned = disk::blocking(move || install::give(&given, uid, gid)).await;
        owned
            .map_err(|e| disk::failed("change the owner (games run as another user: is the agent root?) of", &data, &e))
    }

    async fn start(&self, unit: Unit<'_>) -> Result<Running, AgentError> {
        self.prepare(unit).await?;
        let name = self.name(unit.place.server).await?;
        self.engine.start(&name).await?;
        match self.engine.inspect(&name).await? {
            Some(found) => Ok(self.running(&name, &found, "all")),
            None => Err(AgentError::new(ErrorCode::Internal, format!("somebody removed container {name}"))),
        }
    }

    async fn find(&self, place: &Place) -> Result<Option<Running>, AgentError> {
        let (name, found) = self.locate(place.server).await?;
        let alive = found.filter(is_running);
        Ok(alive.map(|found| self.running(&name, &found, HISTORY)))
    }

    async fn history(&self, place: &Place) -> Vec<String> {
        let mut lines = Lines::default();
        let Ok((name, Some(_))) = self.locate(place.server).await else { return Vec::new() };
        let mut output = Box::pin(self.engine.console(&name, false, HISTORY));
        while let Some(Ok(part)) = output.next().await {
            lines.buffer().extend_from_slice(&part);
        }
        let mut whole = lines.take();
        whole.extend(lines.take_rest());
        whole
    }

    async fn send(&self, place: &Place, line: &str) -> Result<(), AgentError> {
        self.engine.type_line(&self.name(place.server).await?, line).await
    }

    async fn ask_to_end(&self, place: &Place, how: &StopHow) -> Result<(), AgentError> {
        let name = self.name(place.server).await?;
        match how {
            StopHow::Command(line) => self.engine.type_line(&name, line).await,
            StopHow::Signal(signal) if signal == "^C" => self.engine.signal(&name, "SIGINT").await,
            StopHow::Signal(signal) => self.engine.signal(&name, signal).await,
        }
    }

    async fn kill(&self, place: &Place) -> Result<(), AgentError> {
        self.engine.signal(&self.name(place.server).await?, "SIGKILL").await
    }

    async fn destroy(&self, place: &Place) -> Result<(), AgentError> {
        install::clear(&self.engine, &install::name(place.server)).await?;
        self.engine.remove(&self.name(place.server).await?).await
    }

    async fn list(&self) -> Result<Vec<ServerId>, AgentError> {
        let found = self.engine.labels_with(&format!("{}={}", container::AGENT, self.agent)).await?;
        Ok(found.iter().filter_map(|labels| labels.get(container::SERVER)?.parse().ok()).collect())
    }

    /// The engine's proxy accepts connections whether the game listens or not, so the container itself is asked.
    async fn game_address(&self, unit: Unit<'_>) -> Option<SocketAddr> {
        let port = unit.spec.allocations.first()?.port;
        let (_, found) = self.locate(unit.place.server).await.ok()?;
        let networks = found?.network_settings?.networks?;
        let ip = networks.values().find_map(|network| network.ip_address.as_ref()?.parse().ok())?;
        Some(SocketAddr::new(ip, port))
    }
}

async fn follow(engine: Engine, name: String, tail: &'static str, sender: mpsc::Sender<String>) {
    let mut lines = Lines::default();
    let mut output = Box::pin(engine.console(&name, true, tail));
    while let Some(part) = output.next().await {
        match part {
            Ok(part) => lines.buffer().extend_from_slice(&part),
            Err(error) => {
                tracing::warn!(container = name, %error, "lost its console");
                break;
            }
        }
        for line in lines.take() {
            if sender.send(line).await.is_err() {
                return;
            }
        }
    }
    if let Some(rest) = lines.take_rest()
        && sender.send(rest).await.is_err()
    {
        tracing::trace!("nobody wants its last words");
    }
}

fn has_command(image: &ImageInspect) -> bool {
    let config = image.config.as_ref();
    let says = |words: Option<&Vec<String>>| words.is_some_and(|words| !words.is_empty());
    config.is_some_and(|config| says(config.entrypoint.as_ref()) || says(config.cmd.as_ref()))
}

fn label<'a>(found: &'a ContainerInspectResponse, name: &str) -> Option<&'a String> {
    found.config.as_ref()?.labels.as_ref()?.get(name)
}

fn status(found: &ContainerInspectResponse) -> Option<ContainerStateStatusEnum> {
    found.state.as_ref()?.status
}

fn is_running(found: &ContainerInspectResponse) -> bool {
    found.state.as_ref().and_then(|state| state.running).unwrap_or(false)
}

fn owner(user: &str) -> Option<(u32, u32)> {
    let (uid, gid) = user.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}
