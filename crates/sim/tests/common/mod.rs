//! A database for many scenes, in memory where the machine has a file system for that.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use panel::access::Access;
use panel::db::Db;
use panel::permit::PermitSigner;
use sim::{Accesses, End, Scene, Setup};

pub(crate) struct Stage {
    db: Db,
    accesses: Accesses,
    permits: Arc<PermitSigner>,
    access: Arc<Access>,
    _dir: tempfile::TempDir,
}

impl Stage {
    pub(crate) async fn open() -> Self {
        let shm = Path::new("/dev/shm");
        let dir = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap();
        // The database's timeouts are the runtime's, which is paused: opening must not race with the clock.
        tokio::time::resume();
        let db = Db::open_sqlite(&dir.path().join("panel.db")).await.unwrap();
        tokio::time::pause();
        let accesses = Accesses::default();
        tokio::spawn(sim::flow(db.clone(), accesses.clone()));
        let permits = Arc::new(PermitSigner::load_or_create(&dir.path().join("permit.key")).unwrap());
        let access = Arc::new(Access::open(dir.path(), panel::AccessConfig::default()).unwrap());
        Self { db, accesses, permits, access, _dir: dir }
    }

    pub(crate) async fn play(&self, setup: Setup) -> End {
        let scene = Scene::new(&self.db, &self.accesses, &self.permits, &self.access, setup).await.unwrap();
        scene.run().await.unwrap()
    }
}
