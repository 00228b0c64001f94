//! The P4Runtime server over real gRPC: messages whose bytes were mutated, as long as they still are messages.
//!
//! In: messages. Out: an answer to each, in time, with a code that the specification has for it; a server that still serves.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use nicproxy::config::Program;
use p4runtime::proto::p4::v1 as pb;
use p4runtime::rpc::p4_runtime_client::P4RuntimeClient;
use prost::Message;
use testbench::random::Random;
use testbench::target::Target;
use testbench::target::softnic::Embedded;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::input::{Corpus, Mutate, Turns};

const PATIENCE: Duration = Duration::from_secs(30);

/// First byte of an input: which call.
const WRITE: u8 = 0;
const READ: u8 = 1;
const STREAM: u8 = 2;
const PUSH: u8 = 3;

/// The highest election id there is: no fuzzed arbitration can take the primary's place.
const PRIMARY: pb::Uint128 = pb::Uint128 {
    high: u64::MAX,
    low: u64::MAX,
};

fn arbitration(election: pb::Uint128) -> pb::StreamMessageRequest {
    let election_id = Some(election);
    let update = pb::MasterArbitrationUpdate {
        device_id: 1,
        election_id,
        ..Default::default()
    };
    pb::StreamMessageRequest {
        update: Some(pb::stream_message_request::Update::Arbitration(update)),
    }
}

/// A write that the server takes: what mutations begin with.
fn write(random: &mut Random, info: &p4runtime::proto::p4::config::v1::P4Info) -> pb::WriteRequest {
    let table = &info.tables[random.below(info.tables.len())];
    let fields = table.match_fields.iter().map(|field| pb::FieldMatch {
        field_id: field.id,
        field_match_type: Some(pb::field_match::FieldMatchType::Exact(
            pb::field_match::Exact {
                value: random.bytes(1 + (field.bitwidth as usize - 1) / 8),
            },
        )),
    });
    let fields = fields.collect();
    let reference = &table.action_refs[random.below(table.action_refs.len())];
    let action = info.actions.iter().find(|action| {
        action
            .preamble
            .as_ref()
            .is_some_and(|p| p.id == reference.id)
    });
    let params = action.map(|action| {
        let value = |bits: i32| bits as usize;
        let params = action.params.iter();
        params
            .map(|p| (p.id, value(p.bitwidth)))
            .collect::<Vec<_>>()
    });
    let params = params
        .unwrap_or_default()
        .into_iter()
        .map(|(param_id, bits)| pb::action::Param {
            param_id,
            value: random.bytes(1 + bits.saturating_sub(1) / 8),
        });
    let action = pb::Action {
        action_id: reference.id,
        params: params.collect(),
    };
    let entry = pb::TableEntry {
        table_id: table.preamble.as_ref().map_or(0, |p| p.id),
        r#match: fields,
        action: Some(pb::TableAction {
            r#type: Some(pb::table_action::Type::Action(action)),
        }),
        priority: random.below(3) as i32,
        ..Default::default()
    };
    let update = pb::Update {
        r#type: 1 + random.below(3) as i32,
        entity: Some(pb::Entity {
            entity: Some(pb::entity::Entity::TableEntry(entry)),
        }),
    };
    pb::WriteRequest {
        device_id: 1,
        election_id: Some(PRIMARY),
        updates: vec![update; 1 + random.below(3)],
        ..Default::default()
    }
}

/// One message, of one of four calls, in bytes: as it is sent, and as it is kept when it fails.
fn input(random: &mut Random, target: &Known) -> Vec<u8> {
    let words: [&[u8]; 4] = [&[0xff; 10], &[0x0a, 0x00], &[0x08, 0x00], &[0x80; 5]];
    let (kind, mut bytes) = match random.below(8) {
        0..=3 => (
            WRITE,
            write(random, &target.pipeline.p4info).encode_to_vec(),
        ),
        4 | 5 => {
            let entities = write(random, &target.pipeline.p4info)
                .updates
                .into_iter()
                .filter_map(|u| u.entity);
            let good = pb::ReadRequest {
                device_id: 1,
                entities: entities.collect(),
                ..Default::default()
            };
            (READ, good.encode_to_vec())
        }
        6 if random.below(2) == 0 => (
            STREAM,
            arbitration(pb::Uint128 { high: 0, low: 5 }).encode_to_vec(),
        ),
        6 => (STREAM, packet_out(random).encode_to_vec()),
        _ => {
            let good = pb::SetForwardingPipelineConfigRequest {
                device_id: 1,
                election_id: Some(PRIMARY),
                // VERIFY, so that the program stays.
                action: 1,
                config: Some(pb::ForwardingPipelineConfig {
                    p4info: Some(target.pipeline.p4info.clone()),
                    p4_device_config: target.pipeline.device_config.clone(),
                    ..Default::default()
                }),
                ..Default::default()
            };
            (PUSH, good.encode_to_vec())
        }
    };
    if random.below(3) == 0 {
        random.mutate(&mut bytes, &words);
    } else {
        // Fewer changes, none of length: most of these still are messages.
        for _ in 0..random.below(4) {
            let at = random.below(bytes.len());
            bytes[at] = [random.number() as u8, 0, 1, 0xff][random.below(4)];
        }
    }
    bytes.insert(0, kind);
    bytes
}

fn packet_out(random: &mut Random) -> pb::StreamMessageRequest {
    let metadata = |metadata_id, value| pb::PacketMetadata {
        metadata_id,
        value: vec![value],
    };
    let packet = pb::PacketOut {
        payload: random.bytes(60),
        metadata: vec![metadata(1, 1), metadata(2, 0)],
    };
    pb::StreamMessageRequest {
        update: Some(pb::stream_message_request::Update::Packet(packet)),
    }
}

/// Codes that the specification gives to requests that are wrong; UNKNOWN is for a batch, and says more in its details.
fn specified(status: &Status) -> bool {
    match status.code() {
        Code::Unknown => !status.details().is_empty(),
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::ResourceExhausted
        | Code::Unimplemented => true,
        _ => false,
    }
}

/// Sends an input; `None` when its bytes are no message, otherwise what the server answered.
async fn send(client: &mut P4RuntimeClient<Channel>, input: &[u8]) -> Option<Result<(), Status>> {
    let (kind, bytes) = input.split_first()?;
    match *kind {
        WRITE => {
            let request = pb::WriteRequest::decode(bytes).ok()?;
            Some(client.write(request).await.map(|_| ()))
        }
        READ => {
            let request = pb::ReadRequest::decode(bytes).ok()?;
            Some(match client.read(request).await {
                Ok(answer) => to_the_end(answer.into_inner()).await,
                Err(status) => Err(status),
            })
        }
        STREAM => {
            let message = pb::StreamMessageRequest::decode(bytes).ok()?;
            let messages =
                futures::stream::iter([arbitration(pb::Uint128 { high: 0, low: 3 }), message]);
            Some(match client.stream_channel(messages).await {
                Ok(answer) => to_the_end(answer.into_inner()).await,
                Err(status) => Err(status),
            })
        }
        _ => {
            let mut request = pb::SetForwardingPipelineConfigRequest::decode(bytes).ok()?;
            request.action = 1;
            let answer = client.set_forwarding_pipeline_config(request).await;
            Some(answer.map(|_| ()))
        }
    }
}

async fn to_the_end<T>(mut answers: tonic::Streaming<T>) -> Result<(), Status> {
    while let Some(answer) = answers.next().await {
        answer?;
    }
    Ok(())
}

/// What was answered, counted; fails when there is no answer in time, or a code that is not one of the specified.
async fn try_one(
    client: &mut P4RuntimeClient<Channel>,
    input: &[u8],
    answers: &mut BTreeMap<String, usize>,
) -> Result<(), String> {
    let answer = tokio::time::timeout(PATIENCE, send(client, input)).await;
    let code = match answer {
        Err(_) => return Err(format!("no answer within {PATIENCE:?}")),
        Ok(None) => return Ok(()),
        Ok(Some(Ok(()))) => Code::Ok,
        Ok(Some(Err(status))) if specified(&status) => status.code(),
        Ok(Some(Err(status))) => return Err(format!("answered {status}")),
    };
    let kind = usize::from(input.first().copied().unwrap_or_default().min(3));
    let call = ["write", "read", "stream", "push"][kind];
    *answers.entry(format!("{call} {code:?}")).or_default() += 1;
    Ok(())
}

pub struct Known {
    pipeline: testbench::target::Pipeline,
}

/// Sends inputs to a server of its own, until there are no more; then the server must still serve.
fn serve(mut next: impl FnMut(&Known) -> Option<Vec<u8>>) {
    let corpus = Corpus::new("rpc");
    let target = Embedded::start(Program::V1model, &[1, 2]).unwrap();
    testbench::probe::Probe::open(&target)
        .unwrap()
        .reset(9)
        .unwrap();
    let known = Known {
        pipeline: target.pipeline_bytes().unwrap(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut client = P4RuntimeClient::connect(target.address()).await.unwrap();
        let (primary, receiver) = tokio::sync::mpsc::channel::<pb::StreamMessageRequest>(4);
        primary.send(arbitration(PRIMARY)).await.unwrap();
        let requests =
            futures::stream::unfold(
                receiver,
                |mut r| async move { r.recv().await.map(|m| (m, r)) },
            );
        let mut answers = client.stream_channel(requests).await.unwrap().into_inner();
        answers.next().await.unwrap().unwrap();
        let mut counts = BTreeMap::new();
        while let Some(input) = next(&known) {
            if let Err(what) = try_one(&mut client, &input, &mut counts).await {
                panic!("{what}; kept as {}", corpus.keep(&input).display());
            }
        }
        println!("rpc: {counts:?}");
        // The server still serves.
        let entry = pb::Entity {
            entity: Some(pb::entity::Entity::TableEntry(pb::TableEntry::default())),
        };
        let request = pb::ReadRequest {
            device_id: 1,
            entities: vec![entry],
            ..Default::default()
        };
        let mut answers = client.read(request).await.unwrap().into_inner();
        while let Some(answer) = answers.next().await {
            answer.unwrap();
        }
    });
}

pub fn replay(inputs: Vec<Vec<u8>>) {
    let mut inputs = inputs.into_iter();
    serve(|_| inputs.next());
}

pub fn run(mut turns: Turns) {
    serve(|known| turns.next().map(|mut random| input(&mut random, known)));
}
