//! Making IR: expression nodes, and types of the checker as types of the IR.
//!
//! In: closed types. Out: handles into the program under construction. Invariant: type parameters occur only in the
//! check run, where they become opaque types.

use num_bigint::BigInt;

use super::Sema;
use super::ty::{DefId, Ty};
use crate::front::ast::{Decl, StructKind};
use crate::ir::{self, Const, ExprKind, Handle};
use crate::source::Span;

/// An expression with what the checker knows of it.
#[derive(Clone, Debug)]
pub(super) struct Typed {
    pub expr: Handle<ir::Expr>,
    pub ty: Ty,
    /// It can be assigned to.
    pub place: bool,
    /// It is known when compiling (in the check run the value itself may be missing).
    pub known: bool,
}

impl<'a> Sema<'a> {
    /// Stores an expression.
    pub(super) fn node(&mut self, kind: ExprKind, ty: &Ty, span: Span) -> Handle<ir::Expr> {
        let ty = self.ir_type(ty);
        self.ir.exprs.push(ir::Expr { kind, ty, span })
    }

    /// A value that cannot be assigned to and is not constant.
    pub(super) fn value(&mut self, kind: ExprKind, ty: Ty, span: Span) -> Typed {
        let expr = self.node(kind, &ty, span);
        Typed {
            expr,
            ty,
            place: false,
            known: false,
        }
    }

    pub(super) fn constant(&mut self, value: Const, ty: Ty, span: Span) -> Typed {
        let mut typed = self.value(ExprKind::Const(value), ty, span);
        typed.known = true;
        typed
    }

    pub(super) fn int_const(&mut self, value: impl Into<BigInt>, ty: Ty, span: Span) -> Typed {
        self.constant(Const::Int(value.into()), ty, span)
    }

    /// What stands for an expression that was complained about.
    pub(super) fn bad(&mut self, span: Span) -> Typed {
        let mut typed = self.value(ExprKind::Const(Const::Absent), Ty::Error, span);
        (typed.place, typed.known) = (true, true);
        typed
    }

    pub(super) fn kind(&self, expr: Handle<ir::Expr>) -> &ExprKind {
        &self.ir.exprs[expr].kind
    }

    /// The value of a constant expression.
    pub(super) fn const_value(&self, expr: Handle<ir::Expr>) -> Option<Const> {
        match self.kind(expr) {
            ExprKind::Const(Const::Absent) => None,
            ExprKind::InvalidHeader => Some(Const::Absent),
            ExprKind::Const(value) => Some(value.clone()),
            ExprKind::Struct(parts) => parts
                .iter()
                .map(|part| self.const_value(*part))
                .collect::<Option<Vec<_>>>()
                .map(Const::List),
            _ => None,
        }
    }

    pub(super) fn int_value(&self, value: &Typed) -> Option<BigInt> {
        match self.kind(value.expr) {
            ExprKind::Const(Const::Int(number)) => Some(number.clone()),
            _ => None,
        }
    }

    pub(super) fn new_var(&mut self, name: &str, ty: &Ty, span: Span) -> Handle<ir::Var> {
        let ty = self.ir_type(ty);
        self.ir.vars.push(ir::Var {
            name: name.into(),
            ty,
            span,
        })
    }

    /// The IR type of a closed type.
    pub(super) fn ir_type(&mut self, ty: &Ty) -> Handle<ir::Type> {
        let ty = self.resolve(ty);
        if let Some(known) = self.ir_types.get(&ty) {
            return *known;
        }
        let made = self.make_type(&ty);
        let handle = self.ir.types.intern(made);
        self.ir_types.insert(ty, handle);
        handle
    }

    fn make_type(&mut self, ty: &Ty) -> ir::Type {
        match ty {
            Ty::Error | Ty::Void | Ty::Dots | Ty::Invalid => ir::Type::Void,
            Ty::Bool => ir::Type::Bool,
            Ty::Bits { width, signed } => ir::Type::Bits {
                width: *width,
                signed: *signed,
            },
            Ty::Integer => ir::Type::Integer,
            Ty::Varbit(max) => ir::Type::Varbit { max: *max },
            Ty::ErrorCode => ir::Type::Error,
            Ty::MatchKind => ir::Type::MatchKind,
            Ty::Str => ir::Type::String,
            Ty::Enum(id) => self.enum_type(*id),
            Ty::SerEnum(id) => self.ser_enum_type(*id),
            Ty::New(id) => self.new_type(*id),
            Ty::Fields(kind, id, _) => self.fields_type(*kind, *id, ty),
            Ty::Stack(elem, size) => ir::Type::Stack {
                elem: self.ir_type(elem),
                size: *size,
            },
            Ty::Tuple(items) | Ty::ListLit(items, _) => {
                ir::Type::Tuple(items.iter().map(|item| self.ir_type(item)).collect())
            }
            Ty::List(elem) => ir::Type::List(self.ir_type(elem)),
            Ty::Extern(id, args) | Ty::Block(id, args) => ir::Type::Extern {
                name: self.def_name(*id).to_string(),
                args: args.iter().map(|arg| self.ir_type(arg)).collect(),
            },
            Ty::RecordLit(items, _) => {
                let field = |(name, ty): &(std::sync::Arc<str>, Ty)| ir::Field {
                    name: name.to_string(),
                    ty: self.ir_type(ty),
                    annotations: Vec::new(),
                };
                let fields = items.iter().map(field).collect();
                ir::Type::Struct(ir::FieldsType {
                    name: String::new(),
                    fields,
                    annotations: Vec::new(),
                })
            }
            Ty::Param(_) | Ty::Infer(_) => ir::Type::Extern {
                name: self.show(ty),
                args: Vec::new(),
            },
            Ty::Apply(_) => ir::Type::ApplyResult,
            Ty::ActionRun(_) => ir::Type::Void,
        }
    }

    fn enum_type(&mut self, id: DefId) -> ir::Type {
        let Decl::Enum(decl) = self.decl(id) else {
            return ir::Type::Void;
        };
        ir::Type::Enum(ir::EnumType {
            name: decl.name.to_string(),
            members: decl
                .members
                .iter()
                .map(|member| member.name.to_string())
                .collect(),
            annotations: self.annotations(&decl.annotations),
        })
    }

    fn ser_enum_type(&mut self, id: DefId) -> ir::Type {
        let Decl::Enum(decl) = self.decl(id) else {
            return ir::Type::Void;
        };
        let under = self.enum_under(id);
        let members = self.enum_values(id);
        ir::Type::SerEnum(ir::SerEnumType {
            name: decl.name.to_string(),
            under: self.ir_type(&under),
            members: members
                .iter()
                .map(|(name, value)| (name.to_string(), value.clone()))
                .collect(),
            annotations: self.annotations(&decl.annotations),
        })
    }

    fn new_type(&mut self, id: DefId) -> ir::Type {
        let Decl::NewType(decl) = self.decl(id) else {
            return ir::Type::Void;
        };
        let under = self.new_type_target(id);
        ir::Type::New(ir::NewType {
            name: decl.name.to_string(),
            under: self.ir_type(&under),
            annotations: self.annotations(&decl.annotations),
        })
    }

    fn fields_type(&mut self, kind: StructKind, id: DefId, ty: &Ty) -> ir::Type {
        let Decl::Struct(decl) = self.decl(id) else {
            return ir::Type::Void;
        };
        let infos = self.fields_of(ty);
        // What annotations name is looked up where the type is declared, not where it is used first.
        let frame = self.frame_of(id);
        let (fields, annotations) = self.within(frame, |sema| {
            let field = |info: &super::FieldInfo<'a>| ir::Field {
                name: info.name.to_string(),
                ty: sema.ir_type(&info.ty),
                annotations: sema.annotations(&info.ast.annotations),
            };
            let fields = infos.iter().map(field).collect();
            (fields, sema.annotations(&decl.annotations))
        });
        let fields = ir::FieldsType {
            name: self.show(ty),
            fields,
            annotations,
        };
        match kind {
            StructKind::Struct => ir::Type::Struct(fields),
            StructKind::Header => ir::Type::Header(fields),
            StructKind::HeaderUnion => ir::Type::Union(fields),
        }
    }
}
