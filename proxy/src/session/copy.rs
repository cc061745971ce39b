//! COPY data, and the rest of a long message, on their way to the server.

use crate::session::client::Client;
use crate::session::failure::Failure;
use crate::session::{Session, receive};
use crate::wire::frame::{self, FrameError, HEADER_BYTES};
use crate::wire::frontend;
use bytes::Buf;
use std::io;

impl Session {
    /// Moves COPY data (and the end of it) from the client to the server while the server takes it.
    pub(super) fn pass_copy_data(&mut self) -> Result<(), Failure> {
        while self.exchange.copy_in {
            let broken = |error| Failure::Client(io::Error::new(io::ErrorKind::InvalidData, error));
            let Some((kind, total)) = self.client.copy_frame().map_err(broken)? else { return Ok(()) };
            let have = self.client.socket.input.len().min(total);
            let streams = kind == frontend::tag::COPY_DATA;
            if have < total && !streams {
                return Ok(());
            }
            let Some(lease) = self.holding.lease.as_mut() else { return Ok(()) };
            match kind {
                frontend::tag::COPY_DATA => {
                    if have < total {
                        // The rest of this frame follows with the next reads.
                        if have < crate::limits::READ_BYTES {
                            return Ok(());
                        }
                        let out = &mut lease.connection.output;
                        // A long frame is cut into shorter ones: COPY data has no frame of its own.
                        let part = have - HEADER_BYTES;
                        frame::put(out, kind, |out| {
                            out.extend_from_slice(&self.client.socket.input[HEADER_BYTES..have]);
                        });
                        self.client.socket.input.advance(part);
                        let rest = (total - 1 - part) as u32;
                        self.client.socket.input[0] = kind;
                        self.client.socket.input[1..5].copy_from_slice(&rest.to_be_bytes());
                        return Ok(());
                    }
                    lease.connection.output.extend_from_slice(&self.client.socket.input[..total]);
                }
                frontend::tag::COPY_DONE | frontend::tag::COPY_FAIL => {
                    lease.connection.output.extend_from_slice(&self.client.socket.input[..total]);
                    self.exchange.copy_in = false;
                }
                frontend::tag::FLUSH | frontend::tag::SYNC => {
                    // Ignored by the server while it copies.
                }
                _ => {
                    // The server says what it says to that, and ends the session.
                    lease.connection.output.extend_from_slice(&self.client.socket.input[..total]);
                    self.exchange.copy_in = false;
                }
            }
            self.client.socket.input.advance(total);
        }
        // Behind the end of the data comes the Sync of the extended protocol.
        Ok(())
    }

    /// The client has sent COPY data before the server could say that it takes any: it is waited for.
    pub(super) fn copy_data_comes(&self) -> bool {
        let first = self.client.socket.input.first();
        let is_data = matches!(
            first,
            Some(&(frontend::tag::COPY_DATA | frontend::tag::COPY_DONE | frontend::tag::COPY_FAIL))
        );
        is_data && !self.exchange.ledger.is_empty()
    }

    /// Moves what has come of the request's last frame; returns how much is still to come.
    pub(super) fn stream_rest(&mut self, left: usize) -> usize {
        if left == 0 {
            return 0;
        }
        let Some(lease) = self.holding.lease.as_mut() else { return left };
        if lease.connection.is_backlogged() {
            return left;
        }
        let here = self.client.socket.input.split_to(left.min(self.client.socket.input.len()));
        lease.connection.output.extend_from_slice(&here);
        left - here.len()
    }
}

impl Client {
    /// How long a frame is, for a stream of COPY data.
    pub(super) fn copy_frame(&self) -> Result<Option<(u8, usize)>, FrameError> {
        receive::header(&self.socket.input)
    }
}
