//! Documents as they are found, and documents that are none.
#![allow(clippy::unwrap_used)]

use super::*;

const V1: &str = r#"{
  "_comment": "DO NOT EDIT", "meta": {"version": "PTDL_v1"}, "exported_at": "2020-01-01T00:00:00+00:00",
  "name": "Vanilla", "author": "a@example.org", "description": "A game", "image": "example.org/java:8",
  "startup": "java -Xmx{{SERVER_MEMORY}}M -jar {{SERVER_JARFILE}}",
  "config": {"files": "{\"server.properties\": {}}", "logs": "{}", "stop": "stop",
             "startup": "{\"done\": \")! For help, type \", \"userInteraction\": []}"},
  "scripts": {"installation": {"script": "echo a\r\necho b", "container": "alpine", "entrypoint": "ash"}},
  "variables": [{"name": "Jar", "description": "", "env_variable": "SERVER_JARFILE", "default_value": "server.jar",
    "user_viewable": 1, "user_editable": "0", "rules": "required|regex:/^([\\w\\d._-]+)(\\.jar)$/"}]
}"#;

fn v2(change: impl FnOnce(&mut Value)) -> Result<Egg, EggError> {
    let mut egg = serde_json::json!({
        "meta": {"version": "PTDL_v2", "update_url": null}, "name": "N", "author": "a", "startup": "./run",
        "docker_images": {"Zulu": "example.org/z", "Alpha": "example.org/a"}, "features": null, "file_denylist": [],
        "config": {"files": "{}", "startup": {"done": ["up", "ready"]}, "logs": "{}", "stop": "^C"},
        "scripts": {"installation": {"script": "", "container": "x", "entrypoint": "bash"}},
        "variables": [],
    });
    change(&mut egg);
    read(&egg.to_string())
}

#[test]
fn version_1_is_read() {
    let egg = read(V1).unwrap();
    assert_eq!((egg.name.as_str(), egg.author.as_str()), ("Vanilla", "a@example.org"));
    assert_eq!(egg.default_image(), "example.org/java:8");
    assert_eq!(egg.stop, StopHow::Command("stop".to_owned()));
    assert_eq!(egg.done, [")! For help, type "]);
    assert_eq!(egg.install.unwrap().script, "echo a\necho b");
    let jar = &egg.variables[0];
    assert!(jar.user_viewable && !jar.user_editable);
    assert_eq!(jar.default_value, "server.jar");
    assert!(jar.rules.check("other.jar").is_ok() && jar.rules.check("other.sh").is_err());
    assert_eq!(egg.warnings, Vec::<String>::new());
}

#[test]
fn version_2_is_read_and_its_first_image_is_the_default() {
    let text = r#"{"meta": {"version": "PTDL_v2"}, "name": "N", "author": "a", "startup": "./run",
        "docker_images": {"Zulu": "example.org/z", "Alpha": "example.org/a"}}"#;
    assert_eq!(read(text).unwrap().default_image(), "example.org/z");
    let egg = v2(|_| ()).unwrap();
    assert_eq!(egg.done, ["up", "ready"]);
    assert_eq!(egg.stop, StopHow::Signal("SIGINT".to_owned()));
    assert!(egg.install.is_none());
}

#[test]
fn stops_are_lines_or_signals() {
    for (word, how, warned) in [
        ("^SIGTERM", StopHow::Signal("SIGTERM".to_owned()), false),
        ("^^C", StopHow::Signal("SIGINT".to_owned()), false),
        ("^SIGQUIT", StopHow::Signal("SIGQUIT".to_owned()), false),
        ("^SIGKILL", StopHow::Signal("SIGTERM".to_owned()), true),
        ("", StopHow::Signal("SIGTERM".to_owned()), false),
        ("save-all; quit", StopHow::Command("save-all; quit".to_owned()), false),
    ] {
        let mut warnings = Vec::new();
        assert_eq!(stop(word, &mut warnings), how);
        assert_eq!(!warnings.is_empty(), warned, "{word}");
    }
}

#[test]
fn what_is_not_done_is_said() {
    let egg = v2(|egg| {
        egg["config"]["startup"] = serde_json::json!({"done": ["regex:^ready$", "regex:("]});
        egg["config"]["files"] = serde_json::json!({"a.xml": {"parser": "xml", "find": {"a.b": "c"}}});
        egg["variables"] = serde_json::json!([
            {"env_variable": "SERVER_PORT", "default_value": 5, "rules": "required"},
            {"env_variable": "X", "default_value": true, "rules": ["string", "active_url"]},
        ]);
    })
    .unwrap();
    assert_eq!(egg.done, ["regex:^ready$"]);
    assert!(egg.configs.is_empty());
    assert_eq!(egg.variables[1].default_value, "1");
    assert_eq!(egg.warnings.len(), 4, "{:?}", egg.warnings);
}

#[test]
fn what_is_no_egg_is_refused_by_field() {
    let field = |change: fn(&mut Value)| v2(change).unwrap_err().field;
    assert_eq!(field(|egg| egg["meta"]["version"] = "PLCN_v9".into()), "meta.version");
    assert_eq!(field(|egg| egg["name"] = "".into()), "name");
    assert_eq!(field(|egg| egg["startup"] = Value::Null), "startup");
    assert_eq!(field(|egg| egg["docker_images"] = serde_json::json!({})), "docker_images");
    assert_eq!(field(|egg| egg["config"]["startup"] = "{".into()), "config.startup");
    assert_eq!(field(|egg| egg["variables"] = serde_json::json!([{"env_variable": "A B"}])), "variables.env_variable");
    assert_eq!(read("[]").unwrap_err().field, "egg");
    assert_eq!(read("just: [words").unwrap_err().field, "egg");
    assert_eq!(read("{").unwrap_err().field, "egg");
}

/// Shaped as Pelican's panel exports one.
const PELICAN: &str = r"_comment: 'DO NOT EDIT'
meta:
  version: PLCN_v3
  update_url: null
exported_at: '2026-01-01T00:00:00+00:00'
name: 'Block game'
author: eggs@example.org
uuid: 5da37ef6-58da-4169-90a6-e683e1721247
description: |
  Two
  lines
image: 'data:image/png;base64,AAAA'
tags:
  - blocks
features:
  - eula
docker_images:
  'Java 21': 'example.org/java:21'
  'Java 17': 'example.org/java:17'
file_denylist: {  }
startup_commands:
  Default: 'java -Xmx{{SERVER_MEMORY}}M -jar {{SERVER_JARFILE}}'
  Slow: 'java -jar {{SERVER_JARFILE}}'
config:
  files:
    server.properties:
      parser: properties
      find:
        server-port: '{{server.allocations.default.port}}'
        max-players: 20
        motd:
          old: new
  startup:
    done: ')! For help, type '
  logs: {  }
  stop: stop
scripts:
  installation:
    script: |-
      #!/bin/ash
      echo hello
    container: 'example.org/alpine:3'
    entrypoint: ash
variables:
  -
    name: 'Jar file'
    description: 'What is run.'
    env_variable: SERVER_JARFILE
    default_value: server.jar
    user_viewable: true
    user_editable: false
    rules:
      - required
      - 'regex:/^[a-z|]+\.jar$/'
    sort: 1
";

#[test]
fn pelicans_yaml_is_read() {
    let egg = read(PELICAN).unwrap();
    assert_eq!((egg.name.as_str(), egg.version.as_str()), ("Block game", "PLCN_v3"));
    assert_eq!(egg.uuid.as_deref(), Some("5da37ef6-58da-4169-90a6-e683e1721247"));
    assert_eq!(egg.startup, "java -Xmx{{SERVER_MEMORY}}M -jar {{SERVER_JARFILE}}");
    let images = ["example.org/java:21", "example.org/java:17"];
    assert_eq!(egg.images.iter().map(|(_, image)| image.as_str()).collect::<Vec<_>>(), images, "no picture among them");
    assert_eq!(egg.done, [")! For help, type "]);
    assert_eq!(egg.install.unwrap().script, "#!/bin/ash\necho hello");
    let jar = &egg.variables[0];
    assert!(jar.user_viewable && !jar.user_editable);
    assert!(jar.rules.check("a|b.jar").is_ok() && jar.rules.check("A.jar").is_err());
    let file = &egg.configs[0];
    assert_eq!((file.path.as_str(), file.parser.as_str(), file.rules.len()), ("server.properties", "properties", 3));
    let motd = file.rules.iter().find(|rule| rule.find == "motd").unwrap();
    assert_eq!((motd.if_value.as_deref(), &motd.value), (Some("old"), &serde_json::json!("new")));
    assert_eq!(egg.warnings, Vec::<String>::new());
}

#[test]
fn configuration_files_are_the_same_as_json_and_as_a_text_of_it() {
    let files =
        serde_json::json!({"a.yml": {"parser": "yaml", "find": {"servers.*.address": {"regex:^a": "b"}, "x": true}}});
    let plain = v2(|egg| egg["config"]["files"] = files.clone()).unwrap();
    let text = v2(|egg| egg["config"]["files"] = files.to_string().into()).unwrap();
    assert_eq!(plain.configs, text.configs);
    assert_eq!(plain.configs[0].rules.len(), 2);
    assert_eq!(v2(|egg| egg["config"]["files"] = "{".into()).unwrap_err().field, "config.files");
}

#[test]
fn what_is_exported_is_read_as_the_same_egg() {
    use crate::egg::{Format, export};
    let as_read = |text: &str| {
        let egg = read(text).unwrap();
        let variables =
            egg.variables.iter().map(|it| (it.env_variable.clone(), it.default_value.clone(), it.rules.text()));
        let variables: Vec<_> = variables.collect();
        (egg.name, egg.startup, egg.images, egg.stop, egg.done, egg.configs, egg.install, variables)
    };
    let v2 = serde_json::json!({
        "meta": {"version": "PTDL_v2"}, "name": "N", "author": "a", "startup": "./run", "features": ["x"],
        "docker_images": {"Zulu": "example.org/z"}, "config": {"files": "{}", "startup": {"done": ["up", "regex:^r"]}, "stop": "^C"},
    });
    for document in [PELICAN, V1, &v2.to_string()] {
        let json = export(document, Format::Json).unwrap();
        assert_eq!(as_read(&json), as_read(document));
        assert_eq!(export(&json, Format::Json).unwrap(), json, "and that is exported as it is");
    }
    assert_eq!(export(PELICAN, Format::Yaml).as_deref(), Some(PELICAN));
    assert_eq!(export(V1, Format::Yaml), None);
}
