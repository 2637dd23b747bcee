//! Variables, command line, image and limits of a server: who sees and changes what, and that its agent hears of it.

use model::agent_api::{AgentError, ErrorCode, Outcome, Request};
use serde_json::{Value, json};

use crate::agent::{TestAgent, answers, hello};
use crate::harness::{Panel, Response};

struct House {
    panel: Panel,
    node: String,
    agent: TestAgent,
    server: String,
    owner: String,
}

async fn house() -> House {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "25565-25570").await;
    let server = panel.server(&node).await;
    let (id, owner) = panel.user("owner", None).await;
    panel.patch(&format!("/api/v1/admin/servers/{server}"), &json!({"owner_id": id})).await.ok();
    House { panel, node, agent, server, owner }
}

impl House {
    async fn ask(&self, token: &str, method: &str, body: &Value) -> Response {
        let path = format!("/api/v1/servers/{}/startup", self.server);
        self.panel.send_as(token, method, &path, &[], &body.to_string()).await
    }

    async fn start(&self) -> Response {
        let path = format!("/api/v1/servers/{}/power", self.server);
        self.panel.post(&path, &json!({"signal": "start"})).await
    }
}

#[tokio::test]
async fn an_owner_sees_and_changes_what_the_egg_lets_them() {
    let house = house().await;
    let owner = house.owner.as_str();
    let seen = house.ask(owner, "GET", &json!({})).await.ok();
    assert_eq!(seen["command"], "./run --port 25565 --mode easy");
    let names: Vec<_> = seen["variables"].as_array().unwrap().iter().map(|it| it["env_variable"].clone()).collect();
    assert_eq!(names, ["MODE"], "the token is not for users");
    let change = async |body: Value| house.ask(owner, "PATCH", &body).await;
    let changed = change(json!({"environment": {"MODE": "hard"}})).await.ok();
    assert_eq!((&changed["variables"][0]["value"], &changed["is_told"]), (&json!("hard"), &json!(true)));
    assert_eq!(changed["command"], "./run --port 25565 --mode hard");
    let told = house.agent.until_asked(|asked| match asked {
        Request::ConfigureServer { spec } => Some(spec.environment["MODE"].clone()),
        _ => None,
    });
    assert_eq!(told.await, "hard");

    change(json!({"environment": {"MODE": "odd"}})).await.invalid(&["environment.MODE"]);
    change(json!({"environment": {"TOKEN": "x"}})).await.invalid(&["environment.TOKEN"]);
    change(json!({"environment": {"SERVER_PORT": "1"}})).await.invalid(&["environment.SERVER_PORT"]);
    change(json!({"startup": "sh"})).await.error(403, "forbidden");
    change(json!({"docker_image": "example.org/other"})).await.error(403, "forbidden");
    change(json!({"docker_image": "example.org/debian:12"})).await.ok();
    assert_eq!(change(json!({"environment": {"MODE": null}})).await.ok()["variables"][0]["value"], "easy");
    let audit = house.panel.get("/api/v1/admin/audit?filter[action]=server.startup").await;
    assert!(audit.text.contains("MODE") && !audit.text.contains("hard"), "values may be passwords: {}", audit.text);
}

#[tokio::test]
async fn an_administrator_changes_all_of_it() {
    let house = house().await;
    let key = house.panel.key.clone();
    let body =
        json!({"environment": {"TOKEN": "new"}, "startup": "./run {{TOKEN}} {{SERVER_MEMORY}}", "docker_image": "x/y"});
    let changed = house.ask(&key, "PATCH", &body).await.ok();
    assert_eq!((&changed["command"], &changed["docker_image"]), (&json!("./run new 512"), &json!("x/y")));
    let seen = house.ask(&house.owner, "GET", &json!({})).await.ok();
    assert_eq!(seen["command"], "./run [hidden] 512");
    house.ask(&key, "PATCH", &json!({"startup": " "})).await.invalid(&["startup"]);
    house.ask(&key, "PATCH", &json!({"environment": {"TOKEN": ""}})).await.invalid(&["environment.TOKEN"]);
}

#[tokio::test]
async fn a_change_that_an_agent_missed_is_told_before_the_next_start() {
    let mut house = house().await;
    let agent_id = house.agent.node;
    house.agent.cut().await;
    house.panel.until_node(&house.node, "offline").await;
    let key = house.panel.key.clone();
    let path = format!("/api/v1/servers/{}/startup", house.server);
    let change = json!({"environment": {"MODE": "hard"}}).to_string();
    let changed = house.panel.send_as(&key, "PATCH", &path, &[], &change).await.ok();
    assert_eq!(changed["is_told"], false);

    // One that will not hear it is not started as what the server is no longer.
    let refuse = Some(Outcome::Err(AgentError::new(ErrorCode::NoSpace, "the disk is full")));
    let deaf = TestAgent::back(house.panel.address, agent_id, &hello(None), answers([("configure", refuse)])).await;
    let start = json!({"signal": "start"});
    let power = format!("/api/v1/servers/{}/power", house.server);
    house.panel.post(&power, &start).await.error(422, "insufficient_disk");
    assert!(!deaf.asked().iter().any(|asked| matches!(asked, Request::StartServer { .. })));
    deaf.cut().await;

    // An older one is started all the same.
    let refuse = Some(Outcome::Err(AgentError::new(ErrorCode::Unsupported, "unknown")));
    house.panel.until_node(&house.node, "offline").await;
    let old = TestAgent::back(house.panel.address, agent_id, &hello(None), answers([("configure", refuse)])).await;
    house.panel.post(&power, &start).await.accepted();
    old.cut().await;

    house.panel.until_node(&house.node, "offline").await;
    house.agent = TestAgent::back(house.panel.address, agent_id, &hello(None), answers([])).await;
    house.start().await.accepted();
    house.start().await.accepted();
    let asked: Vec<_> = house.agent.asked().iter().map(crate::agent::name).collect();
    assert_eq!(asked, ["configure", "start", "start"], "it is told once");
    assert_eq!(house.ask(&key, "GET", &json!({})).await.ok()["is_told"], true);
}

#[tokio::test]
async fn limits_change_within_what_the_node_has() {
    let house = house().await;
    let path = format!("/api/v1/admin/servers/{}", house.server);
    let change = async |body: Value| house.panel.patch(&path, &body).await;
    let changed = change(json!({"memory_limit": 4096, "cpu_limit": 0})).await.ok();
    assert_eq!(
        (&changed["memory_limit"], &changed["cpu_limit"], &changed["disk_limit"]),
        (&json!(4096), &json!(0), &json!(1000))
    );
    let told = house.agent.until_asked(|asked| match asked {
        Request::ConfigureServer { spec } => Some((spec.limits.memory_mb, spec.environment["SERVER_MEMORY"].clone())),
        _ => None,
    });
    assert_eq!(told.await, (4096, "4096".to_owned()));
    let details = change(json!({"memory_limit": 4097})).await.error(422, "insufficient_resources");
    assert_eq!(details, json!({"memory_mb": {"needed": 4097, "available": 4096}}));
    change(json!({"disk_limit": (1_u64 << 40) + 1})).await.invalid(&["disk_limit"]);
    change(json!({"memory_limit": 1})).await.ok();
    assert_eq!(change(json!({})).await.ok()["memory_limit"], 1);
}
