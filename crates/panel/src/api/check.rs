//! Small checks of fields that several requests share. Each gives the problems that it finds, as field and sentence.

use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::ApiError;
use crate::db::nodes::NodeKind;

/// Field and what is wrong with it.
pub(super) type Problem = (String, String);

/// A body without fields.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({}))]
pub(super) struct Nothing {}

/// Passes if there are no problems.
pub(super) fn none(problems: Vec<Problem>) -> Result<(), ApiError> {
    if problems.is_empty() { Ok(()) } else { Err(ApiError::invalid_fields(problems)) }
}

/// A name for people: 1 to 191 characters, no control characters.
pub(super) fn name(field: &str, value: &str) -> Vec<Problem> {
    let length = value.chars().count();
    if value.trim().is_empty() {
        return vec![(field.to_owned(), "is required".to_owned())];
    }
    if length > 191 {
        return vec![(field.to_owned(), "must have at most 191 characters".to_owned())];
    }
    if value.chars().any(char::is_control) {
        return vec![(field.to_owned(), "must not have control characters".to_owned())];
    }
    Vec::new()
}

/// A user's name: what everybody can type, and never an e-mail address.
pub(super) fn username(field: &str, value: &str) -> Vec<Problem> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let fits = (1..=64).contains(&value.len()) && value.bytes().all(known);
    if fits && value.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return Vec::new();
    }
    let problem = "must be 1 to 64 letters (a to z), digits, dots, hyphens or underscores, a letter or digit first";
    vec![(field.to_owned(), problem.to_owned())]
}

/// An e-mail address, as far as one can tell without sending to it.
pub(super) fn email(field: &str, value: &str) -> Vec<Problem> {
    let plain = value.len() <= 254 && !value.chars().any(|c| c.is_whitespace() || c.is_control());
    match value.split_once('@') {
        Some((name, host)) if plain && !name.is_empty() && !host.is_empty() && !host.contains('@') => Vec::new(),
        _ => vec![(field.to_owned(), "must be an e-mail address".to_owned())],
    }
}

/// A field that may be absent, null or a value; with `#[serde(default)]`.
#[derive(Clone, Debug, Default)]
pub(super) enum Given<T> {
    /// It is not there: what it is about stays.
    #[default]
    Absent,
    /// What it is about is taken away.
    Null,
    /// What it becomes.
    Value(T),
}

impl<T> Given<T> {
    /// The value, if there is one.
    pub(super) fn value(&self) -> Option<&T> {
        if let Self::Value(value) = self { Some(value) } else { None }
    }

    /// What it becomes, if it was given.
    #[allow(clippy::option_option, reason = "not given, taken away, given: as the callee takes it")]
    pub(super) fn given(self) -> Option<Option<T>> {
        match self {
            Self::Absent => None,
            Self::Null => Some(None),
            Self::Value(value) => Some(Some(value)),
        }
    }

    /// What becomes of `before`.
    pub(super) fn or(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Absent => before,
            Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(from)?.map_or(Self::Null, Self::Value))
    }
}

/// What is wrong with `text` as a permission or a pattern of them; none if it is one.
pub(super) fn permission(text: &str) -> Option<&'static str> {
    let words = text.strip_suffix(".*").unwrap_or(text);
    let letter = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'_');
    let word = |word: &str| !word.is_empty() && word.bytes().all(letter);
    let known = text == "*" || (text.len() <= 191 && words.split('.').all(word));
    (!known).then_some("is no permission; write admin.servers.transfer, admin.servers.* or *")
}

/// An address for people: an IP address or a host name.
pub(super) fn address(field: &str, value: &str) -> Vec<Problem> {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let name = (1..=253).contains(&value.len()) && value.bytes().all(of_name);
    if name || value.parse::<std::net::IpAddr>().is_ok() {
        return Vec::new();
    }
    vec![(field.to_owned(), "must be an IP address or a host name".to_owned())]
}

/// Exactly one of two ids, for what is a node or a cluster.
pub(super) fn one_of<T: Copy>(
    (node_field, node): (&str, Option<T>),
    (cluster_field, cluster): (&str, Option<T>),
) -> Result<(NodeKind, T), ApiError> {
    match (node, cluster) {
        (Some(id), None) => Ok((NodeKind::Node, id)),
        (None, Some(id)) => Ok((NodeKind::Cluster, id)),
        (None, None) => Err(ApiError::invalid(node_field, format!("is required, or {cluster_field}"))),
        (Some(_), Some(_)) => Err(ApiError::invalid(cluster_field, format!("must not be given beside {node_field}"))),
    }
}

/// The unit of CPU limits on clusters: 1000 is one core. Limits are kept in percent of a core, so ten of it are the least.
pub(super) fn millicores(field: &str, value: u64) -> Vec<Problem> {
    let mut problems = size(field, value);
    if !value.is_multiple_of(MILLICORES_PER_PERCENT) {
        problems.push((field.to_owned(), "must be a multiple of 10 (millicores; 1000 is one core)".to_owned()));
    }
    problems
}

/// 100 % of a core are 1000 millicores.
pub(super) const MILLICORES_PER_PERCENT: u64 = 10;

/// A size that sums of sizes can hold: at most 2^40.
pub(super) fn size(field: &str, value: u64) -> Vec<Problem> {
    if value <= 1 << 40 { Vec::new() } else { vec![(field.to_owned(), "is too large".to_owned())] }
}
