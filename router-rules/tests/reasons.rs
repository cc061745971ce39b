//! The documentation's page of reasons is made from the enum.

use router_rules::{PinReason, Reason, RerouteCause};
use std::fmt::Write as _;
use std::path::PathBuf;

fn page() -> String {
    let mut page = String::from(
        "# Reasons\n\n\
         Every decision has a reason: one word, the same in the metric label\n\
         `pgweir_statements_total{reason}`, the log, `SHOW ROUTES`, `pgweir route`, `pgweir audit` and the\n\
         NOTICE of `pgweir.trace`.\n\n\
         | word | meaning |\n|---|---|\n",
    );
    for reason in Reason::ALL {
        let _ = writeln!(page, "| `{}` | {} |", reason.as_str(), reason.explain());
    }
    page.push_str(
        "\n## Pins\n\n\
         A session that has made something which only its server connection has keeps that connection until it\n\
         is clean again. `SHOW PINS` and `pgweir_pinned_sessions{reason}` say why:\n\n\
         | word | meaning |\n|---|---|\n",
    );
    for reason in PinReason::ALL {
        let _ = writeln!(page, "| `{}` | {} |", reason.as_str(), reason.explain());
    }
    page.push_str(
        "\n## Reroutes\n\n\
         A statement that began on one server may be run once more on another before the client has seen anything\n\
         of an answer. `pgweir_reroutes_total{cause}` counts why:\n\n\
         | word | meaning |\n|---|---|\n",
    );
    for cause in RerouteCause::ALL {
        let _ = writeln!(page, "| `{}` | {} |", cause.as_str(), cause.explain());
    }
    page
}

/// `PGWEIR_UPDATE=1 cargo test -p router-rules --test reasons` writes the page.
#[test]
fn the_page_of_reasons_is_up_to_date() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/reasons.md");
    if std::env::var_os("PGWEIR_UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().expect("a file has a directory")).expect("docs/ can be made");
        std::fs::write(&path, page()).expect("the page can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, page(), "run PGWEIR_UPDATE=1 cargo test -p router-rules --test reasons");
}
