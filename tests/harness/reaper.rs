//! The watchdog that cleans up after a harness that can no longer do it.
//!
//! A panic, an `abort`, a SIGKILL or a test runner's `exit` must not leave a Postgres behind.
//! Nothing inside the process can promise that, so a small shell stands beside it in a process
//! group of its own (Ctrl-C does not reach it) and reads from a pipe what there is to clean up.
//! When the pipe closes, for whatever reason, it kills and removes what is still on its list.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// Reads `watch SIGNAL PID`, `forget PID` and `directory PATH` lines until end of file.
///
/// A process gets its signal, five seconds, and then SIGKILL. Zombies count as gone.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
watched='' directories=''
while read -r verb first second; do
    case $verb in
        watch) watched="$watched $first:$second" ;;
        forget) watched=$(for w in $watched; do [ "${w#*:}" = "$first" ] || printf ' %s' "$w"; done) ;;
        directory) directories="$directories $first" ;;
    esac
done
alive() { [ -d "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }
for w in $watched; do kill -"${w%%:*}" "${w#*:}" 2>/dev/null; done
for w in $watched; do
    tenths=0
    while alive "${w#*:}" && [ $tenths -lt 50 ]; do sleep 0.1; tenths=$((tenths + 1)); done
    alive "${w#*:}" && kill -KILL "${w#*:}" 2>/dev/null
done
for d in $directories; do
    # Servers that somebody else started on a cluster's data (the demo's buttons do).
    for f in "$d"/*/postmaster.pid; do
        [ -f "$f" ] && read -r p < "$f" && kill -QUIT "$p" 2>/dev/null && sleep 0.5
    done
    rm -rf "$d"
done
exit 0
"#;

struct Reaper {
    pipe: Option<ChildStdin>,
    shell: Child,
}

fn reaper() -> &'static Mutex<Reaper> {
    static REAPER: OnceLock<Mutex<Reaper>> = OnceLock::new();
    REAPER.get_or_init(|| {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()
            .expect("every Unix has /bin/sh");
        let pipe = shell.stdin.take();
        Mutex::new(Reaper { pipe, shell })
    })
}

fn say(line: &str) {
    let mut reaper = reaper().lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(pipe) = &mut reaper.pipe {
        // If the shell is gone there is nobody to tell; the harness still cleans up by itself.
        let _ = writeln!(pipe, "{line}");
    }
}

/// Kills the process with `signal` (a name such as `QUIT`) when this process ends.
pub fn watch(pid: u32, signal: &str) {
    say(&format!("watch {signal} {pid}"));
}

/// The process has ended and was waited for: its number may soon be somebody else's.
pub fn forget(pid: u32) {
    say(&format!("forget {pid}"));
}

/// Removes the directory when this process ends.
pub fn remove_at_end(directory: &Path) {
    say(&format!("directory {}", directory.display()));
}

/// Cleans up now and waits until everything is gone; nothing may be started afterwards.
pub fn finish() {
    let mut reaper = reaper().lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    drop(reaper.pipe.take());
    let _ = reaper.shell.wait();
}
