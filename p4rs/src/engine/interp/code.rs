//! The lowered program: trees whose variables are slot numbers and whose calls are indices.
//!
//! In: what `lower` builds. Out: what `run` executes. Invariant: every slot is below [`Code::slots`], every index
//! into [`Code`]'s lists is in range, and a scalar never holds bits above its width.

use crate::ir::{Control, ExternInstance, Handle, Parser, Table, Type};

use super::super::externs::HashAlgorithm;
use super::super::layout::Leaf;

/// Number of a value slot.
pub(crate) type Slot = u32;

/// A place in memory.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Fixed(Slot),
    Field(Box<Place>, u32),
    /// Element of a stack; `elem` slots each.
    Index {
        stack: Box<Place>,
        index: Box<Ex>,
        size: u32,
        elem: u32,
    },
    Next {
        stack: Box<Place>,
        size: u32,
        elem: u32,
    },
    Last {
        stack: Box<Place>,
        size: u32,
        elem: u32,
    },
    /// A computed value.
    Value(Box<Agg>),
}

/// A place to write to.
#[derive(Clone, Debug)]
pub(crate) struct Dest {
    pub place: Place,
    pub slots: u32,
    /// Highest and lowest bit written, of a value of `width` bits.
    pub slice: Option<(u32, u32)>,
    pub width: u32,
    /// How many slots before the place the validity of the header around it lies.
    pub guard: Option<u32>,
    pub union: Option<Box<UnionMember>>,
    /// Index into [`Code::names`].
    pub name: u32,
}

/// The place is a member of a header union.
#[derive(Clone, Debug)]
pub(crate) struct UnionMember {
    /// How many slots before the place the union begins.
    pub back: u32,
    /// First slot and slots of every member.
    pub members: Vec<(u32, u32)>,
}

/// A one-slot expression.
#[derive(Clone, Debug)]
pub(crate) enum Ex {
    Const(u128),
    Slot(Slot),
    Load(Box<Place>),
    Slice {
        value: Box<Ex>,
        lo: u32,
        mask: u128,
    },
    WideSlice {
        value: Box<Agg>,
        lo: u32,
        mask: u128,
        words: u32,
    },
    Mask(Box<Ex>, u128),
    SignExtend {
        value: Box<Ex>,
        from: u32,
        mask: u128,
    },
    Not(Box<Ex>),
    BitNot(Box<Ex>, u128),
    Neg(Box<Ex>, u128),
    Bin(Box<Bin>),
    And(Box<(Ex, Ex)>),
    Or(Box<(Ex, Ex)>),
    Mux(Box<(Ex, Ex, Ex)>),
    /// Equality of values of several slots, by ranges.
    Same {
        a: Box<Agg>,
        b: Box<Agg>,
        ranges: Vec<(u32, u32)>,
        negate: bool,
    },
    /// Order of wide numbers.
    WideOrder {
        op: Op,
        a: Box<Agg>,
        b: Box<Agg>,
        width: u32,
        signed: bool,
    },
    UnionValid {
        union: Box<Place>,
        members: Vec<u32>,
    },
    LastIndex(Box<Place>),
    PacketLength,
    Lookahead(u32),
    Call(Box<Call>, Slot),
    /// Applies the table; 1 when the result equals the flag.
    Apply {
        table: u32,
        hit: bool,
    },
    Prim(Box<Prim>),
}

/// Operators with two scalar operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    SatAdd,
    SatSub,
    Shl,
    Shr,
    BitAnd,
    BitOr,
    BitXor,
    /// The right operand's width is `Bin::width`.
    Concat,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// An operation on scalars.
#[derive(Clone, Debug)]
pub(crate) struct Bin {
    pub op: Op,
    pub a: Ex,
    pub b: Ex,
    pub width: u32,
    pub signed: bool,
}

/// An expression of several slots; evaluation gives the address of the first.
#[derive(Clone, Debug)]
pub(crate) enum Agg {
    Place(Place),
    Const {
        temp: Slot,
        words: Box<[u128]>,
    },
    /// A struct, tuple or (with `valid`) header from its parts.
    Build {
        temp: Slot,
        slots: u32,
        valid: bool,
        parts: Vec<(u32, Operand)>,
    },
    Wide(Box<WideOp>),
    Mux(Box<(Ex, Agg, Agg)>),
    Call {
        call: Box<Call>,
        ret: Slot,
        temp: Slot,
        slots: u32,
    },
    Lookahead {
        temp: Slot,
        slots: u32,
        shape: Box<Shape>,
    },
    Prim {
        prim: Box<Prim>,
        temp: Slot,
        slots: u32,
    },
}

/// An operation on numbers above 128 bits.
#[derive(Clone, Debug)]
pub(crate) struct WideOp {
    pub temp: Slot,
    pub width: u32,
    pub signed: bool,
    pub kind: WideKind,
}

/// What a [`WideOp`] does. Operand widths and signedness stand with the operands.
#[derive(Clone, Debug)]
pub(crate) enum WideKind {
    Cast(Number),
    Neg(Number),
    BitNot(Number),
    Bin(Op, Number, Number),
    Slice { value: Number, lo: u32 },
}

/// A number operand of any width.
#[derive(Clone, Debug)]
pub(crate) struct Number {
    pub value: Operand,
    pub width: u32,
    pub signed: bool,
}

/// Any expression.
#[derive(Clone, Debug)]
pub(crate) enum Operand {
    One(Ex),
    Many(Agg, u32),
}

/// What a header or a value taken from the packet consists of.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub leaves: Vec<Leaf>,
    /// Validity slots to set.
    pub headers: Vec<u32>,
    /// Bits without varbits.
    pub bits: u32,
}

/// Bits to pack for a hash, checksum or digest.
#[derive(Clone, Debug)]
pub(crate) enum Pack {
    Scalar {
        value: Ex,
        width: u32,
        guard: Option<Place>,
    },
    Leaves {
        value: Agg,
        leaves: Vec<Leaf>,
        guard: Option<Place>,
    },
}

/// A call of something with a body.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub target: Target,
    /// Values put into parameters (or, when calls are nested, into temporaries first).
    pub ins: Vec<(Slot, Operand)>,
    /// Temporaries moved into parameters after all arguments were computed: from, to, slots.
    pub moves: Vec<(Slot, Slot, u32)>,
    /// Parameters copied in and out.
    pub places: Vec<PlaceArg>,
    /// Slots cleared at entry: out parameters.
    pub clears: Vec<(Slot, u32)>,
}

/// An `out` or `inout` argument.
#[derive(Clone, Debug)]
pub(crate) struct PlaceArg {
    pub param: Slot,
    pub dest: Dest,
    pub copy_in: bool,
}

/// What a [`Call`] runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    Function(u32),
    Action(u32),
    Control(u32),
    Parser(u32),
}

/// A statement.
#[derive(Clone, Debug)]
pub(crate) enum Stmt {
    /// A scalar into a slot that no header guards.
    Set(Slot, Ex),
    Assign(Dest, Operand),
    Clear(Slot, u32),
    /// A variable's initial value.
    Init(Slot, Operand),
    Eval(Operand),
    Call(Box<Call>),
    Apply(u32),
    Prim(Box<Prim>),
    If(Ex, Vec<Stmt>, Vec<Stmt>),
    /// Case index by action index of the table; `None` is default.
    SwitchAction {
        table: u32,
        by_action: Vec<Option<u32>>,
        cases: Vec<Vec<Stmt>>,
        default: Vec<Stmt>,
    },
    Switch {
        subject: Operand,
        cases: Vec<(Vec<Operand>, Vec<Stmt>)>,
        default: Vec<Stmt>,
    },
    For {
        init: Vec<Stmt>,
        cond: Ex,
        update: Vec<Stmt>,
        body: Vec<Stmt>,
    },
    ForRange {
        var: Slot,
        low: Ex,
        high: Ex,
        signed: Option<u32>,
        body: Vec<Stmt>,
    },
    ForItems {
        var: Slot,
        items: Vec<Operand>,
        body: Vec<Stmt>,
    },
    /// The elements of a stack.
    ForStack {
        var: Slot,
        stack: Agg,
        size: u32,
        elem: u32,
        body: Vec<Stmt>,
    },
    Block(Vec<Stmt>),
    Break,
    Continue,
    Return(Option<(Slot, Operand)>),
    Exit,
}

/// A parser.
#[derive(Clone, Debug, Default)]
pub(crate) struct ParserCode {
    pub locals: Vec<Stmt>,
    pub states: Vec<StateCode>,
    pub start: usize,
}

/// A parser state.
#[derive(Clone, Debug)]
pub(crate) struct StateCode {
    pub name: String,
    pub body: Vec<Stmt>,
    pub next: Next,
}

/// How a state ends.
#[derive(Clone, Debug)]
pub(crate) enum Next {
    To(Goto),
    Select {
        subjects: Vec<Number>,
        cases: Vec<(Vec<Test>, Goto)>,
    },
}

/// Where a transition leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goto {
    Accept,
    Reject,
    State(usize),
}

/// One key set of a select case.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    Any,
    Value(Operand),
    Mask(Operand, Operand),
    Range(Ex, Ex),
    /// Value set, and how many subjects it spans.
    Set(usize, usize),
}

/// A table as packets apply it.
#[derive(Clone, Debug)]
pub(crate) struct TableCode {
    pub handle: Handle<Table>,
    pub keys: Vec<KeyCode>,
    pub selector: Vec<Pack>,
    pub selector_names: Vec<String>,
    pub actions: Vec<ActionBinding>,
    /// Field that receives the direct meter's colour, and the value of each colour.
    pub meter: Option<(Dest, [u128; 3])>,
}

/// One key field.
#[derive(Clone, Debug)]
pub(crate) struct KeyCode {
    pub value: Operand,
    pub width: u32,
    pub name: String,
}

/// An action as one table runs it.
#[derive(Clone, Debug)]
pub(crate) struct ActionBinding {
    pub call: Call,
    pub name: String,
    /// Action data parameters: slot, width, name.
    pub data: Vec<(Slot, u32, String)>,
}

/// A built-in or extern operation with its operands.
#[derive(Clone, Debug)]
pub(crate) enum Prim {
    Extract {
        dest: Option<Dest>,
        shape: Shape,
        next: Option<(Place, u32)>,
        varbit: Option<Ex>,
    },
    Advance(Ex),
    Emit {
        value: Agg,
        headers: Vec<(u32, Shape)>,
    },
    SetValid(Dest),
    SetInvalid {
        dest: Dest,
        headers: Vec<(u32, u32)>,
    },
    Shift {
        stack: Dest,
        size: u32,
        elem: u32,
        count: u32,
        front: bool,
    },
    Verify(Ex, Ex),
    Extern(Extern),
}

/// Extern calls.
#[derive(Clone, Debug)]
pub(crate) enum Extern {
    Nothing,
    Count {
        instance: Handle<ExternInstance>,
        index: Ex,
        length: Option<Ex>,
    },
    CountDirect {
        table: u32,
        length: Option<Ex>,
    },
    Meter {
        instance: Handle<ExternInstance>,
        index: Ex,
        length: Option<Ex>,
        colors: [u128; 3],
        dest: Option<Dest>,
    },
    /// The colour that the direct meter gave when the table was hit.
    DirectMeter {
        colors: [u128; 3],
        dest: Option<Dest>,
    },
    RegisterRead {
        instance: Handle<ExternInstance>,
        index: Ex,
        dest: Option<Dest>,
        slots: u32,
        temp: Slot,
    },
    RegisterWrite {
        instance: Handle<ExternInstance>,
        index: Ex,
        value: Operand,
    },
    Random {
        low: Ex,
        high: Ex,
        dest: Option<Dest>,
    },
    Hash {
        algorithm: HashAlgorithm,
        base: Ex,
        max: Option<Ex>,
        data: Vec<Pack>,
        dest: Option<Dest>,
        mask: u128,
    },
    SumClear(Slot),
    SumAdd(Slot, Vec<Pack>),
    SumSubtract(Slot, Vec<Pack>),
    SumGet(Slot),
    SumState(Slot),
    SumSetState(Slot, Ex),
    Assert(Ex),
    Log {
        text: String,
        data: Vec<Pack>,
    },
    Digest {
        ty: Handle<Type>,
        receiver: Ex,
        data: Vec<Pack>,
    },
    // v1model
    /// Slots of the egress port and of the multicast group of the metadata that is marked.
    MarkToDrop {
        port: Slot,
        group: Slot,
    },
    Checksum(Box<Checksum>),
    Clone {
        egress: bool,
        session: Ex,
        list: Option<u32>,
    },
    Resubmit(Option<u32>),
    RecirculateList(Option<u32>),
    Truncate(Ex),
    // PNA
    Drop,
    SendTo(Ex),
    Recirculate,
    Mirror {
        slot: Ex,
        session: Ex,
    },
    AddEntry {
        action: u16,
        data: Vec<(Operand, u32)>,
        profile: Ex,
    },
    SetExpire(Ex),
    RestartTimer,
    IsHostPort(Ex),
}

/// `verify_checksum` and `update_checksum`.
#[derive(Clone, Debug)]
pub(crate) struct Checksum {
    pub condition: Ex,
    pub data: Vec<Pack>,
    pub algorithm: HashAlgorithm,
    pub payload: bool,
    /// Mask of the checksum field.
    pub mask: u128,
    pub action: ChecksumAction,
}

/// What a checksum is for.
#[derive(Clone, Debug)]
pub(crate) enum ChecksumAction {
    /// Compare; nothing happens when the header around the field is invalid.
    Verify {
        stored: Ex,
        guard: Option<Place>,
    },
    Update(Dest),
}

/// The lowered program.
#[derive(Debug, Default)]
pub(crate) struct Code {
    pub slots: u32,
    /// A region that is always zero, and one that is never read; both hold the largest stack element.
    pub zero: Slot,
    pub sink: Slot,
    pub functions: Vec<Vec<Stmt>>,
    pub actions: Vec<Vec<Stmt>>,
    pub controls: Vec<Option<(Handle<Control>, Vec<Stmt>)>>,
    pub parsers: Vec<Option<(Handle<Parser>, ParserCode)>>,
    pub tables: Vec<Option<TableCode>>,
    pub names: Vec<String>,
    pub error_names: Vec<String>,
    pub errors: CoreErrors,
}

impl Code {
    /// The statements of what is called; a parser has none of its own.
    pub fn body(&self, target: Target) -> Option<&[Stmt]> {
        match target {
            Target::Function(index) => self.functions.get(index as usize).map(Vec::as_slice),
            Target::Action(index) => self.actions.get(index as usize).map(Vec::as_slice),
            Target::Control(index) => {
                let control = self.controls.get(index as usize)?.as_ref()?;
                Some(&control.1)
            }
            Target::Parser(_) => None,
        }
    }
}

/// Indices of the core errors.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CoreErrors {
    pub packet_too_short: u32,
    pub no_match: u32,
    pub stack_out_of_bounds: u32,
    pub header_too_short: u32,
    pub parser_invalid_argument: u32,
    /// A `select` without a matching case ends parsing quietly (v1model).
    pub quiet_no_match: bool,
}
