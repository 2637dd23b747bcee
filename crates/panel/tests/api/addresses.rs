//! The addresses of a server: who may take more, and how all of them move, with the variables that follow them.

use model::agent_api::{AgentError, ErrorCode, Outcome, Request, TransferAction};
use model::{ServerSpec, TransferId};
use serde_json::{Value, json};

use crate::agent::TestAgent;
use crate::harness::{Panel, Response, new_server, until};
use crate::transfers::{actions, all_well, id_of, mover, until_state};

fn egg() -> Value {
    let mut egg = crate::eggs::document();
    egg["variables"] = json!([
        {"name": "Token", "env_variable": "TOKEN", "default_value": "", "rules": "required|string"},
        {"name": "Query", "env_variable": "QUERY_PORT", "default_value": "27016", "rules": "required|integer"},
        {"name": "Rcon", "env_variable": "RCON_PORT", "default_value": "1", "rules": "required|integer"},
        {"name": "Slots", "env_variable": "SLOTS", "default_value": "27016", "rules": "required|integer"},
    ]);
    egg
}

/// A panel with a server on one node and another node to go to.
struct House {
    panel: Panel,
    server: String,
    source: TestAgent,
    target: TestAgent,
    /// The server's addresses: the first, one for queries (27016), one for consoles (27017).
    here: Vec<String>,
}

/// `there`: the ports of the target.
async fn house(there: &[&str], source: crate::agent::Script, target: crate::agent::Script) -> House {
    let panel = Panel::start().await;
    let (from, one) = panel.node("source", "25565").await;
    let (to, other) = panel.node("target", there[0]).await;
    let add = async |node: &str, ports: &[&str]| {
        let body = json!({"node_id": node, "ip_address": "127.0.0.1", "ports": ports});
        panel.post("/api/v1/admin/allocations", &body).await.created();
    };
    add(&from, &["27016-27018"]).await;
    if there.len() > 1 {
        add(&to, &there[1..]).await;
    }
    let imported = panel.post("/api/v1/admin/eggs/import", &egg()).await.created();
    let mut body = new_server(imported["id"].as_str().unwrap(), &from);
    body["environment"]["RCON_PORT"] = json!("27017");
    let server = id_of(&panel.post("/api/v1/admin/servers", &body).await.created());
    let made = panel.until_status(&server, "offline").await;
    let mut here = vec![made["allocation"]["id"].as_str().unwrap().to_owned()];
    for (port, notes) in [(27016, "queries"), (27017, "")] {
        let body = json!({"port": port, "notes": notes});
        let added = panel.post(&format!("/api/v1/servers/{server}/allocations"), &body).await.created();
        here.push(id_of(&added));
    }
    drop((one, other));
    let back = async |node: String, script| {
        TestAgent::back(panel.address, node.parse().unwrap(), &crate::agent::hello(None), script).await
    };
    let (source, target) = (back(from, source).await, back(to, target).await);
    House { panel, server, source, target, here }
}

impl House {
    async fn ask(&self, method: &str, rest: &str, body: &Value) -> Response {
        self.panel.send(method, &format!("/api/v1/servers/{}{rest}", self.server), &[], &body.to_string()).await
    }

    async fn transfer(&self, allocations: Value) -> Response {
        let body = json!({"target_node_id": self.target.node, "allocations": allocations});
        self.panel.post(&format!("/api/v1/admin/servers/{}/transfer", self.server), &body).await
    }

    async fn look(&self, allocations: Value) -> Value {
        let body = json!({"target_node_id": self.target.node, "allocations": allocations});
        self.panel.post(&format!("/api/v1/admin/servers/{}/transfer/preflight", self.server), &body).await.ok()[0]
            .clone()
    }

    /// Its ports with notes, the first one first, and its variables.
    async fn places(&self) -> (Vec<(u64, String)>, Value) {
        let list = self.ask("GET", "/allocations", &json!({})).await.ok();
        let place = |it: &Value| (it["port"].as_u64().unwrap(), it["notes"].as_str().unwrap().to_owned());
        let server = self.ask("GET", "", &json!({})).await.ok();
        (list.as_array().unwrap().iter().map(place).collect(), server["environment"].clone())
    }

    async fn free_of(&self, node: &TestAgent) -> u64 {
        let path = format!("/api/v1/admin/allocations?filter[node_id]={}&filter[free]=true", node.node);
        self.panel.get(&path).await.body()["meta"]["total"].as_u64().unwrap()
    }
}

fn place(port: u64, notes: &str) -> (u64, String) {
    (port, notes.to_owned())
}

fn pairs(moved: &Value) -> Vec<(u64, u64, bool)> {
    let number = |it: &Value| it["port"].as_u64().unwrap();
    let pair = |it: &Value| (number(&it["old"]), number(&it["new"]), it["is_primary"] == true);
    moved.as_array().unwrap().iter().map(pair).collect()
}

async fn prepared(agent: &TestAgent) -> Box<ServerSpec> {
    let spec = |request: &Request| match request {
        Request::Transfer { action: TransferAction::PrepareTarget { spec, .. }, .. } => Some(spec.clone()),
        _ => None,
    };
    agent.until_asked(spec).await
}

#[tokio::test]
async fn all_addresses_move_and_the_variables_with_them() {
    let house = house(&["25565", "27017", "30001-30003"], all_well(), all_well()).await;
    let seen = house.look(json!({})).await;
    let expected = [(25565, 25565, true), (27016, 30001, false), (27017, 27017, false)];
    assert_eq!(pairs(&seen["allocations"]), expected);
    let query = json!([{"name": "QUERY_PORT", "old": "27016", "new": "30001"}]);
    assert_eq!((&seen["variables"], &seen["ok"]), (&query, &json!(true)), "{seen}");
    assert_eq!(seen["allocations"][0]["old"]["id"], json!(house.here[0]));

    let id = id_of(&house.transfer(json!({})).await.accepted());
    let end = until_state(&house.panel, &id, "completed").await;
    assert_eq!((pairs(&end["allocations"]), &end["variables"]), (expected.to_vec(), &query));
    let spec = prepared(&house.target).await;
    assert_eq!(spec.allocations.iter().map(|it| it.port).collect::<Vec<_>>(), [25565, 30001, 27017]);
    let variable = |name: &str| spec.environment[name].clone();
    assert_eq!([variable("QUERY_PORT"), variable("RCON_PORT"), variable("SLOTS")], ["30001", "27017", "27016"]);
    let (ports, environment) = house.places().await;
    assert_eq!(ports, [place(25565, ""), place(27017, ""), place(30001, "queries")]);
    assert_eq!(environment, json!({"TOKEN": "t", "RCON_PORT": "27017", "QUERY_PORT": "30001"}));
    assert_eq!((house.free_of(&house.source).await, house.free_of(&house.target).await), (4, 2));
}

#[tokio::test]
async fn a_transfer_that_fails_after_the_switch_leaves_addresses_and_variables_as_they_were() {
    let refuse = || Some(Outcome::Err(AgentError::new(ErrorCode::Unhealthy, "on purpose")));
    let sick = mover(move |step| (step == "check_health").then(refuse));
    let house = house(&["25565", "30001-30003"], all_well(), sick).await;
    let before = house.places().await;
    let id = id_of(&house.transfer(json!({})).await.accepted());
    let end = until_state(&house.panel, &id, "rolled_back").await;
    assert_eq!(end["failure"]["step"], "check_health");
    assert_eq!(end["variables"], json!([]));
    assert!(actions(&house.target).contains(&"start_target".to_owned()), "it had been switched over");
    assert_eq!(house.places().await, before);
    let firsts = house.ask("GET", "/allocations", &json!({})).await.ok();
    assert_eq!((&firsts[0]["is_primary"], &firsts[0]["id"]), (&json!(true), &json!(house.here[0])));
    assert_eq!((house.free_of(&house.source).await, house.free_of(&house.target).await), (1, 4));
    // What the source was told before may be older than the row: it is told again before its next start.
    house.ask("POST", "/power", &json!({"signal": "start"})).await.accepted();
    house.source.until_asked(|asked| matches!(asked, Request::StartServer { .. }).then_some(())).await;
    let told = house.source.asked().iter().any(|asked| matches!(asked, Request::ConfigureServer { .. }));
    assert!(told);
}

#[tokio::test]
async fn addresses_are_chosen_in_a_range_or_picked() {
    let house = house(&["25565", "27016-27017", "30001-30003"], all_well(), all_well()).await;
    let seen = house.look(json!({"strategy": "range", "range": [27017, 30002]})).await;
    let expected = [(25565, 30001, true), (27016, 30002, false), (27017, 27017, false)];
    assert_eq!(pairs(&seen["allocations"]), expected);
    let seen = house.look(json!({"strategy": "range", "range": [30001, 30002]})).await;
    let short = seen["checks"].as_array().unwrap().iter().find(|it| it["code"] == "insufficient_resources").unwrap();
    assert!(short["message"].as_str().unwrap().contains("allocations (3 needed, 2 free)"), "{short}");
    let details = house.transfer(json!({"range": [30001, 30002]})).await.error(422, "insufficient_resources");
    assert_eq!(details, json!({"allocations": {"needed": 3, "available": 2}}));

    let list = house.panel.get(&format!("/api/v1/admin/allocations?filter[node_id]={}", house.target.node)).await.ok();
    let there = |port: u64| list.as_array().unwrap().iter().find(|it| it["port"] == port).unwrap()["id"].clone();
    let picks = |pairs: &[(usize, Value)]| -> Value {
        let named = pairs.iter().map(|(index, new)| (house.here[*index].clone(), new.clone()));
        json!({"picks": named.collect::<serde_json::Map<_, _>>()})
    };
    let both = picks(&[(1, there(30003)), (0, there(27016))]);
    let seen = house.look(both).await;
    assert_eq!(pairs(&seen["allocations"]), [(25565, 27016, true), (27016, 30003, false), (27017, 27017, false)]);
    house.transfer(picks(&[(1, there(30003)), (2, there(30003))])).await.error(422, "allocation_twice");
    house.transfer(picks(&[(1, json!(house.here[2]))])).await.error(422, "allocation_foreign");
    let nobody = json!({"picks": {TransferId::new().to_string(): there(30003)}});
    house.transfer(nobody).await.error(422, "allocation_unknown");
    for (wrong, field) in [
        (json!({"strategy": "range"}), "allocations.range"),
        (json!({"strategy": "same_port", "range": [1, 2]}), "allocations.range"),
        (json!({"range": [5, 4]}), "allocations.range"),
        (json!({"range": [0, 4]}), "allocations.range"),
    ] {
        house.transfer(wrong).await.invalid(&[field]);
    }
    let everywhere = json!({"allocations": {"picks": {house.here[0].clone(): there(30003)}}});
    let path = format!("/api/v1/admin/servers/{}/transfer/preflight", house.server);
    house.panel.post(&path, &everywhere).await.invalid(&["allocations.picks"]);
    assert_eq!(house.free_of(&house.target).await, 6, "nothing was kept");
}

#[tokio::test]
async fn an_owner_takes_addresses_up_to_a_limit_and_an_administrator_any() {
    let house = house(&["25565"], all_well(), all_well()).await;
    let panel = &house.panel;
    let (owner, token) = panel.user("owner", None).await;
    let admin = format!("/api/v1/admin/servers/{}", house.server);
    let limit = json!({"owner_id": owner, "allocation_limit": 4});
    assert_eq!(panel.patch(&admin, &limit).await.ok()["allocation_limit"], 4);
    let path = format!("/api/v1/servers/{}/allocations", house.server);
    let take = async |body: Value| panel.send_as(&token, "POST", &path, &[], &body.to_string()).await;
    take(json!({"port": 27018})).await.error(403, "forbidden");
    assert_eq!(take(json!({})).await.created()["port"], 27018);
    let details = take(json!({})).await.error(409, "allocation_limit_reached");
    assert_eq!(details, json!({"limit": 4, "has": 4}));
    panel.post(&path, &json!({})).await.error(422, "allocation_none_free");
    panel.post(&path, &json!({"port": 25565})).await.error(422, "allocation_none_free");
    panel.post(&path, &json!({"allocation_id": house.here[0]})).await.error(409, "allocation_in_use");
    panel.post(&path, &json!({"notes": "\u{7}"})).await.invalid(&["notes"]);

    // Its agent is told of each, with all of them.
    let told = house.source.until_asked(|asked| match asked {
        Request::ConfigureServer { spec } if spec.allocations.len() == 4 => Some(spec.clone()),
        _ => None,
    });
    assert_eq!(told.await.allocations[0].port, 25565);

    let second = format!("{path}/{}", house.here[1]);
    let first = async |body: Value| panel.send_as(&token, "PATCH", &second, &[], &body.to_string()).await;
    first(json!({"is_primary": false})).await.invalid(&["is_primary"]);
    assert_eq!(first(json!({"is_primary": true, "notes": "front"})).await.ok()["notes"], "front");
    let server = panel.get(&admin).await.ok();
    assert_eq!((&server["allocation"]["port"], &server["allocations"][1]["port"]), (&json!(27016), &json!(25565)));
    let remove = async |id: &str| panel.send_as(&token, "DELETE", &format!("{path}/{id}"), &[], "").await;
    remove(&house.here[1]).await.error(409, "allocation_primary");
    remove(&house.here[0]).await.no_content();
    remove(&house.here[0]).await.error(404, "not_found");
    panel.patch(&admin, &json!({"allocation_limit": 0})).await.ok();
    remove(&house.here[2]).await.error(403, "forbidden");
    let (_, stranger) = panel.user("stranger", None).await;
    panel.send_as(&stranger, "GET", &path, &[], "").await.error(404, "not_found");
}

#[tokio::test]
async fn while_a_transfer_holds_a_server_its_addresses_and_variables_stay() {
    let hanging = mover(|step| (step == "precopy").then_some(None));
    let house = house(&["25565", "30001-30003"], hanging, all_well()).await;
    let id = id_of(&house.transfer(json!({})).await.accepted());
    until(async || actions(&house.source).contains(&"precopy".to_owned()).then_some(())).await;
    let second = format!("/allocations/{}", house.here[1]);
    for (method, rest, body) in [
        ("POST", "/allocations", json!({})),
        ("PATCH", second.as_str(), json!({"is_primary": true})),
        ("DELETE", second.as_str(), json!({})),
        ("PATCH", "/startup", json!({"environment": {"QUERY_PORT": "5"}})),
    ] {
        house.ask(method, rest, &body).await.error(409, "server_locked");
    }
    let limits = json!({"memory_limit": 1});
    house.panel.patch(&format!("/api/v1/admin/servers/{}", house.server), &limits).await.error(409, "server_locked");
    house.panel.post(&format!("/api/v1/admin/transfers/{id}/cancel"), &json!({})).await.accepted();
    until_state(&house.panel, &id, "rolled_back").await;
    assert_eq!(house.free_of(&house.target).await, 4);
}
