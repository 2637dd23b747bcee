//! The document that users build on is committed, so that a change of it is seen in review.

use serde_json::Value;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

#[test]
fn the_committed_document_is_current() {
    let current = format!("{}\n", panel::api::openapi::json());
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::create_dir_all(std::path::Path::new(PATH).parent().unwrap()).unwrap();
        std::fs::write(PATH, &current).unwrap();
    }
    let committed = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(committed == current, "docs/openapi.json is not current: run UPDATE_OPENAPI=1 cargo test -p panel openapi");
}

#[test]
fn every_operation_is_described_and_shows_its_errors() {
    let document: Value = serde_json::from_str(panel::api::openapi::json()).unwrap();
    let mut ids = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let what = format!("{method} {path}");
            assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 8), "{what} has no summary");
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{what}: its operationId is taken");
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert!(!response["description"].as_str().unwrap().is_empty(), "{what} {status}");
                if response["content"].get("text/plain").is_some() {
                    continue;
                }
                let schema = &response["content"]["application/json"]["schema"];
                if status.starts_with(['4', '5']) {
                    assert_eq!(schema["$ref"], "#/components/schemas/ErrorBody", "{what} {status}");
                }
            }
        }
    }
}

/// Every operation, as `get /path`.
fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    document["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, operation)| (format!("{method} {path}"), operation))
    })
}

#[test]
fn every_operation_documents_the_errors_that_it_can_have() {
    let document: Value = serde_json::from_str(panel::api::openapi::json()).unwrap();
    let mut missing = Vec::new();
    for (what, operation) in operations(&document) {
        let mut expected = vec![];
        if operation["security"].is_array() {
            expected.extend(["400", "401", "403", "429", "503"]);
            if what.contains('{') {
                expected.push("404");
            }
        }
        if operation["requestBody"].is_object() {
            expected.extend(["400", "408", "413"]);
        }
        let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        if parameters.iter().any(|parameter| parameter["name"] == "Idempotency-Key") {
            expected.extend(["409", "422"]);
        }
        let has = |status: &&str| operation["responses"].get(*status).is_some();
        missing.extend(expected.iter().filter(|status| !has(status)).map(|status| format!("{what}: {status}")));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_request_body_has_an_example_and_every_parameter_a_description() {
    let document: Value = serde_json::from_str(panel::api::openapi::json()).unwrap();
    let has_example = |at: &Value| at.get("example").is_some() || at.get("examples").is_some();
    let mut missing = Vec::new();
    for (what, operation) in operations(&document) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if parameter["description"].as_str().is_none_or(str::is_empty) {
                missing.push(format!("{what}: a description of {}", parameter["name"]));
            }
        }
        for content in operation["requestBody"]["content"].as_object().into_iter().flat_map(|content| content.values())
        {
            let schema = &content["schema"];
            let named = schema["$ref"].as_str().and_then(|name| document.pointer(&name[1..]));
            if !has_example(content) && !has_example(schema) && !named.is_some_and(has_example) {
                missing.push(format!("{what}: an example of its body"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// No part of the API: where agents meet, in a protocol of their own; the page that shows the document.
const NO_PART: [&str; 2] = ["/agents/", "/api/docs"];

#[test]
fn every_route_is_in_the_document() {
    let document: Value = serde_json::from_str(panel::api::openapi::json()).unwrap();
    let mut stack = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/api"))];
    let (mut found, mut missing) = (0, Vec::new());
    while let Some(path) = stack.pop() {
        if path.is_dir() {
            stack.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for route in text.split(".route(").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"')) {
            let route = route.split('"').next().unwrap();
            found += 1;
            let is_there = |prefix: &str| document["paths"].get(format!("{prefix}{route}")).is_some();
            if !NO_PART.iter().any(|part| route.starts_with(part)) && !is_there("/api/v1") && !is_there("") {
                missing.push(format!("{}: {route}", path.display()));
            }
        }
    }
    assert!(found > 40 && missing.is_empty(), "{found} routes, not documented: {missing:#?}");
}

#[test]
fn every_reference_leads_somewhere() {
    let document: Value = serde_json::from_str(panel::api::openapi::json()).unwrap();
    let mut stack = vec![&document];
    while let Some(value) = stack.pop() {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    assert!(document.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
                }
                stack.extend(map.values());
            }
            Value::Array(list) => stack.extend(list),
            _ => {}
        }
    }
}
