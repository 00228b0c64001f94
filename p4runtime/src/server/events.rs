//! From the switch to its controllers: packets, idle timeouts, digests; and who the controllers are.
//!
//! In: arbitration messages and departures of streams, and what the switch tells. Out: messages in the streams'
//! outboxes. Calls never block: what does not fit an outbox is dropped and counted, but for arbitration notices, whose
//! loss ends the stream. Only primaries get packets and notifications.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use p4runtime_proto::p4::v1 as proto;
use parking_lot::Mutex;
use proto::stream_message_response::Update as Message;
use tokio::sync::{Notify, mpsc, oneshot};
use tonic::Status;

use super::arbitration::{Arbiter, ArbitrationError, Claim, Notice, Outcome, StreamId};
use super::digest::DigestQueues;
use super::encode;
use super::switch::{Entry, RoleScope};
use crate::schema::Schema;

/// A message on its way to a controller, or the end of its stream.
pub(super) type Outgoing = Result<proto::StreamMessageResponse, Status>;

/// What was sent to controllers and what was lost.
#[derive(Debug, Default)]
pub struct EventCounters {
    packets_in: AtomicU64,
    packets_dropped: AtomicU64,
    notifications: AtomicU64,
    notifications_dropped: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventTotals {
    /// Packets that a controller's stream took.
    pub packets_in: u64,
    /// Packets without a primary, or with no room in its stream.
    pub packets_dropped: u64,
    /// Digest lists and idle-timeout notifications that a stream took.
    pub notifications: u64,
    /// Those without a primary, or with no room in its stream.
    pub notifications_dropped: u64,
}

/// Where a switch puts what it has to tell. Cheap to clone; calls never block.
#[derive(Clone)]
pub struct Events {
    hub: Arc<Hub>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("totals", &self.totals())
            .finish()
    }
}

impl Events {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// A packet for the controllers, with the fields of the packet_in header in order (any number of leading zero
    /// bytes). `false` when nobody got it.
    pub fn packet_in(&self, payload: Vec<u8>, metadata: &[&[u8]]) -> bool {
        self.hub.packet_in(payload, metadata)
    }

    /// Entries that were not hit for their timeout; table, key, metadata and timeout count.
    pub fn idle_timeout(&self, entries: &[Entry<'_>]) {
        self.hub.idle_timeout(entries);
    }

    /// A digest sample by digest id; samples of digests that are off are dropped.
    pub fn digest(&self, digest: u32, data: proto::P4Data) {
        self.hub.digest(digest, data);
    }

    /// What was sent and lost so far.
    pub fn totals(&self) -> EventTotals {
        let counters = &self.hub.counters;
        EventTotals {
            packets_in: counters.packets_in.load(Ordering::Relaxed),
            packets_dropped: counters.packets_dropped.load(Ordering::Relaxed),
            notifications: counters.notifications.load(Ordering::Relaxed),
            notifications_dropped: counters.notifications_dropped.load(Ordering::Relaxed),
        }
    }
}

/// The streams of all controllers.
pub(super) struct Hub {
    inner: Mutex<Inner>,
    counters: EventCounters,
    started: Instant,
    /// Tells the digest timer that a list may be due earlier.
    pub(super) digest_opened: Notify,
}

struct Inner {
    arbiter: Arbiter,
    outboxes: HashMap<StreamId, Outbox>,
    next_stream: u64,
    schema: Option<Arc<Schema>>,
    digests: DigestQueues,
}

struct Outbox {
    control: mpsc::Sender<Outgoing>,
    data: mpsc::Sender<Outgoing>,
    /// Dropped with the rest, which is how the stream's task learns of it.
    _alive: oneshot::Sender<()>,
}

impl Hub {
    pub(super) fn new(device_id: u64, max_streams: usize) -> Self {
        let inner = Inner {
            arbiter: Arbiter::new(device_id, max_streams),
            outboxes: HashMap::new(),
            next_stream: 0,
            schema: None,
            digests: DigestQueues::default(),
        };
        Self {
            inner: Mutex::new(inner),
            counters: EventCounters::default(),
            started: Instant::now(),
            digest_opened: Notify::new(),
        }
    }

    /// Adds a stream that has claimed nothing yet; the receiver tells when the hub let go of it.
    pub(super) fn join(
        &self,
        control: mpsc::Sender<Outgoing>,
        data: mpsc::Sender<Outgoing>,
    ) -> (StreamId, oneshot::Receiver<()>) {
        let (alive, removed) = oneshot::channel();
        let mut inner = self.inner.lock();
        inner.next_stream += 1;
        let stream = StreamId(inner.next_stream);
        inner.outboxes.insert(
            stream,
            Outbox {
                control,
                data,
                _alive: alive,
            },
        );
        (stream, removed)
    }

    /// Removes a stream and tells those that have to know.
    pub(super) fn leave(&self, stream: StreamId) {
        let mut inner = self.inner.lock();
        inner.outboxes.remove(&stream);
        let notices = inner.arbiter.leave(stream);
        inner.send_notices(notices);
    }

    /// Handles a claim and sends what must be sent at once; the rest is for after the writes in flight.
    pub(super) fn claim(
        &self,
        stream: StreamId,
        claim: Claim,
    ) -> Result<Vec<Notice>, ArbitrationError> {
        let mut inner = self.inner.lock();
        let Outcome { now, after_writes } = inner.arbiter.claim(stream, claim)?;
        inner.send_notices(now);
        Ok(after_writes)
    }

    /// Sends notices that were held back.
    pub(super) fn send_notices(&self, notices: Vec<Notice>) {
        self.inner.lock().send_notices(notices);
    }

    pub(super) fn primary_scope(
        &self,
        role: &str,
        election_id: Option<u128>,
    ) -> Option<Arc<RoleScope>> {
        self.inner.lock().arbiter.primary_scope(role, election_id)
    }

    pub(super) fn role_scope(&self, role: &str) -> Option<Arc<RoleScope>> {
        self.inner.lock().arbiter.scope(role)
    }

    pub(super) fn is_primary(&self, stream: StreamId) -> bool {
        self.inner.lock().arbiter.is_primary(stream)
    }

    /// Another program is in charge: its packet headers count, digests are off.
    pub(super) fn set_schema(&self, schema: Arc<Schema>) {
        let mut inner = self.inner.lock();
        inner.schema = Some(schema);
        inner.digests.clear();
    }

    pub(super) fn with_digests<T>(&self, change: impl FnOnce(&mut DigestQueues) -> T) -> T {
        change(&mut self.inner.lock().digests)
    }

    /// Whether the running program has the digest.
    pub(super) fn has_digest(&self, digest: u32) -> bool {
        self.inner
            .lock()
            .schema
            .as_ref()
            .is_some_and(|schema| schema.digests.get(digest).is_some())
    }

    /// Puts an error report or other droppable message into one stream.
    pub(super) fn reply(&self, stream: StreamId, message: Message) {
        if let Some(outbox) = self.inner.lock().outboxes.get(&stream) {
            let _ = outbox.data.try_send(response(message));
        }
    }

    /// Ends every stream.
    pub(super) fn close(&self, status: &Status) {
        let outboxes = std::mem::take(&mut self.inner.lock().outboxes);
        for outbox in outboxes.into_values() {
            let _ = outbox.control.try_send(Err(status.clone()));
        }
    }

    fn packet_in(&self, payload: Vec<u8>, metadata: &[&[u8]]) -> bool {
        let inner = self.inner.lock();
        let packet = inner
            .schema
            .as_ref()
            .and_then(|schema| encode::packet_in(schema, payload, metadata));
        let sent = packet
            .is_some_and(|packet| inner.to_primaries(|s| !s.no_packets, Message::Packet(packet)));
        let counter = if sent {
            &self.counters.packets_in
        } else {
            &self.counters.packets_dropped
        };
        counter.fetch_add(1, Ordering::Relaxed);
        sent
    }

    fn idle_timeout(&self, entries: &[Entry<'_>]) {
        let Some(first) = entries.first() else { return };
        let table = first.table.id;
        let notification = proto::IdleTimeoutNotification {
            table_entry: entries.iter().map(encode::idle_entry).collect(),
            timestamp: epoch_ns(),
        };
        let inner = self.inner.lock();
        let message = Message::IdleTimeoutNotification(notification);
        self.count_notification(inner.to_primaries(|scope| scope.may_write(table), message));
    }

    fn digest(&self, digest: u32, data: proto::P4Data) {
        let mut inner = self.inner.lock();
        let list = inner.digests.push(digest, data, self.now_ns());
        let opened = list.is_none();
        if let Some(list) = list {
            self.send_list(&inner, list);
        }
        drop(inner);
        if opened {
            self.digest_opened.notify_one();
        }
    }

    /// Sends the lists that waited long enough; returns when to look again.
    pub(super) fn flush_digests(&self) -> Option<std::time::Duration> {
        let mut inner = self.inner.lock();
        let now = self.now_ns();
        for list in inner.digests.due(now) {
            self.send_list(&inner, list);
        }
        inner
            .digests
            .next_due()
            .map(|at| std::time::Duration::from_nanos(at.saturating_sub(now)))
    }

    fn send_list(&self, inner: &Inner, mut list: proto::DigestList) {
        list.timestamp = epoch_ns();
        let digest = list.digest_id;
        self.count_notification(
            inner.to_primaries(|scope| scope.may_write(digest), Message::Digest(list)),
        );
    }

    fn count_notification(&self, sent: bool) {
        let counter = if sent {
            &self.counters.notifications
        } else {
            &self.counters.notifications_dropped
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Inner {
    fn send_notices(&mut self, notices: Vec<Notice>) {
        for notice in notices {
            let Some(outbox) = self.outboxes.get(&notice.to) else {
                continue;
            };
            if outbox
                .control
                .try_send(response(Message::Arbitration(notice.update)))
                .is_err()
            {
                // Its client does not read: without the senders the stream ends.
                self.outboxes.remove(&notice.to);
            }
        }
    }

    /// Whether at least one primary took the message.
    fn to_primaries(&self, wanted: impl Fn(&RoleScope) -> bool, message: Message) -> bool {
        let mut sent = false;
        for (stream, _) in self.arbiter.primaries().filter(|(_, scope)| wanted(scope)) {
            if let Some(outbox) = self.outboxes.get(&stream)
                && let Ok(permit) = outbox.data.try_reserve()
            {
                permit.send(response(message.clone()));
                sent = true;
            }
        }
        sent
    }
}

fn response(message: Message) -> Outgoing {
    Ok(proto::StreamMessageResponse {
        update: Some(message),
    })
}

/// Nanoseconds since 1970, as the messages carry them.
fn epoch_ns() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
