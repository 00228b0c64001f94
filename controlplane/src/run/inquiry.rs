//! Questions to the running daemon.
//!
//! In: questions of who traces packets, from any task. Out: the reconciler's answers, given between two synchronisations.

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use crate::trace::why::{Knowing, Question, Why};

/// Questions that may wait.
const WAITING: usize = 16;

/// A question, and where its answer goes.
pub(super) struct Inquiry {
    /// The question.
    pub question: Question,
    /// Where the answer goes; whoever asked may have left.
    pub answer: oneshot::Sender<Option<Why>>,
}

/// Where questions are put.
#[derive(Clone, Debug)]
pub struct Inquiries(mpsc::Sender<Inquiry>);

impl Inquiries {
    pub(super) fn new() -> (Self, mpsc::Receiver<Inquiry>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }
}

#[async_trait]
impl Knowing for Inquiries {
    async fn why(&self, question: Question) -> Option<Why> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Inquiry { question, answer }).await.ok()?;
        answered.await.ok().flatten()
    }
}
