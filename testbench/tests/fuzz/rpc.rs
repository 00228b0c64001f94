//! The P4Runtime server over real gRPC: messages whose bytes were mutated, as long as they still are messages.

use std::time::Duration;

use futures::StreamExt;
use nicproxy::config::Program;
use p4runtime::proto::p4::v1 as pb;
use p4runtime::rpc::p4_runtime_client::P4RuntimeClient;
use prost::Message;
use testbench::target::Target;
use testbench::target::softnic::Embedded;
use tonic::transport::Channel;

use super::input::{Random, Turns};

const PATIENCE: Duration = Duration::from_secs(30);

fn arbitration(election: u64) -> pb::StreamMessageRequest {
    let election_id = Some(pb::Uint128 {
        high: 0,
        low: election,
    });
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
        election_id: Some(pb::Uint128 { high: 0, low: 10 }),
        updates: vec![update; 1 + random.below(3)],
        ..Default::default()
    }
}

/// The message with some of its bytes changed; `None` when it is no message any more.
fn mutated<M: Message + Default>(random: &mut Random, message: &M) -> Option<M> {
    let mut bytes = message.encode_to_vec();
    random.mutate(
        &mut bytes,
        &[&[0xff; 10], &[0x0a, 0x00], &[0x08, 0x00], &[0x80; 5]],
    );
    M::decode(bytes.as_slice()).ok()
}

/// An answer, of whatever kind, within a bounded time.
async fn in_time<T>(what: &str, call: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(answer) => answer,
        Err(_) => panic!("no answer to {what} within {PATIENCE:?}"),
    }
}

async fn one(client: &mut P4RuntimeClient<Channel>, random: &mut Random, target: &Known) -> usize {
    match random.below(8) {
        0..=3 => {
            let good = write(random, &target.pipeline.p4info);
            let Some(request) = mutated(random, &good) else {
                return 0;
            };
            let _ = in_time("a write", client.write(request)).await;
        }
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
            let Some(request) = mutated(random, &good) else {
                return 0;
            };
            let read = async {
                if let Ok(answer) = client.read(request).await {
                    let mut answers = answer.into_inner();
                    while let Some(Ok(_)) = answers.next().await {}
                }
            };
            in_time("a read", read).await;
        }
        6 => {
            let mut messages = vec![arbitration(1 + random.next() % 9)];
            let packet = pb::PacketOut {
                payload: random.bytes(60),
                metadata: vec![
                    pb::PacketMetadata {
                        metadata_id: 1,
                        value: vec![1],
                    },
                    pb::PacketMetadata {
                        metadata_id: 2,
                        value: vec![0],
                    },
                ],
            };
            let packet = pb::StreamMessageRequest {
                update: Some(pb::stream_message_request::Update::Packet(packet)),
            };
            messages.extend((0..4).filter_map(|_| mutated(random, &packet)));
            messages.extend(mutated(random, &arbitration(5)));
            let stream = async {
                if let Ok(answer) = client.stream_channel(futures::stream::iter(messages)).await {
                    let mut answers = answer.into_inner();
                    while let Some(Ok(_)) = answers.next().await {}
                }
            };
            in_time("a stream", stream).await;
        }
        _ => {
            let good = pb::SetForwardingPipelineConfigRequest {
                device_id: 1,
                election_id: Some(pb::Uint128 { high: 0, low: 10 }),
                // VERIFY, so that the program stays.
                action: 1,
                config: Some(pb::ForwardingPipelineConfig {
                    p4info: Some(target.pipeline.p4info.clone()),
                    p4_device_config: target.pipeline.device_config.clone(),
                    ..Default::default()
                }),
                ..Default::default()
            };
            let Some(mut request) = mutated(random, &good) else {
                return 0;
            };
            request.action = 1;
            let push = client.set_forwarding_pipeline_config(request);
            let _ = in_time("a push", push).await;
        }
    }
    1
}

pub struct Known {
    pipeline: testbench::target::Pipeline,
}

pub fn run(mut turns: Turns) {
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
        primary.send(arbitration(10)).await.unwrap();
        let requests =
            futures::stream::unfold(
                receiver,
                |mut r| async move { r.recv().await.map(|m| (m, r)) },
            );
        let mut answers = client.stream_channel(requests).await.unwrap().into_inner();
        answers.next().await.unwrap().unwrap();
        let mut taken = 0;
        while let Some(mut random) = turns.next() {
            taken += one(&mut client, &mut random, &known).await;
        }
        println!("rpc: {taken} of them were messages and were answered");
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
