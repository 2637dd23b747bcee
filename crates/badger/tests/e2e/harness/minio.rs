//! Object storage of one's own: MinIO, on a free port of this machine, gone with its owner.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::api::Api;
use super::node::free_ports;
use super::wait::eventually;

const USER: &str = "badger";
const SECRET: &str = "badgersecret";
const BUCKET: &str = "backups";

/// A running MinIO with one bucket.
#[derive(Debug)]
pub(crate) struct Minio {
    address: String,
    console: String,
    child: Option<Child>,
    dir: tempfile::TempDir,
}

impl Minio {
    /// Starts one. `scripts/test-backups.sh` says where it is.
    pub(crate) fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("badger-e2e-minio.").tempdir().unwrap();
        // A directory of the drive is a bucket.
        fs::create_dir_all(dir.path().join("drive").join(BUCKET)).unwrap();
        let [port, console] = free_ports().map(|port| format!("127.0.0.1:{port}"));
        let mut minio = Self { address: port, console, child: None, dir };
        minio.start_again();
        minio
    }

    /// After a kill, on the same drive and port.
    pub(crate) fn start_again(&mut self) {
        let program = std::env::var_os("BADGER_TEST_MINIO").expect("scripts/test-backups.sh sets BADGER_TEST_MINIO");
        let log = fs::File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let child = Command::new(program)
            .args(["server", "--quiet", "--address", &self.address, "--console-address", &self.console])
            .arg(self.drive())
            .env("MINIO_ROOT_USER", USER)
            .env("MINIO_ROOT_PASSWORD", SECRET)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let health = format!("http://{}/minio/health/cluster", self.address);
        eventually("MinIO is up", Duration::from_mins(1), || ureq::get(&health).call().ok());
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn drive(&self) -> PathBuf {
        self.dir.path().join("drive")
    }

    /// Makes it the panel's default, and has the panel test it.
    pub(crate) fn join(&self, api: &Api) -> String {
        let body = json!({
            "name": "minio", "endpoint": format!("http://{}", self.address), "bucket": BUCKET, "prefix": "panel",
            "access_key": USER, "secret_key": SECRET,
        });
        let storage = api.post("/admin/backup-storages", &body).expect(201);
        assert_eq!(storage["is_default"], true, "the first one is");
        assert!(!storage.to_string().contains(SECRET));
        let path = format!("/admin/backup-storages/{}", storage["id"].as_str().unwrap());
        let tested = api.post(&format!("{path}/test"), &json!({})).expect(200);
        assert_eq!(tested, json!({"ok": true, "code": null, "message": null}));
        storage["id"].as_str().unwrap().to_owned()
    }

    /// Whether uploads are under way.
    pub(crate) fn has_uploads(&self) -> bool {
        has_files(&self.drive().join(".minio.sys/multipart"))
    }

    /// Names of all objects.
    pub(crate) fn objects(&self) -> Vec<String> {
        let (mut found, bucket) = (Vec::new(), self.drive().join(BUCKET));
        collect(&bucket, &bucket, &mut found);
        found
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Also after a failure; that it may have ended by itself is fine.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn has_files(dir: &Path) -> bool {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir() || has_files(&entry.path())))
}

/// An object is a directory with `xl.meta` in it.
fn collect(bucket: &Path, dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.join("xl.meta").exists() {
            found.push(path.strip_prefix(bucket).unwrap().display().to_string());
        } else if path.is_dir() {
            collect(bucket, &path, found);
        }
    }
}

/// Waits until a backup is neither being made nor read back; how it ended.
pub(crate) fn wait_backup(api: &Api, server: &str, id: &Value, limit: Duration) -> Value {
    let path = format!("/servers/{server}/backups/{}", id.as_str().unwrap());
    eventually("the backup is over", limit, || {
        let backup = api.try_get(&path).ok()?.expect(200);
        matches!(backup["state"].as_str(), Some("completed" | "failed")).then_some(backup)
    })
}

/// Waits until the last restore of a backup is over; how it ended.
pub(crate) fn wait_restore(api: &Api, server: &str, id: &Value, limit: Duration) -> Value {
    let path = format!("/servers/{server}/backups/{}", id.as_str().unwrap());
    eventually("the restore is over", limit, || {
        let restore = api.try_get(&path).ok()?.expect(200)["restore"].clone();
        matches!(restore["state"].as_str(), Some("completed" | "failed")).then_some(restore)
    })
}
