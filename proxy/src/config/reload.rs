//! Two configurations compared, and the file watched.

use super::Config;
use super::keys::Live;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// One key that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// As in the reference: `pool.lease_wait`, `rule "reports"`.
    pub key: String,
    /// Before; `None`: it was not there.
    pub from: Option<String>,
    /// After; `None`: it is not there any more.
    pub to: Option<String>,
    /// When it takes effect.
    pub live: Live,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "unset".into());
        write!(f, "{}: {} → {}", self.key, word(&self.from), word(&self.to))?;
        if self.live == Live::Restart {
            f.write_str(" (has no effect until pgweir is started again)")?;
        }
        Ok(())
    }
}

/// What differs, in the order of the reference. Secrets are compared and not shown.
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = vec![];
    for now in &new.entries {
        let before = old.entries.iter().find(|e| e.key == now.key);
        if before.is_none_or(|before| !before.same(now)) {
            changes.push(Change {
                key: now.key.clone(),
                from: before.and_then(|b| b.value.clone()),
                to: now.value.clone(),
                live: now.live,
            });
        }
    }
    for before in &old.entries {
        if !new.entries.iter().any(|e| e.key == before.key) {
            let (key, from) = (before.key.clone(), before.value.clone());
            changes.push(Change { key, from, to: None, live: before.live });
        }
    }
    changes
}

/// Writers write in several steps: the file is read when it has been quiet for so long.
const QUIET: Duration = Duration::from_millis(200);
/// And after so long in any case.
const QUIET_WAIT: Duration = Duration::from_secs(1);

/// Calls `changed` after the file at `path` may have changed: written, renamed over, or reached through a
/// symbolic link that now points elsewhere. Ends when `changed` says no more.
///
/// The directories are watched, not the file: what is renamed over it is another file. A ConfigMap's
/// file is a link to `..data/pgweir.toml`, and `..data` a link that is replaced: so the directories of
/// every link on the way are watched too.
pub async fn watch(path: PathBuf, mut changed: impl FnMut() -> bool + Send) {
    let (news, mut happened) = unbounded_channel();
    let mut last = fingerprint(&path);
    let mut _watching = start(&path, &news);
    loop {
        match happened.recv().await {
            Some(()) => {}
            None => return,
        }
        // Others may write in the same directory all the time.
        let settle =
            async { while tokio::time::timeout(QUIET, happened.recv()).await.is_ok_and(|e| e.is_some()) {} };
        let _ = tokio::time::timeout(QUIET_WAIT, settle).await;
        let now = fingerprint(&path);
        if now != last {
            last = now;
            // Links may lead through other directories now.
            _watching = start(&path, &news);
            if !changed() {
                break;
            }
        }
    }
}

fn start(path: &Path, news: &UnboundedSender<()>) -> Option<RecommendedWatcher> {
    let news = news.clone();
    let tell = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|e| e.kind.is_access()) {
            return;
        }
        // Nobody listens any more when the watch has ended.
        let _ = news.send(());
    };
    let mut watcher = match notify::recommended_watcher(tell) {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(%error, "the configuration file cannot be watched; SIGHUP still reloads");
            return None;
        }
    };
    for directory in directories(path) {
        if let Err(error) = watcher.watch(&directory, RecursiveMode::NonRecursive) {
            tracing::warn!(%error, directory = %directory.display(), "a directory cannot be watched");
        }
    }
    Some(watcher)
}

/// Links followed from a path: what the kernel allows.
const LINKS_MAX: usize = 40;

/// The directories in which something would change if another file came to be at `path`.
fn directories(path: &Path) -> Vec<PathBuf> {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut found = vec![parent(path)];
    let mut at = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(target) = std::fs::read_link(&at) else { break };
        at = parent(&at).join(target);
        found.push(parent(&at));
        // `..data/pgweir.toml`: the link `..data` lives one directory up.
        if parent(&at).is_symlink() {
            found.push(parent(&parent(&at)));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// What tells one content from another: the file behind all links, its size and time.
fn fingerprint(path: &Path) -> Option<(u64, u64, i64, i64)> {
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::metadata(path).ok()?;
    Some((file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{Form, KEYS};
    use std::os::unix::fs::symlink;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn changed(old: &str, new: &str) -> Vec<String> {
        let parse = |text: &str| Config::parse(&format!("cluster.nodes = [\"a\"]\n{text}"), "f").unwrap().0;
        changes(&parse(old), &parse(new)).iter().map(Change::to_string).collect()
    }

    #[test]
    fn what_changed_is_said_key_by_key() {
        assert_eq!(changed("", ""), Vec::<String>::new());
        assert_eq!(changed("", "pool.lease_wait = \"10s\""), Vec::<String>::new(), "the default, written");
        assert_eq!(changed("", "pool.lease_wait = \"5s\""), ["pool.lease_wait: \"10s\" → \"5s\""]);
        assert_eq!(changed("cluster.zone = \"a\"", ""), ["cluster.zone: \"a\" → unset"]);
        assert_eq!(
            changed("", "runtime.threads = 3"),
            ["runtime.threads: unset → 3 (has no effect until pgweir is started again)"]
        );
    }

    #[test]
    fn rules_and_users_are_told_apart_by_name_and_rules_by_place() {
        let rule = |name: &str| format!("[[rule]]\nname = \"{name}\"\nlog = true\n");
        assert_eq!(changed("", &rule("a")), ["rule \"a\": unset → { log = true, name = \"a\" }"]);
        assert_eq!(changed(&(rule("a") + &rule("b")), &(rule("b") + &rule("a"))).len(), 2);
        assert_eq!(changed("[[user]]\nname = \"u\"", ""), ["user \"u\": { name = \"u\" } → unset"]);
    }

    #[test]
    fn a_changed_secret_is_noticed_and_not_shown() {
        let user = |password: &str| format!("[[user]]\nname = \"u\"\npassword = \"{password}\"");
        let said = changed(&user("one"), &user("two"));
        assert_eq!(
            said,
            ["user \"u\": { name = \"u\", password = \"…\" } → { name = \"u\", password = \"…\" }"]
        );
        assert_eq!(
            changed("cluster.password = \"one\"", "cluster.password = \"two\""),
            ["cluster.password: \"…\" → \"…\""]
        );
    }

    #[test]
    fn every_key_of_a_secret_is_noticed_and_not_shown() {
        for key in KEYS.iter().filter(|key| key.form == Form::Secret && !key.path.contains("[]")) {
            let set = |secret: &str| {
                let user =
                    if key.path == "cluster.patroni.password" { "cluster.patroni.user = 'u'" } else { "" };
                format!("{user}\n{} = \"{secret} that is long enough\"", key.path)
            };
            assert_eq!(changed(&set("one"), &set("two")), [format!("{}: \"…\" → \"…\"", key.path)]);
            let file = std::env::temp_dir().join(format!("pgweir-{}-{}", key.path, std::process::id()));
            let from_file = |secret: &str| {
                std::fs::write(&file, format!("{secret} that is long enough")).unwrap();
                let keys = set("").lines().next().unwrap_or_default().to_owned();
                let text = format!("cluster.nodes = [\"a\"]\n{keys}\n{}_file = {file:?}", key.path);
                Config::parse(&text, "f").unwrap().0
            };
            assert_eq!(changes(&from_file("one"), &from_file("two")).len(), 1, "{}", key.path);
            std::fs::remove_file(&file).unwrap();
        }
    }

    /// A directory of its own, gone at the end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pgweir-watch-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    async fn counting(path: PathBuf) -> Arc<AtomicUsize> {
        let count = Arc::new(AtomicUsize::new(0));
        let seen = count.clone();
        tokio::spawn(watch(path, move || {
            seen.fetch_add(1, Ordering::SeqCst);
            true
        }));
        tokio::time::sleep(Duration::from_millis(100)).await;
        count
    }

    async fn becomes(count: &AtomicUsize, n: usize) {
        for _ in 0..100 {
            if count.load(Ordering::SeqCst) == n {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} changes seen, expected {n}", count.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn a_file_written_in_place_or_renamed_over_is_noticed() {
        let directory = Directory::new("rename");
        let path = directory.0.join("pgweir.toml");
        std::fs::write(&path, "a").unwrap();
        let count = counting(path.clone()).await;
        std::fs::write(&path, "bb").unwrap();
        becomes(&count, 1).await;
        std::fs::write(directory.0.join("new"), "ccc").unwrap();
        std::fs::rename(directory.0.join("new"), &path).unwrap();
        becomes(&count, 2).await;
        std::fs::write(directory.0.join("other"), "x").unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        becomes(&count, 2).await;
    }

    #[tokio::test]
    async fn a_busy_directory_does_not_hide_a_change() {
        let directory = Directory::new("busy");
        let path = directory.0.join("pgweir.toml");
        std::fs::write(&path, "a").unwrap();
        let count = counting(path.clone()).await;
        let log = directory.0.join("pgweir.log");
        let writer = tokio::spawn(async move {
            for i in 0.. {
                std::fs::write(&log, i.to_string()).unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        std::fs::write(&path, "bb").unwrap();
        becomes(&count, 1).await;
        writer.abort();
    }

    #[tokio::test]
    async fn a_swapped_symbolic_link_is_noticed_as_kubernetes_swaps_it() {
        let directory = Directory::new("link");
        for (version, text) in [("..v1", "a"), ("..v2", "bb"), ("..v3", "ccc")] {
            std::fs::create_dir(directory.0.join(version)).unwrap();
            std::fs::write(directory.0.join(version).join("pgweir.toml"), text).unwrap();
        }
        symlink("..v1", directory.0.join("..data")).unwrap();
        symlink("..data/pgweir.toml", directory.0.join("pgweir.toml")).unwrap();
        let count = counting(directory.0.join("pgweir.toml")).await;
        for (i, version) in ["..v2", "..v3"].iter().enumerate() {
            symlink(version, directory.0.join("..tmp")).unwrap();
            std::fs::rename(directory.0.join("..tmp"), directory.0.join("..data")).unwrap();
            becomes(&count, i + 1).await;
        }
    }
}
