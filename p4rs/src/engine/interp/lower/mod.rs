//! Lowering: the IR becomes trees over numbered slots.
//!
//! In: a checked program. Out: [`Code`]. Every variable gets a fixed home; a control or parser that is called at one
//! place only, or always with the same variables, shares its parameters' homes with the caller's arguments, which copying in
//! and out would not tell apart.
//! Invariant: what is lowered once is found again by its handle.

mod call;
mod expr;
mod externs;
mod packet;
mod parser;
mod place;
mod stmt;
mod table;

use rustc_hash::FxHashMap;

use super::super::layout;
use super::super::{Architecture, LoadError};
use super::code::{Code, CoreErrors, Place, Slot, Stmt, TableCode};
use crate::ir::{
    Arg, Callee, Control, Expr, ExprKind, ExternInstance, Function, Handle, Param, Parser, Program,
    Table, Type, Var,
};
use crate::source::Span;

/// Slots that one packet may take.
const MAX_SLOTS: u64 = 1 << 22;

pub(super) use expr::SATURATE;

/// Result of lowering something.
pub(super) type Lowered<T> = Result<T, LoadError>;

/// State of the lowering.
pub(crate) struct Lower<'p> {
    pub(super) program: &'p Program,
    pub(super) arch: Architecture,
    pub(super) code: Code,
    next: u64,
    homes: Vec<Option<Slot>>,
    control_sites: FxHashMap<usize, Sites<'p>>,
    parser_sites: FxHashMap<usize, Sites<'p>>,
    /// Calls being lowered, to refuse recursion.
    depth: u32,
    function_done: Vec<bool>,
    action_done: Vec<bool>,
    returns: Vec<Option<Slot>>,
    /// Where `return expression` of the function being lowered goes.
    pub(super) result: Option<(Slot, Handle<Type>)>,
    /// Home of the running sum of an `InternetChecksum`.
    sums: FxHashMap<usize, Slot>,
    /// Tables by the direct counter or meter they own.
    owners: FxHashMap<usize, u32>,
    /// The table whose action is being lowered, for `add_entry`.
    pub(super) in_action: Option<Handle<crate::ir::Action>>,
}

/// Deepest nesting of calls; P4 has no recursion, so real programs stay far below.
const MAX_DEPTH: u32 = 64;

impl<'p> Lower<'p> {
    /// Prepares for a program.
    pub fn new(program: &'p Program, arch: Architecture) -> Lowered<Self> {
        let region = largest_element(program);
        let mut lower = Self {
            program,
            arch,
            code: Code {
                zero: 0,
                sink: region,
                errors: core_errors(program, arch),
                ..Code::default()
            },
            next: u64::from(region) * 2,
            homes: vec![None; program.vars.len()],
            control_sites: FxHashMap::default(),
            parser_sites: FxHashMap::default(),
            depth: 0,
            function_done: vec![false; program.functions.len()],
            action_done: vec![false; program.actions.len()],
            returns: vec![None; program.functions.len()],
            result: None,
            sums: FxHashMap::default(),
            owners: FxHashMap::default(),
            in_action: None,
        };
        lower.code.error_names = program.errors.clone();
        lower.code.functions = vec![Vec::new(); program.functions.len()];
        lower.code.actions = vec![Vec::new(); program.actions.len()];
        lower.code.controls = (0..program.controls.len()).map(|_| None).collect();
        lower.code.parsers = (0..program.parsers.len()).map(|_| None).collect();
        lower.code.tables = (0..program.tables.len())
            .map(|_| None::<TableCode>)
            .collect();
        lower.find_sites();
        lower.find_owners();
        Ok(lower)
    }

    /// The finished code.
    pub fn finish(mut self) -> Lowered<Code> {
        if self.next > MAX_SLOTS {
            return Err(LoadError::TooBig(self.next));
        }
        self.code.slots = self.next as u32;
        Ok(self.code)
    }

    fn find_sites(&mut self) {
        let program = self.program;
        for (_, expr) in program.exprs.iter() {
            let ExprKind::Call { callee, args, .. } = &expr.kind else {
                continue;
            };
            let (sites, index) = match callee {
                Callee::Control(handle) => (&mut self.control_sites, handle.index()),
                Callee::Parser(handle) => (&mut self.parser_sites, handle.index()),
                _ => continue,
            };
            sites
                .entry(index)
                .and_modify(|sites| *sites = sites.and(program, args))
                .or_insert(Sites::One(args));
        }
    }

    fn find_owners(&mut self) {
        for (handle, table) in self.program.tables.iter() {
            for property in &table.properties {
                if let crate::ir::PropertyValue::Extern(instance)
                | crate::ir::PropertyValue::Const(crate::ir::Const::Extern(instance)) =
                    &property.value
                {
                    self.owners.insert(instance.index(), handle.index() as u32);
                }
            }
        }
    }

    /// The table that owns a direct counter or meter.
    pub(super) fn owner(&self, instance: Handle<ExternInstance>) -> Option<u32> {
        self.owners.get(&instance.index()).copied()
    }

    /// Fresh slots.
    pub(crate) fn alloc(&mut self, slots: u32) -> Slot {
        let first = self.next.min(MAX_SLOTS);
        self.next = self.next.saturating_add(u64::from(slots.max(1)));
        first as Slot
    }

    pub(super) fn slots(&self, ty: Handle<Type>) -> u32 {
        layout::slots(self.program, ty)
    }

    pub(super) fn ty(&self, ty: Handle<Type>) -> &'p Type {
        &self.program.types[self.program.resolve(ty)]
    }

    pub(super) fn expr(&self, expr: Handle<Expr>) -> &'p Expr {
        &self.program.exprs[expr]
    }

    /// The home of a variable.
    pub(crate) fn home(&mut self, var: Handle<Var>) -> Slot {
        if let Some(slot) = self.homes[var.index()] {
            return slot;
        }
        let slot = self.alloc(self.slots(self.program.vars[var].ty));
        self.homes[var.index()] = Some(slot);
        slot
    }

    /// Gives a variable the home of something else. Only before the variable was used.
    pub(crate) fn bind(&mut self, var: Handle<Var>, slot: Slot) {
        if self.homes[var.index()].is_none() {
            self.homes[var.index()] = Some(slot);
        }
    }

    /// The slot of an `InternetChecksum`'s running sum.
    pub(super) fn sum(&mut self, instance: Handle<ExternInstance>) -> Slot {
        if let Some(&slot) = self.sums.get(&instance.index()) {
            return slot;
        }
        let slot = self.alloc(1);
        self.sums.insert(instance.index(), slot);
        slot
    }

    /// Remembers a name for traces.
    pub(super) fn name(&mut self, name: String) -> u32 {
        self.code.names.push(name);
        (self.code.names.len() - 1) as u32
    }

    pub(super) fn construct<T>(&self, what: impl Into<String>, span: Span) -> Lowered<T> {
        Err(LoadError::Construct {
            what: what.into(),
            span,
        })
    }

    fn deeper<T>(&mut self, lower: impl FnOnce(&mut Self) -> Lowered<T>) -> Lowered<T> {
        if self.depth >= MAX_DEPTH {
            return self.construct("calls are nested too deeply", Span::default());
        }
        self.depth += 1;
        let result = lower(self);
        self.depth -= 1;
        result
    }

    /// Lowers a control once.
    pub(crate) fn control(&mut self, handle: Handle<Control>) -> Lowered<u32> {
        let index = handle.index();
        if self.code.controls[index].is_none() {
            let control = &self.program.controls[handle];
            let body = self.deeper(|this| {
                let mut body = this.block(&control.locals)?;
                body.extend(this.block(&control.body)?);
                Ok(body)
            })?;
            self.code.controls[index] = Some((handle, body));
        }
        Ok(index as u32)
    }

    /// Lowers a function once; the slot is its result's.
    pub(super) fn function(&mut self, handle: Handle<Function>) -> Lowered<Slot> {
        let function = &self.program.functions[handle];
        let slot = match self.returns[handle.index()] {
            Some(slot) => slot,
            None => {
                let slot = self.alloc(self.slots(function.ret));
                self.returns[handle.index()] = Some(slot);
                slot
            }
        };
        if !self.function_done[handle.index()] {
            self.function_done[handle.index()] = true;
            let outer = self.result.replace((slot, function.ret));
            let body = self.deeper(|this| this.block(&function.body));
            self.result = outer;
            self.code.functions[handle.index()] = body?;
        }
        Ok(slot)
    }

    /// Lowers an action once.
    pub(super) fn action(&mut self, handle: Handle<crate::ir::Action>) -> Lowered<u32> {
        if !self.action_done[handle.index()] {
            self.action_done[handle.index()] = true;
            let outer = self.in_action.replace(handle);
            let result = self.result.take();
            let body = self.deeper(|this| this.block(&this.program.actions[handle].body));
            self.in_action = outer;
            self.result = result;
            self.code.actions[handle.index()] = body?;
        }
        Ok(handle.index() as u32)
    }

    /// Shares the homes of arguments with the parameters of a block that is called at one place only, or everywhere with the
    /// same variables.
    pub(super) fn try_alias(
        &mut self,
        params: &[Param],
        args: &[Arg],
        sites: Sites<'p>,
    ) -> Lowered<bool> {
        if matches!(sites, Sites::Different) || params.len() != args.len() {
            return Ok(false);
        }
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        let mut homes = Vec::new();
        for (param, arg) in params.iter().zip(args) {
            let expr = match arg {
                Arg::Extern(_) | Arg::Packet => continue,
                Arg::Absent => return Ok(false),
                Arg::In(expr) | Arg::Place(expr) => *expr,
            };
            if !self.is_place(expr) {
                return Ok(false);
            }
            let dest = self.dest(expr)?;
            let Place::Fixed(slot) = dest.place else {
                return Ok(false);
            };
            // A call before this one has given the home: the same, if it shared, too.
            let before = self.homes[param.var.index()];
            if before.is_some() && (matches!(sites, Sites::One(_)) || before != Some(slot)) {
                return Ok(false);
            }
            let end = slot + dest.slots;
            let overlaps = ranges.iter().any(|&(from, to)| slot < to && from < end);
            if dest.slice.is_some() || dest.guard.is_some() || dest.union.is_some() || overlaps {
                return Ok(false);
            }
            ranges.push((slot, end));
            homes.push((param.var, slot));
        }
        homes
            .into_iter()
            .for_each(|(var, slot)| self.bind(var, slot));
        Ok(true)
    }

    pub(super) fn control_calls(&self, handle: Handle<Control>) -> Sites<'p> {
        let sites = self.control_sites.get(&handle.index());
        sites.copied().unwrap_or(Sites::Different)
    }

    pub(super) fn parser_calls(&self, handle: Handle<Parser>) -> Sites<'p> {
        let sites = self.parser_sites.get(&handle.index());
        sites.copied().unwrap_or(Sites::Different)
    }

    /// Lowers every table, so that the control plane finds also those that are never applied.
    pub(crate) fn all_tables(&mut self) -> Lowered<()> {
        let handles: Vec<Handle<Table>> = self
            .program
            .tables
            .iter()
            .map(|(handle, _)| handle)
            .collect();
        handles
            .into_iter()
            .try_for_each(|handle| self.table(handle).map(drop))
    }
}

/// Where a control or a parser is called.
#[derive(Clone, Copy)]
pub(super) enum Sites<'p> {
    /// At one place, with these arguments.
    One(&'p [Arg]),
    /// At several, with the same variables.
    Alike(&'p [Arg]),
    /// Otherwise.
    Different,
}

impl<'p> Sites<'p> {
    /// With another place.
    fn and(self, program: &Program, args: &[Arg]) -> Self {
        let variable = |expr: Handle<Expr>| match program.exprs[expr].kind {
            ExprKind::Var(var) => Some(var),
            _ => None,
        };
        let same = |(a, b): (&Arg, &Arg)| match (a, b) {
            (Arg::In(a), Arg::In(b)) | (Arg::Place(a), Arg::Place(b)) => {
                variable(*a).is_some() && variable(*a) == variable(*b)
            }
            (Arg::Extern(a), Arg::Extern(b)) => a == b,
            (Arg::Packet, Arg::Packet) => true,
            _ => false,
        };
        match self {
            Self::One(known) | Self::Alike(known)
                if known.len() == args.len() && known.iter().zip(args).all(same) =>
            {
                Self::Alike(known)
            }
            _ => Self::Different,
        }
    }
}

/// Slots of the largest stack element, or of the largest header.
fn largest_element(program: &Program) -> u32 {
    let elements = program.types.iter().filter_map(|(handle, ty)| match ty {
        Type::Stack { elem, .. } => Some(layout::slots(program, *elem)),
        Type::Header(_) | Type::Union(_) => Some(layout::slots(program, handle)),
        _ => None,
    });
    elements.max().unwrap_or(0).max(1)
}

fn core_errors(program: &Program, arch: Architecture) -> CoreErrors {
    let index = |name: &str| program.errors.iter().position(|e| e == name).unwrap_or(0) as u32;
    CoreErrors {
        packet_too_short: index("PacketTooShort"),
        no_match: index("NoMatch"),
        stack_out_of_bounds: index("StackOutOfBounds"),
        header_too_short: index("HeaderTooShort"),
        parser_invalid_argument: index("ParserInvalidArgument"),
        quiet_no_match: arch == Architecture::V1Model,
    }
}

/// Statements that clear a range.
pub(super) fn clear(slot: Slot, slots: u32) -> Stmt {
    Stmt::Clear(slot, slots)
}
