//! One server somewhere among two clusters and two nodes, its player, and the witness that it is never twice.

use std::cell::RefCell;
use std::ops::Deref;
use std::time::Duration;

use serde_json::{Value, json};

use super::kubectl::given;
use super::site::{Company, Site, Stay};
use crate::docker::{hosts, remove_containers};
use crate::harness::api::Answer;
use crate::harness::house::{MIGRATION, is_over};
use crate::harness::witness::{Witness, games_in_containers};
use crate::harness::{Player, eventually, within};

/// A walk over all processes of the machine; a game that ends and one that begins are seconds apart.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// For a game that was killed, until the panel lets it be removed.
const TO_END: Duration = Duration::from_secs(20);
/// A pod is scheduled, its volume made, its image unpacked.
pub(super) const SLOW: Duration = Duration::from_mins(3);

/// Where a server can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A machine with an engine.
    Node(usize),
    /// A cluster.
    Cluster(usize),
}

/// What is played.
#[derive(Clone, Copy, Debug)]
pub(super) enum Game {
    /// Ours, which can prove that nothing is lost.
    Ledger,
    /// Somebody else's.
    Minetest,
}

impl Game {
    fn process(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Minetest => "minetestserver",
        }
    }

    fn egg(self) -> Value {
        match self {
            Self::Ledger => ledger_egg(&given("BADGER_TEST_LEDGER_IMAGE")),
            Self::Minetest => crate::docker::egg_with(&given("BADGER_TEST_MINETEST_IMAGE")),
        }
    }
}

/// One server at a site, and who looks after it.
#[derive(Debug)]
pub(super) struct Fleet {
    /// The server's id; empty before one was made.
    pub(super) server: String,
    player: Option<Player>,
    witness: Option<Witness>,
    transfers: RefCell<Vec<String>>,
    // Last: it lets the next test begin.
    stay: Stay,
}

impl Deref for Fleet {
    type Target = Site;

    fn deref(&self) -> &Site {
        self.stay.site()
    }
}

impl Fleet {
    /// Without a server.
    pub(super) fn new(company: Company) -> Self {
        let transfers = RefCell::default();
        Self { server: String::new(), player: None, witness: None, transfers, stay: Stay::begin(company) }
    }

    /// With a server that is installed and offline.
    pub(super) fn with(game: Game, place: Place, company: Company) -> Self {
        let mut fleet = Self::new(company);
        let made = fleet.try_create(game, place, &json!({})).expect(201);
        fleet.adopt(game, &made);
        fleet
    }

    /// Takes a server that was made as its own: watches it, waits until it is installed, and removes it in the end.
    pub(super) fn adopt(&mut self, game: Game, made: &Value) {
        made["id"].as_str().unwrap().clone_into(&mut self.server);
        let (name, id) = (game.process(), self.server.clone());
        self.witness = Some(Witness::watch(BETWEEN_LOOKS, move || games_in_containers(name, &id)));
        eventually("the server is installed", SLOW, || {
            let server = self.server();
            assert_ne!(server["status"], "install_failed", "{server}");
            (server["status"] == "offline").then_some(())
        });
    }

    /// With the ledger running and a player who has already played, beside other tests.
    pub(super) fn playing(place: Place) -> Self {
        Self::playing_in(place, Company::Others)
    }

    /// The same with the site to itself.
    pub(super) fn playing_alone(place: Place) -> Self {
        Self::playing_in(place, Company::Nobody)
    }

    fn playing_in(place: Place, company: Company) -> Self {
        let mut fleet = Self::with(Game::Ledger, place, company);
        fleet.power("start");
        fleet.wait_status("running");
        let player = Player::start(vec![fleet.address()]);
        player.plays_on();
        fleet.player = Some(player);
        fleet
    }

    /// Asks for a server, with `more` in the request.
    pub(super) fn try_create(&self, game: Game, place: Place, more: &Value) -> Answer {
        let egg = self.api.post("/admin/eggs/import", &game.egg()).expect(201);
        let mut body = json!({
            "name": "a game", "egg_id": egg["id"], "memory_limit": 512, "disk_limit": 2048, "environment": {},
        });
        let fields = body.as_object_mut().unwrap();
        match place {
            // One core is 100 % on a node and 1000 millicores on a cluster.
            Place::Node(n) => {
                fields.insert("cpu_limit".into(), json!(100));
                fields.insert("node_id".into(), json!(self.node(n).id));
            }
            Place::Cluster(n) => {
                fields.insert("cpu_limit".into(), json!(1000));
                fields.insert("cluster_id".into(), json!(self.clusters[n].id));
            }
        }
        fields.extend(more.as_object().unwrap().clone());
        self.api.post("/admin/servers", &body)
    }

    /// The server as the API gives it.
    pub(super) fn server(&self) -> Value {
        self.api.get(&format!("/admin/servers/{}", self.server)).expect(200)
    }

    /// `host:port` of its primary allocation.
    pub(super) fn address(&self) -> String {
        address(&self.server()["allocation"])
    }

    /// Sends a power signal.
    pub(super) fn power(&self, signal: &str) {
        self.try_power(signal).expect(202);
    }

    /// The same, where it may be refused.
    pub(super) fn try_power(&self, signal: &str) -> Answer {
        self.api.post(&format!("/servers/{}/power", self.server), &json!({"signal": signal}))
    }

    /// Waits for a status.
    pub(super) fn wait_status(&self, status: &str) {
        let mut last = Value::Null;
        let came = within(SLOW, || {
            last = self.server();
            (last["status"] == status).then_some(())
        });
        assert!(came.is_some(), "the server is not {status} within {SLOW:?}: {last}");
    }

    /// Lines of the server's console.
    pub(super) fn console(&self) -> Vec<String> {
        let answer = self.api.get(&format!("/servers/{}/console?lines=500", self.server)).expect(200);
        answer["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
    }

    /// Who plays.
    pub(super) fn player(&self) -> &Player {
        self.player.as_ref().expect("somebody plays")
    }

    /// Where the panel says that the server is.
    pub(super) fn owner(&self) -> Place {
        let server = self.server();
        let is = |field: &str, id: &str| server[field].as_str() == Some(id);
        let cluster = self.clusters.iter().position(|cluster| is("cluster_id", &cluster.id)).map(Place::Cluster);
        let node = [0, 1].into_iter().find(|n| is("node_id", &self.node(*n).id)).map(Place::Node);
        assert!(cluster.is_some() != node.is_some(), "in one place: {server}");
        cluster.or(node).unwrap()
    }

    /// Starts a migration to `place`; its id. The player knows at once where the server will be.
    pub(super) fn migrate(&self, place: Place, options: &Value) -> String {
        let transfer = self.try_migrate(place, options).expect(202);
        if let Some(player) = &self.player {
            player.also_at(&address(&transfer["target"]["allocation"]));
            player.also_at(&self.address());
        }
        let id = transfer["id"].as_str().unwrap().to_owned();
        self.transfers.borrow_mut().push(id.clone());
        id
    }

    /// The same, where it may be refused.
    pub(super) fn try_migrate(&self, place: Place, options: &Value) -> Answer {
        let mut body = match place {
            Place::Node(n) => json!({"target_node_id": self.node(n).id}),
            Place::Cluster(n) => json!({"target_cluster_id": self.clusters[n].id}),
        };
        body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        self.api.post(&format!("/admin/servers/{}/transfer", self.server), &body)
    }

    /// A transfer as the API gives it.
    pub(super) fn transfer(&self, id: &str) -> Value {
        self.api.get(&format!("/admin/transfers/{id}")).expect(200)
    }

    /// Waits until a transfer is over, whatever happens to the panel meanwhile; how it ended.
    pub(super) fn wait_final(&self, id: &str) -> Value {
        let mut last = Value::Null;
        let over = within(MIGRATION + SLOW, || {
            last = self.api.try_get(&format!("/admin/transfers/{id}")).ok()?.expect(200);
            is_over(&last).then_some(())
        });
        assert!(over.is_some(), "the transfer is not over: {last}");
        last
    }

    /// Waits until a transfer has written something on the target, so that it is in the middle of its copy.
    pub(super) fn wait_copying(&self, id: &str) {
        eventually("bytes flow", MIGRATION + SLOW, || {
            (self.transfer(id)["progress"]["bytes_written"].as_u64()? > 0).then_some(())
        });
    }

    /// Migrates and expects it to complete; the transfer.
    pub(super) fn migrated(&self, place: Place, options: &Value) -> Value {
        let transfer = self.wait_final(&self.migrate(place, options));
        assert_eq!(transfer["state"], "completed", "{transfer}");
        assert_eq!(self.owner(), place, "{transfer}");
        assert!(transfer["roots"]["source"].as_str().is_some_and(|root| root.len() == 64), "{transfer}");
        assert_eq!(transfer["roots"]["source"], transfer["roots"]["target"], "{transfer}");
        self.assert_settled();
        transfer
    }

    /// Destroys the copy that a source keeps.
    pub(super) fn free_retained(&self, transfer: &Value) {
        let id = transfer["id"].as_str().unwrap();
        self.api.delete(&format!("/admin/transfers/{id}/retained")).expect(204);
    }

    /// What must be true whenever no transfer runs: nothing is locked, the game runs at most once, and where the server
    /// is not there is at most the copy that a source keeps (I1, I4, I9).
    pub(super) fn assert_settled(&self) {
        self.witness.as_ref().expect("a server").assert_never_two();
        let server = self.server();
        assert_eq!((&server["locked"], &server["transfer_state"]), (&json!(false), &Value::Null), "{server}");
        let owner = self.owner();
        for n in [0, 1] {
            self.assert_let_go(n, owner);
            self.assert_nothing_temporary(n, owner);
        }
    }

    fn assert_let_go(&self, n: usize, owner: Place) {
        let node = self.node(n);
        if owner != Place::Node(n) {
            // The agent removes what it has to in the same step; the answer to the panel may be a moment earlier.
            let gone = || (!node.data.join("servers").join(&self.server).join("data").exists()).then_some(());
            eventually("the other node lets go", Duration::from_secs(10), gone);
            assert_eq!(crate::docker::all(&hosts()[n], &self.server), 0, "a container is left on node {n}");
        }
        let left = |transfer: &&String| node.data.join("staging").join(transfer).exists();
        assert_eq!(self.transfers.borrow().iter().find(left), None, "staging is left on node {n}");
    }

    /// Where the server is not, a volume may be kept and nothing may run; nowhere is anything of a transfer.
    fn assert_nothing_temporary(&self, n: usize, owner: Place) {
        let cluster = &self.clusters[n];
        let wrong = |object: &Value| {
            let label = |name: &str| object["metadata"]["labels"][format!("badgerpanel.io/{name}")].is_string();
            let kept = matches!(object["kind"].as_str(), Some("Namespace" | "PersistentVolume"))
                || (object["kind"] == "PersistentVolumeClaim" && label("retained"));
            label("transfer") || label("held") || object["kind"] == "ConfigMap" || (owner != Place::Cluster(n) && !kept)
        };
        let mut left = Vec::new();
        let clean = within(SLOW, || {
            left = cluster.objects(&self.server).into_iter().filter(wrong).collect();
            left.is_empty().then_some(())
        });
        let names: Vec<String> = left.iter().map(|it| format!("{} {}", it["kind"], it["metadata"]["name"])).collect();
        assert!(clean.is_some(), "left on cluster {}: {names:?}", cluster.name);
    }
}

impl Drop for Fleet {
    /// Containers and pods outlive their agents by design, so they are ended here. The panel is asked first, which has to
    /// forget a server that it should not miss; after a failure it may refuse, and it is done without it.
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            self.print_state(&self.server);
        }
        drop(self.player.take());
        let server = self.server.as_str();
        if server.is_empty() {
            return;
        }
        drop(self.api.try_post(&format!("/servers/{server}/power"), &json!({"signal": "kill"})));
        within(TO_END, || {
            let refused = self.api.try_delete(&format!("/admin/servers/{server}")).is_ok_and(|it| it.status == 409);
            (!refused).then_some(())
        });
        std::thread::scope(|scope| {
            for cluster in &self.clusters {
                scope.spawn(move || cluster.forget(server));
            }
        });
        for host in hosts() {
            remove_containers(&host, server);
        }
    }
}

/// `host:port` of an allocation.
pub(super) fn address(allocation: &Value) -> String {
    format!("{}:{}", allocation["ip_address"].as_str().unwrap(), allocation["port"])
}

/// Our own game as an egg for engines and clusters.
fn ledger_egg(image: &str) -> Value {
    json!({
        "meta": {"version": "PTDL_v2"}, "name": "Ledger", "author": "eggs@badgerpanel.example", "description": "",
        "docker_images": {"ledger": image},
        "startup": "/usr/bin/badger ledger serve --listen 0.0.0.0:{{SERVER_PORT}} --world . --size 4M --dirty 64K",
        "config": {"files": "{}", "startup": "{\"done\": \"The ledger is open on\"}", "logs": "{}", "stop": "stop"},
        "scripts": {"installation": {"script": null, "container": "", "entrypoint": ""}},
        "variables": [],
    })
}
