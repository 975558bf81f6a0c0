//! What a flow cannot do without: a durable commit at its beginning and one at its end, and between them calls of a stub,
//! each after a commit of what is about to be called, and before one of what came of it. Where calls follow each other these may be
//! one: `n` calls need `n + 1` commits then.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use actix_web::HttpResponse;
use actix_web::web::{self, Bytes};
use anyhow::ensure;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::queue::Queue;
use crate::client::{Connection, Target};
use crate::stub;

/// The calls of every flow.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    /// How many.
    pub(super) calls: u32,
    /// How many of them at once.
    pub(super) at_once: usize,
    /// Whether what a call gave is committed with what is called next.
    pub(super) joined: bool,
    /// Whom they call.
    pub(super) stub: SocketAddr,
    /// Connections of this worker that nobody uses at the moment.
    pub(super) idle: Rc<RefCell<Vec<Connection>>>,
}

/// Goes through a flow; the answer is its last commit's.
pub(super) async fn run(flow: web::Data<Flow>, queue: web::Data<Queue<Bytes>>, body: Bytes) -> HttpResponse {
    match flow.go(&queue, &body).await {
        Ok(()) => super::commit::stored(),
        Err(error) => HttpResponse::BadGateway().body(format!("{error:#}")),
    }
}

impl Flow {
    async fn go(&self, queue: &Queue<Bytes>, body: &Bytes) -> anyhow::Result<()> {
        if self.joined {
            // The beginning, with the first intent; then each outcome, with the next intent or the end.
            queue.commit(body.clone()).await?;
            for number in 0..self.calls {
                let result = self.ask(number).await?;
                queue.commit(result).await?;
            }
            return Ok(());
        }
        queue.commit(body.clone()).await?;
        futures_util::stream::iter(0..self.calls)
            .map(|number| self.call(queue, number))
            .buffer_unordered(self.at_once)
            .try_for_each(|()| std::future::ready(Ok(())))
            .await?;
        queue.commit(body.clone()).await
    }

    async fn call(&self, queue: &Queue<Bytes>, number: u32) -> anyhow::Result<()> {
        queue.commit(arguments(number)).await?;
        let result = self.ask(number).await?;
        queue.commit(result).await
    }

    /// Calls the stub.
    async fn ask(&self, number: u32) -> anyhow::Result<Bytes> {
        let arguments = arguments(number);
        let idle = self.idle.borrow_mut().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(self.stub).await?,
        };
        let mut request = Vec::new();
        let target = Target { address: self.stub, key: String::new() };
        target.post(&mut request, stub::PATH, &arguments);
        let answer = connection.exchange(&request).await?.expect(200)?;
        ensure!(answer.body == arguments, "not what was sent: {}", answer.excerpt());
        let result = Bytes::copy_from_slice(answer.body);
        self.idle.borrow_mut().push(connection);
        Ok(result)
    }
}

fn arguments(number: u32) -> Bytes {
    Bytes::from(format!(r#"{{"n":{number}}}"#))
}
