//! Questions to the person at the terminal.

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};

/// Asks, and reads one line from standard input; true for `y` and `yes`.
pub fn agrees(question: &str) -> bool {
    print!("{question}");
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if !matches!(read, Ok(n) if n > 0) {
        println!();
        return false;
    }
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

/// Asks for a password on the terminal, without showing it. `None` where there is no terminal.
pub fn password(question: &str) -> Option<String> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
    let shown = tcgetattr(&terminal).ok()?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    (&terminal).write_all(question.as_bytes()).ok()?;
    tcsetattr(&terminal, OptionalActions::Flush, &hidden).ok()?;
    let mut answer = String::new();
    let read = BufReader::new(&terminal).read_line(&mut answer);
    // Whatever was read: a terminal that shows nothing is of no use to anybody.
    let _ = tcsetattr(&terminal, OptionalActions::Flush, &shown);
    let _ = (&terminal).write_all(b"\n");
    read.ok().filter(|n| *n > 0)?;
    Some(answer.trim_end_matches(['\r', '\n']).to_owned())
}
