//! Tables: keys, action lists, default actions, properties.
//!
//! In: a table declaration inside its control. Out: an IR table. Invariant: a table has a default action; actions are
//! listed once; key names are those of the control plane.

use std::rc::Rc;

use num_traits::ToPrimitive;

use super::expr::Operand;
use super::names::{ActionInfo, Context, Entity, Object};
use super::ty::Ty;
use super::{Sema, TableInfo, code};
use crate::front::ast::{
    self, Annotation, Argument, Direction, Expr, ExprKind as Ast, Path, PropertyValue as AstValue,
    TableProperty,
};
use crate::ir::{self, ActionCall, ActionScope, Arg, Key, Property, PropertyValue};
use crate::source::Span;

/// A table under construction.
pub(super) struct Draft<'a> {
    pub keys: Vec<Key>,
    pub key_types: Vec<Ty>,
    pub refs: Vec<ir::ActionRef>,
    pub infos: Vec<Listed<'a>>,
    pub sound: bool,
}

/// An action as listed.
pub(super) struct Listed<'a> {
    pub info: Rc<ActionInfo<'a>>,
    pub args: Vec<&'a Argument>,
    pub span: Span,
}

impl<'a> Sema<'a> {
    pub(super) fn table(&mut self, decl: &'a ast::TableDecl) {
        let saved = std::mem::replace(&mut self.frame.context, Context::Table);
        // Within itself the table's name stands for no value.
        let index = self.scoped(|sema| {
            sema.rebind(&decl.name, Entity::Table(u32::MAX));
            sema.table_body(decl)
        });
        self.frame.context = saved;
        self.bind(&decl.name, Entity::Table(index));
    }

    fn table_body(&mut self, decl: &'a ast::TableDecl) -> u32 {
        self.check_annotations(&decl.annotations);
        self.check_properties(decl);
        let find = |name: &str| decl.properties.iter().find(|p| p.name.as_str() == name);
        let mut draft = Draft {
            keys: Vec::new(),
            key_types: Vec::new(),
            refs: Vec::new(),
            infos: Vec::new(),
            sound: true,
        };
        if let Some(AstValue::Key(keys)) = find("key").map(|p| &p.value) {
            for key in keys {
                self.key(key, &mut draft);
            }
        }
        match find("actions").map(|p| &p.value) {
            Some(AstValue::Actions(actions)) => {
                for action in actions {
                    self.listed_action(action, &mut draft);
                }
            }
            _ => {
                let message = format!("table `{}` has no `actions`", decl.name);
                self.err(
                    code::TABLE,
                    decl.name.span,
                    message,
                    "list them: `actions = { ... }`",
                );
                draft.sound = false;
            }
        }
        let default = find("default_action");
        let default_action = match default.map(|p| &p.value) {
            Some(AstValue::Expr(written)) => self.default_action(written, &draft),
            _ => self.implicit_default(decl, &mut draft),
        };
        let entries_property = find("entries");
        let entries = match entries_property.map(|p| (&p.value, p)) {
            Some((AstValue::Entries(entries), property)) => {
                self.entries(entries, property, decl, &draft)
            }
            _ => Vec::new(),
        };
        let size = self.size_property(find("size"));
        let properties = self.other_properties(decl);
        let name = self.object_name(&decl.name.text, &decl.annotations);
        let annotations = self.annotations(&decl.annotations);
        let table = ir::Table {
            name,
            keys: draft.keys,
            actions: draft.refs,
            default_action: default_action.unwrap_or(ActionCall {
                action: 0,
                data: Vec::new(),
            }),
            const_default: default.is_some_and(|p| p.is_const),
            entries,
            const_entries: entries_property.is_some_and(|p| p.is_const),
            size,
            properties,
            annotations,
            span: decl.span,
        };
        let handle = self.ir.tables.push(table);
        let actions = draft
            .infos
            .iter()
            .map(|listed| listed.info.decl.name.text.clone())
            .collect();
        self.tables.push(TableInfo { handle, actions });
        self.tables.len() as u32 - 1
    }

    fn check_properties(&mut self, decl: &'a ast::TableDecl) {
        for (index, property) in decl.properties.iter().enumerate() {
            let earlier = &decl.properties[..index];
            if let Some(twin) = earlier.iter().find(|p| p.name.text == property.name.text) {
                let message = format!("the property `{}` is given twice", property.name);
                self.err_with(
                    code::DUPLICATE,
                    property.name.span,
                    message,
                    (twin.span, "first here"),
                    "",
                );
            }
            let after = |wanted: &str| earlier.iter().any(|p| p.name.as_str() == wanted);
            let declared = |wanted: &str| decl.properties.iter().any(|p| p.name.as_str() == wanted);
            match property.name.as_str() {
                "entries" if declared("key") && !after("key") => {
                    self.err(
                        code::TABLE,
                        property.span,
                        "`entries` must come after `key`",
                        "move it down",
                    );
                }
                "default_action" | "entries" if declared("actions") && !after("actions") => {
                    let message = format!("`{}` must come after `actions`", property.name);
                    self.err(code::TABLE, property.span, message, "move it down");
                }
                "key" | "actions" if property.is_const => {
                    self.err(
                        code::TABLE,
                        property.span,
                        format!("`{}` cannot be `const`", property.name),
                        "",
                    );
                }
                _ => {}
            }
        }
    }

    /// The action a path names.
    pub(super) fn find_action(&mut self, path: &'a Path) -> Option<Rc<ActionInfo<'a>>> {
        match self.name(path) {
            Operand::Action(info) => Some(info),
            Operand::Bad => None,
            _ => {
                self.err(
                    code::TABLE_ACTION,
                    path.span,
                    format!("`{}` is not an action", path.name),
                    "",
                );
                None
            }
        }
    }

    fn listed_action(&mut self, listed: &'a ast::ActionRef, draft: &mut Draft<'a>) {
        let Some(info) = self.find_action(&listed.path) else {
            draft.sound = false;
            return;
        };
        if let Some(twin) = draft
            .infos
            .iter()
            .find(|other| other.info.handle == info.handle)
        {
            let message = format!("action `{}` is listed twice", listed.path.name);
            self.err_with(
                code::DUPLICATE,
                listed.span,
                message,
                (twin.span, "first here"),
                "",
            );
            draft.sound = false;
            return;
        }
        let given = listed.args.as_deref().unwrap_or_default();
        let args = self.bound_args(&info, given, listed.span);
        draft.sound &= args.is_some();
        let scope = self.scope(&listed.annotations);
        let annotations = self.annotations(&listed.annotations);
        draft.refs.push(ir::ActionRef {
            action: info.handle,
            args: args.unwrap_or_default(),
            scope,
            annotations,
        });
        draft.infos.push(Listed {
            info,
            args: given.iter().collect(),
            span: listed.span,
        });
    }

    fn scope(&mut self, annotations: &'a [Annotation]) -> ActionScope {
        let has = |name: &str| annotations.iter().any(|a| a.name.as_str() == name);
        match (has("tableonly"), has("defaultonly")) {
            (true, _) => ActionScope::TableOnly,
            (_, true) => ActionScope::DefaultOnly,
            _ => ActionScope::TableAndDefault,
        }
    }

    /// Arguments given in the action list: those of the directional parameters, all of them.
    fn bound_args(
        &mut self,
        info: &ActionInfo<'a>,
        given: &'a [Argument],
        span: Span,
    ) -> Option<Vec<Arg>> {
        let bound: Vec<_> = info
            .params
            .iter()
            .filter(|p| p.direction != Direction::None)
            .cloned()
            .collect();
        if let Some(extra) = given.get(bound.len()).or_else(|| {
            given.iter().find(|arg| {
                let name = arg.name.as_ref().map(|name| &name.text);
                name.is_some_and(|name| {
                    info.params
                        .iter()
                        .any(|p| p.name() == name && p.direction == Direction::None)
                })
            })
        }) {
            let message = format!("too many arguments for action `{}`", info.decl.name);
            let help = "parameters without direction are set by the control plane";
            self.err(code::TABLE_ACTION, extra.span, message, help);
            return None;
        }
        let signature = super::argument::Signature {
            name: info.decl.name.text.clone(),
            type_args: Vec::new(),
            formal: Vec::new(),
            params: bound.clone(),
            ret: Ty::Void,
            home: None,
            constant_args: false,
        };
        let lowered = self.bind_call(signature, &[], given, None, span)?;
        Some(self.ir_args(&bound, &lowered.args))
    }

    /// Finds a call's action in the list.
    pub(super) fn listed(&mut self, path: &'a Path, draft: &Draft<'a>) -> Option<usize> {
        let info = self.find_action(path)?;
        let index = draft
            .infos
            .iter()
            .position(|listed| listed.info.handle == info.handle);
        if index.is_none() && draft.sound {
            let message = format!("`{}` is not in the table's `actions`", path.name);
            self.err(code::TABLE_ACTION, path.span, message, "add it to the list");
        }
        index
    }

    fn default_action(&mut self, written: &'a Expr, draft: &Draft<'a>) -> Option<ActionCall> {
        let none: &'a [Argument] = &[];
        let (path, args) = match &written.kind {
            Ast::Path(path) => (path, none),
            Ast::Call { callee, args, .. } => match &callee.kind {
                Ast::Path(path) => (path, args.as_slice()),
                _ => return self.not_an_action(written.span),
            },
            _ => return self.not_an_action(written.span),
        };
        let action = self.listed(path, draft)?;
        if draft.refs[action].scope == ActionScope::TableOnly {
            let message = format!("`{}` is `@tableonly`, it cannot be the default", path.name);
            self.err(code::TABLE_ACTION, written.span, message, "");
            return None;
        }
        let data = self.action_data(action, args, draft, written.span)?;
        Some(ActionCall { action, data })
    }

    fn not_an_action(&mut self, span: Span) -> Option<ActionCall> {
        self.err(
            code::TABLE_ACTION,
            span,
            "the default must be an action",
            "",
        );
        None
    }

    /// The values of the action data; directional arguments must repeat those of the list.
    pub(super) fn action_data(
        &mut self,
        action: usize,
        given: &'a [Argument],
        draft: &Draft<'a>,
        span: Span,
    ) -> Option<Vec<ir::Const>> {
        let listed = &draft.infos[action];
        let info = listed.info.clone();
        let name = info.decl.name.to_string();
        let slots = self.arrange(&name, &info.params, given, span)?;
        let mut data = Vec::new();
        let mut sound = true;
        let mut bound = 0;
        for (param, slot) in info.params.iter().zip(&slots) {
            if param.direction != Direction::None {
                let in_list = listed
                    .args
                    .iter()
                    .find(|a| a.name.as_ref().is_some_and(|n| n.text == *param.name()));
                let in_list = in_list.or(listed.args.get(bound)).copied();
                bound += 1;
                sound &= self.same_argument(*slot, in_list);
                continue;
            }
            let value = match (slot, param.default) {
                (Some(arg), _) => self.expr_as(&arg.value, &param.ty),
                (None, Some(default)) => self.expr_as(default, &param.ty),
                (None, None) => continue,
            };
            match self.const_value(value.expr) {
                _ if value.ty.is_error() => sound = false,
                Some(constant) => data.push(constant),
                None if value.known && self.checking() => data.push(ir::Const::Absent),
                None => {
                    let place = slot.map_or(span, |arg| arg.span);
                    self.err(
                        code::NOT_CONSTANT,
                        place,
                        "action data must be a compile-time constant",
                        "",
                    );
                    sound = false;
                }
            }
        }
        sound.then_some(data)
    }

    fn same_argument(&mut self, given: Option<&'a Argument>, listed: Option<&'a Argument>) -> bool {
        let (Some(given), Some(listed)) = (given, listed) else {
            return true;
        };
        if self.same_text(&given.value, &listed.value) {
            return true;
        }
        let message = "this argument differs from the one in the table's `actions`";
        self.err_with(
            code::TABLE_ACTION,
            given.span,
            message,
            (listed.span, "listed here"),
            "",
        );
        false
    }

    /// Whether two expressions are written alike; the order of a record's fields does not matter.
    fn same_text(&self, a: &Expr, b: &Expr) -> bool {
        if let (Ast::Record { fields: xs, .. }, Ast::Record { fields: ys, .. }) = (&a.kind, &b.kind)
        {
            let twin = |x: &ast::KeyValue| {
                ys.iter()
                    .any(|y| y.name.text == x.name.text && self.same_text(&x.value, &y.value))
            };
            return xs.len() == ys.len() && xs.iter().all(twin);
        }
        let text = |expr: &Expr| {
            self.map
                .text(expr.span)
                .split_whitespace()
                .collect::<String>()
        };
        text(a) == text(b)
    }

    /// Tables without a default get `NoAction`, as the reference compiler does it.
    fn implicit_default(
        &mut self,
        decl: &'a ast::TableDecl,
        draft: &mut Draft<'a>,
    ) -> Option<ActionCall> {
        if let Some(action) = draft
            .infos
            .iter()
            .position(|listed| listed.info.decl.name.as_str() == "NoAction")
        {
            return Some(ActionCall {
                action,
                data: Vec::new(),
            });
        }
        if !draft.sound {
            return None;
        }
        let ids = self.globals.get("NoAction").cloned().unwrap_or_default();
        let entity = match ids.last() {
            Some(id) => self.global_entity(*id, decl.name.span),
            None => None,
        };
        let Some(Entity::Action(info)) = entity else {
            let message = "the action `NoAction` is not declared";
            self.err(
                code::MISSING_CORE,
                decl.name.span,
                message,
                "include <core.p4>, or give a `default_action`",
            );
            return None;
        };
        if !info.params.is_empty() {
            self.err(
                code::MISSING_CORE,
                info.decl.span,
                "`NoAction` must not have parameters",
                "",
            );
            return None;
        }
        let annotation = ir::Annotation {
            name: "defaultonly".into(),
            body: ir::AnnotationBody::Unstructured(String::new()),
        };
        draft.refs.push(ir::ActionRef {
            action: info.handle,
            args: Vec::new(),
            scope: ActionScope::DefaultOnly,
            annotations: vec![annotation],
        });
        draft.infos.push(Listed {
            info,
            args: Vec::new(),
            span: decl.span,
        });
        Some(ActionCall {
            action: draft.refs.len() - 1,
            data: Vec::new(),
        })
    }

    fn size_property(&mut self, property: Option<&'a TableProperty>) -> Option<u64> {
        let property = property?;
        let AstValue::Expr(written) = &property.value else {
            return None;
        };
        let size = self.constant_int(written)?;
        let fits = size.to_u64();
        if fits.is_none() {
            self.err(
                code::TABLE,
                written.span,
                format!("a table cannot have {size} entries"),
                "",
            );
        }
        fits
    }

    fn other_properties(&mut self, decl: &'a ast::TableDecl) -> Vec<Property> {
        let mut result = Vec::new();
        for property in &decl.properties {
            if matches!(
                property.name.as_str(),
                "key" | "actions" | "default_action" | "entries" | "size"
            ) {
                continue;
            }
            let AstValue::Expr(written) = &property.value else {
                continue;
            };
            self.anonymous = Some(
                self.name_annotation(&decl.annotations)
                    .unwrap_or_else(|| decl.name.to_string()),
            );
            let saved = std::mem::replace(&mut self.frame.context, Context::ControlLocals);
            let operand = self.operand(written, None);
            self.frame.context = saved;
            self.anonymous = None;
            let value = match operand {
                Operand::Object(_, Object::Extern(handle)) => PropertyValue::Extern(handle),
                Operand::Object(..) | Operand::Bad => continue,
                other => {
                    let value = self.as_value(other, written.span);
                    match self.const_value(value.expr) {
                        Some(constant) => PropertyValue::Const(constant),
                        None => {
                            if !value.known {
                                let message =
                                    "a property must be a compile-time constant or an object";
                                self.err(code::TABLE, written.span, message, "");
                            }
                            continue;
                        }
                    }
                }
            };
            self.check_known_property(&property.name, &value, written.span);
            let annotations = self.annotations(&property.annotations);
            result.push(Property {
                name: property.name.to_string(),
                value,
                is_const: property.is_const,
                annotations,
            });
        }
        result
    }

    fn check_known_property(&mut self, name: &ast::Name, value: &PropertyValue, span: Span) {
        let complaint = match (name.as_str(), value) {
            ("largest_priority_wins", PropertyValue::Const(ir::Const::Bool(_))) => None,
            ("largest_priority_wins", _) => Some("`largest_priority_wins` is `true` or `false`"),
            ("priority_delta", PropertyValue::Const(ir::Const::Int(n)))
                if n.sign() == num_bigint::Sign::Plus =>
            {
                None
            }
            ("priority_delta", _) => Some("`priority_delta` is a positive integer"),
            _ => None,
        };
        if let Some(message) = complaint {
            self.err(code::TABLE, span, message, "");
        }
    }
}
