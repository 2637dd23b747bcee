//! The machine that this agent looks after: its servers, its half of the transfers, and the way to each of them.
//!
//! [`Node::obey`] is where a request of the panel goes; it works the same without a link, which is how tests use it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use model::agent_api::{AgentError, ErrorCode, Outcome, Reply, Request};
use model::{Epoch, Resources, ServerId, ServerObservation, ServerSpec};
use tokio::sync::Mutex;

use crate::backup::{self, Backups};
use crate::database;
use crate::disk;
use crate::error::{Error, Result};
use crate::layout::{Layout, Place};
use crate::resources;
use crate::server::{self, Around, Server};
use crate::transfer::{Transfers, clear_place};

const CONSOLE_LINES: u32 = 1000;
/// For a line of a console that says nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Everything that is here.
pub(crate) struct Node {
    pub(crate) layout: Layout,
    pub(crate) around: Around,
    pub(crate) key: Arc<::transfer::Identity>,
    pub(crate) listener: ::transfer::Listener,
    pub(crate) transfers: Transfers,
    pub(crate) backups: Backups,
    /// `host:port` at which other agents reach the listener.
    address: RwLock<String>,
    servers: RwLock<HashMap<ServerId, Server>>,
    /// Making and removing a server: one at a time, they are rare.
    changing: Mutex<()>,
}

impl Node {
    /// Takes over what is on disk: adopts games, reopens doors, removes what belongs to nobody.
    pub(crate) async fn open(
        layout: Layout,
        around: Around,
        key: Arc<::transfer::Identity>,
        listener: ::transfer::Listener,
    ) -> Result<Arc<Self>> {
        for dir in layout.all() {
            disk::private_dir(&dir).map_err(|source| Error::Disk { path: dir, source })?;
        }
        let transfers =
            Transfers::load(&layout, around.clock.now()).map_err(|(path, source)| Error::Disk { path, source })?;
        let address = RwLock::new(listener.local_addr().to_string());
        let servers = load_servers(&layout, &around).await?;
        let changing = Mutex::new(());
        let backups = Backups::default();
        let node = Arc::new(Self { layout, around, key, listener, transfers, backups, address, servers, changing });
        backup::recover(&node).await;
        node.transfers.recover(&node).await;
        Ok(node)
    }

    /// Does what the panel asks. What must keep its order is put in order before this returns; the rest is the future.
    pub(crate) fn obey(self: &Arc<Self>, request: Request) -> BoxFuture<'static, Outcome> {
        self.around.heard.now();
        self.carry_out(request)
    }

    /// [`Node::obey`] for what is asked by somebody who is not the panel: it does not renew leases.
    pub(crate) fn carry_out(self: &Arc<Self>, request: Request) -> BoxFuture<'static, Outcome> {
        let node = Arc::clone(self);
        if let Request::Transfer { key, server_id, action } = request {
            return self.transfers.submit(node, &key, server_id, action);
        }
        if let Request::Backup { backup_id, server_id, action } = request {
            return Box::pin(async move { node.backups.turn(&node, backup_id, server_id, action).await });
        }
        if let Request::AdjustCopy { transfer_id, server_id, bandwidth_limit, max_freeze_ms } = request {
            let adjusted = self.transfers.adjust(transfer_id, server_id, bandwidth_limit, max_freeze_ms);
            return Box::pin(async move { adjusted.map_or_else(Outcome::Err, |()| Outcome::Ok(Reply::Done)) });
        }
        Box::pin(async move {
            match node.answer(request).await {
                Ok(reply) => Outcome::Ok(reply),
                Err(error) => Outcome::Err(error),
            }
        })
    }

    async fn answer(&self, request: Request) -> Result<Reply, AgentError> {
        match request {
            Request::Ping => {}
            Request::CreateServer { spec, epoch } => self.create(spec, epoch).await?,
            Request::ConfigureServer { spec } => self.server(spec.id)?.configure(spec).await?,
            Request::StartServer { server_id, permit } => {
                backup::check_whole(self, server_id)?;
                self.server(server_id)?.start(permit).await?;
            }
            Request::StopServer { server_id } => self.server(server_id)?.stop().await?,
            Request::KillServer { server_id } => self.server(server_id)?.kill().await?,
            Request::SendConsole { server_id, line } => self.server(server_id)?.send(line).await?,
            Request::ReadConsole { server_id, lines } => {
                let lines = usize::try_from(lines.min(CONSOLE_LINES)).unwrap_or(usize::MAX);
                return Ok(Reply::Console { lines: self.server(server_id)?.console(lines).await? });
            }
            Request::FollowConsole { server_id, after, lines, wait_ms } => {
                let lines = usize::try_from(lines.min(CONSOLE_LINES)).unwrap_or(usize::MAX);
                let wait = Duration::from_millis(wait_ms).min(LONGEST_WAIT);
                return self.server(server_id)?.follow(after, lines, wait).await;
            }
            Request::ObserveServer { server_id } => {
                return Ok(Reply::Server { server: self.server(server_id)?.observation() });
            }
            Request::RemoveServer { server_id } => self.remove(server_id).await?,
            Request::MeasureServer { server_id } => return self.measure(server_id).await,
            Request::ListOrphans { look } => return Ok(self.transfers.orphans(self, look).await),
            Request::RemoveOrphan { orphan_id } => self.transfers.remove_orphan(self, &orphan_id).await?,
            Request::CheckTarget { spec, bytes, files } => {
                return Ok(Reply::Checked { checks: self.check_target(&spec, bytes, files).await });
            }
            Request::CheckDatabase { host, port, database, username, password } => {
                let answer = database::look(&host, port, &database, &username, &password).await;
                return Ok(Reply::DatabaseChecked { answer });
            }
            Request::Transfer { .. } | Request::Backup { .. } | Request::AdjustCopy { .. } => {
                return Err(AgentError::new(ErrorCode::Internal, "it has a way of its own"));
            }
        }
        Ok(Reply::Done)
    }

    pub(crate) fn server(&self, id: ServerId) -> Result<Server, AgentError> {
        let missing = || AgentError::new(ErrorCode::NotFound, format!("server {id} is not on this node"));
        self.servers.read().expect("nobody panics with it").get(&id).cloned().ok_or_else(missing)
    }

    pub(crate) fn observations(&self) -> Vec<ServerObservation> {
        self.servers.read().expect("nobody panics with it").values().map(Server::observation).collect()
    }

    pub(crate) async fn resources(&self) -> Resources {
        let root = self.layout.root().to_owned();
        disk::blocking(move || Ok(resources::measure(&root))).await.unwrap_or_default()
    }

    pub(crate) fn data_address(&self) -> String {
        self.address.read().expect("nobody panics with it").clone()
    }

    pub(crate) fn set_data_address(&self, address: String) {
        *self.address.write().expect("nobody panics with it") = address;
    }

    async fn create(&self, spec: Box<ServerSpec>, epoch: Epoch) -> Result<(), AgentError> {
        let server = {
            let _changing = self.changing.lock().await;
            match self.server(spec.id) {
                Ok(server) => server,
                Err(_) => self.make(self.layout.place(spec.id), (*spec).clone(), epoch).await?,
            }
        };
        server.install(spec).await
    }

    /// A server whose files are here already.
    pub(crate) async fn take_in(&self, place: Place, spec: ServerSpec, epoch: Epoch) -> Result<Server, AgentError> {
        let _changing = self.changing.lock().await;
        match self.server(spec.id) {
            Ok(server) => Ok(server),
            Err(_) => self.make(place, spec, epoch).await,
        }
    }

    async fn make(&self, place: Place, spec: ServerSpec, epoch: Epoch) -> Result<Server, AgentError> {
        let id = spec.id;
        let server = server::write_new(place, spec, epoch, self.around.clone()).await?;
        self.servers.write().expect("nobody panics with it").insert(id, server.clone());
        Ok(server)
    }

    /// Ends the server's task and removes what the runtime made. The files stay.
    pub(crate) async fn let_go(&self, id: ServerId) -> Result<(), AgentError> {
        let _changing = self.changing.lock().await;
        match self.server(id) {
            Ok(server) => server.retire().await?,
            Err(_) => self.around.runtime.destroy(&self.layout.place(id)).await?,
        }
        self.servers.write().expect("nobody panics with it").remove(&id);
        Ok(())
    }

    /// Until it is dropped no server is made or removed.
    pub(crate) async fn stand_still(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    async fn remove(&self, id: ServerId) -> Result<(), AgentError> {
        if self.server(id).is_err() {
            return Ok(()); // A repeat. A transfer's target, which is no server yet, is not this command's business.
        }
        self.let_go(id).await?;
        clear_place(self, id).await
    }
}

/// Removes a directory and makes that durable.
pub(crate) async fn remove_tree(dir: &Path) -> Result<(), AgentError> {
    let gone = dir.to_owned();
    let removed = disk::blocking(move || {
        disk::remove_tree(&gone)?;
        gone.parent().map_or(Ok(()), disk::sync_dir)
    });
    removed.await.map_err(|e| disk::failed("remove", dir, &e))
}

async fn load_servers(layout: &Layout, around: &Around) -> Result<RwLock<HashMap<ServerId, Server>>> {
    let mut servers = HashMap::new();
    let dir = layout.servers();
    let entries = std::fs::read_dir(&dir).map_err(|source| Error::Disk { path: dir, source })?;
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<ServerId>().ok());
    for id in ids {
        match server::load(layout.place(id), around.clone()).await {
            Ok(Some(server)) => drop(servers.insert(id, server)),
            Ok(None) => tracing::debug!(server = %id, "a directory that is no server yet"),
            Err(error) => tracing::error!(server = %id, %error, "cannot take this server over"),
        }
    }
    Ok(RwLock::new(servers))
}
