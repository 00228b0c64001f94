//! Tables: how a packet's key is built and how each action is called.
//!
//! In: IR tables. Out: [`TableCode`]. Invariant: key bytes have the layout of the table's own key plan.

use super::super::super::layout;
use super::super::code::{ActionBinding, Dest, KeyCode, TableCode};
use super::{Lower, Lowered};
use crate::ir::{Arg, Direction, ExprKind, Handle, PropertyValue, StmtKind, Table};

impl<'p> Lower<'p> {
    /// Lowers a table once.
    pub(super) fn table(&mut self, handle: Handle<Table>) -> Lowered<u32> {
        let index = handle.index() as u32;
        if self.code.tables[handle.index()].is_none() {
            self.code.tables[handle.index()] = Some(TableCode {
                handle,
                keys: Vec::new(),
                selector: Vec::new(),
                selector_names: Vec::new(),
                actions: Vec::new(),
                meter: None,
            });
            let code = self.deeper(|this| this.table_code(handle))?;
            self.code.tables[handle.index()] = Some(code);
        }
        Ok(index)
    }

    fn table_code(&mut self, handle: Handle<Table>) -> Lowered<TableCode> {
        let table: &'p Table = &self.program.tables[handle];
        let mut keys = Vec::new();
        let mut selector = Vec::new();
        let mut selector_names = Vec::new();
        for key in &table.keys {
            if key.match_kind == "selector" {
                let before = selector.len();
                self.pack_expr(key.expr, &mut selector)?;
                selector_names.extend((before..selector.len()).map(|_| key.name.clone()));
                continue;
            }
            let width = self.number_type(key.expr).0;
            keys.push(KeyCode {
                value: self.operand(key.expr)?,
                width,
                name: key.name.clone(),
            });
        }
        let mut actions = Vec::with_capacity(table.actions.len());
        for reference in &table.actions {
            let action = &self.program.actions[reference.action];
            let args: Vec<Arg> = reference.args.clone();
            let call = self.action_call(reference.action, &args)?;
            let mut data = Vec::new();
            for param in action
                .params
                .iter()
                .filter(|param| param.direction == Direction::None)
            {
                let var = &self.program.vars[param.var];
                let width = layout::number(self.program, var.ty).0;
                data.push((self.home(param.var), width, var.name.clone()));
            }
            // Arguments bound in the action list leave that much less action data.
            let bound = args.len().saturating_sub(action.params.len() - data.len());
            data.drain(..bound.min(data.len()));
            actions.push(ActionBinding {
                call,
                name: action.name.control_plane.clone(),
                data,
            });
        }
        let meter = self.direct_meter(table)?;
        Ok(TableCode {
            handle,
            keys,
            selector,
            selector_names,
            actions,
            meter,
        })
    }

    /// v1model: the field into which some action reads the table's direct meter; it is written on every hit.
    fn direct_meter(&mut self, table: &'p Table) -> Lowered<Option<(Dest, [u128; 3])>> {
        let Some(property) = table.properties.iter().find(|p| p.name == "meters") else {
            return Ok(None);
        };
        let PropertyValue::Extern(meter) = &property.value else {
            return Ok(None);
        };
        for reference in &table.actions {
            for stmt in &self.program.actions[reference.action].body.stmts {
                let StmtKind::Eval(expr) = &stmt.kind else {
                    continue;
                };
                let ExprKind::Call { callee, args, .. } = &self.expr(*expr).kind else {
                    continue;
                };
                let reads = matches!(callee, crate::ir::Callee::Method { instance, method }
                    if instance == meter && method == "read");
                if let (true, Some(Arg::Place(place))) = (reads, args.first()) {
                    return Ok(Some((self.dest(*place)?, super::externs::V1MODEL_COLORS)));
                }
            }
        }
        Ok(None)
    }
}
