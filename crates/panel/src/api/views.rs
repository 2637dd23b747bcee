//! The envelope of answers and what many of them share, as the OpenAPI document shows it.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

/// A success with one object, or with a list that has no pages.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code, reason = "a shape for the document; `Answer` makes the real thing")]
pub(super) struct One<T> {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// The resource.
    data: T,
}

/// A success with one page of a list.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code, reason = "a shape for the document; `Answer` makes the real thing")]
pub(super) struct Many<T> {
    /// Always true.
    #[schema(example = true)]
    success: bool,
    /// The slice.
    data: Vec<T>,
    /// Which slice of how many.
    meta: Meta,
}

/// Which slice of a list a page is.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code, reason = "a shape for the document; `Answer` makes the real thing")]
pub(super) struct Meta {
    /// From 1.
    #[schema(example = 1)]
    current_page: u32,
    /// 1 to 100.
    #[schema(example = 25)]
    per_page: u32,
    /// Entries in the whole list.
    #[schema(example = 42)]
    total: u64,
    /// At least 1.
    #[schema(example = 2)]
    total_pages: u64,
}

/// Any answer that is not a success.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code, reason = "a shape for the document; `ApiError` makes the real thing")]
pub(super) struct ErrorBody {
    /// Always false.
    #[schema(example = false)]
    success: bool,
    /// What happened.
    error: ErrorInfo,
}

/// What happened and what to do.
#[derive(Debug, Serialize, ToSchema)]
#[allow(dead_code, reason = "a shape for the document; `ApiError` makes the real thing")]
pub(super) struct ErrorInfo {
    /// A stable word.
    #[schema(example = "validation_error")]
    code: String,
    /// For people: what happened and what to do.
    #[schema(example = "The request is not valid. See details for each field.")]
    message: String,
    /// More, by code. For `validation_error`: a list of problems for each field.
    #[schema(value_type = Object, example = json!({"name": ["is required"]}))]
    details: BTreeMap<String, serde_json::Value>,
}
