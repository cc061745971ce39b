//! SQL without ceremony: connections and one-shot queries for tests.

use crate::error::{Doing, HarnessError};
use crate::runtime;
use std::time::Duration;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// The rows of one answer, as text; `None` is NULL.
pub type Rows = Vec<Vec<Option<String>>>;

/// Everything that a client needs to know to log in.
#[derive(Clone, Debug)]
pub struct Login {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Role name.
    pub user: String,
    /// Its password.
    pub password: String,
    /// Database name.
    pub database: String,
}

impl Login {
    /// A login on this machine.
    pub fn local(port: u16, user: &str, password: &str, database: &str) -> Self {
        Login {
            host: "127.0.0.1".into(),
            port,
            user: user.into(),
            password: password.into(),
            database: database.into(),
        }
    }

    /// The same for another database.
    pub fn database(&self, database: &str) -> Self {
        Login { database: database.into(), ..self.clone() }
    }

    /// The same as another user.
    pub fn user(&self, user: &str, password: &str) -> Self {
        Login { user: user.into(), password: password.into(), ..self.clone() }
    }

    /// As tokio-postgres wants it; connecting may take ten seconds.
    pub fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .user(&self.user)
            .password(&self.password)
            .dbname(&self.database)
            .connect_timeout(Duration::from_secs(10));
        config
    }

    /// As libpq's URI, password included.
    pub fn uri(&self) -> String {
        format!("postgresql://{}:{}@{}:{}/{}", self.user, self.password, self.host, self.port, self.database)
    }

    /// As the environment that libpq and its children read.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("PGHOST", self.host.clone()),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", self.user.clone()),
            ("PGPASSWORD", self.password.clone()),
            ("PGDATABASE", self.database.clone()),
        ]
    }

    /// Logs in; the connection is driven on the harness's runtime.
    pub async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let config = self.config();
        let joined = runtime::handle().spawn(async move {
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(connection);
            Ok(client)
        });
        joined.await.expect("connecting does not panic")
    }

    /// Logs in, runs `sql` by the simple protocol, and returns the rows of its last statement.
    pub fn sql(&self, sql: &str) -> Result<Rows, HarnessError> {
        let (login, text) = (self.clone(), sql.to_owned());
        let messages = runtime::block_on(async move {
            let client = login.connect().await?;
            client.simple_query(&text).await
        });
        Ok(rows(&messages.doing(|| format!("running {sql:?} on port {}", self.port))?))
    }

    /// The first cell of [`Login::sql`]; an empty text if there is none.
    pub fn value(&self, sql: &str) -> Result<String, HarnessError> {
        let rows = self.sql(sql)?;
        Ok(rows.into_iter().flatten().flatten().next().unwrap_or_default())
    }
}

/// The rows of the last statement that returned any, as text.
pub fn rows(messages: &[SimpleQueryMessage]) -> Rows {
    let mut rows = Rows::new();
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(_) => rows.clear(),
            SimpleQueryMessage::Row(row) => {
                rows.push((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect());
            }
            _ => {}
        }
    }
    rows
}
