"""A P4Runtime client that shares no code with the switch: the PyPI package p4runtime and gRPC.

    independent_client.py ADDRESS P4INFO DEVICE_CONFIG

Expects nicproxy's v1model program and a device with id 1 on which nothing was pushed yet. Checks what the P4Runtime
specification says about arbitration, pipelines, writes, reads and packet IO; prints every check, ends with status 1
if one failed.
"""

import queue
import sys
import threading
import time

import grpc
from google.protobuf import text_format
from google.rpc import code_pb2, status_pb2
from p4.config.v1 import p4info_pb2
from p4.v1 import p4runtime_pb2 as p4
from p4.v1 import p4runtime_pb2_grpc

DEVICE = 1
DEADLINE = 20
failures = 0


def check(what, found, wanted):
    global failures
    good = found == wanted
    print(("ok   " if good else "FAIL ") + what + ("" if good else f": {found!r}, should be {wanted!r}"))
    failures += not good


class Client:
    """One stream, with an election id."""

    def __init__(self, address, election):
        self.election = election
        self.channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", 64 << 20)])
        self.stub = p4runtime_pb2_grpc.P4RuntimeStub(self.channel)
        self.requests = queue.Queue()
        self.messages = queue.Queue()
        self.stream = self.stub.StreamChannel(iter(self.requests.get, None))
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        try:
            for message in self.stream:
                self.messages.put(message)
        except grpc.RpcError as error:
            self.messages.put(error)

    def arbitrate(self, device=DEVICE, election=None):
        request = p4.StreamMessageRequest()
        request.arbitration.device_id = device
        if election is not False:
            request.arbitration.election_id.low = election or self.election
        self.requests.put(request)
        return self.message("arbitration")

    def message(self, kind):
        while True:
            message = self.messages.get(timeout=DEADLINE)
            if isinstance(message, grpc.RpcError) or message.HasField(kind):
                return message

    def write(self, *updates, device=DEVICE, election=None):
        """The code of every update, or the code of the whole call."""
        request = p4.WriteRequest(device_id=device)
        request.election_id.low = election or self.election
        for kind, entry in updates:
            entity = request.updates.add(type=kind).entity
            getattr(entity, FIELD[type(entry)]).CopyFrom(entry)
        try:
            self.stub.Write(request, timeout=DEADLINE)
            return ["OK"] * len(updates)
        except grpc.RpcError as error:
            return update_codes(error)

    def read(self, *entities, device=DEVICE):
        request = p4.ReadRequest(device_id=device)
        for entity in entities:
            getattr(request.entities.add(), FIELD[type(entity)]).CopyFrom(entity)
        answers = self.stub.Read(request, timeout=DEADLINE)
        return [entity for answer in answers for entity in answer.entities]

    def push(self, action, info=None, config=b"", election=None):
        request = p4.SetForwardingPipelineConfigRequest(device_id=DEVICE, action=action)
        request.election_id.low = election or self.election
        if info is not None:
            request.config.p4info.CopyFrom(info)
            request.config.p4_device_config = config
            request.config.cookie.cookie = 4711
        try:
            self.stub.SetForwardingPipelineConfig(request, timeout=DEADLINE * 3)
            return "OK"
        except grpc.RpcError as error:
            return error.code().name

    def close(self):
        self.requests.put(None)
        self.channel.close()


FIELD = {
    p4.TableEntry: "table_entry",
    p4.CounterEntry: "counter_entry",
    p4.DirectCounterEntry: "direct_counter_entry",
}


def update_codes(error):
    """One code per update from the status details, as section 12.3 of the specification has them."""
    details = dict(error.trailing_metadata()).get("grpc-status-details-bin")
    if error.code() != grpc.StatusCode.UNKNOWN or details is None:
        return error.code().name
    status = status_pb2.Status.FromString(details)
    codes = []
    for detail in status.details:
        one = p4.Error()
        assert detail.Unpack(one), "a detail that is no p4.v1.Error"
        codes.append(code_pb2.Code.Name(one.canonical_code))
    return codes


class Program:
    """Entries by name."""

    def __init__(self, info):
        self.tables = {table.preamble.name: table for table in info.tables}
        self.actions = {action.preamble.name: action for action in info.actions}
        self.counters = {counter.preamble.name: counter for counter in info.counters}
        self.headers = {header.preamble.name: header for header in info.controller_packet_metadata}

    def entry(self, table, key, action=None, params=(), priority=0):
        entry = p4.TableEntry(table_id=self.tables[table].preamble.id, priority=priority)
        for field, value in zip(self.tables[table].match_fields, key):
            if value is None:
                continue
            match = entry.match.add(field_id=field.id)
            if isinstance(value, tuple):
                match.ternary.value, match.ternary.mask = value
            else:
                match.exact.value = value
        if action:
            entry.action.action.action_id = self.actions[action].preamble.id
            for param, value in zip(self.actions[action].params, params):
                entry.action.action.params.add(param_id=param.id, value=value)
        return entry


INSERT, MODIFY, DELETE = p4.Update.INSERT, p4.Update.MODIFY, p4.Update.DELETE
SET = p4.SetForwardingPipelineConfigRequest
MAC = b"\x02\x00\x00\x00\x00\x01"


def arbitration(address):
    primary, backup = Client(address, 10), Client(address, 5)
    check("unknown device", primary_error(Client(address, 1).arbitrate(device=77)), "NOT_FOUND")
    check("the first client is primary", primary.arbitrate().arbitration.status.code, code_pb2.OK)
    check("a lower election id is backup", backup.arbitrate().arbitration.status.code, code_pb2.ALREADY_EXISTS)
    same = Client(address, 10)
    check("an election id in use", primary_error(same.arbitrate()), "INVALID_ARGUMENT")
    check("before a pipeline is set", primary.write((INSERT, p4.TableEntry(table_id=1))), "FAILED_PRECONDITION")
    try:
        primary.read(p4.TableEntry())
        check("reading without a pipeline", "OK", "FAILED_PRECONDITION")
    except grpc.RpcError as error:
        check("reading without a pipeline", error.code().name, "FAILED_PRECONDITION")
    check("the backup may not write", backup.write((INSERT, p4.TableEntry(table_id=1))), "PERMISSION_DENIED")
    check("unknown device in a write", primary.write((INSERT, p4.TableEntry()), device=9), "NOT_FOUND")
    check("backups hear of nobody new", backup.arbitrate(election=20).arbitration.status.code, code_pb2.OK)
    told = primary.message("arbitration").arbitration
    check("the primary that lost is told", told.status.code, code_pb2.ALREADY_EXISTS)
    check("and who won", told.election_id.low, 20)
    check("it may not write any more", primary.write((INSERT, p4.TableEntry())), "PERMISSION_DENIED")
    check("it may come back with a higher id", primary.arbitrate(election=30).arbitration.status.code, code_pb2.OK)
    primary.election = 30
    for client in (backup, same):
        client.close()
    return primary


def primary_error(message):
    return message.code().name if isinstance(message, grpc.RpcError) else message


def pipeline(client, info, config):
    answer = client.stub.GetForwardingPipelineConfig(p4.GetForwardingPipelineConfigRequest(device_id=DEVICE))
    check("no pipeline yet", answer.HasField("config"), False)
    check("COMMIT with nothing saved", client.push(SET.COMMIT), "NOT_FOUND")
    check("a push without an action", client.push(SET.UNSPECIFIED, info, config), "INVALID_ARGUMENT")
    check("a backup's push", client.push(SET.VERIFY_AND_COMMIT, info, config, election=3), "PERMISSION_DENIED")
    check("a config that is none", client.push(SET.VERIFY, info, b"rubbish"), "INVALID_ARGUMENT")
    other = p4info_pb2.P4Info.FromString(info.SerializeToString())
    del other.tables[0]
    check("P4Info of another program", client.push(SET.VERIFY, other, config), "INVALID_ARGUMENT")
    check("VERIFY", client.push(SET.VERIFY, info, config), "OK")
    check("VERIFY_AND_SAVE", client.push(SET.VERIFY_AND_SAVE, info, config), "OK")
    check("COMMIT of what was saved", client.push(SET.COMMIT), "OK")
    check("VERIFY_AND_COMMIT", client.push(SET.VERIFY_AND_COMMIT, info, config), "OK")
    answer = client.stub.GetForwardingPipelineConfig(p4.GetForwardingPipelineConfigRequest(device_id=DEVICE))
    check("P4Info as pushed", answer.config.p4info, info)
    check("device config as pushed", answer.config.p4_device_config, config)
    check("cookie", answer.config.cookie.cookie, 4711)
    request = p4.GetForwardingPipelineConfigRequest(device_id=DEVICE)
    request.response_type = request.COOKIE_ONLY
    answer = client.stub.GetForwardingPipelineConfig(request)
    check("the cookie alone", (answer.config.cookie.cookie, answer.config.HasField("p4info")), (4711, False))
    version = client.stub.Capabilities(p4.CapabilitiesRequest()).p4runtime_api_version
    check("version", version.startswith("1."), True)


def writes(client, program):
    port = program.entry("port", [b"\x00\x00\x01"], "attach", [b"\0\0", b"\0\1", b"\0\2", b"\x00\xff"])
    check("insert, not canonical", client.write((INSERT, port)), ["OK"])
    (got,) = client.read(program.entry("port", [b"\x01"]))
    canonical = program.entry("port", [b"\x01"], "attach", [b"\0", b"\1", b"\2", b"\xff"])
    check("read back canonical", got.table_entry, canonical)
    check("insert again", client.write((INSERT, canonical)), ["ALREADY_EXISTS"])
    changed = program.entry("port", [b"\1"], "attach", [b"\0", b"\2", b"\0", b"\xff"])
    check("modify", client.write((MODIFY, changed)), ["OK"])
    missing = program.entry("port", [b"\7"], "attach", [b"\0", b"\2", b"\0", b"\xff"])
    check("modify what is not there", client.write((MODIFY, missing)), ["NOT_FOUND"])
    check("delete what is not there", client.write((DELETE, missing)), ["NOT_FOUND"])
    both = client.write((INSERT, missing), (INSERT, canonical), (DELETE, missing))
    check("one bad update does not stop the others", both, ["OK", "ALREADY_EXISTS", "OK"])
    check("delete looks at the key only", client.write((DELETE, program.entry("port", [b"\0\1"]))), ["OK"])
    check("put back", client.write((INSERT, canonical)), ["OK"])
    metadata = program.entry("port", [b"\2"], "attach", [b"\0", b"\2", b"\1", b"\xff"])
    metadata.metadata = b"owner \xff\0 bytes"
    check("with metadata", client.write((INSERT, metadata)), ["OK"])
    (got,) = client.read(program.entry("port", [b"\2"]))
    check("metadata comes back", got.table_entry.metadata, metadata.metadata)


def refusals(client, program):
    def refused(what, entry, code, kind=INSERT):
        check(what, client.write((kind, entry)), [code])

    attach = ("attach", [b"\0", b"\1", b"\0", b"\xff"])
    refused("unknown table", p4.TableEntry(table_id=0x02FFFFFF), "INVALID_ARGUMENT")
    entry = program.entry("port", [b"\3"], *attach)
    entry.action.action.action_id = 0x01FFFFFF
    refused("unknown action", entry, "INVALID_ARGUMENT")
    refused("an action of another table", program.entry("port", [b"\3"], "reject", [b"\1"]), "INVALID_ARGUMENT")
    refused("an action for the default only", program.entry("port", [b"\3"], "unattached"), "PERMISSION_DENIED")
    refused("a key that is too wide", program.entry("port", [b"\1\0\0\0\0"], *attach), "OUT_OF_RANGE")
    refused("an empty key", program.entry("port", [b""], *attach), "INVALID_ARGUMENT")
    refused("no key", program.entry("port", [], *attach), "INVALID_ARGUMENT")
    entry = program.entry("port", [b"\3"], *attach)
    entry.match.add(field_id=9).exact.value = b"\1"
    refused("an unknown field", entry, "INVALID_ARGUMENT")
    entry = program.entry("port", [b"\3"], *attach)
    entry.match.add(field_id=1).exact.value = b"\4"
    refused("a field twice", entry, "INVALID_ARGUMENT")
    refused("another match kind", program.entry("port", [(b"\3", b"\3")], *attach), "INVALID_ARGUMENT")
    refused("a parameter too wide", program.entry("port", [b"\3"], "attach", [b"\0", b"\1\0", b"\0", b"\1"]), "OUT_OF_RANGE")
    refused("a parameter missing", program.entry("port", [b"\3"], "attach", [b"\0", b"\1"]), "INVALID_ARGUMENT")
    entry = program.entry("port", [b"\3"], *attach)
    entry.action.action.params.add(param_id=9, value=b"\1")
    refused("a parameter too many", entry, "INVALID_ARGUMENT")
    refused("no action", program.entry("port", [b"\3"]), "INVALID_ARGUMENT")
    refused("a priority where there is none", program.entry("port", [b"\3"], *attach, priority=1), "INVALID_ARGUMENT")
    entry = program.entry("port", [b"\3"], *attach)
    entry.idle_timeout_ns = 10**9
    refused("a timeout where there is none", entry, "INVALID_ARGUMENT")
    default = program.entry("port", [], "unattached")
    default.is_default_action = True
    refused("a const default action", default, "PERMISSION_DENIED", MODIFY)
    refused("inserting a default entry", default, "INVALID_ARGUMENT")

    lo = (b"\xff\xff\x0a\x00\x00\x00", b"\xff\xff\xff\xff\xff\xff\xff\x00")
    forward = ("forward", [b"\1", MAC, MAC])
    route = program.entry("route", [b"\0", (b"\0", b"\xff" * 8), lo], *forward, priority=121)
    check("a ternary entry", client.write((INSERT, route)), ["OK"])
    refused("no priority", program.entry("route", [b"\0", None, lo], *forward), "INVALID_ARGUMENT")
    refused("a negative priority", program.entry("route", [b"\0", None, lo], *forward, priority=-1), "INVALID_ARGUMENT")
    refused("a mask of zeros", program.entry("route", [b"\0", (b"\0", b"\0"), lo], *forward, priority=5), "INVALID_ARGUMENT")
    loose = (b"\xff\xff\x0a\x00\x00\x01", b"\xff\xff\xff\xff\xff\xff\xff\x00")
    refused("a value outside its mask", program.entry("route", [b"\0", None, loose], *forward, priority=5), "INVALID_ARGUMENT")
    other = program.entry("route", [b"\0", (b"\0", b"\xff" * 8), lo], *forward, priority=120)
    check("another priority is another entry", client.write((INSERT, other)), ["OK"])
    anything = program.entry("route", [b"\0", None, None], "blackhole", priority=1)
    check("don't-care fields left out", client.write((INSERT, anything)), ["OK"])
    check("remove them", client.write((DELETE, other), (DELETE, anything)), ["OK", "OK"])

    atomic = p4.WriteRequest(device_id=DEVICE, atomicity=p4.WriteRequest.ROLLBACK_ON_ERROR)
    atomic.election_id.low = client.election
    atomic.updates.add(type=INSERT).entity.table_entry.CopyFrom(program.entry("port", [b"\3"], *attach))
    try:
        client.stub.Write(atomic)
        check("atomic batches", "OK", "UNIMPLEMENTED")
    except grpc.RpcError as error:
        check("atomic batches", error.code().name, "UNIMPLEMENTED")


def reads(client, program):
    everything = client.read(p4.TableEntry())
    tables = {entity.table_entry.table_id for entity in everything}
    check("table 0 is all tables", program.tables["port"].preamble.id in tables, True)
    ports = client.read(p4.TableEntry(table_id=program.tables["port"].preamble.id))
    ports = [entity.table_entry for entity in ports if not entity.table_entry.is_default_action]
    check("all entries of one table", len(ports), 2)
    check("reading what is not there", client.read(program.entry("port", [b"\7"])), [])
    for what, entry, code in [
        ("unknown table", p4.TableEntry(table_id=0x02FFFFFF), "INVALID_ARGUMENT"),
        ("too wide", program.entry("port", [b"\1\0\0\0\0"]), "OUT_OF_RANGE"),
    ]:
        try:
            client.read(entry)
            check("read: " + what, "OK", code)
        except grpc.RpcError as error:
            codes = update_codes(error)
            check("read: " + what, codes[0] if isinstance(codes, list) else codes, code)
    verdicts = program.counters["verdicts"]
    cells = client.read(p4.CounterEntry(counter_id=verdicts.preamble.id))
    check("every cell of a counter", len(cells), verdicts.size)
    beyond = p4.CounterEntry(counter_id=verdicts.preamble.id)
    beyond.index.index = verdicts.size
    try:
        client.read(beyond)
        check("a cell beyond the end", "OK", "OUT_OF_RANGE")
    except grpc.RpcError as error:
        codes = update_codes(error)
        check("a cell beyond the end", codes[0] if isinstance(codes, list) else codes, "OUT_OF_RANGE")


def packets(client, program):
    """A SYN to a VIP comes to the controller, with what the pipeline would have done."""
    vip = b"\xff\xff\x0a\x60\x00\x0a"
    client.write(
        (INSERT, program.entry("frontend", [b"\0", b"\6", b"\0", vip, b"\x50"], "serve",
                               [b"\5", b"\0", b"\5", b"\0", b"\7", b"\0", b"\xff"])),
        (INSERT, program.entry("endpoint", [b"\5", b"\0"], "to_endpoint",
                               [b"\0", b"\xff\xff\x0a\xf4\x01\x0b", b"\x1f\x90", b"\0", b"\1"])),
        (INSERT, program.entry("egress", [b"\1"], "emit_on", [b"\1"])),
    )
    ip = bytes.fromhex("4500002800000000400600000af400050a60000a")
    syn = bytes.fromhex("9c400050000003e80000000050020000") + bytes(4)
    frame = bytes.fromhex("0200000000010200000000ee0800") + ip + syn

    def out(ingress, egress, payload):
        request = p4.StreamMessageRequest()
        request.packet.payload = payload
        for field, value in zip(program.headers["packet_out"].metadata, (ingress, egress)):
            request.packet.metadata.add(metadata_id=field.id, value=value)
        client.requests.put(request)

    out(b"\1", b"\0", frame)
    packet = client.message("packet").packet
    check("packet-in: payload", packet.payload, frame)
    values = {field.metadata_id: field.value for field in packet.metadata}
    named = {field.name: values[field.id] for field in program.headers["packet_in"].metadata}
    check("packet-in: port", named["ingress_port"], b"\1")
    check("packet-in: reason", named["verdict"], b"\5")
    check("packet-in: endpoint", named["endpoint_port"], b"\x1f\x90")
    check("packet-in: canonical zero", named["endpoint_hi"], b"\0")
    counter = p4.DirectCounterEntry()
    counter.table_entry.CopyFrom(program.entry("frontend", [b"\0", b"\6", b"\0", vip, b"\x50"]))
    (got,) = client.read(counter)
    check("direct counter", got.direct_counter_entry.data.packet_count, 1)
    cell = p4.CounterEntry(counter_id=program.counters["verdicts"].preamble.id)
    cell.index.index = 5
    (got,) = client.read(cell)
    check("indexed counter", got.counter_entry.data.packet_count, 1)

    request = p4.StreamMessageRequest()
    request.packet.payload = frame
    client.requests.put(request)
    error = client.message("error").error
    check("packet-out without metadata", code_pb2.Code.Name(error.canonical_code), "INVALID_ARGUMENT")
    # The harness looks for this frame on the wire of port 1.
    out(b"\0", b"\1", b"\xff" * 6 + MAC + b"\x88\xb5" + b"from an independent client")
    cell.index.index = 4
    deadline = time.monotonic() + DEADLINE
    injected = 0
    while injected == 0 and time.monotonic() < deadline:
        (got,) = client.read(cell)
        injected = got.counter_entry.data.packet_count
    check("packet-out: counted", injected, 1)


def main():
    address, p4info, device_config = sys.argv[1:]
    with open(p4info, encoding="utf-8") as file:
        info = text_format.Parse(file.read(), p4info_pb2.P4Info())
    with open(device_config, "rb") as file:
        config = file.read()
    program = Program(info)
    client = arbitration(address)
    pipeline(client, info, config)
    writes(client, program)
    refusals(client, program)
    reads(client, program)
    packets(client, program)
    # Nobody is promoted when the primary goes; the next one needs an id at least as high.
    client.close()
    late = Client(address, 2)
    check("a low id after the primary has gone", late.arbitrate().arbitration.status.code, code_pb2.NOT_FOUND)
    check("a high one", late.arbitrate(election=31).arbitration.status.code, code_pb2.OK)
    late.close()
    print("failed:" if failures else "all good", failures or "")
    sys.exit(1 if failures else 0)


main()
