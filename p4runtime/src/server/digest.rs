//! Digest queues: batches samples into lists and does not repeat what was not acknowledged yet.
//!
//! In: samples, acknowledgements and the time (nanoseconds of any steady clock). Out: lists to send.
//! Invariant: a sample is in at most one place, the open list or one list on its way.
//! Source: P4Runtime specification, section "DigestEntry".

use std::collections::{HashMap, HashSet};

use p4runtime_proto::p4::v1 as proto;
use prost::Message;
use proto::digest_entry::Config;

/// Samples in one list when the controller does not say.
const LIST_SIZE: usize = 256;
/// Lists on their way per digest; the oldest is forgotten beyond.
const MAX_UNACKED: usize = 1024;

/// The queues of all digests that are switched on.
#[derive(Debug, Default)]
pub struct DigestQueues {
    queues: HashMap<u32, Queue>,
    next_list: u64,
}

#[derive(Debug)]
struct Queue {
    config: Config,
    open: Vec<proto::P4Data>,
    opened_at: u64,
    known: HashSet<Vec<u8>>,
    open_keys: Vec<Vec<u8>>,
    unacked: Vec<(u64, u64, Vec<Vec<u8>>)>,
}

impl DigestQueues {
    /// Forgets everything: another program runs.
    pub fn clear(&mut self) {
        self.queues.clear();
    }

    /// Switches a digest on; `false` if it is on.
    pub fn insert(&mut self, digest: u32, config: Config) -> bool {
        if self.queues.contains_key(&digest) {
            return false;
        }
        let queue = Queue {
            config,
            open: Vec::new(),
            opened_at: 0,
            known: HashSet::new(),
            open_keys: Vec::new(),
            unacked: Vec::new(),
        };
        self.queues.insert(digest, queue);
        true
    }

    /// Changes the configuration; `false` if the digest is off.
    pub fn modify(&mut self, digest: u32, config: Config) -> bool {
        self.queues
            .get_mut(&digest)
            .map(|queue| queue.config = config)
            .is_some()
    }

    /// Switches a digest off; `false` if it is off.
    pub fn delete(&mut self, digest: u32) -> bool {
        self.queues.remove(&digest).is_some()
    }

    /// Digests that are on, or the one asked for.
    pub fn entries(&self, digest: Option<u32>) -> Vec<proto::DigestEntry> {
        let mut entries: Vec<_> = self
            .queues
            .iter()
            .filter(|(id, _)| digest.is_none_or(|wanted| wanted == **id))
            .map(|(id, queue)| proto::DigestEntry {
                digest_id: *id,
                config: Some(queue.config),
            })
            .collect();
        entries.sort_by_key(|entry| entry.digest_id);
        entries
    }

    /// Takes a sample; returns the list that it completed.
    pub fn push(
        &mut self,
        digest: u32,
        data: proto::P4Data,
        now: u64,
    ) -> Option<proto::DigestList> {
        let queue = self.queues.get_mut(&digest)?;
        queue.expire(now);
        let key = data.encode_to_vec();
        if !queue.known.insert(key.clone()) {
            return None;
        }
        if queue.open.is_empty() {
            queue.opened_at = now;
        }
        queue.open.push(data);
        queue.open_keys.push(key);
        let limit = usize::try_from(queue.config.max_list_size)
            .ok()
            .filter(|size| *size > 0)
            .unwrap_or(LIST_SIZE);
        if queue.open.len() >= limit || queue.config.max_timeout_ns <= 0 {
            return Some(queue.close(digest, &mut self.next_list, now));
        }
        None
    }

    /// Lists whose oldest sample waited long enough.
    pub fn due(&mut self, now: u64) -> Vec<proto::DigestList> {
        let next_list = &mut self.next_list;
        let due = self
            .queues
            .iter_mut()
            .filter(|(_, queue)| queue.deadline().is_some_and(|at| at <= now));
        due.map(|(digest, queue)| queue.close(*digest, next_list, now))
            .collect()
    }

    /// When `due` has something next.
    pub fn next_due(&self) -> Option<u64> {
        self.queues.values().filter_map(Queue::deadline).min()
    }

    /// A list arrived; its samples may be sent again.
    pub fn ack(&mut self, digest: u32, list: u64) {
        if let Some(queue) = self.queues.get_mut(&digest)
            && let Some(at) = queue.unacked.iter().position(|(id, ..)| *id == list)
        {
            let (.., keys) = queue.unacked.remove(at);
            keys.iter().for_each(|key| {
                queue.known.remove(key);
            });
        }
    }
}

impl Queue {
    fn deadline(&self) -> Option<u64> {
        (!self.open.is_empty()).then(|| {
            self.opened_at
                .saturating_add(self.config.max_timeout_ns.max(0) as u64)
        })
    }

    fn close(&mut self, digest: u32, next_list: &mut u64, now: u64) -> proto::DigestList {
        *next_list += 1;
        if self.unacked.len() >= MAX_UNACKED {
            let (.., keys) = self.unacked.remove(0);
            keys.iter().for_each(|key| {
                self.known.remove(key);
            });
        }
        self.unacked
            .push((*next_list, now, std::mem::take(&mut self.open_keys)));
        let data = std::mem::take(&mut self.open);
        proto::DigestList {
            digest_id: digest,
            list_id: *next_list,
            data,
            timestamp: 0,
        }
    }

    /// Lists that were not acknowledged in time do not hold their samples back any more.
    fn expire(&mut self, now: u64) {
        let timeout = self.config.ack_timeout_ns.max(0) as u64;
        let known = &mut self.known;
        self.unacked.retain(|(_, sent, keys)| {
            let alive = sent.saturating_add(timeout) > now;
            if !alive {
                keys.iter().for_each(|key| {
                    known.remove(key);
                });
            }
            alive
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(byte: u8) -> proto::P4Data {
        proto::P4Data {
            data: Some(proto::p4_data::Data::Bitstring(vec![byte])),
        }
    }

    #[test]
    fn lists_by_size_and_by_time() {
        let mut queues = DigestQueues::default();
        assert!(queues.push(7, sample(1), 0).is_none(), "off");
        let config = Config {
            max_timeout_ns: 100,
            max_list_size: 2,
            ack_timeout_ns: 1000,
        };
        assert!(queues.insert(7, config) && !queues.insert(7, config));

        assert!(queues.push(7, sample(1), 0).is_none());
        assert!(
            queues.push(7, sample(1), 1).is_none(),
            "a duplicate does not count"
        );
        let list = queues.push(7, sample(2), 2).unwrap();
        assert_eq!((list.list_id, list.data.len()), (1, 2));

        assert!(queues.push(7, sample(1), 3).is_none(), "not acknowledged");
        assert_eq!(queues.next_due(), None);
        queues.ack(7, 1);
        assert!(queues.push(7, sample(1), 50).is_none());
        assert_eq!(queues.next_due(), Some(150));
        assert!(queues.due(149).is_empty());
        assert_eq!(queues.due(150)[0].data, [sample(1)]);

        assert!(queues.push(7, sample(1), 1149).is_none());
        assert_eq!(queues.next_due(), None, "held back by the list on its way");
        queues.push(7, sample(1), 1150);
        assert_eq!(queues.next_due(), Some(1250), "acknowledgement timed out");
        assert!(queues.delete(7) && !queues.delete(7) && !queues.modify(7, config));
    }
}
