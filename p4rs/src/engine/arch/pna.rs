//! The Portable NIC Architecture, in the flavour that `p4c-dpdk --arch pna` takes.
//!
//! ```text
//! main parser ▶ pre control ▶ main control ▶ mirror? ▶ drop | recirculate | main deparser ▶ port
//!      ▲                                                    │
//!      └──────────────── deparser ◀─────────────────────────┘
//! ```
//!
//! In: a packet. Out: outputs. Invariants: a packet that the program neither sends nor drops is dropped and counted;
//! mirrored copies carry the packet as deparsed and go straight to the ports of their session.

use super::super::interp::{Lower, Run, Slot};
use super::super::native::{Fate, Passage, pna_given};
use super::super::outputs::DropReason;
use super::super::trace::{Event, Verdict};
use super::super::{LoadError, bits};
use super::{Blocks, Job, Kept, Region};
use crate::ir::{Param, Type};

/// Slots of one input metadata struct.
pub(crate) struct Input {
    pub direction: Slot,
    pub pass: Slot,
    pub loopedback: Slot,
    pub port: Slot,
    pub timestamp: Slot,
    pub parser_error: Slot,
}

impl Input {
    fn new(blocks: &Blocks<'_>, lower: &mut Lower<'_>, param: &Param, region: Region) -> Self {
        let mut field = |name: &str| blocks.field(lower, param, region, name);
        Self {
            direction: field("direction"),
            pass: field("pass"),
            loopedback: field("loopedback"),
            port: field("input_port"),
            timestamp: field("timestamp"),
            parser_error: field("parser_error"),
        }
    }
}

/// A loaded PNA program.
pub(crate) struct Pna {
    pub parser: u32,
    pub pre: u32,
    pub main: u32,
    pub deparser: u32,
    pub inputs: Vec<Input>,
    from_net: u128,
    from_host: u128,
    pass_mask: u128,
}

impl Pna {
    pub(super) fn load(blocks: &Blocks<'_>, lower: &mut Lower<'_>) -> Result<Self, LoadError> {
        let (parser, parser_params) = blocks.parser(0, "main_parser")?;
        let (pre, pre_params) = blocks.control(1, "pre_control")?;
        let (main, main_params) = blocks.control(2, "main_control")?;
        let (deparser, deparser_params) = blocks.control(3, "main_deparser")?;
        let headers = blocks.region(lower, blocks.param(parser_params, "main_parser", 1)?);
        let user = blocks.region(lower, blocks.param(parser_params, "main_parser", 2)?);
        let mut inputs = Vec::new();
        let mut input = |lower: &mut Lower<'_>, params, name, index| -> Result<Region, LoadError> {
            let param = blocks.param(params, name, index)?;
            let region = blocks.region(lower, param);
            inputs.push(Input::new(blocks, lower, param, region));
            Ok(region)
        };
        let parser_input = input(lower, parser_params, "main_parser", 3)?;
        let pre_input = input(lower, pre_params, "pre_control", 2)?;
        let main_input = input(lower, main_params, "main_control", 2)?;
        let output = blocks.region(lower, blocks.param(main_params, "main_control", 3)?);
        blocks.bind(
            lower,
            parser_params,
            "main_parser",
            &[(1, headers), (2, user), (3, parser_input)],
        )?;
        blocks.bind(
            lower,
            pre_params,
            "pre_control",
            &[(0, headers), (1, user), (2, pre_input)],
        )?;
        let regions = [(0, headers), (1, user), (2, main_input), (3, output)];
        blocks.bind(lower, main_params, "main_control", &regions)?;
        blocks.bind(
            lower,
            deparser_params,
            "main_deparser",
            &[(1, headers), (2, user), (3, output)],
        )?;
        let main_param = blocks.param(main_params, "main_control", 2)?;
        let (from_net, from_host) = directions(blocks.field_type(main_param, "direction"));
        let pass_mask = match blocks.field_type(main_param, "pass") {
            Some(Type::Bits { width, .. }) => bits::mask(*width),
            _ => bits::mask(3),
        };
        Ok(Self {
            parser: lower.parser(parser)?,
            pre: lower.control(pre)?,
            main: lower.control(main)?,
            deparser: lower.control(deparser)?,
            inputs,
            from_net,
            from_host,
            pass_mask,
        })
    }

    /// The passes that the first one left to do.
    pub(super) fn rest(&self, run: &mut Run<'_, '_>, port: u32) {
        let mut pass = 0;
        while let Some(job) = run.state.queue.pop_front() {
            let Job::Ingress { packet, .. } = job else {
                continue;
            };
            if !run.pass() {
                run.drop_packet(DropReason::PassLimit);
                continue;
            }
            run.state.packet = packet;
            pass += 1;
            self.pass(run, port, pass);
        }
    }

    fn direction(&self, run: &Run<'_, '_>, port: u32) -> u128 {
        let host = run.machine.externs().host_ports.contains(port);
        if host { self.from_host } else { self.from_net }
    }

    /// What machine code is told of a pass.
    pub(super) fn given(&self, run: &Run<'_, '_>, port: u32, pass: u32) -> [u64; 6] {
        let direction = self.direction(run, port);
        pna_given(
            direction,
            u128::from(pass) & self.pass_mask,
            port,
            run.now.0,
        )
    }

    /// What follows a pass that machine code ran.
    pub(super) fn conclude(&self, run: &mut Run<'_, '_>, fate: Fate) {
        match fate {
            Fate::Sent => {}
            Fate::Dropped(reason) => run.drop_packet(reason),
            Fate::Decide | Fate::Egress(_) => self.decide(run),
        }
    }

    /// A pass over the packet in the state.
    pub(super) fn pass(&self, run: &mut Run<'_, '_>, port: u32, pass: u32) {
        if let Some(native) = run.native() {
            run.begin_machine();
            let mut passage = Passage::new(run.guard, None);
            passage.give(run.now, &self.given(run, port, pass));
            let fate = native.run(run, &mut passage, None);
            return self.conclude(run, fate);
        }
        let (now, direction) = (run.now.0, self.direction(run, port));
        run.begin();
        let length = run.state.packet.len();
        run.trace(&Event::Start { port, length, pass });
        for input in &self.inputs {
            run.set(input.direction, direction);
            run.set(input.pass, u128::from(pass) & self.pass_mask);
            run.set(input.loopedback, 0);
            run.set(input.port, u128::from(port));
            run.set(input.timestamp, u128::from(now));
        }
        match self.blocks(run) {
            Ok(()) => self.decide(run),
            Err(reason) => run.drop_packet(reason),
        }
    }

    fn blocks(&self, run: &mut Run<'_, '_>) -> Result<(), DropReason> {
        let error = run.run_parser(self.parser)?;
        for input in &self.inputs {
            run.set(input.parser_error, u128::from(error));
        }
        run.run_control(self.pre)?;
        run.run_control(self.main)
    }

    fn decide(&self, run: &mut Run<'_, '_>) {
        if let Some(digest) = run.state.intents.digest.take() {
            run.out.digests.push(digest);
        }
        let intents = &run.state.intents;
        let mirrors = !intents.mirrors.is_empty();
        let dropped = intents.drop;
        let recirculated = intents.recirculate.is_some();
        let port = intents.port;
        if !mirrors && (dropped || (port.is_none() && !recirculated)) {
            return run.drop_packet(if dropped {
                DropReason::Ingress
            } else {
                DropReason::NoDestination
            });
        }
        if let Err(reason) = run.deparse(self.deparser) {
            return run.drop_packet(reason);
        }
        self.mirror(run);
        match port {
            _ if dropped => run.drop_packet(DropReason::Ingress),
            _ if recirculated => {
                run.trace(&Event::Verdict(Verdict::Recirculate));
                let packet = run.deparsed(None);
                if packet.len() > run.machine.config.max_packet_len {
                    return run.drop_packet(DropReason::TooLong);
                }
                run.state.queue.push_back(Job::Ingress {
                    packet,
                    kind: 0,
                    kept: Kept::new(),
                });
            }
            Some(port) => run.transmit(port, None),
            None => run.drop_packet(DropReason::NoDestination),
        }
    }

    fn mirror(&self, run: &mut Run<'_, '_>) {
        let mirrors = std::mem::take(&mut run.state.intents.mirrors);
        for &(_, session) in &mirrors {
            let Some(data) = run.machine.replication().session(session) else {
                continue;
            };
            run.trace(&Event::Clone {
                session,
                egress: true,
            });
            let limit = Some(data.packet_length_bytes as usize).filter(|&length| length != 0);
            for replica in &data.replicas {
                run.transmit(replica.port, limit);
            }
        }
        run.state.intents.mirrors = mirrors;
    }
}

/// Values of the direction enum: from the network, from the host.
fn directions(ty: Option<&Type>) -> (u128, u128) {
    let Some(Type::Enum(en)) = ty else {
        return (0, 1);
    };
    let index = |name: &str| {
        en.members
            .iter()
            .position(|member| member == name)
            .map(|index| index as u128)
    };
    (
        index("NET_TO_HOST").unwrap_or(0),
        index("HOST_TO_NET").unwrap_or(1),
    )
}
