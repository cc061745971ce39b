//! The certificate that pgweir makes for itself where none is configured, as databases of clouds show one.
//!
//! It proves nothing of who we are, and so it helps against those who listen, and not against those who stand in
//! between. With its key it is one file in the directory of our own, so that restarts and the process that takes
//! over show the same one.

use super::shown::shown;
use crate::config::own_directory;
use rcgen::{CertificateParams, DnType, KeyPair};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes it at `path`, unless a good one is there. Processes that do so at once end up with the same.
///
/// # Errors
/// When it cannot be written where nobody else can read it.
pub(super) fn keep(path: &Path) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    own_directory::enter(directory)?;
    if shown(path, path).is_ok() {
        return Ok(());
    }
    let text = make(&names()).map_err(io::Error::other)?;
    let draft = directory.join(format!("{:016x}.draft", rand::random::<u64>()));
    let put = put(&draft, &text, path);
    // It has its name by now, or will never have it.
    let _ = std::fs::remove_file(&draft);
    put?;
    tracing::info!(
        path = %path.display(),
        "no certificate is configured (listen.tls): a self-signed one was made, which clients cannot verify"
    );
    Ok(())
}

fn put(draft: &Path, text: &str, path: &Path) -> io::Result<()> {
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)?
        .write_all(text.as_bytes())?;
    match std::fs::hard_link(draft, path) {
        // Another process was first, or it is one that is of no use.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match shown(path, path) {
            Ok(_) => Ok(()),
            Err(_) => std::fs::rename(draft, path),
        },
        linked => linked,
    }
}

/// Certificate and key, in PEM.
fn make(names: &[String]) -> Result<String, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name.push(DnType::CommonName, "pgweir");
    Ok(format!("{}{}", parameters.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// Ours: for clients that are given the certificate to trust it.
fn names() -> Vec<String> {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine = Some(machine.trim().to_owned()).filter(|name| !name.is_empty() && name.is_ascii());
    machine.into_iter().chain(["localhost".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn it_is_made_once_for_its_owner_alone_and_anew_when_it_is_torn() {
        let directory = std::env::temp_dir().join(format!("pgweir-made-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let path = directory.join("tls.pem");
        let read = || std::fs::read_to_string(&path).unwrap();
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| keep(&path).unwrap()))));
        let first = read();
        keep(&path).unwrap();
        assert_eq!(read(), first);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        std::fs::write(&path, &first[..first.len() / 2]).unwrap();
        keep(&path).unwrap();
        assert!(read() != first && shown(&path, &path).is_ok());
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "drafts stay");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn it_is_not_made_where_others_could_take_it() {
        use std::os::unix::fs::PermissionsExt;
        let directory = std::env::temp_dir().join(format!("pgweir-open-made-{}", std::process::id()));
        let _ = std::fs::create_dir(&directory);
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)).unwrap();
        assert!(keep(&directory.join("tls.pem")).is_err());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
