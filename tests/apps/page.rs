//! The page of results. Each application's part is kept, so that one may be measured again by itself.

use crate::application::Application;
use crate::applications::ALL;
use crate::counted::spelled;
use crate::run::Outcome;
use crate::stage::Mode;
use pgweir_tests::HarnessError;
use std::fmt::Write;
use std::path::Path;

const HEAD: &str = "\
# Applications: directly and through pgweir

Written by `make apps`. Applications from the registries run as they come; only the database's address is
changed. A small walk goes through each one's own interface: it writes, reads back at once, changes, lists
and deletes, and looks at every answer. *Stale* is what was written and was not there at once; *errors* are
requests that fail, and answers that are wrong and stay so. Every run has a database of its own on a primary and
two replicas. Replicas are in step, or 200 ms late (`recovery_min_apply_delay`). In the last but one run the
tables are made through pgweir, too, where that takes seconds. The last is a control: at `routing.consistency =
\"eventual\"` the same walk has to see stale reads, or it would not see them elsewhere.

*Reads* are SELECTs, cursors' included, that change and lock nothing, counted in the servers' own logs. Some of
those on the primary follow a write of their own transaction, and are right nowhere else; *of the free* leaves
these out. Statements by reason, pins and catches of the safety net are pgweir's metrics; statements count BEGIN
and COMMIT, too.
";

const TABLE: &str = "\
| application | run | steps | errors | stale | reads | after a write | on replicas | of the free | of all statements |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|
";

/// Keeps the rows and the counts of one application.
pub fn keep(
    pages: &Path,
    application: &Application,
    outcomes: &[(Mode, Outcome)],
) -> Result<(), HarnessError> {
    std::fs::create_dir_all(pages)
        .map_err(|error| HarnessError::Io("making the pages' directory".into(), error))?;
    let mut rows = String::new();
    for (mode, outcome) in outcomes {
        let reads = &outcome.reads;
        let through = outcome.gained.as_ref();
        let percent = |share: f64| through.map_or("–".into(), |_| format!("{share:.0} %"));
        let (steps, walked) = (outcome.walked.steps, &outcome.walked);
        let _ = writeln!(
            rows,
            "| {} | {} | {steps} | {} | {} | {} | {} | {} | {} | {} |",
            application.name,
            mode.word(),
            walked.errors,
            walked.stale,
            reads.all(),
            reads.after_write,
            percent(reads.share()),
            percent(reads.share_of_free()),
            percent(through.map_or(0.0, |gained| gained.share())),
        );
    }
    save(&pages.join(format!("{}.rows", application.name)), &rows)?;
    save(&pages.join(format!("{}.md", application.name)), &section(outcomes))
}

/// Puts together what is known of all.
pub fn write(pages: &Path, results: &Path, version: &str) -> Result<(), HarnessError> {
    let part = |name: &str, end: &str| {
        std::fs::read_to_string(pages.join(format!("{name}.{end}"))).unwrap_or_default()
    };
    let rows: String = ALL.iter().map(|application| part(application.name, "rows")).collect();
    let mut text = format!("{HEAD}\nPostgreSQL {version}.\n\n{TABLE}{rows}");
    for Application { name, what, note, .. } in ALL {
        let section = part(name, "md");
        if !section.is_empty() {
            let _ = write!(text, "\n## {name}\n\n{what}. {note}\n{section}");
        }
    }
    save(results, &text)
}

fn section(outcomes: &[(Mode, Outcome)]) -> String {
    let mut text = String::new();
    for (mode, outcome) in outcomes {
        let Some(gained) = &outcome.gained else {
            continue;
        };
        let _ = write!(
            text,
            "\n- **{}**: on replicas {}; on the primary {}; pins {}; caught {}.",
            mode.word(),
            spelled(&gained.replica),
            spelled(&gained.primary),
            spelled(&outcome.pins),
            spelled(&gained.caught),
        );
    }
    text.push('\n');
    let kept = outcomes.iter().find(|(mode, _)| *mode == Mode::BeforeWrite);
    if let Some((mode, outcome)) = kept.filter(|(_, outcome)| outcome.reads.kept > 0) {
        text += &most_frequent(*mode, outcome);
    }
    text
}

fn most_frequent(mode: Mode, outcome: &Outcome) -> String {
    let mut shapes: Vec<_> = outcome.reads.kept_shapes.iter().collect();
    shapes.sort_by_key(|(shape, count)| (std::cmp::Reverse(**count), (*shape).clone()));
    let mut text = format!(
        "\nMost frequent of the {} reads that the primary kept ({}):\n\n| times | statement |\n|---:|---|\n",
        outcome.reads.kept,
        mode.word()
    );
    for (shape, count) in shapes.into_iter().take(5) {
        let _ = writeln!(text, "| {count} | `{}` |", shortened(shape));
    }
    text
}

/// A statement in a cell of a table.
fn shortened(statement: &str) -> String {
    const CHARACTERS_MAX: usize = 160;
    let line = statement.replace('|', "\\|").replace('`', "'");
    match line.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn save(path: &Path, text: &str) -> Result<(), HarnessError> {
    std::fs::write(path, text).map_err(|error| HarnessError::Io(format!("writing {}", path.display()), error))
}
