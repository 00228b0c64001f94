#!/usr/bin/env python3
"""Lists the P4Runtime descriptors of the PyPI package `p4runtime` as plain sorted lines.

    python3 -m venv venv && venv/bin/pip install p4runtime==1.6.0
    PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python venv/bin/python list.py > published.txt

The package's generated modules are older than its protobuf dependency allows for in C, hence the variable.
One line per field, enum value and method: what a peer sees on the wire, nothing else.
"""
import importlib

from google.protobuf import descriptor_pb2

MODULES = ["p4.config.v1.p4info_pb2", "p4.config.v1.p4types_pb2", "p4.v1.p4data_pb2", "p4.v1.p4runtime_pb2",
           "google.rpc.status_pb2", "google.rpc.code_pb2"]
FIELD = descriptor_pb2.FieldDescriptorProto


def field_lines(scope, message):
    for field in message.field:
        label = "repeated " if field.label == FIELD.LABEL_REPEATED else ""
        kind = FIELD.Type.Name(field.type)[len("TYPE_"):].lower()
        target = " " + field.type_name.lstrip(".") if field.type_name else ""
        oneof = " oneof " + message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
        yield f"{scope}.{field.name} = {field.number} {label}{kind}{target}{oneof}"


def message_lines(scope, message):
    name = f"{scope}.{message.name}"
    yield f"message {name}"
    yield from field_lines(name, message)
    for nested in message.nested_type:
        yield from message_lines(name, nested)
    for nested in message.enum_type:
        yield from enum_lines(name, nested)


def enum_lines(scope, enum):
    yield f"enum {scope}.{enum.name}"
    for value in enum.value:
        yield f"{scope}.{enum.name}.{value.name} = {value.number}"


def service_lines(scope, service):
    for method in service.method:
        parts = ["stream " if method.client_streaming else "", method.input_type.lstrip("."), " -> ",
                 "stream " if method.server_streaming else "", method.output_type.lstrip(".")]
        yield f"rpc {scope}.{service.name}.{method.name} " + "".join(parts)


def main():
    lines = []
    for module in MODULES:
        file = descriptor_pb2.FileDescriptorProto()
        importlib.import_module(module).DESCRIPTOR.CopyToProto(file)
        for message in file.message_type:
            lines += message_lines(file.package, message)
        for enum in file.enum_type:
            lines += enum_lines(file.package, enum)
        for service in file.service:
            lines += service_lines(file.package, service)
    print("\n".join(sorted(lines)))


main()
