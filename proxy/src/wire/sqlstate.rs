//! The SQLSTATEs that pgweir itself uses.
//!
//! <https://www.postgresql.org/docs/current/errcodes-appendix.html>

/// protocol_violation
pub const PROTOCOL_VIOLATION: &str = "08P01";
/// sqlserver_rejected_establishment_of_sqlconnection
pub const CONNECTION_REJECTED: &str = "08004";
/// connection_failure
pub const CONNECTION_FAILURE: &str = "08006";
/// transaction_resolution_unknown
pub const TRANSACTION_RESOLUTION_UNKNOWN: &str = "08007";
/// feature_not_supported
pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
/// invalid_parameter_value
pub const INVALID_PARAMETER_VALUE: &str = "22023";
/// idle_in_transaction_session_timeout
pub const IDLE_IN_TRANSACTION_TIMEOUT: &str = "25P03";
/// invalid_authorization_specification
pub const INVALID_AUTHORIZATION: &str = "28000";
/// invalid_password
pub const INVALID_PASSWORD: &str = "28P01";
/// serialization_failure
pub const SERIALIZATION_FAILURE: &str = "40001";
/// invalid_catalog_name
#[allow(dead_code, reason = "log-ins are about to say it")]
pub const UNKNOWN_DATABASE: &str = "3D000";
/// insufficient_privilege
pub const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// duplicate_prepared_statement
pub const DUPLICATE_STATEMENT: &str = "42P05";
/// syntax_error
pub const SYNTAX_ERROR: &str = "42601";
/// too_many_connections
pub const TOO_MANY_CONNECTIONS: &str = "53300";
/// configuration_limit_exceeded
pub const LIMIT_EXCEEDED: &str = "53400";
/// object_not_in_prerequisite_state
pub const NOT_IN_PREREQUISITE_STATE: &str = "55000";
/// query_canceled
pub const QUERY_CANCELED: &str = "57014";
/// admin_shutdown
pub const ADMIN_SHUTDOWN: &str = "57P01";
/// crash_shutdown
pub const CRASH_SHUTDOWN: &str = "57P02";
/// cannot_connect_now
pub const CANNOT_CONNECT_NOW: &str = "57P03";
/// idle_session_timeout
pub const IDLE_SESSION_TIMEOUT: &str = "57P05";
/// transaction_timeout
pub const TRANSACTION_TIMEOUT: &str = "25P04";
/// config_file_error
pub const CONFIG_FILE_ERROR: &str = "F0000";
