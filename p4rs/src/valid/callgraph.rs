//! Who calls whom: P4 has no recursion, so the graph has no cycle.
//!
//! In: all bodies. Out: findings. Invariant checked: functions, actions, parsers, controls and tables call each other
//! without a cycle.

use super::Validator;
use super::expr::operands;
use crate::ir::{
    Block, Callee, Expr, ExprKind, ForIn, Handle, KeySet, Program, StmtKind, Transition,
};
use crate::source::Span;

/// A callable, as a number in one sequence.
type Node = usize;

struct Graph<'p> {
    program: &'p Program,
    edges: Vec<Vec<Node>>,
}

impl<'p> Graph<'p> {
    fn new(program: &'p Program) -> Self {
        let total = program.functions.len()
            + program.actions.len()
            + program.parsers.len()
            + program.controls.len()
            + program.tables.len();
        let mut graph = Graph {
            program,
            edges: vec![Vec::new(); total],
        };
        graph.fill();
        graph
    }

    fn node(&self, callee: &Callee) -> Option<Node> {
        let actions = self.program.functions.len();
        let parsers = actions + self.program.actions.len();
        let controls = parsers + self.program.parsers.len();
        let tables = controls + self.program.controls.len();
        match callee {
            Callee::Function(handle) => Some(handle.index()),
            Callee::Action(handle) => Some(actions + handle.index()),
            Callee::Parser(handle) => Some(parsers + handle.index()),
            Callee::Control(handle) => Some(controls + handle.index()),
            Callee::Table(handle) => Some(tables + handle.index()),
            _ => None,
        }
    }

    fn fill(&mut self) {
        let program = self.program;
        for (handle, function) in program.functions.iter() {
            self.block(self.node(&Callee::Function(handle)), &function.body);
        }
        for (handle, action) in program.actions.iter() {
            self.block(self.node(&Callee::Action(handle)), &action.body);
        }
        for (handle, control) in program.controls.iter() {
            let node = self.node(&Callee::Control(handle));
            self.block(node, &control.locals);
            self.block(node, &control.body);
        }
        for (handle, parser) in program.parsers.iter() {
            let node = self.node(&Callee::Parser(handle));
            self.block(node, &parser.locals);
            for state in &parser.states {
                self.block(node, &state.body);
                self.transition(node, &state.transition);
            }
        }
        for (handle, table) in program.tables.iter() {
            let node = self.node(&Callee::Table(handle));
            for key in &table.keys {
                self.expr(node, key.expr);
            }
            for action in &table.actions {
                if let (Some(from), Some(to)) = (node, self.node(&Callee::Action(action.action))) {
                    self.edges[from].push(to);
                }
            }
        }
    }

    fn transition(&mut self, from: Option<Node>, transition: &Transition) {
        let Transition::Select { subjects, cases } = transition else {
            return;
        };
        for subject in subjects {
            self.expr(from, *subject);
        }
        for key in cases.iter().flat_map(|(keys, _)| keys) {
            match key {
                KeySet::Value(value) => self.expr(from, *value),
                KeySet::Mask(a, b) | KeySet::Range(a, b) => {
                    self.expr(from, *a);
                    self.expr(from, *b);
                }
                KeySet::Any | KeySet::ValueSet(_) => {}
            }
        }
    }

    fn expr(&mut self, from: Option<Node>, root: Handle<Expr>) {
        let mut waiting = vec![root];
        while let Some(handle) = waiting.pop() {
            let Some(expr) = self.program.exprs.get(handle) else {
                continue;
            };
            if let ExprKind::Call { callee, .. } = &expr.kind
                && let (Some(from), Some(to)) = (from, self.node(callee))
            {
                self.edges[from].push(to);
            }
            waiting.extend(operands(&expr.kind));
        }
    }

    fn block(&mut self, from: Option<Node>, block: &Block) {
        for stmt in &block.stmts {
            match &stmt.kind {
                StmtKind::Assign { place, value } => {
                    self.expr(from, *place);
                    self.expr(from, *value);
                }
                StmtKind::Eval(expr) | StmtKind::Return(Some(expr)) => self.expr(from, *expr),
                StmtKind::Init { init, .. } => {
                    if let Some(init) = init {
                        self.expr(from, *init);
                    }
                }
                StmtKind::If {
                    cond,
                    then,
                    otherwise,
                } => {
                    self.expr(from, *cond);
                    self.block(from, then);
                    self.block(from, otherwise);
                }
                StmtKind::SwitchAction {
                    apply,
                    cases,
                    default,
                } => {
                    self.expr(from, *apply);
                    for case in cases {
                        self.block(from, &case.body);
                    }
                    self.block(from, default);
                }
                StmtKind::Switch {
                    subject,
                    cases,
                    default,
                } => {
                    self.expr(from, *subject);
                    for case in cases {
                        self.block(from, &case.body);
                    }
                    self.block(from, default);
                }
                StmtKind::For {
                    init,
                    cond,
                    update,
                    body,
                } => {
                    self.expr(from, *cond);
                    for part in [init, update, body] {
                        self.block(from, part);
                    }
                }
                StmtKind::ForIn { over, body, .. } => {
                    match over {
                        ForIn::Range(low, high) => {
                            self.expr(from, *low);
                            self.expr(from, *high);
                        }
                        ForIn::Items(items) => self.expr(from, *items),
                    }
                    self.block(from, body);
                }
                StmtKind::Return(None) | StmtKind::Break | StmtKind::Continue | StmtKind::Exit => {}
                StmtKind::Block(block) => self.block(from, block),
            }
        }
    }

    /// Whether some callable reaches itself: nodes that nobody calls are taken away until none is left.
    fn has_cycle(&self) -> bool {
        let mut callers = vec![0usize; self.edges.len()];
        let known = |node: &&Node| **node < self.edges.len();
        for to in self.edges.iter().flatten().filter(known) {
            callers[*to] += 1;
        }
        let mut free: Vec<Node> = (0..callers.len())
            .filter(|node| callers[*node] == 0)
            .collect();
        let mut taken = 0;
        while let Some(node) = free.pop() {
            taken += 1;
            for to in self.edges[node].iter().filter(known) {
                callers[*to] -= 1;
                if callers[*to] == 0 {
                    free.push(*to);
                }
            }
        }
        taken < self.edges.len()
    }
}

impl Validator<'_> {
    pub(super) fn call_graph(&mut self) {
        if Graph::new(self.program).has_cycle() {
            self.broken(Span::NONE, "the program calls itself");
        }
    }
}
