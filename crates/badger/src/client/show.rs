//! How answers are shown: tables and fields for people, JSON for programs.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use uuid::Uuid;

use super::api::Api;
use crate::output;

/// A panel to call, and the form in which to answer the user.
#[derive(Debug)]
pub(crate) struct Client {
    /// The panel.
    pub(crate) api: Api,
    /// Whether the user wants JSON.
    pub(crate) json: bool,
}

/// Heading of a column and the field that it shows (`a.b` for a field of a field, `a|b` for the one that there is).
pub(crate) type Column = (&'static str, &'static str);

impl Client {
    /// A client of `api`.
    pub(crate) fn new(api: Api, json: bool) -> Self {
        Self { api, json }
    }

    /// Shows a list.
    pub(crate) fn show_list(&self, items: &[Value], columns: &[Column]) {
        if self.json {
            output::json(&items);
            return;
        }
        let rows = items.iter().map(|item| columns.iter().map(|(_, path)| field(item, path)).collect());
        for line in table(columns.iter().map(|(name, _)| (*name).to_owned()).collect(), rows.collect()) {
            output::line(line);
        }
    }

    /// Shows one thing.
    pub(crate) fn show_one(&self, item: &Value, fields: &[Column]) {
        if self.json {
            output::json(item);
            return;
        }
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, path) in fields {
            output::line(format!("{name:width$}  {}", field(item, path)));
        }
    }

    /// Shows `text` to people, `item` to programs.
    pub(crate) fn show_done(&self, item: &Value, text: impl AsRef<str>) {
        if self.json {
            output::json(item);
        } else {
            output::line(text);
        }
    }

    /// The id of the thing that the user calls `name`: an id, or a name that only one thing in the list at `path` has.
    pub(crate) fn resolve(&self, path: &str, noun: &str, name: &str) -> Result<String> {
        if Uuid::parse_str(name).is_ok() {
            return Ok(name.to_owned());
        }
        let all = self.api.list(path)?;
        let same: Vec<_> = all.iter().filter(|item| item["name"] == name).collect();
        match same[..] {
            [one] => Ok(one["id"].as_str().with_context(|| format!("the panel's {noun} has no id"))?.to_owned()),
            [] => bail!("there is no {noun} named `{name}`; `badger {noun} list` shows what there is"),
            _ => bail!("several {noun}s are named `{name}`; give the id of one:{}", candidates(&same)),
        }
    }
}

/// What tells things of one name apart, one a line.
fn candidates(same: &[&Value]) -> String {
    let line = |item: &&Value| {
        let facts = ["status", "node_id|cluster_id", "author", "created_at"].map(|path| field(item, path));
        let facts: Vec<_> = facts.into_iter().filter(|fact| fact != "-").collect();
        format!("\n  {}  {}", field(item, "id"), facts.join("  ")).trim_end().to_owned()
    };
    same.iter().map(line).collect()
}

/// Names for ids, so that people can read lists: the field at a path, and the list of what it is the id of. Programs get
/// the ids, and so does whoever may not see that list; an id that is not in it any more stays an id.
pub(crate) type Named = (&'static str, &'static str);

impl Client {
    /// `items` with names in the place of ids.
    pub(crate) fn with_names(&self, mut items: Vec<Value>, named: &[Named]) -> Vec<Value> {
        if self.json || items.is_empty() {
            return items;
        }
        let mut lists: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for (path, list) in named {
            let known = lists.entry(list).or_insert_with(|| self.api.list(list).unwrap_or_default());
            for item in &mut items {
                name_for_id(item, path, known);
            }
        }
        items
    }
}

fn name_for_id(item: &mut Value, path: &str, known: &[Value]) {
    let Some(field) = item.pointer_mut(&format!("/{}", path.replace('.', "/"))) else { return };
    if let Some(name) = known.iter().find(|one| one["id"] == *field).map(|one| one["name"].clone()) {
        *field = name;
    }
}

/// The field at `path` as people read it; `a|b` is the first of both that there is.
pub(crate) fn field(item: &Value, path: &str) -> String {
    let at = |path: &str| path.split('.').fold(item, |value, name| &value[name]);
    let value = path.split('|').map(at).find(|value| !value.is_null()).unwrap_or(&Value::Null);
    match value {
        Value::Null => "-".to_owned(),
        Value::Object(map) if map.is_empty() => "-".to_owned(),
        Value::Array(list) if list.is_empty() => "-".to_owned(),
        Value::Array(list) => {
            let word = |one: &Value| one.as_str().map_or_else(|| one.to_string(), str::to_owned);
            list.iter().map(word).collect::<Vec<_>>().join("; ")
        }
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        // An allocation is what players type.
        Value::Object(map) if map.contains_key("ip_address") && map.contains_key("port") => address(value),
        other => other.to_string(),
    }
}

/// `ip:port` of an allocation, `-` if it has none.
pub(crate) fn address(allocation: &Value) -> String {
    match (allocation["ip_address"].as_str(), allocation["port"].as_u64()) {
        (Some(ip), Some(port)) if ip.contains(':') => format!("[{ip}]:{port}"),
        (Some(ip), Some(port)) => format!("{ip}:{port}"),
        _ => "-".to_owned(),
    }
}

/// Lines of a table whose columns are as wide as their widest cell.
fn table(head: Vec<String>, mut rows: Vec<Vec<String>>) -> Vec<String> {
    rows.insert(0, head);
    let columns = rows[0].len();
    let width = |c: usize| rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_is_aligned_and_has_no_trailing_space() {
        let rows = vec![vec!["größer".to_owned(), "x".to_owned()], vec!["a".to_owned(), "yy".to_owned()]];
        assert_eq!(table(vec!["A".into(), "B".into()], rows), ["A       B", "größer  x", "a       yy"]);
    }

    #[test]
    fn things_of_one_name_are_told_apart() {
        let (one, two) = (json!({"id": "1", "status": "running", "node_id": "n"}), json!({"id": "2"}));
        assert_eq!(candidates(&[&one, &two]), "\n  1  running  n\n  2");
    }

    #[test]
    fn an_id_becomes_a_name_where_the_name_is_known() {
        let nodes = [json!({"id": "1", "name": "alpha"})];
        let mut item = json!({"source": {"node_id": "1"}, "target": {"node_id": "2"}, "server_id": null});
        for path in ["source.node_id", "target.node_id", "server_id", "nowhere.at.all"] {
            name_for_id(&mut item, path, &nodes);
        }
        assert_eq!(item, json!({"source": {"node_id": "alpha"}, "target": {"node_id": "2"}, "server_id": null}));
    }

    #[test]
    fn fields_are_shown_as_people_read_them() {
        let item = json!({"a": {"b": 7}, "n": null, "t": true, "at": {"ip_address": "::1", "port": 5}, "s": "x",
            "l": ["one", "two"], "e": []});
        for (path, want) in [
            ("a.b", "7"),
            ("n", "-"),
            ("missing.too", "-"),
            ("t", "yes"),
            ("at", "[::1]:5"),
            ("s", "x"),
            ("n|s", "x"),
            ("s|a.b", "x"),
            ("n|missing", "-"),
            ("l", "one; two"),
            ("e", "-"),
        ] {
            assert_eq!(field(&item, path), want);
        }
    }
}
