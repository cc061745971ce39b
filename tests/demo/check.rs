//! `make demo CHECK=1`: walks through the application and judges who served what.

use crate::board::{Board, PASSWORD, PERSON};
use crate::browser::{Browser, PAGES, posts};
use crate::tally::Tally;
use crate::topology::{FAR, NEAR, PARTS};
use pgweir_tests::cluster::wait_until;
use pgweir_tests::{Cluster, HarnessError, Weir};

/// Looks at everything, prints the figures, and says whether all was well.
pub fn run(cluster: &Cluster, weir: &Weir, board: &Board) -> Result<bool, HarnessError> {
    println!("Walking through the application …");
    let mut browser = Browser::new(board.address());
    for round in 0..5 {
        walk(&mut browser, round)?;
    }
    let before = Tally::take(cluster, weir)?;
    browser.expect("reads prefer pgweir's own zone", before.reads(NEAR) > before.reads(FAR));
    lose_the_zone(cluster, weir, &mut browser)?;
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
        true => {
            println!(
                "All well: writes on the {} only, reads on all replicas, no request failed.",
                PARTS[0].name
            );
        }
        false => println!("--- pgweir's log ends:\n{}", weir.log_end(30)),
    }
    Ok(well)
}

/// One round of everything.
fn walk(browser: &mut Browser, round: usize) -> Result<(), HarnessError> {
    look_around(browser)?;
    let mut writer = Browser::new(browser.address());
    write_something(&mut writer, round)?;
    browser.requests += writer.requests;
    browser.failures.append(&mut writer.failures);
    Ok(())
}

/// Stops the replica of pgweir's own zone by the control room's button, as a person would: reads
/// must spill over to the other zone, and come back when it is started again.
fn lose_the_zone(cluster: &Cluster, weir: &Weir, browser: &mut Browser) -> Result<(), HarnessError> {
    let (near, far) = (PARTS[NEAR].name, PARTS[FAR].name);
    println!("Stopping {near} in zone {}, and walking on …", PARTS[NEAR].zone);
    let already = Tally::reads_now(cluster, FAR)?;
    press(browser, "stop", near)?;
    for round in 5..7 {
        walk(browser, round)?;
    }
    let spilled = Tally::reads_now(cluster, FAR)? - already;
    println!("  {far} in zone {} has taken over: {spilled} reads", PARTS[FAR].zone);
    browser.expect("reads spill over to the other zone", spilled > 0);

    println!("Starting {near} again …");
    press(browser, "start", near)?;
    let address = cluster.address(NEAR);
    wait_until(&format!("pgweir sees {near} again"), || {
        let up = |metrics: pgweir_tests::Metrics| metrics.sum("pgweir_node_up", &[("node", &address)]);
        weir.metrics().map(up).is_ok_and(|up| up == 1.0)
    })?;
    let already = Tally::reads_now(cluster, NEAR)?;
    walk(browser, 7)?;
    let back = Tally::reads_now(cluster, NEAR)? - already;
    println!("  its reads have come back: {back}");
    browser.expect("reads come back to the own zone", back > 0);
    Ok(())
}

/// Presses a button of the control room.
fn press(browser: &mut Browser, action: &str, name: &str) -> Result<(), HarnessError> {
    browser.get("/weir/", 200)?;
    let answer = browser.call("/weir/node/", &[("action", action), ("name", name)])?;
    match answer.status {
        200 => Ok(()),
        status => Err(HarnessError::failed(format!("{action} {name}: {status} {}", answer.body))),
    }
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
fn write_something(browser: &mut Browser, round: usize) -> Result<(), HarnessError> {
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
    browser.get("/admin/", 200).map(drop)
}
