//! An egg's installation script: once, in a container of its own, on the still empty data directory.

use std::fs;
use std::io;
use std::os::unix::fs::lchown;
use std::path::Path;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig};
use futures_util::StreamExt;
use model::agent_api::{AgentError, ErrorCode};
use model::{InstallScript, ServerId};

use super::container::{AGENT, SERVER, bind, environment};
use super::engine::Engine;
use crate::disk;
use crate::layout::Place;
use crate::runtime::Unit;
use crate::runtime::lines::Lines;

const AT_MOST: Duration = Duration::from_hours(1);

pub(super) fn name(server: ServerId) -> String {
    format!("bp-install-{server}")
}

/// Runs the script to its end. What it said is in `install.log`.
pub(super) async fn run(
    engine: &Engine,
    unit: Unit<'_>,
    agent: &str,
    script: &InstallScript,
) -> Result<(), AgentError> {
    let place = unit.place;
    let name = name(place.server);
    engine.image(&script.container).await?;
    clear(engine, &name).await?;
    write_script(place, script).map_err(|e| disk::failed("write the installation script of", &place.home, &e))?;
    engine.create(&name, body(unit, agent, script)).await?;
    engine.start(&name).await?;
    let code = tokio::time::timeout(AT_MOST, engine.ended(&name)).await;
    keep_log(engine, place, &name).await;
    clear(engine, &name).await?;
    disk::remove_tree(&place.beside("install")).map_err(|e| disk::failed("tidy", &place.home, &e))?;
    match code {
        Ok(Some(0)) => Ok(()),
        Ok(code) => Err(did_not_install(place, &format!("it ended with code {}", code.unwrap_or(-1)))),
        Err(_) => Err(did_not_install(place, "it took more than an hour")),
    }
}

/// An installation that an agent left behind when it was killed is no game: it may be ended.
pub(super) async fn clear(engine: &Engine, name: &str) -> Result<(), AgentError> {
    if engine.inspect(name).await?.is_some() {
        engine.signal(name, "SIGKILL").await?;
        engine.ended(name).await;
        engine.remove(name).await?;
    }
    Ok(())
}

fn body(unit: Unit<'_>, agent: &str, script: &InstallScript) -> ContainerCreateBody {
    let place = unit.place;
    let mounts = vec![
        bind(&place.data().to_string_lossy(), "/mnt/server", false),
        bind(&place.beside("install").to_string_lossy(), "/mnt/install", true),
    ];
    let labels = [(SERVER, unit.spec.id.to_string()), (AGENT, agent.to_owned())];
    ContainerCreateBody {
        image: Some(script.container.clone()),
        user: Some("0:0".to_owned()),
        entrypoint: Some(vec![script.entrypoint.clone(), "/mnt/install/install.sh".to_owned()]),
        env: Some(environment(unit.spec)),
        working_dir: Some("/mnt/server".to_owned()),
        labels: Some(labels.map(|(name, value)| (name.to_owned(), value)).into()),
        host_config: Some(HostConfig { mounts: Some(mounts), ..HostConfig::default() }),
        ..ContainerCreateBody::default()
    }
}

fn write_script(place: &Place, script: &InstallScript) -> io::Result<()> {
    let dir = place.beside("install");
    disk::private_dir(&dir)?;
    fs::write(dir.join("install.sh"), script.script.replace("\r\n", "\n"))
}

async fn keep_log(engine: &Engine, place: &Place, name: &str) {
    let mut lines = Lines::default();
    let mut output = Box::pin(engine.console(name, false, "1000"));
    while let Some(Ok(part)) = output.next().await {
        lines.buffer().extend_from_slice(&part);
    }
    if let Err(error) = fs::write(place.beside("install.log"), lines.buffer()) {
        tracing::warn!(server = %place.server, %error, "cannot keep the installation's log");
    }
}

fn did_not_install(place: &Place, why: &str) -> AgentError {
    let log = place.beside("install.log");
    AgentError::new(ErrorCode::Conflict, format!("the installation failed: {why}; see {} on the node", log.display()))
}

/// Gives everything in `dir` to the user that games run as.
pub(super) fn give(dir: &Path, uid: u32, gid: u32) -> io::Result<()> {
    lchown(dir, Some(uid), Some(gid))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            give(&entry.path(), uid, gid)?;
        } else {
            lchown(entry.path(), Some(uid), Some(gid))?;
        }
    }
    Ok(())
}
