//! Packet and header operations: extract, lookahead, advance, emit, validity, push and pop; packing for hashes.
//!
//! In: built-in calls and data expressions. Out: [`Prim`]s with the shape of what is moved, [`Pack`] lists.
//! Invariant: shapes list leaves in the order in which they stand in the packet.

use super::super::super::layout;
use super::super::code::{Agg, Ex, Operand, Pack, Place, Prim, Shape};
use super::{Lower, Lowered, expr::load};
use crate::ir::{Arg, Callee, Const, Expr, ExprKind, Handle, HeaderOp, PacketOp, Type};
use crate::source::Span;

impl Lower<'_> {
    /// What a value of this type consists of in a packet.
    pub(crate) fn shape(&self, ty: Handle<Type>) -> Shape {
        let leaves = layout::leaves(self.program, ty);
        let bits = leaves
            .iter()
            .filter(|leaf| !leaf.varbit)
            .fold(0u32, |sum, leaf| sum.saturating_add(leaf.width));
        let headers = layout::headers(self.program, ty, 0, "")
            .into_iter()
            .map(|(at, ..)| at)
            .collect();
        Shape {
            leaves,
            headers,
            bits,
        }
    }

    pub(super) fn lookahead(&mut self, expr: Handle<Expr>) -> Lowered<Agg> {
        let ty = self.expr(expr).ty;
        let slots = self.slots(ty);
        Ok(Agg::Lookahead {
            temp: self.alloc(slots),
            slots,
            shape: Box::new(self.shape(ty)),
        })
    }

    /// A packet or header operation without a value.
    pub(super) fn builtin(&mut self, expr: Handle<Expr>) -> Lowered<Prim> {
        let node = self.expr(expr);
        let ExprKind::Call {
            callee,
            type_args,
            args,
        } = &node.kind
        else {
            return self.construct("not a call", node.span);
        };
        match callee {
            Callee::Packet(op) => self.packet_op(*op, type_args, args, node.span),
            Callee::Header(op) => self.header_op(*op, args, node.span),
            _ => self.construct("not a built-in operation", node.span),
        }
    }

    fn packet_op(
        &mut self,
        op: PacketOp,
        types: &[Handle<Type>],
        args: &[Arg],
        span: Span,
    ) -> Lowered<Prim> {
        match op {
            PacketOp::Extract => self.extract(types, args, None, span),
            PacketOp::ExtractVarbit => {
                let bits = self.scalar_arg(args, 1)?;
                self.extract(types, args, bits, span)
            }
            PacketOp::Advance => match self.scalar_arg(args, 0)? {
                Some(bits) => Ok(Prim::Advance(bits)),
                None => self.construct("`advance` without a number of bits", span),
            },
            PacketOp::Emit => self.emit(args, span),
            PacketOp::Lookahead | PacketOp::Length => {
                self.construct("a value that is not used", span)
            }
        }
    }

    fn extract(
        &mut self,
        types: &[Handle<Type>],
        args: &[Arg],
        varbit: Option<Ex>,
        span: Span,
    ) -> Lowered<Prim> {
        match (args.first(), types.first()) {
            (Some(Arg::Place(expr) | Arg::In(expr)), _) => {
                let shape = self.shape(self.expr(*expr).ty);
                // A member of a union that is the next of its stack takes the union's place there.
                let element = match self.expr(*expr).kind {
                    ExprKind::Field(union, _) => union,
                    _ => *expr,
                };
                let next = match &self.expr(element).kind {
                    ExprKind::StackNext(stack) => {
                        Some((self.place(*stack)?, self.stack_shape(*stack)?.0))
                    }
                    _ => None,
                };
                Ok(Prim::Extract {
                    dest: Some(self.dest(*expr)?),
                    shape,
                    next,
                    varbit,
                })
            }
            (_, Some(&ty)) => Ok(Prim::Extract {
                dest: None,
                shape: self.shape(ty),
                next: None,
                varbit,
            }),
            _ => self.construct("`extract` of nothing", span),
        }
    }

    fn emit(&mut self, args: &[Arg], span: Span) -> Lowered<Prim> {
        let Some(Arg::In(expr) | Arg::Place(expr)) = args.first() else {
            return self.construct("`emit` of nothing", span);
        };
        let ty = self.expr(*expr).ty;
        let headers = layout::headers(self.program, ty, 0, "");
        let headers = headers
            .into_iter()
            .map(|(at, ty, _)| (at, self.shape(ty)))
            .collect();
        Ok(Prim::Emit {
            value: self.agg(*expr)?,
            headers,
        })
    }

    fn header_op(&mut self, op: HeaderOp, args: &[Arg], span: Span) -> Lowered<Prim> {
        let Some(Arg::Place(expr) | Arg::In(expr)) = args.first() else {
            return self.construct("a header operation without a header", span);
        };
        let expr = *expr;
        let ty = self.expr(expr).ty;
        match op {
            HeaderOp::SetValid => Ok(Prim::SetValid(self.dest(expr)?)),
            HeaderOp::SetInvalid => {
                let headers = layout::headers(self.program, ty, 0, "");
                let headers = headers
                    .into_iter()
                    .map(|(at, ty, _)| (at, self.slots(ty)))
                    .collect();
                Ok(Prim::SetInvalid {
                    dest: self.dest(expr)?,
                    headers,
                })
            }
            HeaderOp::PushFront | HeaderOp::PopFront => {
                let (size, elem) = self.stack_shape(expr)?;
                let count = match self.scalar_arg(args, 1)? {
                    Some(Ex::Const(count)) => u32::try_from(count).unwrap_or(u32::MAX),
                    _ => return self.construct("push and pop need a constant", span),
                };
                Ok(Prim::Shift {
                    stack: self.dest(expr)?,
                    size,
                    elem,
                    count,
                    front: op == HeaderOp::PushFront,
                })
            }
            HeaderOp::IsValid => self.construct("a value that is not used", span),
        }
    }

    pub(super) fn is_valid(&mut self, args: &[Arg], span: Span) -> Lowered<Ex> {
        let Some(Arg::Place(expr) | Arg::In(expr)) = args.first() else {
            return self.construct("`isValid` without a header", span);
        };
        let place = self.place(*expr)?;
        if !matches!(self.ty(self.expr(*expr).ty), Type::Union(_)) {
            return Ok(load(place));
        }
        let members = layout::parts(self.program, self.expr(*expr).ty);
        Ok(Ex::UnionValid {
            union: Box::new(place),
            members: members.into_iter().map(|(at, ..)| at).collect(),
        })
    }

    /// The bits of a data argument, in order.
    pub(super) fn pack(&mut self, args: &[Arg], index: usize) -> Lowered<Vec<Pack>> {
        let mut out = Vec::new();
        if let Some(Arg::In(expr) | Arg::Place(expr)) = args.get(index) {
            self.pack_expr(*expr, &mut out)?;
        }
        Ok(out)
    }

    /// The bits of an expression, in order.
    pub(super) fn pack_expr(&mut self, expr: Handle<Expr>, out: &mut Vec<Pack>) -> Lowered<()> {
        let node = self.expr(expr);
        match &node.kind {
            ExprKind::Struct(items) => {
                return items.iter().try_for_each(|&item| self.pack_expr(item, out));
            }
            ExprKind::Cast(inner)
                if matches!(self.expr(*inner).kind, ExprKind::Struct(_))
                    && !layout::is_scalar(self.program, node.ty) =>
            {
                return self.pack_expr(*inner, out);
            }
            ExprKind::Const(Const::String(_)) => return Ok(()),
            _ => {}
        }
        let guard: Option<Place> = self.guard_place(expr)?;
        match self.operand(expr)? {
            Operand::One(value) => {
                out.push(Pack::Scalar {
                    value,
                    width: self.number_type(expr).0,
                    guard,
                });
            }
            Operand::Many(value, _) => {
                out.push(Pack::Leaves {
                    value,
                    leaves: layout::leaves(self.program, node.ty),
                    guard,
                });
            }
        }
        Ok(())
    }
}
