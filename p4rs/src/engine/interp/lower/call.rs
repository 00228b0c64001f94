//! Calls of functions, actions, controls and parsers: copy in, run, copy out (P4-16 section 6.8).
//!
//! In: callees with arguments. Out: [`Call`]s. Invariants: places are found before the call and written after it,
//! in parameter order; a nested call cannot disturb arguments already computed.

use super::super::code::{Call, Ex, Operand, PlaceArg, Slot, Target};
use super::{Lower, Lowered};
use crate::ir::{
    Action, Arg, Callee, Control, Direction, Expr, ExprKind, Function, Handle, Param, Parser,
};

impl<'p> Lower<'p> {
    pub(super) fn function_call(
        &mut self,
        function: Handle<Function>,
        args: &[Arg],
    ) -> Lowered<(Call, Slot)> {
        let program = self.program;
        let slot = self.function(function)?;
        let params = &program.functions[function].params;
        Ok((
            self.call(Target::Function(function.index() as u32), params, args)?,
            slot,
        ))
    }

    pub(super) fn action_call(&mut self, action: Handle<Action>, args: &[Arg]) -> Lowered<Call> {
        let program = self.program;
        let index = self.action(action)?;
        self.call(Target::Action(index), &program.actions[action].params, args)
    }

    pub(super) fn control_call(&mut self, control: Handle<Control>, args: &[Arg]) -> Lowered<Call> {
        let program = self.program;
        let params = &program.controls[control].params;
        let shared = self.try_alias(params, args, self.control_calls(control))?;
        let index = self.control(control)?;
        self.block_call(Target::Control(index), params, args, shared)
    }

    pub(super) fn parser_call(&mut self, parser: Handle<Parser>, args: &[Arg]) -> Lowered<Call> {
        let program = self.program;
        let params = &program.parsers[parser].params;
        let shared = self.try_alias(params, args, self.parser_calls(parser))?;
        let index = self.parser(parser)?;
        self.block_call(Target::Parser(index), params, args, shared)
    }

    fn block_call(
        &mut self,
        target: Target,
        params: &[Param],
        args: &[Arg],
        shared: bool,
    ) -> Lowered<Call> {
        if !shared {
            return self.call(target, params, args);
        }
        let mut call = empty(target);
        for param in params
            .iter()
            .filter(|param| param.direction == Direction::Out)
        {
            let slot = self.home(param.var);
            call.clears
                .push((slot, self.slots(self.program.vars[param.var].ty)));
        }
        Ok(call)
    }

    /// A call that copies.
    pub(super) fn call(&mut self, target: Target, params: &[Param], args: &[Arg]) -> Lowered<Call> {
        let mut call = empty(target);
        let staged = args.len() > 1 && args.iter().any(|arg| self.arg_calls(arg));
        for (param, arg) in params.iter().zip(args) {
            let ty = self.program.vars[param.var].ty;
            let home = self.home(param.var);
            let slots = self.slots(ty);
            match arg {
                Arg::In(expr) => {
                    let value = self.typed(*expr, ty)?;
                    if staged {
                        let temp = self.alloc(slots);
                        call.ins.push((temp, value));
                        call.moves.push((temp, home, slots));
                    } else {
                        call.ins.push((home, value));
                    }
                }
                Arg::Place(expr) => {
                    let copy_in = param.direction != Direction::Out;
                    if !copy_in {
                        call.clears.push((home, slots));
                    }
                    call.places.push(PlaceArg {
                        param: home,
                        dest: self.dest(*expr)?,
                        copy_in,
                    });
                }
                Arg::Absent => call.clears.push((home, slots)),
                Arg::Extern(_) | Arg::Packet => {}
            }
        }
        Ok(call)
    }

    fn arg_calls(&self, arg: &Arg) -> bool {
        match arg {
            Arg::In(expr) | Arg::Place(expr) => self.calls(*expr),
            Arg::Absent | Arg::Extern(_) | Arg::Packet => false,
        }
    }

    /// Whether evaluating the expression runs code of the program.
    pub(super) fn calls(&self, expr: Handle<Expr>) -> bool {
        match &self.expr(expr).kind {
            ExprKind::Const(_) | ExprKind::Var(_) | ExprKind::InvalidHeader => false,
            ExprKind::Field(a, _)
            | ExprKind::Slice { base: a, .. }
            | ExprKind::StackNext(a)
            | ExprKind::StackLast(a)
            | ExprKind::StackLastIndex(a)
            | ExprKind::Unary(_, a)
            | ExprKind::Cast(a) => self.calls(*a),
            ExprKind::Index(a, b) | ExprKind::Binary(_, a, b) => self.calls(*a) || self.calls(*b),
            ExprKind::Mux(a, b, c) => self.calls(*a) || self.calls(*b) || self.calls(*c),
            ExprKind::Struct(items) => items.iter().any(|&item| self.calls(item)),
            ExprKind::Call { callee, args, .. } => {
                !matches!(callee, Callee::Packet(_) | Callee::Header(_))
                    || args.iter().any(|arg| self.arg_calls(arg))
            }
        }
    }

    /// An argument that is read, as a scalar; `None` when it is left out.
    pub(super) fn scalar_arg(&mut self, args: &[Arg], index: usize) -> Lowered<Option<Ex>> {
        match args.get(index) {
            Some(Arg::In(expr) | Arg::Place(expr)) => match self.operand(*expr)? {
                Operand::One(value) => Ok(Some(value)),
                Operand::Many(value, words) => {
                    let lo = 0;
                    Ok(Some(Ex::WideSlice {
                        value: Box::new(value),
                        lo,
                        mask: u128::MAX,
                        words,
                    }))
                }
            },
            _ => Ok(None),
        }
    }
}

pub(super) fn empty(target: Target) -> Call {
    Call {
        target,
        ins: Vec::new(),
        moves: Vec::new(),
        places: Vec::new(),
        clears: Vec::new(),
    }
}
