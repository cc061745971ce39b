//! The watchdog that cleans up after a harness that can no longer do it.
//!
//! A panic, an `abort`, a SIGKILL or a test runner's `exit` must not leave a Postgres behind.
//! Nothing inside the process can promise that, so a small shell stands beside it in a process
//! group of its own (Ctrl-C does not reach it) and reads from a pipe what there is to clean up.
//! When the pipe closes, for whatever reason, it kills and removes what is still on its list.

use std::io::{Error, Result, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};

/// Reads `watch SIGNAL PID`, `forget PID` and `directory PATH` lines until end of file.
///
/// A process gets its signal, five seconds, and then SIGKILL. Zombies count as gone. A negative
/// number is a process group, of which nobody is left.
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
wait_for() {
    tenths=0
    while alive "$1" && [ $tenths -lt 50 ]; do sleep 0.1; tenths=$((tenths + 1)); done
}
for w in $watched; do kill -"${w%%:*}" "${w#*:}" 2>/dev/null; done
for w in $watched; do
    p=${w#*:}
    wait_for "${p#-}"
    case $p in
        -*) kill -KILL "$p" 2>/dev/null ;;
        *) alive "$p" && kill -KILL "$p" 2>/dev/null ;;
    esac
done
for d in $directories; do
    # Servers that somebody else started on a cluster's data (the demo's buttons do).
    for f in "$d"/*/postmaster.pid; do
        [ -f "$f" ] && read -r p < "$f" && kill -QUIT "$p" 2>/dev/null && wait_for "$p"
    done
    # Somebody who has just lost a connection may still be writing his last file.
    for turn in 1 2 3 4 5 6 7 8 9 10; do
        rm -rf "$d" 2>/dev/null
        [ -e "$d" ] || break
        sleep 0.2
    done
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

fn locked() -> MutexGuard<'static, Reaper> {
    reaper().lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Reaper {
    fn say(&mut self, line: &str) {
        if let Some(pipe) = &mut self.pipe {
            // If the shell is gone there is nobody to tell; the harness still cleans up by itself.
            let _ = writeln!(pipe, "{line}");
        }
    }
}

/// Whom the signal reaches.
#[derive(Clone, Copy, Debug)]
pub enum Reach {
    /// The process, which takes its children down by itself, as Postgres does.
    Process,
    /// The process with all that it has started.
    Group,
}

impl Reach {
    fn target(self, pid: u32) -> String {
        match self {
            Reach::Process => pid.to_string(),
            Reach::Group => format!("-{pid}"),
        }
    }
}

/// Starts a child in a process group of its own, which gets `signal` (a name such as `QUIT`) when
/// this process ends.
///
/// # Errors
/// The system's, or that everything is being taken down and nothing may be started any more.
pub fn spawn(command: &mut Command, signal: &str, reach: Reach) -> Result<Child> {
    // Locked all the while: nobody can start what the reaper does not hear of.
    let mut reaper = locked();
    if reaper.pipe.is_none() {
        return Err(Error::other("everything is being taken down"));
    }
    let child = command.process_group(0).spawn()?;
    reaper.say(&format!("watch {signal} {}", reach.target(child.id())));
    Ok(child)
}

/// The process has ended and was waited for: its number may soon be somebody else's.
pub fn forget(pid: u32, reach: Reach) {
    locked().say(&format!("forget {}", reach.target(pid)));
}

/// Removes the directory when this process ends.
pub fn remove_at_end(directory: &Path) {
    locked().say(&format!("directory {}", directory.display()));
}

/// Cleans up now and waits until everything is gone; nothing can be started afterwards.
///
/// False if somebody else was first.
pub fn finish() -> bool {
    let mut reaper = locked();
    let first = reaper.pipe.take().is_some();
    let _ = reaper.shell.wait();
    first
}
