//! The console: the database `pgweir` (or `pgbouncer`), asked in psql.
