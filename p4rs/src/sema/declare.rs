//! Top-level declarations: collecting them, and checking those that are types.
//!
//! In: the program's declarations. Out: the table of definitions by name. Invariant: only functions of one kind share a
//! name; `error` and `match_kind` members are unique.

use super::names::Entity;
use super::ty::{DefId, Ty};
use super::{Def, Sema, code};
use crate::front::ast::{self, Decl, Name, StructKind, TypedefTarget};

impl<'a> Sema<'a> {
    /// Registers all declarations.
    pub(super) fn collect(&mut self) {
        let program = self.program;
        let mut announced: rustc_hash::FxHashMap<&str, usize> = Default::default();
        for decl in &program.decls {
            match decl {
                Decl::ExternForward(name) => {
                    let order = self.defs.len();
                    announced.entry(name.as_str()).or_insert(order);
                    self.defs.push(Def {
                        decl,
                        order,
                        sees: order,
                    });
                }
                Decl::Error(members) => self.members(members, true),
                Decl::MatchKind(members) => self.members(members, false),
                Decl::Typedef(typedef) => {
                    if let TypedefTarget::Inline { decl: inner, .. } = &typedef.target {
                        self.define(inner, None);
                    }
                    self.define(decl, None);
                }
                Decl::ExternObject(object) => {
                    let order = announced.get(object.name.as_str()).copied();
                    self.define(decl, order);
                }
                _ => self.define(decl, None),
            }
        }
    }

    fn define(&mut self, decl: &'a Decl, announced: Option<usize>) {
        let here = self.defs.len();
        self.defs.push(Def {
            decl,
            order: announced.unwrap_or(here),
            sees: here,
        });
        let Some(name) = decl.name() else { return };
        let id = DefId(here as u32);
        let known = self.globals.entry(name.text.clone()).or_default();
        let known_ids = known.clone();
        known.push(id);
        for earlier in known_ids {
            let other = self.decl(earlier);
            if overloads(other, decl) {
                continue;
            }
            let place = other.name().map_or(name.span, |name| name.span);
            let message = format!("`{name}` is declared twice");
            self.err_with(
                code::DUPLICATE,
                name.span,
                message,
                (place, "first here"),
                "rename one of them",
            );
            break;
        }
    }

    fn members(&mut self, decl: &'a ast::MembersDecl, errors: bool) {
        for name in &decl.members {
            if errors {
                if self.error_codes.contains_key(&name.text) {
                    self.err(
                        code::DUPLICATE,
                        name.span,
                        format!("the error `{name}` is declared twice"),
                        "",
                    );
                    continue;
                }
                let index = self.error_names.len() as u32;
                self.error_names.push(name.to_string());
                self.error_codes.insert(name.text.clone(), index);
            } else if self
                .match_kinds
                .insert(name.text.clone(), name.span)
                .is_some()
            {
                self.err(
                    code::DUPLICATE,
                    name.span,
                    format!("the match kind `{name}` is declared twice"),
                    "",
                );
            }
        }
    }

    /// Checks one top-level declaration.
    pub(super) fn check_decl(&mut self, id: DefId) {
        let decl = self.decl(id);
        self.check_main(decl);
        match decl {
            Decl::Const(d) => {
                self.check_annotations(&d.annotations);
                self.global_entity(id, d.span);
            }
            Decl::Instance(d) => {
                self.check_annotations(&d.annotations);
                self.check_global_instance(id, d);
            }
            Decl::Action(d) => {
                self.check_annotations(&d.annotations);
                self.global_entity(id, d.span);
            }
            Decl::Function(d) => {
                self.check_annotations(&d.annotations);
                self.check_function(id, d);
            }
            Decl::Parser(d) => {
                self.check_annotations(&d.ty.annotations);
                self.distinct_params(&d.ty, &d.constructor_params);
                self.check_block(id);
            }
            Decl::Control(d) => {
                self.check_annotations(&d.ty.annotations);
                self.distinct_params(&d.ty, &d.constructor_params);
                self.check_block(id);
            }
            Decl::ParserType(d) | Decl::ControlType(d) => self.check_apply_type(id, d, false),
            Decl::Package(d) => self.check_apply_type(id, d, true),
            Decl::ExternFunction(d) => self.check_prototype(id, &[], &d.prototype),
            Decl::ExternObject(d) => self.check_extern(id, d),
            Decl::Struct(d) => {
                let frame = self.frame_of(id);
                self.within(frame, |sema| sema.check_struct(id, d));
            }
            Decl::Enum(d) => self.check_enum(id, d),
            Decl::Typedef(d) => {
                self.check_annotations(&d.annotations);
                self.type_named(id, None, d.span);
            }
            Decl::NewType(d) => {
                self.check_annotations(&d.annotations);
                self.check_new_type(id, d);
            }
            _ => {}
        }
    }

    /// The name `main` belongs to the package.
    fn check_main(&mut self, decl: &Decl) {
        if let Some(name) = decl.name()
            && name.as_str() == "main"
            && !matches!(decl, Decl::Instance(_) | Decl::Function(_))
        {
            self.err(
                code::MAIN,
                name.span,
                "`main` must be a package",
                "choose another name",
            );
        }
    }

    fn check_global_instance(&mut self, id: DefId, decl: &'a ast::InstanceDecl) {
        let entity = self.global_entity(id, decl.span);
        if let Some(Entity::Object {
            ty: Ty::Block(of, _),
            ..
        }) = &entity
            && matches!(self.decl(*of), Decl::Parser(_) | Decl::Control(_))
        {
            let help = "instantiate it in the package's arguments or in the block that applies it";
            self.err(
                code::INSTANCE,
                decl.span,
                "parsers and controls cannot be instantiated at top level",
                help,
            );
        }
        if decl.name.as_str() == "main" {
            let package = match &entity {
                Some(Entity::Object {
                    ty: Ty::Block(of, _),
                    ..
                }) => matches!(self.decl(*of), Decl::Package(_)),
                Some(Entity::Bad) | None => true,
                _ => false,
            };
            if !package {
                self.err(
                    code::MAIN,
                    decl.span,
                    "`main` must be a package",
                    "instantiate the architecture's package",
                );
            }
        }
    }

    fn distinct(&mut self, names: &[&'a Name]) {
        for (index, name) in names.iter().enumerate() {
            if let Some(twin) = names[..index].iter().find(|other| other.text == name.text) {
                let message = format!("`{name}` is declared twice");
                self.err_with(
                    code::DUPLICATE,
                    name.span,
                    message,
                    (twin.span, "first here"),
                    "rename one of them",
                );
            }
        }
    }

    fn distinct_params(&mut self, ty: &'a ast::ApplyType, constructor: &'a [ast::Param]) {
        let names: Vec<&'a Name> = ty
            .type_params
            .iter()
            .chain(ty.params.iter().map(|p| &p.name))
            .chain(constructor.iter().map(|p| &p.name))
            .collect();
        self.distinct(&names);
    }

    fn check_apply_type(&mut self, id: DefId, decl: &'a ast::ApplyType, package: bool) {
        self.check_annotations(&decl.annotations);
        self.distinct_params(decl, &[]);
        let frame = self.frame_of(id);
        self.within(frame, |sema| {
            for param in &decl.type_params {
                let ty = sema.new_param(param);
                sema.rebind(param, Entity::Type(ty));
            }
            let params = sema.params(&decl.params);
            sema.check_params(&params, package);
            if package {
                for param in &params {
                    if let Ty::Block(of, _) = &param.ty
                        && matches!(sema.decl(*of), Decl::Parser(_) | Decl::Control(_))
                    {
                        let message = format!(
                            "a package cannot have a parameter of type `{}`",
                            sema.show(&param.ty)
                        );
                        sema.err(
                            code::PARAMETERS,
                            param.ast.span,
                            message,
                            "use a parser or control type",
                        );
                    }
                }
            }
        });
    }

    fn check_prototype(&mut self, id: DefId, outer: &[(&'a Name, Ty)], proto: &'a ast::Prototype) {
        let names: Vec<&'a Name> = proto
            .type_params
            .iter()
            .chain(proto.params.iter().map(|p| &p.name))
            .collect();
        self.distinct(&names);
        let frame = self.frame_of(id);
        self.within(frame, |sema| {
            for (name, ty) in outer {
                sema.rebind(name, Entity::Type(ty.clone()));
            }
            for param in &proto.type_params {
                let ty = sema.new_param(param);
                sema.rebind(param, Entity::Type(ty));
            }
            if let Some(written) = &proto.return_type {
                let ret = sema.type_of(written);
                if ret.is_object() && !matches!(ret, Ty::Extern(..))
                    || matches!(ret, Ty::Integer | Ty::Str)
                {
                    let message = format!("`{}` cannot be returned", sema.show(&ret));
                    sema.err(code::BAD_TYPE, written.span, message, "");
                }
            }
            let params = sema.params(&proto.params);
            let constructor = proto.return_type.is_none();
            sema.check_params(&params, constructor);
            if let Some(block) = params
                .iter()
                .find(|p| constructor && matches!(p.ty, Ty::Block(..)))
            {
                let message = format!(
                    "an extern cannot have a parameter of type `{}`",
                    sema.show(&block.ty)
                );
                sema.err(code::PARAMETERS, block.ast.span, message, "");
            }
        });
    }

    fn check_extern(&mut self, id: DefId, decl: &'a ast::ExternObjectDecl) {
        self.check_annotations(&decl.annotations);
        let outer: Vec<(&'a Name, Ty)> = decl
            .type_params
            .iter()
            .map(|name| (name, self.new_param(name)))
            .collect();
        let names: Vec<&'a Name> = decl.type_params.iter().collect();
        self.distinct(&names);
        for (index, method) in decl.methods.iter().enumerate() {
            let proto = &method.prototype;
            let own_name = proto.name.text == decl.name.text;
            if proto.return_type.is_some() && own_name {
                self.err(
                    code::MISPLACED,
                    proto.span,
                    "a constructor has no result",
                    "remove its type",
                );
            } else if proto.return_type.is_none() && !own_name {
                let message = format!("`{}` has no result type", proto.name);
                self.err(
                    code::MISPLACED,
                    proto.span,
                    message,
                    "write `void` for none",
                );
            }
            if own_name && !proto.type_params.is_empty() {
                self.err(
                    code::MISPLACED,
                    proto.span,
                    "a constructor has no type parameters of its own",
                    "",
                );
            }
            let twin = decl.methods[..index]
                .iter()
                .find(|other| same_signature(&other.prototype, proto));
            if let Some(twin) = twin {
                let message = format!(
                    "`{}` is declared twice with the same parameters",
                    proto.name
                );
                self.err_with(
                    code::DUPLICATE,
                    proto.name.span,
                    message,
                    (twin.span, "first here"),
                    "",
                );
            }
            self.check_prototype(id, &outer, proto);
        }
    }

    fn check_new_type(&mut self, id: DefId, decl: &'a ast::TypedefDecl) {
        let target = self.new_type_target(id);
        if !matches!(target, Ty::Bits { .. } | Ty::Bool | Ty::New(_) | Ty::Error) {
            let message = format!("`type` cannot wrap `{}`", self.show(&target));
            self.err(
                code::BAD_TYPE,
                decl.span,
                message,
                "use `typedef` for a mere alias",
            );
        }
    }

    fn check_enum(&mut self, id: DefId, decl: &'a ast::EnumDecl) {
        self.check_annotations(&decl.annotations);
        let names: Vec<&'a Name> = decl.members.iter().map(|member| &member.name).collect();
        self.distinct(&names);
        match &decl.underlying {
            Some(written) => {
                let under = self.enum_under(id);
                if !matches!(under, Ty::Bits { .. } | Ty::Error) {
                    let message =
                        format!("`{}` cannot represent an enumeration", self.show(&under));
                    self.err(
                        code::BAD_TYPE,
                        written.span,
                        message,
                        "use `bit<N>` or `int<N>`",
                    );
                    return;
                }
                self.enum_values(id);
            }
            None => {
                if let Some(member) = decl.members.iter().find(|member| member.value.is_some()) {
                    let message = "only enumerations with a representation have values";
                    self.err(
                        code::INITIALIZER,
                        member.span,
                        message,
                        "write `enum bit<N> name`",
                    );
                }
            }
        }
    }

    fn check_struct(&mut self, id: DefId, decl: &'a ast::StructDecl) {
        self.check_annotations(&decl.annotations);
        let names: Vec<&'a Name> = decl.fields.iter().map(|field| &field.name).collect();
        self.distinct(&names);
        let params: Vec<Ty> = decl
            .type_params
            .iter()
            .map(|name| self.new_param(name))
            .collect();
        let formal: Vec<&'a Name> = decl.type_params.iter().collect();
        self.distinct(&formal);
        let ty = Ty::Fields(decl.kind, id, params.into());
        let infos = self.fields_of(&ty);
        for info in infos.iter() {
            self.check_annotations(&info.ast.annotations);
        }
        if decl.type_params.is_empty() {
            self.check_fields(&ty, &infos);
        }
    }

    /// Whether a structure can hold its fields.
    pub(super) fn check_fields(&mut self, ty: &Ty, infos: &[super::FieldInfo<'a>]) {
        let Ty::Fields(kind, ..) = ty else { return };
        for info in infos {
            if !self.storable(*kind, &info.ty) {
                let message = format!(
                    "a {} cannot hold `{}`",
                    kind_word(*kind),
                    self.show(&info.ty)
                );
                let help = match kind {
                    StructKind::Header => {
                        "headers hold bits, booleans, enumerations of bits and structs of them"
                    }
                    StructKind::HeaderUnion => "unions hold headers",
                    StructKind::Struct => "",
                };
                self.err(code::FIELD_TYPE, info.ast.span, message, help);
            }
        }
    }

    fn storable(&mut self, kind: StructKind, ty: &Ty) -> bool {
        let mut ty = self.resolve(ty);
        while let Ty::New(id) = ty {
            ty = self.new_type_target(id);
        }
        match (kind, &ty) {
            (_, Ty::Error | Ty::Param(_)) => true,
            (StructKind::HeaderUnion, _) => ty.is_header(),
            (StructKind::Header, Ty::Varbit(_)) => true,
            (
                StructKind::Header,
                Ty::Fields(StructKind::Header | StructKind::HeaderUnion, _, args),
            ) => !args.is_empty(),
            (StructKind::Header, _) => self.only_bits(&ty),
            (StructKind::Struct, _) => matches!(
                ty,
                Ty::Fields(..)
                    | Ty::Bits { .. }
                    | Ty::Enum(_)
                    | Ty::ErrorCode
                    | Ty::Bool
                    | Ty::Stack(..)
                    | Ty::Varbit(_)
                    | Ty::Tuple(_)
                    | Ty::SerEnum(_)
                    | Ty::MatchKind
            ),
        }
    }

    fn only_bits(&mut self, ty: &Ty) -> bool {
        match self.resolve(ty) {
            Ty::Bits { .. } | Ty::Bool | Ty::SerEnum(_) | Ty::Param(_) | Ty::Error => true,
            Ty::New(id) => {
                let under = self.new_type_target(id);
                self.only_bits(&under)
            }
            Ty::Stack(elem, _) => self.only_bits(&elem),
            ty @ Ty::Fields(StructKind::Struct, ..) => {
                let infos = self.fields_of(&ty);
                infos.iter().all(|info| self.only_bits(&info.ty))
            }
            _ => false,
        }
    }
}

fn kind_word(kind: StructKind) -> &'static str {
    match kind {
        StructKind::Struct => "struct",
        StructKind::Header => "header",
        StructKind::HeaderUnion => "header union",
    }
}

/// Whether two declarations of one name can stand side by side.
fn overloads(a: &Decl, b: &Decl) -> bool {
    match (a, b) {
        (Decl::Function(a), Decl::Function(b)) => !same_signature(&a.prototype, &b.prototype),
        (Decl::ExternFunction(a), Decl::ExternFunction(b)) => {
            !same_signature(&a.prototype, &b.prototype)
        }
        (Decl::Parser(a), Decl::Parser(b)) => {
            !same_params(&a.constructor_params, &b.constructor_params)
        }
        (Decl::Control(a), Decl::Control(b)) => {
            !same_params(&a.constructor_params, &b.constructor_params)
        }
        (Decl::Package(a), Decl::Package(b)) => !same_params(&a.params, &b.params),
        (Decl::ExternForward(_), _) | (_, Decl::ExternForward(_)) => true,
        _ => false,
    }
}

/// Whether two functions are declared alike.
fn same_signature(a: &ast::Prototype, b: &ast::Prototype) -> bool {
    a.name.text == b.name.text && same_params(&a.params, &b.params)
}

/// As many parameters of the same names and, as written, types.
fn same_params(a: &[ast::Param], b: &[ast::Param]) -> bool {
    let same = |a: &ast::Param, b: &ast::Param| {
        a.name.text == b.name.text && format!("{:-?}", a.ty) == format!("{:-?}", b.ty)
    };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
}
