//! Addresses of servers on clusters that somebody else has a say in: ports that are taken there already, and what load
//! balancers give out.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::agent_api::{AgentError, ClusterFacts, ErrorCode, Hello, Notice, Outcome, Request, TransferAction};
use model::{Resources, ServerSpec};
use serde_json::{Value, json};

use crate::agent::{Script, TestAgent, dial, done};
use crate::clusters::{
    ALLOCATIONS, SERVERS, allocations, cluster, new_cluster, node, on_cluster, orchestrator, server,
};
use crate::harness::{Panel, new_server, until};
use crate::transfers::well;

fn wanted(request: &Request) -> Option<u16> {
    let port = |spec: &ServerSpec| spec.allocations[0].port;
    match request {
        Request::CreateServer { spec, .. }
        | Request::Transfer { action: TransferAction::PrepareTarget { spec, .. }, .. } => Some(port(spec)),
        _ => None,
    }
}

/// A cluster in which somebody else has these ports. All else goes well.
fn taken(ports: &'static [u16]) -> Script {
    Arc::new(move |request| match request {
        request if wanted(request).is_some_and(|port| ports.contains(&port)) => {
            Some(Outcome::Err(AgentError::new(ErrorCode::PortTaken, "provided port is already allocated")))
        }
        Request::Transfer { action, .. } => Some(Outcome::Ok(well(action))),
        _ => done(),
    })
}

fn tried(agent: &TestAgent) -> Vec<u16> {
    agent.asked().iter().filter_map(wanted).collect()
}

#[tokio::test]
async fn a_new_server_gets_the_next_port_that_nobody_in_the_cluster_has() {
    let panel = Panel::start().await;
    let (eu, agent) = cluster(&panel, "eu", taken(&[30000, 30001])).await;
    let id = server(&panel, &on_cluster(&panel.egg().await, &eu)).await;
    assert_eq!(tried(&agent), [30000, 30001, 30002]);
    assert_eq!(allocations(&panel, &eu).await, [30002]);
    let shown = panel.get(&format!("{SERVERS}/{id}")).await.ok();
    assert_eq!(shown["allocation"]["port"], 30002);
}

#[tokio::test]
async fn a_cluster_without_a_free_port_is_said_to_have_none() {
    let panel = Panel::start().await;
    let (eu, agent) = cluster(&panel, "eu", taken(&[30000, 30001, 30002, 30003, 30004])).await;
    let made = panel.post(SERVERS, &on_cluster(&panel.egg().await, &eu)).await.created();
    panel.until_status(made["id"].as_str().unwrap(), "install_failed").await;
    assert_eq!(tried(&agent), [30000, 30001, 30002, 30003, 30004], "each once");
}

#[tokio::test]
async fn a_port_that_a_person_chose_is_not_exchanged() {
    let panel = Panel::start().await;
    let (eu, agent) = cluster(&panel, "eu", taken(&[30003])).await;
    let made = panel.post(ALLOCATIONS, &json!({"cluster_id": eu, "ports": ["30003"]})).await.created();
    let mut body = on_cluster(&panel.egg().await, &eu);
    body["allocation_id"] = made[0]["id"].clone();
    let made = panel.post(SERVERS, &body).await.created();
    panel.until_status(made["id"].as_str().unwrap(), "install_failed").await;
    assert_eq!(tried(&agent), [30003]);
    assert_eq!(allocations(&panel, &eu).await, [30003]);
}

#[tokio::test]
async fn a_transfer_takes_the_next_port_too_and_shows_it() {
    let panel = Panel::start().await;
    let source: Script = Arc::new(|request| match request {
        Request::Transfer { action, .. } => Some(Outcome::Ok(well(action))),
        _ => done(),
    });
    let (from, _source) = node(&panel, "n", "30002", source).await;
    let (eu, target) = cluster(&panel, "eu", taken(&[30002])).await;
    let id = server(&panel, &new_server(&panel.egg().await, &from)).await;
    let path = format!("{SERVERS}/{id}/transfer");
    let started = panel.post(&path, &json!({"target_cluster_id": eu})).await.accepted();
    assert_eq!(started["target"]["allocation"]["port"], 30002);
    let end = until(async || {
        let seen = panel.get(&path).await.ok();
        seen["finished_at"].is_string().then_some(seen)
    })
    .await;
    assert_eq!(end["state"], "completed", "{end}");
    assert_eq!(tried(&target), [30002, 30003]);
    assert_eq!(end["target"]["allocation"], json!({"ip_address": "203.0.113.7", "port": 30003}));
    assert_eq!(allocations(&panel, &eu).await, [30003]);
    assert_eq!(panel.get(&format!("{SERVERS}/{id}")).await.ok()["allocation"]["port"], 30003);
}

fn heartbeat(addresses: &[(&str, &str)]) -> Notice {
    let given = addresses.iter().map(|(server, address)| (server.parse().unwrap(), (*address).to_owned()));
    let player_addresses: BTreeMap<_, _> = given.collect();
    Notice::Heartbeat { resources: Resources::default(), servers: Vec::new(), player_addresses }
}

/// A cluster that has load balancers.
async fn balanced(panel: &Panel) -> (String, TestAgent) {
    let (id, token) = new_cluster(panel, "balanced").await;
    let facts = ClusterFacts { node_ports: None, ..orchestrator().cluster.unwrap() };
    let socket = dial(panel.address, &token).await.unwrap();
    let hello = Hello { cluster: Some(facts), ..orchestrator() };
    (id, TestAgent::start(socket, &hello, Arc::new(|_| done())).await)
}

async fn until_address(panel: &Panel, server: &str, address: &str) -> Value {
    until(async || {
        let shown = panel.get(&format!("{SERVERS}/{server}")).await.ok();
        (shown["allocation"]["ip_address"] == address).then_some(shown)
    })
    .await
}

#[tokio::test]
async fn a_server_gets_the_address_that_a_load_balancer_gives_out_after_its_creation() {
    let panel = Panel::start().await;
    let (lb, agent) = balanced(&panel).await;
    let egg = panel.egg().await;
    let [first, second] = [server(&panel, &on_cluster(&egg, &lb)).await, server(&panel, &on_cluster(&egg, &lb)).await];
    agent.say(heartbeat(&[(&first, "192.0.2.7")]));
    let before = until_address(&panel, &first, "192.0.2.7").await;
    let shown = panel.get(&format!("{SERVERS}/{second}")).await.ok();
    assert_ne!(shown["allocation"]["ip_address"], "192.0.2.7", "each has its own");
    agent.say(heartbeat(&[(&first, "lb.example"), (&second, "192.0.2.8")]));
    let after = until_address(&panel, &first, "lb.example").await;
    assert_eq!(after["allocation"]["port"], before["allocation"]["port"]);
    until_address(&panel, &second, "192.0.2.8").await;
}

#[tokio::test]
async fn nobody_gives_out_addresses_for_servers_of_others() {
    let panel = Panel::start().await;
    let (lb, agent) = balanced(&panel).await;
    let (eu, other) = cluster(&panel, "other", Arc::new(|_| done())).await;
    let egg = panel.egg().await;
    let [id, others] = [server(&panel, &on_cluster(&egg, &lb)).await, server(&panel, &on_cluster(&egg, &eu)).await];
    agent.say(heartbeat(&[(&id, "192.0.2.7")]));
    until_address(&panel, &id, "192.0.2.7").await;
    other.say(heartbeat(&[(&id, "203.0.113.66"), (&others, "203.0.113.67")]));
    until_address(&panel, &others, "203.0.113.67").await;
    assert_eq!(panel.get(&format!("{SERVERS}/{id}")).await.ok()["allocation"]["ip_address"], "192.0.2.7");
}
