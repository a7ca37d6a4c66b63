//! What the dying operator has in it: a layer around its connections that counts requests and, at
//! the chosen one, ends the process as a power cut would.

use std::{
    future::Future,
    io::{BufRead, Write},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    thread,
};

use rerail_operator::client::describe;
use tower::{Layer, Service};

use super::orders::{Dies, KillPoint, Moment, Order, Request, Said};
use crate::Error;

#[derive(Debug)]
struct State {
    /// Requests since the latest order.
    counted: usize,
    point: Option<KillPoint>,
}

/// The layer. Its clones count together.
#[derive(Debug, Clone)]
pub struct Death(Arc<Mutex<State>>);

impl Death {
    /// Takes the first order from standard input before anything else happens, and goes on to take
    /// orders from there. When the parent has gone the process ends, too.
    pub fn by_standard_input() -> Result<Self, Error> {
        let mut lines = std::io::stdin().lines();
        let missing = || Error::Mortal("its first order, a line of JSON, did not come".to_owned());
        let first = lines.next().ok_or_else(missing)?.map_err(|_| missing())?;
        let death = Death(Arc::new(Mutex::new(State { counted: 0, point: None })));
        death.obey(parse(&first)?);
        let obedient = death.clone();
        // A thread of its own, since reading standard input cannot be given up.
        thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                match parse(&line) {
                    Ok(order) => obedient.obey(order),
                    Err(error) => eprintln!("{error}"),
                }
            }
            std::process::abort();
        });
        Ok(death)
    }

    fn obey(&self, order: Order) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.counted = 0;
        state.point = match order {
            Order::Live => None,
            Order::Die(point) => Some(point),
        };
        // Still locked: what is said of later requests comes later.
        say(&Said::Counting);
    }

    /// Counts a request. Does not return if the process dies before it; gives back the last words
    /// if it dies after it.
    fn count(&self, verb: &str, resource: String) -> Option<Dies> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.counted += 1;
        let request = Request { number: state.counted, verb: verb.to_owned(), resource };
        say(&Said::Request(request.clone()));
        let point = state.point.take_if(|point| point.which.is(&request))?;
        let dies = Dies { request, moment: point.moment };
        match dies.moment {
            Moment::Before => die(dies),
            Moment::After => Some(dies),
        }
    }
}

fn parse(line: &str) -> Result<Order, Error> {
    serde_json::from_str(line).map_err(|error| Error::Mortal(format!("not an order: {error}")))
}

/// The parent may have gone; then there is nobody to tell.
fn say(said: &Said) {
    let Ok(line) = serde_json::to_string(said) else { return };
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// No destructor runs, no task goes on, no connection is closed politely.
fn die(dies: Dies) -> ! {
    say(&Said::Dies(dies));
    std::process::abort()
}

impl<S> Layer<S> for Death {
    type Service = Mortal<S>;

    fn layer(&self, inner: S) -> Mortal<S> {
        Mortal { inner, death: self.clone() }
    }
}

/// A service whose process may die of a request.
#[derive(Debug)]
pub struct Mortal<S> {
    inner: S,
    death: Death,
}

impl<S, B> Service<http::Request<B>> for Mortal<S>
where
    S: Service<http::Request<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let (verb, resource) = describe(request.method(), request.uri());
        let dies = if verb == "watch" { None } else { self.death.count(verb, resource) };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            match dies {
                Some(dies) => die(dies),
                None => answer,
            }
        })
    }
}
