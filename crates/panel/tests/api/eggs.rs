//! Eggs go in, are understood, and come out as they went in.

use serde_json::{Value, json};

use crate::harness::Panel;

pub(crate) fn document() -> Value {
    json!({
        "meta": {"version": "PTDL_v2"}, "name": "Test game", "author": "eggs@example.org",
        "startup": "./run --port {{SERVER_PORT}} --mode {{MODE}}",
        "docker_images": {"Debian": "example.org/debian:12"},
        "config": {"files": "{}", "logs": "{}", "startup": "{\"done\": \"ready\"}", "stop": "quit"},
        "scripts": {"installation": {"script": "echo hello", "container": "example.org/debian:12", "entrypoint": "sh"}},
        "variables": [
            {"name": "Mode", "description": "", "env_variable": "MODE", "default_value": "easy",
             "user_viewable": true, "user_editable": true, "rules": "required|in:easy,hard", "field_type": "text"},
            {"name": "Token", "description": "", "env_variable": "TOKEN", "default_value": "",
             "user_viewable": false, "user_editable": false, "rules": "required|string", "field_type": "text"},
        ],
    })
}

#[tokio::test]
async fn an_egg_comes_out_byte_for_byte_as_it_went_in() {
    let panel = Panel::start().await;
    let text = format!(
        "  {}\n\n",
        serde_json::to_string_pretty(&document()).unwrap().replace("\"name\"", "\"zz\": 1.50,\n \"name\"")
    );
    let egg = panel.send("POST", "/api/v1/admin/eggs/import", &[], &text).await.created();
    assert_eq!(egg["variables"][0]["rules"], "required|in:easy,hard");
    assert_eq!(egg["docker_images"], json!({"Debian": "example.org/debian:12"}));
    assert_eq!((&egg["stop"], &egg["done"]), (&json!({"command": "quit"}), &json!(["ready"])));
    let id = egg["id"].as_str().unwrap();
    let export = panel.get(&format!("/api/v1/admin/eggs/{id}/export")).await;
    assert_eq!(export.text, text);
    assert_eq!(export.headers["content-disposition"], "attachment; filename=\"egg-Test-game.json\"");
    assert_eq!(panel.get("/api/v1/admin/eggs").await.body()["meta"]["total"], 1);
    panel.delete(&format!("/api/v1/admin/eggs/{id}")).await.no_content();
    panel.get(&format!("/api/v1/admin/eggs/{id}")).await.error(404, "not_found");
}

const PELICAN: &str = "meta:
  version: PLCN_v3
name: Block game
author: eggs@example.org
uuid: 5da37ef6-58da-4169-90a6-e683e1721247
docker_images:
  New: example.org/new
  Old: example.org/old
startup_commands:
  Default: ./run {{MODE}}
config:
  files:
    server.properties:
      parser: properties
      find:
        server-port: '{{server.allocations.default.port}}'
  startup:
    done: regex:^up
  stop: ^C
variables:
  - env_variable: MODE
    default_value: easy
    rules: [required, 'in:easy,hard']
";

#[tokio::test]
async fn pelicans_yaml_goes_in_and_comes_out_as_it_was_or_as_pterodactyls_json() {
    let panel = Panel::start().await;
    let import = async |text: &str| panel.send("POST", "/api/v1/admin/eggs/import", &[], text).await;
    let egg = import(PELICAN).await.created();
    assert_eq!((&egg["version"], &egg["default_image"]), (&json!("PLCN_v3"), &json!("example.org/new")));
    assert_eq!((&egg["config_files"], &egg["done"]), (&json!(["server.properties"]), &json!(["regex:^up"])));
    let path = format!("/api/v1/admin/eggs/{}/export", egg["id"].as_str().unwrap());
    let out = panel.get(&path).await;
    assert_eq!((out.text.as_str(), out.headers["content-type"].as_str()), (PELICAN, "application/yaml"));
    let json = panel.get(&format!("{path}?format=json")).await;
    assert_eq!(json.body()["meta"]["version"], "PTDL_v2");
    assert_eq!(json.body()["variables"][0]["rules"], "required|in:easy,hard");
    assert_eq!(import(&json.text).await.created()["default_image"], "example.org/new");
    panel.get(&format!("{path}?format=xml")).await.invalid(&["format"]);
    import("name: [").await.invalid(&["egg"]);
}

#[tokio::test]
async fn an_egg_that_says_who_it_is_takes_its_own_place_and_its_servers_hear_of_it() {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "25565").await;
    let import = async |text: &str| panel.send("POST", "/api/v1/admin/eggs/import", &[], text).await.created();
    let egg = import(PELICAN).await;
    let mut body = crate::harness::new_server(egg["id"].as_str().unwrap(), &node);
    body["environment"] = json!({"MODE": "hard"});
    let server = panel.post("/api/v1/admin/servers", &body).await.created()["id"].as_str().unwrap().to_owned();
    panel.until_status(&server, "offline").await;
    let again = import(&PELICAN.replace("regex:^up", "ready").replace("easy,hard", "easy,hard,odd")).await;
    assert_eq!((&again["id"], &again["done"]), (&egg["id"], &json!(["ready"])));
    assert_ne!(again["updated_at"], Value::Null);
    assert_eq!(panel.get("/api/v1/admin/eggs").await.body()["meta"]["total"], 1);
    panel.post(&format!("/api/v1/servers/{server}/power"), &json!({"signal": "start"})).await.accepted();
    let told = agent.asked().into_iter().find_map(|asked| match asked {
        model::agent_api::Request::ConfigureServer { spec } => Some(spec),
        _ => None,
    });
    let told = told.unwrap();
    assert_eq!((&told.done, &told.environment["MODE"]), (&vec!["ready".to_owned()], &"hard".to_owned()));
    assert_eq!(told.configs[0].path, "server.properties");
}

#[tokio::test]
async fn what_is_no_egg_is_refused_by_field() {
    let panel = Panel::start().await;
    let import = async |change: fn(&mut Value)| {
        let mut egg = document();
        change(&mut egg);
        panel.post("/api/v1/admin/eggs/import", &egg).await
    };
    import(|egg| egg["meta"]["version"] = "PTDL_v9".into()).await.invalid(&["meta.version"]);
    import(|egg| egg["name"] = 5.into()).await.invalid(&["name"]);
    import(|egg| egg["startup"] = "".into()).await.invalid(&["startup"]);
    import(|egg| egg["variables"][1]["env_variable"] = 7.into()).await.invalid(&["variables[1].env_variable"]);
}

#[tokio::test]
async fn the_eggs_that_we_ship_are_eggs() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/eggs");
    let mut seen = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let egg = panel::egg::Egg::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(egg.warnings, Vec::<String>::new(), "{}", path.display());
        seen += 1;
    }
    assert!(seen > 0);
}
