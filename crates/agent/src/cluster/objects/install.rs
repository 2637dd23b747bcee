//! An egg's installation script: once, in a pod of its own, on the server's volume.
//!
//! A repeat joins the pod that still runs, and one that has succeeded is written on the claim, so that an orchestrator which
//! died between the end of the script and its answer does not run it again.

use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod, Secret};
use kube::ResourceExt;
use kube::api::LogParams;
use model::agent_api::{AgentError, ErrorCode};
use model::{InstallScript, ServerId, ServerSpec};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::cause::{self, Seen, Verdict};
use super::make::install;
use super::names::{self, INSTALL, MADE_FROM};
use super::remove::not_here;
use super::{Objects, api};

/// On a claim: which script filled it.
const INSTALLED: &str = "badgerpanel.io/installed";
/// Lines of the script that an error shows.
const LAST_LINES: i64 = 20;

impl Objects {
    pub(super) async fn do_install(&self, spec: &ServerSpec) -> Result<(), AgentError> {
        let Some(script) = &spec.install else { return Ok(()) };
        let Some(claim) = self.claim(spec.id).await? else { return Err(not_here(spec.id)) };
        let mark = mark(spec, script);
        if claim.annotations().get(INSTALLED) == Some(&mark) {
            return self.clear_installation(spec.id).await;
        }
        self.begin(spec, script, &claim.name_any(), &mark).await?;
        let ended = self.until_installed(spec.id).await;
        if ended.is_ok() {
            let done = json!({"metadata": {"annotations": {INSTALLED: mark}}});
            api::merge(&self.inside::<PersistentVolumeClaim>(spec.id), &claim.name_any(), &done).await?;
        }
        self.clear_installation(spec.id).await?;
        ended
    }

    /// A pod that is there is the one to wait for, unless it failed or is another script's.
    async fn begin(
        &self,
        spec: &ServerSpec,
        script: &InstallScript,
        claim: &str,
        mark: &str,
    ) -> Result<(), AgentError> {
        let pods = self.inside::<Pod>(spec.id);
        if let Some(pod) = api::get(&pods, INSTALL).await? {
            if pod.annotations().get(MADE_FROM).map(String::as_str) == Some(mark) && phase(&pod) != "Failed" {
                return Ok(());
            }
            self.clear_installation(spec.id).await?;
        }
        let beside = !api::list(&pods, &names::pods_of(spec.id)).await?.is_empty();
        api::apply::<Secret>(&self.inside(spec.id), &install::secret(&self.config, spec, script)).await?;
        let mut pod = install::pod(&self.config, spec, script, claim, beside);
        pod["metadata"]["annotations"] = json!({MADE_FROM: mark});
        api::apply::<Pod>(&pods, &pod).await.map(drop)
    }

    async fn until_installed(&self, server: ServerId) -> Result<(), AgentError> {
        let pods = self.inside::<Pod>(server);
        let deadline = Instant::now() + self.config.patience.install + self.config.patience.raise;
        let mut doubted_since = None;
        loop {
            let pod = match api::get(&pods, INSTALL).await {
                Ok(Some(pod)) => pod,
                Ok(None) => return Err(failed("its pod was deleted by hand", "")),
                Err(error) if error.code == ErrorCode::Unreachable => Pod::default(),
                Err(error) => return Err(error),
            };
            match phase(&pod) {
                "Succeeded" => return Ok(()),
                "Failed" => return Err(self.why_failed(server, &pod).await),
                _ => {}
            }
            match self.obstacle(server, &pod).await {
                Some(Verdict::Refused(error)) => return Err(error),
                Some(Verdict::Doubt(error)) => {
                    if doubted_since.get_or_insert_with(Instant::now).elapsed() >= self.config.patience.doubt {
                        return Err(error);
                    }
                }
                _ => doubted_since = None,
            }
            if Instant::now() >= deadline {
                return Err(failed("it took too long", ""));
            }
            sleep(api::LOOK).await;
        }
    }

    async fn obstacle(&self, server: ServerId, pod: &Pod) -> Option<Verdict> {
        if phase(pod) == "Running" {
            return None;
        }
        let events = api::list(&self.inside::<Event>(server), "").await.unwrap_or_default();
        cause::obstacle(pod, &Seen { events, ..Seen::default() })
    }

    async fn why_failed(&self, server: ServerId, pod: &Pod) -> AgentError {
        let params =
            LogParams { container: Some(INSTALL.to_owned()), tail_lines: Some(LAST_LINES), ..LogParams::default() };
        let said = self.inside::<Pod>(server).logs(INSTALL, &params).await.unwrap_or_default();
        failed(&how(pod), said.trim())
    }

    async fn clear_installation(&self, server: ServerId) -> Result<(), AgentError> {
        let pods = self.inside::<Pod>(server);
        api::delete(&pods, INSTALL).await?;
        api::delete(&self.inside::<Secret>(server), INSTALL).await?;
        api::until_gone(&pods, INSTALL, self.config.patience.gone).await
    }
}

fn mark(spec: &ServerSpec, script: &InstallScript) -> String {
    let all = json!([script, spec.environment]).to_string();
    let digest = ring::digest::digest(&ring::digest::SHA256, all.as_bytes());
    data_encoding::HEXLOWER.encode(&digest.as_ref()[..8])
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Deadline, eviction, or the script's own code.
fn how(pod: &Pod) -> String {
    let status = pod.status.as_ref();
    if let Some(reason) = status.and_then(|status| status.reason.as_deref()) {
        return format!("its pod was ended ({reason})");
    }
    let containers = status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten();
    let code = containers.into_iter().find_map(|c| c.state.as_ref()?.terminated.as_ref().map(|t| t.exit_code));
    code.map_or_else(|| "its pod could not be prepared".to_owned(), |code| format!("it ended with code {code}"))
}

fn failed(why: &str, said: &str) -> AgentError {
    let tail = if said.is_empty() { String::new() } else { format!("; its last lines:\n{said}") };
    AgentError::new(
        ErrorCode::Conflict,
        format!("the installation failed: {why} (in a pod scripts are not root){tail}"),
    )
}
