//! The user that Postgres runs as.
//!
//! Postgres refuses to run as root, so a harness started by root runs it as `postgres`, or as
//! `nobody` where there is no such user. An ordinary user runs it as itself.

use crate::error::{Doing, HarnessError};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Whom server processes run as; `None` inside means: as we are.
#[derive(Clone, Copy, Debug)]
pub struct Identity(Option<(u32, u32, &'static str)>);

impl Identity {
    /// Looks at who we are and, for root, into `/etc/passwd`.
    pub fn find() -> Result<Self, HarnessError> {
        let me = std::fs::metadata("/proc/self").doing(|| "reading /proc/self".into())?.uid();
        if me != 0 {
            return Ok(Identity(None));
        }
        let passwd = std::fs::read_to_string("/etc/passwd").doing(|| "reading /etc/passwd".into())?;
        let found = ["postgres", "nobody"].into_iter().find_map(|name| {
            let (uid, gid) = ids_of(&passwd, name)?;
            Some((uid, gid, name))
        });
        Ok(Identity(Some(found.unwrap_or((65534, 65534, "nobody")))))
    }

    /// The user's name, if it is another than ours.
    pub fn name(&self) -> Option<&'static str> {
        self.0.map(|(_, _, name)| name)
    }

    /// Makes the command run as this user, from a directory that every user may enter.
    pub fn apply(&self, command: &mut Command) {
        if let Some((uid, gid, _)) = self.0 {
            command.uid(uid).gid(gid);
        }
        command.current_dir("/");
    }

    /// Gives a file or directory to this user.
    pub fn own(&self, path: &Path) -> Result<(), HarnessError> {
        match self.0 {
            Some((uid, gid, _)) => {
                chown(path, Some(uid), Some(gid)).doing(|| format!("giving {} to user {uid}", path.display()))
            }
            None => Ok(()),
        }
    }
}

fn ids_of(passwd: &str, name: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}
