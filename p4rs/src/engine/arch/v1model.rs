//! v1model, in the order of events of the simple switch.
//!
//! ```text
//! parser ▶ verify ▶ ingress ▶ clone? digest? ▶ resubmit | multicast | drop | unicast
//!    ▲                                              │         │               │
//!    └──────────────────────────────────────────────┘         └──── copies ───┤
//!    └── recirculate ── deparser ◀ compute ◀ drop? ◀ clone? ◀ egress ◀────────┘
//! ```
//!
//! In: a packet. Out: outputs. Invariant: metadata is zero at the start of every pass but for the field list that
//! the program preserves.

use rustc_hash::FxHashMap;

use super::super::interp::{Lower, Run, Slot};
use super::super::native::Fate;
use super::super::outputs::DropReason;
use super::super::trace::{Event, Verdict};
use super::super::{Config, LoadError, bits, layout};
use super::{Blocks, CloneIntent, Copy, Job, Kept, Region};
use crate::ir::{Annotated, AnnotationValue, Handle, Program, Type};

/// `instance_type` values.
const NORMAL: u32 = 0;
const INGRESS_CLONE: u32 = 1;
const EGRESS_CLONE: u32 = 2;
const RECIRCULATED: u32 = 4;
const REPLICATED: u32 = 5;
const RESUBMITTED: u32 = 6;

/// Slots of the standard metadata.
pub(crate) struct Standard {
    pub ingress_port: Slot,
    pub egress_spec: Slot,
    pub egress_port: Slot,
    pub instance_type: Slot,
    pub packet_length: Slot,
    pub enq_timestamp: Slot,
    pub ingress_timestamp: Slot,
    pub egress_timestamp: Slot,
    pub mcast_grp: Slot,
    pub egress_rid: Slot,
    pub checksum_error: Slot,
    pub parser_error: Slot,
}

/// A loaded v1model program.
pub(crate) struct V1Model {
    pub parser: u32,
    pub verify: u32,
    pub ingress: u32,
    pub egress: u32,
    pub compute: u32,
    pub deparser: u32,
    user: Region,
    metadata: Region,
    pub std: Standard,
    pub port_mask: u128,
    pub drop_port: u128,
    lists: FxHashMap<u32, Vec<(Slot, u32)>>,
}

impl V1Model {
    pub(super) fn load(
        blocks: &Blocks<'_>,
        config: &Config,
        lower: &mut Lower<'_>,
    ) -> Result<Self, LoadError> {
        let (parser, params) = blocks.parser(0, "parser")?;
        let headers = blocks.region(lower, blocks.param(params, "parser", 1)?);
        let user_param = blocks.param(params, "parser", 2)?;
        let user = blocks.region(lower, user_param);
        let std_param = blocks.param(params, "parser", 3)?;
        let metadata = blocks.region(lower, std_param);
        blocks.bind(
            lower,
            params,
            "parser",
            &[(1, headers), (2, user), (3, metadata)],
        )?;
        let mut controls = Vec::new();
        for (index, name) in ["verify", "ingress", "egress", "compute", "deparser"]
            .into_iter()
            .enumerate()
        {
            let (control, params) = blocks.control(index + 1, name)?;
            let regions: &[(usize, Region)] = match name {
                "deparser" => &[(1, headers)],
                "verify" | "compute" => &[(0, headers), (1, user)],
                _ => &[(0, headers), (1, user), (2, metadata)],
            };
            blocks.bind(lower, params, name, regions)?;
            controls.push(control);
        }
        let mut field = |name: &str| blocks.field(lower, std_param, metadata, name);
        let std = Standard {
            ingress_port: field("ingress_port"),
            egress_spec: field("egress_spec"),
            egress_port: field("egress_port"),
            instance_type: field("instance_type"),
            packet_length: field("packet_length"),
            enq_timestamp: field("enq_timestamp"),
            ingress_timestamp: field("ingress_global_timestamp"),
            egress_timestamp: field("egress_global_timestamp"),
            mcast_grp: field("mcast_grp"),
            egress_rid: field("egress_rid"),
            checksum_error: field("checksum_error"),
            parser_error: field("parser_error"),
        };
        let port_mask = match blocks.field_type(std_param, "egress_spec") {
            Some(Type::Bits { width, .. }) => bits::mask(*width),
            _ => bits::mask(9),
        };
        let mut lists = FxHashMap::default();
        let user_type = blocks.program.vars[user_param.var].ty;
        field_lists(blocks.program, user_type, user.slot, &mut lists);
        let parser = lower.parser(parser)?;
        let mut lowered = controls.into_iter().map(|control| lower.control(control));
        let mut next = || {
            lowered
                .next()
                .unwrap_or(Err(LoadError::MissingBlock("control")))
        };
        Ok(Self {
            parser,
            verify: next()?,
            ingress: next()?,
            egress: next()?,
            compute: next()?,
            deparser: next()?,
            user,
            metadata,
            std,
            port_mask,
            drop_port: u128::from(config.drop_port),
            lists,
        })
    }

    /// The first pass over the packet in the state.
    pub(super) fn first(&self, run: &mut Run<'_, '_>, port: u32) {
        self.ingress(run, port, NORMAL, &Kept::new());
    }

    /// The passes that the first one left to do.
    pub(super) fn rest(&self, run: &mut Run<'_, '_>) {
        while let Some(job) = run.state.queue.pop_front() {
            if !run.pass() {
                run.drop_packet(DropReason::PassLimit);
                continue;
            }
            match job {
                Job::Ingress { packet, kind, kept } => {
                    run.state.packet = packet;
                    self.ingress(run, 0, kind, &kept);
                }
                Job::Cloned { packet, copy, kept } => {
                    run.state.packet = packet;
                    self.cloned(run, copy, &kept);
                }
                Job::Egress {
                    packet,
                    cursor,
                    slots,
                    copy,
                } => {
                    run.begin();
                    run.state.packet = packet;
                    run.state.cursor = cursor;
                    run.state.slots = slots;
                    self.egress(run, copy);
                }
            }
        }
    }

    /// Parser and what every pass starts with; false when the packet is lost.
    fn parse(&self, run: &mut Run<'_, '_>, port: u32, kind: u32, kept: &Kept) -> bool {
        run.begin();
        let (length, pass) = (run.state.packet.len(), run.state.passes - 1);
        run.trace(&Event::Start { port, length, pass });
        run.set(self.std.ingress_port, u128::from(port) & self.port_mask);
        run.set(self.std.instance_type, u128::from(kind));
        run.set(self.std.packet_length, length as u128 & bits::mask(32));
        run.set(
            self.std.ingress_timestamp,
            u128::from(run.now.0 / 1000) & bits::mask(48),
        );
        restore(run, kept);
        match run.run_parser(self.parser) {
            Ok(error) => {
                run.set(self.std.parser_error, u128::from(error));
                true
            }
            Err(reason) => {
                run.drop_packet(reason);
                false
            }
        }
    }

    /// What follows a first pass that machine code ran.
    pub(super) fn conclude(&self, run: &mut Run<'_, '_>, fate: Fate) {
        match fate {
            Fate::Sent => {}
            Fate::Dropped(reason) => run.drop_packet(reason),
            Fate::Decide => self.decide(run),
            Fate::Egress(port) => self.after_egress(run, port),
        }
    }

    fn ingress(&self, run: &mut Run<'_, '_>, port: u32, kind: u32, kept: &Kept) {
        if !self.parse(run, port, kind, kept) {
            return;
        }
        let mut result = run.run_control(self.verify);
        if run.state.intents.checksum_error {
            run.set(self.std.checksum_error, 1);
        }
        if result.is_ok() {
            result = run.run_control(self.ingress);
        }
        match result {
            Ok(()) => self.decide(run),
            Err(reason) => run.drop_packet(reason),
        }
    }

    /// After ingress: clone, digest, then the packet's own way.
    fn decide(&self, run: &mut Run<'_, '_>) {
        if let Some(intent) = run.state.intents.clone_ingress.take() {
            self.clone_ingress(run, intent);
        }
        if let Some(digest) = run.state.intents.digest.take() {
            run.out.digests.push(digest);
        }
        if let Some(list) = run.state.intents.resubmit.take() {
            let kept = self.keep(run, list);
            run.trace(&Event::Verdict(Verdict::Resubmit));
            let packet = run.state.packet.clone();
            run.state.queue.push_back(Job::Ingress {
                packet,
                kind: RESUBMITTED,
                kept,
            });
            return;
        }
        let group = run.slot(self.std.mcast_grp) as u32;
        if group != 0 {
            return self.multicast(run, group);
        }
        let port = run.slot(self.std.egress_spec);
        if port == self.drop_port {
            return run.drop_packet(DropReason::Ingress);
        }
        let copy = Copy {
            port: port as u32,
            instance: 0,
            // Of packets that came again, too: simple_switch tells egress nothing of it.
            kind: NORMAL,
            truncate: run.state.intents.truncate,
        };
        if run.state.queue.is_empty() {
            self.egress(run, copy);
        } else {
            let job = snapshot(run, copy);
            run.state.queue.push_back(job);
        }
    }

    fn clone_ingress(&self, run: &mut Run<'_, '_>, intent: CloneIntent) {
        let Some(session) = run.machine.replication().session(intent.session) else {
            return;
        };
        run.trace(&Event::Clone {
            session: intent.session,
            egress: false,
        });
        let kept = self.keep(run, intent.list);
        let truncate = Some(session.packet_length_bytes as usize).filter(|&length| length != 0);
        for replica in &session.replicas {
            let copy = Copy {
                port: replica.port,
                instance: replica.instance,
                kind: INGRESS_CLONE,
                truncate,
            };
            let packet = run.state.packet.clone();
            run.state.queue.push_back(Job::Cloned {
                packet,
                copy,
                kept: kept.clone(),
            });
        }
    }

    /// A clone made in ingress: parsed again, then straight to egress.
    fn cloned(&self, run: &mut Run<'_, '_>, copy: Copy, kept: &Kept) {
        if self.parse(run, 0, copy.kind, kept) {
            self.egress(run, copy);
        }
    }

    fn multicast(&self, run: &mut Run<'_, '_>, group: u32) {
        run.trace(&Event::Verdict(Verdict::Multicast { group }));
        let replicas = run.machine.replication().group(group).unwrap_or_default();
        if replicas.is_empty() {
            return run.drop_packet(DropReason::NoReplica);
        }
        let truncate = run.state.intents.truncate;
        for replica in replicas.iter() {
            let copy = Copy {
                port: replica.port,
                instance: replica.instance,
                kind: REPLICATED,
                truncate,
            };
            let job = snapshot(run, copy);
            run.state.queue.push_back(job);
        }
    }

    fn egress(&self, run: &mut Run<'_, '_>, copy: Copy) {
        let micros = u128::from(run.now.0 / 1000);
        run.set(self.std.egress_port, u128::from(copy.port) & self.port_mask);
        run.set(self.std.egress_spec, (self.drop_port + 1) & self.port_mask);
        run.set(self.std.instance_type, u128::from(copy.kind));
        run.set(
            self.std.egress_rid,
            u128::from(copy.instance) & bits::mask(16),
        );
        run.set(
            self.std.packet_length,
            run.state.packet.len() as u128 & bits::mask(32),
        );
        run.set(self.std.enq_timestamp, micros & bits::mask(32));
        run.set(self.std.egress_timestamp, micros & bits::mask(48));
        run.state.intents.clear();
        run.state.intents.truncate = copy.truncate;
        if let Err(reason) = run.run_control(self.egress) {
            return run.drop_packet(reason);
        }
        self.after_egress(run, copy.port);
    }

    /// Behind the egress control: clone, drop, deparse, recirculate or send.
    fn after_egress(&self, run: &mut Run<'_, '_>, port: u32) {
        if let Some(intent) = run.state.intents.clone_egress.take() {
            self.clone_egress(run, intent);
        }
        if run.slot(self.std.egress_spec) == self.drop_port {
            return run.drop_packet(DropReason::Egress);
        }
        let computed = run
            .run_control(self.compute)
            .and_then(|()| run.deparse(self.deparser));
        if let Err(reason) = computed {
            return run.drop_packet(reason);
        }
        let limit = run.state.intents.truncate;
        if let Some(list) = run.state.intents.recirculate.take() {
            let kept = self.keep(run, list);
            run.trace(&Event::Verdict(Verdict::Recirculate));
            let packet = run.deparsed(limit);
            if packet.len() > run.machine.config.max_packet_len {
                return run.drop_packet(DropReason::TooLong);
            }
            run.state.queue.push_back(Job::Ingress {
                packet,
                kind: RECIRCULATED,
                kept,
            });
            return;
        }
        run.transmit(port, limit);
    }

    fn clone_egress(&self, run: &mut Run<'_, '_>, intent: CloneIntent) {
        let Some(session) = run.machine.replication().session(intent.session) else {
            return;
        };
        run.trace(&Event::Clone {
            session: intent.session,
            egress: true,
        });
        let kept = self.keep(run, intent.list);
        let truncate = Some(session.packet_length_bytes as usize).filter(|&length| length != 0);
        for replica in &session.replicas {
            let copy = Copy {
                port: replica.port,
                instance: replica.instance,
                kind: EGRESS_CLONE,
                truncate,
            };
            let Job::Egress {
                packet,
                cursor,
                mut slots,
                copy,
            } = snapshot(run, copy)
            else {
                continue;
            };
            for region in [self.user, self.metadata] {
                let at = region.slot as usize;
                slots
                    .get_mut(at..at + region.slots as usize)
                    .unwrap_or_default()
                    .fill(0);
            }
            for (slot, values) in &kept {
                let at = *slot as usize;
                slots
                    .get_mut(at..at + values.len())
                    .unwrap_or_default()
                    .copy_from_slice(values);
            }
            run.state.queue.push_back(Job::Egress {
                packet,
                cursor,
                slots,
                copy,
            });
        }
    }

    /// The values of a field list.
    fn keep(&self, run: &Run<'_, '_>, list: Option<u32>) -> Kept {
        let fields = list
            .and_then(|list| self.lists.get(&list))
            .map(Vec::as_slice)
            .unwrap_or_default();
        fields
            .iter()
            .map(|&(slot, slots)| (slot, run.words(slot, slots).to_vec()))
            .collect()
    }
}

fn restore(run: &mut Run<'_, '_>, kept: &Kept) {
    for (slot, values) in kept {
        let to = run.words_mut(*slot, values.len() as u32);
        if to.len() == values.len() {
            to.copy_from_slice(values);
        }
    }
}

/// The packet as it is now, to go on later.
fn snapshot(run: &Run<'_, '_>, copy: Copy) -> Job {
    Job::Egress {
        packet: run.state.packet.clone(),
        cursor: run.state.cursor,
        slots: run.state.slots.clone(),
        copy,
    }
}

/// Collects the fields with `@field_list`, by list number.
fn field_lists(
    program: &Program,
    ty: Handle<Type>,
    at: Slot,
    lists: &mut FxHashMap<u32, Vec<(Slot, u32)>>,
) {
    let Type::Struct(fields) = &program.types[program.resolve(ty)] else {
        return;
    };
    for (field, (offset, part, _)) in fields.fields.iter().zip(layout::parts(program, ty)) {
        let slot = at + offset;
        match field.annotations.annotation("field_list") {
            Some(annotation) => {
                for value in annotation.body.values() {
                    if let AnnotationValue::Int(number) = value
                        && let Ok(number) = u32::try_from(number)
                    {
                        lists
                            .entry(number)
                            .or_default()
                            .push((slot, layout::slots(program, part)));
                    }
                }
            }
            None => field_lists(program, part, slot, lists),
        }
    }
}
