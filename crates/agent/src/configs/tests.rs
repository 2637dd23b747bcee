//! Files before and after, and what must not be touched.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use model::{Allocation, AllocationId, ConfigRule};
use serde_json::json;

use super::*;
use crate::server::testing::spec;

fn rules(find: &Value) -> Vec<ConfigRule> {
    let rule = |(find, value): (&String, &Value)| match value {
        Value::Object(cases) => cases
            .iter()
            .map(|(wanted, value)| ConfigRule {
                find: find.clone(),
                if_value: Some(wanted.clone()),
                value: value.clone(),
            })
            .collect(),
        value => vec![ConfigRule { find: find.clone(), if_value: None, value: value.clone() }],
    };
    find.as_object().unwrap().iter().flat_map(rule).collect()
}

fn server(configs: Vec<ConfigFile>) -> ServerSpec {
    let mut spec = spec();
    spec.environment.insert("QUERY_PORT".to_owned(), "27016".to_owned());
    spec.environment.insert("MOTD".to_owned(), "Zürich: 1\\2".to_owned());
    spec.allocations = vec![Allocation { id: AllocationId::new(), ip_address: "10.0.0.5".to_owned(), port: 25565 }];
    spec.configs = configs;
    spec
}

fn config(path: &str, parser: &str, find: &Value) -> ConfigFile {
    ConfigFile { path: path.to_owned(), parser: parser.to_owned(), rules: rules(find) }
}

fn after(parser: &str, before: &str, find: &Value) -> String {
    let spec = server(vec![]);
    let filled: Vec<Rule> = rules(find).iter().map(|rule| fill::rule(rule, &spec, false)).collect();
    let once = changed(parser, before, &filled).unwrap();
    assert_eq!(changed(parser, &once, &filled).unwrap(), once, "again is the same");
    once
}

#[test]
fn properties_keep_everything_but_the_values_that_are_named() {
    let before = "# comment = 1\r\nserver-port=1\r\nmotd = a \\\r\n  b\r\nlevel name:w\r\nenable-query\r\n";
    let find = json!({
        "server-port": "{{server.build.default.port}}", "query.port": "{{server.build.env.QUERY_PORT}}",
        "motd": "{{env.MOTD}}", "absent": {"x": "y"}, "server-ip": "{{server.allocations.default.ip}}",
    });
    let expected = "# comment = 1\r\nserver-port=25565\r\nmotd = Z\\u00FCrich: 1\\\\2\r\nlevel name:w\r\nenable-query\r\n\
                    query.port=27016\r\nserver-ip=10.0.0.5\r\n";
    assert_eq!(after("properties", before, &find), expected);
    assert_eq!(after("properties", "", &json!({"a b": 5})), "a\\ b=5\n");
    assert_eq!(after("properties", "a=1\nb=2", &json!({"a": {"1": "9"}, "b": {"1": "9"}})), "a=9\nb=2");
}

#[test]
fn lines_are_replaced_by_how_they_begin() {
    let find = json!({"port ": "port {{server.build.default.port}}", "none": "x"});
    assert_eq!(after("file", "a\nport 1\n port 2\r\nport 3", &find), "a\nport 25565\n port 2\r\nport 25565");
    assert_eq!(after("file", "", &find), "");
}

#[test]
fn ini_keys_are_found_in_their_section_or_added_there() {
    let before = "top = 1\n; x = 2\n[a]\nPort=1\n\n[b.c]\nPort = 2 \n";
    let find = json!({"a.Port": "{{server.build.default.port}}", "[b.c].Port": 7, "a.New": true, "z.Q": "q", "top": 3});
    let expected = "top = 3\n; x = 2\n[a]\nPort=25565\nNew=true\n\n[b.c]\nPort = 7\n[z]\nQ=q\n";
    assert_eq!(after("ini", before, &find), expected);
}

#[test]
fn json_values_are_replaced_where_they_stand() {
    let before = "{ \"b\": [ {\"port\": 1, \"x\": null}, {\"port\": 2} ],\n  \"a\": {\"address\": \"10.0.0.1:1\"} }\n";
    let find = json!({"b.*.port": "{{server.build.default.port}}", "a.address": {"regex:^(10[.][0-9.]+):": "{{config.docker.interface}}:"}});
    let expected =
        "{ \"b\": [ {\"port\": 25565, \"x\": null}, {\"port\": 25565} ],\n  \"a\": {\"address\": \"127.0.0.1:1\"} }\n";
    assert_eq!(after("json", before, &find), expected);
    let made: Value = serde_json::from_str(&after("json", "", &json!({"x.y": "5", "x.z": "a"}))).unwrap();
    assert_eq!(made, json!({"x": {"y": 5, "z": "a"}}));
    assert!(changed("json", "{", &[]).unwrap_err().contains("no JSON"));
}

#[test]
fn yaml_keeps_comments_and_order() {
    let before = "# top\nlisteners:\n  query_port: 1 # here\n  host: 0.0.0.0:1\nservers:\n  lobby:\n    address: 'localhost:1'\n  two:\n    address: x:1\n";
    let find = json!({"listeners.query_port": "{{server.build.default.port}}", "servers.*.address": {"x:1": "y:2"}, "listeners.host": "0.0.0.0:{{server.build.default.port}}"});
    let expected = "# top\nlisteners:\n  query_port: 25565 # here\n  host: \"0.0.0.0:25565\"\nservers:\n  lobby:\n    address: 'localhost:1'\n  two:\n    address: \"y:2\"\n";
    assert_eq!(after("yaml", before, &find), expected);
    let list = after(
        "yml",
        "listeners:\n- host: a\n  port: 1\n",
        &json!({"listeners.0.port": "{{server.build.default.port}}"}),
    );
    let made: Value = serde_saphyr::from_str(&list).unwrap();
    assert_eq!(made, json!({"listeners": [{"host": "a", "port": 25565}]}));
    let made: Value = serde_saphyr::from_str(&after("yaml", "# nothing\n", &json!({"a.b": 1}))).unwrap();
    assert_eq!(made, json!({"a": {"b": 1}}));
}

#[test]
fn placeholders_know_where_the_game_runs() {
    let spec = server(vec![]);
    let filled = |text: &str, inside| {
        let rule = ConfigRule { find: "x".to_owned(), if_value: None, value: json!(text) };
        as_str(&fill::rule(&rule, &spec, inside).value)
    };
    assert_eq!(filled("{{server.build.default.ip}}:{{ server.build.default.port }}", true), "0.0.0.0:25565");
    assert_eq!(filled("{{config.docker.interface}}", true), "172.17.0.1");
    assert_eq!(
        filled("{{server.build.env.NONE}}{{server.unknown}}|{{config.x}}|{{X}}|{{", false),
        "|{{config.x}}|{{X}}|{{"
    );
}

fn as_str(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn files_keep_their_mode_and_are_written_only_if_they_change() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.properties");
    fs::write(&file, "server-port=1\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let find = json!({"server-port": "{{server.build.default.port}}"});
    let spec = server(vec![
        config("server.properties", "properties", &find),
        config("/sub/dir/new.json", "json", &json!({"a": 1})),
    ]);
    assert_eq!(apply(dir.path(), &spec, false, None), Vec::<String>::new());
    assert_eq!(fs::read_to_string(&file).unwrap(), "server-port=25565\n");
    let before = fs::metadata(&file).unwrap();
    assert_eq!(before.mode() & 0o777, 0o640);
    assert!(fs::read_to_string(dir.path().join("sub/dir/new.json")).unwrap().contains("\"a\": 1"));
    assert_eq!(apply(dir.path(), &spec, false, None), Vec::<String>::new());
    assert_eq!(fs::metadata(&file).unwrap().ino(), before.ino(), "nothing to write");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");

    fs::hard_link(&file, dir.path().join("other")).unwrap();
    fs::write(&file, "server-port=2\n").unwrap();
    assert_eq!(apply(dir.path(), &spec, false, None), Vec::<String>::new());
    assert_eq!(fs::read_to_string(dir.path().join("other")).unwrap(), "server-port=25565\n");
}

#[test]
fn nothing_outside_the_directory_is_reached_and_what_cannot_be_done_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "a=1\n").unwrap();
    symlink(&secret, data.join("link")).unwrap();
    symlink(dir.path(), data.join("up")).unwrap();
    fs::write(data.join("broken.json"), "{").unwrap();
    fs::write(data.join("latin"), b"a=\xff\n").unwrap();
    fs::create_dir(data.join("a-directory")).unwrap();
    let find = json!({"a": "2"});
    let paths = ["link", "up/secret", "../secret", "", "latin", "a-directory"];
    let mut configs: Vec<_> = paths.iter().map(|path| config(path, "properties", &find)).collect();
    configs.push(config("broken.json", "json", &find));
    configs.push(config("x", "toml", &find));
    configs.push(config("good", "properties", &find));
    let problems = apply(&data, &server(configs), false, None);
    assert_eq!(problems.len(), 8, "{problems:#?}");
    assert!(problems[0].contains("symbolic link") && problems[7].contains("toml"), "{problems:#?}");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "a=1\n");
    assert_eq!(fs::read_to_string(data.join("good")).unwrap(), "a=2\n");
}
