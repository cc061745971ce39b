//! A visitor of the application: cookies, forms, redirects, and a tally of what failed.

use pgweir_tests::HarnessError;
use pgweir_tests::http::{self, Answer};
use std::collections::BTreeMap;
use std::time::Duration;

/// Pages that anybody may look at.
pub const PAGES: &[&str] = &["/", "/search/?q=water", "/learn/", "/insights/", "/api/posts/", "/?page=2"];

/// One visitor.
#[derive(Debug)]
pub struct Browser {
    address: String,
    cookies: BTreeMap<String, String>,
    /// Requests made.
    pub requests: usize,
    /// What was not answered as it should be.
    pub failures: Vec<String>,
}

impl Browser {
    /// A visitor without cookies.
    pub fn new(address: &str) -> Self {
        Browser { address: address.into(), cookies: BTreeMap::new(), requests: 0, failures: Vec::new() }
    }

    /// The application's `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// GETs a page and expects this status.
    pub fn get(&mut self, path: &str, status: u16) -> Result<Answer, HarnessError> {
        self.request("GET", path, "", status)
    }

    /// Submits a form as a browser does, and follows the redirect that must come.
    pub fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Result<Answer, HarnessError> {
        let body = self.form(fields);
        let answer = self.request("POST", path, &body, 302)?;
        let place = answer.header("location").unwrap_or("/").to_owned();
        let mut page = self.get(&place, 200)?;
        page.headers.push(("location".into(), place));
        Ok(page)
    }

    /// Calls as the page's own scripts do.
    pub fn call(&mut self, path: &str, fields: &[(&str, &str)]) -> Result<Answer, HarnessError> {
        let body = self.form(fields);
        self.request("POST", path, &body, 200)
    }

    fn form(&self, fields: &[(&str, &str)]) -> String {
        let token = self.cookies.get("csrftoken").map_or("", String::as_str);
        let mut body = format!("csrfmiddlewaretoken={}", encoded(token));
        for (name, value) in fields {
            body += &format!("&{name}={}", encoded(value));
        }
        body
    }

    fn request(&mut self, method: &str, path: &str, body: &str, status: u16) -> Result<Answer, HarnessError> {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let headers = [("Cookie", cookies.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
        let path = path.split('#').next().unwrap_or(path);
        let answer = http::request(&self.address, method, path, &headers, body)?;
        self.requests += 1;
        if answer.status != status {
            self.failures.push(format!("{method} {path}: {} instead of {status}", answer.status));
        }
        for (name, value) in &answer.headers {
            let pair = value.split(';').next().and_then(|pair| pair.split_once('='));
            if let ("set-cookie", Some((cookie, value))) = (name.as_str(), pair) {
                self.cookies.insert(cookie.to_owned(), value.to_owned());
            }
        }
        Ok(answer)
    }

    /// Notes what a page should have shown and did not.
    pub fn expect(&mut self, what: &str, condition: bool) {
        if !condition {
            self.failures.push(what.to_owned());
        }
    }
}

/// The addresses of posts that a page links to.
pub fn posts(page: &Answer) -> Vec<String> {
    let mut found: Vec<String> = page
        .body
        .split("href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .map(|link| link.split('#').next().unwrap_or(link))
        .filter(|link| link.strip_prefix("/post/").is_some_and(|rest| rest.ends_with('/')))
        .map(str::to_owned)
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Looks at pages, one every quarter of a second, for ever.
pub fn traffic(address: &str) -> ! {
    let mut browser = Browser::new(address);
    let mut turn = 0_usize;
    loop {
        let page = browser.get(PAGES[turn % PAGES.len()], 200);
        let links = page.map(|page| posts(&page)).unwrap_or_default();
        if let Some(link) = links.get(turn % links.len().max(1)) {
            let _ = browser.get(link, 200);
        }
        browser.failures.clear();
        turn = turn.wrapping_add(1);
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// <https://url.spec.whatwg.org/#application/x-www-form-urlencoded>
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
