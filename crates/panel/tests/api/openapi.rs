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
