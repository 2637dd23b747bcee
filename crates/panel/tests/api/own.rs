//! Servers of one's own and of others: what owners, subusers, strangers and their keys meet.

use serde_json::{Value, json};

use crate::agent::TestAgent;
use crate::harness::Panel;

/// A panel with one server, its owner and a stranger.
struct House {
    panel: Panel,
    _agent: TestAgent,
    server: String,
    owner: (String, String),
    stranger: (String, String),
}

impl House {
    async fn new() -> Self {
        let panel = Panel::start().await;
        let (node, agent) = panel.node("n", "25565-25570").await;
        let server = panel.server(&node).await;
        let (owner, stranger) = (panel.user("owner", None).await, panel.user("stranger", None).await);
        let path = format!("/api/v1/admin/servers/{server}");
        assert_eq!(panel.patch(&path, &json!({"owner_id": owner.0})).await.ok()["owner_id"], json!(owner.0));
        Self { panel, _agent: agent, server, owner, stranger }
    }

    async fn ask(&self, token: &str, method: &str, rest: &str, body: Value) -> crate::harness::Response {
        let path = format!("/api/v1/servers/{}{rest}", self.server);
        self.panel.send_as(token, method, &path, &[], &body.to_string()).await
    }

    async fn let_in(&self, name: &str, permissions: Value) -> crate::harness::Response {
        let body = json!({"user": name, "permissions": permissions});
        self.ask(&self.owner.1, "POST", "/subusers", body).await
    }

    async fn own_servers(&self, token: &str) -> usize {
        let list = self.panel.send_as(token, "GET", "/api/v1/servers", &[], "").await;
        list.ok().as_array().unwrap().len()
    }
}

const START: &str = "/power";

#[tokio::test]
async fn an_owner_runs_their_server_and_to_a_stranger_there_is_none() {
    let house = House::new().await;
    let (owner, stranger) = (house.owner.1.as_str(), house.stranger.1.as_str());
    assert_eq!((house.own_servers(owner).await, house.own_servers(stranger).await), (1, 0));
    house.ask(owner, "POST", START, json!({"signal": "start"})).await.accepted();
    let seen = house.ask(owner, "GET", "", json!({})).await.ok();
    assert_eq!(seen["environment"], json!({"TOKEN": "t"}));
    house.ask(owner, "POST", "/command", json!({"command": "x"})).await.no_content();
    for (method, rest, body) in [
        ("GET", "", json!({})),
        ("POST", START, json!({"signal": "kill"})),
        ("POST", "/command", json!({"command": "stop"})),
        ("GET", "/console", json!({})),
        ("GET", "/subusers", json!({})),
        ("GET", "/transfer", json!({})),
        ("POST", "/subusers", json!({"user": "stranger", "permissions": []})),
    ] {
        house.ask(stranger, method, rest, body).await.error(404, "not_found");
    }
    let never = house.ask(owner, "GET", "/transfer", json!({})).await;
    never.error(404, "not_found");
    assert!(never.text.contains("never transferred"), "{never:?}");
    let admin = format!("/api/v1/admin/servers/{}", house.server);
    house.panel.send_as(owner, "GET", &admin, &[], "").await.error(403, "forbidden");
}

#[tokio::test]
async fn a_subuser_does_what_they_are_let_in_for_and_nothing_else() {
    let house = House::new().await;
    let (id, token) = (&house.stranger.0, house.stranger.1.as_str());
    let made = house.let_in("Stranger@Example.com", json!(["server.power", "server.power"])).await.created();
    assert_eq!((&made["user_id"], &made["permissions"]), (&json!(id), &json!(["server.power"])));
    house.let_in("stranger", json!([])).await.error(409, "already_subuser");
    house.let_in("owner", json!([])).await.error(409, "is_owner");
    house.let_in("nobody", json!([])).await.invalid(&["user"]);
    house.let_in("admin", json!(["server.everything"])).await.invalid(&["permissions[0]"]);

    assert_eq!(house.own_servers(token).await, 1);
    house.ask(token, "POST", START, json!({"signal": "start"})).await.accepted();
    let seen = house.ask(token, "GET", "", json!({})).await.ok();
    assert_eq!(seen["environment"], json!({}), "it may hold passwords");
    house.ask(token, "GET", "/console", json!({})).await.error(403, "forbidden");
    house.ask(token, "POST", "/command", json!({"command": "x"})).await.error(403, "forbidden");
    house.ask(token, "GET", "/subusers", json!({})).await.error(403, "forbidden");

    let me = format!("/subusers/{id}");
    house.ask(&house.owner.1, "PATCH", &me, json!({"permissions": ["server.console"]})).await.ok();
    house.ask(token, "POST", "/command", json!({"command": "x"})).await.no_content();
    house.ask(token, "POST", START, json!({"signal": "kill"})).await.error(403, "forbidden");
    assert_eq!(house.ask(token, "GET", &me, json!({})).await.ok()["permissions"], json!(["server.console"]));
    house.ask(token, "DELETE", &me, json!({})).await.no_content();
    house.ask(token, "GET", "", json!({})).await.error(404, "not_found");
    house.ask(&house.owner.1, "GET", &me, json!({})).await.error(404, "not_found");
    house.ask(&house.owner.1, "GET", "/subusers/x", json!({})).await.invalid(&["user_id"]);
}

#[tokio::test]
async fn a_subuser_gives_others_no_more_than_they_have_and_takes_nothing_from_the_stronger() {
    let house = House::new().await;
    let third = house.panel.user("third", None).await;
    let token = house.stranger.1.as_str();
    house.let_in("stranger", json!(["server.subusers", "server.console"])).await.created();
    let add = async |permissions: Value| {
        house.ask(token, "POST", "/subusers", json!({"user": "third", "permissions": permissions})).await
    };
    add(json!(["server.console", "server.power"])).await.invalid(&["permissions[1]"]);
    add(json!(["server.console"])).await.created();
    let path = format!("/subusers/{}", third.0);
    house.ask(&house.owner.1, "PATCH", &path, json!({"permissions": ["server.power"]})).await.ok();
    house.ask(token, "PATCH", &path, json!({"permissions": []})).await.error(403, "forbidden");
    house.ask(token, "DELETE", &path, json!({})).await.error(403, "forbidden");
    let listed = house.ask(token, "GET", "/subusers", json!({})).await;
    assert_eq!(listed.body()["meta"]["total"], 2);
    let own = format!("/subusers/{}", house.stranger.0);
    house.ask(token, "PATCH", &own, json!({"permissions": ["server.power"]})).await.invalid(&["permissions[0]"]);
}

#[tokio::test]
async fn a_key_of_an_owner_is_good_for_what_its_scopes_say() {
    let house = House::new().await;
    let (id, token) = house.panel.user("maker", Some(json!(["admin.api-keys.create"]))).await;
    let path = format!("/api/v1/admin/servers/{}", house.server);
    house.panel.patch(&path, &json!({"owner_id": id})).await.ok();
    let make = async |scopes: Value| {
        let body = json!({"name": "k", "scopes": scopes}).to_string();
        house.panel.send_as(&token, "POST", "/api/v1/admin/api-keys", &[], &body).await
    };
    let key = async |scopes: Value| make(scopes).await.created()["key"].as_str().unwrap().to_owned();
    let power = key(json!(["server.power"])).await;
    house.ask(&power, "POST", START, json!({"signal": "start"})).await.accepted();
    house.ask(&power, "GET", "/console", json!({})).await.error(403, "forbidden");
    assert_eq!(house.own_servers(&power).await, 1);
    let all = key(json!(["server.*"])).await;
    house.ask(&all, "POST", "/command", json!({"command": "x"})).await.no_content();
    let other = key(json!(["admin.api-keys.create"])).await;
    house.ask(&other, "GET", "", json!({})).await.error(404, "not_found");
    assert_eq!(house.own_servers(&other).await, 0);
    make(json!(["server.nonsense"])).await.invalid(&["scopes[0]"]);
    make(json!(["admin.servers.list"])).await.invalid(&["scopes[0]"]);
}

#[tokio::test]
async fn a_role_about_servers_leads_to_all_of_them() {
    let house = House::new().await;
    let (_, token) = house.panel.user("mod", Some(json!(["admin.servers.list", "admin.servers.power"]))).await;
    house.ask(&token, "POST", START, json!({"signal": "start"})).await.accepted();
    house.ask(&token, "GET", "/console", json!({})).await.error(403, "forbidden");
    assert_eq!(house.own_servers(&token).await, 0, "none is their own");
}

#[tokio::test]
async fn a_server_is_made_for_somebody_given_away_and_keeps_its_owner_from_being_deleted() {
    let house = House::new().await;
    let path = format!("/api/v1/admin/servers/{}", house.server);
    let user = format!("/api/v1/admin/users/{}", house.owner.0);
    house.panel.delete(&user).await.error(409, "user_owns_servers");
    let filter = format!("/api/v1/admin/servers?filter[owner_id]={}", house.owner.0);
    assert_eq!(house.panel.get(&filter).await.ok().as_array().unwrap().len(), 1);
    house.let_in("stranger", json!(["server.power"])).await.created();
    house.panel.patch(&path, &json!({"owner_id": house.stranger.0, "name": "gift"})).await.ok();
    house.ask(&house.owner.1, "GET", "", json!({})).await.error(404, "not_found");
    let list = house.ask(&house.stranger.1, "GET", "/subusers", json!({})).await;
    assert_eq!(list.body()["meta"]["total"], 0, "an owner is no subuser");
    house.panel.delete(&user).await.no_content();
    let nobody = json!({"owner_id": "0198a7b2-0000-7000-8000-00000000dead"});
    house.panel.patch(&path, &nobody).await.invalid(&["owner_id"]);
    house.panel.patch(&path, &json!({"name": ""})).await.invalid(&["name"]);
    assert_eq!(house.panel.patch(&path, &json!({"owner_id": null})).await.ok()["owner_id"], Value::Null);
    house.ask(&house.stranger.1, "GET", "", json!({})).await.error(404, "not_found");
}
