//! What can go wrong with the database, by what the caller does next.

/// An error of a query.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The row is not in the state that the change expects, or it is there already. Look again, or refuse.
    #[error("the row is not in the state that this change expects")]
    Conflict,
    /// There is no such row.
    #[error("there is no such row")]
    NotFound,
    /// The database did not answer, or not in time. Asking again may help.
    #[error("the database did not answer")]
    Unavailable(#[source] sqlx::Error),
    /// A row cannot be understood. Asking again does not help.
    #[error("column {column} holds what cannot be read: {why}")]
    Corrupt {
        /// Where.
        column: &'static str,
        /// How it fails to be read.
        why: String,
    },
    /// A text or a number that the database cannot keep (PostgreSQL has no zero byte in its texts). Send another one.
    #[error("the database cannot keep this value")]
    Unstorable(#[source] sqlx::Error),
    /// The database belongs to another panel. This one must end.
    #[error(
        "another panel, on {host}, works with this database: stop that one first, or give this one a database of its own"
    )]
    Taken {
        /// Where that panel runs.
        host: String,
    },
    /// A newer release has been here. Use that release, or restore the backup that was made before it.
    #[error("the database has schema {found}, made by a newer release; this one knows up to {known}")]
    Newer {
        /// What the database has.
        found: i64,
        /// What this release has.
        known: i64,
    },
    /// The schema could not be brought up to date.
    #[error("the schema could not be brought up to date")]
    Schema(#[source] sqlx::migrate::MigrateError),
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::RowNotFound => Self::NotFound,
            sqlx::Error::Database(database)
                if database.is_unique_violation() || database.is_foreign_key_violation() =>
            {
                Self::Conflict
            }
            // SQLSTATE class 22, data exception.
            sqlx::Error::Database(database)
                if database.code().is_some_and(|code| code.len() == 5 && code.starts_with("22")) =>
            {
                Self::Unstorable(error)
            }
            sqlx::Error::ColumnDecode { index, source } => {
                Self::Corrupt { column: "(see message)", why: format!("{index}: {source}") }
            }
            _ => Self::Unavailable(error),
        }
    }
}
