//! What frameworks make of "a request of the web": which of its statements replicas serve.
//!
//! Each conversation has the form in which the library talks; the counts come from the nodes' own logs.

use crate::support::{Outcome, mark, stage};
use pgweir_tests::HarnessError;
use pgweir_tests::raw::{self, RawClient};

const WISH: &str = "SET pgweir.transactions = 'until_first_write'";

/// Reads ahead of the first write, which replicas serve; `{after}` are those behind it.
const READ: &str = "SELECT count(*) FROM product";
const WRITE: &str = "UPDATE counter SET n = n + 1 WHERE id = 97";

/// What a library sends in one write.
enum Sent {
    /// A Query each.
    Simple(&'static [&'static str]),
    /// Parse, Bind, Describe, Execute for each, then one Sync.
    Unnamed(&'static [&'static str]),
    /// Parse of a named statement and Sync; then Bind, Execute and Sync.
    Named(&'static str, &'static str),
}

use Sent::{Named, Simple, Unnamed};

/// How often `{read}` stands in the conversation, and what comes behind the first write.
struct Pattern {
    library: &'static str,
    sent: &'static [Sent],
    reads: usize,
    writes: usize,
    after: usize,
}

const PATTERNS: [Pattern; 7] = [
    Pattern {
        library: "SQLAlchemy's Session: reads, and the connection goes back with a ROLLBACK",
        sent: &[Simple(&["BEGIN"]), Simple(&["{read}"]), Simple(&["{read}"]), Simple(&["ROLLBACK"])],
        reads: 2,
        writes: 0,
        after: 0,
    },
    Pattern {
        library: "SQLAlchemy's Session: reads, then flushes",
        sent: &[
            Simple(&["BEGIN"]),
            Simple(&["{read}"]),
            Simple(&["{write}"]),
            Simple(&["{after}"]),
            Simple(&["COMMIT"]),
        ],
        reads: 1,
        writes: 1,
        after: 1,
    },
    Pattern {
        library: "pgjdbc with autocommit off: BEGIN rides ahead of the first statement",
        sent: &[
            Unnamed(&["BEGIN", "{read}"]),
            Unnamed(&["{read}"]),
            Unnamed(&["{write}"]),
            Unnamed(&["{after}"]),
            Unnamed(&["COMMIT"]),
        ],
        reads: 2,
        writes: 1,
        after: 1,
    },
    Pattern {
        library: "Django with ATOMIC_REQUESTS: an atomic block within",
        sent: &[
            Simple(&["BEGIN"]),
            Unnamed(&["{read}"]),
            Simple(&["SAVEPOINT \"s1_x1\""]),
            Unnamed(&["{read}"]),
            Simple(&["RELEASE SAVEPOINT \"s1_x1\""]),
            Unnamed(&["{read}"]),
            Simple(&["COMMIT"]),
        ],
        reads: 3,
        writes: 0,
        after: 0,
    },
    Pattern {
        library: "ActiveRecord: prepared statements, a transaction around saving",
        sent: &[
            Named("a1", "{read}"),
            Simple(&["BEGIN"]),
            Named("a2", "{read}"),
            Named("a3", "{write}"),
            Simple(&["COMMIT"]),
            Named("a4", "{read}"),
        ],
        reads: 3,
        writes: 1,
        after: 0,
    },
    Pattern {
        library: "Prisma: an interactive transaction",
        sent: &[
            Simple(&["BEGIN"]),
            Named("s0", "{read}"),
            Named("s1", "{write}"),
            Named("s2", "{after}"),
            Simple(&["COMMIT"]),
        ],
        reads: 1,
        writes: 1,
        after: 1,
    },
    Pattern {
        library: "asyncpg's pool: a connection is reset when it is released",
        sent: &[
            Named("__asyncpg_stmt_1__", "{read}"),
            Simple(&["SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;"]),
            Simple(&[WISH]),
            Named("__asyncpg_stmt_2__", "{read}"),
        ],
        reads: 2,
        writes: 0,
        after: 0,
    },
];

/// The marks of what is read ahead, written, and read behind.
struct Marks([String; 3]);

impl Marks {
    fn fill(&self, sql: &str) -> String {
        let Marks([read, write, after]) = self;
        let texts = [("{read}", READ, read), ("{write}", WRITE, write), ("{after}", READ, after)];
        let text = texts.into_iter().find(|(place, ..)| *place == sql);
        text.map_or(sql.to_owned(), |(_, text, mark)| format!("{text} /* {mark} */"))
    }
}

fn say(client: &mut RawClient, sent: &Sent, marks: &Marks) -> Result<(), HarnessError> {
    match sent {
        Simple(texts) => {
            for sql in *texts {
                client.query(&marks.fill(sql))?;
            }
        }
        Unnamed(texts) => {
            let mut bytes = vec![];
            for sql in *texts {
                bytes.extend(raw::parse("", &marks.fill(sql)));
                bytes.extend(raw::bind("", "", &[]));
                bytes.extend(raw::execute("", 0));
            }
            bytes.extend(raw::sync());
            client.send(&bytes)?;
            client.until_ready()?;
        }
        Named(name, sql) => {
            client.prepare(name, &marks.fill(sql))?;
            client.execute(name, &[])?;
        }
    }
    Ok(())
}

#[test]
fn replicas_serve_what_frameworks_read_ahead_of_their_first_write() -> Outcome {
    let stage = stage();
    for pattern in &PATTERNS {
        let mut client = stage.client()?;
        client.run(WISH)?;
        let marks = Marks([mark(), mark(), mark()]);
        for sent in pattern.sent {
            say(&mut client, sent, &marks)?;
        }
        let counts = marks.0.each_ref().map(|mark| {
            let mut runs = stage.cluster.runs(mark);
            (runs.remove(stage.cluster.primary()), runs.iter().sum::<usize>())
        });
        let wanted = [(0, pattern.reads), (pattern.writes, 0), (pattern.after, 0)];
        assert_eq!(counts, wanted, "{}: (primary, replicas) of reads, writes, reads behind", pattern.library);
    }
    Ok(())
}
