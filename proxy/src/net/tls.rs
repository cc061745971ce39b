//! TLS with clients and with servers.
