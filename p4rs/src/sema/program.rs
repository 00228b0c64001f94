//! The two runs over a whole program.
//!
//! In: the syntax tree. Out: the IR with its package, or findings. Invariant: the elaborate run starts only after a check
//! run without errors, and with nothing of it but the definitions.

use super::names::{Entity, Frame, Object};
use super::ty::DefId;
use super::{Phase, Sema};
use crate::diag::Diagnostic;
use crate::front::ast::{Decl, StructDecl, StructKind};
use crate::ir;
use crate::source::Span;

impl<'a> Sema<'a> {
    pub(super) fn run(mut self) -> Result<(ir::Program, Vec<Diagnostic>), Vec<Diagnostic>> {
        self.collect();
        self.ir.errors.clone_from(&self.error_names);
        for index in 0..self.defs.len() {
            if self.diags.is_full() {
                break;
            }
            self.check_decl(DefId(index as u32));
        }
        if self.diags.has_errors() {
            return Err(self.diags.into_list());
        }
        self.start_over();
        self.elaborate();
        self.check_action_names();
        if self.diags.has_errors() {
            return Err(self.diags.into_list());
        }
        Ok((self.ir, self.diags.into_list()))
    }

    /// Forgets what the check run made.
    fn start_over(&mut self) {
        self.phase = Phase::Elaborate;
        self.made = 0;
        self.ir = ir::Program {
            errors: self.error_names.clone(),
            ..ir::Program::default()
        };
        self.ir_types.clear();
        self.global_values.clear();
        self.functions.clear();
        self.tables.clear();
        self.frame = Frame::default();
    }

    fn elaborate(&mut self) {
        self.ir.controller_headers = self.controller_headers();
        let main = self.globals.get("main").and_then(|ids| ids.last().copied());
        let Some(id) = main else { return };
        let Decl::Instance(decl) = self.decl(id) else {
            return;
        };
        self.ir.annotations = self.annotations(&decl.annotations);
        if let Some(Entity::Object {
            object: Object::Package(package),
            ..
        }) = self.global_entity(id, decl.span)
        {
            self.ir.package = Some(package.0.clone());
        }
    }

    /// A control plane cannot tell actions apart that have one name; packets do not care.
    fn check_action_names(&mut self) {
        let mut seen: rustc_hash::FxHashMap<String, Span> = Default::default();
        let names: Vec<(String, Span)> = self
            .ir
            .actions
            .iter()
            .map(|(_, action)| (action.name.control_plane.clone(), action.span))
            .collect();
        for (name, span) in names {
            let first = *seen.entry(name.clone()).or_insert(span);
            if first != span {
                let message = format!(
                    "two actions have the control-plane name `{name}`: the program has no P4Info"
                );
                self.warn(super::code::CONTROL_NAME, span, message);
            }
        }
    }

    fn controller_headers(&mut self) -> Vec<ir::Handle<ir::Type>> {
        let is_controller = |decl: &StructDecl| {
            decl.kind == StructKind::Header
                && decl.type_params.is_empty()
                && decl
                    .annotations
                    .iter()
                    .any(|a| a.name.as_str() == "controller_header")
        };
        let mut headers = Vec::new();
        for index in 0..self.defs.len() {
            let id = DefId(index as u32);
            if let Decl::Struct(decl) = self.decl(id)
                && is_controller(decl)
                && let Some(ty) = self.type_named(id, None, decl.span)
            {
                headers.push(self.ir_type(&ty));
            }
        }
        headers
    }

    /// Lowers a top-level constant, instance or action.
    pub(super) fn lower_global(&mut self, id: DefId) -> Entity<'a> {
        let frame = self.frame_of(id);
        self.within(frame, |sema| match sema.decl(id) {
            Decl::Const(decl) => sema.const_entity(decl),
            Decl::Instance(decl) => sema.instance_entity(decl).unwrap_or(Entity::Bad),
            Decl::Action(decl) => Entity::Action(sema.action(decl)),
            _ => Entity::Bad,
        })
    }
}
