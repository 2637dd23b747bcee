//! Small checks of fields that several requests share. Each gives the problems that it finds, as field and sentence.

use serde::Deserialize;
use utoipa::ToSchema;

use super::ApiError;

/// Field and what is wrong with it.
pub(super) type Problem = (String, String);

/// A body without fields.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
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

/// A size that sums of sizes can hold: at most 2^40.
pub(super) fn size(field: &str, value: u64) -> Vec<Problem> {
    if value <= 1 << 40 { Vec::new() } else { vec![(field.to_owned(), "is too large".to_owned())] }
}
