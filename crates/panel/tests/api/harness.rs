//! A panel of one's own, a client as small as it can be, and waiting that ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use panel::db::{Db, Location, testing};
use panel::{AccessConfig, Config, OutboundConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::agent::TestAgent;

/// How long anything in these tests may take. Only a failure takes that long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Panel {
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    pub(crate) dir: Option<TempDir>,
    shutdown: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Panel {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    /// A panel on a directory that an earlier one may have left.
    pub(crate) async fn start_in(dir: TempDir) -> Self {
        Self::start_with(dir, AccessConfig::default()).await
    }

    pub(crate) async fn start_with(dir: TempDir, access: AccessConfig) -> Self {
        let listen = "127.0.0.1:0".parse().unwrap();
        let outbound = OutboundConfig { private: true, link_local: false };
        let data_dir = dir.path().join("panel");
        let database = match testing::location(dir.path()).await {
            Location::Sqlite(_) => None,
            Location::Postgres(url) => Some(url),
        };
        let (public_url, image, move_from_sqlite) = (None, None, false);
        let config = Config { listen, database, move_from_sqlite, data_dir, public_url, image, access, outbound };
        let shutdown = CancellationToken::new();
        let (ready, address) = oneshot::channel();
        let token = shutdown.clone();
        let task = tokio::spawn(async move {
            panel::run(config, token, move |address| ready.send(address).unwrap()).await.unwrap();
        });
        let address = within(address).await.unwrap();
        let key = std::fs::read_to_string(dir.path().join("panel/admin.key")).unwrap().trim().to_owned();
        Self { address, key, dir: Some(dir), shutdown, task: Some(task) }
    }

    /// Ends it gracefully and gives its directory to the next one.
    pub(crate) async fn stop(mut self) -> TempDir {
        self.shutdown.cancel();
        within(self.task.take().unwrap()).await.unwrap();
        self.dir.take().unwrap()
    }

    pub(crate) fn data(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    /// Its database, beside it.
    pub(crate) async fn db(&self) -> Db {
        testing::open(self.data()).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], "").await
    }

    pub(crate) async fn delete(&self, path: &str) -> Response {
        self.send("DELETE", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.send("POST", path, &[], &body.to_string()).await
    }

    /// With the admin's key.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        self.send_as(&self.key, method, path, headers, body).await
    }

    pub(crate) async fn send_as(
        &self,
        key: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        let authorization = format!("Bearer {key}");
        let mut all = vec![("Authorization", authorization.as_str())];
        all.extend(headers);
        http(self.address, method, path, &all, body.as_bytes()).await
    }

    /// A node whose agent is connected, with ports of its own.
    pub(crate) async fn node(&self, name: &str, ports: &str) -> (String, TestAgent) {
        let node = self.new_node(name).await;
        let id = node["id"].as_str().unwrap().to_owned();
        let ports = json!({"node_id": id, "ip_address": "127.0.0.1", "ports": [ports]});
        self.post("/api/v1/admin/allocations", &ports).await.created();
        let token = node["enrolment"]["token"].as_str().unwrap();
        let agent = TestAgent::enrol(self.address, token).await;
        (id, agent)
    }

    pub(crate) async fn new_node(&self, name: &str) -> Value {
        let body = json!({"name": name, "memory_mb": 4096, "disk_mb": 20000, "cpu_percent": 400});
        self.post("/api/v1/admin/nodes", &body).await.created()
    }

    pub(crate) async fn egg(&self) -> String {
        let egg = self.post("/api/v1/admin/eggs/import", &crate::eggs::document()).await.created();
        egg["id"].as_str().unwrap().to_owned()
    }

    /// Makes a server and waits until it is installed.
    pub(crate) async fn server(&self, node: &str) -> String {
        let egg = self.egg().await;
        let server = self.post("/api/v1/admin/servers", &new_server(&egg, node)).await.created();
        let id = server["id"].as_str().unwrap().to_owned();
        self.until_status(&id, "offline").await;
        id
    }

    pub(crate) async fn until_status(&self, server: &str, status: &str) -> Value {
        let path = format!("/api/v1/admin/servers/{server}");
        until(async || {
            let server = self.get(&path).await.ok();
            (server["status"] == status).then_some(server)
        })
        .await
    }

    pub(crate) async fn until_node(&self, node: &str, status: &str) {
        let path = format!("/api/v1/admin/nodes/{node}");
        until(async || (self.get(&path).await.ok()["status"] == status).then_some(())).await;
    }
}

impl Drop for Panel {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(crate) fn new_server(egg: &str, node: &str) -> Value {
    json!({
        "name": "survival", "egg_id": egg, "node_id": node, "memory_limit": 512, "disk_limit": 1000, "cpu_limit": 100,
        "environment": {"TOKEN": "t"},
    })
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) text: String,
}

impl Response {
    pub(crate) fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        let body = self.body();
        assert_eq!(body["success"], true, "{self:?}");
        body["data"].clone()
    }

    pub(crate) fn ok(&self) -> Value {
        self.expect(200)
    }

    pub(crate) fn created(&self) -> Value {
        assert!(self.headers.contains_key("location"), "{self:?}");
        self.expect(201)
    }

    pub(crate) fn accepted(&self) -> Value {
        assert!(self.headers.contains_key("location"), "{self:?}");
        self.expect(202)
    }

    pub(crate) fn no_content(&self) {
        assert_eq!((self.status, self.text.as_str()), (204, ""), "{self:?}");
    }

    /// The details of an error of this status and code, in the documented shape.
    pub(crate) fn error(&self, status: u16, code: &str) -> Value {
        let body = self.body();
        assert_eq!((self.status, body["error"]["code"].as_str()), (status, Some(code)), "{self:?}");
        assert_eq!(body["success"], false, "{self:?}");
        assert!(body["error"]["message"].as_str().is_some_and(|text| text.len() > 10), "{self:?}");
        assert!(body["error"]["details"].is_object(), "{self:?}");
        assert_eq!(self.headers["content-type"], "application/json", "{self:?}");
        body["error"]["details"].clone()
    }

    /// A `validation_error` about exactly these fields.
    pub(crate) fn invalid(&self, fields: &[&str]) {
        let details = self.error(400, "validation_error");
        let named: Vec<&str> = details.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(named, fields, "{self:?}");
    }
}

/// One request, one connection.
pub(crate) async fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    let exchange = async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: panel\r\nConnection: close\r\n");
        for (name, value) in headers {
            head = head + name + ": " + value + "\r\n";
        }
        head = head + "Content-Length: " + &body.len().to_string() + "\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(body).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let answer = within(exchange).await;
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_lowercase(), v.to_owned()));
    Response { status, headers: headers.collect(), text: text.to_owned() }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it should have happened by now")
}

/// Asks again and again until there is an answer.
pub(crate) async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}
