//! Why a prober has lost its node, in words that say who spoke last.

use crate::auth::LoginError;
use crate::wire::{ErrorFields, sqlstate};
use std::{fmt, io};

/// Why a node is not probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// Nothing answers: no connection, or silence.
    Silent(String),
    /// A question was not answered in time.
    Late(String),
    /// The server says that it is going down, or not up yet.
    Down(String),
    /// The server answers, and turns us away.
    Refused(String),
    /// It answers, and is not what it should be.
    Unfit(String),
}

impl Loss {
    /// From what a connection to it has ended with. `with_password`: one is configured.
    pub fn of(error: &LoginError, with_password: bool) -> Self {
        match error {
            LoginError::ByServer(body) => {
                let code = ErrorFields::parse(body).sqlstate;
                // 57P01 to 57P03: shutting down, crashing, starting up.
                if code.starts_with("57P") {
                    Self::Down(error.explain())
                } else {
                    Self::Refused(error.explain())
                }
            }
            LoginError::Refused(refusal)
                if !with_password && refusal.sqlstate == sqlstate::INVALID_AUTHORIZATION =>
            {
                Self::Refused("it asks for a password, and cluster.password is not set".into())
            }
            LoginError::Refused(refusal) | LoginError::Somebody(refusal) => {
                Self::Refused(refusal.message.to_string())
            }
            LoginError::Io(io) if io.kind() == io::ErrorKind::InvalidData => Self::Unfit(io.to_string()),
            LoginError::Io(_) => Self::Silent(error.explain()),
        }
    }

    /// True when the two are the same piece of news: a server that goes down first says so, then is
    /// silent, then says that it starts.
    pub fn is_like(&self, other: &Self) -> bool {
        let is_away = |loss: &Self| matches!(loss, Self::Late(_) | Self::Silent(_) | Self::Down(_));
        self == other || (is_away(self) && is_away(other))
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(why) | Self::Silent(why) => write!(f, "does not answer: {why}"),
            Self::Down(why) => write!(f, "is down: {why}"),
            Self::Refused(why) => write!(f, "does not let pgweir in: {why}"),
            Self::Unfit(why) => write!(f, "is not used: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Refusal;
    use bytes::Bytes;

    fn by_server(code: &str) -> LoginError {
        LoginError::ByServer(Bytes::from(format!("SFATAL\0C{code}\0Mwords\0\0")))
    }

    #[test]
    fn only_where_nothing_answered_is_it_said_to_be_silent() {
        let said = |error| Loss::of(&error, true).to_string();
        assert_eq!(said(by_server("28P01")), "does not let pgweir in: words (28P01)");
        assert_eq!(said(by_server("57P01")), "is down: words (57P01)");
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(said(LoginError::Io(refused)), "does not answer: connection refused");
        let strange = std::io::Error::new(std::io::ErrorKind::InvalidData, "the server does not support TLS");
        assert_eq!(said(LoginError::Io(strange)), "is not used: the server does not support TLS");
    }

    #[test]
    fn a_password_that_is_missing_is_named() {
        let asked = || LoginError::from(Refusal::new(sqlstate::INVALID_AUTHORIZATION, "SCRAM"));
        assert!(Loss::of(&asked(), false).to_string().contains("cluster.password is not set"));
        assert!(!Loss::of(&asked(), true).to_string().contains("cluster.password"));
    }

    #[test]
    fn going_down_and_being_away_are_one_piece_of_news() {
        let silent = Loss::Silent("refused".into());
        assert!(Loss::Down("57P01".into()).is_like(&silent));
        assert!(!Loss::Refused("28P01".into()).is_like(&silent));
        assert!(!Loss::Refused("28P01".into()).is_like(&Loss::Refused("53300".into())));
    }
}
