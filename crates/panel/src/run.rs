//! Starting and ending a panel.

use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::db::DbError;

/// Why a panel could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its data directory or a file in it cannot be used.
    #[error("the data directory cannot be used")]
    Data(#[from] std::io::Error),
    /// Its database cannot be used.
    #[error("the database cannot be used")]
    Db(#[from] DbError),
    /// It cannot listen.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
}

/// Runs a panel until `shutdown` is cancelled. `ready` is called once with the bound address, when requests are
/// answered.
pub async fn run(
    config: Config,
    shutdown: CancellationToken,
    ready: impl FnOnce(SocketAddr) + Send,
) -> Result<(), StartError> {
    let listener =
        tokio::net::TcpListener::bind(config.listen).await.map_err(|error| StartError::Listen(config.listen, error))?;
    ready(listener.local_addr()?);
    shutdown.cancelled().await;
    Ok(())
}
