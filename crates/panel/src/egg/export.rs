//! Eggs on their way out: as they came, or as Pterodactyl's JSON.
//!
//! What has no counterpart in `PTDL_v2` is left out there, and is in the document itself: all command lines but the first
//! (`startup_commands`), `tags`, the picture (`image`), the order of variables (`sort`). Rules that are a list become one text
//! with `|` between them where none of them has one in it, and stay a list otherwise, which importers take as well.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::Egg;
use super::document::is_json;

/// How an egg is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Pterodactyl's (`PTDL_v2`), or the JSON that it was imported as.
    Json,
    /// Pelican's.
    Yaml,
}

/// The document in that format; none if there is no way to it: what was JSON is not made YAML.
#[must_use]
pub fn export(document: &str, format: Format) -> Option<String> {
    match (format, is_json(document)) {
        (Format::Json, true) | (Format::Yaml, false) => Some(document.to_owned()),
        (Format::Yaml, true) => None,
        (Format::Json, false) => converted(document),
    }
}

fn converted(document: &str) -> Option<String> {
    let mut egg: Map<String, Value> = serde_saphyr::from_str(document).ok()?;
    let read = Egg::parse(document).ok()?;
    for unknown in ["startup_commands", "tags", "image", "docker_images"] {
        egg.remove(unknown);
    }
    egg.insert("startup".to_owned(), Value::String(read.startup));
    let update_url = egg.get("meta").and_then(|meta| meta.get("update_url")).cloned().unwrap_or(Value::Null);
    egg.insert("meta".to_owned(), json!({"version": "PTDL_v2", "update_url": update_url}));
    if let Some(Value::Object(config)) = egg.get_mut("config") {
        for part in ["files", "startup", "logs"] {
            if let Some(value) = config.get_mut(part).filter(|value| !value.is_string()) {
                *value = Value::String(value.to_string());
            }
        }
    }
    for list in ["file_denylist", "features"] {
        if egg.get(list).is_some_and(|value| value.as_object().is_some_and(Map::is_empty)) {
            egg.insert(list.to_owned(), json!([]));
        }
    }
    for variable in egg.get_mut("variables").and_then(Value::as_array_mut).into_iter().flatten() {
        plain(variable);
    }
    serde_json::to_string_pretty(&Written { rest: egg, docker_images: InOrder(read.images) }).ok()
}

/// A document whose images keep their order: the first is the default.
#[derive(Serialize)]
struct Written {
    #[serde(flatten)]
    rest: Map<String, Value>,
    docker_images: InOrder,
}

struct InOrder(Vec<(String, String)>);

impl Serialize for InOrder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(label, image)| (label, image)))
    }
}

fn plain(variable: &mut Value) {
    let Some(variable) = variable.as_object_mut() else { return };
    variable.remove("sort");
    variable.entry("field_type").or_insert_with(|| json!("text"));
    let rules = variable.get("rules").and_then(Value::as_array);
    let texts: Option<Vec<&str>> = rules.map(|rules| rules.iter().filter_map(Value::as_str).collect());
    if let Some(texts) = texts.filter(|texts| texts.iter().all(|rule| !rule.contains('|'))) {
        let joined = texts.join("|");
        variable.insert("rules".to_owned(), Value::String(joined));
    }
}
