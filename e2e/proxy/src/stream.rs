//! Bodies on their way to the client: streamed as they come, and cut when a test says so.

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use kube::client::Body;
use tokio::sync::mpsc;

use crate::{
    Asked, Cut,
    error::Severed,
    fault::{HALF_LINE, expired_event},
    wire::ResetAtEnd,
};

/// The body of an answer.
pub(crate) type ReplyBody = UnsyncBoxBody<Bytes, Severed>;

/// hyper writes to the socket when a body has nothing more to give at the moment; an error that came
/// at once would take the bytes before it along.
const FLUSHED_AFTER: Duration = Duration::from_millis(50);

/// A watch that is open.
pub(crate) struct OpenWatch {
    pub(crate) resource: String,
    orders: mpsc::Sender<Cut>,
}

impl OpenWatch {
    /// False when it has ended by itself.
    pub(crate) fn is_open(&self) -> bool {
        !self.orders.is_closed()
    }

    /// Cuts it; false when it had ended already.
    pub(crate) fn cut(&self, cut: Cut) -> bool {
        self.orders.try_send(cut).is_ok()
    }
}

/// A body that is all there.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> ReplyBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// The first half of a body, and then the connection breaks.
pub(crate) fn half(bytes: &Bytes) -> ReplyBody {
    let (sender, receiver) = mpsc::channel(1);
    let first = bytes.slice(..bytes.len() / 2);
    tokio::spawn(async move {
        let _ = sender.send(Ok(first)).await;
        tokio::time::sleep(FLUSHED_AFTER).await;
        let _ = sender.send(Err(Severed)).await;
    });
    from(receiver)
}

/// The API server's body as it comes, and the means to cut it.
pub(crate) fn relay(asked: &Asked, body: Body, reset: ResetAtEnd) -> (ReplyBody, OpenWatch) {
    let (sender, receiver) = mpsc::channel(1);
    let (orders, ordered) = mpsc::channel(1);
    tokio::spawn(pump(asked.clone(), body, sender, ordered, reset));
    (from(receiver), OpenWatch { resource: asked.resource.clone(), orders })
}

fn from(receiver: mpsc::Receiver<Result<Bytes, Severed>>) -> ReplyBody {
    let frames = stream::unfold(receiver, |mut receiver| async move {
        let next = receiver.recv().await?;
        Some((next.map(Frame::data), receiver))
    });
    BodyExt::boxed_unsync(StreamBody::new(frames))
}

async fn pump(
    asked: Asked,
    mut body: Body,
    sender: mpsc::Sender<Result<Bytes, Severed>>,
    mut orders: mpsc::Receiver<Cut>,
    reset: ResetAtEnd,
) {
    loop {
        let frame = tokio::select! {
            biased;
            () = sender.closed() => return,
            Some(cut) = orders.recv() => return end(&asked, cut, &sender, &reset).await,
            frame = body.frame() => frame,
        };
        let sent = match frame {
            None => return,
            Some(Err(_)) => sender.send(Err(Severed)).await,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => sender.send(Ok(data)).await,
                Err(_trailers) => Ok(()),
            },
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn end(
    asked: &Asked,
    cut: Cut,
    sender: &mpsc::Sender<Result<Bytes, Severed>>,
    reset: &ResetAtEnd,
) {
    match cut {
        Cut::Clean => {}
        Cut::HalfLine => {
            let _ = sender.send(Ok(HALF_LINE.into())).await;
            tokio::time::sleep(FLUSHED_AFTER).await;
            let _ = sender.send(Err(Severed)).await;
        }
        Cut::Reset => {
            reset.set();
            let _ = sender.send(Err(Severed)).await;
        }
        Cut::Mute => sender.closed().await,
        Cut::Expired => {
            let _ = sender.send(Ok(expired_event(asked).into())).await;
        }
    }
}
