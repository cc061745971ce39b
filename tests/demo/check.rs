//! `make demo CHECK=1`: walks through the application and judges who served what.

use crate::board::{Board, PASSWORD, PERSON, name};
use crate::browser::{Browser, PAGES, posts};
use crate::tally::Tally;
use pgweir_tests::{Cluster, HarnessError, Weir};

/// Looks at everything, prints the figures, and says whether all was well.
pub fn run(cluster: &Cluster, weir: &Weir, board: &Board) -> Result<bool, HarnessError> {
    println!("Walking through the application …");
    let mut browser = Browser::new(board.address());
    for round in 0..5 {
        look_around(&mut browser)?;
        write_something(&mut Browser::new(board.address()), round).map(|visitor| {
            browser.requests += visitor.0;
            browser.failures.extend(visitor.1);
        })?;
    }
    println!("  {} requests", browser.requests);
    for failure in &browser.failures {
        println!("  FAILED: {failure}");
    }

    let tally = Tally::take(cluster, weir)?;
    tally.print();
    let mut well = browser.failures.is_empty();
    for complaint in tally.complaints() {
        println!("  FAILED: {complaint}");
        well = false;
    }
    weir.assert_sound();
    match well {
        true => println!("All well: writes on the {}, reads on both replicas, no request failed.", name(0)),
        false => println!("--- pgweir's log ends:\n{}", last_lines(&weir.log(), 30)),
    }
    Ok(well)
}

fn look_around(browser: &mut Browser) -> Result<(), HarnessError> {
    let list = browser.get("/", 200)?;
    let links = posts(&list);
    browser.expect("the list shows posts", !links.is_empty());
    for page in PAGES {
        browser.get(page, 200)?;
    }
    for link in links.iter().take(8) {
        browser.get(link, 200)?;
    }
    browser.get("/post/987654321/", 404).map(drop)
}

/// Logs in, writes, sees it at once, changes it, says something about it, deletes it.
fn write_something(browser: &mut Browser, round: usize) -> Result<(usize, Vec<String>), HarnessError> {
    browser.get("/accounts/login/", 200)?;
    browser.submit("/accounts/login/", &[("username", PERSON), ("password", PASSWORD)])?;
    browser.get("/create/", 200)?;
    let title = format!("Seen by the check, round {round}");
    let post = browser.submit(
        "/create/",
        &[
            ("title", title.as_str()),
            ("body", "Written a moment ago."),
            ("tag_names", "check"),
            ("photo_text", ""),
        ],
    )?;
    let place = post.header("location").unwrap_or_default().to_owned();
    browser.expect("a new post shows its title at once", post.body.contains(&title));
    let list = browser.get("/", 200)?;
    browser.expect("a new post is in the list at once", list.body.contains(&title));

    let number: String = place.chars().filter(char::is_ascii_digit).collect();
    let fresh = format!("Changed by the check, round {round}");
    browser.get(&format!("/update/{number}/"), 200)?;
    let changed = browser.submit(
        &format!("/update/{number}/"),
        &[
            ("title", fresh.as_str()),
            ("body", "Changed a moment ago."),
            ("tag_names", "check"),
            ("photo_text", ""),
            ("seen_version", "1"),
        ],
    )?;
    browser.expect("a changed post shows its new title at once", changed.body.contains(&fresh));
    let word = format!("A comment of round {round}.");
    let comment = browser.submit(&format!("/comment/{number}/"), &[("body", &word)])?;
    browser.expect("a comment shows at once", comment.body.contains(&word));
    browser.submit(&format!("/like/{number}/"), &[])?;
    browser.submit(&format!("/delete/{number}/"), &[])?;
    browser.get(&place, 404)?;
    browser.get("/admin/", 200)?;
    Ok((browser.requests, std::mem::take(&mut browser.failures)))
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
