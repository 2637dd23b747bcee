//! Pages of a list: which slice a caller wants, and what it gets.

use serde::Serialize;

/// Which slice of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// From 1.
    pub page: u32,
    /// 1 to 100.
    pub per_page: u32,
}

impl Default for Paging {
    fn default() -> Self {
        Self { page: 1, per_page: 25 }
    }
}

impl Paging {
    /// For `LIMIT`.
    #[must_use]
    pub fn limit(self) -> i64 {
        i64::from(self.per_page)
    }

    /// For `OFFSET`.
    #[must_use]
    pub fn offset(self) -> i64 {
        i64::from(self.page.saturating_sub(1)) * i64::from(self.per_page)
    }
}

/// A slice of a list, and how long the list is.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    /// The slice.
    pub items: Vec<T>,
    /// Entries in the whole list.
    pub total: u64,
}

impl<T> Page<T> {
    /// The same slice of something else.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(f).collect(), total: self.total }
    }
}

/// For `ORDER BY`: nulls are less than everything else. (Left to itself, PostgreSQL has them greater.)
#[must_use]
pub fn direction(descending: bool) -> &'static str {
    if descending { "DESC NULLS LAST" } else { "ASC NULLS FIRST" }
}
