//! Databases on MySQL and MariaDB servers: really made, really dropped. The only module tree of the panel that knows
//! `mysql_async`.
//!
//! ```text
//!   row, not ready ──CREATE DATABASE, CREATE USER, GRANT──► ready
//!        │ failed, or the panel was cut                       │ deleted, or its server was
//!        └────────────► owed: to be dropped, again and again until that was done ◄──┘
//! ```
//!
//! Names of databases and users are made here and quoted; what a person writes goes into them as letters, digits and
//! underscores alone.

mod mysql;
pub mod preflight;

use std::time::Duration;

use model::DatabaseHostId;
use tokio::time::sleep;

pub use mysql::{MysqlError, Names, Server};

use crate::access::Vault;
use crate::access::vault::Unreadable;
use crate::api::chain;
use crate::app::App;
use crate::db::database_hosts::{self, DatabaseHost};
use crate::db::databases::{self, Owed};
use crate::db::{Db, DbError};

/// How often it is looked whether something is still to be dropped.
const EVERY: Duration = Duration::from_secs(30);

/// Why something could not be done on a host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Its password cannot be read.
    #[error("the password of the database host cannot be read")]
    Sealed(#[from] Unreadable),
    /// It did not do it.
    #[error("the database host did not do it")]
    Mysql(#[from] MysqlError),
}

/// How to reach a host, with its password.
pub fn server(secrets: &Vault, host: &DatabaseHost) -> Result<Server, Unreadable> {
    let password = secrets.open(&host_purpose(host.id), &host.password)?;
    Ok(Server { host: host.host.clone(), port: host.port, username: host.username.clone(), password })
}

/// For what the password of a host is sealed.
#[must_use]
pub fn host_purpose(id: DatabaseHostId) -> String {
    format!("database-host/{id}")
}

/// For what the password of a database's user is sealed.
#[must_use]
pub fn purpose(id: model::DatabaseId) -> String {
    format!("database/{id}")
}

/// Takes back what an earlier run of the panel was about to make, then drops what is owed until the shutdown.
pub(crate) async fn begin(app: &App) -> Result<(), DbError> {
    let mut tx = app.db.begin().await?;
    databases::databases_owe_unready(&mut tx).await?;
    tx.commit().await?;
    let task = app.clone();
    app.tasks.spawn(async move {
        task.shutdown.clone().run_until_cancelled(keep(&task)).await;
    });
    Ok(())
}

async fn keep(app: &App) {
    loop {
        if let Err(error) = pay(&app.db, &app.access.secrets).await {
            tracing::warn!(error = chain(&error), "which databases are to be dropped could not be looked up");
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            () = app.wake.databases.notified() => {}
        }
    }
}

/// Drops what is owed wherever that is possible now.
async fn pay(db: &Db, secrets: &Vault) -> Result<(), DbError> {
    let all = databases::owed_list(&mut *db.acquire().await?).await?;
    for owed in all {
        let host = database_hosts::host_get(&mut *db.acquire().await?, owed.host_id).await?;
        match drop_on(secrets, &host, &owed).await {
            Ok(()) => {
                databases::owed_paid(&mut *db.acquire().await?, owed.id).await?;
                tracing::info!(database = owed.name, host = host.name, "a database was dropped");
            }
            Err(error) => {
                tracing::warn!(
                    database = owed.name,
                    host = host.name,
                    error = chain(&error),
                    "a database is dropped later"
                );
            }
        }
    }
    Ok(())
}

async fn drop_on(secrets: &Vault, host: &DatabaseHost, owed: &Owed) -> Result<(), HostError> {
    let names = Names { database: owed.name.clone(), username: owed.username.clone() };
    Ok(server(secrets, host)?.drop(&names).await?)
}
