//! The descriptors of this crate against a listing of those published in the PyPI package `p4runtime` 1.6.0
//! (`descriptors/published.txt`, made by `descriptors/list.py`): every message, field, number, type, label, oneof,
//! enum value and method, in both directions.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FileDescriptorSet, ServiceDescriptorProto,
};

const PUBLISHED: &str = include_str!("descriptors/published.txt");

/// Lines that this crate has and the published package lacks: parts of the specification newer than the package.
/// None at present; a line goes here only with the specification's version that brought it.
const NEWER_THAN_PUBLISHED: &[&str] = &[];

#[test]
fn same_as_published() {
    let ours = listing();
    let published: BTreeSet<String> = PUBLISHED.lines().map(str::to_owned).collect();
    assert!(
        published.len() > 500,
        "the published listing is truncated: {} lines",
        published.len()
    );

    let missing: Vec<_> = published.difference(&ours).collect();
    assert!(missing.is_empty(), "published, but not here: {missing:#?}");
    let extra: Vec<_> = ours.difference(&published).map(String::as_str).collect();
    assert_eq!(extra, NEWER_THAN_PUBLISHED, "here, but not published");
}

fn listing() -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(p4runtime_proto::DESCRIPTOR_SET).unwrap();
    let mut lines = BTreeSet::new();
    for file in &set.file {
        // Any is prost's.
        if file.package() == "google.protobuf" {
            continue;
        }
        file.message_type
            .iter()
            .for_each(|m| message(&mut lines, file.package(), m));
        file.enum_type
            .iter()
            .for_each(|e| enumeration(&mut lines, file.package(), e));
        file.service
            .iter()
            .for_each(|s| service(&mut lines, file.package(), s));
    }
    lines
}

fn message(lines: &mut BTreeSet<String>, scope: &str, message_type: &DescriptorProto) {
    let name = format!("{scope}.{}", message_type.name());
    lines.insert(format!("message {name}"));
    for field in &message_type.field {
        let label = if field.label() == Label::Repeated {
            "repeated "
        } else {
            ""
        };
        let kind = Type::try_from(field.r#type.unwrap()).unwrap().as_str_name()["TYPE_".len()..]
            .to_lowercase();
        let target = field
            .type_name
            .as_deref()
            .map(|t| format!(" {}", t.trim_start_matches('.')))
            .unwrap_or_default();
        let oneof = field
            .oneof_index
            .map(|i| format!(" oneof {}", message_type.oneof_decl[i as usize].name()))
            .unwrap_or_default();
        lines.insert(format!(
            "{name}.{} = {} {label}{kind}{target}{oneof}",
            field.name(),
            field.number()
        ));
    }
    message_type
        .nested_type
        .iter()
        .for_each(|m| message(lines, &name, m));
    message_type
        .enum_type
        .iter()
        .for_each(|e| enumeration(lines, &name, e));
}

fn enumeration(lines: &mut BTreeSet<String>, scope: &str, enum_type: &EnumDescriptorProto) {
    lines.insert(format!("enum {scope}.{}", enum_type.name()));
    for value in &enum_type.value {
        lines.insert(format!(
            "{scope}.{}.{} = {}",
            enum_type.name(),
            value.name(),
            value.number()
        ));
    }
}

fn service(lines: &mut BTreeSet<String>, scope: &str, service_type: &ServiceDescriptorProto) {
    for method in &service_type.method {
        let stream = |on: bool| if on { "stream " } else { "" };
        lines.insert(format!(
            "rpc {scope}.{}.{} {}{} -> {}{}",
            service_type.name(),
            method.name(),
            stream(method.client_streaming()),
            method.input_type().trim_start_matches('.'),
            stream(method.server_streaming()),
            method.output_type().trim_start_matches('.'),
        ));
    }
}
