//! Type references: from what is written to [`Ty`].
//!
//! In: [`TypeRef`]s in a frame. Out: types, fields of structures, members of enumerations. Invariant: a structure's fields
//! are resolved where it is declared, with its type arguments in place of its parameters.

use std::rc::Rc;

use num_bigint::BigInt;
use num_traits::{ToPrimitive, Zero};

use super::names::{Entity, Found};
use super::ty::{DefId, Ty};
use super::{FieldInfo, Members, Sema, code};
use crate::front::ast::{self, Decl, Expr, Path, TypeKind, TypeRef, TypedefTarget};
use crate::source::Span;

/// The widest `bit<>` or `int<>` that is taken.
pub(super) const MAX_WIDTH: u32 = 1 << 16;
/// The most scalars that a tuple may hold, those inside of its parts included.
const MAX_PARTS: u64 = 1 << 12;
/// The most scalars that a structure may hold, those inside of its parts included.
const MAX_LEAVES: u64 = 1 << 18;
/// The largest header stack that is taken.
const MAX_STACK: u32 = 1 << 16;

impl<'a> Sema<'a> {
    /// The type that is written; generic types need their arguments.
    pub(super) fn type_of(&mut self, written: &'a TypeRef) -> Ty {
        let ty = self.type_or_bare(written);
        if matches!(written.kind, TypeKind::Name(_)) && self.is_bare(&ty) {
            self.err(
                code::TYPE_ARGS,
                written.span,
                format!("`{}` needs type arguments", self.map.text(written.span)),
                "write them between `<` and `>`",
            );
            return Ty::Error;
        }
        ty
    }

    /// As [`Self::type_of`], without `_` anywhere.
    pub(super) fn closed_type(&mut self, written: &'a TypeRef) -> Ty {
        let ty = self.type_of(written);
        if !ty.is_error() && self.resolve(&ty).has_infer() {
            self.err(
                code::TYPE_ARGS,
                written.span,
                "`_` cannot stand in this type",
                "write the type",
            );
            return Ty::Error;
        }
        ty
    }

    fn is_bare(&self, ty: &Ty) -> bool {
        match ty {
            Ty::Fields(_, def, args) | Ty::Extern(def, args) | Ty::Block(def, args) => {
                !type_params(self.decl(*def)).is_empty()
                    && args.iter().any(
                        |arg| matches!(arg, Ty::Infer(i) if self.solved[*i as usize].is_none()),
                    )
            }
            _ => false,
        }
    }

    /// The type that is written; arguments left out are unknowns to infer.
    pub(super) fn type_or_bare(&mut self, written: &'a TypeRef) -> Ty {
        let span = written.span;
        match &written.kind {
            TypeKind::Void => Ty::Void,
            TypeKind::Bool => Ty::Bool,
            TypeKind::Error => Ty::ErrorCode,
            TypeKind::MatchKind => Ty::MatchKind,
            TypeKind::String => Ty::Str,
            TypeKind::Int => Ty::Integer,
            TypeKind::Bit(None) => Ty::bit(1),
            TypeKind::Bit(Some(width)) => self.width(width, 0).map_or(Ty::Error, Ty::bit),
            TypeKind::SignedInt(width) => {
                self.width(width, 1).map_or(Ty::Error, |width| Ty::Bits {
                    width,
                    signed: true,
                })
            }
            TypeKind::Varbit(width) => self.width(width, 0).map_or(Ty::Error, Ty::Varbit),
            TypeKind::Name(path) => self.named(path, None, span),
            TypeKind::Specialized { base, args } => {
                let args: Vec<Ty> = args.iter().map(|arg| self.type_arg(arg)).collect();
                self.named(base, Some(args), span)
            }
            TypeKind::Array { element, size } => self.stack(element, size),
            TypeKind::Tuple(items) => {
                let ty = Ty::Tuple(items.iter().map(|item| self.tuple_part(item)).collect());
                self.limited(ty, MAX_PARTS, span)
            }
            TypeKind::List(item) => Ty::List(Rc::new(self.type_of(item))),
            TypeKind::DontCare => self.fresh(),
        }
    }

    /// The type, unless it holds more scalars than `most`.
    fn limited(&mut self, ty: Ty, most: u64, span: Span) -> Ty {
        if self.leaves(&ty) <= most {
            return ty;
        }
        self.err(
            code::TOO_LARGE,
            span,
            format!("this type holds more than {most} values"),
            "",
        );
        Ty::Error
    }

    /// How many scalars a type holds.
    fn leaves(&mut self, ty: &Ty) -> u64 {
        match self.resolve(ty) {
            Ty::Stack(elem, size) => self.leaves(&elem).saturating_mul(size.into()),
            Ty::Tuple(items) => items
                .iter()
                .fold(0, |sum, item| self.leaves(item).saturating_add(sum)),
            ty @ Ty::Fields(..) => {
                if let Some(known) = self.leaves.get(&ty) {
                    return *known;
                }
                let infos = self.fields_of(&ty);
                let sum = infos.iter().fold(1, |sum: u64, info| {
                    self.leaves(&info.ty).saturating_add(sum)
                });
                self.leaves.insert(ty, sum);
                sum
            }
            _ => 1,
        }
    }

    fn tuple_part(&mut self, written: &'a TypeRef) -> Ty {
        let ty = self.type_of(written);
        self.refuse_objects(&ty, written.span, "a tuple cannot hold")
    }

    pub(super) fn refuse_objects(&mut self, ty: &Ty, span: Span, what: &str) -> Ty {
        if ty.is_object() || *ty == Ty::Void {
            self.err(
                code::BAD_TYPE,
                span,
                format!("{what} `{}`", self.show(ty)),
                "",
            );
            return Ty::Error;
        }
        ty.clone()
    }

    /// A type argument; `_` is to be inferred.
    pub(super) fn type_arg(&mut self, written: &'a TypeRef) -> Ty {
        let ty = self.type_of(written);
        if matches!(ty, Ty::Block(..)) {
            let message = format!("`{}` cannot be a type argument", self.show(&ty));
            self.err(code::BAD_TYPE, written.span, message, "");
            return Ty::Error;
        }
        ty
    }

    fn stack(&mut self, element: &'a TypeRef, size: &'a Expr) -> Ty {
        let elem = self.type_of(element);
        let size_span = size.span;
        let Some(size) = self.type_int(size) else {
            return Ty::Error;
        };
        let Some(size) = size.to_u32().filter(|size| *size <= MAX_STACK) else {
            let message = format!("a stack cannot have {size} elements");
            self.err(
                code::BAD_WIDTH,
                size_span,
                message,
                "use a size from 0 to 65536",
            );
            return Ty::Error;
        };
        if elem.is_error() {
            return Ty::Error;
        }
        let storable = !elem.is_object()
            && !matches!(
                elem,
                Ty::Void | Ty::Integer | Ty::Str | Ty::MatchKind | Ty::List(_)
            );
        if !storable {
            let message = format!("`{}` cannot be an element of a stack", self.show(&elem));
            self.err(
                code::BAD_TYPE,
                element.span,
                message,
                "stacks hold headers or header unions",
            );
            return Ty::Error;
        }
        Ty::Stack(Rc::new(elem), size)
    }

    fn width(&mut self, written: &'a Expr, least: u32) -> Option<u32> {
        let value = self.type_int(written)?;
        let width = value
            .to_u32()
            .filter(|width| *width <= MAX_WIDTH && *width >= least);
        if width.is_none() {
            let help = format!("a width goes from {least} to {MAX_WIDTH}");
            self.err(
                code::BAD_WIDTH,
                written.span,
                format!("{value} is not a width"),
                &help,
            );
        }
        width
    }

    /// A number inside a type: constructor parameters do not count as constants here.
    fn type_int(&mut self, written: &'a Expr) -> Option<BigInt> {
        let before = self.diags.error_count();
        let value = self.constant_int(written);
        if value.is_none() && self.diags.error_count() == before {
            let message = "widths and sizes must be constants of the program";
            self.err(
                code::NOT_CONSTANT,
                written.span,
                message,
                "constructor parameters cannot stand here",
            );
        }
        value
    }

    /// A constant integer of any integer type.
    pub(super) fn constant_int(&mut self, written: &'a Expr) -> Option<BigInt> {
        let value = self.expr(written, None);
        if value.ty.is_error() {
            return None;
        }
        if !matches!(
            self.resolve(&value.ty),
            Ty::Integer | Ty::Bits { .. } | Ty::SerEnum(_)
        ) {
            let message = format!("expected an integer, found `{}`", self.show(&value.ty));
            self.err(code::MISMATCH, written.span, message, "");
            return None;
        }
        let number = self.int_value(&value);
        if number.is_none() && !(value.known && self.checking()) {
            self.err(
                code::NOT_CONSTANT,
                written.span,
                "this must be a compile-time constant",
                "",
            );
        }
        number
    }

    /// A named type with its arguments.
    fn named(&mut self, path: &'a Path, args: Option<Vec<Ty>>, span: Span) -> Ty {
        match self.look_up(path) {
            None => Ty::Error,
            Some(Found::Local(Entity::Type(ty))) => {
                if args.is_some() {
                    self.err(
                        code::TYPE_ARGS,
                        span,
                        format!("`{}` is not generic", path.name),
                        "",
                    );
                }
                ty
            }
            Some(Found::Local(Entity::Bad)) => Ty::Error,
            Some(Found::Local(_)) => self.not_a_type(path),
            Some(Found::Global(ids)) => match ids.last() {
                Some(id) => self
                    .type_named(*id, args, span)
                    .unwrap_or_else(|| self.not_a_type(path)),
                None => Ty::Error,
            },
        }
    }

    fn not_a_type(&mut self, path: &Path) -> Ty {
        self.err(
            code::NOT_A_TYPE,
            path.span,
            format!("`{}` is not a type", path.name),
            "",
        );
        Ty::Error
    }

    /// The type that a top-level declaration declares, if it declares one.
    pub(super) fn type_named(
        &mut self,
        id: DefId,
        args: Option<Vec<Ty>>,
        span: Span,
    ) -> Option<Ty> {
        let decl = self.decl(id);
        match decl {
            Decl::Typedef(_) | Decl::NewType(_) | Decl::Enum(_) if args.is_some() => {
                self.err(
                    code::TYPE_ARGS,
                    span,
                    format!("`{}` is not generic", self.def_name(id)),
                    "",
                );
                Some(Ty::Error)
            }
            Decl::Typedef(typedef) => Some(self.typedef(id, &typedef.target)),
            Decl::NewType(_) => Some(Ty::New(id)),
            Decl::Enum(e) => Some(if e.underlying.is_some() {
                Ty::SerEnum(id)
            } else {
                Ty::Enum(id)
            }),
            Decl::Struct(s) => Some(Ty::Fields(s.kind, id, self.type_args(id, args, span)?)),
            Decl::ExternObject(_) => Some(Ty::Extern(id, self.type_args(id, args, span)?)),
            Decl::Parser(_)
            | Decl::Control(_)
            | Decl::ParserType(_)
            | Decl::ControlType(_)
            | Decl::Package(_) => Some(Ty::Block(id, self.type_args(id, args, span)?)),
            _ => None,
        }
    }

    fn type_args(&mut self, id: DefId, args: Option<Vec<Ty>>, span: Span) -> Option<Rc<[Ty]>> {
        let formal = type_params(self.decl(id)).len();
        match args {
            None => Some((0..formal).map(|_| self.fresh()).collect()),
            Some(args) if args.iter().any(|arg| self.mentions(arg, id)) => {
                let message = format!("`{}` has itself as type argument", self.def_name(id));
                self.err(code::RECURSIVE, span, message, "");
                Some((0..formal).map(|_| Ty::Error).collect())
            }
            Some(args) if args.len() == formal => Some(args.into()),
            Some(args) => {
                let message = format!(
                    "`{}` takes {formal} type arguments, {} are given",
                    self.def_name(id),
                    args.len()
                );
                self.err(code::TYPE_ARGS, span, message, "");
                Some((0..formal).map(|_| Ty::Error).collect())
            }
        }
    }

    fn mentions(&self, ty: &Ty, id: DefId) -> bool {
        let mut found =
            matches!(ty, Ty::Fields(_, of, _) | Ty::Extern(of, _) | Ty::Block(of, _) if *of == id);
        ty.map(&mut |part| {
            found |= self.mentions(part, id);
            part.clone()
        });
        found
    }

    fn typedef(&mut self, id: DefId, target: &'a TypedefTarget) -> Ty {
        if let Some(known) = self.typedefs.get(&id) {
            return known.clone();
        }
        let ty = self.typedef_target(id, target);
        if !ty.has_infer() {
            self.typedefs.insert(id, ty.clone());
        }
        ty
    }

    fn typedef_target(&mut self, id: DefId, target: &'a TypedefTarget) -> Ty {
        let frame = self.frame_of(id);
        self.within(frame, |sema| match target {
            TypedefTarget::Type(written) => sema.type_of(written),
            TypedefTarget::Inline { decl, sizes } => {
                let inner = sema
                    .defs
                    .iter()
                    .position(|def| std::ptr::eq(def.decl, &**decl));
                let Some(inner) = inner.map(|index| DefId(index as u32)) else {
                    return Ty::Error;
                };
                let mut ty = sema
                    .type_named(inner, None, decl.span())
                    .unwrap_or(Ty::Error);
                for size in sizes {
                    let size = sema.constant_int(size).and_then(|size| size.to_u32());
                    ty = size
                        .filter(|s| *s <= MAX_STACK)
                        .map_or(Ty::Error, |size| Ty::Stack(Rc::new(ty), size));
                }
                ty
            }
        })
    }

    /// What a `type` wraps.
    pub(super) fn new_type_target(&mut self, id: DefId) -> Ty {
        match self.decl(id) {
            Decl::NewType(decl) => match &decl.target {
                TypedefTarget::Type(written) => {
                    let frame = self.frame_of(id);
                    self.within(frame, |sema| sema.type_of(written))
                }
                TypedefTarget::Inline { .. } => Ty::Error,
            },
            _ => Ty::Error,
        }
    }

    /// The representation of a serializable enumeration.
    pub(super) fn enum_under(&mut self, id: DefId) -> Ty {
        match self.decl(id) {
            Decl::Enum(ast::EnumDecl {
                underlying: Some(written),
                ..
            }) => {
                let frame = self.frame_of(id);
                self.within(frame, |sema| sema.type_of(written))
            }
            _ => Ty::Error,
        }
    }

    /// The type without `type` wrappers and enumeration names.
    pub(super) fn strip(&mut self, ty: &Ty) -> Ty {
        let mut ty = self.resolve(ty);
        for _ in 0..64 {
            ty = match ty {
                Ty::New(id) => self.new_type_target(id),
                Ty::SerEnum(id) => self.enum_under(id),
                _ => return ty,
            };
        }
        Ty::Error
    }

    /// A serializable enumeration as its representation, other types as they are.
    pub(super) fn strip_enum(&mut self, ty: &Ty) -> Ty {
        match self.resolve(ty) {
            Ty::SerEnum(id) => self.enum_under(id),
            other => other,
        }
    }

    /// The fields of a struct, header or union type.
    pub(super) fn fields_of(&mut self, ty: &Ty) -> Rc<Vec<FieldInfo<'a>>> {
        let ty = self.resolve(ty);
        if let Some(known) = self.fields.get(&ty) {
            return known.clone();
        }
        let Ty::Fields(_, id, args) = &ty else {
            return Rc::default();
        };
        let Decl::Struct(decl) = self.decl(*id) else {
            return Rc::default();
        };
        let frame = self.frame_of(*id);
        let infos: Vec<FieldInfo<'a>> = self.within(frame, |sema| {
            for (param, arg) in decl.type_params.iter().zip(args.iter()) {
                sema.rebind(param, Entity::Type(arg.clone()));
            }
            let field = |field: &'a ast::Field| FieldInfo {
                name: field.name.text.clone(),
                ty: sema.type_of(&field.ty),
                ast: field,
            };
            decl.fields.iter().map(field).collect()
        });
        let total = infos.iter().fold(0, |sum: u64, info| {
            self.leaves(&info.ty).saturating_add(sum)
        });
        if total > MAX_LEAVES {
            let message = format!("`{}` holds more than {MAX_LEAVES} values", decl.name);
            self.err(code::TOO_LARGE, decl.name.span, message, "");
            self.fields.insert(ty, Rc::default());
            return Rc::default();
        }
        let infos = Rc::new(infos);
        if !ty.has_infer() {
            self.fields.insert(ty.clone(), infos.clone());
            if !args.is_empty() {
                self.check_fields(&ty, &infos);
            }
        }
        infos
    }

    /// The members of a serializable enumeration with their values.
    pub(super) fn enum_values(&mut self, id: DefId) -> Members {
        if let Some(known) = self.enums.get(&id) {
            return known.clone();
        }
        let Decl::Enum(decl) = self.decl(id) else {
            return Rc::default();
        };
        let under = self.enum_under(id);
        let frame = self.frame_of(id);
        let values = self.within(frame, |sema| {
            let value = |member: &'a ast::EnumMember| {
                let number = match &member.value {
                    Some(written) => sema.enum_value(written, &under),
                    None => {
                        let message = format!("`{}` needs a value", member.name);
                        sema.err(
                            code::INITIALIZER,
                            member.span,
                            message,
                            "write `name = value`",
                        );
                        BigInt::zero()
                    }
                };
                let named = sema.int_const(number.clone(), under.clone(), member.name.span);
                sema.rebind(
                    &member.name,
                    Entity::Const {
                        expr: named.expr,
                        ty: named.ty,
                    },
                );
                (member.name.text.clone(), number)
            };
            decl.members.iter().map(value).collect::<Vec<_>>()
        });
        let values = Rc::new(values);
        self.enums.insert(id, values.clone());
        values
    }

    fn enum_value(&mut self, written: &'a Expr, under: &Ty) -> BigInt {
        let value = self.expr(written, Some(under));
        if value.ty == Ty::Integer
            && let (Some(number), Ty::Bits { width, signed }) = (self.int_value(&value), under)
            && super::consteval::wrap(&number, *width, *signed) != number
        {
            let message = format!("{number} is out of the range of `{}`", self.show(under));
            self.err(
                code::OUT_OF_RANGE,
                written.span,
                message,
                "use a wider representation",
            );
            return number;
        }
        let value = self.convert(value, under, written.span);
        if value.ty.is_error() {
            return BigInt::zero();
        }
        match self.int_value(&value) {
            Some(number) => number,
            None => {
                self.err(
                    code::NOT_CONSTANT,
                    written.span,
                    "an enumeration's value must be a constant",
                    "",
                );
                BigInt::zero()
            }
        }
    }

    /// A type parameter, opaque.
    pub(super) fn new_param(&mut self, name: &ast::Name) -> Ty {
        self.params.push(name.text.clone());
        Ty::Param(self.params.len() as u32 - 1)
    }
}

/// The type parameters of a declaration.
pub(super) fn type_params(decl: &Decl) -> &[ast::Name] {
    match decl {
        Decl::Struct(d) => &d.type_params,
        Decl::ExternObject(d) => &d.type_params,
        Decl::Parser(ast::ParserDecl { ty, .. }) | Decl::Control(ast::ControlDecl { ty, .. }) => {
            &ty.type_params
        }
        Decl::ParserType(ty) | Decl::ControlType(ty) | Decl::Package(ty) => &ty.type_params,
        Decl::Function(d) => &d.prototype.type_params,
        Decl::ExternFunction(d) => &d.prototype.type_params,
        _ => &[],
    }
}
