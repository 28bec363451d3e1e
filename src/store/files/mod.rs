//! Files: those of a SQLite database, its backups, and small files beside it.

pub mod backup;
pub mod disk_space;
pub mod json_file;
pub mod opened_files;
pub mod sqlite_file;
