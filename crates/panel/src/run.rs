//! Starting and ending a panel, top to bottom.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use model::{ApiKeyId, Clock, SystemClock, UserId};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Access, Passwords, write_private};
use crate::agent::Agents;
use crate::api::auth::{new_secret, sha256_hex};
use crate::app::App;
use crate::backup::{self, Backups};
use crate::config::DEFAULT_IMAGE;
use crate::db::keys::{self, ApiKey};
use crate::db::users::{self, NewUser};
use crate::db::{self, Db, DbError, Lease, Moved, roles, servers};
use crate::evacuate::Evacuations;
use crate::events::Hub;
use crate::link::{self, Link, Registry};
use crate::migrate::{Connected, Migrations};
use crate::permit::PermitSigner;
use crate::relay::Relays;
use crate::serve::serve;
use crate::webhook::OutboundConfig;
use crate::{Config, api, databases, dns, install, presence, schedule, webhook};

/// How long work in the background has to end at shutdown.
const DRAIN: Duration = Duration::from_secs(10);

/// Why a panel could not start, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its data directory or a file in it cannot be used.
    #[error("the data directory cannot be used")]
    Data(#[from] io::Error),
    /// Its database cannot be used.
    #[error("the database cannot be used")]
    Db(#[from] DbError),
    /// It was asked to move into a database that a panel has used.
    #[error(
        "nothing was moved from {}: the PostgreSQL database has been used by a panel already. Give it an empty one, or move \
         the file away to go on with what is in PostgreSQL", .0.display()
    )]
    NotEmpty(PathBuf),
    /// It cannot listen.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
}

/// Runs a panel until `shutdown` is cancelled. `ready` is called once with the bound address, when requests are
/// answered; the first admin key is in `<data>/admin.key` by then.
pub async fn run(
    config: Config,
    shutdown: CancellationToken,
    ready: impl FnOnce(SocketAddr) + Send,
) -> Result<(), StartError> {
    let shutdown = shutdown.child_token();
    let Prepared { listener, address, app, link, mut lease } = prepare(config, shutdown.clone()).await?;
    ready(address);
    let mut serving = pin!(serve(listener, router(app.clone(), link), &shutdown));
    let lost = tokio::select! {
        () = &mut serving => None,
        why = lease.keep() => Some(why),
    };
    if lost.is_some() {
        shutdown.cancel();
        serving.await;
    }
    end(app).await;
    lease.release().await;
    lost.map_or(Ok(()), |why| Err(why.into()))
}

/// A panel that is ready to answer.
struct Prepared {
    listener: TcpListener,
    address: SocketAddr,
    app: App,
    link: Link,
    lease: Lease,
}

/// Opens everything and goes on with what an earlier run has left.
async fn prepare(config: Config, shutdown: CancellationToken) -> Result<Prepared, StartError> {
    make_private_dir(&config.data_dir)?;
    let location = config.location();
    let (db, lease) = Db::claim(&location).await?;
    if config.move_from_sqlite {
        move_over(&db, &config.data_dir.join("panel.db")).await?;
    }
    let access = Access::open(&config.data_dir, config.access)?;
    first_key(&db, &config.data_dir).await?;
    first_user(&db, &access.passwords, &config.data_dir).await?;
    let listener = TcpListener::bind(config.listen).await.map_err(|error| StartError::Listen(config.listen, error))?;
    let address = listener.local_addr()?;
    let public_url = config.public_url.unwrap_or_else(|| format!("http://{address}"));

    let image = config.image.as_deref().unwrap_or(DEFAULT_IMAGE);
    let public_url = public_url.trim_end_matches('/');
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (mut app, link) = assemble(db, access, clock, &config.data_dir, public_url, image, &shutdown)?;
    app.outbound = config.outbound;
    servers::servers_unlock_requests(&mut *app.db.acquire().await?).await?;
    app.backups.resume().await?;
    app.migrations.resume().await?;
    backup::restore::resume(&app).await?;
    install::resume(&app).await?;
    schedule::begin(&app).await?;
    webhook::begin(&app);
    databases::begin(&app).await?;
    dns::begin(&app);
    presence::begin(&app);
    app.tasks.spawn(Arc::clone(&app.evacuations).run(shutdown.clone()));
    tracing::info!(%address, data = %config.data_dir.display(), database = %location, "panel is up");
    Ok(Prepared { listener, address, app, link, lease })
}

/// All routes: the API and the agents' socket.
pub fn router(app: App, link: Link) -> Router {
    api::router(app).merge(link::routes(link))
}

pub(crate) fn assemble(
    db: Db,
    access: Access,
    clock: Arc<dyn Clock>,
    data_dir: &Path,
    public_url: &str,
    image: &str,
    shutdown: &CancellationToken,
) -> Result<(App, Link), StartError> {
    let permits = Arc::new(PermitSigner::load_or_create(&data_dir.join("permit.key"))?);
    let events = Arc::new(Hub::default());
    let registry = Arc::new(Registry::default());
    let agents: Arc<dyn Agents> = Arc::<Registry>::clone(&registry);
    let tasks = TaskTracker::new();
    let link = Link {
        registry,
        db: db.clone(),
        clock: Arc::clone(&clock),
        events: Arc::clone(&events),
        permit_key: permits.public_key().into(),
        heartbeat: link::HEARTBEAT,
        tasks: tasks.clone(),
        shutdown: shutdown.clone(),
    };
    let access = Arc::new(access);
    let backups = Backups::new(db.clone(), Arc::clone(&agents), Arc::clone(&access), Arc::clone(&clock));
    let world = Connected {
        agents: Arc::clone(&agents),
        events: Arc::clone(&events),
        relays: Relays::new(public_url),
        backups: Arc::clone(&backups),
    };
    let migrations = Migrations::new(db.clone(), world, Arc::clone(&clock), Arc::clone(&permits));
    let evacuations = Evacuations::new(db.clone(), Arc::clone(&migrations), Arc::clone(&clock), Arc::clone(&events));
    let app = App {
        db,
        agents,
        clock,
        access,
        permits,
        events,
        backups,
        migrations,
        wake: Arc::default(),
        outbound: OutboundConfig::default(),
        evacuations,
        consoles: Arc::default(),
        public_url: public_url.into(),
        image: image.into(),
        tasks,
        shutdown: shutdown.clone(),
    };
    Ok((app, link))
}

async fn end(app: App) {
    app.migrations.shut_down().await;
    app.backups.shut_down().await;
    app.tasks.close();
    if timeout(DRAIN, app.tasks.wait()).await.is_err() {
        tracing::warn!("work in the background did not end in time; the next start goes on with it");
    }
    app.db.close().await;
    tracing::info!("panel is down");
}

fn make_private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Moves what is in the SQLite database over, if it is there, and renames the file. Again is the same.
async fn move_over(db: &Db, file: &Path) -> Result<(), StartError> {
    if !file.exists() {
        return Ok(());
    }
    match db::move_from_sqlite(file, db).await? {
        Moved::NotEmpty => return Err(StartError::NotEmpty(file.to_owned())),
        Moved::Rows(rows) => tracing::info!(rows, from = %file.display(), "the database was moved"),
        Moved::Before => {}
    }
    Ok(std::fs::rename(file, file.with_extension("db.moved"))?)
}

/// On the first start, makes a key that may do everything and leaves it in `<data>/admin.key`.
///
/// The file is written before the row: a crash in between leaves a key that is worth nothing, and the next start, which
/// finds no row, makes another one.
async fn first_key(db: &Db, data_dir: &Path) -> Result<(), StartError> {
    let mut conn = db.acquire().await?;
    if keys::keys_count(&mut conn).await? > 0 {
        return Ok(());
    }
    let key = new_secret("bp_")?;
    let path = data_dir.join("admin.key");
    write_private(&path, &key)?;
    let row = ApiKey {
        id: ApiKeyId::new(),
        name: "admin".to_owned(),
        key_hash: sha256_hex(&key),
        scopes: vec!["*".to_owned()],
        created_at: SystemClock.now(),
        expires_at: None,
        last_used_at: None,
        user_id: None,
        allowed_networks: Vec::new(),
    };
    keys::key_insert(&mut conn, &row).await?;
    tracing::info!(path = %path.display(), "first start: an API key that may do everything was made");
    Ok(())
}

/// On the first start, makes a user who may do everything and leaves their password in `<data>/admin.password`.
///
/// File before row, as with the key. A panel that was made before there were users gets its first one here too.
async fn first_user(db: &Db, passwords: &Passwords, data_dir: &Path) -> Result<(), StartError> {
    let mut conn = db.acquire().await?;
    if users::users_count(&mut conn).await? > 0 {
        return Ok(());
    }
    let password = new_secret("")?;
    let path = data_dir.join("admin.password");
    write_private(&path, &password)?;
    let user = NewUser {
        id: UserId::new(),
        username: "admin".to_owned(),
        email: None,
        password_hash: passwords.hash(password).await.map_err(io::Error::other)?,
        role_id: roles::ADMIN,
    };
    users::user_insert(&mut conn, &user, SystemClock.now()).await?;
    tracing::info!(path = %path.display(), "first start: the user `admin` was made, with the password in this file");
    Ok(())
}
