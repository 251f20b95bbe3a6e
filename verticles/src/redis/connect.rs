//! How Redis is reached.

use std::time::Duration;

use ::redis::io::tcp::TcpSettings;
use ::redis::{Client, ConnectionAddr, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo, RedisError};
use adtrack_config::RedisConfig;

/// Written bytes that are not acknowledged for so long end the connection, whoever waits on it.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(5);

/// Redis is not configured, or not so that a connection can be tried.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// `redis.host` is empty.
    #[error("redis.host is empty: there is no Redis to connect to")]
    NoHost,
    /// The driver does not take it.
    #[error("the redis settings cannot be used")]
    Settings(#[source] RedisError),
}

/// A client that has not connected yet.
pub(super) fn client(config: &RedisConfig, protocol: ProtocolVersion) -> Result<Client, ClientError> {
    let host = config.host.clone().ok_or(ClientError::NoHost)?;
    // Without the library's name, which is a command more that an ACL may forbid.
    let mut login =
        RedisConnectionInfo::default().set_db(config.database.into()).set_protocol(protocol).set_skip_set_lib_name();
    if let Some(username) = &config.username {
        login = login.set_username(username);
    }
    if let Some(password) = &config.password {
        login = login.set_password(password.expose());
    }
    // The driver leaves Nagle's algorithm on unless told otherwise.
    let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(TCP_USER_TIMEOUT);
    let info = ConnectionAddr::Tcp(host, config.port).into_connection_info().map_err(ClientError::Settings)?;
    let info = info.set_tcp_settings(tcp).set_redis_settings(login);
    Client::open(info).map_err(ClientError::Settings)
}

/// The server for a person: never a secret.
pub(super) fn name(config: &RedisConfig) -> String {
    format!("{}:{}", config.host.as_deref().unwrap_or("-"), config.port)
}
