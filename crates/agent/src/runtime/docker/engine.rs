//! The calls to the engine that the runtime needs, with its answers sorted by what they mean here.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error as EngineError;
use bollard::models::{ContainerCreateBody, ContainerInspectResponse, ImageInspect};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, CreateImageOptionsBuilder,
    KillContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
};
use futures_util::{Stream, StreamExt};
use model::agent_api::{AgentError, ErrorCode};
use tokio::io::AsyncWriteExt;

const CALL_SECONDS: u64 = 60;
const PULL: Duration = Duration::from_mins(15);
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A Docker engine.
#[derive(Clone, Debug)]
pub(super) struct Engine(Docker);

impl Engine {
    /// Connects and agrees on a version of the API that both speak (an engine of Debian 12 speaks 1.41).
    pub(super) async fn connect(socket: &str) -> Result<Self, EngineError> {
        let docker = if socket.starts_with("http://") || socket.starts_with("tcp://") {
            Docker::connect_with_http(socket, CALL_SECONDS, bollard::API_DEFAULT_VERSION)?
        } else {
            Docker::connect_with_unix(socket, CALL_SECONDS, bollard::API_DEFAULT_VERSION)?
        };
        docker.negotiate_version().await.map(Self)
    }

    pub(super) async fn inspect(&self, name: &str) -> Result<Option<ContainerInspectResponse>, AgentError> {
        absent_is_none(self.0.inspect_container(name, None).await, "look at container", name)
    }

    pub(super) async fn create(&self, name: &str, body: ContainerCreateBody) -> Result<(), AgentError> {
        let image = body.image.clone().unwrap_or_default();
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let created = self.0.create_container(Some(options), body).await.map_err(|e| match status(&e) {
            Some(404) => image_missing(&image, &e),
            _ => failed("create container", name, &e),
        })?;
        // Kernels without weights for block devices, swap accounting and the like: the engine goes on without.
        for warning in created.warnings {
            tracing::debug!(container = name, warning, "the engine warns");
        }
        Ok(())
    }

    pub(super) async fn start(&self, name: &str) -> Result<(), AgentError> {
        self.0.start_container(name, None).await.map_err(|e| failed("start container", name, &e))
    }

    /// A container that has ended or is gone got its signal, as far as anybody can tell.
    pub(super) async fn signal(&self, name: &str, signal: &str) -> Result<(), AgentError> {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        match self.0.kill_container(name, Some(options)).await {
            Err(e) if matches!(status(&e), Some(404 | 409)) => Ok(()),
            other => other.map_err(|e| failed("signal container", name, &e)),
        }
    }

    /// Removes a container that does not run.
    pub(super) async fn remove(&self, name: &str) -> Result<(), AgentError> {
        let options = RemoveContainerOptionsBuilder::default().v(true).build();
        match self.0.remove_container(name, Some(options)).await {
            Err(e) if status(&e) == Some(404) => Ok(()),
            other => other.map_err(|e| failed("remove container", name, &e)),
        }
    }

    /// Its exit code, once it does not run. Survives an engine that goes away and comes back.
    pub(super) async fn ended(&self, name: &str) -> Option<i64> {
        loop {
            let mut waiting = Box::pin(self.0.wait_container(name, None));
            match waiting.next().await {
                Some(Ok(answer)) => return Some(answer.status_code),
                Some(Err(EngineError::DockerContainerWaitError { code, .. })) => return Some(code),
                Some(Err(e)) if status(&e) == Some(404) => return None,
                other => tracing::warn!(container = name, ?other, "lost sight of a container, looking again"),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Types a line. Each line has a connection of its own, so nothing has to survive a restart of the agent.
    pub(super) async fn type_line(&self, name: &str, line: &str) -> Result<(), AgentError> {
        let options = AttachContainerOptionsBuilder::default().stdin(true).stream(true).build();
        let attached = self.0.attach_container(name, Some(options)).await;
        let mut console = attached.map_err(|e| failed("attach to container", name, &e))?.input;
        let typed = async {
            console.write_all(format!("{line}\n").as_bytes()).await?;
            console.flush().await?;
            console.shutdown().await
        };
        typed.await.map_err(|e: std::io::Error| failed("type into container", name, &e.into()))
    }

    /// Its console, from the beginning or the last `tail` lines.
    pub(super) fn console(
        &self,
        name: &str,
        follow: bool,
        tail: &str,
    ) -> impl Stream<Item = Result<Vec<u8>, EngineError>> + use<> {
        let options = LogsOptionsBuilder::default().follow(follow).stdout(true).stderr(true).tail(tail).build();
        self.0.logs(name, Some(options)).map(|output| output.map(|part| part.into_bytes().to_vec()))
    }

    /// Labels of all containers that carry `label`.
    pub(super) async fn labels_with(&self, label: &str) -> Result<Vec<HashMap<String, String>>, AgentError> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found =
            self.0.list_containers(Some(options)).await.map_err(|e| failed("list containers with", label, &e))?;
        Ok(found.into_iter().filter_map(|container| container.labels).collect())
    }

    /// The image, pulled if it is not here.
    pub(super) async fn image(&self, image: &str) -> Result<ImageInspect, AgentError> {
        if let Some(found) = absent_is_none(self.0.inspect_image(image).await, "look at image", image)? {
            return Ok(found);
        }
        match tokio::time::timeout(PULL, self.pull(image)).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(image_missing(image, &e)),
            Err(_) => return Err(image_missing(image, &"pulling it took more than 15 minutes")),
        }
        self.0.inspect_image(image).await.map_err(|e| image_missing(image, &e))
    }

    async fn pull(&self, image: &str) -> Result<(), EngineError> {
        let mut options = CreateImageOptionsBuilder::default().from_image(image);
        if !names_a_version(image) {
            options = options.tag("latest");
        }
        let mut progress = self.0.create_image(Some(options.build()), None, None);
        while let Some(step) = progress.next().await {
            step?;
        }
        Ok(())
    }
}

/// `host:5000/name` has a colon and no tag.
fn names_a_version(image: &str) -> bool {
    image.contains('@') || image.rsplit('/').next().is_some_and(|last| last.contains(':'))
}

fn absent_is_none<T>(result: Result<T, EngineError>, what: &str, name: &str) -> Result<Option<T>, AgentError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(e) if status(&e) == Some(404) => Ok(None),
        Err(e) => Err(failed(what, name, &e)),
    }
}

fn status(error: &EngineError) -> Option<u16> {
    match error {
        EngineError::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

fn image_missing(image: &str, why: &dyn std::fmt::Display) -> AgentError {
    let message = format!(
        "image {image} is not on this node and cannot be pulled ({why}): check its name and this node's way to the \
         registry, or bring it with `docker load`"
    );
    AgentError::new(ErrorCode::ImageMissing, message)
}

fn failed(what: &str, name: &str, error: &EngineError) -> AgentError {
    let text = error.to_string();
    let taken = text.contains("port is already allocated") || text.contains("address already in use");
    let code = if taken { ErrorCode::PortTaken } else { ErrorCode::Internal };
    AgentError::new(code, format!("cannot {what} {name}: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_port_is_no_tag() {
        assert!(names_a_version("ghcr.io/games/java:17"));
        assert!(!names_a_version("localhost:5000/java"));
        assert!(names_a_version("java@sha256:00"));
    }
}
