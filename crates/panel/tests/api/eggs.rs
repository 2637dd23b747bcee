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
