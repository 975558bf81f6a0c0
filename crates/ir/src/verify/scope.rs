//! Which names are bound at a point of a flow, and what is known of their values.
//!
//! Branches are tried on one map with a log of what they changed, so joining them costs what they changed and
//! not what there is: a program of many branches and many names stays cheap to verify.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::block::{BlockKind, Body, Pattern, Statement, StatementKind};
use crate::types::Type;

/// What is known of a variable.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Variable {
    /// Whether it is bound on every way that leads here.
    pub(super) certain: bool,
    /// Its type, where that is cheaply known.
    pub(super) ty: Option<Arc<Type>>,
}

/// What a branch changed, and whether its end is reached.
#[derive(Debug)]
pub(super) struct Branch {
    changes: BTreeMap<Arc<str>, Variable>,
    pub(super) live: bool,
}

impl Branch {
    /// Takes a name out: it ends with the branch.
    pub(super) fn forget(&mut self, name: &str) {
        self.changes.remove(name);
    }
}

/// The names at a point of a flow.
#[derive(Debug)]
pub(super) struct Scope {
    variables: BTreeMap<Arc<str>, Variable>,
    log: Vec<(Arc<str>, Option<Variable>)>,
    /// Whether this point is reached at all.
    pub(super) live: bool,
}

impl Default for Scope {
    fn default() -> Self {
        Self { variables: BTreeMap::new(), log: Vec::new(), live: true }
    }
}

impl Scope {
    pub(super) fn get(&self, name: &str) -> Option<&Variable> {
        self.variables.get(name)
    }

    /// The names that are bound, or may be.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(AsRef::as_ref)
    }

    pub(super) fn bind(&mut self, name: &Arc<str>, ty: Option<Type>) {
        self.set(name, Variable { certain: true, ty: ty.map(Arc::new) });
    }

    /// Notes that a name may have been bound by now, with a value of which nothing is known.
    pub(super) fn may_bind(&mut self, name: &Arc<str>) {
        let certain = self.get(name).is_some_and(|variable| variable.certain);
        self.set(name, Variable { certain, ty: None });
    }

    fn set(&mut self, name: &Arc<str>, variable: Variable) {
        let old = self.variables.insert(Arc::clone(name), variable);
        self.log.push((Arc::clone(name), old));
    }

    /// Where the log stands now, for [`Scope::undo`].
    pub(super) fn mark(&self) -> usize {
        self.log.len()
    }

    /// Whether the name was bound since the mark.
    pub(super) fn bound_since(&self, mark: usize, name: &str) -> bool {
        self.log.get(mark..).unwrap_or_default().iter().any(|(bound, _)| &**bound == name)
    }

    /// Takes back everything since the mark and gives it as a branch. The scope is live again.
    pub(super) fn undo(&mut self, mark: usize) -> Branch {
        let mut changes = BTreeMap::new();
        let live = std::mem::replace(&mut self.live, true);
        for (name, old) in self.log.drain(mark..).rev() {
            let new = match old {
                Some(old) => self.variables.insert(Arc::clone(&name), old),
                None => self.variables.remove(&name),
            };
            if let Some(new) = new {
                changes.entry(name).or_insert(new);
            }
        }
        Branch { changes, live }
    }

    /// Notes that some of what a branch did may have been done.
    pub(super) fn may_have(&mut self, branch: &Branch) {
        for name in branch.changes.keys() {
            self.may_bind(name);
        }
    }

    /// Goes on after exactly one of the branches was taken.
    pub(super) fn join(&mut self, branches: &[Branch]) {
        let live: Vec<_> = branches.iter().filter(|branch| branch.live).collect();
        if live.is_empty() {
            self.live = false;
            return;
        }
        let names: BTreeSet<_> = live.iter().flat_map(|branch| branch.changes.keys()).collect();
        for name in names {
            let mut ends =
                live.iter().map(|branch| branch.changes.get(name).or_else(|| self.variables.get(name)));
            let first = ends.next().flatten();
            let mut joined = first.cloned().unwrap_or(Variable { certain: false, ty: None });
            for end in ends {
                joined.certain &= end.is_some_and(|variable| variable.certain);
                if end.is_none_or(|variable| variable.ty != joined.ty) {
                    joined.ty = None;
                }
            }
            self.set(name, joined);
        }
    }

    /// A branch that changes nothing.
    pub(super) fn untouched() -> Branch {
        Branch { changes: BTreeMap::new(), live: true }
    }
}

/// Every name that blocks bind somewhere, whichever way they take.
pub(super) fn bound_in(body: &Body, names: &mut BTreeSet<Arc<str>>) {
    for block in body {
        names.extend(block.result_binding.clone());
        match &block.kind {
            BlockKind::Rigid { statements } | BlockKind::Debug { statements } => {
                bound_in_statements(statements, names);
            }
            BlockKind::Match { arms, .. } => {
                for arm in arms {
                    bound_in_pattern(&arm.pattern, names);
                }
            }
            BlockKind::Try { catch, .. } => {
                names.extend(catch.iter().filter_map(|handler| handler.bind.clone()));
            }
            _ => {}
        }
        // What branches bind stays theirs.
        if !matches!(block.kind, BlockKind::Parallel { .. }) {
            block.kind.bodies().into_iter().for_each(|body| bound_in(body, names));
        }
    }
}

fn bound_in_statements(statements: &[Statement], names: &mut BTreeSet<Arc<str>>) {
    for statement in statements {
        match &statement.kind {
            StatementKind::Let { name, .. } => {
                names.insert(Arc::clone(name));
            }
            StatementKind::If { then, otherwise, .. } => {
                bound_in_statements(then, names);
                bound_in_statements(otherwise, names);
            }
            StatementKind::Memory(memory) => names.extend(memory.result_binding.clone()),
            StatementKind::PluginCall(call) => names.extend(call.result_binding.clone()),
            StatementKind::WaitEvent(wait) => names.extend(wait.result_binding.clone()),
            _ => {}
        }
    }
}

/// Every name that a pattern binds.
pub(super) fn bound_in_pattern(pattern: &Pattern, names: &mut BTreeSet<Arc<str>>) {
    match pattern {
        Pattern::Bind(name) => {
            names.insert(Arc::clone(name));
        }
        Pattern::Object(fields) => {
            for (_, pattern) in fields {
                bound_in_pattern(pattern, names);
            }
        }
        Pattern::Any(members) => {
            for pattern in members {
                bound_in_pattern(pattern, names);
            }
        }
        Pattern::Wildcard | Pattern::Literal(_) | Pattern::Type(_) => {}
    }
}
