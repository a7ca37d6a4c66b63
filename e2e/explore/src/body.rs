//! The body of an answer to a watch: it comes line by line, through the ways between a process and the
//! API server, and can be spoiled.

use std::{future::pending, time::Duration};

use bytes::Bytes;
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use rerail_operator::client::DEAD_AFTER;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use tower::BoxError;

use crate::{
    draw::Draw,
    fault::Spoil,
    net::{Fate, Net},
    process::Process,
    wire,
};

type Lines = UnsyncBoxBody<Bytes, BoxError>;
type Line = Result<Frame<Bytes>, BoxError>;

/// How a watch is spoiled.
pub(crate) struct Watched {
    net: Net,
    process: Process,
    spoil: Option<Spoil>,
    draw: Draw,
    /// So many lines come before it is spoiled.
    left: u64,
    /// When a line was late for the last time.
    waited: Option<Instant>,
    over: bool,
}

impl Watched {
    pub(crate) fn new(net: &Net, process: &Process, fate: &Fate) -> Self {
        let mut draw = fate.draw.clone();
        let left = draw.between(0, 12);
        Watched {
            net: net.clone(),
            process: process.clone(),
            spoil: fate.spoil,
            draw,
            left,
            waited: None,
            over: false,
        }
    }

    pub(crate) fn over(self, body: Lines) -> Lines {
        let lines = stream::unfold((self, body), |(mut watched, mut body)| async move {
            let line = watched.next(&mut body).await?;
            Some((line, (watched, body)))
        });
        StreamBody::new(lines).boxed_unsync()
    }

    async fn next(&mut self, body: &mut Lines) -> Option<Line> {
        if self.over {
            return None;
        }
        // What a connection does in production that is silent for so long.
        match timeout(DEAD_AFTER, self.line(body)).await {
            Ok(line) => {
                self.process.proceed().await;
                line
            }
            Err(_) => {
                self.over = true;
                Some(Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
            }
        }
    }

    async fn line(&mut self, body: &mut Lines) -> Option<Line> {
        loop {
            let frame = body.frame().await?;
            self.process.proceed().await;
            self.arrives().await;
            let due = self.left == 0;
            self.left = self.left.saturating_sub(1);
            match self.spoil {
                Some(Spoil::WatchNoBookmarks) if is_bookmark(&frame) => {}
                Some(Spoil::WatchCut) if due => return self.end(None),
                Some(Spoil::WatchTorn) if due => return self.end(frame.ok().and_then(torn)),
                Some(Spoil::WatchReset) if due => return self.end(Some(Err(wire::reset()))),
                Some(Spoil::WatchResync) if due => return self.end(Some(Ok(gone()))),
                Some(Spoil::WatchStall) if due => return pending().await,
                Some(Spoil::WatchLate) => {
                    let late = Duration::from_millis(self.draw.between(1, 30_000));
                    self.late(late).await;
                    return Some(frame);
                }
                _ => return Some(frame),
            }
        }
    }

    /// Lines that come close behind each other are late together, not each by so much more.
    async fn late(&mut self, by: Duration) {
        if !by.is_zero() && self.waited.is_none_or(|waited| waited.elapsed() >= by) {
            sleep(by).await;
            self.waited = Some(Instant::now());
        }
    }

    fn end(&mut self, last: Option<Line>) -> Option<Line> {
        self.over = true;
        last
    }

    /// The way of a line: what was under way when it broke comes when it is mended.
    async fn arrives(&mut self) {
        let operator = self.process.operator();
        let delay = self.net.way(operator).delay;
        self.late(delay).await;
        let operator = self.process.operator();
        self.net.when(operator, |way| !way.no_replies).await;
    }
}

fn is_bookmark(frame: &Line) -> bool {
    let data = frame.as_ref().ok().and_then(Frame::data_ref);
    data.is_some_and(|line| line.windows(10).any(|part| part == b"\"BOOKMARK\""))
}

/// Half of a line.
fn torn(frame: Frame<Bytes>) -> Option<Line> {
    let line = frame.into_data().ok()?;
    Some(Ok(Frame::data(line.slice(..line.len() / 2))))
}

/// "Too old", as the API server says it on a watch that is open.
fn gone() -> Frame<Bytes> {
    let status = json!({ "type": "ERROR", "object": {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version", "reason": "Expired", "code": 410,
    } });
    Frame::data(Bytes::from(format!("{status}\n")))
}
