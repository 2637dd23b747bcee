//! Databases: what can be said without a host, and with the MariaDB that scripts/test-services.sh starts.

use model::agent_api::{DatabaseAnswer, Outcome, Reply, Request};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use serde_json::{Value, json};

use crate::agent::{TestAgent, answers, hello};
use crate::harness::{Panel, until};

const HOSTS: &str = "/api/v1/admin/database-hosts";

/// Host, port, user and password of the MariaDB of the tests.
fn mariadb() -> (String, u16, String, String) {
    let told = std::env::var("BADGER_TEST_MYSQL").expect("scripts/test-services.sh says where it is");
    let [host, port, user, password] = told.split(' ').collect::<Vec<_>>()[..] else { panic!("{told}") };
    (host.to_owned(), port.parse().unwrap(), user.to_owned(), password.to_owned())
}

async fn connect(database: &Value) -> Result<Conn, mysql_async::Error> {
    let text = |field: &str| database[field].as_str().unwrap().to_owned();
    let port = u16::try_from(database["port"].as_u64().unwrap()).unwrap();
    let options = OptsBuilder::default().ip_or_hostname(text("host")).tcp_port(port).prefer_socket(false);
    let options: Opts =
        options.user(Some(text("username"))).pass(Some(text("password"))).db_name(Some(text("name"))).into();
    Conn::new(options).await
}

fn code(error: &mysql_async::Error) -> u16 {
    match error {
        mysql_async::Error::Server(error) => error.code,
        other => panic!("{other}"),
    }
}

async fn new_host(panel: &Panel, body: Value) -> String {
    let made = panel.post(HOSTS, &body).await.created();
    format!("{HOSTS}/{}", made["id"].as_str().unwrap())
}

async fn real_host(panel: &Panel) -> String {
    let (host, port, username, password) = mariadb();
    let body = json!({"name": "main", "host": host, "port": port, "username": username, "password": password});
    new_host(panel, body).await
}

#[tokio::test]
async fn a_host_is_made_known_changed_and_forgotten_and_its_password_is_never_shown() {
    let panel = Panel::start().await;
    let body = json!({"name": "main", "host": "127.0.0.1", "port": 1, "username": "root", "password": "hidden-word"});
    let path = new_host(&panel, body.clone()).await;
    panel.post(HOSTS, &body).await.error(409, "database_host_exists");
    let shown = panel.get(&path).await;
    assert_eq!((shown.ok()["databases"].as_u64(), shown.ok()["max_databases"].as_u64()), (Some(0), None));
    let changed = panel.patch(&path, &json!({"max_databases": 3, "password": "hidden-word-2"})).await;
    assert_eq!(changed.ok()["max_databases"], 3);
    let tested = panel.post(&format!("{path}/test"), &json!({})).await;
    assert_eq!(tested.ok()["ok"], false);
    assert!(tested.ok()["error"].as_str().unwrap().contains("cannot be reached"), "{tested:?}");
    let audit = panel.get("/api/v1/admin/audit").await;
    let all = [shown, changed, tested, audit, panel.get(HOSTS).await];
    assert!(all.iter().all(|answer| !answer.text.contains("hidden-word")));
    let bad = json!({"name": "", "host": "a b", "port": 0, "username": "", "password": "", "node_id": null});
    panel.post(HOSTS, &bad).await.invalid(&["host", "name", "password", "port", "username"]);
    panel.delete(&path).await.no_content();
    panel.get(&path).await.error(404, "not_found");
    let (_, token) = panel.user("kim", None).await;
    panel.send_as(&token, "GET", HOSTS, &[], "").await.error(403, "forbidden");
}

#[tokio::test]
async fn a_host_that_is_down_is_said_and_nothing_is_left_of_the_attempt() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565").await;
    let server = panel.server(&node).await;
    let path = format!("/api/v1/servers/{server}/databases");
    panel.post(&path, &json!({"name": "economy"})).await.error(422, "no_database_host");
    new_host(&panel, json!({"name": "m", "host": "127.0.0.1", "port": 1, "username": "u", "password": "p"})).await;
    panel.post(&path, &json!({"name": "economy"})).await.error(503, "database_host_unreachable");
    assert_eq!(panel.get(&path).await.ok(), json!([]));
    panel.post(&path, &json!({"name": "Eco'; DROP", "remote": "x y"})).await.invalid(&["name", "remote"]);
    panel.patch(&format!("/api/v1/admin/servers/{server}"), &json!({"database_limit": 0})).await.ok();
    panel.post(&path, &json!({"name": "economy"})).await.error(422, "database_limit");
    assert_eq!(panel.get(&path).await.body()["meta"]["limit"], 0);
}

#[tokio::test]
#[ignore = "it takes the services of scripts/test-services.sh"]
async fn services_a_database_is_really_made_used_given_another_password_and_dropped() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565").await;
    let server = panel.server(&node).await;
    let host = real_host(&panel).await;
    let tested = panel.post(&format!("{host}/test"), &json!({})).await.ok();
    assert_eq!((&tested["ok"], &tested["error"]), (&json!(true), &json!(null)));
    assert!(tested["version"].as_str().unwrap().contains("MariaDB"), "{tested}");

    let path = format!("/api/v1/servers/{server}/databases");
    let made = panel.post(&path, &json!({"name": "economy_1"})).await.created();
    let one = format!("{path}/{}", made["id"].as_str().unwrap());
    let mut conn = connect(&made).await.unwrap();
    conn.query_drop("CREATE TABLE t (n INT)").await.unwrap();
    // `_` in the name is no wildcard of the grant.
    let beside = made["name"].as_str().unwrap().replace("economy_1", "economyX1");
    let (mut root, statement) = (admin().await, format!("CREATE DATABASE IF NOT EXISTS `{beside}`"));
    root.query_drop(statement).await.unwrap();
    let refused = conn.query_drop(format!("CREATE TABLE `{beside}`.t (n INT)")).await.unwrap_err();
    assert_eq!(code(&refused), 1142);
    root.query_drop(format!("DROP DATABASE `{beside}`")).await.unwrap();
    panel.delete(&host).await.error(409, "database_host_in_use");

    assert!(panel.get(&path).await.ok()[0].get("password").is_none());
    assert_eq!(panel.get(&one).await.ok()["password"], made["password"]);
    let rotated = panel.post(&format!("{one}/rotate-password"), &json!({})).await.ok();
    assert_eq!(code(&connect(&made).await.unwrap_err()), 1045);
    connect(&rotated).await.unwrap();
    // From elsewhere alone, and back.
    panel.patch(&one, &json!({"remote": "127.0.0.9"})).await.ok();
    assert_eq!(code(&connect(&rotated).await.unwrap_err()), 1045);
    panel.patch(&one, &json!({"remote": "127.0.0.%"})).await.ok();
    connect(&rotated).await.unwrap();
    panel.delete(&one).await.no_content();
    until(async || connect(&rotated).await.is_err().then_some(())).await;
    until(async || (count(&mut root, "economy_1").await == 0).then_some(())).await;
    panel.get(&one).await.error(404, "not_found");
}

#[tokio::test]
#[ignore = "it takes the services of scripts/test-services.sh"]
async fn services_the_databases_of_a_server_that_is_deleted_are_dropped() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565").await;
    let server = panel.server(&node).await;
    real_host(&panel).await;
    let made = panel.post(&format!("/api/v1/servers/{server}/databases"), &json!({"name": "gone"})).await.created();
    connect(&made).await.unwrap();
    panel.delete(&format!("/api/v1/admin/servers/{server}")).await.no_content();
    until(async || connect(&made).await.is_err().then_some(())).await;
}

async fn admin() -> Conn {
    let (host, port, user, password) = mariadb();
    let options = OptsBuilder::default().ip_or_hostname(host).tcp_port(port).user(Some(user)).pass(Some(password));
    Conn::new(options.prefer_socket(false)).await.unwrap()
}

async fn count(root: &mut Conn, end: &str) -> u64 {
    let sql =
        format!("SELECT COUNT(*) FROM information_schema.schemata WHERE RIGHT(schema_name, {}) = '{end}'", end.len());
    root.query_first(sql).await.unwrap().unwrap()
}

#[tokio::test]
#[ignore = "it takes the services of scripts/test-services.sh"]
async fn services_a_preflight_asks_the_target_and_says_what_to_grant() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565").await;
    let (target, there) = panel.node("t", "25565").await;
    let server = panel.server(&node).await;
    let host = real_host(&panel).await;
    panel.patch(&host, &json!({"node_id": node})).await.ok();
    let path = format!("/api/v1/servers/{server}/databases");
    let made = panel.post(&path, &json!({"name": "economy", "remote": "127.0.0.1"})).await.created();
    let seen_as = Some("10.0.0.6".to_owned());
    let answer = DatabaseAnswer::Refused { code: 1130, message: "Host '10.0.0.6' is not allowed".to_owned(), seen_as };
    let script = answers([
        ("database", Some(Outcome::Ok(Reply::DatabaseChecked { answer }))),
        ("check", Some(Outcome::Ok(Reply::Checked { checks: Vec::new() }))),
    ]);
    let there = TestAgent::back(panel.address, there.node, &hello(None), script).await;
    let preflight = format!("/api/v1/admin/servers/{server}/transfer/preflight");
    let found = panel.post(&preflight, &json!({"target_node_id": target})).await.ok();
    let checks = found[0]["checks"].as_array().unwrap();
    let of =
        |code: &str| checks.iter().find(|check| check["code"] == code).unwrap_or_else(|| panic!("{code}: {found}"));
    let refused = of("database_refused");
    assert_eq!(refused["level"], "warning");
    let user = format!("'{}'@'10.0.0.6'", made["username"].as_str().unwrap());
    assert!(refused["remedy"].as_str().unwrap().contains(&user), "{refused}");
    assert_eq!(of("database_on_source")["level"], "warning");
    let asked = there.until_asked(|request| match request {
        Request::CheckDatabase { password, database, .. } => Some((password.0.clone(), database.clone())),
        _ => None,
    });
    let expected = (made["password"].as_str().unwrap().to_owned(), made["name"].as_str().unwrap().to_owned());
    assert_eq!(asked.await, expected);
}
