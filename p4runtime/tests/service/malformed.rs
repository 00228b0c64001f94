//! Arbitrary requests to the service: never a panic, always a specified code.

use std::sync::Arc;

use crate::double::{Memory, config, serve};
use p4runtime::proto::p4::v1 as proto;
use p4runtime::server::{Options, P4Runtime, P4RuntimeService};
use p4runtime::status::batch_errors;
use proptest::prelude::*;
use prost::Message;
use tonic::{Code, Request};

/// A message of the wire type, mostly with ids of the program.
fn entity_bytes() -> impl Strategy<Value = Vec<u8>> {
    let id = (
        1u32..6,
        prop_oneof![
            Just(1u32),
            Just(2),
            Just(3),
            Just(4),
            Just(5),
            Just(0x11),
            Just(0x12),
            Just(0x16)
        ],
    )
        .prop_map(|(low, high)| high << 24 | low);
    (1u32..13, id, proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(kind, id, rest)| {
        let mut inner = Vec::new();
        prost::encoding::uint32::encode(1, &id, &mut inner);
        inner.extend(rest);
        let mut entity = Vec::new();
        prost::encoding::bytes::encode(kind, &inner, &mut entity);
        entity
    })
}

fn entities() -> impl Strategy<Value = Vec<proto::Entity>> {
    let entity = entity_bytes()
        .prop_map(|bytes| proto::Entity::decode(bytes.as_slice()).unwrap_or_default());
    proptest::collection::vec(entity, 0..6)
}

fn service() -> (tokio::runtime::Runtime, P4RuntimeService) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let service = runtime.block_on(async {
        let service = P4RuntimeService::new(Arc::new(Memory::default()), Options::default());
        service.install(config()).await.unwrap();
        service
    });
    (runtime, service)
}

const PER_ENTITY: [Code; 9] = [
    Code::Ok,
    Code::InvalidArgument,
    Code::OutOfRange,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::AlreadyExists,
    Code::NotFound,
    Code::Unimplemented,
    Code::FailedPrecondition,
];

fn specified(status: &tonic::Status, count: usize) -> Result<(), TestCaseError> {
    prop_assert_eq!(status.code(), Code::Unknown, "{:?}", status);
    let errors = batch_errors(status).expect("details");
    prop_assert_eq!(errors.len(), count);
    for error in errors {
        prop_assert!(
            PER_ENTITY.contains(&Code::from(error.canonical_code)),
            "{:?}",
            error
        );
    }
    Ok(())
}

#[test]
fn arbitrary_requests() {
    let (runtime, service) = service();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(1500));
    let strategy = (0u64..3, any::<bool>(), entities(), 0..5i32);
    runner
        .run(&strategy, |(device_id, set, entities, kind)| {
            let updates = entities
                .iter()
                .map(|e| proto::Update {
                    r#type: kind,
                    entity: Some(e.clone()),
                })
                .collect();
            let election_id = set.then_some(proto::Uint128 { high: 0, low: 1 });
            let write = proto::WriteRequest {
                device_id,
                election_id,
                updates,
                ..Default::default()
            };
            let status = runtime
                .block_on(service.write(Request::new(write.into())))
                .unwrap_err();
            let expected = if device_id == 1 {
                Code::PermissionDenied
            } else {
                Code::NotFound
            };
            prop_assert_eq!(status.code(), expected, "there is no primary");

            let count = entities.len();
            let read = proto::ReadRequest {
                device_id: 1,
                entities,
                ..Default::default()
            };
            runtime.block_on(async {
                let mut stream = service.read(Request::new(read)).await.unwrap().into_inner();
                while let Some(part) = tokio_stream::StreamExt::next(&mut stream).await {
                    if let Err(status) = part {
                        specified(&status, count)?;
                    }
                }
                Ok(())
            })
        })
        .unwrap();
}

#[test]
fn arbitrary_writes_of_a_primary() {
    let (runtime, service) = service();
    let served = runtime.block_on(serve(Options::default()));
    let (client, _notes) = runtime
        .block_on(p4runtime::client::Client::connect(
            p4runtime::client::Config::new(served.address.to_string()),
        ))
        .unwrap();
    runtime.block_on(served.service.install(config())).unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(1500));
    runner
        .run(&(entities(), 0..5i32), |(entities, kind)| {
            let count = entities.len();
            let updates = entities
                .into_iter()
                .map(|e| proto::Update {
                    r#type: kind,
                    entity: Some(e),
                })
                .collect();
            let results = runtime.block_on(client.write(updates)).unwrap();
            prop_assert_eq!(results.len(), count);
            for error in results.into_iter().filter_map(Result::err) {
                prop_assert!(PER_ENTITY.contains(&error.code), "{error:?}");
            }
            Ok(())
        })
        .unwrap();
    drop(service);
}
