//! Object storage of one's own: MinIO on a free port of this machine, gone with its owner.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::DEADLINE;

const BUCKET: &str = "backups";

pub(crate) struct Minio {
    address: String,
    child: Child,
    dir: TempDir,
}

impl Minio {
    /// `scripts/test-backups.sh` says where its executable is.
    pub(crate) fn start() -> Self {
        let program = std::env::var_os("BADGER_TEST_MINIO").expect("scripts/test-backups.sh sets BADGER_TEST_MINIO");
        let dir = tempfile::tempdir().unwrap();
        // A directory of the drive is a bucket.
        fs::create_dir_all(dir.path().join(BUCKET)).unwrap();
        // Both at once, so that they are not the same.
        let free = [0; 2].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let [address, console] = free.map(|listener| listener.local_addr().unwrap().to_string());
        let child = Command::new(program)
            .args(["server", "--quiet", "--address", &address, "--console-address", &console])
            .arg(dir.path())
            .env("MINIO_ROOT_USER", "badger")
            .env("MINIO_ROOT_PASSWORD", "minio secret")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let minio = Self { address, child, dir };
        let (health, began) = (format!("http://{}/minio/health/cluster", minio.address), Instant::now());
        while ureq::get(&health).call().is_err() {
            assert!(began.elapsed() < DEADLINE * 2, "MinIO is not up");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        minio
    }

    /// As the API takes them.
    pub(crate) fn settings(&self) -> Value {
        json!({
            "name": "minio", "endpoint": format!("http://{}", self.address), "bucket": BUCKET, "access_key": "badger",
            "secret_key": "minio secret",
        })
    }

    pub(crate) fn objects(&self) -> Vec<String> {
        let bucket = self.dir.path().join(BUCKET);
        let mut found = Vec::new();
        let mut open = vec![bucket.clone()];
        while let Some(dir) = open.pop() {
            for path in entries(&dir) {
                if path.join("xl.meta").exists() {
                    found.push(path.strip_prefix(&bucket).unwrap().display().to_string());
                } else if path.is_dir() {
                    open.push(path);
                }
            }
        }
        found
    }

    pub(crate) fn has_uploads(&self) -> bool {
        let mut open = vec![self.dir.path().join(".minio.sys/multipart")];
        while let Some(dir) = open.pop() {
            for path in entries(&dir) {
                if !path.is_dir() {
                    return true;
                }
                open.push(path);
            }
        }
        false
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

impl Drop for Minio {
    fn drop(&mut self) {
        // Also after a failure; that it may have ended by itself is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
