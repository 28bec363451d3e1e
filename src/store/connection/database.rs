//! The address of a store: a SQLite file or a PostgreSQL server.

use std::path::PathBuf;

use sea_orm::sqlx::postgres::PgConnectOptions;

use crate::store::connection::postgres_session::without_startup_parameters;
use crate::store::error::StoreError;
use crate::store::files::sqlite_file::has_content;
use crate::store::loss::high_water_marks::RememberedStore;

/// The address of a store.
#[derive(Debug, Clone)]
pub enum Database {
    /// A SQLite file on this machine.
    Sqlite {
        /// Its path; the file is created when absent.
        path: PathBuf,
    },
    /// A PostgreSQL server.
    Postgres {
        /// `postgres://…`, including its secrets.
        url: String,
    },
}

impl Database {
    /// Refuses a SQLite file that is absent or empty, for callers that must not create one.
    ///
    /// # Errors
    /// `StoreError::NoDatabase`.
    pub fn check_exists(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite { path } if !has_content(path)? => Err(StoreError::NoDatabase { path: path.clone() }),
            _ => Ok(()),
        }
    }

    /// Refuses a database that existed before and is gone now, before anything is created in its place.
    pub(in crate::store) fn check_not_gone(&self, remembered: Option<&RememberedStore>) -> Result<(), StoreError> {
        if let (Self::Sqlite { path }, Some(remembered)) = (self, remembered)
            && !has_content(path)?
        {
            return Err(remembered.refuse(format!("the database {} is absent or empty", path.display())));
        }
        Ok(())
    }
}

/// Parses a URL of PostgreSQL.
pub(in crate::store) fn postgres_options(url: &str) -> Result<PgConnectOptions, StoreError> {
    // The parser's own error would repeat the URL with its secrets.
    let options = url.parse::<PgConnectOptions>().map_err(|_| StoreError::Url)?;
    Ok(without_startup_parameters(options))
}
