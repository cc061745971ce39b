//! Large results and COPY pass in constant memory, whole and in order.

use crate::assert_same;
use crate::support::{Outcome, Stage, stage};
use pgweir_tests::raw::{self, RawClient};
use pgweir_tests::{HarnessError, Weir};
use std::time::Duration;

const MEBIBYTE: usize = 1 << 20;
/// How much memory a stream of any length may add.
const GROWTH_BYTES_MAX: u64 = 24 << 20;

/// Runs `work` against a pgweir of its own and fails if its memory grows with the stream.
fn in_constant_memory(work: impl FnOnce(&Stage, &Weir) -> Outcome) -> Outcome {
    let stage = stage();
    let weir = Weir::builder(&stage.cluster).start()?;
    // The first connections and caches are not the stream's.
    weir.app().sql("SELECT count(*) FROM product")?;
    weir.app().sql("UPDATE counter SET n = n WHERE id = 1")?;
    let before = weir.usage().resident_bytes;
    let peak = std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let weir = &weir;
        let watcher = scope.spawn(move || {
            let mut peak = 0;
            while stopped.recv_timeout(Duration::from_millis(20)).is_err() {
                peak = peak.max(weir.usage().resident_bytes);
            }
            peak
        });
        let result = work(&stage, weir);
        let _ = stop.send(());
        result.map(|()| watcher.join().expect("watching does not panic"))
    })?;
    let growth = peak.saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "memory grew by {} kB", growth >> 10);
    Ok(())
}

/// Reads frames up to ReadyForQuery without keeping them: bytes in frames of this tag.
fn drain(client: &mut RawClient, tag: u8) -> Result<(usize, usize), HarnessError> {
    let (mut bytes, mut frames) = (0, 0);
    loop {
        let frame = client.frame()?;
        match frame.tag {
            b'Z' => return Ok((bytes, frames)),
            b'E' => return Err(HarnessError::failed(frame.field(b'M').unwrap_or_default())),
            other if other == tag => {
                bytes += frame.body.len();
                frames += 1;
            }
            _ => {}
        }
    }
}

#[test]
fn a_result_of_one_gibibyte_passes_in_constant_memory() -> Outcome {
    in_constant_memory(|_, weir| {
        let mut client = RawClient::login(&weir.app())?;
        let sql = "SELECT repeat('x', 1048576) FROM generate_series(1, 1024)";
        client.send(&raw::query(sql))?;
        let (bytes, rows) = drain(&mut client, b'D')?;
        assert_eq!(rows, 1024);
        assert_eq!(bytes, 1024 * (MEBIBYTE + 6));
        Ok(())
    })
}

#[test]
fn a_single_value_of_200_mebibytes_passes_in_constant_memory() -> Outcome {
    in_constant_memory(|_, weir| {
        let mut client = RawClient::login(&weir.app())?;
        client.send(&raw::query("SELECT repeat('x', 209715200)"))?;
        assert_eq!(drain(&mut client, b'D')?, (200 * MEBIBYTE + 6, 1));
        Ok(())
    })
}

#[test]
fn five_million_short_rows_pass_in_constant_memory() -> Outcome {
    in_constant_memory(|_, weir| {
        let mut client = RawClient::login(&weir.app())?;
        // It takes its time, in which a replica may have to cancel it for other stories' sake.
        client.run("SET pgweir.route = 'primary'")?;
        client.send(&raw::query("SELECT n FROM generate_series(1, 5000000) AS n"))?;
        // Unread for a while: pgweir must not fill up meanwhile.
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(drain(&mut client, b'D')?.1, 5_000_000);
        Ok(())
    })
}

#[test]
fn a_copy_out_of_one_gibibyte_passes_in_constant_memory() -> Outcome {
    in_constant_memory(|_, weir| {
        let mut client = RawClient::login(&weir.app())?;
        let sql = "COPY (SELECT repeat('x', 1048575) FROM generate_series(1, 1024)) TO STDOUT";
        client.send(&raw::query(sql))?;
        assert_eq!(drain(&mut client, b'd')?, (1024 * MEBIBYTE, 1024));
        Ok(())
    })
}

#[test]
fn a_copy_in_of_one_gibibyte_passes_in_constant_memory() -> Outcome {
    in_constant_memory(|stage, weir| {
        stage.client()?.run(
            "CREATE UNLOGGED TABLE big_copy (n int, t text); \
             CREATE FUNCTION drop_row() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
             CREATE TRIGGER none BEFORE INSERT ON big_copy FOR EACH ROW EXECUTE FUNCTION drop_row()",
        )?;
        let mut client = RawClient::login(&weir.app())?;
        client.send(&raw::query("COPY big_copy FROM STDIN"))?;
        client.until(b"G")?;
        let line = format!("1\t{}\n", "x".repeat(MEBIBYTE - 3));
        let piece = raw::frame(b'd', line.as_bytes());
        for _ in 0..1024 {
            client.send(&piece)?;
        }
        client.send_frame(b'c', b"")?;
        client.until_ready()?;
        assert_eq!(client.value("SELECT count(*) FROM big_copy")?, "0");
        client.run("DROP TABLE big_copy; DROP FUNCTION drop_row()")?;
        Ok(())
    })
}

#[test]
fn a_statement_of_40_mebibytes_and_a_parameter_of_40_mebibytes_arrive_whole() -> Outcome {
    let stage = stage();
    let mut client = stage.client()?;
    let text = "y".repeat(40 * MEBIBYTE);
    assert_eq!(client.value(&format!("SELECT length('{text}')"))?, text.len().to_string());
    client.prepare("", "SELECT length($1::text)")?;
    let rows = client.execute("", &[Some(&text)])?;
    assert_eq!(rows, [[Some(text.len().to_string())]]);
    Ok(())
}

/// Postgres has lost its place in what the client says then, and ends the session.
#[test]
fn a_query_among_the_data_is_answered_as_by_postgres() -> Outcome {
    let stage = stage();
    let outcome = |mut client: RawClient| -> Result<_, HarnessError> {
        client.run("CREATE TEMPORARY TABLE interrupted (line text)")?;
        client.send(&raw::query("COPY interrupted FROM STDIN"))?;
        client.until(b"G")?;
        client.send(&[raw::frame(b'd', b"one\n"), raw::query("SELECT 1")].concat())?;
        let mut told = vec![];
        while let Ok(frame) = client.frame() {
            told.push((char::from(frame.tag), frame.field(b'S'), frame.field(b'C'), frame.field(b'M')));
        }
        Ok(told)
    };
    let direct = outcome(stage.direct()?)?;
    assert_same!(outcome(stage.client()?)?, direct, "a query among the data");
    Ok(())
}
