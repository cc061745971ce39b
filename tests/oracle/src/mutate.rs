//! Hostile variations of SQL texts.

/// A small generator of random numbers (SplitMix64), so that a seed tells the whole run.
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.roll() % n.max(1) as u64) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of `list`.
    pub fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

/// Fragments that are put between tokens or in a token's place.
const FRAGMENTS: &[&str] = &[
    "FOR UPDATE",
    "FOR NO KEY UPDATE",
    "FOR SHARE OF t",
    "for key share",
    "INTO x",
    "INTO TEMP x",
    "INTO TABLE x",
    "nextval('s')",
    "evil()",
    "evil(1)",
    "evil (1)",
    "\"evil\"()",
    "public.evil()",
    "public . evil ( )",
    "EVIL()",
    "\"Evil Quoted\"(1)",
    "U&\"\\0065vil\"()",
    "U&\"!0065vil\" UESCAPE '!' ()",
    "evil_liar(1)",
    "evil_agg(1)",
    "evil_default()",
    "evil_variadic(1,2)",
    "evil_variadic(VARIADIC ARRAY[1])",
    "evil_any(1)",
    "evil_row(t)",
    "t.evil_row",
    "(t).evil_row",
    "(t.*).evil_row",
    "pg_notify('a','b')",
    "set_config('a.b','c',false)",
    "pg_advisory_lock(1)",
    "txid_current()",
    "lo_create(0)",
    "dblink('x','y')",
    "query_to_xml('x',true,true,'')",
    "evil_table",
    "public.evil_table",
    "\"evil_table\"",
    "EVIL_TABLE",
    ", evil_table",
    "JOIN evil_table ON true",
    "FROM evil_table",
    "TABLE evil_table",
    "evil_view",
    "evil_foreign",
    "evil_sequence",
    "ONLY evil_table",
    "ONLY (evil_table)",
    "evil_table*",
    "LATERAL evil(1)",
    "ROWS FROM (evil(1))",
    "ROWS FROM (good(1), evil(1))",
    "evil(1) WITH ORDINALITY",
    "evil(1) AS x(a int)",
    "TABLESAMPLE evil(1)",
    "TABLESAMPLE system(evil(1))",
    "OPERATOR(public.@@@@)",
    "a @@@@ b",
    "@@@@",
    "::evil_domain",
    "::public.evil_domain",
    "::\"evil_domain\"",
    "CAST(1 AS evil_domain)",
    "evil_domain '1'",
    "::evil_domain[]",
    "CAST(a AS public . evil_domain)",
    "(WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d)",
    "WITH d AS (INSERT INTO t VALUES (1) RETURNING 1)",
    "WITH d AS MATERIALIZED (UPDATE t SET a = 'x' RETURNING 1)",
    "(DELETE FROM t)",
    "INSERT INTO t SELECT 1",
    "UPDATE t SET a = 1",
    "DELETE FROM t",
    "MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE",
    "RETURNING 1",
    "; DELETE FROM t",
    "; SELECT evil()",
    ";",
    "; ;",
    "/*",
    "*/",
    "/**/",
    "/* /* */ */",
    "--",
    "--\n",
    "\n",
    "\r",
    "\u{c}",
    "\u{b}",
    "\t",
    "'",
    "''",
    "E'",
    "E'\\''",
    "'\\'",
    "N'x'",
    "B'1'",
    "X'f'",
    "U&'",
    "U&\"",
    "U&'\\0041'",
    "UESCAPE '!'",
    "\"",
    "\"\"",
    "\"a\"\"b\"",
    "$$",
    "$a$",
    "$a$ x $a$",
    "$1",
    "$1$",
    "$$;$$",
    "a$b",
    "$_$",
    "é",
    "\u{a0}",
    "\u{feff}",
    "(",
    ")",
    "[",
    "]",
    ",",
    ".",
    ":",
    "::",
    ":=",
    "=>",
    "*",
    "=",
    "<",
    ">",
    "-",
    "+",
    "!=",
    "<>",
    "||",
    "->",
    "->>",
    "@>",
    "?",
    "~",
    "!~~",
    "/",
    "%",
    "^",
    "|",
    "1",
    "1.",
    ".1",
    "1e5",
    "0x1F",
    "1_000",
    "1..2",
    "1a",
    "null",
    "true",
    "a",
    "t",
    "u",
    "t.a",
    "x",
    "\"Mixed Case\"",
    "SELECT",
    "FROM",
    "WHERE",
    "WITH",
    "RECURSIVE",
    "AS",
    "VALUES",
    "TABLE",
    "ONLY",
    "LATERAL",
    "JOIN",
    "LEFT",
    "CROSS",
    "NATURAL",
    "USING (id)",
    "USING (id) AS j",
    "ON",
    "AND",
    "OR",
    "NOT",
    "IN",
    "EXISTS",
    "ANY",
    "ALL",
    "SOME",
    "ARRAY",
    "ROW",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "UNION",
    "UNION ALL",
    "INTERSECT",
    "EXCEPT",
    "ORDER BY",
    "GROUP BY",
    "HAVING",
    "LIMIT",
    "OFFSET",
    "FETCH FIRST",
    "ROW ONLY",
    "WITH TIES",
    "WINDOW",
    "OVER",
    "PARTITION BY",
    "FILTER",
    "WITHIN GROUP",
    "DISTINCT",
    "DISTINCT ON (a)",
    "IS",
    "IS DISTINCT FROM",
    "BETWEEN",
    "SYMMETRIC",
    "LIKE",
    "ILIKE",
    "SIMILAR TO",
    "ESCAPE",
    "COLLATE \"C\"",
    "AT TIME ZONE",
    "CAST",
    "TREAT",
    "EXTRACT",
    "YEAR",
    "OVERLAY",
    "PLACING",
    "POSITION",
    "SUBSTRING",
    "TRIM",
    "BOTH",
    "COALESCE",
    "NULLIF",
    "GREATEST",
    "GROUPING",
    "GROUPING SETS",
    "CUBE",
    "ROLLUP",
    "XMLELEMENT",
    "NAME",
    "XMLATTRIBUTES",
    "XMLFOREST",
    "XMLTABLE",
    "PASSING",
    "COLUMNS",
    "PATH",
    "JSON_TABLE",
    "NESTED",
    "JSON_OBJECT",
    "JSON_ARRAY",
    "JSON_SCALAR",
    "KEYS",
    "ABSENT",
    "RETURNING",
    "INTERVAL",
    "DATE",
    "TIMESTAMP",
    "TIME",
    "NATIONAL",
    "CHARACTER",
    "VARYING",
    "DOUBLE",
    "PRECISION",
    "SETOF",
    "CURRENT_DATE",
    "CURRENT_USER",
    "SESSION_USER",
    "USER",
    "CURRENT_SCHEMA",
    "LOCALTIME",
    "DEFAULT",
    "NOTHING",
    "FOR",
    "UPDATE",
    "SHARE",
    "INTO",
    "SEARCH DEPTH FIRST BY a SET o",
    "CYCLE a SET c USING p",
    "MATERIALIZED",
    "NOT MATERIALIZED",
    "TEMP",
    "TEMPORARY",
    "UNLOGGED",
    "EXPLAIN",
    "ANALYZE",
    "(ANALYZE)",
    "(ANALYZE, ANALYZE false)",
    "(ANALYZE off, ANALYZE)",
    "VERBOSE",
    "COPY",
    "TO STDOUT",
    "TO 'f'",
    "TO PROGRAM 'x'",
    "FROM STDIN",
    "DECLARE c CURSOR FOR",
    "WITH HOLD",
    "PREPARE p AS",
    "EXECUTE p",
    "SHOW",
    "SET",
    "BEGIN",
    "COMMIT",
    "OPERATOR",
    "insert",
    "update",
    "delete",
    "merge",
    "set",
    "conflict",
    "only",
    "rows",
    "cast",
];

/// Frames around whole statements.
const FRAMES: &[(&str, &str)] = &[
    ("SELECT * FROM (", ") x"),
    ("SELECT EXISTS (", ")"),
    ("SELECT ARRAY(", ")"),
    ("WITH q AS (", ") SELECT * FROM q"),
    ("WITH q(a, b) AS (", ") TABLE q"),
    ("WITH RECURSIVE q AS (", ") SELECT * FROM q"),
    ("WITH t AS (", ") SELECT * FROM t"),
    ("EXPLAIN ", ""),
    ("EXPLAIN ANALYZE ", ""),
    ("EXPLAIN (ANALYZE off) ", ""),
    ("EXPLAIN (ANALYZE, ANALYZE 0) ", ""),
    ("EXPLAIN (ANALYZE 'off', COSTS) ", ""),
    ("EXPLAIN (FORMAT JSON, ANALYZE \"off\") ", ""),
    ("EXPLAIN VERBOSE (", ")"),
    ("COPY (", ") TO STDOUT"),
    ("COPY (", ") TO STDOUT WITH (FORMAT csv)"),
    ("COPY (", ") TO 'f'"),
    ("DECLARE c CURSOR FOR ", ""),
    ("DECLARE c CURSOR WITH HOLD FOR ", ""),
    ("DECLARE c NO SCROLL CURSOR WITHOUT HOLD FOR ", ""),
    ("PREPARE p AS ", ""),
    ("(", ")"),
    ("((", "))"),
    ("SELECT (", ")"),
    ("SELECT good((", "))"),
    ("SELECT 1 WHERE 1 IN (", ")"),
    ("VALUES ((", "))"),
    ("TABLE t UNION ", ""),
    ("SELECT 1 UNION (", ")"),
    ("SELECT * FROM t, LATERAL (", ") l"),
    ("SELECT CASE WHEN EXISTS (", ") THEN 1 END"),
    ("SELECT json_array(", ")"),
    ("SELECT a FROM t ORDER BY (", ")"),
    ("SELECT a FROM t LIMIT (", ")"),
    ("SELECT 1; ", ""),
    ("", "; SELECT 1"),
    ("/* ", " */ SELECT 1"),
    ("SELECT 'x', $$ ", " $$"),
    ("SELECT '", "'"),
    ("SELECT E'", "'"),
    ("SELECT \"", "\""),
    ("--", "\nSELECT 1"),
    ("CREATE TABLE x AS ", ""),
    ("CREATE VIEW v AS ", ""),
    ("DO $$ ", " $$"),
];

/// The pieces of a text: words, numbers, quoted runs, blanks, and single other characters.
fn pieces(text: &str) -> Vec<String> {
    let mut list: Vec<String> = vec![];
    let class = |c: char| match c {
        c if c.is_alphanumeric() || c == '_' => 0,
        c if c.is_whitespace() => 1,
        _ => 2,
    };
    for c in text.chars() {
        match list.last_mut() {
            Some(last) if class(c) != 2 && last.chars().next_back().is_some_and(|l| class(l) == class(c)) => {
                last.push(c)
            }
            _ => list.push(c.to_string()),
        }
    }
    list
}

/// A variation of one of `seeds`, sometimes of several.
pub fn variation(seeds: &[String], dice: &mut Dice) -> String {
    let mut text = seeds[dice.below(seeds.len())].clone();
    for _ in 0..1 + dice.below(4) {
        text = match dice.below(16) {
            0 => {
                let (before, after) = FRAMES[dice.below(FRAMES.len())];
                format!("{before}{}{after}", text.trim_end().trim_end_matches(';'))
            }
            1 => graft(&text, &seeds[dice.below(seeds.len())], dice),
            2 => recase(&text, dice),
            3 => reblank(&text, dice),
            4 => flip_a_character(&text, dice),
            5 => rename(&text, dice),
            _ => edit(&text, seeds, dice),
        };
        if text.len() > 4_000 {
            break;
        }
    }
    text
}

/// Puts, takes, swaps or repeats pieces.
fn edit(text: &str, seeds: &[String], dice: &mut Dice) -> String {
    let mut list = pieces(text);
    let at = dice.below(list.len() + 1);
    match dice.below(8) {
        0..=3 => list.insert(at, format!(" {} ", dice.pick(FRAGMENTS))),
        4 => list.insert(at, dice.pick(FRAGMENTS).to_owned()),
        5 if at < list.len() => list[at] = dice.pick(FRAGMENTS).to_owned(),
        6 => {
            let end = (at + 1 + dice.below(4)).min(list.len());
            if dice.one_in(2) {
                list.drain(at.min(end)..end);
            } else {
                let copy: Vec<String> = list[at.min(end)..end].to_vec();
                let to = dice.below(list.len() + 1);
                list.splice(to..to, copy);
            }
        }
        _ => {
            let other = pieces(&seeds[dice.below(seeds.len())]);
            let from = dice.below(other.len() + 1);
            let end = (from + 1 + dice.below(8)).min(other.len());
            list.splice(at..at, other[from.min(end)..end].iter().cloned());
        }
    }
    list.concat()
}

/// Puts another statement into the place of a parenthesised group, or behind the text.
fn graft(text: &str, other: &str, dice: &mut Dice) -> String {
    let other = other.trim_end().trim_end_matches(';');
    let opens: Vec<usize> = text.match_indices('(').map(|(at, _)| at).collect();
    if opens.is_empty() || dice.one_in(3) {
        let link = dice.pick(&["; ", " UNION ALL ", " EXCEPT ", ", (", " WHERE EXISTS (", "\n"]);
        let close = if link.ends_with('(') { ")" } else { "" };
        return format!("{}{link}{other}{close}", text.trim_end().trim_end_matches(';'));
    }
    let open = opens[dice.below(opens.len())];
    let mut depth = 0;
    for (at, c) in text[open..].char_indices() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        if depth == 0 {
            return format!("{}({other}{}", &text[..open], &text[open + at..]);
        }
    }
    text.to_owned()
}

fn recase(text: &str, dice: &mut Dice) -> String {
    pieces(text)
        .into_iter()
        .map(|piece| match dice.below(6) {
            0 => piece.to_uppercase(),
            1 => piece.to_lowercase(),
            _ => piece,
        })
        .collect()
}

fn reblank(text: &str, dice: &mut Dice) -> String {
    pieces(text)
        .into_iter()
        .map(|piece| match dice.below(8) {
            0 if piece.trim().is_empty() => dice
                .pick(&["\n", "\t", "/**/", "--x\n", " /* ( */ ", "\r", "\u{c}", "/*/**/*/", " "])
                .to_owned(),
            1 if !piece.trim().is_empty() && dice.one_in(6) => format!("{piece}/* ' */"),
            _ => piece,
        })
        .collect()
}

/// Quotes a word, or gives it a hostile name, everywhere or once.
fn rename(text: &str, dice: &mut Dice) -> String {
    const NAMES: &[&str] = &[
        "evil",
        "evil_table",
        "evil_domain",
        "evil_row",
        "evil_view",
        "\"evil\"",
        "public.evil",
        "values",
        "only",
        "rows",
        "set",
        "lower",
        "cast",
        "set_config",
        "nextval",
        "x",
        "filter",
        "over",
        "\"select\"",
        "interval",
        "time",
        "first",
        "range",
        "name",
        "position",
        "overlay",
        "t",
        "good",
        "columns",
        "nested",
        "path",
        "operator",
    ];
    let mut list = pieces(text);
    let words: Vec<usize> =
        (0..list.len()).filter(|&i| list[i].starts_with(|c: char| c.is_ascii_alphabetic())).collect();
    if words.is_empty() {
        return text.to_owned();
    }
    let at = words[dice.below(words.len())];
    list[at] = match dice.below(4) {
        0 => format!("\"{}\"", list[at]),
        1 => format!("U&\"{}\"", list[at]),
        _ => dice.pick(NAMES).to_owned(),
    };
    list.concat()
}

fn flip_a_character(text: &str, dice: &mut Dice) -> String {
    const CHARACTERS: &[&str] = &[
        "'", "\"", "$", "\\", "(", ")", ";", "-", "/", "*", ".", ",", " ", "\n", "e", "E", "u", "&", "x",
        "0", ":", "=", "@", "\u{e9}", "\u{1}",
    ];
    let chars: Vec<char> = text.chars().collect();
    let at = dice.below(chars.len() + 1);
    let keep = usize::from(dice.one_in(2));
    let before: String = chars[..at].iter().collect();
    let after: String = chars[(at + keep).min(chars.len())..].iter().collect();
    format!("{before}{}{after}", dice.pick(CHARACTERS))
}
